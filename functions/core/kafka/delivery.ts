import type { Transaction } from "kafkajs";
import type { BatchName } from "../batch-name.ts";
import { ProduceError } from "../errors.ts";
import type { Message } from "../message.ts";
import { classify, type Failure, type Refusal } from "./failures.ts";
import { beginBatch, type FencedSession, type TransactionalSettings } from "./fenced-session.ts";
import { Outbox } from "./outbox.ts";
import {
  assertMayStart,
  assertNotTooMany,
  type FailedRequest,
  gaveUp,
  refuse,
  type SendOptions,
  sendRequests,
} from "./producer.ts";

export interface TransactionalSendOptions extends SendOptions {
  /**
   * Called when Kafka has refused some messages and taken all others, before these are committed.
   * Store what was refused under the batch's id: a process that dies after the commit has nobody
   * else to tell. When it throws, nothing is committed, and the send ends with its error. The last
   * call counts, with nothing refused if it comes to that.
   */
  beforeCommit?: (refused: ReadonlyMap<number, Refusal>) => Promise<void>;
}

/** What `beforeCommit` has thrown. */
export class NotStored extends Error {
  override readonly name = "NotStored";
}

/** Times that a batch is searched for what Kafka refuses; each search finds all that it meets. */
const SEARCHES_MAX = 4;

const NOBODY_APART: ReadonlySet<string> = new Set();

/** A batch on its way: transactions, one after the other, until one is committed. */
export class Delivery {
  /** By position in the batch: what was refused when a commit was asked for; null before that. */
  committing: ReadonlyMap<number, Refusal> | null = null;
  readonly #messages: readonly Message[];
  readonly #batch: BatchName;
  readonly #options: TransactionalSendOptions;
  readonly #settings: TransactionalSettings;
  /** Topic → what it was found to take, for this batch and later ones. */
  readonly #batchBytesMax: Map<string, number>;
  readonly #turn: number;
  #refused: ReadonlyMap<number, Refusal> = new Map();
  /** The refusal that makes it necessary. */
  #toSearch: Failure | null = null;
  #searches = 0;
  #hasTold = false;

  constructor(
    messages: readonly Message[],
    batch: BatchName,
    options: TransactionalSendOptions,
    settings: TransactionalSettings,
    batchBytesMax: Map<string, number>,
    turn: number,
  ) {
    this.#messages = messages;
    this.#batch = batch;
    this.#options = options;
    this.#settings = settings;
    this.#batchBytesMax = batchBytesMax;
    this.#turn = turn;
  }

  /**
   * Send the batch in one transaction and commit it; or, when the transaction before has met a
   * refusal, find all messages that are refused in one that is never committed. A session serves
   * until this returns null or throws.
   *
   * @returns by position, what was refused of the committed batch; null when it is not committed,
   *   and the next attempt knows better what to send
   * @throws when it is not known what became of a request
   */
  async attempt(session: FencedSession): Promise<ReadonlyMap<number, Refusal> | null> {
    const known = { refused: this.#refused, batchBytesMax: this.#batchBytesMax };
    const outbox = new Outbox(this.#messages, this.#settings, NOBODY_APART, this.#turn, known);
    await session.topics.placeMessages(outbox);
    assertNotTooMany(outbox, this.#options.refusedMax);
    if (this.#toSearch) await this.#search(session, outbox, this.#toSearch);
    else if (await this.#deliver(session, outbox)) return outbox.refused;
    return null;
  }

  async #deliver(session: FencedSession, outbox: Outbox): Promise<boolean> {
    this.committing = null;
    const transaction = await beginBatch(session, this.#settings, this.#batch);
    try {
      while (!outbox.isEmpty()) {
        const [first] = await this.#sendAll(transaction, outbox);
        if (first && isRefusal(first.error)) {
          // The next session aborts: another broker may not have answered its part of the request.
          this.#toSearch = classify(first.error);
          return false;
        }
        if (first) throw first.error;
      }
      await this.#tell(outbox.refused);
      assertMayStart(this.#mayStart);
    } catch (error) {
      if (isOurs(error)) await abort(transaction);
      throw error;
    }
    this.committing = outbox.refused;
    await transaction.commit();
    return true;
  }

  /** What Kafka takes in a search stays in its log, where no reader of committed messages sees it. */
  async #search(session: FencedSession, outbox: Outbox, failure: Failure): Promise<void> {
    if (this.#searches === SEARCHES_MAX) throw gaveUp(failure, this.#settings);
    outbox.isolateFromNowOn();
    // Noted as one that is committed: that request waits for the transaction before to be finished.
    const transaction = await beginBatch(session, this.#settings, this.#batch);
    this.#searches += 1;
    try {
      while (!outbox.isEmpty()) {
        const failed = await this.#sendAll(transaction, outbox);
        for (const { request, error } of failed) {
          const found = classify(error);
          if (found.kind !== "message" && found.kind !== "topic") throw error;
          refuse(outbox, request[0]!, found);
        }
        assertNotTooMany(outbox, this.#options.refusedMax);
      }
    } catch (error) {
      if (isOurs(error)) await abort(transaction);
      throw error;
    }
    this.#refused = outbox.refused;
    this.#toSearch = null;
    await abort(transaction);
  }

  /** @returns what failed, back in the outbox: first what may be under way, last what never was */
  async #sendAll(
    transaction: Pick<Transaction, "sendBatch">,
    outbox: Outbox,
  ): Promise<FailedRequest[]> {
    const failed = await sendRequests(transaction, outbox, this.#mayStart, this.#settings, true);
    const rank = ({ error }: FailedRequest) => Number(isRefusal(error)) + 2 * Number(isOurs(error));
    return failed.sort((a, b) => rank(a) - rank(b));
  }

  async #tell(refused: ReadonlyMap<number, Refusal>): Promise<void> {
    if (refused.size === 0 && !this.#hasTold) return;
    this.#hasTold = true;
    try {
      await this.#options.beforeCommit?.(refused);
    } catch (cause) {
      throw new NotStored("What Kafka has refused was not stored.", { cause });
    }
  }

  get #mayStart(): () => boolean {
    return this.#options.mayStart ?? (() => true);
  }
}

/** Partitions of one request are added to a transaction all or none: this is of the others. */
const OPERATION_NOT_ATTEMPTED = "OPERATION_NOT_ATTEMPTED";

function isRefusal(error: unknown): boolean {
  const { kind, type } = classify(error);
  return kind === "message" || kind === "topic" || type === OPERATION_NOT_ATTEMPTED;
}

/** Whether the error is not of a request. When nothing is under way to Kafka, a transaction may be
 *  aborted; what arrives after that, older brokers would leave open for good. */
function isOurs(error: unknown): boolean {
  return error instanceof ProduceError || error instanceof NotStored;
}

/** So that readers need not wait for the next session to do it. */
async function abort(transaction: Transaction): Promise<void> {
  await transaction.abort().catch(() => {});
}
