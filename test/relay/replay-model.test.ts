import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { newest, useDatabase } from "../support/database.ts";
import { randomFrom } from "../support/random.ts";
import { Reader } from "./reader.ts";
import { idleGenerations, one, writer } from "./support.ts";

/* Random concurrent transactions whose events go into partitions of the queue that have had their
   turn, while what is delivered is kept and partitions are emptied, replays are begun and made in
   small steps, and the drain is killed between any two calls. Each replay must send once what was
   delivered when it was begun, nothing that was not delivered before it, and each key in the order of
   the first deliveries. PG2KAFKA_TEST_SEED repeats the choices of a run. */

const SEED = Number(process.env["PG2KAFKA_TEST_SEED"] ?? Date.now() % 1_000_000_000);
const WRITERS = 5;
const ROWS = 300;
const DURATION_MS = 10_000;
const KEPT_MIN = 200;
/** A slow machine goes on until it has done that, but no longer. */
const DURATION_MS_MAX = 80_000;
const REPLAYS_MAX = 6;
const KEEP = { keepMs: 3_600_000, bytesMax: 2 ** 30 };

const server = useDatabase(newest, { superuser: true });

test(`a replay is what was delivered, once and in order (seed ${SEED})`, async () => {
  const { sql, database } = server;
  const idle = await idleGenerations();
  await sql.unsafe(`
    alter table pg2kafka.outbound_event_queue
      alter generation set default (array[${idle}])[1 + (random() < 0.5)::int];
    create table t (k int primary key, v int not null default 0);
    select pg2kafka.setup('t', 'k');
    insert into t select n from generate_series(1, ${ROWS}) n`);
  const reader = await Reader.open(database, undefined, KEEP);
  /** Replay → how many events were delivered when it was begun. */
  const begun = new Map<string, number>();
  let kept = 0;
  let emptied = 0;
  let kills = 0;
  const startMs = performance.now();
  const isEnough = () => {
    const isTooLittle = kept < KEPT_MIN || begun.size === 0;
    return performance.now() - startMs > (isTooLittle ? DURATION_MS_MAX : DURATION_MS);
  };

  const writers = Array.from({ length: WRITERS }, async (_, index) => {
    const random = randomFrom(SEED + index);
    const session = writer(database);
    await session.unsafe("set deadlock_timeout = '50ms'");
    while (!isEnough()) {
      const key = 1 + random(ROWS);
      await session.unsafe("begin");
      try {
        for (let left = 1 + random(3); left > 0; left--) {
          await session.unsafe(
            `update t set v = v + 1 where k between ${key} and ${key + random(9)}`,
          );
          // Some transactions are open while the partition is copied.
          if (random(5) === 0) await sleep(random(100));
        }
        await session.unsafe(random(6) === 0 ? "rollback" : "commit");
      } catch (error) {
        if ((error as { code?: string }).code !== "40P01") throw error;
        await session.unsafe("rollback");
      }
      // Now and then all of them rest, or no partition would ever be emptied.
      if (Math.floor((performance.now() - startMs) / 400) % 2 === 1) await sleep(300);
    }
  });
  const random = randomFrom(SEED - 1);
  const drain = async () => {
    while (!isEnough()) {
      const choice = random(20);
      if (choice === 0 && begun.size < REPLAYS_MAX) {
        const from = reader.uuids.length;
        const { id } = await one<{ id: number }>(sql, "select pg2kafka.replay() as id");
        begun.set(String(id), from);
      } else if (choice === 1) {
        await reader.takeOver();
        kills += 1;
      } else if (choice < 5) {
        for (let tries = 0; tries < 4; tries++)
          kept += await reader.keep(KEEP, { rowsMax: 1 + random(400) });
      } else if (choice === 5) while (await reader.deliver());
      else if (choice < 8) emptied += (await reader.reclaim(true)) > 0 ? 1 : 0;
      else if (choice < 12 && reader.isBetween)
        await reader.stepReplay({ rowsMax: 1 + random(400), bytesMax: 1_000 + random(100_000) });
      else await reader.deliver(1 + random(300), choice === 12);
    }
  };
  await Promise.all([...writers, drain()]);
  do while (await reader.deliver());
  while ((await reader.stepReplay()) !== null);

  const place = new Map(reader.uuids.map((uuid, index) => [uuid, index]));
  for (const [replay, from] of begun) {
    const uuids = reader.replayed.filter((copy) => copy.replay === replay).map(({ uuid }) => uuid);
    expect(new Set(uuids).size).toBe(uuids.length);
    expect(uuids.filter((uuid) => !place.has(uuid))).toEqual([]);
    const sent = new Set(uuids);
    expect(reader.uuids.slice(0, from).filter((uuid) => !sent.has(uuid))).toEqual([]);
    const places = uuids.map((uuid) => place.get(uuid)!);
    for (const [key, ofKey] of Map.groupBy(places, (at) => reader.events[at]!.external_id)) {
      expect(ofKey, `replay ${replay}, key ${key}`).toEqual([...ofKey].sort((a, b) => a - b));
    }
  }
  expect(begun.size).toBeGreaterThan(0);
  expect(kept).toBeGreaterThanOrEqual(KEPT_MIN);
  console.log(
    `seed ${SEED}: ${reader.events.length} events, ${kept} kept, partitions emptied ${emptied} times, ` +
      `${begun.size} replays of ${reader.replayed.length} events, ${kills} kills`,
  );
}, 240_000);
