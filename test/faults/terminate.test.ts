import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { drainToKafka, expireLeases } from "../relay/support.ts";
import { pidOf, useDatabase, waitFor, waitUntilBlocked } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { History } from "./history.ts";
import { report } from "./report.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";

const ROUNDS = ofSize({ short: 1, long: 10 });
/** More steps than a drain takes. */
const STEPS_MAX = 100;

const server = useDatabase();
const cluster = useKafka();

/**
 * Lets one session after another pass that wants a table: it is locked, and before the lock is given
 * up, another session waits for it behind those that wait already.
 */
class Turnstile {
  readonly #table: string;
  #holder: Sql | undefined;

  constructor(table: string) {
    this.#table = table;
  }

  async close(): Promise<void> {
    this.#holder = server.database.connect();
    await this.#holder.unsafe("begin");
    await this.#holder.unsafe(`lock table ${this.#table}`);
  }

  async letOnePass(): Promise<void> {
    const next = server.database.connect();
    const pid = await pidOf(next);
    await next.unsafe("begin");
    const locking = next.unsafe(`lock table ${this.#table}`).execute();
    await waitUntilBlocked(server.sql, pid);
    await this.open();
    await locking;
    this.#holder = next;
  }

  async open(): Promise<void> {
    await this.#holder?.unsafe("commit");
    await this.#holder?.end();
    this.#holder = undefined;
  }
}

function environmentOf(delivery: string) {
  return { DELIVERY: delivery, KAFKA_BROKER: cluster.brokers.join(",") };
}

interface Step {
  pid: number;
  query: string;
}

/** The drain's session that waits, and for what; null when the drain has ended. */
async function waitForStep(isOver: () => boolean): Promise<Step | null> {
  let step: Step | undefined;
  await waitFor(
    async () => {
      [step] = await server.sql<Step[]>`
      select pid, substring(query from '.*pg2kafka\\.(\\w+)\\(') as query
      from pg_stat_activity
      where application_name = 'pg2kafka' and datname = current_database()
        and cardinality(pg_blocking_pids(pid)) > 0`;
      return step !== undefined || isOver();
    },
    { timeoutMs: 30_000 },
  );
  return step ?? null;
}

/**
 * Run a drain, and end its session at the nth time that it wants the table.
 *
 * @returns at what; null when it has ended before
 */
async function drainUntil(nth: number, table: string, delivery: string): Promise<string | null> {
  const turnstile = new Turnstile(table);
  await turnstile.close();
  let isOver = false;
  const sql = server.database.connect({
    max: 3,
    prepare: false,
    fetch_types: false,
    connection: { application_name: "pg2kafka" },
  });
  const env = { ...environmentOf(delivery), BATCH_EVENTS_MAX: "5" };
  const draining = drainToKafka(server.database, cluster.brokers, env, { sql })
    .then(
      () => null,
      (error) => error,
    )
    .finally(() => {
      isOver = true;
    });
  let step = await waitForStep(() => isOver);
  for (let passed = 1; step && passed < nth; passed++) {
    await turnstile.letOnePass();
    step = await waitForStep(() => isOver);
  }
  if (step) await server.sql`select pg_terminate_backend(${step.pid})`;
  await turnstile.open();
  const error = await draining;
  // It fails with what Postgres says, and with nothing else.
  expect(error === null || /57P01|CONNECTION_CLOSED/.test(error.code), `${error}`).toBe(true);
  await sql.end({ timeout: 1 });
  return step?.query ?? null;
}

/** What waits for each of these tables, among others. */
const STEPS = {
  "pg2kafka.control": ["read_state", "read_events", "take_lease"],
  "pg2kafka.drain_log": ["read_state", "take_lease", "settle"],
};
type Table = keyof typeof STEPS;
const BOTH: Table[] = ["pg2kafka.control", "pg2kafka.drain_log"];
const MODES: { delivery: string; tables: Table[] }[] = [
  { delivery: "at-least-once", tables: ofSize({ short: ["pg2kafka.control"], long: BOTH }) },
  { delivery: "exactly-once", tables: ofSize({ short: ["pg2kafka.drain_log"], long: BOTH }) },
];

describe.each(MODES)("$delivery", ({ delivery, tables }) => {
  test(`a drain's session is terminated each time it waits for a table (seed ${SEED})`, async () => {
    const { sql, database } = server;
    const topic = `pg2kafka.${database.name}.rows`;
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const history = await History.create(sql, database.url, { seed: SEED });
    const terminated: Record<string, number> = {};
    for (let round = 0; round < ROUNDS; round++) {
      for (const table of tables) {
        for (let nth = 1; nth <= STEPS_MAX; nth++) {
          await history.write(sql, 2);
          const query = await drainUntil(nth, table, delivery);
          if (query === null) break;
          terminated[query] = (terminated[query] ?? 0) + 1;
          await expireLeases(sql);
        }
      }
    }
    const end = await drainToKafka(database, cluster.brokers, environmentOf(delivery));
    expect(end).toMatchObject({ drained: true, stopped: null });
    const { events, repeated, ...wrong } = await history.tally(sql, cluster.brokers, topic);
    report({ seed: SEED, tried: terminated, events, repeated, ...wrong });
    expect(wrong).toEqual({ lost: 0, invented: 0, inverted: 0 });
    if (delivery === "exactly-once") expect(repeated).toBe(0);
    expect(Object.keys(terminated)).toEqual(
      expect.arrayContaining(tables.flatMap((table) => STEPS[table])),
    );
  });
});
