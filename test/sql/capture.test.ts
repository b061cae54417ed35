import { describe, expect, test } from "vitest";
import { pidOf, useDatabase, versions, waitUntilBlocked } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";

describe.each(versions)("capture on Postgres %i", (version) => {
  const pg = useDatabase(version, { superuser: true });

  async function setUpItems(): Promise<void> {
    await pg.sql`create table items (id int primary key, a text, n numeric)`;
    await pg.sql`select pg2kafka.setup('items', 'id')`;
  }

  test("the README's example: snapshots in the order of the rows, then only what changed", async () => {
    const { sql, database } = pg;
    await sql`create table products (id bigserial, sku text, name text)`;
    await sql`insert into products (sku, name) values ('CM01-R', 'Red Coffee Mug')`;
    await sql`insert into products (sku, name) values ('CM01-B', 'Blue Coffee Mug')`;
    await sql`select pg2kafka.setup('products', 'sku')`;
    await sql`update products set name = 'Big Red Coffee Mug' where sku = 'CM01-R'`;
    await sql`insert into products (sku) values ('CM02')`;
    await sql`delete from products where sku = 'CM01-B'`;
    await sql`truncate products`;
    expect(await readBriefly(sql)).toEqual([
      ["SNAPSHOT", "CM01-R", { id: "1", sku: "CM01-R", name: "Red Coffee Mug" }],
      ["SNAPSHOT", "CM01-B", { id: "2", sku: "CM01-B", name: "Blue Coffee Mug" }],
      ["UPDATE", "CM01-R", { name: "Big Red Coffee Mug" }],
      ["INSERT", "CM02", { id: "3", sku: "CM02", name: null }],
      ["DELETE", "CM01-B", {}],
      ["TRUNCATE", null, {}],
    ]);
    expect(database.notices.map(({ message }) => message)).toEqual([
      expect.stringContaining("no unique index covers public.products.sku alone"),
    ]);
    const shapes = await sql`
      select distinct table_schema, table_name, uuid is not null as has_uuid,
        abs(date_part('epoch', now() - created_at)) < 60 as is_now
      from pg2kafka.outbound_event_queue`;
    expect(shapes).toEqual([
      { table_schema: "public", table_name: "products", has_uuid: true, is_now: true },
    ]);
  });

  test("one statement that changes many rows makes one event for each, in their order", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`insert into items select g, 'a' || g, g from generate_series(1, 1000) g`;
    await sql`update items set a = 'b' || id where id <= 500`;
    await sql`delete from items where id > 900`;
    const events = await readEvents(sql);
    const ids = (statement: string) =>
      events.filter((event) => event.statement === statement).map((event) => event.external_id);
    const numbers = (from: number, to: number) =>
      Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
    expect(ids("INSERT")).toEqual(numbers(1, 1000));
    expect(ids("UPDATE")).toEqual(numbers(1, 500));
    expect(ids("DELETE")).toEqual(numbers(901, 1000));
    await expectFoldEqualsTable(sql, "items", "id");
  });

  test("plans that were made for one row serve 100,000, in order, with little memory", async () => {
    await setUpItems();
    const { sql } = pg;
    for (let id = 1; id <= 12; id++) {
      await sql`insert into items values (${-id}, 'x', 0)`;
      await sql`update items set a = 'y' where id = ${-id}`;
      await sql`delete from items where id = ${-id}`;
    }
    await clearEvents(sql);
    await sql`set statement_timeout = '60s'`;
    await sql`set work_mem = '1MB'`;
    await sql`insert into items select g, repeat('x', 100), g from generate_series(1, 100000) g`;
    await sql`update items set a = repeat('y', 100)`;
    await sql`delete from items`;
    await sql`reset statement_timeout`;
    const counts = await sql`
      select statement, count(*)::int,
        count(*) filter (where external_id::int <= previous)::int as out_of_order
      from (
        select *, lag(external_id::int) over (partition by statement order by id) as previous
        from pg2kafka.outbound_event_queue
      ) q
      group by statement order by min(id)`;
    expect(counts).toEqual([
      { statement: "INSERT", count: 100_000, out_of_order: 0 },
      { statement: "UPDATE", count: 100_000, out_of_order: 0 },
      { statement: "DELETE", count: 100_000, out_of_order: 0 },
    ]);
  });

  test("COPY makes an INSERT for each line", async () => {
    await setUpItems();
    const { sql } = pg;
    const writable = await sql`copy items from stdin`.writable();
    writable.end("1\tone\t1.10\n2\t\\N\t2\n");
    await new Promise((resolve) => writable.on("finish", resolve));
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "1", { id: "1", a: "one", n: "1.10" }],
      ["INSERT", "2", { id: "2", a: null, n: "2" }],
    ]);
  });

  test.skipIf(version < 15)("MERGE makes the events of each of its actions", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`insert into items select g, 'old', g from generate_series(1, 3) g`;
    await clearEvents(sql);
    await sql`
      merge into items i using (values (2, 'new'), (3, 'gone'), (4, 'four')) v (id, a) on i.id = v.id
      when matched and v.a = 'gone' then delete
      when matched then update set a = v.a
      when not matched then insert values (v.id, v.a)`;
    const events = await readBriefly(sql);
    expect(events).toHaveLength(3);
    expect(events).toEqual(
      expect.arrayContaining([
        ["UPDATE", "2", { a: "new" }],
        ["DELETE", "3", {}],
        ["INSERT", "4", { id: "4", a: "four", n: null }],
      ]),
    );
  });

  test("INSERT ... ON CONFLICT makes an INSERT or an UPDATE for each row, or nothing", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`insert into items values (1, 'old', 1)`;
    await sql`
      insert into items values (1, 'new', 1), (2, 'two', 2)
      on conflict (id) do update set a = excluded.a`;
    await sql`insert into items values (1, 'x', 1), (3, 'three', 3) on conflict do nothing`;
    await sql`
      insert into items values (1, 'again', 1) on conflict (id) do update set a = excluded.a
      where false`;
    await expectFoldEqualsTable(sql, "items", "id");
    const events = await readBriefly(sql);
    expect(events).toHaveLength(4);
    expect(events.at(-1)).toEqual(["INSERT", "3", { id: "3", a: "three", n: "3" }]);
  });

  test("what foreign keys do in answer is captured: cascades, set null, also to the table itself", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table parents (id int primary key);
      create table children (
        id int primary key,
        p int references parents on delete cascade on update cascade,
        q int references parents on delete set null on update cascade
      );
      create table nodes (id int primary key, parent int references nodes on delete cascade);
      select pg2kafka.setup('parents', 'id'), pg2kafka.setup('children', 'id'), pg2kafka.setup('nodes', 'id');
      insert into parents select generate_series(1, 4);
      insert into children values (1, 1, 2), (2, 2, 2), (3, 3, 1), (4, 3, 3);
      insert into nodes values (1, null), (2, 1), (3, 2), (4, null), (5, 3);`);
    await clearEvents(sql);
    await sql`update parents set id = id + 100 where id = 3`;
    expect(await readBriefly(sql, "children")).toEqual([
      ["UPDATE", "3", { p: "103" }],
      ["UPDATE", "4", { p: "103" }],
      ["UPDATE", "4", { q: "103" }],
    ]);
    await clearEvents(sql);
    await sql`delete from parents where id = 1`;
    expect(await readBriefly(sql, "parents")).toEqual([["DELETE", "1", {}]]);
    const answers = await readBriefly(sql, "children");
    expect(answers).toHaveLength(2);
    expect(answers).toContainEqual(["DELETE", "1", {}]);
    expect(answers).toContainEqual(["UPDATE", "3", { q: null }]);
    await sql`delete from nodes where id = 1`;
    const deleted = await readBriefly(sql, "nodes");
    expect(deleted.map(([statement, key]) => [statement, key])).toEqual(
      ["1", "2", "3", "5"].map((key) => ["DELETE", key]),
    );
  });

  test.each(["p", "q"])(
    "a row that cascades both change and delete, %s first, is gone",
    async (first) => {
      const { sql } = pg;
      const actions: Record<string, string> = { p: "cascade", q: "set null" };
      const add = (column: string) =>
        `alter table children add foreign key (${column}) references parents on delete ${actions[column]};`;
      await sql.unsafe(`
      create table parents (id int primary key);
      create table children (id int primary key, p int, q int);
      ${add(first)} ${add(first === "p" ? "q" : "p")}
      select pg2kafka.setup('children', 'id');
      insert into parents values (1), (2), (3);
      insert into children values (1, 1, 1), (2, 2, 1), (3, 2, 3), (4, 1, 2);
      delete from parents where id < 3;`);
      await expectFoldEqualsTable(sql, "children", "id");
    },
  );

  test("a row that one statement's cascades change twice has its events in that order", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table a (x int primary key, y int unique);
      create table b (
        id int primary key, x int references a (x) on update cascade,
        y int references a (y) on update cascade, pad text
      );
      insert into a select g, g from generate_series(1, 3000) g;
      insert into b select g, g, g, repeat('x', 300) from generate_series(1, 3000) g;
      create index on b (x);
      create index on b (y);
      select pg2kafka.setup('b', 'id');
      set work_mem = '64kB';`);
    await sql`update a set x = 10000, y = 10000 where x = 1`;
    await sql`update a set x = -x, y = -y where x < 10000`;
    await expectFoldEqualsTable(sql, "b", "id");
    const [{ count } = { count: 0 }] = await sql<{ count: number }[]>`
      select count(*)::int from (
        select external_id, string_agg(data::text, '' order by id) as changes
        from pg2kafka.outbound_event_queue where statement = 'UPDATE' group by external_id
      ) q where changes ~ '^{"x":-?\\d+}{"y":-?\\d+}$'`;
    expect(count).toBe(3000);
  });

  test("generated columns are in the events, by INSERT and where they change", async () => {
    const { sql } = pg;
    await sql`
      create table g (id int generated always as identity primary key, a int,
        double int generated always as (a * 2) stored)`;
    await sql`select pg2kafka.setup('g', 'id')`;
    await sql`insert into g (a) values (1)`;
    await sql`update g set a = 5`;
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "1", { id: "1", a: "1", double: "2" }],
      ["UPDATE", "1", { a: "5", double: "10" }],
    ]);
  });

  test("an UPDATE that changes nothing makes no event, nor do 1.0 to 1.00 and jsonb 1 to 1.0", async () => {
    const { sql } = pg;
    await sql`create table v (id int primary key, n numeric, j jsonb, f float8, a text)`;
    await sql`select pg2kafka.setup('v', 'id')`;
    await sql`insert into v values (1, 1.0, '{"a": 1}', 'NaN', null)`;
    await clearEvents(sql);
    await sql`update v set id = id`;
    await sql`update v set n = 1.00, j = '{"a": 1.0}', f = 'NaN'`;
    await sql`update v set a = null`;
    await sql`update v set a = 'x' where false`;
    expect(await readBriefly(sql)).toEqual([]);
    await sql`update v set n = 1.01, j = '{"a": 1, "b": null}'`;
    expect(await readBriefly(sql)).toEqual([
      ["UPDATE", "1", { n: "1.01", j: { a: "1", b: null } }],
    ]);
  });

  test.each(["numeric", "jsonb"])(
    "a %s key that becomes an equal one of another text is another key",
    async (type) => {
      const { sql } = pg;
      await sql.unsafe(`
      create table by_statement (id ${type} primary key, v text);
      create table by_row (id ${type} primary key, v text) partition by hash (id);
      create table by_row_1 partition of by_row for values with (modulus 1, remainder 0);`);
      for (const table of ["by_statement", "by_row"]) {
        await sql`select pg2kafka.setup(${table}, 'id')`;
        await sql.unsafe(`
        insert into ${table} values ('1.0', 'a');
        update ${table} set id = '1.00';
        update ${table} set v = 'b';`);
        expect(await readBriefly(sql, table)).toEqual([
          ["INSERT", "1.0", { id: "1.0", v: "a" }],
          ["UPDATE", "1.0", { id: "1.00" }],
          ["UPDATE", "1.00", { v: "b" }],
        ]);
      }
    },
  );

  test("a column that becomes null is in the event, one that stays null is not", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`insert into items values (1, 'x', null)`;
    await clearEvents(sql);
    await sql`update items set a = null, n = null`;
    expect(await readBriefly(sql)).toEqual([["UPDATE", "1", { a: null }]]);
  });

  test("a jsonb column that changes is carried whole", async () => {
    const { sql } = pg;
    await sql`create table j (id int primary key, doc jsonb)`;
    await sql`insert into j values (1, '{"a": {"b": 1, "c": [1, 2]}, "d": "e"}')`;
    await sql`select pg2kafka.setup('j', 'id')`;
    await clearEvents(sql);
    await sql`update j set doc = jsonb_set(doc, '{a,b}', '2')`;
    expect(await readBriefly(sql)).toEqual([
      ["UPDATE", "1", { doc: { a: { b: "2", c: ["1", "2"] }, d: "e" } }],
    ]);
  });

  test("a changed external id goes under the old value, what follows under the new", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`insert into items values (1, 'x', null)`;
    await sql`update items set id = 2`;
    await sql`update items set a = 'y'`;
    await sql`delete from items`;
    expect((await readBriefly(sql)).slice(1)).toEqual([
      ["UPDATE", "1", { id: "2" }],
      ["UPDATE", "2", { a: "y" }],
      ["DELETE", "2", {}],
    ]);
  });

  test("keys that one UPDATE shifts by one reach each row's own events", async () => {
    const { sql } = pg;
    await sql`create table s (k int, name text, unique (k) deferrable initially deferred)`;
    await sql`insert into s select g, 'n' || g from generate_series(1, 5) g`;
    await sql`select pg2kafka.setup('s', 'k')`;
    await clearEvents(sql);
    await sql`update s set k = k + 1, name = name || '!'`;
    expect(await readBriefly(sql)).toEqual(
      [1, 2, 3, 4, 5].map((k) => ["UPDATE", `${k}`, { k: `${k + 1}`, name: `n${k}!` }]),
    );
  });

  test("savepoints and rollbacks leave nothing behind, and what follows them is right", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql.begin(async (tx) => {
      await tx`insert into items values (1, 'kept', 1)`;
      await tx`savepoint s`;
      await tx`update items set a = 'lost'`;
      await tx`insert into items values (2, 'lost', 1)`;
      await tx`rollback to s`;
      await tx`update items set n = 2`;
    });
    await expect(
      sql.begin(async (tx) => {
        await tx`delete from items`;
        await tx`select 1 / 0`;
      }),
    ).rejects.toThrow("division by zero");
    await expect(sql`insert into items values (3, 'x', 1), (1, 'twice', 1)`).rejects.toThrow(
      "duplicate key",
    );
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "1", { id: "1", a: "kept", n: "1" }],
      ["UPDATE", "1", { n: "2" }],
    ]);
  });

  test("two writers of one row: the second waits, and its event comes second", async () => {
    await setUpItems();
    const { sql, database } = pg;
    await sql`insert into items values (1, 'x', 0)`;
    const [first, second] = [database.connect(), database.connect()];
    const pid = await pidOf(second);
    await first.begin(async (tx) => {
      await tx`update items set n = n + 1, a = 'first'`;
      const waiting = second`update items set n = n + 1, a = 'second'`.execute();
      await waitUntilBlocked(sql, pid);
      await tx`update items set a = 'first again'`;
      await tx`select pg_notify('done', '')`;
      void waiting.catch(() => {});
    });
    await second`select 1`;
    expect((await readBriefly(sql)).slice(1)).toEqual([
      ["UPDATE", "1", { a: "first", n: "1" }],
      ["UPDATE", "1", { a: "first again" }],
      ["UPDATE", "1", { a: "second", n: "2" }],
    ]);
    const [order] = await sql`
      select count(distinct xact)::int as writers from pg2kafka.outbound_event_queue
      where statement = 'UPDATE'`;
    expect(order).toEqual({ writers: 2 });
  });

  test("two inserters of one unique key: the second waits for the delete, and comes second", async () => {
    await setUpItems();
    const { sql, database } = pg;
    await sql`insert into items values (1, 'old', 0)`;
    const [first, second] = [database.connect(), database.connect()];
    const pid = await pidOf(second);
    const late: Promise<unknown>[] = [];
    await first.begin(async (tx) => {
      await tx`delete from items where id = 1`;
      late.push(second`insert into items values (1, 'new', 0)`.execute());
      await waitUntilBlocked(sql, pid);
    });
    await Promise.all(late);
    await expectFoldEqualsTable(sql, "items", "id");
  });

  test("collations in which 'a' equals 'A': the change is captured", async () => {
    const { sql } = pg;
    const [icu] = await sql`select 1 from pg_collation where collprovider = 'i' limit 1`;
    if (!icu) return;
    await sql.unsafe(`
      create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      create table c (id text collate nocase primary key, a text collate nocase);
      select pg2kafka.setup('c', 'id');
      insert into c values ('k', 'a');`);
    await clearEvents(sql);
    await sql`update c set a = 'A'`;
    await sql`update c set id = 'K'`;
    expect(await readBriefly(sql)).toEqual([
      ["UPDATE", "k", { a: "A" }],
      ["UPDATE", "k", { id: "K" }],
    ]);
  });

  test("writers with session_replication_role = replica are captured", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`set session_replication_role = replica`;
    await sql`insert into items values (1, 'x', 1)`;
    await sql`update items set a = 'y'`;
    await sql`delete from items`;
    await sql`truncate items`;
    const statements = (await readEvents(sql)).map(({ statement }) => statement);
    expect(statements).toEqual(["INSERT", "UPDATE", "DELETE", "TRUNCATE"]);
  });

  test.each(["repeatable read", "serializable"])(
    "with default_transaction_isolation = %s writes are captured",
    async (isolation) => {
      await setUpItems();
      const { sql, database } = pg;
      await sql.unsafe(
        `alter database ${database.name} set default_transaction_isolation = '${isolation}'`,
      );
      const writer = database.connect();
      expect(await writer`show transaction_isolation`).toEqual([
        { transaction_isolation: isolation },
      ]);
      await writer`insert into items values (1, 'x', 1), (2, 'y', 2)`;
      await writer`update items set a = 'z' where id = 1`;
      await writer`delete from items where id = 2`;
      await expectFoldEqualsTable(sql, "items", "id");
      expect(await readEvents(sql)).toHaveLength(4);
    },
  );

  test("a transaction whose snapshot is older than setup() is captured all the same", async () => {
    const { sql, database } = pg;
    await sql`create table items (id int primary key, a text, n numeric)`;
    await sql`insert into items values (1, 'x', 1)`;
    const writer = database.connect();
    await writer.begin("isolation level repeatable read", async (tx) => {
      await tx`select 1`;
      await sql`select pg2kafka.setup('items', 'id')`;
      await tx`update items set a = 'y'`;
      await tx`insert into items values (2, 'z', 2)`;
    });
    await expectFoldEqualsTable(sql, "items", "id");
  });

  test("modifying CTEs, views and rules end in the same events", async () => {
    await setUpItems();
    const { sql } = pg;
    await sql`create view w as select * from items`;
    await sql`insert into w values (1, 'a', 1), (2, 'b', 2)`;
    await sql`
      with gone as (delete from items where id = 1 returning *),
        changed as (update items set a = 'c' where id = 2 returning *)
      insert into items select id + 10, a, n from gone`;
    await expectFoldEqualsTable(sql, "items", "id");
    expect(await readEvents(sql)).toHaveLength(5);
  });
});
