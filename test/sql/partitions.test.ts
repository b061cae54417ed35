import { describe, expect, test } from "vitest";
import { useDatabase, versions } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";

describe.each(versions)("partitions and children on Postgres %i", (version) => {
  const pg = useDatabase(version);

  /** `m` by list of region: `m_eu`, and `m_us` by range of id: `m_us_1`, `m_us_2`. */
  async function createPartitioned(): Promise<void> {
    await pg.sql.unsafe(`
      create table m (id int, region text, a text, primary key (id, region)) partition by list (region);
      create table m_eu partition of m for values in ('eu');
      create table m_us partition of m for values in ('us') partition by range (id);
      create table m_us_1 partition of m_us for values from (0) to (100);
      create table m_us_2 (a text, id int not null, region text not null);
      alter table m_us attach partition m_us_2 for values from (100) to (200);
      insert into m values (1, 'eu', 'x'), (2, 'us', 'y'), (102, 'us', 'z');
      select pg2kafka.setup('m', 'id');`);
  }

  test("written through the parent, a partition, a partition of it: one name, one shape", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql`insert into m values (3, 'eu', 'a'), (4, 'us', 'b'), (104, 'us', 'c')`;
    await sql`insert into m_us values (5, 'us', 'd')`;
    await sql`insert into m_us_2 (id, region, a) values (105, 'us', 'e')`;
    await sql`update m set a = a || '!'`;
    await sql`update m_us_2 set a = 'direct' where id = 105`;
    await sql`delete from m_eu where id = 1`;
    await sql`delete from m where id = 102`;
    const events = await readEvents(sql);
    expect(new Set(events.map((event) => `${event.table_schema}.${event.table_name}`))).toEqual(
      new Set(["public.m"]),
    );
    expect(events.map(({ statement }) => statement)).toEqual(
      [
        ...Array(3).fill("SNAPSHOT"),
        ...Array(5).fill("INSERT"),
        ...Array(9).fill("UPDATE"),
        "DELETE",
        "DELETE",
      ].slice(0, events.length),
    );
    expect(events).toHaveLength(19);
    await expectFoldEqualsTable(sql, "m", "id");
  });

  test("a row that moves to another partition is gone there and here anew", async () => {
    await createPartitioned();
    const { sql } = pg;
    await clearEvents(sql);
    await sql`update m set region = 'us', a = 'moved' where id = 1`;
    expect(await readBriefly(sql)).toEqual([
      ["DELETE", "1", {}],
      ["INSERT", "1", { id: "1", region: "us", a: "moved" }],
    ]);
  });

  test("a row whose move a BEFORE INSERT trigger suppresses is gone; its neighbours pair", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql.unsafe(`
      create function refuse() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger refuse before insert on m_eu for each row execute function refuse();`);
    await sql`update m set region = case id when 2 then 'eu' else region end, a = 'n' || id`;
    await expectFoldEqualsTable(sql, "m", "id");
  });

  test("a partition attached later, with other columns' order, is captured at once", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql`create table m_asia (dropped int, a text, region text not null, id int not null)`;
    await sql`alter table m_asia drop dropped`;
    await sql`insert into m_asia values ('old', 'asia', 50)`;
    await sql`alter table m attach partition m_asia for values in ('asia')`;
    await clearEvents(sql);
    await sql`insert into m_asia (id, region, a) values (51, 'asia', 'x')`;
    await sql`update m set a = 'y' where region = 'asia'`;
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "51", { id: "51", region: "asia", a: "x" }],
      ["UPDATE", "50", { a: "y" }],
      ["UPDATE", "51", { a: "y" }],
    ]);
    await clearEvents(sql);
    await sql`select pg2kafka.refresh_captures()`;
    await sql`truncate m_asia`;
    expect(await readBriefly(sql)).toEqual([
      ["DELETE", "50", {}],
      ["DELETE", "51", {}],
    ]);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
  });

  test("TRUNCATE of the parent is one event; of a partition, a DELETE for each of its rows", async () => {
    await createPartitioned();
    const { sql } = pg;
    await clearEvents(sql);
    await sql`truncate m_us_1`;
    expect(await readBriefly(sql)).toEqual([["DELETE", "2", {}]]);
    await clearEvents(sql);
    await sql`truncate m`;
    expect(await readBriefly(sql)).toEqual([["TRUNCATE", null, {}]]);
    await clearEvents(sql);
    await sql`insert into m values (1, 'eu', 'x'), (2, 'us', 'y'), (102, 'us', 'z')`;
    await sql`truncate m_us`;
    await expectFoldEqualsTable(sql, "m", "id");
    await sql`truncate m_eu, m`;
    await expectFoldEqualsTable(sql, "m", "id");
  });

  test("a detached partition is not tracked any more, and TRUNCATE of it hides nothing", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql`alter table m detach partition m_eu`;
    await clearEvents(sql);
    await sql.begin(async (tx) => {
      await tx`insert into m_eu values (9, 'eu', 'x')`;
      await tx`truncate m_eu`;
      await tx`truncate m_us_1`;
    });
    expect(await readBriefly(sql)).toEqual([["DELETE", "2", {}]]);
    await sql`alter table m attach partition m_eu for values in ('eu')`;
    await sql`insert into m_eu values (10, 'eu', 'x')`;
    await sql`truncate m_eu`;
    expect((await readBriefly(sql)).slice(1)).toEqual([
      ["INSERT", "10", { id: "10", region: "eu", a: "x" }],
      ["DELETE", "10", {}],
    ]);
  });

  test("a partition that goes from one tracked table to another is captured there", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table live (id int, primary key (id)) partition by range (id);
      create table archive (like live including all) partition by range (id);
      create table p_1 partition of live for values from (0) to (10);
      select pg2kafka.setup('live', 'id'), pg2kafka.setup('archive', 'id');
      insert into live values (1), (2);
      alter table live detach partition p_1;
      alter table archive attach partition p_1 for values from (0) to (10);`);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
    await clearEvents(sql);
    await sql`insert into archive values (3)`;
    await sql`truncate p_1`;
    expect((await readEvents(sql)).map((e) => [e.table_name, e.statement, e.external_id])).toEqual([
      ["archive", "INSERT", "3"],
      ["archive", "DELETE", "1"],
      ["archive", "DELETE", "2"],
      ["archive", "DELETE", "3"],
    ]);
  });

  test("a tracked table that becomes a partition of one bears the parent's name from the next refresh on", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table p (id int primary key) partition by range (id);
      create table t (id int primary key);
      select pg2kafka.setup('t', 'id'), pg2kafka.setup('p', 'id');
      alter table p attach partition t for values from (0) to (10);`);
    await sql`select pg2kafka.refresh_captures()`;
    await sql`insert into p values (1)`;
    await sql`insert into t values (2)`;
    await sql`truncate t`;
    expect((await readEvents(sql)).map((e) => [e.table_name, e.statement, e.external_id])).toEqual([
      ["p", "INSERT", "1"],
      ["p", "INSERT", "2"],
      ["p", "DELETE", "1"],
      ["p", "DELETE", "2"],
    ]);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
  });

  test("foreign partitions and other sessions' temporary children stop no refresh", async () => {
    const { sql, database } = pg;
    const other = database.connect({ max: 1 });
    await sql.unsafe(`
      create table m (id int) partition by range (id);
      create table tree (id int);
      select pg2kafka.setup('m', 'id'), pg2kafka.setup('tree', 'id');
      create foreign data wrapper nowhere;
      create server nowhere foreign data wrapper nowhere;
      create foreign table f partition of m for values from (0) to (10) server nowhere;
      create table m_1 partition of m for values from (10) to (20);`);
    await other`create temporary table child () inherits (tree)`;
    for (const count of [2, 0]) {
      expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count }]);
    }
    await sql`insert into m values (11)`;
    await sql`truncate m_1`;
    await sql`insert into tree values (1)`;
    expect((await readBriefly(sql)).map(([statement]) => statement)).toEqual([
      "INSERT",
      "DELETE",
      "INSERT",
    ]);
  });

  test("columns of the parent that are added, dropped and retyped show at once", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql`insert into m_us_2 values ('warm', 103, 'us')`;
    await sql`update m set a = 'warm'`;
    await sql`alter table m add b int`;
    await sql`alter table m add c int`;
    await sql`alter table m drop a`;
    await clearEvents(sql);
    await sql`insert into m (id, region, b) values (110, 'us', 1)`;
    await sql`alter table m alter b type text`;
    await sql`update m set b = 'two' where id = 110`;
    await sql`alter table m rename c to d`;
    await sql`update m set d = 5 where id = 110`;
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "110", { id: "110", region: "us", b: "1", c: null }],
      ["UPDATE", "110", { b: "two" }],
      ["UPDATE", "110", { d: "5" }],
    ]);
    await sql`alter table m rename id to ident`;
    await sql`delete from m where ident = 110`;
    await sql`select pg2kafka.refresh_captures()`;
    await sql`delete from m where ident = 103`;
    expect((await readBriefly(sql)).slice(3)).toEqual([
      ["DELETE", "110", {}],
      ["DELETE", "103", {}],
    ]);
  });

  test("the parent's new name is the events' name at once", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql`insert into m_eu values (20, 'eu', 'x')`;
    await sql`alter table m rename to "M 2"`;
    await sql`insert into m_eu values (21, 'eu', 'x')`;
    const names = (await readEvents(sql)).slice(-2).map((event) => event.table_name);
    expect(names).toEqual(["m", "M 2"]);
  });

  test("an AFTER trigger that updates the row just inserted: INSERT, then UPDATE", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql.unsafe(`
      create function app() returns trigger language plpgsql as $$ begin
        update m set a = a || '!' where id = new.id; return null; end $$;
      create trigger app after insert on m for each row execute function app();
      create trigger "  app" after insert on m_eu for each row execute function app();`);
    await sql`insert into m values (3, 'eu', 'a'), (4, 'us', 'b'), (104, 'us', 'c')`;
    await expectFoldEqualsTable(sql, "m", "id").catch(() => {});
    await sql`drop trigger "  app" on m_eu`;
    await sql`insert into m values (13, 'eu', 'a'), (14, 'us', 'b'), (114, 'us', 'c')`;
    const events = await readBriefly(sql);
    expect(events.slice(-6).map(([statement]) => statement)).toEqual([
      "INSERT",
      "UPDATE",
      "INSERT",
      "UPDATE",
      "INSERT",
      "UPDATE",
    ]);
  });

  test("teardown of a partitioned table leaves no trigger on it or on any partition", async () => {
    await createPartitioned();
    const { sql } = pg;
    await sql`select pg2kafka.teardown('m')`;
    await clearEvents(sql);
    await sql`insert into m values (3, 'eu', 'a'), (4, 'us', 'b')`;
    await sql`truncate m`;
    expect(await readEvents(sql)).toEqual([]);
    const triggers = await sql`select tgname from pg_trigger where not tgisinternal`;
    expect(triggers).toEqual([]);
    await sql`select pg2kafka.setup('m', 'id')`;
    await sql`insert into m values (3, 'eu', 'a')`;
    expect(await readEvents(sql)).toHaveLength(1);
  });

  test("an inheritance tree: children's rows bear the parent's name; TRUNCATE is by row", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table p (id int primary key, a text);
      create table c (extra int) inherits (p);
      create table g () inherits (c);
      insert into p values (1, 'p'); insert into c values (2, 'c', 5); insert into g values (3, 'g', 6);
      select pg2kafka.setup('p', 'id');`);
    await sql`insert into c values (4, 'c', 7)`;
    await sql`insert into g values (5, 'g', 8)`;
    await sql`update p set a = a || '!'`;
    await sql`update only p set a = 'only'`;
    await sql`delete from g where id = 3`;
    const events = await readEvents(sql);
    expect(new Set(events.map((event) => event.table_name))).toEqual(new Set(["p"]));
    expect(
      events.filter(({ statement }) => statement === "INSERT").map(({ data }) => data),
    ).toEqual([
      { id: "4", a: "c", extra: "7" },
      { id: "5", a: "g", extra: "8" },
    ]);
    await sql`alter table c add own int`;
    await sql`alter table c alter extra type text`;
    await sql`insert into g values (6, 'g', 'x', 9)`;
    expect((await readBriefly(sql)).at(-1)).toEqual([
      "INSERT",
      "6",
      { id: "6", a: "g", extra: "x", own: "9" },
    ]);
    await clearEvents(sql);
    await sql`truncate only p`;
    expect(await readBriefly(sql)).toEqual([["DELETE", "1", {}]]);
    await clearEvents(sql);
    await sql`truncate p`;
    const gone = await readBriefly(sql);
    expect(gone.map(([statement, key]) => `${statement} ${key}`).sort()).toEqual(
      ["2", "4", "5", "6"].map((key) => `DELETE ${key}`),
    );
  });

  test("a child made after setup is captured from the next refresh on", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table p (id int primary key, a text);
      select pg2kafka.setup('p', 'id');
      create table c () inherits (p);
      insert into p values (1, 'x');`);
    await sql`update p set a = 'y'`;
    await expectFoldEqualsTable(sql, "p", "id");
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
    await sql`insert into c values (2, 'c')`;
    await sql`update p set a = 'z'`;
    await expectFoldEqualsTable(sql, "p", "id");
    await sql`create table d () inherits (c)`;
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
    await sql`insert into d values (3, 'd')`;
    await expectFoldEqualsTable(sql, "p", "id");
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
  });
});
