import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What a function answered, or that it did not. */
export type Answer =
  | { kind: "response"; value: unknown }
  | { kind: "error"; error: { errorType: string; errorMessage: string; trace: string[] } }
  | { kind: "init-error"; error: { errorType: string; errorMessage: string } }
  | { kind: "timeout" };

export interface RuntimeApi {
  /** `host:port`, for AWS_LAMBDA_RUNTIME_API. */
  readonly address: string;
  /** Resolves when the function has asked for its first event: INIT is over. */
  readonly initialised: Promise<void>;
  /**
   * Hand an event to the function, and wait for its answer, or until its time is up.
   * One at a time.
   */
  invoke(event: unknown, timeoutMs: number): Promise<Answer>;
  stop(): Promise<void>;
}

interface Invocation {
  id: string;
  event: unknown;
  deadlineMs: number;
  answered: (answer: Answer) => void;
}

/**
 * Lambda's Runtime API for one function: next, response, error.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
export async function startRuntimeApi(): Promise<RuntimeApi> {
  const initialised = Promise.withResolvers<void>();
  let waiting: ServerResponse | undefined;
  let invocation: Invocation | undefined;

  function handOver(): void {
    if (!waiting || !invocation) return;
    waiting.writeHead(200, {
      "content-type": "application/json",
      "lambda-runtime-aws-request-id": invocation.id,
      "lambda-runtime-deadline-ms": String(Math.round(invocation.deadlineMs)),
      "lambda-runtime-invoked-function-arn":
        "arn:aws:lambda:eu-central-1:123456789012:function:pg2kafka",
    });
    waiting.end(JSON.stringify(invocation.event));
    waiting = undefined;
  }

  const server = createServer(async (request, response) => {
    const [, , , part, id, what] = new URL(request.url ?? "", "http://api").pathname.split("/");
    if (part === "invocation" && id === "next") {
      initialised.resolve();
      waiting = response;
      handOver();
      return;
    }
    const body = JSON.parse(await readBody(request));
    response.writeHead(202).end();
    if (part === "init") return invocation?.answered({ kind: "init-error", error: body });
    if (id !== invocation?.id) return;
    if (what === "response") invocation?.answered({ kind: "response", value: body });
    if (what === "error") invocation?.answered({ kind: "error", error: body });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    initialised: initialised.promise,
    async invoke(event, timeoutMs) {
      const answer = Promise.withResolvers<Answer>();
      const timer = setTimeout(() => answer.resolve({ kind: "timeout" }), timeoutMs);
      const deadlineMs = Date.now() + timeoutMs;
      invocation = { id: randomUUID(), event, deadlineMs, answered: answer.resolve };
      handOver();
      try {
        return await answer.promise;
      } finally {
        clearTimeout(timer);
        invocation = undefined;
      }
    },
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function readBody(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) body += chunk;
  return body;
}
