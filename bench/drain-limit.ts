import type { Bench } from "./bench.ts";
import { runScript } from "./child.ts";
import type { BenchDatabase } from "./database.ts";
import { drainEnvironment } from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import type { Samples, Table } from "./report.ts";

const READ_BATCHES = [2_000, 5_000];
const SEND_BATCHES = [1_000, 2_000, 5_000];

/** The limit of a round, among its samples. */
export const LIMIT = "limit";

interface Timing {
  events: number;
  durationMs: number;
}

/** What a drain could reach if it read as well as anyone, then sent as well as anyone: each way
 *  alone, with the events that are in the queue, and messages like theirs. */
export async function measureLimits(
  bench: Bench,
  { url }: BenchDatabase,
  samples: Samples,
  round: number,
): Promise<void> {
  const measure = async (name: string, script: string, env: Record<string, string>) => {
    bench.progress(`drain: ${name}, round ${round}`);
    const { result } = await withTopic(await bench.kafka(), "bench", async (namespace) =>
      runScript<Timing>(script, { ...(await drainEnvironment(bench, url, namespace)), ...env }),
    );
    const rate = result.events / (result.durationMs / 1000);
    samples.add(name, rate);
    return rate;
  };
  const EVENTS = String(bench.isQuick ? 10_000 : 200_000);
  let read = 0;
  for (const BATCH of READ_BATCHES.map(String)) {
    read = Math.max(read, await measure(`read ${BATCH}`, "workers/read.ts", { BATCH }));
  }
  let send = 0;
  for (const BATCH of SEND_BATCHES.map(String)) {
    const env = { MODE: "raw", EVENTS, BATCH };
    send = Math.max(send, await measure(`send ${BATCH}`, "workers/send.ts", env));
  }
  await measure("send producer", "workers/send.ts", { MODE: "producer", EVENTS, BATCH: "2000" });
  samples.add(LIMIT, 1 / (1 / read + 1 / send));
}

export function limitTable(samples: Samples): Table {
  const alone: [string, string][] = [
    ...READ_BATCHES.map((batch): [string, string] => [
      `reading alone: batches of ${batch} by id`,
      `read ${batch}`,
    ]),
    ...SEND_BATCHES.map((batch): [string, string] => [
      `sending alone: kafkajs, batches of ${batch}`,
      `send ${batch}`,
    ]),
    ["sending alone: the drain's producer, batches of 2000", "send producer"],
    ["the limit", LIMIT],
  ];
  return {
    title: "Drain: the limit",
    note:
      "The same events and messages, each way alone, in a process of its own on the same machine. " +
      "kafkajs: with our partitioner, Buffers and headers, acks=all, one request after the other. " +
      "The limit is 1 ÷ (1/read + 1/send), of the best of each in the round.",
    columns: ["", "events/s"],
    rows: alone.map(([label, name]) => [label, samples.text(name)]),
  };
}
