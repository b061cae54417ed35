import postgres from "postgres";
import { expect, inject, onTestFinished, test, vi } from "vitest";
import { discardConnections } from "../../functions/connections.ts";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { handler } from "../../functions/drain.ts";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import { startProxy } from "../local/proxy.ts";
import { createTopic } from "../local/topics.ts";
import { schema } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";

const cluster = useKafka();

test("a Lambda whose connections lead to a standby, as after a failover: the next invocation makes new ones", async () => {
  const start = async (options: Parameters<typeof startPostgres>[0]): Promise<LocalPostgres> => {
    const server = await startPostgres(options);
    onTestFinished(() => server.stop("immediate"));
    return server;
  };
  const primary = await start({ name: "primary" });
  const name = `standby_${inject("given").run}`;
  const run = async (url: string, work: (sql: postgres.Sql) => Promise<unknown>) => {
    const sql = postgres(url, { max: 1, onnotice: () => {} });
    await work(sql).finally(() => sql.end());
  };
  await run(primary.url, (sql) => sql.unsafe(`create database ${name}`));
  await run(primary.url.replace(/postgres$/, name), async (sql) => {
    await migrate(sql, schema);
    await sql`create table t (id text primary key)`;
    await sql`select pg2kafka.setup('t', 'id')`;
    await sql`insert into t values ('a')`;
  });
  let standby: LocalPostgres | undefined;
  await primary.restart("fast", async () => {
    const standbyOf = primary.url;
    standby = await start({ name: "standby", from: primary.dataDir, standbyOf });
  });
  const address = await startProxy(standby!.port);
  onTestFinished(() => address.stop());
  await createTopic(cluster.brokers, `pg2kafka.${name}.t`);
  onTestFinished(() => {
    discardConnections();
    vi.unstubAllEnvs();
  });
  vi.stubEnv("DATABASE_URL", `postgres://postgres@127.0.0.1:${address.port}/${name}`);
  vi.stubEnv("KAFKA_BROKER", cluster.brokers.join(","));
  const invoke = () => handler({}, { getRemainingTimeInMillis: () => 60_000 });

  await expect(invoke()).rejects.toThrow("recovery");
  // Connections that are open stay where they are.
  address.redirect(primary.port);
  expect(await invoke()).toMatchObject({ delivered: 1, drained: true });
});
