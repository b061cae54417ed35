/** A table of results, all cells ready to print. */
export interface Table {
  title: string;
  /** What was measured and in which unit; Markdown. */
  note: string;
  columns: string[];
  rows: string[][];
  plot?: Plot;
  /** Markdown that stands at the end. */
  details?: string;
}

/** A curve that stands below its table. */
export interface Plot {
  /** Of the file beside the results. */
  name: string;
  svg: string;
}

/** The last columns of a table with targets; see `target`. */
export const TARGET_COLUMNS = ["target", "holds"];

/** For a row without a target. */
export const NO_TARGET = ["", ""];

/**
 * The cells of TARGET_COLUMNS.
 *
 * @param value as measured; a median where there are rounds
 * @param unit with the space before it
 */
export function target(
  value: number,
  relation: "≥" | "≤",
  bound: number,
  { digits = 0, unit = "" } = {},
): string[] {
  const holds = relation === "≥" ? value >= bound : value <= bound;
  return [`${relation} ${formatNumber(bound, digits)}${unit}`, holds ? "yes" : "**no**"];
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
export function formatTable({ title, note, columns, rows, plot, details }: Table): string {
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: string[]) =>
    `| ${cells.map((cell, index) => cell.padEnd(widths[index]!)).join(" | ")} |`;
  const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  const image = plot ? [`![${title}](${plot.name})`, ""] : [];
  const head = [`## ${title}`, "", note, ""];
  const end = details ? [details] : [];
  return [...head, line(columns), rule, ...rows.map(line), "", ...image, ...end].join("\n");
}

/** All targets of all tables in one; null when there is none. */
export function summarize(tables: readonly Table[]): Table | null {
  const rows = tables.flatMap(({ title, columns, rows }) => {
    if (columns.at(-1) !== TARGET_COLUMNS[1]) return [];
    const judged = rows.filter((row) => row.at(-1) !== "");
    return judged.map((row) => [title, row[0]!, ...row.slice(-3)]);
  });
  if (rows.length === 0) return null;
  return {
    title: "The targets",
    note: "Each is judged by the median of the rounds; the tables below say what was measured.",
    columns: ["", "", "measured", ...TARGET_COLUMNS],
    rows,
  };
}
