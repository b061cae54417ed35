import { type Connections, discardConnections, withConnections } from "./connections.ts";
import type { Config } from "./core/config.ts";
import { type DrainReport, drain, isRegularStop } from "./core/drain.ts";
import { drainMetrics } from "./core/drain-metrics.ts";
import { ConfigError, DrainError } from "./core/errors.ts";
import { describeFailure } from "./core/failure.ts";
import { log } from "./core/log.ts";
import { type QueueStatus, readStatus } from "./core/postgres/status.ts";
import { writeMetrics } from "./core/write-metrics.ts";
import { type LambdaContext, report as reported } from "./lambda.ts";
import { withinTime } from "./time-limit.ts";

/** Of the invocation's time, kept to say that the rest did not end. */
const ANSWER_MS = 1_000;

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
  const work = async (connections: Connections, signal: AbortSignal) => {
    const { config, schema, sql, producer } = connections;
    checkTimeout(timeoutMs, config);
    report = await drain(sql, producer, config, schema, startedMs + timeoutMs);
    log(isRegularStop(report.stopped) ? "info" : "error", "drained", report);
    status = await readStatusOrWarn(connections, signal);
  };
  try {
    await withinTime(
      timeoutMs - ANSWER_MS,
      (signal) => withConnections(signal, (connections) => work(connections, signal)),
      discardConnections,
    );
    const { stopped } = report!;
    if (stopped && !isRegularStop(stopped)) throw new DrainError(stopped);
    isFailed = false;
    return report!;
  } catch (error) {
    throw reported(error);
  } finally {
    const durationMs = Math.round(performance.now() - startedMs);
    writeMetrics({
      ...drainMetrics(report, status),
      Failed: isFailed ? 1 : 0,
      DurationMs: durationMs,
      TimeLeftMs: Math.max(0, Math.round(timeoutMs - durationMs)),
    });
  }
}

function checkTimeout(timeoutMs: number, { limits: { marginMs } }: Config): void {
  if (timeoutMs > marginMs) return;
  throw new ConfigError([
    `The function's timeout leaves ${Math.round(timeoutMs)} ms, and MARGIN_MS is ${marginMs}: no ` +
      "batch would ever start. Raise the timeout.",
  ]);
}

/** Metrics are not worth a failed drain. */
async function readStatusOrWarn(
  { sql, config }: Connections,
  signal: AbortSignal,
): Promise<QueueStatus | undefined> {
  try {
    return await readStatus(sql);
  } catch (error) {
    if (!signal.aborted) log("warn", "status", describeFailure(error, config.database));
    return undefined;
  }
}
