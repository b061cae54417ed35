import type { Sql } from "postgres";
import { emptyQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { type BenchDatabase, createDatabase } from "./database.ts";
import { addDrained, COST_COLUMNS, costCells, drainAll, memoryTarget } from "./invocation.ts";
import { bulkStatements, createItems } from "./items.ts";
import { withTopic } from "./kafka.ts";
import { formatNumber, Samples, TARGET_COLUMNS, type Table } from "./report.ts";

const DATABASE = "bench_shapes";
const WIDE_COLUMNS = 200;
/** More than these are written and drained once. */
const ONCE_ROWS = 1_000_000;
/** Below MESSAGE_BYTES_MAX with all that the message has besides. */
const LARGE_BYTES = 990_000;

/** A way of writing that strains something else than the usual one does. */
interface Shape {
  label: string;
  table: string;
  rows: number;
  create: string;
  write: (sql: Sql) => Promise<unknown>;
}

function shapesOf({ isQuick, isAll }: Bench): Shape[] {
  const scale = isQuick ? 0.02 : 1;
  const wide = 20_000 * scale;
  const large = 200 * scale;
  const small = 50_000 * scale;
  const huge = (isAll ? 5_000_000 : 500_000) * scale;
  const insert = (table: string) => bulkStatements(table).insert;
  return [
    {
      label: `wide rows: ${WIDE_COLUMNS} columns`,
      table: "wide",
      rows: wide,
      create: createWide(),
      write: (sql) => sql.unsafe(insertWide(), [wide]),
    },
    {
      label: "large rows: 1 MB",
      table: "large",
      rows: large,
      create: "create table large (sku text primary key, body text not null)",
      write: (sql) => sql.unsafe(INSERT_LARGE, [large]),
    },
    {
      label: "small transactions: one row each, one after the other",
      table: "small",
      rows: small,
      create: createItems("small"),
      write: (sql) => sql.unsafe(insertOneByOne(small)),
    },
    {
      label: "one huge transaction",
      table: "huge",
      rows: huge,
      create: createItems("huge"),
      write: (sql) => sql.unsafe(insert("huge"), [1, huge]),
    },
  ];
}

/** Writes with the trigger, and drains, of rows and transactions of unusual shapes. */
export async function benchShapes(bench: Bench): Promise<Table[]> {
  const database = await createDatabase(bench.postgres, DATABASE);
  const { sql } = database;
  const shapes = shapesOf(bench);
  const samples = new Samples();
  try {
    for (const { table, create } of shapes) {
      await sql.unsafe(create);
      await sql`select pg2kafka.setup(${table}, 'sku')`;
    }
    for (let round = 1; round <= bench.rounds; round++) {
      for (const shape of shapes) {
        if (round > 1 && shape.rows > ONCE_ROWS) continue;
        bench.progress(`shapes: ${shape.label}, round ${round}`);
        await measureShape(bench, database, shape, samples);
      }
    }
  } finally {
    await database.close();
  }
  return [shapesTable(shapes, samples)];
}

async function measureShape(
  bench: Bench,
  { sql, url }: BenchDatabase,
  { table, rows, write }: Shape,
  samples: Samples,
): Promise<void> {
  await sql.unsafe(`truncate ${table}`);
  await sql`checkpoint`;
  // The TRUNCATE made an event as well.
  await emptyQueue(sql);
  const startMs = performance.now();
  await write(sql);
  samples.add(`${table} written`, rows / ((performance.now() - startMs) / 1_000));
  const [row] = await sql<{ bytes: number }[]>`
    select avg(octet_length(data::text))::float8 as bytes
    from (select data from pg2kafka.outbound_event_queue limit 1000) q`;
  const drained = await withTopic(
    await bench.kafka(),
    DATABASE,
    (namespace) => drainAll(bench, url, namespace, rows),
    table,
  );
  addDrained(samples, table, drained);
  samples.add(`${table} bytes`, row!.bytes);
}

function shapesTable(shapes: Shape[], samples: Samples): Table {
  return {
    title: "Rows and transactions of other shapes",
    note:
      "Rows a second as they are inserted into a tracked table, and events a second as they are " +
      "drained after it, with the bytes of each event's data as JSON. Median (least–most); then " +
      "as above. The target is that of the drain's memory. Small transactions: from one session, " +
      "`synchronous_commit` off.",
    columns: [
      "",
      "rows",
      "bytes",
      "written, rows/s",
      "drained, events/s",
      "MB/s",
      ...COST_COLUMNS,
      ...TARGET_COLUMNS,
    ],
    rows: shapes.map(({ label, table, rows }) => [
      label,
      formatNumber(rows),
      formatNumber(samples.median(`${table} bytes`)),
      samples.text(`${table} written`),
      samples.text(table),
      formatNumber((samples.median(table) * samples.median(`${table} bytes`)) / 1e6, 1),
      ...costCells(samples, table),
      ...memoryTarget(samples.median(`${table} peak`)),
    ]),
  };
}

/** Numbers and texts in turns. */
function createWide(): string {
  const columns = wideColumns().map((name, i) => `${name} ${i % 2 === 0 ? "integer" : "text"}`);
  return `create table wide (sku text primary key, ${columns.join(", ")})`;
}

function insertWide(): string {
  const values = wideColumns().map((_, i) => (i % 2 === 0 ? `g + ${i}` : `'value ' || g + ${i}`));
  return `insert into wide select 'sku-' || g, ${values.join(", ")} from generate_series(1, $1::int) g`;
}

function wideColumns(): string[] {
  return Array.from({ length: WIDE_COLUMNS - 1 }, (_, index) => `column_${index + 1}`);
}

/** Text that neither Postgres nor anyone else can make much smaller. */
const INSERT_LARGE = `
  insert into large
  select 'sku-' || g, left(body, ${LARGE_BYTES}) from generate_series(1, $1::int) g
  cross join (
    select string_agg(md5(n::text), '') as body from generate_series(1, ${LARGE_BYTES / 30}) n
  ) b`;

function insertOneByOne(rows: number): string {
  return `
    do $$
    begin
      perform set_config('synchronous_commit', 'off', false);
      for v_row in 1..${rows} loop
        insert into small (sku, name, price, qty, note, updated)
        values ('sku-' || v_row, 'Item number ' || v_row, 9.95, v_row % 100, 'shelf', now());
        commit;
      end loop;
      perform set_config('synchronous_commit', 'on', false);
    end;
    $$`;
}
