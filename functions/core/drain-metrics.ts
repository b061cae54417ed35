import type { DrainReport } from "./drain.ts";
import type { QueueStatus } from "./postgres/status.ts";
import type { MetricValues } from "./write-metrics.ts";

/** What is known of an invocation and of the queue after it, as metrics. */
export function drainMetrics(report?: DrainReport, status?: QueueStatus): MetricValues {
  const { delivered = 0, replayed = 0, batches = 0, busyMs = 0, lagMs } = report ?? {};
  const lag = status?.lagMs ?? lagMs;
  return {
    Delivered: delivered,
    Replayed: replayed,
    Batches: batches,
    ...(batches > 0 && { BatchMs: busyMs / batches }),
    ...(lag !== undefined && { LagMs: lag }),
    ...(status && {
      Backlog: status.backlog,
      Parked: status.parked,
      QueueBytes: status.queueBytes,
      KeptBytes: status.keptBytes,
      SnapshotRowsLeft: status.snapshotRowsLeft,
    }),
  };
}
