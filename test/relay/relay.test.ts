import { describe, expect, test } from "vitest";
import { dryRun } from "../../functions/core/drain.ts";
import type { Producer } from "../../functions/core/kafka/producer.ts";
import { messageFormat } from "../../functions/core/message.ts";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { relay } from "../../functions/core/relay.ts";
import { atLeastOnce } from "../../functions/core/sender.ts";
import { freeze } from "../local/freeze.ts";
import { freePort } from "../local/port.ts";
import { createTopic } from "../local/topics.ts";
import { newest, schema, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  configFor,
  drainInto,
  drainSession,
  drainToKafka,
  enqueue,
  enqueueMany,
  expireLeases,
  idleGeneration,
  kafkaProducer,
  MARGIN_MS,
  one,
  receive,
  withoutRepeats,
  writer,
} from "./support.ts";

const server = useDatabase(newest, { superuser: true });
const cluster = useKafka();
const brokers = () => cluster.brokers;

/** The topic of a table of the running test's database. */
const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

async function makeTopic(table: string, options = {}): Promise<string> {
  await createTopic(brokers(), topicOf(table), options);
  return topicOf(table);
}

async function keysIn(topic: string): Promise<(string | null)[]> {
  return (await receive(brokers(), topic)).map(({ key }) => key);
}

interface ParkedRow {
  external_id: string | null;
  topic: string;
  code: string;
  reason: string;
}

async function parked(): Promise<ParkedRow[]> {
  return await server.sql<ParkedRow[]>`
    select external_id, topic, code, reason from pg2kafka.parked_events order by id`;
}

/** All that the drain may change, as text. */
async function contents(): Promise<string> {
  const { text } = await one<{ text: string }>(
    server.sql,
    `select concat(
       (select json_agg(t) from pg2kafka.control t),
       (select json_agg(t order by id) from pg2kafka.outbound_event_queue t),
       (select json_agg(t order by number) from pg2kafka.drain_log t),
       (select json_agg(t order by id) from pg2kafka.parked_events t),
       (select json_agg(t) from pg2kafka.discarded_events t)
     ) as text`,
  );
  return text;
}

const ofBytes = (bytes: number) => JSON.stringify({ n: "x".repeat(bytes) });

test("the README's example: each change is a message, in the order of its row", async () => {
  const { sql } = server;
  await sql`create table products (
    uid uuid not null default gen_random_uuid(), sku text not null, name text,
    product_type text, created_at timestamptz default now())`;
  await sql`insert into products (sku, name) values ('CM01-R', 'Component 1 (rect.)')`;
  await sql`select pg2kafka.setup('products', 'sku')`;
  await sql`insert into products (sku, name) values ('CM02-R', 'Component 2 (rect.)')`;
  await sql`update products set name = 'Component 1 (round)' where sku = 'CM01-R'`;
  await sql`delete from products where sku = 'CM01-R'`;
  const topic = await makeTopic("products", { partitions: 3 });

  const report = await drainToKafka(server.database, brokers());
  expect(report).toMatchObject({ delivered: 4, parked: 0, drained: true, lagMs: 0, stopped: null });
  const messages = await receive(brokers(), topic);
  const first = messages.filter(({ key }) => key === "CM01-R");
  expect(first.map(({ statement, data }) => [statement, data])).toMatchObject([
    ["SNAPSHOT", { sku: "CM01-R", name: "Component 1 (rect.)", product_type: null }],
    ["UPDATE", { name: "Component 1 (round)" }],
    ["DELETE", {}],
  ]);
  expect(first[1]!.data).toEqual({ name: "Component 1 (round)" });
  expect(messages.find(({ key }) => key === "CM02-R")).toMatchObject({ statement: "INSERT" });
  const { queue_id } = await one<{ queue_id: string }>(
    sql,
    "select queue_id from pg2kafka.control",
  );
  expect(first[0]!.headers).toEqual({
    "pg2kafka-uuid": first[0]!.uuid,
    "pg2kafka-queue": queue_id,
    "pg2kafka-table": "public.products",
    "pg2kafka-statement": "SNAPSHOT",
  });
  expect(await drainToKafka(server.database, brokers())).toMatchObject({
    delivered: 0,
    drained: true,
  });
  expect(await receive(brokers(), topic)).toHaveLength(4);
});

describe("what is sent and not settled", () => {
  test("a drain that ends after Kafka has the batch and before it is settled sends it again", async () => {
    const topic = await makeTopic("t");
    await enqueueMany(server.sql, 30);
    const real = kafkaProducer(server.database, brokers());
    let sends = 0;
    const crashing: Producer = {
      ...real,
      async send(...args) {
        const report = await real.send(...args);
        if (++sends === 2) throw new Error("crash");
        return report;
      },
    };
    const env = { BATCH_EVENTS_MAX: "10" };
    await expect(drainInto(server.database, crashing, { env })).rejects.toThrow("crash");
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ delivered: 20 });
    const all = await receive(brokers(), topic);
    const { messages, repeats } = withoutRepeats(all);
    expect(repeats).toBe(10);
    expect(messages.map(({ key }) => Number(key))).toEqual(
      Array.from({ length: 30 }, (_, n) => n + 1),
    );
  });

  test("a batch that Postgres does not let settle is sent again", async () => {
    const topic = await makeTopic("t");
    await enqueueMany(server.sql, 5);
    const real = kafkaProducer(server.database, brokers());
    const sql = drainSession(server.database);
    const allowConnections = (allowed: boolean) =>
      server.sql`update pg_database set datallowconn = ${allowed} where datname = current_database()`;
    const cutting: Producer = {
      ...real,
      async send(...args) {
        const report = await real.send(...args);
        // As when the database fails over: its sessions are gone, and it takes no new ones.
        await allowConnections(false);
        await server.sql`
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()`;
        return report;
      },
    };
    await expect(drainInto(server.database, cutting, { sql })).rejects.toThrow();
    await allowConnections(true);
    // Its lease may be left behind; the time it has left is not waited for.
    await expireLeases(server.sql);
    expect(await drainToKafka(server.database, brokers())).toMatchObject({ delivered: 5 });
    expect(withoutRepeats(await receive(brokers(), topic))).toMatchObject({ repeats: 5 });
  });

  test("what Kafka refused of a batch that Postgres did not let settle is parked by the next drain", async () => {
    const topic = await makeTopic("t");
    await enqueue(server.sql, "a", { key: "b", table: "missing" }, "c");
    await server.sql.unsafe(`
      create function die() returns trigger language plpgsql as
        $$ begin raise exception 'died'; end $$;
      create trigger die before insert on pg2kafka.parked_events execute function die()`);
    await expect(drainToKafka(server.database, brokers())).rejects.toThrow("died");
    await server.sql`drop function die() cascade`;
    expect(await drainToKafka(server.database, brokers())).toMatchObject({
      delivered: 2,
      parked: 1,
    });
    expect(await parked()).toMatchObject([{ external_id: "b" }]);
    expect(withoutRepeats(await receive(brokers(), topic))).toMatchObject({ repeats: 2 });
  });

  test("a drain whose lease has run out meanwhile changes nothing, and counts nothing", async () => {
    const topic = await makeTopic("t");
    await enqueueMany(server.sql, 3);
    const real = kafkaProducer(server.database, brokers());
    let inner = 0;
    const overtaken: Producer = {
      ...real,
      async send(...args) {
        const report = await real.send(...args);
        await server.sql`
          insert into pg2kafka.drain_log
          select number + 1, (number + 1) / 1024 % 2, system_identifier,
            jsonb_set(lanes, '{0}', lanes -> 0 || '{"token": 0, "leased_until": "-infinity"}'), false
          from pg2kafka.drain_log order by number desc limit 1`;
        inner = (await drainToKafka(server.database, brokers())).delivered;
        return report;
      },
    };
    const report = await drainInto(server.database, overtaken);
    expect(report).toMatchObject({ delivered: 0, drained: false, stopped: { code: "LEASE_LOST" } });
    expect(inner).toBe(3);
    expect(await drainToKafka(server.database, brokers())).toMatchObject({
      delivered: 0,
      drained: true,
    });
    expect(await keysIn(topic)).toEqual(["1", "2", "3", "1", "2", "3"]);
  });
});

describe("what Kafka does not take is parked", () => {
  test("a missing topic: its events wait in order, other topics flow, and all come when it is there", async () => {
    const other = await makeTopic("other");
    await enqueue(server.sql, { key: "a", table: "gone" }, { key: "o1", table: "other" });
    await enqueue(server.sql, { key: null, table: "gone" }, { key: "b", table: "gone" });
    expect(await drainToKafka(server.database, brokers())).toMatchObject({
      delivered: 1,
      parked: 3,
    });
    await enqueue(server.sql, { key: "a", table: "gone" }, { key: "o2", table: "other" });
    const second = await drainToKafka(server.database, brokers());
    expect(second).toMatchObject({ delivered: 1, parked: 1, unparked: 0, drained: true, lagMs: 0 });
    expect(await keysIn(other)).toEqual(["o1", "o2"]);
    const rows = await parked();
    expect(rows.map(({ code }) => code)).toEqual([
      "TOPIC_MISSING",
      "BEHIND_REFUSED",
      "BEHIND_REFUSED",
      "BEHIND_REFUSED",
    ]);
    expect(rows[0]!.reason).toBe(
      `Topic "${topicOf("gone")}" does not exist. Create it, or allow its creation.`,
    );
    const [view] = await server.sql`select * from pg2kafka.parked`;
    expect(view).toMatchObject({ code: "TOPIC_MISSING", waiting_behind: "3", attempts: 2 });

    const gone = await makeTopic("gone");
    await enqueue(server.sql, { key: "c", table: "gone" });
    const third = await drainToKafka(server.database, brokers());
    expect(third).toMatchObject({ delivered: 5, unparked: 4, parked: 0 });
    expect(await keysIn(gone)).toEqual(["a", null, "b", "a", "c"]);
    expect(await parked()).toEqual([]);
  });

  test("a batch that is read once more, after its events were parked, is settled all the same", async () => {
    const topic = await makeTopic("t");
    await server.sql`create table earlier as select * from pg2kafka.drain_log`;
    await enqueue(server.sql, "a", { key: "b", table: "missing" }, "c");
    const drain = () => drainToKafka(server.database, brokers());
    expect(await drain()).toMatchObject({ delivered: 2, parked: 1 });
    // As when a drain's settlement was not answered and it gave its lease back at the position before.
    await server.sql`truncate pg2kafka.drain_log`;
    await server.sql`insert into pg2kafka.drain_log select * from earlier`;
    expect(await drain()).toMatchObject({ delivered: 2, drained: true, stopped: null });
    expect(await parked()).toMatchObject([{ external_id: "b" }]);
    await makeTopic("missing");
    expect(await drain()).toMatchObject({ delivered: 1, unparked: 1 });
    expect(await keysIn(topic)).toEqual(["a", "c", "a", "c"]);
  });

  test("more parked events than a batch are tried again in one drain", async () => {
    await enqueueMany(server.sql, 25);
    const env = { BATCH_EVENTS_MAX: "10" };
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ parked: 25 });
    const topic = await makeTopic("t");
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ unparked: 25 });
    expect((await keysIn(topic)).map(Number)).toEqual(Array.from({ length: 25 }, (_, n) => n + 1));
  });

  test("one that is too large: its key waits, other keys and those without flow; requeue() delivers in order", async () => {
    const topic = await makeTopic("t");
    await enqueue(server.sql, { key: "big", data: ofBytes(60_000) }, { key: null }, "small", "big");
    const env = { MESSAGE_BYTES_MAX: "50000" };
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({
      delivered: 2,
      parked: 2,
    });
    await enqueue(server.sql, { key: "big", statement: "DELETE" }, { key: null }, "small");
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({
      delivered: 2,
      parked: 1,
    });
    expect(await keysIn(topic)).toEqual([null, "small", null, "small"]);
    expect((await parked()).map(({ code }) => code)).toEqual([
      "MESSAGE_TOO_LARGE",
      "BEHIND_REFUSED",
      "BEHIND_REFUSED",
    ]);

    await server.sql`select pg2kafka.requeue()`;
    const again = await drainToKafka(server.database, brokers(), env);
    expect(again).toMatchObject({ delivered: 0, unparked: 0 });
    await server.sql`select pg2kafka.requeue()`;
    expect(await drainToKafka(server.database, brokers())).toMatchObject({ unparked: 3 });
    const messages = await receive(brokers(), topic);
    const big = messages.filter(({ key }) => key === "big");
    expect(big.map(({ statement }) => statement)).toEqual(["INSERT", "INSERT", "DELETE"]);
  });

  test("one that the topic's own bound refuses, and discard() lets what is behind it go", async () => {
    const topic = await makeTopic("t", { configs: { "max.message.bytes": "20000" } });
    await enqueue(server.sql, { key: "big", data: ofBytes(30_000) }, "small", "big");
    expect(await drainToKafka(server.database, brokers())).toMatchObject({
      delivered: 1,
      parked: 2,
    });
    const { id } = await one<{ id: string }>(
      server.sql,
      "select id from pg2kafka.parked where code = 'MESSAGE_TOO_LARGE'",
    );
    await server.sql`select pg2kafka.discard(${id})`;
    expect(await drainToKafka(server.database, brokers())).toMatchObject({ unparked: 1 });
    expect(await keysIn(topic)).toEqual(["small", "big"]);
    const discarded = await server.sql`select * from pg2kafka.discarded_events`;
    const { user } = await one<{ user: string }>(server.sql, 'select session_user::text as "user"');
    expect(discarded).toMatchObject([
      { id, external_id: "big", code: "MESSAGE_TOO_LARGE", discarded_by: user },
    ]);
    expect(JSON.stringify(discarded)).not.toContain("xxxx");
    await expect(server.sql`select pg2kafka.discard(${id})`).rejects.toThrow("is not parked");
  });

  test.each([
    ["one, as large as a batch may be", 1, { MESSAGE_BYTES_MAX: "8388608" }],
    ["nine", 9, {}],
  ])("what follows events that could not be captured is sent: %s", async (_, count, env) => {
    const topic = await makeTopic("t");
    const keys = Array.from({ length: count }, (_, n) => `missing ${n}`);
    await enqueue(server.sql, ...keys.map((key) => ({ key, data: null })), "a", "b");
    const report = await drainToKafka(server.database, brokers(), env);
    expect(report).toMatchObject({ delivered: 2, parked: count });
    expect(await keysIn(topic)).toEqual(["a", "b"]);
  });

  test("one that could not be captured is parked, and sent with null for its data when requeued", async () => {
    const topic = await makeTopic("t");
    await enqueue(server.sql, { key: "a", data: null }, "a", "b");
    expect(await drainToKafka(server.database, brokers())).toMatchObject({
      delivered: 1,
      parked: 2,
    });
    expect((await parked())[0]).toMatchObject({ code: "NOT_CAPTURED" });
    await server.sql`select pg2kafka.requeue()`;
    expect(await drainToKafka(server.database, brokers())).toMatchObject({ unparked: 2 });
    const messages = await receive(brokers(), topic);
    expect(messages.map(({ key, data }) => [key, data])).toEqual([
      ["b", {}],
      ["a", null],
      ["a", {}],
    ]);
  });

  test("a reason that changes is noted with its scope", async () => {
    const topic = await makeTopic("t");
    await enqueue(server.sql, { key: "a", data: null }, "a", "b");
    await drainToKafka(server.database, brokers());
    await server.sql`select pg2kafka.discard(min(id)) from pg2kafka.parked_events`;
    // The topic is gone for the one that waited behind the key's.
    await drainInto(server.database, kafkaProducer(server.database, brokers()), {
      env: { TOPIC_NAMESPACE: "elsewhere" },
    });
    const rows = await server.sql`select code, scope, topic from pg2kafka.parked_events`;
    expect(rows).toEqual([
      {
        code: "TOPIC_MISSING",
        scope: "topic",
        topic: topic.replace("pg2kafka.", "pg2kafka.elsewhere."),
      },
    ]);
  });
});

describe("TRUNCATE", () => {
  const truncate = { key: null, statement: "TRUNCATE" };

  test("goes to every partition, after what came before it and before what follows", async () => {
    const topic = await makeTopic("t", { partitions: 3 });
    const keys = Array.from({ length: 20 }, (_, n) => `k${n}`);
    await enqueue(server.sql, ...keys, truncate, ...keys);
    expect(await drainToKafka(server.database, brokers())).toMatchObject({ delivered: 41 });
    const messages = await receive(brokers(), topic);
    for (let partition = 0; partition < 3; partition++) {
      const here = messages.filter((message) => message.partition === partition);
      const at = here.findIndex(({ statement }) => statement === "TRUNCATE");
      expect(here[at]).toMatchObject({ key: null, data: {} });
      const before = here.slice(0, at).map(({ key }) => key);
      expect(here.slice(at + 1).map(({ key }) => key)).toEqual(before);
    }
    expect(messages).toHaveLength(43);
  });

  test("waits behind a parked key of its topic, in the same batch too, and all of the topic behind it", async () => {
    const topic = await makeTopic("t");
    const other = await makeTopic("other");
    await enqueue(
      server.sql,
      "a",
      { key: "big", data: ofBytes(60_000) },
      truncate,
      "b",
      { key: null },
      { key: "o", table: "other" },
    );
    const env = { MESSAGE_BYTES_MAX: "50000" };
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({
      delivered: 2,
      parked: 4,
    });
    expect(await keysIn(topic)).toEqual(["a"]);
    expect(await keysIn(other)).toEqual(["o"]);
    await enqueue(server.sql, "a");
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ parked: 1 });
    await server.sql`select pg2kafka.requeue()`;
    expect(await drainToKafka(server.database, brokers())).toMatchObject({ unparked: 5 });
    const messages = await receive(brokers(), topic);
    expect(messages.map(({ key, statement }) => key ?? statement)).toEqual([
      "a",
      "big",
      "TRUNCATE",
      "b",
      "INSERT",
      "a",
    ]);
  });
});

describe("the bounds on what is parked", () => {
  test("a missing topic with more events than may be parked: the drain comes to the first without room", async () => {
    const other = await makeTopic("other");
    for (let n = 0; n < 4; n++) {
      await enqueue(server.sql, { key: `o${n}`, table: "other" }, { key: `g${n}`, table: "gone" });
    }
    const env = { PARKED_EVENTS_MAX: "3" };
    for (const done of [
      { delivered: 4, parked: 3 },
      { delivered: 0, parked: 0 },
    ]) {
      const report = await drainToKafka(server.database, brokers(), env);
      expect(report).toMatchObject({ ...done, drained: false });
      expect(report.stopped).toMatchObject({ code: "PARKED_FULL" });
      expect(report.stopped!.message).toContain("PARKED_EVENTS_MAX");
      expect(report.lagMs).toBeGreaterThan(0);
    }
    expect(await parked()).toHaveLength(3);
    expect(
      await drainToKafka(server.database, brokers(), { PARKED_EVENTS_MAX: "4" }),
    ).toMatchObject({ delivered: 0, parked: 1, drained: true });
    expect(await keysIn(other)).toEqual(["o0", "o1", "o2", "o3"]);
  });

  test("at the bound, what need not be parked is sent, up to the first that would have to be", async () => {
    const other = await makeTopic("other");
    const env = { PARKED_EVENTS_MAX: "2" };
    await enqueue(server.sql, { key: "1", table: "gone" }, { key: "2", table: "gone" });
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ parked: 2 });
    await enqueue(server.sql, { key: "o1", table: "other" });
    expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ delivered: 1 });
    await enqueue(server.sql, { key: "o2", table: "other" }, { key: "3", table: "gone" });
    const report = await drainToKafka(server.database, brokers(), env);
    expect(report).toMatchObject({ delivered: 1, stopped: { code: "PARKED_FULL" } });
    expect(await keysIn(other)).toEqual(["o1", "o2"]);
    expect(await parked()).toHaveLength(2);
  });

  test("the bound in bytes holds as well, but for the largest", async () => {
    const env = { PARKED_BYTES_MAX: "1048576" };
    for (let n = 0; n < 4; n++) await enqueue(server.sql, { key: `${n}`, data: ofBytes(400_000) });
    const report = await drainToKafka(server.database, brokers(), env);
    expect(report).toMatchObject({ parked: 3, stopped: { code: "PARKED_FULL" } });
    expect(await parked()).toHaveLength(3);
  });
});

describe("Kafka is away", () => {
  async function isLeased(): Promise<boolean> {
    const row = await one<{ is_leased: boolean }>(
      server.sql,
      "select is_leased from pg2kafka.read_state(0, 1)",
    );
    return row.is_leased;
  }

  test("nobody listens: nothing is parked, the drain says so in time, and gives the lease back", async () => {
    await enqueueMany(server.sql, 5);
    const away = [`127.0.0.1:${await freePort()}`];
    const timeoutMs = 30_000;
    const report = await drainToKafka(server.database, away, {}, { timeoutMs });
    expect(report.durationMs).toBeLessThan(timeoutMs);
    expect(report).toMatchObject({ delivered: 0, parked: 0, drained: false });
    expect(report.stopped).toMatchObject({ code: "KAFKA_UNAVAILABLE" });
    expect(report.stopped!.message).toContain(away[0]!);
    expect(report.lagMs).toBeGreaterThan(0);
    expect(await parked()).toEqual([]);
    expect(await isLeased()).toBe(false);
  });

  test("with little time left: it ends before that is over", async () => {
    await enqueueMany(server.sql, 5);
    // The request timeout is what is left when it gives up.
    const env = { REQUEST_TIMEOUT_MS: "4500", MARGIN_MS: "4600" };
    const away = [`127.0.0.1:${await freePort()}`];
    // Before that it has time to start, and none for all its tries.
    const timeoutMs = 9_000;
    const report = await drainToKafka(server.database, away, env, { timeoutMs });
    expect(report.durationMs).toBeLessThan(timeoutMs);
    expect(report.stopped).toMatchObject({ code: "KAFKA_UNAVAILABLE" });
    expect(await isLeased()).toBe(false);
  });

  test("the broker freezes in mid-drain and thaws while the next one works: nothing is lost, and the order stays", async () => {
    const kafka = await cluster.own();
    const topic = topicOf("t");
    await createTopic(kafka.bootstrap, topic);
    await enqueueMany(server.sql, 300);
    const real = kafkaProducer(server.database, kafka.bootstrap, { REQUEST_TIMEOUT_MS: "3000" });
    const { pid } = kafka.brokers[0]!;
    let sends = 0;
    const freezing: Producer = {
      ...real,
      async send(...args) {
        if (++sends === 3) freeze(pid);
        return await real.send(...args);
      },
    };
    const env = { BATCH_EVENTS_MAX: "30", REQUEST_TIMEOUT_MS: "3000" };
    try {
      const report = await drainInto(server.database, freezing, { env });
      expect(report).toMatchObject({ delivered: 60, stopped: { code: "KAFKA_UNAVAILABLE" } });
      expect(await isLeased()).toBe(false);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    const rest = await drainToKafka(server.database, kafka.bootstrap, env);
    expect(rest).toMatchObject({ delivered: 240 });
    const { messages, repeats } = withoutRepeats(await receive(kafka.bootstrap, topic));
    expect(messages.map(({ key }) => Number(key))).toEqual(
      Array.from({ length: 300 }, (_, n) => n + 1),
    );
    // The request that the frozen broker held is the only one that can be there twice.
    expect(repeats).toBeLessThanOrEqual(30);
  });
});

test("the time is up in the middle of a backlog: the next drain goes on, and nothing is repeated", async () => {
  const topic = await makeTopic("t");
  await enqueueMany(server.sql, 100);
  const timeoutMs = 14_000;
  const env = { BATCH_EVENTS_MAX: "10" };
  const real = kafkaProducer(server.database, brokers(), env);
  // The drain's time begins a moment later than this.
  const endMs = performance.now() + timeoutMs - MARGIN_MS + 500;
  let sends = 0;
  const slow: Producer = {
    ...real,
    async send(...args) {
      const report = await real.send(...args);
      if (++sends === 3) await waitFor(() => performance.now() > endMs);
      return report;
    },
  };
  const report = await drainInto(server.database, slow, { env, timeoutMs });
  expect(report).toMatchObject({ drained: false, stopped: { code: "DEADLINE" } });
  expect(report.delivered).toBe(sends * 10);
  expect(report.lagMs).toBeGreaterThan(0);
  const rest = await drainToKafka(server.database, brokers());
  expect(rest).toMatchObject({ delivered: 100 - report.delivered, drained: true });
  expect((await keysIn(topic)).map(Number)).toEqual(Array.from({ length: 100 }, (_, n) => n + 1));
});

test("nothing is sent when less than the margin is left, parked events neither", async () => {
  await enqueue(server.sql, "1");
  await drainToKafka(server.database, brokers());
  expect(await parked()).toHaveLength(1);
  const topic = await makeTopic("t");
  await enqueue(server.sql, "2");
  const report = await drainToKafka(server.database, brokers(), {}, { timeoutMs: 2_000 });
  expect(report).toMatchObject({ delivered: 0, stopped: { code: "DEADLINE" } });
  expect(await keysIn(topic)).toEqual([]);
});

test("TOPIC_CREATE=true creates what is missing, with the partitions that are set", async () => {
  await enqueueMany(server.sql, 10);
  const env = { TOPIC_CREATE: "true", TOPIC_PARTITIONS: "4", TOPIC_REPLICATION: "1" };
  expect(await drainToKafka(server.database, brokers(), env)).toMatchObject({ delivered: 10 });
  await enqueue(server.sql, { key: null, statement: "TRUNCATE" });
  await drainToKafka(server.database, brokers(), env);
  const messages = await receive(brokers(), topicOf("t"));
  expect(messages.filter(({ statement }) => statement === "TRUNCATE")).toHaveLength(4);
});

test("DRY_RUN prints each message and leaves the queue as it is", async () => {
  await enqueue(server.sql, { key: "a", data: '{"n":12345678901234567890.10}' }, { key: null });
  await drainToKafka(server.database, brokers());
  await enqueueMany(server.sql, 25, { data: '{"price": 1.10}' });
  await enqueue(server.sql, { key: null, statement: "TRUNCATE" });
  const before = await contents();
  const lines: string[] = [];
  const config = configFor(server.database, { BATCH_EVENTS_MAX: "10", DRY_RUN: "true" });
  const sql = drainSession(server.database);
  expect(await dryRun(sql, config, schema, (line) => lines.push(line))).toBe(26);
  expect(await contents()).toBe(before);
  const first = JSON.parse(lines[0]!);
  expect(Object.keys(first)).toEqual(["topic", "key", "value"]);
  expect(first).toMatchObject({ topic: topicOf("t"), key: "1" });
  expect(first.value).toContain('"data":{"price": 1.10},');
  expect(JSON.parse(lines[25]!)).toMatchObject({ key: null });
});

test("DRY_RUN in the middle of a backlog prints the rest of it and what came since, and ends under writers", async () => {
  await makeTopic("t");
  await enqueueMany(server.sql, 15);
  const real = kafkaProducer(server.database, brokers());
  let sends = 0;
  const crashing: Producer = {
    ...real,
    async send(...args) {
      if (++sends === 2) throw new Error("crash");
      return await real.send(...args);
    },
  };
  const drained = drainInto(server.database, crashing, { env: { BATCH_EVENTS_MAX: "10" } });
  await expect(drained).rejects.toThrow("crash");
  await enqueue(server.sql, "16", "17");

  const keys: string[] = [];
  const config = configFor(server.database, { BATCH_EVENTS_MAX: "10", DRY_RUN: "true" });
  const print = (line: string) => keys.push(JSON.parse(line).key);
  expect(await dryRun(drainSession(server.database), config, schema, print)).toBe(7);
  expect(keys).toEqual(["11", "12", "13", "14", "15", "16", "17"]);

  const session = drainSession(server.database);
  const other = writer(server.database);
  let isOver = false;
  // Each event that is read is followed by another one: whoever reads on for ever never ends.
  const writing = (async () => {
    while (!isOver) await enqueueMany(other, 1, { data: '{"since":true}' });
  })();
  const one = configFor(server.database, { BATCH_EVENTS_MAX: "1", DRY_RUN: "true" });
  keys.length = 0;
  await dryRun(session, one, schema, print).finally(() => {
    isOver = true;
  });
  await writing;
  expect(keys.slice(0, 7)).toEqual(["11", "12", "13", "14", "15", "16", "17"]);
});

describe("the schema in the database", () => {
  test("of another version: the drain names migrate, and touches nothing", async () => {
    await server.sql`update pg2kafka.control set schema_version = '0000-old'`;
    await enqueue(server.sql, "1");
    const before = await contents();
    const drained = drainToKafka(server.database, brokers());
    await expect(drained).rejects.toMatchObject({ code: "SCHEMA_OUTDATED" });
    await expect(drained).rejects.toThrow(/version 0000-old; .*npm run migrate/);
    expect(await contents()).toBe(before);
  });

  test("missing: the drain names migrate", async () => {
    const empty = await server.createDatabase("empty");
    const drained = drainToKafka(empty, brokers());
    await expect(drained).rejects.toMatchObject({ code: "NOT_INSTALLED" });
    await expect(drained).rejects.toThrow("npm run migrate");
  });
});

test("a role with no more than grant_drain() gives it does all that the drain does", async () => {
  const { sql } = server;
  const idle = idleGeneration();
  const role = `drainer_${server.database.name}`;
  await sql.unsafe(`create role ${role} login password 'secret'`);
  await sql`select pg2kafka.grant_drain(${role}::text::regrole)`;
  const session = server.database.connect({
    max: 3,
    prepare: false,
    fetch_types: false,
    user: role,
    password: "secret",
  });
  expect(await one(session, "select current_user::text as name")).toEqual({ name: role });
  const drain = (env = {}) => drainToKafka(server.database, brokers(), env, { sql: session });

  await sql`create table tracked (id int primary key)`;
  await sql`select pg2kafka.setup('tracked', 'id')`;
  await sql`alter table tracked add column more text`;
  await enqueue(sql, { key: "parked", generation: idle }, { key: "waits", generation: idle });
  expect(await drain()).toMatchObject({ parked: 2, drained: true });
  expect(await drain()).toMatchObject({ unparked: 0 });
  const topic = await makeTopic("t");
  const last = await drain();
  expect(last).toMatchObject({ unparked: 2, drained: true });
  expect(await keysIn(topic)).toEqual(["parked", "waits"]);
  const { count } = await one<{ count: string }>(
    sql,
    `select count(*) from pg2kafka.outbound_event_queue_${idle}`,
  );
  expect(count).toBe("0");
  await enqueue(sql, "1");
  expect(await dryRun(session, configFor(server.database), schema, () => {})).toBe(1);
  await sql`select pg2kafka.pause()`;
  expect(await drain()).toMatchObject({ stopped: { code: "PAUSED" } });

  for (const statement of [
    "delete from pg2kafka.outbound_event_queue",
    "update pg2kafka.parked_events set retriable = true",
    "insert into pg2kafka.drain_log select * from pg2kafka.drain_log",
    "update pg2kafka.control set paused_at = null",
    "truncate pg2kafka.outbound_event_queue",
    "select pg2kafka.discard(1)",
    "select pg2kafka.resume()",
    "select * from tracked",
  ]) {
    await expect(session.unsafe(statement), statement).rejects.toThrow("permission denied");
  }
});

test("no more than two batches are in memory, however large the backlog and its events", async () => {
  const config = configFor(server.database, { BATCH_BYTES_MAX: "3000000" });
  for (let n = 0; n < 20; n++) await enqueue(server.sql, { key: `${n}`, data: ofBytes(900_000) });
  const queue = createQueue(drainSession(server.database));
  let held = 0;
  let heldMax = 0;
  const sizes: number[] = [];
  const counting: typeof queue = {
    ...queue,
    async fetch(...args) {
      const batch = await queue.fetch(...args);
      held += batch.events.length;
      heldMax = Math.max(heldMax, held);
      return batch;
    },
    async settle(lease, leaseMs, settlement, parkedMax) {
      await queue.settle(lease, leaseMs, settlement, parkedMax);
      held -= sizes.at(-1) ?? 0;
    },
  };
  const topic = await makeTopic("t");
  const real = kafkaProducer(server.database, brokers());
  const producer: Producer = {
    ...real,
    async send(messages, options) {
      sizes.push(messages.length);
      expect(messages.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(3_010_000);
      return await real.send(messages, options);
    },
  };
  const state = await queue.readState();
  const { limits } = config;
  const toMessage = messageFormat(state);
  const deadlineMs = performance.now() + 60_000;
  await relay(
    {
      queue: counting,
      openSender: () => atLeastOnce(producer),
      toMessage,
      limits,
      eventsMax: limits.batch.eventsMax,
      deadlineMs,
      lane: 0,
      lanes: 1,
      linger: false,
    },
    state,
  );
  expect(sizes).toEqual([3, 3, 3, 3, 3, 3, 2]);
  expect(await keysIn(topic)).toEqual(Array.from({ length: 20 }, (_, n) => `${n}`));
  // Two batches, and the one event that is looked at first.
  expect(heldMax).toBeLessThanOrEqual(7);
});
