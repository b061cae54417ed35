import { setTimeout as sleep } from "node:timers/promises";
import postgres, { type Notice, type Options, type Sql } from "postgres";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { readSchema } from "../../functions/core/postgres/schema.ts";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import type { PostgresVersion } from "../local/postgres-files.ts";

/** What this repository installs. */
export const schema = readSchema(new URL("../../sql", import.meta.url).pathname);

/** The versions that every test of sql/ runs on. */
export const versions: readonly PostgresVersion[] = [13, 18];

type ConnectOptions = Options<Record<string, never>>;

export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  /** One connection, superuser `postgres`. */
  readonly sql: Sql;
  /** What the server said on `sql` beside results. */
  readonly notices: Notice[];
  /** A further session, ended with the test. */
  connect(options?: ConnectOptions): Sql;
}

export interface TestServer {
  readonly server: LocalPostgres;
  /** The database of the running test: the schema is installed, nothing is tracked. */
  readonly database: TestDatabase;
  /** The connection of the running test. */
  readonly sql: Sql;
  /** Another database, ended and dropped with the test. */
  createDatabase(template?: "migrated" | "empty"): Promise<TestDatabase>;
}

/**
 * Call it in a `describe`: one Postgres for its tests, and for each test a fresh database cloned
 * from a migrated one. A failed test's database is not dropped; to look at it after the run, set
 * PG2KAFKA_TEST_KEEP=true, which leaves the data directory.
 */
export function useDatabase(
  version: PostgresVersion,
  settings: Record<string, string> = {},
): TestServer {
  let server: LocalPostgres;
  let admin: Sql;
  let database: TestDatabase;
  let count = 0;
  let sessions: Sql[] = [];
  let names: string[] = [];

  async function createDatabase(template: "migrated" | "empty"): Promise<TestDatabase> {
    count += 1;
    const name = `test_${count}`;
    const source = template === "migrated" ? "migrated" : "template0";
    await admin.unsafe(`create database ${name} template ${source}`);
    names.push(name);
    const url = server.url.replace(/[^/]+$/, name);
    const connect = (options: ConnectOptions = {}) => {
      const session = postgres(url, { max: 1, idle_timeout: 0, onnotice: () => {}, ...options });
      sessions.push(session);
      return session;
    };
    const notices: Notice[] = [];
    return {
      name,
      url,
      notices,
      connect,
      sql: connect({ onnotice: (notice) => notices.push(notice) }),
    };
  }

  beforeAll(async () => {
    server = await startPostgres({
      version,
      name: "sql",
      settings: { max_prepared_transactions: "5", ...settings },
      keep: process.env["PG2KAFKA_TEST_KEEP"] === "true",
    });
    admin = postgres(server.url, { max: 1, onnotice: () => {} });
    await admin`create database migrated`;
    const sql = postgres(server.url.replace(/[^/]+$/, "migrated"), { max: 1, onnotice: () => {} });
    await migrate(sql, schema);
    await sql.end();
  }, 60_000);

  afterAll(async () => {
    await admin?.end();
    await server?.stop("immediate");
  });

  beforeEach(async () => {
    sessions = [];
    names = [];
    database = await createDatabase("migrated");
  });

  afterEach(async ({ task }) => {
    await Promise.all(sessions.map((session) => session.end({ timeout: 1 })));
    if (task.result?.state === "fail" && !task.fails) {
      console.error(`"${task.name}" ran in ${names.join(", ")} of ${server.dataDir}`);
      return;
    }
    for (const name of names) {
      await admin`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`;
      await admin.unsafe(`drop database ${name}`);
    }
  });

  return {
    get server() {
      return server;
    },
    get database() {
      return database;
    },
    get sql() {
      return database.sql;
    },
    createDatabase: (template = "migrated") => createDatabase(template),
  };
}

/** Wait until it holds; no test sleeps for a fixed time. */
export async function waitFor(
  condition: () => Promise<boolean> | boolean,
  { timeoutMs = 10_000 } = {},
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Not so after ${timeoutMs} ms: ${condition}`);
    await sleep(10);
  }
}

/** The id of a session's server process. */
export async function pidOf(sql: Sql): Promise<number> {
  const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return row!.pid;
}

/** Wait until a session waits for a lock. `observer` must be another one. */
export async function waitUntilBlocked(observer: Sql, pid: number): Promise<void> {
  await waitFor(async () => {
    const [row] = await observer<{ blocked: boolean }[]>`
      select cardinality(pg_blocking_pids(${pid})) > 0 as blocked`;
    return row!.blocked;
  });
}
