import type { RelayLimits } from "./config.ts";
import { ProduceError, QueueError } from "./errors.ts";
import type { Refusal } from "./kafka/failures.ts";
import type { Producer } from "./kafka/producer.ts";
import { type Message, type QueueEvent, TRUNCATE } from "./message.ts";
import { BEHIND_REFUSED, Blocked, dueEvents, isOfTopic } from "./parking.ts";
import {
  type Batch,
  type BatchLimits,
  type FetchedEvent,
  type Lease,
  type ParkedEvent,
  type ParkedLimits,
  type ParkedSummary,
  type Position,
  parkedFull,
  type Queue,
  type QueueState,
  type Settlement,
} from "./postgres/queue.ts";

/** What the relay works with. */
export interface Relay {
  queue: Queue;
  producer: Producer;
  toMessage: (event: QueueEvent) => Message;
  limits: RelayLimits;
  /** On the monotonic clock of `performance.now()`; no batch starts in the last `marginMs`. */
  deadlineMs: number;
}

export interface RelayReport {
  delivered: number;
  parked: number;
  /** Of the events parked earlier, those delivered now; they count as delivered too. */
  unparked: number;
  batches: number;
  /** Nothing visible was left in the queue when the relay ended. */
  drained: boolean;
  /** Age of the oldest event that is neither delivered nor parked; 0 when drained. */
  lagMs: number;
  /** Why it ended before the queue was empty; null when it did not. */
  stopped: { code: string; message: string } | null;
  /** Bytes on disk that the queue gave back. */
  reclaimedBytes: number;
}

/**
 * Move events from the queue to Kafka until it is empty or the time is up: read, send, settle.
 *
 * A batch is settled only after Kafka has acknowledged all of it, so whatever ends this process
 * in between, the next one sends the batch again: at least once, and in the same order. The next
 * batch is read while one is sent. One relay at a time holds the queue's lease. With nothing to
 * do, nothing is written.
 *
 * @throws what is not foreseen; a Kafka or a lease that is gone ends the report instead
 */
export async function relay(run: Relay, state: QueueState): Promise<RelayReport> {
  const { queue, limits } = run;
  const report = emptyReport();
  let { position } = state;
  const parked = await queue.readParked();
  const first = await readNext(run, position, "0", { ...limits.batch, eventsMax: 1 });
  report.lagMs = lagMs(first);
  const isIdle = first.events.length === 0 && parked.length === 0;
  if (isIdle && !state.isReclaimable && !state.restored) return { ...report, drained: true };
  if (!mayContinue(run, state.isPaused, report)) return report;

  const lease = await queue.takeLease(state.number, limits.leaseMs);
  if (lease === null) return stop(report, "LEASED", "Another drain is at work.");
  const settle = (settlement: Settlement, leaseMs = limits.leaseMs) =>
    queue.settle(lease, leaseMs, settlement, limits.parked);
  try {
    if (state.restored) position = (await queue.readState()).position;
    const { blocked, room } = await retryParked(run, lease, parked, report, (settlement) =>
      settle({ position, ...settlement }),
    );
    let batch = await readNext(run, position, lease.drawnId, limits.batch);
    while (batch.events.length > 0 && mayContinue(run, batch.isPaused, report)) {
      report.lagMs = lagMs(batch);
      const next = readNext(run, batch.after, lease.drawnId, limits.batch);
      next.catch(() => {}); // It is awaited below, unless this batch fails first.
      const refused = await deliver(run, lease, batch.events, blocked, room);
      await settle({ position: batch.after, ...NOTHING, parked: refused });
      position = batch.after;
      report.batches += 1;
      report.delivered += batch.events.length - refused.length;
      report.parked += refused.length;
      batch = await next;
    }
    report.drained = batch.events.length === 0;
    report.lagMs = lagMs(batch);
    if (report.drained && position.target !== null) {
      // The last batch was full, and nothing of its span was left behind it.
      position = batch.after;
      await settle({ position, ...NOTHING });
    }
    report.reclaimedBytes = await queue.reclaim(lease);
    await settle({ position, ...NOTHING }, 0);
    return report;
  } catch (error) {
    // Give the lease back. Where another drain has it by now, this changes nothing.
    await settle({ position, ...NOTHING }, 0).catch(() => {});
    if (!(error instanceof ProduceError || error instanceof QueueError)) throw error;
    const isFull = error.code === "TOO_MANY_REFUSED";
    const { code, message } = isFull ? parkedFull(limits.parked, error) : error;
    return stop(report, code, message);
  }
}

const NOTHING: Omit<Settlement, "position"> = { parked: [], retried: [], unparked: [] };

/** A span between two snapshots may turn out to hold nothing more: then the next one counts. */
async function readNext(
  { queue }: Relay,
  position: Position,
  drawnId: string,
  limits: BatchLimits,
): Promise<Batch> {
  const batch = await queue.fetch(position, drawnId, limits);
  if (batch.events.length > 0 || position.target === null) return batch;
  return await queue.fetch(batch.after, drawnId, limits);
}

function mayContinue({ deadlineMs, limits }: Relay, isPaused: boolean, report: RelayReport) {
  if (isPaused) stop(report, "PAUSED", "The drain is paused: select pg2kafka.resume()");
  else if (performance.now() > deadlineMs - limits.marginMs)
    stop(report, "DEADLINE", "Time is up.");
  return report.stopped === null;
}

/** Try again what is parked and may succeed now, in order. @returns what the rest holds back */
async function retryParked(
  run: Relay,
  lease: Lease,
  parked: readonly ParkedSummary[],
  report: RelayReport,
  settle: (settlement: Omit<Settlement, "position">) => Promise<void>,
): Promise<{ blocked: Blocked; room: ParkedLimits }> {
  const { batch, parked: parkedMax } = run.limits;
  const blocked = new Blocked();
  const room = { ...parkedMax };
  takeRoom(room, parked);
  for (const due of dueEvents(parked, blocked, batch)) {
    if (!mayContinue(run, false, report)) break;
    const ids = due.map(({ id }) => id);
    const events = await run.queue.readParkedEvents(ids, batch.eventBytesMax);
    const retried = await deliver(run, lease, events, blocked, null);
    const refused = new Set(retried.map(({ id }) => id));
    const unparked = events.filter(({ id }) => !refused.has(String(id)));
    await settle({ parked: [], retried, unparked: unparked.map(({ id }) => String(id)) });
    room.eventsMax += unparked.length;
    room.bytesMax += unparked.reduce((sum, { dataBytes }) => sum + (dataBytes ?? 0), 0);
    report.delivered += unparked.length;
    report.unparked += unparked.length;
  }
  return { blocked, room };
}

/**
 * Send events, but for what waits behind parked ones. A TRUNCATE is about every key of its topic:
 * it is sent alone, when what comes before it is stored or refused.
 *
 * @param room what may still be parked; null for events that are parked already
 * @returns what was refused, and why
 */
async function deliver(
  run: Relay,
  lease: Lease,
  events: readonly FetchedEvent[],
  blocked: Blocked,
  room: ParkedLimits | null,
): Promise<ParkedEvent[]> {
  const refused: ParkedEvent[] = [];
  for (const part of partAtTruncates(events)) {
    const messages: Message[] = [];
    const sent: FetchedEvent[] = [];
    const held: FetchedEvent[] = [];
    for (const event of part) {
      const message = run.toMessage({ ...event, data: event.data ?? "null" });
      const place = { ...event, topic: message.topic };
      const refusal = blocked.isBehind(place)
        ? behind(message.topic)
        : unreadable(event, run.limits, room === null);
      if (refusal === null) {
        messages.push(message);
        sent.push(event);
      } else {
        held.push(event);
        refused.push({ id: String(event.id), topic: message.topic, ...refusal });
        blocked.add(place, false);
      }
    }
    if (room) takeRoom(room, held);
    if (room && isFull(room)) throw parkedFull(run.limits.parked);
    const report = await run.producer.send(messages, {
      mayStart: () => outlivesRequest(run, lease),
      ...(room && { refusedMax: room.eventsMax }),
    });
    for (const [index, refusal] of report.refused) {
      const event = sent[index]!;
      const { topic } = messages[index]!;
      refused.push({ id: String(event.id), topic, ...refusal });
      blocked.add({ ...event, topic }, isOfTopic(refusal));
      if (room) takeRoom(room, [event]);
    }
  }
  return refused;
}

function takeRoom(
  room: ParkedLimits,
  events: readonly { bytes?: number; dataBytes?: number | null }[],
): void {
  room.eventsMax -= events.length;
  room.bytesMax -= events.reduce((sum, event) => sum + (event.bytes ?? event.dataBytes ?? 0), 0);
}

function isFull({ eventsMax, bytesMax }: ParkedLimits): boolean {
  return eventsMax < 0 || bytesMax < 0;
}

/** In order, each TRUNCATE apart. */
function partAtTruncates(events: readonly FetchedEvent[]): FetchedEvent[][] {
  const parts: FetchedEvent[][] = [[]];
  for (const event of events) {
    if (event.statement === TRUNCATE) parts.push([event], []);
    else parts.at(-1)!.push(event);
  }
  return parts.filter((part) => part.length > 0);
}

/** Whether a request would be answered, or given up, while this drain has its lease and its time.
 *  One under way after that could cross the next drain's. */
function outlivesRequest({ limits, deadlineMs }: Relay, { expiresAtMs }: Lease): boolean {
  return Math.min(expiresAtMs, deadlineMs) - performance.now() > limits.requestTimeoutMs;
}

function behind(topic: string): Omit<ParkedEvent, "id" | "topic"> {
  return {
    scope: "key",
    code: BEHIND_REFUSED,
    reason: `Not sent: an earlier event for topic "${topic}" is parked. Mend that one first.`,
    retriable: true,
  };
}

/**
 * Why an event cannot be sent at all; null when it can.
 *
 * @param isRequeued somebody has asked for it: it is sent with null for data that was not captured
 */
function unreadable(
  { data, dataBytes }: FetchedEvent,
  { batch }: RelayLimits,
  isRequeued: boolean,
): Refusal | null {
  if (data !== null || (dataBytes === null && isRequeued)) return null;
  const common = { scope: "key", retriable: false } as const;
  if (dataBytes === null) {
    const reason =
      "The row was too large to be captured: its JSON would not fit a value of Postgres.";
    return { ...common, code: "NOT_CAPTURED", reason };
  }
  const reason =
    `The event has ${dataBytes} bytes of data; the bound is ${batch.eventBytesMax}. ` +
    "Raise MESSAGE_BYTES_MAX together with max.message.bytes of the topic, or make the row smaller.";
  return { ...common, code: "MESSAGE_TOO_LARGE", reason };
}

function lagMs({ events }: Batch): number {
  const oldest = events[0];
  return oldest ? Math.max(0, Date.now() - Number(oldest.createdAtMicros / 1000n)) : 0;
}

function emptyReport(): RelayReport {
  return {
    delivered: 0,
    parked: 0,
    unparked: 0,
    batches: 0,
    drained: false,
    lagMs: 0,
    stopped: null,
    reclaimedBytes: 0,
  };
}

function stop(report: RelayReport, code: string, message: string): RelayReport {
  report.stopped = { code, message };
  return report;
}
