import { describe, expect, test } from "vitest";
import { NUMBERS, type NumberName } from "../../functions/core/config/numbers.ts";
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
    'COMPRESSION is "lz4"; it may be none or gzip.',
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
  ]) {
    const problems = problemsOf({ DATABASE_URL: url });
    expect(problems, url).toHaveLength(1);
    expect(problems[0]).toContain("DATABASE_URL");
    expect(problems[0]).not.toContain("hunter2");
  }
});
