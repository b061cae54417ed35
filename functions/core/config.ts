import { ConfigError } from "./errors.ts";
import type { BatchLimits, ParkedLimits } from "./postgres/queue.ts";

/** Bounds of one invocation of the relay. */
export interface RelayLimits {
  batch: BatchLimits;
  parked: ParkedLimits;
  leaseMs: number;
  requestTimeoutMs: number;
  /** Of the invocation's time, kept to settle and to answer. */
  marginMs: number;
}

export interface Config {
  databaseUrl: string;
  brokers: string[];
  namespace: string | undefined;
  dryRun: boolean;
  performMigrations: boolean;
  /** How long a drain from the command line may take. A Lambda's own deadline counts there. */
  timeoutMs: number;
  limits: RelayLimits;
  producer: {
    requestTimeoutMs: number;
    connectionTimeoutMs: number;
    requestBytesMax: number;
    messageBytesMax: number;
    compression: "none" | "gzip";
    createTopics: { partitions: number; replicationFactor: number } | null;
  };
}

/** A whole number from the environment. */
interface NumberSetting {
  default: number;
  min: number;
  max: number;
}

/** Every number that can be set; the README's table is checked against this one. */
export const NUMBERS = {
  BATCH_EVENTS_MAX: { default: 2_000, min: 1, max: 50_000 },
  BATCH_BYTES_MAX: { default: 8_388_608, min: 65_536, max: 67_108_864 },
  REQUEST_BYTES_MAX: { default: 900_000, min: 16_384, max: 8_388_608 },
  MESSAGE_BYTES_MAX: { default: 1_000_000, min: 1_024, max: 8_388_608 },
  REQUEST_TIMEOUT_MS: { default: 8_000, min: 1_000, max: 60_000 },
  CONNECTION_TIMEOUT_MS: { default: 3_000, min: 500, max: 30_000 },
  LEASE_MS: { default: 30_000, min: 5_000, max: 900_000 },
  MARGIN_MS: { default: 15_000, min: 1_000, max: 600_000 },
  TIMEOUT_MS: { default: 55_000, min: 2_000, max: 900_000 },
  PARKED_EVENTS_MAX: { default: 10_000, min: 1, max: 1_000_000 },
  PARKED_BYTES_MAX: { default: 268_435_456, min: 1_048_576, max: 17_179_869_184 },
  TOPIC_PARTITIONS: { default: 6, min: 1, max: 10_000 },
  TOPIC_REPLICATION: { default: -1, min: -1, max: 32_767 },
} as const satisfies Record<string, NumberSetting>;

export type NumberName = keyof typeof NUMBERS;

/** What must hold between two settings, or the invocation could not keep its promises. */
const RELATIONS: {
  holds: (n: Record<NumberName, number>) => boolean;
  says: string;
  of: NumberName[];
}[] = [
  {
    holds: (n) => n.LEASE_MS > 2 * n.REQUEST_TIMEOUT_MS,
    says: "LEASE_MS must be more than twice REQUEST_TIMEOUT_MS: a lease covers a request and its settling",
    of: ["LEASE_MS", "REQUEST_TIMEOUT_MS"],
  },
  {
    holds: (n) => n.MARGIN_MS > n.REQUEST_TIMEOUT_MS,
    says: "MARGIN_MS must be more than REQUEST_TIMEOUT_MS: a batch that starts last must end in time",
    of: ["MARGIN_MS", "REQUEST_TIMEOUT_MS"],
  },
  {
    holds: (n) => n.TIMEOUT_MS > n.MARGIN_MS,
    says: "TIMEOUT_MS must be more than MARGIN_MS: else no batch would ever start",
    of: ["TIMEOUT_MS", "MARGIN_MS"],
  },
  {
    holds: (n) => n.MESSAGE_BYTES_MAX <= n.BATCH_BYTES_MAX,
    says: "MESSAGE_BYTES_MAX must be at most BATCH_BYTES_MAX",
    of: ["MESSAGE_BYTES_MAX", "BATCH_BYTES_MAX"],
  },
];

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Read the settings from environment variables. Only the handlers and the command line call
 * this; all else is handed values.
 *
 * @throws {ConfigError} naming every variable that is wrong, its value and its bound
 */
export function readConfig(env: Environment): Config {
  const problems: string[] = [];
  const numbers = readNumbers(env, problems);
  const databaseUrl = readDatabaseUrl(env, problems);
  const dryRun = readFlag(env, "DRY_RUN", problems);
  const performMigrations = readFlag(env, "PERFORM_MIGRATIONS", problems);
  const createTopics = readFlag(env, "TOPIC_CREATE", problems);
  const brokers = readBrokers(env, problems);
  const namespace = env["TOPIC_NAMESPACE"] || undefined;
  const compression = env["COMPRESSION"] || "none";
  if (compression !== "none" && compression !== "gzip") {
    problems.push(`COMPRESSION is "${compression}"; it may be none or gzip.`);
  }
  if (problems.length > 0) throw new ConfigError(problems);

  return {
    databaseUrl,
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
      leaseMs: numbers.LEASE_MS,
      requestTimeoutMs: numbers.REQUEST_TIMEOUT_MS,
      marginMs: numbers.MARGIN_MS,
    },
    producer: {
      requestTimeoutMs: numbers.REQUEST_TIMEOUT_MS,
      connectionTimeoutMs: numbers.CONNECTION_TIMEOUT_MS,
      requestBytesMax: numbers.REQUEST_BYTES_MAX,
      messageBytesMax: numbers.MESSAGE_BYTES_MAX,
      compression: compression as "none" | "gzip",
      createTopics: createTopics
        ? { partitions: numbers.TOPIC_PARTITIONS, replicationFactor: numbers.TOPIC_REPLICATION }
        : null,
    },
  };
}

function readNumbers(env: Environment, problems: string[]): Record<NumberName, number> {
  const names = Object.keys(NUMBERS) as NumberName[];
  const numbers = Object.fromEntries(
    names.map((name) => {
      const { default: standard, min, max } = NUMBERS[name];
      const text = env[name];
      if (text === undefined || text === "") return [name, standard];
      const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
      if (value >= min && value <= max) return [name, value];
      problems.push(`${name} is "${text}"; it must be a whole number from ${min} to ${max}.`);
      return [name, standard];
    }),
  ) as Record<NumberName, number>;
  for (const { holds, says, of } of RELATIONS) {
    if (holds(numbers)) continue;
    const values = of.map((name) => `${name} is ${numbers[name]}`).join(", ");
    problems.push(`${says} (${values}).`);
  }
  return numbers;
}

function readFlag(env: Environment, name: string, problems: string[]): boolean {
  const text = env[name] ?? "";
  if (!["", "true", "false"].includes(text)) {
    problems.push(`${name} is "${text}"; it may be true or false.`);
  }
  return text === "true";
}

/** Its value is never shown: it holds a password. */
function readDatabaseUrl(env: Environment, problems: string[]): string {
  const text = env["DATABASE_URL"] ?? "";
  const isUrl = URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol);
  if (text === "") problems.push("DATABASE_URL is not set; it is the URL of the database.");
  else if (!isUrl)
    problems.push("DATABASE_URL is not a URL of the form postgres://user@host/database.");
  return text;
}

function readBrokers(env: Environment, problems: string[]): string[] {
  const brokers = (env["KAFKA_BROKER"] ?? "")
    .split(",")
    .map((broker) => broker.trim())
    .filter(Boolean);
  for (const broker of brokers) {
    const port = /^[^\s:/]+:(\d{1,5})$/.exec(broker)?.[1];
    if (!(Number(port) >= 1 && Number(port) <= 65_535)) {
      problems.push(`KAFKA_BROKER has "${broker}"; each broker is host:port.`);
    }
  }
  return brokers;
}
