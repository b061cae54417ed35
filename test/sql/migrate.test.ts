import { describe, expect, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import type { Schema } from "../../functions/core/postgres/schema.ts";
import { pidOf, schema, useDatabase, versions, waitUntilBlocked } from "../support/database.ts";
import { expectFoldEqualsTable, readBriefly } from "../support/events.ts";
import { dumpSchema } from "../support/schema-dump.ts";

/** The schema with one function's text changed, as a new release has it. */
function withChangedFunction(name: string, change: (text: string) => string): Schema {
  return {
    ...schema,
    version: `${schema.version}-changed`,
    functions: schema.functions.map((file) =>
      file.name === name
        ? { ...file, text: change(file.text), checksum: `${file.checksum}-changed` }
        : file,
    ),
  };
}

describe.each(versions)("migrate on Postgres %i", (version) => {
  const pg = useDatabase(version);

  test("what is installed is what is checked in (after a change: vitest -u)", async () => {
    await expect(await dumpSchema(pg.sql)).toMatchFileSnapshot("schema.dump.txt");
  });

  test.each(["SQL_ASCII", "WIN1252"])(
    "a database whose encoding is %s is refused: what has no UTF-8 would hold up the drain",
    async (encoding) => {
      const { sql, database } = pg;
      const name = `${database.name}_${encoding.toLowerCase()}`;
      await sql.unsafe(
        `create database ${name} encoding '${encoding}' template template0 locale 'C'`,
      );
      const other = database.connect({ database: name });
      try {
        await expect(migrate(other, schema)).rejects.toMatchObject({
          code: "ENCODING_UNSUPPORTED",
        });
        expect(await other`select 1 from pg_namespace where nspname = 'pg2kafka'`).toEqual([]);
      } finally {
        await other.end();
        await sql.unsafe(`drop database ${name}`);
      }
    },
  );

  test("an empty database gets all of it; again, and nothing is changed", async () => {
    const { sql } = await pg.createDatabase("empty");
    const first = await migrate(sql, schema);
    expect(first).toEqual({
      version: schema.version,
      migrations: schema.migrations.map(({ name }) => name),
      functions: schema.functions.map(({ name }) => name),
      adopted: [],
    });
    await sql.unsafe(
      "create table items (id int primary key); select pg2kafka.setup('items', 'id')",
    );
    const before = await dumpSchema(sql, { withRows: true });
    const again = await migrate(sql, schema);
    expect(again).toEqual({ version: schema.version, migrations: [], functions: [], adopted: [] });
    expect(await dumpSchema(sql, { withRows: true })).toBe(before);
    expect(await sql`select schema_version from pg2kafka.control`).toEqual([
      { schema_version: schema.version },
    ]);
  });

  test("four at once all succeed, and each thing is done once", async () => {
    const database = await pg.createDatabase("empty");
    const reports = await Promise.all(
      Array.from({ length: 4 }, () => migrate(database.connect(), schema)),
    );
    const done = (kind: "migrations" | "functions") =>
      reports.flatMap((report) => report[kind]).sort();
    expect(done("migrations")).toEqual(schema.migrations.map(({ name }) => name).sort());
    expect(done("functions")).toEqual(schema.functions.map(({ name }) => name).sort());
    await expect(await dumpSchema(database.sql)).toMatchFileSnapshot("schema.dump.txt");
  });

  test("an edited migration is refused by its name, and nothing is changed", async () => {
    const { sql } = pg;
    const [first, ...rest] = schema.migrations;
    const edited = { ...schema, migrations: [{ ...first!, checksum: "other" }, ...rest] };
    const before = await dumpSchema(sql, { withRows: true });
    await expect(migrate(sql, edited)).rejects.toMatchObject({
      code: "MIGRATION_EDITED",
      message: expect.stringContaining(first!.name),
    });
    expect(await dumpSchema(sql, { withRows: true })).toBe(before);
  });

  test("a migration that fails leaves nothing of itself and of the functions", async () => {
    const { sql } = pg;
    const broken = {
      ...withChangedFunction("pause", (text) => `${text}\n`),
      migrations: [
        ...schema.migrations,
        { name: "0002_broken", text: "create table pg2kafka.half (); select 1 / 0", checksum: "x" },
      ],
    };
    const before = await dumpSchema(sql, { withRows: true });
    await expect(migrate(sql, broken)).rejects.toThrow("division by zero");
    expect(await dumpSchema(sql, { withRows: true })).toBe(before);
  });

  test("a function whose text changed is applied again, and what is compiled is compiled anew", async () => {
    const { sql } = pg;
    await sql.unsafe(
      "create table items (id int primary key); select pg2kafka.setup('items', 'id')",
    );
    const changed = withChangedFunction("compile_statement_captures", (text) =>
      text.replace("  return null;", "  -- compiled anew\n  return null;"),
    );
    expect(await migrate(sql, changed)).toMatchObject({
      migrations: [],
      functions: ["compile_statement_captures"],
    });
    expect(
      await sql`select prosrc like '%compiled anew%' as anew from pg_proc where proname = 'enqueue_event_1_insert'`,
    ).toEqual([{ anew: true }]);
    await sql`insert into items values (1)`;
    expect(await readBriefly(sql)).toEqual([["INSERT", "1", { id: "1" }]]);
    const back = await migrate(sql, schema);
    expect(back.functions).toEqual(["compile_statement_captures"]);
  });

  test("new functions come while writers write: none fails, nothing is lost", async () => {
    const { sql, database } = pg;
    await sql.unsafe(
      "create table items (id int primary key, n int); select pg2kafka.setup('items', 'id')",
    );
    let running = true;
    let written = 0;
    const writers = [1, 2].map(async (number) => {
      const writer = database.connect();
      while (running) {
        await writer`insert into items values (${written++ * 10 + number}, 0)`;
        await writer`update items set n = n + 1 where id % 10 = ${number}`;
      }
    });
    for (let round = 0; round < 3; round++) {
      await migrate(
        sql,
        withChangedFunction("compile_capture", (text) => `${text}\n-- ${round}`),
      );
      await migrate(sql, schema);
    }
    running = false;
    await Promise.all(writers);
    await expectFoldEqualsTable(sql, "items", "id");
  });

  test("a migration waits for no writer: it steps back, and tries again", async () => {
    const { sql, database } = pg;
    const locking = {
      ...schema,
      migrations: [
        ...schema.migrations,
        { name: "0002_lock", text: "lock table pg2kafka.outbound_event_queue", checksum: "x" },
      ],
    };
    await sql.unsafe(
      "create table items (id int primary key); select pg2kafka.setup('items', 'id')",
    );
    const holder = database.connect();
    const migrator = database.connect();
    const pid = await pidOf(migrator);
    const late: Promise<unknown>[] = [];
    await holder.begin(async (tx) => {
      await tx`insert into items values (1)`;
      late.push(migrate(migrator, locking));
      await waitUntilBlocked(sql, pid);
      await sql`set statement_timeout = '30s'`;
      await sql`insert into items values (2)`;
    });
    expect(await Promise.all(late)).toEqual([
      expect.objectContaining({ migrations: ["0002_lock"] }),
    ]);
  });

  test("DROP SCHEMA pg2kafka CASCADE leaves nothing behind, and the tables work", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create table items (id int primary key, a text);
      create table m (id int) partition by list (id);
      create table m_1 partition of m default;
      create table p (id int);
      create table c () inherits (p);`);
    const objects = () => sql`
      select 'class' as kind, oid::regclass::text as name from pg_class where relnamespace = 'public'::regnamespace
      union all
      select 'function', oid::regprocedure::text from pg_proc where pronamespace::regnamespace::text !~ '^(pg_|information)'
      union all
      select 'schema', nspname from pg_namespace where nspname !~ '^pg_(temp|toast)'
      union all
      select 'trigger', tgname from pg_trigger where not tgisinternal
      union all
      select 'type', oid::regtype::text from pg_type where typnamespace::regnamespace::text !~ '^(pg_|information)'
      order by 1, 2`;
    const named = (await objects()).filter(({ name }) => !String(name).startsWith("pg2kafka"));
    await sql.unsafe(`
      select pg2kafka.setup('items', 'id'), pg2kafka.setup('m', 'id'), pg2kafka.setup('p', 'id');
      insert into items values (1, 'x');
      drop schema pg2kafka cascade;`);
    expect([...(await objects())]).toEqual(named);
    await sql.unsafe(`
      insert into items values (2, 'x'); update items set a = 'y'; delete from items; truncate items;
      insert into m values (1); truncate m_1; insert into c values (1); truncate c;`);
  });

  test("what is installed again after DROP SCHEMA is whole", async () => {
    const { sql } = pg;
    await sql`drop schema pg2kafka cascade`;
    await migrate(sql, schema);
    await expect(await dumpSchema(sql)).toMatchFileSnapshot("schema.dump.txt");
  });
});
