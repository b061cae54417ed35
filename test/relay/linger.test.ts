import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { type DrainReport, isRegularStop } from "../../functions/core/drain.ts";
import { newest, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  drainTable,
  drainToKafka,
  type Environment,
  enqueue,
  expireLeases,
  MARGIN_MS,
  one,
  receiveNew,
} from "./support.ts";

const server = useDatabase(newest);
const cluster = useKafka();
const LINGER: Environment = { LINGER: "true" };

/** A drain that lingers for so long, its margin not counted. */
function linger(ms: number, sql?: Sql) {
  const options = { timeoutMs: ms + MARGIN_MS, ...(sql && { sql }) };
  return drainToKafka(server.database, cluster.brokers, LINGER, options);
}

/** Longer than any test works; pause() ends it. */
const LONG_MS = 120_000;

/** Lingering drains are at its next batch when they find that they are paused. */
async function pauseDrains(): Promise<void> {
  await server.sql`select pg2kafka.pause()`;
  await enqueue(server.sql, "wakes");
}

async function makeTopic(): Promise<void> {
  await drainTable(server.database, cluster.brokers);
}

async function keysNow(): Promise<(string | null)[]> {
  return (await receiveNew(server.database, cluster.brokers)).map(({ key }) => key);
}

interface Log {
  entries: number;
  isLeased: boolean;
}

async function log(): Promise<Log> {
  return await one<Log>(
    server.sql,
    `select (select max(number)::int from pg2kafka.drain_log) as entries, is_leased as "isLeased"
     from pg2kafka.read_state(0, 1)`,
  );
}

/** Of the last lease that was taken. */
async function token(): Promise<number> {
  const { token } = await one<{ token: number }>(
    server.sql,
    "select coalesce(max((lanes -> 0 ->> 'token')::int), 0) as token from pg2kafka.drain_log",
  );
  return token;
}

describe("LINGER=true", () => {
  test("one invocation delivers what is committed while it waits", async () => {
    await makeTopic();
    const lingering = linger(LONG_MS);
    await waitFor(async () => (await log()).isLeased);
    for (let n = 0; n < 10; n++) {
      const { entries } = await log();
      await enqueue(server.sql, `${n}`);
      await waitFor(async () => (await log()).entries > entries);
    }
    await pauseDrains();
    // One event at a time: none waited for another.
    expect(await lingering).toMatchObject({ delivered: 10, batches: 10 });
    expect(await keysNow()).toEqual(Array.from({ length: 10 }, (_, n) => `${n}`));
  });

  test("a transaction that commits late is not overlooked", async () => {
    await makeTopic();
    const late = server.database.connect({ max: 1 });
    await late.unsafe("begin");
    await enqueue(late, "late");
    await enqueue(server.sql, "early");
    const lingering = linger(LONG_MS);
    await waitFor(async () => (await keysNow()).includes("early"));
    await late.unsafe("commit");
    await waitFor(async () => (await keysNow()).includes("late"));
    await pauseDrains();
    expect(await lingering).toMatchObject({ delivered: 2 });
  });

  test("idle, it writes nothing and asks less than five times a second", async () => {
    await makeTopic();
    await enqueue(server.sql, "first");
    /** When it looked whether there was work. */
    const looks: number[] = [];
    const sql = server.database.connect({
      max: 3,
      prepare: false,
      fetch_types: false,
      debug: (_, query) => {
        if (query.includes("pg2kafka.has_work(")) looks.push(performance.now());
      },
    });
    const { entries } = await log();
    const lingering = linger(LONG_MS, sql);
    // Until the pauses are long, there are 30.
    await waitFor(() => looks.length > 35);
    // Taking the lease, and the batch.
    expect(await log()).toEqual({ entries: entries + 2, isLeased: true });
    for (const [n, ms] of looks.slice(31).entries())
      expect(ms - looks[30 + n]!).toBeGreaterThan(200);
    await pauseDrains();
    expect(await lingering).toMatchObject({ delivered: 1 });
  });

  test("it ends when its time is up, and gives the lease back", async () => {
    await makeTopic();
    await enqueue(server.sql, "first");
    const report = await linger(4_000);
    expect(report).toMatchObject({ delivered: 1, drained: true, lagMs: 0, stopped: null });
    expect((await log()).isLeased).toBe(false);
  });

  test("the next tick waits for it, and takes over without a gap or an error", async () => {
    await makeTopic();
    let isOver = false;
    let events = 0;
    const writing = (async () => {
      while (!isOver) {
        await enqueue(server.sql, `${events++}`);
        await sleep(10);
      }
    })();
    // Each tick waits while the one before has the lease, and has it for seconds then.
    const ticks: Promise<DrainReport>[] = [];
    let lastToken = 0;
    for (const ms of [2_500, 6_000, 6_000]) {
      ticks.push(linger(ms));
      const before = lastToken;
      await waitFor(async () => {
        lastToken = await token();
        return lastToken > before;
      });
    }
    const reports = await Promise.all(ticks);
    isOver = true;
    await writing;
    const rest = await drainToKafka(server.database, cluster.brokers);
    const delivered = [...reports, rest].reduce((sum, report) => sum + report.delivered, 0);
    expect(delivered).toBe(events);
    for (const { stopped } of reports) expect(isRegularStop(stopped)).toBe(true);
    expect(reports.filter((report) => report.delivered > 0)).toHaveLength(3);
    expect(await keysNow()).toEqual(Array.from({ length: events }, (_, n) => `${n}`));
  });

  test("one whose lease ran out while it was idle lets the other one work", async () => {
    await makeTopic();
    // It waits for the lease again as long as it has time, paused or not.
    const first = linger(8_000);
    await waitFor(async () => (await log()).isLeased);
    await expireLeases(server.sql);
    const second = linger(LONG_MS);
    await waitFor(async () => (await log()).isLeased);
    await enqueue(server.sql, "a", "b");
    await waitFor(async () => (await keysNow()).includes("b"));
    await pauseDrains();
    const reports = await Promise.all([first, second]);
    for (const { stopped } of reports) expect(isRegularStop(stopped)).toBe(true);
    expect(reports.map(({ delivered }) => delivered).sort()).toEqual([0, 2]);
    await server.sql`select pg2kafka.resume()`;
    expect(await drainToKafka(server.database, cluster.brokers)).toMatchObject({ delivered: 1 });
  });

  test("pause() ends it before its next batch", async () => {
    await makeTopic();
    const lingering = linger(LONG_MS);
    await waitFor(async () => (await log()).isLeased);
    await server.sql`select pg2kafka.pause()`;
    await enqueue(server.sql, "waits");
    expect(await lingering).toMatchObject({ delivered: 0, stopped: { code: "PAUSED" } });
    await server.sql`select pg2kafka.resume()`;
    expect(await drainToKafka(server.database, cluster.brokers)).toMatchObject({ delivered: 1 });
  });
});
