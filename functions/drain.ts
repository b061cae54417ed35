import type { Sql } from "postgres";
import { topicWarning } from "./core/config/topics.ts";
import type { Config } from "./core/config.ts";
import { type DrainReport, drain, isRegularStop, requireBrokers } from "./core/drain.ts";
import { ConfigError, DatabaseError, DrainError } from "./core/errors.ts";
import { createProducer, type OpenableProducer } from "./core/kafka/producer.ts";
import { log } from "./core/log.ts";
import { connectDatabase } from "./core/postgres/database.ts";
import { explainFailure } from "./core/postgres/failures.ts";
import { readSchema, type Schema } from "./core/postgres/schema.ts";
import { type QueueStatus, readStatus } from "./core/postgres/status.ts";
import { type MetricValues, writeMetrics } from "./core/write-metrics.ts";
import {
  describe,
  type LambdaContext,
  lambdaConfig,
  report as reported,
  sqlFolder,
} from "./lambda.ts";

/** What outlives an invocation: connections are kept while the Lambda is warm. */
interface Warm {
  config: Config;
  schema: Schema;
  sql: Sql;
  producer: OpenableProducer;
}

/** After this long without use, connections are made anew: what lies between drops idle ones without
 *  a word (AWS' networks after 350 s), and a request into such a one is not answered. */
const IDLE_MS_MAX = 240_000;

/** Of the invocation's time, kept to say that the rest did not end. */
const ANSWER_MS = 1_000;

let warm: Warm | undefined;
/** By the clock that goes on while the process is frozen. */
let usedAtMs = 0;

/**
 * One scheduled invocation: drain until the queue is empty or the Lambda's time is nearly up. The
 * metrics are written in any case.
 *
 * @returns the report, which is also logged
 * @throws when the drain could not work, so that the invocation counts as an error
 */
export async function handler(_event: unknown, context: LambdaContext): Promise<DrainReport> {
  const startedMs = performance.now();
  const timeoutMs = context.getRemainingTimeInMillis();
  let report: DrainReport | undefined;
  let status: QueueStatus | undefined;
  let isFailed = true;
  try {
    if (Date.now() - usedAtMs > IDLE_MS_MAX) discard();
    await withinTime(timeoutMs - ANSWER_MS, async (signal) => {
      report = await drainOnce(timeoutMs, startedMs + timeoutMs, signal);
      log(isRegularStop(report.stopped) ? "info" : "error", "drained", report);
      status = await readStatusOrWarn(signal);
    });
    const { stopped } = report!;
    if (stopped && !isRegularStop(stopped)) throw new DrainError(stopped);
    isFailed = false;
    return report!;
  } catch (error) {
    throw reported(error, warm?.config);
  } finally {
    usedAtMs = Date.now();
    const durationMs = Math.round(performance.now() - startedMs);
    writeMetrics({
      ...toMetrics(report, status),
      Failed: isFailed ? 1 : 0,
      DurationMs: durationMs,
      TimeLeftMs: Math.max(0, Math.round(timeoutMs - durationMs)),
    });
  }
}

/** @param signal this invocation was given up; what is warm by then is another one's */
async function drainOnce(
  timeoutMs: number,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<DrainReport> {
  for (let attempt = 1; ; attempt++) {
    const isKept = warm !== undefined;
    try {
      const { config, schema, sql, producer } = warm ?? (await startWarm(signal));
      checkTimeout(timeoutMs, config);
      return await drain(sql, producer, config, schema, deadlineMs);
    } catch (error) {
      signal.throwIfAborted();
      const failure = warm ? explainFailure(error, warm.config.database) : error;
      if (attempt > 1 || !endsWithConnection(failure, isKept)) throw failure;
      log("warn", "connecting anew", describe(failure));
      discard();
    }
  }
}

/** Whether a failure is about connections that were kept, and so may not come again on new ones. */
function endsWithConnection(failure: unknown, isKept: boolean): boolean {
  if (!(failure instanceof DatabaseError)) return false;
  const { code } = failure;
  return code === "DATABASE_USER_CHANGED" || (isKept && code === "DATABASE_UNREACHABLE");
}

async function startWarm(signal: AbortSignal): Promise<Warm> {
  const started = await start();
  if (signal.aborted) close(started);
  signal.throwIfAborted();
  warm = started;
  return started;
}

async function start(): Promise<Warm> {
  const config = await lambdaConfig();
  const warning = config.producer.createTopics && topicWarning(config.producer.createTopics);
  if (warning) log("warn", "topics", { message: warning });
  const brokers = requireBrokers(config);
  const producer = createProducer({ brokers, clientId: "pg2kafka", ...config.producer });
  // Kafka connects while Postgres does, and tells what there is to send.
  producer.open();
  const sql = await connectDatabase(config.database).catch(async (error) => {
    await producer.close();
    throw explainFailure(error, config.database);
  });
  return { config, schema: readSchema(sqlFolder()), sql, producer };
}

/** Let go of the connections, whatever they are doing. */
function discard(): void {
  if (warm) close(warm);
  warm = undefined;
}

function close({ sql, producer }: Warm): void {
  sql.end({ timeout: 0 }).catch(() => {});
  producer.close().catch(() => {});
}

function checkTimeout(timeoutMs: number, { limits: { marginMs } }: Config): void {
  if (timeoutMs > marginMs) return;
  throw new ConfigError([
    `The function's timeout leaves ${Math.round(timeoutMs)} ms, and MARGIN_MS is ${marginMs}: no ` +
      "batch would ever start. Raise the timeout.",
  ]);
}

/** @throws {DrainError} TIME_UP; then the connections that hang are gone */
async function withinTime(
  timeMs: number,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const givenUp = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      givenUp.abort();
      discard();
      const message =
        "The time is up, and Postgres or Kafka has not answered. The next invocation connects anew. " +
        "Check both, and the function's timeout.";
      reject(new DrainError({ code: "TIME_UP", message }));
    }, timeMs);
  });
  try {
    await Promise.race([work(givenUp.signal), timeUp]);
  } finally {
    clearTimeout(timer);
  }
}

/** Metrics are not worth a failed drain. */
async function readStatusOrWarn(signal: AbortSignal): Promise<QueueStatus | undefined> {
  const { sql, config } = warm!;
  try {
    return await readStatus(sql);
  } catch (error) {
    if (!signal.aborted) log("warn", "status", describe(explainFailure(error, config.database)));
    return undefined;
  }
}

function toMetrics(report?: DrainReport, status?: QueueStatus): MetricValues {
  const { delivered = 0, batches = 0, durationMs = 0, lagMs } = report ?? {};
  const lag = status?.lagMs ?? lagMs;
  return {
    Delivered: delivered,
    Batches: batches,
    ...(batches > 0 && { BatchMs: durationMs / batches }),
    ...(lag !== undefined && { LagMs: lag }),
    ...(status && {
      Backlog: status.backlog,
      Parked: status.parked,
      QueueBytes: status.queueBytes,
      SnapshotRowsLeft: status.snapshotRowsLeft,
    }),
  };
}
