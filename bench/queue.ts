import { setTimeout as sleep } from "node:timers/promises";
import { fillQueue, oldGeneration, PERIOD_MS, queueBytes } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { createDatabase, READER, whileHeld } from "./database.ts";
import { type Drained, drainAll } from "./invocation.ts";
import { withTopic } from "./kafka.ts";
import {
  formatMegabytes,
  formatNumber,
  NO_TARGET,
  TARGET_COLUMNS,
  type Table,
  target,
} from "./report.ts";

/**
 * The queue's size while a million events go through, under a reader's snapshot that has not
 * touched the queue.
 *
 * A generation is emptied from its second period after its own on. So as not to wait for that,
 * the events are written into one that had its turn two periods ago. `--all` writes them now as
 * well, and waits.
 */
export async function benchQueue(bench: Bench): Promise<Table[]> {
  const { sql, url, close } = await createDatabase(bench.postgres, "bench_queue");
  const events = bench.isQuick ? 20_100 : 1_000_100;
  const rows: string[][] = [];
  let fullBytes = 0;
  const note = async (what: string, drained?: Drained) => {
    const bytes = await queueBytes(sql);
    fullBytes = Math.max(fullBytes, bytes);
    rows.push([
      what,
      drained ? formatNumber(drained.events) : "",
      drained ? formatMegabytes(drained.reclaimedBytes) : "",
      formatMegabytes(bytes),
      // What a million events take is at most one rotation's worth here; two of it are the bound.
      ...(drained
        ? target(bytes / 1e6, "≤", (2 * fullBytes) / 1e6, { digits: 1, unit: " MB" })
        : NO_TARGET),
    ]);
  };
  try {
    await withTopic(await bench.kafka(), "bench_queue", (namespace) =>
      whileHeld(url, READER, async () => {
        const drain = () => drainAll(bench, url, namespace, null);
        bench.progress("queue: size, in a generation that had its turn");
        await note("empty");
        await fillQueue(sql, events, await oldGeneration(sql));
        await note(`${formatNumber(events)} events, written two periods ago`);
        await note("drained: delivered and given back by one invocation", await drain());
        if (!bench.isAll) return;

        await fillQueue(sql, events);
        await note(`${formatNumber(events)} events, written now`);
        await note("drained: their generation still has its turn", await drain());
        bench.progress("queue: waiting for two periods of the clock");
        await sleep(2 * PERIOD_MS + 1_000);
        await note("drained again, two periods later", await drain());
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
        "event to after the last; the reader has not touched the queue. The target is two " +
        "rotations' worth of what was written.",
      columns: ["", "delivered", "given back", "size", ...TARGET_COLUMNS],
      rows,
    },
  ];
}
