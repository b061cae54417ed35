import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Transaction } from "kafkajs";
import type { BatchName } from "../batch-name.ts";
import { classify } from "./failures.ts";
import { type Connection, connect, disconnect } from "./producer.ts";
import type { ProducerSettings } from "./settings.ts";

export interface TransactionalSettings extends ProducerSettings {
  /** One for each queue and lane: whoever fences it shuts out all others with the same one. */
  transactionalId: string;
  /** The consumer group under which the last batch is noted. Nobody consumes with it. */
  groupId: string;
  /** A topic for those notes. It never holds a message; made with three partitions if it is missing. */
  markerTopic: string;
  /**
   * A transaction that is open for longer is aborted by Kafka, and its producer shut out. What a
   * producer that died left open holds back `read_committed` readers for this long, or until the
   * next `fence()`. Less than the lease, more than a batch takes; at most the brokers'
   * `transaction.max.timeout.ms` (15 min by default).
   */
  transactionTimeoutMs: number;
}

/** A connection that has shut out all older ones with its transactional id. */
export interface FencedSession extends Connection {
  /** The last batch in Kafka when the older ones were shut out; null when Kafka knows none. */
  last: BatchName | null;
  /** The word of whoever has fenced last. */
  owner: string | null;
}

/* The notes are offsets, as a consumer would commit them with its transaction: the batch's number as
   the offset, its id as the metadata. */
const BATCH_PARTITION = 0;
/** Holds the word of whoever has fenced last. */
const OWNER_PARTITION = 1;
/** Holds what the session has written itself, to know a fresh answer by. */
const FRESH_PARTITION = 2;
const MARKER_PARTITIONS = 3;

/** The coordinator answers CONCURRENT_TRANSACTIONS while it finishes the transaction before: some
 *  milliseconds. These are about 3 s. */
const BEGIN_TRIES_MAX = 40;
const BEGIN_PAUSE_MS = 4;
const BEGIN_PAUSE_MS_MAX = 100;

/** What was committed shows a few milliseconds later. These are about 3 s. */
const READ_TRIES_MAX = 40;
const READ_PAUSE_MS = 5;
const READ_PAUSE_MS_MAX = 100;

/** The notes of this session's own transaction did not show. */
export class StaleOffsets extends Error {
  override readonly name = "StaleOffsets";

  constructor(groupId: string) {
    super(`The coordinator of group "${groupId}" does not show what was committed to it.`);
  }
}

/**
 * Connect, shut out all older producers with the same transactional id (Kafka aborts what they
 * left open), then read which batch is the last in Kafka.
 *
 * The answer is of a time after the fence: a coordinator that has lost its place and does not know
 * yet, or has not taken in the last commit, would tell an old one. So the session first commits a
 * random word of its own under the same group, and believes only an answer that has it.
 *
 * Side effect: makes the topic of the notes if it is missing.
 *
 * @param owner a word to leave for others that fence later; null leaves what is there
 */
export async function openFenced(
  settings: TransactionalSettings,
  turn: number,
  owner: string | null,
): Promise<FencedSession> {
  const { transactionalId, transactionTimeoutMs } = settings;
  const connection = await connect(settings, turn, {
    transactionalId,
    transactionTimeout: transactionTimeoutMs,
  });
  try {
    await requireMarkerTopic(connection, settings);
    // kafkajs asks for a producer id, and with it a new epoch, at a producer's first transaction.
    const transaction = await connection.producer.transaction();
    const word = randomUUID();
    await note(transaction, settings, FRESH_PARTITION, { number: "0", id: word });
    if (owner) await note(transaction, settings, OWNER_PARTITION, { number: "0", id: owner });
    await transaction.commit();
    return { ...connection, ...(await readNotes(connection, settings, word)) };
  } catch (error) {
    void disconnect(connection);
    throw error;
  }
}

/** Begin a transaction that, once committed, notes `batch` as the last one. */
export async function beginBatch(
  session: FencedSession,
  settings: TransactionalSettings,
  batch: BatchName,
): Promise<Transaction> {
  const transaction = await session.producer.transaction();
  await note(transaction, settings, BATCH_PARTITION, batch);
  return transaction;
}

/**
 * The first request of every transaction: it waits here for the one before to be finished. No
 * message is under way yet, so repeating it does no harm.
 */
async function note(
  transaction: Transaction,
  { groupId, markerTopic }: TransactionalSettings,
  partition: number,
  { number, id }: BatchName,
): Promise<void> {
  const offset = { partition, offset: number, metadata: id };
  const topics = [{ topic: markerTopic, partitions: [offset] }];
  for (let tries = 1; ; tries++) {
    try {
      await transaction.sendOffsets({ consumerGroupId: groupId, topics });
      return;
    } catch (error) {
      const isBusy = BUSY.has(classify(error).type);
      if (!isBusy || tries === BEGIN_TRIES_MAX) throw error;
    }
    await sleep(Math.min(BEGIN_PAUSE_MS * 2 ** (tries - 1), BEGIN_PAUSE_MS_MAX));
  }
}

/** The first group of a new cluster makes the topic of the groups' offsets, and waits for it. */
const BUSY = new Set([
  "CONCURRENT_TRANSACTIONS",
  "NOT_COORDINATOR_FOR_GROUP",
  "GROUP_LOAD_IN_PROGRESS",
  "GROUP_COORDINATOR_NOT_AVAILABLE",
  "KafkaJSGroupCoordinatorNotFound",
]);

async function readNotes(
  { admin }: Connection,
  { groupId, markerTopic }: TransactionalSettings,
  word: string,
): Promise<Pick<FencedSession, "last" | "owner">> {
  for (let tries = 1; tries <= READ_TRIES_MAX; tries++) {
    const [answer] = await admin.fetchOffsets({ groupId, topics: [markerTopic] });
    const notes = new Map(answer?.partitions.map((one) => [one.partition, one]));
    if (notes.get(FRESH_PARTITION)?.metadata === word) {
      const { offset = "-1", metadata } = notes.get(BATCH_PARTITION) ?? {};
      const last = metadata && !offset.startsWith("-") ? { number: offset, id: metadata } : null;
      return { last, owner: notes.get(OWNER_PARTITION)?.metadata ?? null };
    }
    await sleep(Math.min(READ_PAUSE_MS * 2 ** (tries - 1), READ_PAUSE_MS_MAX));
  }
  throw new StaleOffsets(groupId);
}

/** Kafka takes offsets only for partitions that exist. */
async function requireMarkerTopic(
  { admin }: Connection,
  { markerTopic }: TransactionalSettings,
): Promise<void> {
  try {
    await admin.fetchTopicMetadata({ topics: [markerTopic] });
  } catch (error) {
    if (classify(error).kind !== "missing") throw error;
    const topic = { topic: markerTopic, numPartitions: MARKER_PARTITIONS, replicationFactor: -1 };
    await admin.createTopics({ topics: [topic], waitForLeaders: false });
    throw error; // Not every broker has heard of it: it is for the next try.
  }
}
