import type { Environment } from "./core/config/environment.ts";
import { readNumbers } from "./core/config/numbers.ts";
import {
  readTables,
  readTopicCreation,
  type TableName,
  type TopicsEvent,
  tablesOfEvent,
} from "./core/config/topics.ts";
import { ConfigError } from "./core/errors.ts";
import { createMskTopics, type MskTopicsReport } from "./core/kafka/msk-topics.ts";
import type { TopicCreation } from "./core/kafka/settings.ts";
import { log } from "./core/log.ts";
import { topicName, topicProblem } from "./core/topic.ts";
import { answer } from "./lambda.ts";

const CLUSTER_ARN = /^arn:aws[a-z-]*:kafka:[a-z0-9-]+:\d{12}:cluster\/[^/]+\/[^/]+$/;

interface Settings {
  clusterArn: string;
  topics: string[];
  creation: Required<TopicCreation>;
}

/**
 * Create the topics of tables by MSK's API, from outside the VPC, with the settings TOPIC_*. Again:
 * nothing.
 *
 * @throws when a setting can't be, or MSK refuses a topic, naming the settings to look at
 */
export async function handler(event?: TopicsEvent): Promise<MskTopicsReport> {
  return await answer(
    async () => {
      const { clusterArn, topics, creation } = readSettings(process.env, tablesOfEvent(event));
      const report = await createMskTopics(clusterArn, topics, creation);
      for (const warning of report.warnings) log("warn", "retention", { warning });
      log("info", "topics", report);
      return report;
    },
    () => undefined,
  );
}

/** @param asked the tables; without them, those of TOPIC_TABLES */
function readSettings(env: Environment, asked: TableName[] | null): Settings {
  const problems: string[] = [];
  const clusterArn = env["CLUSTER_ARN"] ?? "";
  if (!CLUSTER_ARN.test(clusterArn)) {
    problems.push(`CLUSTER_ARN is "${clusterArn}"; it must be the ARN of an MSK cluster.`);
  }
  const database = env["DATABASE_NAME"] ?? "";
  if (database === "") problems.push("DATABASE_NAME is not set; it goes into the topics' names.");
  const creation = readTopicCreation(env, readNumbers(env, problems), problems);
  const namespace = env["TOPIC_NAMESPACE"] || undefined;
  const tables = asked ?? readTables(env, problems);
  const topics = tables.map((table) => topicName({ namespace, database, ...table }));
  for (const topic of topics) {
    const problem = topicProblem(topic);
    if (problem !== null) problems.push(problem);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return { clusterArn, topics: [...new Set(topics)], creation };
}
