import fc from "fast-check";
import type { Sql } from "postgres";
import { expect, onTestFinished, test } from "vitest";
import { dryRun } from "../../functions/core/drain.ts";
import { SEED } from "../faults/seed.ts";
import { kafkaClient, readTopic } from "../local/topics.ts";
import { newest, schema, useDatabase } from "../support/database.ts";
import { type CapturedEvent, clearEvents, expectFold, parseExactly } from "../support/events.ts";
import { useKafka } from "../support/kafka.ts";
import { runCommand } from "./command.ts";
import { configFor, drainSession, enqueue } from "./support.ts";

const server = useDatabase(newest);
const cluster = useKafka();

const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;

const NAMES = [
  `x"; drop table pg2kafka.control; --`,
  `","data":{"a":1},"b":"`,
  '\n{"level":"error","event":"forged"}',
  "\r\u001b[2Kforged\u0007",
  "a.b",
  "a_b",
  "a-2Eb",
  "..",
  "$1 %s $x \\u0000 \\",
  "\u2028\u202e\u{1f600}",
  "__proto__",
];

test("names and keys that try to be SQL, JSON, log lines or paths: each table has its topic, and all comes out", async () => {
  const { sql, database } = server;
  const tables = [
    ...NAMES.map((name) => ({ name, table: quote(name) })),
    ...NAMES.slice(0, 3).map((name) => ({ name, table: `${quote(name)}.${quote(name)}` })),
  ];
  for (const [nth, { name, table }] of tables.entries()) {
    const column = quote(name);
    if (nth >= NAMES.length) await sql.unsafe(`create schema ${column}`);
    await sql.unsafe(`create table ${table} (${column} text primary key, value text)`);
    await sql.unsafe(`insert into ${table} values ($1, $2)`, [name, String(nth)]);
    await sql`select pg2kafka.setup(${table}, ${name})`;
    await sql.unsafe(`insert into ${table} values ('', $1), ($2, '')`, [name, `2${name}`]);
    await sql.unsafe(`update ${table} set value = ${column} where value <> ''`);
    await sql.unsafe(`delete from ${table} where value = ''`);
  }
  const { code, stdout, stderr, summary } = await runCommand("drain", {
    DATABASE_URL: database.url,
    KAFKA_BROKER: cluster.brokers.join(","),
    TOPIC_CREATE: "true",
    TOPIC_PARTITIONS: "1",
  });
  expect(summary()).toMatchObject({ delivered: tables.length * 7, parked: 0, drained: true });
  expect({ code, stdout, lines: stderr.trimEnd().split("\n").length }).toEqual({
    code: 0,
    stdout: "",
    lines: 1,
  });

  const admin = kafkaClient(cluster.brokers).admin();
  await admin.connect();
  onTestFinished(() => admin.disconnect());
  const prefix = `pg2kafka.${database.name}.`;
  const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
  expect(topics).toHaveLength(tables.length);
  const read = await Promise.all(topics.map((topic) => readTopic(cluster.brokers, topic)));
  const tablesRead = read.map((messages) => messages[0]!.headers["pg2kafka-table"]!);
  expect(new Set(tablesRead).size).toBe(tables.length);
  for (const [nth, messages] of read.entries()) {
    const events = messages.map(({ key, value }) => {
      const event = parseExactly(value!) as CapturedEvent;
      expect(event.external_id).toBe(key);
      return event;
    });
    const table = tablesRead[nth]!;
    const column = await firstColumn(sql, table);
    await expectFold(events, sql, table, column);
  }
});

/** As the catalog has it: a name is cut at 63 bytes. */
async function firstColumn(sql: Sql, table: string): Promise<string> {
  const [row] = await sql<{ name: string }[]>`
    select attname as name from pg_attribute where attrelid = ${table}::regclass and attnum = 1`;
  return row!.name;
}

const NAME_BYTES_MAX = 63;
/** What a topic may hold of schema and table; see check_topic.sql. */
const TOPIC_PART_MAX = 150;

const text = fc
  .oneof(
    fc.string({ unit: "binary" }),
    fc.string({
      unit: fc.constantFrom('"', "'", "\\", "\n", "\r", "\u001b", "$", "{", ",", "é", "\u2028"),
    }),
    fc.constantFrom("null", "NULL", "{}", "[]", "__proto__", "\\u0000", "'; --"),
  )
  .map((value) => value.replaceAll("\0", ""));

const name = text.filter((value) => {
  const bytes = Buffer.byteLength(value);
  return bytes > 0 && bytes <= NAME_BYTES_MAX;
});

/** Numbers as text, of any size. */
const number = fc
  .tuple(fc.bigInt(-(10n ** 40n), 10n ** 40n), fc.integer({ min: -300, max: 300 }))
  .map(([digits, exponent]) => `${digits}e${exponent}`);

const row = fc.record({
  text: fc.option(text),
  json: fc.option(fc.json()),
  number: fc.option(fc.oneof(number, fc.constant("NaN"))),
  float: fc.option(fc.double()),
});

const tableOf = fc.record({
  schema: fc.oneof(fc.constant("public"), name),
  table: name,
  columns: fc.uniqueArray(name, { minLength: 5, maxLength: 5 }),
  keys: fc.uniqueArray(text, { minLength: 4, maxLength: 4 }),
  rows: fc.array(row, { minLength: 6, maxLength: 6 }),
});

test("what ends a drain quotes such a name, on one line, and steers no terminal", async () => {
  const { sql, database } = server;
  for (const name of NAMES) {
    // As where somebody's trigger, or a dropped table, comes into a drain's way.
    await sql.unsafe(`
      create or replace function fail() returns trigger language plpgsql as $$
      begin perform from ${quote(name)}; end $$;
      create or replace trigger fail before insert on pg2kafka.drain_log for each row execute function fail();`);
    await enqueue(sql, "a");
    const { code, stdout, stderr } = await runCommand("drain", {
      DATABASE_URL: database.url,
      KAFKA_BROKER: cluster.brokers.join(","),
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^DatabaseError DATABASE_REFUSED: Postgres says 42P01: relation ".*\n$/);
    expect(stderr.trimEnd()).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
  }
});

test("any names and values: what the messages say folds to what the table holds", async () => {
  const { sql, database } = server;
  const session = drainSession(database);
  const config = configFor(database);
  const topics = new Set<string>();
  const names = new Set<string>();
  await fc.assert(
    fc.asyncProperty(tableOf, async ({ schema: schemaName, table, columns, keys, rows }) => {
      const path = `${quote(schemaName)}.${quote(table)}`;
      const [keyColumn, ...others] = columns.map(quote) as [string, ...string[]];
      await sql.unsafe(`create schema if not exists ${quote(schemaName)}`);
      await sql.unsafe(
        `create table ${path} (${keyColumn} text, ${others[0]} text, ${others[1]} json, ${others[2]} numeric, ${others[3]} float8)`,
      );
      try {
        const isLong = topicPart(schemaName, table) > TOPIC_PART_MAX;
        const setup = sql`select pg2kafka.setup(${path}, ${columns[0]!})`;
        if (isLong) {
          await expect(setup).rejects.toMatchObject({ code: "42622" });
          return;
        }
        await setup;
        const write = (
          statement: string,
          key: string,
          { text, json, number, float }: (typeof rows)[0],
        ) =>
          sql.unsafe(statement, [key, text, json, number, float === null ? null : String(float)]);
        const values = "$2::text, $3::text::json, $4::text::numeric, $5::text::float8";
        const [a, b, c, d] = keys as [string, string, string, string];
        for (const [nth, key] of [a, b, c].entries()) {
          await write(`insert into ${path} values ($1::text, ${values})`, key, rows[nth]!);
        }
        const update = `update ${path} set (${others}) = (${values}) where ${keyColumn} = $1`;
        await write(update, a, rows[3]!);
        await write(update, b, rows[4]!);
        await sql.unsafe(`update ${path} set ${keyColumn} = $2 where ${keyColumn} = $1`, [b, d]);
        await sql.unsafe(`delete from ${path} where ${keyColumn} = $1`, [c]);

        const lines: string[] = [];
        await dryRun(session, config, schema, (line) => lines.push(line));
        const messages = lines.map((line) => JSON.parse(line));
        const events = messages.map(({ value }) => parseExactly(value) as CapturedEvent);
        expect(events.map(({ external_id }) => external_id)).toEqual(
          messages.map(({ key }) => key),
        );
        await expectFold(events, sql, path, columns[0]!);

        const seen = new Set(messages.map(({ topic }) => topic));
        expect(seen.size).toBe(1);
        for (const topic of seen) topics.add(topic);
        names.add(path);
      } finally {
        await sql.unsafe(`drop table ${path}`);
        await clearEvents(sql);
      }
    }),
    { seed: SEED, numRuns: 20 },
  );
  expect(topics.size).toBe(names.size);
  expect(names.size).toBeGreaterThan(10);
});

/** How long schema and table are in a topic's name. */
function topicPart(schemaName: string, table: string): number {
  const parts = schemaName === "public" ? table : schemaName + table;
  return Buffer.byteLength(
    parts.replaceAll(/[^A-Za-z0-9_]/gu, (c) => "-HH".repeat(Buffer.byteLength(c))),
  );
}
