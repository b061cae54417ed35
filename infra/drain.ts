import {
  createLambda,
  EVENT_AGE_SECONDS_MAX,
  kafkaEnvironment,
  type Stage,
  topicEnvironment,
  withDatabase,
} from "./lambda.ts";
import { produceStatements } from "./permissions.ts";

/**
 * The drain. Reserved concurrency 1 keeps a second one from starting, so that ticks that come
 * while one works cost nothing. It is a nicety: the lease in the queue is what keeps drains
 * single. An account whose limit is 10 allows no reservation at all (100 must stay unreserved,
 * or all 10); there, set `drain.reservedConcurrency` to null, or have the limit raised.
 *
 * @param after what must have succeeded: a drain of this release wants the schema of this release
 */
export function createDrain(stage: Stage, after: $util.Resource[]) {
  const { settings, database, kafka } = stage;
  const { timeoutSeconds, memoryMb, reservedConcurrency, variables } = settings.drain;
  const scope = { namespace: settings.topics.namespace, database: database.name };
  const { create } = settings.topics;
  return createLambda(
    {
      id: "drain",
      component: "Drain",
      description: "Moves events from the queue in Postgres to Kafka",
      timeoutSeconds,
      memoryMb,
      reservedConcurrency,
      environment: {
        ...database.drain.environment,
        ...kafkaEnvironment(stage),
        ...topicEnvironment(stage),
        TOPIC_CREATE: String(create),
        ...variables,
      },
      link: database.drain.link,
      permissions: withDatabase(
        database.drain,
        $util
          .output(kafka.clusterArn)
          .apply((clusterArn) => produceStatements(clusterArn, scope, { create })),
      ),
      network: stage.network,
      after,
    },
    stage,
  );
}

/** Its schedule. It needs the drain, and so what the drain waits for: nothing runs before. */
export function createSchedule({ settings }: Stage, drain: sst.aws.Function) {
  return new sst.aws.CronV2("Schedule", {
    function: drain,
    schedule: settings.drain.schedule as `rate(${string})` | `cron(${string})`,
    retries: 0,
    transform: {
      schedule: (args) => {
        args.description = "Runs the drain of pg2kafka";
        args.target = $util.output(args.target).apply((target) => ({
          ...target,
          retryPolicy: { ...target.retryPolicy, maximumEventAgeInSeconds: EVENT_AGE_SECONDS_MAX },
        }));
      },
    },
  });
}
