/* Where a drain's time goes: `node bench/profile.ts [EVENTS]`. Prints the functions that take most
   of its CPU, the CPU seconds of each process, and EXPLAIN (ANALYZE, BUFFERS) of its fetch at the
   start and in the middle of the backlog. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import postgres from "postgres";
import { readConfig } from "../functions/core/config.ts";
import type { DrainReport } from "../functions/core/drain.ts";
import { createQueue, type Position } from "../functions/core/postgres/queue.ts";
import { startKafka } from "../test/local/kafka.ts";
import { startPostgres } from "../test/local/postgres.ts";
import { fillQueue } from "./backlog.ts";
import { runScript } from "./child.ts";
import { createDatabase, POSTGRES_SETTINGS } from "./database.ts";
import { KAFKA_OPTIONS, withTopic } from "./kafka.ts";
import { formatNumber } from "./report.ts";

const FUNCTIONS_MAX = 30;

const events = Number(process.argv[2] ?? 1_000_000);
const server = await startPostgres({ settings: POSTGRES_SETTINGS, name: "bench" });
const kafka = await startKafka(KAFKA_OPTIONS);
try {
  const { url, sql, close } = await createDatabase(server, "bench");
  await fillQueue(sql, events);
  await explainFetch(url);
  const directory = mkdtempSync(join(tmpdir(), "bench-profile-"));
  const env = { DATABASE_URL: url, KAFKA_BROKER: kafka.bootstrap.join(","), TIMEOUT_MS: "600000" };
  const before = cpuSeconds();
  const report = await withTopic(kafka, "bench", (namespace) =>
    runScript<DrainReport>("../functions/cli/drain.ts", { ...env, TOPIC_NAMESPACE: namespace }, [
      "--cpu-prof",
      `--cpu-prof-dir=${directory}`,
    ]),
  );
  const after = cpuSeconds();
  const rate = (report.delivered / report.durationMs) * 1000;
  console.log(`${formatNumber(rate)} events/s, ${formatNumber(report.durationMs / 1000, 1)} s`);
  for (const name of ["postgres", "kafka"] as const) {
    console.log(`CPU of ${name}: ${formatNumber(after[name] - before[name], 1)} s`);
  }
  printProfile(join(directory, readdirSync(directory)[0]!));
  rmSync(directory, { recursive: true });
  await close();
} finally {
  await Promise.all([server.stop(), kafka.stop()]);
}

/** User and system time of the servers and their children, those that have ended too. */
function cpuSeconds(): { postgres: number; kafka: number } {
  const read = (pid: number, withChildren: boolean) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    const ticks = withChildren ? fields.slice(11, 15) : fields.slice(11, 13);
    return ticks.reduce((sum, value) => sum + Number(value), 0) / 100;
  };
  return {
    postgres: read(server.pid, true),
    kafka: read(kafka.brokers[0]!.pid, false),
  };
}

async function explainFetch(url: string): Promise<void> {
  let last: { text: string; parameters: unknown[] } | undefined;
  const sql = postgres(url, {
    max: 1,
    prepare: false,
    fetch_types: false,
    debug: (_, text, parameters) => {
      if (text.includes("candidate")) last = { text, parameters };
    },
  });
  const { limits } = readConfig({ DATABASE_URL: url });
  const queue = createQueue(sql);
  let { position }: { position: Position } = await queue.readState();
  for (const place of ["the start", "the middle"]) {
    const startedMs = performance.now();
    const batch = await queue.fetch(position, "0", limits.batch);
    console.log(`\nfetch at ${place}: ${formatNumber(performance.now() - startedMs, 1)} ms`);
    const plan = await sql.unsafe<{ "QUERY PLAN": string }[]>(
      `explain (analyze, buffers, verbose off) ${last!.text}`,
      last!.parameters as string[],
    );
    for (const row of plan) console.log(row["QUERY PLAN"]);
    position = { ...batch.after, lastId: String(events / 2) };
  }
  await sql.end();
}

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}

function printProfile(file: string): void {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, "utf8")) as Profile;
  const names = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
      id,
      `${functionName || "(anonymous)"} ${basename(url)}:${lineNumber + 1}`,
    ]),
  );
  const totals = new Map<string, number>();
  samples.forEach((id, index) => {
    const name = names.get(id) ?? "?";
    totals.set(name, (totals.get(name) ?? 0) + timeDeltas[index]!);
  });
  const all = [...totals.values()].reduce((sum, value) => sum + value, 0);
  const sorted = [...totals].sort(([, a], [, b]) => b - a).slice(0, FUNCTIONS_MAX);
  for (const [name, micros] of sorted) {
    const seconds = formatNumber(micros / 1e6, 2);
    console.log(`${formatNumber((micros / all) * 100, 1).padStart(5)} %  ${seconds} s  ${name}`);
  }
}
