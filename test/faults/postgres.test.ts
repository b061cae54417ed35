import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { newest, type TestDatabase, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { ofSize } from "./size.ts";
import { type Fault, MODES, runTrial } from "./trial.ts";

const TIMES = ofSize({ short: 1, long: 5 });
/** How long a fault lasts: of the drains' sessions some begin and end meanwhile. */
const LASTING_MS_MAX = ofSize({ short: 500, long: 3_000 });
const CONNECTIONS_MAX = 30;
/** Until a drain is refused: one that came before keeps its connection to the end of its time. */
const REFUSED_MS = 60_000;

const server = useDatabase(newest, {
  settings: { max_connections: String(CONNECTIONS_MAX), max_prepared_transactions: "5" },
});
const cluster = useKafka();

/** End sessions of the database other than this one. @returns how many */
async function terminate(sql: Sql, which: "all" | "drains" | "writers"): Promise<number> {
  const rows = await sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
      and (${which} = 'all' or (application_name = 'pg2kafka') = (${which} = 'drains'))`;
  return rows.length;
}

/** End sessions, as soon as there are some: where the fault before has just ended them all, they come
 *  again. */
async function terminateSome(sql: Sql, which: "all" | "drains" | "writers"): Promise<boolean> {
  await waitFor(async () => (await terminate(sql, which)) > 0);
  return true;
}

/** Give all sessions settings, for some time, and until a drain has come that has them. */
function withDefaults(settings: string): Fault {
  return async ({ database: { name, sql }, random }) => {
    for (const setting of settings.split(", ")) {
      await sql.unsafe(`alter database ${name} set ${setting}`);
    }
    await terminateSome(sql, "all");
    await waitFor(
      async () =>
        (await sql`select from pg_stat_activity where application_name = 'pg2kafka'`).length > 0,
    );
    await sleep(random(LASTING_MS_MAX));
    await sql.unsafe(`alter database ${name} reset all`);
    await terminate(sql, "all");
    return true;
  };
}

/** Take connections until none is left, for superusers neither. */
async function takeConnections(
  database: TestDatabase,
): Promise<{ taken: Sql[]; isRefused: boolean }> {
  const taken: Sql[] = [];
  let isRefused = false;
  while (!isRefused && taken.length <= CONNECTIONS_MAX) {
    const session = database.connect({ fetch_types: false });
    taken.push(session);
    isRefused = await session`select 1`.then(
      () => false,
      ({ code }) => code === "53300",
    );
  }
  return { taken, isRefused };
}

/** Of a REINDEX and a drain that reads the index and then writes, Postgres may pick either. */
async function rewrite(sql: Sql, statement: string): Promise<void> {
  await waitFor(() =>
    sql.unsafe(statement).then(
      () => true,
      (error: { code: string }) => {
        if (error.code !== "40P01") throw error;
        return false;
      },
    ),
  );
}

const TABLES = ["outbound_event_queue", "drain_log", "control", "external_id_relations"];

const FAULTS: Record<string, Fault> = {
  "stopped and started": async () => {
    await server.own.restart("fast");
    return true;
  },
  crash: async () => {
    await server.own.restart("immediate");
    return true;
  },
  "crash while a transaction is prepared": async ({ database, random }) => {
    const { sql } = database;
    const isKept = random(2) > 0;
    const note = isKept ? "prepared" : "ROLLED BACK";
    await sql.unsafe(`begin; select change('k0', '${note}', 1); prepare transaction 'prepared'`);
    await sleep(random(LASTING_MS_MAX));
    await server.own.restart("immediate");
    await sleep(random(LASTING_MS_MAX));
    await sql.unsafe(`${isKept ? "commit" : "rollback"} prepared 'prepared'`);
    return true;
  },
  "drain's sessions terminated": ({ database: { sql } }) => terminateSome(sql, "drains"),
  "writers' sessions terminated": ({ database: { sql } }) => terminateSome(sql, "writers"),
  "no connection left": async ({ database, drains, random }) => {
    const { taken } = await takeConnections(database);
    // Those of a drain that is at work are taken before the next one comes.
    await terminate(database.sql, "drains");
    const { taken: left, isRefused } = await takeConnections(database);
    // One that meets it has nothing to sum up.
    const refused = () => drains.ends.get("code 1") ?? 0;
    const before = refused();
    await waitFor(async () => refused() > before, { timeoutMs: REFUSED_MS });
    await sleep(random(LASTING_MS_MAX));
    await Promise.all([...taken, ...left].map((session) => session.end({ timeout: 1 })));
    return isRefused;
  },
  "read-only": withDefaults("default_transaction_read_only = on"),
  "short timeouts": withDefaults(
    "statement_timeout = '4ms', lock_timeout = '1ms', idle_in_transaction_session_timeout = '4ms'",
  ),
  SERIALIZABLE: withDefaults("default_transaction_isolation = 'serializable'"),
  "commits not waited for": withDefaults("synchronous_commit = off"),
  "tables rewritten": async ({ database: { sql } }) => {
    for (const table of TABLES) {
      await rewrite(sql, `vacuum (full, analyze) pg2kafka.${table}`);
      await rewrite(sql, `reindex table pg2kafka.${table}`);
    }
    await rewrite(
      sql,
      "cluster pg2kafka.outbound_event_queue_0 using outbound_event_queue_0_id_idx",
    );
    return true;
  },
  "a snapshot held open": async ({ database, random }) => {
    const reader = database.connect();
    await reader.unsafe("begin isolation level repeatable read; select from rows limit 1");
    await sleep(random(LASTING_MS_MAX));
    await reader.unsafe("commit");
    return true;
  },
};

/** Of the others the short form has no time to make drains anew. */
const SHORT = ["crash while a transaction is prepared", "no connection left", "short timeouts"];
const faults = ofSize({
  short: Object.fromEntries(Object.entries(FAULTS).filter(([name]) => SHORT.includes(name))),
  long: FAULTS,
});

describe("Postgres is lost, or not as it was", () => {
  test.each(MODES)("$delivery, lanes: $lanes", async (mode) => {
    await runTrial({
      ...mode,
      database: server.database,
      brokers: cluster.brokers,
      times: TIMES,
      faults,
    });
    expect(await server.sql`select from pg2kafka.nested_statements`).toHaveLength(0);
  });
});
