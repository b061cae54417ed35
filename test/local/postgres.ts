import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { type Child, logTail, startChild } from "./child.ts";
import { freePort } from "./port.ts";
import { type PostgresVersion, postgresFiles } from "./postgres-files.ts";
import { runAs, scratchDirectory } from "./user.ts";

const READY_TIMEOUT_MS = 60_000;

/** `fast` ends sessions and writes a checkpoint; `immediate` is a crash, recovered at the start. */
export type StopMode = "fast" | "immediate";

const STOP_SIGNALS = { fast: ["SIGINT", "SIGQUIT"], immediate: ["SIGQUIT"] } as const;

export interface PostgresOptions {
  /** Default 18. */
  version?: PostgresVersion;
  /** Server settings, over `fsync=off` and `max_connections=100`. */
  settings?: Record<string, string>;
  /** Shown in process lists and in the data directory's name. Default `postgres`. */
  name?: string;
  /** Where the data directory is made. Default the system's temporary directory. */
  directory?: string;
  /** The data directory of a server that is stopped, or a copy of one; it is copied. Default: one as
   *  initdb leaves it. */
  from?: string;
  /** Start as a standby, which follows the server of this URL; `from` is a copy of its data. */
  standbyOf?: string;
  /** Recover up to a restore point from archived WAL, and go on from there; `from` is older. */
  recovery?: { archive: string; point: string };
  /** Leave the data directory when the server stops. Default false. */
  keep?: boolean;
}

export interface LocalPostgres {
  /** Superuser `postgres`, database `postgres`, no password. */
  readonly url: string;
  readonly port: number;
  readonly version: PostgresVersion;
  /** Of the server's main process; another one after each restart. */
  readonly pid: number;
  readonly dataDir: string;
  /** Stop the server (default `fast`) and remove its data. Again: nothing. */
  stop(mode?: StopMode): Promise<void>;
  /** Stop the server (default `fast`) and start it on the same port and data.
   *  @param meanwhile what to do to its data before it starts */
  restart(mode?: StopMode, meanwhile?: () => Promise<void>): Promise<void>;
}

/**
 * Start a Postgres of its own on an empty data directory, on 127.0.0.1 and a free port, UTF8 and
 * locale C. It accepts connections when the promise resolves, and ends with this process at the
 * latest.
 *
 * @throws with the end of the server's log when it does not accept connections within 30 s
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<LocalPostgres> {
  const { version = 18, name = "postgres", keep = false } = options;
  const { executable, template, user } = await postgresFiles(version);
  const parent = options.directory ?? (await scratchDirectory(user));
  const home = mkdtempSync(join(parent, `pg2kafka-${name.replace(/[^\w-]+/g, "-")}-`));
  const remove = () => {
    if (!keep) rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  };
  const dataDir = join(home, "data");
  const logFile = join(home, "postgres.log");
  const port = await freePort();
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const settings: Record<string, string> = {
    port: String(port),
    listen_addresses: "127.0.0.1",
    unix_socket_directories: home,
    cluster_name: name,
    max_connections: "100",
    fsync: "off",
    ...options.settings,
  };

  const start = async (): Promise<Child> => {
    const assignments = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
    const child = await startChild({
      command: executable,
      args: ["-D", dataDir, ...assignments.flatMap((assignment) => ["-c", assignment])],
      cwd: home,
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
      user,
      logFile,
      orphanSignal: "QUIT",
      orphanDirectory: keep ? undefined : home,
    });
    try {
      await waitUntilReady(url, child);
    } catch (cause) {
      await child.stop(STOP_SIGNALS.immediate);
      const text = `Postgres ${version} did not start on port ${port}:\n${logTail(logFile)}`;
      throw new Error(text, { cause });
    }
    return child;
  };

  let child: Child;
  try {
    if (user) chownSync(home, user.uid, user.gid);
    await copyData(options.from ?? template, dataDir);
    if (options.standbyOf) {
      writeFileSync(join(dataDir, "standby.signal"), "");
      settings["primary_conninfo"] = `${options.standbyOf}?application_name=${name}`;
    }
    if (options.recovery) {
      const { archive, point } = options.recovery;
      writeFileSync(join(dataDir, "recovery.signal"), "");
      settings["restore_command"] = `cp ${archive}/%f %p`;
      settings["recovery_target_name"] = point;
      settings["recovery_target_action"] = "promote";
      settings["hot_standby"] = "off"; // Nobody connects before it is there.
    }
    child = await start();
  } catch (error) {
    remove();
    throw error;
  }
  return {
    url,
    port,
    version,
    dataDir,
    get pid() {
      return child.pid;
    },
    async stop(mode = "fast") {
      await child.stop(STOP_SIGNALS[mode]);
      remove();
    },
    async restart(mode = "fast", meanwhile = async () => {}) {
      await child.stop(STOP_SIGNALS[mode]);
      await meanwhile();
      child = await start();
    },
  };
}

/** Copy the data directory of a server that is stopped, in place of what is there. */
export async function copyData(from: string, to: string): Promise<void> {
  rmSync(to, { recursive: true, force: true });
  await runAs(undefined, "cp", ["-Rp", from, to]);
}

/** @throws the last refusal when the server has ended, or has not answered within a minute */
async function waitUntilReady(url: string, child: Child): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    const sql = postgres(url, { max: 1, connect_timeout: 5, fetch_types: false });
    try {
      await sql`select 1`;
      return;
    } catch (error) {
      if (!child.isRunning() || Date.now() > deadline) throw error;
    } finally {
      await sql.end({ timeout: 0 });
    }
    await sleep(10);
  }
}
