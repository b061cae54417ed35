import type { RelayLimits } from "./config.ts";
import type { Refusal } from "./kafka/failures.ts";
import type { Producer } from "./kafka/producer.ts";
import type { Message, QueueEvent } from "./message.ts";
import { BEHIND_REFUSED, type Blocked, isOfTopic } from "./parking.ts";
import {
  type FetchedEvent,
  type Lease,
  type ParkedEvent,
  type ParkedLimits,
  parkedFull,
} from "./postgres/queue.ts";

/** What sends events. */
export interface Delivery {
  producer: Producer;
  toMessage: (event: QueueEvent) => Message;
  limits: RelayLimits;
  /** On the monotonic clock of `performance.now()`. */
  deadlineMs: number;
}

/**
 * Send events, but for what waits behind parked ones. A TRUNCATE is about every key of its topic:
 * it comes alone, when what is before it is stored or refused.
 *
 * @param room what may still be parked; null for events that are parked already
 * @returns what was refused, and why
 */
export async function deliver(
  run: Delivery,
  lease: Lease,
  events: readonly FetchedEvent[],
  blocked: Blocked,
  room: ParkedLimits | null,
): Promise<ParkedEvent[]> {
  const refused: ParkedEvent[] = [];
  const messages: Message[] = [];
  const sent: FetchedEvent[] = [];
  const held: FetchedEvent[] = [];
  for (const event of events) {
    const message = run.toMessage({ ...event, data: event.data ?? "null" });
    const place = { ...event, topic: message.topic };
    const refusal = blocked.isBehind(place)
      ? behind(message.topic)
      : unreadable(event, run.limits, room === null);
    if (refusal === null) {
      messages.push(message);
      sent.push(event);
    } else {
      held.push(event);
      refused.push({ id: String(event.id), topic: message.topic, ...refusal });
      blocked.add(place, false);
    }
  }
  if (room) takeRoom(room, held);
  if (room && isFull(room)) throw parkedFull(run.limits.parked);
  const report = await run.producer.send(messages, {
    mayStart: () => outlivesRequest(run, lease),
    ...(room && { refusedMax: room.eventsMax }),
  });
  for (const [index, refusal] of report.refused) {
    const event = sent[index]!;
    const { topic } = messages[index]!;
    refused.push({ id: String(event.id), topic, ...refusal });
    blocked.add({ ...event, topic }, isOfTopic(refusal));
    if (room) takeRoom(room, [event]);
  }
  return refused;
}

export function takeRoom(
  room: ParkedLimits,
  events: readonly { bytes?: number; dataBytes?: number | null }[],
): void {
  room.eventsMax -= events.length;
  room.bytesMax -= events.reduce((sum, event) => sum + (event.bytes ?? event.dataBytes ?? 0), 0);
}

function isFull({ eventsMax, bytesMax }: ParkedLimits): boolean {
  return eventsMax < 0 || bytesMax < 0;
}

/** Whether a request would be answered, or given up, while this drain has its lease and its time.
 *  One under way after that could cross the next drain's. */
function outlivesRequest({ limits, deadlineMs }: Delivery, { expiresAtMs }: Lease): boolean {
  return Math.min(expiresAtMs, deadlineMs) - performance.now() > limits.requestTimeoutMs;
}

function behind(topic: string): Omit<ParkedEvent, "id" | "topic"> {
  return {
    scope: "key",
    code: BEHIND_REFUSED,
    reason: `Not sent: an earlier event for topic "${topic}" is parked. Mend that one first.`,
    retriable: true,
  };
}

/**
 * Why an event cannot be sent at all; null when it can.
 *
 * @param isRequeued somebody has asked for it: it is sent with null for data that was not captured
 */
function unreadable(
  { data, dataBytes }: FetchedEvent,
  { batch }: RelayLimits,
  isRequeued: boolean,
): Refusal | null {
  if (data !== null || (dataBytes === null && isRequeued)) return null;
  const common = { scope: "key", retriable: false } as const;
  if (dataBytes === null) {
    const reason =
      "The row was too large to be captured: its JSON would not fit a value of Postgres.";
    return { ...common, code: "NOT_CAPTURED", reason };
  }
  const reason =
    `The event has ${dataBytes} bytes of data; the bound is ${batch.eventBytesMax}. ` +
    "Raise MESSAGE_BYTES_MAX together with max.message.bytes of the topic, or make the row smaller.";
  return { ...common, code: "MESSAGE_TOO_LARGE", reason };
}
