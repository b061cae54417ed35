import { randomBytes } from "node:crypto";
import postgres, { type Sql } from "postgres";
import { kafkaClient } from "./topics.ts";

const POSTGRES_VERSION_MIN = 13;
const CONNECT_TIMEOUT_S = 5;

/** The servers that the environment names, on which tests run in place of their own. */
export interface Given {
  /** Part of the name of every database, role and topic that this run makes. */
  run: string;
  /** Of DATABASE_URL; null when that is not set. */
  postgres: GivenPostgres | null;
  /** Of KAFKA_BROKER; empty when that is not set. */
  brokers: string[];
}

export interface GivenPostgres {
  url: string;
  /** The major version. */
  version: number;
  isSuperuser: boolean;
}

declare module "vitest" {
  interface ProvidedContext {
    given: Given;
  }
}

/**
 * Look at the servers that DATABASE_URL and KAFKA_BROKER name. Changes nothing in them.
 *
 * @throws when one cannot be reached, or the database's role may not create databases
 */
export async function readGiven(env: NodeJS.ProcessEnv): Promise<Given> {
  const url = env["DATABASE_URL"];
  const brokers = (env["KAFKA_BROKER"] ?? "").split(",").map((broker) => broker.trim());
  const given = {
    run: randomBytes(4).toString("hex"),
    postgres: url ? await readPostgres(url) : null,
    brokers: brokers.filter(Boolean),
  };
  if (given.brokers.length > 0) await checkKafka(given.brokers);
  return given;
}

async function readPostgres(url: string): Promise<GivenPostgres> {
  return await withSession(url, async (sql) => {
    const [role] = await sql<(Omit<GivenPostgres, "url"> & { name: string; creates: boolean })[]>`
      select current_setting('server_version_num')::int / 10000 as version,
        rolsuper as "isSuperuser", rolname as name, rolcreatedb as creates
      from pg_roles where rolname = current_user`;
    const { version, isSuperuser, name, creates } = role!;
    if (version < POSTGRES_VERSION_MIN) {
      throw new Error(
        `DATABASE_URL names Postgres ${version}; the tests need ${POSTGRES_VERSION_MIN} or newer.`,
      );
    }
    if (!isSuperuser && !creates) {
      throw new Error(
        `DATABASE_URL's role ${name} may not create databases, and each test has one of its own. ` +
          `Run: alter role ${name} createdb; or unset DATABASE_URL.`,
      );
    }
    return { url, version, isSuperuser };
  });
}

async function checkKafka(brokers: string[]): Promise<void> {
  const admin = kafkaClient(brokers).admin();
  try {
    await admin.connect();
  } catch (cause) {
    const text = `KAFKA_BROKER names ${brokers.join(",")}, which cannot be reached`;
    throw new Error(`${text}: ${(cause as Error).message}`, { cause });
  } finally {
    await admin.disconnect();
  }
}

/**
 * Drop what this run has made in the given servers and not dropped itself: topics and consumer
 * groups, and whatever a test that was ended left of databases and roles. All else stays.
 */
export async function removeLeftovers({ run, postgres, brokers }: Given): Promise<void> {
  if (postgres) await withSession(postgres.url, (sql) => dropDatabases(sql, run));
  if (brokers.length > 0) await deleteTopics(brokers, run);
}

async function dropDatabases(sql: Sql, run: string): Promise<void> {
  const databases = await sql<{ name: string }[]>`
    select datname as name from pg_database where strpos(datname, ${run}) > 0`;
  for (const { name } of databases) await sql`drop database ${sql(name)} with (force)`;
  const roles = await sql<{ name: string }[]>`
    select rolname as name from pg_roles where strpos(rolname, ${run}) > 0`;
  for (const { name } of roles) await sql`drop role ${sql(name)}`;
}

async function deleteTopics(brokers: string[], run: string): Promise<void> {
  const admin = kafkaClient(brokers).admin();
  try {
    await admin.connect();
    const topics = (await admin.listTopics()).filter((topic) => topic.includes(run));
    if (topics.length > 0) await admin.deleteTopics({ topics });
    const { groups } = await admin.listGroups();
    const groupIds = groups.map(({ groupId }) => groupId).filter((id) => id.includes(run));
    if (groupIds.length > 0) await admin.deleteGroups(groupIds);
  } finally {
    await admin.disconnect();
  }
}

async function withSession<Result>(
  url: string,
  use: (sql: Sql) => Promise<Result>,
): Promise<Result> {
  const sql = postgres(url, { max: 1, connect_timeout: CONNECT_TIMEOUT_S, onnotice: () => {} });
  try {
    return await use(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}
