import type { Sql, TransactionSql } from "postgres";
import { QueueError } from "../errors.ts";
import { TRUNCATE } from "../message.ts";
import {
  type Batch,
  type BatchLimits,
  countFitting,
  type FetchedEvent,
  isWhole,
  storedBytesMax,
} from "./batch.ts";
import { readCommitted } from "./database.ts";
import { inOneTrip, statement } from "./one-trip.ts";
import {
  deliveredIdOf,
  fromTransactionJson,
  NO_TRANSACTION,
  type ParkedEvent,
  type Position,
  type PositionJson,
  passed,
  type Settlement,
  type Share,
  type TransactionJson,
  type TransactionState,
  toPosition,
  toPositionJson,
  toSpanJson,
  toTransactionJson,
} from "./state.ts";

/** What an invocation starts from. */
export interface QueueState {
  queueId: string;
  database: string;
  schemaVersion: string | null;
  isPaused: boolean;
  /** What this drain would work on as the lanes are arranged now. */
  share: Share;
  /** The lanes are to be arranged anew, so there may be work though the share has none. */
  isRearranged: boolean;
  /** The database was restored elsewhere: `takeLease` begins anew, events may be sent again. */
  restored: boolean;
  /** A part of the queue that is not written to now holds disk space. */
  isReclaimable: boolean;
  /** A snapshot of a table is under way. */
  isSnapshotting: boolean;
  /** A replay is under way. */
  isReplaying: boolean;
  position: Position;
}

/** A parked event, without its data. */
export interface ParkedSummary extends ParkedEvent {
  externalId: string | null;
  statement: string;
  /** Of its data, as text. */
  bytes: number;
  /** It belongs to the share of the lane that asks. */
  isOwn: boolean;
}

export interface SnapshotLimits {
  /** Rows read in one step. */
  rowsMax: number;
  /** Of these rows as stored; a single larger row comes alone. */
  bytesMax: number;
}

/** What one step of a snapshot has done. */
export interface SnapshotStep {
  /** There are steps to be made. */
  isLeft: boolean;
  /** SNAPSHOT events made. */
  rows: number;
  /** The position to go on from. */
  after: Position;
}

/** What one step of a replay has done. */
export interface ReplayStep {
  /** There are steps to be made. */
  isLeft: boolean;
  /** But not now: the last step's events are not delivered yet, by this lane or another, or parked. */
  isWaiting: boolean;
  /** Events put into the queue once more. */
  events: number;
}

/** Delivered events that are kept, to be sent again. */
export interface KeepLimits {
  keepMs: number;
  /** What they take on disk. The oldest go first. */
  bytesMax: number;
}

/** What one step has kept. */
export interface KeepStep {
  /** There is more to be kept now. */
  isLeft: boolean;
  /** Somebody reads what would have to go first: the queue is emptied all the same. */
  isBlocked: boolean;
  /** For want of room, events were dropped before their time. */
  isEarly: boolean;
  events: number;
}

export interface ParkedLimits {
  eventsMax: number;
  bytesMax: number;
}

/** What is parked; of it, what is of a lane's share. */
export interface ParkedTotals {
  events: number;
  bytes: number;
  ownEvents: number;
  ownBytes: number;
}

/** The drain's right to send, until `expiresAtMs` on this process' monotonic clock. */
export interface Lease {
  /** By which Postgres knows the lease: no other has it. */
  readonly id: string;
  /** A number above those of the leases before, but for what a crash has made Postgres forget. */
  readonly token: string;
  readonly share: Share;
  expiresAtMs: number;
  /** The other drains have ended, or are to end, so that the first can go on alone. */
  isGathering: boolean;
  /**
   * The highest event id drawn before this drain wrote its last log entry. Who drew it, or a lower
   * one, had a transaction id by then, lower than the entry's: every snapshot from now on shows it,
   * or lists it as in progress. Of an id read without such an entry in between that is not true: the
   * newest transactions in progress are beyond a snapshot's xmax, and not in its list.
   */
  drawnId: string;
}

/** A lease, and what it begins with. */
export interface Held {
  lease: Lease;
  position: Position;
  transaction: TransactionState;
}

export type Queue = ReturnType<typeof createQueue>;

/**
 * What the drain does with the queue. Every method is one short transaction.
 *
 * @param wanted this drain's lane, and how many there are to be
 * @param keep what is kept of delivered events
 */
export function createQueue(sql: Sql, wanted: Share = ALL, keep: KeepLimits | null = null) {
  const transaction = <Result>(work: (tx: TransactionSql) => Promise<Result>) =>
    readCommitted(sql, work);
  /** One that may write and needs no answer in between: whoever is frozen meanwhile keeps no lock. */
  const write = <Results extends object[][]>(...statements: string[]) =>
    inOneTrip<Results>(sql, "read committed read write", ...statements);

  async function readState(): Promise<QueueState> {
    const [row] = await transaction(
      (tx) => tx<StateRow[]>`
        select * from pg2kafka.read_state(${wanted.lane}, ${wanted.lanes}, ${keep?.keepMs ?? 0})`,
    ).catch((cause: Error & { code?: string }) => {
      throw NOT_THERE.includes(cause.code ?? "") ? notInstalled(cause) : cause;
    });
    if (!row) throw notInstalled();
    return {
      queueId: row.queue_id,
      database: row.database,
      schemaVersion: row.schema_version,
      isPaused: row.is_paused,
      share: shareOf(wanted.lane, row.lanes),
      isRearranged: row.is_rearranged,
      restored: row.restored,
      isReclaimable: row.is_reclaimable,
      isSnapshotting: row.is_snapshotting,
      isReplaying: row.is_replaying,
      position: toPosition(row.position),
    };
  }

  /** @returns null when another drain holds it, or the first is to go on alone */
  async function takeLease(leaseMs: number): Promise<Held | null> {
    const expiresAtMs = performance.now() + leaseMs;
    const [[drawn], [row]] = await transaction((tx) =>
      Promise.all([
        tx.unsafe<DrawnRow[]>(DRAWN_ID),
        tx<LeaseRow[]>`
          select * from pg2kafka.take_lease(${wanted.lane}, ${wanted.lanes}, ${leaseMs})`,
      ]),
    );
    if (!row) return null;
    const { token, lease: id, lane, lanes, is_gathering: isGathering } = row;
    const lease = {
      id,
      token,
      share: { lane, lanes },
      expiresAtMs,
      isGathering,
      drawnId: drawn!.id,
    };
    return {
      lease,
      position: toPosition(row.position),
      transaction: row.transaction ? fromTransactionJson(row.transaction) : NO_TRANSACTION,
    };
  }

  /**
   * Read the events of a share that follow a position: visible, not delivered, by id.
   *
   * Only as many events are measured as fit by their stored size. A TRUNCATE, which is about every
   * key of its topic, makes a batch of its own.
   *
   * @param drawnId of the lease; "0" when nothing is to be settled
   */
  async function fetch(
    position: Position,
    drawnId: string,
    limits: BatchLimits,
    { lane, lanes }: Share = ALL,
  ): Promise<Batch> {
    const [[seen], rows] = await inOneTrip<[SeenRow[], FetchedEvent[]]>(
      sql,
      "repeatable read read only",
      statement`
        select pg_current_snapshot() as snapshot, paused_at is not null as is_paused
        from pg2kafka.control`,
      statement`
        select id, uuid, external_id as "externalId", table_schema as schema, table_name as table,
          statement, data, data_bytes as "dataBytes", created_at_micros as "createdAtMicros", replay
        from pg2kafka.read_events(
          ${position.target}, ${position.lastId}, ${position.spans.map(toSpanJson)}, ${lane}, ${lanes},
          ${limits.eventsMax}, ${storedBytesMax(limits)}, ${limits.bytesMax}, ${limits.eventBytesMax}
        )`,
    );
    const target = position.target ?? seen!.snapshot;
    const targetId = position.targetId ?? deliveredIdOf(position, drawnId);
    const fitting = rows.slice(0, countFitting(rows, limits));
    const truncate = fitting.findIndex(({ statement }) => statement === TRUNCATE);
    const isAlone = truncate === 0 && lanes === 1;
    const taken = truncate < 0 ? fitting : fitting.slice(0, isAlone ? 1 : truncate);
    const isAll = isWhole(rows, limits) && taken.length === rows.length;
    const under = { ...position, target, targetId };
    const after = isAll ? passed(under) : { ...under, lastId: taken.at(-1)?.id ?? position.lastId };
    const isBeforeTruncate = truncate >= 0 && lanes > 1;
    return { events: taken, after, isPaused: seen!.is_paused, isBeforeTruncate };
  }

  /**
   * Note that a batch was dealt with, and renew the lease.
   *
   * @param leaseMs 0 gives the lease back
   * @throws {QueueError} LEASE_LOST when another drain took over: nothing was changed;
   *   PARKED_FULL when more would be parked than allowed: nothing was changed
   */
  async function settle(
    lease: Lease,
    leaseMs: number,
    settlement: Settlement,
    parkedMax: ParkedLimits,
  ): Promise<void> {
    const expiresAtMs = performance.now() + leaseMs;
    const [[drawn], settled] = await write<[DrawnRow[], SettledRow[]]>(
      DRAWN_ID,
      toSettle(lease, leaseMs, settlement, parkedMax),
    ).catch((cause: Error & { code?: string }) => {
      throw cause.code === "PK001" ? parkedFull(parkedMax, cause) : cause;
    });
    const isGathering = whetherGathering(settled);
    renew(lease, { expiresAtMs, isGathering, drawnId: drawn!.id });
  }

  /**
   * A step that writes, in one transaction with what settles it, if it comes to that.
   *
   * @throws {QueueError} LEASE_LOST when another drain took over: nothing was changed
   */
  async function settleStep<Result>(
    lease: Lease,
    leaseMs: number,
    step: (tx: TransactionSql) => Promise<{ result: Result; settlement: Settlement | null }>,
  ): Promise<Result> {
    const expiresAtMs = performance.now() + leaseMs;
    const { result, renewal } = await transaction(async (tx) => {
      const [[drawn], { result, settlement }] = await Promise.all([
        // Sent now, not when somebody awaits it.
        tx.unsafe<DrawnRow[]>(DRAWN_ID).execute(),
        step(tx),
      ]);
      if (settlement === null) return { result, renewal: null };
      const settle = toSettle(lease, leaseMs, settlement, NOTHING_PARKED);
      const isGathering = whetherGathering(await tx.unsafe<SettledRow[]>(settle));
      return { result, renewal: { expiresAtMs, isGathering, drawnId: drawn!.id } };
    });
    if (renewal) renew(lease, renewal);
    return result;
  }

  /**
   * Make SNAPSHOT events for some rows of a table whose snapshot is under way, and renew the lease.
   *
   * @param settlement what holds by now: its position is between two spans, and all up to it is delivered
   * @returns where to go on from: a span of what was visible when the rows were read, and of these
   *   events
   * @throws {QueueError} LEASE_LOST when another drain took over: nothing was changed
   */
  async function stepSnapshot(
    lease: Lease,
    leaseMs: number,
    settlement: Settlement,
    { rowsMax, bytesMax }: SnapshotLimits,
  ): Promise<SnapshotStep> {
    const { lane, lanes } = lease.share;
    const { position } = settlement;
    return await settleStep(lease, leaseMs, async (tx) => {
      const [step] = await tx<StepRow[]>`
        select * from pg2kafka.snapshot_step(${lane}, ${lanes}, ${rowsMax}, ${bytesMax})`;
      const { is_left: isLeft, rows, target } = step!;
      const targetId = deliveredIdOf(position, lease.drawnId);
      const after = target === null ? position : { ...position, target, targetId };
      const result = { isLeft, rows: Number(rows), after };
      return { result, settlement: { ...settlement, position: after } };
    }).catch((cause: Error & { code?: string }) => {
      throw cause.code === "PK003" ? leaseLost(cause) : cause;
    });
  }

  /**
   * Put some delivered events into the queue once more, for a replay that is under way, and renew the
   * lease.
   *
   * @param settlement what holds by now, with the position
   * @throws {QueueError} LEASE_LOST when another drain took over: nothing was changed
   */
  async function stepReplay(
    lease: Lease,
    leaseMs: number,
    settlement: Settlement,
    { rowsMax, bytesMax }: SnapshotLimits,
  ): Promise<ReplayStep> {
    return await settleStep(lease, leaseMs, async (tx) => {
      const [step] = await tx<ReplayRow[]>`
        select * from pg2kafka.replay_step(${rowsMax}, ${bytesMax})`;
      const { is_left: isLeft, is_waiting: isWaiting, events } = step!;
      const result = { isLeft, isWaiting, events: Number(events) };
      return { result, settlement: isLeft && !isWaiting ? settlement : null };
    });
  }

  /**
   * Whether there may be anything to do behind a position. One query, and nothing is written.
   *
   * @returns null when another drain has taken over
   */
  async function hasWork(lease: Lease, position: Position): Promise<boolean | null> {
    const { lane, lanes } = lease.share;
    const { delivered, deliveredId } = position.spans[0]!;
    const [[row]] = await write<[{ answer: boolean | null }[]]>(statement`
        select pg2kafka.has_work(${lane}, ${lanes}, ${lease.id}, ${delivered}, ${deliveredId}) as answer`);
    return row!.answer;
  }

  /** All that is parked, in the order in which it was to be delivered. */
  function readParked({ lane, lanes }: Share): Promise<ParkedSummary[]> {
    return transaction(
      (tx) => tx<ParkedSummary[]>`
        select id, topic, scope, code, reason, retriable, external_id as "externalId", statement, bytes,
          pg2kafka.is_of_share(external_id, ${lane}, ${lanes}) as "isOwn"
        from pg2kafka.parked_events order by place`,
    );
  }

  /** To be asked for each step: other lanes park, too. */
  async function countParked({ lane, lanes }: Share): Promise<ParkedTotals> {
    const [totals] = await transaction(
      (tx) => tx<[ParkedTotals]>`
        select count(*)::int as events, coalesce(sum(bytes), 0)::float8 as bytes,
          (count(*) filter (where is_own))::int as "ownEvents",
          coalesce(sum(bytes) filter (where is_own), 0)::float8 as "ownBytes"
        from (
          select bytes, pg2kafka.is_of_share(external_id, ${lane}, ${lanes}) as is_own from pg2kafka.parked_events
        ) e`,
    );
    return totals;
  }

  /** @param eventBytesMax larger data is not read */
  async function readParkedEvents(ids: string[], eventBytesMax: number): Promise<FetchedEvent[]> {
    return await transaction(
      (tx) => tx<FetchedEvent[]>`
        select id, uuid, external_id as "externalId", table_schema as schema, table_name as table,
          statement, replay, case when bytes <= ${eventBytesMax} then data::text end as data,
          case when data is not null then bytes end as "dataBytes",
          (extract(epoch from created_at) * 1000000)::bigint as "createdAtMicros"
        from pg2kafka.parked_events where id = any(${arrayText(ids)}::bigint[]) order by place`,
    );
  }

  /**
   * Keep some of what is delivered and no longer written to. To be called, until nothing is left,
   * before `reclaim`.
   */
  async function keepEvents(
    { share, id }: Lease,
    { keepMs, bytesMax }: KeepLimits,
    step: SnapshotLimits,
  ): Promise<KeepStep> {
    const [row] = await transaction(
      (tx) => tx<KeepRow[]>`
        select * from pg2kafka.keep_step(
          ${share.lane}, ${id}, ${keepMs}, ${bytesMax}, ${step.rowsMax}, ${step.bytesMax}
        )`,
    );
    const { is_left: isLeft, is_blocked: isBlocked, is_early: isEarly, events } = row!;
    return { isLeft, isBlocked, isEarly, events: Number(events) };
  }

  /**
   * Empty what is delivered and no longer written to, and what was kept long enough.
   *
   * @param keeps leave in the queue what is to be kept and is not yet
   * @returns bytes that the queue has given back
   */
  async function reclaim({ share, id }: Lease, keeps = false): Promise<number> {
    let bytes = 0;
    for (const generation of GENERATIONS) {
      const [[row]] = await write<[{ bytes: string }[]]>(statement`
          select pg2kafka.reclaim(${generation}, ${share.lane}, ${id}, ${keeps}) as bytes`);
      bytes += Number(row?.bytes ?? 0);
    }
    await write(
      "select pg2kafka.reclaim_log()",
      statement`
        select pg2kafka.forget_kept(${share.lane}, ${id}, ${keep?.keepMs ?? 0}, ${keep?.bytesMax ?? 0})`,
    );
    return bytes;
  }

  /** Compile the capture functions of altered tables. @returns how many */
  async function refreshCaptures(): Promise<number> {
    const [[row]] = await write<[{ count: number }[]]>(
      "select pg2kafka.refresh_captures() as count",
    );
    return row?.count ?? 0;
  }

  return {
    readState,
    takeLease,
    fetch,
    settle,
    stepSnapshot,
    stepReplay,
    hasWork,
    readParked,
    countParked,
    readParkedEvents,
    keepEvents,
    reclaim,
    refreshCaptures,
  };
}

/** Before all else in a transaction that renews the lease: see `Lease.drawnId`. */
const DRAWN_ID = "select pg2kafka.drawn_id() as id";

function toSettle(
  { share, id }: Lease,
  leaseMs: number,
  { position, transaction, gather = false, parked, retried, unparked }: Settlement,
  { eventsMax, bytesMax }: ParkedLimits,
): string {
  return statement`
    select pg2kafka.settle(
      ${share.lane}, ${id}, ${leaseMs}, ${toPositionJson(position)}, ${toTransactionJson(transaction)},
      ${gather}, ${parked}, ${retried}, ${arrayText(unparked)}, ${eventsMax}, ${bytesMax}
    ) as is_gathering`;
}

/** When what renews it is committed. */
function renew(
  lease: Lease,
  renewal: Pick<Lease, "expiresAtMs" | "isGathering" | "drawnId">,
): void {
  Object.assign(lease, renewal);
}

/** @throws {QueueError} LEASE_LOST */
function whetherGathering([settled]: SettledRow[]): boolean {
  if (typeof settled?.is_gathering !== "boolean") throw leaseLost();
  return settled.is_gathering;
}

/** A step parks nothing. */
const NOTHING_PARKED: ParkedLimits = { eventsMax: 0, bytesMax: 0 };

/** The share of a drain that works alone. */
const ALL: Share = { lane: 0, lanes: 1 };

/** The partitions of the queue, as in sql/migrations; the last is that of events sent again. */
const GENERATIONS = [0, 1, 2, 3, -1];

/** The lane as the lanes are arranged now: all of the queue where it has none of its own. */
function shareOf(lane: number, lanes: number): Share {
  return lane < lanes ? { lane, lanes } : ALL;
}

interface StateRow {
  queue_id: string;
  database: string;
  schema_version: string | null;
  is_paused: boolean;
  lanes: number;
  is_rearranged: boolean;
  restored: boolean;
  is_reclaimable: boolean;
  is_snapshotting: boolean;
  is_replaying: boolean;
  position: PositionJson;
}

interface LeaseRow {
  token: string;
  lease: string;
  lane: number;
  lanes: number;
  is_gathering: boolean;
  position: PositionJson;
  transaction: TransactionJson | null;
}

interface DrawnRow {
  id: string;
}

interface SettledRow {
  is_gathering: boolean | null;
}

interface SeenRow {
  snapshot: string;
  is_paused: boolean;
}

interface StepRow {
  is_left: boolean;
  rows: string;
  target: string | null;
}

interface ReplayRow {
  is_left: boolean;
  is_waiting: boolean;
  events: string;
}

interface KeepRow {
  is_left: boolean;
  is_blocked: boolean;
  is_early: boolean;
  events: string;
}

/** Postgres' text form of an array of numbers. */
function arrayText(ids: readonly string[]): string {
  return `{${ids.join(",")}}`;
}

/** What Postgres says of a schema or a function that is not there. */
const NOT_THERE = ["3F000", "42883"];

function notInstalled(cause?: unknown): QueueError {
  return new QueueError(
    "The database has no pg2kafka schema. Run the migration: npm run migrate, or its Lambda.",
    {
      code: "NOT_INSTALLED",
      cause,
    },
  );
}

/** @returns false when another drain took over, and so nothing was settled */
export async function unlessLost(settling: Promise<void>): Promise<boolean> {
  try {
    await settling;
    return true;
  } catch (error) {
    if (error instanceof QueueError && error.code === "LEASE_LOST") return false;
    throw error;
  }
}

function leaseLost(cause?: unknown): QueueError {
  return new QueueError(
    "The lease is lost: it had run out and another drain has taken over, or the database was " +
      "restarted, or another server has taken its place. The next drain goes on.",
    { code: "LEASE_LOST", cause },
  );
}

/** More would be parked than allowed. */
export function parkedFull({ eventsMax, bytesMax }: ParkedLimits, cause?: unknown): QueueError {
  return new QueueError(
    `More events would be parked than ${eventsMax}, or more bytes than ${bytesMax}. The drain ` +
      "stopped before the batch. See: select * from pg2kafka.parked. Mend the cause and call " +
      "pg2kafka.requeue(), or pg2kafka.discard(), or raise PARKED_EVENTS_MAX or PARKED_BYTES_MAX.",
    { code: "PARKED_FULL", cause },
  );
}
