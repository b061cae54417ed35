import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { one } from "../relay/support.ts";
import { useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { Drains } from "./drains.ts";
import { History } from "./history.ts";
import { report } from "./report.ts";
import { SEED } from "./seed.ts";

const MINUTES = Number(process.env["PG2KAFKA_TEST_MINUTES"] ?? 10);
const WRITERS = 8;
/** The drains begin when so much waits. */
const BACKLOG_MIN = 100_000;
const LOOK_EVERY_MS = 2_000;
/** Each part of the queue is emptied when its turn of two minutes is over, and one more. */
const TICKS_MAX = 40;
const TICK_EVERY_MS = 15_000;
/** For the drain to catch up when nobody writes any more. */
const DRAINED_MS = 300_000;

const server = useDatabase();
const cluster = useKafka();

interface Status {
  backlog: number;
  bytes: number;
}

function status(): Promise<Status> {
  return one(
    server.sql,
    `select backlog::int, (
       select sum(pg_total_relation_size(format('pg2kafka.outbound_event_queue_%s', n)))::bigint::float
       from generate_series(0, 3) n
     ) as bytes from pg2kafka.status(10000000)`,
  );
}

test.each([
  { delivery: "at-least-once", lanes: 1 },
  { delivery: "exactly-once", lanes: 2 },
])(
  `${WRITERS} sessions write at full speed for ${MINUTES} minutes with drains behind, $delivery in $lanes lanes: all arrives, and the disk is given back (seed ${SEED})`,
  async ({ delivery, lanes }) => {
    const { sql, database } = server;
    const topic = `pg2kafka.${database.name}.rows`;
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const history = await History.create(sql, database.url, {
      seed: SEED,
      keys: 200,
      pauseMsMax: 0,
    });
    const empty = await status();
    const env = {
      DATABASE_URL: database.url,
      KAFKA_BROKER: cluster.brokers.join(","),
      DELIVERY: delivery,
      REQUEST_TIMEOUT_MS: "8000",
      MARGIN_MS: "9000",
      LEASE_MS: "30000",
      TIMEOUT_MS: "30000",
      BATCH_EVENTS_MAX: "2000",
    };
    const drains = new Drains(env, lanes);
    const most = { backlog: 0, bytes: 0 };
    const endMs = performance.now() + MINUTES * 60_000;
    let isDraining = false;
    history.startWriters(WRITERS);
    while (performance.now() < endMs) {
      await sleep(LOOK_EVERY_MS);
      const { backlog, bytes } = await status();
      most.backlog = Math.max(most.backlog, backlog);
      most.bytes = Math.max(most.bytes, bytes);
      if (!isDraining && backlog >= BACKLOG_MIN) {
        isDraining = true;
        drains.start();
      }
    }
    await history.stopWriters();
    const atEnd = await status();
    // A drain that is ended in the middle of a batch leaves it to the next one, which repeats it.
    await waitFor(async () => (await status()).backlog === 0, { timeoutMs: DRAINED_MS });
    await drains.finish();
    for (let ticks = 0; (await status()).bytes > empty.bytes && ticks < TICKS_MAX; ticks++) {
      await sleep(TICK_EVERY_MS);
      await drains.finish();
    }
    const { transactions, failed } = history.counts;
    const tally = await history.tally(sql, cluster.brokers, topic);
    const tried = {
      transactions,
      "backlog at most": most.backlog,
      "backlog when the writers end": atEnd.backlog,
      "bytes at most": most.bytes,
    };
    report({ seed: SEED, tried, ...tally, ends: Object.fromEntries(drains.ends) });
    expect(most.backlog).toBeGreaterThanOrEqual(BACKLOG_MIN);
    expect(failed).toBe(0);
    expect(tally).toMatchObject({ lost: 0, invented: 0, repeated: 0, inverted: 0 });
    expect(await status()).toEqual({ backlog: 0, bytes: empty.bytes });
  },
);
