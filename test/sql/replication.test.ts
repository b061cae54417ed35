import { describe, expect, test } from "vitest";
import { useDatabase, versions, waitFor } from "../support/database.ts";
import { expectFoldEqualsTable, readEvents } from "../support/events.ts";

describe.each(versions)("logical replication into tracked tables, Postgres %i", (version) => {
  const pg = useDatabase(version, {
    settings: { wal_level: "logical", max_replication_slots: "5" },
  });

  test("what a subscription applies is captured, after its first copy", async () => {
    const { sql, own } = pg;
    const source = await pg.createDatabase("empty");
    const create =
      "create table items (id int primary key, a text); alter table items replica identity full;";
    await source.sql.unsafe(create);
    await source.sql`insert into items values (1, 'copied')`;
    await source.sql`create publication p for table items`;
    await source.sql`select pg_create_logical_replication_slot(${pg.database.name}, 'pgoutput')`;
    await sql.unsafe(create);
    await sql.unsafe(`
      create subscription s connection 'host=127.0.0.1 port=${own.port} user=postgres dbname=${source.name}'
      publication p with (create_slot = false, slot_name = '${pg.database.name}')`);
    const held = async (count: number) => {
      const [row] = await sql`select count(*)::int as count from items`;
      return row?.["count"] === count;
    };
    await waitFor(() => held(1));
    await sql`select pg2kafka.setup('items', 'id')`;
    await source.sql`insert into items values (2, 'x'), (3, 'y')`;
    await source.sql`update items set a = 'z' where id = 2`;
    await source.sql`delete from items where id = 1`;
    await waitFor(async () => (await readEvents(sql)).length === 5);
    await expectFoldEqualsTable(sql, "items", "id");
    await source.sql`truncate items`;
    await waitFor(() => held(0));
    const events = await readEvents(sql);
    expect(events.map(({ statement }) => statement)).toEqual([
      "SNAPSHOT",
      "INSERT",
      "INSERT",
      "UPDATE",
      "DELETE",
      "TRUNCATE",
    ]);
    await sql`alter subscription s disable`;
    await sql`alter subscription s set (slot_name = none)`;
    await sql`drop subscription s`;
    await waitFor(async () => {
      const rows = await source.sql`
        select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`;
      return rows.length > 0;
    });
  });

  test("a publication for all tables refuses no write, also where events change their order", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create publication everything for all tables;
      create table items (id int primary key, a text);
      select pg2kafka.setup('items', 'id');
      create function complete() returns trigger language plpgsql as $$
      begin
        update items set a = 'complete' where id = new.id;
        return null;
      end;
      $$;
      create trigger complete after insert on items for each row execute function complete();
      insert into items values (1, 'x');`);
    const events = await readEvents(sql);
    expect(events.map(({ statement }) => statement)).toEqual(["INSERT", "UPDATE"]);
  });
});
