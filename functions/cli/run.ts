import { type Config, readConfig } from "../core/config.ts";
import { describeFailure } from "../core/failure.ts";

/**
 * Run a command with the settings of the environment: print `usage` for --help; turn an error into
 * one line on standard error, which says what to do, and a non-zero exit code.
 *
 * @param command gets the settings; returns the exit code
 */
export async function runCommand(
  usage: string,
  command: (config: Config) => Promise<number>,
): Promise<void> {
  if (process.argv.includes("--help") || process.argv.includes("-h")) {
    console.log(usage);
    return;
  }
  let config: Config | undefined;
  try {
    config = readConfig(process.env);
    process.exitCode = await command(config);
  } catch (error) {
    const { name, code, message } = describeFailure(error, config?.database);
    process.stderr.write(`${name}${code === "UNKNOWN" ? "" : ` ${code}`}: ${message}\n`);
    process.exitCode = 1;
  }
}
