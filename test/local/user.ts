import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The account a server process runs under. */
export interface User {
  uid: number;
  gid: number;
}

/**
 * The account for a server that refuses to run as root: `nobody` when this process is root,
 * otherwise undefined, which means "as this process".
 */
export function unprivilegedUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const nobody = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"));
  return { uid: Number(nobody?.[1] ?? 65534), gid: Number(nobody?.[2] ?? 65534) };
}

/**
 * Run a short command to its end as `user`.
 *
 * @throws what execFile throws: not found, no permission, or an exit code other than 0
 */
export async function runAs(user: User | undefined, command: string, args: string[]) {
  return await run(command, args, {
    ...user,
    cwd: "/",
    env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
    timeout: 600_000,
  });
}

/** Whether `user` may enter the directory: every parent lets it pass. */
export async function canReach(user: User | undefined, directory: string): Promise<boolean> {
  return await runAs(user, "test", ["-x", directory]).then(
    () => true,
    () => false,
  );
}

/** The directory for temporary data of servers run as `user`: the system's, or /tmp. */
export async function scratchDirectory(user?: User): Promise<string> {
  return (await canReach(user, tmpdir())) ? tmpdir() : "/tmp";
}
