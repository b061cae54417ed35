import { beforeAll, describe, expect, it } from "vitest";
import { METRICS, NAMESPACE } from "../../functions/core/metrics.ts";
import { alarmsOf } from "../../infra/alarms.ts";
import { metricsShown } from "../../infra/dashboard.ts";
import { settingsOf } from "../../infra/defaults.ts";
import { NEW_VPC_CIDR } from "../../infra/network.ts";
import type { StageSettings } from "../../infra/settings.ts";
import { ACCOUNT, type Deployed, deploy, policyOf, REGION, variablesOf } from "./stack.ts";

const NETWORK = {
  kind: "existing",
  subnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
  securityGroupIds: ["sg-0123456789abcdef0"],
} as const satisfies StageSettings["network"];
const CLUSTER_ARN = `arn:aws:kafka:${REGION}:${ACCOUNT}:cluster/events/6357e0b2`;
const URL_SECRET = { DatabaseUrl: "postgres://app:secret@db.example/shop" };
/** The fewest resources. */
const EXISTING: StageSettings = {
  network: NETWORK,
  database: { kind: "existing", access: "url" },
  kafka: { kind: "existing", clusterArn: CLUSTER_ARN },
};
const SOURCE = { region: REGION, service: "pg2kafka-test", functionNames: ["pg2kafka-test-drain"] };

const FUNCTION = "aws:lambda/function:Function";
const SCHEDULE = "aws:scheduler/schedule:Schedule";
const INVOCATION = "aws:lambda/invocation:Invocation";
const ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm";

describe("a deploy into what is there", () => {
  let deployed: Deployed;
  beforeAll(async () => {
    deployed = await deploy(EXISTING, { secrets: URL_SECRET });
  });

  it("makes Lambdas on arm64 and Node 24, with sql/ in the package", () => {
    expect(deployed.error).toBeUndefined();
    for (const id of ["drain", "migrate", "setup"]) {
      expect(deployed.built[`functions/${id}.handler`]!.copyFiles).toMatchObject([{ to: "sql" }]);
    }
    for (const { inputs } of deployed.all(FUNCTION)) {
      expect(inputs).toMatchObject({ architectures: ["arm64"], runtime: "nodejs24.x" });
    }
  });

  it("ships no source map", () => {
    for (const built of Object.values(deployed.built)) {
      expect(built.properties).toMatchObject({ architecture: "arm64" });
      expect(built.properties).not.toHaveProperty("sourcemap");
    }
  });

  it("runs the drain every minute, one at a time", () => {
    expect(deployed.one(SCHEDULE).inputs).toMatchObject({
      scheduleExpression: "rate(1 minute)",
      state: "ENABLED",
      flexibleTimeWindow: { mode: "OFF" },
      target: { arn: `arn:aws:lambda:${REGION}:${ACCOUNT}:function:pg2kafka-test-drain` },
    });
    expect(deployed.one(FUNCTION, "DrainFunction").inputs).toMatchObject({
      name: "pg2kafka-test-drain",
      timeout: 240,
      memorySize: 512,
      reservedConcurrentExecutions: 1,
    });
  });

  it("retries nothing, neither the schedule's delivery nor Lambda's, and drops stale ticks", () => {
    expect(deployed.one(SCHEDULE).inputs).toMatchObject({
      target: { retryPolicy: { maximumRetryAttempts: 0, maximumEventAgeInSeconds: 60 } },
    });
    const configs = deployed.all("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig");
    expect(configs).toHaveLength(deployed.all(FUNCTION).length);
    for (const { inputs } of configs) {
      expect(inputs).toMatchObject({ maximumRetryAttempts: 0, maximumEventAgeInSeconds: 60 });
    }
  });

  it("lets the scheduler invoke the drain, and nothing else", () => {
    const { inputs } = deployed.one("aws:iam/role:Role", "ScheduleRole");
    const [{ policy }] = inputs["inlinePolicies"] as [{ policy: string }];
    expect(JSON.parse(policy).Statement).toEqual([
      {
        Effect: "Allow",
        Action: ["lambda:InvokeFunction"],
        Resource: [`arn:aws:lambda:${REGION}:${ACCOUNT}:function:pg2kafka-test-drain`],
      },
    ]);
    expect(JSON.stringify(inputs["assumeRolePolicy"])).toContain("scheduler.amazonaws.com");
  });

  it("keeps the logs for a month, in groups that the roles name", () => {
    const groups = deployed.all("aws:cloudwatch/logGroup:LogGroup");
    expect(groups.map(({ inputs }) => [inputs["name"], inputs["retentionInDays"]])).toEqual([
      ["/aws/lambda/pg2kafka-test-migrate", 30],
      ["/aws/lambda/pg2kafka-test-setup", 30],
      ["/aws/lambda/pg2kafka-test-drain", 30],
    ]);
    for (const { inputs } of deployed.all(FUNCTION)) {
      expect(inputs["loggingConfig"]).toMatchObject({ logGroup: `/aws/lambda/${inputs["name"]}` });
    }
  });

  it("says what to invoke and where to look", () => {
    expect(deployed.outputs).toMatchObject({
      migrate:
        `aws lambda invoke --region ${REGION} --function-name pg2kafka-test-migrate ` +
        "--cli-read-timeout 0 /dev/stdout",
      setup:
        `aws lambda invoke --region ${REGION} --function-name pg2kafka-test-setup ` +
        "--cli-read-timeout 0 --cli-binary-format raw-in-base64-out " +
        `--payload '{"table":"products","externalId":"sku"}' /dev/stdout`,
      dashboard: `https://${REGION}.console.aws.amazon.com/cloudwatch/home?region=${REGION}#dashboards/dashboard/pg2kafka-test`,
      topics: "pg2kafka.shop.TABLE",
      brokers: `b-1.there.kafka.${REGION}.amazonaws.com:9098`,
    });
    expect(deployed.outputs).not.toHaveProperty("warnings");
  });

  it("migrates nothing and creates no topic unasked", () => {
    expect(deployed.all(INVOCATION)).toEqual([]);
  });

  it("watches lag, parked events, errors, the queue's size, and that there are runs", () => {
    const rows = deployed.all(ALARM).map(({ inputs }) => ({
      name: inputs["name"],
      metric: `${inputs["namespace"]} ${inputs["metricName"]} ${inputs["statistic"]}`,
      bad: `${inputs["comparisonOperator"]} ${inputs["threshold"]}`,
      over: `${inputs["evaluationPeriods"]} of ${inputs["period"]} s`,
      missing: inputs["treatMissingData"],
    }));
    expect(rows).toEqual([
      {
        name: "pg2kafka-test-Lag",
        metric: "pg2kafka LagMs Maximum",
        bad: "GreaterThanThreshold 900000",
        over: "1 of 300 s",
        missing: "ignore",
      },
      {
        name: "pg2kafka-test-Parked",
        metric: "pg2kafka Parked Maximum",
        bad: "GreaterThanThreshold 0",
        over: "1 of 300 s",
        missing: "ignore",
      },
      {
        name: "pg2kafka-test-QueueBytes",
        metric: "pg2kafka QueueBytes Maximum",
        bad: "GreaterThanThreshold 1073741824",
        over: "1 of 300 s",
        missing: "ignore",
      },
      {
        name: "pg2kafka-test-Errors",
        metric: "AWS/Lambda Errors Sum",
        bad: "GreaterThanOrEqualToThreshold 1",
        over: "2 of 300 s",
        missing: "notBreaching",
      },
      {
        name: "pg2kafka-test-NoRun",
        metric: "AWS/Lambda Invocations Sum",
        bad: "LessThanThreshold 1",
        over: "5 of 60 s",
        missing: "breaching",
      },
    ]);
    for (const { inputs } of deployed.all(ALARM)) expect(inputs["alarmActions"]).toEqual([]);
  });

  it("finds its metrics by what the Lambdas are told to call themselves", () => {
    const service = variablesOf(deployed, "Drain")["POWERTOOLS_SERVICE_NAME"];
    for (const { inputs } of deployed.all(ALARM)) {
      const isOurs = inputs["namespace"] === NAMESPACE;
      expect(inputs["dimensions"]).toEqual(
        isOurs ? { service } : { FunctionName: "pg2kafka-test-drain" },
      );
    }
  });

  it("shows every metric of the drain on the dashboard, and none that there is not", () => {
    expect([...metricsShown(SOURCE)].sort()).toEqual(Object.keys(METRICS).sort());
    const { inputs } = deployed.one("aws:cloudwatch/dashboard:Dashboard");
    const { widgets } = JSON.parse(String(inputs["dashboardBody"])) as {
      widgets: { x: number; y: number; properties: { metrics: unknown[][] } }[];
    };
    const places = widgets.map(({ x, y }) => `${x} ${y}`);
    expect(new Set(places).size).toBe(widgets.length);
    const rows = widgets.flatMap(({ properties }) => properties.metrics);
    const named = rows
      .filter(([namespace]) => namespace === NAMESPACE)
      .map((row) => row.slice(1, 4));
    expect(named).toEqual(
      metricsShown(SOURCE).map((metric) => [metric, "service", "pg2kafka-test"]),
    );
    const lambdas = rows.filter(([namespace]) => namespace === "AWS/Lambda");
    expect(lambdas.map((row) => row[1]).sort()).toEqual(["Errors", "Invocations", "Throttles"]);
    for (const row of lambdas) expect(row[4]).toMatchObject({ stat: "Sum", visible: true });
  });
});

describe("exactly once", () => {
  const drain = { lanes: 2, delivery: "exactly-once" } as const;
  const inCluster = (kind: string) => CLUSTER_ARN.replace(":cluster/", `:${kind}/`);
  let deployed: Deployed;
  beforeAll(async () => {
    deployed = await deploy({ ...EXISTING, drain }, { secrets: URL_SECRET });
  });

  /** The names of one kind that a lane's role may use. */
  function namesOf(component: string, action: string): unknown {
    const statement = policyOf(deployed, component).find(({ Action }) =>
      (Action as string[]).includes(action),
    );
    return [statement?.["Resource"]].flat();
  }

  it("gives a lane the names of its own transactions, and the first those of all, by name", () => {
    expect(deployed.error).toBeUndefined();
    for (const [kind, action] of [
      ["transactional-id", "kafka-cluster:AlterTransactionalId"],
      ["group", "kafka-cluster:AlterGroup"],
    ] as const) {
      const name = (lane: number) => `${inCluster(kind)}/pg2kafka.shop.--lane-${lane}`;
      expect(namesOf("Drain1", action)).toEqual([name(1)]);
      expect(namesOf("Drain", action)).toEqual(Array.from({ length: 16 }, (_, lane) => name(lane)));
    }
    for (const component of ["Drain", "Drain1"]) {
      expect(variablesOf(deployed, component)).toMatchObject({ DELIVERY: "exactly-once" });
      expect(namesOf(component, "kafka-cluster:ReadData")).toEqual([
        `${inCluster("topic")}/pg2kafka.shop.--batches`,
      ]);
      expect(namesOf(component, "kafka-cluster:WriteDataIdempotently")).toEqual([CLUSTER_ARN]);
    }
  });
});

describe("lanes that linger", () => {
  const NAMES = ["pg2kafka-test-drain", "pg2kafka-test-drain-1", "pg2kafka-test-drain-2"];
  let deployed: Deployed;
  beforeAll(async () => {
    deployed = await deploy(
      { ...EXISTING, drain: { lanes: 3, linger: true }, migration: { onDeploy: true } },
      { secrets: URL_SECRET, slow: INVOCATION },
    );
  });

  it("are drains of their own, each told which of how many it is", () => {
    expect(deployed.error).toBeUndefined();
    const components = ["Drain", "Drain1", "Drain2"];
    components.forEach((component, lane) => {
      expect(deployed.one(FUNCTION, `${component}Function`).inputs["name"]).toBe(NAMES[lane]);
      expect(variablesOf(deployed, component)).toMatchObject({
        LANE: String(lane),
        LANES: "3",
        LINGER: "true",
        POWERTOOLS_SERVICE_NAME: "pg2kafka-test",
      });
    });
    expect(deployed.outputs["drain"]).toHaveLength(3);
    expect(deployed.outputs["drain"]).toContainEqual(expect.stringContaining(` ${NAMES[2]} `));
  });

  it("may each run twice at once, and work on until after the next tick", () => {
    for (const component of ["Drain", "Drain1", "Drain2"]) {
      expect(deployed.one(FUNCTION, `${component}Function`).inputs).toMatchObject({
        timeout: 90,
        reservedConcurrentExecutions: 2,
      });
    }
  });

  it("have a schedule each, whose role may invoke that one alone, after the migration", () => {
    const migrated = deployed.made.indexOf(deployed.one(INVOCATION, "Migrated"));
    ["Schedule", "Schedule1", "Schedule2"].forEach((component, lane) => {
      const schedules = deployed.all(SCHEDULE).filter(({ name }) => name.startsWith(component));
      const arn = `arn:aws:lambda:${REGION}:${ACCOUNT}:function:${NAMES[lane]}`;
      const [schedule] = schedules.filter(
        ({ inputs }) => (inputs["target"] as { arn: string }).arn === arn,
      );
      expect(deployed.made.indexOf(schedule!)).toBeGreaterThan(migrated);
      const { inputs } = deployed.one("aws:iam/role:Role", `${component}Role`);
      const [{ policy }] = inputs["inlinePolicies"] as [{ policy: string }];
      expect(JSON.parse(policy).Statement).toMatchObject([{ Resource: [arn] }]);
    });
    expect(deployed.all(SCHEDULE)).toHaveLength(3);
  });

  it("are one on the dashboard, and are watched one by one where Lambda speaks", () => {
    const { inputs } = deployed.one("aws:cloudwatch/dashboard:Dashboard");
    const { widgets } = JSON.parse(String(inputs["dashboardBody"])) as {
      widgets: { properties: { metrics: (string | { id?: string; expression?: string })[][] } }[];
    };
    const rows = widgets.flatMap(({ properties }) => properties.metrics);
    for (const name of ["Errors", "Throttles", "Invocations"]) {
      const lanes = rows.filter(
        ([namespace, metric]) => `${namespace} ${metric}` === `AWS/Lambda ${name}`,
      );
      expect(lanes.map((row) => row[3])).toEqual(NAMES);
      for (const row of lanes) expect(row[4]).toMatchObject({ stat: "Sum", visible: false });
      const ids = lanes.map((row) => (row[4] as { id: string }).id);
      expect(rows).toContainEqual([
        expect.objectContaining({ expression: `SUM([${ids.join(",")}])`, label: name }),
      ]);
    }
    const ids = rows.flatMap((row) => row.flatMap((item) => Object(item).id ?? []));
    expect(new Set(ids).size).toBe(ids.length);

    const watched = deployed
      .all(ALARM)
      .map(({ inputs: { name, dimensions } }) => [name, dimensions]);
    const service = "pg2kafka-test";
    expect(watched).toEqual([
      ...["Lag", "Parked", "QueueBytes"].map((name) => [`${service}-${name}`, { service }]),
      ...NAMES.flatMap((FunctionName, lane) =>
        ["Errors", "NoRun"].map((name) => [`${service}-${name}${lane || ""}`, { FunctionName }]),
      ),
    ]);
  });
});

describe("settings reach what they are about", () => {
  it("schedule, time, memory, concurrency, logs, variables, topics and whom alarms tell", async () => {
    const told = `arn:aws:sns:${REGION}:${ACCOUNT}:alerts`;
    const deployed = await deploy(
      {
        ...EXISTING,
        drain: {
          schedule: "rate(5 minutes)",
          timeoutSeconds: 600,
          memoryMb: 1024,
          reservedConcurrency: null,
          variables: { BATCH_EVENTS_MAX: "500", COMPRESSION: "gzip" },
        },
        topics: { create: true, partitions: 3, replication: 2, retentionMs: 3_600_000 },
        logRetention: "1 week",
        alarms: { snsTopicArn: told, lagMinutes: 30, queueBytes: 2 ** 31, noRunMinutes: 15 },
      },
      { secrets: URL_SECRET },
    );
    expect(deployed.error).toBeUndefined();
    expect(deployed.one(SCHEDULE).inputs["scheduleExpression"]).toBe("rate(5 minutes)");
    const { inputs } = deployed.one(FUNCTION, "DrainFunction");
    expect(inputs).toMatchObject({ timeout: 600, memorySize: 1024 });
    expect(inputs).not.toHaveProperty("reservedConcurrentExecutions");
    expect(variablesOf(deployed, "Drain")).toMatchObject({
      BATCH_EVENTS_MAX: "500",
      COMPRESSION: "gzip",
      TOPIC_CREATE: "true",
      TOPIC_PARTITIONS: "3",
      TOPIC_REPLICATION: "2",
      TOPIC_RETENTION_MS: "3600000",
    });
    for (const group of deployed.all("aws:cloudwatch/logGroup:LogGroup")) {
      expect(group.inputs["retentionInDays"]).toBe(7);
    }
    for (const alarm of deployed.all(ALARM)) {
      expect(alarm.inputs).toMatchObject({ alarmActions: [told], okActions: [told] });
    }
    // A run may take ten minutes and start five after the last: its metrics come that far apart.
    expect(deployed.one(ALARM, "LagAlarm").inputs).toMatchObject({ period: 900 });
    expect(deployed.outputs["warnings"]).toEqual([
      "topics.retentionMs is 3600000 ms: messages carry the time of the change, so one that waited " +
        "longer in the queue expires on arrival. Keep at least 86400000, or -1.",
    ]);
  });

  it("a cron schedule is watched as far apart as noRunMinutes says", () => {
    const settings = settingsOf("test", {
      test: { drain: { schedule: "cron(0 * ? * * *)" }, alarms: { noRunMinutes: 120 } },
    });
    const minutes = alarmsOf(settings, SOURCE).map((alarm) => [alarm.name, alarm.minutes]);
    expect(minutes).toEqual([
      ["Lag", 124],
      ["Parked", 124],
      ["QueueBytes", 124],
      ["Errors", 124],
      ["NoRun", 1],
    ]);
  });
});

describe("what comes before what", () => {
  const position = (deployed: Deployed, type: string, name?: string) =>
    deployed.made.indexOf(deployed.one(type, name));

  it("a migration at deploy runs when the code changed, and before the drain and its schedule", async () => {
    const deployed = await deploy(
      { ...EXISTING, migration: { onDeploy: true } },
      { secrets: URL_SECRET, slow: INVOCATION },
    );
    expect(deployed.error).toBeUndefined();
    const migrate = deployed.one(FUNCTION, "MigrateFunction").inputs;
    expect(deployed.one(INVOCATION).inputs).toMatchObject({
      functionName: "pg2kafka-test-migrate",
      triggers: { code: migrate["s3Key"] },
    });
    const migrated = position(deployed, INVOCATION, "Migrated");
    expect(position(deployed, FUNCTION, "DrainFunction")).toBeGreaterThan(migrated);
    expect(position(deployed, SCHEDULE)).toBeGreaterThan(migrated);
    expect(deployed.outputs).not.toHaveProperty("migrate");
  });

  it("the migration waits for a new database's instance, not only for its address", async () => {
    const deployed = await deploy(
      { network: NETWORK, migration: { onDeploy: true } },
      { slow: "aws:rds/clusterInstance:ClusterInstance" },
    );
    expect(deployed.error).toBeUndefined();
    const instance = position(deployed, "aws:rds/clusterInstance:ClusterInstance");
    expect(position(deployed, INVOCATION, "Migrated")).toBeGreaterThan(instance);
  });

  it("topics of the tables named are created before the drain is scheduled", async () => {
    const deployed = await deploy(
      { ...EXISTING, topics: { tables: ["products", "sales.orders"] } },
      { secrets: URL_SECRET, slow: INVOCATION },
    );
    expect(deployed.error).toBeUndefined();
    const { inputs } = deployed.one(INVOCATION, "TopicsCreated");
    expect(inputs).toMatchObject({
      functionName: "pg2kafka-test-topics-api",
      input: '{"tables":["products","sales.orders"]}',
    });
    expect(position(deployed, SCHEDULE)).toBeGreaterThan(
      position(deployed, INVOCATION, "TopicsCreated"),
    );
    expect(deployed.outputs["topics"]).toEqual([
      "pg2kafka.shop.products",
      "pg2kafka.shop.sales.orders",
    ]);
  });
});

describe("a new network", () => {
  const groupOf = (deployed: Deployed, name: string) =>
    deployed.one("aws:ec2/securityGroup:SecurityGroup", name).inputs;

  it("lets in nothing but the Lambdas, at the ports of Postgres and of MSK's IAM listener", async () => {
    const deployed = await deploy({ database: { kind: "new", access: "secret" } });
    expect(deployed.error).toBeUndefined();
    const fromLambdas = (port: number) => [
      { protocol: "tcp", fromPort: port, toPort: port, securityGroups: ["LambdaGroup-id"] },
    ];
    expect(groupOf(deployed, "LambdaGroup")["ingress"]).toEqual([]);
    expect(groupOf(deployed, "DatabaseGroup")["ingress"]).toEqual(fromLambdas(5432));
    expect(groupOf(deployed, "KafkaGroup")["ingress"]).toEqual(fromLambdas(9098));
    expect(groupOf(deployed, "SecretsGroup")["ingress"]).toEqual(fromLambdas(443));
    const standard = deployed.one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs;
    expect(standard).toMatchObject({ ingress: [], egress: [] });
    expect(deployed.one("aws:rds/cluster:Cluster").inputs["vpcSecurityGroupIds"]).toEqual([
      "DatabaseGroup-id",
    ]);
  });

  it("has an endpoint for the one secret, in one zone, where the database's is read", async () => {
    const deployed = await deploy({ database: { kind: "new", access: "secret" } });
    const { inputs } = deployed.one("aws:ec2/vpcEndpoint:VpcEndpoint");
    expect(inputs).toMatchObject({
      vpcEndpointType: "Interface",
      serviceName: `com.amazonaws.${REGION}.secretsmanager`,
      subnetIds: ["NetworkPrivateSubnet1-id"],
      privateDnsEnabled: true,
    });
    expect(JSON.parse(String(inputs["policy"])).Statement).toEqual([
      {
        Effect: "Allow",
        Principal: "*",
        Action: "secretsmanager:GetSecretValue",
        Resource: `arn:aws:secretsmanager:${REGION}:${ACCOUNT}:secret:DatabaseProxySecret-AbCdEf`,
      },
    ]);
  });

  it("with NAT instances opens those to itself alone, and needs no endpoint", async () => {
    const deployed = await deploy({
      network: { kind: "new", nat: "ec2" },
      database: { kind: "new", access: "secret" },
    });
    expect(deployed.error).toBeUndefined();
    expect(deployed.one("aws:ec2/vpc:Vpc").inputs["cidrBlock"]).toBe(NEW_VPC_CIDR);
    expect(groupOf(deployed, "NetworkNatInstanceSecurityGroup")["ingress"]).toEqual([
      { protocol: "-1", fromPort: 0, toPort: 0, cidrBlocks: [NEW_VPC_CIDR] },
    ]);
    expect(deployed.all("aws:ec2/instance:Instance")).toHaveLength(2);
    expect(deployed.all("aws:ec2/vpcEndpoint:VpcEndpoint")).toEqual([]);
  });

  it("warns of what lies outside of it", async () => {
    const deployed = await deploy(
      { database: { kind: "existing", access: "url" } },
      { secrets: URL_SECRET },
    );
    expect(deployed.outputs["warnings"]).toEqual([
      "The network is new and database existing: the Lambdas reach that only after you peer the " +
        "networks, or by public addresses with network.nat.",
    ]);
  });
});

describe("new servers", () => {
  it("Aurora has the Data API, and tokens only where they are used", async () => {
    const byLink = await deploy({ network: NETWORK });
    expect(byLink.one("aws:rds/cluster:Cluster").inputs).toMatchObject({
      engine: "aurora-postgresql",
      enableHttpEndpoint: true,
      iamDatabaseAuthenticationEnabled: false,
      databaseName: "pg2kafka",
    });
    expect(byLink.outputs["queryEditorSecret"]).toContain(":secret:DatabaseProxySecret");
    const byToken = await deploy({ network: NETWORK, database: { kind: "new", access: "iam" } });
    expect(byToken.one("aws:rds/cluster:Cluster").inputs).toMatchObject({
      iamDatabaseAuthenticationEnabled: true,
    });
  });

  it("RDS is in its own security group, and takes TLS alone", async () => {
    const deployed = await deploy({ network: NETWORK, database: { kind: "new", engine: "rds" } });
    expect(deployed.error).toBeUndefined();
    expect(deployed.one("aws:rds/instance:Instance").inputs).toMatchObject({
      vpcSecurityGroupIds: ["DatabaseGroup-id"],
    });
    expect(deployed.one("aws:rds/parameterGroup:ParameterGroup").inputs["parameters"]).toEqual([
      { name: "rds.force_ssl", value: "1" },
    ]);
    expect(groupVpc(deployed, "DatabaseGroup")).toBe("vpc-of-the-subnet");
  });

  it("MSK authenticates by IAM alone, over TLS", async () => {
    const serverless = await deploy({ network: NETWORK });
    expect(serverless.one("aws:msk/serverlessCluster:ServerlessCluster").inputs).toMatchObject({
      clientAuthentication: { sasl: { iam: { enabled: true } } },
    });
    const provisioned = await deploy({
      network: NETWORK,
      kafka: { kind: "new", type: "provisioned" },
    });
    expect(provisioned.one("aws:msk/cluster:Cluster").inputs).toMatchObject({
      kafkaVersion: "3.8.x",
      numberOfBrokerNodes: 2,
      brokerNodeGroupInfo: {
        instanceType: "kafka.t3.small",
        clientSubnets: NETWORK.subnetIds,
        securityGroups: ["KafkaGroup-id"],
        storageInfo: { ebsStorageInfo: { volumeSize: 10 } },
      },
      clientAuthentication: { sasl: { iam: true }, unauthenticated: false },
      encryptionInfo: { encryptionInTransit: { clientBroker: "TLS", inCluster: true } },
    });
  });

  it('are kept by removal "retain", MSK and the groups they are in among them', async () => {
    const kept = await deploy({}, { removal: "retain" });
    for (const one of [
      "aws:msk/serverlessCluster:ServerlessCluster Kafka",
      "aws:rds/cluster:Cluster DatabaseCluster",
      "aws:ec2/vpc:Vpc NetworkVpc",
      "aws:ec2/securityGroup:SecurityGroup KafkaGroup",
      "aws:ec2/securityGroup:SecurityGroup DatabaseGroup",
    ]) {
      expect(kept.retained).toContain(one);
    }
    expect((await deploy({}, { removal: "remove" })).retained).toEqual([]);
  });
});

describe("what can't be deployed is refused before anything is made", () => {
  const nothing = (deployed: Deployed) =>
    expect(deployed.made.filter(({ type }) => type !== "pulumi:pulumi:Stack")).toEqual([]);

  it("settings", async () => {
    const deployed = await deploy({ drain: { schedule: "always" }, alarms: { lagMinutes: 0 } });
    expect(deployed.error?.message).toContain('Nothing was made.\ndrain.schedule is "always"');
    expect(deployed.error?.message).toContain("alarms.lagMinutes is 0");
    nothing(deployed);
  });

  it("a missing secret, with the command that sets it", async () => {
    const deployed = await deploy(EXISTING);
    expect(deployed.error?.message).toContain("npx sst secret set DatabaseUrl");
    expect(deployed.error?.message).toContain("--stage test");
    nothing(deployed);
  });

  it("a cluster without IAM, with where to turn it on", async () => {
    const deployed = await deploy(EXISTING, {
      secrets: URL_SECRET,
      brokers: { bootstrapBrokersSaslIam: "" },
    });
    expect(deployed.error?.message).toContain(
      `The cluster ${CLUSTER_ARN} has no private brokers that authenticate by IAM.`,
    );
    nothing(deployed);
  });

  it("a cluster without public brokers, where those are asked for", async () => {
    const deployed = await deploy(
      { ...EXISTING, kafka: { kind: "existing", clusterArn: CLUSTER_ARN, brokers: "public" } },
      { secrets: URL_SECRET },
    );
    expect(deployed.error?.message).toContain("has no public brokers that authenticate by IAM");
    nothing(deployed);
  });

  it("what is in another region than the deploy's, all at once", async () => {
    const elsewhere = CLUSTER_ARN.replace(REGION, "us-east-1");
    const deployed = await deploy(
      {
        ...EXISTING,
        kafka: { kind: "existing", clusterArn: elsewhere },
        alarms: { snsTopicArn: `arn:aws:sns:us-east-2:${ACCOUNT}:alerts` },
      },
      { secrets: URL_SECRET },
    );
    expect(deployed.error?.message).toContain(
      `kafka.clusterArn is in us-east-1, and the deploy goes to ${REGION}`,
    );
    expect(deployed.error?.message).toContain("alarms.snsTopicArn is in us-east-2");
    nothing(deployed);
  });
});

function groupVpc(deployed: Deployed, name: string): unknown {
  return deployed.one("aws:ec2/securityGroup:SecurityGroup", name).inputs["vpcId"];
}
