import type { Sql, TransactionSql } from "postgres";
import { QueueError } from "../errors.ts";
import type { QueueEvent } from "../message.ts";
import { readCommitted } from "./database.ts";

/**
 * Up to where everything is delivered: all events that are visible in the snapshot `delivered`
 * and, of those that `target` shows besides, the ones up to `lastId`.
 *
 * Ids are drawn before their transactions commit, so a late one may be lower than what was
 * delivered long ago: only visibility tells what is new. Snapshots are in Postgres' text form.
 */
export interface Position {
  delivered: string;
  /** No transaction that `delivered` neither shows nor lists as in progress has drawn an id so low. */
  deliveredId: string;
  /** The snapshot that ends the batches under way; null between two of them. */
  target: string | null;
  targetId: string | null;
  lastId: string;
}

/** What an invocation starts from. */
export interface QueueState {
  queueId: string;
  database: string;
  schemaVersion: string | null;
  isPaused: boolean;
  /** Another drain is at work. */
  isLeased: boolean;
  /** The database was restored elsewhere: `takeLease` begins anew, events may be sent again. */
  restored: boolean;
  /** A part of the queue that is not written to now holds disk space. */
  isReclaimable: boolean;
  /** Of the last entry in the drain's log. */
  number: string;
  position: Position;
}

/** An event as read. `data` is null when it is too large to be read, or was to be captured. */
export interface FetchedEvent extends Omit<QueueEvent, "data"> {
  data: string | null;
  /** Of `data`, as text; null when the row was too large to be captured. */
  dataBytes: number | null;
}

export interface Batch {
  /** In the order in which they are to be delivered. */
  events: FetchedEvent[];
  /** The position once all of them are dealt with. */
  after: Position;
  isPaused: boolean;
}

export interface BatchLimits {
  eventsMax: number;
  /** Of the events' data together; a single larger event comes alone. */
  bytesMax: number;
  /** Larger data is not read. */
  eventBytesMax: number;
}

/** An event to set aside. */
export interface ParkedEvent {
  id: string;
  topic: string;
  scope: "key" | "topic";
  code: string;
  reason: string;
  retriable: boolean;
}

/** A parked event, without its data. */
export interface ParkedSummary extends ParkedEvent {
  externalId: string | null;
  statement: string;
  /** Of its data, as text. */
  bytes: number;
}

export interface Settlement {
  position: Position;
  parked: ParkedEvent[];
  /** Parked events that were refused again. */
  retried: ParkedEvent[];
  /** Ids of parked events that are in Kafka now. */
  unparked: string[];
}

export interface ParkedLimits {
  eventsMax: number;
  bytesMax: number;
}

/** The drain's right to send, until `expiresAtMs` on this process' monotonic clock. */
export interface Lease {
  /** The fencing token. */
  readonly token: string;
  /** Of the log entry that this drain wrote last. */
  number: string;
  expiresAtMs: number;
  /**
   * The highest event id drawn before that entry was written. Who drew it, or a lower one, had a
   * transaction id by then, lower than the entry's: every snapshot from now on shows it, or lists
   * it as in progress. Of an id read without such an entry in between that is not true: the
   * newest transactions in progress are beyond a snapshot's xmax, and not in its list.
   */
  drawnId: string;
}

export type Queue = ReturnType<typeof createQueue>;

/** What the drain does with the queue. Every method is one short transaction. */
export function createQueue(sql: Sql) {
  const transaction = <Result>(work: (tx: TransactionSql) => Promise<Result>) =>
    readCommitted(sql, work);

  async function readState(): Promise<QueueState> {
    const [row] = await transaction(
      (tx) => tx<StateRow[]>`select * from pg2kafka.read_position()`,
    ).catch((cause: Error & { code?: string }) => {
      throw NOT_THERE.includes(cause.code ?? "") ? notInstalled(cause) : cause;
    });
    if (!row) throw notInstalled();
    return {
      queueId: row.queue_id,
      database: row.database,
      schemaVersion: row.schema_version,
      isPaused: row.is_paused,
      isLeased: row.is_leased,
      restored: row.restored,
      isReclaimable: row.is_reclaimable,
      number: row.number,
      position: {
        delivered: row.delivered,
        deliveredId: row.delivered_id,
        target: row.target,
        targetId: row.target_id,
        lastId: row.last_id,
      },
    };
  }

  /** @returns null when another drain was faster; the position may be another after a restore */
  async function takeLease(number: string, leaseMs: number): Promise<Lease | null> {
    const expiresAtMs = performance.now() + leaseMs;
    const [[drawn], [row]] = await transaction((tx) =>
      Promise.all([
        tx<{ id: string }[]>`select pg2kafka.drawn_id() as id`,
        tx<{ number: string | null }[]>`
          select pg2kafka.take_lease(${number}, ${leaseMs}) as number`,
      ]),
    );
    if (!row?.number) return null;
    return { token: row.number, number: row.number, expiresAtMs, drawnId: drawn!.id };
  }

  /**
   * Read the events that follow a position: visible, not delivered, by id.
   *
   * Two ranges of ids make up a batch. Above `deliveredId` are those of transactions that began
   * after `delivered`; read by id, whatever their transaction. Below it are those of the
   * transactions that `delivered` shows in progress and that have ended since; read by
   * transaction. So what was delivered is not read again, however long a writer stays open.
   *
   * Only as many events are measured as fit by their stored size; text is never smaller.
   *
   * @param drawnId of the lease; "0" when nothing is to be settled
   */
  async function fetch(position: Position, drawnId: string, limits: BatchLimits): Promise<Batch> {
    const { delivered, deliveredId, target, targetId, lastId } = position;
    const [, rows] = await transaction((tx) =>
      Promise.all([
        // For this transaction only. Partitions have no statistics: the planner would read all of
        // a large transaction's events for each of its batches, or compile the query each time.
        tx`
          select set_config('enable_seqscan', 'off', true),
            set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)`,
        tx<EventRow[]>`
          with span as (
            select ${delivered}::pg_snapshot as delivered,
              coalesce(${target}::pg_snapshot, pg_current_snapshot()) as target
          ), late as (
            select xact from span, pg_snapshot_xip(delivered) as x (xact)
            where pg_visible_in_snapshot(xact, target)
          ), candidate as (
            (
              select q.* from span, pg2kafka.outbound_event_queue q
              where q.id > ${lastId} and q.id > ${deliveredId}
                and not pg_visible_in_snapshot(q.xact, span.delivered)
                and pg_visible_in_snapshot(q.xact, span.target)
              order by q.id limit ${limits.eventsMax}
            )
            union all
            select q.* from late cross join lateral (
              select * from pg2kafka.outbound_event_queue q
              where (q.xact, q.id) > (late.xact, ${lastId})
                and (q.xact, q.id) <= (late.xact, ${deliveredId})
              order by q.xact, q.id limit ${limits.eventsMax}
            ) q
          ), batch as (
            select *, count(*) over () as count, row_number() over (order by id) as nth,
              sum(pg_column_size(data)) over (order by id) as stored_bytes
            from (select * from candidate order by id limit ${limits.eventsMax}) c
          ), measured as (
            select *, sum(least(data_bytes, ${limits.eventBytesMax})) over (order by id) as bytes
            from (
              select *, octet_length(data::text) as data_bytes from batch
              where nth = 1 or coalesce(stored_bytes, 0) <= ${limits.bytesMax}
            ) b
          )
          select id, uuid, external_id, table_schema, table_name, statement,
            case when data_bytes <= ${limits.eventBytesMax} then data::text end as data, data_bytes,
            (extract(epoch from created_at) * 1000000)::bigint as micros, count,
            case nth when 1 then (select target::text from span) end as target,
            case nth when 1 then (select paused_at is not null from pg2kafka.control) end as is_paused
          from measured where nth = 1 or bytes <= ${limits.bytesMax}
          order by id`,
      ]),
    );
    const first = rows[0];
    if (!first) {
      const after = target === null ? position : passed(target, targetId);
      return { events: [], after, isPaused: false };
    }
    const end = { target: first.target!, targetId: targetId ?? highest(deliveredId, drawnId) };
    const isWhole = rows.length === Number(first.count) && rows.length < limits.eventsMax;
    const after = isWhole
      ? passed(end.target, end.targetId)
      : { delivered, deliveredId, ...end, lastId: rows.at(-1)!.id };
    return { events: rows.map(toEvent), after, isPaused: first.is_paused! };
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
    { position, parked, retried, unparked }: Settlement,
    parkedMax: ParkedLimits,
  ): Promise<void> {
    const expiresAtMs = performance.now() + leaseMs;
    const { delivered, deliveredId, target, targetId, lastId } = position;
    const [[drawn], [row]] = await transaction((tx) =>
      Promise.all([
        tx<{ id: string }[]>`select pg2kafka.drawn_id() as id`,
        tx<{ number: string | null }[]>`
          select pg2kafka.settle(
            ${lease.number}, ${lease.token}, ${leaseMs},
            ${delivered}, ${deliveredId}, ${target}, ${targetId}, ${lastId},
            ${tx.json(parked as never)}, ${tx.json(retried as never)},
            ${arrayText(unparked)}::bigint[], ${parkedMax.eventsMax}, ${parkedMax.bytesMax}
          ) as number`,
      ]),
    ).catch((cause: Error & { code?: string }) => {
      throw cause.code === "PK001" ? parkedFull(parkedMax, cause) : cause;
    });
    if (!row?.number) {
      throw new QueueError("Another drain has taken over. Its lease had run out on this one.", {
        code: "LEASE_LOST",
      });
    }
    lease.number = row.number;
    lease.expiresAtMs = expiresAtMs;
    lease.drawnId = drawn!.id;
  }

  /** All that is parked, by id. */
  function readParked(): Promise<ParkedSummary[]> {
    return transaction(
      (tx) => tx<ParkedSummary[]>`
        select id, topic, scope, code, reason, retriable, external_id as "externalId", statement, bytes
        from pg2kafka.parked_events order by id`,
    );
  }

  /** @param eventBytesMax larger data is not read */
  async function readParkedEvents(ids: string[], eventBytesMax: number): Promise<FetchedEvent[]> {
    const rows = await transaction(
      (tx) => tx<EventRow[]>`
        select id, uuid, external_id, table_schema, table_name, statement,
          case when bytes <= ${eventBytesMax} then data::text end as data,
          case when data is not null then bytes end as data_bytes,
          (extract(epoch from created_at) * 1000000)::bigint as micros
        from pg2kafka.parked_events where id = any(${arrayText(ids)}::bigint[]) order by id`,
    );
    return rows.map(toEvent);
  }

  /** Empty what is delivered and no longer written to. @returns bytes given back */
  async function reclaim(lease: Lease): Promise<number> {
    let bytes = 0;
    for (let generation = 0; generation < GENERATIONS; generation++) {
      const [row] = await transaction(
        (tx) => tx<{ bytes: string }[]>`
          select pg2kafka.reclaim(${generation}, ${lease.token}) as bytes`,
      );
      bytes += Number(row?.bytes ?? 0);
    }
    await transaction((tx) => tx`select pg2kafka.reclaim_log()`);
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
    readParked,
    readParkedEvents,
    reclaim,
    refreshCaptures,
  };
}

/** The partitions of the queue, as in sql/migrations. */
const GENERATIONS = 4;

function passed(target: string, targetId: string | null): Position {
  return { delivered: target, deliveredId: targetId!, target: null, targetId: null, lastId: "0" };
}

interface StateRow {
  queue_id: string;
  database: string;
  schema_version: string | null;
  is_paused: boolean;
  is_leased: boolean;
  restored: boolean;
  is_reclaimable: boolean;
  number: string;
  delivered: string;
  delivered_id: string;
  target: string | null;
  target_id: string | null;
  last_id: string;
}

interface EventRow {
  id: string;
  uuid: string;
  external_id: string | null;
  table_schema: string;
  table_name: string;
  statement: string;
  data: string | null;
  data_bytes: number | null;
  micros: string;
  count: string;
  target: string | null;
  is_paused: boolean | null;
}

function toEvent(row: EventRow): FetchedEvent {
  return {
    id: BigInt(row.id),
    uuid: row.uuid,
    externalId: row.external_id,
    schema: row.table_schema,
    table: row.table_name,
    statement: row.statement,
    data: row.data,
    dataBytes: row.data_bytes,
    createdAtMicros: BigInt(row.micros),
  };
}

/** Postgres' text form of an array of numbers. */
function arrayText(ids: readonly string[]): string {
  return `{${ids.join(",")}}`;
}

function highest(a: string, b: string): string {
  return BigInt(a) > BigInt(b) ? a : b;
}

/** What Postgres says of a schema or a function that is not there. */
const NOT_THERE = ["3F000", "42883"];

function notInstalled(cause?: unknown): QueueError {
  return new QueueError("The database has no pg2kafka schema. Run: npm run migrate", {
    code: "NOT_INSTALLED",
    cause,
  });
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
