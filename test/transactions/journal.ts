import { appendFileSync, existsSync, readFileSync } from "node:fs";
import type { BatchName } from "../../functions/core/kafka/transactional.ts";

type Entry = { begun: BatchName } | { settled: BatchName };

/** What a database would know of a stream: one line for each batch begun and each settled. */
export class Journal {
  readonly #path: string;
  readonly #entries: Entry[];

  constructor(path: string) {
    this.#path = path;
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    // A process that was killed may have left half a line: that entry was never made.
    const lines = text.split("\n").slice(0, -1);
    this.#entries = lines.map((line) => JSON.parse(line) as Entry);
  }

  /** The number of the last batch settled; 0 before the first. */
  get settled(): number {
    const last = this.#entries.findLast((entry) => "settled" in entry);
    return Number(last?.settled.number ?? 0);
  }

  /** The batch that was begun and not settled. */
  get begun(): BatchName | null {
    const last = this.#entries.at(-1);
    return last && "begun" in last ? last.begun : null;
  }

  knows(id: string): boolean {
    return this.#entries.some((entry) => "begun" in entry && entry.begun.id === id);
  }

  append(entry: Entry): void {
    appendFileSync(this.#path, `${JSON.stringify(entry)}\n`);
    this.#entries.push(entry);
  }
}
