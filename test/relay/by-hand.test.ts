import { expect, test } from "vitest";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { newest, useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { drainSession, drainTable, enqueue, NOTHING, PARKED_MAX, receiveNew } from "./support.ts";

/** What is done to pg2kafka's tables by hand. */

const server = useDatabase(newest);
const cluster = useKafka();
const MODES = ["at-least-once", "exactly-once"];

async function drainOnce(delivery: string) {
  const { database } = server;
  const env = { DELIVERY: delivery, KAFKA_BROKER: cluster.brokers.join(",") };
  const report = await drainTable(database, cluster.brokers, { env });
  const messages = await receiveNew(database, cluster.brokers);
  return { report, keys: messages.map(({ key }) => key) };
}

test.each(MODES)(
  "TRUNCATE and DELETE in the queue, %s: what waited is gone, the rest is sent",
  async (mode) => {
    const { sql } = server;
    await enqueue(sql, "a");
    expect((await drainOnce(mode)).keys).toEqual(["a"]);
    await enqueue(sql, "truncated");
    await sql`truncate pg2kafka.outbound_event_queue`;
    await enqueue(sql, "b", "deleted", "c");
    await sql`delete from pg2kafka.outbound_event_queue where external_id = 'deleted'`;
    const { report, keys } = await drainOnce(mode);
    expect(report).toMatchObject({ delivered: 2, drained: true, restored: false });
    expect(keys).toEqual(["b", "c"]);
  },
);

test.each(MODES)(
  "TRUNCATE of the drain's log, %s: all that is still there is sent again",
  async (mode) => {
    const { database, sql } = server;
    await enqueue(sql, "a", "b");
    expect((await drainOnce(mode)).keys).toEqual(["a", "b"]);
    const queue = createQueue(drainSession(database));
    const { lease, position } = (await queue.takeLease(60_000))!;
    await sql`truncate pg2kafka.drain_log`;
    await enqueue(sql, "c");

    const settling = queue.settle(lease, 60_000, { position, ...NOTHING }, PARKED_MAX);
    await expect(settling).rejects.toMatchObject({ code: "LEASE_LOST" });
    const { report, keys } = await drainOnce(mode);
    // Only Kafka remembers.
    expect(report).toMatchObject({ drained: true, restored: mode === "exactly-once" });
    expect(keys).toEqual(["a", "b", "c"]);
    expect((await drainOnce(mode)).report).toMatchObject({ delivered: 0, restored: false });
  },
);
