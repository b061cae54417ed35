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

/** The drain's right to send, until `expiresAtMs` on this process' monotonic clock. */
export interface Lease {
  /** The fencing token. */
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
        tx<{ id: string }[]>`select pg2kafka.drawn_id() as id`,
        tx<LeaseRow[]>`
          select * from pg2kafka.take_lease(${wanted.lane}, ${wanted.lanes}, ${leaseMs})`,
      ]),
    );
    if (!row) return null;
    const { token, lane, lanes, is_gathering: isGathering } = row;
    const lease = { token, share: { lane, lanes }, expiresAtMs, isGathering, drawnId: drawn!.id };
    return {
      lease,
      position: toPosition(row.position),
      transaction: row.transaction ? fromTransactionJson(row.transaction) : NO_TRANSACTION,
    };
  }

  /**
   * Read the events of a share that follow a position: visible, not delivered, by id.
   *
   * Two ranges of ids make up a span. Above `deliveredId` are those of transactions that began
   * after `delivered`; read by id, whatever their transaction. Below it are those of the
   * transactions that `delivered` shows in progress and that have ended since; read by
   * transaction. So what was delivered is not read again, however long a writer stays open.
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
    const [[span], rows] = await transaction((tx) =>
      Promise.all([
        // All for this transaction only. Partitions have no statistics: the planner would read all
        // of a large transaction's events for each of its batches, or compile the query each time.
        tx<SpanRow[]>`
          select set_config('enable_seqscan', 'off', true),
            set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
            set_config('pg2kafka.target', coalesce(${position.target}, pg_current_snapshot()::text), true)
              as target,
            (select paused_at is not null from pg2kafka.control) as is_paused`,
        tx<FetchedEvent[]>`
          with span as materialized (
            select s.delivered, s.delivered_id, coalesce(s.target, t.target) as target,
              greatest(s.last_id, ${position.lastId}) as last_id,
              coalesce(s.lane, ${lane}) as lane, coalesce(s.lanes, ${lanes}) as lanes
            from (select current_setting('pg2kafka.target')::pg_snapshot as target) t
            cross join jsonb_to_recordset(${tx.json(position.spans.map(toSpanJson) as never)}) as s (
              delivered pg_snapshot, delivered_id bigint, target pg_snapshot, last_id bigint,
              lane integer, lanes integer
            )
          ), candidate as (
            select q.* from span s cross join lateral (
              with late as materialized (
                select q.* from pg_snapshot_xip(s.delivered) as x (xact) cross join lateral (
                  select * from pg2kafka.outbound_event_queue q
                  where (q.xact, q.id) > (x.xact, s.last_id) and (q.xact, q.id) <= (x.xact, s.delivered_id)
                    and pg_visible_in_snapshot(x.xact, s.target)
                    and (
                      pg2kafka.is_of_share(q.external_id, s.lane, s.lanes)
                      or (q.statement = ${TRUNCATE} and ${lanes} > 1)
                    )
                  order by q.xact, q.id limit ${limits.eventsMax}
                ) q
              )
              select * from late
              union all
              (
                select * from pg2kafka.outbound_event_queue q
                where q.id > greatest(s.last_id, s.delivered_id)
                  and not pg_visible_in_snapshot(q.xact, s.delivered)
                  and pg_visible_in_snapshot(q.xact, s.target)
                  and (
                    pg2kafka.is_of_share(q.external_id, s.lane, s.lanes)
                    or (q.statement = ${TRUNCATE} and ${lanes} > 1)
                  )
                order by q.id limit greatest(0, ${limits.eventsMax} - (select count(*) from late))
              )
            ) q
          ), batch as (
            select *, sum(pg_column_size(data)) over earlier as stored_before
            from (select * from candidate order by id limit ${limits.eventsMax}) c
            window earlier as (order by id rows between unbounded preceding and 1 preceding)
          ), measured as (
            select *, sum(least(data_bytes, ${limits.eventBytesMax})) over earlier as bytes_before
            from (
              select *, octet_length(data::text) as data_bytes from batch
              where coalesce(stored_before, 0) < ${storedBytesMax(limits)}
            ) b
            window earlier as (order by id rows between unbounded preceding and 1 preceding)
          )
          select id, uuid, external_id as "externalId", table_schema as schema, table_name as table,
            statement, case when data_bytes <= ${limits.eventBytesMax} then data::text end as data,
            data_bytes as "dataBytes",
            (extract(epoch from created_at) * 1000000)::bigint as "createdAtMicros",
            case when generation < 0 then -generation end as replay
          from measured
          where coalesce(bytes_before, 0) < ${limits.bytesMax}
          order by id`,
      ]),
    );
    const { target, is_paused: isPaused } = span!;
    const targetId = position.targetId ?? deliveredIdOf(position, drawnId);
    const fitting = rows.slice(0, countFitting(rows, limits));
    const truncate = fitting.findIndex(({ statement }) => statement === TRUNCATE);
    const isAlone = truncate === 0 && lanes === 1;
    const taken = truncate < 0 ? fitting : fitting.slice(0, isAlone ? 1 : truncate);
    const isAll = isWhole(rows, limits) && taken.length === rows.length;
    const under = { ...position, target, targetId };
    const after = isAll ? passed(under) : { ...under, lastId: taken.at(-1)?.id ?? position.lastId };
    const isBeforeTruncate = truncate >= 0 && lanes > 1;
    return { events: taken, after, isPaused, isBeforeTruncate };
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
    await renew(lease, leaseMs, (_, append) => append(settlement, parkedMax));
  }

  /**
   * A transaction that may add an entry to the drain's log, which renews the lease. What `drawnId`
   * demands is done here: the highest id drawn is read before all else.
   *
   * @param work gets a function that adds the entry, parking nothing unless it is told how much may be
   */
  async function renew<Result>(
    lease: Lease,
    leaseMs: number,
    work: (tx: TransactionSql, append: Append) => Promise<Result>,
  ): Promise<Result> {
    const expiresAtMs = performance.now() + leaseMs;
    const written = { isAppended: false };
    const [[drawn], result] = await transaction((tx) =>
      Promise.all([
        // Sent now, not when somebody awaits it.
        tx<{ id: string }[]>`select pg2kafka.drawn_id() as id`.execute(),
        work(tx, async (settlement, parkedMax = NOTHING_PARKED) => {
          await appendLog(tx, lease, leaseMs, settlement, parkedMax);
          written.isAppended = true;
        }),
      ]),
    );
    if (written.isAppended) {
      lease.expiresAtMs = expiresAtMs;
      lease.drawnId = drawn!.id;
    }
    return result;
  }

  async function appendLog(
    tx: TransactionSql,
    lease: Lease,
    leaseMs: number,
    settlement: Settlement,
    parkedMax: ParkedLimits,
  ): Promise<void> {
    const { position, gather = false, parked, retried, unparked } = settlement;
    const [row] = await tx<{ is_gathering: boolean | null }[]>`
      select pg2kafka.settle(
        ${lease.share.lane}, ${lease.token}, ${leaseMs}, ${tx.json(toPositionJson(position) as never)},
        ${tx.json(toTransactionJson(settlement.transaction) as never)}, ${gather}, ${tx.json(parked as never)}, ${tx.json(retried as never)},
        ${arrayText(unparked)}::bigint[], ${parkedMax.eventsMax}, ${parkedMax.bytesMax}
      ) as is_gathering`.catch((cause: Error & { code?: string }) => {
      throw cause.code === "PK001" ? parkedFull(parkedMax, cause) : cause;
    });
    if (typeof row?.is_gathering !== "boolean") throw leaseLost();
    lease.isGathering = row.is_gathering;
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
    return await renew(lease, leaseMs, async (tx, append) => {
      const [step] = await tx<StepRow[]>`
        select * from pg2kafka.snapshot_step(${lane}, ${lanes}, ${rowsMax}, ${bytesMax})`;
      const { is_left: isLeft, rows, target } = step!;
      const targetId = deliveredIdOf(position, lease.drawnId);
      const after = target === null ? position : { ...position, target, targetId };
      await append({ ...settlement, position: after });
      return { isLeft, rows: Number(rows), after };
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
    return await renew(lease, leaseMs, async (tx, append) => {
      const [step] = await tx<ReplayRow[]>`
        select * from pg2kafka.replay_step(${rowsMax}, ${bytesMax})`;
      const { is_left: isLeft, is_waiting: isWaiting, events } = step!;
      if (isLeft && !isWaiting) await append(settlement);
      return { isLeft, isWaiting, events: Number(events) };
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
    const [row] = await sql<{ answer: boolean | null }[]>`
      select pg2kafka.has_work(${lane}, ${lanes}, ${lease.token}, ${delivered}, ${deliveredId}) as answer`;
    return row!.answer;
  }

  /** All that is parked, by id. */
  function readParked({ lane, lanes }: Share): Promise<ParkedSummary[]> {
    return transaction(
      (tx) => tx<ParkedSummary[]>`
        select id, topic, scope, code, reason, retriable, external_id as "externalId", statement, bytes,
          pg2kafka.is_of_share(external_id, ${lane}, ${lanes}) as "isOwn"
        from pg2kafka.parked_events order by id`,
    );
  }

  /** @param eventBytesMax larger data is not read */
  async function readParkedEvents(ids: string[], eventBytesMax: number): Promise<FetchedEvent[]> {
    return await transaction(
      (tx) => tx<FetchedEvent[]>`
        select id, uuid, external_id as "externalId", table_schema as schema, table_name as table,
          statement, replay, case when bytes <= ${eventBytesMax} then data::text end as data,
          case when data is not null then bytes end as "dataBytes",
          (extract(epoch from created_at) * 1000000)::bigint as "createdAtMicros"
        from pg2kafka.parked_events where id = any(${arrayText(ids)}::bigint[]) order by id`,
    );
  }

  /**
   * Keep some of what is delivered and no longer written to. To be called, until nothing is left,
   * before `reclaim`.
   */
  async function keepEvents(
    { share, token }: Lease,
    { keepMs, bytesMax }: KeepLimits,
    step: SnapshotLimits,
  ): Promise<KeepStep> {
    const [row] = await transaction(
      (tx) => tx<KeepRow[]>`
        select * from pg2kafka.keep_step(
          ${share.lane}, ${token}, ${keepMs}, ${bytesMax}, ${step.rowsMax}, ${step.bytesMax}
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
  async function reclaim({ share, token }: Lease, keeps = false): Promise<number> {
    let bytes = 0;
    for (const generation of GENERATIONS) {
      const [row] = await transaction(
        (tx) => tx<{ bytes: string }[]>`
          select pg2kafka.reclaim(${generation}, ${share.lane}, ${token}, ${keeps}) as bytes`,
      );
      bytes += Number(row?.bytes ?? 0);
    }
    await transaction((tx) =>
      Promise.all([
        tx`select pg2kafka.reclaim_log()`,
        tx`select pg2kafka.forget_kept(${keep?.keepMs ?? 0}, ${keep?.bytesMax ?? 0})`,
      ]),
    );
    return bytes;
  }

  /** Compile the capture functions of altered tables. @returns how many */
  async function refreshCaptures(): Promise<number> {
    const [row] = await transaction(
      (tx) => tx<{ count: number }[]>`select pg2kafka.refresh_captures() as count`,
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
    readParkedEvents,
    keepEvents,
    reclaim,
    refreshCaptures,
  };
}

/** Adds an entry to the drain's log. */
type Append = (settlement: Settlement, parkedMax?: ParkedLimits) => Promise<void>;

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
  lane: number;
  lanes: number;
  is_gathering: boolean;
  position: PositionJson;
  transaction: TransactionJson | null;
}

interface SpanRow {
  target: string;
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
  return new QueueError("The database has no pg2kafka schema. Run: npm run migrate", {
    code: "NOT_INSTALLED",
    cause,
  });
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
