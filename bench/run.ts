import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import postgres from "postgres";
import { type LocalKafka, startKafka } from "../test/local/kafka.ts";
import { startPostgres } from "../test/local/postgres.ts";
import type { Section } from "./bench.ts";
import { POSTGRES_SETTINGS } from "./database.ts";
import { benchDrain } from "./drain.ts";
import { KAFKA_OPTIONS } from "./kafka.ts";
import { describeLoad, describeMachine } from "./machine.ts";
import { benchPrototypes } from "./prototypes/prototypes.ts";
import { benchQueue } from "./queue.ts";
import { formatTable } from "./report.ts";
import { benchTrigger } from "./trigger.ts";

const USAGE = `Usage: npm run bench -- [options]

Measures what the program is held to, beside its peers and its limits, on a Postgres and a Kafka
of its own, in under ten minutes. Prints tables and writes bench/results.md.

  --only NAME   trigger, drain, queue or prototypes; only prototypes writes a file
                (bench/results-prototypes.md)
  --rounds N    how often each candidate is measured, in turns (default 3)
  --quick       a fraction of the sizes and one round, to see that all works; writes nothing
  --all         also what takes longer: the prototypes, 1 M events under held transactions, and
                the queue's size by the clock`;

const SECTIONS: Record<string, Section> = {
  trigger: benchTrigger,
  drain: benchDrain,
  queue: benchQueue,
  prototypes: benchPrototypes,
};

/** Measured only when asked for: they tell why things are as they are. */
const ON_REQUEST = ["prototypes"];

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "3" },
    quick: { type: "boolean", default: false },
    all: { type: "boolean", default: false },
    help: { type: "boolean", default: false, short: "h" },
  },
});
const { only, quick: isQuick, all: isAll } = values;
const rounds = isQuick ? 1 : Number(values.rounds);
const isValid = Number.isInteger(rounds) && rounds > 0 && (only === undefined || only in SECTIONS);
if (values.help || !isValid) {
  console.log(USAGE);
  process.exit(values.help ? 0 : 1);
}

const names = Object.keys(SECTIONS).filter((name) =>
  only === undefined ? isAll || !ON_REQUEST.includes(name) : name === only,
);
const scale = { rounds, isQuick, isAll };
const startedMs = performance.now();
const progress = (text: string) => {
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  process.stderr.write(`${String(seconds).padStart(4)} s  ${text}\n`);
};

const load = describeLoad();
const server = await startPostgres({ settings: POSTGRES_SETTINGS, name: "bench" });
let starting: Promise<LocalKafka> | undefined;
const kafka = () => {
  starting ??= startKafka(KAFKA_OPTIONS);
  return starting;
};
try {
  const tables: string[] = [];
  for (const name of names) {
    const section = SECTIONS[name]!;
    for (const table of await section({ ...scale, postgres: server, kafka, progress })) {
      const text = formatTable(table);
      console.log(text);
      tables.push(text);
    }
  }
  const sql = postgres(server.url, { max: 1 });
  const machine = await describeMachine(sql, starting !== undefined);
  await sql.end();
  const head = `${machine}\n${load}\n- ${rounds} rounds, each candidate once a round, in turns\n`;
  console.log(head);
  const file = resultsFile();
  if (file !== null) {
    const title = "# Measured by `npm run bench`";
    writeFileSync(new URL(file, import.meta.url), `${title}\n\n${head}\n${tables.join("\n")}`);
  }
  progress("done");
} finally {
  await Promise.all([server.stop(), starting?.then((cluster) => cluster.stop())]);
}

function resultsFile(): string | null {
  if (isQuick) return null;
  if (only === "prototypes") return "results-prototypes.md";
  return only === undefined ? "results.md" : null;
}
