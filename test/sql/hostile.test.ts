import { describe, expect, test } from "vitest";
import { useDatabase, versions } from "../support/database.ts";
import { clearEvents, expectFoldEqualsTable, readBriefly, readEvents } from "../support/events.ts";

/* No value may make the application's write fail, and none may come out as another. */
describe.each(versions)("hostile values on Postgres %i", (version) => {
  const pg = useDatabase(version, { settings: { max_stack_depth: "2MB" } });

  test("null, empty and very long external ids; null and '' are not the same", async () => {
    const { sql } = pg;
    await sql`create table k (id int, key text)`;
    await sql`insert into k values (0, null)`;
    await sql`select pg2kafka.setup('k', 'key')`;
    const long = "é".repeat(10_000);
    await sql`insert into k values (1, null), (2, ''), (3, ${long}), (4, 'it''s "quoted"\\')`;
    await sql`update k set id = id + 10`;
    await sql`delete from k`;
    const keys = (await readBriefly(sql)).map(([statement, key]) => [statement, key]);
    const all = ["", long, `it's "quoted"\\`];
    expect(keys).toEqual([
      ["SNAPSHOT", null],
      ...[null, ...all].map((key) => ["INSERT", key]),
      ...[null, null, ...all].map((key) => ["UPDATE", key]),
      ...[null, null, ...all].map((key) => ["DELETE", key]),
    ]);
  });

  test("a timestamptz key is one key, whatever the writer's time zone and style", async () => {
    const { sql, database } = pg;
    await sql`create table z (at timestamptz primary key, span interval, f float8, b bytea, d date)`;
    const values = `('2024-01-01 12:00:00.5+00', '1 day 02:00', 0.1::float8 + 0.2, '\\xdead', '2024-02-03')`;
    await sql.unsafe(`insert into z values ${values}`);
    await sql`select pg2kafka.setup('z', 'at')`;
    const writer = database.connect();
    await writer.unsafe(`
      set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set intervalstyle = 'iso_8601';
      set extra_float_digits = -5; set bytea_output = 'escape'; set standard_conforming_strings = on;`);
    await writer`delete from z`;
    await writer.unsafe(`insert into z values ${values}`);
    const data = {
      at: "2024-01-01T12:00:00.5+00:00",
      span: "1 day 02:00:00",
      f: "0.30000000000000004",
      b: "\\xdead",
      d: "2024-02-03",
    };
    const key = "2024-01-01 12:00:00.5+00";
    expect(await readBriefly(sql)).toEqual([
      ["SNAPSHOT", key, data],
      ["DELETE", key, {}],
      ["INSERT", key, data],
    ]);
    await clearEvents(sql);
    await writer`update z set at = at + interval '1 hour'`;
    expect(await readBriefly(sql)).toEqual([
      ["UPDATE", key, { at: "2024-01-01T13:00:00.5+00:00" }],
    ]);
  });

  test("each type is captured as a snapshot has it, also where it is the only one, or the key", async () => {
    const { sql, database } = pg;
    const values: Record<string, string> = {
      timestamptz: "'2024-01-02 12:00:00.5+00'",
      timestamp: "'2024-01-02 12:00:00.5'",
      date: "'2024-01-02'",
      time: "'12:00:00.5'",
      timetz: "'12:00:00.5+05:30'",
      interval: "'1 day 02:00'",
      float4: "0.1::float4 + 0.2::float4",
      float8: "0.1::float8 + 0.2",
      bytea: "'\\xdead'",
      "timestamptz[]": "'{2024-01-02 12:00:00.5+00}'",
      oid: "1",
    };
    const writer = database.connect();
    await writer.unsafe(`
      set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set intervalstyle = 'iso_8601';
      set extra_float_digits = -5; set bytea_output = 'escape'`);
    for (const [type, value] of Object.entries(values)) {
      for (const key of ["id", "c"]) {
        await sql.unsafe(`drop table if exists t; create table t (id int, c ${type})`);
        await sql.unsafe(
          `insert into t values (1, ${value}); select pg2kafka.setup('t', '${key}')`,
        );
        await writer.unsafe(`insert into t values (1, ${value})`);
        await writer.unsafe("update t set c = null where c is not null");
        await writer.unsafe(`update t set c = ${value}`);
        const [snapshot, insert, , , update, second] = await readEvents(sql);
        expect(insert, type).toMatchObject({
          external_id: snapshot!.external_id,
          data: snapshot!.data,
        });
        const { c } = snapshot!.data as { c: unknown };
        expect([update!.data, second!.data], type).toEqual([{ c }, { c }]);
        await clearEvents(sql);
      }
    }
  });

  test("a session's own formats stay what they are where columns have changed", async () => {
    const { sql, database } = pg;
    await sql.unsafe("create table t (id int primary key); select pg2kafka.setup('t', 'id')");
    await sql`alter table t add at timestamptz default '2024-01-02 12:00:00+00'`;
    const writer = database.connect();
    await writer.unsafe("set timezone = 'Asia/Tokyo'; set datestyle = 'German'");
    const shown = "select '2024-01-02 12:00+00'::timestamptz::text as at";
    const before = await writer.unsafe(shown);
    await writer.begin(async (tx) => {
      await tx`insert into t values (1)`;
      expect(await tx.unsafe(shown)).toEqual(before);
    });
    expect(await writer.unsafe(shown)).toEqual(before);
    expect((await readEvents(sql))[0]?.data).toMatchObject({ at: "2024-01-02T12:00:00+00:00" });
  });

  test("created_at is the same moment whatever the writer's time zone", async () => {
    const { sql, database } = pg;
    await sql`create table z (id int)`;
    await sql`select pg2kafka.setup('z', 'id')`;
    const writer = database.connect();
    await writer`set timezone = 'Asia/Tokyo'`;
    await writer`insert into z values (1)`;
    const [row] = await sql`
      select abs(date_part('epoch', clock_timestamp() - created_at)) < 30 as is_now
      from pg2kafka.outbound_event_queue`;
    expect(row).toEqual({ is_now: true });
  });

  test("every built-in type, by INSERT, UPDATE and SNAPSHOT", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create type mood as enum ('ok', 'it''s "fine"');
      create type pair as (a int, "B c" text);
      create domain positive as numeric check (value > 0);
      create domain short as varchar(5);
      create table v (
        id int primary key, c_bool boolean, c_int8 int8, c_numeric numeric, c_float8 float8,
        c_float4 float4, c_money money, c_char char(5), c_varchar varchar(9), c_text text,
        c_bytea bytea, c_date date, c_time time, c_timetz timetz, c_timestamp timestamp,
        c_timestamptz timestamptz, c_interval interval, c_uuid uuid, c_json json, c_jsonb jsonb,
        c_xml xml, c_inet inet, c_cidr cidr, c_macaddr macaddr, c_bit bit(3), c_varbit varbit,
        c_point point, c_polygon polygon, c_tsvector tsvector, c_tsquery tsquery,
        c_int4range int4range, c_tstzrange tstzrange, c_ints int[][], c_texts text[],
        c_mood mood, c_moods mood[], c_pair pair, c_pairs pair[], c_positive positive,
        c_short short, c_oid oid, c_regclass regclass, c_lsn pg_lsn, c_snapshot pg_snapshot,
        c_vector int2vector, c_name name, c_jsonpath jsonpath
      );`);
    const values = `
      true, 9223372036854775807, 'NaN', 'Infinity', '-Infinity', '12.34', 'ab', 'varchar',
      E'line\\n"quoted"\\\\ \\t \\u0001 €😀', '\\xdeadbeef', 'infinity', '24:00:00', '12:00+02',
      '-infinity', '0044-03-15 12:00:00+00 BC', '1 year -2 mons 3 days 04:05:06.789',
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": 1.10,  "a": [1e400, "x"], "a": 2}',
      '{"b": 1.10, "a": 12345678901234567890}', '<a>&amp;</a>', '10.0.0.1/24', '10.0.0.0/8',
      '08:00:2b:01:02:03', B'101', B'1', '(1,2)', '((0,0),(1,1),(2,0))', '''a'':1 ''b c''', '''a'' & ''b''',
      '[1,5)', '[2024-01-01,)', '{{1,2},{3,NULL}}', '{a,"b \\"c\\"",NULL,"NULL"}', 'it''s "fine"',
      '{ok}', row(1, 'x "y"'), array[row(1, null)::pair], 1.10, 'short', 4294967295, 'pg_class',
      '0/16B3748', '10:20:10,14', '1 2 3', 'name', '$.a[*] ? (@ > 1)'`;
    await sql.unsafe(`insert into v values (1, ${values})`);
    await sql`select pg2kafka.setup('v', 'id')`;
    await sql.unsafe(`insert into v values (2, ${values})`);
    await sql`insert into v (id) values (3)`;
    const columns = await sql<{ name: string }[]>`
      select attname as name from pg_attribute
      where attrelid = 'v'::regclass and attnum > 1 order by attnum`;
    const list = columns.map(({ name }) => name).join(", ");
    await sql.unsafe(`update v set (${list}) = (select ${list} from v where id = 1) where id = 3`);
    const [snapshot, insert, nulls, update, ...rest] = await readEvents(sql);
    expect(rest).toEqual([]);
    expect(insert?.data).toEqual({ ...snapshot?.data, id: "2" });
    expect({ id: "1", ...update?.data }).toEqual(snapshot?.data);
    expect(Object.values(nulls!.data!).filter((value) => value !== null)).toEqual(["3"]);
    expect(snapshot?.data).toMatchObject({
      c_int8: "9223372036854775807",
      c_numeric: "NaN",
      c_float8: "Infinity",
      c_float4: "-Infinity",
      c_bytea: "\\xdeadbeef",
      c_date: "infinity",
      c_timestamp: "-infinity",
      c_jsonb: { a: "12345678901234567890", b: "1.10" },
      c_ints: [
        ["1", "2"],
        ["3", null],
      ],
      c_texts: ["a", 'b "c"', null, "NULL"],
      c_mood: `it's "fine"`,
      c_pair: { a: "1", "B c": 'x "y"' },
      c_pairs: [{ a: "1", "B c": null }],
      c_positive: "1.10",
      c_char: "ab   ",
      c_int4range: "[1,5)",
      c_snapshot: "10:20:10,14",
    });
    const [text] = await sql`
      select data::text like '%"c_json":{"b": 1.10,  "a": [1e400, "x"], "a": 2},%' as untouched
      from pg2kafka.outbound_event_queue where statement = 'UPDATE'`;
    expect(text).toEqual({ untouched: true });
    await clearEvents(sql);
    await sql.unsafe(`update v set (${list}) = (select ${list} from v where id = 2) where id <> 2`);
    expect(await readBriefly(sql)).toEqual([]);
  });

  test("json with \\u0000 and lone surrogates is passed on as it is", async () => {
    const { sql } = pg;
    await sql`create table j (id int primary key, doc json, docs json[])`;
    await sql`select pg2kafka.setup('j', 'id')`;
    const text = '{"a": "\\u0000", "b": "\\ud800", "c": "\\udc00\\ud800"}';
    await sql.unsafe(`insert into j values (1, '${text}', array['${text}'::json])`);
    await sql.unsafe(`update j set doc = '["\\u0000"]'`);
    await sql`update j set docs = null`;
    await sql`delete from j`;
    const texts =
      await sql`select data::text as text from pg2kafka.outbound_event_queue order by id`;
    expect(texts.map((row) => row["text"])).toEqual([
      `{"id":1,"doc":${text},"docs":[${text}]}`,
      '{"doc":["\\u0000"]}',
      '{"docs":null}',
      "{}",
    ]);
  });

  test("a value that its type's own cast to json refuses is its text; others are as it makes them", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create type shape as enum ('point', 'curve');
      create function to_geojson(shape) returns json language plpgsql as $$ begin
        if $1 = 'curve' then raise exception 'no curves'; end if;
        return json_build_object('type', $1::text);
      end $$;
      create cast (shape as json) with function to_geojson(shape);
      create domain place as shape;
      create type pair as (a shape, n int);
      create table s (id int primary key, g shape, d place, l shape[], p pair, a text);
      insert into s values (1, 'point', 'point', '{point}', '(point,1)', 'x');
      select pg2kafka.setup('s', 'id');
      insert into s values (2, 'point', 'curve', '{point,curve}', '(curve,2)', 'y');
      insert into s values (3, 'curve', null, null, null, 'z');
      update s set g = 'curve', a = 'w' where id = 1;
      update s set g = 'point' where id = 3;`);
    const point = { type: "point" };
    expect((await readBriefly(sql)).map(([, , data]) => data)).toEqual([
      { id: "1", g: point, d: point, l: [point], p: { a: point, n: "1" }, a: "x" },
      { id: "2", g: point, d: "curve", l: "{point,curve}", p: "(curve,2)", a: "y" },
      { id: "3", g: "curve", d: null, l: null, p: null, a: "z" },
      { g: "curve", a: "w" },
      { g: point },
    ]);
    await clearEvents(sql);
    await sql`select pg2kafka.teardown('s')`;
    await sql`select pg2kafka.setup('s', 'id')`;
    const again = (await readBriefly(sql)).map(([, key, data]) => [key, data!["g"]]);
    expect(again.sort()).toEqual([
      ["1", "curve"],
      ["2", point],
      ["3", point],
    ]);
  });

  test("such a type beside columns whose names the capture itself uses", async () => {
    const { sql } = pg;
    await sql.unsafe(`
      create type mood as enum ('good', 'bad');
      create function mood_json(mood) returns json language sql as $$ select to_json($1::text) $$;
      create cast (mood as json) with function mood_json(mood);
      create type pair as (x int, y int);
      create table s (id int primary key, m mood, r pair, n int, o int, c text, j jsonb);
      select pg2kafka.setup('s', 'id');
      insert into s values (1, 'good', '(1,2)', 3, 4, 'c', '{"a": 1}');
      update s set r = '(5,6)', m = 'bad';`);
    const r = { x: "1", y: "2" };
    expect((await readBriefly(sql)).map(([, , data]) => data)).toEqual([
      { id: "1", m: "good", r, n: "3", o: "4", c: "c", j: { a: "1" } },
      { m: "bad", r: { x: "5", y: "6" } },
    ]);
  });

  test("a cast to json that is made later, and fails an ASSERT", async () => {
    const { sql } = pg;
    const refresh = async () =>
      (await sql`select pg2kafka.refresh_captures() as count`)[0]!["count"];
    await sql.unsafe(`
      create type mood as enum ('good', 'bad');
      create table s (id int primary key, m mood);
      select pg2kafka.setup('s', 'id');
      create function mood_json(mood) returns json language plpgsql as $$ begin
        assert $1 = 'good'; return to_json(upper($1::text));
      end $$;
      create cast (mood as json) with function mood_json(mood);`);
    expect(await refresh()).toBe(1);
    expect(await refresh()).toBe(0);
    await sql`insert into s values (1, 'good'), (2, 'bad')`;
    await sql`drop cast (mood as json)`;
    expect(await refresh()).toBe(1);
    await sql`insert into s values (3, 'good')`;
    expect((await readBriefly(sql)).map(([, , data]) => data!["m"])).toEqual([
      "GOOD",
      "bad",
      "good",
    ]);
  });

  test("only types with such a cast cost more", async () => {
    const [row] = await pg.sql`
      select pg2kafka.types_with_json_cast('{jsonb,json,text,int,timestamptz}')::text as types`;
    expect(row).toEqual({ types: "{}" });
  });

  test("json that is nested 10,000 deep is inserted and updated", async () => {
    const { sql } = pg;
    await sql`create table j (id int primary key, doc json)`;
    await sql`select pg2kafka.setup('j', 'id')`;
    const deep = `(repeat('[', 10000) || repeat(']', 10000))::json`;
    await sql.unsafe(`insert into j values (1, ${deep}), (2, '[]')`);
    await sql.unsafe(`update j set doc = ${deep} where id = 2`);
    await sql`update j set doc = null where id = 1`;
    const lengths = await sql`
      select statement, length(data::text) as length from pg2kafka.outbound_event_queue order by id`;
    expect(lengths.map((row) => row["length"])).toEqual([20_015, 17, 20_008, 12]);
  });

  test("a table with 1,600 columns, of which one changes", async () => {
    const { sql } = pg;
    const columns = Array.from({ length: 1599 }, (_, index) => `column_${index} int`).join(", ");
    await sql.unsafe(`create table wide (id int primary key, ${columns})`);
    await sql`select pg2kafka.setup('wide', 'id')`;
    await sql`insert into wide (id, column_1598) values (1, 7)`;
    await sql`update wide set column_5 = 5`;
    const [insert, update] = await readEvents(sql);
    expect(Object.keys(insert!.data!)).toHaveLength(1600);
    expect(insert!.data!["column_1598"]).toBe("7");
    expect(update!.data).toEqual({ column_5: "5" });
  });

  test("a value of 10 MB is captured", async () => {
    const { sql } = pg;
    await sql`create table big (id int primary key, a text, b bytea)`;
    await sql`insert into big values (1, repeat('s', 10000000), null)`;
    await sql`select pg2kafka.setup('big', 'id')`;
    await sql`insert into big values (2, repeat('x', 10000000), decode(repeat('ab', 5000000), 'hex'))`;
    await sql`update big set a = repeat('y', 10000000)`;
    const lengths = await sql`
      select statement, length(data->>'a') as a, length(data->>'b') as b
      from pg2kafka.outbound_event_queue order by id`;
    expect(lengths).toEqual([
      { statement: "SNAPSHOT", a: 10_000_000, b: null },
      { statement: "INSERT", a: 10_000_000, b: 10_000_002 },
      { statement: "UPDATE", a: 10_000_000, b: null },
      { statement: "UPDATE", a: 10_000_000, b: null },
    ]);
  });

  test("a row too large for one event is written, and its event is there without data", async () => {
    const { sql } = pg;
    await sql`create table huge (id int primary key, a text, b varchar(100)[], c text)`;
    await sql`select pg2kafka.setup('huge', 'id')`;
    // Stored in 2 MB, 180 MB of text, and more than a gigabyte as JSON.
    await sql`insert into huge values (1, repeat(e'\\x01', 180000000))`;
    await sql`update huge set c = 'c'`;
    await sql`update huge set a = 'small'`;
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "1", null],
      ["UPDATE", "1", null],
      ["UPDATE", "1", { a: "small" }],
    ]);
    await clearEvents(sql);
    // Each is slow: one version for one of them.
    if (version === 18) {
      await sql`alter table huge alter a set storage external`;
      await sql`insert into huge values (2, repeat('x', 300000000))`;
    } else {
      await sql`
        insert into huge (id, b)
        select 2, array_agg(repeat('x', 100)) from generate_series(1, 1800000)`;
    }
    await sql`delete from huge where id = 2`;
    expect(await readBriefly(sql)).toEqual([
      ["INSERT", "2", null],
      ["DELETE", "2", {}],
    ]);
  });

  test("columns may bear the names that the capture uses itself, and any other", async () => {
    const { sql } = pg;
    const names = [
      ..."n o r c one key data pair pair_ old new old_rows new_rows v_columns tg_op".split(" "),
      ..."v_name v_mark v_last v_formats v_relation statement external_id row_to_json id".split(
        " ",
      ),
      ..."tg_table_schema tg_table_name tg_relid".split(" "),
      ..."'INSERT' $1 %s %I \\ Capital select user $capture$ $body$ \u{1f600} {\"a\":1}".split(" "),
      `"; drop table x; --`,
      "a\nb\tc",
      "Ä".repeat(31),
    ];
    const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
    await sql.unsafe(
      `create table hostile (${names.map((name) => `${quote(name)} int`).join(", ")})`,
    );
    await sql`insert into hostile (id) values (0)`;
    for (const key of ["id", "n", "o", "'INSERT'", `"; drop table x; --`]) {
      await sql`select pg2kafka.setup('hostile', ${key})`;
      await clearEvents(sql);
      await sql.unsafe(`insert into hostile values (${names.map((_, index) => index)})`);
      await sql.unsafe(
        `update hostile set ${names.map((name, i) => `${quote(name)} = -1 - ${i}`)}`,
      );
      await sql`delete from hostile`;
      const index = names.indexOf(key);
      expect((await readBriefly(sql)).slice(0, 1)).toEqual([
        ["INSERT", `${index}`, Object.fromEntries(names.map((name, i) => [name, `${i}`]))],
      ]);
      const update = (await readEvents(sql)).filter(
        ({ external_id }) => external_id === `${index}`,
      )[1];
      expect(update?.data).toEqual(Object.fromEntries(names.map((name, i) => [name, `${-1 - i}`])));
      await sql`select pg2kafka.teardown('hostile')`;
      await sql`insert into hostile (id) values (0)`;
    }
  });

  test.each([
    "Products",
    "select",
    "sp ace",
    'quo"te',
    "it's",
    `x'); drop table outbound_event_queue; --`,
    "%s%I",
    "$capture$",
    "back\\slash",
    "ünïcödé",
    "t".repeat(63),
    "é".repeat(24),
  ])("a table may be called %s", async (name) => {
    const { sql } = pg;
    const quoted = `"${name.replaceAll('"', '""')}"`;
    await sql.unsafe(`create schema ${quoted}`);
    for (const table of [
      quoted,
      ...(Buffer.byteLength(name) < 30 ? [`${quoted}.${quoted}`] : []),
    ]) {
      await sql.unsafe(`create table ${table} (${quoted} int primary key, a text)`);
      await sql.unsafe(`insert into ${table} values (1, 'x')`);
      await sql`select pg2kafka.setup(${table}, ${name})`;
      await sql.unsafe(`insert into ${table} values (2, 'y')`);
      await sql.unsafe(`update ${table} set a = 'z'`);
      await sql.unsafe(`delete from ${table} where a = 'z'`);
      const triggers = await sql`
        select tgname from pg_trigger where tgrelid = ${table}::regclass order by tgname`;
      expect(triggers.length).toBe(5);
      expect(triggers.every(({ tgname }) => tgname.includes("_enqueue_event"))).toBe(true);
      await sql`select pg2kafka.teardown(${table})`;
    }
    const events = await readEvents(sql);
    expect(new Set(events.map((event) => event.table_name))).toEqual(new Set([name]));
    expect(events.slice(0, 6).map(({ statement }) => statement)).toEqual([
      "SNAPSHOT",
      "INSERT",
      "UPDATE",
      "UPDATE",
      "DELETE",
      "DELETE",
    ]);
  });

  test("standard_conforming_strings = off changes nothing", async () => {
    const { sql } = pg;
    await sql.unsafe(`create table s ("i\\d" int primary key, "'" text)`);
    await sql`select pg2kafka.setup('s', 'i\\d')`;
    await sql`set standard_conforming_strings = off`;
    await sql.unsafe(`insert into s values (1, 'x')`);
    await sql.unsafe(`update s set "'" = 'y'`);
    await sql`alter table s add b int`;
    await sql.unsafe(`update s set b = 1`);
    await sql`set standard_conforming_strings = on`;
    await expectFoldEqualsTable(sql, "s", "i\\d");
  });
});
