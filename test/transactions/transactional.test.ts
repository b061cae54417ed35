import { describe, expect, test } from "vitest";
import { ProduceError } from "../../functions/core/errors.ts";
import type { SendReport } from "../../functions/core/kafka/producer.ts";
import { freePort } from "../local/port.ts";
import { createTopic, kafkaClient } from "../local/topics.ts";
import { readCommitted } from "../support/committed.ts";
import { useKafka } from "../support/kafka.ts";
import { message } from "./message.ts";
import { messages, newBatch, newTopic, producerFor, settingsFor } from "./support.ts";

const cluster = useKafka();

function codes({ refused }: SendReport): [number, string][] {
  return [...refused]
    .map(([index, { code }]): [number, string] => [index, code])
    .sort(([a], [b]) => a - b);
}

async function valuesIn(topic: string): Promise<string[]> {
  return (await readCommitted(cluster.brokers, topic)).map(({ value }) => value);
}

/** The offset after what is committed or aborted in a topic's only partition. */
async function endOf(topic: string): Promise<number> {
  const admin = kafkaClient(cluster.brokers).admin();
  await admin.connect();
  const [partition] = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  return Number(partition!.high);
}

describe("the transactional producer", () => {
  test("commits each batch with its name, in order, and tells the last one to whoever fences", async () => {
    const topic = newTopic();
    await createTopic(cluster.brokers, topic);
    const settings = settingsFor(cluster.brokers);
    const producer = producerFor(settings);
    expect(await producer.fence()).toBeNull();
    const batches = [1, 2, 3].map(newBatch);
    for (const [n, batch] of batches.entries()) {
      expect(codes(await producer.send(messages(topic, n * 100, 100), batch))).toEqual([]);
    }
    expect(await producerFor(settings).fence()).toEqual(batches[2]);
    expect(await valuesIn(topic)).toEqual(Array.from({ length: 300 }, (_, n) => String(n)));
  });

  test("asks to be fenced before the first send, and takes no batch twice", async () => {
    const topic = newTopic();
    await createTopic(cluster.brokers, topic);
    const producer = producerFor(settingsFor(cluster.brokers));
    const batch = newBatch(1);
    await expect(producer.send([], batch)).rejects.toThrow("call fence() first");
    await producer.fence();
    await producer.send(messages(topic, 0, 1), batch);
    await expect(producer.send(messages(topic, 0, 1), batch)).rejects.toThrow("in Kafka already");
  });

  test("keeps the numbers that a bigint has, and other ids apart", async () => {
    const [one, other] = [settingsFor(cluster.brokers), settingsFor(cluster.brokers)];
    const batch = { ...newBatch(0), number: "9223372036854775807" };
    const producer = producerFor(one);
    await producer.fence();
    await producer.send([], batch);
    expect(await producerFor(one).fence()).toEqual(batch);
    expect(await producerFor(other).fence()).toBeNull();
  });

  test("a producer that another has fenced commits nothing more, and the other goes on", async () => {
    const topic = newTopic();
    await createTopic(cluster.brokers, topic);
    const settings = settingsFor(cluster.brokers);
    const [first, second] = [producerFor(settings), producerFor(settings)];
    await first.fence();
    await first.send(messages(topic, 0, 10), newBatch(1));
    await second.fence();
    const error = await first.send(messages(topic, 10, 10), newBatch(2)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ProduceError);
    expect(error).toMatchObject({ code: "FENCED", retriable: true });
    await second.send(messages(topic, 20, 10), newBatch(2));
    expect(await valuesIn(topic)).toEqual(
      [...Array(10).keys(), ...Array.from({ length: 10 }, (_, n) => n + 20)].map(String),
    );
  });

  test("a batch that may not go on is aborted, and nobody sees what was sent of it", async () => {
    const topic = newTopic();
    await createTopic(cluster.brokers, topic);
    const producer = producerFor(settingsFor(cluster.brokers, { requestBytesMax: 2_000 }));
    await producer.fence();
    let asked = 0;
    const sending = producer.send(messages(topic, 0, 100), newBatch(1), {
      mayStart: () => ++asked <= 4,
    });
    await expect(sending).rejects.toMatchObject({ code: "LEASE_TOO_SHORT" });
    expect(await valuesIn(topic)).toEqual([]);
    expect(await endOf(topic)).toBeGreaterThan(10);
    expect(await producer.fence()).toBeNull();
    await producer.send(messages(topic, 0, 100), newBatch(1));
    expect(await valuesIn(topic)).toHaveLength(100);
  });

  test("a message for all partitions is in each of them once, between those before and after it", async () => {
    const topic = newTopic();
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const producer = producerFor(settingsFor(cluster.brokers));
    await producer.fence();
    const truncate = { ...message(topic, null, "truncate"), broadcast: true };
    const content = [...messages(topic, 0, 30), truncate, ...messages(topic, 30, 30)];
    await producer.send(content, newBatch(1));
    const read = await readCommitted(cluster.brokers, topic);
    expect(read).toHaveLength(60 + 3);
    for (const partition of [0, 1, 2]) {
      const values = read.filter((one) => one.partition === partition).map(({ value }) => value);
      const [before, after] = [values.indexOf("truncate"), values.lastIndexOf("truncate")];
      expect(before).toBe(after);
      expect(values.slice(0, before).every((value) => Number(value) < 30)).toBe(true);
      expect(values.slice(after + 1).every((value) => Number(value) >= 30)).toBe(true);
    }
  });

  test("what Kafka refuses is found and told before the commit, and all else is committed", async () => {
    const [small, compacted, missing] = [newTopic(), newTopic(), newTopic()];
    await createTopic(cluster.brokers, small, { configs: { "max.message.bytes": "3000" } });
    await createTopic(cluster.brokers, compacted, {
      partitions: 2,
      configs: { "cleanup.policy": "compact" },
    });
    const batch = newBatch(1);
    const content = [
      ...messages(small, 0, 100, 50),
      message(small, "key 7", "x".repeat(4_000)),
      ...messages(small, 100, 100, 50),
      message(compacted, "a", "200"),
      message(compacted, null, "refused"),
      message(compacted, "b", "201"),
      message(missing, "a", "refused"),
    ];
    const settings = settingsFor(cluster.brokers);
    const producer = producerFor(settings);
    await producer.fence();
    const told: number[][] = [];
    const report = await producer.send(content, batch, {
      beforeCommit: async (refused) => {
        told.push([...refused.keys()]);
      },
    });
    expect(codes(report)).toEqual([
      [100, "MESSAGE_TOO_LARGE"],
      [108, "BEHIND_REFUSED"],
      [158, "BEHIND_REFUSED"],
      [202, "INVALID_RECORD"],
      [204, "TOPIC_MISSING"],
    ]);
    expect(told.at(-1)?.sort((a, b) => a - b)).toEqual([100, 108, 158, 202, 204]);
    expect(await producerFor(settings).fence()).toEqual(batch);
    const sent = content.filter((_, index) => !report.refused.has(index));
    const byTopic = (topic: string) =>
      sent.filter((one) => one.topic === topic).map(({ value }) => value.toString());
    expect(await valuesIn(small)).toEqual(byTopic(small));
    expect((await valuesIn(compacted)).sort()).toEqual(byTopic(compacted));
  });

  test("record batches that a topic finds too large are cut, and those of the next batch at once", async () => {
    const topic = newTopic();
    await createTopic(cluster.brokers, topic, { configs: { "max.message.bytes": "3000" } });
    const producer = producerFor(settingsFor(cluster.brokers));
    await producer.fence();
    expect(codes(await producer.send(messages(topic, 0, 200), newBatch(1)))).toEqual([]);
    expect(await valuesIn(topic)).toHaveLength(200);
    const before = await endOf(topic);
    expect(codes(await producer.send(messages(topic, 200, 200), newBatch(2)))).toEqual([]);
    expect(await valuesIn(topic)).toEqual(Array.from({ length: 400 }, (_, n) => String(n)));
    // 200 messages, the marker of one transaction, and the reader's: nothing was sent twice.
    expect((await endOf(topic)) - before).toBe(202);
  });

  test("what was refused cannot be stored: nothing is committed, and the error comes through", async () => {
    const [present, missing] = [newTopic(), newTopic()];
    await createTopic(cluster.brokers, present);
    const producer = producerFor(settingsFor(cluster.brokers));
    await producer.fence();
    const content = [message(present, "a", "1"), message(missing, "a", "2")];
    const sending = producer.send(content, newBatch(1), {
      beforeCommit: async () => {
        throw new Error("Postgres is away");
      },
    });
    await expect(sending).rejects.toThrow("Postgres is away");
    expect(await producer.fence()).toBeNull();
    expect(await valuesIn(present)).toEqual([]);
  });

  test("more is refused than may be: nothing is committed", async () => {
    const [present, missing] = [newTopic(), newTopic()];
    await createTopic(cluster.brokers, present);
    const producer = producerFor(settingsFor(cluster.brokers));
    await producer.fence();
    const content = [message(present, "a", "1"), ...messages(missing, 2, 2)];
    const sending = producer.send(content, newBatch(1), { refusedMax: 1 });
    await expect(sending).rejects.toMatchObject({ code: "TOO_MANY_REFUSED" });
    expect(await valuesIn(present)).toEqual([]);
  });

  test("a transaction timeout that the brokers do not allow is refused with its value", async () => {
    const producer = producerFor(settingsFor(cluster.brokers, { transactionTimeoutMs: 900_001 }));
    const error = (await producer.fence().catch((e: unknown) => e)) as ProduceError;
    expect(error).toMatchObject({ code: "TRANSACTION_REFUSED" });
    expect(error.message).toMatch(/900001 ms.*transaction\.max\.timeout\.ms/);
  });

  test("no broker: it gives up after some seconds", async () => {
    const producer = producerFor(settingsFor([`127.0.0.1:${await freePort()}`]));
    await expect(producer.fence()).rejects.toMatchObject({ code: "KAFKA_UNAVAILABLE" });
  });
});
