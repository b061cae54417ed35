import { setTimeout as sleep } from "node:timers/promises";
import type { Admin } from "kafkajs";
import { ProduceError } from "../errors.ts";
import { topicProblem } from "../topic.ts";
import { advice } from "./advice.ts";
import { kafkaClient } from "./client.ts";
import { classify, type Failure, isCreationRefused, topicNotCreated } from "./failures.ts";
import type { ConnectionSettings, TopicCreation } from "./settings.ts";

/** A cluster that was just made may take a while until it answers. */
const TRIES_MAX = 4;
const PAUSE_MS = 1_000;

export interface TopicsReport {
  /** In the order asked for. */
  created: string[];
  existing: string[];
}

/**
 * Create the topics that are not there, by Kafka's own protocol.
 *
 * @throws {ProduceError} when Kafka is away, or refuses one; those before it are there, so that it
 *   may simply be asked again
 */
export async function createTopics(
  settings: ConnectionSettings,
  topics: readonly string[],
  creation: TopicCreation,
): Promise<TopicsReport> {
  const report: TopicsReport = { created: [], existing: [] };
  for (let tries = 1; ; tries++) {
    const admin = kafkaClient(settings, tries - 1).admin();
    try {
      await admin.connect();
      for (const topic of topics.slice(report.created.length + report.existing.length)) {
        const isNew = await create(admin, topic, creation);
        (isNew ? report.created : report.existing).push(topic);
      }
      return report;
    } catch (error) {
      if (error instanceof ProduceError) throw error;
      const failure = classify(error);
      if (failure.kind === "authentication" || tries === TRIES_MAX) throw gaveUp(failure, settings);
    } finally {
      await admin.disconnect().catch(() => {});
    }
    await sleep(PAUSE_MS);
  }
}

/** @returns false when it is there already */
async function create(
  admin: Admin,
  topic: string,
  { partitions, replicationFactor, configs = {} }: TopicCreation,
): Promise<boolean> {
  const problem = topicProblem(topic);
  if (problem !== null) throw refused(problem);
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  try {
    return await admin.createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor, configEntries }],
      waitForLeaders: false,
    });
  } catch (error) {
    const failure = classify(error);
    if (isCreationRefused(failure)) throw refused(topicNotCreated(failure, topic).reason, failure);
    throw error;
  }
}

function refused(reason: string, failure?: Failure): ProduceError {
  const hint =
    "Look at TOPIC_TABLES, TOPIC_PARTITIONS, TOPIC_REPLICATION, TOPIC_RETENTION_MS and TOPIC_CLEANUP.";
  return new ProduceError(`${reason} ${hint}`, {
    code: "TOPIC_REFUSED",
    retriable: false,
    cause: failure?.cause,
  });
}

function gaveUp(failure: Failure, settings: ConnectionSettings): ProduceError {
  const code = failure.kind === "authentication" ? "KAFKA_AUTHENTICATION" : "KAFKA_UNAVAILABLE";
  return new ProduceError(
    `Kafka at ${settings.brokers.join(",")} was not reached to create topics: ${failure.type}. ` +
      advice(failure, settings),
    { code, retriable: true, cause: failure.cause },
  );
}
