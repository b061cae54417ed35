import { randomUUID } from "node:crypto";
import { inject, onTestFinished } from "vitest";
import type { BatchName } from "../../functions/core/batch-name.ts";
import {
  createTransactionalProducer,
  type TransactionalProducer,
  type TransactionalSettings,
} from "../../functions/core/kafka/transactional.ts";
import type { Message } from "../../functions/core/message.ts";
import { message } from "./message.ts";

/** Part of all names, by which what is left on a server that was given is found and removed. */
const { run } = inject("given");

/** Settings under names that no other test has. */
export function settingsFor(
  brokers: string[],
  more: Partial<TransactionalSettings> = {},
): TransactionalSettings {
  const name = `pg2kafka.test_${run}.${randomUUID()}`;
  return {
    brokers,
    clientId: "test",
    requestTimeoutMs: 5_000,
    connectionTimeoutMs: 5_000,
    requestBytesMax: 900_000,
    messageBytesMax: 1_000_000,
    transactionalId: name,
    groupId: name,
    markerTopic: `${name}.batches`,
    transactionTimeoutMs: 20_000,
    ...more,
  };
}

/** A producer that is closed when the test has finished. */
export function producerFor(settings: TransactionalSettings): TransactionalProducer {
  const producer = createTransactionalProducer(settings);
  onTestFinished(async () => await producer.close());
  return producer;
}

export function newTopic(): string {
  return `pg2kafka.test_${run}.${randomUUID()}`;
}

export function newBatch(number: number): BatchName {
  return { number: String(number), id: randomUUID() };
}

/** `count` messages, numbered from `from`, of `keys` keys in turn. */
export function messages(topic: string, from: number, count: number, keys = 10): Message[] {
  return Array.from({ length: count }, (_, n) =>
    message(topic, `key ${(from + n) % keys}`, String(from + n)),
  );
}
