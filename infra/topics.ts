import { createLambda, kafkaEnvironment, type Stage, topicEnvironment } from "./lambda.ts";
import { createTopicStatements, topicApiStatements } from "./permissions.ts";

const TIMEOUT_SECONDS = 120;
const MEMORY_MB = 256;

/**
 * Create the topics of the tables that the settings name, at the first deploy and whenever the
 * list or what it asks for changes. By MSK's API where the cluster has it, from outside the VPC;
 * else by Kafka's own protocol, from inside.
 *
 * @returns what must succeed before the drain is scheduled; none when no table is named
 */
export function createTopics(stage: Stage): aws.lambda.Invocation[] {
  const { settings, kafka } = stage;
  if (settings.topics.tables.length === 0) return [];
  const creator = kafka.hasTopicApi ? byApi(stage) : byProtocol(stage);
  const { tables } = settings.topics;
  return [
    new aws.lambda.Invocation("TopicsCreated", {
      functionName: creator.name,
      input: JSON.stringify({ tables }),
      triggers: {
        code: creator.nodes.function.s3Key.apply((key) => key ?? ""),
        cluster: kafka.clusterArn,
        wanted: JSON.stringify(topicEnvironment(stage)),
      },
    }),
  ];
}

function scopeOf({ settings, database }: Stage) {
  return { namespace: settings.topics.namespace, database: database.name };
}

function byApi(stage: Stage) {
  const { clusterArn } = stage.kafka;
  return createLambda(
    {
      id: "topics-api",
      component: "Topics",
      description: "Creates topics by MSK's API; invoked at deploy",
      timeoutSeconds: TIMEOUT_SECONDS,
      memoryMb: MEMORY_MB,
      environment: {
        CLUSTER_ARN: clusterArn,
        DATABASE_NAME: stage.database.name,
        ...topicEnvironment(stage),
        TOPIC_TABLES: stage.settings.topics.tables.join(","),
      },
      permissions: $util.output(clusterArn).apply((arn) => topicApiStatements(arn, scopeOf(stage))),
      network: null,
    },
    stage,
  );
}

function byProtocol(stage: Stage) {
  const { owner } = stage.database;
  return createLambda(
    {
      id: "topics",
      component: "Topics",
      description: "Creates topics by Kafka's own protocol; invoked at deploy",
      timeoutSeconds: TIMEOUT_SECONDS,
      memoryMb: MEMORY_MB,
      environment: {
        ...owner.environment,
        ...kafkaEnvironment(stage),
        ...topicEnvironment(stage),
        TOPIC_TABLES: stage.settings.topics.tables.join(","),
        ...stage.settings.drain.variables,
      },
      link: owner.link,
      // Of the database it only asks the name, and that of its settings.
      permissions: $util
        .output(stage.kafka.clusterArn)
        .apply((arn) => createTopicStatements(arn, scopeOf(stage))),
      network: stage.network,
    },
    stage,
  );
}
