import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory, once } from "../local/cache.ts";
import { type User, unprivilegedUser } from "../local/user.ts";

const run = promisify(execFile);

const STEP_TIMEOUT_MS = 600_000;

export type PgBouncerFiles =
  | {
      isAvailable: true;
      /** Which `user` may run, with `env`. */
      executable: string;
      env: NodeJS.ProcessEnv;
      /** It refuses to run as root; undefined means this process's user. */
      user: User | undefined;
    }
  | { isAvailable: false; reason: string };

/**
 * The PgBouncer that is on the PATH, or the one of the distribution, fetched by apt and unpacked
 * into the cache: nothing is installed, and nobody need be root.
 *
 * @throws with apt's output when there is apt, and it fails
 */
export async function pgBouncerFiles(): Promise<PgBouncerFiles> {
  const user = unprivilegedUser();
  const env = { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
  if (await canRun("pgbouncer")) {
    return { isAvailable: true, executable: "pgbouncer", env, user };
  }
  if (!(await canRun("apt-get")) || !(await canRun("dpkg"))) {
    const reason = "there is no pgbouncer on the PATH, and no apt to fetch it";
    return { isAvailable: false, reason };
  }
  const home = await once(join(await cacheDirectory(user), "pgbouncer"), fetch);
  const executable = join(home, "usr/sbin/pgbouncer");
  const libraries = readdirSync(join(home, "usr/lib")).map((name) => join(home, "usr/lib", name));
  return {
    isAvailable: true,
    executable,
    env: { ...env, LD_LIBRARY_PATH: libraries.join(":") },
    user,
  };
}

/** With lists of its own, for those of the machine may be old, or not there. */
async function fetch(draft: string): Promise<void> {
  const fetched = join(draft, "fetched");
  mkdirSync(join(fetched, "lists/partial"), { recursive: true });
  const options = Object.entries({
    "Dir::State::Lists": join(fetched, "lists"),
    "Dir::Cache": fetched,
    // Whom apt would fetch as, where it is run as root, cannot write here.
    "APT::Sandbox::User": "",
  }).flatMap(([name, value]) => ["-o", `${name}=${value}`]);

  await step("apt-get", [...options, "-q", "update"], fetched);
  const { stdout } = await step("apt-cache", [...options, "depends", "pgbouncer"], fetched);
  const depends = [...stdout.matchAll(/^ +(?:Pre)?Depends: (lib[^\s:]+)$/gm)].map(
    ([, name]) => name!,
  );
  const missing = [];
  for (const name of depends) if (!(await isInstalled(name))) missing.push(name);
  await step("apt-get", [...options, "-q", "download", "pgbouncer", ...missing], fetched);
  for (const name of readdirSync(fetched).filter((name) => name.endsWith(".deb"))) {
    await step("dpkg", ["-x", name, draft], fetched);
  }
  await step("rm", ["-r", fetched], draft);
  mkdirSync(join(draft, "usr/lib"), { recursive: true });
  await step("chmod", ["-R", "a+rX", draft], draft);
}

async function isInstalled(name: string): Promise<boolean> {
  return await run("dpkg", ["--status", name]).then(
    ({ stdout }) => stdout.includes("\nStatus: install ok installed\n"),
    () => false,
  );
}

async function canRun(command: string): Promise<boolean> {
  return await run(command, ["--version"]).then(
    () => true,
    () => false,
  );
}

async function step(command: string, args: string[], cwd: string) {
  return await run(command, args, { cwd, timeout: STEP_TIMEOUT_MS }).catch((cause) => {
    throw new Error(`${command} failed:\n${cause.stdout ?? ""}${cause.stderr ?? ""}`, { cause });
  });
}
