import fc from "fast-check";
import { type PartitionerArgs, Partitioners } from "kafkajs";
import { describe, expect, test } from "vitest";
import { createPartitioner, murmur2, partitionOf } from "../../functions/core/kafka/partitioner.ts";

function argsFor(partitions: number, message: Omit<PartitionerArgs["message"], "value">) {
  const partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
    partitionErrorCode: 0,
    partitionId,
    leader: 1,
    replicas: [1],
    isr: [1],
  }));
  return { topic: "products", partitionMetadata, message: { value: null, ...message } };
}

describe("the partition of a key", () => {
  // From UtilsTest.testMurmur2 of Kafka's Java client.
  test.each([
    ["21", -973932308],
    ["foobar", -790332482],
    ["a-little-bit-long-string", -985981536],
    ["a-little-bit-longer-string", -1486304829],
    ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
    ["abc", 479470107],
  ])("hashes %s as Kafka's Java client does", (key, hash) => {
    expect(murmur2(Buffer.from(key))).toBe(hash);
  });

  test("is the one of kafkajs, whatever the bytes", () => {
    const theirs = Partitioners.DefaultPartitioner();
    const ours = createPartitioner();
    const key = fc.oneof(
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
      fc.string({ unit: "grapheme", maxLength: 40 }),
      fc.constant(""),
    );
    fc.assert(
      fc.property(key, fc.integer({ min: 1, max: 200 }), (key, partitions) => {
        const args = argsFor(partitions, { key });
        const partition = ours(args);
        expect(partition).toBe(theirs(args));
        expect(partitionOf(Buffer.from(key), partitions, 7)).toBe(partition);
      }),
      { numRuns: 5_000 },
    );
  });
});

describe("the partitioner", () => {
  test("leaves a message where it says it belongs", () => {
    expect(createPartitioner()(argsFor(6, { key: "a", partition: 5 }))).toBe(5);
    expect(createPartitioner()(argsFor(6, { key: null, partition: 0 }))).toBe(0);
  });

  test("spreads messages without key evenly", () => {
    const partitioner = createPartitioner();
    const counts = [0, 0, 0];
    for (let sent = 0; sent < 30; sent++) counts[partitioner(argsFor(3, { key: null }))]! += 1;
    expect(counts).toEqual([10, 10, 10]);
  });
});
