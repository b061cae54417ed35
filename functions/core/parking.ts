import { TRUNCATE } from "./message.ts";
import type { ParkedSummary } from "./postgres/queue.ts";

/** The code of an event that was not refused itself, but waits behind one that was. */
export const BEHIND_REFUSED = "BEHIND_REFUSED";

interface Place {
  topic: string;
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
  add({ topic, externalId, statement }: Place, isTopicRefused: boolean): void {
    if (isTopicRefused || statement === TRUNCATE) this.#topics.add(topic);
    const keys = this.#keys.get(topic) ?? new Set();
    this.#keys.set(topic, keys);
    if (externalId !== null) keys.add(externalId);
  }

  isBehind({ topic, externalId, statement }: Place): boolean {
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
 * was refused for good stays, and so does all that is behind it; another lane's is left to it.
 *
 * @param parked by id
 * @param blocked what stays is added to it; add what is refused again before taking the next part
 */
export function* dueEvents(
  parked: readonly ParkedSummary[],
  blocked: Blocked,
  limits: { eventsMax: number; bytesMax: number },
): Generator<ParkedSummary[]> {
  let due: ParkedSummary[] = [];
  let bytes = 0;
  for (const event of parked) {
    const isRefusedForGood = event.code !== BEHIND_REFUSED && !event.retriable;
    if (isRefusedForGood || !event.isOwn || blocked.isBehind(event)) {
      blocked.add(event, isOfTopic(event));
      continue;
    }
    due.push(event);
    bytes += event.bytes;
    if (due.length < limits.eventsMax && bytes < limits.bytesMax) continue;
    yield due;
    due = [];
    bytes = 0;
  }
  if (due.length > 0) yield due;
}
