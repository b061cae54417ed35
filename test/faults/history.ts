import { setTimeout as sleep } from "node:timers/promises";
import postgres, { type Sql } from "postgres";
import { readCommitted as transact } from "../../functions/core/postgres/database.ts";
import { readCommitted } from "../support/committed.ts";
import { type Random, randomFrom } from "../support/random.ts";

const CHANGES_MAX = 4;
/** One of so many transactions is rolled back. */
const ROLLBACK_EVERY = 5;
/** A writer whose database is gone tries again after so long. */
const RETRY_MS = 50;
/** Of what is lost or invented, as key, statement and step. */
const TOLD_MAX = 50;
/** What was written while a rolled back transaction was open; a consumer must never see it. */
const ROLLED_BACK = "ROLLED BACK";

/**
 * A tracked table, and beside it what its consumers must come to see: change() makes a change to a
 * row and notes it in the same transaction, so that this holds whatever happens to a writer or its
 * database, also where nobody can tell whether a commit went through.
 */
const TABLES = `
  create table rows (key text primary key, step bigint not null, note text);
  create table steps (key text primary key, step bigint not null, statement text not null);
  create table expected (key text, step bigint, statement text, primary key (key, step));
  create function change(changed text, written text, kind int) returns void language plpgsql as $$
  declare
    last steps;
    next bigint;
    made text;
  begin
    select * into strict last from steps where key = changed for update;
    next := last.step + 1;
    if last.statement = 'DELETE' then
      made := 'INSERT';
      insert into rows values (changed, next, written);
    elsif kind = 0 then
      made := 'DELETE';
      delete from rows where key = changed;
    else
      made := 'UPDATE';
      update rows set step = next, note = written where key = changed;
    end if;
    update steps set step = next, statement = made where key = changed;
    insert into expected values (changed, next, made);
  end;
  $$;
  select pg2kafka.setup('rows', 'key');`;

export interface HistoryOptions {
  /** Default 20. */
  keys?: number;
  /** Of all random choices. */
  seed: number;
  /** The longest pause of a writer between two transactions. Default 20. */
  pauseMsMax?: number;
  /** A quarter of the rows get so many characters more, at most. Default none. */
  noteLengthMax?: number;
  /** Default true. Only of those that are not deleted each event tells its step by itself. */
  areRowsDeleted?: boolean;
}

export interface TallyOptions {
  /**
   * The topic was deleted and made again, and was not there when the rows were at these steps (of
   * rows that are not deleted). What was delivered before is gone with it: for each row a first part
   * of its changes, and none after these.
   */
  goneUpTo?: ReadonlyMap<string, number>;
  /** Partitions were added: keys have moved, and are in order in each partition (of rows that are
   *  not deleted). Default false. */
  isRepartitioned?: boolean;
}

/** What the audit of a history counts. */
export interface Tally {
  /** Changes that were committed. */
  events: number;
  /** Committed, and nowhere in Kafka. */
  lost: number;
  /** In Kafka, and never committed. */
  invented: number;
  /** Copies after the first, which a consumer drops by their uuid. */
  repeated: number;
  /** After the repeats are dropped: behind a later change of the same row. */
  inverted: number;
}

/** What an application does to one table, by several sessions, and what of it is in Kafka. */
export class History {
  /** Transactions that ended, one way or the other, and those that failed. */
  readonly counts = { transactions: 0, failed: 0 };
  readonly #url: string;
  readonly #random: Random;
  readonly #keys: string[];
  readonly #pauseMsMax: number;
  readonly #noteLengthMax: number;
  readonly #areRowsDeleted: boolean;
  readonly #writers: Promise<void>[] = [];
  #isWriting = true;

  /** @param sql of a database where pg2kafka is installed @param url where writers connect */
  static async create(sql: Sql, url: string, options: HistoryOptions): Promise<History> {
    const history = new History(url, options);
    await sql.unsafe(TABLES);
    await sql`insert into steps select unnest(${history.#keys}::text[]), 0, 'DELETE'`;
    return history;
  }

  private constructor(url: string, options: HistoryOptions) {
    const { keys = 20, seed, pauseMsMax = 20, noteLengthMax = 0 } = options;
    this.#areRowsDeleted = options.areRowsDeleted ?? true;
    this.#url = url;
    this.#random = randomFrom(seed);
    this.#keys = Array.from({ length: keys }, (_, index) => `k${index}`);
    this.#pauseMsMax = pauseMsMax;
    this.#noteLengthMax = noteLengthMax;
  }

  /** Start sessions that write until `stopWriters`, and go on when their database is back. */
  startWriters(count: number): void {
    for (let left = count; left > 0; left--) this.#writers.push(this.#write());
  }

  async stopWriters(): Promise<void> {
    this.#isWriting = false;
    await Promise.all(this.#writers);
    this.#writers.length = 0;
    this.#isWriting = true;
  }

  /** So many transactions, one after the other. */
  async write(sql: Sql, transactions: number): Promise<void> {
    for (let left = transactions; left > 0; left--) await this.transact(sql);
  }

  /** One transaction of several changes. @returns whether it was committed */
  async transact(sql: Sql): Promise<boolean> {
    const isKept = this.#random(ROLLBACK_EVERY) > 0;
    const keys = this.#keys.filter(() => this.#random(this.#keys.length) < CHANGES_MAX);
    try {
      // Where the connection is lost, the client's own way ends the process.
      await transact(sql, async (transaction) => {
        // In one order for all, so that they wait for each other and never in a circle.
        for (const key of keys.sort()) {
          const note = isKept ? this.#note() : ROLLED_BACK;
          await transaction`select change(${key}, ${note}, ${this.#kind()})`;
        }
        if (!isKept) throw new Error(ROLLED_BACK);
      });
    } catch (error) {
      if ((error as Error).message !== ROLLED_BACK) throw error;
    } finally {
      this.counts.transactions += 1;
    }
    return isKept;
  }

  /** 0 deletes the row. */
  #kind(): number {
    return this.#areRowsDeleted ? this.#random(4) : 1;
  }

  #note(): string {
    const note = `note ${this.#random(1_000)} é"\\n`;
    if (this.#noteLengthMax === 0 || this.#random(4) > 0) return note;
    return note + "x".repeat(this.#random(this.#noteLengthMax));
  }

  async #write(): Promise<void> {
    const sql = postgres(this.#url, {
      max: 1,
      connect_timeout: 2,
      // What these queries throw where the connection is lost, nobody catches.
      fetch_types: false,
      onnotice: () => {},
    });
    while (this.#isWriting) {
      try {
        await this.transact(sql);
        await sleep(this.#random(this.#pauseMsMax + 1));
      } catch {
        this.counts.failed += 1;
        await sleep(RETRY_MS);
      }
    }
    await sql.end({ timeout: 1 });
  }

  /**
   * Compare what readers with `read_committed` see in the topic with what was committed, once nobody
   * writes and all is delivered. A SNAPSHOT event is none of the changes, but must show a committed
   * one, and no earlier one than its row's last; and none of them may be missing.
   */
  async tally(
    sql: Sql,
    brokers: string[],
    topic: string,
    { goneUpTo, isRepartitioned = false }: TallyOptions = {},
  ): Promise<Tally> {
    const expected = await sql<{ key: string; step: number; statement: string }[]>`
      select key, step::int, statement from expected`;
    const seen = new Set<string>();
    const first = new Map<string, number>();
    const last = new Map<string, number>();
    const inKafka = new Set<string>();
    const inSnapshots = new Set<string>();
    let snapshotRows = 0;
    let repeated = 0;
    let inverted = 0;
    for (const { partition, key, value } of await readCommitted(brokers, topic)) {
      const { uuid, statement, data }: Change = JSON.parse(value);
      if (seen.has(uuid)) {
        repeated += 1;
        continue;
      }
      seen.add(uuid);
      const row = isRepartitioned ? `${partition}/${key}` : key!;
      const before = last.get(row) ?? 0;
      // A DELETE has no data: it is the step after the one before it.
      const step = data.step ?? before + 1;
      if (step < before) inverted += 1;
      if (!first.has(key!)) first.set(key!, step);
      last.set(row, Math.max(step, before));
      const rolledBack = data.note === ROLLED_BACK ? ROLLED_BACK : "";
      if (statement === "SNAPSHOT") {
        inSnapshots.add(`${key} ${step} ${rolledBack}`);
        snapshotRows += 1;
      } else inKafka.add(`${key} ${statement} ${step} ${rolledBack}`);
    }
    const committed = new Set(expected.map(changeOf));
    const states = new Set(expected.map(({ key, step }) => `${key} ${step} `));
    const isGone = ({ key, step }: { key: string; step: number }) =>
      goneUpTo !== undefined && step <= goneUpTo.get(key)! && step < (first.get(key) ?? step + 1);
    const [snapshots] = await sql<{ rows: number }[]>`
      select coalesce(sum(rows), 0)::int as rows from pg2kafka.snapshots`;
    const due = expected.filter((change) => !isGone(change)).map(changeOf);
    const lost = others(due, inKafka);
    const invented = [...others(inKafka, committed), ...others(inSnapshots, states)];
    if (lost.length + invented.length > 0) {
      console.log({ lost: lost.slice(0, TOLD_MAX), invented: invented.slice(0, TOLD_MAX) });
    }
    return {
      events: expected.length,
      lost: lost.length + Math.max(0, snapshots!.rows - snapshotRows),
      invented: invented.length,
      repeated,
      inverted,
    };
  }

  /** The last step of each row. */
  async lastSteps(sql: Sql): Promise<Map<string, number>> {
    const rows = await sql<{ key: string; step: number }[]>`select key, step::int from steps`;
    return new Map(rows.map(({ key, step }) => [key, step]));
  }
}

function changeOf(change: { key: string; statement: string; step: number }): string {
  return `${change.key} ${change.statement} ${change.step} `;
}

/** The message's value. */
interface Change {
  uuid: string;
  statement: string;
  data: { step?: number; note?: string | null };
}

/** Those of `ones` that are not among `known`. */
function others(ones: Iterable<string>, known: ReadonlySet<string>): string[] {
  return [...ones].filter((one) => !known.has(one));
}
