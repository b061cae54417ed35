/* A drain that works the way pg2kafka's does, in our own words: select up to 1000 unprocessed
   events; for each, produce it, wait for the acknowledgement, and mark its row as processed.
   Reads the peer's queue (row-trigger.sql). Prints {"events","durationMs"}. */
import { Kafka, logLevel } from "kafkajs";
import { readConfig } from "../../functions/core/config.ts";
import { createPartitioner } from "../../functions/core/kafka/partitioner.ts";
import { connectDatabase } from "../../functions/core/postgres/database.ts";

const BATCH = 1_000;

interface Row {
  id: string;
  uuid: string;
  external_id: string | null;
  statement: string;
  data: unknown;
  created_at: Date;
}

const config = readConfig(process.env);
const sql = await connectDatabase(config.database);
const kafka = new Kafka({ brokers: config.brokers, logLevel: logLevel.NOTHING });
const producer = kafka.producer({ createPartitioner });
await producer.connect();
const topic = `pg2kafka.${config.namespace}.bench.items`;

const startedMs = performance.now();
let events = 0;
for (;;) {
  const rows = await sql<Row[]>`
    select id, uuid, external_id, statement, data, created_at
    from peer.outbound_event_queue where processed is false order by id limit ${BATCH}`;
  if (rows.length === 0) break;
  for (const { id, created_at, ...event } of rows) {
    const value = JSON.stringify({ ...event, created_at });
    const timestamp = String(created_at.getTime());
    await producer.send({ topic, messages: [{ key: event.external_id, value, timestamp }] });
    await sql`update peer.outbound_event_queue set processed = true where id = ${id}`;
    events += 1;
  }
}
console.log(JSON.stringify({ events, durationMs: performance.now() - startedMs }));
await producer.disconnect();
await sql.end();
