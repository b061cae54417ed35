import { setTimeout as sleep } from "node:timers/promises";
import { unlessLost } from "./postgres/queue.ts";
import { hasTime, type Relay } from "./run.ts";
import type { Session } from "./session.ts";

/** Between two looks: short after there was something, then longer and longer. Idle, that makes
 *  between four and five queries a second, and the first event waits at most so long. */
const PAUSE_MS_MIN = 2;
const PAUSE_MS_MAX = 220;
const PAUSE_GROWTH = 1.2;

/**
 * Wait until there may be something to send, or, without lingering, not at all. While nothing
 * comes nothing is written, so the lease may run out, and another drain may take it.
 *
 * @returns false when this drain is to end: its time is up, or another one is at work
 */
export async function untilWork(run: Relay, session: Session): Promise<boolean> {
  const { queue, limits, deadlineMs, linger } = run;
  const { lease, position } = session;
  if (!linger) return false;
  let pauseMs = PAUSE_MS_MIN;
  for (;;) {
    const hasWork = await queue.hasWork(lease, position);
    if (hasWork === null) return false;
    if (hasWork) break;
    const leftMs = deadlineMs - limits.marginMs - performance.now() + 1;
    await Promise.all([sleep(Math.min(pauseMs, leftMs)), session.settled()]);
    if (!hasTime(run)) return false;
    pauseMs = Math.min(pauseMs * PAUSE_GROWTH, PAUSE_MS_MAX);
  }
  const isLong = lease.expiresAtMs - performance.now() > limits.leaseMs / 2;
  return isLong || (await unlessLost(session.settle({})));
}
