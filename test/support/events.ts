import type { Sql } from "postgres";
import { expect } from "vitest";

/** An event as the tests look at it. Numbers in `data` are their text: `1.10` stays that. */
export interface CapturedEvent {
  id: string;
  external_id: string | null;
  table_schema: string;
  table_name: string;
  statement: string;
  data: Record<string, unknown> | null;
}

/** JSON, with each number as the text that it is. */
export function parseExactly(text: string): unknown {
  const asText = (_: string, value: unknown, context?: { source: string }) =>
    typeof value === "number" ? context!.source : value;
  return JSON.parse(text, asText as (this: unknown, key: string, value: unknown) => unknown);
}

/** All events, in the order of their ids. */
export async function readEvents(sql: Sql, table?: string): Promise<CapturedEvent[]> {
  const rows = await sql<(Omit<CapturedEvent, "data"> & { text: string | null })[]>`
    select q.id::text, external_id, table_schema, table_name, statement, data::text as text
    from pg2kafka.outbound_event_queue q
    where ${table ?? null}::text is null or table_name = ${table ?? null}
    order by q.id`;
  return rows.map(({ text, ...event }) => ({
    ...event,
    data: text === null ? null : (parseExactly(text) as Record<string, unknown>),
  }));
}

/** Each event as `[statement, key, data]`. */
export async function readBriefly(
  sql: Sql,
  table?: string,
): Promise<[string, string | null, Record<string, unknown> | null][]> {
  const events = await readEvents(sql, table);
  return events.map(({ statement, external_id, data }) => [statement, external_id, data]);
}

/** Forget the events so far. */
export async function clearEvents(sql: Sql): Promise<void> {
  await sql`truncate pg2kafka.outbound_event_queue`;
}

/**
 * What a consumer would hold: SNAPSHOT and INSERT set, UPDATE merges and moves to a changed key,
 * DELETE removes, TRUNCATE clears, in the order of the ids.
 *
 * @param keyColumn the external id, by its name in the data
 */
export function fold(
  events: CapturedEvent[],
  keyColumn: string,
): Map<string | null, Record<string, unknown>> {
  const rows = new Map<string | null, Record<string, unknown>>();
  for (const { statement, external_id, data } of events) {
    if (statement === "TRUNCATE") rows.clear();
    else if (statement === "DELETE") rows.delete(external_id);
    else if (statement === "UPDATE") {
      const row = { ...rows.get(external_id), ...data };
      rows.delete(external_id);
      const key = row[keyColumn];
      rows.set(key === undefined || key === null ? null : String(key), row);
    } else rows.set(external_id, data!);
  }
  return rows;
}

/** Check that a consumer of the events would hold what the table holds. */
export async function expectFoldEqualsTable(
  sql: Sql,
  table: string,
  keyColumn: string,
  tableName = table,
): Promise<void> {
  await expectFold(await readEvents(sql, tableName), sql, table, keyColumn);
}

/** The same of given events of the table. */
export async function expectFold(
  events: CapturedEvent[],
  sql: Sql,
  table: string,
  keyColumn: string,
): Promise<void> {
  const rows = await sql.unsafe<{ key: string | null; text: string }[]>(
    `select t."${keyColumn.replaceAll('"', '""')}"::text as key, row_to_json(t.*)::text as text from ${table} t`,
  );
  const held = fold(events, keyColumn);
  const expected = new Map(rows.map(({ key, text }) => [key, parseExactly(text)]));
  const byKey = (a: [unknown, unknown], b: [unknown, unknown]) =>
    String(a[0]) < String(b[0]) ? -1 : 1;
  expect([...held].sort(byKey)).toEqual([...expected].sort(byKey));
}
