import { readFileSync } from "node:fs";
import type { Sql } from "postgres";
import { createItems, type Statements, withEventsByHand } from "./items.ts";

/** How a table's changes are captured: not at all, by our trigger, by a trigger written as
 *  pg2kafka's is, or by hand, with the events in the same statement. */
export const CANDIDATES = ["none", "ours", "peer", "limit"] as const;
export type Candidate = (typeof CANDIDATES)[number];

export const OPERATIONS = { insert: "INSERT", update: "UPDATE", remove: "DELETE" } as const;
export type Operation = keyof typeof OPERATIONS;

export function operations(): Operation[] {
  return Object.keys(OPERATIONS) as Operation[];
}

/** Each candidate's table, with its trigger. */
export async function createCandidates(sql: Sql): Promise<void> {
  for (const candidate of CANDIDATES) await sql.unsafe(createItems(tableOf(candidate)));
  await sql`select pg2kafka.setup(${tableOf("ours")}, 'sku')`;
  await sql.unsafe(readFileSync(new URL("peers/row-trigger.sql", import.meta.url), "utf8"));
  await sql`
    insert into peer.external_id_relations (external_id, table_name)
    values ('sku', ${tableOf("peer")})`;
  await sql`
    create trigger items_peer_enqueue_event
    after insert or update or delete on ${sql(tableOf("peer"))}
    for each row execute function peer.enqueue_event()`;
}

export function statementsOf(
  candidate: Candidate,
  make: (table: string) => Statements,
): Statements {
  const table = tableOf(candidate);
  return candidate === "limit" ? withEventsByHand(table, make(table)) : make(table);
}

/** As it was before any row. */
export async function emptyCandidate(sql: Sql, candidate: Candidate): Promise<void> {
  await sql`truncate ${sql(tableOf(candidate))} restart identity`;
  await sql`truncate pg2kafka.outbound_event_queue, peer.outbound_event_queue`;
}

function tableOf(candidate: Candidate): string {
  return `items_${candidate}`;
}
