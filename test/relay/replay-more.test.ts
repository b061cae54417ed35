import { describe, expect, test } from "vitest";
import { createQueue, type KeepLimits, type Lease } from "../../functions/core/postgres/queue.ts";
import { createTopic } from "../local/topics.ts";
import { newest, useDatabase, versions } from "../support/database.ts";
import { useReplays } from "./replay.ts";
import {
  drainSession,
  enqueue,
  enqueueMany,
  expireLeases,
  idleGeneration,
  one,
  receive,
  writer,
} from "./support.ts";

const HOUR_MS = 3_600_000;
const KEEP = { KEEP_HOURS: "1" };

describe.each(versions)("a replay on Postgres %i", (version) => {
  const { server, cluster, topicOf, drain, replayedKeys, replay, replays, rowsIn } =
    useReplays(version);

  test("takes what it is asked for: a table, a time, keys, and all three", async () => {
    const { sql } = server;
    await sql.unsafe("create table t (id int); create table u (id int)");
    await enqueue(sql, "a", "b", { key: "a", table: "u" }, { key: null, statement: "TRUNCATE" });
    await sql`update pg2kafka.outbound_event_queue set created_at = '2020-01-01' where external_id = 'a'`;
    await drain();
    const asked = [
      "'u'",
      "p_keys => '{b,c}'",
      "p_until => '2020-01-02'",
      "p_from => '2020-01-01', p_until => '2020-01-01 00:00:00.000001'",
      "p_from => '2020-01-01 00:00:00.000001'",
      "'t', '2020-01-01', '2021-01-01', '{a,b}'",
      "p_keys => '{}'",
    ];
    for (const parameters of asked) await replay(parameters);
    await drain();
    const events = (await replays()).map((row) => row["events"]);
    expect(events).toEqual([1, 1, 2, 2, 2, 1, 0]);
    expect(await replayedKeys(3)).toEqual(["a"]);
    expect(await replayedKeys(3, "u")).toEqual(["a"]);
    expect(await replayedKeys(5)).toEqual(["b", null]);
    expect(await replayedKeys(6)).toEqual(["a"]);
  });

  test("says what cannot be asked for", async () => {
    await expect(replay("p_from => '2020-01-02', p_until => '2020-01-02'")).rejects.toThrow(
      /begin at 2020-01-02.* and end before 2020-01-02/,
    );
    await expect(
      replay("p_keys => array(select n::text from generate_series(1, 10001) n)"),
    ).rejects.toThrow("10001 keys were given; at most 10000 are taken");
    await expect(server.sql`select pg2kafka.cancel_replay(7)`).rejects.toThrow(
      "no replay 7 is under way",
    );
    expect(await replays()).toEqual([]);
  });

  test("leaves out what was not delivered: waiting, parked, given up; and SNAPSHOT events", async () => {
    const { sql } = server;
    const late = writer(server.database);
    await late`begin`;
    await enqueue(late, "late");
    const large = { data: JSON.stringify("x".repeat(2_000)) };
    await enqueue(sql, "a", { key: "large", ...large }, { key: "larger", ...large });
    await enqueue(sql, { key: "s", statement: "SNAPSHOT" }, "z");
    const env = { MESSAGE_BYTES_MAX: "1024" };
    expect(await drain(env)).toMatchObject({ delivered: 3, parked: 2 });
    await sql`select pg2kafka.discard(id) from pg2kafka.parked_events where external_id = 'larger'`;
    await replay();
    expect(await drain(env)).toMatchObject({ delivered: 2, replayed: 2, parked: 0 });
    await late`commit`;
    await drain(env);
    expect(await replayedKeys()).toEqual(["a", "z"]);
    await replay();
    await drain(env);
    expect(await replayedKeys(2)).toEqual(["late", "a", "z"]);
  });

  test("waits while an event of it is parked, and goes on when that is mended", async () => {
    const { sql } = server;
    await enqueueMany(sql, 6_000);
    await drain();
    await sql`update pg2kafka.outbound_event_queue set table_name = 'missing'`;
    const id = await replay();
    expect(await drain()).toMatchObject({ replayed: 5_000, parked: 5_000, drained: true });
    expect(await drain()).toMatchObject({ replayed: 0, drained: true });
    expect(await sql`select state, waits_for_parked from pg2kafka.replays`).toEqual([
      { state: "running", waits_for_parked: true },
    ]);
    // Another one does not wait for it.
    await enqueue(sql, "a");
    await drain();
    const other = await replay("p_keys => '{a}'");
    expect(await drain()).toMatchObject({ replayed: 1 });
    expect(await replayedKeys(other)).toEqual(["a"]);

    await createTopic(cluster.brokers, topicOf("missing"));
    expect(await drain()).toMatchObject({ unparked: 5_000, replayed: 1_000 });
    expect(await replayedKeys(id, "missing")).toHaveLength(6_000);
    expect(await replays()).toMatchObject([{ state: "finished" }, { state: "finished" }]);
  });

  test("is given up: what is in the queue is delivered, and no more", async () => {
    const { sql } = server;
    await enqueueMany(sql, 6_000);
    await drain();
    const id = await replay();
    const queue = createQueue(drainSession(server.database));
    const { lease, position } = (await queue.takeLease(10_000))!;
    const nothing = { position, parked: [], retried: [], unparked: [] };
    const limits = { rowsMax: 10, bytesMax: 1e6 };
    expect(await queue.stepReplay(lease, 0, nothing, limits)).toEqual({
      isLeft: true,
      isWaiting: false,
      events: 10,
    });
    // The next step waits until this one is delivered.
    expect(await queue.stepReplay(lease, 0, nothing, limits)).toMatchObject({ isWaiting: true });
    await sql`select pg2kafka.cancel_replay(${id})`;
    expect(await drain()).toMatchObject({ delivered: 10, replayed: 0 });
    expect(await replays()).toEqual([{ id, state: "cancelled", events: 10, percent: 0 }]);
  });

  test("by a drain whose lease is another's changes nothing", async () => {
    await enqueue(server.sql, "a");
    await drain();
    await replay();
    const queue = createQueue(drainSession(server.database));
    const stale = (await queue.takeLease(10_000))!;
    await expireLeases(server.sql);
    const { lease } = (await queue.takeLease(1))!;
    const { position } = stale;
    const nothing = { position, parked: [], retried: [], unparked: [] };
    const step = (by: Lease) => queue.stepReplay(by, 1, nothing, { rowsMax: 9, bytesMax: 1e6 });
    await expect(step(stale.lease)).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await replays()).toMatchObject([{ events: 0 }]);
    expect(await step(lease)).toMatchObject({ events: 1 });
  });

  test("what a long transaction commits late is kept as well, and sent again once", async () => {
    const generation = idleGeneration();
    const late = writer(server.database);
    await late`begin`;
    await enqueue(late, { key: "late", generation });
    await enqueue(server.sql, { key: "early", generation });
    await drain(KEEP);
    // The writer still holds the partition.
    expect([await rowsIn("outbound_event_queue"), await rowsIn("delivered_events")]).toEqual([
      1, 1,
    ]);
    await replay();
    await late`commit`;
    await drain(KEEP);
    expect([await rowsIn("outbound_event_queue"), await rowsIn("delivered_events")]).toEqual([
      0, 2,
    ]);
    await replay();
    await drain(KEEP);
    expect(await replayedKeys(2)).toEqual(["late", "early"]);
  });

  test("by several lanes is in order per key, and a TRUNCATE comes where it was", async () => {
    const { sql } = server;
    const LANES = 3;
    const lanes = () =>
      Promise.all(
        Array.from({ length: LANES }, (_, lane) =>
          drain({ LANES: String(LANES), LANE: String(lane), BATCH_EVENTS_MAX: "1000" }),
        ),
      );
    const all = async () => {
      for (let tick = 0; tick < 20; tick++) {
        const reports = await lanes();
        if (reports.every(({ drained, delivered }) => drained && delivered === 0)) return;
      }
      throw new Error("The lanes are not through.");
    };
    const rows = (from: number, to: number) =>
      sql.unsafe(`insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
        select n % 40, 't', 'UPDATE', json_build_object('n', n) from generate_series(${from}, ${to}) n`);
    await rows(1, 6_000);
    await enqueue(sql, { key: null, statement: "TRUNCATE" });
    await rows(6_001, 7_000);
    await all();
    const before = await receive(cluster.brokers, topicOf("t"));
    await replay();
    await all();
    expect(await replays()).toEqual([{ id: 1, state: "finished", events: 7_001, percent: 100 }]);
    const again = (await receive(cluster.brokers, topicOf("t"))).slice(before.length);
    const orders = (messages: typeof again) =>
      [...Map.groupBy(messages, ({ key }) => key)].map(
        ([key, ofKey]) => [key, ofKey.map(({ data }) => data!["n"])] as const,
      );
    expect(new Map(orders(again))).toEqual(new Map(orders(before)));
    const truncate = again.findIndex(({ statement }) => statement === "TRUNCATE");
    expect(again.slice(0, truncate).every(({ data }) => Number(data!["n"]) <= 6_000)).toBe(true);
    expect(truncate).toBe(6_000);
  });

  test("after a restore goes on, and what was kept and is in the queue again is kept once", async () => {
    const { sql } = server;
    const generation = idleGeneration();
    const late = writer(server.database);
    await late`begin`;
    await enqueue(late, { key: "late", generation });
    await enqueue(sql, { key: "early", generation });
    await drain(KEEP);
    await late`commit`;
    await replay();
    await sql`update pg2kafka.drain_log set system_identifier = system_identifier + 1`;
    expect(await drain(KEEP)).toMatchObject({ restored: true, delivered: 4, replayed: 2 });
    expect([await rowsIn("outbound_event_queue"), await rowsIn("delivered_events")]).toEqual([
      0, 2,
    ]);
    expect(await replayedKeys()).toEqual(["late", "early"]);
  });
});

describe("what is kept", () => {
  const server = useDatabase(newest, { superuser: true });
  const STEP = { rowsMax: 500, bytesMax: 100_000 };
  const kept = () =>
    one<{ bytes: string; rows: number; newest: string }>(
      server.sql,
      `select pg2kafka.kept_bytes() as bytes, count(*)::int as rows, max(external_id::int)::text as newest
       from pg2kafka.delivered_events`,
    );

  /** Deliver what there is, and take a lease. */
  async function delivered(keep: KeepLimits) {
    const queue = createQueue(drainSession(server.database), undefined, keep);
    const { lease, position } = (await queue.takeLease(HOUR_MS))!;
    const limits = { eventsMax: 50_000, bytesMax: 1e9, eventBytesMax: 1e7 };
    const { after } = await queue.fetch(position, lease.drawnId, limits);
    const settlement = { position: after, parked: [], retried: [], unparked: [] };
    await queue.settle(lease, HOUR_MS, settlement, { eventsMax: 0, bytesMax: 0 });
    return { queue, lease };
  }

  /** Keep all there is to be kept. @returns whether some went before their time */
  async function keepAll(
    { queue, lease }: Awaited<ReturnType<typeof delivered>>,
    keep: KeepLimits,
  ): Promise<boolean> {
    let isEarly = false;
    for (let isLeft = true; isLeft; ) {
      const step = await queue.keepEvents(lease, keep, STEP);
      isLeft = step.isLeft;
      isEarly ||= step.isEarly;
      expect(step.isBlocked).toBe(false);
      expect(Number((await kept()).bytes)).toBeLessThanOrEqual(keep.bytesMax);
    }
    return isEarly;
  }

  /** Rows whose sizes lie where pages and TOAST waste most. */
  async function enqueueSizes(count: number): Promise<void> {
    await server.sql.unsafe(`
      insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data, generation)
      select n, 't', 'INSERT', (
        select to_json(string_agg(md5(n || '/' || i), '')) from generate_series(1, (array[1, 40, 63, 70, 300])[n % 5 + 1]) i
      ), ${idleGeneration()}
      from generate_series(1, ${count}) n`);
  }

  test.each([1, 2, 5])("never takes more than %i MiB: the oldest goes first", async (mebibytes) => {
    const keep = { keepMs: HOUR_MS, bytesMax: mebibytes * 2 ** 20 };
    await enqueueSizes(2_500);
    const drain = await delivered(keep);
    expect(await keepAll(drain, keep)).toBe(true);
    const { rows, newest } = await kept();
    expect(rows).toBeGreaterThan(0);
    expect(rows).toBeLessThan(2_500);
    expect(newest).toBe("2500");
    expect(await drain.queue.reclaim(drain.lease, true)).toBeGreaterThan(0);
  });

  test("is dropped when its time is up, and when the bound is lowered", async () => {
    const keep = { keepMs: HOUR_MS, bytesMax: 2 ** 26 };
    await enqueueSizes(500);
    const { queue, lease } = await delivered(keep);
    expect(await keepAll({ queue, lease }, keep)).toBe(false);
    await queue.reclaim(lease, true);
    expect((await kept()).rows).toBe(500);
    await server.sql`
      update pg2kafka.delivered_slices set began_at = now() - interval '1 hour', ended_at = now() - interval '59 minutes'`;
    await queue.reclaim(lease, true);
    expect((await kept()).rows).toBe(500);
    expect((await queue.readState()).isReclaimable).toBe(false);

    await server.sql`update pg2kafka.delivered_slices set ended_at = now() - interval '1 hour'`;
    expect((await queue.readState()).isReclaimable).toBe(true);
    await queue.reclaim(lease, true);
    expect((await kept()).rows).toBe(0);
    expect((await queue.readState()).isReclaimable).toBe(false);
  });

  test("lets go of the queue's space while somebody reads what would have to go first", async () => {
    const keep = { keepMs: HOUR_MS, bytesMax: 2 ** 20 };
    await enqueueSizes(2_500);
    const { queue, lease } = await delivered(keep);
    const reader = writer(server.database);
    await reader`begin`;
    await reader`select from pg2kafka.delivered_events limit 1`;
    let step = await queue.keepEvents(lease, keep, STEP);
    for (; step.isLeft; step = await queue.keepEvents(lease, keep, STEP));
    expect(step).toEqual({ isLeft: false, isBlocked: true, isEarly: false, events: 0 });
    expect(await queue.reclaim(lease, true)).toBe(0);
    expect(await queue.reclaim(lease, false)).toBeGreaterThan(0);
    await reader`commit`;
  });

  test("is not dropped by a drain whose lease another one has taken", async () => {
    const keep = { keepMs: HOUR_MS, bytesMax: 2 ** 26 };
    const stale = createQueue(drainSession(server.database));
    const { lease: lost } = (await stale.takeLease(HOUR_MS))!;
    await expireLeases(server.sql);
    await enqueueSizes(10);
    const { queue, lease } = await delivered(keep);
    await keepAll({ queue, lease }, keep);
    await queue.reclaim(lease, true);
    await stale.reclaim(lost, false);
    expect((await kept()).rows).toBe(10);
  });

  test("is kept anew where keeping was off meanwhile, and the queue could not be emptied", async () => {
    const keep = { keepMs: HOUR_MS, bytesMax: 2 ** 26 };
    await enqueueSizes(10);
    const { queue, lease } = await delivered(keep);
    const reader = writer(server.database);
    await reader`begin`;
    await reader`select from pg2kafka.outbound_event_queue limit 1`;
    await keepAll({ queue, lease }, keep);
    await createQueue(drainSession(server.database)).reclaim(lease, false);
    expect((await kept()).rows).toBe(0);
    await keepAll({ queue, lease }, keep);
    await reader`commit`;
    await queue.reclaim(lease, true);
    expect((await kept()).rows).toBe(10);
    expect(await server.sql`select from pg2kafka.outbound_event_queue`).toHaveLength(0);
  });

  test("with a lease that is another's, nothing is kept", async () => {
    const keep = { keepMs: HOUR_MS, bytesMax: 2 ** 20 };
    await enqueueSizes(10);
    const { queue, lease } = await delivered(keep);
    await expireLeases(server.sql);
    await queue.takeLease(HOUR_MS);
    expect(await queue.keepEvents(lease, keep, STEP)).toMatchObject({ isLeft: false, events: 0 });
    expect((await kept()).rows).toBe(0);
  });
});
