import { setTimeout as sleep } from "node:timers/promises";
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
    this.#isReplaysTurn = !this.#isReplaysTurn && this.#report.isReplaying;
    const isReplays = this.#isReplaysTurn || !this.#report.isSnapshotting;
    const rows = isReplays ? await this.#replay(session) : await this.#snapshot(session);
    this.#batches += Math.max(1, Math.ceil(rows / this.#run.limits.batch.eventsMax));
    return true;
  }

  #hasSteps(session: Session): boolean {
    const isLeft = this.#report.isSnapshotting || this.#report.isReplaying;
    const { parked } = this.#run.limits;
    const isRoom =
      session.room.eventsMax > parked.eventsMax * LIVE_SHARE &&
      session.room.bytesMax > parked.bytesMax * LIVE_SHARE;
    return isLeft && session.position.target === null && isRoom;
  }

  async #snapshot(session: Session): Promise<number> {
    const { isLeft, rows } = await session.stepSnapshot(this.#bounds(session));
    this.#report.isSnapshotting = isLeft;
    this.#report.snapshotRows += rows;
    return rows;
  }

  async #replay(session: Session): Promise<number> {
    const { isLeft, isWaiting, events } = await session.stepReplay(this.#bounds(session));
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

  /** No more than half of what could be parked of it. */
  #bounds({ room }: Session) {
    return {
      rowsMax: Math.min(STEP_ROWS_MAX, Math.ceil(room.eventsMax / 2)),
      bytesMax: Math.min(this.#run.limits.batch.bytesMax, Math.ceil(room.bytesMax / 2)),
    };
  }
}
