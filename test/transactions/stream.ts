import type { Message } from "../../functions/core/message.ts";
import { type CommittedMessage, readCommitted } from "../support/committed.ts";
import { message } from "./message.ts";

/** Numbered events in batches, the same whoever makes them: what a queue would hand out. */
export interface Stream {
  /** The events' numbers go round these. */
  topics: string[];
  keys: number;
  batches: number;
  eventsPerBatch: number;
}

/** Events `(number - 1) * eventsPerBatch` and on, for batches counted from 1. */
export function batchOf(stream: Stream, number: number): Message[] {
  const { topics, keys, eventsPerBatch } = stream;
  return Array.from({ length: eventsPerBatch }, (_, n) => {
    const event = (number - 1) * eventsPerBatch + n;
    const key = event % keys;
    return message(topics[key % topics.length]!, `key ${key}`, String(event));
  });
}

export interface StreamCounts {
  read: number;
  lost: number;
  repeated: number;
  /** Of neighbours in a partition, those in the wrong order. */
  inverted: number;
  /** In a partition that is not the one of the key's first event. */
  misplaced: number;
}

/** What a reader of committed messages sees of the first `batches` batches, against what was sent. */
export async function countStream(brokers: string[], stream: Stream): Promise<StreamCounts> {
  const seen = new Map<number, number>();
  const places = new Map<string, number>();
  let [read, inverted, misplaced] = [0, 0, 0];
  for (const topic of stream.topics) {
    const committed = await readCommitted(brokers, topic);
    let before: CommittedMessage | undefined;
    for (const one of committed) {
      const event = Number(one.value);
      read += 1;
      seen.set(event, (seen.get(event) ?? 0) + 1);
      if (before?.partition === one.partition && Number(before.value) > event) inverted += 1;
      if (one.key !== `key ${event % stream.keys}`) misplaced += 1;
      const place = places.get(one.key!) ?? one.partition;
      if (place !== one.partition) misplaced += 1;
      places.set(one.key!, place);
      before = one;
    }
  }
  const expected = stream.batches * stream.eventsPerBatch;
  const found = [...seen.keys()].filter((event) => event < expected).length;
  return { read, lost: expected - found, repeated: read - seen.size, inverted, misplaced };
}
