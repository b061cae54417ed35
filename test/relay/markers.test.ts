import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Notice } from "postgres";
import { beforeEach, describe, expect, test } from "vitest";
import { freePort } from "../local/port.ts";
import { createTopic } from "../local/topics.ts";
import { newest, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { runCommand } from "./command.ts";
import type { Environment } from "./support.ts";

const ROOT = join(import.meta.dirname, "../..");
const HANDLER_TIMEOUT_MS = 120_000;

/** Part of each secret, and of nothing else. */
const MARKER = "MARKER";
const ROW = `row-${MARKER}`;
const KEY = `key-${MARKER}`;
const PASSWORD = `password-${MARKER}`;

const server = useDatabase(newest, { alone: true });
const cluster = useKafka();

let env: Environment;
/** All that a writer was told, at the chattiest level. */
let notices: Notice[];

/** A superuser who logs in by password, and a table whose rows, key and comments are marked. */
beforeEach(async () => {
  const { sql, database, own } = server;
  const user = `${database.name}_app`;
  await sql.unsafe(`create role ${user} login superuser password '${PASSWORD}'`);
  const accessFile = join(own.dataDir, "pg_hba.conf");
  const access = readFileSync(accessFile, "utf8");
  writeFileSync(accessFile, `host all ${user} 127.0.0.1/32 scram-sha-256\n${access}`);
  await sql`select pg_reload_conf()`;
  const isRefused = ({ code }: { code: string }) => code === "28P01";
  await waitFor(() =>
    database.connect({ user, password: "wrong" })`select 1`.then(() => false, isRefused),
  );
  env = {
    DATABASE_URL: database.url.replace("postgres@", `${user}:${PASSWORD}@`),
    KAFKA_BROKER: cluster.brokers.join(","),
    MESSAGE_BYTES_MAX: "20000",
  };
  await sql.unsafe(`
    create table t (id text primary key, value text default '${ROW}');
    comment on table t is '${ROW}';
    comment on column t.value is '${ROW}';
    select pg2kafka.setup('t', 'id');`);
  notices = [];
  const writer = database.connect({ onnotice: (notice) => notices.push(notice) });
  await writer`set client_min_messages = debug5`;
  await writer`insert into t values (${KEY}, ${ROW})`;
  await writer`update t set value = ${`${ROW} 2`}`;
});

interface Output {
  code: number | null;
  text: string;
}

async function drain(more: Environment = {}): Promise<Output> {
  const { code, stdout, stderr } = await runCommand("drain", { ...env, ...more });
  return { code, text: stdout + stderr };
}

async function migrate(more: Environment = {}): Promise<Output> {
  const { code, stdout, stderr } = await runCommand("migrate", { ...env, ...more });
  return { code, text: stdout + stderr };
}

/** A Lambda's handler in a process of its own: what it logs, and all that hangs on its error. */
async function lambda(name: string, event: object = {}, more: Environment = {}): Promise<Output> {
  const script = `
    import { inspect } from "node:util";
    const { handler } = await import(${JSON.stringify(join(ROOT, "functions", `${name}.ts`))});
    const context = { getRemainingTimeInMillis: () => 30_000 };
    const answer = await handler(${JSON.stringify(event)}, context).catch((error) => {
      process.exitCode = 1;
      return error;
    });
    console.log(inspect(answer, { depth: 9, showHidden: true }));
    process.exit();`;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
    env: {
      PATH: process.env["PATH"],
      AWS_LAMBDA_FUNCTION_NAME: "test",
      DATABASE_TLS: "off",
      ...env,
      ...more,
    },
    timeout: HANDLER_TIMEOUT_MS,
  });
  const { code = 0, stdout, stderr } = await run.catch((error) => error);
  return { code, text: stdout + stderr };
}

const topic = () => `pg2kafka.${server.database.name}.t`;

interface Fault {
  name: string;
  run: () => Promise<Output>;
  /** What comes out, so that the fault is known to have happened. */
  says: RegExp;
}

/* Each leaves the marked rows, keys and the password within reach of what fails. */
const FAULTS: Fault[] = [
  {
    name: "a topic that is missing",
    run: () => drain(),
    says: /"parked":2/,
  },
  {
    name: "a topic that Kafka refuses to create",
    run: () => drain({ TOPIC_CREATE: "true", TOPIC_REPLICATION: "77" }),
    says: /"parked":2/,
  },
  {
    name: "a message above our bound",
    run: async () => {
      await createTopic(cluster.brokers, topic());
      await server.sql`update t set value = repeat(${ROW}, 9000)`;
      return await drain();
    },
    says: /"delivered":2,"parked":1/,
  },
  {
    name: "a message above Kafka's bound",
    run: async () => {
      await createTopic(cluster.brokers, topic(), { configs: { "max.message.bytes": "2000" } });
      await server.sql`update t set value = repeat(${ROW}, 900)`;
      return await drain();
    },
    says: /"parked":1/,
  },
  {
    name: "Kafka is away",
    run: async () => drain({ KAFKA_BROKER: `127.0.0.1:${await freePort()}` }),
    says: /KAFKA_UNAVAILABLE/,
  },
  {
    name: "Kafka is away, exactly once",
    run: async () =>
      drain({ KAFKA_BROKER: `127.0.0.1:${await freePort()}`, DELIVERY: "exactly-once" }),
    says: /KAFKA_UNAVAILABLE/,
  },
  {
    name: "Kafka speaks no TLS",
    run: () =>
      drain({
        KAFKA_AUTH: "iam",
        KAFKA_REGION: "eu-central-1",
        AWS_ACCESS_KEY_ID: "AKIA",
        AWS_SECRET_ACCESS_KEY: PASSWORD,
        AWS_SESSION_TOKEN: PASSWORD,
      }),
    says: /KAFKA_UNAVAILABLE/,
  },
  {
    name: "too much is parked",
    run: async () => {
      await drain();
      await server.sql`create table other (id text)`;
      await server.sql`select pg2kafka.setup('other', 'id')`;
      await server.sql`insert into other values (${KEY})`;
      return await drain({ PARKED_EVENTS_MAX: "2" });
    },
    says: /PARKED_FULL/,
  },
  {
    name: "a row in the detail of Postgres' error",
    run: async () => {
      await server.sql`
        alter table pg2kafka.parked_events add constraint none check (external_id = '')`;
      return await drain();
    },
    says: /DATABASE_REFUSED/,
  },
  ...["23514", "P0001", "22P02", "XX000"].map((code) => ({
    name: `a row in the message, hint and detail of Postgres' error, ${code}`,
    run: async () => {
      await server.sql.unsafe(`
        create function tell() returns trigger language plpgsql as $$
        begin
          raise exception 'value % of %', new.data, new.external_id
            using errcode = '${code}', hint = new.data, detail = new.data;
        end $$;
        create trigger tell before insert on pg2kafka.parked_events for each row execute function tell()`);
      return await drain();
    },
    says: new RegExp(`DATABASE_REFUSED: .*${code}`),
  })),
  {
    name: "the session is ended in mid-drain",
    run: async () => {
      await server.sql.unsafe(`
        create function die() returns trigger language plpgsql as $$
        begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$;
        create trigger die before insert on pg2kafka.parked_events for each row execute function die()`);
      return await drain();
    },
    says: /DATABASE_UNREACHABLE/,
  },
  {
    name: "another password",
    run: () => drain({ DATABASE_URL: env["DATABASE_URL"]!.replace(PASSWORD, `${PASSWORD}-2`) }),
    says: /DATABASE_AUTHENTICATION/,
  },
  {
    name: "no such database",
    run: () => migrate({ DATABASE_URL: env["DATABASE_URL"]!.replace(/[^/]+$/, "nowhere") }),
    says: /DATABASE_MISSING/,
  },
  {
    name: "a host without an address",
    run: () => migrate({ DATABASE_URL: `postgres://app:${PASSWORD}@nowhere.invalid/shop` }),
    says: /DATABASE_UNREACHABLE/,
  },
  {
    name: "a server without TLS, which is demanded",
    run: () => migrate({ DATABASE_TLS: "verify" }),
    says: /DATABASE_UNREACHABLE/,
  },
  {
    name: "a URL that is none, and one in a setting that takes none",
    run: () =>
      drain({
        DATABASE_URL: `postgres://app:${PASSWORD}%@127.0.0.1/shop`,
        KAFKA_BROKER: `postgres://app:${PASSWORD}@127.0.0.1/shop`,
      }),
    says: /ConfigError.*DATABASE_URL.*KAFKA_BROKER/,
  },
  {
    name: "setup() meets a key whose own cast to text tells it",
    run: async () => {
      await talkative();
      return await lambda("setup", { table: "talkative", externalId: "id" });
    },
    says: /DATABASE_REFUSED/,
  },
  {
    name: "setup() beside an event trigger that tells rows",
    run: async () => {
      await server.sql.unsafe(`
        create table gossip (id int primary key);
        create function tell() returns event_trigger language plpgsql as
          $$ begin raise notice '% %', tg_tag, '${ROW}'; raise warning '${KEY}'; end $$;
        create event trigger telling on ddl_command_end when tag in ('CREATE TRIGGER')
          execute function tell();`);
      try {
        return await lambda("setup", { table: "gossip", externalId: "id" });
      } finally {
        await server.sql`drop event trigger telling`;
      }
    },
    says: /"tracked":true/,
  },
  {
    name: "a snapshot meets such a key",
    run: async () => {
      await talkative();
      const { sql } = server;
      await sql`create table later (like talkative)`;
      await sql`select pg2kafka.setup('later', 'id')`;
      await sql`alter table later disable trigger user`;
      await sql`insert into later select * from talkative`;
      await sql`select pg2kafka.snapshot('later')`;
      const output = await drain();
      const [snapshot] = await sql`select state, error from pg2kafka.snapshots`;
      expect(snapshot).toMatchObject({ state: "failed" });
      return { ...output, text: output.text + JSON.stringify(snapshot) };
    },
    says: /P0001: not shown/,
  },
  {
    name: "the Lambda, with its metrics: a topic that is missing",
    run: () => lambda("drain"),
    says: /CloudWatchMetrics.*Parked/s,
  },
  {
    name: "the Lambda: a row in Postgres' error",
    run: async () => {
      await server.sql`
        alter table pg2kafka.parked_events add constraint none check (external_id = '')`;
      return await lambda("drain");
    },
    says: /DATABASE_REFUSED/,
  },
];

/** A table with a key whose cast to text raises an error that quotes it. */
async function talkative(): Promise<void> {
  await server.sql.unsafe(`
    create type mumble as enum ('${ROW}');
    create function tell(mumble) returns text language plpgsql as
      $$ begin raise exception 'bad value %', $1 using hint = $1; end $$;
    create cast (mumble as text) with function tell(mumble);
    create table talkative (id mumble primary key, v text);
    insert into talkative values ('${ROW}', '${KEY}');`);
}

describe("nothing that is written shows a row, a key or a password:", () => {
  test.each(FAULTS)("$name", async ({ run, says }) => {
    const { text } = await run();
    expect(text).toMatch(says);
    expect(text).not.toContain(MARKER);
    expect(JSON.stringify(notices)).not.toContain(MARKER);
    const reasons = await server.sql`
      select code, reason from pg2kafka.parked_events
      union all select state, error from pg2kafka.snapshots`;
    expect(JSON.stringify(reasons)).not.toContain(MARKER);
  });
});
