import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres, { type Sql } from "postgres";
import type { Bench } from "./bench.ts";
import { processSeconds, serverCpu } from "./cpu.ts";

/** Until a drain polls as seldom as it will. */
const SETTLE_MS = 10_000;
const IDLE_MS = 10_000;

/** The first word of what was sent; of several statements together the first that is not about their
 *  transaction. */
const LOGGED = /LOG: {2}(?:statement|execute [^:]*):\s*(?:set transaction[^;]*;\s*)?(\w+)/g;

/** What a lingering drain costs while nothing happens. */
export interface Idle {
  /** Percent of a core. */
  drainPercent: number;
  postgresPercent: number;
  /** A second; BEGIN, COMMIT and SET are none. */
  queries: number;
  transactions: number;
}

/**
 * Watch a process that lingers. Nothing else may use the server.
 *
 * Side effect: the server logs all statements meanwhile.
 *
 * @param pid of the drain
 * @param database that it drains
 */
export async function measureIdle(bench: Bench, pid: number, database: string): Promise<Idle> {
  const scale = bench.isQuick ? 0.2 : 1;
  const sql = postgres(bench.postgres.url, { max: 1, onnotice: () => {} });
  const log = join(dirname(bench.postgres.dataDir), "postgres.log");
  const kafka = await bench.kafka();
  try {
    await sleep(SETTLE_MS * scale);
    const before = {
      transactions: await readTransactions(sql, database),
      drain: processSeconds(pid),
      postgres: serverCpu(bench.postgres, kafka).postgres,
    };
    await sleep(IDLE_MS * scale);
    const seconds = (IDLE_MS * scale) / 1_000;
    const percent = (cpuSeconds: number) => (cpuSeconds / seconds) * 100;
    const drainPercent = percent(processSeconds(pid) - before.drain);
    const { postgres } = serverCpu(bench.postgres, kafka);
    const postgresPercent = percent(postgres - before.postgres);
    const transactions = (await readTransactions(sql, database)) - before.transactions;

    // Apart from the above: logging costs as well.
    await logStatements(sql, "all");
    const logFrom = statSync(log).size;
    await sleep(IDLE_MS * scale);
    const text = readFileSync(log).subarray(logFrom).toString();
    await logStatements(sql, "none");
    const statements = [...text.matchAll(LOGGED)];
    const queries = statements.filter(([, word]) => !/^(begin|commit|set|alter)$/i.test(word!));
    return {
      drainPercent,
      postgresPercent,
      queries: queries.length / seconds,
      transactions: transactions / seconds,
    };
  } finally {
    await sql.end();
  }
}

async function logStatements(sql: Sql, which: "all" | "none"): Promise<void> {
  await sql.unsafe(`alter system set log_statement = '${which}'`);
  await sql`select pg_reload_conf()`;
}

async function readTransactions(sql: Sql, database: string): Promise<number> {
  const [row] = await sql<{ count: string }[]>`
    select xact_commit + xact_rollback as count from pg_stat_database where datname = ${database}`;
  return Number(row!.count);
}
