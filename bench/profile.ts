import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { emptyQueue, fillQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { createDatabase } from "./database.ts";
import { type Drained, drainAll } from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import { benchPlans } from "./plans.ts";
import { formatNumber, type Table } from "./report.ts";

const DATABASE = "bench_profile";
const FUNCTIONS_MAX = 25;

/** Where a drain's time goes: its functions, the processes around it, and the plans of its
 *  statements. */
export async function benchProfile(bench: Bench): Promise<Table[]> {
  const events = bench.isQuick ? 20_000 : 500_000;
  const { sql, url, close } = await createDatabase(bench.postgres, DATABASE);
  const directory = mkdtempSync(join(tmpdir(), "pg2kafka-profile-"));
  const drain = async (nodeArgs: string[] = []) => {
    await emptyQueue(sql);
    await fillQueue(sql, events);
    return await withTopic(await bench.kafka(), DATABASE, (namespace) =>
      drainAll(bench, url, namespace, events, {}, nodeArgs),
    );
  };
  try {
    bench.progress("profile: CPU");
    const drained = await drain(["--cpu-prof", `--cpu-prof-dir=${directory}`]);
    const profile = readProfile(join(directory, readdirSync(directory)[0]!));
    bench.progress("profile: plans");
    const plans = await benchPlans(bench, sql, DATABASE, () => drain());
    return [processTable(drained), groupTable(profile, events), functionTable(profile), ...plans];
  } finally {
    rmSync(directory, { recursive: true });
    await close();
  }
}

function processTable({ events, seconds, cpu }: Drained): Table {
  const processes = { "the drain": cpu.drain, Postgres: cpu.postgres, Kafka: cpu.kafka };
  return {
    title: "Drain: CPU of each process",
    note:
      `Of a drain of ${formatNumber(events)} events that took ${formatNumber(seconds, 1)} s while ` +
      "it was profiled, its start included.",
    columns: ["", "s", "µs for each event", "share of a core"],
    rows: Object.entries(processes).map(([name, used]) => [
      name,
      formatNumber(used, 1),
      formatNumber((used / events) * 1e6, 1),
      formatNumber(used / seconds, 2),
    ]),
  };
}

interface Call {
  functionName: string;
  url: string;
  line: number;
  seconds: number;
}

/** What V8 calls time that no function took. */
const IDLE = "(idle)";

/** Group → whether a function belongs to it; the first one counts. */
const GROUPS: [string, (call: Call) => boolean][] = [
  ["garbage collection", ({ functionName }) => functionName === "(garbage collector)"],
  ["native code, system calls", ({ functionName }) => functionName === "(program)"],
  ["postgres.js", ({ url }) => url.includes("/node_modules/postgres/")],
  ["rows to events, positions", ({ url }) => url.includes("/functions/core/postgres/")],
  ["events to messages", ({ url }) => /\/functions\/core\/(message|topic)\.ts$/.test(url)],
  ["sending: ours", ({ url }) => url.includes("/functions/core/kafka/")],
  ["sending: kafkajs", ({ url }) => url.includes("/node_modules/kafkajs/")],
  ["the relay", ({ url }) => url.includes("/functions/")],
  ["Node: buffers, sockets, promises", () => true],
];

function groupTable(calls: Call[], events: number): Table {
  const used = calls.filter(({ functionName }) => functionName !== IDLE);
  const all = sum(used);
  return {
    title: "Drain: its CPU by what it does",
    note:
      "Own time of the functions in each place, by sampling (`node --cpu-prof`). What is compiled " +
      "into a caller counts as the caller's.",
    columns: ["", "s", "µs for each event", "share"],
    rows: GROUPS.map(([name], index) => {
      const seconds = sum(used.filter((call) => groupOf(call) === index));
      return [
        name,
        formatNumber(seconds, 2),
        formatNumber((seconds / events) * 1e6, 2),
        `${formatNumber((seconds / all) * 100, 1)} %`,
      ];
    }),
  };
}

function groupOf(call: Call): number {
  return GROUPS.findIndex(([, belongs]) => belongs(call));
}

function functionTable(calls: Call[]): Table {
  const used = calls.filter(({ functionName }) => functionName !== IDLE);
  const all = sum(used);
  return {
    title: "Drain: the functions that take most",
    note: "Likewise, own time.",
    columns: ["function", "s", "share"],
    rows: used
      .slice(0, FUNCTIONS_MAX)
      .map(({ functionName, url, line, seconds }) => [
        `${functionName || "(anonymous)"} ${url && `${basename(url)}:${line}`}`.trim(),
        formatNumber(seconds, 2),
        `${formatNumber((seconds / all) * 100, 1)} %`,
      ]),
  };
}

function sum(calls: Call[]): number {
  return calls.reduce((total, { seconds }) => total + seconds, 0);
}

/** As V8's inspector writes it. */
interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  /** Microseconds before each sample. */
  timeDeltas: number[];
}

/** @returns one for each function, the one that took most first */
function readProfile(file: string): Call[] {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, "utf8")) as Profile;
  const calls = new Map<string, Call>();
  const callOf = new Map<number, Call>();
  for (const { id, callFrame } of nodes) {
    const { functionName, url, lineNumber } = callFrame;
    const name = `${functionName} ${url}:${lineNumber}`;
    const call = calls.get(name) ?? { functionName, url, line: lineNumber + 1, seconds: 0 };
    calls.set(name, call);
    callOf.set(id, call);
  }
  samples.forEach((id, index) => {
    callOf.get(id)!.seconds += timeDeltas[index]! / 1e6;
  });
  return [...calls.values()].sort((a, b) => b.seconds - a.seconds);
}
