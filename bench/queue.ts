import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import type { DrainReport } from "../functions/core/drain.ts";
import { fillQueue, queueBytes } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { runScript } from "./child.ts";
import { createDatabase, READER, whileHeld } from "./database.ts";
import { withTopic } from "./kafka.ts";
import { formatMegabytes, formatNumber, type Table } from "./report.ts";

/** As in sql/functions/drain/reclaim.sql. */
const PERIOD_MS = 120_000;
const GENERATIONS = 4;

/**
 * The queue's size while a million events go through, under a reader's snapshot that has not
 * touched the queue.
 *
 * A generation is emptied from its second period after its own on. So as not to wait for that,
 * the events are written into the generation that had its turn two periods ago, where they would
 * be if they had been written then. `--all` writes them now, and waits.
 */
export async function benchQueue(bench: Bench): Promise<Table[]> {
  const { sql, url, close } = await createDatabase(bench.postgres, "bench_queue");
  const events = bench.isQuick ? 20_100 : 1_000_100;
  const rows: string[][] = [];
  const kafka = await bench.kafka();
  const drain = (namespace: string) =>
    runScript<DrainReport>("../functions/cli/drain.ts", {
      DATABASE_URL: url,
      KAFKA_BROKER: kafka.bootstrap.join(","),
      TOPIC_NAMESPACE: namespace,
      TIMEOUT_MS: "600000",
    });
  const note = async (what: string, report?: DrainReport) => {
    rows.push([
      what,
      formatMegabytes(await queueBytes(sql)),
      report ? formatNumber(report.delivered) : "",
      report ? formatMegabytes(report.reclaimedBytes) : "",
    ]);
  };
  try {
    await withTopic(kafka, "bench_queue", (namespace) =>
      whileHeld(url, READER, async () => {
        bench.progress("queue: size, in a generation that had its turn");
        await note("empty");
        await fillQueue(sql, events, await oldGeneration(sql));
        await note(`${formatNumber(events)} events, written two periods ago`);
        await note("drained: delivered and given back by one invocation", await drain(namespace));
        if (!bench.isAll) return;

        await fillQueue(sql, events);
        await note(`${formatNumber(events)} events, written now`);
        await note("drained: their generation still has its turn", await drain(namespace));
        bench.progress("queue: waiting for two periods of the clock");
        await sleep(2 * PERIOD_MS + 1_000);
        await note("drained again, two periods later", await drain(namespace));
      }),
    );
  } finally {
    await close();
  }
  return [
    {
      title: "Queue: size on disk",
      note:
        "Partitions and their indexes, with a reader's snapshot held open from before the first " +
        "event to after the last; the reader has not touched the queue.",
      columns: ["", "size", "delivered", "given back"],
      rows,
    },
  ];
}

/** Two periods ago, and so the next but one. */
async function oldGeneration(sql: Sql): Promise<number> {
  const [row] = await sql<{ period: number }[]>`
    select (date_part('epoch', now())::bigint * 1000 / ${PERIOD_MS}::bigint)::int as period`;
  return (row!.period + 2) % GENERATIONS;
}
