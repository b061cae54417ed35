import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, { type Admin, type IHeaders, Kafka, logLevel, type RetryOptions } from "kafkajs";

const METADATA_TIMEOUT_MS = 60_000;
const FETCH_BYTES_MAX = 8 * 1024 * 1024;

/* For a first consumer, whose group waits for the topic of the groups' offsets to be made, and for
   a bootstrap address whose broker is down. About 5 s together. */
const PATIENT_RETRY = { retries: 120, initialRetryTime: 50, maxRetryTime: 500 };

/**
 * A kafkajs client without logs and, by default, without retries: it connects or fails within
 * 15 s, and a request that is not answered fails after 30 s.
 */
export function kafkaClient(bootstrap: string[], retry: RetryOptions = { retries: 0 }): Kafka {
  return new Kafka({
    brokers: bootstrap,
    clientId: "test",
    logLevel: logLevel.NOTHING,
    connectionTimeout: 15_000,
    requestTimeout: 30_000,
    retry,
  });
}

export interface TopicOptions {
  /** Default 1. */
  partitions?: number;
  /** Default the cluster's: 1, or 3 with three brokers. */
  replicationFactor?: number;
  /** Topic settings, such as `max.message.bytes`. */
  configs?: Record<string, string>;
}

/**
 * Create a topic, and wait until every broker of `bootstrap` that runs knows its leaders, and
 * they serve it: kafkajs sends nothing, and reports nothing, for a partition it does not know.
 *
 * @throws when the topic exists already, or the brokers do not know it after a minute
 */
export async function createTopic(
  bootstrap: string[],
  topic: string,
  options: TopicOptions = {},
): Promise<void> {
  const { partitions = 1, replicationFactor = -1, configs = {} } = options;
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  const deadline = Date.now() + METADATA_TIMEOUT_MS;
  const created = await withAdmin(bootstrap, (admin) =>
    admin.createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor, configEntries }],
      waitForLeaders: false,
    }),
  );
  if (!created) throw new Error(`Topic "${topic}" exists already. Choose another name.`);

  await Promise.all(
    bootstrap.map(async (address) => {
      while (!(await isServed(address, topic, partitions))) {
        if (Date.now() > deadline) {
          throw new Error(
            `${address} does not serve topic "${topic}" after ${METADATA_TIMEOUT_MS} ms.`,
          );
        }
        await sleep(10);
      }
    }),
  );
}

// Node does not see this name in kafkajs' CommonJS.
const { ConfigResourceTypes } = kafkajs;

/** Bound the messages that a topic takes. */
export async function limitMessages(
  bootstrap: string[],
  topic: string,
  bytes: number,
): Promise<void> {
  const configEntries = [{ name: "max.message.bytes", value: String(bytes) }];
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic, configEntries };
  await withAdmin(bootstrap, (admin) =>
    admin.alterConfigs({ validateOnly: false, resources: [resource] }),
  );
}

/**
 * Whether the broker knows all leaders, and they know it themselves: a broker answers with new
 * metadata a moment before it acts on it. True as well when it is not there to be asked.
 */
async function isServed(address: string, topic: string, partitions: number): Promise<boolean> {
  const admin = kafkaClient([address]).admin();
  try {
    await admin.connect();
  } catch {
    return true;
  }
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    const known = topics[0]?.partitions ?? [];
    if (known.length !== partitions || known.some(({ leader }) => leader < 0)) return false;
    await admin.fetchTopicOffsets(topic);
    return true;
  } catch {
    return false;
  } finally {
    await admin.disconnect();
  }
}

export interface ReadMessage {
  partition: number;
  offset: number;
  /** As UTF-8; null where the message has none. */
  key: string | null;
  /** As UTF-8; null for a tombstone. */
  value: string | null;
  /** As UTF-8; of a header that is there twice, the last. */
  headers: Record<string, string>;
  /** Milliseconds since the epoch. */
  timestamp: number;
}

export interface ReadOptions {
  /** Wait until the topic holds this many messages before reading. Default 0. */
  atLeast?: number;
  /** The first offset that is read, in each partition. Default 0. */
  from?: number;
  /** For everything together. Default 60,000. */
  timeoutMs?: number;
}

/**
 * Read the messages of a topic, from the first up to those that are there at the call (or when
 * `atLeast` is reached), ordered by partition and offset, each exactly once.
 * Not for topics with transactions: their end is a marker, which is never delivered.
 *
 * Side effect: an empty consumer group, with the topic in its name.
 * @throws when `timeoutMs` passes first; says how many messages were there
 */
export async function readTopic(
  bootstrap: string[],
  topic: string,
  options: ReadOptions = {},
): Promise<ReadMessage[]> {
  const { atLeast = 0, from = 0, timeoutMs = 60_000 } = options;
  const deadline = Date.now() + timeoutMs;
  const ends = await withAdmin(bootstrap, (admin) => knownEnds(admin, topic, atLeast, deadline));
  for (const [partition, end] of ends) if (end <= from) ends.delete(partition);
  if (ends.size === 0) return [];
  const read = await consume(bootstrap, topic, from, ends, deadline);
  return [...read].sort(([a], [b]) => a - b).flatMap(([, messages]) => messages);
}

/** Partition → the offset after its last message, for partitions that hold any. */
async function knownEnds(
  admin: Admin,
  topic: string,
  atLeast: number,
  deadline: number,
): Promise<Map<number, number>> {
  for (;;) {
    const offsets = await admin.fetchTopicOffsets(topic);
    const ranges = offsets.map(({ partition, low, high }) => ({
      partition,
      end: Number(high),
      count: Number(high) - Number(low),
    }));
    const count = ranges.reduce((sum, range) => sum + range.count, 0);
    if (count >= atLeast) {
      const filled = ranges.filter((range) => range.count > 0);
      return new Map(filled.map(({ partition, end }) => [partition, end]));
    }
    if (Date.now() > deadline) {
      throw new Error(`Topic "${topic}" holds ${count} messages at the timeout, not ${atLeast}.`);
    }
    await sleep(20);
  }
}

async function consume(
  bootstrap: string[],
  topic: string,
  from: number,
  ends: Map<number, number>,
  deadline: number,
): Promise<Map<number, ReadMessage[]>> {
  const read = new Map([...ends.keys()].map((partition) => [partition, [] as ReadMessage[]]));
  const unfinished = new Set(ends.keys());
  const done = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => {
      const count = [...read.values()].reduce((sum, messages) => sum + messages.length, 0);
      done.reject(
        new Error(
          `Topic "${topic}": ${count} messages read at the timeout, ${unfinished.size} partitions not to their end.`,
        ),
      );
    },
    Math.max(0, deadline - Date.now()),
  );

  const consumer = kafkaClient(bootstrap, PATIENT_RETRY).consumer({
    groupId: `read-${topic}-${randomUUID()}`,
    maxWaitTimeInMs: 100,
    maxBytesPerPartition: FETCH_BYTES_MAX,
    retry: PATIENT_RETRY,
  });
  consumer.on("consumer.crash", ({ payload }) => {
    if (!payload.restart) done.reject(payload.error);
  });
  try {
    const running = (async () => {
      await consumer.connect();
      await consumer.subscribe({ topic, fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: true,
        eachBatch: async ({ batch }) => {
          const end = ends.get(batch.partition);
          const messages = read.get(batch.partition);
          if (end === undefined || messages === undefined) return;
          for (const message of batch.messages) {
            const offset = Number(message.offset);
            // After a rebalance the group starts again from the beginning.
            if (offset >= end || offset <= (messages.at(-1)?.offset ?? from - 1)) continue;
            messages.push({
              partition: batch.partition,
              offset,
              key: message.key?.toString() ?? null,
              value: message.value?.toString() ?? null,
              headers: textHeaders(message.headers),
              timestamp: Number(message.timestamp),
            });
          }
          if (Number(batch.lastOffset()) >= end - 1) unfinished.delete(batch.partition);
          if (unfinished.size === 0) done.resolve();
        },
      });
    })();
    await Promise.race([running.then(() => done.promise), done.promise]);
  } finally {
    clearTimeout(timer);
    await consumer.disconnect();
  }
  return read;
}

function textHeaders(headers: IHeaders = {}): Record<string, string> {
  const texts = Object.entries(headers).map(([name, value]) => {
    const last = Array.isArray(value) ? value.at(-1) : value;
    return [name, last?.toString() ?? ""];
  });
  return Object.fromEntries(texts);
}

async function withAdmin<T>(bootstrap: string[], use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafkaClient(bootstrap, PATIENT_RETRY).admin();
  try {
    await admin.connect();
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}
