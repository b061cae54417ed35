import { randomUUID } from "node:crypto";
import type { Producer } from "kafkajs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTopic, kafkaClient } from "../local/topics.ts";
import { readCommitted } from "./committed.ts";
import { useKafka } from "./kafka.ts";

const cluster = useKafka();
let producers: Producer[];

beforeAll(async () => {
  producers = ["first", "second"].map((name) =>
    kafkaClient(cluster.brokers, { retries: 5 }).producer({
      transactionalId: `${name} ${randomUUID()}`,
      maxInFlightRequests: 1,
      idempotent: true,
    }),
  );
  for (const producer of producers) await producer.connect();
});
afterAll(async () => {
  for (const producer of producers) await producer.disconnect();
});

test("of two transactions that overlap, and of which the later one ends first, both are left out when they are aborted", async () => {
  const topic = `committed.${randomUUID()}`;
  await createTopic(cluster.brokers, topic);
  const [first, second] = [await producers[0]!.transaction(), await producers[1]!.transaction()];
  for (const [transaction, value] of [
    [first, "first"],
    [second, "second"],
  ] as const) {
    await transaction.send({ topic, messages: [{ key: value, value: `aborted: ${value}` }] });
  }
  await second.abort();
  await first.abort();
  const last = await producers[0]!.transaction();
  await last.send({ topic, messages: [{ key: "last", value: "committed" }] });
  await last.commit();
  const read = await readCommitted(cluster.brokers, topic);
  expect(read.map(({ value }) => value)).toEqual(["committed"]);
});
