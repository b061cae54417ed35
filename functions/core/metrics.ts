/** The namespace of the metrics in CloudWatch; their one dimension is `service`. */
export const NAMESPACE = "pg2kafka";

/**
 * Every metric that a drain publishes, once an invocation, with its CloudWatch unit. The dashboard
 * and the alarms take the names from here.
 */
export const METRICS = {
  /** Age of the oldest undelivered event, at the end of the invocation. */
  LagMs: "Milliseconds",
  /** Events that wait. */
  Backlog: "Count",
  Delivered: "Count",
  /** Events parked now, in all. */
  Parked: "Count",
  Batches: "Count",
  /** The usual time of a batch of this invocation. */
  BatchMs: "Milliseconds",
  DurationMs: "Milliseconds",
  TimeLeftMs: "Milliseconds",
  /** The queue on the database's disk. */
  QueueBytes: "Bytes",
  /** Delivered events that are kept, on the database's disk. */
  KeptBytes: "Bytes",
  /** Events sent once more for replays. */
  Replayed: "Count",
  /** Rows that snapshots of tables have still to read: an estimate. */
  SnapshotRowsLeft: "Count",
  /** 1 when the drain could not work, otherwise 0. */
  Failed: "Count",
} as const;

export type MetricName = keyof typeof METRICS;
