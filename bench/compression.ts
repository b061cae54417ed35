import { emptyQueue } from "./backlog.ts";
import type { Bench } from "./bench.ts";
import { CREATE_CUSTOMERS, INSERT_CUSTOMER_EVENTS, INSERT_CUSTOMERS } from "./customers.ts";
import { createDatabase } from "./database.ts";
import { addDrained, COST_COLUMNS, costCells, drainAll } from "./invocation.ts";
import { topicBytes, withTopic } from "./kafka.ts";
import { formatNumber, Samples, type Table } from "./report.ts";

const CODECS = ["none", "gzip", "snappy", "zstd"];
const DATABASE = "bench_compression";

/** What each codec costs and saves, on rows that look like real ones. */
export async function benchCompression(bench: Bench): Promise<Table[]> {
  const events = bench.isQuick ? 5_000 : 200_000;
  const kafka = await bench.kafka();
  const { sql, url, close } = await createDatabase(bench.postgres, DATABASE);
  const samples = new Samples();
  let dataBytes = 0;
  try {
    await sql.unsafe(CREATE_CUSTOMERS);
    await sql.unsafe(INSERT_CUSTOMERS, [events]);
    for (let round = 1; round <= bench.rounds; round++) {
      for (const COMPRESSION of CODECS) {
        bench.progress(`compression: ${COMPRESSION}, round ${round}`);
        await emptyQueue(sql);
        await sql.unsafe(INSERT_CUSTOMER_EVENTS);
        const [row] = await sql<{ bytes: number }[]>`
          select avg(octet_length(data::text))::float8 as bytes from pg2kafka.outbound_event_queue`;
        dataBytes = row!.bytes;
        await withTopic(
          kafka,
          DATABASE,
          async (namespace, topic) => {
            const drained = await drainAll(bench, url, namespace, events, { COMPRESSION });
            addDrained(samples, COMPRESSION, drained);
            samples.add(`${COMPRESSION} bytes`, topicBytes(kafka, topic) / events);
          },
          "customers",
        );
      }
    }
  } finally {
    await close();
  }
  return [
    {
      title: "Compression",
      note:
        `${formatNumber(events)} rows of a shop's customers, ${formatNumber(dataBytes)} bytes of ` +
        "JSON each (the message has some 150 more, and its headers), drained with each value of " +
        "`COMPRESSION`. Bytes in the topic, for each event. Else as above: median (least–most), " +
        "microseconds of CPU for each event.",
      columns: ["", "events/s", "of none's", "bytes", "of none's", ...COST_COLUMNS],
      rows: CODECS.map((codec) => [
        codec,
        samples.text(codec),
        formatNumber(samples.pairedRatio(codec, "none"), 2),
        formatNumber(samples.median(`${codec} bytes`)),
        formatNumber(samples.pairedRatio(`${codec} bytes`, "none bytes"), 2),
        ...costCells(samples, codec),
      ]),
    },
  ];
}
