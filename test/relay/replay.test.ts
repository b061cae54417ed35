import { describe, expect, test } from "vitest";
import { readStatus } from "../../functions/core/postgres/status.ts";
import { readTopic } from "../local/topics.ts";
import { versions } from "../support/database.ts";
import { REPLAY, useReplays } from "./replay.ts";
import { drainSession, enqueue, enqueueMany, idleGeneration } from "./support.ts";

const KEEP = { KEEP_HOURS: "1" };

describe.each(versions)("a replay on Postgres %i", (version) => {
  const { server, cluster, topicOf, drain, replayedKeys, replay, replays, rowsIn } =
    useReplays(version);

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
