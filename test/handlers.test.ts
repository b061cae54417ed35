import { describe, expect, test } from "vitest";
import { createTopic, readTopic } from "./local/topics.ts";
import { useDatabase } from "./support/database.ts";
import { useKafka } from "./support/kafka.ts";

describe("the Lambda handlers", () => {
  const postgres = useDatabase();
  const cluster = useKafka();

  test("migrate once, then drain: the message is in Kafka, and a warm invocation goes on", async () => {
    const database = await postgres.createDatabase("empty");
    const { sql } = database;
    const topic = `pg2kafka.${database.name}.products`;
    await createTopic(cluster.brokers, topic);
    process.env["DATABASE_URL"] = database.url;
    process.env["KAFKA_BROKER"] = cluster.brokers.join(",");
    const context = { getRemainingTimeInMillis: () => 60_000 };
    const { handler: migrate } = await import("../functions/migrate.ts");
    const { handler: drain } = await import("../functions/drain.ts");

    expect((await migrate()).migrations).toEqual(["0001_queue"]);
    await sql`create table products (id bigserial, sku text unique, name text)`;
    await sql`select pg2kafka.setup('products', 'sku')`;
    await sql`insert into products (sku, name) values ('CM01-R', 'Red Coffee Mug')`;
    expect(await drain({}, context)).toMatchObject({ delivered: 1, drained: true, stopped: null });
    await sql`delete from products`;
    expect(await drain({}, context)).toMatchObject({ delivered: 1, drained: true });

    const messages = await readTopic(cluster.brokers, topic);
    expect(messages.map(({ key, headers }) => [key, headers["pg2kafka-statement"]])).toEqual([
      ["CM01-R", "INSERT"],
      ["CM01-R", "DELETE"],
    ]);
  });
});
