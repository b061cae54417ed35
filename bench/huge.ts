import { emptyQueue, fillQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { createDatabase } from "./database.ts";
import { drainOnce } from "./drain.ts";
import { COST_COLUMNS, costCells, memoryTarget } from "./invocation.ts";
import {
  formatMegabytes,
  formatNumber,
  Samples,
  TARGET_COLUMNS,
  type Table,
  target,
} from "./report.ts";

/** The backlog that the huge one is compared with, drained before it in each round. */
const MAIN_EVENTS = 1_000_000;
const HUGE_EVENTS = 10_000_000;
/** With --quick. */
const QUICK_SHARE = 0.01;

/** Whether the rate and the memory stay what they are with ten times as much in the backlog. */
export async function benchHuge(bench: Bench): Promise<Table[]> {
  const share = bench.isQuick ? QUICK_SHARE : 1;
  const [main, huge] = [MAIN_EVENTS * share, HUGE_EVENTS * share];
  const database = await createDatabase(bench.postgres, "bench_huge");
  const samples = new Samples();
  try {
    for (let round = 1; round <= bench.rounds; round++) {
      for (const events of [main, huge]) {
        await emptyQueue(database.sql);
        bench.progress(`huge: writing ${events} events, round ${round}`);
        await fillQueue(database.sql, events);
        await drainOnce(bench, database, samples, String(events), events, round);
      }
    }
  } finally {
    await database.close();
  }
  return [ratesTable(samples, [main, huge]), targetsTable(samples, main, huge)];
}

function ratesTable(samples: Samples, backlogs: number[]): Table {
  return {
    title: "Drain: a huge backlog",
    note:
      "As in the report's table of the drain: one invocation each, in turns. Median (least–most), " +
      "microseconds of CPU for each event, and the most memory that the drain had.",
    columns: ["", "events/s", ...COST_COLUMNS],
    rows: backlogs.map((events) => [
      `${formatNumber(events)} in the backlog`,
      samples.text(String(events)),
      ...costCells(samples, String(events)),
    ]),
  };
}

function targetsTable(samples: Samples, main: number, huge: number): Table {
  const share = samples.pairedRatio(String(huge), String(main));
  const peak = samples.median(`${huge} peak`);
  return {
    title: "Drain: the targets of a huge backlog",
    note: "The share is the median of each round's.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: [
      [
        `${formatNumber(huge)} in the backlog: share of the rate with ${formatNumber(main)}`,
        formatNumber(share, 2),
        ...target(share, "≥", 0.9, { digits: 2 }),
      ],
      [
        `memory of the drain, ${formatNumber(huge)} in the backlog`,
        formatMegabytes(peak),
        ...memoryTarget(peak),
      ],
    ],
  };
}
