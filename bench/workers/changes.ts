/* Change rows of `items` one by one, and see each change come out of Kafka: one process does both,
   so that one clock counts. Prints {"latenciesMs": [...]}, in the order of the changes: from the
   answer to a change's COMMIT to its message in a consumer.

   MODE=changes   through Postgres and a drain that runs already
   MODE=messages  sent to Kafka by this process: what Kafka and the consumer take of it
   CHANGES        how many
   PAUSE_MS       from the start of one to the start of the next */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Kafka, logLevel } from "kafkajs";
import postgres from "postgres";

/** For the drain to start, and to send what is left. */
const WAIT_MS = 90_000;
/** A slow COMMIT does not delay the next change. */
const CONNECTIONS = 8;
/** Tells these changes from those of another run. */
const MARK = randomUUID();

const topic = process.env["TOPIC"]!;
const count = Number(process.env["CHANGES"]);
const pauseMs = Number(process.env["PAUSE_MS"]);
const isDirect = process.env["MODE"] === "messages";

const sql = postgres(process.env["DATABASE_URL"]!, { max: CONNECTIONS, fetch_types: false });
const kafka = new Kafka({
  brokers: process.env["KAFKA_BROKER"]!.split(","),
  logLevel: logLevel.NOTHING,
});
const producer = kafka.producer();
const consumer = kafka.consumer({ groupId: `changes-${process.pid}`, maxWaitTimeInMs: 1_000 });

/** Change → when its message came; only the first copy counts. */
const receivedMs = new Map<number, number>();
await consumer.connect();
await consumer.subscribe({ topic });
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ message }) => {
    const nowMs = performance.now();
    const [mark, change] = JSON.parse(message.value!.toString()).data.note.split(" ");
    if (mark === MARK && !receivedMs.has(Number(change))) receivedMs.set(Number(change), nowMs);
  },
});
if (isDirect) await producer.connect();

await warmUp();
const committedMs: number[] = [];
const startMs = performance.now();
const changes: Promise<void>[] = [];
for (let change = 0; change < count; change++) {
  const dueMs = startMs + change * pauseMs;
  await sleep(Math.max(0, dueMs - performance.now()));
  changes.push(
    make(change).then(() => {
      committedMs[change] = performance.now();
    }),
  );
}
await Promise.all(changes);
await waitFor(() => committedMs.every((_, change) => receivedMs.has(change)));
const latenciesMs = committedMs.map((ms, change) => receivedMs.get(change)! - ms);
console.log(JSON.stringify({ latenciesMs }));
await Promise.all([consumer.disconnect(), producer.disconnect(), sql.end()]);

/** Until all of it runs: the consumer has its partitions, and the drain its first events. */
async function warmUp(): Promise<void> {
  await sql`select 1`;
  let change = -1;
  await waitFor(async () => {
    await make(change--);
    return receivedMs.size > 0;
  });
  await waitFor(() => receivedMs.has(change + 1));
}

/** One transaction, or one message. */
async function make(change: number): Promise<void> {
  const sku = `sku-${Math.abs(change) % 100}`;
  const note = `${MARK} ${change}`;
  if (isDirect) {
    const value = JSON.stringify({ data: { note } });
    await producer.send({ topic, messages: [{ key: sku, value }] });
    return;
  }
  const { count } = await sql`update items set note = ${note} where sku = ${sku}`;
  if (count !== 1) throw new Error(`Change ${change} touched ${count} rows, not one.`);
}

async function waitFor(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) {
      throw new Error(`${receivedMs.size} changes have come out of Kafka after ${WAIT_MS} ms.`);
    }
    await sleep(20);
  }
}
