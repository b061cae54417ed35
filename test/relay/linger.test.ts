import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { isRegularStop } from "../../functions/core/drain.ts";
import { newest, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  drainTable,
  drainToKafka,
  type Environment,
  enqueue,
  expireLeases,
  one,
  receiveNew,
} from "./support.ts";

const server = useDatabase(newest);
const cluster = useKafka();
const LINGER: Environment = { LINGER: "true" };
/** Of a drain's time, `support.ts` keeps this long a margin. */
const MARGIN_MS = 3_000;

/** A drain that lingers for so long, its margin not counted. */
function linger(ms: number, env: Environment = {}) {
  const options = { timeoutMs: ms + MARGIN_MS };
  return drainToKafka(server.database, cluster.brokers, { ...LINGER, ...env }, options);
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

describe("LINGER=true", () => {
  test("one invocation delivers what is committed while it waits", async () => {
    await makeTopic();
    const lingering = linger(4_500);
    const keys: string[] = [];
    for (let n = 0; n < 10; n++) {
      await enqueue(server.sql, `${n}`);
      keys.push(`${n}`);
      await waitFor(async () => (await receiveNew(server.database, cluster.brokers)).length > 0);
    }
    const report = await lingering;
    expect(report).toMatchObject({ delivered: 10, drained: true, lagMs: 0, stopped: null });
    // One event at a time: none waited for another.
    expect(report.batches).toBe(10);
  });

  test("a transaction that commits late is not overlooked", async () => {
    await makeTopic();
    const late = server.database.connect({ max: 1 });
    await late.unsafe("begin");
    await enqueue(late, "late");
    await enqueue(server.sql, "early");
    const lingering = linger(2_500);
    await waitFor(async () => (await keysNow()).includes("early"));
    await late.unsafe("commit");
    await waitFor(async () => (await keysNow()).includes("late"));
    expect(await lingering).toMatchObject({ delivered: 2, stopped: null });
  });

  test("idle, it writes nothing and asks less than five times a second", async () => {
    await makeTopic();
    const queries = async () =>
      await one<{ count: number }>(
        server.sql,
        `select xact_commit::int as count from pg_stat_database where datname = current_database()`,
      );
    const lingering = linger(4_500);
    await waitFor(async () => (await log()).isLeased);
    const before = { ...(await log()), ...(await queries()) };
    await sleep(3_000);
    const after = { ...(await log()), ...(await queries()) };
    expect(after.entries).toBe(before.entries);
    // Of these, up to six are this test's own; until the pauses are long, there are 30 more.
    expect(after.count - before.count).toBeLessThan(3 * 5 + 30 + 6);
    await lingering;
    expect(await log()).toEqual({ entries: before.entries + 1, isLeased: false });
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
    const ticks = [];
    for (let tick = 0; tick < 3; tick++) {
      ticks.push(linger(3_000));
      await sleep(2_000);
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
    const first = linger(5_000);
    await waitFor(async () => (await log()).isLeased);
    await expireLeases(server.sql);
    const second = linger(3_000);
    await waitFor(async () => (await log()).isLeased);
    await enqueue(server.sql, "a", "b");
    await waitFor(async () => (await keysNow()).includes("b"));
    const reports = await Promise.all([first, second]);
    for (const { stopped } of reports) expect(isRegularStop(stopped)).toBe(true);
    expect(reports.map(({ delivered }) => delivered).sort()).toEqual([0, 2]);
    expect(await drainToKafka(server.database, cluster.brokers)).toMatchObject({ delivered: 0 });
  });

  test("pause() ends it before its next batch", async () => {
    await makeTopic();
    const lingering = linger(20_000);
    await waitFor(async () => (await log()).isLeased);
    await server.sql`select pg2kafka.pause()`;
    await enqueue(server.sql, "waits");
    expect(await lingering).toMatchObject({ delivered: 0, stopped: { code: "PAUSED" } });
    await server.sql`select pg2kafka.resume()`;
    expect(await drainToKafka(server.database, cluster.brokers)).toMatchObject({ delivered: 1 });
  });
});
