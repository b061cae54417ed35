import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import postgres, { type Sql } from "postgres";
import { describe, expect, inject, onTestFinished, test } from "vitest";
import { createProducer, type Producer } from "../../functions/core/kafka/producer.ts";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { createTopic } from "../local/topics.ts";
import { configFor, drainInto, drainToKafka, expireLeases } from "../relay/support.ts";
import { schema, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { randomFrom } from "../support/random.ts";
import { Drains } from "./drains.ts";
import { History } from "./history.ts";
import { Replicas } from "./replicas.ts";
import { report } from "./report.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { tallyOfQueue } from "./tally-of-queue.ts";

const FAILOVERS = ofSize({ short: 1, long: 10 });
const AT_WORK_MS = ofSize({ short: 1_000, long: 4_000 });

const MODES = ofSize({ short: ["exactly-once"], long: ["at-least-once", "exactly-once"] });

const cluster = useKafka();

/** A database that is on both servers. */
async function startReplicas(options: { synchronous: boolean }) {
  const replicas = await Replicas.start(options);
  onTestFinished(() => replicas.stop());
  // Topics are named after the database: one Kafka is for all tests.
  const name = `failover_${inject("given").run}_${randomBytes(2).toString("hex")}`;
  const connect = (options: postgres.Options<Record<string, never>> = {}): Sql => {
    const session = postgres(url, { max: 1, idle_timeout: 0, onnotice: () => {}, ...options });
    onTestFinished(() => session.end({ timeout: 1 }));
    return session;
  };
  const admin = postgres(replicas.url, { max: 1 });
  await admin.unsafe(`create database ${name}`);
  await admin.end();
  const url = replicas.url.replace(/postgres$/, name);
  const sql = connect();
  await migrate(sql, schema);
  const topic = `pg2kafka.${name}.rows`;
  await createTopic(cluster.brokers, topic, { partitions: 3 });
  return { replicas, url, topic, connect, sql };
}

function kafkaProducer(url: string): Producer {
  const { producer: settings } = configFor({ url });
  const producer = createProducer({
    brokers: cluster.brokers,
    clientId: "pg2kafka",
    ...settings,
  });
  onTestFinished(() => producer.close());
  return producer;
}

/** Until there is one that the failover hits. */
async function waitForDrain(sql: Sql): Promise<void> {
  await waitFor(
    async () =>
      (await sql`select from pg_stat_activity where application_name = 'pg2kafka'`).length > 0,
    { timeoutMs: 30_000 },
  );
}

describe.each(MODES)("%s", (delivery) => {
  test(`the primary crashes, and the standby has all that was committed (seed ${SEED})`, async () => {
    const random = randomFrom(SEED);
    const { replicas, url, topic, connect, sql } = await startReplicas({ synchronous: true });
    const history = await History.create(sql, url, { seed: SEED });
    const drains = new Drains({
      DATABASE_URL: url,
      KAFKA_BROKER: cluster.brokers.join(","),
      DELIVERY: delivery,
    });
    history.startWriters(4);
    drains.start();
    for (let nth = 1; nth <= FAILOVERS; nth++) {
      await sleep(random(AT_WORK_MS));
      await waitForDrain(connect());
      await replicas.failOver();
      await sleep(random(AT_WORK_MS));
      if (nth < FAILOVERS) await replicas.addStandby();
    }
    await history.stopWriters();
    await drains.finish();
    const { events, repeated, ...wrong } = await history.tally(connect(), cluster.brokers, topic);
    const { counts } = history;
    const ends = Object.fromEntries(drains.ends);
    report({ seed: SEED, tried: FAILOVERS, events, repeated, ...wrong, ends });
    expect(wrong).toEqual({ lost: 0, invented: 0, inverted: 0 });
    expect(counts.failed).toBeGreaterThanOrEqual(FAILOVERS);
    if (delivery === "exactly-once") expect(repeated).toBe(0);
  });
});

/** The first batch is settled while the second one is sent, and what comes then is read: until both
 *  are done, so that the failover cuts off neither. */
async function untilSettled(sql: Sql): Promise<void> {
  await waitFor(async () => {
    const settled = await sql`
      select from pg2kafka.drain_log where number = 2 and not exists (
        select from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'
      )`;
    return settled.length > 0;
  });
}

/** More than the transaction ids that the old primary has given out and the standby knows nothing of. */
const BURN_IDS = `
  do $$ begin for nth in 1..1000 loop perform txid_current(); commit; end loop; end $$`;
const FORGOTTEN = 50;

test(`the standby lacks the last commits, and a drain outlives that: what is committed there is delivered (seed ${SEED})`, async () => {
  const { replicas, url, topic, connect, sql } = await startReplicas({ synchronous: false });
  const history = await History.create(sql, url, { seed: SEED });
  await history.write(sql, 5);
  const kafka = kafkaProducer(url);
  let sends = 0;
  const failing: Producer = {
    ...kafka,
    async send(messages, options) {
      const sent = await kafka.send(messages, options);
      sends += 1;
      if (sends === 1) {
        // The lease is on the standby; the forgotten commits, which the next batch has read, are not.
        await replicas.cutLink();
        await history.write(sql, FORGOTTEN);
      } else if (sends === 2) {
        await untilSettled(sql);
        await replicas.failOver();
        const other = connect();
        await history.write(other, 5);
        await other.unsafe(BURN_IDS);
      }
      return sent;
    },
  };
  const database = { name: "", url, sql, notices: [], connect };
  const outliving = await drainInto(database, failing, { env: { LINGER: "true" } });
  expect(outliving.stopped).toMatchObject({ code: "LEASE_LOST" });
  expect(sends).toBe(2);

  const now = connect();
  await expireLeases(now);
  expect(await drainInto(database, kafka)).toMatchObject({ drained: true, stopped: null });
  const tally = await tallyOfQueue(now, cluster.brokers, topic);
  report({ seed: SEED, tried: 1, ...tally });
  expect(tally).toMatchObject({ lost: 0, inverted: 0 });
  // What only the old primary had was in Kafka by then.
  expect(tally.invented).toBeGreaterThan(FORGOTTEN);
});

test.each(MODES)(
  `the standby lacks the last commits, which were delivered, %s: what is committed there is delivered (seed ${SEED})`,
  async (delivery) => {
    const { replicas, url, topic, connect, sql } = await startReplicas({ synchronous: false });
    const history = await History.create(sql, url, { seed: SEED });
    const drain = (session: Sql) => {
      const database = { name: "", url, sql: session, notices: [], connect };
      const env = { DELIVERY: delivery, KAFKA_BROKER: cluster.brokers.join(",") };
      return drainToKafka(database, cluster.brokers, env);
    };
    await history.write(sql, 5);
    expect(await drain(sql)).toMatchObject({ drained: true });
    await replicas.cutLink();
    await history.write(sql, FORGOTTEN);
    expect(await drain(sql)).toMatchObject({ drained: true });
    await replicas.failOver();

    const now = connect();
    await history.write(now, 5);
    await expireLeases(now);
    expect(await drain(now)).toMatchObject({
      drained: true,
      stopped: null,
      // Kafka has batches that this database never began.
      restored: delivery === "exactly-once",
    });
    const tally = await tallyOfQueue(now, cluster.brokers, topic);
    report({ seed: SEED, tried: 1, ...tally });
    expect(tally).toMatchObject({ lost: 0, inverted: 0 });
    expect(tally.invented).toBeGreaterThan(FORGOTTEN);
  },
);
