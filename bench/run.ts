import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import postgres from "postgres";
import { type LocalKafka, startKafka } from "../test/local/kafka.ts";
import { startPostgres } from "../test/local/postgres.ts";
import { POSTGRES_SETTINGS } from "./database.ts";
import { KAFKA_OPTIONS } from "./kafka.ts";
import { describeLoad, describeMachine } from "./machine.ts";
import { formatTable, summarize, type Table } from "./report.ts";
import { SECTIONS } from "./sections.ts";

const USAGE = `Usage: npm run bench -- [options]

Measures what the program is held to, beside its peers and its limits, on a Postgres and a Kafka
of its own, which takes minutes. Prints tables and writes bench/results.md with its plots.

  --only NAMES  these sections, with a comma between; writes only the files of those that have one
                of their own (*)
  --rounds N    how often each candidate is measured, in turns (default 3)
  --quick       a fraction of the sizes and one round, to see that all works; writes nothing
  --all         also what takes long (+), and more in some sections

${Object.entries(SECTIONS)
  .map(([name, { about, isLong, file }]) => {
    return `  ${(name + (file ? "*" : "") + (isLong ? "+" : "")).padEnd(14)}${about}`;
  })
  .join("\n")}`;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "3" },
    quick: { type: "boolean", default: false },
    all: { type: "boolean", default: false },
    help: { type: "boolean", default: false, short: "h" },
  },
});
const { quick: isQuick, all: isAll } = values;
const only = values.only?.split(",");
const rounds = isQuick ? 1 : Number(values.rounds);
const isValid =
  Number.isInteger(rounds) && rounds > 0 && (only ?? []).every((name) => name in SECTIONS);
if (values.help || !isValid) {
  console.log(USAGE);
  process.exit(values.help ? 0 : 1);
}

const names = only ?? Object.keys(SECTIONS).filter((name) => isAll || !SECTIONS[name]!.isLong);
const startedMs = performance.now();
const progress = (text: string) => {
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  process.stderr.write(`${String(seconds).padStart(5)} s  ${text}\n`);
};

const load = describeLoad();
const server = await startPostgres({ settings: POSTGRES_SETTINGS, name: "bench" });
let starting: Promise<LocalKafka> | undefined;
const kafka = () => {
  starting ??= startKafka(KAFKA_OPTIONS);
  return starting;
};
const bench = { rounds, isQuick, isAll, postgres: server, kafka, progress };
/** Of the sections without a file of their own. */
const MAIN_FILE = "results.md";
/** File → what it holds. */
const files = new Map<string, Table[]>();
const failed: string[] = [];
try {
  for (const [index, name] of names.entries()) {
    try {
      const tables = await SECTIONS[name]!.run(bench);
      for (const table of tables) console.log(formatTable(table));
      files.set(fileOf(name), [...(files.get(fileOf(name)) ?? []), ...tables]);
    } catch (error) {
      // The others are still worth their time.
      console.error(`The section ${name} failed:`, error);
      failed.push(name);
      process.exitCode = 1;
    }
    // What is there is kept, whatever ends a run of an hour.
    if (!isQuick) await writeFile(fileOf(name), names.slice(index + 1));
  }
  console.log(await describeRun());
  for (const tables of files.values()) {
    const summary = summarize(tables);
    if (summary) console.log(formatTable(summary));
  }
  progress("done");
} finally {
  await Promise.all([server.stop(), starting?.then((cluster) => cluster.stop())]);
}

function fileOf(name: string): string {
  return SECTIONS[name]?.file ?? MAIN_FILE;
}

async function writeFile(file: string, left: string[]): Promise<void> {
  const tables = files.get(file);
  if (tables === undefined || (file === MAIN_FILE && only)) return;
  const head = await describeRun(left.filter((name) => fileOf(name) === file));
  const summary = summarize(tables);
  writeResults(file, head, summary ? [summary, ...tables] : tables);
}

async function describeRun(left: string[] = []): Promise<string> {
  const sql = postgres(server.url, { max: 1 });
  const machine = await describeMachine(sql, starting !== undefined);
  await sql.end();
  const what = `- ${rounds} rounds, each candidate once a round, in turns; some once, where it says so\n`;
  const missing = [
    failed.length > 0 ? `- **failed, and missing here: ${failed.join(", ")}**\n` : "",
    left.length > 0 ? `- **ended before: ${left.join(", ")}**\n` : "",
  ];
  return `${machine}\n${load}\n${what}${missing.join("")}`;
}

function writeResults(file: string, head: string, tables: Table[]): void {
  const write = (name: string, text: string) => writeFileSync(new URL(name, import.meta.url), text);
  const text = tables.map(formatTable).join("\n");
  write(file, `# Measured by \`npm run bench\`\n\n${head}\n${text}`);
  for (const { plot } of tables) if (plot) write(plot.name, plot.svg);
}
