import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import type { User } from "./user.ts";

const STOP_STEP_MS = 10_000;
const LOG_TAIL_LINES = 20;

/* Holds the reading end of a pipe whose writing end only the parent has. A line means that the
   child has ended; end of file means that the parent has, in whatever way, SIGKILL included. */
const GUARD = `
read -r line && exit 0
kill -s "$2" "$1"
tries=0
while kill -0 "$1" && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
[ $tries -lt 50 ] || kill -s KILL "$1"
[ -z "$3" ] || rm -rf "$3"
`;

export interface ChildOptions {
  command: string;
  args: string[];
  /** The working directory of the child. */
  cwd: string;
  env: NodeJS.ProcessEnv;
  user?: User | undefined;
  /** Gets stdout and stderr, appended. */
  logFile: string;
  /** What ends the child quickly when this process has ended. */
  orphanSignal: "QUIT" | "KILL";
  /** Removed when this process has ended without stopping the child. */
  orphanDirectory?: string | undefined;
}

export interface Child {
  pid: number;
  isRunning(): boolean;
  /** Send the signals in turn, and at last SIGKILL, until the child has ended. Each has 10 s to work,
   *  or `stepMs`. */
  stop(signals: readonly NodeJS.Signals[], stepMs?: number): Promise<void>;
}

/**
 * Start a server as a child that does not outlive this process, and does not keep it alive.
 * It has its own process group: Ctrl-C reaches only this process, which decides what to stop.
 *
 * @throws when the command cannot be started
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const log = openSync(options.logFile, "a");
  const child = spawn(options.command, options.args, {
    ...options.user,
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  await once(child, "spawn");
  child.unref();
  guard(child, options);
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  return {
    pid: child.pid!,
    isRunning,
    async stop(signals, stepMs = STOP_STEP_MS) {
      child.ref();
      for (const signal of [...signals, "SIGKILL" as const]) {
        if (!isRunning()) return;
        child.kill(signal);
        const patience = AbortSignal.timeout(stepMs);
        await once(child, "exit", { signal: patience }).catch(() => {});
      }
    },
  };
}

function guard(child: ChildProcess, options: ChildOptions): void {
  const args = [String(child.pid), options.orphanSignal, options.orphanDirectory ?? ""];
  const sentry = spawn("/bin/sh", ["-c", GUARD, "guard", ...args], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  sentry.unref();
  sentry.stdin.on("error", () => {});
  (sentry.stdin as unknown as { unref(): void }).unref();
  child.once("exit", () => sentry.stdin.end("ended\n"));
}

/** The last lines of a log file, for an error's text; says so when there are none. */
export function logTail(logFile: string): string {
  const text = existsSync(logFile) ? readFileSync(logFile, "utf8").trimEnd() : "";
  return text === "" ? "(its log is empty)" : text.split("\n").slice(-LOG_TAIL_LINES).join("\n");
}
