import { readFileSync } from "node:fs";
import { emptyQueue, fillQueue, oldGeneration } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { runScript } from "./child.ts";
import { type BenchDatabase, createDatabase, READER, whileHeld } from "./database.ts";
import { limitTable, measureLimits } from "./drain-limit.ts";
import { targetsTable } from "./drain-targets.ts";
import { addDrained, COST_COLUMNS, costCells, drainAll, drainEnvironment } from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import { linePlot } from "./plot.ts";
import { formatNumber, Samples, type Table } from "./report.ts";

/** A transaction that has changed a tracked table, and stays open. */
const WRITER = [
  "begin",
  `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
   values ('held', 'items', 'INSERT', '{}')`,
];

/** How often a partition is filled, delivered and given back before the events that count. */
const ROTATIONS = 3;

/** How often in a round the flatness is measured: it is a ratio of short drains. */
const FLATNESS_TURNS = 3;

/** The sizes of the backlog. */
interface Sizes {
  curve: number[];
  /** The one that the others are compared with. */
  main: number;
  /** Drained beside open transactions, and after rotations. */
  held: number;
  loop: number;
}

function sizesOf({ isQuick, isAll }: Bench): Sizes {
  if (isQuick) return { curve: [100, 2_000, 20_000], main: 20_000, held: 2_000, loop: 200 };
  const held = isAll ? 1_000_000 : 100_000;
  const curve = [1_000, 10_000, 100_000, 1_000_000];
  return { curve, main: 1_000_000, held, loop: 2_000 };
}

/** Events a second from Postgres to Kafka, beside what each of the two ways costs alone. */
export async function benchDrain(bench: Bench): Promise<Table[]> {
  const database = await createDatabase(bench.postgres, "bench");
  await database.sql.unsafe(
    readFileSync(new URL("peers/row-trigger.sql", import.meta.url), "utf8"),
  );
  const samples = new Samples();
  const sizes = sizesOf(bench);
  try {
    for (let round = 1; round <= bench.rounds; round++) {
      const drain = (name: string, events: number) =>
        drainOnce(bench, database, samples, name, events, round);
      for (const events of sizes.curve) {
        await emptyQueue(database.sql);
        await fillQueue(database.sql, events);
        if (events === sizes.main) await measureLimits(bench, database, samples, round);
        await drain(String(events), events);
      }
      for (let turn = 0; turn < (bench.isAll ? 1 : FLATNESS_TURNS); turn++) {
        await emptyQueue(database.sql);
        await fillQueue(database.sql, sizes.held);
        await drain("alone", sizes.held);
        await drainHeld(database, sizes.held, drain);
        await drainRotated(bench, database, sizes.held, drain);
      }
      await runLoop(bench, database, samples, sizes.loop);
    }
  } finally {
    await database.close();
  }
  return [ratesTable(samples, sizes), targetsTable(samples, sizes.main), limitTable(samples)];
}

/** One drain of what is in the queue, into a topic of its own. */
export async function drainOnce(
  bench: Bench,
  database: BenchDatabase,
  samples: Samples,
  name: string,
  events: number,
  round: number,
): Promise<void> {
  bench.progress(`drain: ${name}, round ${round}`);
  const drained = await withTopic(await bench.kafka(), database.name, (namespace) =>
    drainAll(bench, database.url, namespace, events),
  );
  addDrained(samples, name, drained);
}

async function drainHeld(
  { sql, url }: BenchDatabase,
  events: number,
  drain: (name: string, events: number) => Promise<void>,
): Promise<void> {
  for (const [name, statements] of Object.entries({ reader: READER, writer: WRITER })) {
    await emptyQueue(sql);
    await whileHeld(url, statements, async () => {
      await fillQueue(sql, events);
      await drain(name, events);
    });
  }
}

/** Partitions are filled, delivered and emptied by the drain; then come the events that count. */
async function drainRotated(
  bench: Bench,
  { sql, url }: BenchDatabase,
  events: number,
  drain: (name: string, events: number) => Promise<void>,
): Promise<void> {
  await emptyQueue(sql);
  for (let rotation = 1; rotation <= ROTATIONS; rotation++) {
    await fillQueue(sql, events, await oldGeneration(sql));
    bench.progress(`drain: rotation ${rotation}`);
    const { reclaimedBytes } = await withTopic(await bench.kafka(), "bench", (namespace) =>
      drainAll(bench, url, namespace, events),
    );
    if (reclaimedBytes === 0) throw new Error("The drain gave back nothing of an old partition.");
  }
  await fillQueue(sql, events, await oldGeneration(sql));
  await drain("rotated", events);
}

/** Events a second of a drain that works as pg2kafka's, from a queue like its own. */
async function runLoop(
  bench: Bench,
  { sql, url }: BenchDatabase,
  samples: Samples,
  events: number,
): Promise<void> {
  bench.progress("drain: a loop as pg2kafka's");
  await emptyQueue(sql);
  await fillQueue(sql, events);
  await sql`truncate peer.outbound_event_queue`;
  await sql`
    insert into peer.outbound_event_queue (external_id, table_name, statement, data)
    select external_id, table_name, statement, data::jsonb
    from pg2kafka.outbound_event_queue order by id`;
  const { result } = await withTopic(await bench.kafka(), "bench", async (namespace) =>
    runScript<{ events: number; durationMs: number }>(
      "peers/loop.ts",
      await drainEnvironment(bench, url, namespace),
    ),
  );
  samples.add("loop", result.events / (result.durationMs / 1000));
}

function ratesTable(samples: Samples, { curve, held }: Sizes): Table {
  const candidates: [label: string, name: string][] = [
    ...curve.map((events): [string, string] => [
      `${formatNumber(events)} in the backlog`,
      String(events),
    ]),
    [`${formatNumber(held)}, in turns with these:`, "alone"],
    [`${formatNumber(held)}, a reader's snapshot held open`, "reader"],
    [`${formatNumber(held)}, a writer's transaction held open`, "writer"],
    [`${formatNumber(held)}, after three rotations`, "rotated"],
  ];
  return {
    title: "Drain: events per second",
    note:
      "One invocation of `npm run drain` as a process of its own, from its first query to its " +
      "last (`durationMs` of its summary), connecting to Kafka included. Median (least–most). " +
      "A message's value has about 300 bytes. Then microseconds of CPU for each event, of each " +
      "process (the drain's start included), and the most memory that the drain had. The loop " +
      "works as pg2kafka's does.",
    columns: ["", "events/s", "times the loop's", ...COST_COLUMNS],
    rows: [
      ...candidates.map(([label, name]) => [
        label,
        samples.text(name),
        formatNumber(samples.median(name) / samples.median("loop"), 1),
        ...costCells(samples, name),
      ]),
      ["the loop", samples.text("loop"), "1.0", ...COST_COLUMNS.map(() => "")],
    ],
    plot: {
      name: "results-backlog.svg",
      svg: linePlot({
        title: "One invocation: events a second over the backlog",
        xLabel: "events in the backlog",
        yLabel: "events/s",
        xScale: "logarithmic",
        hasDots: true,
        series: [
          {
            name: "the drain",
            points: curve.map((events) => [events, samples.median(String(events))]),
          },
          {
            name: "the loop",
            points: [curve[0]!, curve.at(-1)!].map((x) => [x, samples.median("loop")]),
          },
        ],
      }),
    },
  };
}
