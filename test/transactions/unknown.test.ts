import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TransactionalProducer } from "../../functions/core/kafka/transactional.ts";
import { freeze } from "../local/freeze.ts";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import { startProxy, type Proxy as TcpProxy } from "../local/proxy.ts";
import { createTopic, kafkaClient } from "../local/topics.ts";
import { readCommitted } from "../support/committed.ts";
import { messages, newBatch, newTopic, producerFor, settingsFor } from "./support.ts";

/** What takes a commit a few milliseconds; the cut comes before, in it, and after. */
const CUT_AFTER_MS = [0, 2, 4, 6, 10];
const EVENTS = 10;

let kafka: LocalKafka;
let proxy: TcpProxy;

beforeAll(async () => {
  kafka = await startKafka({
    advertise: async (port) => {
      proxy = await startProxy(port);
      return proxy.port;
    },
  });
});
afterAll(async () => {
  await kafka?.stop();
  await proxy?.stop();
});

async function valuesIn(topic: string): Promise<number[]> {
  return (await readCommitted(kafka.bootstrap, topic)).map(({ value }) => Number(value));
}

const numbers = (from: number, count: number) => Array.from({ length: count }, (_, n) => from + n);

/** Calls `then` when the producer is about to commit: with one request, the third time it asks. */
function beforeCommit(then: () => void): () => boolean {
  let asked = 0;
  return () => {
    asked += 1;
    if (asked === 3) then();
    return true;
  };
}

describe("a commit whose answer does not come", () => {
  test("because the connection is cut: the send finds out, and each message is there once", async () => {
    const topic = newTopic();
    await createTopic(kafka.bootstrap, topic);
    const producer = producerFor(settingsFor(kafka.bootstrap));
    await producer.fence();
    for (const [n, afterMs] of CUT_AFTER_MS.entries()) {
      let cut: Promise<void> | undefined;
      const mayStart = beforeCommit(() => {
        cut = sleep(afterMs).then(() => proxy.cut());
      });
      await producer.send(messages(topic, n * EVENTS, EVENTS), newBatch(n + 1), { mayStart });
      // One that comes after the commit was answered is not to hit what reads the topic.
      await cut;
    }
    expect(await valuesIn(topic)).toEqual(numbers(0, CUT_AFTER_MS.length * EVENTS));
  });

  test("because the broker hangs: the send gives up, and the next fence knows what became of it", async () => {
    const topic = newTopic();
    await createTopic(kafka.bootstrap, topic);
    const producer = producerFor(settingsFor(kafka.bootstrap, { requestTimeoutMs: 3_000 }));
    await producer.fence();
    const [first, second] = [newBatch(1), newBatch(2)];
    await producer.send(messages(topic, 0, EVENTS), first);
    const { pid } = kafka.brokers[0]!;
    const sending = producer.send(messages(topic, EVENTS, EVENTS), second, {
      mayStart: beforeCommit(() => freeze(pid)),
    });
    try {
      await expect(sending).rejects.toMatchObject({ code: "KAFKA_UNAVAILABLE", retriable: true });
    } finally {
      process.kill(pid, "SIGCONT");
    }
    const last = await fenceUntilDone(producer);
    expect([first.id, second.id]).toContain(last?.id);
    const committed = last?.id === second.id ? 2 : 1;
    expect(await valuesIn(topic)).toEqual(numbers(0, committed * EVENTS));
  });
});

test("a producer that was fenced and then loses its connection does not take over again", async () => {
  const topic = newTopic();
  await createTopic(kafka.bootstrap, topic);
  const settings = settingsFor(kafka.bootstrap);
  const [stale, next] = [producerFor(settings), producerFor(settings)];
  const [first, second] = [newBatch(1), newBatch(2)];
  await stale.fence();
  await stale.send(messages(topic, 0, 1), first);
  const refused = messages(newTopic(), 0, 1);
  const sending = stale.send([...messages(topic, 1, 1), ...refused], second, {
    beforeCommit: async () => {
      expect(await next.fence()).toEqual(first);
      proxy.cut();
    },
  });
  await expect(sending).rejects.toMatchObject({ code: "FENCED" });
  // It was told that the second batch is not in Kafka, and so it stays.
  expect(await next.fence()).toEqual(first);
  await next.send(messages(topic, 1, 1), newBatch(2));
  expect(await valuesIn(topic)).toEqual([0, 1]);
});

test("Kafka has forgotten the last batch: the fence knows of none, and sending goes on", async () => {
  const topic = newTopic();
  await createTopic(kafka.bootstrap, topic);
  const settings = settingsFor(kafka.bootstrap);
  const producer = producerFor(settings);
  await producer.fence();
  await producer.send(messages(topic, 0, 1), newBatch(1));
  const admin = kafkaClient(kafka.bootstrap).admin();
  await admin.connect();
  await admin.fetchTopicMetadata({ topics: [topic] });
  await admin.deleteGroups([settings.groupId]);
  expect(await producer.fence()).toBeNull();
  await admin.deleteTopics({ topics: [settings.markerTopic] });
  await admin.disconnect();
  expect(await producer.fence()).toBeNull();
  const batch = newBatch(2);
  await producer.send(messages(topic, 1, 1), batch);
  expect(await producer.fence()).toEqual(batch);
  expect(await valuesIn(topic)).toEqual([0, 1]);
});

/** A broker that was frozen takes a moment. */
async function fenceUntilDone(producer: TransactionalProducer) {
  for (let tries = 1; ; tries++) {
    try {
      return await producer.fence();
    } catch (error) {
      if (tries === 5) throw error;
    }
  }
}
