import type { Sql } from "postgres";
import { INSERT_EVENTS } from "./items.ts";

/** What one transaction of the fill writes. */
const STATEMENT_EVENTS = 100_000;

/** How long a partition of the queue has its turn, and how many take turns; as in
 *  sql/migrations/0001_queue.sql. */
export const PERIOD_MS = 120_000;
const GENERATIONS = 4;

/** Whatever is in the queue, delivered or not. */
export async function emptyQueue(sql: Sql): Promise<void> {
  await sql`truncate pg2kafka.outbound_event_queue`;
}

/**
 * Add events to the queue: one transaction for each 100,000.
 *
 * @param generation the partition they are in; by default the one whose turn it is
 */
export async function fillQueue(
  sql: Sql,
  events: number,
  generation: number | null = null,
): Promise<void> {
  for (let from = 1; from <= events; from += STATEMENT_EVENTS) {
    const to = Math.min(from + STATEMENT_EVENTS - 1, events);
    await sql.unsafe(INSERT_EVENTS, [from, to, generation]);
  }
  await sql`checkpoint`;
}

/** The partition that had its turn two periods ago: the drain empties it once it is delivered.
 *  What is written into it is where it would be if it had been written then. */
export async function oldGeneration(sql: Sql): Promise<number> {
  const [row] = await sql<{ period: number }[]>`
    select (date_part('epoch', now())::bigint * 1000 / ${PERIOD_MS}::bigint)::int as period`;
  return (row!.period + 2) % GENERATIONS;
}

/** Bytes on disk of the queue's partitions and their indexes. */
export async function queueBytes(sql: Sql): Promise<number> {
  const [row] = await sql<{ bytes: string }[]>`
    select sum(pg_total_relation_size(inhrelid)) as bytes
    from pg_inherits where inhparent = 'pg2kafka.outbound_event_queue'::regclass`;
  return Number(row?.bytes ?? 0);
}
