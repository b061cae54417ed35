import { beforeEach, describe, expect, test } from "vitest";
import { ProduceError } from "../../functions/core/errors.ts";
import type { Producer } from "../../functions/core/kafka/producer.ts";
import { COUNTED_MAX, readStatus } from "../../functions/core/postgres/status.ts";
import { createTopic } from "../local/topics.ts";
import { useDatabase, versions } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  drainInto,
  drainSession,
  drainToKafka,
  enqueue,
  enqueueMany,
  kafkaProducer,
  writer,
} from "./support.ts";

describe.each(versions)("the status of the queue on Postgres %i", (version) => {
  const pg = useDatabase(version);
  const cluster = useKafka();

  beforeEach(() => createTopic(cluster.brokers, `pg2kafka.${pg.database.name}.t`));

  const drain = (env = {}) => drainToKafka(pg.database, cluster.brokers, env);

  /** One drain that sends this many batches; then Kafka is away. */
  function drainBatches(batches: number, env = {}) {
    const producer = kafkaProducer(pg.database, cluster.brokers);
    let sent = 0;
    const ending: Producer = {
      ...producer,
      async send(...args) {
        if (sent++ < batches) return await producer.send(...args);
        throw new ProduceError("away", { code: "KAFKA_UNAVAILABLE", retriable: true });
      },
    };
    return drainInto(pg.database, ending, { env });
  }

  const status = () => readStatus(drainSession(pg.database));
  const env = { BATCH_EVENTS_MAX: "2" };

  test("an empty queue has no backlog and no lag; its tables have their size", async () => {
    const { queueBytes, keptBytes, ...rest } = await status();
    expect(rest).toEqual({ backlog: 0, lagMs: 0, parked: 0, parkedBytes: 0, snapshotRowsLeft: 0 });
    const [size] = await pg.sql<{ bytes: string }[]>`
      select sum(pg_total_relation_size(oid)) as bytes from pg_class
      where relnamespace = 'pg2kafka'::regnamespace and relkind = 'r'`;
    expect(queueBytes + keptBytes).toBe(Number(size!.bytes));
  });

  test("what a snapshot has still to read", async () => {
    await pg.sql.unsafe(`
      create table large (id int primary key, pad text);
      insert into large select n, repeat('x', 100) from generate_series(1, 6000) n;
      analyze large;
      select pg2kafka.setup('large', 'id');`);
    const { snapshotRowsLeft } = await status();
    expect(snapshotRowsLeft).toBeGreaterThan(4_000);
    expect(snapshotRowsLeft).toBeLessThan(9_000);
    await createTopic(cluster.brokers, `pg2kafka.${pg.database.name}.large`);
    expect(await drain()).toMatchObject({ snapshotRows: 6_000 });
    expect((await status()).snapshotRowsLeft).toBe(0);
  });

  test("the backlog is what the next drain delivers: before, within and after a span", async () => {
    const [early, late] = [writer(pg.database), writer(pg.database)];
    const holds = async (count: number) => expect((await status()).backlog).toBe(count);
    await early`begin`;
    await enqueue(early, "early 1", "early 2");
    await enqueue(pg.sql, "1", "2", "3", "4", "5");
    await holds(5);
    await drainBatches(1, env);
    await holds(3);

    // With ids that the span has passed, or has yet to reach.
    await early`commit`;
    await holds(5);
    await late`begin`;
    await enqueue(late, "late 1");
    await enqueue(pg.sql, "6", "7");
    await holds(7);
    await drainBatches(1, env);
    await holds(5);
    await late`commit`;
    await holds(6);

    for (let left = 6; left > 0; left = (await status()).backlog) {
      const { delivered } = await drainBatches(1, env);
      await holds(left - delivered);
      expect(delivered).toBeGreaterThan(0);
    }
    expect(await drain(env)).toMatchObject({ delivered: 0 });
  });

  test("lag is the age of the oldest that waits", async () => {
    await enqueue(pg.sql, "old", "new");
    await pg.sql`
      update pg2kafka.outbound_event_queue set created_at = now() - interval '1 hour'
      where external_id = 'old'`;
    const { lagMs } = await status();
    expect(lagMs).toBeGreaterThanOrEqual(3_600_000);
    await drain();
    expect((await status()).lagMs).toBe(0);
  });

  test("what is parked is counted apart, with the bytes of its data", async () => {
    const table = "without_topic";
    await enqueue(pg.sql, { key: "a", table, data: '{"a": 1}' }, { key: "b", table });
    await drain();
    expect(await status()).toMatchObject({ backlog: 0, lagMs: 0, parked: 2, parkedBytes: 10 });
  });

  test("no more than the bound is counted, nor read", async () => {
    await enqueueMany(pg.sql, 500);
    const [row] = await pg.sql<{ backlog: string }[]>`select backlog from pg2kafka.status(100)`;
    expect(Number(row!.backlog)).toBe(100);
    expect(COUNTED_MAX).toBeGreaterThan(500);
    expect((await status()).backlog).toBe(500);
    // What was delivered and is not emptied yet lies before the position, and is not read.
    await drainBatches(1, { BATCH_EVENTS_MAX: "450" });
    const [left] = await pg.sql<{ backlog: string }[]>`select backlog from pg2kafka.status(100)`;
    expect(Number(left!.backlog)).toBe(50);
  });
});
