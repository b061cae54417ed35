import { describe, expect, test } from "vitest";
import type { DrainReport } from "../../functions/core/drain.ts";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { createTopic } from "../local/topics.ts";
import { newest, useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  DRAIN_MS,
  drainSession,
  drainToKafka,
  type Environment,
  enqueue,
  enqueueMany,
  idleGeneration,
  one,
  type Received,
  receive,
  writer,
} from "./support.ts";

const server = useDatabase(newest);
const cluster = useKafka();
const topic = () => `pg2kafka.${server.database.name}.t`;

function drainLane(lane: number, lanes: number, env: Environment = {}): Promise<DrainReport> {
  return drainToKafka(server.database, cluster.brokers, {
    LANE: String(lane),
    LANES: String(lanes),
    ...env,
  });
}

/** All lanes at once, as the schedule starts them. */
function drainLanes(lanes: number, env: Environment = {}): Promise<DrainReport[]> {
  return Promise.all(Array.from({ length: lanes }, (_, lane) => drainLane(lane, lanes, env)));
}

/** All lanes, tick after tick, until each says that it is through. */
async function drainAll(lanes: number, env: Environment = {}): Promise<DrainReport[][]> {
  const ticks: DrainReport[][] = [];
  for (let tick = 0; tick < TICKS_MAX; tick++) {
    const reports = await drainLanes(lanes, env);
    ticks.push(reports);
    if (reports.every(({ drained, delivered }) => drained && delivered === 0)) return ticks;
  }
  throw new Error(`The lanes are not through after ${TICKS_MAX} ticks.`);
}

const TICKS_MAX = 60;
/** A drain has so little time that it ends in mid-backlog, after a batch or before. */
const ONE_BATCH: Environment = { MARGIN_MS: String(DRAIN_MS - 50), BATCH_EVENTS_MAX: "50" };

async function messages(): Promise<Received[]> {
  return await receive(cluster.brokers, topic());
}

const delivered = (reports: DrainReport[]) => reports.map((report) => report.delivered);
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);

/** Events of `keys` rows, numbered; what a consumer gets of a key must be in this order. */
async function enqueueNumbered(count: number, from = 0, keys = 40): Promise<void> {
  await server.sql.unsafe(
    `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
     select 'k' || n % ${keys}, 't', 'UPDATE', json_build_object('n', n)
     from generate_series(${from}, ${from + count - 1}) n`,
  );
}

async function expectEachOnceInOrder(count: number): Promise<void> {
  const received = await messages();
  const numbers = received.map(({ data }) => Number(data!["n"]));
  expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, n) => n));
  for (const [key, ofKey] of Map.groupBy(received, ({ key }) => key)) {
    const own = ofKey.map(({ data }) => Number(data!["n"]));
    expect(own, `${key}`).toEqual([...own].sort((a, b) => a - b));
  }
}

describe("lanes", () => {
  test.each([1, 2, 4])("%i deliver each event once, each lane its share", async (lanes) => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    await enqueueNumbered(400);
    const reports = await drainLanes(lanes);
    for (const report of reports) {
      expect(report).toMatchObject({ drained: true, stopped: null });
      expect(report.delivered).toBeGreaterThan(0);
    }
    expect(sum(delivered(reports))).toBe(400);
    await expectEachOnceInOrder(400);
    await enqueueNumbered(100, 400);
    expect(sum(delivered(await drainLanes(lanes)))).toBe(100);
    await expectEachOnceInOrder(500);
  });

  test("events without key are the first lane's", async () => {
    await createTopic(cluster.brokers, topic());
    await drainLanes(3);
    await enqueue(server.sql, ...Array.from({ length: 5 }, () => ({ key: null })));
    expect(delivered(await drainLanes(3))).toEqual([5, 0, 0]);
  });

  test("changing their number in mid-backlog loses, repeats and reorders nothing", async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    const late = writer(server.database);
    let events = 0;
    const write = async (count: number) => {
      await enqueueNumbered(count, events);
      events += count;
    };
    for (const [lanes, ticks] of [
      [2, 2],
      [4, 3],
      [1, 2],
      [3, 3],
      [2, 2],
      [4, 2],
    ] as const) {
      await late.unsafe("begin");
      await late.unsafe("select pg_current_xact_id()");
      await write(300);
      for (let tick = 0; tick < ticks; tick++) await drainLanes(lanes, ONE_BATCH);
      await write(30);
      await late.unsafe("commit");
    }
    for (const lanes of [4, 1, 2]) await drainAll(lanes);
    await expectEachOnceInOrder(events);
  });

  test("a lane left over by a smaller number is not forgotten", async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    await drainLanes(4);
    await enqueueNumbered(200);
    for (const lane of [0, 1]) await drainLane(lane, 4);
    await drainAll(1);
    await expectEachOnceInOrder(200);
  });

  test("while a lane's lease runs, they are not arranged anew; the others stop", async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    await drainLanes(2);
    await enqueueNumbered(100);
    const queue = createQueue(drainSession(server.database), { lane: 1, lanes: 2 });
    const held = (await queue.takeLease(60_000))!;
    expect(held.lease.share).toEqual({ lane: 1, lanes: 2 });

    expect(await drainLane(0, 4)).toMatchObject({ delivered: 0, stopped: { code: "LEASED" } });
    expect(await drainLane(0, 2)).toMatchObject({ delivered: 0, stopped: { code: "LEASED" } });
    const nothing = { parked: [], retried: [], unparked: [] };
    const parkedMax = { eventsMax: 1, bytesMax: 1 };
    await queue.settle(held.lease, 0, { position: held.position, ...nothing }, parkedMax);
    expect(held.lease.isGathering).toBe(true);
    await drainAll(4);
    await expectEachOnceInOrder(100);
  });

  test("a TRUNCATE comes after all keys' earlier events, and before the later ones", async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    await drainLanes(4);
    for (let round = 0; round < 3; round++) {
      const data = JSON.stringify({ round });
      const rows = Array.from({ length: 30 }, (_, key) => ({ key: String(key), data }));
      await enqueue(server.sql, ...rows, { key: null, statement: "TRUNCATE" });
    }
    await drainAll(4, { BATCH_EVENTS_MAX: "7" });
    for (const ofPartition of Map.groupBy(
      await messages(),
      ({ partition }) => partition,
    ).values()) {
      let round = 0;
      for (const { statement, data } of ofPartition) {
        if (statement === "TRUNCATE") round += 1;
        else expect(data).toEqual({ round });
      }
      expect(round).toBe(3);
    }
    expect(await messages()).toHaveLength(3 * 30 + 3 * 3);
    await enqueueMany(server.sql, 40);
    const spread = await drainLanes(4);
    for (const { delivered } of spread) expect(delivered).toBeGreaterThan(0);
  });

  test("what all have delivered gives its space back, though one has nothing to send", async () => {
    await createTopic(cluster.brokers, topic());
    await drainLanes(2);
    const generation = idleGeneration();
    await enqueue(server.sql, ...Array.from({ length: 5 }, () => ({ key: null, generation })));
    const size = async () =>
      await one<{ rows: number }>(
        server.sql,
        `select count(*)::int as rows from pg2kafka.outbound_event_queue_${generation}`,
      );
    expect(await size()).toEqual({ rows: 5 });
    for (let tick = 0; tick < 3; tick++) await drainLanes(2);
    expect(await size()).toEqual({ rows: 0 });
  });

  test("a parked event waits in its lane; a parked TRUNCATE holds all of them back", async () => {
    await drainLanes(2);
    await enqueue(server.sql, "a", "b", "c", "d");
    const parked = await drainLanes(2);
    expect(sum(parked.map((report) => report.parked))).toBe(4);
    await enqueue(server.sql, { key: null, statement: "TRUNCATE" }, "a", "b", "e");
    await drainLanes(2);
    await drainLanes(2);
    await createTopic(cluster.brokers, topic());
    await drainAll(2);
    await drainAll(2);
    const statements = (await messages()).map(({ key, statement }) => key ?? statement);
    expect(statements.slice(0, 4).sort()).toEqual(["a", "b", "c", "d"]);
    expect(statements[4]).toBe("TRUNCATE");
    expect(statements.slice(5).sort()).toEqual(["a", "b", "e"]);
  });

  test("status() counts what waits in each of them, also while they are gathered", async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    const backlog = async () =>
      (await one<{ backlog: number }>(server.sql, "select backlog::int from pg2kafka.status()"))
        .backlog;
    await drainLanes(4);
    await enqueueNumbered(400);
    expect(await backlog()).toBe(400);
    let left = 400 - sum(delivered(await drainLanes(4, ONE_BATCH)));
    expect(await backlog()).toBe(left);
    await enqueueNumbered(10, 400);
    expect(await backlog()).toBe(left + 10);
    for (let tick = 0; tick < 3; tick++) {
      left -= sum(delivered(await drainLanes(2, ONE_BATCH)));
      expect(await backlog()).toBe(left + 10);
    }
    await drainAll(2);
    expect(await backlog()).toBe(0);
  });
});
