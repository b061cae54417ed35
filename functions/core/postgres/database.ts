import postgres, { type Sql, type TransactionSql } from "postgres";

/** One batch is read while the one before is settled; a third serves what comes between. */
const CONNECTIONS_MAX = 3;
const CONNECT_TIMEOUT_S = 5;

/** A process that is frozen between two statements keeps its locks no longer than this. */
const IDLE_IN_TRANSACTION_MS = 5_000;
const BOUND_IDLENESS = `set local idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}`;

/**
 * Connections to the database, opened when first used.
 *
 * Nothing in them lasts longer than a transaction: no prepared statements, no settings, no locks
 * of the session. So they work through RDS Proxy, and PgBouncer in transaction mode.
 */
export function connectDatabase(url: string): Sql {
  return postgres(url, {
    max: CONNECTIONS_MAX,
    connect_timeout: CONNECT_TIMEOUT_S,
    prepare: false,
    fetch_types: false,
    connection: { application_name: "pg2kafka" },
    onnotice: () => {},
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
