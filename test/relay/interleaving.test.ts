import fc from "fast-check";
import type { Sql } from "postgres";
import { expect, test } from "vitest";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { useDatabase } from "../support/database.ts";
import { drainSession, idleGenerations, NOTHING, one, writer } from "./support.ts";

const LEASE_MS = 60_000;
const WRITERS = 4;
const KEYS = 3;
const HISTORIES_MAX = 200;
/** On a slow machine too; the others as long as there is time. */
const HISTORIES_MIN = 10;
const TIME_LIMIT_MS = 5_000;
const PARKED_MAX = { eventsMax: 0, bytesMax: 0 };

/** What may happen next. */
type Step =
  | { do: "insert"; writer: number; key: number; half: 0 | 1; isUndone: boolean }
  | { do: "commit" | "rollback"; writer: number }
  /** Read and settle one batch, or be killed between the two. */
  | { do: "drain"; eventsMax: number; isKilled: boolean }
  /** Empty what is delivered. */
  | { do: "reclaim" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("insert" as const),
      writer: fc.nat(WRITERS - 1),
      key: fc.nat(KEYS - 1),
      half: fc.constantFrom(0 as const, 1 as const),
      isUndone: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom("commit" as const, "commit" as const, "rollback" as const),
      writer: fc.nat(WRITERS - 1),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("drain" as const),
      eventsMax: fc.integer({ min: 1, max: 4 }),
      isKilled: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "reclaim" as const }) },
);

const server = useDatabase();

test("in whatever order transactions draw ids and end, each event is read once, and a row's in order", async () => {
  const queue = createQueue(drainSession(server.database));
  const sessions = Array.from({ length: WRITERS }, () => writer(server.database));
  const generations = await idleGenerations();

  let histories = 0;
  const run = async (steps: Step[]) => {
    const committed: string[] = [];
    const read: { id: string; key: string | null }[] = [];
    /** Session → what its open transaction has written. */
    const open = new Map<Sql, { id: string; key: number }[]>();
    const held = (await queue.takeLease(LEASE_MS))!;
    const { lease } = held;
    let { position } = held;

    const drain = async (eventsMax: number, isKilled: boolean): Promise<boolean> => {
      const limits = { eventsMax, bytesMax: 1e6, eventBytesMax: 1e6 };
      const { events, after } = await queue.fetch(position, lease.drawnId, limits);
      if (isKilled) return true;
      read.push(...events.map(({ id, externalId }) => ({ id, key: externalId })));
      await queue.settle(lease, LEASE_MS, { position: after, ...NOTHING }, PARKED_MAX);
      const isAtEnd = events.length === 0 && position.target === null;
      position = after;
      return !isAtEnd;
    };
    const end = async (session: Sql, how: "commit" | "rollback") => {
      const written = open.get(session);
      if (written === undefined) return;
      open.delete(session);
      await session.unsafe(how);
      if (how === "commit") committed.push(...written.map(({ id }) => id));
    };
    const insert = async (session: Sql, key: number, generation: number, isUndone: boolean) => {
      // As a row lock would have it: one open transaction at a time writes a row.
      const others = [...open].filter(([other]) => other !== session);
      if (others.some(([, written]) => written.some((event) => event.key === key))) return;
      if (!open.has(session)) await session.unsafe("begin");
      const written = open.get(session) ?? [];
      open.set(session, written);
      if (isUndone) await session.unsafe("savepoint undone");
      const { id } = await one<{ id: string }>(
        session,
        `insert into pg2kafka.outbound_event_queue
           (generation, external_id, table_name, statement, data)
         values (${generation}, '${key}', 't', 'INSERT', '{}') returning id`,
      );
      if (isUndone) await session.unsafe("rollback to undone");
      else written.push({ id, key });
    };

    for (const next of steps) {
      if (next.do === "drain") await drain(next.eventsMax, next.isKilled);
      else if (next.do === "reclaim") await queue.reclaim(lease);
      else if (next.do === "insert") {
        const { key, half, isUndone } = next;
        await insert(sessions[next.writer]!, key, generations[half], isUndone);
      } else await end(sessions[next.writer]!, next.do);
    }
    for (const session of [...open.keys()]) await end(session, "commit");
    for (let rounds = 0; (await drain(3, false)) && rounds < 100; rounds++);
    await queue.settle(lease, 0, { position, ...NOTHING }, PARKED_MAX);

    const byId = (a: string, b: string) => Number(a) - Number(b);
    expect(read.map(({ id }) => id).sort(byId)).toEqual(committed.sort(byId));
    for (let key = 0; key < KEYS; key++) {
      const ids = read.filter((event) => event.key === String(key)).map(({ id }) => id);
      expect(ids).toEqual([...ids].sort(byId));
    }
    histories += 1;
  };
  const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), run);
  const ending = property.afterEach(async () => {
    await Promise.all(sessions.map((session) => session.unsafe("rollback")));
  });
  await fc.assert(ending, { numRuns: HISTORIES_MIN });
  await fc.assert(ending, {
    numRuns: HISTORIES_MAX - HISTORIES_MIN,
    interruptAfterTimeLimit: TIME_LIMIT_MS,
    markInterruptAsFailure: false,
  });
  console.log(`${histories} histories`);
});
