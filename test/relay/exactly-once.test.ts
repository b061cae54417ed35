import { expect, test } from "vitest";
import { type DrainReport, drain } from "../../functions/core/drain.ts";
import { createTopic, limitMessages } from "../local/topics.ts";
import { type CommittedMessage, readCommitted } from "../support/committed.ts";
import { newest, schema, useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { configFor, drainSession, type Environment, enqueue, kafkaProducer } from "./support.ts";

const server = useDatabase(newest, { superuser: true });
const cluster = useKafka();
const topic = (table = "t") => `pg2kafka.${server.database.name}.${table}`;

function environment(env: Environment = {}): Environment {
  return { DELIVERY: "exactly-once", KAFKA_BROKER: cluster.brokers.join(","), ...env };
}

async function drainOnce(env: Environment = {}): Promise<DrainReport> {
  const config = configFor(server.database, environment(env));
  const producer = kafkaProducer(server.database, cluster.brokers);
  const deadlineMs = performance.now() + 30_000;
  return await drain(drainSession(server.database), producer, config, schema, deadlineMs);
}

/** What a reader of committed messages sees. */
function messages(table = "t"): Promise<CommittedMessage[]> {
  return readCommitted([...cluster.brokers], topic(table));
}

async function keys(table = "t"): Promise<(string | null)[]> {
  return (await messages(table)).map(({ key }) => key);
}

/** A drain that dies when its first batch is in Kafka, before that is settled. */
async function dieBeforeSettling(env: Environment = {}): Promise<void> {
  await server.sql.unsafe(`
    create function die() returns trigger language plpgsql as $$
    begin
      if jsonb_path_exists(new.lanes, '$[*].transaction ? (@.sent != null && @.begun == null)') then
        raise exception 'died';
      end if;
      return new;
    end $$;
    create trigger die before insert on pg2kafka.drain_log for each row execute function die()`);
  await expect(drainOnce(env)).rejects.toThrow("died");
  await server.sql`drop function die() cascade`;
}

test("a batch is a transaction: sent once, settled, and the next drain has nothing to do", async () => {
  await createTopic(cluster.brokers, topic(), { partitions: 3 });
  await enqueue(server.sql, "a", "b", "a", { key: null, statement: "TRUNCATE" }, "c");
  expect(await drainOnce()).toMatchObject({ delivered: 5, drained: true, stopped: null });
  expect((await keys()).sort()).toEqual(["a", "a", "b", "c", null, null, null].sort());
  expect(await drainOnce()).toMatchObject({ delivered: 0, drained: true, restored: false });
});

test("a batch that is in Kafka when its drain dies is settled by the next one, not sent again", async () => {
  await createTopic(cluster.brokers, topic());
  await enqueue(server.sql, "a", "b", "c");
  await dieBeforeSettling({ BATCH_EVENTS_MAX: "2" });
  expect(await keys()).toEqual(["a", "b"]);
  expect(await drainOnce()).toMatchObject({ delivered: 1, drained: true, restored: false });
  expect(await keys()).toEqual(["a", "b", "c"]);
});

test("what Kafka refused of such a batch is parked all the same", async () => {
  await createTopic(cluster.brokers, topic());
  const table = "without_topic";
  await enqueue(server.sql, "a", { key: "b", table }, { key: "c", table }, "d");
  await dieBeforeSettling();
  const parked = () => server.sql`select external_id from pg2kafka.parked_events order by id`;
  expect(await parked()).toEqual([]);
  await drainOnce();
  expect(await parked()).toMatchObject([{ external_id: "b" }, { external_id: "c" }]);
  expect(await keys()).toEqual(["a", "d"]);
  await createTopic(cluster.brokers, topic(table));
  expect(await drainOnce()).toMatchObject({ unparked: 2 });
  expect(await keys(table)).toEqual(["b", "c"]);
});

test("nor is it taken for one of a later time, where nothing of the next batch is sent", async () => {
  await createTopic(cluster.brokers, topic());
  await enqueue(server.sql, "a");
  await drainOnce();
  const behind = { key: "b", table: "without_topic" };
  await enqueue(server.sql, "c", behind);
  await dieBeforeSettling();
  await enqueue(server.sql, behind);
  expect(await drainOnce()).toMatchObject({ drained: true, restored: false });
  await enqueue(server.sql, "d");
  expect(await drainOnce()).toMatchObject({ delivered: 1, restored: false });
  expect(await keys()).toEqual(["a", "c", "d"]);
});

test("the batch of a lane that is no longer there is settled before its rest is gathered", async () => {
  await createTopic(cluster.brokers, topic(), { partitions: 3 });
  const lanes = (lane: number) => ({ LANES: "2", LANE: String(lane) });
  await drainOnce(lanes(0));
  await drainOnce(lanes(1));
  const all = Array.from({ length: 12 }, (_, n) => `${n}`);
  await enqueue(server.sql, ...all);
  await dieBeforeSettling({ ...lanes(1), BATCH_EVENTS_MAX: "2" });
  for (let tick = 0; tick < 3; tick++) expect(await drainOnce()).toMatchObject({ restored: false });
  expect((await keys()).sort()).toEqual(all.sort());
});

test.each([
  ["between two batches", ["a"]],
  ["before the first batch", []],
])("a database that went back to %s is noticed, and what it sends again", async (_, known) => {
  await createTopic(cluster.brokers, topic());
  if (known.length > 0) {
    await enqueue(server.sql, ...known);
    await drainOnce();
  }
  await server.sql`create table earlier as select * from pg2kafka.drain_log`;
  await enqueue(server.sql, "b");
  await drainOnce();
  await enqueue(server.sql, "c");
  await server.sql`truncate pg2kafka.drain_log`;
  await server.sql`insert into pg2kafka.drain_log select * from earlier`;
  expect(await drainOnce()).toMatchObject({ delivered: 2, restored: true });
  expect(await keys()).toEqual([...known, "b", "b", "c"]);
  await enqueue(server.sql, "d");
  expect(await drainOnce()).toMatchObject({ delivered: 1, restored: false });
});

test("lanes that come and go, and another way of delivery in between, are not taken for that", async () => {
  await createTopic(cluster.brokers, topic(), { partitions: 3 });
  const several = { LANES: "2" };
  let key = 0;
  for (const env of [several, {}, { DELIVERY: "at-least-once" }, {}, several]) {
    await enqueue(server.sql, `${key++}`, `${key++}`);
    for (let tick = 0; tick < 3; tick++) {
      for (const LANE of env === several ? ["0", "1"] : ["0"]) {
        expect(await drainOnce({ ...env, LANE })).toMatchObject({ restored: false });
      }
    }
  }
  expect((await keys()).sort()).toEqual(Array.from({ length: key }, (_, n) => `${n}`).sort());
});

test("what would be parked beyond the bound is known before the commit: it is not sent, and nothing is stuck", async () => {
  await createTopic(cluster.brokers, topic(), { configs: { "max.message.bytes": "20000" } });
  const data = JSON.stringify({ name: "x".repeat(400_000) });
  await enqueue(
    server.sql,
    { key: "a", data },
    { key: "b", data },
    { key: "c", data },
    { key: "d", data },
    "small",
  );
  const env = { PARKED_BYTES_MAX: "1048576" };
  expect(await drainOnce(env)).toMatchObject({ delivered: 0, stopped: { code: "PARKED_FULL" } });
  expect(await keys()).toEqual([]);
  await limitMessages(cluster.brokers, topic(), 2_000_000);
  await server.sql`select pg2kafka.requeue()`;
  expect(await drainOnce(env)).toMatchObject({ delivered: 5, restored: false, stopped: null });
  expect(await keys()).toEqual(["a", "b", "c", "d", "small"]);
});

test("a batch in Kafka is settled also where another lane has parked up to the bound meanwhile", async () => {
  await createTopic(cluster.brokers, topic());
  await enqueue(server.sql, { key: "a", table: "without_topic" }, "b");
  const env = { PARKED_EVENTS_MAX: "2" };
  await dieBeforeSettling(env);
  await server.sql`
    insert into pg2kafka.parked_events
      (id, uuid, external_id, table_schema, table_name, statement, created_at, topic, scope, code, reason, retriable)
    select n, gen_random_uuid(), 'c', 'public', 't', 'INSERT', now(), 'other', 'key', 'MESSAGE_TOO_LARGE', '', false
    from generate_series(-1, 0) n`;
  expect(await drainOnce(env)).toMatchObject({ stopped: null });
  expect(await keys()).toEqual(["b"]);
  expect(await server.sql`select external_id from pg2kafka.parked_events order by place`).toEqual([
    { external_id: "c" },
    { external_id: "c" },
    { external_id: "a" },
  ]);
});
