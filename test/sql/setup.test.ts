import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { pidOf, useDatabase, versions, waitFor, waitUntilBlocked } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";

/** What setup() and teardown() may change, and nothing else tells of. */
async function footprint(sql: Sql): Promise<unknown> {
  return [
    await sql`select * from pg2kafka.external_id_relations order by id`,
    await sql`select tgrelid, tgname from pg_trigger where not tgisinternal order by 1, 2`,
    await sql`
      select proname from pg_proc
      where pronamespace = 'pg2kafka'::regnamespace and proname like 'enqueue\\_event\\_%' order by 1`,
    await sql`select count(*)::int from pg2kafka.outbound_event_queue`,
  ];
}

/** What is refused: the statement, its errcode and its hint. */
const refusals: [string, string, string, RegExp | undefined][] = [
  ["a column that is missing", "select pg2kafka.setup('items', 'nope')", "42703", /capitals/],
  ["a column in other capitals", "select pg2kafka.setup('items', 'ID')", "42703", /capitals/],
  ["a system column", "select pg2kafka.setup('items', 'ctid')", "42703", /capitals/],
  ["a table that is missing", "select pg2kafka.setup('nope', 'id')", "42P01", undefined],
  ["a view", "select pg2kafka.setup('a_view', 'id')", "42809", /Pass a table/],
  ["a materialized view", "select pg2kafka.setup('a_matview', 'id')", "42809", /Pass a table/],
  ["an index", "select pg2kafka.setup('items_pkey', 'id')", "42809", /Pass a table/],
  ["a sequence", "select pg2kafka.setup('a_sequence', 'id')", "42809", /Pass a table/],
  ["a temporary table", "select pg2kafka.setup('a_temporary', 'id')", "42809", /Pass a table/],
  ["a foreign table", "select pg2kafka.setup('a_foreign', 'id')", "42809", /Pass a table/],
  [
    "a partition",
    "select pg2kafka.setup('a_partition', 'id')",
    "42809",
    /Track .*parent.* instead/,
  ],
  ["a system catalog", "select pg2kafka.setup('pg_class', 'oid')", "42809", /Pass a table/],
  ["the queue", "select pg2kafka.setup('pg2kafka.control', 'one')", "42809", /Pass a table/],
  ["no table", "select pg2kafka.setup(null, 'id')", "42703", undefined],
  ["no column", "select pg2kafka.setup('items', null)", "42703", undefined],
  [
    "REPEATABLE READ",
    "begin isolation level repeatable read; select pg2kafka.setup('items', 'id')",
    "25001",
    /read committed/,
  ],
  [
    "SERIALIZABLE",
    "begin isolation level serializable; select pg2kafka.setup('items', 'id')",
    "25001",
    /read committed/,
  ],
  [
    "a snapshot in REPEATABLE READ",
    "begin isolation level repeatable read; select pg2kafka.create_snapshot_events('items')",
    "25001",
    /read committed/,
  ],
  [
    "a snapshot of an untracked table",
    "select pg2kafka.create_snapshot_events('items')",
    "42704",
    /setup/,
  ],
];

describe.each(versions)("setup and teardown on Postgres %i", (version) => {
  const pg = useDatabase(version, { settings: { max_prepared_transactions: "5" } });

  async function createItems(): Promise<void> {
    await pg.sql`create table items (id int primary key, a text)`;
    await pg.sql`insert into items select g, 'x' from generate_series(1, 3) g`;
  }

  const messages = () =>
    pg.database.notices.map(({ severity, message }) => `${severity} ${message}`);

  test("what cannot be tracked is refused with a reason, and nothing is changed", async () => {
    await createItems();
    const { sql } = pg;
    await sql.unsafe(`
      create view a_view as select * from items;
      create materialized view a_matview as select * from items;
      create sequence a_sequence;
      create temporary table a_temporary (id int);
      create foreign data wrapper nothing;
      create server nowhere foreign data wrapper nothing;
      create foreign table a_foreign (id int) server nowhere;
      create table parent (id int) partition by list (id);
      create table a_partition partition of parent default;`);
    const before = await footprint(sql);
    for (const [what, text, code, hint] of refusals) {
      const error = await sql.unsafe(text).catch((thrown) => thrown);
      await sql`rollback`;
      expect(error, what).toMatchObject({ code });
      if (hint) {
        expect(error.hint, what).toMatch(hint);
        expect(error.message, what).toMatch(/^pg2kafka: /);
      }
      expect(await footprint(sql), what).toEqual(before);
    }
  });

  test("READ COMMITTED that is asked for works where the default is another", async () => {
    await createItems();
    const { sql } = pg;
    await sql`set default_transaction_isolation = 'repeatable read'`;
    await sql.begin(
      "isolation level read committed",
      (tx) => tx`select pg2kafka.setup('items', 'id')`,
    );
    expect(await readEvents(sql)).toHaveLength(3);
  });

  test("a second time: a WARNING, and nothing else", async () => {
    await createItems();
    const { sql } = pg;
    await sql`select pg2kafka.setup('items', 'id')`;
    const before = await footprint(sql);
    await sql`select pg2kafka.setup('items', 'id')`;
    await sql`select pg2kafka.setup('items', 'a')`;
    expect(messages()).toEqual(
      Array(2).fill(
        'WARNING pg2kafka: table public.items is tracked already, by "id". Skipping setup.',
      ),
    );
    expect(await footprint(sql)).toEqual(before);
  });

  test("of an UNLOGGED table, which a crash would empty, it says so", async () => {
    await pg.sql`create unlogged table items (id int primary key)`;
    await pg.sql`select pg2kafka.setup('items', 'id')`;
    expect(messages()).toEqual([
      "NOTICE pg2kafka: public.items is UNLOGGED: a crash of the server empties it, and makes no events of that",
    ]);
  });

  test("two at once: one works, the other waits, and warns", async () => {
    await createItems();
    const { sql, database } = pg;
    const notices: string[] = [];
    const [first, second] = [
      database.connect(),
      database.connect({ onnotice: ({ message }) => notices.push(message ?? "") }),
    ];
    const pid = await pidOf(second);
    const late: Promise<unknown>[] = [];
    await first.begin(async (tx) => {
      await tx`select pg2kafka.setup('items', 'id')`;
      late.push(second`select pg2kafka.setup('items', 'id')`.execute());
      await waitUntilBlocked(sql, pid);
    });
    await Promise.all(late);
    expect(notices).toEqual([expect.stringContaining("is tracked already")]);
    expect(await readEvents(sql)).toHaveLength(3);
    expect(await sql`select count(*)::int from pg2kafka.external_id_relations`).toEqual([
      { count: 1 },
    ]);
  });

  test("a row that a writer commits while setup() waits for it is in the snapshot", async () => {
    await createItems();
    const { sql, database } = pg;
    const [writer, owner] = [database.connect(), database.connect()];
    const pid = await pidOf(owner);
    const late: Promise<unknown>[] = [];
    await writer.begin(async (tx) => {
      await tx`insert into items values (4, 'late')`;
      late.push(owner`select pg2kafka.setup('items', 'id')`.execute());
      await waitUntilBlocked(sql, pid);
    });
    await Promise.all(late);
    await sql`update items set a = 'after' where id = 4`;
    await expectFoldEqualsTable(sql, "items", "id");
    expect(await readEvents(sql)).toHaveLength(5);
  });

  test("whoever holds the table too long is named: a writer, also of a partition, a prepared transaction, a reader whom teardown() would block; nobody waits behind the request", async () => {
    await createItems();
    const { sql, database } = pg;
    await sql.unsafe(`
      create table m (id int) partition by list (id);
      create table m_1 partition of m for values in (1);
      create table prepared (id int);
      create table tracked (id int primary key);
      select pg2kafka.setup('tracked', 'id');`);
    const before = (await footprint(sql)) as unknown[];
    await sql.unsafe("begin; insert into prepared values (2); prepare transaction 'held'");
    const holder = database.connect({ connection: { application_name: "the holder" } });
    const pid = await pidOf(holder);
    const owners = ["items", "m", "prepared", "tracked"].map(() => database.connect());
    const ownerPids = await Promise.all(owners.map(pidOf));
    const writer = database.connect();
    await writer`set statement_timeout = '30s'`;
    await holder.begin(async (tx) => {
      await tx`insert into items values (4, 'late')`;
      await tx`insert into m_1 values (1)`;
      await tx`select * from tracked`;
      const refusals = Promise.all([
        owners[0]!`select pg2kafka.setup('items', 'id')`.catch((error) => error),
        owners[1]!`select pg2kafka.setup('m', 'id')`.catch((error) => error),
        owners[2]!`select pg2kafka.setup('prepared', 'id')`.catch((error) => error),
        owners[3]!`select pg2kafka.teardown('tracked')`.catch((error) => error),
      ]);
      for (const ownerPid of ownerPids) await waitUntilBlocked(sql, ownerPid);
      for (let id = 10; id < 20; id++) {
        await writer`insert into items values (${id}, 'w')`;
        await writer`insert into tracked values (${id})`;
      }
      for (const [index, error] of (await refusals).entries()) {
        const name =
          index === 2
            ? "a prepared transaction"
            : `process ${pid} (user postgres, application "the holder"`;
        expect(error).toMatchObject({
          code: "55P03",
          message: expect.stringContaining(name),
          hint: expect.stringContaining("Nothing was changed"),
        });
      }
    });
    await sql`rollback prepared 'held'`;
    expect(((await footprint(sql)) as unknown[]).slice(0, 3)).toEqual(before.slice(0, 3));
    await expectFoldEqualsTable(sql, "tracked", "id");
  });

  test("readers read while setup() holds the table, and setup() waits for none of them", async () => {
    await createItems();
    const { sql, database } = pg;
    const reader = database.connect();
    await reader.begin(async (tx) => {
      await tx`select * from items`;
      await sql.begin(async (owner) => {
        await owner`select pg2kafka.setup('items', 'id')`;
        const other = database.connect();
        expect(await other`select count(*)::int from items`).toEqual([{ count: 3 }]);
      });
      expect(await tx`select count(*)::int from items`).toEqual([{ count: 3 }]);
    });
  });

  test("row-level security that would hide rows is an error, not a smaller snapshot", async () => {
    await createItems();
    const { sql, database } = pg;
    const role = `owner_${database.name}`;
    await sql.unsafe(`
      create role ${role} login;
      grant all on schema public to ${role};
      alter schema pg2kafka owner to ${role};
      alter table items owner to ${role};
      alter table items enable row level security;
      create policy first_only on items using (id = 1);`);
    for (const kind of ["function", "table", "sequence"]) {
      const objects = await sql<{ name: string }[]>`
        select case ${kind}
          when 'function' then oid::regprocedure::text else '' end as name
        from pg_proc where pronamespace = 'pg2kafka'::regnamespace and ${kind} = 'function'`;
      for (const { name } of objects) await sql.unsafe(`alter function ${name} owner to ${role}`);
    }
    await sql.unsafe(`grant all on all tables in schema pg2kafka to ${role};
      grant all on all sequences in schema pg2kafka to ${role};`);
    await sql`alter table items force row level security`;
    const before = await footprint(sql);
    await sql.unsafe(`set role ${role}`);
    await expect(sql`select pg2kafka.setup('items', 'id')`).rejects.toMatchObject({
      message: expect.stringContaining("row-level security"),
    });
    await sql`reset role`;
    expect(await footprint(sql)).toEqual(before);
    await sql`alter table items no force row level security`;
    await sql.unsafe(`set role ${role}`);
    await sql`select pg2kafka.setup('items', 'id')`;
    await sql`reset role`;
    expect(await readEvents(sql)).toHaveLength(3);
    await sql.unsafe(
      `reassign owned by ${role} to current_user; drop owned by ${role}; drop role ${role}`,
    );
  });

  test("two tables whose topics Kafka would not tell apart are refused, also at once", async () => {
    const { sql, database } = pg;
    await sql.unsafe(`
      create schema x;
      create table x.y (id int primary key);
      create table "x.y" (id int primary key);
      create table x_y (id int primary key);
      create table "x-2Ey" (id int primary key);
      create schema a;
      create table a.b (id int primary key);
      create table a_b (id int primary key);
      select pg2kafka.setup('x.y', 'id');`);
    await expect(sql`select pg2kafka.setup('x_y', 'id')`).rejects.toMatchObject({
      code: "42710",
      hint: expect.stringContaining("Rename"),
    });
    // Their topics end in x.y, x-2Ey and x-2D2Ey.
    await sql`select pg2kafka.setup('"x.y"', 'id'), pg2kafka.setup('"x-2Ey"', 'id')`;
    const second = database.connect();
    const pid = await pidOf(second);
    const late: Promise<unknown>[] = [];
    await sql.begin(async (tx) => {
      await tx`select pg2kafka.setup('a_b', 'id')`;
      late.push(
        expect(second`select pg2kafka.setup('a.b', 'id')`).rejects.toMatchObject({
          code: "42710",
        }),
      );
      const observer = database.connect();
      await waitUntilBlocked(observer, pid);
    });
    await Promise.all(late);
    await sql`drop table x.y`;
    await sql`select pg2kafka.setup('x_y', 'id')`;
  });

  test("a name too long for a topic is refused", async () => {
    const { sql } = pg;
    const name = `"${"é".repeat(31)}"`;
    await sql.unsafe(`create schema ${name}; create table ${name}.${name} (id int)`);
    await expect(sql`select pg2kafka.setup(${`${name}.${name}`}, 'id')`).rejects.toMatchObject({
      code: "42622",
    });
  });

  test("two tables of one name in two schemas are two tables", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create schema other;
      create table items (id int primary key);
      create table other.items (id int primary key);
      select pg2kafka.setup('items', 'id'), pg2kafka.setup('other.items', 'id');
      insert into items values (1);
      insert into other.items values (2);`);
    const events = await readEvents(sql);
    expect(events.map((event) => [event.table_schema, event.external_id])).toEqual([
      ["public", "1"],
      ["other", "2"],
    ]);
    await sql`select pg2kafka.teardown('items')`;
    await sql`insert into other.items values (3)`;
    expect(await readEvents(sql)).toHaveLength(3);
  });

  test("a table outside search_path, and an odd search_path, are no obstacle", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create schema "odd Schema";
      create table "odd Schema".items (id int primary key, a text);
      create table "odd Schema".pg_class (relname text);
      create function "odd Schema".to_json(anyelement) returns json language sql as $$ select '"no"'::json $$;
      set search_path = "odd Schema", pg_catalog;
      select pg2kafka.setup('items', 'id');
      insert into items values (1, 'x');
      set search_path = '';
      update "odd Schema".items set a = 'y';`);
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "1", { id: "1", a: "x" }],
      ["UPDATE", "1", { a: "y" }],
    ]);
  });

  test.each([
    ["a unique index over the external id alone", "create unique index on items (k)", false],
    ["no index", "select 1", true],
    ["an index that is not unique", "create index on items (k)", true],
    ["a partial unique index", "create unique index on items (k) where id > 1", true],
    ["a unique index over two columns", "create unique index on items (k, id)", true],
    ["a unique index over an expression", "create unique index on items (lower(k))", true],
  ])("%s: is there a NOTICE about order?", async (_, text, isNoticed) => {
    const { sql } = pg;
    await sql`create table items (id int, k text)`;
    await sql.unsafe(text);
    await sql`select pg2kafka.setup('items', 'k')`;
    expect(messages()).toEqual(
      isNoticed ? [expect.stringMatching(/^NOTICE pg2kafka: no unique index .* order/)] : [],
    );
  });

  test("teardown ends capture at once; what is queued stays; setup works again", async () => {
    await createItems();
    const { sql } = pg;
    const before = (await footprint(sql)) as unknown[];
    await sql`select pg2kafka.setup('items', 'id')`;
    await sql`update items set a = 'y' where id = 1`;
    await sql`select pg2kafka.teardown('items')`;
    await sql`update items set a = 'unseen'`;
    await sql`truncate items`;
    expect(await readEvents(sql)).toHaveLength(4);
    expect(((await footprint(sql)) as unknown[]).slice(0, 3)).toEqual(before.slice(0, 3));
    await sql`select pg2kafka.teardown('items')`;
    expect(messages()).toEqual([
      "WARNING pg2kafka: table public.items is not tracked. Skipping teardown.",
    ]);
    await sql`insert into items values (7, 'z')`;
    await clearEvents(sql);
    await sql`select pg2kafka.setup('items', 'a')`;
    await sql`delete from items`;
    expect(await readBriefly(sql)).toEqual([
      ["SNAPSHOT", "z", { id: "7", a: "z" }],
      ["DELETE", "z", {}],
    ]);
  });

  test("a table that is dropped, made again and set up again is tracked", async () => {
    await createItems();
    const { sql } = pg;
    await sql`select pg2kafka.setup('items', 'id')`;
    await sql`insert into items values (4, 'queued')`;
    await sql`drop table items`;
    await createItems();
    await clearEvents(sql);
    await sql`select pg2kafka.setup('items', 'id')`;
    await sql`insert into items values (5, 'new')`;
    expect(await readEvents(sql)).toHaveLength(4);
    expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);
  });

  test("create_snapshot_events() again sends the table as it is now, under its name now", async () => {
    await createItems();
    const { sql } = pg;
    await sql`select pg2kafka.setup('items', 'id')`;
    await sql.unsafe(`
      alter table items rename to things;
      alter table things rename id to "Id";
      alter table things add b int default 5;
      truncate pg2kafka.outbound_event_queue;
      select pg2kafka.create_snapshot_events('things');`);
    expect(await readBriefly(sql, "things")).toEqual(
      ["1", "2", "3"].map((id) => ["SNAPSHOT", id, { Id: id, a: "x", b: "5" }]),
    );
  });

  test("statement_timeout ends setup() with nothing changed", async () => {
    await createItems();
    const { sql, database } = pg;
    const writer = database.connect();
    const before = (await footprint(sql)) as unknown[];
    await writer.begin(async (tx) => {
      await tx`insert into items values (4, 'late')`;
      await sql`set statement_timeout = '300ms'`;
      await expect(sql`select pg2kafka.setup('items', 'id')`).rejects.toMatchObject({
        code: "57014",
      });
      await sql`set statement_timeout = 0`;
    });
    expect(((await footprint(sql)) as unknown[]).slice(0, 3)).toEqual(before.slice(0, 3));
    await waitFor(async () => (await readEvents(sql)).length === 0);
  });

  test("so it does where a lock_timeout that was due before it comes at the same moment", async () => {
    await createItems();
    const { sql, database } = pg;
    const [writer, owner] = [database.connect(), database.connect()];
    const pid = await pidOf(owner);
    // Long enough to be seen in one of its tries, and over before the last of them.
    await owner`set statement_timeout = '2s'`;
    await writer.begin(async (tx) => {
      await tx`insert into items values (4, 'late')`;
      const refused = expect(owner`select pg2kafka.setup('items', 'id')`).rejects.toMatchObject({
        code: "57014",
      });
      await waitUntilBlocked(sql, pid);
      // As on a machine too busy to run the process when its timers go off.
      process.kill(pid, "SIGSTOP");
      try {
        await waitFor(async () => {
          const [session] = await sql`
            select clock_timestamp() - query_start > interval '2.1 s' as over
            from pg_stat_activity where pid = ${pid}`;
          return session?.["over"];
        });
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await refused;
    });
  });
});
