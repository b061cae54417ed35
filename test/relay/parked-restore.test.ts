import { beforeEach, describe, expect, test } from "vitest";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { createTopic } from "../local/topics.ts";
import { newest, useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { configFor, drainSession, drainToKafka, enqueue, receive } from "./support.ts";

const server = useDatabase(newest, { superuser: true });
const cluster = useKafka();
const topic = () => `pg2kafka.${server.database.name}.t`;
const drainOnce = () => drainToKafka(server.database, cluster.brokers);

describe("what is parked when the database is restored", () => {
  const restore = () => server.sql`update pg2kafka.drain_log set system_identifier = 1`;
  const parked = () =>
    server.sql`select id::int, data ->> 'v' as v from pg2kafka.parked_events order by place`;
  /** What comes, in order, once there is a topic. */
  const expectAll = async (...values: number[]) => {
    await createTopic(cluster.brokers, topic());
    await drainOnce();
    const messages = await receive(cluster.brokers, topic());
    expect(messages.map(({ data }) => data)).toEqual(values.map((v) => ({ v })));
  };
  beforeEach(async () => {
    for (const v of [1, 2, 3]) await enqueue(server.sql, { key: "k", data: `{"v":${v}}` });
    await drainOnce();
    expect(await parked()).toMatchObject([{ v: "1" }, { v: "2" }, { v: "3" }]);
  });

  test("and is in the queue still: it keeps its order, wherever the next drain ends", async () => {
    await restore();
    // The drain ends after a batch.
    const { limits } = configFor(server.database);
    const queue = createQueue(drainSession(server.database), { lane: 0, lanes: 1 });
    const { lease, position } = (await queue.takeLease(limits.leaseMs))!;
    const two = { ...limits.batch, eventsMax: 2 };
    const batch = await queue.fetch(position, lease.drawnId, two);
    const refusal = {
      topic: topic(),
      code: "X",
      reason: "x",
      scope: "key",
      retriable: true,
    } as const;
    const again = batch.events.map(({ id }) => ({ id, ...refusal }));
    const settlement = {
      ...{ position: batch.after, parked: again, retried: [], unparked: [] },
      transaction: { sent: null, begun: null },
    };
    await queue.settle(lease, 0, settlement, limits.parked);
    await expectAll(1, 2, 3);
  });

  test("and some of it is in the queue still: what waits behind does not come before", async () => {
    const { sql } = server;
    await sql`delete from pg2kafka.outbound_event_queue where data ->> 'v' = '2'`;
    await restore();
    await expectAll(1, 2, 3);
  });

  test("by rows alone, and is not in the queue: new events do not take its ids", async () => {
    const { sql } = server;
    await sql`truncate pg2kafka.outbound_event_queue`;
    await sql`select setval('pg2kafka.outbound_event_queue_id', 1, false)`;
    await restore();
    await enqueue(sql, { key: "k", data: '{"v":4}' });
    await drainOnce();
    await enqueue(sql, { key: "k", data: '{"v":5}' });
    await drainOnce();
    expect((await parked()).map(({ v }) => v)).toEqual(["1", "2", "3", "4", "5"]);
    await expectAll(1, 2, 3, 4, 5);
  });
});

test("the ids of writers under way are not drawn again after a restore with its sequences", async () => {
  const { sql, database } = server;
  await enqueue(sql, { key: "a", table: "other" });
  await drainOnce();
  const writers = [database.connect(), database.connect()];
  await enqueue(sql, "1");
  await sql`update pg2kafka.drain_log set system_identifier = 1`;
  for (const writer of writers) {
    await writer.unsafe("begin");
    await enqueue(writer as never, "2");
  }
  await drainOnce();
  for (const writer of writers) await writer.unsafe("commit");
  await enqueue(sql, "3");
  const ids = await sql`select id from pg2kafka.outbound_event_queue where table_name = 't'`;
  expect(new Set(ids.map(({ id }) => id)).size).toBe(4);
});

describe.each([true, false])(
  "rows that are restored without the sequence, and writes before the first drain (topic: %s)",
  (isTopicThere) => {
    test.each([1, 2, 3])(
      "%i of them: nothing is lost, and they come behind what was restored",
      async (written) => {
        const { sql } = server;
        const restored = ["1", "2"];
        const fresh = Array.from({ length: written }, (_, n) => `${n + 3}`);
        const enqueueAll = async (values: string[]) => {
          for (const v of values) await enqueue(sql, { key: "k", data: `{"v":${v}}` });
        };
        await enqueue(sql, { key: "a", table: "other" });
        await drainOnce();
        await enqueueAll(restored);
        await sql`select setval('pg2kafka.outbound_event_queue_id', 1, false)`;
        await sql`update pg2kafka.drain_log set system_identifier = 1`;
        await enqueueAll(fresh);
        if (isTopicThere) await createTopic(cluster.brokers, topic());
        const env = { BATCH_EVENTS_MAX: "1" };
        const report = await drainToKafka(server.database, cluster.brokers, env);
        expect(report).toMatchObject({ restored: true, drained: true, stopped: null });
        if (!isTopicThere) {
          await createTopic(cluster.brokers, topic());
          await drainOnce();
        }
        const messages = await receive(cluster.brokers, topic());
        expect(messages.map(({ data }) => String((data as { v: number }).v))).toEqual([
          ...restored,
          ...fresh,
        ]);
      },
    );
  },
);
