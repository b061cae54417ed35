import type { Position } from "./postgres/queue.ts";
import type { RelayReport } from "./report.ts";
import type { Relay } from "./run.ts";
import type { Session } from "./session.ts";

/** Rows read in one step: enough that a step costs little beside them, few enough that live events
 *  wait a moment only. */
const STEP_ROWS_MAX = 5_000;

/**
 * The part of an invocation that goes to snapshots of tables: one step after the other, each between
 * two spans of live events, so that those wait behind one step at most.
 */
export class SnapshotTurns {
  readonly #run: Relay;
  readonly #report: RelayReport;
  /** As many batches as the steps' events make. */
  #batches = 0;

  /** @param report its `isSnapshotting` says whether there is anything to do; it is kept up */
  constructor(run: Relay, report: RelayReport) {
    this.#run = run;
    this.#report = report;
  }

  /** Whether it is a snapshot's turn, although live events wait. */
  isDue({ target }: Position): boolean {
    if (!this.#report.isSnapshotting || target !== null) return false;
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
    const { queue, limits } = this.#run;
    const { lease, position } = session;
    if (!this.#report.isSnapshotting || position.target !== null) return false;
    if (!session.mayContinue(isPaused)) return false;
    const { isLeft, rows, after } = await queue.stepSnapshot(lease, limits.leaseMs, position, {
      rowsMax: STEP_ROWS_MAX,
      bytesMax: limits.batch.bytesMax,
    });
    this.#report.isSnapshotting = isLeft;
    this.#report.snapshotRows += rows;
    this.#batches += Math.max(1, Math.ceil(rows / limits.batch.eventsMax));
    session.position = after;
    return true;
  }
}
