import type { RelayLimits } from "./config.ts";
import type { Message, QueueEvent } from "./message.ts";
import type { Queue } from "./postgres/queue.ts";
import { type RelayReport, stop } from "./report.ts";
import type { Sender } from "./sender.ts";

/** What the relay works with. */
export interface Relay {
  queue: Queue;
  toMessage: (event: QueueEvent) => Message;
  /** For the lease of a lane; the session closes it. */
  openSender: (lane: number) => Sender;
  limits: RelayLimits;
  /** Of a batch; less than the limit after more was refused of one than could be dealt with. */
  eventsMax: number;
  /** On the monotonic clock of `performance.now()`; no batch starts in the last `marginMs`. */
  deadlineMs: number;
  /** Which of the drains this is, from 0, and how many there are to be. */
  lane: number;
  lanes: number;
  /** Whether to wait for new events until the time is up. */
  linger: boolean;
}

/** Whether there is time for another batch. */
export function hasTime({ deadlineMs, limits }: Relay): boolean {
  return performance.now() <= deadlineMs - limits.marginMs;
}

/** Whether another batch may start; if not, the report says why. */
export function mayContinue(run: Relay, isPaused: boolean, report: RelayReport): boolean {
  if (isPaused) stop(report, "PAUSED", "The drain is paused: select pg2kafka.resume()");
  else if (!hasTime(run)) stop(report, "DEADLINE", "Time is up.");
  return report.stopped === null;
}
