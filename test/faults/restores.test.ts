import { dirname, join } from "node:path";
import postgres, { type Sql } from "postgres";
import { expect, inject, onTestFinished, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { copyData, type LocalPostgres, startPostgres } from "../local/postgres.ts";
import { createTopic } from "../local/topics.ts";
import { drainToKafka } from "../relay/support.ts";
import { readCommitted } from "../support/committed.ts";
import { schema, type TestDatabase, waitFor } from "../support/database.ts";
import { type CapturedEvent, expectFold, parseExactly } from "../support/events.ts";
import { useKafka } from "../support/kafka.ts";
import { History } from "./history.ts";
import { report } from "./report.ts";
import { DELIVERIES } from "./scene.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { tallyOfQueue } from "./tally-of-queue.ts";

const cluster = useKafka();

/** Topics are named after the database: one Kafka is for all tests. */
const nameOf = (test: string) => `${test}_${inject("given").run}`;

async function start(options: Parameters<typeof startPostgres>[0]): Promise<LocalPostgres> {
  const server = await startPostgres(options);
  onTestFinished(() => server.stop("immediate"));
  return server;
}

function databaseOn({ url: server }: LocalPostgres, name: string): TestDatabase {
  const url = server.replace(/postgres$/, name);
  const connect = (options: postgres.Options<Record<string, never>> = {}): Sql => {
    const session = postgres(url, { max: 1, idle_timeout: 0, onnotice: () => {}, ...options });
    onTestFinished(() => session.end({ timeout: 1 }));
    return session;
  };
  return { name, url, notices: [], connect, sql: connect() };
}

async function createDatabase(server: LocalPostgres, name: string): Promise<TestDatabase> {
  await databaseOn(server, "postgres").sql.unsafe(`create database ${name}`);
  const database = databaseOn(server, name);
  await migrate(database.sql, schema);
  return database;
}

const drain = (database: TestDatabase, delivery = "at-least-once") =>
  drainToKafka(database, cluster.brokers, {
    DELIVERY: delivery,
    KAFKA_BROKER: cluster.brokers.join(","),
  });

test.each(ofSize<readonly string[]>({ short: ["exactly-once"], long: DELIVERIES }))(
  `recovered to a point in time, %s: what is committed there is delivered, in order (seed ${SEED})`,
  async (delivery) => {
    const name = nameOf(delivery === "exactly-once" ? "recovery_once" : "recovery");
    const topic = `pg2kafka.${name}.rows`;
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const server = await start({
      name: "archived",
      settings: {
        archive_mode: "on",
        archive_command: "mkdir -p ../archive && cp %p ../archive/%f",
      },
    });
    const home = dirname(server.dataDir);
    const base = join(home, "base");
    await server.restart("fast", () => copyData(server.dataDir, base));

    const before = await createDatabase(server, name);
    const history = await History.create(before.sql, before.url, { seed: SEED });
    await history.write(before.sql, 30);
    expect(await drain(before, delivery)).toMatchObject({ drained: true });
    await history.write(before.sql, 10);
    await before.sql`select pg_create_restore_point(${name})`;
    await history.write(before.sql, 20);
    expect(await drain(before, delivery)).toMatchObject({ drained: true });
    const [switched] = await before.sql`select pg_walfile_name(pg_switch_wal()) as file`;
    await waitFor(async () => {
      const rows = await before.sql`
        select from pg_stat_archiver where last_archived_wal >= ${switched!["file"]}`;
      return rows.length > 0;
    });

    const recovery = { archive: join(home, "archive"), point: name };
    const recovered = await start({ name: "recovered", from: base, recovery });
    const after = databaseOn(recovered, name);
    await history.write(after.sql, 10);
    expect(await drain(after, delivery)).toMatchObject({
      drained: true,
      stopped: null,
      // Kafka has batches that this database never began.
      restored: delivery === "exactly-once",
    });
    const tally = await tallyOfQueue(after.sql, cluster.brokers, topic);
    report({ seed: SEED, tried: 1, ...tally });
    expect(tally).toMatchObject({ lost: 0, inverted: 0 });
    // What came after the point was delivered too, before it was undone.
    expect(tally.invented).toBeGreaterThan(0);
  },
);

test("switched over to a logical copy: what a consumer has is what the new database has", async () => {
  const name = nameOf("switchover");
  const topic = `pg2kafka.${name}.items`;
  await createTopic(cluster.brokers, topic);
  const old = await createDatabase(
    await start({ name: "old", settings: { wal_level: "logical" } }),
    name,
  );
  const next = await createDatabase(await start({ name: "new" }), name);
  const create = "create table items (id int primary key, a int not null)";
  await old.sql.unsafe(`${create}; create publication p for table items`);
  await next.sql.unsafe(create);
  await old.sql`select pg2kafka.setup('items', 'id')`;
  const write = async (sql: Sql) => {
    await sql`
        insert into items select (select coalesce(max(id), 0) from items) + n, n
        from generate_series(1, 50) n`;
    await sql`update items set a = a + 1 where id % 3 = 0`;
    await sql`delete from items where id % 7 = 0`;
  };
  await write(old.sql);
  expect(await drain(old)).toMatchObject({ drained: true });
  const { port } = new URL(old.url);
  await next.sql.unsafe(`
      create subscription s connection 'host=127.0.0.1 port=${port} user=postgres dbname=${name}'
      publication p`);
  await write(old.sql);

  // Nobody writes: the old queue is delivered, the copy has all, and only then is it tracked.
  const rows = (sql: Sql) => sql`select id::text, a::text from items order by id`;
  expect(await drain(old)).toMatchObject({ drained: true });
  const last = JSON.stringify(await rows(old.sql));
  await waitFor(async () => JSON.stringify(await rows(next.sql)) === last);
  await next.sql`drop subscription s`;
  await next.sql`select pg2kafka.setup('items', 'id')`;
  await write(next.sql);
  expect(await drain(next)).toMatchObject({ drained: true });

  const messages = await readCommitted(cluster.brokers, topic);
  const events = messages.map(({ value }) => parseExactly(value) as CapturedEvent);
  report({ tried: 1, events: events.length });
  await expectFold(events, next.sql, "items", "id");
});
