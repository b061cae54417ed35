import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { LocalKafka } from "../test/local/kafka.ts";
import { createTopic, kafkaClient } from "../test/local/topics.ts";

/** The broker as it runs in earnest, with the server compiler, but on one small heap. */
export const KAFKA_OPTIONS = {
  heapMb: 512,
  javaArgs: ["-XX:TieredStopAtLevel=4"],
  settings: { "num.network.threads": "3", "num.io.threads": "8" },
};

const PARTITIONS = 6;
let made = 0;

/**
 * Give `work` a namespace whose topic for the table is new and empty, and delete the topic after
 * it: every candidate finds the broker as the one before found it.
 */
export async function withTopic<Result>(
  kafka: LocalKafka,
  database: string,
  work: (namespace: string, topic: string) => Promise<Result>,
  table = "items",
): Promise<Result> {
  made += 1;
  const namespace = `n${made}`;
  const topic = `pg2kafka.${namespace}.${database}.${table}`;
  await createTopic(kafka.bootstrap, topic, { partitions: PARTITIONS });
  const result = await work(namespace, topic);
  const admin = kafkaClient(kafka.bootstrap).admin();
  await admin.connect();
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  return result;
}

/** What a topic's messages take on the disks of all brokers. */
export function topicBytes({ brokers }: LocalKafka, topic: string): number {
  let bytes = 0;
  for (const { logFile } of brokers) {
    const data = join(dirname(logFile), "data");
    for (const name of readdirSync(data)) {
      if (name.slice(0, name.lastIndexOf("-")) !== topic) continue;
      const segments = readdirSync(join(data, name)).filter((file) => file.endsWith(".log"));
      bytes += segments.reduce((sum, file) => sum + statSync(join(data, name, file)).size, 0);
    }
  }
  return bytes;
}
