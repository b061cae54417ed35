import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Environment } from "./support.ts";

const ROOT = join(import.meta.dirname, "../..");
/** It only ends what hangs. */
const TIMEOUT_MS = 120_000;

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** The last line on standard error. @throws with all that was written there when it is no JSON */
  summary(): Summary;
}

export interface Summary {
  stopped: { code: string; message: string } | null;
  [field: string]: unknown;
}

export interface Command {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** @throws when it has not ended after two minutes: it is killed, and the error has its output so far */
  readonly finished: Promise<Finished>;
}

/**
 * Run `npm run <name>`'s script as a process of its own, with these variables and no others.
 * It does not outlive the test, even where it is stopped.
 */
export function startCommand(
  name: "migrate" | "drain",
  env: Environment,
  args: string[] = [],
): Command {
  const script = join(ROOT, "functions/cli", `${name}.ts`);
  const child = spawn(
    process.execPath,
    ["--disable-warning=TimeoutNegativeWarning", script, ...args],
    { cwd: ROOT, env: { PATH: process.env["PATH"], ...env } },
  );
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  let isOverdue = false;
  const timer = setTimeout(() => {
    isOverdue = true;
    child.kill("SIGKILL");
  }, TIMEOUT_MS);
  const finished = once(child, "close").then(([code, signal]): Finished => {
    clearTimeout(timer);
    const ending = `${name} ended with ${signal ?? `code ${code}`}`;
    const output = `Standard error so far:\n${stderr || "(nothing)"}`;
    if (isOverdue) {
      throw new Error(`${name} had not ended after ${TIMEOUT_MS} ms, and was killed. ${output}`);
    }
    return {
      code,
      signal,
      stdout,
      stderr,
      summary() {
        const lastLine = stderr.trimEnd().split("\n").at(-1) ?? "";
        try {
          return JSON.parse(lastLine);
        } catch (cause) {
          throw new Error(`${ending} and without a summary. ${output}`, { cause });
        }
      },
    };
  });
  // A test that fails before it awaits this has an error of its own.
  finished.catch(() => {});
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return { pid: child.pid!, kill: (signal) => child.kill(signal), finished };
}

export async function runCommand(
  name: "migrate" | "drain",
  env: Environment,
  args: string[] = [],
): Promise<Finished> {
  return await startCommand(name, env, args).finished;
}
