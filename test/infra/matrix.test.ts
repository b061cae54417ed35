import { beforeAll, describe, expect, it } from "vitest";
import type { StageSettings } from "../../infra/settings.ts";
import {
  ACCOUNT,
  type Deployed,
  deploy,
  GENERATED_PASSWORD,
  policyOf,
  REGION,
  variablesOf,
} from "./stack.ts";

/* Every combination of what may be existing or new, and each way into the database. What is
   expected is written out here: none of it is computed by infra/. */

const SECRET_ARN = `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:shop-AbCdEf`;
const NEW_SECRET_ARN = `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:DatabaseProxySecret-AbCdEf`;
const KEY_ARN = `arn:aws:kms:${REGION}:${ACCOUNT}:key/0a1b`;
const CLUSTER_ARN = `arn:aws:kafka:${REGION}:${ACCOUNT}:cluster/events/6357e0b2`;
const PROVISIONED_BROKERS = `b-1.there.kafka.${REGION}.amazonaws.com:9098`;
const SERVERLESS_BROKERS = `boot-there.c1.kafka-serverless.${REGION}.amazonaws.com:9098`;
/** Planted where a secret comes in; must turn up nowhere in the clear. */
const PLANTED = "planted-password-marker";
const URL_SECRET = { DatabaseUrl: `postgres://app:${PLANTED}@db.example/shop` };

interface NetworkCase {
  name: string;
  settings: StageSettings["network"];
  subnetIds: string[];
  groupIds: string[];
}

const NETWORKS: NetworkCase[] = [
  {
    name: "new network",
    settings: { kind: "new" },
    subnetIds: ["NetworkPrivateSubnet1-id", "NetworkPrivateSubnet2-id"],
    groupIds: ["LambdaGroup-id"],
  },
  {
    name: "existing network",
    settings: {
      kind: "existing",
      subnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
      securityGroupIds: ["sg-0123456789abcdef0"],
    },
    subnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    groupIds: ["sg-0123456789abcdef0"],
  },
];

interface Access {
  variables: Record<string, string>;
  statements: object[];
  /** The value that is linked; null when nothing is. */
  linked: string | null;
}

interface DatabaseCase {
  name: string;
  settings: StageSettings["database"];
  secrets?: Record<string, string>;
  database: string;
  drain: Access;
  owner: Access;
}

const allow = (Action: string[], ...Resource: string[]) => ({ Effect: "Allow", Action, Resource });

const login = (resourceId: string, user: string) =>
  allow(["rds-db:connect"], `arn:aws:rds-db:${REGION}:${ACCOUNT}:dbuser:${resourceId}/${user}`);

function linked(value: string): Access {
  return { variables: {}, statements: [], linked: value };
}

function bySecret(host: string, name: string, arn: string, ...more: object[]): Access {
  return {
    variables: {
      DATABASE_SECRET_ARN: arn,
      DATABASE_HOST: host,
      DATABASE_PORT: "5432",
      DATABASE_NAME: name,
    },
    statements: [allow(["secretsmanager:GetSecretValue"], arn), ...more],
    linked: null,
  };
}

function byToken(
  host: string,
  port: string,
  name: string,
  resourceId: string,
  user: string,
): Access {
  return {
    variables: {
      DATABASE_AUTH: "iam",
      DATABASE_USER: user,
      DATABASE_HOST: host,
      DATABASE_PORT: port,
      DATABASE_NAME: name,
    },
    statements: [login(resourceId, user)],
    linked: null,
  };
}

const AURORA_URL = `postgres://postgres:${GENERATED_PASSWORD}@aurora.example:5432/pg2kafka`;
const RDS_URL = `postgres://postgres:${GENERATED_PASSWORD}@rds.example:5432/shop`;

const DATABASES: DatabaseCase[] = [
  {
    name: "new Aurora, linked",
    settings: { kind: "new" },
    database: "pg2kafka",
    drain: linked(AURORA_URL),
    owner: linked(AURORA_URL),
  },
  {
    name: "new Aurora by secret",
    settings: { kind: "new", access: "secret" },
    database: "pg2kafka",
    drain: bySecret("aurora.example", "pg2kafka", NEW_SECRET_ARN),
    owner: bySecret("aurora.example", "pg2kafka", NEW_SECRET_ARN),
  },
  {
    name: "new Aurora by IAM",
    settings: { kind: "new", access: "iam", user: "drainer" },
    database: "pg2kafka",
    drain: byToken("aurora.example", "5432", "pg2kafka", "cluster-NEW", "drainer"),
    owner: linked(AURORA_URL),
  },
  {
    name: "new RDS, linked",
    settings: { kind: "new", engine: "rds", name: "shop" },
    database: "shop",
    drain: linked(RDS_URL),
    owner: linked(RDS_URL),
  },
  {
    name: "new RDS by IAM",
    settings: { kind: "new", engine: "rds", name: "shop", access: "iam" },
    database: "shop",
    drain: byToken("rds.example", "5432", "shop", "db-NEW", "pg2kafka_drain"),
    owner: linked(RDS_URL),
  },
  {
    name: "existing by URL",
    settings: { kind: "existing", access: "url" },
    secrets: URL_SECRET,
    database: "shop",
    drain: linked(URL_SECRET.DatabaseUrl),
    owner: linked(URL_SECRET.DatabaseUrl),
  },
  {
    name: "existing by secret with a key of its own",
    settings: {
      kind: "existing",
      access: "secret",
      secretArn: SECRET_ARN,
      kmsKeyArn: KEY_ARN,
      host: "db.example",
      name: "shop",
    },
    database: "shop",
    drain: bySecret("db.example", "shop", SECRET_ARN, {
      ...allow(["kms:Decrypt"], KEY_ARN),
      Condition: {
        StringEquals: { "kms:ViaService": [`secretsmanager.${REGION}.amazonaws.com`] },
      },
    }),
    owner: bySecret("db.example", "shop", SECRET_ARN, {
      ...allow(["kms:Decrypt"], KEY_ARN),
      Condition: {
        StringEquals: { "kms:ViaService": [`secretsmanager.${REGION}.amazonaws.com`] },
      },
    }),
  },
  {
    name: "existing by IAM, with an owner",
    settings: {
      kind: "existing",
      access: "iam",
      host: "proxy.example",
      port: 6432,
      name: "shop",
      resourceId: "prx-0123abc",
      user: "drainer",
      ownerUser: "owner",
    },
    database: "shop",
    drain: byToken("proxy.example", "6432", "shop", "prx-0123abc", "drainer"),
    owner: byToken("proxy.example", "6432", "shop", "prx-0123abc", "owner"),
  },
];

interface KafkaCase {
  name: string;
  settings: StageSettings["kafka"];
  found?: Record<string, string>;
  clusterArn: string;
  brokers: string;
  /** Of the topics that are created. */
  replication: string | null;
  hasTopicApi: boolean;
  drainCreates: boolean;
}

const KAFKAS: KafkaCase[] = [
  {
    name: "new MSK Serverless",
    settings: { kind: "new" },
    clusterArn: `arn:aws:kafka:${REGION}:${ACCOUNT}:cluster/pg2kafka-test/uuid-s1`,
    brokers: `boot-new.c1.kafka-serverless.${REGION}.amazonaws.com:9098`,
    replication: null,
    hasTopicApi: false,
    drainCreates: true,
  },
  {
    name: "new provisioned MSK",
    settings: { kind: "new", type: "provisioned" },
    clusterArn: `arn:aws:kafka:${REGION}:${ACCOUNT}:cluster/pg2kafka-test/uuid-1`,
    brokers: `b-1.new.kafka.${REGION}.amazonaws.com:9098`,
    replication: "2",
    hasTopicApi: true,
    drainCreates: true,
  },
  {
    name: "existing provisioned MSK",
    settings: { kind: "existing", clusterArn: CLUSTER_ARN },
    clusterArn: CLUSTER_ARN,
    brokers: PROVISIONED_BROKERS,
    replication: "3",
    hasTopicApi: true,
    drainCreates: false,
  },
  {
    name: "existing MSK Serverless",
    settings: { kind: "existing", clusterArn: CLUSTER_ARN },
    found: { bootstrapBrokersSaslIam: SERVERLESS_BROKERS },
    clusterArn: CLUSTER_ARN,
    brokers: SERVERLESS_BROKERS,
    replication: null,
    hasTopicApi: false,
    drainCreates: false,
  },
];

const INTERFACES = [
  "ec2:AssignPrivateIpAddresses",
  "ec2:CreateNetworkInterface",
  "ec2:DeleteNetworkInterface",
  "ec2:DescribeNetworkInterfaces",
  "ec2:UnassignPrivateIpAddresses",
];

const logs = (name: string) =>
  allow(
    ["logs:CreateLogStream", "logs:PutLogEvents"],
    `arn:aws:logs:${REGION}:${ACCOUNT}:log-group:/aws/lambda/${name}:*`,
  );

const inVpc = (name: string) => [
  allow([...INTERFACES, "ec2:DescribeSubnets"], "*"),
  {
    Effect: "Deny",
    Action: INTERFACES,
    Resource: ["*"],
    Condition: {
      ArnEquals: {
        "lambda:SourceFunctionArn": [`arn:aws:lambda:${REGION}:${ACCOUNT}:function:${name}`],
      },
    },
  },
];

/** One new and one existing database meet every Kafka; each other way in meets one of them. */
const CASES = NETWORKS.flatMap((network) =>
  DATABASES.flatMap((database, index) =>
    KAFKAS.filter((_kafka, position) => {
      const meetsAll = ["new Aurora, linked", "existing by URL"].includes(database.name);
      return meetsAll || position === index % KAFKAS.length;
    }).map((kafka) => ({
      name: `${network.name}, ${database.name}, ${kafka.name}`,
      network,
      database,
      kafka,
    })),
  ),
);

describe.each(CASES)("$name", ({ network, database, kafka }) => {
  let deployed: Deployed;
  const topics = `${kafka.clusterArn.replace(":cluster/", ":topic/")}/pg2kafka.eu.${database.database}.*`;

  beforeAll(async () => {
    deployed = await deploy(
      {
        ...(network.settings === undefined ? {} : { network: network.settings }),
        ...(database.settings === undefined ? {} : { database: database.settings }),
        ...(kafka.settings === undefined ? {} : { kafka: kafka.settings }),
        topics: { namespace: "eu", tables: ["products"] },
      },
      {
        ...(database.secrets === undefined ? {} : { secrets: database.secrets }),
        ...(kafka.found === undefined ? {} : { brokers: kafka.found }),
      },
    );
  });

  it("is made without an error", () => {
    expect(deployed.error).toBeUndefined();
  });

  it("gives each role exactly what its Lambda needs", () => {
    expect(policyOf(deployed, "Drain")).toEqual([
      ...database.drain.statements,
      allow(["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"], kafka.clusterArn),
      allow(
        [
          "kafka-cluster:DescribeTopic",
          "kafka-cluster:WriteData",
          ...(kafka.drainCreates ? ["kafka-cluster:CreateTopic"] : []),
        ],
        topics,
      ),
      logs("pg2kafka-test-drain"),
      ...inVpc("pg2kafka-test-drain"),
    ]);
    for (const [component, name] of [
      ["Migrate", "pg2kafka-test-migrate"],
      ["Setup", "pg2kafka-test-setup"],
    ] as const) {
      expect(policyOf(deployed, component)).toEqual([
        ...database.owner.statements,
        logs(name),
        ...inVpc(name),
      ]);
    }
    const creator = kafka.hasTopicApi
      ? [
          allow(["kafka-cluster:Connect"], kafka.clusterArn),
          allow(
            [
              "kafka-cluster:CreateTopic",
              "kafka-cluster:DescribeTopic",
              "kafka-cluster:DescribeTopicDynamicConfiguration",
            ],
            topics,
          ),
          logs("pg2kafka-test-topics-api"),
        ]
      : [
          allow(["kafka-cluster:Connect", "kafka-cluster:DescribeCluster"], kafka.clusterArn),
          allow(["kafka-cluster:DescribeTopic", "kafka-cluster:CreateTopic"], topics),
          logs("pg2kafka-test-topics"),
          ...inVpc("pg2kafka-test-topics"),
        ];
    expect(policyOf(deployed, "Topics")).toEqual(creator);
  });

  it("lets Lambda alone assume the roles of Lambdas, which have no other policy", () => {
    for (const component of ["Drain", "Migrate", "Setup", "Topics"]) {
      const { inputs } = deployed.one("aws:iam/role:Role", `${component}Role`);
      expect(trustOf(inputs["assumeRolePolicy"])).toEqual([{ Service: "lambda.amazonaws.com" }]);
      expect(inputs["managedPolicyArns"]).toEqual([]);
    }
  });

  it("puts the Lambdas into the network, and MSK's API outside", () => {
    const inside = { subnetIds: network.subnetIds, securityGroupIds: network.groupIds };
    for (const component of ["Drain", "Migrate", "Setup", "Topics"]) {
      const { inputs } = deployed.one("aws:lambda/function:Function", `${component}Function`);
      const isOutside = component === "Topics" && kafka.hasTopicApi;
      expect(inputs["vpcConfig"]).toEqual(isOutside ? undefined : inside);
    }
  });

  it("tells the drain what it needs to know, and no secret", () => {
    expect(variablesOf(deployed, "Drain")).toEqual({
      ...ALWAYS,
      ...database.drain.variables,
      KAFKA_BROKER: kafka.brokers,
      KAFKA_AUTH: "iam",
      KAFKA_REGION: REGION,
      TOPIC_NAMESPACE: "eu",
      TOPIC_PARTITIONS: "6",
      ...(kafka.replication === null ? {} : { TOPIC_REPLICATION: kafka.replication }),
      TOPIC_CREATE: String(kafka.drainCreates),
      LANE: "0",
      LANES: "1",
      LINGER: "false",
      DELIVERY: "at-least-once",
    });
    expect(deployed.built["functions/drain.handler"]!.links).toEqual(linksOf(database.drain));
  });

  it("tells the other Lambdas the same of the database, as its owner", () => {
    for (const [component, handler] of [
      ["Migrate", "functions/migrate.handler"],
      ["Setup", "functions/setup.handler"],
    ] as const) {
      expect(variablesOf(deployed, component)).toEqual({ ...ALWAYS, ...database.owner.variables });
      expect(deployed.built[handler]!.links).toEqual(linksOf(database.owner));
    }
    const asked = {
      TOPIC_NAMESPACE: "eu",
      TOPIC_TABLES: "products",
      TOPIC_PARTITIONS: "6",
      ...(kafka.replication === null ? {} : { TOPIC_REPLICATION: kafka.replication }),
    };
    expect(variablesOf(deployed, "Topics")).toEqual(
      kafka.hasTopicApi
        ? { ...ALWAYS, ...asked, CLUSTER_ARN: kafka.clusterArn, DATABASE_NAME: database.database }
        : {
            ...ALWAYS,
            ...asked,
            ...database.owner.variables,
            KAFKA_BROKER: kafka.brokers,
            KAFKA_AUTH: "iam",
            KAFKA_REGION: REGION,
          },
    );
  });

  it("shows no password where it is not kept as a secret", () => {
    for (const one of deployed.made) {
      for (const path of pathsOf(one.inputs, [PLANTED, GENERATED_PASSWORD])) {
        expect(
          one.secretPaths.some((secret) => path === secret || path.startsWith(`${secret}.`)),
        ).toBe(true);
        expect(path).not.toContain("environment");
      }
    }
    expect(pathsOf(deployed.outputs, [PLANTED, GENERATED_PASSWORD])).toEqual([]);
  });

  it("makes what is new, and nothing besides", () => {
    const count = (type: string) => deployed.all(type).length;
    const isNewNetwork = network.settings?.kind === "new";
    const isNewDatabase = database.settings?.kind === "new";
    const isRds = database.name.startsWith("new RDS");
    expect(count("aws:ec2/vpc:Vpc")).toBe(isNewNetwork ? 1 : 0);
    expect(count("aws:ec2/natGateway:NatGateway") + count("aws:ec2/instance:Instance")).toBe(0);
    expect(count("aws:rds/cluster:Cluster")).toBe(isNewDatabase && !isRds ? 1 : 0);
    expect(count("aws:rds/instance:Instance")).toBe(isRds ? 1 : 0);
    expect(count("aws:msk/serverlessCluster:ServerlessCluster")).toBe(
      kafka.name === "new MSK Serverless" ? 1 : 0,
    );
    expect(count("aws:msk/cluster:Cluster")).toBe(kafka.name === "new provisioned MSK" ? 1 : 0);
    expect(count("aws:ec2/vpcEndpoint:VpcEndpoint")).toBe(
      isNewNetwork && database.name === "new Aurora by secret" ? 1 : 0,
    );
    expect(count("aws:lambda/function:Function")).toBe(4);
    expect(count("aws:scheduler/schedule:Schedule")).toBe(1);
  });
});

/** What SST and the stage put into every Lambda. SST_KEY decrypts what is linked: see the docs. */
const ALWAYS = {
  POWERTOOLS_SERVICE_NAME: "pg2kafka-test",
  NODE_OPTIONS: "--disable-warning=TimeoutNegativeWarning --max-semi-space-size=16",
  SST_RESOURCE_App: '{"name":"pg2kafka","stage":"test"}',
  SST_KEY: "a2V5",
  SST_KEY_FILE: "resource.enc",
};

function linksOf({ linked }: Access): Record<string, unknown> {
  return linked === null
    ? {}
    : { DatabaseUrl: expect.objectContaining({ value: linked }) as unknown };
}

function trustOf(policy: unknown): unknown[] {
  const document = typeof policy === "string" ? JSON.parse(policy) : policy;
  return document.Statement.map(({ Principal }: { Principal: unknown }) => Principal);
}

/** Where in a tree of values one of the texts stands. */
function pathsOf(value: unknown, texts: string[], path = ""): string[] {
  if (typeof value === "string") {
    return texts.some((text) => value.includes(text)) ? [path.slice(1)] : [];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => pathsOf(item, texts, `${path}.${name}`));
}
