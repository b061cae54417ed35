import { TRUNCATE } from "./message.ts";
import type { ParkedSummary } from "./postgres/queue.ts";

/** The code of an event that was not refused itself, but waits behind one that was. */
export const BEHIND_REFUSED = "BEHIND_REFUSED";

interface Keyed {
  externalId: string | null;
  statement: string;
}

/**
 * What must wait because something before it is parked: a key behind a refused event of the key,
 * a topic behind a refusal of the topic. Events without a key wait for none of the other keys,
 * but a TRUNCATE, which is about all of them, waits for each, and everything waits for it.
 */
export class Blocked {
  readonly #topics = new Set<string>();
  /** Topic → keys. */
  readonly #keys = new Map<string, Set<string>>();

  /** @param isTopicRefused whether the whole topic was refused, not the event */
  add(topic: string, { externalId, statement }: Keyed, isTopicRefused: boolean): void {
    if (isTopicRefused || statement === TRUNCATE) this.#topics.add(topic);
    const keys = this.#keys.get(topic) ?? new Set();
    this.#keys.set(topic, keys);
    if (externalId !== null) keys.add(externalId);
  }

  isBehind(topic: string, { externalId, statement }: Keyed): boolean {
    if (this.#topics.has(topic)) return true;
    const keys = this.#keys.get(topic);
    if (keys === undefined) return false;
    return statement === TRUNCATE || (externalId !== null && keys.has(externalId));
  }
}

/** Whether a refusal is about the topic, and not about one event. */
export function isOfTopic({ code, scope }: { code: string; scope: "key" | "topic" }): boolean {
  return code !== BEHIND_REFUSED && scope === "topic";
}

/**
 * What is parked and may be tried again, in order and in parts within the limits. An event that
 * was refused for good stays, and so does all that is behind it; another lane's is left to it. A
 * TRUNCATE comes alone.
 *
 * @param parked in the order in which they were to be delivered
 * @param blocked what stays is added to it; add what is refused again before taking the next part
 */
export function* dueEvents(
  parked: readonly ParkedSummary[],
  blocked: Blocked,
  limits: { eventsMax: number; bytesMax: number },
): Generator<ParkedSummary[]> {
  let due = new Due();
  for (const event of parked) {
    const isRefusedForGood = event.code !== BEHIND_REFUSED && !event.retriable;
    if (isRefusedForGood || !event.isOwn || blocked.isBehind(event.topic, event)) {
      // Whether the topic takes anything now, each lane finds out for itself.
      const isTopicRefused = event.isOwn && isOfTopic(event);
      if (due.isBefore(event, isTopicRefused)) {
        yield due.events;
        due = new Due();
      }
      blocked.add(event.topic, event, isTopicRefused);
    } else {
      const isTruncate = event.statement === TRUNCATE;
      if (isTruncate && due.events.length > 0) {
        yield due.events;
        due = new Due();
      }
      due.add(event);
      if (!isTruncate && due.events.length < limits.eventsMax && due.bytes < limits.bytesMax)
        continue;
      yield due.events;
      due = new Due();
    }
  }
  if (due.events.length > 0) yield due.events;
}

/** Parked events to be tried together. */
class Due {
  readonly events: ParkedSummary[] = [];
  bytes = 0;
  readonly #places = new Blocked();

  add(event: ParkedSummary): void {
    this.events.push(event);
    this.bytes += event.bytes;
    this.#places.add(event.topic, event, false);
  }

  /** Whether one of them is to come before an event: that one must not hold it back. */
  isBefore(event: ParkedSummary, isTopicRefused: boolean): boolean {
    const { topic } = event;
    return this.#places.isBehind(topic, isTopicRefused ? { ...event, statement: TRUNCATE } : event);
  }
}
