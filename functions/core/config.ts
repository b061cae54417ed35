import { getHeapStatistics } from "node:v8";
import { type DatabaseSettings, readDatabase } from "./config/database.ts";
import { type Environment, readChoice, readFlag } from "./config/environment.ts";
import { readBrokers, readIam } from "./config/kafka.ts";
import { type NumberName, readNumbers } from "./config/numbers.ts";
import { readTables, readTopicCreation, type TableName } from "./config/topics.ts";
import { ConfigError } from "./errors.ts";
import { COMPRESSIONS } from "./kafka/compression.ts";
import type { ProducerSettings, TopicCreation } from "./kafka/settings.ts";
import type { BatchLimits } from "./postgres/batch.ts";
import type { KeepLimits, ParkedLimits } from "./postgres/queue.ts";

/** Bounds of one invocation of the relay. */
export interface RelayLimits {
  batch: BatchLimits;
  parked: ParkedLimits;
  leaseMs: number;
  requestTimeoutMs: number;
  /** Delivered events that are kept for replays; null for none. */
  keep: KeepLimits | null;
  /** Percent of the batches that go to snapshots of tables, and to replays, while there are live events. */
  snapshotShare: number;
  /** Of the invocation's time, kept to settle and to answer. */
  marginMs: number;
}

const HOUR_MS = 3_600_000;

/** Heap that a batch may take, for each of its bytes: it is sent while the next one is read, and
 *  both are held as read and as sent, with two bytes a character where one is not Latin. */
const HEAP_PER_BATCH_BYTE = 8;

const DELIVERIES = ["at-least-once", "exactly-once"] as const;

export interface Config {
  database: DatabaseSettings;
  brokers: string[];
  namespace: string | undefined;
  dryRun: boolean;
  performMigrations: boolean;
  /** How long a drain from the command line may take. A Lambda's own deadline counts there. */
  timeoutMs: number;
  limits: RelayLimits;
  /** Which of the drains this is, from 0, and how many share the queue. */
  lane: number;
  lanes: number;
  /** Wait for new events until the time is up. */
  linger: boolean;
  delivery: (typeof DELIVERIES)[number];
  producer: Omit<ProducerSettings, "brokers" | "clientId">;
  /** Tables whose topics are made at deploy, and how. */
  topics: { tables: TableName[]; creation: TopicCreation };
}

/**
 * Read the settings from environment variables. Only the handlers and the command line call
 * this; all else is handed values.
 *
 * @param heapBytesMax what this process may take: of a Lambda, by its memory
 * @throws {ConfigError} naming every variable that is wrong, its value and its bound
 */
export function readConfig(
  env: Environment,
  heapBytesMax = getHeapStatistics().heap_size_limit,
): Config {
  const problems: string[] = [];
  const numbers = readNumbers(env, problems);
  checkHeap(numbers, heapBytesMax, problems);
  const database = readDatabase(env, numbers.DATABASE_PORT, problems);
  const dryRun = readFlag(env, "DRY_RUN", problems);
  const performMigrations = readFlag(env, "PERFORM_MIGRATIONS", problems);
  const createsTopics = readFlag(env, "TOPIC_CREATE", problems);
  const delivery = readChoice(env, "DELIVERY", DELIVERIES, "at-least-once", problems);
  const linger = readFlag(env, "LINGER", problems);
  const brokers = readBrokers(env, problems);
  const iam = readIam(env, brokers, problems);
  const creation = readTopicCreation(env, numbers, problems);
  const tables = readTables(env, problems);
  const namespace = env["TOPIC_NAMESPACE"] || undefined;
  const compression = readChoice(env, "COMPRESSION", COMPRESSIONS, "none", problems);
  if (problems.length > 0) throw new ConfigError(problems);

  return {
    database,
    brokers,
    namespace,
    dryRun,
    performMigrations,
    timeoutMs: numbers.TIMEOUT_MS,
    limits: {
      batch: {
        eventsMax: numbers.BATCH_EVENTS_MAX,
        bytesMax: numbers.BATCH_BYTES_MAX,
        eventBytesMax: numbers.MESSAGE_BYTES_MAX,
      },
      parked: { eventsMax: numbers.PARKED_EVENTS_MAX, bytesMax: numbers.PARKED_BYTES_MAX },
      keep: numbers.KEEP_HOURS > 0 ? readKeep(numbers) : null,
      leaseMs: numbers.LEASE_MS,
      requestTimeoutMs: numbers.REQUEST_TIMEOUT_MS,
      snapshotShare: numbers.SNAPSHOT_SHARE,
      marginMs: numbers.MARGIN_MS,
    },
    lane: numbers.LANE,
    lanes: numbers.LANES,
    linger,
    delivery,
    producer: {
      requestTimeoutMs: numbers.REQUEST_TIMEOUT_MS,
      connectionTimeoutMs: numbers.CONNECTION_TIMEOUT_MS,
      requestBytesMax: numbers.REQUEST_BYTES_MAX,
      messageBytesMax: numbers.MESSAGE_BYTES_MAX,
      compression,
      iam,
      createTopics: createsTopics ? creation : null,
    },
    topics: { tables, creation },
  };
}

/** A process without heap ends with no word of why. */
function checkHeap(
  { BATCH_BYTES_MAX }: Record<NumberName, number>,
  heapBytesMax: number,
  problems: string[],
): void {
  const bound = Math.floor(heapBytesMax / HEAP_PER_BATCH_BYTE);
  if (BATCH_BYTES_MAX <= bound) return;
  problems.push(
    `BATCH_BYTES_MAX is ${BATCH_BYTES_MAX}; with a heap of ${heapBytesMax} bytes it must be at most ${bound}: more memory for the Lambda, or node's --max-old-space-size, allows more.`,
  );
}

function readKeep({ KEEP_HOURS, KEEP_BYTES_MAX }: Record<NumberName, number>): KeepLimits {
  return { keepMs: KEEP_HOURS * HOUR_MS, bytesMax: KEEP_BYTES_MAX };
}
