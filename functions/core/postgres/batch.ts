import type { QueueEvent } from "../message.ts";
import type { Position } from "./state.ts";

/** An event as read. `data` is null when it is too large to be read, or was to be captured. */
export interface FetchedEvent extends QueueEvent {
  /** Of `data`, as text; null when the row was too large to be captured. */
  dataBytes: number | null;
}

export interface Batch {
  /** In the order in which they are to be delivered. */
  events: FetchedEvent[];
  /** The position once all of them are dealt with. */
  after: Position;
  isPaused: boolean;
  /** A TRUNCATE follows, which is about the keys of all lanes: this one cannot go on. */
  isBeforeTruncate: boolean;
}

export interface BatchLimits {
  eventsMax: number;
  /** Of the events' data together; a single larger event comes alone. */
  bytesMax: number;
  /** Larger data is not read. */
  eventBytesMax: number;
}

/* How a batch is cut to its bytes: Postgres leaves out what follows events that reach the bound, so
   one event may come too many, which is left out here. */

/** What is stored is the text, compressed or not, and up to four bytes for its length. */
const STORED_MORE_BYTES = 4;

export function storedBytesMax({ bytesMax, eventsMax }: BatchLimits): number {
  return bytesMax + eventsMax * STORED_MORE_BYTES;
}

/** How many of the first events fit; one always does. */
export function countFitting(
  events: readonly FetchedEvent[],
  { bytesMax, eventBytesMax }: BatchLimits,
): number {
  let bytes = 0;
  const tooMany = events.findIndex(({ dataBytes }, index) => {
    bytes += Math.min(dataBytes ?? 0, eventBytesMax);
    return bytes > bytesMax && index > 0;
  });
  return tooMany < 0 ? events.length : tooMany;
}

/** Whether Postgres has left out nothing for a bound. */
export function isWhole(
  events: readonly FetchedEvent[],
  { bytesMax, eventsMax }: BatchLimits,
): boolean {
  const bytes = events.reduce((sum, { dataBytes }) => sum + (dataBytes ?? 0), 0);
  return events.length < eventsMax && bytes < bytesMax;
}
