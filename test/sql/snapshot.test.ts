import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { Reader } from "../relay/reader.ts";
import { pidOf, useDatabase, versions, waitUntilBlocked } from "../support/database.ts";
import { readBriefly } from "../support/events.ts";

/** More than setup() takes at once. */
const MANY = 6_000;

async function createTracked(sql: Sql, rows = MANY): Promise<void> {
  await sql.unsafe(`
    create type mood as enum ('fine', 'bad');
    create table items (id int primary key, a text, n numeric, m mood default 'fine', at timestamptz);
    insert into items select k, 'a' || k % 10, k, case when k % 2 = 0 then 'bad'::mood else 'fine' end,
      '2026-01-01'::timestamptz + k * interval '1 hour' from generate_series(1, ${rows}) k;
    select pg2kafka.setup('items', 'id')`);
}

/** The keys of the SNAPSHOT events that a snapshot makes, in order. */
async function snapshotKeys(reader: Reader): Promise<(string | null)[]> {
  const from = reader.events.length;
  await reader.finish();
  return reader.events.slice(from).map(({ external_id }) => external_id);
}

describe.each(versions)("pg2kafka.snapshot() on Postgres %i", (version) => {
  const pg = useDatabase(version, { superuser: true });

  const states = async () =>
    (await pg.sql<{ state: string }[]>`select state from pg2kafka.snapshots order by id`).map(
      ({ state }) => state,
    );
  const isWhole = async () =>
    (await pg.sql`select whole_updates from pg2kafka.external_id_relations`)[0]!["whole_updates"];

  test("a small table's events are there when setup() returns, and no snapshot is under way", async () => {
    await createTracked(pg.sql, 1_000);
    expect(await readBriefly(pg.sql)).toHaveLength(1_000);
    expect(await states()).toEqual([]);
    expect(await isWhole()).toBe(false);
  });

  test("a table with few rows and many bytes is left to the drain", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table wide (id int primary key, pad text);
      alter table wide alter pad set storage external;
      insert into wide select n, repeat('x', 100000) from generate_series(1, 100) n;
      select pg2kafka.setup('wide', 'id')`);
    expect(await readBriefly(sql)).toEqual([]);
    expect(await states()).toEqual(["running"]);
  });

  test("sends the table again: whole, by a condition, for given keys, for both", async () => {
    const { sql, database } = pg;
    await createTracked(sql, 100);
    const reader = await Reader.open(database);
    const send = async (...args: [string | null, string[] | null]) => {
      await sql`select pg2kafka.snapshot('items', ${args[0]}, ${args[1]})`;
      return await snapshotKeys(reader);
    };
    await reader.finish();
    expect(await send(null, null)).toHaveLength(100);
    expect(await send("id between 5 and 7", null)).toEqual(["5", "6", "7"]);
    expect(await send("a = 'a3' and n > 80 or id = 1 -- and so on", null)).toEqual([
      "1",
      "83",
      "93",
    ]);
    expect(await send(null, ["9", "11", "none", "11"])).toEqual(["9", "11"]);
    expect(await send("id < 10", ["9", "11"])).toEqual(["9"]);
    expect(await send(null, [])).toEqual([]);
    expect(
      await sql`select condition, keys, rows::int from pg2kafka.snapshots where id in (2, 5)`,
    ).toEqual([
      { condition: "((id >= 5) AND (id <= 7))", keys: null, rows: 3 },
      { condition: "(id < 10)", keys: 2, rows: 1 },
    ]);
  });

  test.each([
    [
      "an enum, a time, a pattern",
      "m = 'bad' and at >= '2026-01-04 00:00+00' and a ~ '^a[0-4]$'",
      9,
    ],
    ["a list, a cast, a call", "id in (1, 2) and n::int = 1 and coalesce(a, '') <> ''", 1],
    ["a string with a quote and a parenthesis", "a <> 'it''s (' and id = 1", 1],
    ["nothing that holds", "false", 0],
  ])("a condition may have %s", async (_, condition, count) => {
    const { sql, database } = pg;
    await createTracked(sql, 100);
    const reader = await Reader.open(database);
    await reader.finish();
    await sql`select pg2kafka.snapshot('items', ${condition})`;
    expect(await snapshotKeys(reader)).toHaveLength(count);
  });

  test.each([
    ["a second statement", "true); drop table items; --"],
    ["a second expression", "true) with check (true"],
    ["more than is one expression", "true) or (true))"],
    ["a comment that is not ended", "true /*"],
    ["another table", "id in (select n from secrets)"],
    ["another table by a function", "secret() > 0"],
    ["a function of its own that says it is immutable", "fixed(id)"],
    ["an operator of its own", "id === 1"],
    ["a type of its own", "id::positive > 0"],
    ["an array of them, made as it is parsed", "'{1}'::positive[] is not null"],
    ["what changes", "at < now()"],
    ["a file", "pg_read_file('/etc/hostname') <> ''"],
    ["a query as text", "query_to_xml('select 1', true, true, '')::text <> ''"],
    ["no boolean", "id"],
    ["an aggregate", "count(*) > 1"],
    ["a column that is not there", "gone = 1"],
    ["nothing", ""],
  ])("a condition with %s is refused, runs nothing and leaves nothing", async (_, condition) => {
    const { sql } = pg;
    await createTracked(sql, 10);
    await sql.unsafe(
      `
      create table secrets (n int);
      create table ran (n int);
      create function secret() returns int language sql stable as 'select n from secrets';
      create function fixed(int) returns boolean language plpgsql immutable as $$ begin insert into ran values (1); return true; end $$;
      create operator === (procedure = int4eq_of_mine, leftarg = int, rightarg = int)`.replace(
        "create operator",
        "create function int4eq_of_mine(int, int) returns boolean language sql immutable as 'select $1 = $2'; create operator",
      ),
    );
    await sql.unsafe("create domain positive as int check (fixed(value))");
    const qualified = condition
      .replace(/secrets|secret\(|fixed|positive/g, "public.$&")
      .replace("===", "operator(public.===)");
    await expect(sql`select pg2kafka.snapshot('items', ${qualified})`).rejects.toMatchObject({
      message: expect.stringContaining("pg2kafka: the condition"),
      hint: expect.any(String),
    });
    expect(await sql`select from ran`).toHaveLength(0);
    expect(await states()).toEqual([]);
    expect(
      await sql`select from pg_class where relnamespace = 'pg2kafka'::regnamespace and relname like 'condition%'`,
    ).toHaveLength(0);
  });

  test("is refused for a table that is not tracked or not the caller's, and for too many keys", async () => {
    const { sql, database } = pg;
    await createTracked(sql, 10);
    await sql`create table untracked (id int)`;
    await expect(sql`select pg2kafka.snapshot('untracked')`).rejects.toMatchObject({
      code: "42704",
    });
    const keys = Array.from({ length: 10_001 }, (_, n) => String(n));
    await expect(sql`select pg2kafka.snapshot('items', null, ${keys})`).rejects.toMatchObject({
      code: "54000",
      message: expect.stringContaining("10001 keys were given; at most 10000"),
    });
    await sql.unsafe(`
      create role "op_${database.name}";
      select pg2kafka.grant_operator('"op_${database.name}"');
      select pg2kafka.snapshot('items')`);
    await sql.unsafe(`set role "op_${database.name}"`);
    await expect(sql`select pg2kafka.snapshot('items')`).rejects.toMatchObject({ code: "42501" });
    await expect(sql`select pg2kafka.cancel_snapshot(1)`).rejects.toMatchObject({ code: "42501" });
    expect(await states()).toEqual(["running"]);
    await sql.unsafe(`reset role; drop owned by "op_${database.name}"`);
  });

  test("is paused, resumed and cancelled; an ended one is not", async () => {
    const { sql, database } = pg;
    await createTracked(sql);
    const reader = await Reader.open(database);
    await reader.step();
    await reader.deliverSpan();
    await sql`select pg2kafka.pause_snapshot(1)`;
    expect(await reader.step()).toBeNull();
    await sql`select pg2kafka.refresh_captures()`;
    expect(await isWhole()).toBe(true);
    expect(await states()).toEqual(["paused"]);
    await sql`select pg2kafka.resume_snapshot(1)`;
    expect(await reader.step()).toBeGreaterThan(100);
    await sql`select pg2kafka.cancel_snapshot(1)`;
    await sql`select pg2kafka.cancel_snapshot(1)`;
    expect(await states()).toEqual(["cancelled"]);
    await reader.finish();
    await sql`select pg2kafka.refresh_captures()`;
    expect(await isWhole()).toBe(false);
    await expect(sql`select pg2kafka.resume_snapshot(1)`).rejects.toMatchObject({
      code: "55000",
      message: "pg2kafka: snapshot 1 is cancelled",
    });
    await expect(sql`select pg2kafka.pause_snapshot(9)`).rejects.toMatchObject({ code: "P0002" });
    expect(await sql`select from pg2kafka.snapshot_scans`).toHaveLength(0);
  });

  test("ends with teardown(), and a new setup() begins another", async () => {
    const { sql, database } = pg;
    await createTracked(sql);
    const reader = await Reader.open(database);
    await reader.step();
    await sql`select pg2kafka.teardown('items')`;
    expect(await states()).toEqual(["cancelled"]);
    await reader.finish();
    expect(reader.events).toHaveLength(100);
    await sql`select pg2kafka.setup('items', 'id')`;
    const from = reader.events.length;
    await reader.finish();
    await reader.expectFold("items", "id", from);
    expect(await states()).toEqual(["cancelled", "finished"]);
  });

  test("progress shows in pg2kafka.snapshots: blocks and rows done, and how many rows are left", async () => {
    const { sql, database } = pg;
    await createTracked(sql);
    await sql`analyze items`;
    const progress = async () =>
      (
        await sql`
          select relation::text, state, rows::int, rows_left::int as left, blocks_done::int as done,
            blocks::int, started_by = session_user as own, ended_at is null as open
          from pg2kafka.snapshots`
      )[0]!;
    const blocks = (await progress())["blocks"] as number;
    const common = { relation: "items", state: "running", blocks, own: true, open: true };
    expect(await progress()).toEqual({ ...common, rows: 0, left: MANY, done: 0 });
    const reader = await Reader.open(database);
    await reader.step();
    await reader.deliverSpan();
    await reader.step({ rowsMax: 2_900 });
    const half = await progress();
    expect(half).toMatchObject({ ...common, rows: 3_000 });
    expect(half["left"]).toBeGreaterThan(0.9 * 3_000);
    expect(half["left"]).toBeLessThan(1.1 * 3_000);
    expect(half["done"]).toBe(Math.floor(blocks / 2));
    await reader.finish();
    expect(await progress()).toEqual({
      ...common,
      state: "finished",
      rows: MANY,
      left: 0,
      done: blocks,
      open: false,
    });
  });

  test.each([
    ["the table is dropped", "drop table items", "42704: pg2kafka: the table was dropped"],
    [
      "row-level security would hide rows",
      "alter table items enable row level security; alter table items force row level security",
      "42501: query would be affected by row-level security policy",
    ],
    [
      "a column of its condition is dropped",
      "alter table items drop n",
      '42703: column "n" does not exist',
    ],
    [
      "a value of a row is not to be had",
      "update items set a = 'SECRET' where id = 50",
      "22P02: not shown",
    ],
  ])("fails when %s, without a row in the error; live events go on", async (_, text, error) => {
    const { sql, database } = pg;
    await createTracked(sql, 100);
    const reader = await Reader.open(database);
    await reader.finish();
    // No superuser: row-level security is not for these.
    const owner = `owner_${database.name}`;
    await sql.unsafe(`
      create role ${owner};
      create table live (id int primary key);
      select pg2kafka.setup('live', 'id');
      select pg2kafka.snapshot('items', $$n > 0 and (a like 'a%' or a::int > 0)$$);
      alter table items owner to ${owner};
      ${text};
      insert into live values (1);`);
    await sql.unsafe(`
      grant usage on schema pg2kafka to ${owner};
      grant all on all tables in schema pg2kafka to ${owner};
      grant all on all sequences in schema pg2kafka to ${owner}`);
    if (text.includes("security"))
      await sql.unsafe(
        `alter function pg2kafka.snapshot_step owner to ${owner}; grant execute on all functions in schema pg2kafka to ${owner}`,
      );
    expect(await reader.step()).toBeNull();
    await reader.finish();
    const [snapshot] = await sql`select state, error, ended_at from pg2kafka.snapshots`;
    expect(snapshot).toMatchObject({
      state: "failed",
      error: expect.stringContaining(error),
      ended_at: expect.any(Date),
    });
    expect(snapshot!["error"]).not.toContain("SECRET");
    expect(reader.events.at(-1)).toMatchObject({ table_name: "live", statement: "INSERT" });
    await sql.unsafe(`reassign owned by ${owner} to current_user; drop owned by ${owner}`);
  });

  test("fails when statement_timeout ends a step", async () => {
    const { sql, database } = pg;
    await createTracked(sql);
    await sql.unsafe(`
      create function slow(mood) returns json language plpgsql as
        $$ begin perform pg_sleep(case $1 when 'bad' then 100 else 0 end); return '1'; end $$;
      create cast (mood as json) with function slow(mood)`);
    await sql.unsafe(
      `alter role current_user in database ${database.name} set statement_timeout = '2s'`,
    );
    const reader = await Reader.open(database);
    expect(await reader.step()).toBeNull();
    expect(await sql`select state, error from pg2kafka.snapshots`).toEqual([
      { state: "failed", error: "57014: canceling statement due to statement timeout" },
    ]);
  });

  test("asks for its lock as setup() does, and readers and earlier writers go on meanwhile", async () => {
    const { sql, database } = pg;
    await createTracked(sql, 10);
    const [holder, owner] = [database.connect(), database.connect()];
    const pid = await pidOf(owner);
    const late: Promise<unknown>[] = [];
    await holder.begin(async (tx) => {
      await tx`update items set a = 'partial' where id = 1`;
      late.push(owner`select pg2kafka.snapshot('items')`.execute());
      await waitUntilBlocked(sql, pid);
      expect(await sql`select from items`).toHaveLength(10);
      await tx`update items set a = 'more' where id = 2`;
    });
    await Promise.all(late);
    expect(await states()).toEqual(["running"]);
  });

  test("with drop schema pg2kafka cascade nothing is left in mid-snapshot", async () => {
    const { sql, database } = pg;
    await createTracked(sql);
    const reader = await Reader.open(database);
    await reader.step();
    await sql`drop schema pg2kafka cascade`;
    await sql`update items set a = 'x' where id = 1`;
    expect(await sql`select from pg_trigger where tgrelid = 'items'::regclass`).toHaveLength(0);
  });
});
