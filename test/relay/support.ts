import type postgres from "postgres";
import type { Sql } from "postgres";
import { onTestFinished } from "vitest";
import { type Config, readConfig } from "../../functions/core/config.ts";
import { type DrainReport, drain } from "../../functions/core/drain.ts";
import { createProducer, type Producer } from "../../functions/core/kafka/producer.ts";
import type { BatchLimits } from "../../functions/core/postgres/batch.ts";
import { createTopic, type ReadOptions, readTopic } from "../local/topics.ts";
import { schema, type TestDatabase, waitFor } from "../support/database.ts";

/** Settings as the environment would give them; all else has its default. */
export type Environment = Record<string, string>;

/** Of a batch, for tests that ask the queue themselves. */
export const LIMITS: BatchLimits = { eventsMax: 100, bytesMax: 1_000_000, eventBytesMax: 500_000 };
/** What a batch settles besides its position. */
export const NOTHING = { parked: [], retried: [], unparked: [] };
export const PARKED_MAX = { eventsMax: 100, bytesMax: 1_000_000 };

/** Of a drain's time. */
export const MARGIN_MS = 9_000;

/** More than a request takes on a busy machine, and less than the defaults where tests wait for it. */
const TIMES: Environment = {
  REQUEST_TIMEOUT_MS: "8000",
  CONNECTION_TIMEOUT_MS: "3000",
  LEASE_MS: "20000",
  MARGIN_MS: String(MARGIN_MS),
  TIMEOUT_MS: "90000",
};

/** Of a drain in the process of its test, with its margin. */
export const DRAIN_MS = 60_000;

export function configFor(database: { url: string }, env: Environment = {}): Config {
  return readConfig({
    DATABASE_URL: database.url,
    KAFKA_BROKER: "127.0.0.1:1",
    ...TIMES,
    ...env,
  });
}

/** Connections as the drain opens them, ended with the test. */
export function drainSession(database: TestDatabase): Sql {
  return database.connect({ max: 3, prepare: false, fetch_types: false });
}

/** A session that holds its transaction open from call to call. */
export function writer(database: TestDatabase): Sql {
  return database.connect({ max: 1 });
}

/** One drain with a producer of the test's choice: the real one, or one wrapped around it. */
export async function drainInto(
  database: TestDatabase,
  producer: Producer,
  { env = {}, sql = drainSession(database), timeoutMs = DRAIN_MS } = {} as {
    env?: Environment;
    sql?: Sql;
    timeoutMs?: number;
  },
): Promise<DrainReport> {
  const deadlineMs = performance.now() + timeoutMs;
  return await drain(sql, producer, configFor(database, env), schema, deadlineMs);
}

export interface EventRow {
  key: string | null;
  table?: string;
  statement?: string;
  /** JSON. */
  data?: string | null;
  generation?: number;
}

/** Put events into the queue as the capture functions do, one statement for each. */
export async function enqueue(sql: Sql, ...events: (EventRow | string)[]): Promise<void> {
  for (const event of events) {
    const row = typeof event === "string" ? { key: event } : event;
    const { key, table = "t", statement = "INSERT", data = "{}", generation } = row;
    await sql.unsafe(
      `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data
         ${generation === undefined ? "" : ", generation"})
       values ($1, $2, $3, $4::text::json ${generation === undefined ? "" : `, ${generation}`})`,
      [key, table, statement, data],
    );
  }
}

/** Put `count` events into the queue with one statement. */
export async function enqueueMany(
  sql: Sql,
  count: number,
  { data = "{}", generation }: { data?: string; generation?: number } = {},
): Promise<void> {
  await sql.unsafe(
    `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data
       ${generation === undefined ? "" : ", generation"})
     select n, 't', 'INSERT', $1::text::json ${generation === undefined ? "" : `, ${generation}`}
     from generate_series(1, ${count}) n`,
    [data],
  );
}

/** As if a drain that has died had done so long ago. */
export async function expireLeases(sql: Sql): Promise<void> {
  await sql.unsafe(
    `update pg2kafka.drain_log set lanes = (
       select jsonb_agg(lane || '{"leased_until": "-infinity"}') from jsonb_array_elements(lanes) lane
     )`,
  );
}

/** After drains of the command line were killed: as if they had died long ago. What they have sent to
 *  Postgres is carried out nevertheless, and may be the taking of a lease. */
export async function buryDrains(sql: Sql): Promise<void> {
  await waitFor(async () => {
    const sessions = await sql`
      select from pg_stat_activity
      where application_name = 'pg2kafka' and datname = current_database()`;
    return sessions.length === 0;
  });
  await expireLeases(sql);
}

const TURN_S = 120;
const GENERATIONS = 4;

/** A generation whose turn is over, and will be for some minutes. */
export function idleGeneration(): number {
  return (Math.floor(Date.now() / 1000 / TURN_S) + 2) % GENERATIONS;
}

/** Longer than a test works on what it has put into idle generations, before they are left alone for
 *  their next turn. */
const BEFORE_TURN_S = 20;

/** Two of them; so near to the next turn that one would be due, wait for it. */
export async function idleGenerations(): Promise<[number, number]> {
  await waitFor(() => (Date.now() / 1000) % TURN_S < TURN_S - BEFORE_TURN_S);
  const generation = idleGeneration();
  return [generation, (generation + GENERATIONS - 1) % GENERATIONS];
}

export async function one<Row>(sql: Sql, query: string): Promise<Row> {
  const [row] = await sql.unsafe<Row[] & postgres.Row[]>(query);
  return row as Row;
}

/** A producer as the drain makes it, closed with the test. */
export function kafkaProducer(
  database: TestDatabase,
  brokers: readonly string[],
  env: Environment = {},
): Producer {
  const config = configFor(database, env);
  const producer = createProducer({
    brokers: [...brokers],
    clientId: "pg2kafka",
    ...config.producer,
  });
  onTestFinished(() => producer.close());
  return producer;
}

/** One drain into Kafka. */
export async function drainToKafka(
  database: TestDatabase,
  brokers: readonly string[],
  env: Environment = {},
  options: { sql?: Sql; timeoutMs?: number } = {},
): Promise<DrainReport> {
  return await drainInto(database, kafkaProducer(database, brokers, env), { env, ...options });
}

/**
 * One drain into Kafka, whose topic for `table` (default `t`) has one partition. The first call
 * for a database makes it.
 *
 * @returns the report; `receiveNew` tells what came
 */
export async function drainTable(
  database: TestDatabase,
  brokers: readonly string[],
  { env = {}, sql, table = "t" }: { env?: Environment; sql?: Sql; table?: string } = {},
): Promise<DrainReport> {
  const topic = `pg2kafka.${database.name}.${table}`;
  if (!received.has(topic)) {
    await createTopic([...brokers], topic);
    received.set(topic, 0);
  }
  return await drainToKafka(database, brokers, env, sql && { sql });
}

/** Topic of `drainTable` → how many of its messages `receiveNew` has returned. */
const received = new Map<string, number>();

/** What has come to the topic of `drainTable` since the call before, in order. */
export async function receiveNew(
  database: TestDatabase,
  brokers: readonly string[],
  table = "t",
): Promise<Received[]> {
  const topic = `pg2kafka.${database.name}.${table}`;
  const from = received.get(topic) ?? 0;
  const messages = await receive(brokers, topic, { from });
  received.set(topic, from + messages.length);
  return messages;
}

/** A message as a consumer sees it. */
export interface Received {
  uuid: string;
  key: string | null;
  statement: string;
  data: Record<string, unknown> | null;
  partition: number;
  headers: Record<string, string>;
}

/** All messages of a topic, by partition and offset. */
export async function receive(
  brokers: readonly string[],
  topic: string,
  options: ReadOptions = {},
): Promise<Received[]> {
  const messages = await readTopic([...brokers], topic, options);
  return messages.map(({ key, value, partition, headers }) => {
    const { uuid, statement, data } = JSON.parse(value!);
    return { uuid, key, statement, data, partition, headers };
  });
}

/** What is left when the first copy of each uuid is kept, and how many were dropped. */
export function withoutRepeats(messages: readonly Received[]): {
  messages: Received[];
  repeats: number;
} {
  const seen = new Set<string>();
  const kept = messages.filter(({ uuid, partition }) => {
    // A TRUNCATE is in every partition.
    const id = `${partition}/${uuid}`;
    return !seen.has(id) && seen.add(id);
  });
  return { messages: kept, repeats: messages.length - kept.length };
}
