/**
 * Run a command: print `usage` for --help; turn an error into one line on standard error and a
 * non-zero exit code. Stack traces stay out of sight: messages say what to do.
 */
export async function runCommand(usage: string, command: () => Promise<number>): Promise<void> {
  if (process.argv.includes("--help") || process.argv.includes("-h")) {
    console.log(usage);
    return;
  }
  try {
    process.exitCode = await command();
  } catch (error) {
    process.stderr.write(`${describe(error)}\n`);
    process.exitCode = 1;
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, errors } = error as { code?: string; errors?: Error[] };
  // Node's AggregateError of a refused connection has an empty message.
  const message = error.message || errors?.[0]?.message || error.name;
  return `${error.name}${code ? ` ${code}` : ""}: ${message}`.replaceAll("\n", " ");
}
