import postgres, { type Sql } from "postgres";
import { migrate } from "../functions/core/postgres/migrate.ts";
import { readSchema, type Schema } from "../functions/core/postgres/schema.ts";
import type { LocalPostgres } from "../test/local/postgres.ts";

export const SCHEMA: Schema = readSchema(new URL("../sql/", import.meta.url).pathname);

/** Beside these, Postgres' own defaults: `synchronous_commit` and `full_page_writes` are on. */
export const POSTGRES_SETTINGS = {
  fsync: "on",
  shared_buffers: "512MB",
  max_wal_size: "16GB",
  jit: "off",
};

/** A database of its own, with pg2kafka's schema. */
export interface BenchDatabase {
  name: string;
  url: string;
  /** Several connections, prepared statements, no notices. */
  sql: Sql;
  close(): Promise<void>;
}

/** Create a database and migrate it. It ends with the server. */
export async function createDatabase(
  server: LocalPostgres,
  name: string,
  connectionsMax = 6,
): Promise<BenchDatabase> {
  const admin = postgres(server.url, { max: 1, onnotice: () => {} });
  await admin.unsafe(`create database ${name}`);
  await admin.end();
  const url = server.url.replace(/\/postgres$/, `/${name}`);
  const sql = postgres(url, { max: connectionsMax, fetch_types: false, onnotice: () => {} });
  await migrate(sql, SCHEMA);
  return { name, url, sql, close: () => sql.end({ timeout: 1 }) };
}

/** Do something while another session holds a transaction open that began with `statements`. */
export async function whileHeld<Result>(
  url: string,
  statements: string[],
  work: () => Promise<Result>,
): Promise<Result> {
  const holder = postgres(url, { max: 1, onnotice: () => {} });
  try {
    for (const statement of statements) await holder.unsafe(statement);
    const result = await work();
    await holder.unsafe("rollback");
    return result;
  } finally {
    await holder.end({ timeout: 1 });
  }
}

/** A reader's snapshot, which keeps all dead rows of the database. */
export const READER = ["begin isolation level repeatable read", "select count(*) from pg_class"];
