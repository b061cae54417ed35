import { emptyQueue, fillQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { createDatabase } from "./database.ts";
import { addDrained, COST_COLUMNS, costCells, drainAll } from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import { formatNumber, Samples, type Table } from "./report.ts";

const DELIVERIES = ["at-least-once", "exactly-once"];
const DATABASE = "bench_delivery";

/** What exactly once costs: the same backlog with each delivery. */
export async function benchDelivery(bench: Bench): Promise<Table[]> {
  const events = bench.isQuick ? 10_000 : 200_000;
  const samples = new Samples();
  const { sql, url, close } = await createDatabase(bench.postgres, DATABASE);
  try {
    for (let round = 1; round <= bench.rounds; round++) {
      for (const delivery of DELIVERIES) {
        bench.progress(`delivery: ${delivery}, round ${round}`);
        await fillQueue(sql, events);
        await withTopic(await bench.kafka(), DATABASE, async (namespace) => {
          const env = { DELIVERY: delivery };
          addDrained(samples, delivery, await drainAll(bench, url, namespace, events, env));
        });
        await emptyQueue(sql);
      }
    }
  } finally {
    await close();
  }
  return [
    {
      title: "Delivery",
      note:
        `${formatNumber(events)} events, drained by one invocation each; what it costs in latency ` +
        "stands under _Latency_. Microseconds of CPU for each event.",
      columns: ["`DELIVERY`", "events/s", "of at-least-once", ...COST_COLUMNS],
      rows: DELIVERIES.map((delivery) => [
        delivery,
        samples.text(delivery),
        formatNumber(samples.pairedRatio(delivery, DELIVERIES[0]!), 2),
        ...costCells(samples, delivery),
      ]),
    },
  ];
}
