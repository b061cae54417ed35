import type { Database, DatabaseAccess } from "./database.ts";
import type { Settings } from "./filled-settings.ts";
import type { Kafka } from "./kafka.ts";
import { functionName, type LambdaId, logGroupName, serviceName } from "./names.ts";
import type { Network } from "./network.ts";
import { type Account, logStatements, type Statement, vpcStatements } from "./permissions.ts";

const NODE_OPTIONS = [
  // kafkajs sets timers in the past, which Node 24 warns of in the log.
  "--disable-warning=TimeoutNegativeWarning",
  // Megabytes for what is new. By itself Node takes as much as the machine seems to allow: a drain
  // of many events then rises to 280 MB, or on a small machine moves half of each batch to the old.
  "--max-semi-space-size=16",
];

/** An invocation that waited longer is dropped: the next one does its work. The least there is. */
export const EVENT_AGE_SECONDS_MAX = 60;

/** What all Lambdas of a stage are made with. */
export interface Stage {
  settings: Settings;
  account: Account;
  network: Network;
  database: Database;
  kafka: Kafka;
}

export interface LambdaOptions {
  id: LambdaId;
  /** Also the logical name of the component. */
  component: string;
  /** Of the drains; default the first. */
  lane?: number;
  description: string;
  timeoutSeconds: number;
  memoryMb: number;
  environment: Record<string, $util.Input<string>>;
  link?: unknown[];
  permissions: $util.Input<Statement[]>;
  /** Null: outside the VPC, where AWS's APIs can be reached without NAT. */
  network: Network | null;
  reservedConcurrency?: number | null;
  /** What must have succeeded before its code is made or changed. */
  after?: $util.Resource[];
}

/** A Lambda with a role of its own, which Lambda alone may assume, and no retries. */
export function createLambda(options: LambdaOptions, { settings, account }: Stage) {
  const { id, component, lane = 0, environment, link = [], network } = options;
  const { reservedConcurrency = null, after = [] } = options;
  const name = functionName($app.stage, id, lane);
  const logGroup = logGroupName(name);
  return new sst.aws.Function(component, {
    name,
    description: options.description,
    handler: `functions/${id}.handler`,
    runtime: "nodejs24.x",
    architecture: "arm64",
    timeout: `${options.timeoutSeconds} seconds`,
    memory: `${options.memoryMb} MB`,
    retries: 0,
    // What is imported later is a file of its own: a cold start reads only what it uses.
    nodejs: { splitting: true },
    ...(reservedConcurrency === null ? {} : { concurrency: { reserved: reservedConcurrency } }),
    environment: {
      POWERTOOLS_SERVICE_NAME: serviceName($app.stage),
      NODE_OPTIONS: NODE_OPTIONS.join(" "),
      ...environment,
    },
    link,
    // Outside the VPC nothing reaches Postgres, and sql/ would only change the package.
    ...(network === null ? {} : { copyFiles: [{ from: "sql" }] }),
    logging: { retention: settings.logRetention },
    permissions: $util
      .output(options.permissions)
      .apply((own) => [
        ...own,
        ...logStatements(account, logGroup),
        ...(network === null ? [] : vpcStatements(account, name)),
      ]),
    ...(network === null
      ? {}
      : { vpc: { privateSubnets: network.subnetIds, securityGroups: network.lambdaGroupIds } }),
    transform: {
      // A component hands no dependency down to what it is made of.
      function: (_args, resource) => {
        resource.dependsOn = after;
      },
      // SST's own also trusts the whole account, and its managed policies name no log group.
      role: (args) => {
        args.assumeRolePolicy = aws.iam.assumeRolePolicyForPrincipal({
          Service: "lambda.amazonaws.com",
        });
        args.managedPolicyArns = [];
      },
      logGroup: (args) => {
        args.name = logGroup;
      },
      eventInvokeConfig: (args) => {
        args.maximumEventAgeInSeconds = EVENT_AGE_SECONDS_MAX;
      },
    },
  });
}

/** What every Lambda that opens a connection to Kafka is told. */
export function kafkaEnvironment({ kafka, account }: Stage): Record<string, $util.Input<string>> {
  return { KAFKA_BROKER: kafka.brokers, KAFKA_AUTH: "iam", KAFKA_REGION: account.region };
}

/** What every Lambda that names or creates topics is told. */
export function topicEnvironment({ settings, kafka }: Stage): Record<string, string> {
  const { namespace, partitions, replication, retentionMs, cleanup } = settings.topics;
  const copies = replication ?? kafka.replication;
  return {
    TOPIC_PARTITIONS: String(partitions),
    ...(namespace === undefined ? {} : { TOPIC_NAMESPACE: namespace }),
    ...(copies === null ? {} : { TOPIC_REPLICATION: String(copies) }),
    ...(retentionMs === undefined ? {} : { TOPIC_RETENTION_MS: String(retentionMs) }),
    ...(cleanup === undefined ? {} : { TOPIC_CLEANUP: cleanup }),
  };
}

/** The permissions of a way into the database, and others. */
export function withDatabase(
  access: DatabaseAccess,
  others: $util.Input<Statement[]>,
): $util.Output<Statement[]> {
  return $util.all([access.permissions, others]).apply(([own, more]) => [...own, ...more]);
}
