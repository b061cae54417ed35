import { describe, expect, test } from "vitest";
import { NUMBERS, type NumberName } from "../../functions/core/config/numbers.ts";
import { topicWarning } from "../../functions/core/config/topics.ts";
import { readConfig } from "../../functions/core/config.ts";
import { ConfigError } from "../../functions/core/errors.ts";

const DATABASE_URL = "postgres://app:hunter2@db.example/shop";
const names = Object.keys(NUMBERS) as NumberName[];

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    readConfig({ DATABASE_URL, ...env });
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).problems;
  }
  return [];
}

describe("the defaults", () => {
  test("need no more than a database, and keep every relation", () => {
    expect(problemsOf({})).toEqual([]);
    expect(readConfig({ DATABASE_URL })).toMatchObject({
      database: { kind: "url", url: DATABASE_URL, tls: null },
      brokers: [],
      dryRun: false,
      performMigrations: false,
      limits: { batch: { eventsMax: 2_000 }, leaseMs: 30_000 },
      producer: { compression: "none", iam: null, createTopics: null },
      topics: { tables: [] },
    });
  });

  test("an empty variable counts as not set", () => {
    const empty = Object.fromEntries(
      [...names, "DRY_RUN", "KAFKA_BROKER", "TOPIC_NAMESPACE", "COMPRESSION"].map((n) => [n, ""]),
    );
    expect(readConfig({ DATABASE_URL, ...empty })).toEqual(readConfig({ DATABASE_URL }));
  });
});

describe("memory", () => {
  test("a batch is refused that the heap could not hold", () => {
    const env = { DATABASE_URL, BATCH_BYTES_MAX: "67108864" };
    expect(() => readConfig(env, 8 * 67_108_864)).not.toThrow();
    expect(() => readConfig(env, 268_435_456)).toThrow(
      "BATCH_BYTES_MAX is 67108864; with a heap of 268435456 bytes it must be at most 33554432: " +
        "more memory for the Lambda, or node's --max-old-space-size, allows more.",
    );
  });
});

describe.each(names)("%s", (name) => {
  const { default: standard, min, max } = NUMBERS[name];

  test("has a default within its bounds", () => {
    expect(standard).toBeGreaterThanOrEqual(min);
    expect(standard).toBeLessThanOrEqual(max);
  });

  test.each([[String(min - 1)], [String(max + 1)], ["1.5"], ["1e3"], [" 1"], ["many"], ["NaN"]])(
    "is refused as %j, with its value and its bounds",
    (text) => {
      expect(problemsOf({ [name]: text })).toContain(
        `${name} is "${text}"; it must be a whole number from ${min} to ${max}.`,
      );
    },
  );

  test("may be at its bounds, as far as that is only about itself", () => {
    for (const value of [min, max]) {
      const own = problemsOf({ [name]: String(value) }).filter((p) => p.startsWith(`${name} is "`));
      expect(own).toEqual([]);
    }
  });
});

describe("relations between two settings name both, with their values", () => {
  test.each([
    [{ LEASE_MS: "16000" }, ["LEASE_MS is 16000", "REQUEST_TIMEOUT_MS is 8000"]],
    [{ MARGIN_MS: "8000" }, ["MARGIN_MS is 8000", "REQUEST_TIMEOUT_MS is 8000"]],
    [{ TIMEOUT_MS: "15000" }, ["TIMEOUT_MS is 15000", "MARGIN_MS is 15000"]],
    [{ BATCH_BYTES_MAX: "65536" }, ["MESSAGE_BYTES_MAX is 1000000", "BATCH_BYTES_MAX is 65536"]],
  ])("%o", (env, parts) => {
    const problems = problemsOf(env);
    expect(problems).toHaveLength(1);
    for (const part of parts) expect(problems[0]).toContain(part);
  });

  test("what just holds is taken", () => {
    expect(problemsOf({ LEASE_MS: "16001", MARGIN_MS: "8001", TIMEOUT_MS: "8002" })).toEqual([]);
  });
});

test("all problems are reported at once", () => {
  const problems = problemsOf({
    DATABASE_URL: "",
    KAFKA_BROKER: "kafka:9092, http://other:1",
    BATCH_EVENTS_MAX: "0",
    LEASE_MS: "soon",
    DRY_RUN: "yes",
    TOPIC_CREATE: "1",
    COMPRESSION: "lz4",
  });
  expect(problems).toEqual([
    'BATCH_EVENTS_MAX is "0"; it must be a whole number from 1 to 50000.',
    'LEASE_MS is "soon"; it must be a whole number from 5000 to 900000.',
    "DATABASE_URL is not set; it is the URL of the database.",
    'DRY_RUN is "yes"; it may be true or false.',
    'TOPIC_CREATE is "1"; it may be true or false.',
    'KAFKA_BROKER has "http://other:1"; each broker is host:port.',
    'COMPRESSION is "lz4"; it may be none or gzip or snappy or zstd.',
  ]);
});

describe("KAFKA_BROKER", () => {
  test("is a list", () => {
    const { brokers } = readConfig({ DATABASE_URL, KAFKA_BROKER: "a:1, b:2,,c:3" });
    expect(brokers).toEqual(["a:1", "b:2", "c:3"]);
  });

  test.each(["kafka", "kafka:", "a b:1", "kafka:port", "kafka:99999"])(
    "is refused as %j",
    (text) => {
      expect(problemsOf({ KAFKA_BROKER: text })).toEqual([
        `KAFKA_BROKER has "${text}"; each broker is host:port.`,
      ]);
    },
  );
});

test("no message shows a database's password", () => {
  for (const url of [
    "mysql://app:hunter2@db/shop",
    "app:hunter2@db",
    "postgres://app:hunter2@db:port/shop",
    "postgres://app:hunter2%@db/shop",
    "postgres://app:%ffhunter2@db/shop",
    // Taken apart elsewhere than meant: the host is `app`, and the port 1.
    "postgres://app:1/hunter2@db/shop",
    "postgres://app:1?hunter2@db/shop",
    "postgres://app:1#hunter2@db/shop",
  ]) {
    const problems = problemsOf({ DATABASE_URL: url });
    expect(problems, url).toHaveLength(1);
    expect(problems[0]).toContain("DATABASE_URL");
    expect(problems[0]).not.toContain("hunter2");
  }
});

test("a URL of a database in a setting that takes none is shown without its login", () => {
  const url = "postgres://app:hunter2@db/shop";
  const settings = [
    ...["DATABASE_SECRET_ARN", "DATABASE_AUTH", "DATABASE_HOST", "DATABASE_PORT", "DATABASE_TLS"],
    ...["DATABASE_CA", "KAFKA_BROKER", "KAFKA_AUTH", "KAFKA_REGION", "KAFKA_CA", "DELIVERY"],
    ...["LEASE_MS", "TOPIC_TABLES", "TOPIC_CLEANUP", "TOPIC_RETENTION_MS", "COMPRESSION", "LINGER"],
  ];
  for (const setting of settings) {
    const iam = { DATABASE_URL: "", DATABASE_AUTH: "iam", KAFKA_AUTH: "iam" };
    const problems = problemsOf({ ...iam, [setting]: url }).join(" ");
    expect(problems).toContain(setting);
    expect(problems).not.toContain("hunter2");
  }
});

describe("the database", () => {
  const ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-AbCdEf";
  const SERVER = { DATABASE_URL: "", DATABASE_HOST: "db.example", DATABASE_NAME: "shop" };
  const IAM = { ...SERVER, DATABASE_AUTH: "iam", DATABASE_USER: "drain" };
  const databaseOf = (env: Record<string, string>) => readConfig({ DATABASE_URL, ...env }).database;

  test("by Secrets Manager: the region is the secret's, TLS is verified", () => {
    expect(databaseOf({ ...SERVER, DATABASE_SECRET_ARN: ARN })).toEqual({
      kind: "secret",
      secretArn: ARN,
      region: "eu-west-1",
      host: "db.example",
      port: 5432,
      name: "shop",
      tls: { ca: undefined },
    });
  });

  test.each([
    ["shop.abc.eu-west-1.rds.amazonaws.com", "eu-west-1"],
    ["proxy.proxy-abc.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"],
    ["shop.abc.rds.cn-north-1.amazonaws.com.cn", "cn-north-1"],
    ["db.example", "ap-south-1"],
  ])("by IAM: the region of %s is %s", (host, region) => {
    expect(databaseOf({ ...IAM, DATABASE_HOST: host, AWS_REGION: "ap-south-1" })).toMatchObject({
      kind: "iam",
      user: "drain",
      region,
      tls: { ca: undefined },
    });
  });

  test.each([
    [{}, null],
    [{ AWS_LAMBDA_FUNCTION_NAME: "drain" }, { ca: undefined }],
    [{ AWS_LAMBDA_FUNCTION_NAME: "drain", DATABASE_TLS: "off" }, null],
    [{ DATABASE_TLS: "verify" }, { ca: undefined }],
    [{ DATABASE_URL: `${DATABASE_URL}?sslmode=require` }, { ca: undefined }],
    [{ DATABASE_URL: `${DATABASE_URL}?sslmode=verify-full` }, { ca: undefined }],
    [{ AWS_LAMBDA_FUNCTION_NAME: "drain", DATABASE_URL: `${DATABASE_URL}?sslmode=disable` }, null],
  ] as [Record<string, string>, object | null][])("TLS with %o is %o", (env, tls) => {
    expect(databaseOf(env).tls).toEqual(tls);
  });

  test.each([
    [
      { ...SERVER, DATABASE_URL, DATABASE_SECRET_ARN: ARN },
      "DATABASE_URL and DATABASE_SECRET_ARN are set; set one of them.",
    ],
    [
      { ...SERVER, DATABASE_SECRET_ARN: '{"password":"hunter2"}' },
      "DATABASE_SECRET_ARN is something else; it must be arn:",
    ],
    [{ ...IAM, DATABASE_HOST: "" }, "DATABASE_HOST is not set"],
    [{ ...IAM, DATABASE_HOST: "db:5432" }, 'DATABASE_HOST is "db:5432"'],
    [{ ...IAM, DATABASE_HOST: "postgres://u:hunter2 @h" }, "DATABASE_HOST is something else"],
    [{ ...IAM, DATABASE_NAME: "" }, "DATABASE_NAME is not set"],
    [{ ...IAM, DATABASE_USER: "" }, "DATABASE_USER is not set"],
    [{ ...IAM, DATABASE_AUTH: "hunter2" }, "DATABASE_AUTH is something else; it must be iam."],
    [{ ...IAM, DATABASE_PORT: "0" }, "DATABASE_PORT"],
    [{ ...IAM, DATABASE_TLS: "off" }, "DATABASE_AUTH=iam needs it"],
    [{ ...IAM, AWS_REGION: "" }, "The region of the database is not known"],
    [{ DATABASE_TLS: "on" }, 'DATABASE_TLS is "on"; it may be verify or off.'],
    [{ DATABASE_URL: `${DATABASE_URL}?sslmode=prefer` }, "DATABASE_URL has sslmode=prefer"],
    [{ DATABASE_URL: `${DATABASE_URL}?sslmode=require`, DATABASE_TLS: "off" }, "leave one out"],
    [{ DATABASE_CA: "hunter2", DATABASE_TLS: "verify" }, "DATABASE_CA holds no PEM certificate"],
    [{ DATABASE_URL: "", AWS_LAMBDA_FUNCTION_NAME: "drain" }, "sst secret set DatabaseUrl"],
  ] as [Record<string, string>, string][])("%o is refused", (env, part) => {
    const problems = problemsOf({ AWS_REGION: "eu-west-1", ...env });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(part);
    expect(problems[0]).not.toContain("hunter2");
  });
});

describe("Kafka by IAM", () => {
  const iamOf = (env: Record<string, string>) =>
    readConfig({ DATABASE_URL, KAFKA_AUTH: "iam", ...env }).producer.iam;

  test.each([
    ["b-1.shop.abc123.c2.kafka.eu-west-1.amazonaws.com:9098", "eu-west-1"],
    ["boot-abc.c1.kafka-serverless.us-east-2.amazonaws.com:9098", "us-east-2"],
    ["b-1.shop.abc.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"],
    ["kafka.internal:9098", "ap-south-1"],
  ])("the region of %s is %s", (KAFKA_BROKER, region) => {
    expect(iamOf({ KAFKA_BROKER, AWS_REGION: "ap-south-1" })).toEqual({ region, ca: undefined });
    const set = { KAFKA_BROKER, KAFKA_REGION: "eu-north-1" };
    expect(iamOf(set)).toMatchObject({ region: "eu-north-1" });
  });

  test.each([
    [{ KAFKA_AUTH: "scram" }, 'KAFKA_AUTH is "scram"; it may be none or iam.'],
    [{ KAFKA_AUTH: "iam", KAFKA_BROKER: "kafka:9098" }, "set KAFKA_REGION"],
    [{ KAFKA_AUTH: "iam", KAFKA_REGION: "Frankfurt" }, 'The region of Kafka is "Frankfurt"'],
    [
      {
        KAFKA_AUTH: "iam",
        KAFKA_BROKER: "a.kafka.eu-west-1.amazonaws.com:1,a.kafka.eu-west-2.amazonaws.com:1",
      },
      "several regions (eu-west-1, eu-west-2)",
    ],
    [{ KAFKA_CA: "-----BEGIN CERTIFICATE-----" }, "only KAFKA_AUTH=iam uses TLS"],
  ] as [Record<string, string>, string][])("%o is refused", (env, part) => {
    const problems = problemsOf(env);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(part);
  });
});

describe("topics to create", () => {
  const topicsOf = (env: Record<string, string>) => readConfig({ DATABASE_URL, ...env }).topics;

  test("tables are named as in setup()", () => {
    const TOPIC_TABLES = 'products, Sales.orders,sales."Big, ""Orders""", ';
    expect(topicsOf({ TOPIC_TABLES }).tables).toEqual([
      { schema: "public", table: "products" },
      { schema: "sales", table: "orders" },
      { schema: "sales", table: 'Big, "Orders"' },
    ]);
  });

  test("what is not set is the cluster's default", () => {
    expect(topicsOf({}).creation).toEqual({ partitions: 6, replicationFactor: -1, configs: {} });
    const set = { TOPIC_RETENTION_MS: "-1", TOPIC_CLEANUP: "compact,delete" };
    expect(topicsOf(set).creation.configs).toEqual({
      "retention.ms": "-1",
      "cleanup.policy": "compact,delete",
    });
  });

  test("a retention below a day is warned about", () => {
    expect(topicWarning(topicsOf({}).creation)).toBeNull();
    expect(topicWarning(topicsOf({ TOPIC_RETENTION_MS: "-1" }).creation)).toBeNull();
    expect(topicWarning(topicsOf({ TOPIC_RETENTION_MS: "86399999" }).creation)).toContain(
      "TOPIC_RETENTION_MS is 86399999",
    );
  });

  test.each([
    [{ TOPIC_TABLES: "a.b.c" }, 'TOPIC_TABLES has "a.b.c"'],
    [{ TOPIC_TABLES: "drop table" }, 'TOPIC_TABLES has "drop table"'],
    [{ TOPIC_RETENTION_MS: "59999" }, 'TOPIC_RETENTION_MS is "59999"'],
    [{ TOPIC_RETENTION_MS: "-2" }, 'TOPIC_RETENTION_MS is "-2"'],
    [{ TOPIC_CLEANUP: "never" }, 'TOPIC_CLEANUP is "never"'],
  ] as [Record<string, string>, string][])("%o is refused", (env, part) => {
    const problems = problemsOf(env);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(part);
  });
});
