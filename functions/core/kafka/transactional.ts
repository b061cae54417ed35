import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { BatchName } from "../batch-name.ts";
import { ProduceError } from "../errors.ts";
import type { Message } from "../message.ts";
import { Delivery, NotStored, type TransactionalSendOptions } from "./delivery.ts";
import { classify, type Failure } from "./failures.ts";
import { type FencedSession, openFenced, type TransactionalSettings } from "./fenced-session.ts";
import {
  assertMayStart,
  disconnect,
  gaveUp,
  isWorthRetrying,
  RETRIES_MAX,
  retryPauseMs,
  type SendOptions,
  type SendReport,
} from "./producer.ts";

export type { TransactionalSendOptions } from "./delivery.ts";
export type { TransactionalSettings } from "./fenced-session.ts";

/** Sends each batch once, as readers with `isolation.level=read_committed` see it. */
export interface TransactionalProducer {
  /**
   * Shut out every other producer with the same transactional id, abort what it has left open, and
   * say which batch is the last in Kafka. To be called first, and after each failed send.
   *
   * Only an equal id means that a batch is in Kafka. When it is, whatever `beforeCommit` stored for
   * that id is what it lacks. Another id means that it is not there; one that the database does not
   * know, or a number above its own, that the database went back, and that what it sends now may be
   * a repeat. Null means that Kafka knows of no batch: there was none, or it has forgotten. It
   * drops the note of a batch `offsets.retention.minutes` (7 days by default) after the commit, and
   * with the topic of the notes. So a batch that was begun that long ago may be there despite a null.
   *
   * @throws {ProduceError} when Kafka cannot be reached, or does not allow it
   */
  fence(options?: Pick<SendOptions, "mayStart">): Promise<BatchName | null>;
  /**
   * Send messages to Kafka in one transaction, together with the note that `batch` was sent. Store
   * the batch's id and bounds before. Drawn anew for each call, an id never stands for two contents.
   *
   * Order, and what waits behind a refused message: as `Producer.send`. A message that was refused
   * is not in Kafka, all others are.
   *
   * A failure on the way, a lost answer to the commit too, is mended by a new session that fences
   * the old one and reads what became of it, as often as `Producer.send` tries again.
   *
   * @returns when the transaction is committed
   * @throws {ProduceError} when it is not, or not known to be: call `fence()`. FENCED: another
   *   producer has taken over, or the transaction was open for longer than `transactionTimeoutMs`
   */
  send(
    messages: readonly Message[],
    batch: BatchName,
    options?: TransactionalSendOptions,
  ): Promise<SendReport>;
  /** Close the connections. The next call is `fence()`, which opens new ones. */
  close(): Promise<void>;
}

/**
 * A producer for one cluster. It does not connect yet. One call at a time.
 *
 * kafkajs counts the messages of a partition for Kafka, and counts wrongly after a failure: Kafka
 * then takes messages for repeats and stores nothing. So a session serves until its first failure,
 * and the next one starts to count anew.
 */
export function createTransactionalProducer(
  settings: TransactionalSettings,
): TransactionalProducer {
  /* Topic → the bytes of a record batch that it takes, where it was found to take less than others. */
  const batchBytesMax = new Map<string, number>();
  let session: FencedSession | null = null;
  /** The last batch in Kafka; undefined when that is not known. */
  let last: BatchName | null | undefined;
  let owner = "";
  let sessions = 0;
  let sends = 0;

  async function fence({ mayStart }: Pick<SendOptions, "mayStart"> = {}) {
    leaveSession();
    last = undefined;
    owner = randomUUID();
    const opened = await repeat(() => openSession(owner), mayStart);
    last = opened.last;
    return last;
  }

  async function send(
    messages: readonly Message[],
    batch: BatchName,
    options: TransactionalSendOptions = {},
  ): Promise<SendReport> {
    if (last === undefined) throw new Error("What is in Kafka is not known: call fence() first.");
    if (last?.id === batch.id) throw new Error(`Batch ${batch.id} is in Kafka already.`);
    const before = last;
    last = undefined;
    const delivery = new Delivery(messages, batch, options, settings, batchBytesMax, sends++);
    const refused = await repeat(async () => {
      if (session === null) {
        const found = await openSession(null);
        // Whoever fenced meanwhile has been told what is in Kafka: that must not change any more.
        if (found.owner !== owner) throw fencedOff(settings);
        if (found.last?.id === batch.id && delivery.committing) return delivery.committing;
        if (found.last?.id !== before?.id) throw fencedOff(settings);
      }
      return await delivery.attempt(session!);
    }, options.mayStart);
    last = batch;
    return { refused: new Map(refused) };
  }

  /** Until `attempt` returns something, on a new session after each one that does not. */
  async function repeat<Result>(
    attempt: () => Promise<Result | null>,
    mayStart: () => boolean = () => true,
  ): Promise<Result> {
    let failures = 0;
    let failure: Failure | null = null;
    for (;;) {
      if (failure !== null && !mayStart()) throw gaveUp(failure, settings);
      assertMayStart(mayStart);
      const isKept = session !== null;
      try {
        const result = await attempt();
        if (result !== null) return result;
        leaveSession();
      } catch (error) {
        leaveSession();
        failure = failureOf(error, settings);
        failures += 1;
        if (!isWorthRetrying(failure, isKept) || failures > RETRIES_MAX) {
          const isNamed = failure.type !== NO_COORDINATOR;
          throw isNamed ? gaveUp(failure, settings) : transactionRefused(settings, failure);
        }
        await sleep(retryPauseMs(failures));
      }
    }
  }

  async function openSession(word: string | null): Promise<FencedSession> {
    session = await openFenced(settings, sessions++, word);
    return session;
  }

  function leaveSession(): void {
    // Not awaited: with a broker that hangs it takes as long as a request may.
    if (session) void disconnect(session);
    session = null;
  }

  async function close(): Promise<void> {
    const closing = session;
    session = null;
    last = undefined;
    if (closing) await disconnect(closing);
  }

  return { fence, send, close };
}

/* What Kafka says of a producer with an old epoch; brokers name it the first way to old clients. */
const FENCED = new Set(["INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"]);

/** What kafkajs makes of every answer to the question who coordinates, a refusal included. */
const NO_COORDINATOR = "KafkaJSGroupCoordinatorNotFound";

/* Trying again does not help until somebody acts; but for NO_COORDINATOR. */
const WAYS_OUT: Record<string, string> = {
  [NO_COORDINATOR]:
    "Grant Describe and Write on the transactional id and Describe and Read on the group (in IAM: " +
    "kafka-cluster:DescribeTransactionalId, AlterTransactionalId, DescribeGroup, AlterGroup); or " +
    "the cluster has too few brokers for its own topics of transactions and offsets.",
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    "Grant Describe and Write on the transactional id (in IAM: kafka-cluster:" +
    "DescribeTransactionalId, AlterTransactionalId).",
  GROUP_AUTHORIZATION_FAILED:
    "Grant Read on the group (in IAM: kafka-cluster:DescribeGroup, AlterGroup).",
  TOPIC_AUTHORIZATION_FAILED:
    "Grant Describe and Read on the topic of the notes, and Create unless it exists (in IAM: " +
    "kafka-cluster:DescribeTopic, ReadData, CreateTopic).",
  CLUSTER_AUTHORIZATION_FAILED:
    "Grant the right that Kafka asks for on the cluster (in IAM: kafka-cluster:DescribeCluster, " +
    "WriteDataIdempotently).",
  INVALID_TRANSACTION_TIMEOUT:
    "It is more than the brokers' transaction.max.timeout.ms (15 minutes by default): lower it.",
  POLICY_VIOLATION: "Create the topic of the notes by hand, with three partitions.",
  INVALID_REPLICATION_FACTOR: "Create the topic of the notes by hand, with three partitions.",
};

/** @throws what is no failure of Kafka's, or one that ends the call */
function failureOf(error: unknown, settings: TransactionalSettings): Failure {
  if (error instanceof ProduceError) throw error;
  if (error instanceof NotStored) throw error.cause;
  const failure = classify(error);
  if (FENCED.has(failure.type)) throw fencedOff(settings, failure);
  const isFinal = WAYS_OUT[failure.type] !== undefined && failure.type !== NO_COORDINATOR;
  if (isFinal) throw transactionRefused(settings, failure);
  return failure;
}

function fencedOff({ transactionalId }: TransactionalSettings, failure?: Failure): ProduceError {
  return new ProduceError(
    `Kafka takes no more from this producer: another one with the transactional id ` +
      `"${transactionalId}" has taken over, or the transaction was open for too long. ` +
      "The events stay queued; the next drain finds out whether they are in Kafka.",
    { code: "FENCED", retriable: true, cause: failure?.cause },
  );
}

function transactionRefused(settings: TransactionalSettings, failure: Failure): ProduceError {
  const { transactionalId, groupId, markerTopic, transactionTimeoutMs } = settings;
  return new ProduceError(
    `Kafka refuses transactions: ${failure.type} (transactional id "${transactionalId}", group ` +
      `"${groupId}", topic of the notes "${markerTopic}", timeout ${transactionTimeoutMs} ms). ` +
      `${WAYS_OUT[failure.type]} The events stay queued.`,
    { code: "TRANSACTION_REFUSED", retriable: true, cause: failure.cause },
  );
}
