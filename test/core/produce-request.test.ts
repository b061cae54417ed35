import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import fc from "fast-check";
import type { Message as KafkaMessage } from "kafkajs";
import Produce, { type ProduceArguments } from "kafkajs/src/protocol/requests/produce/index.js";
import { describe, expect, onTestFinished, test } from "vitest";
import { crc32c } from "../../functions/core/kafka/crc32c.ts";
import { Frame } from "../../functions/core/kafka/frame.ts";
import { encodeBatches, partitionMessages } from "../../functions/core/kafka/produce-request.ts";
import { RECORD_BATCH_BYTES } from "../../functions/core/kafka/record-batch.ts";
import type { Message } from "../../functions/core/message.ts";
import { createTopic, kafkaClient, readTopic } from "../local/topics.ts";
import { useKafka } from "../support/kafka.ts";

type Request = ReturnType<ReturnType<typeof Produce.protocol>>["request"];

const createRequest: (of: {
  correlationId: number;
  clientId: string;
  request: Request;
}) => Promise<{ buffer: Buffer }> = createRequire(import.meta.url)(
  "kafkajs/src/protocol/request.js",
);

encodeBatches();

/** Of up to 180 messages each. */
const RUNS = 40;
/** Above what any record adds to its content. */
const OVERHEAD_BYTES = 64;
const HEADER_OVERHEAD_BYTES = 10;

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 1200 }),
  fc.integer({ min: 500, max: 70_000 }).map((length) => new Uint8Array(length).fill(length)),
);
/* Few names, and values that are often as long or the same, as in a drain. */
const headers = fc.oneof(
  fc.record({
    uuid: fc.uuid(),
    queue: fc.constant("q"),
    statement: fc.constantFrom("INSERT", "UPDATE", "SNAPSHOT", "größe"),
  }),
  fc.dictionary(fc.string({ minLength: 1 }), fc.string({ unit: "grapheme", maxLength: 300 })),
);
const content = fc.record({
  key: fc.option(bytes.map((one) => Buffer.from(one))),
  value: fc.string({ unit: "binary", maxLength: 300 }),
  headers,
  sinceMs: fc.oneof(fc.constant(0), fc.nat(200), fc.nat(), fc.nat(9e11)),
});
const messages = fc
  .tuple(fc.integer({ min: 1e12, max: 9e12 }), fc.array(content, { minLength: 1, maxLength: 20 }))
  .map(([firstMs, contents]) =>
    contents.map(
      // kafkajs counts from the earliest: that is the first here.
      ({ key, value, headers, sinceMs }, index): Message => ({
        topic: "not read",
        key,
        value,
        valueBytes: Buffer.byteLength(value),
        headers,
        timestampMs: String(index === 0 ? firstMs : firstMs + sinceMs),
        broadcast: false,
        bytes: Object.entries(headers)
          .flat()
          .reduce(
            (sum, text) => sum + HEADER_OVERHEAD_BYTES + Buffer.byteLength(text),
            OVERHEAD_BYTES + (key?.length ?? 0) + Buffer.byteLength(value),
          ),
      }),
    ),
  );
const topicData = fc.array(
  fc.record({
    topic: fc.string({ unit: "grapheme" }),
    partitions: fc.array(
      fc.record({ partition: fc.nat(), firstSequence: fc.option(fc.nat()), messages }),
      { minLength: 1, maxLength: 3 },
    ),
  }),
  { minLength: 1, maxLength: 3 },
);
const sender = fc.oneof(
  fc.constant({}),
  fc.record({
    transactionalId: fc.option(fc.string({ minLength: 1 })),
    producerId: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String),
    producerEpoch: fc.integer({ min: 0, max: 32_767 }),
  }),
);

function toKafkajs({ key, value, headers, timestampMs }: Message): KafkaMessage {
  return { key, value, headers, timestamp: timestampMs };
}

function toOurs(messages: Message[], partition = 0): KafkaMessage[] {
  const bytesMax = messages.reduce((sum, { bytes }) => sum + bytes, RECORD_BATCH_BYTES);
  return partitionMessages(partition, messages, bytesMax, "none", true);
}

describe("a request", () => {
  const cluster = useKafka();

  test("is the same as that of kafkajs, byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(
        topicData,
        sender,
        fc.string({ maxLength: 1_000 }),
        async (topics, sender, clientId) => {
          const describeAs = (
            convert: (messages: Message[], partition: number) => KafkaMessage[],
          ): ProduceArguments => ({
            acks: -1,
            timeout: 1000,
            ...sender,
            topicData: topics.map(({ topic, partitions }) => ({
              topic,
              partitions: partitions.map(({ partition, firstSequence, messages }) => ({
                partition,
                ...(firstSequence !== null && { firstSequence }),
                messages: convert(messages, partition),
              })),
            })),
          });
          const protocol = Produce.protocol({ version: 7 });
          const encode = async ({ request }: { request: Request }) =>
            (await createRequest({ correlationId: 7, clientId, request })).buffer;
          const theirs = protocol(describeAs((messages) => messages.map(toKafkajs)));
          const ours = protocol(describeAs(toOurs));
          expect((await encode(ours)).equals(await encode(theirs))).toBe(true);
          // The next one is written over this one.
          await ours.response.decode(NO_ANSWER);
        },
      ),
      { numRuns: RUNS },
    );
  });

  test("has its messages numbered one after the other, for a producer whose numbers count", async () => {
    const topic = `numbered-${randomUUID()}`;
    await createTopic(cluster.brokers, topic);
    // A transactional producer numbers in the same way.
    const options = { idempotent: true, maxInFlightRequests: 1, retry: { retries: 5 } };
    const producer = kafkaClient(cluster.brokers).producer(options);
    onTestFinished(async () => await producer.disconnect());
    await producer.connect();
    const batches = ["a", "b", "c"].map((name) => [1, 2, 3].map((n) => plain(`${name}${n}`)));
    // Kafka refuses a number that does not follow the last one.
    for (const messages of batches) await producer.send({ topic, messages: toOurs(messages) });
    const read = await readTopic(cluster.brokers, topic);
    expect(read.map(({ value }) => value)).toEqual(batches.flat().map(({ value }) => value));
  });

  test("is not sent when kafkajs would number its messages wrongly", async () => {
    const uncounted = partitionMessages(0, [plain("a"), plain("b")], 1_000, "none");
    const { request } = Produce.protocol({ version: 7 })({
      acks: -1,
      timeout: 1000,
      producerId: "5",
      topicData: [{ topic: "t", partitions: [{ partition: 0, messages: uncounted }] }],
    });
    await expect(request.encode()).rejects.toThrow("counts 1 messages where 2 are sent");
  });

  test("keeps its buffer to itself until Kafka has answered", () => {
    const first = new Frame(100_000);
    const second = new Frame(100_000);
    expect(second.bytes.buffer).not.toBe(first.bytes.buffer);
    first.release();
    expect(new Frame(50_000).bytes.buffer).toBe(first.bytes.buffer);
    expect(new Frame(50_000).bytes.buffer).not.toBe(first.bytes.buffer);
  });
});

function plain(value: string): Message {
  const timestampMs = "1500000000000";
  const message = { topic: "not read", key: null, headers: {}, timestampMs, broadcast: false };
  return { ...message, value, valueBytes: value.length, bytes: OVERHEAD_BYTES + value.length };
}

/** No topics, and no throttling. */
const NO_ANSWER = Buffer.alloc(8);

/* From RFC 3720, B.4. */
test.each([
  ["32 zeros", Buffer.alloc(32), 0x8a9136aa],
  ["32 ones", Buffer.alloc(32, 0xff), 0x62a8ab43],
  ["32 bytes counted up", Buffer.from(Array.from({ length: 32 }, (_, n) => n)), 0x46dd794e],
  ["123456789", Buffer.from("123456789"), 0xe3069283],
  ["nothing", Buffer.alloc(0), 0],
])("the checksum of %s is CRC-32C", (_, data, checksum) => {
  expect(crc32c(data)).toBe(checksum);
});
