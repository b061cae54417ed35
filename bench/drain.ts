import { readFileSync } from "node:fs";
import type { DrainReport } from "../functions/core/drain.ts";
import { emptyQueue, fillQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { runScript } from "./child.ts";
import { type BenchDatabase, createDatabase, READER, whileHeld } from "./database.ts";
import { withTopic } from "./kafka.ts";
import { formatNumber, Samples, type Table } from "./report.ts";

/** A transaction that has changed a tracked table, and stays open. */
const WRITER = [
  "begin",
  `insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
   values ('held', 'items', 'INSERT', '{}')`,
];

const SEND_BATCHES = [1_000, 2_000, 5_000];

interface Timing {
  events: number;
  durationMs: number;
}

/** Events a second from Postgres to Kafka, beside what each of the two ways costs alone. */
export async function benchDrain(bench: Bench): Promise<Table[]> {
  const database = await createDatabase(bench.postgres, "bench");
  await database.sql.unsafe(
    readFileSync(new URL("peers/row-trigger.sql", import.meta.url), "utf8"),
  );
  const samples = new Samples();
  try {
    for (let round = 1; round <= bench.rounds; round++) {
      await drainRound(bench, database, samples, round);
    }
  } finally {
    await database.close();
  }
  return [ratesTable(samples, bench), limitsTable(samples)];
}

async function drainRound(
  bench: Bench,
  { sql, url }: BenchDatabase,
  samples: Samples,
  round: number,
): Promise<void> {
  const kafka = await bench.kafka();
  const large = bench.isQuick ? 20_000 : 1_000_000;
  const medium = bench.isQuick ? 5_000 : 100_000;
  const environment = {
    DATABASE_URL: url,
    KAFKA_BROKER: kafka.bootstrap.join(","),
    TIMEOUT_MS: "600000",
  };
  const measure = (name: string, script: string, env: Record<string, string>) =>
    withTopic(kafka, "bench", async (namespace) => {
      bench.progress(`drain: ${name}, round ${round}`);
      const timing = await runScript<Timing>(script, {
        ...environment,
        TOPIC_NAMESPACE: namespace,
        ...env,
      });
      samples.add(name, timing.events / (timing.durationMs / 1000));
    });
  const drain = (name: string, events: number) =>
    withTopic(kafka, "bench", async (namespace) => {
      bench.progress(`drain: ${name}, round ${round}`);
      const report = await runScript<DrainReport>("../functions/cli/drain.ts", {
        ...environment,
        TOPIC_NAMESPACE: namespace,
      });
      if (report.delivered !== events || !report.drained) {
        throw new Error(`The drain did not deliver ${events}: ${JSON.stringify(report)}`);
      }
      samples.add(name, report.delivered / (report.durationMs / 1000));
    });

  const small = bench.isQuick ? 100 : 1_000;
  for (const [name, events] of Object.entries({ small, medium })) {
    await emptyQueue(sql);
    await fillQueue(sql, events);
    await drain(name, events);
  }
  const held = bench.isAll ? large : medium;
  for (const [name, statements] of Object.entries({ reader: READER, writer: WRITER })) {
    await emptyQueue(sql);
    await whileHeld(url, statements, async () => {
      await fillQueue(sql, held);
      await drain(name, held);
    });
  }
  await emptyQueue(sql);
  await fillQueue(sql, large);
  await measure("read", "workers/read.ts", { MODE: "fetch" });
  await measure("read plain", "workers/read.ts", { MODE: "plain" });
  await drain("large", large);

  const EVENTS = String(bench.isQuick ? 10_000 : 200_000);
  for (const BATCH of SEND_BATCHES.map(String)) {
    await measure(`send ${BATCH}`, "workers/send.ts", { MODE: "raw", EVENTS, BATCH });
  }
  await measure("send producer", "workers/send.ts", { MODE: "producer", EVENTS, BATCH: "2000" });

  await emptyQueue(sql);
  await fillQueue(sql, bench.isQuick ? 200 : 2_000);
  await sql`truncate peer.outbound_event_queue`;
  await sql`
    insert into peer.outbound_event_queue (external_id, table_name, statement, data)
    select external_id, table_name, statement, data::jsonb
    from pg2kafka.outbound_event_queue order by id`;
  await measure("loop", "peers/loop.ts", {});
}

function ratesTable(samples: Samples, { isQuick, isAll }: Bench): Table {
  const sizes = isQuick ? ["100", "5 k", "20 k"] : ["1 k", "100 k", "1 M"];
  const held = isAll ? sizes[2] : sizes[1];
  const reference = isAll ? "large" : "medium";
  const drained: [string, string, string?][] = [
    [`drain, ${sizes[0]} in the backlog`, "small"],
    [`drain, ${sizes[1]}`, "medium"],
    [`drain, ${sizes[2]}`, "large"],
    [`drain, ${held}, a reader's snapshot held open`, "reader", reference],
    [`drain, ${held}, a writer's transaction held open`, "writer", reference],
    ["a loop that works as pg2kafka's", "loop"],
  ];
  return {
    title: "Drain: events per second",
    note:
      "One invocation of `npm run drain` as a process of its own, from its first query to its " +
      "last (`durationMs` of its summary), connecting to Kafka included. Median (least–most). " +
      "A message's value has about 300 bytes. Ratios are the medians of each round's.",
    columns: ["", "events/s", "times the loop's", "of the same without"],
    rows: drained.map(([label, name, without]) => [
      label,
      samples.text(name),
      formatNumber(samples.pairedRatio(name, "loop"), 1),
      without === undefined ? "" : formatNumber(samples.pairedRatio(name, without), 2),
    ]),
  };
}

/** What a drain could reach if it read as well as anyone, then sent as well as anyone. */
function limitsTable(samples: Samples): Table {
  const sends = SEND_BATCHES.map((batch) => `send ${batch}`);
  const best = (names: string[]) =>
    names.reduce((a, b) => (samples.median(b) > samples.median(a) ? b : a));
  const read = samples.median(best(["read", "read plain"]));
  const send = samples.median(best(sends));
  const limit = 1 / (1 / read + 1 / send);
  const alone: [string, string][] = [
    ["reading alone: the drain's fetch, batch after batch", "read"],
    ["reading alone: plain batches of 5000 by id", "read plain"],
    ...SEND_BATCHES.map((batch): [string, string] => [
      `sending alone: kafkajs, batches of ${batch}`,
      `send ${batch}`,
    ]),
    ["sending alone: the drain's producer, batches of 2000", "send producer"],
  ];
  return {
    title: "Drain: the limit",
    note:
      "The same events and messages, each way alone, in a process of its own on the same machine. " +
      "kafkajs: with our partitioner, Buffers and headers, acks=all, one request after the other. " +
      "The limit is 1 ÷ (1/read + 1/send), of the best of each.",
    columns: ["", "events/s"],
    rows: [
      ...alone.map(([label, name]) => [label, samples.text(name)]),
      ["limit", formatNumber(limit)],
      ["0.8 of it, the target", formatNumber(0.8 * limit)],
      ["the drain's share of the limit", formatNumber(samples.median("large") / limit, 2)],
    ],
  };
}
