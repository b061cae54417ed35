import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { freePort } from "../local/port.ts";
import { startProxy } from "../local/proxy.ts";
import { createTopic } from "../local/topics.ts";
import { newest, schema, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { type Finished, runCommand, startCommand } from "./command.ts";
import { enqueue, enqueueMany, one, receive } from "./support.ts";

const server = useDatabase();
const cluster = useKafka();

const envFor = (more: Record<string, string> = {}) => ({
  DATABASE_URL: server.database.url,
  KAFKA_BROKER: cluster.brokers.join(","),
  ...more,
});

const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

/** A failure is one line on standard error, and nothing else. */
function expectOneLine({ code, stdout, stderr }: Finished, pattern: RegExp): void {
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  expect(stderr).toMatch(pattern);
  expect(stdout).toBe("");
  expect(code).toBe(1);
}

describe("npm run drain", () => {
  test("drains, ends with a summary as the last line of standard error, and exits 0", async () => {
    await createTopic(cluster.brokers, topicOf("t"));
    await enqueueMany(server.sql, 5);
    const { code, stdout, summary } = await runCommand("drain", envFor());
    expect(code).toBe(0);
    expect(stdout).toBe("");
    expect(summary()).toMatchObject({
      level: "info",
      event: "drained",
      delivered: 5,
      parked: 0,
      drained: true,
      lagMs: 0,
      restored: false,
      stopped: null,
    });
    expect(await receive(cluster.brokers, topicOf("t"))).toHaveLength(5);
  });

  test("exits 0 when another drain is at work, and when it is paused", async () => {
    await enqueue(server.sql, "1");
    await server.sql`select pg2kafka.take_lease(0, 1, 60000)`;
    const leased = await runCommand("drain", envFor());
    expect(leased.code).toBe(0);
    expect(leased.summary()).toMatchObject({ stopped: { code: "LEASED" } });
    await server.sql`select pg2kafka.pause()`;
    const paused = await runCommand("drain", envFor());
    expect(paused.code).toBe(0);
    expect(paused.summary()).toMatchObject({ stopped: { code: "PAUSED" } });
  });

  test("Kafka is away: exits 1, and the summary says why", async () => {
    await enqueue(server.sql, "1");
    const broker = `127.0.0.1:${await freePort()}`;
    const { code, summary } = await runCommand("drain", envFor({ KAFKA_BROKER: broker }));
    expect(code).toBe(1);
    expect(summary()).toMatchObject({
      level: "error",
      delivered: 0,
      drained: false,
      stopped: { code: "KAFKA_UNAVAILABLE" },
    });
    expect(summary().stopped?.message).toContain(broker);
  });

  test("Postgres is lost without a word: the drain ends by its time, and says so", async () => {
    const url = new URL(server.database.url);
    const network = await startProxy(Number(url.port));
    onTestFinished(() => network.stop());
    url.port = String(network.port);
    const times = { REQUEST_TIMEOUT_MS: "1000", MARGIN_MS: "1500", TIMEOUT_MS: "8000" };
    const env = envFor({ DATABASE_URL: url.href, ...times });
    const { finished } = startCommand("drain", env);
    const isQuestion = (bytes: Buffer) => bytes.includes("pg2kafka.read_state");
    expect(await network.catchRequest(isQuestion, "half", 60_000)).toBe(true);
    network.lose();
    expectOneLine(await finished, /^DrainError: TIME_UP: The time is up/);
  });

  test("without KAFKA_BROKER: one line that names it", async () => {
    const { KAFKA_BROKER: _, ...env } = envFor();
    expectOneLine(await runCommand("drain", env), /^ConfigError.*KAFKA_BROKER is not set/);
  });

  test("another version of the schema, or none: one line that names migrate", async () => {
    await server.sql`update pg2kafka.control set schema_version = 'old'`;
    expectOneLine(await runCommand("drain", envFor()), /SCHEMA_OUTDATED: .*npm run migrate/);
    const { url } = await server.createDatabase("empty");
    expectOneLine(
      await runCommand("drain", envFor({ DATABASE_URL: url })),
      /NOT_INSTALLED: .*npm run migrate/,
    );
  });

  test("PERFORM_MIGRATIONS=true migrates first", async () => {
    const { url } = await server.createDatabase("empty");
    const env = envFor({ DATABASE_URL: url, PERFORM_MIGRATIONS: "true" });
    const { code, summary, stderr } = await runCommand("drain", env);
    expect(stderr).toContain('"migrated"');
    expect(summary()).toMatchObject({ event: "drained", drained: true });
    expect(code).toBe(0);
  });

  test("DRY_RUN=true needs no Kafka, and prints one message a line on standard output", async () => {
    await enqueue(server.sql, { key: "k", data: '{"a": 1.50}' }, { key: null });
    const env = { DATABASE_URL: server.database.url, DRY_RUN: "true", TOPIC_NAMESPACE: "dev" };
    const { code, stdout, summary } = await runCommand("drain", env);
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({ topic: `pg2kafka.dev.${server.database.name}.t`, key: "k" });
    expect(lines[0].value).toContain('"data":{"a": 1.50}');
    expect(summary()).toMatchObject({ event: "dry run", messages: 2 });
    const { count } = await one<{ count: string }>(
      server.sql,
      "select count(*) from pg2kafka.drain_log",
    );
    expect(count).toBe("0");
  });
});

describe("npm run migrate", () => {
  test("installs the schema, and changes nothing when run again", async () => {
    const { url } = await server.createDatabase("empty");
    const first = await runCommand("migrate", { DATABASE_URL: url });
    expect(first).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(first.stdout);
    expect(report.version).toBe(schema.version);
    expect(report.migrations).toContain("0001_queue");
    const second = await runCommand("migrate", { DATABASE_URL: url });
    expect(JSON.parse(second.stdout)).toMatchObject({ migrations: [], functions: [] });
  });

  test("what accepts connections and closes them, such as a pooler without a server: one line", async () => {
    const listener = createServer((socket) => socket.end()).listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    const env = envFor({ DATABASE_URL: `postgres://app:hunter2@127.0.0.1:${port}/shop` });
    const finished = await runCommand("migrate", env);
    listener.close();
    expectOneLine(finished, /^DatabaseError DATABASE_UNREACHABLE: .*CONNECT_TIMEOUT/);
    expect(finished.stderr).not.toContain("hunter2");
  });
});

describe.each(["migrate", "drain"] as const)("npm run %s", (name) => {
  test("--help prints how it is used, whatever the settings", async () => {
    for (const flag of ["--help", "-h"]) {
      const { code, stdout, stderr } = await runCommand(name, {}, [flag]);
      expect(stdout).toMatch(/^Usage: .*DATABASE_URL/);
      expect(stdout).toContain(`npm run ${name}`);
      expect(stderr).toBe("");
      expect(code).toBe(0);
    }
  });

  test("without DATABASE_URL: one line that names it", async () => {
    const finished = await runCommand(name, { KAFKA_BROKER: "127.0.0.1:1" });
    expectOneLine(finished, /^ConfigError.*DATABASE_URL is not set/);
  });

  test("all that is wrong with the settings is in one line", async () => {
    const env = { BATCH_EVENTS_MAX: "0", LEASE_MS: "x", DRY_RUN: "maybe" };
    const finished = await runCommand(name, env);
    expectOneLine(finished, /4 problem.*BATCH_EVENTS_MAX.*LEASE_MS.*DATABASE_URL.*DRY_RUN/);
  });

  test("a database that cannot be reached: one line that says what to check", async () => {
    const port = await freePort();
    const env = envFor({ DATABASE_URL: `postgres://app:hunter2@127.0.0.1:${port}/shop` });
    const finished = await runCommand(name, env);
    expectOneLine(
      finished,
      new RegExp(
        `^DatabaseError DATABASE_UNREACHABLE: The database at 127.0.0.1:${port} was not reached.*DATABASE_URL.*ECONNREFUSED`,
      ),
    );
    expect(finished.stderr).not.toContain("hunter2");
  });

  test("a name with what a URL escapes is the database's own", async () => {
    const spaced = `shop ${server.database.name}`;
    await server.sql.unsafe(`create database "${spaced}"`);
    const url = server.database.url.replace(/[^/]+$/, encodeURIComponent(spaced));
    const found = await runCommand(name, envFor({ DATABASE_URL: url }));
    await server.sql.unsafe(`drop database "${spaced}"`);
    expect(found.stderr).not.toContain("DATABASE_MISSING");
  });

  test("a host without an address: one line that names it", async () => {
    const env = envFor({ DATABASE_URL: "postgres://app:hunter2@nowhere.invalid/shop" });
    const finished = await runCommand(name, env);
    expectOneLine(
      finished,
      /^DatabaseError DATABASE_UNREACHABLE: .*nowhere.invalid .*DATABASE_URL/,
    );
    expect(finished.stderr).not.toContain("hunter2");
  });

  test("a database that does not exist: one line that names the setting", async () => {
    const env = envFor({ DATABASE_URL: server.database.url.replace(/[^/]+$/, "nowhere") });
    const finished = await runCommand(name, env);
    expectOneLine(finished, /^DatabaseError DATABASE_MISSING: .* no such database: .*DATABASE_URL/);
  });
});

describe.each(["migrate", "drain"] as const)(
  "npm run %s, on a server with its own ways in",
  (name) => {
    const server = useDatabase(newest, { alone: true });

    test("a server without TLS, which is demanded: one line that says so", async () => {
      const finished = await runCommand(
        name,
        envFor({ DATABASE_URL: server.database.url, DATABASE_TLS: "verify" }),
      );
      expectOneLine(
        finished,
        /^DatabaseError DATABASE_UNREACHABLE: .*TLS if DATABASE_TLS is verify/,
      );
    });

    test("a wrong password: one line that names the setting, and not the password", async () => {
      const user = `${server.database.name}_app`;
      await server.sql.unsafe(`create role ${user} login password 'right'`);
      const accessFile = join(server.own.dataDir, "pg_hba.conf");
      const access = readFileSync(accessFile, "utf8");
      writeFileSync(accessFile, `host all ${user} 127.0.0.1/32 scram-sha-256\n${access}`);
      await server.sql`select pg_reload_conf()`;
      const isRefused = ({ code }: { code: string }) => code === "28P01";
      await waitFor(() =>
        server.database.connect({ user, password: "hunter2" })`select 1`.then(
          () => false,
          isRefused,
        ),
      );
      const url = server.database.url.replace("postgres@", `${user}:hunter2@`);
      const finished = await runCommand(name, envFor({ DATABASE_URL: url }));
      expectOneLine(finished, /^DatabaseError DATABASE_AUTHENTICATION: .*password of DATABASE_URL/);
      expect(finished.stderr).not.toContain("hunter2");
    });
  },
);

describe("what is secret", () => {
  // Any password lets in.
  const server = useDatabase(newest, { alone: true });
  const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

  test("no line of a drain shows a row, a key or a password, whatever goes wrong", async () => {
    const secrets = ["ROW-MARKER", "KEY-MARKER", "PASSWORD-MARKER"];
    const url = server.database.url.replace("postgres@", "postgres:PASSWORD-MARKER@");
    const env = {
      DATABASE_URL: url,
      KAFKA_BROKER: cluster.brokers.join(","),
      MESSAGE_BYTES_MAX: "20000",
    };
    const data = JSON.stringify({ marker: "ROW-MARKER" });
    const big = JSON.stringify({ marker: "ROW-MARKER", more: "ROW-MARKER".repeat(5_000) });
    const outputs: Finished[] = [];
    const run = async (more: Record<string, string> = {}) => {
      const finished = await runCommand("drain", { ...env, ...more });
      outputs.push(finished);
      return finished;
    };

    await enqueue(server.sql, { key: "KEY-MARKER", table: "gone", data });
    await run();
    await createTopic(cluster.brokers, topicOf("t"), { configs: { "max.message.bytes": "10000" } });
    await enqueue(
      server.sql,
      { key: "KEY-MARKER", data: big },
      { key: "KEY-MARKER-2", data: JSON.stringify("ROW-MARKER".repeat(1_500)) },
      { key: "KEY-MARKER", data },
      { key: "KEY-MARKER-3", data: null },
    );
    expect((await run()).summary()).toMatchObject({ parked: 4 });
    await enqueue(server.sql, { key: "KEY-MARKER", data });
    const full = await run({ PARKED_EVENTS_MAX: "5" });
    expect(full.summary()).toMatchObject({ stopped: { code: "PARKED_FULL" } });
    await run({ KAFKA_BROKER: `127.0.0.1:${await freePort()}` });
    // A failure of Postgres' own, with the row in its detail.
    await server.sql`alter table pg2kafka.parked_events add constraint none check (external_id = '')
    not valid`;
    expect((await run()).code).toBe(1);
    await run({ DATABASE_URL: url.replace(/[^/]+$/, "nowhere") });
    await run({ DATABASE_URL: `${url}?sslmode=bogus`, LEASE_MS: "PASSWORD" });

    expect(outputs.map(({ stderr }) => stderr.trimEnd().split("\n").length)).toEqual(
      outputs.map(() => 1),
    );
    for (const { stdout, stderr } of outputs) {
      for (const secret of secrets) expect(stdout + stderr).not.toContain(secret);
    }
    const reasons = await server.sql`select code, reason from pg2kafka.parked_events`;
    expect(new Set(reasons.map(({ code }) => code))).toEqual(
      new Set(["TOPIC_MISSING", "MESSAGE_TOO_LARGE", "BEHIND_REFUSED", "NOT_CAPTURED"]),
    );
    for (const secret of secrets) expect(JSON.stringify(reasons)).not.toContain(secret);
  });
});
