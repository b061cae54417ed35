import { randomUUID } from "node:crypto";
import "./aborted.ts";
import { kafkaClient } from "../local/topics.ts";

const READ_TIMEOUT_MS = 60_000;
const END_HEADER = "test-end";

/* Brokers may still be choosing leaders when a fault is over. About 20 s together. */
const PATIENT_RETRY = { retries: 30, initialRetryTime: 50, maxRetryTime: 1_000 };

export interface CommittedMessage {
  partition: number;
  key: string | null;
  /** As UTF-8. */
  value: string;
  headers: Record<string, string>;
}

/**
 * Read a topic as a consumer with `isolation.level=read_committed` does, from its beginning, ordered
 * by partition and offset. It ends at a message that it writes to each partition first, which is
 * read only when no transaction before it is open.
 *
 * Side effects: those messages, which later calls leave out; an empty group with the topic's name.
 * @throws when that takes more than a minute, as with a transaction that nobody ends
 */
export async function readCommitted(brokers: string[], topic: string): Promise<CommittedMessage[]> {
  const end = randomUUID();
  const client = kafkaClient(brokers, PATIENT_RETRY);
  const left = await writeEnds(client, topic, end);
  const consumer = client.consumer({
    groupId: `read-${topic}-${end}`,
    maxWaitTimeInMs: 100,
    retry: PATIENT_RETRY,
    readUncommitted: false,
  });
  const read = [...left].map((): CommittedMessage[] => []);
  const nextOffsets = [...left].map(() => 0n);
  const done = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    const text = `Partitions ${[...left]} of "${topic}" were not read to their end in a minute.`;
    done.reject(new Error(text));
  }, READ_TIMEOUT_MS);
  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message: { key, value, headers, offset } }) => {
        // After a rebalance the group starts again from the beginning.
        if (BigInt(offset) < nextOffsets[partition]!) return;
        nextOffsets[partition] = BigInt(offset) + 1n;
        const ending = headers?.[END_HEADER]?.toString();
        if (ending === end) left.delete(partition);
        if (left.size === 0) done.resolve();
        if (ending !== undefined) return;
        const texts = Object.entries(headers ?? {}).map(([name, text]) => [name, String(text)]);
        read[partition]!.push({
          partition,
          key: key?.toString() ?? null,
          value: String(value),
          headers: Object.fromEntries(texts),
        });
      },
    });
    await done.promise;
  } finally {
    clearTimeout(timer);
    await consumer.disconnect();
  }
  return read.flat();
}

/** @returns the topic's partitions */
async function writeEnds(
  client: ReturnType<typeof kafkaClient>,
  topic: string,
  end: string,
): Promise<Set<number>> {
  const admin = client.admin();
  await admin.connect();
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  await admin.disconnect();
  const partitions = new Set(topics[0]!.partitions.map(({ partitionId }) => partitionId));
  const producer = client.producer();
  await producer.connect();
  for (const partition of partitions) {
    // A compacted topic takes none without a key.
    const messages = [{ key: end, value: "", partition, headers: { [END_HEADER]: end } }];
    const [answer] = await producer.send({ topic, messages });
    if (answer?.errorCode !== 0) throw new Error(`Partition ${partition} took no message.`);
  }
  await producer.disconnect();
  return partitions;
}
