import { connect as connectSocket, type Socket } from "node:net";
import postgres, { type Notice, type Options, type Sql, type TransactionSql } from "postgres";
import { type DatabaseSettings, databaseName } from "../config/database.ts";
import { DatabaseError } from "../errors.ts";
import { log } from "../log.ts";
import { isOwnText } from "./failures.ts";
import { type Login, readLogin } from "./login.ts";
import { verifyingTls } from "./tls.ts";

/** One batch is read while the one before is settled; a third serves what comes between. */
const CONNECTIONS_MAX = 3;
const CONNECT_TIMEOUT_S = 5;
/** For the first connection, in all tries: the client tries again without end where the server, or what
 *  stands before it, closes a connection that it has accepted. */
const REACH_TIMEOUT_MS = 10_000;

/** A process that is frozen between two statements keeps its locks no longer than this. */
const IDLE_IN_TRANSACTION_MS = 5_000;
const BOUND_IDLENESS = `set local idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}`;

type ClientOptions = Options<Record<string, never>>;

/**
 * Connections to the database, opened when first used.
 *
 * Nothing in them lasts longer than a transaction: no prepared statements, no settings, no locks
 * of the session. So they work through RDS Proxy, and PgBouncer in transaction mode.
 *
 * Where the login is a secret of Secrets Manager or an IAM token, each connection reads it anew.
 *
 * @param onNotice gets what the server says beside results; by default pg2kafka's warnings are logged
 * @throws {DatabaseError} when the login cannot be read
 */
export async function connectDatabase(
  settings: DatabaseSettings,
  onNotice: (notice: Notice) => void = logWarning,
): Promise<Sql> {
  const common: ClientOptions = {
    max: CONNECTIONS_MAX,
    connect_timeout: CONNECT_TIMEOUT_S,
    prepare: false,
    fetch_types: false,
    connection: { application_name: "pg2kafka" },
    onnotice: onNotice,
  };
  if (settings.kind === "url") return await connectByUrl(settings, common);
  const { host, port, name, tls } = settings;
  const logins = new Logins(() => readLogin(settings));
  return postgres({
    ...common,
    host,
    port,
    database: name,
    user: await logins.user(),
    password: () => logins.password,
    ssl: tls && (await verifyingTls(host, tls)),
    // Not in `password`: what that throws, nobody catches.
    socket: async () => {
      await logins.renew();
      return await openSocket(host, port);
    },
  } as ClientOptions);
}

/**
 * The same, and the first connection is there.
 *
 * @throws CONNECT_TIMEOUT, or what the server says
 */
export async function reachDatabase(
  settings: DatabaseSettings,
  onNotice?: (notice: Notice) => void,
): Promise<Sql> {
  const sql = await connectDatabase(settings, onNotice);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    const error = Object.assign(new Error("connect"), { code: "CONNECT_TIMEOUT" });
    timer = setTimeout(() => reject(error), REACH_TIMEOUT_MS);
  });
  try {
    await Promise.race([sql`select`, timeUp]);
    return sql;
  } catch (error) {
    await sql.end({ timeout: 0 });
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function logWarning({ severity, message = "" }: Notice): void {
  if (severity === "WARNING" && isOwnText(message)) log("warn", "database", { message });
}

async function connectByUrl(
  settings: Extract<DatabaseSettings, { kind: "url" }>,
  common: ClientOptions,
): Promise<Sql> {
  const { url, tls } = settings;
  const plain = new URL(url);
  plain.searchParams.delete("sslmode");
  const ssl = tls ? await verifyingTls(plain.hostname, tls) : false;
  // The client takes the path as it stands, escapes included.
  return postgres(plain.href, { ...common, database: databaseName(settings), ssl });
}

/** What the next connection logs in with. */
class Logins {
  password = "";
  readonly #read: () => Promise<Login>;
  #user = "";
  #reading: Promise<Login> | undefined;

  constructor(read: () => Promise<Login>) {
    this.#read = read;
  }

  /** Read the login for the first connection; the user's name is that of all. */
  async user(): Promise<string> {
    this.#reading = this.#read();
    const { user } = await this.#reading;
    this.#user = user;
    return user;
  }

  /** @throws {DatabaseError} DATABASE_USER_CHANGED: the client is to be made anew */
  async renew(): Promise<void> {
    this.#reading ??= this.#read();
    const { user, password } = await this.#reading.finally(() => {
      // Connections that open at the same time share what was read.
      this.#reading = undefined;
    });
    if (user !== this.#user) {
      throw new DatabaseError(
        `The secret of DATABASE_SECRET_ARN names the user "${user}" now, and not "${this.#user}".`,
        { code: "DATABASE_USER_CHANGED" },
      );
    }
    this.password = password;
  }
}

function openSocket(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({ host, port });
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(CONNECT_TIMEOUT_S * 1_000, () =>
      fail(Object.assign(new Error(`connect to ${host}:${port}`), { code: "CONNECT_TIMEOUT" })),
    );
    socket.once("error", fail);
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.removeAllListeners();
      // As for those that postgres.js opens; it takes the name for TLS from here.
      Object.assign(socket, { host, port });
      resolve(socket);
    });
  });
}

/**
 * Run a transaction in READ COMMITTED, whatever the database's default: SERIALIZABLE would drag
 * the application's writers into conflicts with ours.
 *
 * When the connection is lost, the client would send a rollback into it, and fail where nobody
 * can catch it. So the work is left open then: the client ends the transaction with an error of
 * its own as it sees the connection closed.
 */
export function readCommitted<Result>(
  sql: Sql,
  work: (tx: TransactionSql) => Promise<Result>,
): Promise<Result> {
  const untilClosed = new Promise<never>(() => {});
  return sql.begin("isolation level read committed read write", async (tx) => {
    // Sent together with the work's first statement, so it costs no round trip.
    const bound = tx.unsafe(BOUND_IDLENESS).execute();
    return await Promise.all([work(tx), bound])
      .then(([result]) => result)
      .catch((error) => {
        if (isConnectionLost(error)) return untilClosed;
        throw error;
      });
  }) as Promise<Result>;
}

const LOST = ["CONNECTION_CLOSED", "CONNECTION_DESTROYED", "ECONNRESET", "EPIPE", "ETIMEDOUT"];

function isConnectionLost({ code, severity }: { code?: string; severity?: string }): boolean {
  return severity === "FATAL" || severity === "PANIC" || LOST.includes(code ?? "");
}
