import { expect, test } from "vitest";
import { ProduceError } from "../../functions/core/errors.ts";
import type { Producer } from "../../functions/core/kafka/producer.ts";
import { messageFormat } from "../../functions/core/message.ts";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { relay } from "../../functions/core/relay.ts";
import { atLeastOnce } from "../../functions/core/sender.ts";
import { createTopic, limitMessages } from "../local/topics.ts";
import { newest, useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  configFor,
  DRAIN_MS,
  drainInto,
  drainSession,
  drainToKafka,
  type Environment,
  expireLeases,
  kafkaProducer,
  one,
  receive,
  withoutRepeats,
  writer,
} from "./support.ts";

/* A step of a snapshot reads a row whose change is not committed yet. Its event has the higher id, and
   comes first, whatever happens on the way. */

const ROWS = 6_000;
const SMALL_MESSAGES = { "max.message.bytes": "20000" };

const server = useDatabase(newest, { superuser: true });
const cluster = useKafka();
const topic = () => `pg2kafka.${server.database.name}.t`;

const drainOnce = (env?: Environment) => drainToKafka(server.database, cluster.brokers, env);

/** Too many rows to be read at once. */
async function trackTable(): Promise<void> {
  await server.sql.unsafe(`
    create table t (id int primary key, v int not null default 0, pad text)
      with (fillfactor = 50, autovacuum_enabled = off);
    insert into t select n, 0, repeat('x', 60) from generate_series(1, ${ROWS}) n;
    select pg2kafka.setup('t', 'id')`);
}

/** A change that is committed by the function that it returns. */
async function beginChange(statement: string): Promise<() => Promise<unknown>> {
  const session = writer(server.database);
  await session`begin`;
  await session.unsafe(statement);
  return () => session`commit`;
}

/** What a consumer comes to see of a row, as statement and value. */
async function historyOf(key: number): Promise<string[]> {
  const { messages } = withoutRepeats(await receive(cluster.brokers, topic()));
  return messages
    .filter((message) => message.key === String(key))
    .map(({ statement, data }) => `${statement} ${data?.["v"] ?? ""}`.trim());
}

async function keyOfLane(lane: number): Promise<number> {
  const { id } = await one<{ id: number }>(
    server.sql,
    `select id from t where pg2kafka.is_of_share(id::text, ${lane}, 2) order by id limit 1`,
  );
  return id;
}

/** Kafka is away. */
const unreachable: Producer = {
  send: async () => {
    throw new ProduceError("away", { code: "KAFKA_UNAVAILABLE", retriable: true });
  },
  close: async () => {},
};

test("where the topic was missing", async () => {
  await trackTable();
  const commit = await beginChange("update t set v = 1 where id = 1");
  await drainOnce();
  await commit();
  await drainOnce();
  await createTopic(cluster.brokers, topic());
  for (let tick = 0; tick < 3; tick++) await drainOnce();
  expect(await historyOf(1)).toEqual(["SNAPSHOT 0", "UPDATE 1"]);
});

test("where the row was too large for the topic", async () => {
  await trackTable();
  await createTopic(cluster.brokers, topic(), { configs: SMALL_MESSAGES });
  const { sql } = server;
  await sql`update t set pad = repeat(md5(random()::text), 2000) where id = 1`;
  await sql`truncate pg2kafka.outbound_event_queue`;
  const commit = await beginChange("delete from t where id = 1");
  for (let tick = 0; tick < 2; tick++) await drainOnce();
  await commit();
  await drainOnce();
  await limitMessages(cluster.brokers, topic(), 2_000_000);
  await sql`select pg2kafka.requeue()`;
  await drainOnce();
  expect(await historyOf(1)).toEqual(["SNAPSHOT 0", "DELETE"]);
});

test("where the step's COMMIT was not answered", async () => {
  await trackTable();
  await createTopic(cluster.brokers, topic());
  const commit = await beginChange("update t set v = 1 where id = 1");
  const queue = createQueue(drainSession(server.database));
  const unanswered: typeof queue = {
    ...queue,
    stepSnapshot: async (...args) => {
      await queue.stepSnapshot(...args);
      throw Object.assign(new Error("closed"), { code: "CONNECTION_CLOSED" });
    },
  };
  const state = await queue.readState();
  const producer = kafkaProducer(server.database, cluster.brokers);
  const { limits } = configFor(server.database);
  const run = {
    queue: unanswered,
    toMessage: messageFormat({ ...state, namespace: undefined }),
    openSender: () => atLeastOnce(producer),
    limits,
    eventsMax: limits.batch.eventsMax,
    deadlineMs: performance.now() + DRAIN_MS,
    lane: 0,
    lanes: 1,
    linger: false,
  };
  await expect(relay(run, state)).rejects.toThrow("closed");
  await commit();
  await expireLeases(server.sql);
  await drainOnce();
  expect(await historyOf(1)).toEqual(["SNAPSHOT 0", "UPDATE 1"]);
});

test("where the snapshot was cancelled, and lanes were gathered: it is not sent", async () => {
  await trackTable();
  await createTopic(cluster.brokers, topic());
  const key = await keyOfLane(0);
  const commit = await beginChange(`update t set v = 1 where id = ${key}`);
  await drainInto(server.database, unreachable, { env: { LANES: "2", LANE: "0" } });
  await server.sql`select pg2kafka.cancel_snapshot(1)`;
  await commit();
  for (let tick = 0; tick < 2; tick++) await drainOnce();
  expect(await historyOf(key)).toEqual(["UPDATE 1"]);
});

test("where one lane's step was spread over two, and gathered before both had sent it: it is made again", async () => {
  await trackTable();
  await createTopic(cluster.brokers, topic());
  const keys = [await keyOfLane(0), await keyOfLane(1)] as const;
  const commit = await beginChange(`update t set v = 1 where id = ${keys[1]}`);
  await drainInto(server.database, unreachable);
  await drainOnce({ LANES: "2", LANE: "0" });
  await commit();
  for (let tick = 0; tick < 3; tick++) await drainOnce();
  expect(await historyOf(keys[1])).toEqual(["UPDATE 1", "SNAPSHOT 1"]);
  expect(await historyOf(keys[0])).toContain("SNAPSHOT 0");
  const { messages } = withoutRepeats(await receive(cluster.brokers, topic()));
  expect(new Set(messages.map(({ key }) => key)).size).toBe(ROWS);
});

test("where the database was restored: what is under way begins again, what is over is not sent", async () => {
  await trackTable();
  await createTopic(cluster.brokers, topic());
  const { sql } = server;
  const commit = await beginChange("update t set v = 1 where id = 1");
  await drainOnce();
  await commit();
  await drainOnce();
  expect(await sql`select state from pg2kafka.snapshots`).toEqual([{ state: "finished" }]);
  await sql`update pg2kafka.drain_log set system_identifier = 1`;
  expect(await drainOnce()).toMatchObject({ restored: true });
  expect(await historyOf(1)).toEqual(["SNAPSHOT 0", "UPDATE 1"]);
});
