import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "./bench.ts";
import { type Script, startScript } from "./child.ts";
import { createDatabase } from "./database.ts";
import { measureIdle } from "./idle.ts";
import { drainEnvironment } from "./invocation.ts";
import { createItems } from "./items.ts";
import { withTopic } from "./kafka.ts";
import { linePlot } from "./plot.ts";
import { formatNumber, NO_TARGET, Samples, TARGET_COLUMNS, type Table, target } from "./report.ts";

const RATE_PER_SECOND = 50;
const STEADY_MS = 20_000;
const QUIET_MS = 10_000;
const QUIET_CHANGES = 3;
const CURVE_POINTS = 100;

/* A second invocation starts 15 s after the first, which starts no batch from 21 s on. */
const HAND_OVER = { TIMEOUT_MS: "30000", MARGIN_MS: "9000" };
const TICK_MS = 15_000;

interface Latencies {
  latenciesMs: number[];
}

/** What the measured figures come from, in the order of the table. */
const CANDIDATES = {
  messages: "sent to Kafka directly: what Kafka and the consumer take",
  steady: `${RATE_PER_SECOND} changes a second, lingering`,
  once: `${RATE_PER_SECOND} changes a second, lingering, exactly once`,
  "hand-over": `${RATE_PER_SECOND} changes a second, while one invocation hands over to the next`,
  quiet: `the first change after ${QUIET_MS / 1_000} s of quiet`,
};
type Candidate = keyof typeof CANDIDATES;

/** Those that are in the plot, with their names there. */
const CURVES = {
  messages: "Kafka alone",
  steady: "lingering",
  once: "exactly once",
  "hand-over": "hand-over",
};

/** From COMMIT to a consumer while a drain lingers, and what lingering costs when nothing comes. */
export async function benchLatency(bench: Bench): Promise<Table[]> {
  const samples = new Samples();
  const all = new Map<Candidate, number[]>();
  const note = (name: Candidate, latenciesMs: number[]) => {
    const sorted = latenciesMs.toSorted((a, b) => a - b);
    samples.add(`${name} p50`, quantile(sorted, 0.5));
    samples.add(`${name} p99`, quantile(sorted, 0.99));
    samples.add(`${name} max`, sorted.at(-1)!);
    all.set(name, [...(all.get(name) ?? []), ...sorted]);
  };
  await withItems(bench, "bench_latency", async (env, database) => {
    const drain = startLingering(env);
    try {
      for (let round = 1; round <= bench.rounds; round++) {
        await measureRound(bench, drain, env, round, note);
        bench.progress(`latency: idle, round ${round}`);
        const idle = await measureIdle(bench, drain.pid, database);
        for (const [name, value] of Object.entries(idle)) samples.add(name, value);
        note("once", await measureExactlyOnce(bench, round));
      }
    } finally {
      await drain.stop();
    }
  });
  await withItems(bench, "bench_hand_over", async (env) => {
    bench.progress("latency: one invocation hands over to the next");
    note("hand-over", await measureHandOver(env));
  });
  return [latencyTable(samples, all), targetsTable(samples)];
}

type Environment = Record<string, string>;

/** A database whose table `items` is tracked, and its topic. */
async function withItems<Result>(
  bench: Bench,
  database: string,
  work: (env: Environment, database: string) => Promise<Result>,
): Promise<Result> {
  const { sql, url, close } = await createDatabase(bench.postgres, database);
  try {
    await sql.unsafe(createItems("items"));
    await sql`
      insert into items (sku, name, price, qty, note, updated)
      select 'sku-' || g, 'Item number ' || g, 9.95, 0, 'shelf', now()
      from generate_series(0, 99) g`;
    await sql`select pg2kafka.setup('items', 'sku')`;
    return await withTopic(await bench.kafka(), database, async (namespace) => {
      const env = await drainEnvironment(bench, url, namespace);
      return await work({ ...env, TOPIC: `pg2kafka.${namespace}.${database}.items` }, database);
    });
  } finally {
    await close();
  }
}

async function measureRound(
  bench: Bench,
  drain: Script<unknown>,
  env: Environment,
  round: number,
  note: (name: Candidate, latenciesMs: number[]) => void,
): Promise<void> {
  const { isQuick, progress } = bench;
  const steady = steadyChanges(steadyMs(bench));
  progress(`latency: ${RATE_PER_SECOND} messages a second, round ${round}`);
  note("messages", await makeChanges({ ...env, ...steady, MODE: "messages" }, [drain]));
  progress(`latency: ${RATE_PER_SECOND} changes a second, round ${round}`);
  note("steady", await makeChanges({ ...env, ...steady }, [drain]));
  progress(`latency: changes after quiet times, round ${round}`);
  const PAUSE_MS = String(isQuick ? 3_000 : QUIET_MS);
  const quiet = { PAUSE_MS, CHANGES: String(QUIET_CHANGES + 1) };
  // The first of them comes right after those that warmed up.
  note("quiet", (await makeChanges({ ...env, ...quiet }, [drain])).slice(1));
}

async function measureExactlyOnce(bench: Bench, round: number): Promise<number[]> {
  bench.progress(`latency: exactly once, round ${round}`);
  return await withItems(bench, `bench_exactly_once_${round}`, async (env) => {
    const drain = startLingering({ ...env, DELIVERY: "exactly-once" });
    try {
      return await makeChanges({ ...env, ...steadyChanges(steadyMs(bench)) }, [drain]);
    } finally {
      await drain.stop();
    }
  });
}

function steadyMs({ isQuick }: Bench): number {
  return isQuick ? 2_000 : STEADY_MS;
}

/** Two invocations that overlap, as those that a schedule starts. */
async function measureHandOver(env: Environment): Promise<number[]> {
  const drains = [startLingering({ ...env, ...HAND_OVER })];
  try {
    const changes = makeChanges({ ...env, ...steadyChanges(1.5 * TICK_MS) }, drains);
    // A failure ends the wait as well, and is thrown below.
    const hasEnded = changes.then(Boolean, Boolean);
    if ((await Promise.race([hasEnded, sleep(TICK_MS, null)])) === null) {
      drains.push(startLingering({ ...env, ...HAND_OVER }));
    }
    return await changes;
  } finally {
    await Promise.all(drains.map((drain) => drain.stop()));
  }
}

function steadyChanges(durationMs: number): Environment {
  return {
    CHANGES: String((durationMs / 1_000) * RATE_PER_SECOND),
    PAUSE_MS: String(1_000 / RATE_PER_SECOND),
  };
}

function startLingering(env: Environment): Script<unknown> {
  return startScript("../functions/cli/drain.ts", { ...env, LINGER: "true" });
}

/** @throws also when the first of the drains fails meanwhile */
async function makeChanges(env: Environment, [drain]: Script<unknown>[]): Promise<number[]> {
  const changes = startScript<Latencies>("workers/changes.ts", env);
  try {
    const failed = new Promise<never>((_, reject) => drain!.finished.catch(reject));
    return (await Promise.race([changes.finished, failed])).result.latenciesMs;
  } finally {
    await changes.stop();
  }
}

function latencyTable(samples: Samples, all: Map<Candidate, number[]>): Table {
  const names = Object.keys(CANDIDATES) as Candidate[];
  const p99 = Math.max(...Object.keys(CURVES).map((name) => samples.median(`${name} p99`)));
  return {
    title: "Latency",
    note:
      "Milliseconds from the answer to COMMIT to the message in a consumer (kafkajs), both in one " +
      "process; the drain is another (`LINGER=true`). Each round's median, 99th percentile and " +
      "greatest, as the median of the rounds (least–most). `synchronous_commit` is on.",
    columns: ["", "changes", "p50", "p99", "max"],
    rows: names.map((name) => [
      CANDIDATES[name],
      formatNumber(all.get(name)!.length),
      ...["p50", "p99", "max"].map((which) => samples.text(`${name} ${which}`, 1)),
    ]),
    plot: {
      name: "results-latency.svg",
      svg: linePlot({
        title: `${RATE_PER_SECOND} changes a second: from COMMIT to a consumer`,
        xLabel: "milliseconds",
        yLabel: "percent of the changes within",
        xScale: "linear",
        xMax: p99,
        series: Object.entries(CURVES).map(([name, label]) => ({
          name: label,
          points: distribution(all.get(name as Candidate)!, p99),
        })),
      }),
    },
  };
}

/** [milliseconds, percent of the changes that took no longer], at some of them. */
function distribution(latenciesMs: number[], xMax: number): [number, number][] {
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  const percents = Array.from({ length: CURVE_POINTS }, (_, i) => ((i + 1) / CURVE_POINTS) * 100);
  const points = percents.map((percent): [number, number] => [
    Math.max(0, quantile(sorted, percent / 100)),
    percent,
  ]);
  return points.filter(([x]) => x <= xMax);
}

function targetsTable(samples: Samples): Table {
  const row = (label: string, value: number, bound: number, unit: string, digits = 1) => [
    label,
    `${formatNumber(value, digits)}${unit}`,
    ...target(value, "≤", bound, { unit }),
  ];
  const untold = (label: string, value: number, unit: string, digits = 1) => [
    label,
    `${formatNumber(value, digits)}${unit}`,
    ...NO_TARGET,
  ];
  return {
    title: "Latency: the targets",
    note:
      "Idle: while nothing is written, from ten seconds after the last change on. BEGIN, COMMIT " +
      "and SET are not counted as queries.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: [
      row("lingering: p50", samples.median("steady p50"), 10, " ms"),
      row("lingering: p99", samples.median("steady p99"), 30, " ms"),
      row("the first after quiet: the longest", samples.median("quiet max"), 250, " ms"),
      row("idle: CPU of the drain", samples.median("drainPercent"), 2, " % of a core"),
      row("idle: queries", samples.median("queries"), 5, " a second"),
      untold("idle: transactions", samples.median("transactions"), " a second"),
      untold("idle: CPU of Postgres", samples.median("postgresPercent"), " % of a core"),
    ],
  };
}

/** @param sorted from the least */
function quantile(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
