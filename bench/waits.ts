import postgres, { type Sql } from "postgres";

/** A session that runs one statement again and again, and how long each took. */
export interface Waits {
  /** Milliseconds that the longest took, of those that ran at any moment of the time given (of
   *  `performance.now()`); the one that runs now counts with what it has waited. */
  longest(fromMs: number, toMs: number): number;
  /** Milliseconds of the longest wait for a lock, likewise, as far as it was seen. */
  longestLocked(fromMs: number, toMs: number): number;
  stop(): Promise<void>;
}

/** Between two statements; a busy loop would compete with what is measured. */
const PAUSE_MS = 2;
/** Between two looks at what the session waits for. */
const LOOK_MS = 10;

interface Span {
  startMs: number;
  endMs: number;
}

/** @param run one transaction */
export function startWaits(url: string, run: (sql: Sql) => Promise<unknown>): Waits {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  const done: Span[] = [];
  const locked: Span[] = [];
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
  const watch = (async () => {
    const [backend] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
    const observer = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
    let wasLocked = false;
    while (!isStopping) {
      const lookedMs = performance.now();
      const waits = await observer`
        select from pg_stat_activity where pid = ${backend!.pid} and wait_event_type = 'Lock'`;
      if (waits.length > 0 && !wasLocked) locked.push({ startMs: lookedMs, endMs: lookedMs });
      if (waits.length > 0) locked.at(-1)!.endMs = performance.now();
      wasLocked = waits.length > 0;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    await observer.end();
  })();
  return {
    longest(fromMs, toMs) {
      const now = running ? [{ ...running, endMs: performance.now() }] : [];
      return longestOf([...done, ...now], fromMs, toMs);
    },
    longestLocked: (fromMs, toMs) => longestOf(locked, fromMs, toMs),
    async stop() {
      isStopping = true;
      await Promise.all([loop, watch]);
      await sql.end();
    },
  };
}

function longestOf(spans: Span[], fromMs: number, toMs: number): number {
  const overlapping = spans.filter(({ startMs, endMs }) => endMs > fromMs && startMs < toMs);
  return Math.max(0, ...overlapping.map(({ startMs, endMs }) => endMs - startMs));
}
