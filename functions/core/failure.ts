import type { DatabaseSettings } from "./config/database.ts";
import { explainFailure } from "./postgres/failures.ts";

/** What may be told of a failure, on one line. */
export interface Failure {
  name: string;
  /** "UNKNOWN" when it has none. */
  code: string;
  message: string;
}

/**
 * What is said of a failure, and no more: a server's error has rows among its properties.
 *
 * @param database once it is known: then a failure of it says which setting to look at
 */
export function describeFailure(error: unknown, database?: DatabaseSettings): Failure {
  const failure = database ? explainFailure(error, database) : error;
  if (!(failure instanceof Error)) {
    return { name: "Error", code: "UNKNOWN", message: onOneLine(String(failure)) };
  }
  const { name, message, code, errors } = failure as Error & { code?: unknown; errors?: Error[] };
  return {
    name,
    code: typeof code === "string" ? code : "UNKNOWN",
    // Node's AggregateError of a refused connection has an empty message.
    message: onOneLine(message || errors?.[0]?.message || name),
  };
}

/** Names come from the application: none may begin a line of its own, or steer a terminal. */
function onOneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");
}
