import type { Sql } from "postgres";
import { readCommitted } from "./database.ts";

/** Events are counted no further: the query takes as long whatever waits. */
export const COUNTED_MAX = 100_000;

/** How far behind the drain is. */
export interface QueueStatus {
  /** Events that are neither delivered nor parked, up to `COUNTED_MAX`. */
  backlog: number;
  /** Age of the oldest of them; 0 when there are none. */
  lagMs: number;
  /** Events that are parked, up to `COUNTED_MAX`. */
  parked: number;
  /** Of their data. */
  parkedBytes: number;
  /** What all tables of pg2kafka take on disk, but for what is kept. */
  queueBytes: number;
  /** What delivered events take that are kept, to be sent again. */
  keptBytes: number;
  /** Rows that the snapshots under way have still to read, as far as that can be told. */
  snapshotRowsLeft: number;
}

/** Ask the database how far behind the drain is. */
export async function readStatus(sql: Sql): Promise<QueueStatus> {
  const [row] = await readCommitted(
    sql,
    (tx) => tx<Record<keyof QueueStatus, string>[]>`
      select backlog, lag_ms as "lagMs", parked, parked_bytes as "parkedBytes",
        queue_bytes as "queueBytes", kept_bytes as "keptBytes",
        (select coalesce(sum(rows_left), 0) from pg2kafka.snapshots) as "snapshotRowsLeft"
      from pg2kafka.status(${COUNTED_MAX})`,
  );
  return {
    backlog: Number(row?.backlog),
    lagMs: Number(row?.lagMs),
    parked: Number(row?.parked),
    parkedBytes: Number(row?.parkedBytes),
    queueBytes: Number(row?.queueBytes),
    keptBytes: Number(row?.keptBytes),
    snapshotRowsLeft: Number(row?.snapshotRowsLeft),
  };
}
