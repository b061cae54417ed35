import { randomUUID } from "node:crypto";
import { type Message, messageFormat } from "../../functions/core/message.ts";

const DATABASE = "bench";

/** Messages as the drain makes them of the events in items.ts. */
export function makeMessages(namespace: string, count: number): Message[] {
  const toMessage = messageFormat({ queueId: randomUUID(), database: DATABASE, namespace });
  const nowMicros = BigInt(Date.now()) * 1000n + 123n;
  return Array.from({ length: count }, (_, index) => {
    const externalId = `sku-${String(index).padStart(8, "0")}`;
    const data = JSON.stringify({
      id: index,
      sku: externalId,
      name: `Item number ${index}`,
      price: (index % 10_000) / 100,
      qty: index % 100,
      note: `shelf ${index % 500}`,
      updated: "2026-01-02T03:04:05.123456+00:00",
    });
    const createdAtMicros = String(nowMicros + BigInt(Math.floor(index / 100_000)));
    return toMessage({
      id: String(index),
      uuid: randomUUID(),
      externalId,
      schema: "public",
      table: "items",
      statement: "INSERT",
      data,
      createdAtMicros,
      replay: null,
    });
  });
}
