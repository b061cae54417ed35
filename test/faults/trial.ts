import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished } from "vitest";
import { createTopic } from "../local/topics.ts";
import type { Environment } from "../relay/support.ts";
import type { TestDatabase } from "../support/database.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { Drains } from "./drains.ts";
import { History, type HistoryOptions, type Tally, type TallyOptions } from "./history.ts";
import { report } from "./report.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";

const WRITERS = 4;
const PARTITIONS = 3;
/** Between two faults. */
const QUIET_MS_MAX = ofSize({ short: 300, long: 1_500 });
/** Between two transactions of a writer. */
const PAUSE_MS_MAX = 150;

/**
 * Make a fault and take it back.
 *
 * @returns whether it has hit something: what was on its way is in the middle of it
 */
export type Fault = (trial: Trial) => Promise<boolean>;

/** What a fault may use. */
export interface Trial {
  topic: string;
  database: TestDatabase;
  history: History;
  drains: Drains;
  random: Random;
}

/** Ways to run the drains, each tried with the same faults. */
export interface Mode {
  delivery: "at-least-once" | "exactly-once";
  lanes: number;
}

const AT_LEAST_ONCE: Mode = { delivery: "at-least-once", lanes: 1 };
const EXACTLY_ONCE: Mode = { delivery: "exactly-once", lanes: 1 };

export const MODES: Mode[] = [
  AT_LEAST_ONCE,
  EXACTLY_ONCE,
  ...ofSize({
    short: [],
    long: [AT_LEAST_ONCE, EXACTLY_ONCE].map((one) => ({ ...one, lanes: 2 })),
  }),
];

/** For faults that take long: `npm test` has those of one mode only. */
export const FEWER_MODES: Mode[] = ofSize({ short: [EXACTLY_ONCE], long: MODES });

export interface TrialOptions extends Mode {
  database: TestDatabase;
  brokers: string[];
  /** How often each of the faults is made; they come in random order. */
  times: number;
  faults: Record<string, Fault>;
  /** A fault that is there from the beginning. */
  first?: Fault;
  /** What is to be done before all can come to rest. */
  last?: () => Promise<unknown>;
  /** Settings of the drains. */
  env?: Environment;
  history?: Partial<HistoryOptions>;
  /** Asked for at the end. */
  tally?: () => TallyOptions;
  /** Default true. */
  isTopicThere?: boolean;
}

/**
 * Let an application write and drains drain while faults come, then let all come to rest, and compare
 * what is in Kafka with what was committed. Reports how often each fault has hit.
 *
 * It fails where something is lost, invented or out of order, where an exactly-once drain repeats,
 * where the drains do not come to rest, and where a fault has never hit anything.
 */
export async function runTrial(options: TrialOptions): Promise<Tally> {
  const { database, brokers, delivery, lanes, faults, times, isTopicThere = true } = options;
  const random = randomFrom(SEED);
  const topic = `pg2kafka.${database.name}.rows`;
  if (isTopicThere) await createTopic(brokers, topic, { partitions: PARTITIONS });
  const history = await History.create(database.sql, database.url, {
    seed: SEED,
    pauseMsMax: PAUSE_MS_MAX,
    ...options.history,
  });
  const env = { DATABASE_URL: database.url, KAFKA_BROKER: brokers.join(","), DELIVERY: delivery };
  const drains = new Drains({ ...env, ...options.env }, lanes);
  const hits = Object.fromEntries(Object.keys(faults).map((name) => [name, 0]));
  // Also where it fails: what goes on would be in the way of the next one.
  onTestFinished(async () => {
    await Promise.all([history.stopWriters(), drains.stop()]);
  });
  history.startWriters(WRITERS);
  drains.start();
  const trial = { topic, database, history, drains, random };
  if (options.first) expect(await options.first(trial)).toBe(true);
  for (let round = 0; round < times; round++) {
    for (const [name, fault] of shuffled(Object.entries(faults), random)) {
      await sleep(random(QUIET_MS_MAX));
      if (await fault(trial)) hits[name]! += 1;
    }
  }
  await history.stopWriters();
  await drains.stop();
  await options.last?.();
  await drains.finish();
  const tally = await history.tally(database.sql, brokers, topic, options.tally?.());
  const ends = Object.fromEntries(drains.ends);
  report({ seed: SEED, tried: hits, ...tally, ends });
  const { lost, invented, inverted, repeated } = tally;
  expect({ lost, invented, inverted }).toEqual({ lost: 0, invented: 0, inverted: 0 });
  if (delivery === "exactly-once") expect(repeated).toBe(0);
  const missed = Object.keys(hits).filter((name) => hits[name] === 0);
  expect(missed, "faults that never hit").toEqual([]);
  return tally;
}

/** Fisher and Yates. */
function shuffled<Item>(items: Item[], random: Random): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = random(last + 1);
    [items[last], items[other]] = [items[other]!, items[last]!];
  }
  return items;
}
