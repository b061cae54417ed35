import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { untilWork } from "./linger.ts";
import type { Batch } from "./postgres/batch.ts";
import type { QueueState } from "./postgres/queue.ts";
import { emptyReport, type RelayReport, stop } from "./report.ts";
import { mayContinue, type Relay } from "./run.ts";
import { readNext, Session } from "./session.ts";
import { StepTurns } from "./turns.ts";

/** A drain that ends makes room for one that waits, which finds that out so soon. */
const LEASE_POLL_MS = 250;

/**
 * Move events from the queue to Kafka until it is empty, or the time is up: read, send, settle.
 *
 * A batch is settled only after Kafka has acknowledged all of it, so whatever ends this process
 * in between, the next one sends the batch again: at least once, and in the same order. One relay at
 * a time holds the lease of a lane. With nothing to do, nothing is written.
 *
 * @throws what is not foreseen; a Kafka or a lease that is gone ends the report instead
 */
export async function relay(run: Relay, state: QueueState): Promise<RelayReport> {
  const { restored, isSnapshotting, isReplaying } = state;
  const report = { ...emptyReport(), restored, isSnapshotting, isReplaying };
  if (!(await hasWork(run, state, report)) && !run.linger) return { ...report, drained: true };
  const steps = new StepTurns(run, report);
  let isPatient = run.linger;
  while (mayContinue(run, state.isPaused, report)) {
    const held = await run.queue.takeLease(run.limits.leaseMs);
    if (held) {
      const next = await work(run, new Session(run, held, report), steps, report);
      if (next === "end" || report.stopped) break;
      isPatient = next === "wait" || run.linger;
    } else if (isPatient) await sleep(LEASE_POLL_MS);
    else return stop(report, "LEASED", "Another drain is at work.");
  }
  return report;
}

/** A look that takes no lease and writes nothing. */
async function hasWork(
  { queue, limits }: Relay,
  state: QueueState,
  report: RelayReport,
): Promise<boolean> {
  const oneEvent = { ...limits.batch, eventsMax: 1 };
  const first = await readNext(queue, state.position, "0", oneEvent, state.share);
  report.lagMs = lagMs(first);
  const { isReclaimable, restored, isRearranged, isSnapshotting, isReplaying } = state;
  if (first.events.length > 0 || isReclaimable || restored || isRearranged) return true;
  return (
    isSnapshotting ||
    isReplaying ||
    (await queue.readParked(state.share)).some(({ isOwn }) => isOwn)
  );
}

/** Another lease is to be taken, to send smaller batches; or also to be waited for, when the lanes are
 *  arranged anew. */
type Next = "end" | "again" | "wait";

/**
 * Under a lease: send what is visible, and in turns with it the steps of snapshots and replays; with lingering
 * wait for more. Then give the lease back.
 *
 * @returns what comes after it
 */
async function work(
  run: Relay,
  session: Session,
  steps: StepTurns,
  report: RelayReport,
): Promise<Next> {
  try {
    await session.recover();
    await session.retryParked();
    for (let isCalled = false; ; isCalled = true) {
      const { batches } = report;
      const left = await drainVisible(session, steps, report);
      // What came to nothing was at the end of a span, or another lane's: not to look at it again.
      if (report.drained && isCalled && batches === report.batches) await session.settle({});
      if (!session.isToEnd()) {
        if (await steps.step(session, left.isPaused)) continue;
        if (report.drained && (await untilWork(run, session))) continue;
      }
      return (await session.end(left.isBeforeTruncate)) ? "wait" : "end";
    }
  } catch (error) {
    return (await session.giveUp(error)) ? "again" : "end";
  } finally {
    await session.close();
  }
}

/** The data path. @returns what it stopped before */
async function drainVisible(
  session: Session,
  steps: StepTurns,
  report: RelayReport,
): Promise<Batch> {
  const startedMs = performance.now();
  let batch = await session.read(session.position);
  while (batch.events.length > 0 && session.mayContinue(batch.isPaused)) {
    report.lagMs = lagMs(batch);
    // Behind the last batch that was visible: the later it is asked for, the more is in it.
    const next = batch.after.target === null ? null : session.read(batch.after);
    next?.catch(() => {}); // It is awaited below, unless this batch fails first.
    if (next) await untilAsked();
    await session.deliver(batch);
    batch = await (next ?? session.read(batch.after));
    if (session.isToEnd() || steps.isDue(session)) break;
  }
  report.busyMs += Math.round(performance.now() - startedMs);
  report.lagMs = lagMs(batch);
  report.drained = batch.events.length === 0 && !batch.isBeforeTruncate;
  if (report.drained) session.position = batch.after;
  return batch;
}

/** postgres.js writes to its socket at the end of the turn after that of the call. Postgres would be idle
 *  while a batch is made into messages. */
async function untilAsked(): Promise<void> {
  await turn();
  await turn();
}

function lagMs({ events }: Batch): number {
  // What is sent again was in time once.
  const oldest = events.find(({ replay }) => replay === null);
  return oldest ? Math.max(0, Date.now() - Math.floor(Number(oldest.createdAtMicros) / 1000)) : 0;
}
