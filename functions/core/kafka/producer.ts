import { setTimeout as sleep } from "node:timers/promises";
import type { Admin, Producer as KafkaProducer, ProducerConfig } from "kafkajs";
import { ProduceError } from "../errors.ts";
import type { Message } from "../message.ts";
import { advice } from "./advice.ts";
import { kafkaClient } from "./client.ts";
import { rememberCoordinators } from "./coordinators.ts";
import {
  classify,
  type Failure,
  isTooLarge,
  NotAcknowledged,
  type Refusal,
  refusedByKafka,
} from "./failures.ts";
import { Outbox, type RecordBatch } from "./outbox.ts";
import { createPartitioner } from "./partitioner.ts";
import { encodeBatches, partitionMessages } from "./produce-request.ts";
import { quietRequestQueue } from "./request-queue.ts";
import type { ProducerSettings } from "./settings.ts";
import { PARTITIONS_AGE_MS_MAX, Topics } from "./topics.ts";

export { FOUND_MAX } from "./outbox.ts";
export type { ProducerSettings, TopicCreation } from "./settings.ts";

export interface SendOptions {
  /** Asked before each attempt and each request; false ends the send with LEASE_TOO_SHORT, or with
   *  the failure that an attempt has met. */
  mayStart?: () => boolean;
  /** More refusals end the send with TOO_MANY_REFUSED; nothing was sent when they show before. So does
   *  what takes too many requests to find; of FOUND_MAX messages all are found. */
  refusedMax?: number;
}

export interface SendReport {
  /** By position in the batch. Every message that is not here was acknowledged by all replicas. */
  refused: Map<number, Refusal>;
}

export interface Producer {
  /**
   * Send messages to Kafka, at least once.
   *
   * Order: messages of one topic and partition are stored in the order given, and none while an
   * earlier one is neither stored nor refused. After a failure some may be stored again: keep the
   * first copy of each uuid, and the rest is in order. Behind a refused message wait all later
   * ones of its topic and key, behind a refused topic all of it; those without key wait for none.
   *
   * Side effects: connects on first use; creates topics when `createTopics` is set.
   *
   * @returns when each message is acknowledged or refused
   * @throws {ProduceError} when that cannot be said of all: settle none, send the batch again.
   * What is still on its way to a broker then can only repeat messages.
   */
  send(messages: readonly Message[], options?: SendOptions): Promise<SendReport>;
  /** Close the connections; with a broker that hangs it takes up to `requestTimeoutMs`. The next
   *  send opens new ones. */
  close(): Promise<void>;
}

/** A producer that can be told to connect before there is something to send. */
export interface OpenableProducer extends Producer {
  /** Begin to connect, so that the first send finds it done. What fails shows at that send. */
  open(): void;
}

encodeBatches();
quietRequestQueue();
rememberCoordinators();

/** Rounds that may fail in a row until a send gives up: about 5 s with the pauses. A planned change
 *  of leaders takes less; for what takes longer the caller comes back. */
export const RETRIES_MAX = 6;
const RETRY_PAUSE_MS = 100;
const RETRY_PAUSE_MS_MAX = 1_600;

/** How long to wait after so many failures in a row. */
export function retryPauseMs(failures: number): number {
  return Math.min(RETRY_PAUSE_MS * 2 ** (failures - 1), RETRY_PAUSE_MS_MAX);
}

/** A producer for one cluster. It does not connect yet. One `send` at a time. */
export function createProducer(settings: ProducerSettings): OpenableProducer {
  /* Topics that have refused something. Their record batches go apart from then on: a refusal
     fails the whole request, and what else it carried is sent again. */
  const apart = new Set<string>();
  const batchBytesMax = new Map<string, number>();
  let connection: Promise<Connection> | undefined;
  let connectionsMade = 0;
  let sends = 0;

  async function send(
    messages: readonly Message[],
    { mayStart = () => true, refusedMax = Number.POSITIVE_INFINITY }: SendOptions = {},
  ): Promise<SendReport> {
    const known = { refused: new Map(), batchBytesMax };
    const outbox = new Outbox(messages, settings, apart, sends++, known);
    let failures = 0;
    let failure: Failure | null = null;
    while (!outbox.isEmpty()) {
      if (failure !== null && !mayStart()) throw gaveUp(failure, settings);
      assertMayStart(mayStart);
      const isKept = connection !== undefined;
      failure = await sendRound(outbox, mayStart, refusedMax);
      if (failure === null) {
        failures = 0;
        continue;
      }
      // kafkajs goes on asking for topics that are gone and brokers that moved; a new one does not.
      // Not awaited: with a broker that hangs it takes as long as a request may.
      void close();
      failures += 1;
      const isHopeless = !isWorthRetrying(failure, isKept) || failures > RETRIES_MAX;
      if (isHopeless) throw gaveUp(failure, settings);
      await sleep(retryPauseMs(failures));
    }
    return { refused: outbox.refused };
  }

  /**
   * Send the next record batch of every partition that has messages left. Nothing is on its way
   * before, so what failed can be sent again in its place.
   *
   * @returns the failure that calls for a pause or an end; null when the next round may follow
   */
  async function sendRound(
    outbox: Outbox,
    mayStart: () => boolean,
    refusedMax: number,
  ): Promise<Failure | null> {
    let open: Connection;
    try {
      open = await connectOnce();
      await open.topics.placeMessages(outbox);
    } catch (error) {
      return classify(error);
    }
    assertNotTooMany(outbox, refusedMax);
    const failed = await sendRequests(open.producer, outbox, mayStart, settings);

    let failure: Failure | null = null;
    for (const { request, error } of failed) {
      if (error instanceof ProduceError) throw error;
      const found = classify(error);
      const isRefusal = found.kind === "message" || found.kind === "topic";
      if (!isRefusal) failure = found;
      if (!isRefusal || request.length > 1) {
        outbox.isolateFromNowOn();
        continue;
      }
      apart.add(request[0]!.lane.topic);
      refuse(outbox, request[0]!, found);
    }
    return failure;
  }

  function connectOnce(): Promise<Connection> {
    connection ??= connect(settings, connectionsMade++);
    return connection;
  }

  function open(): void {
    connectOnce().catch(() => {});
  }

  async function close(): Promise<void> {
    const closing = connection;
    connection = undefined;
    // What never opened needs no closing.
    const open = await closing?.catch(() => undefined);
    if (open) await disconnect(open);
  }

  return { send, open, close };
}

export interface Connection {
  admin: Admin;
  producer: KafkaProducer;
  topics: Topics;
}

export async function connect(
  settings: ProducerSettings,
  turn: number,
  transactions: Pick<ProducerConfig, "transactionalId" | "transactionTimeout"> = {},
): Promise<Connection> {
  const kafka = kafkaClient(settings, turn);
  const admin = kafka.admin();
  const producer = kafka.producer({
    // After a failure it reports messages as stored that the broker took for repeats.
    idempotent: false,
    allowAutoTopicCreation: false,
    metadataMaxAge: PARTITIONS_AGE_MS_MAX,
    createPartitioner,
    ...transactions,
  });
  const connection = { admin, producer, topics: new Topics(admin, settings.createTopics ?? null) };
  const opened = await Promise.allSettled([admin.connect(), producer.connect()]);
  for (const result of opened) {
    if (result.status === "fulfilled") continue;
    void disconnect(connection);
    throw result.reason;
  }
  return connection;
}

export async function disconnect({ admin, producer }: Connection): Promise<void> {
  await Promise.allSettled([admin.disconnect(), producer.disconnect()]);
}

/** Kafka refuses a record batch that was sent alone. */
export function refuse(outbox: Outbox, request: RecordBatch, failure: Failure): void {
  const { topic } = request.lane;
  const refusal = refusedByKafka(failure, topic);
  if (failure.kind === "topic") outbox.refuseTopic(topic, refusal);
  else outbox.splitOrRefuse(request, refusal, isTooLarge(failure));
}

/** A request that Kafka did not acknowledge, or the part of it that it did not. */
export interface FailedRequest {
  request: RecordBatch[];
  error: unknown;
}

/**
 * Send the outbox's next requests, all at once. What fails is back in the outbox.
 *
 * @param isCounted as for `produce`
 */
export async function sendRequests(
  producer: Pick<KafkaProducer, "sendBatch">,
  outbox: Outbox,
  mayStart: () => boolean,
  settings: ProducerSettings,
  isCounted = false,
): Promise<FailedRequest[]> {
  const failed: FailedRequest[] = [];
  await Promise.all(
    outbox.takeRequests().map(async (request) => {
      try {
        assertMayStart(mayStart);
        const unsent = await produce(producer, request, settings, isCounted);
        if (unsent.length > 0) failed.push({ request: unsent, error: new NotAcknowledged() });
      } catch (error) {
        failed.push({ request, error });
      }
    }),
  );
  for (const { request } of failed) outbox.putBack(request);
  return failed;
}

/**
 * Send record batches of different partitions in one request to each of their leaders.
 *
 * @param isCounted the producer is a transaction, whose messages are numbered
 * @returns those that kafkajs did not send: its answer lacks them, and it reports no error
 * @throws when one of them failed; the others may be stored, now or later
 */
async function produce(
  producer: Pick<KafkaProducer, "sendBatch">,
  request: readonly RecordBatch[],
  { requestTimeoutMs, compression = "none" }: ProducerSettings,
  isCounted = false,
): Promise<RecordBatch[]> {
  const byTopic = Map.groupBy(request, ({ lane }) => lane.topic);
  const answers = await producer.sendBatch({
    topicMessages: [...byTopic].map(([topic, batches]) => ({
      topic,
      messages: batches.flatMap(({ lane: { partition }, messages, bytes }) =>
        partitionMessages(partition, messages, bytes, compression, isCounted),
      ),
    })),
    acks: -1,
    timeout: requestTimeoutMs,
  });
  const stored = answers.filter(({ errorCode }) => errorCode === 0);
  const places = new Set(stored.map(({ topicName, partition }) => `${topicName}/${partition}`));
  return request.filter(({ lane }) => !places.has(`${lane.topic}/${lane.partition}`));
}

export function assertMayStart(mayStart: () => boolean): void {
  if (mayStart()) return;
  throw new ProduceError(
    "The time left does not suffice for another request to Kafka. The batch is to be sent again.",
    { code: "LEASE_TOO_SHORT", retriable: true },
  );
}

export function assertNotTooMany(outbox: Outbox, refusedMax = Number.POSITIVE_INFINITY): void {
  const { size } = outbox.refused;
  if (size <= refusedMax && !outbox.isTooMuch()) return;
  throw new ProduceError(
    size > refusedMax
      ? `Kafka refuses ${size} messages of the batch; ${refusedMax} may be.`
      : `Kafka refuses ${size} messages of the batch and more: a smaller one is to be sent.`,
    { code: "TOO_MANY_REFUSED", retriable: true },
  );
}

/** @param isKept the connection was there before: what fails on it may not on a new one, such as
 *  the renewal of a session under a role whose name has changed */
export function isWorthRetrying({ kind }: Failure, isKept: boolean): boolean {
  return kind === "later" || kind === "missing" || (kind === "authentication" && isKept);
}

export function gaveUp(failure: Failure, settings: ProducerSettings): ProduceError {
  const { kind, type, cause } = failure;
  const address = settings.brokers.join(",");
  const [code, what] =
    kind === "authentication"
      ? (["KAFKA_AUTHENTICATION", "does not accept the credentials"] as const)
      : (["KAFKA_UNAVAILABLE", "did not acknowledge the batch"] as const);
  return new ProduceError(
    `Kafka at ${address} ${what}: ${type}. The events stay queued and are sent again. ` +
      advice(failure, settings),
    { code, retriable: true, cause },
  );
}
