import type { Bench } from "../bench.ts";
import type { BenchDatabase } from "../database.ts";
import { createItems } from "../items.ts";
import { formatNumber, Samples, type Table } from "../report.ts";

const QUEUE =
  "pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)";
const EVENT = `insert into ${QUEUE}
  select n.sku, tg_table_schema, tg_table_name, 'UPDATE', row_to_json(n) from new_rows n;`;
const FORMATS = `set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
  set extra_float_digits = '1' set bytea_output = 'hex'`;
const AFTER =
  "after update on TABLE referencing old table old_rows new table new_rows for each statement";

/** As many that no row gets a long chain of versions within the one transaction. */
const ROWS = 2_000;

/** Each adds to the one before, but for those in brackets. */
const STEPS: { label: string; body: string; options?: string; open?: boolean; when?: string }[] = [
  { label: "no trigger", body: "" },
  {
    label: "an empty trigger by statement",
    body: "null;",
    when: "after update on TABLE for each statement",
  },
  { label: "… with transition tables", body: "null;" },
  { label: "… that inserts the event", body: EVENT },
  {
    label: "[inserted by a row trigger instead]",
    body: `insert into ${QUEUE} values (new.sku, tg_table_schema, tg_table_name, 'UPDATE', row_to_json(new));`,
    when: "after update on TABLE for each row",
  },
  {
    label: "… security definer, search_path",
    body: EVENT,
    options: "security definer set search_path = ''",
  },
  {
    label: "… five formats set",
    body: EVENT,
    options: `security definer set search_path = '' ${FORMATS}`,
  },
  {
    label: "… the columns' names compared",
    body: `declare v text; begin
      select row_to_json(c)::text into v
      from (select r.* from (values (1)) one left join new_rows r on false) c;
      if v = '' then return null; end if; end; ${EVENT}`,
    options: `security definer set search_path = '' ${FORMATS}`,
  },
  {
    label: "… a BEFORE trigger that notes the id in a setting",
    body: `perform set_config('pg2kafka.open_statements', '', true); ${EVENT}`,
    options: `security definer set search_path = '' ${FORMATS}`,
    open: true,
  },
];

/** Where the time of a trigger goes when a statement changes one row: in the server alone. */
export async function prototypeSingleRow(
  { rounds, isQuick, progress }: Bench,
  { sql }: BenchDatabase,
): Promise<Table> {
  const updates = isQuick ? 200 : 4_000;
  const samples = new Samples();
  for (const [index, { body, options = "", open, when = AFTER }] of STEPS.entries()) {
    const table = `s_${index}`;
    await sql.unsafe(createItems(table));
    await sql.unsafe(`
      insert into ${table} (sku, name, price, qty, updated)
      select 'sku-' || g, 'Item', 1, 1, now() from generate_series(1, ${ROWS}) g`);
    if (body === "") continue;
    await sql.unsafe(`
      create function ${table}() returns trigger language plpgsql ${options} as $f$
      begin ${body} return null; end $f$;
      create trigger t ${when.replace("TABLE", table)} execute function ${table}()`);
    if (!open) continue;
    await sql.unsafe(`
      create trigger o before update on ${table}
      for each statement execute function pg2kafka.open_statement()`);
  }
  for (let round = 1; round <= rounds; round++) {
    progress(`prototypes: one row, round ${round}`);
    for (const index of STEPS.keys()) {
      await sql.unsafe(`vacuum s_${index}`);
      const startedMs = performance.now();
      await sql.unsafe(`
        do $$ begin for i in 1..${updates} loop
          update s_${index} set qty = qty + 1 where sku = 'sku-' || (i % ${ROWS} + 1);
        end loop; end $$`);
      samples.add(String(index), ((performance.now() - startedMs) * 1000) / updates);
    }
  }
  return {
    title: "Prototype: where the time of a trigger goes when a statement changes one row",
    note: "Microseconds for an UPDATE of one row, inside the server, in one transaction.",
    columns: ["", "µs", "more than no trigger"],
    rows: STEPS.map(({ label }, index) => [
      label,
      samples.text(String(index), 1),
      formatNumber(samples.median(String(index)) - samples.median("0"), 1),
    ]),
  };
}
