import { createRequire } from "node:module";
import fc from "fast-check";
import { expect, test } from "vitest";
import { speedUpEncoder } from "../../functions/core/kafka/encoder.ts";

interface Encoded {
  buffer: Buffer;
}
type ProduceRequest = (options: object) => { encode(): Promise<Encoded> };

const require = createRequire(import.meta.url);

/** kafkajs's encoder of Produce requests, and a fresh copy of all that it uses. */
function loadProduceRequest(): ProduceRequest {
  for (const path of Object.keys(require.cache)) {
    if (path.includes("/kafkajs/")) delete require.cache[path];
  }
  return require("kafkajs/src/protocol/requests/produce/v7/request.js");
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 1200 }),
  fc.integer({ min: 500, max: 70_000 }).map((length) => new Uint8Array(length).fill(length)),
);
const message = fc.record({
  key: fc.option(bytes.map(Buffer.from)),
  value: fc.option(bytes.map(Buffer.from)),
  timestamp: fc.integer({ min: 0, max: 4e12 }).map(String),
  headers: fc.dictionary(fc.string({ minLength: 1 }), fc.string({ maxLength: 700 })),
});

test("what is sent is the same, byte for byte", async () => {
  const original = loadProduceRequest();
  const pooled = loadProduceRequest();
  // Patches the copy that was loaded last.
  speedUpEncoder(require("kafkajs/src/protocol/encoder.js"));
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 20 }), async (messages) => {
      const request = {
        acks: -1,
        timeout: 1000,
        topicData: [{ topic: "t", partitions: [{ partition: 0, messages }] }],
      };
      const [expected, actual] = [original(request), pooled(request)];
      expect((await actual.encode()).buffer.equals((await expected.encode()).buffer)).toBe(true);
    }),
  );
});
