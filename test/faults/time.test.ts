import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Environment } from "../relay/support.ts";
import { useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { report } from "./report.ts";
import { DELIVERIES, drawSteps, Scene } from "./scene.ts";
import { SEED } from "./seed.ts";
import { setClock, shiftClock } from "./shifted-clock.ts";
import { ofSize } from "./size.ts";
import { type Step, stepsOf } from "./steps.ts";
import { tick } from "./tick.ts";

const DEADLINES = ofSize({ short: 2, long: 60 });
const TICKS = ofSize({ short: 6, long: 600 });
/** Jumps of Postgres' clock, and runs of processes whose own clock jumps. */
const JUMPS = ofSize({ short: 20, long: 3_000 });
const RUNS = ofSize({ short: 1, long: 12 });
const AT_ONCE = 4;
const TICK_MS_MAX = 3_000;
/** More than a drain takes on a busy machine. */
const LONG_MS = 60_000;
/** Of Postgres' clock, in each direction: several turns of the queue's parts, and many leases. */
const SHIFT_S_MAX = 900;
const JUMP_EVERY_MS = 20;

const server = useDatabase();
const cluster = useKafka();
const NOTHING_WRONG = { lost: 0, invented: 0, inverted: 0 };

/** So much that nothing but the deadline ends a drain that is held up. */
const PATIENT: Environment = {
  REQUEST_TIMEOUT_MS: "30000",
  MARGIN_MS: "32000",
  TIMEOUT_MS: "90000",
  LEASE_MS: "120000",
};
/** So much that a batch that has begun is always ended. */
const UNHURRIED: Environment = { ...PATIENT, MARGIN_MS: "80000" };
/** As a drain ends that has `UNHURRIED`, and whose lease and sessions are its own. */
const REGULAR_ENDS = ["drained", "LEASED", "DEADLINE"];
/** A little late, or too late for another request to Kafka. */
const LATE_MS = [20, Number(PATIENT["MARGIN_MS"]) - Number(PATIENT["REQUEST_TIMEOUT_MS"]) + 20];
/** On a busy machine a drain may have too little time to get to its step: then with more. */
const TIME_MS_MIN = 2_000;
const TIME_MS_MAX = 20_000;

/** One drain. @returns how it ended */
async function endOf(env: Environment, timeMs: number): Promise<string> {
  // Held up for long in a transaction, it finds its connection closed.
  return await tick(env, timeMs).then(
    ({ stopped }) => stopped?.code ?? "drained",
    (error: { code: string }) => error.code,
  );
}

/** A step, and the how manieth of its kind in a drain; without that, a random one. */
type Place = [step: Step, nth?: number];

/** Where the first batch is in Kafka and its drain has not been told; more of them are to come. The first
 *  commit of an exactly-once drain is the fence's. */
function firstIsSent(delivery: string): Place {
  const [name, nth] = delivery === "exactly-once" ? (["committing", 2] as const) : ["sending", 1];
  return [stepsOf(delivery).find((step) => step.name === `${name}: done, not told`)!, nth];
}

/** Hold a drain up at a step until its time is up. @returns how it ended */
async function runOutOfTime(scene: Scene, place: Place, lateMs: number): Promise<string> {
  const env = { ...scene.gated, ...PATIENT };
  for (let timeMs = TIME_MS_MIN; timeMs <= TIME_MS_MAX; timeMs *= 2) {
    const { gate, reached } = await scene.stopAt(...place);
    const upMs = performance.now() + timeMs;
    const draining = endOf(env, timeMs);
    const early = await Promise.race([reached, draining]);
    if (!early) await sleep(upMs + lateMs - performance.now());
    gate.open();
    const end = await draining;
    if (!early) return end;
  }
  throw new Error(`No drain came to "${place[0].name}" within ${TIME_MS_MAX} ms.`);
}

/** Hold a drain up under its lease until others have done something. @returns how it ended */
async function holdUp(scene: Scene, place: Place, others: () => Promise<void>): Promise<string> {
  const { gate, reached } = await scene.stopAt(...place);
  const draining = endOf({ ...scene.gated, ...UNHURRIED }, LONG_MS);
  const early = await Promise.race([reached, draining]);
  if (early) throw new Error(`The drain ended before "${place[0].name}": ${early}`);
  try {
    await others();
  } finally {
    gate.open();
  }
  return await draining;
}

interface Ticks {
  ends: Record<string, number>;
  /** Bytes given back. */
  reclaimed: number;
}

/** So many drains, several at a time, each with a random little time; every other one lingers. */
async function runTicks(scene: Scene, count: number): Promise<Ticks> {
  const ends: Record<string, number> = {};
  let left = count;
  let reclaimed = 0;
  const run = async () => {
    while (left > 0) {
      left -= 1;
      const env = { ...scene.direct, ...UNHURRIED, LINGER: String(left % 2 === 0) };
      const { stopped, reclaimedBytes } = await tick(env, scene.random(TICK_MS_MAX));
      const end = stopped?.code ?? "drained";
      ends[end] = (ends[end] ?? 0) + 1;
      reclaimed += reclaimedBytes;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, run));
  return { ends, reclaimed };
}

describe.each(DELIVERIES)("%s", (delivery) => {
  const setScene = () =>
    Scene.set(server.database, cluster.brokers, { delivery, lanes: 1, seed: SEED });
  const steps = stepsOf(delivery);
  const sent = firstIsSent(delivery);
  const repeatedMax = delivery === "exactly-once" ? 0 : Number.POSITIVE_INFINITY;

  test(`the time is up after a batch, and at ${DEADLINES} steps (seed ${SEED})`, async () => {
    const scene = await setScene();
    const ends: Record<string, number> = {};
    const lateMs = () => LATE_MS[scene.random(LATE_MS.length)]!;
    expect(await runOutOfTime(scene, sent, lateMs())).toBe("DEADLINE");
    for (const step of drawSteps(steps, DEADLINES, scene.random)) {
      const end = await runOutOfTime(scene, [step], lateMs());
      ends[end] = (ends[end] ?? 0) + 1;
    }
    const tally = await scene.finish();
    report({ seed: SEED, tried: 1 + DEADLINES, ...tally, ends });
    expect(tally).toMatchObject(NOTHING_WRONG);
    expect(tally.repeated).toBeLessThanOrEqual(repeatedMax);
  });

  test(`${TICKS} ticks, ${AT_ONCE} at a time, each of which is soon over (seed ${SEED})`, async () => {
    const scene = await setScene();
    const end = await holdUp(scene, sent, async () => {
      const env = { ...scene.direct, ...UNHURRIED };
      expect(await endOf(env, LONG_MS)).toBe("LEASED");
      // It waits for the lease as long as it has time.
      expect(await endOf({ ...env, LINGER: "true" }, TICK_MS_MAX)).toBe("DEADLINE");
    });
    expect(end).toBe("drained");
    scene.history.startWriters(2);
    const { ends } = await runTicks(scene, TICKS);
    await scene.history.stopWriters();
    const tally = await scene.finish();
    report({ seed: SEED, tried: TICKS, ...tally, ends });
    expect(REGULAR_ENDS).toEqual(expect.arrayContaining(Object.keys(ends)));
    expect(tally).toMatchObject({ ...NOTHING_WRONG, repeated: 0 });
  });

  test(`Postgres' clock jumps while several drains work (seed ${SEED})`, async () => {
    const scene = await setScene();
    expect(await shiftClock(server.sql)).toBeGreaterThan(4);
    const setting = server.database.connect();
    const end = await holdUp(scene, sent, async () => {
      await setClock(setting, SHIFT_S_MAX);
      expect(await endOf({ ...scene.direct, ...UNHURRIED }, LONG_MS)).toBe("drained");
    });
    expect(end).toBe("LEASE_LOST");
    scene.history.startWriters(2);
    const ends: Record<string, number> = {};
    let reclaimed = 0;
    let jumps = 0;
    let isJumping = true;
    const ticks = (async () => {
      while (isJumping) {
        const ran = await runTicks(scene, AT_ONCE);
        for (const [end, count] of Object.entries(ran.ends)) ends[end] = (ends[end] ?? 0) + count;
        reclaimed += ran.reclaimed;
      }
    })();
    for (; jumps < JUMPS; jumps++) {
      await setClock(setting, scene.random(2 * SHIFT_S_MAX) - SHIFT_S_MAX);
      await sleep(scene.random(2 * JUMP_EVERY_MS));
    }
    isJumping = false;
    await ticks;
    await scene.history.stopWriters();
    // A lease that was taken late in the day lasts until then.
    await setClock(setting, 2 * SHIFT_S_MAX);
    const tally = await scene.finish();
    report({
      seed: SEED,
      tried: { jumps: 1 + jumps, "bytes given back": reclaimed },
      ...tally,
      ends,
    });
    expect(tally).toMatchObject(NOTHING_WRONG);
    expect(tally.repeated).toBeLessThanOrEqual(repeatedMax);
  });

  test(`the clock of a drain's process jumps (seed ${SEED})`, async () => {
    const directory = mkdtempSync(join(tmpdir(), "pg2kafka-clock-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const scene = await setScene();
    const file = join(directory, "jumps");
    const clock = new URL("clock.ts", import.meta.url).href;
    const env = {
      NODE_OPTIONS: `--import=${clock}`,
      JUMPS_FILE: file,
      LINGER: "true",
      // Its margin is 9 s.
      TIMEOUT_MS: "13000",
    };
    scene.history.startWriters(2);
    for (let run = 0; run < RUNS; run++) {
      // Its clock jumps by the process' own seed.
      const seed = String(scene.random(2 ** 31));
      const [one] = scene.startDrains({ ...env, PG2KAFKA_TEST_SEED: seed });
      scene.drains.note(await one.finished);
    }
    await scene.history.stopWriters();
    const jumps = readFileSync(file, "utf8")
      .trim()
      .split("\n")
      .reduce((sum, n) => sum + Number(n), 0);
    const ends = Object.fromEntries(scene.drains.ends);
    const tally = await scene.finish();
    report({ seed: SEED, tried: { jumps }, ...tally, ends });
    expect(jumps).toBeGreaterThan(10 * RUNS);
    expect(tally).toMatchObject(NOTHING_WRONG);
    expect(tally.repeated).toBeLessThanOrEqual(repeatedMax);
  });
});
