import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory, once } from "./cache.ts";
import { unprivilegedUser } from "./user.ts";

const run = promisify(execFile);

const STEP_TIMEOUT_MS = 600_000;

export type Program =
  | {
      isAvailable: true;
      /** Which an unprivileged user may run too, with `env`. */
      executable: string;
      env: NodeJS.ProcessEnv;
    }
  | { isAvailable: false; reason: string };

/**
 * The program that is on the PATH, or the one of a package of the distribution, fetched by apt and
 * unpacked into the cache: nothing is installed, and nobody need be root.
 *
 * @param name of a package that has the program, or that depends on one called so and its version
 * @throws with apt's output when there is apt, and it fails
 */
export async function debianProgram(program: string, name: string): Promise<Program> {
  const env = { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
  if (await canRun(program)) return { isAvailable: true, executable: program, env };
  if (!(await canRun("apt-get")) || !(await canRun("dpkg"))) {
    const reason = `there is no ${program} on the PATH, and no apt to fetch it`;
    return { isAvailable: false, reason };
  }
  const cache = await cacheDirectory(unprivilegedUser());
  const home = await once(join(cache, name), (draft) => fetch(name, draft));
  const files = readdirSync(home, { recursive: true }).map(String);
  const executable = files.find((path) => basename(path) === program && isPrograms(path));
  if (executable === undefined) throw new Error(`The package ${name} has no ${program}.`);
  const libraries = readdirSync(join(home, "usr/lib")).map((name) => join(home, "usr/lib", name));
  return {
    isAvailable: true,
    executable: join(home, executable),
    env: { ...env, LD_LIBRARY_PATH: libraries.join(":") },
  };
}

function isPrograms(path: string): boolean {
  return /^s?bin$/.test(basename(dirname(path)));
}

/** With lists of its own, for those of the machine may be old, or not there. */
async function fetch(name: string, draft: string): Promise<void> {
  const fetched = join(draft, "fetched");
  mkdirSync(join(fetched, "lists/partial"), { recursive: true });
  const options = Object.entries({
    "Dir::State::Lists": join(fetched, "lists"),
    "Dir::Cache": fetched,
    // Whom apt would fetch as, where it is run as root, cannot write here.
    "APT::Sandbox::User": "",
  }).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const dependsOf = async (name: string) => {
    const { stdout } = await step("apt-cache", [...options, "depends", name], fetched);
    return [...stdout.matchAll(/^ +(?:Pre)?Depends: ([^\s:]+)$/gm)].map(([, name]) => name!);
  };

  await step("apt-get", [...options, "-q", "update"], fetched);
  const first = await dependsOf(name);
  const versioned = first.filter((other) => other.startsWith(`${name}-`) && /\d$/.test(other));
  const depends = [...first, ...(await Promise.all(versioned.map(dependsOf))).flat()];
  const missing = new Set<string>();
  for (const name of depends) {
    if (name.startsWith("lib") && !(await isInstalled(name))) missing.add(name);
  }
  await step("apt-get", [...options, "-q", "download", name, ...versioned, ...missing], fetched);
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
