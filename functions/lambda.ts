import { join } from "node:path";
import { namesDatabase } from "./core/config/database.ts";
import type { Environment } from "./core/config/environment.ts";
import { type Config, readConfig } from "./core/config.ts";
import { describeFailure } from "./core/failure.ts";
import { log } from "./core/log.ts";

/** What the handlers use of Lambda's context. */
export interface LambdaContext {
  getRemainingTimeInMillis(): number;
}

/** Where `sql/` is: copied to the root of the Lambda's package, or beside `functions/`. */
export function sqlFolder(): string {
  const taskRoot = process.env["LAMBDA_TASK_ROOT"];
  return taskRoot ? join(taskRoot, "sql") : new URL("../sql/", import.meta.url).pathname;
}

/**
 * The settings of this Lambda: its variables, and the linked secret `DatabaseUrl` where they do not
 * say where the database is.
 *
 * @throws {ConfigError} naming all that is wrong
 */
export async function lambdaConfig(): Promise<Config> {
  const env = process.env;
  return readConfig(namesDatabase(env) ? env : { ...env, ...(await linkedDatabase(env)) });
}

/** Links come as variables `SST_RESOURCE_*`, and those with secrets in an encrypted file. */
async function linkedDatabase(env: Environment): Promise<Environment> {
  if (!env["SST_KEY_FILE"] && !env["SST_RESOURCE_DatabaseUrl"]) return {};
  const { Resource } = await import("sst/resource");
  const links = Resource as unknown as Record<string, { value?: string } | undefined>;
  return "DatabaseUrl" in links ? { DATABASE_URL: links["DatabaseUrl"]?.value } : {};
}

/**
 * Run what a handler does. When it fails, Lambda logs the error with all that hangs on it, and
 * answers with it: so it gets one that holds a name, a code and a message, and no row.
 *
 * @param config the settings, once they are known
 */
export async function answer<Result>(
  work: () => Promise<Result>,
  config: () => Config | undefined,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw report(error, config());
  }
}

/** Log a failure, and make what Lambda may see of it. */
export function report(error: unknown, config?: Config): Error {
  const { name, code, message } = describeFailure(error, config?.database);
  log("error", "failed", { name, code, message });
  return Object.assign(new Error(message), { name, code, stack: `${name}: ${message}` });
}
