import type { Sql } from "postgres";
import { expect, onTestFinished } from "vitest";
import { createTopic } from "../local/topics.ts";
import { type Command, startCommand } from "../relay/command.ts";
import { type Environment, expireLeases, idleGeneration } from "../relay/support.ts";
import type { TestDatabase } from "../support/database.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { AMPLE, Drains } from "./drains.ts";
import { Gate } from "./gate.ts";
import { History, type Tally } from "./history.ts";
import type { Step } from "./steps.ts";

/** Makes four batches and more, for each of two lanes as well. */
const TRANSACTIONS_PER_ROUND = 20;
const BATCH_EVENTS = 8;
const BATCH_EVENTS_OF_TWO = 4;

export const DELIVERIES = ["at-least-once", "exactly-once"] as const;

export interface SceneOptions {
  delivery: (typeof DELIVERIES)[number];
  lanes: number;
  seed: number;
}

/** A history, the drains that deliver it, and gates where one of them can be stopped at a step. */
export class Scene {
  readonly history: History;
  readonly drains: Drains;
  readonly sql: Sql;
  readonly random: Random;
  /** Settings of drains that go through the gates, and of others that do not. */
  readonly gated: Environment;
  readonly direct: Environment;
  readonly #gates: Record<Step["server"], Gate>;
  readonly #options: SceneOptions;
  readonly #brokers: string[];
  readonly #topic: string;
  /** The lane of the drain that comes through the gates. */
  #victim = 0;

  static async set(
    { sql, name, url }: TestDatabase,
    brokers: string[],
    options: SceneOptions,
  ): Promise<Scene> {
    const topic = `pg2kafka.${name}.rows`;
    await createTopic(brokers, topic, { partitions: 3 });
    const history = await History.create(sql, url, { seed: options.seed });
    const gates = {
      postgres: await Gate.start(new URL(url).host),
      kafka: await Gate.start(brokers[0]!, { isAdvertised: true }),
    };
    onTestFinished(async () => {
      await Promise.all([gates.postgres.close(), gates.kafka.close()]);
    });
    const scene = new Scene({ sql, url }, brokers, topic, history, gates, options);
    // Spread over the lanes wanted.
    await scene.drains.finish();
    return scene;
  }

  private constructor(
    { sql, url }: { sql: Sql; url: string },
    brokers: string[],
    topic: string,
    history: History,
    gates: Record<Step["server"], Gate>,
    options: SceneOptions,
  ) {
    const { delivery, lanes, seed } = options;
    this.direct = {
      ...AMPLE,
      DATABASE_URL: url,
      KAFKA_BROKER: brokers.join(","),
      DELIVERY: delivery,
      LANES: String(lanes),
      BATCH_EVENTS_MAX: String(lanes > 1 ? BATCH_EVENTS_OF_TWO : BATCH_EVENTS),
    };
    const gatedUrl = new URL(url);
    gatedUrl.host = `127.0.0.1:${gates.postgres.port}`;
    const broker = `127.0.0.1:${gates.kafka.port}`;
    this.gated = { ...this.direct, DATABASE_URL: gatedUrl.href, KAFKA_BROKER: broker };
    this.sql = sql;
    this.history = history;
    this.random = randomFrom(seed);
    this.drains = new Drains(this.direct, lanes);
    this.#gates = gates;
    this.#options = options;
    this.#brokers = brokers;
    this.#topic = topic;
  }

  /**
   * Write something to send, and what the step needs.
   *
   * @param at the first of its kind is 1; by default a random one of those that come
   * @returns when a drain is at that step
   */
  async stopAt(step: Step, at?: number): Promise<Stopped> {
    const { sql, random } = this;
    let nth = at ?? 1 + random(this.#options.lanes > 1 ? 1 : step.times);
    if (step.needs === "rest") {
      // One that holds what was sent, and comes after three with nothing to be emptied.
      await this.drains.finish();
      const generation = idleGeneration();
      await sql`update pg2kafka.outbound_event_queue set generation = ${generation}`;
      nth = 1 + generation;
    }
    if (step.needs === "snapshot") await sql`select pg2kafka.snapshot('rows')`;
    await this.write(TRANSACTIONS_PER_ROUND);
    const gate = this.#gates[step.server];
    return { gate, reached: gate.stopAt({ ...step, nth }) };
  }

  async write(transactions: number): Promise<void> {
    await this.history.write(this.sql, transactions);
  }

  /** Start one drain of each lane; only the first of them comes through the gates. */
  startDrains(env: Environment = {}): [Command, ...Command[]] {
    const { lanes } = this.#options;
    const victim = this.random(lanes);
    this.#victim = victim;
    const start = (lane: number) =>
      startCommand("drain", {
        ...(lane === victim ? this.gated : this.direct),
        ...env,
        LANE: String(lane),
      });
    const others = Array.from({ length: lanes }, (_, lane) => lane).filter((n) => n !== victim);
    return [start(victim), ...others.map(start)];
  }

  /** Whether the drain that comes through the gates has the lease of its lane. */
  async isLeased(): Promise<boolean> {
    const [row] = await this.sql<{ leased: boolean | null }[]>`
      select (lanes -> ${this.#victim}::int ->> 'leased_until')::timestamptz > clock_timestamp() as leased
      from pg2kafka.drain_log order by number desc limit 1`;
    return row?.leased ?? false;
  }

  /** As if some time had passed since a drain was frozen. */
  async expireLeases(): Promise<void> {
    await expireLeases(this.sql);
  }

  /** Of all that pg2kafka has in Postgres. */
  async fingerprint(): Promise<string> {
    const tables = await this.sql<{ name: string }[]>`
      select relname as name from pg_class
      where relnamespace = 'pg2kafka'::regnamespace and relkind in ('r', 'p') and not relispartition
      order by relname`;
    const sums = tables.map(
      ({ name }) =>
        `(select coalesce(md5(string_agg(t::text, ' ' order by t::text)), '') from pg2kafka.${name} t)`,
    );
    const [row] = await this.sql.unsafe<{ sum: string }[]>(
      `select md5(${sums.join(" || ")}) as sum`,
    );
    return row!.sum;
  }

  /** Deliver the rest, and compare. */
  async finish(): Promise<Tally> {
    await this.drains.finish();
    expect(await this.sql`select from pg2kafka.snapshots where state <> 'finished'`).toHaveLength(
      0,
    );
    return await this.history.tally(this.sql, this.#brokers, this.#topic);
  }
}

export interface Stopped {
  gate: Gate;
  reached: Promise<void>;
}

/** @throws when the drain ends before it is at its step */
export async function untilReached(
  { reached }: Stopped,
  step: Step,
  { finished }: Command,
): Promise<void> {
  const ended = finished.then(({ stderr }) => {
    throw new Error(`The drain ended before "${step.name}". ${stderr}`);
  });
  ended.catch(() => {});
  await Promise.race([reached, ended]);
}

/** The steps of a delivery in a random order, as often as it takes to make so many. */
export function drawSteps(steps: readonly Step[], count: number, random: Random): Step[] {
  const drawn: Step[] = [];
  let left: Step[] = [];
  while (drawn.length < count) {
    if (left.length === 0) left = [...steps];
    drawn.push(...left.splice(random(left.length), 1));
  }
  return drawn;
}
