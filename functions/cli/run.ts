import type { DatabaseSettings } from "../core/config/database.ts";
import { type Config, readConfig } from "../core/config.ts";
import { describeFailure } from "../core/failure.ts";

/** What is left open then, such as a connection whose other end is gone without a word, is left. */
const CLOSE_MS = 2_000;

/**
 * Run a command: print `usage` for --help; turn an error into one line on standard error, which says
 * what to do, and a non-zero exit code.
 *
 * @param command is handed a function to call with the settings of the database, so that an error
 *   that is about them names them; returns the exit code
 */
export async function runCommand(
  usage: string,
  command: (usesDatabase: (settings: DatabaseSettings) => void) => Promise<number>,
): Promise<void> {
  if (process.argv.includes("--help") || process.argv.includes("-h")) {
    console.log(usage);
    return;
  }
  let database: DatabaseSettings | undefined;
  try {
    process.exitCode = await command((settings) => {
      database = settings;
    });
  } catch (error) {
    const { name, code, message } = describeFailure(error, database);
    const isNamed = code === "UNKNOWN" || message.startsWith(`${code}: `);
    process.stderr.write(`${isNamed ? name : `${name} ${code}`}: ${message}\n`);
    process.exitCode = 1;
  } finally {
    setTimeout(() => process.exit(), CLOSE_MS).unref();
  }
}

/** The same, with the settings of the environment. */
export async function runConfigured(
  usage: string,
  command: (config: Config) => Promise<number>,
): Promise<void> {
  await runCommand(usage, async (usesDatabase) => {
    const config = readConfig(process.env);
    usesDatabase(config.database);
    return await command(config);
  });
}
