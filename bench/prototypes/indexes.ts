import type { Bench } from "../bench.ts";
import type { BenchDatabase } from "../database.ts";
import { formatMegabytes, formatNumber, Samples, type Table } from "../report.ts";

const COLUMNS = `
  xact xid8 not null default pg_current_xact_id(),
  id bigint not null default nextval('i_sequence'),
  generation smallint not null default (date_part('epoch', now())::bigint / 120 % 4)::smallint,
  uuid uuid not null default gen_random_uuid(),
  external_id text, data json, created_at timestamptz not null default now()`;

const PARTITIONS = [0, 1, 2, 3].map(
  (n) => `create table i_NAME_${n} partition of i_NAME for values in (${n})`,
);

const LAYOUTS: Record<string, { label: string; create: string[] }> = {
  bare: { label: "no index", create: [`create table i_NAME (${COLUMNS})`] },
  id: {
    label: "index on id",
    create: [`create table i_NAME (${COLUMNS})`, "create index on i_NAME (id)"],
  },
  both: {
    label: "on id, and on (xact, id)",
    create: [
      `create table i_NAME (${COLUMNS})`,
      "create index on i_NAME (id)",
      "create index on i_NAME (xact, id)",
    ],
  },
  brin: {
    label: "on id, and BRIN on xact (autosummarize off)",
    create: [
      `create table i_NAME (${COLUMNS.replace("xid8", "bigint").replace("pg_current_xact_id()", "pg_current_xact_id()::text::bigint")})`,
      "create index on i_NAME (id)",
      "create index on i_NAME using brin (xact)",
    ],
  },
  parted: {
    label: "four partitions, on id",
    create: [
      `create table i_NAME (${COLUMNS}) partition by list (generation)`,
      ...PARTITIONS,
      "create index on i_NAME (id)",
    ],
  },
  partedBoth: {
    label: "four partitions, on id and (xact, id): chosen",
    create: [
      `create table i_NAME (${COLUMNS}) partition by list (generation)`,
      ...PARTITIONS,
      "create index on i_NAME (id)",
      "create index on i_NAME (xact, id)",
    ],
  },
};

/** What indexes and partitions of the queue cost those who write to it. */
export async function prototypeIndexes(
  { rounds, isQuick, progress }: Bench,
  { sql }: BenchDatabase,
): Promise<Table> {
  const events = isQuick ? 5_000 : 100_000;
  const samples = new Samples();
  const sizes = new Map<string, number>();
  await sql`create sequence i_sequence`;
  for (const [name, { create }] of Object.entries(LAYOUTS)) {
    for (const text of create) await sql.unsafe(text.replaceAll("NAME", name.toLowerCase()));
  }
  for (let round = 1; round <= rounds; round++) {
    for (const name of Object.keys(LAYOUTS)) {
      progress(`prototypes: indexes, ${name}, round ${round}`);
      const table = `i_${name.toLowerCase()}`;
      await sql.unsafe(`truncate ${table}`);
      await sql`checkpoint`;
      const startedMs = performance.now();
      await sql.unsafe(`
        insert into ${table} (external_id, data)
        select 'sku-' || g, json_build_object('n', g, 'text', repeat('x', 130))
        from generate_series(1, ${events}) g`);
      samples.add(name, (performance.now() - startedMs) / 1000);
      const [size] = await sql<{ bytes: string }[]>`
        select sum(pg_total_relation_size(oid)) as bytes from pg_class
        where oid = ${table}::regclass or relname like ${`${table}\\_%`} and relkind = 'r'`;
      sizes.set(name, Number(size!.bytes));
    }
  }
  return {
    title: `Prototype: indexes of the queue, ${formatNumber(events)} events in one statement`,
    note: "Seconds, median (least–most).",
    columns: ["", "seconds", "times no index", "size"],
    rows: Object.entries(LAYOUTS).map(([name, { label }]) => [
      label,
      samples.text(name, 2),
      formatNumber(samples.pairedRatio(name, "bare"), 2),
      formatMegabytes(sizes.get(name)!),
    ]),
  };
}
