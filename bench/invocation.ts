import type { DrainReport } from "../functions/core/drain.ts";
import type { Bench } from "./bench.ts";
import { runScript, type Usage } from "./child.ts";
import { serverCpu } from "./cpu.ts";
import { formatNumber, type Samples, target } from "./report.ts";

/** The longest that an invocation may take. */
const TIMEOUT_MS = 900_000;
/** Enough for ten million events on a machine that is busy with other things. */
const INVOCATIONS_MAX = 4;
/** Enough for the lanes to be arranged. */
const LANE_STARTS_MAX = 10;

const DRAIN = "../functions/cli/drain.ts";

/** The most memory that a drain may take. */
const MEMORY_MAX_MB = 256;

/** What a drain did, and what it cost. */
export interface Drained {
  events: number;
  /** From the first query to the last, connecting to Kafka included. */
  seconds: number;
  /** Seconds of CPU meanwhile; of the drain from the start of its process to its end. */
  cpu: { drain: number; postgres: number; kafka: number };
  peakBytes: number;
  reclaimedBytes: number;
}

/** What `npm run drain` is told. */
export async function drainEnvironment(
  { kafka }: Bench,
  url: string,
  namespace: string,
): Promise<Record<string, string>> {
  const { bootstrap } = await kafka();
  return {
    DATABASE_URL: url,
    KAFKA_BROKER: bootstrap.join(","),
    TOPIC_NAMESPACE: namespace,
    TIMEOUT_MS: String(TIMEOUT_MS),
  };
}

/**
 * Run `npm run drain` as a process of its own until the queue is empty: one invocation, unless its
 * time is up before.
 *
 * @param events how many there are; null when that is not known
 * @throws when another number was delivered, or something was parked
 */
export async function drainAll(
  bench: Bench,
  url: string,
  namespace: string,
  events: number | null,
  env: Record<string, string> = {},
  nodeArgs: string[] = [],
): Promise<Drained> {
  const environment = { ...(await drainEnvironment(bench, url, namespace)), ...env };
  return await measureDrains(bench, events, INVOCATIONS_MAX, async (add) => {
    const { result, usage } = await runScript<DrainReport>(DRAIN, environment, nodeArgs);
    add(result, usage);
    return { isDrained: result.drained, seconds: result.durationMs / 1_000 };
  });
}

/**
 * Run one drain for each lane, all at once, until the queue is empty. Where the lanes are to be
 * arranged first, some of them end at once, and are started again.
 *
 * @returns `seconds` from the start of the first process to the end of the last
 * @throws as `drainAll`
 */
export async function drainLanes(
  bench: Bench,
  url: string,
  namespace: string,
  lanes: number,
  events: number,
): Promise<Drained> {
  const environment = await drainEnvironment(bench, url, namespace);
  return await measureDrains(bench, events, LANE_STARTS_MAX, async (add) => {
    const startedMs = performance.now();
    const finished = await Promise.all(
      Array.from({ length: lanes }, (_, lane) =>
        runScript<DrainReport>(DRAIN, {
          ...environment,
          LANES: String(lanes),
          LANE: String(lane),
        }),
      ),
    );
    for (const { result, usage } of finished) add(result, usage);
    const isDrained = finished.every(({ result }) => result.drained);
    return { isDrained, seconds: (performance.now() - startedMs) / 1_000 };
  });
}

type Add = (report: DrainReport, usage: Usage) => void;

/** @param start one time, of so many at most; `add` is to be called for each process that ended */
async function measureDrains(
  bench: Bench,
  events: number | null,
  startsMax: number,
  start: (add: Add) => Promise<{ isDrained: boolean; seconds: number }>,
): Promise<Drained> {
  const kafka = await bench.kafka();
  const before = serverCpu(bench.postgres, kafka);
  const total: Drained = {
    events: 0,
    seconds: 0,
    cpu: { drain: 0, postgres: 0, kafka: 0 },
    peakBytes: 0,
    reclaimedBytes: 0,
  };
  let last: DrainReport | undefined;
  const add: Add = (report, usage) => {
    last = report;
    total.events += report.delivered;
    total.cpu.drain += usage.cpuMs / 1_000;
    total.peakBytes = Math.max(total.peakBytes, usage.peakBytes);
    total.reclaimedBytes += report.reclaimedBytes;
    if (report.parked > 0) throw new Error(`Events were parked: ${JSON.stringify(report)}`);
  };
  for (let count = 0, isDrained = false; !isDrained; count++) {
    if (count === startsMax) {
      throw new Error(`${count} starts did not drain ${events} events: ${JSON.stringify(last)}`);
    }
    const started = await start(add);
    isDrained = started.isDrained;
    total.seconds += started.seconds;
  }
  if (total.events !== (events ?? total.events)) {
    throw new Error(`${total.events} events were delivered, not ${events}.`);
  }
  const after = serverCpu(bench.postgres, kafka);
  total.cpu.postgres = after.postgres - before.postgres;
  total.cpu.kafka = after.kafka - before.kafka;
  return total;
}

/** Under `name` events a second, and with suffixes what they cost. */
export function addDrained(samples: Samples, name: string, drained: Drained): void {
  const { events, seconds, cpu, peakBytes } = drained;
  samples.add(name, events / seconds);
  for (const process of ["drain", "postgres", "kafka"] as const) {
    samples.add(`${name} ${process}`, (cpu[process] / events) * 1e6);
  }
  samples.add(`${name} peak`, peakBytes);
}

/** For what `addDrained` added. */
export const COST_COLUMNS = ["drain µs", "Postgres µs", "Kafka µs", "peak MB"];

export function costCells(samples: Samples, name: string): string[] {
  return [
    ...["drain", "postgres", "kafka"].map((process) =>
      formatNumber(samples.median(`${name} ${process}`), 1),
    ),
    formatNumber(samples.median(`${name} peak`) / 1e6),
  ];
}

/** The cells of TARGET_COLUMNS. */
export function memoryTarget(peakBytes: number): string[] {
  return target(peakBytes / 1e6, "≤", MEMORY_MAX_MB, { unit: " MB" });
}
