import type { Sql } from "postgres";

/**
 * Let pg2kafka in this database go by a clock that can be set: the calls of Postgres' clock in its functions
 * and in the queue's defaults are replaced. Calls before `setClock` show the real one.
 *
 * @returns how many functions were changed
 */
export async function shiftClock(sql: Sql): Promise<number> {
  await sql.unsafe(`
    create schema shifted;
    create table shifted.clock (shift interval not null);
    insert into shifted.clock values ('0');
    create function shifted.clock_timestamp() returns timestamptz language sql volatile security definer
    as 'select pg_catalog.clock_timestamp() + shift from shifted.clock';
    create function shifted.now() returns timestamptz language sql stable security definer
    as 'select pg_catalog.now() + shift from shifted.clock';
    grant usage on schema shifted to public;
    alter table pg2kafka.outbound_event_queue alter column generation
      set default (date_part('epoch', shifted.now())::bigint / 120 % 4)::smallint;`);
  const functions = await sql<{ text: string }[]>`
    select pg_get_functiondef(oid) as text from pg_proc
    where pronamespace = 'pg2kafka'::regnamespace and prosrc ~ '\\m(clock_timestamp|now)\\(\\)'`;
  for (const { text } of functions) {
    await sql.unsafe(text.replaceAll(/\b(clock_timestamp|now)\(\)/g, "shifted.$1()"));
  }
  return functions.length;
}

export async function setClock(sql: Sql, shiftS: number): Promise<void> {
  await sql`update shifted.clock set shift = make_interval(secs => ${shiftS})`;
}
