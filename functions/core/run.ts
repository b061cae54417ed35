import type { Delivery } from "./deliver.ts";
import type { Queue } from "./postgres/queue.ts";
import { type RelayReport, stop } from "./report.ts";

/** What the relay works with. No batch starts in the last `limits.marginMs` before the deadline. */
export interface Relay extends Delivery {
  queue: Queue;
  /** How many drains there are to be, side by side. */
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
