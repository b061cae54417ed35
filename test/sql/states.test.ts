import { describe, expect, test } from "vitest";
import { useDatabase, versions } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly } from "../support/events.ts";

/* Tables whose columns, types and casts are not what they were when capture was made for them. */
describe.each(versions)("what a tracked table turns into, Postgres %i", (version) => {
  const pg = useDatabase(version);
  const refresh = async () =>
    Number((await pg.sql`select pg2kafka.refresh_captures() as count`)[0]!["count"]);

  test("a column's type in the place of another one of the same name", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create type mood as enum ('a', 'b');
      create table t (id int primary key, m mood);
      select pg2kafka.setup('t', 'id');
      begin;
      drop type mood cascade;
      create domain mood as json;
      alter table t add column m mood;
      commit;
      insert into t values (1, '1');
      update t set m = '2';`);
    await expectFoldEqualsTable(sql, "t", "id");
    expect(await refresh()).toBe(1);
    await sql`update t set m = '3'`;
    await expectFoldEqualsTable(sql, "t", "id");
  });

  test.each(["text", "int"])(
    "an enum that somebody casts to %s without being asked",
    async (type) => {
      const { sql } = pg;
      await sql.unsafe(`
      create type mood as enum ('a', 'b');
      create table t (id int primary key, m mood);
      select pg2kafka.setup('t', 'id');
      create function number(mood) returns int language sql as 'select 1';
      create cast (mood as ${type}) with ${type === "int" ? "function number(mood)" : "inout"} as implicit;
      insert into t values (1, 'a');
      update t set m = 'b';`);
      expect((await readBriefly(sql)).map(([, , data]) => data)).toEqual([
        { id: "1", m: "a" },
        { m: "b" },
      ]);
    },
  );

  test("a child with columns of its own, whose cast to json refuses; and a large value's cast to text", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create type k as enum ('x');
      create function kj(k) returns json language plpgsql as $$ begin raise 'no'; end $$;
      create cast (k as json) with function kj(k);
      create type comp as (a text);
      create function ct(comp) returns text language plpgsql as $$ begin raise 'no'; end $$;
      create cast (comp as text) with function ct(comp);
      create table p (id int primary key);
      create table c (m k) inherits (p);
      create table t (id int primary key, m comp);
      select pg2kafka.setup('p', 'id');
      select pg2kafka.setup('t', 'id');
      insert into c values (1, 'x');
      insert into t select 2, row(string_agg(md5(i::text), ''))::comp from generate_series(1, 9000) i;`);
    const [[, , child], [, , large]] = (await readBriefly(sql)) as unknown as [
      [string, string, unknown],
      [string, string, { m: { a: string } }],
    ];
    expect(child).toEqual({ id: "1", m: "x" });
    expect(large.m.a).toHaveLength(288_000);
  });

  test("an inheritance tree under another name", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table p (id int primary key);
      create table c () inherits (p);
      select pg2kafka.setup('p', 'id');
      alter table p rename to q;`);
    expect(await refresh()).toBe(1);
    expect(await refresh()).toBe(0);
    await sql`insert into q values (1)`;
    await sql`insert into c values (2)`;
    await sql`truncate q`;
    const rows = await sql`
      select distinct table_name from pg2kafka.outbound_event_queue`;
    expect(rows).toEqual([{ table_name: "q" }]);
  });

  test("a partition that was moved to a table that is not tracked", async () => {
    const { sql } = pg;
    const parts = "(id int primary key) partition by range (id)";
    await sql.unsafe(`
      create table p ${parts}; create table q ${parts};
      create table p1 partition of p for values from (1) to (10);
      select pg2kafka.setup('p', 'id');
      insert into p values (1);
      alter table p detach partition p1;
      alter table q attach partition p1 for values from (1) to (10);`);
    await clearEvents(sql);
    await sql`truncate p1`;
    expect(await readBriefly(sql)).toEqual([]);
  });

  test("nested statements where the server counts no rows", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table t (id int primary key, a int default 0, b int default 0);
      create function f() returns trigger language plpgsql as $$ begin
        if new.a = 0 then update t set a = 1 where id = new.id;
        elsif new.b = 0 then update t set b = 1 where id = new.id;
        end if;
        return null;
      end $$;
      create trigger zz after insert or update on t for each row execute function f();
      select pg2kafka.setup('t', 'id');
      set track_counts = off;
      insert into t values (1);
      insert into t values (2) on conflict (id) do update set a = 0;`);
    await expectFoldEqualsTable(sql, "t", "id");
  });

  test.runIf(version >= 18)("virtual columns, and nothing else", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table t (id int, v int generated always as (1) virtual);
      select pg2kafka.setup('t', 'id');
      insert into t values (1);
      alter table t drop column id;
      update t set v = default;`);
    await sql`select pg2kafka.refresh_captures(true)`;
    await sql`insert into t default values`;
    const [row] = await sql`select columns from pg2kafka.external_id_relations`;
    expect(row).toEqual({ columns: "{}" });
  });
});
