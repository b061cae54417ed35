import { beforeEach, describe, expect, test } from "vitest";
import { readStatus } from "../../functions/core/postgres/status.ts";
import { createTopic, readTopic } from "../local/topics.ts";
import { useDatabase, versions } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  drainSession,
  drainToKafka,
  type Environment,
  enqueue,
  enqueueMany,
  idleGeneration,
  one,
  receive,
} from "./support.ts";

const REPLAY = "pg2kafka-replay";
const KEEP = { KEEP_HOURS: "1" };

const cluster = useKafka();

describe.each(versions)("a replay on Postgres %i", (version) => {
  const server = useDatabase(version, { superuser: true });
  const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

  beforeEach(async () => {
    for (const table of ["t", "u"]) await createTopic(cluster.brokers, topicOf(table));
  });

  const drain = (env: Environment = {}) => drainToKafka(server.database, cluster.brokers, env);

  /** The keys of `t`'s messages that a replay has sent, or one of them; in order. */
  async function replayedKeys(replay?: number, table = "t"): Promise<(string | null)[]> {
    const messages = await receive(cluster.brokers, topicOf(table));
    const isOf = (number?: string) =>
      number !== undefined && (!replay || Number(number) === replay);
    return messages.filter(({ headers }) => isOf(headers[REPLAY])).map(({ key }) => key);
  }

  async function replay(parameters = ""): Promise<number> {
    const { id } = await one<{ id: number }>(
      server.sql,
      `select pg2kafka.replay(${parameters}) as id`,
    );
    return id;
  }

  const replays = () =>
    server.sql`select id, state, events::int, percent::int from pg2kafka.replays order by id`;

  const rowsIn = async (table: string) =>
    (await one<{ rows: number }>(server.sql, `select count(*)::int as rows from pg2kafka.${table}`))
      .rows;

  test("sends the same once more, byte for byte, with its number in a header more", async () => {
    const { sql } = server;
    await sql.unsafe(`
      create table t (id text primary key, v numeric);
      select pg2kafka.setup('t', 'id');
      insert into t values ('a', 1e400), ('b', 2);
      update t set v = v + 1;
      delete from t where id = 'a';
      truncate t;
      insert into t values ('ä"', null)`);
    expect(await drain()).toMatchObject({ delivered: 7, replayed: 0 });
    const first = await readTopic(cluster.brokers, topicOf("t"));

    expect(await replay()).toBe(1);
    expect(await replays()).toEqual([{ id: 1, state: "running", events: 0, percent: 0 }]);
    expect(await drain()).toMatchObject({ delivered: 7, replayed: 7, lagMs: 0, drained: true });
    expect(await replays()).toEqual([{ id: 1, state: "finished", events: 7, percent: 100 }]);
    await sql`insert into t values ('live', 1)`;
    expect(await drain()).toMatchObject({ delivered: 1, replayed: 0 });

    const all = await readTopic(cluster.brokers, topicOf("t"));
    const again = all.slice(first.length, 2 * first.length);
    expect(again.map(({ headers }) => headers[REPLAY])).toEqual(first.map(() => "1"));
    const bare = again.map(({ offset: _, headers, ...message }) => {
      const { [REPLAY]: __, ...others } = headers;
      return { ...message, headers: others };
    });
    expect(bare).toEqual(first.map(({ offset: _, ...message }) => message));
    expect(all.slice(2 * first.length).map(({ headers }) => headers[REPLAY])).toEqual([undefined]);
  });

  test("KEEP_HOURS keeps what has left the queue; without it that is dropped", async () => {
    const { sql } = server;
    const generation = idleGeneration();
    await enqueueMany(sql, 12_000, { generation });
    await enqueue(sql, { key: "s", statement: "SNAPSHOT", generation });
    const report = await drain(KEEP);
    expect(report).toMatchObject({ delivered: 12_001, kept: 12_000, keepFull: false });
    expect(report.reclaimedBytes).toBeGreaterThan(0);
    expect([await rowsIn("outbound_event_queue"), await rowsIn("delivered_events")]).toEqual([
      0, 12_000,
    ]);
    expect((await readStatus(drainSession(server.database))).keptBytes).toBeGreaterThan(1e6);

    await enqueue(sql, "live");
    await replay();
    expect(await drain(KEEP)).toMatchObject({ delivered: 12_001 + 1, replayed: 12_001, kept: 0 });
    const numbers = Array.from({ length: 12_000 }, (_, index) => String(index + 1));
    expect(await replayedKeys()).toEqual([...numbers, "live"]);
    // What was sent again is gone, and not kept again.
    expect(await rowsIn("outbound_event_queue_replayed")).toBe(0);

    expect(await drain(KEEP)).toMatchObject({ drained: true });
    expect(await rowsIn("delivered_events")).toBe(12_000);
    await drain();
    expect([await rowsIn("delivered_events"), await rowsIn("delivered_slices")]).toEqual([0, 0]);
  });
});
