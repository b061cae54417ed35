import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { pidOf, useDatabase, versions } from "../support/database.ts";
import { expectFold } from "../support/events.ts";
import { Reader } from "./reader.ts";
import { expireLeases, one, writer } from "./support.ts";

/** More than setup() takes at once. */
const MANY = 6_000;

interface SnapshotRow {
  id: number;
  state: string;
  rows: string;
  blocks_done: string;
  blocks: string;
  error: string | null;
}

async function snapshotsOf(sql: Sql): Promise<SnapshotRow[]> {
  return await sql<SnapshotRow[]>`
    select id, state, rows, blocks_done, blocks, error from pg2kafka.snapshots order by id`;
}

async function statesOf(sql: Sql): Promise<string[]> {
  return (await snapshotsOf(sql)).map(({ state }) => state);
}

/** A table `t` of many rows, most of a page each third of them. */
async function createMany(sql: Sql, rows = MANY): Promise<void> {
  await sql.unsafe(`
    create table t (id int primary key, v int not null default 0, pad text) with (autovacuum_enabled = off);
    insert into t select n, 0, repeat('x', 100) from generate_series(1, ${rows}) n`);
}

async function blockOf(sql: Sql, id: number): Promise<number> {
  const { block } = await one<{ block: number }>(
    sql,
    `select (ctid::text::point)[0]::int as block from t where id = ${id}`,
  );
  return block;
}

describe.each(versions)("a snapshot in steps on Postgres %i", (version) => {
  const server = useDatabase(version, { superuser: true });

  test("setup() of a large table returns with nothing read, and says so; the drain makes the rest", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    expect(database.notices.map(({ message }) => message)).toEqual([
      expect.stringContaining("select * from pg2kafka.snapshots where id = 1"),
    ]);
    expect(await sql`select from pg2kafka.outbound_event_queue`).toHaveLength(0);
    expect(await snapshotsOf(sql)).toMatchObject([{ state: "running", rows: "0" }]);
    const reader = await Reader.open(database);
    await reader.finish();
    expect(reader.countOf("SNAPSHOT")).toBe(MANY);
    await reader.expectFold("t", "id");
    const [snapshot] = await snapshotsOf(sql);
    expect(snapshot).toMatchObject({ state: "finished", rows: String(MANY), error: null });
    expect(snapshot!.blocks_done).toBe(snapshot!.blocks);
    expect(await sql`select from pg2kafka.snapshot_scans`).toHaveLength(0);
  });

  test("UPDATE events carry the whole row until it has ended, also where nothing changed", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const update = () => sql`update t set v = 0 where id in (7, 8)`;
    await update();
    await sql`update t set v = 1 where id = 9`;
    const reader = await Reader.open(database);
    await reader.finish();
    const whole = { v: "0", pad: "x".repeat(100) };
    expect(reader.events.slice(0, 3).map(({ data }) => data)).toEqual([
      { id: "7", ...whole },
      { id: "8", ...whole },
      { id: "9", ...whole, v: "1" },
    ]);
    await sql`select pg2kafka.refresh_captures()`;
    const from = reader.events.length;
    await update();
    await sql`update t set v = 2 where id = 9`;
    await reader.deliver();
    expect(reader.events.slice(from).map(({ data }) => data)).toEqual([{ v: "2" }]);
    await reader.expectFold("t", "id");
  });

  test("a step that is not committed locks no row", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const step = writer(database);
    await step`begin`;
    const [made] = await step`select * from pg2kafka.snapshot_step(0, 1, 1000, 10000000)`;
    expect(Number(made!["rows"])).toBeGreaterThan(0);
    const application = database.connect({ connection: { lock_timeout: 1 } });
    await application`select from t for update nowait`;
    await application`update t set v = v + 1`;
    await application`delete from t where id < 2000`;
    await application`vacuum t`;
    await step`rollback`;
  });

  test("a row that an UPDATE moves behind the scan is not lost", async () => {
    const { sql, database } = server;
    await createMany(sql);
    // The last page is full: VACUUM gives back those behind it, where they are a sixteenth.
    await sql`delete from t where (ctid::text::point)[0] > 93`;
    await sql`vacuum t`;
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    await reader.step({ rowsMax: 1_000 });
    await reader.deliverSpan();
    await sql`delete from t where id < 50`;
    await sql`vacuum t`;
    const { id } = await one<{ id: number }>(sql, "select max(id) as id from t");
    const before = await blockOf(sql, id);
    await sql`update t set v = v where id = ${id}`;
    expect(before).toBe(93);
    expect(await blockOf(sql, id)).toBe(0);
    await reader.finish();
    await reader.expectFold("t", "id");
  });

  test("what is deleted, inserted and changed in its midst is as the table has it at the end", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    const [open, undone] = [writer(database), writer(database)];
    await reader.step({ rowsMax: 2_000 });
    await reader.deliverSpan();
    await open.unsafe(
      "begin; update t set v = 1 where id in (10, 5000); delete from t where id in (11, 5001)",
    );
    await undone.unsafe("begin; update t set v = 9 where id = 5002; delete from t where id = 5003");
    await sql.unsafe(`
      insert into t values (100001, 0, 'new');
      delete from t where id in (12, 5004);
      update t set id = 100000 + id where id in (13, 5005)`);
    await reader.step({ rowsMax: 3_500 });
    await open.unsafe("commit");
    await undone.unsafe("rollback");
    await reader.finish();
    await reader.expectFold("t", "id");
  });

  test("it goes on where it was, whichever step the drain was killed at", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    let steps = 0;
    for (let rows: number | null = 0; rows !== null; ) {
      rows = await reader.step({ rowsMax: 700 });
      steps += 1;
      await sql`update t set v = v + 1 where id % 500 = ${steps}`;
      // Before the first batch, after one that was not settled, and in mid-span.
      await reader.takeOver();
      await reader.deliver(200, true);
      await reader.deliver(200);
      await reader.takeOver();
      while (await reader.deliver(200));
    }
    expect(steps).toBeGreaterThan(9);
    await reader.expectFold("t", "id");
    expect(await statesOf(sql)).toEqual(["finished"]);
  });

  test("a step that is rolled back is made again", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    const killed = writer(database);
    const pid = await pidOf(killed);
    await killed.unsafe("begin; select * from pg2kafka.snapshot_step(0, 1, 1000, 1000000)");
    await sql`select pg_terminate_backend(${pid})`;
    await reader.finish();
    expect(reader.countOf("SNAPSHOT")).toBe(MANY);
    await reader.expectFold("t", "id");
  });

  test("of two drains that make the same step, the stale one changes nothing", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const stale = await Reader.open(database);
    await expireLeases(sql);
    const reader = await Reader.open(database);
    await reader.step({ rowsMax: 500 });
    await expect(stale.step({ rowsMax: 500 })).rejects.toMatchObject({ code: "LEASE_LOST" });
    await reader.finish();
    expect(reader.countOf("SNAPSHOT")).toBe(MANY);
    await reader.expectFold("t", "id");
  });

  test.each([
    ["VACUUM FULL", "vacuum full t"],
    ["CLUSTER", "cluster t using t_pkey"],
    ["ALTER TABLE", "alter table t alter v type bigint"],
    [
      "TRUNCATE, and new rows",
      "truncate t; insert into t select n, 1, 'new' from generate_series(1, 300) n",
    ],
  ])("%s in its midst: the table is read from its beginning again", async (_, text) => {
    const { sql, database } = server;
    await createMany(sql);
    // VACUUM FULL puts what is at the end where the scan has been.
    await sql`delete from t where id between 101 and 900`;
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    await reader.step({ rowsMax: 1_500 });
    await reader.step({ rowsMax: 1_500 });
    await sql.unsafe(text);
    await sql`update t set v = 5 where id = 2`;
    await reader.finish();
    await reader.expectFold("t", "id");
    expect(await statesOf(sql)).toEqual(["finished"]);
  });

  test("a table that is being altered is left for later, and live events go on", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql.unsafe(`
      create table other (id int primary key);
      select pg2kafka.setup('t', 'id'), pg2kafka.setup('other', 'id')`);
    const reader = await Reader.open(database);
    const owner = writer(database);
    await owner.unsafe("begin; lock table t in access exclusive mode");
    expect(await reader.step()).toBeNull();
    await sql`insert into other values (1)`;
    await reader.deliver();
    await reader.expectFold("other", "id");
    expect(await statesOf(sql)).toEqual(["running"]);
    await owner.unsafe("commit");
    await reader.finish();
    await reader.expectFold("t", "id");
  });

  test.each([
    [
      "without a primary key, an index or statistics",
      `create table t (k text, v int); insert into t select 'k' || n, n from generate_series(1, ${MANY}) n`,
      "k",
    ],
    [
      "with odd names",
      `create table t (k int primary key, v int, "n" int, "%s" text, "ctid." text, "it's $1" text);
       insert into t select n, 0, n, '%I', 'x', 'y' from generate_series(1, ${MANY}) n;
       alter table t rename to "%s $2";
       create view t as select * from "%s $2"`,
      "k",
    ],
    [
      "with a key of two columns",
      `create table t (a int, b int, k text generated always as (a || '-' || b) stored, v int default 0, primary key (a, b));
       insert into t (a, b) select n / 10, n % 10 from generate_series(1, ${MANY}) n`,
      "k",
    ],
    [
      "of a hundred columns",
      `create table t (k int primary key, v int, ${Array.from({ length: 98 }, (_, n) => `"c ${n}" text default 'text ${n}'`).join(", ")});
       insert into t select n, 0 from generate_series(1, ${MANY}) n`,
      "k",
    ],
    [
      "of partitions, one of them in partitions, with columns in another order",
      `create table t (k int, v int, pad text default 'p') partition by range (k);
       create table t_1 partition of t for values from (0) to (2000);
       create table t_2 (pad text, gone int, v int, k int);
       alter table t_2 drop gone;
       alter table t attach partition t_2 for values from (2000) to (4000);
       create table t_3 partition of t for values from (4000) to (1000000) partition by list (v);
       create table t_31 partition of t_3 for values in (0, 1);
       create table t_32 partition of t_3 default;
       insert into t select n, n % 3 from generate_series(1, ${MANY}) n`,
      "k",
    ],
    [
      "with inheritance children",
      `create table t (k int, v int);
       create table t_child (own text default 'own') inherits (t);
       insert into t select n, 0 from generate_series(1, 3500) n;
       insert into t_child select n, 0 from generate_series(3501, ${MANY}) n`,
      null,
    ],
    [
      "with large values, of which few make a step",
      `create table t (k int primary key, v int default 0, pad text);
       alter table t alter pad set storage external;
       insert into t select n, 0, repeat(md5(n::text), 3000) from generate_series(1, 60) n`,
      "k",
    ],
  ])("a table %s", async (_, text, keyColumn) => {
    const { sql, database } = server;
    await sql.unsafe(text);
    const name = text.includes('rename to "%s $2"') ? "%s $2" : "t";
    await sql.unsafe(`select pg2kafka.setup('"${name}"', 'k')`);
    const reader = await Reader.open(database);
    const limits = { rowsMax: 900, bytesMax: 500_000 };
    await reader.step(limits);
    await reader.deliverSpan();
    await reader.step(limits);
    await sql.unsafe(
      `update t set v = v + 1 where k::text ~ '7$'; delete from t where k::text ~ '3$'`,
    );
    await reader.finish(limits);
    if (keyColumn) await reader.expectFold("t", keyColumn, 0, name);
    else {
      // As the parent shows them, without the child's own column.
      const events = reader.events.map(({ data, ...event }) => {
        const { own, ...common } = data!;
        if (event.statement === "SNAPSHOT") {
          expect(own).toBe(Number(event.external_id) > 3500 ? "own" : undefined);
        }
        return { ...event, data: common };
      });
      await expectFold(events, sql, "t", "k");
    }
    expect(await statesOf(sql)).toEqual(["finished"]);
    expect(reader.events.every(({ table_name }) => table_name === name)).toBe(true);
  });

  test("rows that move between partitions, and a partition that is dropped", async () => {
    const { sql, database } = server;
    await sql.unsafe(`
      create table t (k int, v int) partition by list (v);
      create table t_0 partition of t for values in (0);
      create table t_1 partition of t for values in (1);
      create table t_2 partition of t for values in (2);
      create table t_3 partition of t for values in (3);
      insert into t select n, n % 4 from generate_series(1, ${MANY}) n;
      select pg2kafka.setup('t', 'k')`);
    const reader = await Reader.open(database);
    await reader.step({ rowsMax: 2_000 });
    await reader.step({ rowsMax: 2_000 });
    await sql`update t set v = 0 where k % 40 = 3`;
    await sql`update t_0 set v = 3 where k % 80 = 4`.catch(() => {});
    await sql`update t set v = 3 where k % 40 = 4`;
    await sql`delete from t_2`;
    await sql`drop table t_2`;
    await reader.finish({ rowsMax: 700 });
    await reader.expectFold("t", "k");
    expect(await statesOf(sql)).toEqual(["finished"]);
  });

  test("two of one table and one of another at once; who begins to listen then has all", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql.unsafe(`
      create table u as select * from t;
      select pg2kafka.setup('t', 'id'), pg2kafka.setup('u', 'id')`);
    const reader = await Reader.open(database);
    for (let steps = 0; steps < 5; steps++) {
      await reader.step({ rowsMax: 1_000 });
      await reader.deliverSpan();
    }
    const from = reader.events.length;
    await sql`select pg2kafka.snapshot('t')`;
    await sql`update t set v = 1 where id % 100 = 1`;
    await sql`update u set v = 1 where id % 100 = 1`;
    await reader.finish({ rowsMax: 1_000 });
    await reader.expectFold("t", "id");
    await reader.expectFold("t", "id", from);
    await reader.expectFold("u", "id");
    expect(await statesOf(sql)).toEqual(["finished", "finished", "finished"]);
  });

  test("while its topic is missing it waits, after one small step", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    expect(await reader.step()).toBe(100);
    await reader.deliverSpan();
    await sql`
      insert into pg2kafka.parked_events
        (id, uuid, table_schema, table_name, statement, created_at, topic, scope, code, reason, retriable)
      values (1, gen_random_uuid(), 'public', 't', 'SNAPSHOT', now(), 'x', 'topic', 'TOPIC_MISSING', '', true)`;
    expect(await reader.step()).toBeNull();
    await sql`delete from pg2kafka.parked_events`;
    expect(await reader.step()).toBeGreaterThan(100);
  });

  test("two lanes share it, and go on with it when there is one, and two again", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const readers = [
      await Reader.open(database, { lane: 0, lanes: 2 }),
      await Reader.open(database, { lane: 1, lanes: 2 }),
    ];
    for (const reader of readers) {
      await reader.step();
      await reader.deliverSpan();
    }
    // Drawn before the steps, committed after them: one order by id would put the rows behind.
    const open = writer(database);
    await open.unsafe("begin; update t set v = 1 where id between 500 and 900");
    for (const reader of readers) await reader.step({ rowsMax: 1_000 });
    await open.unsafe("commit");
    for (const reader of readers) await reader.close();

    const alone = await Reader.open(database);
    await alone.deliverSpan();
    await alone.step({ rowsMax: 1_500 });
    await sql`update t set v = 2 where id between 1000 and 1100`;
    await alone.deliverSpan();
    await alone.close();
    const again = [
      await Reader.open(database, { lane: 0, lanes: 2 }),
      await Reader.open(database, { lane: 1, lanes: 2 }),
    ];
    for (const reader of again) await reader.finish();
    expect(await statesOf(sql)).toEqual(["finished"]);
    await expectFold(
      [...readers, alone, ...again].flatMap(({ events }) => events),
      sql,
      "t",
      "id",
    );
  });

  test("one that cannot begin again after a restore fails by itself, and all else goes on", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql.unsafe(`
      create table parted (id int) partition by range (id);
      create table parted_1 partition of parted for values from (0) to (10000);
      insert into parted select generate_series(1, ${MANY});
      create foreign data wrapper nothing;
      create server nowhere foreign data wrapper nothing;
      select pg2kafka.setup('parted', 'id');`);
    const reader = await Reader.open(database);
    await reader.finish();
    await sql.unsafe(`
      select pg2kafka.snapshot('parted');
      create foreign table parted_2 partition of parted for values from (10000) to (20000) server nowhere;
      update pg2kafka.drain_log set system_identifier = 1;
      select pg2kafka.setup('t', 'id');`);
    await reader.takeOver();
    await reader.finish();
    await reader.expectFold("t", "id");
    expect(await statesOf(sql)).toEqual(["finished", "failed", "finished"]);
  });

  test("after a restore into another cluster it begins again", async () => {
    const { sql, database } = server;
    await createMany(sql);
    await sql`select pg2kafka.setup('t', 'id')`;
    const reader = await Reader.open(database);
    const open = writer(database);
    await open.unsafe("begin; update t set v = 1 where id between 50 and 90");
    await reader.step();
    await open.unsafe("commit");
    await sql`update pg2kafka.drain_log set system_identifier = system_identifier + 1`;
    await reader.takeOver();
    await reader.finish();
    await reader.expectFold("t", "id");
    // What the first step made is not sent: by its ids it would come too late.
    expect(reader.countOf("SNAPSHOT")).toBe(MANY);
    expect(await statesOf(sql)).toEqual(["finished"]);
  });
});
