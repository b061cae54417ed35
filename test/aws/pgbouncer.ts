import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import postgres from "postgres";
import { logTail, startChild } from "../local/child.ts";
import { debianProgram, type Program } from "../local/debian-package.ts";
import { freePort } from "../local/port.ts";
import { scratchDirectory, unprivilegedUser } from "../local/user.ts";
import { waitFor } from "../support/wait.ts";
import type { Certificates } from "./certificates.ts";

/** Connections to the server for one database and user. */
export const POOL_SIZE = 3;

/** The program, or why there is none. */
export function pgBouncer(): Promise<Program> {
  return debianProgram("pgbouncer", "pgbouncer");
}

/** Who may ask PgBouncer itself. */
const ADMIN = { user: "admin", password: "admin" };
const READY_TIMEOUT_MS = 60_000;

export interface PgBouncer {
  readonly port: number;
  /** What SHOW answers, such as `show("servers")`. */
  show(what: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

export interface PgBouncerOptions {
  /** Of the Postgres behind it, on 127.0.0.1. */
  serverPort: number;
  /** TLS on both sides, verified on the server's; null for none on either. */
  certificates: Certificates | null;
  /** By user. With these the clients log in here, and PgBouncer at the server. */
  passwords: Readonly<Record<string, string>>;
}

/**
 * A PgBouncer in transaction mode before every database of a Postgres. Between two clients it
 * resets nothing, so what one leaves behind in a session, the next one meets.
 *
 * @throws with the end of its log when it does not answer within 10 s
 */
export async function startPgBouncer(options: PgBouncerOptions): Promise<PgBouncer> {
  const program = await pgBouncer();
  if (!program.isAvailable) throw new Error(program.reason);
  const { executable, env } = program;
  // It refuses to run as root; undefined means this process's user.
  const user = unprivilegedUser();
  const home = mkdtempSync(join(await scratchDirectory(user), "pg2kafka-pgbouncer-"));
  const write = (name: string, text: string) => {
    const path = join(home, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (user) chownSync(path, user.uid, user.gid);
    return path;
  };
  if (user) chownSync(home, user.uid, user.gid);
  const port = await freePort();
  const passwords = { ...options.passwords, [ADMIN.user]: ADMIN.password };
  const users = Object.entries(passwords).map(([name, password]) => `"${name}" "${password}"\n`);
  const settings = {
    listen_addr: "127.0.0.1",
    listen_port: port,
    unix_socket_dir: "",
    auth_type: "scram-sha-256",
    auth_file: write("users.txt", users.join("")),
    admin_users: ADMIN.user,
    pool_mode: "transaction",
    default_pool_size: POOL_SIZE,
    server_reset_query: "",
    ...tlsSettings(options.certificates, write),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  const configFile = write(
    "pgbouncer.ini",
    `[databases]\n* = host=127.0.0.1 port=${options.serverPort}\n\n[pgbouncer]\n${lines.join("")}`,
  );
  const logFile = join(home, "pgbouncer.log");
  const child = await startChild({
    command: executable,
    args: [configFile],
    cwd: home,
    env,
    user,
    logFile,
    orphanSignal: "KILL",
    orphanDirectory: home,
  });
  const admin = postgres({
    ...ADMIN,
    host: "127.0.0.1",
    port,
    database: "pgbouncer",
    ...(options.certificates && { ssl: { ca: options.certificates.ca } }),
    max: 1,
    // It speaks the simple protocol only.
    fetch_types: false,
  });
  const show = async (what: string) => [...(await admin.unsafe(`show ${what}`).simple())];
  const stop = async () => {
    await admin.end({ timeout: 1 });
    await child.stop(["SIGINT"]);
    rmSync(home, { recursive: true, force: true });
  };
  try {
    const answers = () =>
      show("version").then(
        () => true,
        () => false,
      );
    await waitFor(answers, { timeoutMs: READY_TIMEOUT_MS });
  } catch (cause) {
    const log = logTail(logFile);
    await stop();
    throw new Error(`PgBouncer did not answer on port ${port}:\n${log}`, { cause });
  }
  return { port, show, stop };
}

function tlsSettings(
  certificates: Certificates | null,
  write: (name: string, text: string) => string,
): Record<string, string> {
  if (certificates === null) {
    return { client_tls_sslmode: "disable", server_tls_sslmode: "disable" };
  }
  return {
    client_tls_sslmode: "require",
    client_tls_cert_file: write("server.pem", certificates.certificate),
    client_tls_key_file: write("server.key", certificates.key),
    server_tls_sslmode: "verify-full",
    server_tls_ca_file: write("ca.pem", certificates.ca),
  };
}
