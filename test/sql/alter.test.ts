import { describe, expect, test } from "vitest";
import { useDatabase, versions } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";

/* What happens to tracked tables later. Sessions keep plans and functions that were made for a
   table as it was; each history is run in a session that has them. */
describe.each(versions)("altered tables on Postgres %i", (version) => {
  const pg = useDatabase(version, { superuser: true });

  async function createItems(): Promise<void> {
    await pg.sql`create table items (id int primary key, a text, b text)`;
    await pg.sql`select pg2kafka.setup('items', 'id')`;
  }

  test("columns that are added, dropped, renamed and retyped show in the very next event", async () => {
    await createItems();
    const { sql, database } = pg;
    const other = database.connect();
    let id = 0;
    const use = async (columns: string, values: string) => {
      for (const session of [sql, other, sql]) {
        id += 1;
        await session.unsafe(`insert into items (id, ${columns}) values (${id}, ${values})`);
        await session.unsafe(`update items set (${columns}) = row(${values}) where id = 1`);
        await session.unsafe(`delete from items where id = ${id - 2} and id > 1`);
      }
      await expectFoldEqualsTable(sql, "items", "id");
    };
    await use("a, b", "'x', 'y'");
    await sql`alter table items add c int`;
    await sql`update items set c = 1`;
    await use("a, c", "'x', 2");
    await sql`alter table items drop b`;
    await clearEvents(sql);
    await sql`select pg2kafka.create_snapshot_events('items')`;
    await use("a, c", "'y', 3");
    await sql`alter table items alter c type text using 'c' || c`;
    await sql`update items set c = c || '!'`;
    await use("c", "'text'");
    await sql`alter table items alter c type jsonb using '{"a": 1.0}'`;
    await sql`update items set c = '{"b": 2}'`;
    await use("c", `'[1]'`);
    await sql`alter table items rename c to "C c"`;
    await sql`select pg2kafka.create_snapshot_events('items')`;
    await use(`a, "C c"`, `'z', '[2]'`);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
    await use(`a, "C c"`, `'zz', '[3]'`);
  });

  test("a renamed table is captured under its new name, in the same session and in others", async () => {
    await createItems();
    const { sql, database } = pg;
    const other = database.connect();
    await sql`insert into items values (1, 'x', 'y')`;
    await other`insert into items values (2, 'x', 'y')`;
    await sql`alter table items rename to "Things"`;
    await sql`insert into "Things" values (3, 'x', 'y')`;
    await other`insert into "Things" values (4, 'x', 'y')`;
    await sql`create schema elsewhere`;
    await sql`alter table "Things" set schema elsewhere`;
    await other`insert into elsewhere."Things" values (5, 'x', 'y')`;
    await sql`truncate elsewhere."Things"`;
    const names = (await readEvents(sql)).map(
      (event) => `${event.table_schema}.${event.table_name}`,
    );
    expect(names).toEqual([
      "public.items",
      "public.items",
      "public.Things",
      "public.Things",
      "elsewhere.Things",
      "elsewhere.Things",
    ]);
    await sql`select pg2kafka.refresh_captures()`;
    expect(await sql`select table_schema, table_name from pg2kafka.external_id_relations`).toEqual([
      { table_schema: "elsewhere", table_name: "Things" },
    ]);
    await sql`select pg2kafka.teardown('elsewhere."Things"')`;
    expect(await sql`select tgname from pg_trigger where not tgisinternal`).toEqual([]);
  });

  test("a renamed external id is followed; its old name given to another column counts", async () => {
    await createItems();
    const { sql } = pg;
    await sql`insert into items values (1, 'x', 'y')`;
    await sql`alter table items rename id to ident`;
    await sql`update items set a = 'renamed'`;
    await sql`select pg2kafka.refresh_captures()`;
    await sql`update items set a = 'refreshed'`;
    await sql`alter table items rename ident to again`;
    await sql`update items set a = 'again'`;
    const keys = (await readBriefly(sql)).map(([, key]) => key);
    expect(keys).toEqual(["1", "1", "1", "1"]);
    expect(await sql`select external_id from pg2kafka.external_id_relations`).toEqual([
      { external_id: "ident" },
    ]);
  });

  test("columns that swap their names: the key is the column that has the name", async () => {
    await createItems();
    const { sql } = pg;
    await sql`insert into items values (1, 'key', 'y')`;
    await sql.unsafe(`
      alter table items rename id to tmp;
      alter table items rename a to id;
      alter table items rename tmp to a;`);
    await sql`update items set b = 'swapped'`;
    await sql`select pg2kafka.refresh_captures()`;
    await sql`delete from items`;
    expect((await readBriefly(sql)).slice(1)).toEqual([
      ["UPDATE", "key", { b: "swapped" }],
      ["DELETE", "key", {}],
    ]);
  });

  test("a dropped external id leaves events without a key, and a new column of its name is it", async () => {
    await createItems();
    const { sql } = pg;
    await sql`insert into items values (1, 'x', 'y')`;
    await sql`alter table items drop id`;
    await sql`update items set a = 'z'`;
    await sql`insert into items values ('a', 'b')`;
    await sql`select pg2kafka.refresh_captures()`;
    await sql`delete from items where b = 'b'`;
    expect((await readBriefly(sql)).slice(1)).toEqual([
      ["UPDATE", null, { a: "z" }],
      ["INSERT", null, { a: "a", b: "b" }],
      ["DELETE", null, {}],
    ]);
    await sql`alter table items add id text default 'new'`;
    await sql`update items set a = 'q'`;
    await sql`select pg2kafka.refresh_captures()`;
    await sql`delete from items`;
    expect((await readBriefly(sql)).slice(4)).toEqual([
      ["UPDATE", "new", { a: "q" }],
      ["DELETE", "new", {}],
    ]);
  });

  test.each(["items", "parted"])(
    "a REPEATABLE READ snapshot older than the ALTER TABLE of %s sees it",
    async (table) => {
      const { sql, database } = pg;
      await sql.unsafe(`
      create table items (id int primary key, a text);
      create table parted (id int primary key, a text) partition by range (id);
      create table parted_1 partition of parted default;
      insert into ${table} values (1, 'x');`);
      await sql`select pg2kafka.setup(${table}, 'id')`;
      for (const session of [database.connect(), database.connect()]) {
        await session.unsafe(`update ${table} set a = 'warm' || a`);
        await session.begin("isolation level repeatable read", async (tx) => {
          await tx`select 1 from pg_class limit 1`;
          await sql.unsafe(`alter table ${table} add column if not exists b int`);
          await sql.unsafe(`alter table ${table} rename id to id2`);
          await sql.unsafe(`update ${table} set b = coalesce(b, 0)`).catch(() => {});
          await sql.unsafe(`alter table ${table} rename to other`);
          await tx.unsafe(`insert into other (id2, a, b) select count(*) + 1, 'new', 7 from other`);
          await tx.unsafe(`delete from other where a = 'new'`);
        });
        await sql.unsafe(`alter table other rename to ${table}`);
        await sql.unsafe(`alter table ${table} rename id2 to id`);
        const events = await readEvents(sql, "other");
        expect(events.at(-2)?.data).toMatchObject({ a: "new", b: "7" });
        expect(events.at(-1)).toMatchObject({
          statement: "DELETE",
          external_id: events.at(-2)?.external_id,
        });
        expect(events.at(-1)?.external_id).not.toBeNull();
      }
    },
  );

  test("a key that becomes one that its collation takes for equal, after an ALTER TABLE", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create collation ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      create table items (id text collate ci primary key);
      select pg2kafka.setup('items', 'id');
      insert into items values ('A');
      alter table items add b int;
      update items set id = 'a';`);
    expect((await readBriefly(sql)).at(-1)).toEqual(["UPDATE", "A", { id: "a" }]);
  });

  test.each(["items", "parted"])(
    "triggers of %s that were disabled and enabled fire ALWAYS again",
    async (table) => {
      const { sql } = pg;
      await sql.unsafe(`
        create table items (id int primary key);
        create table parted (id int primary key) partition by range (id);
        create table parted_1 partition of parted default;`);
      await sql`select pg2kafka.setup(${table}, 'id')`;
      for (const altered of table === "items" ? [table] : [table, "parted_1"]) {
        await sql.unsafe(
          `alter table ${altered} disable trigger user; alter table ${altered} enable trigger user`,
        );
        expect(await sql`select pg2kafka.refresh_captures() as refreshed`).toEqual([
          { refreshed: 1 },
        ]);
        expect(await sql`select pg2kafka.refresh_captures() as refreshed`).toEqual([
          { refreshed: 0 },
        ]);
        await sql`set session_replication_role = replica`;
        await sql.unsafe(`insert into ${table} values (1)`);
        await sql`reset session_replication_role`;
        expect(await readBriefly(sql, table)).toEqual([["INSERT", "1", { id: "1" }]]);
        await sql.unsafe(`delete from ${table}`);
        await clearEvents(sql);
      }
    },
  );

  test("refresh_captures() never waits for a table that is being altered", async () => {
    await createItems();
    const { sql, database } = pg;
    await sql`insert into items values (1, 'x', 'y')`;
    const owner = database.connect();
    const drain = database.connect();
    await drain`set statement_timeout = '30s'`;
    await sql`alter table items add c int`;
    await owner.begin(async (tx) => {
      await tx`alter table items add d int`;
      expect(await drain`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
      await tx`update items set c = 1, d = 2`;
    });
    expect((await readBriefly(sql)).at(-1)).toEqual(["UPDATE", "1", { c: "1", d: "2" }]);
    expect(await drain`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
  });

  test("a foreign key added later: cascades that update and delete one row keep their order", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table parents (id int primary key);
      create table children (id int primary key, p int, q int);
      select pg2kafka.setup('children', 'id');
      alter table children add foreign key (q) references parents on delete set null;
      alter table children add foreign key (p) references parents on delete cascade;
      insert into parents values (1), (2), (3);`);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
    await sql`insert into children values (1, 1, 1), (2, 2, 1), (3, 2, 3), (4, 1, 2)`;
    await sql`delete from parents where id < 3`;
    await expectFoldEqualsTable(sql, "children", "id");
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
  });
});
