import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { waitFor } from "../support/database.ts";
import type { Job } from "./drain.ts";

/** A process has to load first, on a busy machine too. */
const STOP_TIMEOUT_MS = 120_000;
const SCRIPT = join(import.meta.dirname, "drain.ts");

export interface DrainProcess {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** Until it has stopped itself. */
  stopped(): Promise<void>;
  readonly ended: Promise<{ code: number | null; output: string }>;
}

/** It does not outlive the test. */
export function startDrain(job: Job): DrainProcess {
  const child = spawn(
    process.execPath,
    ["--disable-warning=TimeoutNegativeWarning", SCRIPT, JSON.stringify(job)],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
  }
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const ended = once(child, "close").then(([code]) => ({ code, output }));
  return {
    pid: child.pid!,
    kill: (signal) => {
      child.kill(signal);
    },
    stopped: async () => {
      await waitFor(async () => output.includes("STOPPED") || child.exitCode !== null, {
        timeoutMs: STOP_TIMEOUT_MS,
      });
      if (child.exitCode !== null) throw new Error(`The process has ended: ${output}`);
    },
    ended,
  };
}
