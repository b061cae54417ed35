import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory } from "./cache.ts";

const run = promisify(execFile);

const DOWNLOAD_TIMEOUT_MS = 600_000;

/**
 * Run Maven on a pom, from where Maven is set up to fetch.
 *
 * @param what is fetched, for the error
 * @param args the goal or phase, and properties
 * @throws with Maven's output when it fails, or is not there
 */
export async function runMaven(what: string, pom: string, args: string[]): Promise<void> {
  const repository = isHomeWritable()
    ? []
    : [`-Dmaven.repo.local=${join(await cacheDirectory(), "maven")}`];
  await run("mvn", ["-B", "-q", "-f", pom, ...args, ...repository], {
    timeout: DOWNLOAD_TIMEOUT_MS,
  }).catch((cause) => {
    throw new Error(`Maven did not fetch ${what}:\n${cause.stdout || cause.message}`, { cause });
  });
}

/** Maven keeps its repository in the home that the system names, whatever HOME says. */
function isHomeWritable(): boolean {
  try {
    accessSync(userInfo().homedir, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
