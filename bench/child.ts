import { type ChildProcess, spawn } from "node:child_process";

/** Of a process, from its start to its end. */
export interface Usage {
  /** User and system time of all its threads. */
  cpuMs: number;
  /** The most that it had in memory. */
  peakBytes: number;
}

export interface Finished<Result> {
  /** The last line that it printed. */
  result: Result;
  usage: Usage;
}

export interface Script<Result> {
  pid: number;
  /** @throws with its output when it fails, or is stopped */
  finished: Promise<Finished<Result>>;
  /** SIGTERM, and wait until it has ended. */
  stop(): Promise<void>;
}

/** As `npm run drain` has them. The heap of a Lambda is bounded by its memory. */
const NODE_ARGS = [
  "--disable-warning=TimeoutNegativeWarning",
  "--max-semi-space-size=16",
  "--max-old-space-size=256",
  "--initial-heap-size=96",
];

/** Where workers/usage.ts writes. */
const USAGE_FD = 3;

/**
 * Start a script in a Node process of its own, as a drain runs. It prints its result as a line of
 * JSON, on standard output or standard error.
 *
 * @param script relative to this folder
 */
export function startScript<Result>(
  script: string,
  env: Record<string, string>,
  nodeArgs: string[] = [],
): Script<Result> {
  const path = (name: string) => new URL(name, import.meta.url).pathname;
  const child = spawn(
    process.execPath,
    [...NODE_ARGS, `--import=${path("workers/usage.ts")}`, ...nodeArgs, path(script)],
    {
      env: { PATH: process.env["PATH"], USAGE_FD: String(USAGE_FD), ...env },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    },
  );
  const finished = readFinished<Result>(child, script);
  finished.catch(() => {}); // Whoever stops it need not look.
  return {
    pid: child.pid!,
    finished,
    async stop() {
      child.kill();
      await finished.catch(() => {});
    },
  };
}

/** Start a script and wait for its end. */
export async function runScript<Result>(
  script: string,
  env: Record<string, string>,
  nodeArgs: string[] = [],
): Promise<Finished<Result>> {
  return await startScript<Result>(script, env, nodeArgs).finished;
}

async function readFinished<Result>(
  child: ChildProcess,
  script: string,
): Promise<Finished<Result>> {
  let output = "";
  let usage = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  (child.stdio[USAGE_FD] as NodeJS.ReadableStream).setEncoding("utf8").on("data", (text) => {
    usage += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("close", resolve).on("error", reject);
  });
  const line = output.trimEnd().split("\n").at(-1) ?? "";
  if (code === 0 && line.startsWith("{")) {
    return { result: JSON.parse(line) as Result, usage: JSON.parse(usage) as Usage };
  }
  throw new Error(`${script} ended with code ${code}:\n${output.slice(-2_000)}`);
}
