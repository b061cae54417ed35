import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres, { type Sql } from "postgres";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
} from "vitest";
import { METRICS } from "../../functions/core/metrics.ts";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { readSchema } from "../../functions/core/postgres/schema.ts";
import { freePort } from "../local/port.ts";
import type { LocalPostgres } from "../local/postgres.ts";
import { createTopic, readTopic } from "../local/topics.ts";
import { type Bundle, bundleLambda } from "./bundle.ts";
import { type Certificates, makeCertificates } from "./certificates.ts";
import { type Lambda, startLambda } from "./lambda.ts";
import { type Msk, type Role, startMsk } from "./msk.ts";
import { startTlsPostgres } from "./postgres-tls.ts";
import { startRdsIam } from "./rds-iam.ts";
import { type SecretsManager, startSecretsManager } from "./secrets-manager.ts";

const ENTRIES = ["drain", "migrate", "setup", "topics"] as const;
type Entry = (typeof ENTRIES)[number];

const PASSWORD = "marker-database-password";
const ROW = "marker-row-content";

function role(principal: string, accessKey: string, secret = "marker-aws-secret"): Role {
  return {
    principal,
    env: {
      AWS_ACCESS_KEY_ID: accessKey,
      AWS_SECRET_ACCESS_KEY: secret,
      AWS_SESSION_TOKEN: "marker-session-token",
    },
  };
}

const DRAIN = role("drain", "AKIADRAIN");
const STRANGER = role("stranger", "AKIASTRANGER");

/** Nothing of this may stand in what a function writes or answers. */
const SECRETS = [
  PASSWORD,
  ROW,
  "marker-rotated-password",
  "marker-aws-secret",
  "marker-session-token",
];

let certificates: Certificates;
let server: LocalPostgres;
let msk: Msk;
let secrets: SecretsManager;
let bundles: Record<Entry, Bundle>;
let directory: string;
let admin: Sql;
/** The test's database, its superuser's connection, and its drain's user. */
let sql: Sql;
let name: string;
let user: string;
let lambdas: Lambda[];
let answers: unknown[];
let count = 0;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "pg2kafka-lambda-"));
  certificates = await makeCertificates();
  const built = ENTRIES.map(async (entry) => [
    entry,
    await bundleLambda(entry, join(directory, entry)),
  ]);
  bundles = Object.fromEntries(await Promise.all(built));
  [server, msk, secrets] = await Promise.all([
    startTlsPostgres(certificates),
    startMsk(certificates, { principals: ["drain"] }),
    startSecretsManager(),
  ]);
  admin = postgres(server.url, { max: 1 });
});

afterAll(async () => {
  await admin?.end();
  await Promise.all([server?.stop("immediate"), msk?.stop(), secrets?.stop()]);
  rmSync(directory, { recursive: true, force: true });
});

beforeEach(async () => {
  count += 1;
  name = `shop_${count}`;
  user = `app_${count}`;
  lambdas = [];
  answers = [];
  msk.know([DRAIN, STRANGER]);
  await admin.unsafe(`create role ${user} login superuser password '${PASSWORD}'`);
  await admin.unsafe(`create database ${name} owner ${user}`);
  sql = postgres(server.url.replace(/[^/]+$/, name), { max: 1, onnotice: () => {} });
});

afterEach(async () => {
  await sql.end();
  await Promise.all(lambdas.map((lambda) => lambda.stop()));
  const said = lambdas.map((lambda) => lambda.output()).join("") + JSON.stringify(answers);
  for (const secret of SECRETS) expect(said).not.toContain(secret);
  expect(said).not.toMatch(/X-Amz-Signature|QVdTNC1ITUFD/);
});

/** Everything a function needs to work. */
function environment(more: Record<string, string> = {}): Record<string, string> {
  return {
    DATABASE_URL: `postgres://${user}:${PASSWORD}@127.0.0.1:${server.port}/${name}`,
    DATABASE_CA: certificates.ca,
    KAFKA_BROKER: msk.brokers.join(","),
    KAFKA_AUTH: "iam",
    KAFKA_CA: certificates.ca.replaceAll("\n", "\\n"),
    REQUEST_TIMEOUT_MS: "5000",
    CONNECTION_TIMEOUT_MS: "3000",
    LEASE_MS: "15000",
    MARGIN_MS: "6000",
    ...DRAIN.env,
    ...more,
  };
}

function without(env: Record<string, string>, ...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));
}

async function start(entry: Entry, env = environment()): Promise<Lambda> {
  const lambda = await startLambda(bundles[entry].directory, env);
  lambdas.push(lambda);
  return lambda;
}

/** The function's answer; it must not fail. */
async function invoke<Result = Record<string, unknown>>(
  lambda: Lambda,
  event: unknown = {},
  timeoutMs?: number,
): Promise<Result> {
  const answer = await lambda.invoke(event, timeoutMs);
  answers.push(answer);
  if (answer.kind === "response") return answer.value as Result;
  throw new Error(`${JSON.stringify(answer)}\n${lambda.output()}`);
}

/** What it fails with; it must. */
async function failure(lambda: Lambda, event: unknown = {}, timeoutMs?: number): Promise<string> {
  const answer = await lambda.invoke(event, timeoutMs);
  answers.push(answer);
  if (answer.kind === "error") return `${answer.error.errorType}: ${answer.error.errorMessage}`;
  throw new Error(`${JSON.stringify(answer)}\n${lambda.output()}`);
}

/** The metrics of each invocation, in order. */
function metricsOf(lambda: Lambda): Record<string, unknown>[] {
  return lambda.lines().filter((line) => "_aws" in line);
}

/** The connections that a process has open. */
function socketsOf(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory)
    .map((fd) => readlinkSync(join(directory, fd)))
    .filter((target) => target.startsWith("socket:"));
}

const topic = () => `pg2kafka.${name}.products`;

/** Install the schema, track a table and create its topic. */
async function prepare({ rows = 0 } = {}): Promise<void> {
  await migrate(sql, readSchema(join(import.meta.dirname, "../../sql")));
  await sql`create table products (id bigserial, sku text unique, name text)`;
  await sql`select pg2kafka.setup('products', 'sku')`;
  await createTopic(msk.inside, topic(), { partitions: 2 });
  if (rows > 0) await insert(rows);
}

async function insert(rows: number, prefix = "sku"): Promise<void> {
  await sql`
    insert into products (sku, name)
    select ${prefix} || '-' || n, ${ROW} || ' ' || n from generate_series(1, ${rows}::int) n`;
}

async function keys(): Promise<string[]> {
  const messages = await readTopic(msk.inside, topic());
  return messages.map(({ key }) => key ?? "").sort();
}

describe("from the bundles that deploy ships, over TLS and IAM", () => {
  test("migrate, topics, setup, then the drain: cold, and warm on the same connections", async () => {
    const migrate = await start("migrate");
    expect(await invoke(migrate)).toMatchObject({ migrations: ["0001_queue"] });
    expect(await invoke(migrate)).toMatchObject({ migrations: [], functions: [] });
    await sql`create table products (id bigserial, sku text unique, name text)`;
    await sql`insert into products (sku, name) values ('CM01-R', ${ROW})`;

    const topics = await start("topics", environment({ TOPIC_TABLES: 'products, "Big Orders"' }));
    const second = `pg2kafka.${name}.Big-20Orders`;
    expect(await invoke(topics)).toEqual({ created: [topic(), second], existing: [] });
    expect(await invoke(topics, { tables: ["products"] })).toEqual({
      created: [],
      existing: [topic()],
    });

    const setup = await start("setup");
    const event = { table: "products", externalId: "sku" };
    expect(await invoke(setup, event)).toEqual({ ...event, tracked: true, notices: [] });
    expect(await invoke(setup, event)).toMatchObject({
      tracked: false,
      notices: [expect.stringContaining("tracked already")],
    });

    const drain = await start("drain");
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
    const sessions = () => sql`
      select pid, ssl from pg_stat_activity join pg_stat_ssl using (pid)
      where application_name = 'pg2kafka' and datname = ${name} order by pid`;
    const before = await sessions();
    expect(before.map(({ ssl }) => ssl)).not.toContain(false);
    await sql`delete from products`;
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
    expect(await sessions()).toEqual(expect.arrayContaining([...before]));
    expect(await keys()).toEqual(["CM01-R", "CM01-R"]);
  });

  test("each invocation writes its metrics once, those that fail too", async () => {
    await prepare({ rows: 10 });
    const drain = await start("drain");
    await invoke(drain);
    msk.proxy.refuse();
    msk.proxy.cut();
    onTestFinished(() => msk.proxy.accept());
    await insert(3, "more");
    expect(await failure(drain)).toMatch(/^DrainError: KAFKA_UNAVAILABLE/);
    const [first, second, ...others] = metricsOf(drain);
    expect(others).toEqual([]);
    expect(first).toMatchObject({
      service: "pg2kafka-test",
      Delivered: 10,
      Failed: 0,
      Backlog: 0,
      LagMs: 0,
      Parked: 0,
      Batches: 1,
    });
    expect(second).toMatchObject({ Delivered: 0, Failed: 1, Backlog: 3 });
    expect(second!["LagMs"]).toBeGreaterThan(0);
    const {
      CloudWatchMetrics: [directive],
    } = first!["_aws"] as {
      CloudWatchMetrics: [{ Namespace: string; Dimensions: string[][]; Metrics: object[] }];
    };
    expect(directive).toEqual({
      Namespace: "pg2kafka",
      Dimensions: [["service"]],
      Metrics: Object.entries(METRICS).map(([Name, Unit]) => ({ Name, Unit })),
    });
  });

  test("a deadline in the middle of the backlog: it stops in time, and the next goes on", async () => {
    await prepare({ rows: 40_000 });
    const drain = await start("drain", environment({ BATCH_EVENTS_MAX: "200" }));
    // Each of 200 batches takes 100 ms and more; there is time for 60 of them at most.
    msk.proxy.delay(50);
    onTestFinished(() => msk.proxy.delay(0));
    const first = await invoke<{ delivered: number; stopped: unknown }>(drain, {}, 12_000);
    msk.proxy.delay(0);
    expect(first.stopped).toMatchObject({ code: "DEADLINE" });
    expect(first.delivered).toBeGreaterThan(0);
    expect(first.delivered).toBeLessThan(40_000);
    const [metrics] = metricsOf(drain);
    expect(metrics).toMatchObject({ Failed: 0, Backlog: 40_000 - first.delivered });
    const rest = await start("drain");
    expect(await invoke(rest)).toMatchObject({
      delivered: 40_000 - first.delivered,
      drained: true,
    });
    expect(new Set(await keys()).size).toBe(40_000);
  });

  test("connections that broke while the function was frozen: the next invocation makes new ones", async () => {
    await prepare({ rows: 1 });
    const drain = await start("drain");
    await invoke(drain);
    process.kill(drain.pid, "SIGSTOP");
    msk.proxy.cut();
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'pg2kafka' and datname = ${name}`;
    process.kill(drain.pid, "SIGCONT");
    await insert(1, "thawed");
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
    expect(await keys()).toEqual(["sku-1", "thawed-1"]);
  });

  test("a topic that turns up later is created where that is allowed, and parked where not", async () => {
    await prepare();
    await sql`create table late (id int primary key)`;
    await sql`select pg2kafka.setup('late', 'id')`;
    await sql`insert into late values (1)`;
    const strict = await start("drain");
    expect(await invoke(strict)).toMatchObject({ delivered: 0, parked: 1 });
    expect(metricsOf(strict)).toMatchObject([{ Parked: 1, Failed: 0 }]);
    const creating = await start("drain", environment({ TOPIC_CREATE: "true" }));
    expect(await invoke(creating)).toMatchObject({ unparked: 1, drained: true });
    expect(await readTopic(msk.inside, `pg2kafka.${name}.late`)).toHaveLength(1);
  });
});

describe("re-authentication", () => {
  test("a minute of traffic through sessions of 15 s: nothing fails, and nothing connects anew", async () => {
    const brief = await startMsk(certificates, { principals: ["drain"], sessionMs: 15_000 });
    onTestFinished(() => brief.stop());
    brief.know([DRAIN]);
    await prepare();
    await createTopic(brief.inside, topic());
    const drain = await start("drain", environment({ KAFKA_BROKER: brief.brokers.join(",") }));
    const endMs = performance.now() + 65_000;
    let sent = 0;
    let kept: string[] | undefined;
    while (performance.now() < endMs) {
      await insert(5, `round-${sent}`);
      sent += 5;
      expect(await invoke(drain)).toMatchObject({ delivered: 5, drained: true });
      kept ??= socketsOf(drain.pid);
      await sleep(200);
    }
    expect(socketsOf(drain.pid)).toEqual(expect.arrayContaining(kept ?? []));
    const admissions = brief.log().split("MSK IAM: admitted drain").length - 1;
    // Each connection's session is renewed a request's timeout before its 15 s are over; the producer's
    // alone, 4 times.
    expect(admissions).toBeGreaterThan(4);
    const messages = await readTopic(brief.inside, topic());
    expect(messages).toHaveLength(sent);
  });

  test.each(["at-least-once", "exactly-once"])(
    "a session that ends in the middle of a batch, %s: nothing fails, and nothing is sent twice",
    async (delivery) => {
      const brief = await startMsk(certificates, { principals: ["drain"], sessionMs: 6_000 });
      onTestFinished(() => brief.stop());
      brief.know([DRAIN]);
      await prepare({ rows: 1 });
      await createTopic(brief.inside, topic());
      const drain = await start(
        "drain",
        environment({
          KAFKA_BROKER: brief.brokers.join(","),
          DELIVERY: delivery,
          BATCH_EVENTS_MAX: "1300",
          REQUEST_BYTES_MAX: "16384",
          LEASE_MS: "60000",
        }),
      );
      expect(await invoke(drain)).toMatchObject({ delivered: 1 });
      await insert(1_300, "slow");
      // Each of its requests takes 400 ms and more, one after the other.
      brief.proxy.delay(200);
      const report = await invoke<{ busyMs: number }>(drain, {}, 60_000);
      expect(report).toMatchObject({ delivered: 1_300, batches: 1, drained: true, stopped: null });
      expect(report.busyMs).toBeGreaterThan(6_000);
      const messages = await readTopic(brief.inside, topic());
      expect(messages.map(({ key }) => key)).toEqual([
        "sku-1",
        ...Array.from({ length: 1_300 }, (_, index) => `slow-${index + 1}`),
      ]);
    },
  );

  test("a role that became another: the session's end costs no invocation", async () => {
    const brief = await startMsk(certificates, { principals: ["drain", "heir"], sessionMs: 6_000 });
    onTestFinished(() => brief.stop());
    brief.know([DRAIN]);
    await prepare({ rows: 1 });
    await createTopic(brief.inside, topic());
    const drain = await start("drain", environment({ KAFKA_BROKER: brief.brokers.join(",") }));
    expect(await invoke(drain)).toMatchObject({ delivered: 1 });
    // The broker takes no other principal on a connection that is open.
    brief.know([{ ...DRAIN, principal: "heir" }]);
    await sleep(4_500);
    await insert(1, "later");
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
  });
});

describe("what goes wrong is told by its cause, and the setting to look at", () => {
  beforeEach(() => prepare({ rows: 1 }));

  const kafka = (more: Record<string, string>) => start("drain", environment(more));

  test("a wrong secret, an unknown key, no credentials at all", async () => {
    const wrong = await kafka({ AWS_SECRET_ACCESS_KEY: "marker-aws-secret-of-another" });
    const unknown = await kafka({ AWS_ACCESS_KEY_ID: "AKIAUNKNOWN" });
    for (const lambda of [wrong, unknown]) {
      expect(await failure(lambda)).toMatch(
        /KAFKA_AUTHENTICATION: .*SASL_AUTHENTICATION_FAILED.*kafka-cluster:Connect.*KAFKA_REGION/,
      );
    }
    const none = await start("drain", without(environment(), ...Object.keys(DRAIN.env)));
    expect(await failure(none)).toMatch(/KAFKA_AUTHENTICATION: .*AWS_ACCESS_KEY_ID/);
  });

  test("another region", async () => {
    expect(await failure(await kafka({ KAFKA_REGION: "us-east-1" }))).toMatch(
      /KAFKA_AUTHENTICATION: .*KAFKA_REGION \(us-east-1\)/,
    );
  });

  test("an expired token, as where a clock is wrong; then the clock is right again", async () => {
    msk.know([DRAIN], 1_000);
    const drain = await start("drain");
    expect(await failure(drain)).toMatch(/KAFKA_AUTHENTICATION/);
    expect(msk.log()).toContain("refused for its time");
    msk.know([DRAIN]);
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
  });

  test("a missing permission on the topic parks the event, with the right that is missing", async () => {
    const drain = await start("drain", environment(STRANGER.env));
    expect(await invoke(drain)).toMatchObject({ delivered: 0, parked: 1 });
    const [parked] = await sql`select code, reason from pg2kafka.parked`;
    expect(parked).toMatchObject({
      code: "TOPIC_AUTHORIZATION_FAILED",
      reason: expect.stringContaining("kafka-cluster:DescribeTopic, WriteData"),
    });
    const topics = await start("topics", environment({ ...STRANGER.env, TOPIC_TABLES: "other" }));
    expect(await failure(topics)).toMatch(/other.*TOPIC_AUTHORIZATION_FAILED.*CreateTopic/);
  });

  test("a broker that is not there, and a name that is not", async () => {
    const gone = await kafka({ KAFKA_BROKER: `127.0.0.1:${await freePort()}` });
    expect(await failure(gone)).toMatch(/KAFKA_UNAVAILABLE: .*ECONNREFUSED.*KAFKA_BROKER/);
    const unknown = await kafka({ KAFKA_BROKER: "no-such-host.invalid:9098" });
    expect(await failure(unknown)).toMatch(/KAFKA_UNAVAILABLE: .*KAFKA_BROKER/);
  });

  test("a port without IAM, or without TLS", async () => {
    const plain = await kafka({ KAFKA_BROKER: msk.inside.join(",") });
    expect(await failure(plain)).toMatch(/KAFKA_UNAVAILABLE: /);
  });

  test("a certificate that nobody vouches for is refused, by Kafka's and by Postgres' client", async () => {
    const kafkaTls = await start("drain", without(environment(), "KAFKA_CA"));
    expect(await failure(kafkaTls)).toMatch(/KAFKA_UNAVAILABLE: .*not trusted.*KAFKA_CA/);
    const other = (await makeCertificates()).ca;
    const databaseTls = await start("drain", environment({ DATABASE_CA: other }));
    expect(await failure(databaseTls)).toMatch(/DatabaseError: .*not trusted.*DATABASE_CA/);
    expect(metricsOf(databaseTls)).toMatchObject([{ Failed: 1, Delivered: 0 }]);
  });

  test("a database that is not there, or has no such database, or another password", async () => {
    const at = (place: string, password = PASSWORD) =>
      start("drain", environment({ DATABASE_URL: `postgres://${user}:${password}@${place}` }));
    const gone = await at(`127.0.0.1:${await freePort()}/${name}`);
    expect(await failure(gone)).toMatch(/was not reached.*security groups.*ECONNREFUSED/);
    const missing = await at(`127.0.0.1:${server.port}/nowhere`);
    expect(await failure(missing)).toMatch(/no such database.*DATABASE_NAME/);
    const wrong = await at(`127.0.0.1:${server.port}/${name}`, "marker-database-password-2");
    expect(await failure(wrong)).toMatch(/does not accept the login.*sst secret set.*28P01/);
  });

  test("no database at all, a wrong ARN, a timeout that leaves no time: nothing is tried", async () => {
    const none = await start("drain", without(environment(), "DATABASE_URL"));
    expect(await failure(none)).toMatch(/ConfigError: .*sst secret set DatabaseUrl/);
    const arn = { DATABASE_URL: "", DATABASE_SECRET_ARN: "arn:aws:s3:::bucket" };
    expect(await failure(await start("migrate", environment(arn)))).toMatch(
      /ConfigError: .*DATABASE_SECRET_ARN is "arn:aws:s3:::bucket"/,
    );
    expect(await failure(await start("drain"), {}, 2_500)).toMatch(
      /ConfigError: .*timeout leaves.*MARGIN_MS is 6000/,
    );
  });

  test("what setup() refuses comes back as the database words it, with its hint", async () => {
    const setup = await start("setup");
    expect(await failure(setup, { table: "products" })).toMatch(/ConfigError: .*externalId/);
    expect(await failure(setup, { table: "nothing", externalId: "id" })).toMatch(
      /42P01: relation "nothing" does not exist/,
    );
    await sql`create table others (id int)`;
    expect(await failure(setup, { table: "others", externalId: "sku" })).toMatch(
      /no column "sku".*Pass an existing column/,
    );
  });

  test("Postgres hangs: the function answers before its time is up, and the next one works", async () => {
    const drain = await start("drain");
    await invoke(drain);
    const blocker = postgres(server.url.replace(/[^/]+$/, name), { max: 1, onnotice: () => {} });
    onTestFinished(() => blocker.end({ timeout: 0 }));
    await blocker`begin`;
    await blocker`lock table pg2kafka.control in access exclusive mode`;
    expect(await failure(drain, {}, 10_000)).toMatch(/TIME_UP: .*has not answered/);
    await blocker`rollback`;
    await insert(1, "after");
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
    expect(metricsOf(drain)).toMatchObject([{ Failed: 0 }, { Failed: 1 }, { Failed: 0 }]);
  });
});

describe("the database's login", () => {
  const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-AbCdEf";

  const byServer = (more: Record<string, string>) => ({
    ...without(environment(), "DATABASE_URL"),
    DATABASE_HOST: "127.0.0.1",
    DATABASE_PORT: String(server.port),
    DATABASE_NAME: name,
    AWS_ENDPOINT_URL_SECRETS_MANAGER: secrets.url,
    ...more,
  });

  const endSessions = () => sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'pg2kafka' and datname = ${name}`;

  test("by Secrets Manager: the next connection picks up a rotation, of password and of user", async () => {
    await prepare({ rows: 1 });
    secrets.secrets.set(arn, JSON.stringify({ username: user, password: PASSWORD }));
    const readsBefore = secrets.reads;
    const drain = await start("drain", byServer({ DATABASE_SECRET_ARN: arn }));
    expect(await invoke(drain)).toMatchObject({ delivered: 1 });
    await insert(1, "open");
    expect(await invoke(drain)).toMatchObject({ delivered: 1 });
    // Once for each connection of the pool at most.
    expect(secrets.reads - readsBefore).toBeLessThanOrEqual(3);

    const rotated = "marker-rotated-password";
    await admin.unsafe(`alter role ${user} password '${rotated}'`);
    secrets.secrets.set(arn, JSON.stringify({ username: user, password: rotated }));
    await endSessions();
    await insert(1, "rotated");
    expect(await invoke(drain)).toMatchObject({ delivered: 1 });

    // Two users that take turns, as Secrets Manager's other way of rotation has it.
    const clone = `${user}_clone`;
    await admin.unsafe(`create role ${clone} login superuser password '${rotated}'`);
    secrets.secrets.set(arn, JSON.stringify({ username: clone, password: rotated }));
    await endSessions();
    await insert(1, "cloned");
    expect(await invoke(drain)).toMatchObject({ delivered: 1 });
    const [session] = await sql`
      select distinct usename from pg_stat_activity
      where application_name = 'pg2kafka' and datname = ${name}`;
    expect(session).toMatchObject({ usename: clone });
  });

  test("a secret that may not be read, or is none: told with its ARN, and not with its text", async () => {
    const other = arn.replace("shop", "other");
    const refused = await start("drain", byServer({ DATABASE_SECRET_ARN: other }));
    expect(await failure(refused)).toMatch(
      /other-AbCdEf.*AccessDeniedException.*secretsmanager:GetSecretValue/,
    );
    secrets.secrets.set(other, PASSWORD);
    expect(await failure(refused)).toMatch(/not JSON of the form/);
  });

  test("by IAM: what is sent over TLS is a token of RDS, signed by the role for this user", async () => {
    await prepare({ rows: 1 });
    const front = await startRdsIam(certificates, server.port, DRAIN);
    onTestFinished(() => front.stop());
    // The stand-in lets through to the one user that needs no password.
    const env = byServer({
      DATABASE_AUTH: "iam",
      DATABASE_USER: "postgres",
      DATABASE_PORT: String(front.port),
    });
    const drain = await start("drain", env);
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
    expect(front.logins.map(({ isTaken }) => isTaken)).not.toContain(false);

    const stranger = await start("drain", { ...env, ...STRANGER.env });
    expect(await failure(stranger)).toMatch(/does not accept the login.*rds-db:connect.*28000/);
  });

  test("by the linked SST secret, from the encrypted file that deploy puts beside the bundle", async () => {
    await prepare({ rows: 1 });
    const { createCipheriv, randomBytes } = await import("node:crypto");
    const { writeFileSync } = await import("node:fs");
    const key = randomBytes(32);
    const cipher = createCipheriv("aes-256-gcm", key, Buffer.alloc(12, 0));
    const url = environment()["DATABASE_URL"];
    const links = JSON.stringify({ DatabaseUrl: { type: "sst.sst.Secret", value: url } });
    const file = Buffer.concat([cipher.update(links), cipher.final(), cipher.getAuthTag()]);
    writeFileSync(join(bundles.drain.directory, "resource.enc"), file);
    onTestFinished(() => rmSync(join(bundles.drain.directory, "resource.enc")));
    const drain = await start("drain", {
      ...without(environment(), "DATABASE_URL"),
      SST_KEY: key.toString("base64"),
      SST_KEY_FILE: "resource.enc",
    });
    expect(await invoke(drain)).toMatchObject({ delivered: 1, drained: true });
  });
});

test("the drain's bundle holds neither the SDK's chain of credentials nor its STS client", () => {
  const inputs = Object.keys(bundles.drain.metafile.inputs);
  expect(
    inputs.filter((input) => /aws-msk-iam-sasl-signer-js\/dist\/index/.test(input)),
  ).toHaveLength(1);
  expect(
    inputs.filter((input) => /@aws-sdk\/(client-sts|credential-providers)\//.test(input)),
  ).toEqual([]);
});
