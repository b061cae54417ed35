import { randomBytes } from "node:crypto";
import postgres, { type Notice, type Options, type Sql } from "postgres";
import { afterAll, afterEach, beforeAll, beforeEach, inject } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { readSchema } from "../../functions/core/postgres/schema.ts";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import { waitFor } from "./wait.ts";

export { waitFor };

/** What this repository installs. */
export const schema = readSchema(new URL("../../sql", import.meta.url).pathname);

const { run, postgres: given } = inject("given");
const OLDEST = 13;
const OWN_NEWEST = 18;

/** Of the server in DATABASE_URL, unless that is of the oldest version; else of our newest. */
export const newest: number = given && given.version !== OLDEST ? given.version : OWN_NEWEST;

/** The major versions that every test of sql/ runs on. */
export const versions: readonly number[] = [OLDEST, newest];

type ConnectOptions = Options<Record<string, never>>;

export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  /** One connection; superuser, unless DATABASE_URL's role is none. */
  readonly sql: Sql;
  /** What the server said on `sql` beside results. */
  readonly notices: Notice[];
  /** A further session, ended with the test. */
  connect(options?: ConnectOptions): Sql;
}

export interface TestServer {
  /** @throws where the server is the one in DATABASE_URL */
  readonly own: LocalPostgres;
  /** The database of the running test: the schema is installed, nothing is tracked. */
  readonly database: TestDatabase;
  /** The connection of the running test. */
  readonly sql: Sql;
  /** Another database, ended and dropped with the test. */
  createDatabase(template?: "migrated" | "empty"): Promise<TestDatabase>;
}

/** What tests need of their server; the one in DATABASE_URL is used when it is enough. */
export interface ServerNeeds {
  /** Settings of the server: one of its own. */
  settings?: Record<string, string>;
  /** Nobody else's transactions, or access without a password: a server of its own. */
  alone?: boolean;
  /** A superuser. */
  superuser?: boolean;
}

/**
 * Call it in a `describe`: one Postgres for its tests, and for each test a fresh database cloned
 * from a migrated one. With PG2KAFKA_TEST_KEEP=true a failed test's database is not dropped, and
 * a server of our own leaves its data directory.
 *
 * Roles belong to the server: those that a test makes must have `database.name` in their names,
 * and are dropped with it.
 */
export function useDatabase(version = newest, needs: ServerNeeds = {}): TestServer {
  const isGivenEnough =
    given?.version === version &&
    !needs.settings &&
    !needs.alone &&
    (given.isSuperuser || !needs.superuser);
  const prefix = `test_${run}_${randomBytes(3).toString("hex")}`;
  const isKeeping = process.env["PG2KAFKA_TEST_KEEP"] === "true";
  let own: LocalPostgres | undefined;
  let serverUrl: string;
  let admin: Sql;
  let database: TestDatabase;
  let count = 0;
  let sessions: Sql[] = [];
  let names: string[] = [];

  async function createDatabase(template: "migrated" | "empty"): Promise<TestDatabase> {
    count += 1;
    const name = `${prefix}_${count}`;
    const source = template === "migrated" ? prefix : "template0";
    await admin.unsafe(`create database ${name} template ${source}`);
    names.push(name);
    const url = urlOf(serverUrl, name);
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
    if (!isGivenEnough) {
      own = await startPostgres({
        version: version === OLDEST ? OLDEST : OWN_NEWEST,
        name: "sql",
        keep: isKeeping,
        ...(needs.settings && { settings: needs.settings }),
      });
    }
    serverUrl = own?.url ?? given!.url;
    admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
    await admin.unsafe(`create database ${prefix} template template0`);
    const sql = postgres(urlOf(serverUrl, prefix), { max: 1, onnotice: () => {} });
    await migrate(sql, schema);
    await sql.end();
  });

  afterAll(async () => {
    if (!own) await admin?.unsafe(`drop database if exists ${prefix} with (force)`);
    await admin?.end();
    await own?.stop("immediate");
  });

  beforeEach(async () => {
    sessions = [];
    names = [];
    database = await createDatabase("migrated");
  });

  afterEach(async ({ task }) => {
    await Promise.all(sessions.map((session) => session.end({ timeout: 1 })));
    if (isKeeping && task.result?.state === "fail" && !task.fails) {
      const place = own?.dataDir ?? "DATABASE_URL's server";
      console.error(`"${task.name}" ran in ${names.join(", ")} of ${place}`);
      return;
    }
    for (const name of names) {
      await admin.unsafe(`drop database ${name} with (force)`);
      const roles = await admin<{ role: string }[]>`
        select rolname as role from pg_roles where rolname ~ ${`${name}\\M`}`;
      for (const { role } of roles) await admin`drop role ${admin(role)}`;
    }
  });

  return {
    get own() {
      if (!own) throw new Error("This test runs on DATABASE_URL's server: state what it needs.");
      return own;
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

/** The URL of another database of the same server. */
function urlOf(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
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
