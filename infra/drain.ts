import { NUMBERS } from "../functions/core/config/numbers.ts";
import {
  createLambda,
  EVENT_AGE_SECONDS_MAX,
  kafkaEnvironment,
  type Stage,
  topicEnvironment,
  withDatabase,
} from "./lambda.ts";
import { produceStatements, transactionStatements } from "./permissions.ts";

/**
 * The drain of each lane, and its schedule. Reserved concurrency 1 keeps a second one from
 * starting, so that ticks that come while one works cost nothing; lanes that linger have 2, for
 * the next one to be there when one ends. It is a nicety: the lease in the queue is what keeps
 * drains single. An account whose limit is 10 allows no reservation at all (100 must stay
 * unreserved, or all 10); there, set `drain.reservedConcurrency` to null, or have the limit raised.
 *
 * @param after what must have succeeded: a drain of this release wants the schema of this release
 */
export function createDrains(stage: Stage, after: $util.Resource[]): void {
  for (let lane = 0; lane < stage.settings.drain.lanes; lane++) {
    const drain = createDrain(stage, lane, after);
    createSchedule(stage, lane, drain);
  }
}

/** What is made for a lane; the first has no number in its name. */
function component(name: string, lane: number): string {
  return lane === 0 ? name : `${name}${lane}`;
}

function createDrain(stage: Stage, lane: number, after: $util.Resource[]) {
  const { settings, database, kafka } = stage;
  const { timeoutSeconds, memoryMb, reservedConcurrency, lanes, linger, delivery, variables } =
    settings.drain;
  const scope = { namespace: settings.topics.namespace, database: database.name };
  const { create } = settings.topics;
  return createLambda(
    {
      id: "drain",
      component: component("Drain", lane),
      lane,
      description: "Moves events from the queue in Postgres to Kafka",
      timeoutSeconds,
      memoryMb,
      reservedConcurrency,
      environment: {
        ...database.drain.environment,
        ...kafkaEnvironment(stage),
        ...topicEnvironment(stage),
        TOPIC_CREATE: String(create),
        LANE: String(lane),
        LANES: String(lanes),
        LINGER: String(linger),
        DELIVERY: delivery,
        ...variables,
      },
      link: database.drain.link,
      permissions: withDatabase(
        database.drain,
        $util
          .output(kafka.clusterArn)
          .apply((clusterArn) => [
            ...produceStatements(clusterArn, scope, { create }),
            ...(delivery === "exactly-once"
              ? transactionStatements(clusterArn, scope, lanesOf(lane))
              : []),
          ]),
      ),
      network: stage.network,
      after,
    },
    stage,
  );
}

/** The lanes whose batches a drain may have to settle: the first goes on alone for all of them, also
 *  for those that a smaller number has left over. */
function lanesOf(lane: number): number[] {
  const all = Array.from({ length: NUMBERS.LANES.max }, (_, one) => one);
  return lane === 0 ? all : [lane];
}

/** It needs the drain, and so what the drain waits for: nothing runs before. */
function createSchedule({ settings }: Stage, lane: number, drain: sst.aws.Function): void {
  new sst.aws.CronV2(component("Schedule", lane), {
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
