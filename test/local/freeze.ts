import { readdirSync, readFileSync } from "node:fs";

const STOPPED_MS = 5_000;
const POLL_MS = 1;

/**
 * Stop a process with SIGSTOP. It does nothing more once this returns: of a process with many threads some
 * go on for a moment after the signal was sent. SIGCONT lets it go on.
 *
 * @throws when that takes more than five seconds
 */
export function freeze(pid: number): void {
  process.kill(pid, "SIGSTOP");
  const timer = new Int32Array(new SharedArrayBuffer(4));
  for (const endMs = performance.now() + STOPPED_MS; !isStopped(pid); ) {
    if (performance.now() > endMs) throw new Error(`Process ${pid} did not stop.`);
    Atomics.wait(timer, 0, 0, POLL_MS);
  }
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
function isStopped(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    try {
      return /\) T/.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1"));
    } catch {
      return true; // It has ended meanwhile.
    }
  });
}
