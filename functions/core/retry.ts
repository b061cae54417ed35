import { deliver, takeRoom } from "./deliver.ts";
import { Blocked, dueEvents } from "./parking.ts";
import type { Lease, ParkedLimits, Settlement } from "./postgres/queue.ts";
import type { RelayReport } from "./report.ts";
import { mayContinue, type Relay } from "./run.ts";

/**
 * Try again what is parked and may succeed now, in order.
 *
 * @returns what the rest holds back, and how much may still be parked
 */
export async function retryParked(
  run: Relay,
  lease: Lease,
  report: RelayReport,
  settle: (settlement: Partial<Settlement>) => Promise<void>,
): Promise<{ blocked: Blocked; room: ParkedLimits }> {
  const { batch, parked: parkedMax } = run.limits;
  const parked = await run.queue.readParked(lease.share);
  const blocked = new Blocked();
  const room = { ...parkedMax };
  takeRoom(room, parked);
  for (const due of dueEvents(parked, blocked, batch)) {
    if (!mayContinue(run, false, report)) break;
    const ids = due.map(({ id }) => id);
    const events = await run.queue.readParkedEvents(ids, batch.eventBytesMax);
    const retried = await deliver(run, lease, events, blocked, null);
    const refused = new Set(retried.map(({ id }) => id));
    const unparked = events.filter(({ id }) => !refused.has(String(id)));
    await settle({ retried, unparked: unparked.map(({ id }) => String(id)) });
    room.eventsMax += unparked.length;
    room.bytesMax += unparked.reduce((sum, { dataBytes }) => sum + (dataBytes ?? 0), 0);
    report.delivered += unparked.length;
    report.unparked += unparked.length;
  }
  return { blocked, room };
}
