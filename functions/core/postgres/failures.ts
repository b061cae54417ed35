import { isCertificateRefused } from "../certificates.ts";
import type { DatabaseSettings } from "../config/database.ts";
import { DatabaseError, MigrationError, QueueError } from "../errors.ts";

/** What Postgres' codes, and those of connections, mean for whoever runs this.
 *  @see https://www.postgresql.org/docs/current/errcodes-appendix.html */
const MEANINGS: { codes: RegExp; code: string; says: (login: string, text: string) => string }[] = [
  {
    // PgBouncer refuses with this one code, and says in words what: the login, the database.
    codes: /^08P01$/,
    code: "DATABASE_UNREACHABLE",
    says: (login, text) => `says "${text}": check the name of the database, and ${login}.`,
  },
  {
    codes: /^28/,
    code: "DATABASE_AUTHENTICATION",
    says: (login) => `does not accept the login: check ${login}.`,
  },
  {
    codes: /^3D000$/,
    code: "DATABASE_MISSING",
    says: () => "has no such database: check DATABASE_NAME, or the path of DATABASE_URL.",
  },
  {
    codes: /^(ENOTFOUND|EAI_AGAIN)$/,
    code: "DATABASE_UNREACHABLE",
    says: () => "has no address: check DATABASE_HOST, or the host of DATABASE_URL.",
  },
  {
    codes:
      /^(ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE|CONNECT_TIMEOUT|CONNECTION_CLOSED|CONNECTION_DESTROYED|57P0[1-3]|08...)$/,
    code: "DATABASE_UNREACHABLE",
    says: () =>
      "was not reached, or closed the connection: check that it runs, DATABASE_HOST and " +
      "DATABASE_PORT (or DATABASE_URL), the security groups and subnets of both, and that it speaks " +
      "TLS if DATABASE_TLS is verify.",
  },
  {
    codes: /^(ERR_SSL_|EPROTO)/,
    code: "DATABASE_TLS",
    says: () =>
      "does not speak TLS: check the port; let the server, or the pooler before it, speak TLS, or " +
      "set DATABASE_TLS to off where the network is to be trusted.",
  },
  {
    codes: /^53300$/,
    code: "DATABASE_FULL",
    says: () => "has no connection left: raise max_connections, or put RDS Proxy before it.",
  },
];

/* Errors whose text is about names, rights, resources and the session, as in safe_error.sql. The
   text of others may quote a row. */
const TELLS_NO_ROW = /^(0A|25|26|34|3D|3F|40|42|53|54|55|57|58)/;

/** Whether pg2kafka's own functions say it, which quote none. */
export function isOwnText(message: string): boolean {
  return message.startsWith("pg2kafka: ");
}

const LOGINS: Record<DatabaseSettings["kind"], string> = {
  url: "user and password of DATABASE_URL (the secret DatabaseUrl: sst secret set, then deploy)",
  secret: "that the secret of DATABASE_SECRET_ARN holds the user's password as it is now",
  iam:
    "that the function's role allows rds-db:connect for DATABASE_USER, that the server has IAM " +
    "authentication on, and that the user was granted rds_iam",
};

/**
 * Say what a failure of the database means and which setting to look at. Of a server's other errors
 * no more is told than what quotes no row.
 */
export function explainFailure(error: unknown, settings: DatabaseSettings): unknown {
  const { code, message, hint } = error as { code?: unknown; message?: string; hint?: string };
  const isOurs =
    error instanceof DatabaseError ||
    error instanceof QueueError ||
    error instanceof MigrationError;
  if (isOurs || !(error instanceof Error) || typeof code !== "string") return error;
  const where = `The database at ${address(settings)}`;
  if (isCertificateRefused(code)) {
    return new DatabaseError(
      `${where} has a certificate that is not trusted (${code}): check the host, and DATABASE_CA ` +
        "for an authority of your own.",
      { code: "DATABASE_CERTIFICATE", cause: error },
    );
  }
  const meaning = MEANINGS.find(({ codes }) => codes.test(code));
  if (meaning) {
    return new DatabaseError(
      `${where} ${meaning.says(LOGINS[settings.kind], message ?? "")} (${code})`,
      {
        code: meaning.code,
        cause: error,
      },
    );
  }
  if (!("severity" in error)) return error;
  return new DatabaseError(`Postgres says ${code}: ${told(code, message ?? "", hint)}`, {
    code: "DATABASE_REFUSED",
    cause: error,
  });
}

/** What may be told of the server's own words. */
function told(code: string, message: string, hint: string | undefined): string {
  if (!TELLS_NO_ROW.test(code) && !isOwnText(message)) {
    return "its text is not shown, for it may quote a row. The server's log has it.";
  }
  const advice =
    code === "42501"
      ? " Grant what the role lacks: for the drain select pg2kafka.grant_drain('role'); the migration " +
        "needs CREATE on the database, and to be a member of the tables' owners."
      : "";
  return `${sentence(message)}${hint ? ` ${sentence(hint)}` : advice}`;
}

function sentence(text: string): string {
  return text.endsWith(".") ? text : `${text}.`;
}

/** Without user and password. */
function address(settings: DatabaseSettings): string {
  if (settings.kind !== "url") return `${settings.host}:${settings.port}`;
  return (URL.canParse(settings.url) && new URL(settings.url).host) || "the host of DATABASE_URL";
}
