import { describe, expect, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { readStatus } from "../../functions/core/postgres/status.ts";
import { schema, useDatabase, versions } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";

/* Who may call what. Each SECURITY DEFINER function of the schema must be here: it does what its
   caller could not. */
const CALLERS: Record<"drain" | "operator" | "both" | "owner", readonly string[]> = {
  drain: [
    "drawn_id()",
    "forget_kept(integer,uuid,bigint,bigint)",
    "has_work(integer,integer,uuid,pg_snapshot,bigint)",
    "is_of_share(text,integer,integer)",
    "keep_step(integer,uuid,bigint,bigint,integer,bigint)",
    "read_events(pg_snapshot,bigint,jsonb,integer,integer,integer,bigint,bigint,bigint)",
    "read_state(integer,integer,bigint)",
    "reclaim(integer,integer,uuid,boolean)",
    "reclaim_log()",
    "refresh_captures(boolean)",
    "replay_step(integer,bigint)",
    "settle(integer,uuid,integer,jsonb,jsonb,boolean,jsonb,jsonb,bigint[],integer,bigint)",
    "snapshot_step(integer,integer,integer,bigint)",
    "take_lease(integer,integer,integer)",
  ],
  operator: [
    "cancel_replay(integer)",
    "cancel_snapshot(integer)",
    "discard(bigint)",
    "pause()",
    "pause_snapshot(integer)",
    "replay(regclass,timestamp with time zone,timestamp with time zone,text[])",
    "requeue(bigint)",
    "resume()",
    "resume_snapshot(integer)",
    "setup(regclass,text)",
    "snapshot(regclass,text,text[])",
    "teardown(regclass)",
  ],
  both: ["status(integer)"],
  // Triggers, which need no right to fire, and what others call with the owner's rights.
  owner: [
    "compile_capture(integer)",
    "create_snapshot_events(regclass)",
    "create_triggers(integer)",
    "enqueue_event()",
    "enqueue_event_1()",
    "enqueue_event_1_delete()",
    "enqueue_event_1_insert()",
    "enqueue_event_1_update()",
    "is_compiled_for(regclass,text)",
    "open_statement()",
    "restart_ids()",
    "restart_keeping()",
    "restart_parking()",
    "restart_snapshots()",
    "rewind_snapshots(jsonb)",
  ],
};

/** Who may read what; nobody may do more. */
const READERS: Record<"drain" | "operator" | "writer", readonly string[]> = {
  drain: ["control", "parked_events", "snapshots"],
  operator: ["control", "external_id_relations", "parked", "replays", "snapshots"],
  writer: [],
};

describe.each(versions)("roles on Postgres %i", (version) => {
  const pg = useDatabase(version, { superuser: true });

  /** Roles belong to the server: their names carry the database's. */
  async function createRole(name: string): Promise<string> {
    const role = `${name}_${pg.database.name}`;
    await pg.sql.unsafe(`create role "${role}"`);
    return role;
  }

  async function as<Result>(role: string, work: () => Promise<Result>): Promise<Result> {
    await pg.sql.unsafe(`set role "${role}"`);
    try {
      return await work();
    } finally {
      await pg.sql`reset role`;
    }
  }

  async function dropRoles(...roles: string[]): Promise<void> {
    for (const role of roles) {
      await pg.sql.unsafe(`reassign owned by "${role}" to current_user; drop owned by "${role}"`);
      await pg.sql.unsafe(`drop role "${role}"`);
    }
  }

  test("a writer without any right on the schema writes, and is captured", async () => {
    const { sql } = pg;
    const writer = await createRole("writer");
    await sql.unsafe(`
      -- As a hardened database may have it.
      revoke execute on function pg_catalog.set_config(text, text, boolean),
        pg_catalog.current_setting(text, boolean), pg_catalog.concat(variadic "any"),
        pg_catalog.pg_stat_get_xact_tuples_inserted(oid), pg_catalog.pg_stat_get_xact_tuples_updated(oid),
        pg_catalog.pg_stat_get_xact_tuples_deleted(oid) from public;
      create table items (id int primary key, a text);
      create table m (id int) partition by list (id);
      create table m_1 partition of m default;
      grant all on items, m, m_1 to "${writer}";
      select pg2kafka.setup('items', 'id'), pg2kafka.setup('m', 'id');`);
    await as(writer, async () => {
      await sql`insert into items values (1, 'x'), (2, 'y')`;
      await sql`update items set a = 'z'`;
      await sql`insert into items values (1, 'q') on conflict (id) do update set a = 'qq'`;
      await sql`delete from items where id = 2`;
      await sql`insert into m_1 values (1)`;
      await sql`truncate m_1`;
      await expect(sql`select * from pg2kafka.outbound_event_queue`).rejects.toThrow(
        "permission denied",
      );
      await expect(sql`select pg2kafka.setup('items', 'id')`).rejects.toThrow("permission denied");
    });
    await expectFoldEqualsTable(sql, "items", "id");
    await sql`alter table items add b int`;
    await sql`alter table m add b int`;
    await as(writer, async () => {
      await sql`update items set b = 1`;
      await sql`insert into m values (2, 3)`;
      await sql`truncate m`;
      await sql`truncate items`;
    });
    expect((await readBriefly(sql)).slice(-4)).toEqual([
      ["UPDATE", "1", { b: "1" }],
      ["INSERT", "2", { id: "2", b: "3" }],
      ["TRUNCATE", null, {}],
      ["TRUNCATE", null, {}],
    ]);
    await dropRoles(writer);
  });

  test("a writer who makes types, tables and functions of its own runs none of them as pg2kafka", async () => {
    const { sql, database } = pg;
    const writer = await createRole("writer");
    await sql.unsafe(`
      create table items (id int primary key, a text, n numeric);
      create table m (id int, a text) partition by list (id);
      create table m_1 partition of m default;
      grant all on items, m, m_1 to "${writer}";
      grant temporary on database ${database.name} to "${writer}";
      select pg2kafka.setup('items', 'id'), pg2kafka.setup('m', 'id');`);
    await as(writer, async () => {
      await sql.unsafe(`
        create function pg_temp.evil(pg_catalog.text) returns boolean language plpgsql as
          $$ begin raise warning 'run as %', current_user; return true; end $$;
        create domain pg_temp.json as pg_catalog.json check (pg_temp.evil(value::pg_catalog.text));
        create domain pg_temp.text as pg_catalog.text check (pg_temp.evil(value));
        create domain pg_temp.oid as pg_catalog.oid check (pg_temp.evil('oid'));
        create domain pg_temp.regclass as pg_catalog.regclass check (pg_temp.evil('regclass'));
        create domain pg_temp.regtype as pg_catalog.regtype check (pg_temp.evil('regtype'));
        create temporary table new_rows (id int);
        create temporary table old_rows (id int);
        create temporary table pg_class (id int);
        insert into items values (1, 'x', 1);
        update items set a = 'y', n = 2;
        delete from items;
        truncate items;
        insert into m values (1, 'x');
        update m set a = 'y';
        truncate m_1;`);
    });
    expect(database.notices.filter(({ severity }) => severity !== "NOTICE")).toEqual([]);
    expect(await readEvents(sql)).toHaveLength(7);
    await dropRoles(writer);
  });

  test("setup and teardown: the table's owner and its members, nobody else", async () => {
    const { sql } = pg;
    const owner = await createRole("owner");
    const member = await createRole("member");
    const stranger = await createRole("stranger");
    await sql.unsafe(`
      grant "${owner}" to "${member}";
      create table items (id int primary key, a text);
      alter table items owner to "${owner}";
      grant all on items to "${stranger}";
      grant usage on schema pg2kafka to "${owner}", "${member}", "${stranger}";
      grant execute on function pg2kafka.setup(regclass, text), pg2kafka.teardown(regclass),
        pg2kafka.create_snapshot_events(regclass) to "${owner}", "${member}", "${stranger}";`);
    const refused = { code: "42501", hint: expect.stringContaining("the owner of the table") };
    await as(stranger, async () => {
      await expect(sql`select pg2kafka.setup('items', 'id')`).rejects.toMatchObject(refused);
    });
    expect(await sql`select * from pg2kafka.external_id_relations`).toEqual([]);
    await as(member, () => sql`select pg2kafka.setup('items', 'id')`);
    await as(stranger, async () => {
      await expect(sql`select pg2kafka.teardown('items')`).rejects.toMatchObject(refused);
      await expect(sql`select pg2kafka.create_snapshot_events('items')`).rejects.toMatchObject(
        refused,
      );
      await sql`insert into items values (1, 'x')`;
    });
    expect(await readEvents(sql)).toHaveLength(1);
    await as(owner, () => sql`select pg2kafka.teardown('items')`);
    await as(owner, () => sql`select pg2kafka.setup('items', 'id')`);
    await as(member, () => sql`select pg2kafka.teardown('items')`);
    await dropRoles(owner, member, stranger);
  });

  test("pg2kafka may belong to a role that is no superuser, if it is a member of the tables' owners", async () => {
    const { sql } = pg;
    const owner = await createRole("owner");
    const keeper = await createRole("keeper");
    await sql.unsafe(`
      drop schema pg2kafka cascade;
      grant create on database ${pg.database.name} to "${keeper}";
      create table items (id int primary key, a text);
      alter table items owner to "${owner}";`);
    await as(keeper, () => migrate(sql, schema));
    await sql.unsafe(`
      grant usage on schema pg2kafka to "${owner}";
      grant execute on function pg2kafka.setup(regclass, text) to "${owner}";`);
    await as(owner, async () => {
      await expect(sql`select pg2kafka.setup('items', 'id')`).rejects.toMatchObject({
        code: "42501",
        hint: `Run: grant ${owner} to ${keeper}`,
      });
    });
    await sql.unsafe(`grant "${owner}" to "${keeper}"`);
    await as(owner, async () => {
      await sql`select pg2kafka.setup('items', 'id')`;
      await sql`insert into items values (1, 'x')`;
      await sql`alter table items add b int`;
      await sql`update items set b = 5`;
      await sql`delete from items`;
    });
    await as(keeper, () => sql`select pg2kafka.refresh_captures()`);
    await expectFoldEqualsTable(sql, "items", "id");
    expect(await readEvents(sql)).toHaveLength(3);
    await dropRoles(owner, keeper);
  });

  test("a table that was given to a role pg2kafka is no member of stops no other table's capture", async () => {
    const { sql, database } = pg;
    const [owner, other, keeper] = [
      await createRole("owner"),
      await createRole("other"),
      await createRole("keeper"),
    ];
    await sql.unsafe(`
      drop schema pg2kafka cascade;
      grant create on database ${database.name} to "${keeper}";
      grant "${owner}" to "${keeper}";
      create table lost (id int primary key);
      create table items (id int primary key);
      create table m (id int primary key) partition by list (id);
      create table m_1 partition of m for values in (1);
      create table m_2 partition of m for values in (2);
      alter table lost owner to "${owner}";
      alter table items owner to "${owner}";
      alter table m owner to "${owner}";
      alter table m_1 owner to "${owner}";
      alter table m_2 owner to "${owner}";`);
    await as(keeper, async () => {
      await migrate(sql, schema);
      await sql`select pg2kafka.setup('lost', 'id'), pg2kafka.setup('items', 'id'), pg2kafka.setup('m', 'id')`;
    });
    await sql.unsafe(`
      alter table lost owner to "${other}";
      alter table lost add b int;
      alter table items add b int;`);
    await as(keeper, async () => {
      expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 1 }]);
    });
    expect(database.notices.filter(({ severity }) => severity === "WARNING")).toMatchObject([
      { message: expect.stringMatching(/the capture of table public\.lost cannot .* 42501/) },
    ]);

    // Rows that may not be read: the application's TRUNCATE goes on, and somebody is told.
    await sql.unsafe(`
      insert into m values (1), (2);
      alter table m_2 owner to "${other}";
      truncate m_2;
      create policy nobody on m_1 using (false);
      alter table m_1 enable row level security;
      alter table m_1 force row level security;
      truncate m_1;`);
    expect((await readBriefly(sql, "m")).slice(-2)).toEqual([
      ["DELETE", null, null],
      ["DELETE", null, null],
    ]);
    await dropRoles(owner, other, keeper);
  });

  test("an owner's code that Postgres runs for somebody else may not track or untrack their tables", async () => {
    const { sql } = pg;
    const operator = await createRole("operator");
    await sql.unsafe(`
      create table items (id int primary key);
      create schema "${operator}" authorization "${operator}";
      select pg2kafka.setup('items', 'id'), pg2kafka.grant_operator('"${operator}"');`);
    await as(operator, () =>
      sql.unsafe(`
        create table "${operator}".bait (id int);
        insert into "${operator}".bait values (1);
        create function "${operator}".untrack(int) returns int immutable language plpgsql as $$
        begin
          if session_user <> '${operator}' and current_setting('role') = 'none' then
            perform pg2kafka.teardown('public.items');
          end if;
          return 1;
        end $$;
        create index on "${operator}".bait ("${operator}".untrack(id))`),
    );
    await expect(sql.unsafe(`analyze "${operator}".bait`)).rejects.toThrow(
      "security-restricted operation",
    );
    expect(await sql`select from pg2kafka.external_id_relations`).toHaveLength(1);
    await dropRoles(operator);
  });

  test("an operator has events sent again, and sees neither them nor the keys that are asked for", async () => {
    const { sql } = pg;
    const operator = await createRole("operator");
    await sql`create table items (id int primary key)`;
    await sql`select pg2kafka.grant_operator(${`"${operator}"`}::text::regrole)`;
    await as(operator, async () => {
      await sql`select pg2kafka.replay(${"items"}, now() - interval '1 hour', null, ${["secret"]})`;
      const rows = await sql`select * from pg2kafka.replays`;
      expect(rows).toMatchObject([{ table_name: "items", keys: 1, started_by: "postgres" }]);
      expect(JSON.stringify(rows)).not.toContain("secret");
      const id = rows[0]!["id"];
      await sql`select pg2kafka.cancel_replay(${id})`;
      for (const table of ["event_replays", "delivered_events", "outbound_event_queue"]) {
        await expect(sql`select * from pg2kafka.${sql(table)}`).rejects.toThrow(
          "permission denied",
        );
      }
      await expect(sql`select pg2kafka.replay_step(1, 1)`).rejects.toThrow("permission denied");
    });
    await sql`delete from pg2kafka.event_replays`;
    await dropRoles(operator);
  });

  test("nothing in the schema may be executed or read by everybody", async () => {
    const { sql } = pg;
    await sql`create table items (id int primary key)`;
    await sql`select pg2kafka.setup('items', 'id')`;
    const nobody = await createRole("nobody");
    const open = await sql`
      select oid::regprocedure::text as name from pg_proc
      where pronamespace = 'pg2kafka'::regnamespace and has_function_privilege(${nobody}, oid, 'execute')
      union all
      select oid::regclass::text from pg_class
      where relnamespace = 'pg2kafka'::regnamespace and relkind in ('r', 'p', 'v')
        and has_table_privilege(${nobody}, oid, 'select, insert, update, delete, truncate')`;
    expect(open).toEqual([]);
    await dropRoles(nobody);
    await clearEvents(sql);
  });

  test("each role may call and read what it is for, and nothing else in the schema", async () => {
    const { sql } = pg;
    await sql`create table items (id int primary key)`;
    await sql`select pg2kafka.setup('items', 'id')`;
    const roles = {
      drain: await createRole("drain"),
      operator: await createRole("operator"),
      writer: await createRole("writer"),
    };
    const { drain, operator, writer } = roles;
    await sql.unsafe(`
      grant all on items to "${writer}";
      select pg2kafka.grant_drain('"${drain}"'), pg2kafka.grant_operator('"${operator}"');`);

    const functions = await sql<{ name: string; asOwner: boolean; callers: string[] }[]>`
      select replace(p.oid::regprocedure::text, 'pg2kafka.', '') as name, p.prosecdef as "asOwner",
        array(
          select r from unnest(${Object.values(roles)}::text[]) r where has_function_privilege(r, p.oid, 'execute')
        ) as callers
      from pg_proc p where p.pronamespace = 'pg2kafka'::regnamespace`;
    const callable = (role: string) =>
      functions.filter(({ callers }) => callers.includes(role)).map(({ name }) => name);
    expect(callable(drain).sort()).toEqual([...CALLERS.drain, ...CALLERS.both].sort());
    expect(callable(operator).sort()).toEqual([...CALLERS.operator, ...CALLERS.both].sort());
    expect(callable(writer)).toEqual([]);
    const decided = new Set(Object.values(CALLERS).flat());
    expect(functions.filter(({ name, asOwner }) => asOwner && !decided.has(name))).toEqual([]);

    for (const [name, role] of Object.entries(roles) as [keyof typeof READERS, string][]) {
      const rights = await sql`
        select c.relname as name, p.privilege
        from pg_class c
        cross join unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger', 'usage'])
          as p (privilege)
        where c.relnamespace = 'pg2kafka'::regnamespace and case
          when c.relkind = 'S' then p.privilege in ('usage', 'select', 'update') and has_sequence_privilege(${role}, c.oid, p.privilege)
          when c.relkind not in ('r', 'p', 'v', 'm', 'f') or p.privilege = 'usage' then false
          when p.privilege in ('select', 'insert', 'update', 'references') then has_any_column_privilege(${role}, c.oid, p.privilege)
          else has_table_privilege(${role}, c.oid, p.privilege) end
        order by 1, 2`;
      expect([...rights]).toEqual(
        READERS[name].map((table) => ({ name: table, privilege: "select" })),
      );
      const [schema] = await sql`
        select has_schema_privilege(${role}, 'pg2kafka', 'usage') as usage,
          has_schema_privilege(${role}, 'pg2kafka', 'create') as create`;
      expect(schema).toEqual({ usage: name !== "writer", create: false });
      // A view's functions want rights of their own.
      await as(role, async () => {
        for (const table of READERS[name]) await sql`select * from pg2kafka.${sql(table)}`;
      });
    }
    await as(drain, async () => expect(await readStatus(sql)).toMatchObject({ parked: 0 }));
    await dropRoles(drain, operator, writer);
  });

  test("an operator tracks and sends its own tables, and deals with what is parked; others' tables it does not touch", async () => {
    const { sql } = pg;
    const operator = await createRole("operator");
    await sql.unsafe(`
      create table items (id int primary key);
      create table mine (id int primary key);
      alter table mine owner to "${operator}";
      select pg2kafka.setup('items', 'id'), pg2kafka.snapshot('items');
      select pg2kafka.grant_operator('"${operator}"');
      insert into pg2kafka.parked_events
        (id, uuid, external_id, table_schema, table_name, statement, data, created_at, topic, scope, code, reason, retriable)
      select n, gen_random_uuid(), 'k', 'public', 'items', 'INSERT', '{}', now(), 't', 'key', 'MESSAGE_TOO_LARGE', '', false
      from generate_series(1, 2) n;`);
    await as(operator, async () => {
      await sql`select pg2kafka.setup('mine', 'id')`;
      await sql`insert into mine values (1)`;
      const [{ id }] = (await sql`select pg2kafka.snapshot('mine') as id`) as unknown as [
        { id: number },
      ];
      await sql`select pg2kafka.pause_snapshot(${id})`;
      await sql`select pg2kafka.resume_snapshot(${id})`;
      await sql`select pg2kafka.cancel_snapshot(${id})`;
      await sql`select pg2kafka.pause()`;
      await sql`select pg2kafka.resume()`;
      expect(await sql`select id from pg2kafka.parked`).toHaveLength(2);
      expect(await sql`select pg2kafka.requeue(1)`).toEqual([{ requeue: "1" }]);
      await sql`select pg2kafka.discard(2)`;
      expect(await sql`select parked from pg2kafka.status()`).toEqual([{ parked: "1" }]);
      await sql`select pg2kafka.teardown('mine')`;
      for (const refused of [
        "select pg2kafka.setup('items', 'id')",
        "select pg2kafka.teardown('items')",
        "select pg2kafka.snapshot('items')",
        "select pg2kafka.pause_snapshot(1)",
        "select pg2kafka.cancel_snapshot(1)",
        "select data from pg2kafka.outbound_event_queue",
        "select data from pg2kafka.parked_events",
        "select pg2kafka.take_lease(0, 1, 60000)",
        "delete from pg2kafka.parked_events",
      ]) {
        await expect(sql.unsafe(refused), refused).rejects.toMatchObject({ code: "42501" });
      }
    });
    await dropRoles(operator);
  });
});
