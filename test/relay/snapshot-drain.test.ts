import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Producer } from "../../functions/core/kafka/producer.ts";
import { createTopic } from "../local/topics.ts";
import { useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { startCommand } from "./command.ts";
import {
  buryDrains,
  drainInto,
  drainToKafka,
  kafkaProducer,
  one,
  receive,
  withoutRepeats,
} from "./support.ts";

const ROWS = 12_000;
const STEP_ROWS_MAX = 5_000;
const KILLS = 4;

const server = useDatabase();
const cluster = useKafka();
const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

async function createTables(): Promise<void> {
  await server.sql.unsafe(`
    create table t (id int primary key, v int not null default 0, pad text);
    insert into t select n, 0, repeat('x', 60) from generate_series(1, ${ROWS}) n;
    create table live (id int primary key);
    select pg2kafka.setup('t', 'id'), pg2kafka.setup('live', 'id')`);
  for (const table of ["t", "live"]) await createTopic(cluster.brokers, topicOf(table));
}

/** What a consumer of `t` holds, as id and v; and how many repeats it dropped. */
async function consumed(): Promise<{ rows: Map<string, number>; repeats: number }> {
  const { messages, repeats } = withoutRepeats(await receive(cluster.brokers, topicOf("t")));
  const rows = new Map<string, number>();
  for (const { key, statement, data } of messages) {
    if (statement === "DELETE") rows.delete(key!);
    else if (data && "v" in data) rows.set(key!, Number(data["v"]));
  }
  return { rows, repeats };
}

async function expectAll(): Promise<number> {
  const { rows, repeats } = await consumed();
  const { held } = await one<{ held: [number, number][] }>(
    server.sql,
    "select json_agg(json_build_array(id, v) order by id) as held from t",
  );
  const byId = [...rows].map(([id, v]) => [Number(id), v] as const).sort((a, b) => a[0] - b[0]);
  expect(byId).toEqual(held);
  return repeats;
}

/** The real producer; `beforeSend` gets the statements of what is to be sent. */
function watched(beforeSend: (statements: string[]) => Promise<void>, env = {}): Producer {
  const producer = kafkaProducer(server.database, cluster.brokers, env);
  return {
    ...producer,
    send: async (messages, options) => {
      await beforeSend(messages.map(({ headers }) => headers["pg2kafka-statement"]!));
      return await producer.send(messages, options);
    },
  };
}

test("one invocation makes a snapshot and delivers it, and says how many rows", async () => {
  await createTables();
  const report = await drainToKafka(server.database, cluster.brokers);
  expect(report).toMatchObject({
    delivered: ROWS,
    snapshotRows: ROWS,
    isSnapshotting: false,
    drained: true,
    stopped: null,
  });
  await expectAll();
  // The next one has nothing to do, and lets UPDATE events be what they were.
  const { number } = await one<{ number: string }>(
    server.sql,
    "select max(number) as number from pg2kafka.drain_log",
  );
  expect(await drainToKafka(server.database, cluster.brokers)).toMatchObject({
    delivered: 0,
    snapshotRows: 0,
  });
  expect(await one(server.sql, "select max(number) as number from pg2kafka.drain_log")).toEqual({
    number,
  });
  expect(
    await server.sql`select from pg2kafka.external_id_relations where whole_updates`,
  ).toHaveLength(0);
});

test("live events wait for one step at most", async () => {
  await createTables();
  let live = 0;
  let rowsSince = 0;
  let rowsMax = 0;
  const producer = watched(async (statements) => {
    for (const statement of statements) {
      rowsSince = statement === "INSERT" ? 0 : rowsSince + 1;
      rowsMax = Math.max(rowsMax, rowsSince);
    }
    if (rowsSince === 0) return;
    live += 1;
    await server.sql`insert into live values (${live})`;
  });
  const report = await drainInto(server.database, producer);
  expect(report).toMatchObject({ snapshotRows: ROWS, delivered: ROWS + live, drained: true });
  expect(rowsMax).toBeLessThanOrEqual(STEP_ROWS_MAX);
});

test("SNAPSHOT_SHARE is the share of the batches while live events wait", async () => {
  await createTables();
  const env = { BATCH_EVENTS_MAX: "500", SNAPSHOT_SHARE: "20" };
  const LIVE_BATCHES = 20;
  let live = 0;
  let next = 0;
  let rowsThen = 0;
  let rows = 0;
  const producer = watched(async (statements) => {
    rows += statements.filter((statement) => statement === "SNAPSHOT").length;
    if (statements.includes("INSERT")) live += 1;
    if (live > LIVE_BATCHES) return;
    rowsThen = rows;
    await server.sql`insert into live select n from generate_series(${next + 1}::int, ${next + 1000}::int) n`;
    next += 1_000;
  }, env);
  const report = await drainInto(server.database, producer, { env });
  expect(report).toMatchObject({ snapshotRows: ROWS, stopped: null });
  const snapshotBatches = rowsThen / 500;
  expect(snapshotBatches).toBeLessThanOrEqual(LIVE_BATCHES * (20 / 80) + STEP_ROWS_MAX / 500 + 1);
  expect(snapshotBatches).toBeGreaterThan(0);
  await expectAll();
});

test(`a drain that is killed ${KILLS} times makes the snapshot all the same, beside writers`, async () => {
  await createTables();
  const { sql, database } = server;
  let kills = 0;
  for (let round = 1; round <= KILLS; round++) {
    const rowsBefore = await one<{ rows: number }>(sql, "select rows::int from pg2kafka.snapshots");
    const child = startCommand("drain", {
      DATABASE_URL: database.url,
      KAFKA_BROKER: cluster.brokers.join(","),
      BATCH_EVENTS_MAX: "50",
      REQUEST_TIMEOUT_MS: "2000",
    });
    for (let tries = 0; tries < 2_000; tries++) {
      const { rows, state } = await one<{ rows: number; state: string }>(
        sql,
        "select rows::int, state from pg2kafka.snapshots",
      );
      if (rows > rowsBefore.rows || state !== "running") break;
      await sleep(5);
    }
    await sql.unsafe(
      `update t set v = v + 1 where id % 700 = ${round}; delete from t where id % 900 = ${round}`,
    );
    child.kill("SIGKILL");
    if ((await child.finished).signal === "SIGKILL") kills += 1;
    await buryDrains(sql);
  }
  const { code } = await startCommand("drain", {
    DATABASE_URL: database.url,
    KAFKA_BROKER: cluster.brokers.join(","),
  }).finished;
  expect(code).toBe(0);
  expect(await sql`select state from pg2kafka.snapshots`).toEqual([{ state: "finished" }]);
  const repeats = await expectAll();
  expect(kills).toBeGreaterThan(0);
  console.log(`${kills} kills, ${repeats} repeats`);
}, 180_000);
