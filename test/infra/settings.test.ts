import { describe, expect, it } from "vitest";
import { settingsOf } from "../../infra/defaults.ts";
import { SettingsError } from "../../infra/errors.ts";
import { databaseNameOf, secretProblems } from "../../infra/secrets.ts";
import type { DrainSettings, StageSettings } from "../../infra/settings.ts";
import { STAGES } from "../../infra/stages.ts";

function problemsOf(settings: StageSettings, stage = "test"): readonly string[] {
  try {
    settingsOf(stage, { [stage]: settings });
    return [];
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
}

const SUBNETS = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"];
const NETWORK = {
  kind: "existing",
  subnetIds: SUBNETS,
  securityGroupIds: ["sg-0123456789abcdef0"],
} as const satisfies StageSettings["network"];
const CLUSTER = "arn:aws:kafka:eu-west-1:123456789012:cluster/events/6357e0b2-0e6a-4b86-a0b4-5";
const SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!db-1-AbCdEf";
const BY_TOKEN = {
  kind: "existing",
  access: "iam",
  host: "db.example",
  name: "shop",
  resourceId: "db-ABC",
  user: "drain",
} as const satisfies StageSettings["database"];

describe("settings", () => {
  it("of every stage in infra/stages.ts can be deployed", () => {
    for (const [stage, settings] of Object.entries(STAGES)) {
      expect(problemsOf(settings, stage)).toEqual([]);
    }
  });

  it("left out are the cheapest that work", () => {
    expect(settingsOf("dev", { dev: {} })).toEqual({
      region: undefined,
      removal: "retain",
      protect: false,
      network: { kind: "new", nat: "none", zones: 2 },
      database: {
        kind: "new",
        engine: "aurora",
        name: "pg2kafka",
        version: "17",
        access: "link",
        user: "pg2kafka_drain",
      },
      kafka: { kind: "new", type: "serverless" },
      topics: { tables: [], create: true, partitions: 6 },
      drain: {
        schedule: "rate(1 minute)",
        timeoutSeconds: 240,
        memoryMb: 512,
        reservedConcurrency: 1,
        lanes: 1,
        linger: false,
        delivery: "at-least-once",
        variables: {},
      },
      migration: { onDeploy: false },
      logRetention: "1 month",
      alarms: { lagMinutes: 15, queueBytes: 1_073_741_824, noRunMinutes: 5 },
    });
  });

  it("of an existing Kafka let the drain create no topics unless told so", () => {
    const settings = {
      network: NETWORK,
      kafka: { kind: "existing", clusterArn: CLUSTER },
    } as const;
    expect(settingsOf("test", { test: settings }).topics.create).toBe(false);
  });

  it("of an unknown stage are refused, with the stages that there are", () => {
    expect(() => settingsOf("pord", { dev: {}, prod: {} })).toThrow(
      'Nothing was made.\nStage "pord" is not in infra/stages.ts, which has dev, prod.',
    );
  });

  it("that name a stage after a method of objects are refused too", () => {
    expect(() => settingsOf("toString", { dev: {} })).toThrow("is not in infra/stages.ts");
  });

  it("report every problem at once", () => {
    const problems = problemsOf({
      region: "Europe",
      drain: { schedule: "every minute", memoryMb: 64 },
      alarms: { lagMinutes: 0 },
    });
    expect(problems).toEqual([
      'region is "Europe"; it must be a region, such as eu-west-1.',
      'drain.schedule is "every minute"; it must be rate(N minutes), rate(N hours) or cron() with six fields.',
      "drain.memoryMb is 64; it must be a whole number from 128 to 10240.",
      "alarms.lagMinutes is 0; it must be a whole number from 1 to 1440.",
    ]);
  });

  it.each<[string, StageSettings, string]>([
    [
      "a stage whose Lambdas' names would be too long",
      {},
      'Stage "a-stage-whose-name-is-longer-than-any-lambda-can-carry" is too long by 10',
    ],
    [
      "a subnet",
      { network: { ...NETWORK, subnetIds: ["vpc-1", SUBNETS[0]!] } },
      'network.subnetIds is "vpc-1"; it must be like subnet-0123456789abcdef0.',
    ],
    [
      "no security group",
      { network: { ...NETWORK, securityGroupIds: [] } },
      "network.securityGroupIds is empty; name one or more.",
    ],
    [
      "one subnet for what needs two",
      {
        network: { ...NETWORK, subnetIds: [SUBNETS[0]!] },
        kafka: { kind: "existing", clusterArn: CLUSTER },
      },
      "A new database needs subnets in two availability zones; network.subnetIds has 1.",
    ],
    [
      "four zones",
      { network: { kind: "new", zones: 4 } },
      "network.zones is 4; it must be a whole number from 2 to 3.",
    ],
    [
      "a cluster's ARN",
      { kafka: { kind: "existing", clusterArn: "arn:aws:kafka:eu-west-1:1:cluster/events" } },
      'kafka.clusterArn is "arn:aws:kafka:eu-west-1:1:cluster/events"; it must be like arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/UUID.',
    ],
    [
      "a cluster in another region",
      { region: "us-east-1", kafka: { kind: "existing", clusterArn: CLUSTER } },
      'kafka.clusterArn is in eu-west-1, and the deploy goes to us-east-1; set region to "eu-west-1".',
    ],
    [
      "public brokers without a way out",
      { kafka: { kind: "existing", clusterArn: CLUSTER, brokers: "public" } },
      'kafka.brokers is "public"; a new network reaches them only with network.nat.',
    ],
    [
      "brokers that are no multiple of the zones",
      { kafka: { kind: "new", type: "provisioned", brokers: 3 } },
      "kafka.brokers is 3; it must be a multiple of the 2 subnets.",
    ],
    [
      "a Kafka without the topic API",
      { kafka: { kind: "new", type: "provisioned", version: "3.5.1" } },
      'kafka.version is "3.5.1"; it must be 3.6 or newer, such as 3.8.x.',
    ],
    [
      "a secret's name in place of its ARN",
      {
        database: {
          kind: "existing",
          access: "secret",
          host: "db.example",
          name: "shop",
          secretArn: "rds!db-1",
        },
      },
      'database.secretArn is "rds!db-1"; it must be like arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX, with the suffix.',
    ],
    [
      "a user that stands for others in an ARN",
      { database: { ...BY_TOKEN, user: "*" } },
      'database.user is "*"; it must be 1 to 63 letters, digits, underscores and hyphens.',
    ],
    [
      "an instance's name in place of its resource id",
      { database: { ...BY_TOKEN, resourceId: "shop" } },
      'database.resourceId is "shop"; it must be what "aws rds describe-db-instances" calls DbiResourceId, DbClusterResourceId or prx-….',
    ],
    [
      "a host with a port",
      { database: { ...BY_TOKEN, host: "db.example:5432" } },
      'database.host is "db.example:5432"; it must be a host name.',
    ],
    [
      "a port",
      { database: { ...BY_TOKEN, port: 70_000 } },
      "database.port is 70000; it must be a whole number from 1 to 65535.",
    ],
    [
      "a database's name",
      { database: { kind: "new", name: "1shop" } },
      'database.name is "1shop"; it must be 1 to 63 letters, digits and underscores, a letter first.',
    ],
    [
      "a table",
      { topics: { tables: ["order items"] } },
      'topics.tables has order items; each is as in setup(): products, sales."Orders".',
    ],
    [
      "a topic whose name Kafka would not take",
      { topics: { tables: [`"${"é".repeat(31)}"`], namespace: "n".repeat(100) } },
      "characters; Kafka allows 1 to 249.",
    ],
    [
      "a namespace",
      { topics: { namespace: "a*" } },
      'topics.namespace is "a*"; it must be 1 to 100 of the characters A-Z a-z 0-9 . _ -.',
    ],
    [
      "a replication of none",
      { topics: { replication: 0 } },
      "topics.replication is 0; it must be a whole number from 1 to 32767.",
    ],
    [
      "a schedule that runs once",
      { drain: { schedule: "at(2027-01-01T00:00:00)" } },
      'drain.schedule is "at(2027-01-01T00:00:00)"; it must be rate(N minutes), rate(N hours) or cron() with six fields.',
    ],
    [
      "a cron of five fields",
      { drain: { schedule: "cron(* * * * *)" } },
      'drain.schedule is "cron(* * * * *)"; it must be rate(N minutes), rate(N hours) or cron() with six fields.',
    ],
    [
      "a timeout that Lambda has not",
      { drain: { timeoutSeconds: 901 }, alarms: { noRunMinutes: 20 } },
      "drain.timeoutSeconds is 901; it must be a whole number from 30 to 900.",
    ],
    [
      "a timeout that the margin eats up",
      { drain: { timeoutSeconds: 30, variables: { MARGIN_MS: "30000" } } },
      "drain.timeoutSeconds is 30; it must be more than MARGIN_MS (30000), or no batch would ever start.",
    ],
    [
      "a variable out of its bounds",
      { drain: { variables: { BATCH_EVENTS_MAX: "0" } } },
      'drain.variables: BATCH_EVENTS_MAX is "0"; it must be a whole number from 1 to 50000.',
    ],
    [
      "variables that do not go together",
      { drain: { variables: { LEASE_MS: "5000" } } },
      "drain.variables: LEASE_MS must be more than twice REQUEST_TIMEOUT_MS",
    ],
    [
      "a variable that may be something else",
      { drain: { variables: { COMPRESSION: "lz4" } } },
      'drain.variables: COMPRESSION is "lz4"; it may be none or gzip or snappy or zstd.',
    ],
    [
      "a typing error",
      { drian: { lanes: 2 } } as StageSettings,
      "drian is no setting; there are network, database, kafka, topics, drain,",
    ],
    [
      "a setting in the wrong place",
      { drain: { timeout: 60 } as DrainSettings },
      "drain.timeout is no setting; there are schedule, timeoutSeconds,",
    ],
    [
      "a variable that holds a secret",
      { drain: { variables: { DATABASE_URL: "postgres://u:hidden@h/d" } } },
      "drain.variables has DATABASE_URL, which is no setting of the Lambdas, or follows from others.",
    ],
    [
      "a variable that follows from another setting",
      { drain: { variables: { TOPIC_PARTITIONS: "3" } } },
      "drain.variables has TOPIC_PARTITIONS, which is no setting of the Lambdas, or follows from others.",
    ],
    [
      "a concurrency of none",
      { drain: { reservedConcurrency: 0 } },
      "drain.reservedConcurrency is 0; it must be a whole number from 1 to 100.",
    ],
    [
      "more lanes than there can be",
      { drain: { lanes: 17 } },
      "drain.lanes is 17; it must be a whole number from 1 to 16.",
    ],
    [
      "no lane",
      { drain: { lanes: 0 } },
      "drain.lanes is 0; it must be a whole number from 1 to 16.",
    ],
    [
      "lanes by a variable",
      { drain: { variables: { LANES: "4" } } },
      "drain.variables has LANES, which is no setting of the Lambdas, or follows from others.",
    ],
    [
      "lingering alone, where the next invocation has no place",
      { drain: { linger: true, reservedConcurrency: 1 } },
      "drain.reservedConcurrency is 1; with drain.linger it must be at least 2, or null: the next invocation starts before the last one ends.",
    ],
    [
      "lingering that ends before the next tick",
      { drain: { linger: true, timeoutSeconds: 74 } },
      "drain.timeoutSeconds is 74; with drain.linger and rate(1 minute) it must be from 75 to 135: an invocation works until MARGIN_MS (15000) before its end",
    ],
    [
      "lingering past the tick after the next",
      { drain: { linger: true, timeoutSeconds: 141, variables: { MARGIN_MS: "20000" } } },
      "drain.timeoutSeconds is 141; with drain.linger and rate(1 minute) it must be from 80 to 140",
    ],
    [
      "lingering by cron",
      { drain: { linger: true, schedule: "cron(* * * * ? *)" } },
      'drain.schedule is "cron(* * * * ? *)"; with drain.linger it must be rate(…)',
    ],
    [
      "lingering longer than Lambda lets it",
      {
        drain: { linger: true, schedule: "rate(15 minutes)" },
        alarms: { noRunMinutes: 30 },
      },
      'drain.schedule is "rate(15 minutes)"; with drain.linger it must be so short that an invocation, of 900 seconds at most, works until the next one.',
    ],
    [
      "an alarm that would ring between two runs",
      { drain: { schedule: "rate(5 minutes)" } },
      "alarms.noRunMinutes is 5; it must be at least twice the 5 minutes of rate(5 minutes).",
    ],
    [
      "an alarm that would ring during a long run",
      { drain: { timeoutSeconds: 300 } },
      "alarms.noRunMinutes is 5; it must be longer than drain.timeoutSeconds (300): a long run is no missing run.",
    ],
    [
      "a topic of SNS by its name",
      { alarms: { snsTopicArn: "alerts" } },
      'alarms.snsTopicArn is "alerts"; it must be like arn:aws:sns:REGION:ACCOUNT:NAME.',
    ],
  ])("refuse %s in one sentence", (_name, settings, sentence) => {
    const stage = sentence.startsWith("Stage")
      ? "a-stage-whose-name-is-longer-than-any-lambda-can-carry"
      : "test";
    const problems = problemsOf(settings, stage);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(sentence);
    expect(problems[0]).not.toContain("hidden");
  });

  it("that linger last until after the next tick, and have room for two at once", () => {
    const drainOf = (drain: StageSettings["drain"]) =>
      settingsOf("test", {
        test: { drain: { linger: true, ...drain }, alarms: { noRunMinutes: 30 } },
      }).drain;
    expect(drainOf({})).toMatchObject({ timeoutSeconds: 90, reservedConcurrency: 2 });
    expect(drainOf({ schedule: "rate(14 minutes)" })).toMatchObject({ timeoutSeconds: 870 });
    expect(drainOf({ timeoutSeconds: 75, reservedConcurrency: null, lanes: 16 })).toMatchObject({
      timeoutSeconds: 75,
      reservedConcurrency: null,
      lanes: 16,
    });
  });

  it("take what AWS itself names so", () => {
    const accepted: StageSettings = {
      region: "eu-west-1",
      network: NETWORK,
      database: {
        kind: "existing",
        access: "secret",
        host: "shop.cluster-abc.eu-west-1.rds.amazonaws.com",
        name: "Shop Test",
        secretArn: SECRET,
      },
      kafka: { kind: "existing", clusterArn: CLUSTER },
      topics: {
        tables: ["products", 'sales."Orders"'],
        retentionMs: -1,
        cleanup: "compact,delete",
      },
      drain: { schedule: "cron(0/5 8-18 ? * MON-FRI *)", variables: { COMPRESSION: "gzip" } },
      alarms: { snsTopicArn: "arn:aws:sns:eu-west-1:123456789012:alerts" },
    };
    expect(problemsOf(accepted)).toEqual([]);
  });
});

describe("the secret DatabaseUrl", () => {
  const settings = settingsOf("test", {
    test: { network: NETWORK, database: { kind: "existing", access: "url" } },
  });

  it("that is missing is asked for, with the command", () => {
    expect(secretProblems("test", settings, {})).toEqual([
      "The secret DatabaseUrl is not set: npx sst secret set DatabaseUrl postgres://USER:PASSWORD@HOST/DATABASE --stage test",
    ]);
  });

  it.each(["hidden", "mysql://u:hidden@h/d", "postgres://u:hidden@h", "postgres://u:hidden@h/"])(
    "that is no URL of a database is refused and not shown: %s",
    (url) => {
      const problems = secretProblems("test", settings, { SST_SECRET_DatabaseUrl: url });
      expect(problems).toHaveLength(1);
      expect(problems[0]).toContain("sst secret set DatabaseUrl");
      expect(problems[0]).not.toContain("hidden");
    },
  );

  it("is not asked for where another way into the database is chosen", () => {
    const other = settingsOf("test", { test: { network: NETWORK, database: BY_TOKEN } });
    expect(secretProblems("test", other, {})).toEqual([]);
  });

  it("gives the name of its database", () => {
    expect(databaseNameOf("postgres://u:p@h:6432/shop%20test?sslmode=require")).toBe("shop test");
  });
});
