import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freeze } from "../local/freeze.ts";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import { createTopic } from "../local/topics.ts";
import { type Random, randomFrom } from "../support/random.ts";
import type { Job } from "../transactions/drain.ts";
import { type DrainProcess, startDrain } from "../transactions/process.ts";
import { countStream } from "../transactions/stream.ts";
import { newTopic, settingsFor } from "../transactions/support.ts";
import { report } from "./report.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";

const BATCHES = ofSize({ short: 60, long: 3_000 });
const EVENTS_PER_BATCH = 20;

/** Between two faults. */
const QUIET_MS_MAX = ofSize({ short: 500, long: 2_500 });
/** A broker's session is 3 s: this is for shorter and for longer. */
const AWAY_MS_MAX = ofSize({ short: 1_000, long: 6_000 });
/** Time for replicas to catch up after a broker was away. */
const CATCH_UP_MS = 1_500;
const PROCESSES_MAX = 2_000;

let kafka: LocalKafka;
let directory: string;

beforeAll(async () => {
  kafka = await startKafka({ brokers: 3, heapMb: 192 });
  directory = mkdtempSync(join(tmpdir(), "pg2kafka-faults-"));
});
afterAll(async () => {
  await kafka?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** A drain that is started again whenever it ends before the stream does. */
class Drains {
  readonly outputs: string[] = [];
  readonly #job: Job;
  #current: DrainProcess;
  #started = 1;
  isDone = false;

  constructor(job: Job) {
    this.#job = job;
    this.#current = startDrain(job);
    void this.#follow(this.#current);
  }

  kill(): void {
    this.#current.kill("SIGKILL");
  }

  /** Freeze it, let another one take over, and thaw it. */
  async replace(frozenMs: number): Promise<void> {
    const zombie = this.#current;
    zombie.kill("SIGSTOP");
    this.#start();
    await sleep(frozenMs);
    zombie.kill("SIGCONT");
  }

  #start(): void {
    this.#started += 1;
    if (this.#started > PROCESSES_MAX) throw new Error(`${PROCESSES_MAX} drains did not get done.`);
    this.#current = startDrain(this.#job);
    void this.#follow(this.#current);
  }

  async #follow(drain: DrainProcess): Promise<void> {
    const { code, output } = await drain.ended;
    this.outputs.push(output);
    if (code === 0) this.isDone = true;
    else if (drain === this.#current && !this.isDone) this.#start();
  }
}

function faultsOf(drains: Drains, random: Random): Record<string, () => Promise<void>> {
  const anyBroker = () => kafka.brokers[random(3)]!;
  const awayMs = () => random(AWAY_MS_MAX);
  return {
    "drain killed": async () => drains.kill(),
    "drain frozen and replaced": async () => await drains.replace(random(2_000)),
    "broker killed": async () => {
      const broker = anyBroker();
      await broker.kill();
      await sleep(awayMs());
      await broker.start();
      await sleep(CATCH_UP_MS);
    },
    "broker stopped in order": async () => {
      const broker = anyBroker();
      await broker.stop();
      await sleep(awayMs());
      await broker.start();
      await sleep(CATCH_UP_MS);
    },
    "broker frozen and thawed": async () => {
      const { pid } = anyBroker();
      freeze(pid);
      await sleep(awayMs());
      process.kill(pid, "SIGCONT");
      await sleep(CATCH_UP_MS);
    },
    "all brokers killed": async () => {
      await Promise.all(kafka.brokers.map((broker) => broker.kill()));
      await sleep(awayMs() / 4);
      await Promise.all(kafka.brokers.map((broker) => broker.start()));
      await sleep(CATCH_UP_MS);
    },
  };
}

test(`each event is read once and in order, whatever is killed meanwhile (seed ${SEED})`, async () => {
  const random = randomFrom(SEED);
  const topics = [newTopic(), newTopic()];
  for (const topic of topics) await createTopic(kafka.bootstrap, topic, { partitions: 3 });
  const stream = { topics, keys: 60, batches: BATCHES, eventsPerBatch: EVENTS_PER_BATCH };
  const settings = settingsFor(kafka.bootstrap, { requestTimeoutMs: 3_000 });
  const drains = new Drains({ settings, stream, journal: join(directory, "journal") });
  const faults = Object.entries(faultsOf(drains, random));
  const counts = Object.fromEntries(faults.map(([name]) => [name, 0]));
  while (!drains.isDone) {
    await sleep(random(QUIET_MS_MAX));
    const [name, fault] = faults[random(faults.length)]!;
    await fault();
    counts[name]! += 1;
  }
  const { read, ...wrong } = await countStream(kafka.bootstrap, stream);
  const reasons = Map.groupBy(drains.outputs.join("").split("\n").filter(Boolean), (line) => line);
  const ends = Object.fromEntries([...reasons].map(([reason, lines]) => [reason, lines.length]));
  report({ seed: SEED, tried: counts, events: read, ...wrong, ends });
  expect(wrong).toEqual({ lost: 0, repeated: 0, inverted: 0, misplaced: 0 });
  expect(read).toBe(BATCHES * EVENTS_PER_BATCH);
  const made = Object.values(counts).filter((count) => count > 0);
  expect(made.length).toBeGreaterThanOrEqual(ofSize({ short: 1, long: faults.length }));
});
