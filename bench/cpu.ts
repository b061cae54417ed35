import { readdirSync, readFileSync } from "node:fs";
import type { LocalKafka } from "../test/local/kafka.ts";
import type { LocalPostgres } from "../test/local/postgres.ts";

/** Seconds of CPU, user and system, since the servers started. */
export interface ServerCpu {
  /** All of Postgres' processes, those that have ended too. */
  postgres: number;
  kafka: number;
}

/** Of Linux on all of today's machines: `getconf CLK_TCK`. */
const TICKS_PER_SECOND = 100;

/** What the servers have used so far; hundredths of a second count. */
export function serverCpu(postgres: LocalPostgres, kafka: LocalKafka): ServerCpu {
  return {
    postgres: familySeconds(postgres.pid),
    kafka: kafka.brokers.reduce((sum, { pid }) => sum + processSeconds(pid), 0),
  };
}

/** Seconds of CPU of a process that runs. */
export function processSeconds(pid: number): number {
  const { own } = readStat(pid)!;
  return own / TICKS_PER_SECOND;
}

/** Microseconds on a processor, of a process that runs: finer than its seconds, see schedstats. */
export function processMicros(pid: number): number {
  const [nanos] = readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ");
  return Number(nanos) / 1000;
}

/** Of a process, its children that run, and those that have ended. */
function familySeconds(parent: number): number {
  const { own, ended } = readStat(parent)!;
  let ticks = own + ended;
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? readStat(Number(name)) : null;
    if (stat?.parent === parent) ticks += stat.own;
  }
  return ticks / TICKS_PER_SECOND;
}

/** From /proc/PID/stat, see proc(5): fields 4 and 14 to 17. @returns null when it has ended */
function readStat(pid: number): { parent: number; own: number; ended: number } | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // The name before it is in parentheses, and may hold anything.
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  return {
    parent: fields[1]!,
    own: fields[11]! + fields[12]!,
    ended: fields[13]! + fields[14]!,
  };
}
