import { execFile } from "node:child_process";
import { copyFileSync, cpSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory, once } from "../local/cache.ts";

const run = promisify(execFile);

const PACKAGE = join(import.meta.dirname, "lambda-ric");
const VERSION = "4.0.2";
/** Two minutes on a quiet machine; it only ends what hangs. */
const STEP_TIMEOUT_MS = 1_200_000;

/**
 * Lambda's own runtime for Node, as the managed runtime starts it: the path of its main module.
 *
 * Side effect: the first call installs and compiles it (about two minutes; needs a C++ compiler,
 * make, cmake and python3), against the headers of the Node that runs this.
 * @throws with the end of the compiler's output when that fails
 */
export async function lambdaRuntime(): Promise<string> {
  const cache = await cacheDirectory();
  const name = `aws-lambda-ric-${VERSION}-node-${process.versions.modules}`;
  const directory = await once(join(cache, name), async (draft) => {
    cpSync(PACKAGE, draft, { recursive: true });
    await step("npm", ["ci", "--ignore-scripts"], draft);
    const package_ = join(draft, "node_modules/aws-lambda-ric");
    await step("sh", ["scripts/preinstall.sh"], package_);
    const gyp = join(draft, "node_modules/.bin/node-gyp");
    const headers = `--nodedir=${nodeDirectory()}`;
    await step(gyp, ["rebuild", "--directory=src/native", headers], package_, {
      DEPS_PREFIX: join(package_, "deps/artifacts"),
    });
    const built = join(package_, "src/native/build/Release/rapid-client.node");
    copyFileSync(built, join(package_, "rapid-client.node"));
  });
  return join(directory, "node_modules/aws-lambda-ric/index.mjs");
}

/** Where the npm package `node` has `include/node`. */
function nodeDirectory(): string {
  const nested = createRequire(createRequire(import.meta.url).resolve("node/package.json"));
  const platform = `node-${process.platform}-${process.arch}`;
  return dirname(nested.resolve(`${platform}/package.json`));
}

async function step(
  command: string,
  args: string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const options = { cwd, env: { ...process.env, ...env }, timeout: STEP_TIMEOUT_MS };
  // Compilers say a lot.
  await run(command, args, { ...options, maxBuffer: 64 * 1024 * 1024 }).catch((cause) => {
    const output = `${cause.stdout ?? ""}${cause.stderr ?? ""}`.trimEnd().split("\n").slice(-20);
    throw new Error(`${command} ${args.join(" ")} failed:\n${output.join("\n")}`, { cause });
  });
}
