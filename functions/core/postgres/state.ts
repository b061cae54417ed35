import type { BatchName } from "../batch-name.ts";

/**
 * Up to where everything of a lane's share is delivered: all events that are visible in the
 * snapshot `delivered` of its span and, of those that `target` shows besides, the ones up to `lastId`.
 *
 * Ids are drawn before their transactions commit, so a late one may be lower than what was
 * delivered long ago: only visibility tells what is new. Snapshots are in Postgres' text form.
 */
export interface Position {
  /** One; several while a lane goes on with what others have left. */
  spans: Span[];
  /** The snapshot that ends the batches under way; null between two of them. */
  target: string | null;
  /** As `deliveredId`, of `target`. */
  targetId: string | null;
  lastId: string;
}

/** A part of the queue: what `target` shows and `delivered` does not, with ids above `lastId`. */
export interface Span {
  delivered: string;
  /** No transaction that `delivered` neither shows nor lists as in progress has drawn an id so low. */
  deliveredId: string;
  /** Null: that of the position. */
  target: string | null;
  lastId: string;
  /** Null: that of the lane that reads it. */
  share: Share | null;
}

/** The part of all keys that one of several drains delivers. */
export interface Share {
  lane: number;
  lanes: number;
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

/** A batch that is on its way, with all that is to be settled if it has arrived. */
export interface Begun extends BatchName {
  settlement: Settlement;
}

/** What a lane knows of its transactions in Kafka; nulls where it makes none. */
export interface TransactionState {
  /** The last batch that is settled. */
  sent: BatchName | null;
  begun: Begun | null;
}

export interface Settlement {
  position: Position;
  /** Nothing, where batches are no transactions of Kafka's. */
  transaction?: TransactionState;
  /** Ask the other drains to end, so that the first can go on alone. */
  gather?: boolean;
  parked: ParkedEvent[];
  /** Parked events that were refused again. */
  retried: ParkedEvent[];
  /** Ids of parked events that are in Kafka now. */
  unparked: string[];
}

/** All of a position's target is dealt with. */
export function passed({ target, targetId }: Position): Position {
  const span = { delivered: target!, deliveredId: targetId!, ...WHOLE_SHARE };
  return { spans: [span], target: null, targetId: null, lastId: "0" };
}

const WHOLE_SHARE = { target: null, lastId: "0", share: null };

export function deliveredIdOf({ spans }: Position, drawnId: string): string {
  return spans.map(({ deliveredId }) => deliveredId).reduce(highest, drawnId);
}

/** A position as the database keeps it, see first_lane.sql. */
export interface PositionJson {
  spans: SpanJson[];
  target: string | null;
  target_id: string | null;
  last_id: string;
}

export interface TransactionJson {
  sent: BatchName | null;
  begun:
    | (BatchName & { settlement: Omit<Settlement, "position"> & { position: PositionJson } })
    | null;
}

interface SpanJson {
  delivered: string;
  delivered_id: string;
  target?: string | null;
  last_id?: string;
  lane?: number;
  lanes?: number;
}

export function toPosition({ spans, ...json }: PositionJson): Position {
  return {
    spans: spans.map(({ delivered, delivered_id, target, last_id, lane, lanes }) => ({
      delivered,
      deliveredId: delivered_id,
      target: target ?? null,
      lastId: last_id ?? "0",
      share: lane === undefined || lanes === undefined ? null : { lane, lanes },
    })),
    target: json.target,
    targetId: json.target_id,
    lastId: json.last_id,
  };
}

export function toPositionJson({ spans, target, targetId, lastId }: Position): PositionJson {
  return {
    spans: spans.map(toSpanJson),
    target,
    target_id: targetId,
    last_id: lastId,
  };
}

export function toTransactionJson({
  sent,
  begun,
}: TransactionState = NO_TRANSACTION): TransactionJson | null {
  if (sent === null && begun === null) return null;
  if (begun === null) return { sent, begun };
  const { number, id, settlement } = begun;
  const position = toPositionJson(settlement.position);
  const bare = { ...settlement, transaction: NO_TRANSACTION, position };
  return { sent, begun: { number, id, settlement: bare } };
}

export function fromTransactionJson({ sent, begun }: TransactionJson): TransactionState {
  if (begun === null) return { sent, begun };
  const { settlement } = begun;
  const position = toPosition(settlement.position);
  return { sent, begun: { ...begun, settlement: { ...settlement, position } } };
}

export const NO_TRANSACTION: TransactionState = { sent: null, begun: null };

export function toSpanJson({ delivered, deliveredId, target, lastId, share }: Span): SpanJson {
  const whole = { delivered, delivered_id: deliveredId };
  return share === null ? whole : { ...whole, target, last_id: lastId, ...share };
}

function highest(a: string, b: string): string {
  return BigInt(a) > BigInt(b) ? a : b;
}
