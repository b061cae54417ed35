/* What transactions cost: the transactional producer beside the other one, with the same messages,
   in turns. `npm run bench:exactly-once [rounds]`; each round makes a topic for each. */
import { randomUUID } from "node:crypto";
import { loadavg } from "node:os";
import { createProducer } from "../functions/core/kafka/producer.ts";
import { createTransactionalProducer } from "../functions/core/kafka/transactional.ts";
import type { Message } from "../functions/core/message.ts";
import { startKafka } from "../test/local/kafka.ts";
import { KAFKA_OPTIONS, withTopic } from "./kafka.ts";
import { formatNumber, formatTable, Samples, type Table } from "./report.ts";
import { makeMessages } from "./workers/messages.ts";

const ROUNDS = Number(process.argv[2] ?? 5);
const DATABASE = "bench";
/** Messages in a batch, and batches in a round. */
const SIZES = [
  [2_000, 25],
  [1, 200],
] as const;
const MODES = ["at least once", "exactly once"] as const;

interface Sender {
  send(batch: Message[]): Promise<void>;
  close(): Promise<void>;
}

const samples = new Samples();
const load = formatNumber(loadavg()[0]!, 2);
const kafka = await startKafka(KAFKA_OPTIONS);
const settings = {
  brokers: kafka.bootstrap,
  clientId: "bench",
  requestTimeoutMs: 8_000,
  connectionTimeoutMs: 3_000,
  requestBytesMax: 900_000,
  messageBytesMax: 1_000_000,
};
try {
  for (let round = 0; round < ROUNDS; round++) {
    for (const [size, batches] of SIZES)
      for (const mode of MODES) await measure(mode, size, batches);
    await measureFence();
  }
} finally {
  await kafka.stop();
}
console.log(`load before the run: ${load}; medians of ${ROUNDS} rounds (least–most)\n`);
console.log(formatTable(table()));

async function measure(mode: (typeof MODES)[number], size: number, batches: number): Promise<void> {
  await withTopic(kafka, DATABASE, async (namespace) => {
    const messages = makeMessages(namespace, size * (batches + 1));
    const sender = mode === "exactly once" ? await transactions() : atLeastOnce();
    const latencies: number[] = [];
    let startedMs = 0;
    let cpu = process.cpuUsage();
    for (let n = 0; n <= batches; n++) {
      const batch = messages.slice(n * size, (n + 1) * size);
      const batchStartedMs = performance.now();
      await sender.send(batch);
      if (n > 0) latencies.push(performance.now() - batchStartedMs);
      else [startedMs, cpu] = [performance.now(), process.cpuUsage()]; // The first one connects.
    }
    const seconds = (performance.now() - startedMs) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    await sender.close();
    latencies.sort((a, b) => a - b);
    const name = `${mode} ${size}`;
    samples.add(`${name} rate`, (size * batches) / seconds);
    samples.add(`${name} median`, latencies[Math.floor(batches / 2)]!);
    samples.add(`${name} p99`, latencies[Math.floor(batches * 0.99)]!);
    samples.add(`${name} cpu`, (user + system) / batches / 1000);
  });
}

function atLeastOnce(): Sender {
  const producer = createProducer(settings);
  return {
    send: async (batch) => {
      await producer.send(batch);
    },
    close: () => producer.close(),
  };
}

function transactional() {
  const name = "pg2kafka.bench";
  return createTransactionalProducer({
    ...settings,
    transactionalId: name,
    groupId: name,
    markerTopic: `${name}.batches`,
    transactionTimeoutMs: 30_000,
  });
}

async function transactions(): Promise<Sender> {
  const producer = transactional();
  await producer.fence();
  let number = 0;
  return {
    send: async (batch) => {
      number += 1;
      await producer.send(batch, { number: String(number), id: randomUUID() });
    },
    close: () => producer.close(),
  };
}

async function measureFence(): Promise<void> {
  const producer = transactional();
  const startedMs = performance.now();
  await producer.fence();
  samples.add("fence", performance.now() - startedMs);
  await producer.close();
}

function table(): Table {
  const rows = SIZES.flatMap(([size]) =>
    MODES.map((mode) => {
      const name = `${mode} ${size}`;
      return [
        formatNumber(size),
        mode,
        samples.text(`${name} rate`),
        samples.text(`${name} median`, 1),
        samples.text(`${name} p99`, 1),
        samples.text(`${name} cpu`, 1),
      ];
    }),
  );
  return {
    title: "Exactly once",
    note:
      "One producer, one batch at a time, 300-byte messages, six partitions, one broker. " +
      `A fence, with its connections: ${samples.text("fence")} ms.`,
    columns: ["a batch", "mode", "events/s", "ms a batch, median", "p99", "CPU ms a batch (Node)"],
    rows,
  };
}
