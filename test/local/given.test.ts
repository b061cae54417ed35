import postgres, { type Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { useKafka } from "../support/kafka.ts";
import { type Given, readGiven, removeLeftovers } from "./given.ts";
import { freePort } from "./port.ts";
import { type LocalPostgres, startPostgres } from "./postgres.ts";
import { createTopic, kafkaClient, readTopic } from "./topics.ts";

describe("the server in DATABASE_URL", () => {
  let server: LocalPostgres;
  let sql: Sql;

  beforeAll(async () => {
    server = await startPostgres({ name: "given" });
    sql = postgres(server.url, { max: 1 });
    await sql`create role maker login createdb`;
    await sql`create role reader login`;
  });
  afterAll(async () => {
    await sql?.end();
    await server?.stop("immediate");
  });

  const urlFor = (role: string) => server.url.replace("postgres@", `${role}@`);

  test("is known by its version, and whether the tests have a superuser there", async () => {
    const [own, maker] = [server.url, urlFor("maker")];
    expect((await readGiven({ DATABASE_URL: own })).postgres).toEqual({
      url: own,
      version: 18,
      isSuperuser: true,
    });
    expect((await readGiven({ DATABASE_URL: maker })).postgres).toEqual({
      url: maker,
      version: 18,
      isSuperuser: false,
    });
    expect(await readGiven({})).toMatchObject({ postgres: null, brokers: [] });
  });

  test("is refused where the role may not create databases, with what to do", async () => {
    await expect(readGiven({ DATABASE_URL: urlFor("reader") })).rejects.toThrow(
      "DATABASE_URL's role reader may not create databases, and each test has one of its own. " +
        "Run: alter role reader createdb; or unset DATABASE_URL.",
    );
  });

  test("loses what the run has left in it, and nothing else", async () => {
    const run = "0a1b2c3d";
    for (const name of [`test_${run}_1`, "test_ffffffff_1"]) {
      await sql.unsafe(`create database ${name}`);
      await sql.unsafe(`create role writer_${name}`);
    }
    await removeLeftovers({
      run,
      postgres: { url: server.url, version: 18, isSuperuser: true },
      brokers: [],
    });
    const left = await sql<{ name: string }[]>`
      select datname as name from pg_database where datname like 'test%'
      union all
      select rolname from pg_roles where rolname like 'writer%'`;
    expect(left.map(({ name }) => name)).toEqual(["test_ffffffff_1", "writer_test_ffffffff_1"]);
  });
});

describe("the brokers in KAFKA_BROKER", () => {
  const cluster = useKafka();

  test("are a list", async () => {
    const [broker] = cluster.brokers;
    const { brokers } = await readGiven({ KAFKA_BROKER: `${broker}, ${broker},` });
    expect(brokers).toEqual([broker, broker]);
  });

  test("that cannot be reached are refused by their address", async () => {
    const broker = `127.0.0.1:${await freePort()}`;
    await expect(readGiven({ KAFKA_BROKER: broker })).rejects.toThrow(
      `KAFKA_BROKER names ${broker}, which cannot be reached`,
    );
  });

  test("lose the topics and groups that the run has left, and nothing else", async () => {
    const brokers = (await cluster.own()).bootstrap;
    const given: Given = { run: "0a1b2c3d", postgres: null, brokers };
    const admin = kafkaClient(brokers).admin();
    await admin.connect();
    for (const topic of [`pg2kafka.test_${given.run}_1.t`, "pg2kafka.shop.t"]) {
      await createTopic(brokers, topic);
      const producer = kafkaClient(brokers).producer();
      await producer.connect();
      await producer.send({ topic, messages: [{ value: "" }] });
      await producer.disconnect();
      await readTopic(brokers, topic);
    }
    await removeLeftovers(given);
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith("pg2kafka."));
    expect(topics).toEqual(["pg2kafka.shop.t"]);
    const { groups } = await admin.listGroups();
    expect(groups.map(({ groupId }) => groupId)).toEqual([
      expect.stringContaining("pg2kafka.shop.t"),
    ]);
    await admin.disconnect();
  });
});
