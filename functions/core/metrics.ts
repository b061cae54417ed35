import { Metrics } from "@aws-lambda-powertools/metrics";

/** Of all metrics in CloudWatch. Their dimension is `service`, from POWERTOOLS_SERVICE_NAME. */
export const NAMESPACE = "pg2kafka";

/**
 * What each invocation of the drain reports, with CloudWatch's unit:
 * - LagMs: age of the oldest event that is neither delivered nor parked, at the end
 * - Backlog: such events, counted up to a bound (postgres/status.ts)
 * - Delivered: events acknowledged by Kafka in this invocation
 * - Parked: events that are parked now, in all, up to the same bound
 * - Batches, BatchMs: settled, and the invocation's time for each
 * - DurationMs, TimeLeftMs: of the invocation, and what was left of the function's timeout
 * - QueueBytes: what pg2kafka takes of the database's disk
 * - Failed: 1 when the drain could not work, else 0
 */
export const METRICS = {
  LagMs: "Milliseconds",
  Backlog: "Count",
  Delivered: "Count",
  Parked: "Count",
  Batches: "Count",
  BatchMs: "Milliseconds",
  DurationMs: "Milliseconds",
  TimeLeftMs: "Milliseconds",
  QueueBytes: "Bytes",
  Failed: "Count",
} as const;

export type MetricName = keyof typeof METRICS;

/** What is known; what is missing is not reported. */
export type MetricValues = Partial<Record<MetricName, number>>;

/** Write one line of CloudWatch's embedded metric format to standard output. */
export function writeMetrics(values: MetricValues): void {
  const metrics = new Metrics({ namespace: NAMESPACE });
  for (const name of Object.keys(METRICS) as MetricName[]) {
    const value = values[name];
    if (value !== undefined) metrics.addMetric(name, METRICS[name], value);
  }
  metrics.publishStoredMetrics();
}
