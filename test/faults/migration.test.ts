import { readFileSync } from "node:fs";
import type { Sql } from "postgres";
import { expect, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { startCommand } from "../relay/command.ts";
import { one } from "../relay/support.ts";
import { schema, type TestDatabase, useDatabase } from "../support/database.ts";
import { dumpSchema } from "../support/schema-dump.ts";
import { Gate } from "./gate.ts";
import { report } from "./report.ts";
import { ofSize } from "./size.ts";

/** Killed at each so-manieth of what the migration sends. */
const EVERY = ofSize({ short: 120, long: 1 });
/** It sends less. */
const SENT_MAX = 1_000;

const goService = readFileSync(new URL("../support/go-service.sql", import.meta.url), "utf8");
const server = useDatabase();

/** The database of a Go pg2kafka with a table that it tracks. */
async function createInstallation(): Promise<TestDatabase> {
  const database = await server.createDatabase("empty");
  await database.sql.unsafe(goService);
  await database.sql.unsafe(`
    create table users (id int primary key, n int default 0);
    insert into users values (1);
    select pg2kafka.setup('users', 'id')`);
  return database;
}

test("a migration is killed at its statements, one after the other: the next completes it, and no write is lost", async () => {
  const whole = await createInstallation();
  await migrate(whole.sql, schema);
  const { sql, url: plainUrl } = await createInstallation();
  const gate = await Gate.start(new URL(plainUrl).host);
  const url = new URL(plainUrl);
  url.host = `127.0.0.1:${gate.port}`;
  let kills = 0;
  for (let nth = 1; nth < SENT_MAX; nth += EVERY) {
    // In turns before Postgres has it, and after Postgres has answered.
    const place = kills % 2 === 0 ? "asked" : "answered";
    const reached = gate.stopAt({ isRequest: () => true, place, nth });
    const migration = startCommand("migrate", { DATABASE_URL: url.href });
    if (await Promise.race([reached, migration.finished])) break;
    migration.kill("SIGKILL");
    await migration.finished;
    gate.drop();
    await sql`update users set n = n + 1`;
    kills += 1;
  }
  gate.open();
  await migrate(sql, schema);
  await gate.close();
  await sql`update users set n = n + 1`;
  // Each write makes one, the Go service's trigger or ours; the insert was the first.
  const made = 1 + kills + 1;
  const { count } = await one<{ count: number }>(
    sql,
    "select count(*)::int from pg2kafka.outbound_event_queue",
  );
  report({ tried: kills, events: made, lost: Math.max(0, made - count) });
  expect(kills).toBeGreaterThan(1);
  expect(count).toBe(made);
  expect(await dump(sql)).toBe(await dump(whole.sql));
});

/** Without the text of the function compiled for the table, which has its oid. */
async function dump(sql: Sql): Promise<string> {
  return (await dumpSchema(sql)).replace(
    /^(function enqueue_event_1(?:_[a-z]+)?\(.*); md5 \w+$/gm,
    "$1",
  );
}
