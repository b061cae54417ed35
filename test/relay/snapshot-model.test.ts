import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import { expect, test } from "vitest";
import { newest, useDatabase } from "../support/database.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { Reader } from "./reader.ts";
import { one, writer } from "./support.ts";

/* Random concurrent transactions on two tables while snapshots of them are begun, made in small
   steps, paused and cancelled, and the drain is killed between any two calls. What a consumer holds
   at the end must be what the table holds: one for each snapshot that was not cancelled, which began
   to listen with it. PG2KAFKA_TEST_SEED repeats the choices of a run. */

const SEED = Number(process.env["PG2KAFKA_TEST_SEED"] ?? Date.now() % 1_000_000_000);
const WRITERS = 5;
const ROWS = 6_000;
const DURATION_MS = 12_000;
const STEPS_MIN = 60;
/** A slow machine goes on until it has done that, but no longer. */
const DURATION_MS_MAX = 80_000;
const SNAPSHOTS_MAX = 6;

const server = useDatabase(newest, { superuser: true });

const TABLES = ["plain", "parted"];

/** No index makes a key unique in all partitions: one writer at a time takes new ones. */
const ALONE = "select pg_advisory_xact_lock(7)";

/** A change to one of the tables. Rows move between pages, and some between partitions. */
function randomStatement(random: Random): string {
  const table = TABLES[random(2)]!;
  const key = random(ROWS) + 1;
  const statements = [
    `update ${table} set v = v + 1 where k = ${key}`,
    `update ${table} set v = v where k between ${key} and ${key + 20}`,
    `update ${table} set pad = repeat('y', ${random(400)}) where k between ${key} and ${key + 5}`,
    `update ${table} set v = v + 1, part = ${random(3)} where k between ${key} and ${key + 10}`,
    `delete from ${table} where k between ${key} and ${key + random(30)}`,
    `${ALONE}; insert into ${table} (k, part) select n, ${random(3)} from generate_series(${key}, ${key + 15}) n
       where not exists (select from ${table} where k = n) on conflict do nothing`,
    `${ALONE}; update ${table} set k = k + ${ROWS} where k = ${key} and part = 0
       and not exists (select from ${table} where k = ${key + ROWS})`,
    `update parted_1 set v = v + 1, part = ${random(2) + 1} where k between ${key} and ${key + 10}`,
  ];
  return statements[random(statements.length)]!;
}

async function randomTransaction(session: Sql, random: Random): Promise<void> {
  try {
    await session.unsafe("begin");
    for (let left = 1 + random(4); left > 0; left--) {
      const isUndone = random(8) === 0;
      if (isUndone) await session.unsafe("savepoint s");
      await session.unsafe(randomStatement(random));
      if (isUndone) await session.unsafe("rollback to s");
      // Some transactions are open while the drain makes steps.
      if (random(6) === 0) await sleep(random(200));
    }
    await session.unsafe(random(6) === 0 ? "rollback" : "commit");
  } catch (error) {
    const { code = "" } = error as { code?: string };
    // Deadlock, lock timeout, two writers who move a row to one key, or one row to two partitions.
    if (!["40P01", "55P03", "23505", "40001"].includes(code)) throw error;
    await session.unsafe("rollback");
  }
}

test(`a fold over what is delivered equals the table, whenever one begins to listen (seed ${SEED})`, async () => {
  const { sql, database } = server;
  await sql.unsafe(`
    create table plain (k int primary key, v int not null default 0, part int not null default 0, pad text);
    create table parted (like plain including defaults) partition by list (part);
    create table parted_0 partition of parted for values in (0);
    create table parted_1 partition of parted for values in (1, 2) partition by list (part);
    create table parted_11 partition of parted_1 for values in (1);
    create table parted_12 partition of parted_1 for values in (2);
    create unique index on parted (k, part);
    insert into plain select n, 0, n % 3, repeat('x', 60) from generate_series(1, ${ROWS}) n;
    insert into parted select * from plain;
    select pg2kafka.setup('plain', 'k'), pg2kafka.setup('parted', 'k')`);

  const reader = await Reader.open(database);
  /** Table and number of events delivered when each snapshot began. */
  const begun = new Map<number, { table: string; from: number }>([
    [1, { table: "plain", from: 0 }],
    [2, { table: "parted", from: 0 }],
  ]);
  let steps = 0;
  let kills = 0;
  let transactions = 0;
  const startMs = performance.now();
  const isEnough = () => {
    const durationMs = performance.now() - startMs;
    return durationMs > (steps < STEPS_MIN ? DURATION_MS_MAX : DURATION_MS);
  };

  const writers = Array.from({ length: WRITERS }, async (_, index) => {
    const random = randomFrom(SEED + index);
    const session = writer(database);
    await session.unsafe("set lock_timeout = '400ms'; set deadlock_timeout = '50ms'");
    while (!isEnough()) {
      await randomTransaction(session, random);
      transactions += 1;
    }
  });
  const random = randomFrom(SEED - 1);
  const begin = async () => {
    const table = TABLES[random(2)]!;
    const from = reader.events.length;
    // The table may be held for longer than the request tries: then there is none.
    const [row] = await sql<{ id: number }[]>`select pg2kafka.snapshot(${table}) as id`.catch(
      () => [],
    );
    if (row) begun.set(row.id, { table, from });
  };
  const change = async () => {
    const id = 1 + random(begun.size);
    const isPaused = random(3) > 0;
    const [row] = await sql`select state from pg2kafka.snapshots where id = ${id}`;
    if (row?.["state"] === "running" && random(2) === 0)
      await sql`select pg2kafka.pause_snapshot(${id})`;
    else if (row?.["state"] === "paused" && isPaused)
      await sql`select pg2kafka.resume_snapshot(${id})`;
    // The first two are finished in any case.
    else if (row?.["state"] === "paused" && id > 2)
      await sql`select pg2kafka.cancel_snapshot(${id})`;
  };
  const drain = async () => {
    while (!isEnough()) {
      const choice = random(20);
      if (choice === 0 && begun.size < SNAPSHOTS_MAX) await begin();
      else if (choice === 1) await change();
      else if (choice === 2) await sql.unsafe(`vacuum ${TABLES[random(2)]}`);
      else if (choice === 3) await sql`select pg2kafka.refresh_captures()`;
      else if (choice === 4) {
        await reader.takeOver();
        kills += 1;
      } else if (choice < 12 && reader.isBetween) {
        await reader.step({ rowsMax: 1 + random(400), bytesMax: 1_000 + random(100_000) });
        steps += 1;
      } else await reader.deliver(1 + random(300), choice === 12);
    }
  };
  const draining = drain();
  await Promise.race([Promise.all(writers), draining]);
  await Promise.all([...writers, draining]);
  for (const id of begun.keys()) await sql`select pg2kafka.resume_snapshot(${id})`.catch(() => {});
  await reader.finish();

  let finished = 0;
  for (const [id, { table, from }] of begun) {
    const { state } = await one<{ state: string }>(
      sql,
      `select state from pg2kafka.snapshots where id = ${id}`,
    );
    if (state === "cancelled") continue;
    expect(state).toBe("finished");
    await reader.expectFold(table, "k", from);
    finished += 1;
  }
  expect(steps).toBeGreaterThanOrEqual(STEPS_MIN);
  expect(finished).toBeGreaterThanOrEqual(2);
  console.log(
    `seed ${SEED}: ${transactions} transactions, ${reader.events.length} events, ${steps} steps of ` +
      `${begun.size} snapshots, ${finished} finished, ${kills} kills`,
  );
}, 240_000);
