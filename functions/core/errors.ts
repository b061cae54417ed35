/** The settings cannot be used as they are. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly code = "CONFIG_INVALID";
  /** One sentence per problem: the setting, its value without what is secret, its bound. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const shown = problems.map(withoutLogins);
    super(`The configuration has ${shown.length} problem(s): ${shown.join(" ")}`);
    this.problems = shown;
  }
}

/** A login may stand in a setting that takes none: values are in quotes. */
function withoutLogins(text: string): string {
  return text.replaceAll(/"[^\s"]*@/g, '"***@');
}

/**
 * Why a batch was not delivered as a whole:
 * - KAFKA_UNAVAILABLE: Kafka was not reached, or did not acknowledge in time
 * - KAFKA_AUTHENTICATION: Kafka does not accept who we say we are
 * - LEASE_TOO_SHORT: the caller allowed no further request
 * - TOO_MANY_REFUSED: Kafka refuses more of its messages than the caller allowed
 * - FENCED: another producer has taken over, or the transaction took too long
 * - TRANSACTION_REFUSED: Kafka does not allow its transactions
 *
 * And why a topic was not created: TOPIC_REFUSED, or one of the first two.
 */
export type ProduceErrorCode =
  | "KAFKA_UNAVAILABLE"
  | "KAFKA_AUTHENTICATION"
  | "LEASE_TOO_SHORT"
  | "TOO_MANY_REFUSED"
  | "FENCED"
  | "TRANSACTION_REFUSED"
  | "TOPIC_REFUSED";

/**
 * A batch was not delivered as a whole. Some of its messages may be in Kafka: settle none of its
 * events, and send the same batch again, in the same order.
 */
export class ProduceError extends Error {
  override readonly name = "ProduceError";
  readonly code: ProduceErrorCode;
  /** True when the same batch may succeed later. */
  readonly retriable: boolean;

  constructor(
    message: string,
    options: { code: ProduceErrorCode; retriable: boolean; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.code = options.code;
    this.retriable = options.retriable;
  }
}

/**
 * The database could not be used:
 * - DATABASE_UNREACHABLE, DATABASE_TLS, DATABASE_CERTIFICATE, DATABASE_FULL: no connection
 * - DATABASE_SECRET, DATABASE_CREDENTIALS, DATABASE_AUTHENTICATION: no login
 * - DATABASE_USER_CHANGED: the secret names another user; connect anew
 * - DATABASE_MISSING, DATABASE_REFUSED: the server said no to something else
 */
export class DatabaseError extends Error {
  override readonly name = "DatabaseError";
  readonly code: string;

  constructor(message: string, options: { code: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.code = options.code;
  }
}

/** The queue in Postgres could not be read or written. */
export class QueueError extends Error {
  override readonly name = "QueueError";
  readonly code: string;

  constructor(message: string, options: { code: string; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.code = options.code;
  }
}

/**
 * Why the schema was not installed:
 * - POSTGRES_TOO_OLD: the server lacks what the schema uses
 * - ENCODING_UNSUPPORTED: the database may hold what is not to be had in UTF-8
 * - MIGRATION_EDITED: a migration differs from what was applied
 * - LOCK_TIMEOUT: a table was in use all the time
 */
export type MigrationErrorCode =
  | "POSTGRES_TOO_OLD"
  | "ENCODING_UNSUPPORTED"
  | "MIGRATION_EDITED"
  | "LOCK_TIMEOUT";

/** The schema was not installed, or not wholly. */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
  readonly code: MigrationErrorCode;

  constructor(message: string, options: { code: MigrationErrorCode; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.code = options.code;
  }
}

/** An invocation of the drain that ended for a reason that somebody must look at. */
export class DrainError extends Error {
  override readonly name = "DrainError";
  readonly code: string;

  constructor({ code, message }: { code: string; message: string }) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}
