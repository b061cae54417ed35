import { emptyQueue, fillQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { createDatabase } from "./database.ts";
import { addDrained, COST_COLUMNS, costCells, drainLanes } from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import { formatNumber, Samples, type Table } from "./report.ts";

const LANES = [1, 2, 4];
const DATABASE = "bench_lanes";

/** Several drains side by side, each with its share of the keys. */
export async function benchLanes(bench: Bench): Promise<Table[]> {
  const events = bench.isQuick ? 10_000 : 200_000;
  const samples = new Samples();
  const databases = new Map(
    await Promise.all(
      LANES.map(async (lanes) => {
        return [lanes, await createDatabase(bench.postgres, `${DATABASE}_${lanes}`)] as const;
      }),
    ),
  );
  try {
    for (let round = 1; round <= bench.rounds; round++) {
      for (const [lanes, { name, sql, url }] of databases) {
        bench.progress(`lanes: ${lanes}, round ${round}`);
        await withTopic(await bench.kafka(), name, async (namespace) => {
          // The first drains arrange the lanes; so there is something to deliver for each.
          await fillQueue(sql, 1_000);
          await drainLanes(bench, url, namespace, lanes, 1_000);
          await emptyQueue(sql);
          await fillQueue(sql, events);
          addDrained(
            samples,
            String(lanes),
            await drainLanes(bench, url, namespace, lanes, events),
          );
        });
        await emptyQueue(sql);
      }
    }
  } finally {
    await Promise.all([...databases.values()].map(({ close }) => close()));
  }
  return [
    {
      title: "Lanes",
      note:
        `${formatNumber(events)} events, drained by so many drains at once, on the same two cores: ` +
        "from the start of the first process to the end of the last. Microseconds of CPU for each " +
        "event, of all drains together; the memory is that of the largest. What a lane costs " +
        "besides its events shows in the CPU: with cores of its own for each, it is the limit.",
      columns: ["lanes", "events/s", "of one's", ...COST_COLUMNS],
      rows: LANES.map((lanes) => [
        String(lanes),
        samples.text(String(lanes)),
        formatNumber(samples.pairedRatio(String(lanes), "1"), 2),
        ...costCells(samples, String(lanes)),
      ]),
    },
  ];
}
