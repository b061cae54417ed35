import { ProduceError, QueueError } from "./errors.ts";
import { FOUND_MAX } from "./kafka/producer.ts";
import { block, checkRoom, leftOf, pack, type Room, takeRoom } from "./parcel.ts";
import { Blocked, dueEvents } from "./parking.ts";
import type { Batch, BatchLimits, FetchedEvent } from "./postgres/batch.ts";
import {
  type Held,
  type Lease,
  type ParkedLimits,
  type ParkedTotals,
  parkedFull,
  type Queue,
  type ReplayStep,
  type SnapshotLimits,
  type SnapshotStep,
  unlessLost,
} from "./postgres/queue.ts";
import type {
  ParkedEvent,
  Position,
  Settlement,
  Share,
  TransactionState,
} from "./postgres/state.ts";
import { type RelayReport, stop } from "./report.ts";
import { hasTime, mayContinue, type Relay } from "./run.ts";
import type { Sender } from "./sender.ts";

/** How often space is given back while there is always something to send. */
const RECLAIM_EVERY_MS = 30_000;

/** Copied in one step: some tens of milliseconds, for which live events wait. */
const KEEP_ROWS_MAX = 5_000;

/** A batch of which too much is refused is tried again in ones so much smaller, or smaller still. */
const SMALLER = 4;

const WITHOUT_BOUND: ParkedLimits = {
  eventsMax: 2 ** 31 - 1,
  bytesMax: Number.MAX_SAFE_INTEGER,
};

/** A batch of which more is refused than can be parked, or found in a moment. */
const TOO_MUCH: ReadonlySet<string> = new Set(["TOO_MANY_REFUSED", "PARKED_FULL"]);

/** How far a drain has come. */
type Progress = Pick<Held, "position" | "transaction">;

/** What one drain does under one lease, and the position it has come to. */
export class Session {
  readonly lease: Lease;
  /** All up to it is in Kafka, or parked, and is settled when `#settling` is. */
  position: Position;
  readonly #run: Relay;
  readonly #report: RelayReport;
  readonly #sender: Sender;
  readonly #isGathered: boolean;
  #transaction: TransactionState;
  /** What a failure gives the lease back with: what was not settled is not behind it. Null: nobody
   *  knows, for what was asked was not answered, and is to be found as it is stored. */
  #settled: Progress | null;
  /** The last batch's settlement, one at a time. */
  #settling: Promise<void> = Promise.resolve();
  /** What the parked events hold back, and how much more may be parked. */
  #blocked = new Blocked();
  #room: Room;
  /** Of the batch that is sent, or was sent last, and of the one before it. */
  #sendingEvents = 0;
  #settlingEvents = 0;
  #isKeepBlocked = false;
  #reclaimAtMs = performance.now() + RECLAIM_EVERY_MS;

  constructor(run: Relay, { lease, position, transaction }: Held, report: RelayReport) {
    this.lease = lease;
    this.position = position;
    this.#run = run;
    this.#report = report;
    this.#sender = run.openSender(lease.share.lane);
    this.#isGathered = isGathered(position);
    this.#transaction = transaction;
    this.#settled = { position, transaction };
    this.#room = { ...run.limits.parked, largestBytes: 0 };
  }

  /** Settle the batch that the last drain had begun, if it is in Kafka; if not, forget it. */
  async recover(): Promise<void> {
    const { begun } = this.#transaction;
    const { token } = this.lease;
    const { limits } = this.#run;
    const isInKafka = await this.#sender.recover(this.#transaction, token, this.#mayStart);
    if (begun && isInKafka) {
      const { number, id, settlement } = begun;
      this.position = settlement.position;
      this.#transaction = { sent: { number, id }, begun: null };
      // It is in Kafka: what that refused is to be parked, however much is parked already.
      await this.#settle(settlement, limits.leaseMs, WITHOUT_BOUND);
    }
    this.#transaction = { sent: this.#transaction.sent, begun: null };
  }

  /**
   * Try again what is parked and may succeed now, in order. Where there is no room for more, the
   * first batch is one event: what cannot be parked is not to be sent with others at each tick.
   */
  async retryParked(): Promise<void> {
    const { queue, limits, eventsMax } = this.#run;
    const parked = await queue.readParked(this.lease.share);
    takeRoom(this.#room, parked);
    const together = { ...limits.batch, eventsMax: Math.min(FOUND_MAX, eventsMax) };
    for (const due of dueEvents(parked, this.#blocked, together)) {
      if (!this.mayContinue(false)) break;
      const ids = due.map(({ id }) => id);
      const events = await queue.readParkedEvents(ids, limits.batch.eventBytesMax);
      const unparked = (retried: ParkedEvent[]) => {
        const refused = new Set(retried.map(({ id }) => id));
        return events.filter(({ id }) => !refused.has(id));
      };
      this.#sendingEvents = events.length;
      const retried = await this.#send(events, null, (retried) => ({
        retried,
        unparked: unparked(retried).map(({ id }) => id),
      }));
      const sent = unparked(retried);
      this.#room.eventsMax += sent.length;
      this.#room.bytesMax += sent.reduce((sum, { dataBytes }) => sum + (dataBytes ?? 0), 0);
    }
    const { bytesMax, largestBytes } = this.#room;
    const isFull = this.#room.eventsMax < 1 || bytesMax + largestBytes < limits.batch.eventBytesMax;
    if (isFull) this.#run.eventsMax = 1;
  }

  read(position: Position): Promise<Batch> {
    const { queue, limits, eventsMax } = this.#run;
    const batch = { ...limits.batch, eventsMax };
    return readNext(queue, position, this.lease.drawnId, batch, this.lease.share);
  }

  /** What is parked by now, by this lane and others. */
  async countParked(): Promise<ParkedTotals> {
    await this.#settling;
    return await this.#run.queue.countParked(this.lease.share);
  }

  /** Send a batch. When Kafka has acknowledged all of it, it is settled while the next one is sent. */
  async deliver({ events, after }: Batch): Promise<void> {
    this.#settlingEvents = this.#sendingEvents;
    this.#sendingEvents = events.length;
    await this.#send(events, this.#room, (parked) => ({ position: after, parked }));
    this.#report.batches += 1;
    if (performance.now() < this.#reclaimAtMs) return;
    const isKept = await this.keep();
    if (!isKept) return; // The rest after the next batch: live events wait for one step only.
    this.#reclaimAtMs = performance.now() + RECLAIM_EVERY_MS;
    await this.reclaim();
  }

  async #send(
    events: readonly FetchedEvent[],
    room: Room | null,
    toSettlement: (left: ParkedEvent[]) => Partial<Settlement>,
  ): Promise<ParkedEvent[]> {
    const { toMessage, limits } = this.#run;
    const parcel = pack(events, toMessage, this.#blocked, room, limits);
    const { refused } = await this.#sender.send(parcel.messages, {
      mayStart: this.#mayStart,
      ...(room && { refusedMax: room.eventsMax }),
      settlementFor: (refused) => {
        if (room) checkRoom(parcel, refused, room, limits.parked);
        return this.#whole(toSettlement(leftOf(parcel, refused)));
      },
      begin: async (begun) => {
        await this.#settling;
        this.#transaction = { ...this.#transaction, begun };
        await this.#settle({});
      },
    });
    if (this.#sender.isKafkaAhead()) this.#report.restored = true;
    if (room) checkRoom(parcel, refused, room, limits.parked);
    block(parcel, refused, this.#blocked, room);
    const left = leftOf(parcel, refused);
    await this.#settling;
    if (left.length === 0) this.#growBatches();
    this.#settling = this.#settleSent(toSettlement(left), events.length - left.length);
    this.#settling.catch(() => {}); // It is awaited before anything else is settled.
    return left;
  }

  /** What made them smaller may be over. */
  #growBatches(): void {
    const { limits, eventsMax } = this.#run;
    this.#run.eventsMax = Math.min(eventsMax * 2, limits.batch.eventsMax);
  }

  async #settleSent(settlement: Partial<Settlement>, delivered: number): Promise<void> {
    const { position = this.position, parked = [], unparked = [] } = settlement;
    this.position = position;
    this.#transaction = { sent: this.#sender.sent(), begun: null };
    await this.#settle(settlement);
    this.#report.delivered += delivered;
    this.#report.parked += parked.length;
    this.#report.unparked += unparked.length;
  }

  /** Once the last batch is settled. */
  settled(): Promise<void> {
    return this.#settling;
  }

  /** Note what was dealt with, and renew the lease. */
  async settle(settlement: Partial<Settlement>): Promise<void> {
    await this.#settling;
    await this.#settle(settlement);
  }

  /** Without waiting for the last batch's settlement. @param leaseMs 0 gives the lease back */
  async #settle(
    settlement: Partial<Settlement>,
    leaseMs = this.#run.limits.leaseMs,
    parkedMax = this.#run.limits.parked,
  ): Promise<void> {
    const { queue } = this.#run;
    const before = this.#settled;
    const progress = this.#progress; // The position may go on meanwhile.
    this.#settled = null;
    try {
      await queue.settle(this.lease, leaseMs, this.#whole(settlement), parkedMax);
      this.#settled = progress;
    } catch (error) {
      if (changedNothing(error)) this.#settled = before;
      throw error;
    }
  }

  get #progress(): Progress {
    return { position: this.position, transaction: this.#transaction };
  }

  #whole(settlement: Partial<Settlement>): Settlement {
    const { position } = this;
    const nothing = { parked: [], retried: [], unparked: [] };
    return { position, ...nothing, ...settlement, transaction: this.#transaction };
  }

  /** Make a step of a snapshot, and go on from there. */
  async stepSnapshot(bounds: SnapshotLimits): Promise<SnapshotStep> {
    const { queue, limits } = this.#run;
    await this.#settling;
    this.#settled = null;
    const step = await queue.stepSnapshot(this.lease, limits.leaseMs, this.#whole({}), bounds);
    this.position = step.after;
    this.#settled = this.#progress;
    return step;
  }

  /** Make a step of a replay, if one can be made now. */
  async stepReplay(bounds: SnapshotLimits): Promise<ReplayStep> {
    const { queue, limits } = this.#run;
    await this.#settling;
    const step = await queue.stepReplay(this.lease, limits.leaseMs, this.#whole({}), bounds);
    this.#settled = this.#progress;
    return step;
  }

  /** Keep some delivered events, where that is wanted. @returns whether nothing is left to be kept now */
  async keep(): Promise<boolean> {
    const {
      queue,
      limits: { keep, batch },
    } = this.#run;
    if (keep === null) return true;
    const step = await queue.keepEvents(this.lease, keep, {
      rowsMax: KEEP_ROWS_MAX,
      bytesMax: batch.bytesMax,
    });
    this.#isKeepBlocked = step.isBlocked;
    this.#report.kept += step.events;
    this.#report.keepFull ||= step.isEarly;
    this.#report.keepBlocked ||= step.isBlocked;
    return !step.isLeft;
  }

  async reclaim(): Promise<void> {
    const keeps = this.#run.limits.keep !== null && !this.#isKeepBlocked;
    this.#report.reclaimedBytes += await this.#run.queue.reclaim(this.lease, keeps);
  }

  mayContinue(isPaused: boolean): boolean {
    return mayContinue(this.#run, isPaused, this.#report);
  }

  /** Whether the lanes are to be arranged anew: lane 0 is to go on alone, or has done so. */
  isToEnd(): boolean {
    const isToSpread = this.#run.lanes > 1 && this.#isGathered && !isGathered(this.position);
    return this.lease.isGathering || isToSpread;
  }

  /** Give the lease back. @returns whether to come for another one */
  async end(isBeforeTruncate: boolean): Promise<boolean> {
    await this.#settling;
    await unlessLost(this.#settle({ gather: isBeforeTruncate }, 0));
    let isKept = await this.keep();
    while (!isKept && hasTime(this.#run)) isKept = await this.keep();
    await this.reclaim();
    const isAlone = this.#run.lane === 0 && this.isToEnd();
    return this.#report.stopped === null && hasTime(this.#run) && (isAlone || this.#run.linger);
  }

  /**
   * Give the lease back after a failure, with what was settled before it; where that is not known, let
   * it run out. Where another drain has the lease by now, that changes nothing.
   *
   * @returns whether to come for another one, and send smaller batches
   */
  async giveUp(error: unknown): Promise<boolean> {
    await this.#settling.catch(() => {});
    let isGivenBack = false;
    if (this.#settled) {
      ({ position: this.position, transaction: this.#transaction } = this.#settled);
      isGivenBack = await this.#settle({}, 0).then(
        () => true,
        () => false,
      );
    }
    this.#report.drained = false;
    if (!(error instanceof ProduceError || error instanceof QueueError)) throw error;
    const events = Math.max(this.#sendingEvents, this.#settlingEvents);
    const isTooMuch = TOO_MUCH.has(error.code);
    // It takes longer than the lease. A drain that was frozen for as long has nothing more to do here.
    const isTooLong = error.code === "LEASE_TOO_SHORT" && isGivenBack && hasTime(this.#run);
    if ((isTooMuch || isTooLong) && events > 1) {
      this.#run.eventsMax = Math.min(FOUND_MAX, Math.ceil(events / SMALLER));
      return true;
    }
    const { code, message } = isTooMuch ? parkedFull(this.#run.limits.parked, error) : error;
    stop(this.#report, code, message);
    return false;
  }

  async close(): Promise<void> {
    await this.#sender.close();
  }

  /** Whether a request would be answered, or given up, while this drain has its lease and its time.
   *  One under way after that could cross the next drain's. */
  readonly #mayStart = (): boolean => {
    const { limits, deadlineMs } = this.#run;
    const endMs = Math.min(this.lease.expiresAtMs, deadlineMs);
    return endMs - performance.now() > limits.requestTimeoutMs;
  };
}

/** Whether a position is made up of what several lanes have left. */
function isGathered({ spans }: Position): boolean {
  return spans.some(({ share }) => share !== null);
}

/** Whether Postgres has said that nothing was changed. What ends a session may come after the commit. */
function changedNothing(error: unknown): boolean {
  const { severity, code = "" } = Object(error) as { severity?: string; code?: string };
  // A pooler tells in the same way that it has lost the server: class 08.
  return error instanceof QueueError || (severity === "ERROR" && !code.startsWith("08"));
}

/** A span between two snapshots may turn out to hold nothing more: then the next one counts. */
export async function readNext(
  queue: Queue,
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
