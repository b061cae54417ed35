import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Producer } from "../../functions/core/kafka/producer.ts";
import { createTopic } from "../local/topics.ts";
import { readCommitted } from "../support/committed.ts";
import { newest, useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { startCommand } from "./command.ts";
import { REPLAY } from "./replay.ts";
import { buryDrains, drainInto, drainToKafka, kafkaProducer, one } from "./support.ts";

const EVENTS = 12_000;
const STEP_EVENTS_MAX = 5_000;
const KEYS = 40;
const KILLS = 4;

const server = useDatabase(newest);
const cluster = useKafka();
const topic = () => `pg2kafka.${server.database.name}.t`;

async function deliverAll(): Promise<void> {
  await createTopic(cluster.brokers, topic(), { partitions: 3 });
  await server.sql.unsafe(`
    insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
    select 'k' || n % ${KEYS}, 't', 'UPDATE', json_build_object('n', n) from generate_series(1, ${EVENTS}) n`);
  await drainToKafka(server.database, cluster.brokers);
}

const eventsOf = async () =>
  await one<{ events: number; state: string }>(
    server.sql,
    "select events::int, state from pg2kafka.replays",
  );

test.each(["at-least-once", "exactly-once"])(
  `a drain that is killed ${KILLS} times sends all again, in order, %s`,
  async (delivery) => {
    await deliverAll();
    await server.sql`select pg2kafka.replay()`;
    const env = {
      DATABASE_URL: server.database.url,
      KAFKA_BROKER: cluster.brokers.join(","),
      DELIVERY: delivery,
      REQUEST_TIMEOUT_MS: "2000",
    };
    let kills = 0;
    for (let round = 0; round < KILLS; round++) {
      const before = await eventsOf();
      const child = startCommand("drain", { ...env, BATCH_EVENTS_MAX: "300" });
      for (let tries = 0; tries < 2_000; tries++) {
        const { events, state } = await eventsOf();
        if (events > before.events || state !== "running") break;
        await sleep(5);
      }
      // At a random moment of its work.
      await sleep(Math.random() * 40);
      child.kill("SIGKILL");
      if ((await child.finished).signal === "SIGKILL") kills += 1;
      await buryDrains(server.sql);
    }
    const { code, stderr } = await startCommand("drain", env).finished;
    expect(code, stderr).toBe(0);
    expect(await eventsOf()).toEqual({ events: EVENTS, state: "finished" });

    const copies = (await readCommitted([...cluster.brokers], topic())).filter(
      ({ headers }) => headers[REPLAY] === "1",
    );
    const seen = new Set<string>();
    const first = copies.filter(({ headers }) => {
      const uuid = headers["pg2kafka-uuid"]!;
      return !seen.has(uuid) && seen.add(uuid);
    });
    expect(first).toHaveLength(EVENTS);
    for (const [key, ofKey] of Map.groupBy(first, (message) => message.key)) {
      const numbers = ofKey.map(({ value }) => JSON.parse(value!).data.n as number);
      expect(numbers, `${key}`).toEqual([...numbers].sort((a, b) => a - b));
    }
    const repeats = copies.length - EVENTS;
    if (delivery === "exactly-once") expect(repeats).toBe(0);
    console.log(`${delivery}: ${kills} kills, ${repeats} repeats`);
  },
  180_000,
);

test("live events wait for one step at most", async () => {
  await deliverAll();
  await server.sql`select pg2kafka.replay()`;
  const producer = kafkaProducer(server.database, cluster.brokers);
  let live = 0;
  let since = 0;
  let sinceMax = 0;
  const watching: Producer = {
    ...producer,
    send: async (messages, options) => {
      for (const { headers } of messages) since = headers[REPLAY] === undefined ? 0 : since + 1;
      sinceMax = Math.max(sinceMax, since);
      if (since > 0) {
        live += 1;
        await server.sql.unsafe(
          `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
           values ('live', 't', 'INSERT', '{}')`,
        );
      }
      return await producer.send(messages, options);
    },
  };
  const report = await drainInto(server.database, watching);
  expect(report).toMatchObject({ replayed: EVENTS, delivered: EVENTS + live, drained: true });
  expect(live).toBeGreaterThan(2);
  expect(sinceMax).toBeLessThanOrEqual(STEP_EVENTS_MAX);
});
