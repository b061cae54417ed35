import { execFile } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { once } from "../local/cache.ts";

const CHECKOUT = fileURLToPath(new URL("../../", import.meta.url));
/** SST keeps its components where `sst deploy` would: that is where `sst.config.ts` has its types. */
const PLATFORM = join(CHECKOUT, ".sst/platform");
const INSTALL_TIMEOUT_MS = 900_000;

/** What SST 4.17.1 asks of the tools that it would download; it starts only the first. */
const BUN_VERSION = "1.2.1";
const PULUMI_VERSION = "v3.215.0";

const run = promisify(execFile);

/**
 * Install SST's components and types, from npm's registry alone, unless this checkout has those of
 * the SST it depends on. Under a home of its own, so that nobody's settings are read or written.
 *
 * Side effects: `.sst/platform`, and `.cache/sst`.
 */
export default async function installPlatform(): Promise<void> {
  if (isCurrent()) return;
  const cache = join(CHECKOUT, ".cache/sst");
  mkdirSync(cache, { recursive: true });
  const home = await once(join(cache, `home-${BUN_VERSION}-${PULUMI_VERSION}`), makeHome);
  await run(
    process.execPath,
    [join(CHECKOUT, "node_modules/sst/bin/sst.mjs"), "install", "--stage", "dev"],
    {
      cwd: CHECKOUT,
      env: {
        PATH: process.env["PATH"],
        HOME: home,
        SST_TELEMETRY_DISABLED: "1",
        DO_NOT_TRACK: "1",
      },
      timeout: INSTALL_TIMEOUT_MS,
    },
  );
  if (!isCurrent())
    throw new Error(`sst install left no components of its version in ${PLATFORM}.`);
}

function isCurrent(): boolean {
  const version = join(PLATFORM, "version");
  const wanted = JSON.parse(readFileSync(join(CHECKOUT, "node_modules/sst/package.json"), "utf8"));
  return existsSync(version) && readFileSync(version, "utf8").trim() === wanted.version;
}

/** The tools that SST would download: bun is its own, from npm; of pulumi only the version is asked. */
async function makeHome(draft: string): Promise<void> {
  const tools = join(draft, "npm");
  mkdirSync(tools, { recursive: true });
  writeFileSync(join(tools, "package.json"), "{}");
  const architecture = process.arch === "arm64" ? "aarch64" : "x64";
  const bun = `@oven/bun-${process.platform}-${architecture}`;
  await run("npm", ["install", "--no-audit", "--no-fund", `${bun}@${BUN_VERSION}`], {
    cwd: tools,
    timeout: INSTALL_TIMEOUT_MS,
  });
  const bin = join(draft, ".config/sst/bin");
  mkdirSync(bin, { recursive: true });
  copyFileSync(join(tools, "node_modules", bun, "bin/bun"), join(bin, "bun"));
  writeFileSync(join(bin, "pulumi"), `#!/bin/sh\necho ${PULUMI_VERSION}\n`);
  for (const name of ["bun", "pulumi"]) chmodSync(join(bin, name), 0o755);
}
