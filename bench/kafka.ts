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
 * Give `work` a namespace whose topic for `items` is new and empty, and delete the topic after it:
 * every candidate finds the broker as the one before found it.
 */
export async function withTopic<Result>(
  kafka: LocalKafka,
  database: string,
  work: (namespace: string) => Promise<Result>,
): Promise<Result> {
  made += 1;
  const namespace = `n${made}`;
  const topic = `pg2kafka.${namespace}.${database}.items`;
  await createTopic(kafka.bootstrap, topic, { partitions: PARTITIONS });
  const result = await work(namespace);
  const admin = kafkaClient(kafka.bootstrap).admin();
  await admin.connect();
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  return result;
}
