import { setTimeout as sleep } from "node:timers/promises";
import type { Sql, TransactionSql } from "postgres";
import { MigrationError } from "../errors.ts";
import { readCommitted } from "./database.ts";
import type { Schema, SqlFile } from "./schema.ts";

/** The oldest Postgres that has all that sql/ uses: `xid8` and `pg_snapshot` came with 13. */
const POSTGRES_VERSION_MIN = 13;

/** That of JSON and of Kafka's keys: no other can be had in it whatever was written. */
const ENCODING = "UTF8";

/** Below Postgres' `deadlock_timeout` of 1 s: a migration steps back before it makes others wait. */
const LOCK_TIMEOUT_MS = 800;
const LOCK_TRIES_MAX = 20;
const LOCK_PAUSE_MS = 250;

export interface MigrateReport {
  version: string;
  /** Names, in order. */
  migrations: string[];
  functions: string[];
  /** Tables taken over from the Go service. */
  adopted: string[];
}

/**
 * Install or upgrade the schema: each migration in a transaction of its own, the last one with
 * all changed functions, so that triggers never run the old ones on new tables; then each table
 * that a Go pg2kafka left behind. Several at once queue up; running again changes nothing.
 *
 * @throws {MigrationError} when the server is too old, the database not UTF8, or an applied migration was edited
 */
export async function migrate(sql: Sql, schema: Schema): Promise<MigrateReport> {
  await checkServer(sql);
  await inTransaction(sql, prepare);

  const migrations: string[] = [];
  for (const migration of schema.migrations.slice(0, -1)) {
    if (await inTransaction(sql, (tx) => applyMigration(tx, migration))) {
      migrations.push(migration.name);
    }
  }
  const functions = await inTransaction(sql, async (tx) => {
    const last = schema.migrations.at(-1);
    if (last && (await applyMigration(tx, last))) migrations.push(last.name);
    return await applyFunctions(tx, schema);
  });
  const adopted: string[] = [];
  for (const { id, name } of await sql<{ id: number; name: string }[]>`
    select id, relation::text as name from pg2kafka.external_id_relations
    where columns is null and relation::oid in (select oid from pg_catalog.pg_class) order by id`) {
    await inTransaction(sql, (tx) => tx`select pg2kafka.adopt_table(${id})`);
    adopted.push(name);
  }
  return { version: schema.version, migrations, functions, adopted };
}

async function checkServer(sql: Sql): Promise<void> {
  const [{ number, name, encoding } = { number: 0, name: "", encoding: "" }] = await sql<
    { number: number; name: string; encoding: string }[]
  >`
    select current_setting('server_version_num')::int as number,
      current_setting('server_version') as name,
      current_setting('server_encoding') as encoding`;
  if (number < POSTGRES_VERSION_MIN * 10_000) {
    throw new MigrationError(
      `This is Postgres ${name}; pg2kafka needs ${POSTGRES_VERSION_MIN} or newer. Nothing was changed.`,
      { code: "POSTGRES_TOO_OLD" },
    );
  }
  if (encoding !== ENCODING) {
    throw new MigrationError(
      `The database has the encoding ${encoding}; pg2kafka needs ${ENCODING}. A single value that ` +
        `has no ${ENCODING} would hold up all events. Nothing was changed.`,
      { code: "ENCODING_UNSUPPORTED" },
    );
  }
}

async function prepare(tx: TransactionSql): Promise<void> {
  await tx`create schema if not exists pg2kafka`;
  await tx`
    create table if not exists pg2kafka.migrations (
      name text primary key,
      checksum text not null,
      applied_at timestamptz not null default now()
    )`;
  await tx`
    create table if not exists pg2kafka.functions (
      name text primary key,
      checksum text not null,
      applied_at timestamptz not null default now()
    )`;
}

/** @returns whether it was applied now; false when it had been before */
async function applyMigration(tx: TransactionSql, migration: SqlFile): Promise<boolean> {
  const [applied] = await tx<{ checksum: string }[]>`
    select checksum from pg2kafka.migrations where name = ${migration.name}`;
  if (applied && applied.checksum !== migration.checksum) {
    throw new MigrationError(
      `Migration ${migration.name} was edited after it was applied. Restore its text; ` +
        "changes go into a new migration. Nothing was changed.",
      { code: "MIGRATION_EDITED" },
    );
  }
  if (applied) return false;
  await tx.unsafe(migration.text).simple();
  await tx`insert into pg2kafka.migrations ${tx({ name: migration.name, checksum: migration.checksum })}`;
  return true;
}

/** @returns the names of the functions whose text was new */
async function applyFunctions(tx: TransactionSql, schema: Schema): Promise<string[]> {
  const applied = await tx<{ name: string; checksum: string }[]>`
    select name, checksum from pg2kafka.functions`;
  const checksums = new Map(applied.map(({ name, checksum }) => [name, checksum]));
  const changed = schema.functions.filter(({ name, checksum }) => checksums.get(name) !== checksum);
  // Their order in the folder is not the order in which they call each other.
  if (changed.length > 0) await tx`select set_config('check_function_bodies', 'off', true)`;
  for (const { name, text, checksum } of changed) {
    await tx.unsafe(text).simple();
    await tx`
      insert into pg2kafka.functions ${tx({ name, checksum })}
      on conflict (name) do update set checksum = excluded.checksum, applied_at = now()`;
  }
  if (changed.length > 0) {
    await tx`revoke execute on all functions in schema pg2kafka from public`;
    await tx`select pg2kafka.refresh_captures(true)`;
  }
  await tx`
    update pg2kafka.control set schema_version = ${schema.version}
    where schema_version is distinct from ${schema.version}`;
  return changed.map(({ name }) => name);
}

/** One migrator at a time, and none that makes the application wait for long: it tries again. */
async function inTransaction<Result>(
  sql: Sql,
  work: (tx: TransactionSql) => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await readCommitted(sql, async (tx) => {
        // A wait for a lock is no idleness: another migrator is waited for however long it takes.
        await tx`select pg_advisory_xact_lock(hashtext('pg2kafka.migrate'))`;
        await tx`select set_config('lock_timeout', ${`${LOCK_TIMEOUT_MS}ms`}, true)`;
        return await work(tx);
      });
    } catch (cause) {
      if (!isLockRefused(cause)) throw cause;
      if (attempt === LOCK_TRIES_MAX) {
        throw new MigrationError(
          `A lock was not to be had in ${LOCK_TRIES_MAX} tries of ${LOCK_TIMEOUT_MS} ms: ` +
            `${(cause as Error).message}. What was done before stays; run the migration again.`,
          { code: "LOCK_TIMEOUT", cause },
        );
      }
    }
    await sleep(LOCK_PAUSE_MS);
  }
}

/** lock_not_available, deadlock_detected */
function isLockRefused(error: unknown): boolean {
  return ["55P03", "40P01"].includes((error as { code?: string }).code ?? "");
}
