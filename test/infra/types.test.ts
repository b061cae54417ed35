import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const CHECKOUT = fileURLToPath(new URL("../../", import.meta.url));

/** SST's sources are many: half a minute on two cores with nothing else to do. */
const COMPILE_TIMEOUT_MS = 900_000;

it(
  "sst.config.ts, infra/ and these tests fit SST's real types",
  async () => {
    const compiler = `${CHECKOUT}node_modules/typescript/bin/tsc`;
    const output = await new Promise<string>((resolve) => {
      const args = [compiler, "--noEmit", "--pretty", "false", "-p", "infra"];
      execFile(process.execPath, args, { cwd: CHECKOUT, maxBuffer: 1 << 26 }, (_error, stdout) =>
        resolve(stdout),
      );
    });
    const problems = output.split("\n").filter((line) => /^\S+\(\d+,\d+\): error/.test(line));
    // SST's own sources do not pass checks as strict as ours; that they were read shows here.
    expect(problems.some((line) => line.startsWith(".sst/platform/src/"))).toBe(true);
    expect(problems.filter((line) => !line.startsWith(".sst/"))).toEqual([]);
  },
  COMPILE_TIMEOUT_MS,
);
