import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import postgres, { type Sql } from "postgres";
import { cacheDirectory, once } from "../../test/local/cache.ts";
import { type Child, logTail, startChild } from "../../test/local/child.ts";
import type { LocalKafka } from "../../test/local/kafka.ts";
import { javaCommand } from "../../test/local/kafka-files.ts";
import { runMaven } from "../../test/local/maven.ts";
import { freePort } from "../../test/local/port.ts";
import { type LocalPostgres, startPostgres } from "../../test/local/postgres.ts";
import { createTopic, kafkaClient } from "../../test/local/topics.ts";
import type { Bench } from "../bench.ts";
import { processSeconds, serverCpu } from "../cpu.ts";
import { POSTGRES_SETTINGS } from "../database.ts";
import { bulkStatements, createItems } from "../items.ts";
import { formatNumber, Samples, type Table } from "../report.ts";

const POM = fileURLToPath(new URL("./debezium.pom.xml", import.meta.url));
const JARS = "debezium-3.3.2";
const HEAP_MB = 1_024;
const PARTITIONS = 6;
const STATEMENT_ROWS = 100_000;
const POLL_MS = 100;
const TIMEOUT_MS = 600_000;

/** Changes a second of Debezium, as it comes, in a standalone worker of Kafka Connect. */
export async function benchDebezium(bench: Bench): Promise<Table[]> {
  const changes = bench.isQuick ? 20_000 : 1_000_000;
  const kafka = await bench.kafka();
  const settings = { ...POSTGRES_SETTINGS, wal_level: "logical" };
  const server = await startPostgres({ settings, name: "debezium" });
  const sql = postgres(server.url, { max: 2, onnotice: () => {} });
  const samples = new Samples();
  try {
    await sql.unsafe(createItems("items"));
    await sql`create publication debezium for table items`;
    for (let round = 1; round <= bench.rounds; round++) {
      bench.progress(`debezium: ${changes} changes, round ${round}`);
      await sql`select pg_create_logical_replication_slot('debezium', 'pgoutput')`;
      await writeBacklog(sql, changes);
      await measure(server, kafka, changes, `debezium${round}`, samples);
      await sql`select pg_drop_replication_slot('debezium')`;
    }
  } finally {
    await sql.end();
    await server.stop();
  }
  return [
    {
      title: "Debezium, for comparison",
      note:
        `Its Postgres connector 3.3.2 in a standalone worker of Kafka Connect 4.1.2, as both come ` +
        `(JSON without schemas, a heap of ${formatNumber(HEAP_MB)} MB), with pgoutput, from a ` +
        `replication slot behind which ${formatNumber(changes)} inserts wait; from the first ` +
        "message in Kafka to the last, so without the start of Java. Median (least–most); CPU " +
        "from the start of the process on, in microseconds for each change.",
      columns: ["", "changes/s", "Debezium µs", "Postgres µs", "Kafka µs"],
      rows: [
        [
          `${formatNumber(changes)} changes behind`,
          samples.text("rate"),
          ...["debezium", "postgres", "kafka"].map((name) => samples.text(name, 1)),
        ],
      ],
    },
  ];
}

async function writeBacklog(sql: Sql, changes: number): Promise<void> {
  await sql`truncate items`;
  for (let from = 1; from <= changes; from += STATEMENT_ROWS) {
    const to = Math.min(from + STATEMENT_ROWS - 1, changes);
    await sql.unsafe(bulkStatements("items").insert, [from, to]);
  }
  await sql`checkpoint`;
}

async function measure(
  server: LocalPostgres,
  kafka: LocalKafka,
  changes: number,
  prefix: string,
  samples: Samples,
): Promise<void> {
  const topic = `${prefix}.public.items`;
  await createTopic(kafka.bootstrap, topic, { partitions: PARTITIONS });
  const before = serverCpu(server, kafka);
  const directory = mkdtempSync(join(tmpdir(), "pg2kafka-debezium-"));
  const logFile = join(directory, "connect.log");
  const connect = await startConnect(directory, logFile, server, kafka, prefix);
  const admin = kafkaClient(kafka.bootstrap).admin();
  try {
    await admin.connect();
    const count = async () => {
      const offsets = await admin.fetchTopicOffsets(topic);
      return offsets.reduce((sum, { high }) => sum + Number(high), 0);
    };
    const deadlineMs = performance.now() + TIMEOUT_MS;
    const untilThere = async (least: number) => {
      for (;;) {
        const there = await count();
        if (there >= least) return { there, atMs: performance.now() };
        if (!connect.isRunning() || performance.now() > deadlineMs) {
          throw new Error(`Debezium sent ${there} of ${changes} changes:\n${logTail(logFile)}`);
        }
        await sleep(POLL_MS);
      }
    };
    const first = await untilThere(1);
    const last = await untilThere(changes);
    samples.add("rate", (last.there - first.there) / ((last.atMs - first.atMs) / 1_000));
    const after = serverCpu(server, kafka);
    samples.add("debezium", (processSeconds(connect.pid) / changes) * 1e6);
    for (const name of ["postgres", "kafka"] as const) {
      samples.add(name, ((after[name] - before[name]) / changes) * 1e6);
    }
  } finally {
    await connect.stop(["SIGTERM"]);
    await admin.deleteTopics({ topics: [topic] });
    await admin.disconnect();
    rmSync(directory, { recursive: true });
  }
}

async function startConnect(
  directory: string,
  logFile: string,
  server: LocalPostgres,
  kafka: LocalKafka,
  prefix: string,
): Promise<Child> {
  const worker = {
    "bootstrap.servers": kafka.bootstrap.join(","),
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter.schemas.enable": "false",
    "offset.storage.file.filename": join(directory, "offsets"),
    listeners: `http://127.0.0.1:${await freePort()}`,
  };
  const connector = {
    name: prefix,
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "database.hostname": "127.0.0.1",
    "database.port": String(server.port),
    "database.user": "postgres",
    "database.password": "none",
    "database.dbname": "postgres",
    "plugin.name": "pgoutput",
    "slot.name": "debezium",
    "publication.name": "debezium",
    "publication.autocreate.mode": "disabled",
    "snapshot.mode": "no_data",
    "table.include.list": "public.items",
    "topic.prefix": prefix,
  };
  const files = Object.entries({ worker, connector }).map(([name, values]) => {
    const file = join(directory, `${name}.properties`);
    const lines = Object.entries(values).map(([key, value]) => `${key}=${value}\n`);
    writeFileSync(file, lines.join(""));
    return file;
  });
  const main = "org.apache.kafka.connect.cli.ConnectStandalone";
  return await startChild({
    command: javaCommand(),
    args: [`-Xmx${HEAP_MB}m`, "-cp", (await debeziumJars()).join(":"), main, ...files],
    cwd: directory,
    env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
    logFile,
    orphanSignal: "KILL",
    orphanDirectory: directory,
  });
}

/** Fetched with Maven at the first call (some 60 MB). */
async function debeziumJars(): Promise<string[]> {
  const directory = await once(join(await cacheDirectory(), JARS), async (draft) => {
    mkdirSync(draft);
    const goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"];
    await runMaven("Debezium", POM, [...goal, `-DoutputDirectory=${draft}`]);
  });
  const jars = readdirSync(directory).filter((name) => name.endsWith(".jar"));
  return jars.sort().map((name) => join(directory, name));
}
