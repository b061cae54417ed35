import postgres, { type Sql } from "postgres";

/** A session that runs one statement again and again, and how long each took. */
export interface Waits {
  /** Milliseconds that the longest took, of those that ran at any moment of the time given (of
   *  `performance.now()`); the one that runs now counts with what it has waited. */
  longest(fromMs: number, toMs: number): number;
  stop(): Promise<void>;
}

/** Between two statements; a busy loop would compete with what is measured. */
const PAUSE_MS = 2;

/** @param run one transaction */
export function startWaits(url: string, run: (sql: Sql) => Promise<unknown>): Waits {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  const done: { startMs: number; endMs: number }[] = [];
  let running: { startMs: number } | null = null;
  let isStopping = false;
  const loop = (async () => {
    while (!isStopping) {
      running = { startMs: performance.now() };
      await run(sql);
      done.push({ ...running, endMs: performance.now() });
      running = null;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  })();
  return {
    longest(fromMs, toMs) {
      const now = running ? [{ ...running, endMs: performance.now() }] : [];
      const overlapping = [...done, ...now].filter(
        (wait) => wait.endMs > fromMs && wait.startMs < toMs,
      );
      return Math.max(0, ...overlapping.map((wait) => wait.endMs - wait.startMs));
    },
    async stop() {
      isStopping = true;
      await loop;
      await sql.end();
    },
  };
}
