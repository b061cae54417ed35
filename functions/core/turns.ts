import { setTimeout as sleep } from "node:timers/promises";
import type { RelayLimits } from "./config.ts";
import type { Lease, ParkedTotals, SnapshotLimits } from "./postgres/queue.ts";
import type { Share } from "./postgres/state.ts";
import type { RelayReport } from "./report.ts";
import type { Relay } from "./run.ts";
import type { Session } from "./session.ts";

/** Rows read, or events sent again, in one step: enough that a step costs little beside them, few
 *  enough that live events wait a moment only. */
const STEP_ROWS_MAX = 5_000;

/** Of what may be parked, kept for live events. */
const LIVE_SHARE = 1 / 4;

/** How soon a lane looks again whether the others have delivered a replay's last step. */
const REPLAY_POLL_MS = 50;
/** After so many looks in vain this invocation leaves the replay: another lane is not at work. */
const REPLAY_POLLS_MAX = 100;

/**
 * The part of an invocation that goes to snapshots of tables and to replays: one step after the
 * other, each between two spans of live events, so that those wait behind one step at most.
 */
export class StepTurns {
  readonly #run: Relay;
  readonly #report: RelayReport;
  /** As many batches as the steps' events make. */
  #batches = 0;
  /** Looks in vain since this lane delivered anything, or made a step. */
  #polls = 0;
  #polledBatches = 0;
  /** The two take turns. */
  #isReplaysTurn = false;
  /** No step could be made under it: too much is parked. */
  #fullUnder: Lease | null = null;

  /** @param report `isSnapshotting` and `isReplaying` say what there is to do; they are kept up */
  constructor(run: Relay, report: RelayReport) {
    this.#run = run;
    this.#report = report;
  }

  /** Whether it is a step's turn, although live events wait. */
  isDue(session: Session): boolean {
    if (!this.#hasSteps(session)) return false;
    const { snapshotShare } = this.#run.limits;
    const live = this.#report.batches - this.#batches;
    return this.#batches * (100 - snapshotShare) <= live * snapshotShare;
  }

  /**
   * Make one step, if there is one to be made and time for it; the session goes on from there.
   *
   * @returns whether there was one
   */
  async step(session: Session, isPaused: boolean): Promise<boolean> {
    if (!this.#hasSteps(session)) return false;
    if (!session.mayContinue(isPaused)) return false;
    const bounds = stepBounds(await session.countParked(), this.#run.limits, session.lease.share);
    if (bounds === null) {
      this.#fullUnder = session.lease;
      return true;
    }
    this.#isReplaysTurn = !this.#isReplaysTurn && this.#report.isReplaying;
    const isReplays = this.#isReplaysTurn || !this.#report.isSnapshotting;
    const rows = await (isReplays
      ? this.#replay(session, bounds)
      : this.#snapshot(session, bounds));
    this.#batches += Math.max(1, Math.ceil(rows / this.#run.limits.batch.eventsMax));
    return true;
  }

  #hasSteps(session: Session): boolean {
    const isLeft = this.#report.isSnapshotting || this.#report.isReplaying;
    return isLeft && session.position.target === null && session.lease !== this.#fullUnder;
  }

  async #snapshot(session: Session, bounds: SnapshotLimits): Promise<number> {
    const { isLeft, rows } = await session.stepSnapshot(bounds);
    this.#report.isSnapshotting = isLeft;
    this.#report.snapshotRows += rows;
    return rows;
  }

  async #replay(session: Session, bounds: SnapshotLimits): Promise<number> {
    const { isLeft, isWaiting, events } = await session.stepReplay(bounds);
    this.#report.isReplaying = isLeft;
    this.#report.replayed += events;
    if (isWaiting && this.#report.drained) await this.#poll();
    else this.#polls = 0;
    return events;
  }

  async #poll(): Promise<void> {
    const { batches } = this.#report;
    this.#polls = batches === this.#polledBatches ? this.#polls + 1 : 1;
    this.#polledBatches = batches;
    if (this.#polls < REPLAY_POLLS_MAX) await sleep(REPLAY_POLL_MS);
    else this.#report.isReplaying = false;
  }
}

/**
 * What a step may make, so that LIVE_SHARE is left whatever Kafka refuses, of what is parked already too. A
 * drain alone makes one step after the other. Of several, each may have made one of a snapshot, and one of them
 * one of a replay besides, which any of them may come to park.
 *
 * @returns null where there is no room for a step
 */
function stepBounds(
  { events, bytes, ownEvents, ownBytes }: ParkedTotals,
  { parked, batch }: RelayLimits,
  { lanes }: Share,
): SnapshotLimits | null {
  const parts = lanes > 1 ? lanes + 1 : 1;
  const roomOf = (max: number, all: number, own: number) => {
    const forSteps = max * (1 - LIVE_SHARE);
    return Math.ceil(Math.min(forSteps - all, forSteps / parts - own));
  };
  const rowsMax = roomOf(parked.eventsMax, events, ownEvents);
  const bytesMax = roomOf(parked.bytesMax, bytes, ownBytes);
  if (rowsMax < 1 || bytesMax < 1) return null;
  return {
    rowsMax: Math.min(STEP_ROWS_MAX, rowsMax),
    bytesMax: Math.min(batch.bytesMax, bytesMax),
  };
}
