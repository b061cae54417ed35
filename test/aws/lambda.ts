import { spawn } from "node:child_process";
import { once } from "node:events";
import { lambdaRuntime } from "./lambda-runtime.ts";
import { type Answer, startRuntimeApi } from "./runtime-api.ts";

const INIT_TIMEOUT_MS = 60_000;

export interface Lambda {
  readonly pid: number;
  /** From the start of the process until it asked for its first event. */
  readonly initMs: number;
  /** `performance.now()` when the process was started. */
  readonly startedMs: number;
  /** One invocation; a function that does not answer in time is killed, as Lambda does. */
  invoke(event?: unknown, timeoutMs?: number): Promise<Answer>;
  /** All it has written, to standard output and standard error. */
  output(): string;
  /** The lines of it that are JSON. */
  lines(): Record<string, unknown>[];
  stop(): Promise<void>;
}

/** As what Lambda starts a function. */
const FUNCTION = {
  AWS_LAMBDA_FUNCTION_NAME: "pg2kafka",
  AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "512",
  AWS_LAMBDA_LOG_GROUP_NAME: "/aws/lambda/pg2kafka",
  AWS_LAMBDA_LOG_STREAM_NAME: "test",
  AWS_REGION: "eu-central-1",
  POWERTOOLS_SERVICE_NAME: "pg2kafka-test",
  TZ: ":UTC",
};

/**
 * Start a function from its bundle under Lambda's own runtime, on this Node.
 *
 * @param directory of the bundle
 * @param env its variables; it gets no others but Lambda's
 * @param handler of the bundle
 */
export async function startLambda(
  directory: string,
  env: Readonly<Record<string, string>>,
  handler = "bundle.handler",
): Promise<Lambda> {
  const runtime = await lambdaRuntime();
  const api = await startRuntimeApi();
  const startedMs = performance.now();
  const child = spawn(process.execPath, [runtime], {
    cwd: directory,
    env: {
      ...FUNCTION,
      AWS_LAMBDA_RUNTIME_API: api.address,
      LAMBDA_TASK_ROOT: directory,
      _HANDLER: handler,
      PATH: process.env["PATH"],
      ...env,
    },
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
  }
  const exited = once(child, "exit");
  const timer = setTimeout(() => child.kill("SIGKILL"), INIT_TIMEOUT_MS);
  await Promise.race([api.initialised, exited]);
  clearTimeout(timer);
  if (child.exitCode !== null || child.signalCode !== null) {
    await api.stop();
    throw new Error(`The function ended in INIT:\n${output}`);
  }
  const initMs = performance.now() - startedMs;
  return {
    pid: child.pid!,
    initMs,
    startedMs,
    async invoke(event = {}, timeoutMs = 60_000) {
      const answer = await api.invoke(event, timeoutMs);
      if (answer.kind === "timeout") child.kill("SIGKILL");
      return answer;
    },
    output: () => output,
    lines: () =>
      output
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line)),
    async stop() {
      child.kill("SIGKILL");
      await exited;
      await api.stop();
    },
  };
}
