import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { randomFrom } from "../support/random.ts";
import { Drains } from "./drains.ts";
import { History } from "./history.ts";
import { ofSize } from "./size.ts";

const SEED = Number(process.env["PG2KAFKA_TEST_SEED"] ?? randomInt(2 ** 31));
const KILLS = ofSize({ short: 3, long: 200 });
const server = useDatabase();
const cluster = useKafka();

test(`a drain is killed again and again (seed ${SEED})`, async () => {
  const random = randomFrom(SEED);
  const { sql, database } = server;
  const topic = `pg2kafka.${database.name}.rows`;
  await createTopic(cluster.brokers, topic, { partitions: 3 });
  const history = await History.create(sql, database.url, { seed: SEED });
  const drains = new Drains({
    DATABASE_URL: database.url,
    KAFKA_BROKER: cluster.brokers.join(","),
  });
  history.startWriters(4);
  drains.start();
  for (let kills = 0; kills < KILLS; kills++) {
    await sleep(500 + random(2_000));
    drains.kill();
  }
  await drains.freeze(6_000);
  await history.stopWriters();
  await drains.finish();
  const { events, repeated, ...wrong } = await history.tally(sql, cluster.brokers, topic);
  console.log(
    JSON.stringify({
      seed: SEED,
      events,
      repeated,
      ...wrong,
      ends: drains.ends,
      ...history.counts,
    }),
  );
  expect(wrong).toEqual({ lost: 0, invented: 0, inverted: 0 });
});
