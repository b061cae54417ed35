import { randomBytes } from "node:crypto";
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { canReach, scratchDirectory, type User } from "./user.ts";

const CHECKOUT = fileURLToPath(new URL("../../", import.meta.url));
/** As long as the slowest is made on a busy machine. */
const MAKE_TIMEOUT_MS = 1_800_000;

/**
 * The directory for what is costly to make and may be kept: jars, an empty database.
 * `.cache/` of the checkout if this process can write there and `readableBy` can enter,
 * otherwise `pg2kafka-cache-<uid>` among the temporary files.
 *
 * Side effect: creates it.
 * @throws when the temporary one belongs to somebody else
 */
export async function cacheDirectory(readableBy?: User): Promise<string> {
  const own = join(CHECKOUT, ".cache");
  try {
    mkdirSync(own, { recursive: true });
    accessSync(own, constants.W_OK);
    if (await canReach(readableBy, own)) return own;
  } catch {
    // A checkout that is read-only: the temporary files it is.
  }
  const uid = process.getuid?.() ?? 0;
  const shared = join(await scratchDirectory(readableBy), `pg2kafka-cache-${uid}`);
  mkdirSync(shared, { recursive: true });
  const found = lstatSync(shared);
  if (!found.isDirectory() || found.uid !== uid) {
    throw new Error(`${shared} is not a directory of user ${uid}. Remove it, or set TMPDIR.`);
  }
  chmodSync(shared, 0o755);
  return shared;
}

/**
 * Make `path` (a file or a directory) if it does not exist yet. Whoever comes at the same time,
 * in this process or another, waits for the first; a half-made one is never seen.
 *
 * @param make gets a path beside the final one, which does not exist, and fills it
 * @returns `path`
 * @throws what `make` throws, or an error after half an hour of waiting for another process
 */
export async function once(path: string, make: (draft: string) => Promise<void>): Promise<string> {
  const id = `${process.pid}-${randomBytes(4).toString("hex")}`;
  const lock = `${path}.lock`;
  const deadline = Date.now() + MAKE_TIMEOUT_MS;
  while (!existsSync(path)) {
    if (!takeLock(lock, `${lock}-${id}`)) {
      if (Date.now() > deadline) {
        throw new Error(`${path} was not made within ${MAKE_TIMEOUT_MS} ms. Remove ${lock}.`);
      }
      await sleep(50);
      continue;
    }
    const draft = `${path}.draft-${id}`;
    try {
      if (existsSync(path)) break;
      await make(draft);
      renameSync(draft, path);
    } catch (error) {
      if (!existsSync(path)) throw error;
    } finally {
      rmSync(draft, { recursive: true, force: true });
      rmSync(lock, { force: true });
    }
  }
  return path;
}

/** A link appears at once and with its content, so a lock always names its holder. */
function takeLock(lock: string, own: string): boolean {
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (!isHolderAlive(lock)) rmSync(lock, { force: true });
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

function isHolderAlive(lock: string): boolean {
  try {
    process.kill(Number(readFileSync(lock, "utf8")), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
