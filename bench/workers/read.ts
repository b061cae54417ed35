/* Read the whole backlog, send nothing, settle nothing: the least that brings what a message needs
   to Node, by id, the next batch asked for before this one is looked at. BATCH: rows of one.
   Prints {"events","durationMs"}. */
import { readConfig } from "../../functions/core/config.ts";
import { connectDatabase } from "../../functions/core/postgres/database.ts";

const batchSize = Number(process.env["BATCH"]);
const sql = await connectDatabase(readConfig(process.env).database);
const read = (lastId: string) =>
  sql<{ id: string }[]>`
    select id, uuid, external_id, table_schema, table_name, statement, data::text as data,
      (extract(epoch from created_at) * 1000000)::bigint as micros
    from pg2kafka.outbound_event_queue where id > ${lastId} order by id limit ${batchSize}`;

const startedMs = performance.now();
let events = 0;
let next = read("0");
for (;;) {
  const rows = await next;
  events += rows.length;
  if (rows.length < batchSize) break;
  next = read(rows.at(-1)!.id);
}
console.log(JSON.stringify({ events, durationMs: performance.now() - startedMs }));
await sql.end();
