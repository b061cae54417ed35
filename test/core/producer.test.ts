import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  type Admin,
  ResourcePatternTypes,
} from "kafkajs";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { ProduceError } from "../../functions/core/errors.ts";
import { partitionOf } from "../../functions/core/kafka/partitioner.ts";
import {
  createProducer,
  type Producer,
  type ProducerSettings,
  type SendReport,
} from "../../functions/core/kafka/producer.ts";
import { type Message, messageFormat, type QueueEvent } from "../../functions/core/message.ts";
import { freeze } from "../local/freeze.ts";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import { freePort } from "../local/port.ts";
import { createTopic, kafkaClient, type ReadMessage, readTopic } from "../local/topics.ts";
import { useKafka } from "../support/kafka.ts";

/** Part of the name of all topics, which lasts no longer than the run where Kafka does. */
const database = `shop_${inject("given").run}`;
const toMessage = messageFormat({ queueId: randomUUID(), database });
let eventId = 0n;

/** A message of a table: its key and its data, in a statement that can be told from the others. */
function message(
  table: string,
  externalId: string | null,
  more: Partial<QueueEvent> = {},
): Message {
  eventId += 1n;
  return toMessage({
    id: String(eventId),
    uuid: randomUUID(),
    externalId,
    schema: "public",
    table,
    statement: "INSERT",
    data: `{"n":${eventId}}`,
    createdAtMicros: String(1_500_000_000_000_000n + eventId * 1_000n),
    replay: null,
    ...more,
  });
}

function newTable(): { table: string; topic: string } {
  const table = `t${randomUUID().replaceAll("-", "")}`;
  return { table, topic: `pg2kafka.${database}.${table}` };
}

function ofSize(bytes: number): Partial<QueueEvent> {
  return { data: `"${"x".repeat(bytes)}"` };
}

/** A producer that is closed when the test has finished. */
function producerFor(brokers: string[], more: Partial<ProducerSettings> = {}): Producer {
  const producer = createProducer({
    brokers,
    clientId: "test",
    requestTimeoutMs: 5_000,
    connectionTimeoutMs: 5_000,
    requestBytesMax: 900_000,
    messageBytesMax: 1_000_000,
    ...more,
  });
  onTestFinished(async () => await producer.close());
  return producer;
}

async function failureOf(sending: Promise<SendReport>): Promise<ProduceError> {
  const error = await sending.catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ProduceError);
  return error as ProduceError;
}

function codes({ refused }: SendReport): [number, string][] {
  return [...refused]
    .map(([index, { code }]): [number, string] => [index, code])
    .sort(([a], [b]) => a - b);
}

function values(messages: readonly (Message | ReadMessage)[]): (string | undefined)[] {
  return messages.map(({ value }) => value?.toString());
}

/** A message as `readTopic` returns it. */
function asRead({
  key,
  value,
  headers,
  timestampMs,
}: Message): Omit<ReadMessage, "partition" | "offset"> {
  return {
    key: key?.toString() ?? null,
    value: value.toString(),
    headers,
    timestamp: Number(timestampMs),
  };
}

/** Text that nothing makes smaller by much. */
function noise(bytes: number): string {
  return randomBytes(bytes).toString("base64url");
}

/** Without the copies that follow the first one of each uuid. */
function firstCopies(messages: readonly ReadMessage[]): ReadMessage[] {
  const seen = new Set<string>();
  return messages.filter(({ partition, headers: { "pg2kafka-uuid": uuid = "" } }) => {
    const isFirst = !seen.has(`${partition}/${uuid}`);
    seen.add(`${partition}/${uuid}`);
    return isFirst;
  });
}

/** What each partition is to hold, partition by partition, as `readTopic` returns it. */
function inPartitions(messages: readonly Message[], partitions: number): Message[] {
  return Array.from({ length: partitions }, (_, partition) =>
    messages.filter(({ key }) => partitionOf(key, partitions, 0) === partition),
  ).flat();
}

describe("the producer", () => {
  const cluster = useKafka({
    settings: {
      "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
      "allow.everyone.if.no.acl.found": "true",
    },
  });

  async function adminOf(brokers: string[]): Promise<Admin> {
    const admin = kafkaClient(brokers).admin();
    onTestFinished(async () => await admin.disconnect());
    await admin.connect();
    return admin;
  }

  test("delivers each message whole, to its key's partition, in order", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const keys = ["a", "b", "", "größe", "😀", "c"];
    const messages = Array.from({ length: 600 }, (_, n) => message(table, keys[n % 6]!));
    const report = await producerFor(cluster.brokers).send(messages);
    expect(report.refused.size).toBe(0);

    const read = await readTopic(cluster.brokers, topic);
    expect(read.map(({ partition: _, offset: __, ...content }) => content)).toEqual(
      inPartitions(messages, 3).map(asRead),
    );
  });

  test("does nothing between two sends, whatever the connections have carried", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic);
    await producerFor(cluster.brokers).send([message(table, "a")]);
    const timers = vi.spyOn(globalThis, "setTimeout");
    await sleep(500);
    const short = timers.mock.calls.filter(([, ms = 0]) => ms < 100);
    timers.mockRestore();
    expect(short).toEqual([]);
  });

  test("cuts what is too much for one request, and keeps the order", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic, { partitions: 2 });
    const messages = Array.from({ length: 300 }, (_, n) => message(table, `key ${n % 7}`));
    let requests = 0;
    const mayStart = () => {
      requests += 1;
      return true;
    };
    await producerFor(cluster.brokers, { requestBytesMax: 10_000 }).send(messages, { mayStart });
    expect(requests).toBeGreaterThan(10);
    expect(values(await readTopic(cluster.brokers, topic))).toEqual(
      values(inPartitions(messages, 2)),
    );
  });

  test.each(["gzip", "snappy", "zstd"] as const)(
    "compresses with %s, and Kafka reads what was sent",
    async (compression) => {
      const [small, plain] = [newTable(), newTable()];
      await createTopic(cluster.brokers, small.topic, { configs: { "max.message.bytes": "4000" } });
      // Here Kafka itself decompresses what it stores.
      const configs = { "compression.type": "uncompressed" };
      await createTopic(cluster.brokers, plain.topic, { configs });
      const messages = [small.table, plain.table].flatMap((table) => [
        message(table, "a", ofSize(3_000)),
        message(table, null, { createdAtMicros: "1400000000000000" }),
        message(table, "größe", ofSize(30_000)),
      ]);
      const incompressible = message(plain.table, "b", { data: `"${noise(40_000)}"` });
      const producer = producerFor(cluster.brokers, { compression });
      for (const batch of [messages, [incompressible]]) {
        expect(codes(await producer.send(batch))).toEqual([]);
      }
      const sent = [...messages.slice(3), incompressible];
      const read = await readTopic(cluster.brokers, plain.topic);
      expect(read.map(({ partition: _, offset: __, ...content }) => content)).toEqual(
        sent.map(asRead),
      );
    },
  );

  test("spreads messages without a key, one partition a batch", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const producer = producerFor(cluster.brokers);
    for (let n = 0; n < 3; n++) await producer.send([message(table, null), message(table, null)]);
    const read = await readTopic(cluster.brokers, topic);
    expect(read.map(({ partition, key }) => [partition, key])).toEqual(
      [0, 0, 1, 1, 2, 2].map((partition) => [partition, null]),
    );
  });

  test("a TRUNCATE is in every partition, between what came before and after it", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const before = Array.from({ length: 50 }, (_, n) => message(table, `key ${n}`));
    const truncate = message(table, null, { statement: "TRUNCATE" });
    const after = Array.from({ length: 50 }, (_, n) => message(table, `key ${n}`));
    await producerFor(cluster.brokers).send([...before, truncate, ...after]);

    const read = await readTopic(cluster.brokers, topic);
    for (const partition of [0, 1, 2]) {
      const isHere = ({ key }: Message) => partitionOf(key, 3, 0) === partition;
      expect(values(read.filter((one) => one.partition === partition))).toEqual(
        values([...before.filter(isHere), truncate, ...after.filter(isHere)]),
      );
    }
  });

  test("a message over our bound is refused with its size, what has its key waits", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic);
    const messages = [
      message(table, "b"),
      message(table, "b", ofSize(2_000)),
      message(table, "a"),
      message(table, "b"),
      message(table, null, ofSize(2_000)),
      message(table, null),
    ];
    const report = await producerFor(cluster.brokers, { messageBytesMax: 2_000 }).send(messages);
    expect(codes(report)).toEqual([
      [1, "MESSAGE_TOO_LARGE"],
      [3, "BEHIND_REFUSED"],
      [4, "MESSAGE_TOO_LARGE"],
    ]);
    const { reason, ...refusal } = report.refused.get(1)!;
    expect(refusal).toEqual({ code: "MESSAGE_TOO_LARGE", scope: "key", retriable: false });
    expect(reason).toMatch(/has 2\d{3} bytes; the bound is 2000\./);
    expect(reason).not.toContain("xx");
    const delivered = [messages[0]!, messages[2]!, messages[5]!];
    expect(values(await readTopic(cluster.brokers, topic))).toEqual(values(delivered));
  });

  test("a message over the topic's bound is found and refused, its siblings are delivered", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic, { configs: { "max.message.bytes": "3000" } });
    const large = 57;
    const messages = Array.from({ length: 200 }, (_, n) =>
      message(table, `key ${n % 50}`, n === large ? ofSize(4_000) : {}),
    );
    const report = await producerFor(cluster.brokers).send(messages);
    expect(codes(report)).toEqual([
      [57, "MESSAGE_TOO_LARGE"],
      [107, "BEHIND_REFUSED"],
      [157, "BEHIND_REFUSED"],
    ]);
    const delivered = messages.filter((_, index) => !report.refused.has(index));
    expect(values(await readTopic(cluster.brokers, topic))).toEqual(values(delivered));
  });

  test("what a compacted topic does not take is refused alone, and other topics repeat once at most", async () => {
    const [compacted, other] = [newTable(), newTable()];
    const configs = { "cleanup.policy": "compact" };
    await createTopic(cluster.brokers, compacted.topic, { configs });
    await createTopic(cluster.brokers, other.topic);
    const producer = producerFor(cluster.brokers);
    const batches = [1, 2, 3].map(() =>
      ["a", null, "b", "a", null, "c"].flatMap((key) => [
        message(compacted.table, key),
        message(other.table, key),
      ]),
    );
    for (const batch of batches) {
      const report = await producer.send(batch);
      expect(codes(report)).toEqual([
        [2, "INVALID_RECORD"],
        [8, "INVALID_RECORD"],
      ]);
      expect(report.refused.get(2)).toMatchObject({ scope: "key", retriable: false });
    }
    const messages = batches.flat();
    const delivered = messages.filter(
      ({ topic, key }) => topic === compacted.topic && key !== null,
    );
    expect(values(await readTopic(cluster.brokers, compacted.topic))).toEqual(values(delivered));
    const read = await readTopic(cluster.brokers, other.topic);
    expect(values(firstCopies(read))).toEqual(
      values(messages.filter((one) => one.topic === other.topic)),
    );
    expect(read.length).toBeLessThanOrEqual(18 + 6);
  });

  test("a missing topic is refused, the other topics are delivered", async () => {
    const [missing, present] = [newTable(), newTable()];
    await createTopic(cluster.brokers, present.topic, { partitions: 2 });
    const messages = [
      message(missing.table, "a"),
      message(present.table, "a"),
      message(missing.table, "b"),
      message(missing.table, null),
      message(present.table, "b"),
    ];
    const report = await producerFor(cluster.brokers).send(messages);
    expect(codes(report)).toEqual([
      [0, "TOPIC_MISSING"],
      [2, "BEHIND_REFUSED"],
      [3, "BEHIND_REFUSED"],
    ]);
    expect(report.refused.get(0)).toEqual({
      code: "TOPIC_MISSING",
      reason: `Topic "${missing.topic}" does not exist. Create it, or allow its creation.`,
      scope: "topic",
      retriable: true,
    });
    expect(report.refused.get(2)?.scope).toBe("topic");
    expect(await readTopic(cluster.brokers, present.topic)).toHaveLength(2);
  });

  test("a topic that is deleted under a producer is refused, and taken when it is back", async () => {
    const [deleted, present] = [newTable(), newTable()];
    for (const { topic } of [deleted, present]) await createTopic(cluster.brokers, topic);
    const producer = producerFor(cluster.brokers);
    const messages = [message(deleted.table, "a"), message(present.table, "a")];
    expect(codes(await producer.send(messages))).toEqual([]);
    const admin = await adminOf(cluster.brokers);
    await admin.deleteTopics({ topics: [deleted.topic] });
    expect(codes(await producer.send(messages))).toEqual([[0, "TOPIC_MISSING"]]);
    await createTopic(cluster.brokers, deleted.topic);
    expect(codes(await producer.send(messages))).toEqual([]);
    expect(await readTopic(cluster.brokers, deleted.topic)).toHaveLength(1);
    expect(firstCopies(await readTopic(cluster.brokers, present.topic))).toHaveLength(1);
  });

  test("missing topics are created when asked, by two producers at once", async () => {
    const [one, other] = [newTable(), newTable()];
    const messages = [message(one.table, "a"), message(other.table, "a")];
    const createTopics = { partitions: 4, replicationFactor: 1, configs: { "retention.ms": "-1" } };
    const reports = await Promise.all(
      [1, 2].map(() => producerFor(cluster.brokers, { createTopics }).send(messages)),
    );
    expect(reports.flatMap(codes)).toEqual([]);
    const admin = await adminOf(cluster.brokers);
    const { topics } = await admin.fetchTopicMetadata({ topics: [one.topic, other.topic] });
    expect(topics.map(({ partitions }) => partitions.length)).toEqual([4, 4]);
    for (const { topic } of [one, other]) {
      expect(firstCopies(await readTopic(cluster.brokers, topic))).toHaveLength(1);
    }
  });

  test("a topic that Kafka does not want to create is refused", async () => {
    const createTopics = { partitions: 1, replicationFactor: 1_000 };
    const producer = producerFor(cluster.brokers, { createTopics });
    const { refused } = await producer.send([message(newTable().table, "a")]);
    expect(refused.get(0)).toMatchObject({ code: "TOPIC_NOT_CREATED", scope: "topic" });
    expect(refused.get(0)?.reason).toContain("INVALID_REPLICATION_FACTOR");
  });

  test("a topic that differs from another one only in dots and underscores is refused", async () => {
    const { table } = newTable();
    await createTopic(cluster.brokers, `pg2kafka.${database}.a_b.${table}`);
    const createTopics = { partitions: 1, replicationFactor: 1 };
    const producer = producerFor(cluster.brokers, { createTopics });
    const { refused } = await producer.send([message(`b_${table}`, "a", { schema: "a" })]);
    expect(refused.get(0)).toMatchObject({ code: "TOPIC_NOT_CREATED", scope: "topic" });
    expect(refused.get(0)?.reason).toContain("dots and underscores");
  });

  test("a topic whose name is too long is refused without asking Kafka", async () => {
    const present = newTable();
    await createTopic(cluster.brokers, present.topic);
    const messages = [message("-".repeat(80), "a"), message(present.table, "a")];
    const { refused } = await producerFor(cluster.brokers).send(messages);
    expect([...refused.keys()]).toEqual([0]);
    expect(refused.get(0)).toMatchObject({ code: "INVALID_TOPIC_EXCEPTION", retriable: false });
    expect(refused.get(0)?.reason).toContain("Kafka allows 1 to 249");
  });

  test.each([
    ["to describe", AclOperationTypes.DESCRIBE],
    ["to write", AclOperationTypes.WRITE],
  ])("a topic we have no right %s is refused, the others are delivered", async (_, operation) => {
    const kafka = await cluster.own();
    const admin = await adminOf(kafka.bootstrap);
    const [denied, present] = [newTable(), newTable()];
    for (const { topic } of [denied, present])
      await createTopic(kafka.bootstrap, topic, { partitions: 2 });
    const rule = {
      resourceType: AclResourceTypes.TOPIC,
      resourceName: denied.topic,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: "User:ANONYMOUS",
      host: "*",
      operation,
      permissionType: AclPermissionTypes.DENY,
    };
    const producer = producerFor(kafka.bootstrap);
    const messages = ["a", "b", "c", "d"].flatMap((key) => [
      message(denied.table, key),
      message(present.table, key),
    ]);
    await admin.createAcls({ acl: [rule] });
    const report = await producer.send(messages);
    expect(codes(report)).toEqual([
      [0, "TOPIC_AUTHORIZATION_FAILED"],
      [2, "BEHIND_REFUSED"],
      [4, "BEHIND_REFUSED"],
      [6, "BEHIND_REFUSED"],
    ]);
    expect(report.refused.get(0)).toMatchObject({ scope: "topic", retriable: true });
    expect(firstCopies(await readTopic(kafka.bootstrap, present.topic))).toHaveLength(4);

    await admin.deleteAcls({ filters: [rule] });
    expect(codes(await producer.send(messages))).toEqual([]);
    expect(await readTopic(kafka.bootstrap, denied.topic)).toHaveLength(4);
  });

  test("stops before a request that may not start, and says so", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic);
    const messages = Array.from({ length: 100 }, () => message(table, "a"));
    const producer = producerFor(cluster.brokers, { requestBytesMax: 5_000 });
    const never = producer.send(messages, { mayStart: () => false });
    await expect(never).rejects.toMatchObject({ code: "LEASE_TOO_SHORT", retriable: true });
    expect(await readTopic(cluster.brokers, topic)).toEqual([]);

    let asked = 0;
    const twice = producer.send(messages, { mayStart: () => ++asked <= 5 });
    await expect(twice).rejects.toMatchObject({ code: "LEASE_TOO_SHORT" });
    const sent = await readTopic(cluster.brokers, topic);
    expect(sent.length).toBeGreaterThan(0);
    expect(values(sent)).toEqual(values(messages.slice(0, sent.length)));
  });

  test("no broker: it gives up after some seconds, and refuses nothing", async () => {
    const producer = producerFor([`127.0.0.1:${await freePort()}`]);
    const error = await failureOf(producer.send([message("t", "a")]));
    expect(error).toMatchObject({ code: "KAFKA_UNAVAILABLE", retriable: true });
    expect(error.message).toContain("ECONNREFUSED");
    expect(error.cause).toBeInstanceOf(Error);
  });

  test("one of the bootstrap brokers is away: another one is asked", async () => {
    const { table, topic } = newTable();
    await createTopic(cluster.brokers, topic);
    const brokers = [`127.0.0.1:${await freePort()}`, ...cluster.brokers];
    expect(codes(await producerFor(brokers).send([message(table, "a")]))).toEqual([]);
    expect(await readTopic(cluster.brokers, topic)).toHaveLength(1);
  });

  test("a broker that hangs: it gives up after the timeout, and the same batch is sent again", async () => {
    const kafka = await cluster.own();
    const { table, topic } = newTable();
    await createTopic(kafka.bootstrap, topic, { partitions: 3 });
    const producer = producerFor(kafka.bootstrap, { requestTimeoutMs: 3_000 });
    const batches = Array.from({ length: 3 }, () =>
      Array.from({ length: 200 }, (_, n) => message(table, `key ${n % 20}`)),
    );
    await producer.send(batches[0]!);
    const { pid } = kafka.brokers[0]!;
    freeze(pid);
    try {
      await expect(producer.send(batches[1]!)).rejects.toMatchObject({ code: "KAFKA_UNAVAILABLE" });
    } finally {
      process.kill(pid, "SIGCONT");
    }
    expect(codes(await producer.send(batches[1]!))).toEqual([]);
    expect(codes(await producer.send(batches[2]!))).toEqual([]);
    const read = await readTopic(kafka.bootstrap, topic);
    expect(values(firstCopies(read))).toEqual(values(inPartitions(batches.flat(), 3)));
  });
});

describe("the producer, where clients must authenticate", () => {
  test("wrong credentials are told from a Kafka that is away", async () => {
    const kafka = await startKafka({
      settings: {
        "listener.security.protocol.map":
          "CLIENT:SASL_PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config":
          'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="right";',
      },
    });
    onTestFinished(async () => await kafka.stop());
    const sasl = { mechanism: "plain" as const, username: "ann" };
    const messages = [message("t", "a")];
    const wrong = producerFor(kafka.bootstrap, { sasl: { ...sasl, password: "wrong" } });
    const error = await failureOf(wrong.send(messages));
    expect(error).toMatchObject({ code: "KAFKA_AUTHENTICATION", retriable: true });
    expect(error.message).not.toContain("wrong");
    const right = producerFor(kafka.bootstrap, { sasl: { ...sasl, password: "right" } });
    expect(codes(await right.send(messages))).toEqual([[0, "TOPIC_MISSING"]]);
  });
});

describe("the producer, with three brokers", () => {
  let kafka: LocalKafka;

  beforeAll(async () => {
    kafka = await startKafka({ brokers: 3 });
  });

  afterAll(async () => await kafka?.stop());

  test("too few replicas in sync: it gives up after some seconds, and refuses nothing", async () => {
    const { table, topic } = newTable();
    await createTopic(kafka.bootstrap, topic, { configs: { "min.insync.replicas": "3" } });
    const producer = producerFor(kafka.bootstrap);
    await kafka.brokers[2]!.stop();
    const error = await failureOf(producer.send([message(table, "a")]));
    expect(error).toMatchObject({ code: "KAFKA_UNAVAILABLE", retriable: true });
    expect(error.message).toContain("NOT_ENOUGH_REPLICAS");
    await kafka.brokers[2]!.start();
  });

  test("a leader is killed in mid-send: nothing acknowledged is lost, and the order stays", async () => {
    const { table, topic } = newTable();
    await createTopic(kafka.bootstrap, topic, { partitions: 6 });
    const producer = producerFor(kafka.bootstrap, { requestBytesMax: 20_000 });
    const batches = Array.from({ length: 6 }, () =>
      Array.from({ length: 1_000 }, (_, n) => message(table, `key ${n % 50}`)),
    );
    let requests = 0;
    const mayStart = () => {
      requests += 1;
      if (requests === 60) void kafka.brokers[0]!.kill();
      return true;
    };
    for (const batch of batches) expect(await deliver(producer, batch, mayStart)).toEqual([]);
    expect(kafka.brokers[0]!.isRunning()).toBe(false);

    const read = await readTopic(kafka.bootstrap, topic, { atLeast: 6_000 });
    expect(values(firstCopies(read))).toEqual(values(inPartitions(batches.flat(), 6)));
  });
});

/** Send a batch until Kafka has answered for all of it, as the relay does. */
async function deliver(
  producer: Producer,
  batch: Message[],
  mayStart: () => boolean,
): Promise<[number, string][]> {
  for (let tries = 1; ; tries++) {
    try {
      return codes(await producer.send(batch, { mayStart }));
    } catch (error) {
      if (tries === 5) throw error;
    }
  }
}
