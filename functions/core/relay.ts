import { setTimeout as sleep } from "node:timers/promises";
import { deliver } from "./deliver.ts";
import { ProduceError, QueueError } from "./errors.ts";
import { untilWork } from "./linger.ts";
import {
  type Batch,
  type BatchLimits,
  type Held,
  type Position,
  parkedFull,
  type QueueState,
  type Settlement,
  type Share,
  unlessLost,
} from "./postgres/queue.ts";
import { emptyReport, type RelayReport, stop } from "./report.ts";
import { retryParked } from "./retry.ts";
import { hasTime, mayContinue, type Relay } from "./run.ts";
import { SnapshotTurns } from "./snapshot.ts";

/** A drain that ends makes room for one that waits, which finds that out so soon. */
const LEASE_POLL_MS = 250;

/** How often space is given back while there is always something to send. */
const RECLAIM_EVERY_MS = 30_000;

/**
 * Move events from the queue to Kafka until it is empty, or the time is up: read, send, settle.
 *
 * A batch is settled only after Kafka has acknowledged all of it, so whatever ends this process
 * in between, the next one sends the batch again: at least once, and in the same order. The next
 * batch is read while one is sent. One relay at a time holds the lease of a lane. With nothing to
 * do, nothing is written.
 *
 * @throws what is not foreseen; a Kafka or a lease that is gone ends the report instead
 */
export async function relay(run: Relay, state: QueueState): Promise<RelayReport> {
  const report = { ...emptyReport(), isSnapshotting: state.isSnapshotting };
  if (!(await hasWork(run, state, report)) && !run.linger) return { ...report, drained: true };
  const snapshots = new SnapshotTurns(run, report);
  let isPatient = run.linger;
  while (mayContinue(run, state.isPaused, report)) {
    const held = await run.queue.takeLease(run.limits.leaseMs);
    if (held) isPatient = await work(run, held, snapshots, report);
    else if (isPatient) await sleep(LEASE_POLL_MS);
    else return stop(report, "LEASED", "Another drain is at work.");
    if (!isPatient || report.stopped) break;
  }
  return report;
}

/** A look that takes no lease and writes nothing. */
async function hasWork(run: Relay, state: QueueState, report: RelayReport): Promise<boolean> {
  const { batch } = run.limits;
  const first = await readNext(run, state.position, "0", { ...batch, eventsMax: 1 }, state.share);
  report.lagMs = lagMs(first);
  const { isReclaimable, restored, isRearranged, isSnapshotting } = state;
  if (first.events.length > 0 || isReclaimable || restored || isRearranged) return true;
  if (isSnapshotting) return true;
  return (await run.queue.readParked(state.share)).some(({ isOwn }) => isOwn);
}

/**
 * Send what is visible under a lease, and with lingering what becomes visible, then give it back.
 *
 * @returns whether to come back for another lease: the lanes are to be arranged anew
 */
async function work(
  run: Relay,
  held: Held,
  snapshots: SnapshotTurns,
  report: RelayReport,
): Promise<boolean> {
  const { queue, limits } = run;
  const { lease } = held;
  const { share } = lease;
  let { position } = held;
  let reclaimAtMs = performance.now() + RECLAIM_EVERY_MS;
  const settle = (settlement: Partial<Settlement>, leaseMs = limits.leaseMs) =>
    queue.settle(lease, leaseMs, { position, ...NOTHING, ...settlement }, limits.parked);
  try {
    const { blocked, room } = await retryParked(run, lease, report, settle);
    const isToEnd = () => lease.isGathering || isToSpread(run, held, position);
    let batch: Batch;
    let isCalled = false;
    let stepped: Position | null;
    do {
      const { batches } = report;
      batch = await readNext(run, position, lease.drawnId, limits.batch, share);
      while (batch.events.length > 0 && mayContinue(run, batch.isPaused, report)) {
        report.lagMs = lagMs(batch);
        const next = readNext(run, batch.after, lease.drawnId, limits.batch, share);
        next.catch(() => {}); // It is awaited below, unless this batch fails first.
        const refused = await deliver(run, lease, batch.events, blocked, room);
        await settle({ position: batch.after, parked: refused });
        position = batch.after;
        report.batches += 1;
        report.delivered += batch.events.length - refused.length;
        report.parked += refused.length;
        batch = await next;
        if (isToEnd()) break;
        if (performance.now() >= reclaimAtMs) {
          reclaimAtMs += RECLAIM_EVERY_MS;
          report.reclaimedBytes += await queue.reclaim(lease);
        }
        if (snapshots.isDue(position)) break;
      }
      report.drained = batch.events.length === 0 && !batch.isBeforeTruncate;
      report.lagMs = lagMs(batch);
      if (report.drained) position = batch.after;
      // What came to nothing was at the end of a span, or another lane's: not to look at it again.
      if (report.drained && isCalled && batches === report.batches) await settle({});
      isCalled = true;
      stepped = isToEnd() ? null : await snapshots.step(lease, position, batch.isPaused);
      if (stepped) position = stepped;
    } while (stepped || (report.drained && (await untilWork(run, lease, position, settle))));
    await unlessLost(settle({ gather: batch.isBeforeTruncate }, 0));
    report.reclaimedBytes += await queue.reclaim(lease);
    return (
      report.stopped === null && hasTime(run) && ((share.lane === 0 && isToEnd()) || run.linger)
    );
  } catch (error) {
    // Give the lease back. Where another drain has it by now, this changes nothing.
    await settle({}, 0).catch(() => {});
    if (!(error instanceof ProduceError || error instanceof QueueError)) throw error;
    const isFull = error.code === "TOO_MANY_REFUSED";
    const { code, message } = isFull ? parkedFull(limits.parked, error) : error;
    stop(report, code, message);
    return false;
  }
}

const NOTHING: Omit<Settlement, "position"> = { parked: [], retried: [], unparked: [] };

/** Whether what the lanes had left when they were gathered is delivered, so that they can go on. */
function isToSpread({ lanes }: Relay, held: Held, position: Position): boolean {
  const isGathered = ({ spans }: Position) => spans.some(({ share }) => share !== null);
  return lanes > 1 && isGathered(held.position) && !isGathered(position);
}

/** A span between two snapshots may turn out to hold nothing more: then the next one counts. */
async function readNext(
  { queue }: Relay,
  position: Position,
  drawnId: string,
  limits: BatchLimits,
  share: Share,
): Promise<Batch> {
  let batch = await queue.fetch(position, drawnId, limits, share);
  for (let { target } = position; target !== null && isNothing(batch); ) {
    ({ target } = batch.after);
    batch = await queue.fetch(batch.after, drawnId, limits, share);
  }
  return batch;
}

function isNothing({ events, isBeforeTruncate }: Batch): boolean {
  return events.length === 0 && !isBeforeTruncate;
}

function lagMs({ events }: Batch): number {
  const oldest = events[0];
  return oldest ? Math.max(0, Date.now() - Number(oldest.createdAtMicros / 1000n)) : 0;
}
