import type { Message } from "../../functions/core/message.ts";

/** A message whose value is all there is to tell it by. */
export function message(topic: string, key: string | null, value: string): Message {
  return {
    topic,
    key: key === null ? null : Buffer.from(key),
    value,
    valueBytes: Buffer.byteLength(value),
    headers: {},
    timestampMs: "1700000000000",
    broadcast: false,
    bytes: Buffer.byteLength(value) + 100,
  };
}
