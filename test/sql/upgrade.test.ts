import { readFileSync } from "node:fs";
import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import {
  pidOf,
  schema,
  type TestDatabase,
  useDatabase,
  versions,
  waitFor,
  waitUntilBlocked,
} from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";
import { dumpSchema } from "../support/schema-dump.ts";

const goService = readFileSync(new URL("../support/go-service.sql", import.meta.url), "utf8");

/** What the Go service asks when it wakes. */
const itsQuery = `
  select id, uuid, external_id, table_name, statement, data, created_at
  from pg2kafka.outbound_event_queue where processed = false order by id limit 1000`;

describe.each(versions)("upgrade from the Go service on Postgres %i", (version) => {
  const pg = useDatabase(version, { superuser: true });

  /** `products` by sku and `users` by id, tracked; some events delivered, some not. */
  async function createInstallation(): Promise<TestDatabase> {
    const database = await pg.createDatabase("empty");
    const { sql } = database;
    await sql.unsafe(goService);
    await sql.unsafe(`
      create table products (id bigserial primary key, sku text, name text);
      create table users (id int primary key, n int default 0);
      insert into products (sku, name) values ('CM01-R', 'Red');
      insert into users values (1, 0);
      select pg2kafka.setup('products', 'sku'), pg2kafka.setup('users', 'id');
      update pg2kafka.outbound_event_queue set processed = true;
      insert into products (sku, name) values ('CM01-B', 'Blue');
      update products set name = 'Big Red' where sku = 'CM01-R';
      update users set n = 1;
      delete from products where sku = 'CM01-B';`);
    return database;
  }

  const uuids = (sql: Sql, where: string) =>
    sql.unsafe<{ uuid: string }[]>(
      `select uuid from pg2kafka.outbound_event_queue where ${where} order by id`,
    );

  test("undelivered events are kept, in order, and nothing else is in the queue", async () => {
    const { sql } = await createInstallation();
    const undelivered = await uuids(sql, "not processed");
    expect(undelivered).toHaveLength(4);
    const report = await migrate(sql, schema);
    expect(report.adopted).toEqual(["products", "users"]);
    expect(await uuids(sql, "true")).toEqual([...undelivered]);
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "CM01-B", { id: "2", sku: "CM01-B", name: "Blue" }],
      ["UPDATE", "CM01-R", { name: "Big Red" }],
      ["UPDATE", "1", { n: "1" }],
      ["DELETE", "CM01-B", {}],
    ]);
    await sql`insert into products (sku, name) values ('CM02', 'New')`;
    await sql`update users set n = 5`;
    await sql`truncate users`;
    expect((await readEvents(sql)).slice(4)).toMatchObject([
      {
        statement: "INSERT",
        external_id: "CM02",
        table_name: "products",
        table_schema: "public",
      },
      { statement: "UPDATE", external_id: "1", table_name: "users" },
      { statement: "TRUNCATE", external_id: null, table_name: "users" },
    ]);
  });

  test("what is there then is what a fresh installation has, and its own triggers", async () => {
    const { sql } = await createInstallation();
    await migrate(sql, schema);
    const dump = await dumpSchema(sql);
    const compiled = /^function enqueue_event_\d+(?:_\w+)?\(.*\n/gm;
    expect(dump.replace(compiled, "")).toBe(await dumpSchema(pg.sql));
    expect(dump.match(compiled)).toHaveLength(8);
    const triggers = await sql`
      select t.tgname, f.proname from pg_trigger t join pg_proc f on f.oid = t.tgfoid
      where not tgisinternal order by 1`;
    expect(triggers.map(({ tgname }) => tgname)).toEqual(
      ["products", "users"].flatMap((table) =>
        ["", "_delete", "_insert", "_open", "_update"].map((end) => `${table}_enqueue_event${end}`),
      ),
    );
    expect(triggers.filter(({ proname }) => proname === "enqueue_event")).toEqual([]);
    expect(
      await sql`
        select external_id, table_schema, table_name, relation::text
        from pg2kafka.external_id_relations order by id`,
    ).toEqual([
      {
        external_id: "sku",
        table_schema: "public",
        table_name: "products",
        relation: "products",
      },
      { external_id: "id", table_schema: "public", table_name: "users", relation: "users" },
    ]);
    expect(await migrate(sql, schema)).toMatchObject({
      migrations: [],
      functions: [],
      adopted: [],
    });
  });

  test("a Go service that still runs is locked out, and so is one that starts", async () => {
    const database = await createInstallation();
    const { sql } = database;
    const old = database.connect();
    expect(await old.unsafe(itsQuery)).toHaveLength(4);
    await migrate(sql, schema);
    await expect(old.unsafe(itsQuery)).rejects.toMatchObject({ code: "42703" });
    await expect(
      old`update pg2kafka.outbound_event_queue set processed = true where id = 1`,
    ).rejects.toMatchObject({ code: "42703" });
    const replaced = goService
      .replaceAll("create schema", "create schema if not exists")
      .replaceAll("create sequence", "create sequence if not exists")
      .replaceAll("create table", "create table if not exists")
      .replaceAll("create index", "create index if not exists")
      .replaceAll("create function", "create or replace function");
    await expect(old.unsafe(replaced)).rejects.toThrow("cannot change name of input parameter");
    await clearEvents(sql);
    await sql`update users set n = n + 1`;
    expect(await readEvents(sql)).toHaveLength(1);
  });

  test("nothing is lost and nothing fails across the switch, while writers write", async () => {
    const database = await createInstallation();
    const { sql } = database;
    const writers = [1, 2].map((number) => ({ number, session: database.connect(), done: 0 }));
    let running = true;
    const writing = writers.map(async (writer) => {
      while (running) {
        const id = writer.number * 1_000_000 + writer.done;
        await writer.session`insert into users values (${id}, 0)`;
        await writer.session.begin(async (tx) => {
          await tx`update users set n = n + 1 where id = ${id}`;
          await tx`update products set name = ${`by ${id}`} where sku = 'CM01-R'`;
        });
        writer.done += 1;
      }
    });
    await waitFor(() => writers.every(({ done }) => done > 20));
    await migrate(sql, schema);
    const atSwitch = writers.map(({ done }) => done);
    await waitFor(() => writers.every(({ done }, index) => done > atSwitch[index]! + 20));
    running = false;
    await Promise.all(writing);

    const total = writers.reduce((sum, { done }) => sum + done, 0);
    const events = await readEvents(sql);
    expect(events.filter(({ statement }) => statement === "SNAPSHOT")).toEqual([]);
    expect(events).toHaveLength(4 + 3 * total);
    const users = events.filter(({ table_name }) => table_name === "users");
    for (const { number, done } of writers) {
      for (let index = 0; index < done; index++) {
        const own = users.filter(
          ({ external_id }) => external_id === `${number * 1_000_000 + index}`,
        );
        expect(own.map(({ statement }) => statement)).toEqual(["INSERT", "UPDATE"]);
      }
    }
    const names = events.filter(({ external_id }) => external_id === "CM01-R");
    const [row] = await sql`select name from products where sku = 'CM01-R'`;
    expect(names.at(-1)?.data).toEqual(row);
  });

  test("a writer with rights on the old tables only is not refused at any moment", async () => {
    const database = await createInstallation();
    const { sql } = database;
    const role = `app_${database.name}`;
    await sql.unsafe(`
      create role ${role};
      grant all on users, products to ${role};
      grant usage on schema pg2kafka to ${role};
      grant all on all tables in schema pg2kafka to ${role};
      grant all on all sequences in schema pg2kafka to ${role};`);
    const writer = database.connect();
    await writer.unsafe(`set role ${role}`);
    const pid = await pidOf(writer);
    await writer`update users set n = n + 1`;
    // The last table cannot be adopted yet: until then the old trigger serves it.
    const holder = database.connect();
    let finished = false;
    const late: Promise<unknown>[] = [];
    await holder.begin(async (tx) => {
      await tx`select * from users`;
      late.push(
        migrate(sql, schema).finally(() => {
          finished = true;
        }),
      );
      const observer = database.connect();
      await waitFor(async () => {
        const [row] = await observer`
          select exists (
            select from pg_proc p join pg_trigger t on t.tgfoid = p.oid
            where p.proname = 'enqueue_event_1'
          ) as adopted`;
        return row?.["adopted"];
      });
      expect(finished).toBe(false);
      await writer`update users set n = n + 1`;
      await writer`insert into users values (5, 5)`;
      await writer`insert into products (id, sku, name) values (9, 'CM09', 'Nine')`;
      expect(await pidOf(writer)).toBe(pid);
    });
    await Promise.all(late);
    await writer`delete from users where id = 5`;
    expect((await readBriefly(sql)).slice(-4)).toEqual([
      ["UPDATE", "1", { n: "3" }],
      ["INSERT", "5", { id: "5", n: "5" }],
      ["INSERT", "CM09", { id: "9", sku: "CM09", name: "Nine" }],
      ["DELETE", "5", {}],
    ]);
    await sql.unsafe(`drop owned by ${role}; drop role ${role}`);
  });

  test("the switch waits for a writer that is in the old queue, and keeps its event", async () => {
    const database = await createInstallation();
    const { sql } = database;
    const writer = database.connect();
    const observer = database.connect();
    const pid = await pidOf(sql);
    const late: Promise<unknown>[] = [];
    await writer.begin(async (tx) => {
      await tx`insert into users values (7, 0)`;
      late.push(migrate(sql, schema));
      await waitUntilBlocked(observer, pid);
    });
    await Promise.all(late);
    const events = await readBriefly(sql);
    expect(events.at(-1)).toEqual(["INSERT", "7", { id: "7", n: "0" }]);
    await sql`delete from users where id = 7`;
    expect((await readBriefly(sql)).at(-1)).toEqual(["DELETE", "7", {}]);
    await clearEvents(sql);
    await sql`select pg2kafka.create_snapshot_events('users')`;
    await expectFoldEqualsTable(sql, "users", "id");
  });

  test("tables that are gone, and names that mean nothing, do not stop the upgrade", async () => {
    const { sql } = await createInstallation();
    await sql.unsafe(`
      drop table users;
      create schema other;
      create table other.products (id int);
      insert into pg2kafka.external_id_relations (external_id, table_name) values ('id', 'never_was');`);
    const report = await migrate(sql, schema);
    expect(report.adopted).toEqual(["products"]);
    expect(await readEvents(sql)).toHaveLength(4);
    expect((await readEvents(sql)).every((event) => event.table_schema === "public")).toBe(true);
  });
});
