import { appendFileSync, closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { BatchName } from "../../functions/core/batch-name.ts";

type Entry = { taken: true } | { begun: BatchName } | { settled: BatchName };

/** Another process has taken the journal. */
export class LeaseLost extends Error {
  override readonly name = "LeaseLost";
}

/**
 * What a database would know of a stream: a file with a line for each batch begun and each settled.
 * As in the queue's log, whoever takes it last owns it, and what others append is void.
 */
export class Journal {
  readonly #path: string;
  readonly #token: string;
  #owner = "";
  #bytesRead = 0;
  #settled = 0;
  #begun: BatchName | null = null;
  readonly #ids = new Set<string>();

  constructor(path: string, token = "") {
    this.#path = path;
    this.#token = token;
    this.#read();
  }

  /** The number of the last batch settled; 0 before the first. */
  get settled(): number {
    return this.#settled;
  }

  /** The batch that was begun and not settled. */
  get begun(): BatchName | null {
    return this.#begun;
  }

  knows(id: string): boolean {
    return this.#ids.has(id);
  }

  /** @throws {LeaseLost} when another one has taken it: nothing was appended then */
  append(entry: Entry): void {
    appendFileSync(this.#path, `${JSON.stringify({ ...entry, token: this.#token })}\n`);
    this.#read();
    if (this.#owner !== this.#token) throw new LeaseLost("Another process has the journal.");
  }

  #read(): void {
    const file = openSync(this.#path, "a+");
    const bytes = Buffer.alloc(fstatSync(file).size - this.#bytesRead);
    readSync(file, bytes, 0, bytes.length, this.#bytesRead);
    closeSync(file);
    this.#bytesRead += bytes.length;
    for (const line of bytes.toString().split("\n")) {
      if (line !== "") this.#apply(JSON.parse(line) as Entry & { token: string });
    }
  }

  #apply(entry: Entry & { token: string }): void {
    if ("taken" in entry) this.#owner = entry.token;
    else if (entry.token !== this.#owner) return;
    else if ("begun" in entry) {
      this.#begun = entry.begun;
      this.#ids.add(entry.begun.id);
    } else {
      this.#begun = null;
      this.#settled = Number(entry.settled.number);
    }
  }
}
