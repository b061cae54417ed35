import { join } from "node:path";

/** What the handlers use of Lambda's context. */
export interface LambdaContext {
  getRemainingTimeInMillis(): number;
}

/** Where `sql/` is: copied to the root of the Lambda's package, or beside `functions/`. */
export function sqlFolder(): string {
  const taskRoot = process.env["LAMBDA_TASK_ROOT"];
  return taskRoot ? join(taskRoot, "sql") : new URL("../sql/", import.meta.url).pathname;
}
