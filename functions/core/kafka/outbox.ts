import type { Message } from "../message.ts";
import { behindRefused, type Refusal, tooLarge } from "./failures.ts";
import { partitionOf } from "./partitioner.ts";
import { RECORD_BATCH_BYTES } from "./record-batch.ts";
import type { ProducerSettings } from "./settings.ts";

/** kafkajs queues them per connection; this bounds the memory they take. */
const REQUESTS_IN_FLIGHT_MAX = 64;

/** Requests of a send that may be refused while it looks for the messages at fault, one after the other. */
const REFUSED_REQUESTS_MAX = 100;

/** So many messages are found in fewer requests than that, if each of them is refused. */
export const FOUND_MAX = REFUSED_REQUESTS_MAX / 2;

/** What is left to send to one partition. */
export interface Lane {
  topic: string;
  partition: number;
  /** Positions in the batch, cut into record batches; both in order. */
  cuts: number[][];
  /** Of the last cut; infinite before the first. */
  lastCutBytes: number;
  /** Key, as latin1 → the position from which its messages must wait. */
  refusedKeys: Map<string, number>;
}

/** What goes to one partition in one request. */
export interface RecordBatch {
  lane: Lane;
  /** Positions in the batch. */
  indexes: number[];
  messages: Message[];
  bytes: number;
}

/** What was learned before. */
export interface Known {
  /** By position in the batch: these are not sent, nor what is behind them. */
  refused: ReadonlyMap<number, Refusal>;
  /** Topic → bytes of a record batch that it may take, where that is less than `requestBytesMax`. What
   *  is learned now is added. */
  batchBytesMax: Map<string, number>;
}

/** The part of a batch that is neither acknowledged nor refused, in order. */
export class Outbox {
  /** By position in the batch. */
  readonly refused: Map<number, Refusal>;
  readonly #messages: readonly Message[];
  readonly #settings: ProducerSettings;
  readonly #apart: ReadonlySet<string>;
  readonly #turn: number;
  readonly #known: Known;
  /** Topic → positions of its messages that have no partition yet. */
  readonly #unplaced = new Map<string, number[]>();
  /** Topic → its partitions, once placed. */
  readonly #lanes = new Map<string, Lane[]>();
  #isIsolating = false;
  #refusedRequests = 0;

  /**
   * @param apart topics whose record batches are sent alone
   * @param turn picks the partition of the messages without key
   * @param known what earlier outboxes have found, of the same messages and of the topics
   */
  constructor(
    messages: readonly Message[],
    settings: ProducerSettings,
    apart: ReadonlySet<string>,
    turn: number,
    known: Known,
  ) {
    this.refused = new Map(known.refused);
    this.#known = known;
    this.#messages = messages;
    this.#settings = settings;
    this.#apart = apart;
    this.#turn = turn;
    messages.forEach(({ topic }, index) => {
      if (known.refused.get(index)?.scope === "topic") return;
      const indexes = this.#unplaced.get(topic);
      if (indexes === undefined) this.#unplaced.set(topic, [index]);
      else indexes.push(index);
    });
  }

  /** Whether to find all that is refused takes longer than one send may look for it. */
  isTooMuch(): boolean {
    return this.#refusedRequests > REFUSED_REQUESTS_MAX;
  }

  isEmpty(): boolean {
    return this.#unplaced.size === 0 && this.#openLanes().length === 0;
  }

  /** Topics with messages left. */
  topics(): string[] {
    return [...new Set([...this.#unplaced.keys(), ...this.#openLanes().map((lane) => lane.topic)])];
  }

  /** Spread a topic's messages over its partitions. Those that have theirs already keep it. */
  place(topic: string, partitions: number): void {
    const indexes = this.#unplaced.get(topic);
    if (indexes === undefined) return;
    this.#unplaced.delete(topic);
    const lanes: Lane[] = Array.from({ length: partitions }, (_, partition) => ({
      topic,
      partition,
      cuts: [],
      lastCutBytes: Number.POSITIVE_INFINITY,
      refusedKeys: new Map(),
    }));
    this.#lanes.set(topic, lanes);
    for (const index of indexes) {
      const { broadcast, key } = this.#messages[index]!;
      if (broadcast) for (const lane of lanes) this.#append(lane, index);
      else this.#append(lanes[partitionOf(key, partitions, this.#turn)]!, index);
    }
  }

  /**
   * Take the next record batch of each partition, packed into requests that may be sent at once:
   * no two have a partition in common.
   */
  takeRequests(): RecordBatch[][] {
    const requests: RecordBatch[][] = [];
    let bytesLeft = 0;
    for (const lane of this.#openLanes()) {
      const batch = this.#takeBatch(lane);
      if (batch.indexes.length === 0) continue;
      const isAlone = this.#isIsolating || this.#apart.has(lane.topic);
      if (isAlone || batch.bytes > bytesLeft) {
        if (requests.length === REQUESTS_IN_FLIGHT_MAX) {
          this.putBack([batch]);
          break;
        }
        requests.push([]);
        bytesLeft = isAlone ? 0 : this.#settings.requestBytesMax;
      }
      requests.at(-1)!.push(batch);
      bytesLeft -= batch.bytes;
    }
    return requests;
  }

  /** Return what was not acknowledged to its place. */
  putBack(request: readonly RecordBatch[]): void {
    for (const { lane, indexes } of request) lane.cuts.unshift(indexes);
  }

  /** Send each record batch of this batch alone: an error names neither the topic nor the partition. */
  isolateFromNowOn(): void {
    this.#isIsolating = true;
  }

  /** Narrow down which message of a record batch, back in its place, is refused: halve it, or that is the one. */
  splitOrRefuse({ lane, bytes }: RecordBatch, refusal: Refusal, isTooLarge: boolean): void {
    if (isTooLarge) this.#lowerBytesMax(lane.topic, bytes);
    const indexes = lane.cuts.shift() ?? [];
    // One that goes to every partition is refused by each of them.
    if (!this.refused.has(indexes[0]!)) this.#refusedRequests += 1;
    if (indexes.length === 1) {
      this.#refuse(lane, indexes[0]!, refusal);
    } else {
      const half = Math.ceil(indexes.length / 2);
      lane.cuts.unshift(indexes.slice(0, half), indexes.slice(half));
    }
  }

  /** Refuse what is left of a topic: the first message as given, the others behind it. */
  refuseTopic(topic: string, refusal: Refusal): void {
    const placed = this.#lanes.get(topic)?.flatMap((lane) => lane.cuts.flat()) ?? [];
    const left = new Set([...(this.#unplaced.get(topic) ?? []), ...placed]);
    this.#unplaced.delete(topic);
    this.#lanes.delete(topic);
    const [first, ...behind] = [...left].sort((a, b) => a - b);
    if (first !== undefined) this.refused.set(first, refusal);
    for (const index of behind) this.refused.set(index, behindRefused(topic, "topic"));
  }

  #openLanes(): Lane[] {
    return [...this.#lanes.values()].flat().filter((lane) => lane.cuts.length > 0);
  }

  /** A topic takes less than these bytes, so half of them is no less than half of what it takes. */
  #lowerBytesMax(topic: string, bytes: number): void {
    const { batchBytesMax } = this.#known;
    const half = Math.floor(bytes / 2);
    batchBytesMax.set(topic, Math.min(half, batchBytesMax.get(topic) ?? half));
  }

  /** How many of a cut's first messages the topic takes in one record batch; at least one. */
  #countFitting(topic: string, cut: readonly number[]): number {
    const bytesMax = this.#known.batchBytesMax.get(topic);
    if (bytesMax === undefined) return cut.length;
    let bytes = RECORD_BATCH_BYTES;
    const end = cut.findIndex((index) => {
      bytes += this.#messages[index]!.bytes;
      return bytes > bytesMax;
    });
    return end < 0 ? cut.length : Math.max(1, end);
  }

  #takeBatch(lane: Lane): RecordBatch {
    const whole = lane.cuts.shift() ?? [];
    const cut = whole.slice(0, this.#countFitting(lane.topic, whole));
    if (cut.length < whole.length) lane.cuts.unshift(whole.slice(cut.length));
    const indexes = cut.filter((index) => !this.#refuseIfBehind(lane, index));
    const messages = indexes.map((index) => this.#messages[index]!);
    const bytes = messages.reduce((sum, message) => sum + message.bytes, RECORD_BATCH_BYTES);
    return { lane, indexes, messages, bytes };
  }

  #append(lane: Lane, index: number): void {
    const { requestBytesMax, messageBytesMax } = this.#settings;
    const { bytes } = this.#messages[index]!;
    const known = this.#known.refused.get(index);
    if (known) this.#refuse(lane, index, known);
    if (known || this.#refuseIfBehind(lane, index)) return;
    if (RECORD_BATCH_BYTES + bytes > messageBytesMax) {
      this.#refuse(lane, index, tooLarge(lane.topic, RECORD_BATCH_BYTES + bytes, messageBytesMax));
    } else if (lane.lastCutBytes + bytes > requestBytesMax) {
      lane.cuts.push([index]);
      lane.lastCutBytes = RECORD_BATCH_BYTES + bytes;
    } else {
      lane.cuts.at(-1)!.push(index);
      lane.lastCutBytes += bytes;
    }
  }

  #refuse(lane: Lane, index: number, refusal: Refusal): void {
    this.refused.set(index, refusal);
    const { key } = this.#messages[index]!;
    if (key === null) return;
    const name = key.toString("latin1");
    lane.refusedKeys.set(name, Math.min(index, lane.refusedKeys.get(name) ?? index));
  }

  #refuseIfBehind(lane: Lane, index: number): boolean {
    if (lane.refusedKeys.size === 0) return false;
    const { key } = this.#messages[index]!;
    if (key === null) return false;
    const first = lane.refusedKeys.get(key.toString("latin1"));
    if (first === undefined || index < first) return false;
    this.refused.set(index, behindRefused(lane.topic, "key"));
    return true;
  }
}
