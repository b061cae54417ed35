/* Read the whole backlog, send nothing, settle nothing. Prints {"events","durationMs"}.
   MODE=fetch: as the drain does. MODE=plain: the least that brings the same columns to Node, by
   id, the next batch asked for before this one is looked at. */
import { readConfig } from "../../functions/core/config.ts";
import { connectDatabase } from "../../functions/core/postgres/database.ts";
import { createQueue } from "../../functions/core/postgres/queue.ts";

const PLAIN_BATCH = 5_000;

const config = readConfig(process.env);
const sql = await connectDatabase(config.database);
const startedMs = performance.now();
const events = process.env["MODE"] === "plain" ? await readPlain() : await readAsDrain();
console.log(JSON.stringify({ events, durationMs: performance.now() - startedMs }));
await sql.end();

async function readAsDrain(): Promise<number> {
  const queue = createQueue(sql);
  let { position } = await queue.readState();
  for (let count = 0; ; ) {
    const batch = await queue.fetch(position, "0", config.limits.batch);
    count += batch.events.length;
    if (batch.events.length === 0 && position.target === null) return count;
    position = batch.after;
  }
}

async function readPlain(): Promise<number> {
  const read = (lastId: string) =>
    sql<{ id: string }[]>`
      select id, uuid, external_id, table_schema, table_name, statement, data::text as data,
        (extract(epoch from created_at) * 1000000)::bigint as micros
      from pg2kafka.outbound_event_queue where id > ${lastId} order by id limit ${PLAIN_BATCH}`;
  let next = read("0");
  for (let count = 0; ; ) {
    const rows = await next;
    count += rows.length;
    if (rows.length < PLAIN_BATCH) return count;
    next = read(rows.at(-1)!.id);
  }
}
