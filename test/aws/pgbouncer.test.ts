import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres, { type Sql } from "postgres";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import type { LocalPostgres } from "../local/postgres.ts";
import { createTopic, readTopic } from "../local/topics.ts";
import { runCommand } from "../relay/command.ts";
import { waitFor } from "../support/wait.ts";
import { bundleLambda } from "./bundle.ts";
import { type Certificates, makeCertificates } from "./certificates.ts";
import { type Lambda, startLambda } from "./lambda.ts";
import { type PgBouncer, POOL_SIZE, pgBouncer, startPgBouncer } from "./pgbouncer.ts";
import { startTlsPostgres } from "./postgres-tls.ts";

const LAMBDAS = ["migrate", "setup", "drain"] as const;
const USER = "app";
const PASSWORD = "marker-database-password";
/** What PgBouncer itself carries from client to server is the same for all who say this. */
const APPLICATION_NAME = "pg2kafka";

const files = await pgBouncer();
const skipped = files.isAvailable ? "" : ` (skipped: ${files.reason})`;

/** What the statements of others would meet in a session. */
interface Session {
  pid: number;
  settings: Record<string, string>;
  /** Prepared statements, held cursors, channels, temporary tables, locks of the session. */
  objects: number;
}

describe.skipIf(!files.isAvailable).each([
  ["TLS on both sides", true],
  ["no TLS", false],
] as const)(`through PgBouncer in transaction mode, %s${skipped}`, (_how, isTls) => {
  let directory: string;
  let certificates: Certificates;
  let server: LocalPostgres;
  let kafka: LocalKafka;
  let pool: PgBouncer;
  let admin: Sql;
  let name: string;
  /** The superuser, past PgBouncer. */
  let direct: Sql;
  let lambdas: Lambda[];
  let count = 0;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "pg2kafka-pool-"));
    certificates = await makeCertificates();
    [server, kafka] = await Promise.all([
      startTlsPostgres(certificates, "host"),
      startKafka(),
      ...LAMBDAS.map((entry) => bundleLambda(entry, join(directory, entry))),
    ]);
    admin = postgres(server.url, { max: 1 });
    await admin.unsafe(`create role ${USER} login password '${PASSWORD}'`);
    pool = await startPgBouncer({
      serverPort: server.port,
      certificates: isTls ? certificates : null,
      passwords: { [USER]: PASSWORD },
    });
  });

  afterAll(async () => {
    await pool?.stop();
    await admin?.end();
    await Promise.all([server?.stop("immediate"), kafka?.stop()]);
    rmSync(directory, { recursive: true, force: true });
  });

  beforeEach(async () => {
    count += 1;
    name = `shop_${count}`;
    lambdas = [];
    await admin.unsafe(`create database ${name} owner ${USER}`);
    direct = postgres(server.url.replace(/[^/]+$/, name), { max: 1, onnotice: () => {} });
  });

  afterEach(async () => {
    await direct.end();
    await Promise.all(lambdas.map((lambda) => lambda.stop()));
    for (const lambda of lambdas) expect(lambda.output()).not.toContain(PASSWORD);
  });

  const url = (port: number, { database = name, password = PASSWORD } = {}) =>
    `postgres://${USER}:${password}@127.0.0.1:${port}/${database}`;

  const environment = (more: Record<string, string> = {}) => ({
    DATABASE_URL: url(pool.port),
    DATABASE_TLS: isTls ? "verify" : "off",
    ...(isTls && { DATABASE_CA: certificates.ca }),
    KAFKA_BROKER: kafka.bootstrap.join(","),
    ...more,
  });

  /** Connections of the application's user, by PgBouncer or past it. */
  const connect = (port: number, connections = 1) =>
    postgres(url(port), {
      max: connections,
      ssl: isTls && { ca: certificates.ca },
      connection: { application_name: APPLICATION_NAME },
      prepare: false,
      fetch_types: false,
      onnotice: () => {},
    });

  async function start(entry: (typeof LAMBDAS)[number]): Promise<Lambda> {
    const lambda = await startLambda(join(directory, entry), environment());
    lambdas.push(lambda);
    return lambda;
  }

  async function invoke(lambda: Lambda, event: unknown = {}): Promise<Record<string, unknown>> {
    const answer = await lambda.invoke(event);
    if (answer.kind === "response") return answer.value as Record<string, unknown>;
    throw new Error(`${JSON.stringify(answer)}\n${lambda.output()}`);
  }

  const topic = () => `pg2kafka.${name}.products`;

  async function keys(): Promise<string[]> {
    const messages = await readTopic(kafka.bootstrap, topic());
    return messages.map(({ key }) => key ?? "");
  }

  /** Install the schema and track a table, by the Lambdas. */
  async function prepare(): Promise<void> {
    await createTopic(kafka.bootstrap, topic());
    expect(await invoke(await start("migrate"))).toMatchObject({ migrations: ["0001_queue"] });
    const app = connect(pool.port);
    await app`create table products (sku text primary key)`.finally(() => app.end());
    const report = await invoke(await start("setup"), { table: "products", externalId: "sku" });
    expect(report).toMatchObject({ tracked: true, notices: [] });
  }

  async function insert(from: number, rows: number): Promise<void> {
    await direct`
      insert into products select 'sku-' || n from generate_series(${from}::int, ${from + rows - 1}::int) n`;
  }

  /** PgBouncer's connections to the server for the test's database. */
  async function poolServers(): Promise<{ pid: number; state: string }[]> {
    const rows = await pool.show("servers");
    return rows
      .filter(({ database }) => database === name)
      .map(({ remote_pid, state }) => ({ pid: Number(remote_pid), state: String(state) }));
  }

  /** The sessions that a client gets, as many as there are at once, each looked at by one. */
  async function readSessions(port: number, sessions: number): Promise<Session[]> {
    const clients = connect(port, sessions);
    const isOpen = Promise.withResolvers<void>();
    let open = 0;
    const read = () =>
      clients.begin(async (tx) => {
        // It brings settings along, as soon as it is used.
        await tx`do 'begin end'`;
        const [row] = await tx<Session[]>`
          select pg_backend_pid() as pid,
            (select json_object_agg(name, setting) from pg_settings) as settings,
            (
              (select count(*) from pg_prepared_statements)
              + (select count(*) from pg_cursors where is_holdable)
              + (select count(*) from pg_listening_channels())
              + (select count(*) from pg_class where relnamespace = pg_my_temp_schema())
              + (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())
            )::int as objects`;
        open += 1;
        if (open === sessions) isOpen.resolve();
        await isOpen.promise;
        return row!;
      });
    try {
      return (await Promise.all(Array.from({ length: sessions }, read))) as Session[];
    } finally {
      await clients.end();
    }
  }

  /** Every session of the pool is as one that nobody has used. */
  async function expectSessionsUntouched(): Promise<void> {
    const used = (await poolServers()).map(({ pid }) => pid);
    expect(used.length).toBeGreaterThan(0);
    const [fresh] = await readSessions(server.port, 1);
    const found = await readSessions(pool.port, POOL_SIZE);
    expect(found.map(({ pid }) => pid)).toEqual(expect.arrayContaining(used));
    for (const { settings, objects } of found) {
      expect(settings).toEqual(fresh!.settings);
      expect(objects).toBe(0);
    }
  }

  test("migrate, setup and two drains at once leave nothing behind in a session", async () => {
    await prepare();
    const drains = [await start("drain"), await start("drain")];
    let delivered = 0;
    const rounds = 3;
    for (let round = 0; round < rounds; round++) {
      await insert(round * 1_000, 1_000);
      const reports = await Promise.all(drains.map((drain) => invoke(drain)));
      expect(reports).toContainEqual(expect.objectContaining({ drained: true }));
      for (const report of reports) delivered += Number(report["delivered"]);
    }
    expect(delivered).toBe(rounds * 1_000);
    expect((await keys()).sort()).toEqual(
      Array.from({ length: rounds * 1_000 }, (_, n) => `sku-${n}`).sort(),
    );
    await expectSessionsUntouched();
  });

  test("drains that are killed in mid-transaction give their connections back", async () => {
    await prepare();
    await insert(0, 100);
    const killed: Lambda[] = [];
    for (let n = 0; n < POOL_SIZE; n++) killed.push(await start("drain"));
    await direct.begin(async (tx) => {
      await tx`lock table pg2kafka.drain_log in access exclusive mode`;
      for (const lambda of killed) lambda.invoke().catch(() => {});
      const isWaiting = async () => {
        const active = (await poolServers()).filter(({ state }) => state === "active");
        return active.length === POOL_SIZE;
      };
      await waitFor(isWaiting);
      for (const lambda of killed) process.kill(lambda.pid, "SIGKILL");
      // The server's side of what was killed still waits for the lock.
      expect(await readSessions(pool.port, POOL_SIZE)).toHaveLength(POOL_SIZE);
    });

    expect(await invoke(await start("drain"))).toMatchObject({ delivered: 100, drained: true });
    expect(await keys()).toHaveLength(100);
    await waitFor(async () => {
      const [row] = await direct<{ busy: number }[]>`
        select count(*)::int as busy from pg_stat_activity
        where datname = ${name} and pid <> pg_backend_pid() and state <> 'idle'`;
      return row!.busy === 0;
    });
    await expectSessionsUntouched();
  });

  test("what PgBouncer refuses is told on one line that names the setting", async () => {
    const tell = async (more: Record<string, string>) => {
      const { code, stdout, stderr } = await runCommand("migrate", environment(more));
      expect({ code, stdout, lines: stderr.split("\n").length }).toEqual({
        code: 1,
        stdout: "",
        lines: 2,
      });
      return stderr;
    };
    const wrong = await tell({ DATABASE_URL: url(pool.port, { password: "marker-wrong" }) });
    expect(wrong).toMatch(/authentication failed.*: check .*password of DATABASE_URL/);
    expect(wrong).not.toContain("marker-wrong");
    expect(await tell({ DATABASE_URL: url(pool.port, { database: "nowhere" }) })).toMatch(
      /nowhere.*: check the name of the database/,
    );
    expect(await tell(isTls ? { DATABASE_CA: "" } : { DATABASE_TLS: "verify" })).toMatch(
      isTls
        ? /^DatabaseError DATABASE_CERTIFICATE: .*DATABASE_CA/
        : /^DatabaseError DATABASE_TLS: .*DATABASE_TLS to off/,
    );
  });
});
