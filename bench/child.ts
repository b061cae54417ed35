import { spawn } from "node:child_process";

/**
 * Run a script in a Node process of its own, as a drain runs, and read the last JSON line that
 * it prints.
 *
 * @param script relative to this folder
 * @throws with its output when it fails
 */
export async function runScript<Result>(
  script: string,
  env: Record<string, string>,
  nodeArgs: string[] = [],
): Promise<Result> {
  const path = new URL(script, import.meta.url).pathname;
  const args = ["--disable-warning=TimeoutNegativeWarning", ...nodeArgs, path];
  const child = spawn(process.execPath, args, { env: { PATH: process.env["PATH"], ...env } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("close", resolve).on("error", reject);
  });
  const line = output.trimEnd().split("\n").at(-1) ?? "";
  if (code === 0 && line.startsWith("{")) return JSON.parse(line) as Result;
  throw new Error(`${script} ended with code ${code}:\n${output.slice(-2_000)}`);
}
