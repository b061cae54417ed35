import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import { expect, test } from "vitest";
import { createQueue, type Held, type Queue } from "../../functions/core/postgres/queue.ts";
import { newest, useDatabase } from "../support/database.ts";
import { type CapturedEvent, expectFold } from "../support/events.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { capturedOf } from "./reader.ts";
import { drainSession, expireLeases, NOTHING, PARKED_MAX, writer } from "./support.ts";

/* Random transactions on a table whose snapshots are made in steps, cancelled and begun again, while the
   number of lanes changes and drains end, or are killed, between any two calls. What a consumer holds
   at the end must be what the table holds. PG2KAFKA_TEST_SEED repeats the choices of a run. */

const SEED = Number(process.env["PG2KAFKA_TEST_SEED"] ?? Date.now() % 1_000_000_000);
const LEASE_MS = 600_000;
const WRITERS = 4;
const ROWS = 600;
const LANES_MAX = 3;
const SNAPSHOTS_MAX = 40;
const INVOCATIONS = 150;
const CALLS_MAX = 6;
/** To deliver what is left, and finish the snapshots. */
const LAST_INVOCATIONS_MAX = 2_000;

const server = useDatabase(newest, { superuser: true });

/** Keys stay: a row that changes its key may change its lane. */
function randomStatement(random: Random): string {
  const key = random(ROWS) + 1;
  const statements = [
    `update t set v = v + 1 where k = ${key}`,
    `update t set v = v + 1 where k between ${key} and ${key + 10}`,
    `update t set pad = repeat('y', ${random(400)}) where k between ${key} and ${key + 5}`,
    `delete from t where k between ${key} and ${key + random(10)}`,
    `insert into t (k) select n from generate_series(${key}, ${key + 10}) n on conflict do nothing`,
    ...(random(40) === 0 ? ["truncate t"] : []),
  ];
  return statements[random(statements.length)]!;
}

async function randomTransaction(session: Sql, random: Random): Promise<void> {
  try {
    await session.unsafe("begin");
    for (let left = 1 + random(3); left > 0; left--) {
      await session.unsafe(randomStatement(random));
      // Most are open while drains work.
      await sleep(random(120));
    }
    await session.unsafe(random(6) === 0 ? "rollback" : "commit");
  } catch (error) {
    const { code = "" } = error as { code?: string };
    // Deadlock, lock timeout.
    if (!["40P01", "55P03"].includes(code)) throw error;
    await session.unsafe("rollback");
  }
}

/** Invocations of the drain's lanes, one at a time, and what they have delivered. */
class Lanes {
  readonly events: CapturedEvent[] = [];
  readonly #seen = new Set<string>();
  readonly #sql = drainSession(server.database);
  /** Nobody is killed any more. */
  isUnharmed = false;
  kills = 0;
  steps = 0;
  /** Leases for which the lanes were arranged in another way than for the one before. */
  arrangements = 0;
  #lanes = 1;

  /** @returns whether there was anything to do */
  async invoke(lane: number, lanes: number, random: Random, callsMax: number): Promise<boolean> {
    const queue = createQueue(this.#sql, { lane, lanes });
    const held = await queue.takeLease(LEASE_MS);
    if (!held) return false;
    this.arrangements += Number(held.lease.share.lanes !== this.#lanes);
    this.#lanes = held.lease.share.lanes;
    const { gather, isIdle } = await this.#work(queue, held, random, callsMax, lanes);
    if (!this.isUnharmed && random(4) === 0) {
      this.kills += 1;
      await expireLeases(server.sql);
      return true;
    }
    const { lease, position } = held;
    await queue.settle(lease, 0, { position, ...NOTHING, gather }, PARKED_MAX);
    return !isIdle;
  }

  async #work(queue: Queue, held: Held, random: Random, callsMax: number, lanes: number) {
    const { lease } = held;
    let isIdle = true;
    for (let calls = 0; calls < callsMax; calls++) {
      const isGathered = held.position.spans.some(({ share }) => share !== null);
      if (lease.isGathering || (lease.share.lanes < lanes && !isGathered && calls > 0)) break;
      if (held.position.target === null && random(2) === 0) {
        const bounds = { rowsMax: 20 + random(300), bytesMax: 1e6 };
        const settlement = { position: held.position, ...NOTHING };
        const step = await queue.stepSnapshot(lease, LEASE_MS, settlement, bounds);
        held.position = step.after;
        this.steps += Number(step.rows > 0);
        isIdle &&= !step.isLeft;
        continue;
      }
      const limits = { eventsMax: 1 + random(300), bytesMax: 1e7, eventBytesMax: 1e7 };
      const batch = await queue.fetch(held.position, lease.drawnId, limits, lease.share);
      isIdle &&= batch.events.length === 0 && held.position.target === null;
      for (const event of batch.events) {
        if (this.#seen.has(event.uuid)) continue;
        this.#seen.add(event.uuid);
        this.events.push(capturedOf(event));
      }
      // Killed when the batch is delivered and not settled.
      if (!this.isUnharmed && random(12) === 0) return { gather: false, isIdle: false };
      const { after: position } = batch;
      await queue.settle(lease, LEASE_MS, { position, ...NOTHING }, PARKED_MAX);
      held.position = position;
      if (batch.isBeforeTruncate) return { gather: true, isIdle: false };
    }
    return { gather: false, isIdle };
  }
}

/** To whoever begins to listen, a part of a row is nothing before the row was sent. */
function heardFrom(events: readonly CapturedEvent[]): CapturedEvent[] {
  const known = new Set<string | null>();
  return events.filter(({ statement, external_id, data }) => {
    if (statement === "TRUNCATE") known.clear();
    if (statement !== "UPDATE" || "k" in data!) known.add(external_id);
    return known.has(external_id);
  });
}

test(`a fold over what lanes deliver equals the table, while they and snapshots come and go (seed ${SEED})`, async () => {
  const { sql, database } = server;
  await sql.unsafe(`
    create table t (k int primary key, v int not null default 0, pad text default repeat('x', 60)) with (fillfactor = 60);
    insert into t (k) select n from generate_series(1, ${ROWS}) n;
    select pg2kafka.setup('t', 'k')`);
  const drain = new Lanes();
  const random = randomFrom(SEED);
  let isOver = false;
  let transactions = 0;
  const writers = Array.from({ length: WRITERS }, async (_, index) => {
    const own = randomFrom(SEED + 1 + index);
    const session = writer(database);
    await session.unsafe("set lock_timeout = '400ms'; set deadlock_timeout = '50ms'");
    while (!isOver) {
      await randomTransaction(session, own);
      transactions += 1;
    }
  });

  /** Which of the events came after each snapshot's beginning, of those that were not cancelled. */
  const begun = new Map<number, number>();
  let lanes = 1;
  let cancelled = 0;
  const invoke = () => drain.invoke(random(lanes), lanes, random, 1 + random(CALLS_MAX));
  for (let invocation = 0; invocation < INVOCATIONS; invocation++) {
    const choice = random(14);
    if (choice === 0) lanes = 1 + random(LANES_MAX);
    else if (choice === 1 && begun.size + cancelled < SNAPSHOTS_MAX) {
      const from = drain.events.length;
      const [row] = await sql<{ id: number }[]>`select pg2kafka.snapshot('t') as id`.catch(
        () => [],
      );
      if (row) begun.set(row.id, from);
    } else if (choice === 2 && begun.size > 0) {
      const id = [...begun.keys()][random(begun.size)]!;
      const isDone = await sql`select pg2kafka.cancel_snapshot(${id})`.then(
        () => true,
        () => false,
      );
      if (isDone) {
        begun.delete(id);
        cancelled += 1;
      }
    } else if (choice === 3) await sql`select pg2kafka.refresh_captures()`;
    else await invoke();
  }
  isOver = true;
  await Promise.all(writers);

  // Each lane, again and again, until none has anything to do.
  drain.isUnharmed = true;
  let idle = 0;
  for (let left = LAST_INVOCATIONS_MAX; left > 0 && idle < 4 * lanes; left--) {
    const isBusy = await drain.invoke(left % lanes, lanes, random, 100);
    idle = isBusy ? 0 : idle + 1;
  }
  expect(await sql`select id, state from pg2kafka.snapshots where state = 'running'`).toEqual([]);
  await expectFold(drain.events, sql, "t", "k");
  for (const from of begun.values()) {
    await expectFold(heardFrom(drain.events.slice(from)), sql, "t", "k");
  }
  console.log(
    `seed ${SEED}: ${transactions} transactions, ${drain.events.length} events, ${drain.steps} steps of ` +
      `${begun.size} snapshots and ${cancelled} cancelled, ${drain.arrangements} arrangements, ${drain.kills} kills`,
  );
}, 240_000);
