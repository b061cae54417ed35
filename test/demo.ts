import postgres, { type Sql } from "postgres";
import { runCommand } from "../functions/cli/run.ts";
import { readConfig } from "../functions/core/config.ts";
import { drain, dryRun } from "../functions/core/drain.ts";
import { createProducer } from "../functions/core/kafka/producer.ts";
import { connectDatabase } from "../functions/core/postgres/database.ts";
import { migrate } from "../functions/core/postgres/migrate.ts";
import { readSchema } from "../functions/core/postgres/schema.ts";
import { isKafkaAvailable, startKafka } from "./local/kafka.ts";
import { startPostgres } from "./local/postgres.ts";
import { createTopic, readTopic } from "./local/topics.ts";

const USAGE = `Usage: npm run demo

Runs the README's example: a table, setup('products', 'sku'), some changes, a
drain, and each message as it was read back from the topic.

  DATABASE_URL  a database of yours instead of one started here. Nothing is dropped
                in it; the demo's table is named otherwise where there is a products.
                A database whose tables are tracked already is refused: the demo
                would drain their events.
  KAFKA_BROKER  your Kafka (a list of host:port) instead of one started here.

A Kafka of its own needs Java and Maven; without them and without KAFKA_BROKER
the messages are printed and not sent.`;

async function runDemo(): Promise<void> {
  const stops: (() => Promise<unknown>)[] = [];
  try {
    const databaseUrl = await openDatabase(stops);
    const brokers = await openKafka(stops);
    const config = readConfig({
      ...process.env,
      DATABASE_URL: databaseUrl,
      KAFKA_BROKER: brokers.join(","),
    });
    const schema = readSchema(new URL("../sql/", import.meta.url).pathname);
    const sql = await connectDatabase(config.database);
    stops.push(() => sql.end({ timeout: 1 }));

    const table = await chooseTable(sql);
    const { migrations, functions } = await migrate(sql, schema);
    console.log(`migrate: ${migrations.length} migrations, ${functions.length} functions\n`);
    for (const statement of statementsFor(table)) {
      await sql.unsafe(statement);
      console.log(`${statement}\n`);
    }
    if (brokers.length === 0) {
      console.log("The messages that a drain would send:");
      await dryRun(sql, config, schema, console.log);
      return;
    }
    const topic = `pg2kafka.${new URL(databaseUrl).pathname.slice(1)}.${table}`;
    await createTopic(brokers, topic, { partitions: 3 });
    const producer = createProducer({ brokers, clientId: "pg2kafka", ...config.producer });
    stops.push(() => producer.close());
    const deadlineMs = performance.now() + config.timeoutMs;
    const { delivered, durationMs } = await drain(sql, producer, config, schema, deadlineMs);
    console.log(`drain: ${delivered} events delivered in ${durationMs} ms`);
    console.log(`\nRead back from topic ${topic}:`);
    for (const { partition, offset, key, value } of await readTopic(brokers, topic)) {
      console.log(`partition ${partition} offset ${offset} key ${key}`);
      console.log(`  ${value}`);
    }
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

function statementsFor(table: string): string[] {
  return [
    `create table ${table} (\n  id bigserial,\n  sku text,\n  name text\n);`,
    `insert into ${table} (sku, name) values ('CM01-R', 'Red Coffee Mug');`,
    `insert into ${table} (sku, name) values ('CM01-B', 'Blue Coffee Mug');`,
    `select pg2kafka.setup('${table}', 'sku');`,
    `update ${table} set name = 'Big Red Coffee Mug' where sku = 'CM01-R';`,
  ];
}

/**
 * @returns a name that is free
 * @throws when the database tracks tables that are not the demo's
 */
async function chooseTable(sql: Sql): Promise<string> {
  const [found = { taken: false, installed: false }] = await sql<
    { taken: boolean; installed: boolean }[]
  >`
    select to_regclass('products') is not null as taken,
      to_regclass('pg2kafka.external_id_relations') is not null as installed`;
  const tracked = found.installed
    ? await sql<{ name: string }[]>`select table_name as name from pg2kafka.external_id_relations`
    : [];
  const others = tracked.filter(({ name }) => !/^products(_demo_\d+)?$/.test(name));
  if (others.length > 0) {
    throw new Error(
      `This database tracks ${others.length} tables already, and the demo would drain their ` +
        "events. Pass another database, or none.",
    );
  }
  return found.taken ? `products_demo_${Date.now()}` : "products";
}

/** @returns the URL of the user's database, or of one made for the demo */
async function openDatabase(stops: (() => Promise<unknown>)[]): Promise<string> {
  const given = process.env["DATABASE_URL"];
  if (given) return given;
  const local = await startPostgres({ name: "demo" });
  stops.push(() => local.stop());
  console.log(`Postgres ${local.version} on port ${local.port}`);
  const sql = postgres(local.url, { max: 1 });
  await sql`create database shop_test`;
  await sql.end();
  return local.url.replace(/postgres$/, "shop_test");
}

/** @returns no broker where none can be had; it says so */
async function openKafka(stops: (() => Promise<unknown>)[]): Promise<string[]> {
  const given = process.env["KAFKA_BROKER"];
  if (given) return given.split(",");
  const availability = await isKafkaAvailable();
  if (!availability.available) {
    console.log(`No Kafka: ${availability.reason} Set KAFKA_BROKER to use yours.`);
    return [];
  }
  console.log("Kafka: starting (the first time, it is fetched)");
  const kafka = await startKafka();
  stops.push(() => kafka.stop());
  return kafka.bootstrap;
}

await runCommand(USAGE, async () => {
  await runDemo();
  return 0;
});
