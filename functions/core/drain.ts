import type { Sql } from "postgres";
import type { Config } from "./config.ts";
import { ConfigError, QueueError } from "./errors.ts";
import type { Producer } from "./kafka/producer.ts";
import { createTransactionalProducer } from "./kafka/transactional.ts";
import { messageFormat } from "./message.ts";
import { createQueue, type Queue, type QueueState } from "./postgres/queue.ts";
import type { Schema } from "./postgres/schema.ts";
import { relay } from "./relay.ts";
import type { RelayReport } from "./report.ts";
import { atLeastOnce, exactlyOnce } from "./sender.ts";
import { transactionNames } from "./topic.ts";

export interface DrainReport extends RelayReport {
  durationMs: number;
}

/**
 * One invocation: drain the queue into Kafka until it is empty or the time is up.
 *
 * @param deadlineMs on the monotonic clock of `performance.now()`
 * @throws {QueueError} SCHEMA_OUTDATED when the installed schema is not the one this code is for
 */
export async function drain(
  sql: Sql,
  producer: Producer,
  config: Config,
  schema: Schema,
  deadlineMs: number,
): Promise<DrainReport> {
  const startedMs = performance.now();
  const { limits, lane, lanes, linger } = config;
  const queue = createQueue(sql, config, limits.keep);
  const state = await readState(queue, schema);
  await queue.refreshCaptures();
  const toMessage = messageFormat({ ...state, namespace: config.namespace });
  const openSender = (lane: number) =>
    config.delivery === "exactly-once"
      ? exactlyOnce(transactionalProducer(config, state.database, lane))
      : atLeastOnce(producer);
  const { eventsMax } = limits.batch;
  const report = await relay(
    { queue, toMessage, openSender, limits, eventsMax, deadlineMs, lane, lanes, linger },
    state,
  );
  const durationMs = Math.round(performance.now() - startedMs);
  return { ...report, durationMs };
}

function transactionalProducer(config: Config, database: string, lane: number) {
  return createTransactionalProducer({
    brokers: requireBrokers(config),
    clientId: "pg2kafka",
    ...config.producer,
    ...transactionNames({ namespace: config.namespace, database }, lane),
    transactionTimeoutMs: config.limits.leaseMs / 2,
  });
}

/**
 * Print what a drain would send, as `{"topic","key","value"}` a line, and leave the queue as it
 * is. `value` is the text of the message. Everything that is visible at the start is printed once,
 * in order; of what is committed meanwhile some may be, so it ends however much is written.
 *
 * @returns how many messages
 * @throws {QueueError} RESTORED when the database comes from another cluster
 */
export async function dryRun(
  sql: Sql,
  config: Config,
  schema: Schema,
  print: (line: string) => void,
): Promise<number> {
  const queue = createQueue(sql, config);
  const state = await readState(queue, schema);
  if (state.restored) {
    throw new QueueError(
      "This database was restored from another cluster: the next drain sends everything that is " +
        "in the queue, and only then can it be told what waits. Run a drain without DRY_RUN.",
      { code: "RESTORED" },
    );
  }
  const toMessage = messageFormat({ ...state, namespace: config.namespace });
  let { position } = state;
  let count = 0;
  // What a drain has left of its last span, and then from the end of that one to now.
  let spansLeft = 1 + Number(position.target !== null);
  while (spansLeft > 0) {
    const { events, after } = await queue.fetch(position, "0", config.limits.batch, state.share);
    for (const event of events) {
      const { topic, key, value } = toMessage({ ...event, data: event.data ?? "null" });
      print(JSON.stringify({ topic, key: key?.toString() ?? null, value: value.toString() }));
    }
    count += events.length;
    if (after.target === null) spansLeft -= 1;
    position = after;
  }
  return count;
}

async function readState(queue: Queue, schema: Schema): Promise<QueueState> {
  const state = await queue.readState();
  if (state.schemaVersion === schema.version) return state;
  throw new QueueError(
    `The schema in the database is version ${state.schemaVersion}; this drain needs ` +
      `${schema.version}. Run migrate (npm run migrate, or its Lambda) from the same release.`,
    { code: "SCHEMA_OUTDATED" },
  );
}

/** Why a drain may end early without anything being wrong. */
const REGULAR_STOPS = ["DEADLINE", "LEASED", "PAUSED"];

/** Whether a drain ended as it should: the queue empty, or for a reason that is no fault. */
export function isRegularStop(stopped: RelayReport["stopped"]): boolean {
  return stopped === null || REGULAR_STOPS.includes(stopped.code);
}

/** @throws {ConfigError} when there is no broker to drain to */
export function requireBrokers(config: Config): string[] {
  if (config.brokers.length > 0) return config.brokers;
  throw new ConfigError([
    "KAFKA_BROKER is not set; it is a list of host:port. DRY_RUN=true prints the messages instead.",
  ]);
}
