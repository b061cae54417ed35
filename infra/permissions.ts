import { topicName, transactionNames } from "../functions/core/topic.ts";
import { parseArn } from "./arns.ts";

/** One statement of a policy, as SST's Function takes it. */
export interface Statement {
  effect?: "allow" | "deny";
  actions: string[];
  resources: string[];
  conditions?: { test: string; variable: string; values: string[] }[];
}

/** Names the topics of one installation: its namespace and its database. */
export interface TopicScope {
  namespace: string | undefined;
  database: string;
}

/**
 * All topics of the installation, `pg2kafka.[namespace.]database.*`, in a cluster.
 * @see https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html
 */
function topicsArn(clusterArn: string, { namespace, database }: TopicScope): string {
  const prefix = topicName({ namespace, database, schema: "public", table: "" });
  return `${clusterArn.replace(":cluster/", ":topic/")}/${prefix}*`;
}

/** Send to the topics of the installation, and, when `create`, create those that are missing. */
export function produceStatements(
  clusterArn: string,
  scope: TopicScope,
  { create }: { create: boolean },
): Statement[] {
  return [
    {
      actions: ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"],
      resources: [clusterArn],
    },
    {
      actions: [
        "kafka-cluster:DescribeTopic",
        "kafka-cluster:WriteData",
        ...(create ? ["kafka-cluster:CreateTopic"] : []),
      ],
      resources: [topicsArn(clusterArn, scope)],
    },
  ];
}

/**
 * Send batches in transactions, under the names of these lanes.
 * @see https://docs.aws.amazon.com/msk/latest/developerguide/kafka-actions.html
 */
export function transactionStatements(
  clusterArn: string,
  scope: TopicScope,
  lanes: readonly number[],
): Statement[] {
  const names = lanes.map((lane) => transactionNames(scope, lane));
  const arn = (kind: string, name: string) =>
    `${clusterArn.replace(":cluster/", `:${kind}/`)}/${name}`;
  return [
    { actions: ["kafka-cluster:WriteDataIdempotently"], resources: [clusterArn] },
    {
      actions: ["kafka-cluster:DescribeTransactionalId", "kafka-cluster:AlterTransactionalId"],
      resources: names.map(({ transactionalId }) => arn("transactional-id", transactionalId)),
    },
    {
      actions: ["kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"],
      resources: names.map(({ groupId }) => arn("group", groupId)),
    },
    {
      actions: [
        "kafka-cluster:DescribeTopic",
        "kafka-cluster:ReadData",
        "kafka-cluster:CreateTopic",
      ],
      resources: [arn("topic", names[0]!.markerTopic)],
    },
  ];
}

/** Create topics by Kafka's own protocol. */
export function createTopicStatements(clusterArn: string, scope: TopicScope): Statement[] {
  return [
    {
      actions: ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"],
      resources: [clusterArn],
    },
    {
      actions: ["kafka-cluster:DescribeTopic", "kafka-cluster:CreateTopic"],
      resources: [topicsArn(clusterArn, scope)],
    },
  ];
}

/**
 * Create topics by MSK's API, and read those that are there.
 * @see https://docs.aws.amazon.com/msk/latest/developerguide/msk-topic-operations-information.html
 */
export function topicApiStatements(clusterArn: string, scope: TopicScope): Statement[] {
  return [
    { actions: ["kafka-cluster:Connect"], resources: [clusterArn] },
    {
      actions: [
        "kafka-cluster:CreateTopic",
        "kafka-cluster:DescribeTopic",
        "kafka-cluster:DescribeTopicDynamicConfiguration",
      ],
      resources: [topicsArn(clusterArn, scope)],
    },
  ];
}

/** Where a policy's ARNs are. */
export interface Account {
  partition: string;
  region: string;
  id: string;
}

/**
 * Log in to one RDS server as one user, by token.
 * @see https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html
 */
export function loginStatements(
  { partition, region, id }: Account,
  resourceId: string,
  user: string,
): Statement[] {
  return [
    {
      actions: ["rds-db:connect"],
      resources: [`arn:${partition}:rds-db:${region}:${id}:dbuser:${resourceId}/${user}`],
    },
  ];
}

/** Read one secret, and use the key that it is encrypted with, for that alone. */
export function secretStatements(secretArn: string, kmsKeyArn?: string): Statement[] {
  const statements: Statement[] = [
    { actions: ["secretsmanager:GetSecretValue"], resources: [secretArn] },
  ];
  if (kmsKeyArn !== undefined) {
    const region = parseArn(secretArn)?.region;
    const values = [`secretsmanager.${region}.amazonaws.com`];
    statements.push({
      actions: ["kms:Decrypt"],
      resources: [kmsKeyArn],
      conditions: [{ test: "StringEquals", variable: "kms:ViaService", values }],
    });
  }
  return statements;
}

/** Write to the Lambda's own log group, which the deploy makes. */
export function logStatements({ partition, region, id }: Account, logGroup: string): Statement[] {
  return [
    {
      actions: ["logs:CreateLogStream", "logs:PutLogEvents"],
      resources: [`arn:${partition}:logs:${region}:${id}:log-group:${logGroup}:*`],
    },
  ];
}

const INTERFACE_ACTIONS = [
  "ec2:AssignPrivateIpAddresses",
  "ec2:CreateNetworkInterface",
  "ec2:DeleteNetworkInterface",
  "ec2:DescribeNetworkInterfaces",
  "ec2:UnassignPrivateIpAddresses",
];

/**
 * Let Lambda attach the function to a VPC: the one place where no name can stand, for Lambda
 * makes and shares the interfaces itself. The function's own code is denied the same.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
 */
export function vpcStatements({ partition, region, id }: Account, name: string): Statement[] {
  const values = [`arn:${partition}:lambda:${region}:${id}:function:${name}`];
  return [
    { actions: [...INTERFACE_ACTIONS, "ec2:DescribeSubnets"], resources: ["*"] },
    {
      effect: "deny",
      actions: INTERFACE_ACTIONS,
      resources: ["*"],
      conditions: [{ test: "ArnEquals", variable: "lambda:SourceFunctionArn", values }],
    },
  ];
}
