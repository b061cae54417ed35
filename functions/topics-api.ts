import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateTopicCommand,
  type CreateTopicCommandInput,
  DescribeTopicCommand,
  KafkaClient,
  NotFoundException,
} from "@aws-sdk/client-kafka";
import { NUMBERS, type NumberName } from "./core/config/numbers.ts";
import { parseTableName, readTables, type TableName } from "./core/config/topics.ts";
import { ConfigError } from "./core/errors.ts";
import { retentionWarning } from "./core/kafka/retention.ts";
import { log } from "./core/log.ts";
import { topicName, topicProblem } from "./core/topic.ts";

const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTION_TIMEOUT_MS = 3_000;
/** Of the SDK: throttling, server errors, broken connections. */
const ATTEMPTS_MAX = 4;
/** Ours, on what Kafka says while it elects or moves; the SDK takes that for the client's fault. */
const UNSETTLED_TRIES_MAX = 5;
const UNSETTLED_PAUSE_MS = 2_000;
const UNSETTLED = new Set([
  "ControllerMovedException",
  "KafkaTimeoutException",
  "NotControllerException",
  "ReassignmentInProgressException",
]);
const EXISTS = new Set(["ConflictException", "TopicExistsException"]);
/** MSK has brokers in two zones or three; its API has no "the cluster's default". */
const REPLICATION_DEFAULT = 3;

export interface TopicsEvent {
  /** As in `setup()`: `products`, `sales."Orders"`; those of TOPIC_TABLES when left out. */
  tables?: string[];
}

export interface TopicsReport {
  created: string[];
  existing: string[];
  /** Sentences about topics whose retention may lose messages. */
  warnings: string[];
}

interface TopicApiSettings {
  clusterArn: string;
  database: string;
  namespace: string | undefined;
  tables: TableName[];
  partitions: number;
  replication: number;
  configs: Record<string, string>;
}

/** The topic could not be created; says what MSK answered and which setting to look at. */
export class TopicApiError extends Error {
  override readonly name = "TopicApiError";
  /** The name of MSK's exception. */
  readonly code: string;

  constructor(message: string, options: { code: string; cause: unknown }) {
    super(message, { cause: options.cause });
    this.code = options.code;
  }
}

/**
 * Create the topics of the tables by MSK's API, which needs no way into the VPC: provisioned
 * clusters with Kafka 3.6 or newer have it. Topics that are there stay as they are.
 *
 * @see https://docs.aws.amazon.com/msk/latest/developerguide/msk-topic-operations-information.html
 * @throws {ConfigError} naming every setting that is wrong
 * @throws {TopicApiError} at the first topic that is refused; those before it are there
 */
export async function handler(event: TopicsEvent = {}): Promise<TopicsReport> {
  const settings = readSettings(process.env, event);
  const client = new KafkaClient({
    maxAttempts: ATTEMPTS_MAX,
    requestHandler: {
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionTimeout: CONNECTION_TIMEOUT_MS,
    },
  });
  try {
    const report = await createTopics(client, settings);
    for (const warning of report.warnings) log("warn", "retention", { warning });
    log("info", "topics", report);
    return report;
  } finally {
    client.destroy();
  }
}

async function createTopics(client: KafkaClient, settings: TopicApiSettings) {
  const report: TopicsReport = { created: [], existing: [], warnings: [] };
  for (const topic of topicsOf(settings)) {
    const isNew = await createTopic(client, topic, settings);
    (isNew ? report.created : report.existing).push(topic);
    const retentionMs = isNew
      ? settings.configs["retention.ms"]
      : await readRetention(client, topic, settings.clusterArn);
    if (retentionMs === undefined) continue;
    const warning = retentionWarning(`retention.ms of topic "${topic}"`, Number(retentionMs));
    if (warning !== null) report.warnings.push(warning);
  }
  return report;
}

/** @returns false when it was there already */
async function createTopic(
  client: KafkaClient,
  topic: string,
  settings: TopicApiSettings,
): Promise<boolean> {
  const { clusterArn, partitions, replication, configs } = settings;
  const input: CreateTopicCommandInput = {
    ClusterArn: clusterArn,
    TopicName: topic,
    PartitionCount: partitions,
    ReplicationFactor: replication,
    ...(Object.keys(configs).length === 0 ? {} : { Configs: encodeConfigs(configs) }),
  };
  for (let tries = 1; ; tries += 1) {
    try {
      await client.send(new CreateTopicCommand(input));
      return true;
    } catch (error) {
      const code = error instanceof Error ? error.name : "unknown";
      if (EXISTS.has(code)) return false;
      if (!UNSETTLED.has(code) || tries === UNSETTLED_TRIES_MAX) {
        throw new TopicApiError(explain(topic, settings, error), { code, cause: error });
      }
      await sleep(UNSETTLED_PAUSE_MS);
    }
  }
}

function explain(topic: string, settings: TopicApiSettings, error: unknown): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const lookAt =
    {
      NotFoundException: `Look at CLUSTER_ARN (${settings.clusterArn}).`,
      ForbiddenException: "Look at the Lambda's role: kafka-cluster:CreateTopic on the topic.",
      UnauthorizedException: "Look at the Lambda's role: kafka-cluster:CreateTopic on the topic.",
      BadRequestException:
        `Look at TOPIC_REPLICATION (${settings.replication}; at most the brokers), ` +
        `TOPIC_PARTITIONS (${settings.partitions}), TOPIC_RETENTION_MS and TOPIC_CLEANUP; and at ` +
        "the cluster: provisioned, Kafka 3.6 or newer.",
    }[name] ?? "Try again; nothing was lost.";
  return `MSK refused to create topic "${topic}" (${name}: ${message}). ${lookAt}`;
}

/** Undefined when MSK does not say: its answers may be a minute old. */
async function readRetention(
  client: KafkaClient,
  topic: string,
  clusterArn: string,
): Promise<string | undefined> {
  try {
    const found = await client.send(
      new DescribeTopicCommand({ ClusterArn: clusterArn, TopicName: topic }),
    );
    const configs = decodeConfigs(found.Configs);
    const expires = (configs["cleanup.policy"] ?? "delete").includes("delete");
    return expires ? configs["retention.ms"] : undefined;
  } catch (error) {
    if (error instanceof NotFoundException) return undefined;
    log("warn", "topic not described", { topic, error: String(error) });
    return undefined;
  }
}

/** MSK takes and gives a topic's configuration as JSON in Base64. */
function encodeConfigs(configs: Record<string, string>): string {
  return Buffer.from(JSON.stringify(configs)).toString("base64");
}

function decodeConfigs(text: string | undefined): Record<string, string> {
  return text ? JSON.parse(Buffer.from(text, "base64").toString()) : {};
}

function topicsOf({ tables, namespace, database }: TopicApiSettings): string[] {
  const topics = tables.map((relation) => topicName({ namespace, database, ...relation }));
  return [...new Set(topics)];
}

function tablesOf(event: TopicsEvent, problems: string[]): TableName[] {
  return (event.tables ?? []).flatMap((text) => {
    const table = parseTableName(text);
    if (table === null) problems.push(`The event has the table "${text}"; each is as in setup().`);
    return table ?? [];
  });
}

function readSettings(
  env: Readonly<Record<string, string | undefined>>,
  event: TopicsEvent,
): TopicApiSettings {
  const problems: string[] = [];
  const clusterArn = env["CLUSTER_ARN"] ?? "";
  if (!/^arn:aws[a-z-]*:kafka:[a-z0-9-]+:\d{12}:cluster\/[^/]+\/[^/]+$/.test(clusterArn)) {
    problems.push(`CLUSTER_ARN is "${clusterArn}"; it must be the ARN of an MSK cluster.`);
  }
  const database = env["DATABASE_NAME"] ?? "";
  if (database === "") problems.push("DATABASE_NAME is not set; it goes into the topics' names.");
  const number = (name: NumberName, standard: number) => {
    const { min, max } = NUMBERS[name];
    const text = env[name] || String(standard);
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    problems.push(`${name} is "${text}"; it must be a whole number from ${min} to ${max}.`);
    return standard;
  };
  const replication = number("TOPIC_REPLICATION", REPLICATION_DEFAULT);
  const settings: TopicApiSettings = {
    clusterArn,
    database,
    namespace: env["TOPIC_NAMESPACE"] || undefined,
    tables: event.tables === undefined ? readTables(env, problems) : tablesOf(event, problems),
    partitions: number("TOPIC_PARTITIONS", NUMBERS.TOPIC_PARTITIONS.default),
    replication: replication < 1 ? REPLICATION_DEFAULT : replication,
    configs: {
      ...(env["TOPIC_RETENTION_MS"] ? { "retention.ms": env["TOPIC_RETENTION_MS"] } : {}),
      ...(env["TOPIC_CLEANUP"] ? { "cleanup.policy": env["TOPIC_CLEANUP"] } : {}),
    },
  };
  for (const topic of topicsOf(settings)) {
    const problem = topicProblem(topic);
    if (problem !== null) problems.push(problem);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return settings;
}
