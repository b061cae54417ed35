/* The table that all sections write to, and its statements. A row is about 150 bytes as JSON, the
   message made of it about 300: close to what kafkajs and Debezium were measured with before. */

/** The columns but `id` for the row numbered `g`, in SQL. */
const ROW = `
  'sku-' || lpad(g::text, 8, '0'), 'Item number ' || g, (g % 10000)::numeric / 100, g % 100,
  'shelf ' || g % 500, now()`;

export function createItems(table: string): string {
  return `
    create table ${table} (
      id bigserial primary key,
      sku text not null unique,
      name text not null,
      price numeric not null,
      qty integer not null,
      note text,
      updated timestamptz not null
    )`;
}

/** The texts of a table's statements; `$1` and `$2` are the first and the last row's number. */
export interface Statements {
  insert: string;
  update: string;
  remove: string;
}

const COLUMNS = ["id", "sku", "name", "price", "qty", "note", "updated"];

/** Many rows in one statement. Update and remove take all rows. */
export function bulkStatements(table: string): Statements {
  return {
    insert: `insert into ${table} (sku, name, price, qty, note, updated)
      select ${ROW} from generate_series($1::int, $2::int) g`,
    update: `update ${table} set price = price + 1, qty = qty + 1, updated = clock_timestamp()`,
    remove: `delete from ${table}`,
  };
}

/** One row; `$1` is its number. */
export function singleStatements(table: string): Statements {
  const sku = "sku = 'sku-' || lpad($1::int::text, 8, '0')";
  return {
    insert: `insert into ${table} (sku, name, price, qty, note, updated)
      select ${ROW} from (values ($1::int)) v (g)`,
    update: `${bulkStatements(table).update} where ${sku}`,
    remove: `delete from ${table} where ${sku}`,
  };
}

/** The columns in which two rows differ, as the capture functions write it. */
export function changedColumns(before = "old", after = "new"): string {
  const changes = COLUMNS.map((name) => {
    const isChanged =
      name === "price"
        ? `to_jsonb(${after}.${name}) is distinct from to_jsonb(${before}.${name})`
        : `record_image_ne(row(${after}.${name}), row(${before}.${name}))`;
    return `case when ${isChanged} then '"${name}":' || coalesce(to_json(${after}.${name})::text, 'null') end`;
  });
  return `('{' || array_to_string(array[${changes.join(", ")}], ',') || '}')::json`;
}

/**
 * The least that any capture costs: the same statements with the same events inserted by hand, in
 * the same statement, with the JSON expressions that the capture functions use.
 */
export function withEventsByHand(table: string, statements: Statements): Statements {
  const byHand = (text: string, operation: string, data: string) => `
    with change as (${text} returning sku, ${data} as data)
    insert into pg2kafka.outbound_event_queue (external_id, table_schema, table_name, statement, data)
    select sku, 'public', '${table}', '${operation}', data from change`;
  return {
    insert: byHand(statements.insert, "INSERT", `row_to_json(${table})`),
    update: byHand(statements.update, "UPDATE", changedColumns()),
    remove: byHand(statements.remove, "DELETE", "'{}'::json"),
  };
}

/** Events as the capture of an INSERT makes them, straight into the queue. */
export const INSERT_EVENTS = `
  insert into pg2kafka.outbound_event_queue
    (generation, external_id, table_schema, table_name, statement, data)
  select coalesce($3::int, date_part('epoch', now())::bigint / 120 % 4), r.sku, 'public', 'items',
    'INSERT', row_to_json(r)
  from generate_series($1::int, $2::int) g
  cross join lateral (
    select g::bigint, ${ROW}
  ) r (${COLUMNS.join(", ")})`;
