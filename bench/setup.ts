import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import { emptyQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { type BenchDatabase, createDatabase } from "./database.ts";
import { drainAll } from "./invocation.ts";
import { bulkStatements, createItems } from "./items.ts";
import { withTopic } from "./kafka.ts";
import { formatNumber, NO_TARGET, Samples, TARGET_COLUMNS, type Table, target } from "./report.ts";
import { startWaits } from "./waits.ts";

const DATABASE = "bench_setup";
const BEFORE_MS = 5_000;
const POLL_MS = 50;
const QUEUED_TIMEOUT_MS = 900_000;
/** From one row to the next: not beside it. */
const STRIDE = 7_919;
/** A drain may end before all rows of a snapshot are in the queue. */
const INVOCATIONS_MAX = 20;

/**
 * How fast the rows of a table come into the queue when it is tracked, and how long its writers
 * and readers wait meanwhile. Rows may be queued by setup() itself or by the drains after it.
 */
export async function benchSetup(bench: Bench): Promise<Table[]> {
  const rows = bench.isQuick ? 50_000 : 1_000_000;
  const database = await createDatabase(bench.postgres, DATABASE);
  const { sql } = database;
  const samples = new Samples();
  try {
    bench.progress(`setup: writing ${rows} rows`);
    await sql.unsafe(createItems("items"));
    await sql.unsafe(bulkStatements("items").insert, [1, rows]);
    await sql`vacuum analyze items`;
    for (let round = 1; round <= bench.rounds; round++) {
      bench.progress(`setup: ${rows} rows, round ${round}`);
      await sql`checkpoint`;
      await measureSetup(bench, database, rows, samples);
      await sql`select pg2kafka.teardown('items')`;
      await emptyQueue(sql);
    }
  } finally {
    await database.close();
  }
  return [setupTable(samples, rows), targetsTable(samples, rows)];
}

/** In which the waits of others are looked at. */
const PHASES = {
  before: "before",
  returned: "setup() itself",
  queued: "from its start until all rows are in the queue",
};
type Phase = keyof typeof PHASES;

async function measureSetup(
  bench: Bench,
  { sql, url }: BenchDatabase,
  rows: number,
  samples: Samples,
): Promise<void> {
  const kafka = await bench.kafka();
  let row = 0;
  const nextRow = () => {
    row = (row + STRIDE) % rows;
    return row + 1;
  };
  const writer = startWaits(
    url,
    (session) => session`update items set qty = qty + 1 where id = ${nextRow()}`,
  );
  const reader = startWaits(url, (session) => session`select * from items where id = ${nextRow()}`);
  const stop = () => Promise.all([writer.stop(), reader.stop()]);
  const noteWaits = (phase: Phase, fromMs: number, toMs: number) => {
    samples.add(`${phase} s`, (toMs - fromMs) / 1_000);
    for (const [who, waits] of Object.entries({ writer, reader })) {
      samples.add(`${phase} ${who}`, waits.longest(fromMs, toMs));
      samples.add(`${phase} ${who} locked`, waits.longestLocked(fromMs, toMs));
    }
  };
  try {
    const beforeMs = performance.now();
    await sleep(bench.isQuick ? 500 : BEFORE_MS);
    const firstId = await drawnId(sql);
    const startMs = performance.now();
    noteWaits("before", beforeMs, startMs);

    await sql`select pg2kafka.setup('items', 'sku')`;
    noteWaits("returned", startMs, performance.now());

    const queued = async () => {
      // The writer's changes draw ids too: some hundred a second, which are let go.
      await untilDrawn(sql, firstId + rows);
      noteWaits("queued", startMs, performance.now());
      // A drain goes on for as long as somebody writes.
      await stop();
    };
    const delivered = withTopic(kafka, DATABASE, (namespace) =>
      deliver(bench, url, namespace, rows),
    );
    await Promise.all([queued(), delivered]);
    samples.add("delivered s", (performance.now() - startMs) / 1_000);
  } finally {
    await stop();
  }
}

async function deliver(bench: Bench, url: string, namespace: string, rows: number): Promise<void> {
  let delivered = 0;
  for (let count = 0; delivered < rows; count++) {
    if (count === INVOCATIONS_MAX) {
      throw new Error(`${count} drains delivered ${delivered} of ${rows} rows.`);
    }
    delivered += (await drainAll(bench, url, namespace, null)).events;
  }
}

async function untilDrawn(sql: Sql, id: number): Promise<void> {
  const deadlineMs = performance.now() + QUEUED_TIMEOUT_MS;
  while ((await drawnId(sql)) < id) {
    if (performance.now() > deadlineMs) {
      throw new Error(`Not all rows were in the queue after ${QUEUED_TIMEOUT_MS} ms.`);
    }
    await sleep(POLL_MS);
  }
}

async function drawnId(sql: Sql): Promise<number> {
  const [row] = await sql<{ id: string }[]>`
    select last_value as id from pg2kafka.outbound_event_queue_id`;
  return Number(row!.id);
}

function setupTable(samples: Samples, rows: number): Table {
  const phases = Object.keys(PHASES) as Phase[];
  return {
    title: `Setup of ${formatNumber(rows)} rows`,
    note:
      "One session changes one row after the other, and one reads them, the whole time: the " +
      "longest that a statement of theirs took, in milliseconds, and the longest that one was seen " +
      "to wait for a lock. On two cores statements also wait for their turn, and for the disk. " +
      "Median (least–most).",
    columns: [
      "",
      "seconds",
      "a writer's longest",
      "… for a lock",
      "a reader's longest",
      "… for a lock",
    ],
    rows: [
      ...phases.map((phase) => [
        PHASES[phase],
        samples.text(`${phase} s`, 2),
        samples.text(`${phase} writer`),
        samples.text(`${phase} writer locked`),
        samples.text(`${phase} reader`),
        samples.text(`${phase} reader locked`),
      ]),
      ["from its start until all are delivered", samples.text("delivered s", 2), "", "", "", ""],
    ],
  };
}

function targetsTable(samples: Samples, rows: number): Table {
  const rate = rows / samples.median("queued s");
  const blocked = (who: string, bound: number) => {
    const ms = samples.median(`queued ${who} locked`);
    return [`${formatNumber(ms)} ms`, ...target(ms, "≤", bound, { unit: " ms" })];
  };
  const longest = (phase: Phase, who: string) => [
    `${formatNumber(samples.median(`${phase} ${who}`))} ms`,
    ...NO_TARGET,
  ];
  return {
    title: "Setup: the targets",
    note:
      "Blocked is who waits for a lock. What else makes a statement long is the machine's: two " +
      "cores, and the disk that the events are written to.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: [
      ["rows/s into the queue", formatNumber(rate), ...target(rate, "≥", 100_000)],
      ["a writer blocked, the longest", ...blocked("writer", 100)],
      ["a reader blocked, the longest", ...blocked("reader", 0)],
      ["a writer's longest statement", ...longest("queued", "writer")],
      ["a writer's longest statement before setup()", ...longest("before", "writer")],
      ["a reader's longest statement", ...longest("queued", "reader")],
      ["a reader's longest statement before setup()", ...longest("before", "reader")],
    ],
  };
}
