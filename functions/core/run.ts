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

/** Whether there is time for another batch; if not, the report says why. */
export function mayContinue({ deadlineMs, limits }: Relay, isPaused: boolean, report: RelayReport) {
  if (isPaused) stop(report, "PAUSED", "The drain is paused: select pg2kafka.resume()");
  else if (performance.now() > deadlineMs - limits.marginMs)
    stop(report, "DEADLINE", "Time is up.");
  return report.stopped === null;
}
