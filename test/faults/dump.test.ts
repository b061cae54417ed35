import { execFile } from "node:child_process";
import { promisify } from "node:util";
import postgres, { type Sql } from "postgres";
import { expect, inject, onTestFinished, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { debianProgram } from "../local/debian-package.ts";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import type { PostgresVersion } from "../local/postgres-files.ts";
import { createTopic } from "../local/topics.ts";
import { drainToKafka } from "../relay/support.ts";
import { readCommitted } from "../support/committed.ts";
import { schema, versions } from "../support/database.ts";
import { type CapturedEvent, expectFold, parseExactly } from "../support/events.ts";
import { useKafka } from "../support/kafka.ts";
import { report } from "./report.ts";
import { DELIVERIES } from "./scene.ts";

const run = promisify(execFile);
const cluster = useKafka();
// That of an older release of Postgres reads no newer server.
const [oldest] = versions;
const dump = await debianProgram("pg_dump", "postgresql-client");
const load = await debianProgram("psql", "postgresql-client");

/** Two snapshots are under way in `large` and `paused`; a table in parts; one that is read at once. */
const TABLES = `
  create table small (id int primary key, a int);
  insert into small select n, n from generate_series(1, 50) n;
  create table large (id int primary key, a int, pad text);
  insert into large select n, n, repeat('x', 60) from generate_series(1, 12000) n;
  create table paused (like large including all);
  insert into paused select * from large;
  create table parts (id int primary key, a int) partition by range (id);
  create table parts_1 partition of parts for values from (0) to (100);
  create table parts_2 partition of parts default;
  insert into parts select n * 10, n from generate_series(1, 30) n;
  select pg2kafka.setup(name, 'id') from unnest('{small,large,paused,parts}'::text[]) name`;
const NAMES = ["small", "large", "paused", "parts"];

/** So many transaction ids that those of the new cluster are lower. */
const BURN_IDS =
  "do $$ begin for i in 1..3000 loop perform txid_current(); commit; end loop; end $$";

interface Uuid {
  uuid: string;
}

async function start(name: string): Promise<LocalPostgres> {
  const server = await startPostgres({ version: oldest as PostgresVersion, name });
  onTestFinished(() => server.stop("immediate"));
  return server;
}

function connect(url: string): Sql {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end({ timeout: 1 }));
  return sql;
}

async function write(sql: Sql): Promise<void> {
  for (const table of NAMES) {
    await sql.unsafe(`
      update ${table} set a = a + 1 where id % 3 = 0;
      delete from ${table} where id % 7 = 0;
      insert into ${table} (id, a) select (select max(id) from ${table}) + n, n from generate_series(1, 5) n`);
  }
}

test.skipIf(!dump.isAvailable || !load.isAvailable).each(DELIVERIES)(
  "dumped and loaded into a fresh cluster with lower transaction ids, %s: what a consumer has is what is there",
  async (delivery) => {
    if (!dump.isAvailable || !load.isAvailable) throw new Error("skipped");
    const name = `dump_${inject("given").run}_${delivery === "exactly-once" ? "once" : "least"}`;
    const topic = (table: string) => `pg2kafka.${name}.${table}`;
    for (const table of NAMES) {
      if (table !== "large") await createTopic(cluster.brokers, topic(table));
    }
    const drain = (sql: Sql, url: string, env = {}) => {
      const database = { name, url, sql, notices: [], connect: () => connect(url) };
      const common = {
        DELIVERY: delivery,
        KAFKA_BROKER: cluster.brokers.join(","),
        PARKED_EVENTS_MAX: "100000",
      };
      return drainToKafka(database, cluster.brokers, { ...common, ...env });
    };
    const urlOn = ({ url }: LocalPostgres) => url.replace(/postgres$/, name);
    const create = async (server: LocalPostgres) => {
      await connect(server.url).unsafe(`create database ${name}`);
      return connect(urlOn(server));
    };

    const before = await start("before");
    const old = await create(before);
    await old.unsafe(BURN_IDS);
    await migrate(old, schema);
    await old.unsafe(TABLES);
    await old`select pg2kafka.pause_snapshot(id) from pg2kafka.snapshots where relation = 'paused'::regclass`;
    await write(old);
    // Without a topic the snapshot of `large` waits for what is parked of its first step.
    expect(await drain(old, urlOn(before))).toMatchObject({ drained: true });
    expect(
      await old`select relation::text, state from pg2kafka.snapshots order by 1`,
    ).toMatchObject([
      { relation: "large", state: "running" },
      { relation: "paused", state: "paused" },
    ]);
    await write(old);

    const after = await start("after");
    const next = await create(after);
    const { stdout } = await run(dump.executable, ["--dbname", urlOn(before)], {
      env: dump.env,
      maxBuffer: 2 ** 28,
    });
    const loading = run(load.executable, ["-X", "-q", "-v", "ON_ERROR_STOP=1", urlOn(after)], {
      env: load.env,
      maxBuffer: 2 ** 28,
    });
    loading.child.stdin!.end(stdout);
    await loading;
    await write(next);
    expect(await drain(next, urlOn(after))).toMatchObject({ restored: true, drained: true });
    await createTopic(cluster.brokers, topic("large"));
    await next`select pg2kafka.resume_snapshot(id) from pg2kafka.snapshots where state = 'paused'`;
    await write(next);
    expect(await drain(next, urlOn(after))).toMatchObject({ restored: false, drained: true });

    let count = 0;
    for (const table of NAMES) {
      const messages = await readCommitted(cluster.brokers, topic(table));
      count += messages.length;
      const events = messages.map(({ value }) => parseExactly(value) as Uuid & CapturedEvent);
      const first = new Map(events.toReversed().map((event) => [event.uuid, event]));
      await expectFold([...first.values()].toReversed(), next, table, "id");
    }
    report({ tried: 1, events: count });
  },
);
