import { randomUUID } from "node:crypto";
import type { Refusal } from "./kafka/failures.ts";
import type { Producer, SendOptions, SendReport } from "./kafka/producer.ts";
import type { TransactionalProducer } from "./kafka/transactional.ts";
import type { Message } from "./message.ts";
import type { Begun, Settlement, TransactionState } from "./postgres/state.ts";

/** How a batch gets into Kafka under one lease: at least once, or exactly once. */
export interface Sender {
  /**
   * Whether the batch that the last drain had begun is in Kafka. To be called first.
   *
   * @param token of the lease
   */
  recover(state: TransactionState, token: string, mayStart: () => boolean): Promise<boolean>;
  send(messages: readonly Message[], options: BatchOptions): Promise<SendReport>;
  /** The last batch that `send` has brought into Kafka, where these have names. */
  sent(): TransactionState["sent"];
  /** Whether Kafka has batches that the database does not know: it was set back to an earlier time,
   *  and what is sent now may be a repeat. */
  isKafkaAhead(): boolean;
  close(): Promise<void>;
}

export interface BatchOptions extends SendOptions {
  /** What is to be settled once the batch is in Kafka, without those that Kafka refused. */
  settlementFor: (refused: ReadonlyMap<number, Refusal>) => Settlement;
  /** Store that the batch is begun, in place of what was stored of it before. */
  begin: (batch: Begun) => Promise<void>;
}

/** What a drain has begun and not settled, the next one sends again. */
export function atLeastOnce(producer: Producer): Sender {
  return {
    recover: async () => false,
    send: (messages, options) => producer.send(messages, options),
    sent: () => null,
    isKafkaAhead: () => false,
    close: async () => {},
  };
}

/**
 * Each batch is a transaction of Kafka's that also carries the batch's id. The id is stored here
 * with all that is to be settled, before the batch is sent: so after any crash Kafka can be asked
 * whether the batch is there, and if it is, it is settled and not sent again.
 */
export function exactlyOnce(producer: TransactionalProducer): Sender {
  let number = 0n;
  /** Numbers go on from it: of a database that was not set back it is above all in Kafka. */
  let firstNumber = 0n;
  let isFenced = false;
  let isKafkaAhead = false;
  let sent: TransactionState["sent"] = null;

  async function fence(begun: Begun | null, mayStart: () => boolean): Promise<boolean> {
    const last = await producer.fence({ mayStart });
    isFenced = true;
    if (last === null) return false;
    const lastNumber = BigInt(last.number);
    number = larger(number, lastNumber);
    const isBegun = last.id === begun?.id;
    const isKnown = sent === null ? lastNumber < firstNumber : last.id === sent.id;
    isKafkaAhead = !isKnown && !isBegun;
    if (isBegun) sent = last;
    return isBegun;
  }

  return {
    async recover(state, token, mayStart) {
      const { begun } = state;
      sent = state.sent;
      firstNumber = BigInt(token);
      number = larger(BigInt(begun?.number ?? sent?.number ?? 0), firstNumber);
      // Without a batch in doubt, nothing is asked before there is something to send.
      return begun !== null && (await fence(begun, mayStart));
    },

    async send(messages, { settlementFor, begin, ...options }) {
      if (messages.length === 0) return { refused: new Map() };
      if (!isFenced) await fence(null, options.mayStart ?? (() => true));
      number += 1n;
      const name = { number: String(number), id: randomUUID() };
      const store = (refused: ReadonlyMap<number, Refusal>) =>
        begin({ ...name, settlement: settlementFor(refused) });
      await store(new Map());
      const report = await producer.send(messages, name, { ...options, beforeCommit: store });
      sent = name;
      return report;
    },

    sent: () => sent,
    isKafkaAhead: () => isKafkaAhead,
    close: () => producer.close(),
  };
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
