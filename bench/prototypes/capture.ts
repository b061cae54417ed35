import type { Sql } from "postgres";
import type { Bench } from "../bench.ts";
import type { BenchDatabase } from "../database.ts";
import { bulkStatements, changedColumns, createItems } from "../items.ts";
import { formatNumber, Samples, type Table } from "../report.ts";

const TARGET =
  "pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)";

const PAIRED = `
  (select row_number() over () as pair, r.* from old_rows r) o
  full join (select row_number() over () as pair, r.* from new_rows r) n using (pair)`;

/** Of a statement that changed one row: nothing needs to be paired. */
const SINGLE_UPDATE = `insert into ${TARGET}
  select o.sku, tg_table_schema, tg_table_name, 'UPDATE', ${changedColumns("o", "n")}
  from old_rows o, new_rows n`;

const COMPILED_UPDATE = `insert into ${TARGET}
  select o.sku, tg_table_schema, tg_table_name, 'UPDATE', ${changedColumns("o", "n")} from ${PAIRED}`;

/** The difference of two rows for any table: their JSON taken apart and put together again. */
const GENERIC_UPDATE = `insert into ${TARGET}
  select to_jsonb(o) ->> 'sku', tg_table_schema, tg_table_name, 'UPDATE', (
    select json_object_agg(a.key, a.value)
    from jsonb_each(to_jsonb(n)) a join jsonb_each(to_jsonb(o)) b using (key)
    where a.value is distinct from b.value
  ) from ${PAIRED}`;

const INSERT = `insert into ${TARGET}
  select n.sku, tg_table_schema, tg_table_name, 'INSERT', row_to_json(n) from new_rows n`;

/** The same for EXECUTE, which knows no variables of the function. */
const executed = (text: string) =>
  `execute ${quote(text.replace("tg_table_schema, tg_table_name", "$1, $2"))}
    using tg_table_schema, tg_table_name`;

interface Design {
  label: string;
  insert: string;
  update: string;
  byRow?: boolean;
}

const DESIGNS: Record<string, Design> = {
  none: { label: "no trigger", insert: "null", update: "null" },
  compiled: {
    label: "by statement, columns written out: chosen",
    insert: INSERT,
    update: COMPILED_UPDATE,
  },
  singled: {
    label: "… and an UPDATE of its own for one row",
    insert: INSERT,
    update: `if (select count(*) from (select from new_rows limit 2) r) = 1 then ${SINGLE_UPDATE};
      else ${COMPILED_UPDATE}; end if`,
  },
  executed: {
    label: "by statement, the same text by EXECUTE",
    insert: executed(INSERT),
    update: executed(COMPILED_UPDATE),
  },
  generic: {
    label: "by statement, one function for all tables, jsonb taken apart",
    insert: `insert into ${TARGET}
      select to_jsonb(n) ->> 'sku', tg_table_schema, tg_table_name, 'INSERT', row_to_json(n)
      from new_rows n`,
    update: GENERIC_UPDATE,
  },
  row: {
    label: "by row, columns written out",
    byRow: true,
    insert: `insert into ${TARGET}
      values (new.sku, tg_table_schema, tg_table_name, 'INSERT', row_to_json(new))`,
    update: `insert into ${TARGET}
      values (old.sku, tg_table_schema, tg_table_name, 'UPDATE', ${changedColumns()})`,
  },
};

/** Which kind of trigger: by statement or by row, compiled or made anew or for any table. */
export async function prototypeCapture(
  { rounds, isQuick, progress }: Bench,
  { sql }: BenchDatabase,
): Promise<Table> {
  const rows = isQuick ? 2_000 : 100_000;
  const singles = isQuick ? 200 : 5_000;
  const samples = new Samples();
  for (const [name, design] of Object.entries(DESIGNS)) await create(sql, name, design);
  for (let round = 1; round <= rounds; round++) {
    for (const name of Object.keys(DESIGNS)) {
      progress(`prototypes: capture, ${name}, round ${round}`);
      const table = `c_${name}`;
      await sql.unsafe(`truncate ${table}`);
      await sql`truncate pg2kafka.outbound_event_queue`;
      await sql`checkpoint`;
      const bulk = bulkStatements(table);
      const time = async (what: string, unit: number, run: () => Promise<unknown>) => {
        const startedMs = performance.now();
        await run();
        samples.add(`${name} ${what}`, (performance.now() - startedMs) * unit);
      };
      await time("insert", 1 / 1000, () => sql.unsafe(bulk.insert, [1, rows]));
      await time("update", 1 / 1000, () => sql.unsafe(bulk.update));
      // In the server, so that only the trigger differs: no client, no commit between.
      await time("single", 1000 / singles, () =>
        sql.unsafe(`
          do $$ begin for i in 1..${singles} loop
            update ${table} set qty = qty + 1, price = price + 1
            where sku = 'sku-' || lpad((i % 1000 + 1)::text, 8, '0');
          end loop; end $$`),
      );
    }
  }
  return {
    title: `Prototype: triggers, ${formatNumber(rows)} rows in one statement, and single rows`,
    note:
      "Seconds for the large statements; microseconds for an UPDATE of one row, inside the server. " +
      "Each trigger does no more than is said: no check of the columns, no fixed formats.",
    columns: ["", "INSERT, s", "UPDATE, s", "UPDATE of one row, µs"],
    rows: Object.entries(DESIGNS).map(([name, { label }]) => [
      label,
      samples.text(`${name} insert`, 2),
      samples.text(`${name} update`, 2),
      samples.text(`${name} single`),
    ]),
  };
}

async function create(sql: Sql, name: string, { insert, update, byRow }: Design): Promise<void> {
  const table = `c_${name}`;
  await sql.unsafe(createItems(table));
  if (name === "none") return;
  for (const [operation, body] of Object.entries({ insert, update })) {
    await sql.unsafe(`
      create function ${table}_${operation}() returns trigger language plpgsql as $f$
      begin
        ${body};
        return null;
      end $f$`);
    const tables =
      operation === "insert" ? "new table new_rows" : "old table old_rows new table new_rows";
    const each = byRow ? "for each row" : `referencing ${tables} for each statement`;
    await sql.unsafe(`
      create trigger t_${operation} after ${operation} on ${table}
      ${each} execute function ${table}_${operation}()`);
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
