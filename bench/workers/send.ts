/* Send messages that are ready in memory, without Postgres. Prints {"events","durationMs","cpuMs"}.
   MODE=raw: kafkajs itself, with our partitioner, Buffers and settings, in batches of BATCH.
   MODE=producer: through the drain's producer. ROWS=orders: as a shop has them, instead of items. */
import { Kafka, logLevel } from "kafkajs";
import { readConfig } from "../../functions/core/config.ts";
import { createPartitioner } from "../../functions/core/kafka/partitioner.ts";
import { createProducer } from "../../functions/core/kafka/producer.ts";
import { makeMessages } from "./messages.ts";
import { makeOrders } from "./orders.ts";

/** A multiple of all batch sizes. */
const MESSAGES_MAX = 20_000;

const config = readConfig(process.env);
const batchSize = Number(process.env["BATCH"]);
const events = Number(process.env["EVENTS"]);
const make = process.env["ROWS"] === "orders" ? makeOrders : makeMessages;
// Sent in turn: a drain never holds more of them in memory.
const messages = make(config.namespace ?? "", Math.min(events, MESSAGES_MAX));
const send = process.env["MODE"] === "raw" ? await rawSend() : producerSend();

// The first one connects, and learns the partitions.
await send.batch(0, 10);
const startedMs = performance.now();
const startedCpu = process.cpuUsage();
for (let sent = 0; sent < events; sent += batchSize) {
  const from = sent % messages.length;
  await send.batch(from, from + batchSize);
}
const durationMs = performance.now() - startedMs;
const { user, system } = process.cpuUsage(startedCpu);
console.log(JSON.stringify({ events, durationMs, cpuMs: (user + system) / 1000 }));
await send.close();

async function rawSend() {
  const kafka = new Kafka({
    brokers: config.brokers,
    retry: { retries: 0 },
    logLevel: logLevel.NOTHING,
  });
  const producer = kafka.producer({ idempotent: false, createPartitioner });
  await producer.connect();
  const topic = messages[0]!.topic;
  const records = messages.map(({ key, value, headers, timestampMs }) => ({
    key,
    value: Buffer.from(value),
    headers,
    timestamp: timestampMs,
  }));
  return {
    batch: async (from: number, to: number) => {
      await producer.send({ topic, messages: records.slice(from, to), acks: -1 });
    },
    close: () => producer.disconnect(),
  };
}

function producerSend() {
  const producer = createProducer({
    brokers: config.brokers,
    clientId: "bench",
    ...config.producer,
  });
  return {
    batch: async (from: number, to: number) => {
      const { refused } = await producer.send(messages.slice(from, to));
      if (refused.size > 0) throw new Error(`${refused.size} messages were refused.`);
    },
    close: () => producer.close(),
  };
}
