import type { RelayLimits } from "./config.ts";
import type { Refusal } from "./kafka/failures.ts";
import type { Message, QueueEvent } from "./message.ts";
import { BEHIND_REFUSED, type Blocked, isOfTopic } from "./parking.ts";
import type { FetchedEvent } from "./postgres/batch.ts";
import { type ParkedLimits, parkedFull } from "./postgres/queue.ts";
import type { ParkedEvent } from "./postgres/state.ts";

/** What may be parked still. */
export interface Room extends ParkedLimits {
  /** Of what is parked. */
  largestBytes: number;
}

/** Events on their way to Kafka together: the messages of those that can be sent, and the others. */
export interface Parcel {
  messages: Message[];
  /** Of the messages, in the same order. */
  events: FetchedEvent[];
  /** What is not sent: it waits behind something that is parked, or cannot be read. */
  held: ParkedEvent[];
}

/**
 * Make messages of events, but for what waits behind parked ones.
 *
 * @param blocked what is held is added to it
 * @param room what may still be parked, which is taken from; null for events that are parked already
 * @throws {QueueError} PARKED_FULL
 */
export function pack(
  events: readonly FetchedEvent[],
  toMessage: (event: QueueEvent) => Message,
  blocked: Blocked,
  room: Room | null,
  limits: RelayLimits,
): Parcel {
  const parcel: Parcel = { messages: [], events: [], held: [] };
  for (const event of events) {
    const message = toMessage(event);
    const refusal = blocked.isBehind(message.topic, event)
      ? behind(message.topic)
      : unreadable(event, limits, room === null);
    if (refusal === null) {
      parcel.messages.push(message);
      parcel.events.push(event);
      continue;
    }
    parcel.held.push({ id: event.id, topic: message.topic, ...refusal });
    blocked.add(message.topic, event, false);
    if (room) takeRoom(room, [event]);
  }
  if (room && parcel.held.length > 0) assertRoom(room, limits.parked);
  return parcel;
}

/** All of a parcel that is not in Kafka. @param refused by position of its message */
export function leftOf(
  { messages, events, held }: Parcel,
  refused: ReadonlyMap<number, Refusal>,
): ParkedEvent[] {
  const left = [...refused].map(([index, refusal]) => ({
    id: events[index]!.id,
    topic: messages[index]!.topic,
    ...refusal,
  }));
  return [...held, ...left];
}

/** What was refused holds back what follows it, and takes room. */
export function block(
  { messages, events }: Parcel,
  refused: ReadonlyMap<number, Refusal>,
  blocked: Blocked,
  room: Room | null,
): void {
  for (const [index, refusal] of refused) {
    const event = events[index]!;
    blocked.add(messages[index]!.topic, event, isOfTopic(refusal));
    if (room) takeRoom(room, [event]);
  }
}

/**
 * Whether what was refused, if anything was, may be parked besides.
 *
 * @param room what is left for it; nothing is taken from it
 * @throws {QueueError} PARKED_FULL
 */
export function checkRoom(
  { events }: Parcel,
  refused: ReadonlyMap<number, Refusal>,
  room: Room,
  bounds: ParkedLimits,
): void {
  if (refused.size === 0) return;
  const left = { ...room };
  takeRoom(
    left,
    [...refused.keys()].map((index) => events[index]!),
  );
  assertRoom(left, bounds);
}

/** As settle() does: the largest event may be of any size. */
function assertRoom({ eventsMax, bytesMax, largestBytes }: Room, bounds: ParkedLimits): void {
  if (eventsMax < 0 || bytesMax + largestBytes < 0) throw parkedFull(bounds);
}

export function takeRoom(
  room: Room,
  events: readonly { bytes?: number; dataBytes?: number | null }[],
): void {
  for (const event of events) {
    const bytes = event.bytes ?? event.dataBytes ?? 0;
    room.eventsMax -= 1;
    room.bytesMax -= bytes;
    room.largestBytes = Math.max(room.largestBytes, bytes);
  }
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
      "The change was not captured: the row's JSON would not fit a value of Postgres, or pg2kafka may " +
      "not read the partition that was truncated.";
    return { ...common, code: "NOT_CAPTURED", reason };
  }
  const reason =
    `The event has ${dataBytes} bytes of data; the bound is ${batch.eventBytesMax}. ` +
    "Raise MESSAGE_BYTES_MAX together with max.message.bytes of the topic, or make the row smaller.";
  return { ...common, code: "MESSAGE_TOO_LARGE", reason };
}
