import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Environment } from "./support.ts";

const ROOT = join(import.meta.dirname, "../..");
const TIMEOUT_MS = 40_000;

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** The last line on standard error, which is the summary. */
  lastLine: string;
}

export interface Command {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  readonly finished: Promise<Finished>;
}

/** Run `npm run <name>`'s script as a process of its own, with these variables and no others. */
export function startCommand(
  name: "migrate" | "drain",
  env: Environment,
  args: string[] = [],
): Command {
  const script = join(ROOT, "functions/cli", `${name}.ts`);
  const child = spawn(
    process.execPath,
    ["--disable-warning=TimeoutNegativeWarning", script, ...args],
    { cwd: ROOT, env: { PATH: process.env["PATH"], ...env }, timeout: TIMEOUT_MS },
  );
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  const finished = once(child, "close").then(([code, signal]) => ({
    code,
    signal,
    stdout,
    stderr,
    lastLine: stderr.trimEnd().split("\n").at(-1) ?? "",
  }));
  return { pid: child.pid!, kill: (signal) => child.kill(signal), finished };
}

export async function runCommand(
  name: "migrate" | "drain",
  env: Environment,
  args: string[] = [],
): Promise<Finished> {
  return await startCommand(name, env, args).finished;
}
