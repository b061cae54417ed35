import { beforeEach, describe, expect, test } from "vitest";
import type { DrainReport } from "../../functions/core/drain.ts";
import { createTopic, limitMessages, readTopic } from "../local/topics.ts";
import { useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { drainInto, drainToKafka, enqueue, enqueueMany, kafkaProducer, one } from "./support.ts";

/* Much of what waits is refused by Kafka: the rest goes on, and a drain comes forward each time. */

const server = useDatabase();
const cluster = useKafka();
const topic = (table = "t") => `pg2kafka.${server.database.name}.${table}`;
const keys = async (table = "t") =>
  (await readTopic(cluster.brokers, topic(table))).map(({ key }) => key);
const countParked = async () =>
  (await one<{ count: number }>(server.sql, "select count(*)::int from pg2kafka.parked_events"))
    .count;

const DELIVERIES = ["at-least-once", "exactly-once"] as const;

describe.each(DELIVERIES)("%s", (delivery) => {
  const drain = (env = {}) =>
    drainToKafka(server.database, cluster.brokers, {
      DELIVERY: delivery,
      KAFKA_BROKER: cluster.brokers.join(","),
      ...env,
    });

  test("a whole table without keys, into a topic that wants them: it is parked, and other tables are delivered", async () => {
    await createTopic(cluster.brokers, topic(), { configs: { "cleanup.policy": "compact" } });
    await createTopic(cluster.brokers, topic("u"));
    await server.sql`
      insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
      select null, 't', 'INSERT', '{}' from generate_series(1, 900)`;
    await enqueue(server.sql, { key: "live", table: "u" });
    expect(await drain()).toMatchObject({ parked: 900, drained: true, stopped: null });
    // At least once: with each of the batches that were too much.
    expect(new Set(await keys("u"))).toEqual(new Set(["live"]));
    if (delivery === "exactly-once") expect(await keys("u")).toHaveLength(1);

    // All at once again, when somebody asks.
    await server.sql`select pg2kafka.requeue()`;
    await enqueue(server.sql, { key: "later", table: "u" });
    expect(await drain()).toMatchObject({ delivered: 1, drained: true, stopped: null });
    expect(await countParked()).toBe(900);
    expect((await keys("u")).at(-1)).toBe("later");
  });

  test("replays of a topic that takes none of it: live events go on", async () => {
    await createTopic(cluster.brokers, topic());
    await createTopic(cluster.brokers, topic("u"));
    const env = { PARKED_EVENTS_MAX: "300", BATCH_EVENTS_MAX: "100" };
    await enqueueMany(server.sql, 200, { data: JSON.stringify({ text: "x".repeat(500) }) });
    expect(await drain(env)).toMatchObject({ delivered: 200, parked: 0 });
    await limitMessages(cluster.brokers, topic(), 300);
    for (let replays = 0; replays < 3; replays++) await server.sql`select pg2kafka.replay()`;
    const live = ["1", "2", "3"];
    for (const key of live) {
      await enqueue(server.sql, { key, table: "u" });
      expect(await drain(env)).toMatchObject({ delivered: 1, stopped: null });
    }
    // A quarter is left.
    expect(await countParked()).toBe(225);
    expect(await keys("u")).toEqual(live);
  });

  test.each([1, 2])(
    "a snapshot of a table that is refused, %i lanes: live events go on",
    async (lanes) => {
      await createTopic(cluster.brokers, topic("s"));
      await createTopic(cluster.brokers, topic("u"));
      await server.sql.unsafe(`
      create table s (id int primary key, v text);
      select pg2kafka.setup('s', 'id');
      alter table s disable trigger user;
      insert into s select n, repeat('x', 500) from generate_series(1, 3000) n;
      alter table s enable trigger user;`);
      const drains = () =>
        Promise.all(
          Array.from({ length: lanes }, (_, lane) =>
            drain({ LANES: String(lanes), LANE: String(lane), PARKED_EVENTS_MAX: "400" }),
          ),
        );
      await drains();
      await limitMessages(cluster.brokers, topic("s"), 300);
      await server.sql`select pg2kafka.snapshot('s')`;
      const live: string[] = [];
      for (let tick = 0; tick < 3; tick++) {
        const more = Array.from({ length: 8 }, (_, n) => `${tick}.${n}`);
        live.push(...more);
        await enqueue(server.sql, ...more.map((key) => ({ key, table: "u" })));
        for (const { stopped } of await drains()) expect(stopped).toBeNull();
        expect((await keys("u")).sort()).toEqual(live.sort());
        expect(await countParked()).toBeLessThanOrEqual(300);
      }
      expect(await countParked()).toBeGreaterThan(100);
    },
  );

  describe("as much as may be parked", () => {
    const LARGE = JSON.stringify("x".repeat(9_000));
    beforeEach(() =>
      createTopic(cluster.brokers, topic(), { configs: { "max.message.bytes": "5000" } }),
    );

    test("in events: each tick sends nothing again, and nothing behind", async () => {
      const large = ["large 1", "large 2"].map((key) => ({ key, data: LARGE }));
      await enqueue(server.sql, "a", "b", "c", ...large, "d");
      const full = { PARKED_EVENTS_MAX: "1" };
      expect((await drain(full)).stopped).toMatchObject({ code: "PARKED_FULL" });
      const after = await keys();
      if (delivery === "exactly-once") expect(after).toEqual(["a", "b", "c"]);
      for (let tick = 0; tick < 2; tick++) {
        expect((await drain(full)).stopped).toMatchObject({ code: "PARKED_FULL" });
        expect(await keys()).toEqual(after);
      }
      expect(await drain({ PARKED_EVENTS_MAX: "2" })).toMatchObject({ parked: 1, drained: true });
      expect(await keys()).toEqual([...after, "d"]);
    });

    const truncate = { key: null, table: "u", statement: "TRUNCATE" };
    test.each([
      ["", []],
      [", before a TRUNCATE", [truncate]],
    ])(
      "in bytes%s: what has room is parked, and each tick sends nothing again",
      async (_, behind) => {
        const env = { PARKED_BYTES_MAX: "1048576", BATCH_BYTES_MAX: "8388608" };
        const data = JSON.stringify("x".repeat(400_000));
        const large = [1, 2, 3, 4].map((nth) => ({ key: `large ${nth}`, data }));
        await createTopic(cluster.brokers, topic("u"));
        await enqueue(server.sql, "a", ...large, "b", ...behind);
        await drain(env);
        expect(await countParked()).toBe(3);
        const after = await keys();
        for (let tick = 0; tick < 2; tick++) {
          expect((await drain(env)).stopped).toMatchObject({ code: "PARKED_FULL" });
          expect(await keys()).toEqual(after);
        }
      },
    );

    test("one event that is larger than all that: what follows it finds room all the same", async () => {
      const env = { PARKED_BYTES_MAX: "1048576", MESSAGE_BYTES_MAX: "900000" };
      const huge = { key: "huge", data: JSON.stringify("x".repeat(2_000_000)) };
      const gone = { key: "huge", statement: "DELETE" };
      await enqueue(server.sql, huge, "a", { key: "large", data: LARGE }, gone, "b");
      expect(await drain(env)).toMatchObject({ parked: 3, drained: true, stopped: null });
      expect(new Set(await keys())).toEqual(new Set(["a", "b"]));
    });
  });
});

/**
 * @param isInTime whether a batch of so many messages is sent in time; default all are
 * @returns how many messages each batch had, too
 */
async function drainCounting(
  isInTime?: (messages: number) => boolean,
): Promise<{ report: DrainReport; sizes: number[] }> {
  const real = kafkaProducer(server.database, cluster.brokers);
  const sizes: number[] = [];
  const report = await drainInto(server.database, {
    ...real,
    async send(messages, options) {
      sizes.push(messages.length);
      const mayStart = isInTime && { mayStart: () => isInTime(messages.length) };
      return await real.send(messages, { ...options, ...mayStart });
    },
  });
  return { report, sizes };
}

test("messages whose search takes many requests, each alone among others that Kafka takes: not all at once", async () => {
  await createTopic(cluster.brokers, topic(), { configs: { "cleanup.policy": "compact" } });
  await server.sql`
    insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
    select case when n % 40 > 0 then n end, 't', 'INSERT', '{}' from generate_series(1, 2000) n`;
  const { sizes } = await drainCounting();
  expect(sizes.slice(0, 2)).toEqual([2_000, 50]);
  expect(await countParked()).toBe(50);
});

test("a batch that takes longer than the lease: smaller ones, while there is time", async () => {
  await createTopic(cluster.brokers, topic());
  await enqueueMany(server.sql, 1_000);
  const { report, sizes } = await drainCounting((messages) => messages <= 20);
  expect(sizes.slice(0, 3)).toEqual([1_000, 50, 13]);
  expect(report).toMatchObject({ delivered: 1_000, drained: true, stopped: null });
  expect(new Set(await keys()).size).toBe(1_000);
});

test("messages that are refused one by one are looked for in smaller batches, which grow again", async () => {
  await createTopic(cluster.brokers, topic(), { configs: { "cleanup.policy": "compact" } });
  await server.sql`
    insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
    select null, 't', 'INSERT', '{}' from generate_series(1, 300)`;
  await createTopic(cluster.brokers, topic("u"));
  await server.sql`
    insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
    select n, 'u', 'INSERT', '{}' from generate_series(1, 1000) n`;
  const { sizes } = await drainCounting();
  expect(sizes).toEqual([1_300, ...Array(8).fill(50), 100, 200, 400, 200]);
});

test("a topic that takes less than a batch, and each of its messages: all of it is one batch", async () => {
  await createTopic(cluster.brokers, topic(), { configs: { "max.message.bytes": "8000" } });
  await enqueueMany(server.sql, 1_000, { data: JSON.stringify("x".repeat(1_000)) });
  const report = await drainToKafka(server.database, cluster.brokers);
  expect(report).toMatchObject({ delivered: 1_000, batches: 1, parked: 0 });
  expect(await keys()).toHaveLength(1_000);
});

test("where nothing more may be parked, what Kafka takes is not held up", async () => {
  await createTopic(cluster.brokers, topic("u"));
  await enqueue(server.sql, "refused");
  const env = { PARKED_EVENTS_MAX: "1" };
  expect(await drainToKafka(server.database, cluster.brokers, env)).toMatchObject({ parked: 1 });
  await server.sql`
    insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
    select n, 'u', 'INSERT', '{}' from generate_series(1, 1000) n`;
  const report = await drainToKafka(server.database, cluster.brokers, env);
  // 1, 1, 2, 4 … 256, 488.
  expect(report).toMatchObject({ delivered: 1_000, batches: 11, stopped: null });
});

test("the least that may be parked is enough for a snapshot", async () => {
  await server.sql.unsafe(`
    create table s (id int primary key);
    insert into s values (1), (2), (3);
    select pg2kafka.setup('s', 'id');`);
  await createTopic(cluster.brokers, topic("s"));
  const env = { PARKED_EVENTS_MAX: "1" };
  await drainToKafka(server.database, cluster.brokers, env);
  await server.sql`select pg2kafka.snapshot('s')`;
  const report = await drainToKafka(server.database, cluster.brokers, env);
  expect(report).toMatchObject({ snapshotRows: 3, isSnapshotting: false, drained: true });
});
