import { setTimeout as sleep } from "node:timers/promises";
import {
  CreateTopicCommand,
  type CreateTopicCommandInput,
  DescribeTopicCommand,
  KafkaClient,
  NotFoundException,
} from "@aws-sdk/client-kafka";
import { log } from "../log.ts";
import { retentionWarning } from "./retention.ts";
import type { TopicCreation } from "./settings.ts";

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

export interface MskTopicsReport {
  created: string[];
  existing: string[];
  /** Sentences about topics whose retention may lose messages. */
  warnings: string[];
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
 * Create topics by MSK's API, which needs no way into the VPC: provisioned clusters with Kafka 3.6
 * or newer have it. Topics that are there stay as they are.
 *
 * @throws {TopicApiError} naming the first topic that was refused; those before it are there
 */
export async function createMskTopics(
  clusterArn: string,
  topics: readonly string[],
  creation: Required<TopicCreation>,
): Promise<MskTopicsReport> {
  const client = new KafkaClient({
    maxAttempts: ATTEMPTS_MAX,
    requestHandler: {
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionTimeout: CONNECTION_TIMEOUT_MS,
    },
  });
  const report: MskTopicsReport = { created: [], existing: [], warnings: [] };
  try {
    for (const topic of topics) {
      const isNew = await createTopic(client, clusterArn, topic, creation);
      (isNew ? report.created : report.existing).push(topic);
      const retentionMs = isNew
        ? creation.configs["retention.ms"]
        : await readRetention(client, clusterArn, topic);
      if (retentionMs === undefined) continue;
      const warning = retentionWarning(`retention.ms of topic "${topic}"`, Number(retentionMs));
      if (warning !== null) report.warnings.push(warning);
    }
    return report;
  } finally {
    client.destroy();
  }
}

/** @returns false when it was there already */
async function createTopic(
  client: KafkaClient,
  clusterArn: string,
  topic: string,
  creation: Required<TopicCreation>,
): Promise<boolean> {
  const { partitions, configs } = creation;
  const input: CreateTopicCommandInput = {
    ClusterArn: clusterArn,
    TopicName: topic,
    PartitionCount: partitions,
    ReplicationFactor: replicationOf(creation),
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
        throw new TopicApiError(explain(clusterArn, topic, creation, error), {
          code,
          cause: error,
        });
      }
      await sleep(UNSETTLED_PAUSE_MS);
    }
  }
}

function replicationOf({ replicationFactor }: TopicCreation): number {
  return replicationFactor < 1 ? REPLICATION_DEFAULT : replicationFactor;
}

function explain(
  clusterArn: string,
  topic: string,
  creation: TopicCreation,
  error: unknown,
): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const lookAt =
    {
      NotFoundException: `Look at CLUSTER_ARN (${clusterArn}).`,
      ForbiddenException: "Look at the Lambda's role: kafka-cluster:CreateTopic on the topic.",
      UnauthorizedException: "Look at the Lambda's role: kafka-cluster:CreateTopic on the topic.",
      BadRequestException:
        `Look at TOPIC_REPLICATION (${replicationOf(creation)}; at most the brokers), ` +
        `TOPIC_PARTITIONS (${creation.partitions}), TOPIC_RETENTION_MS and TOPIC_CLEANUP; and at ` +
        "the cluster: provisioned, Kafka 3.6 or newer.",
    }[name] ?? "Try again; nothing was lost.";
  return `MSK refused to create topic "${topic}" (${name}: ${message}). ${lookAt}`;
}

/** Undefined when MSK does not say: its answers may be a minute old. */
async function readRetention(
  client: KafkaClient,
  clusterArn: string,
  topic: string,
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
