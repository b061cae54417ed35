import { readFileSync } from "node:fs";
import { emptyQueue, fillQueue, oldGeneration } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { runScript } from "./child.ts";
import { type BenchDatabase, createDatabase, READER, whileHeld } from "./database.ts";
import { LIMIT, limitTable, measureLimits } from "./drain-limit.ts";
import {
  addDrained,
  COST_COLUMNS,
  costCells,
  drainAll,
  drainEnvironment,
  memoryTarget,
} from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import { linePlot } from "./plot.ts";
import {
  formatMegabytes,
  formatNumber,
  NO_TARGET,
  Samples,
  TARGET_COLUMNS,
  type Table,
  target,
} from "./report.ts";

/** A transaction that has changed a tracked table, and stays open. */
const WRITER = [
  "begin",
  `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
   values ('held', 'items', 'INSERT', '{}')`,
];

/** How often a partition is filled, delivered and given back before the events that count. */
const ROTATIONS = 3;

/** Debezium Server on a machine like this one, from 1 M changes; cited, not run here. */
const DEBEZIUM_EVENTS_PER_SECOND = 17_800;

/** The sizes of the backlog. */
interface Sizes {
  curve: number[];
  /** The one that the others are compared with. */
  main: number;
  /** Drained beside open transactions, and after rotations. */
  held: number;
  /** Once, with --all. */
  huge: number;
  loop: number;
}

function sizesOf({ isQuick, isAll }: Bench): Sizes {
  if (isQuick)
    return { curve: [100, 2_000, 20_000], main: 20_000, held: 2_000, huge: 40_000, loop: 200 };
  const held = isAll ? 1_000_000 : 100_000;
  const curve = [1_000, 10_000, 100_000, 1_000_000];
  return { curve, main: 1_000_000, held, huge: 10_000_000, loop: 2_000 };
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
      await drainHeld(database, sizes.held, drain);
      await drainRotated(bench, database, sizes.held, drain);
      await runLoop(bench, database, samples, sizes.loop);
    }
    if (bench.isAll) {
      await emptyQueue(database.sql);
      bench.progress(`drain: writing ${sizes.huge} events`);
      await fillQueue(database.sql, sizes.huge);
      await drainOnce(bench, database, samples, String(sizes.huge), sizes.huge, 1);
      await emptyQueue(database.sql);
    }
  } finally {
    await database.close();
  }
  return [ratesTable(samples, sizes), targetsTable(samples, sizes), limitTable(samples)];
}

/** One drain of what is in the queue, into a topic of its own. */
async function drainOnce(
  bench: Bench,
  { url }: BenchDatabase,
  samples: Samples,
  name: string,
  events: number,
  round: number,
): Promise<void> {
  bench.progress(`drain: ${name}, round ${round}`);
  const drained = await withTopic(await bench.kafka(), "bench", (namespace) =>
    drainAll(bench, url, namespace, events),
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

function ratesTable(samples: Samples, { curve, held, huge }: Sizes): Table {
  const measured = [...curve, huge].filter((events) => samples.has(String(events)));
  const candidates: [label: string, name: string][] = [
    ...measured.map((events): [string, string] => [
      `${formatNumber(events)} in the backlog`,
      String(events),
    ]),
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
      "works as pg2kafka's does; ratios are the medians of each round's.",
    columns: ["", "events/s", "times the loop's", ...COST_COLUMNS],
    rows: [
      ...candidates.map(([label, name]) => [
        label,
        samples.text(name),
        formatNumber(samples.pairedRatio(name, "loop"), 1),
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
            points: measured.map((events) => [events, samples.median(String(events))]),
          },
          {
            name: "the loop",
            points: [curve[0]!, measured.at(-1)!].map((x) => [x, samples.median("loop")]),
          },
        ],
      }),
    },
  };
}

function targetsTable(samples: Samples, { main, held, huge }: Sizes): Table {
  const name = String(main);
  const rate = samples.median(name);
  const flat = (label: string, candidate: string, reference: string) => {
    const ratio = samples.pairedRatio(candidate, reference);
    return [label, formatNumber(ratio, 2), ...target(ratio, "≥", 0.9, { digits: 2 })];
  };
  const share = samples.pairedRatio(name, LIMIT);
  const timesLoop = samples.pairedRatio(name, "loop");
  const timesDebezium = rate / DEBEZIUM_EVENTS_PER_SECOND;
  const label = `${formatNumber(main)} in the backlog`;
  const memory = [main, huge].filter((events) => samples.has(String(events)));
  return {
    title: "Drain: the targets",
    note:
      `Debezium Server: ${formatNumber(DEBEZIUM_EVENTS_PER_SECOND)} events a second were measured ` +
      "on a machine like this one, from a backlog of 1 M; it was not run here (`--all` runs its " +
      "connector in Kafka Connect, see there). Flatness is " +
      "against the same number of events without what is named; that of 10 M against 1 M.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: [
      [
        `${label}: share of the limit`,
        formatNumber(share, 2),
        ...target(share, "≥", 0.8, { digits: 2 }),
      ],
      [`${label}: events/s (the aim)`, formatNumber(rate), ...target(rate, "≥", 60_000)],
      [`${label}: times the loop's`, formatNumber(timesLoop, 1), ...target(timesLoop, "≥", 75)],
      [
        `${label}: times Debezium's`,
        formatNumber(timesDebezium, 2),
        ...target(timesDebezium, "≥", 3),
      ],
      samples.has(String(huge))
        ? [
            `${formatNumber(huge)} in the backlog: share of the rate with ${formatNumber(main)}`,
            formatNumber(samples.median(String(huge)) / rate, 2),
            ...target(samples.median(String(huge)) / rate, "≥", 0.9, { digits: 2 }),
          ]
        : [`${formatNumber(huge)} in the backlog`, "with --all", ...NO_TARGET],
      flat("a reader's snapshot held open: share of the rate", "reader", String(held)),
      flat("a writer's transaction held open: share of the rate", "writer", String(held)),
      flat("after three rotations: share of the rate", "rotated", String(held)),
      ...memory.map((events) => {
        const peak = samples.median(`${events} peak`);
        const label = `memory of the drain, ${formatNumber(events)} in the backlog`;
        return [label, formatMegabytes(peak), ...memoryTarget(peak)];
      }),
    ],
  };
}
