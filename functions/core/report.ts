/** What one run of the relay has done. */
export interface RelayReport {
  delivered: number;
  parked: number;
  /** Of the events parked earlier, those delivered now; they count as delivered too. */
  unparked: number;
  batches: number;
  /** Of the time, what went to reading, sending and settling them. */
  busyMs: number;
  /** SNAPSHOT events made from rows of tables; they are delivered like others. */
  snapshotRows: number;
  /** There is more to read for snapshots of tables. */
  isSnapshotting: boolean;
  /** Delivered events put into the queue once more; they are delivered like others. */
  replayed: number;
  /** There is more to be sent again. */
  isReplaying: boolean;
  /** Delivered events that were kept, to be sent again when somebody asks. */
  kept: number;
  /** KEEP_BYTES_MAX was reached: of those kept, the oldest were dropped before their time. */
  keepFull: boolean;
  /** Events left the queue without being kept: somebody reads what would have had to go first. */
  keepBlocked: boolean;
  /** Repeats are possible: the queue was found in another database cluster than before, or Kafka has
   *  batches that the database does not know. */
  restored: boolean;
  /** Nothing visible was left in the queue when the relay ended. */
  drained: boolean;
  /** Age of the oldest event that is neither delivered nor parked; 0 when drained. */
  lagMs: number;
  /** Why it ended before the queue was empty; null when it did not. */
  stopped: { code: string; message: string } | null;
  /** Bytes on disk that the queue gave back. */
  reclaimedBytes: number;
}

export function emptyReport(): RelayReport {
  return {
    delivered: 0,
    parked: 0,
    unparked: 0,
    batches: 0,
    busyMs: 0,
    snapshotRows: 0,
    isSnapshotting: false,
    replayed: 0,
    isReplaying: false,
    kept: 0,
    keepFull: false,
    keepBlocked: false,
    restored: false,
    drained: false,
    lagMs: 0,
    stopped: null,
    reclaimedBytes: 0,
  };
}

/** Note why the relay ends early. */
export function stop(report: RelayReport, code: string, message: string): RelayReport {
  report.stopped = { code, message };
  return report;
}
