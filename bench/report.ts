/** A table of results, all cells ready to print. */
export interface Table {
  title: string;
  /** What was measured and in which unit; Markdown. */
  note: string;
  columns: string[];
  rows: string[][];
}

/** Samples by name, in the order in which the names came; one sample a round. */
export class Samples {
  readonly #values = new Map<string, number[]>();

  add(name: string, value: number): void {
    const values = this.#values.get(name);
    if (values === undefined) this.#values.set(name, [value]);
    else values.push(value);
  }

  /** @throws when nothing was added under the name */
  median(name: string): number {
    const sorted = [...this.#get(name)].sort((a, b) => a - b);
    const middle = sorted.length / 2;
    return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
  }

  /** `median (least–most)`, rounded to `digits` decimals. */
  text(name: string, digits = 0): string {
    const values = this.#get(name);
    const median = formatNumber(this.median(name), digits);
    if (values.length === 1) return median;
    const least = formatNumber(Math.min(...values), digits);
    return `${median} (${least}–${formatNumber(Math.max(...values), digits)})`;
  }

  /** How many times as much as the other, by the medians. */
  ratio(name: string, other: string): number {
    return this.median(name) / this.median(other);
  }

  /** The median of the ratios within each round: what disturbs a round disturbs both. */
  pairedRatio(name: string, other: string): number {
    const others = this.#get(other);
    const ratios = new Samples();
    this.#get(name).forEach((value, round) => {
      ratios.add("ratio", value / (others[round] ?? Number.NaN));
    });
    return ratios.median("ratio");
  }

  #get(name: string): readonly number[] {
    const values = this.#values.get(name);
    if (values === undefined) throw new Error(`Nothing was measured as "${name}".`);
    return values;
  }
}

export function formatNumber(value: number, digits = 0): string {
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

export function formatMegabytes(bytes: number): string {
  return `${formatNumber(bytes / 1_000_000, 1)} MB`;
}

/** As Markdown, with columns padded so that it reads as plain text too. */
export function formatTable({ title, note, columns, rows }: Table): string {
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: string[]) =>
    `| ${cells.map((cell, index) => cell.padEnd(widths[index]!)).join(" | ")} |`;
  const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  return [`## ${title}`, "", note, "", line(columns), rule, ...rows.map(line), ""].join("\n");
}
