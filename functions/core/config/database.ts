import { type Environment, isLambda, REGION, readCertificates, readChoice } from "./environment.ts";

/** TLS with a server whose certificate is verified; null for none. */
export type DatabaseTls = {
  /** PEM; further authorities to trust. */
  ca: string | undefined;
} | null;

/** Where the database is, and as whom the drain logs in. */
export type DatabaseSettings =
  | { kind: "url"; url: string; tls: DatabaseTls }
  | (DatabaseServer & { kind: "secret"; secretArn: string; region: string })
  | (DatabaseServer & { kind: "iam"; user: string; region: string });

interface DatabaseServer {
  host: string;
  port: number;
  name: string;
  tls: DatabaseTls;
}

/** What may say where the database is; one of them must. */
const SOURCES = ["DATABASE_URL", "DATABASE_SECRET_ARN", "DATABASE_AUTH"];

/** @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html */
const SECRET_ARN = /^arn:aws[a-z-]*:secretsmanager:([a-z0-9-]+):\d{12}:secret:\S+$/;

/** @see https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.RegionsAndAvailabilityZones.html */
const RDS_HOST = /\.([a-z0-9-]+)\.rds\.amazonaws\.com$|\.rds\.([a-z0-9-]+)\.amazonaws\.com\.cn$/;

/** Whether the server is one of RDS or Aurora, or an RDS Proxy, by its name. */
export function isRdsHost(host: string): boolean {
  return RDS_HOST.test(host);
}

/** Whether the environment says where the database is. */
export function namesDatabase(env: Environment): boolean {
  return SOURCES.some((name) => env[name]);
}

/** No value that may hold a password is ever shown. */
export function readDatabase(env: Environment, port: number, problems: string[]): DatabaseSettings {
  const tls = readTls(env, problems);
  const sources = SOURCES.filter((name) => env[name]);
  if (sources.length > 1) {
    problems.push(`${sources.join(" and ")} are set; set one of them.`);
    return { kind: "url", url: "", tls };
  }
  if (env["DATABASE_SECRET_ARN"]) return readSecret(env, port, tls, problems);
  if (env["DATABASE_AUTH"]) return readIam(env, port, tls, problems);
  return { kind: "url", url: readUrl(env, problems), tls };
}

/** The database's name, which goes into the topics' names. */
export function databaseName(settings: DatabaseSettings): string {
  if (settings.kind !== "url") return settings.name;
  const { pathname, username } = new URL(settings.url);
  return decodeURIComponent(pathname.slice(1) || username);
}

const ESCAPES =
  "In its user, password and database write % as %25, @ as %40, / as %2F, ? as %3F and # as %23.";

/** Parameters of Postgres' own client. */
const FILES = ["sslrootcert", "sslcert", "sslkey", "sslcrl"];

function readUrl(env: Environment, problems: string[]): string {
  const text = env["DATABASE_URL"] ?? "";
  const isUrl = URL.canParse(text) && /^postgres(ql)?:$/.test(new URL(text).protocol);
  if (text === "") {
    problems.push(
      isLambda(env)
        ? "There is no database: set the secret with sst secret set DatabaseUrl postgres://..., and " +
            "deploy; or set DATABASE_SECRET_ARN or DATABASE_AUTH=iam."
        : "DATABASE_URL is not set; it is the URL of the database.",
    );
  } else if (!isUrl) {
    problems.push(
      `DATABASE_URL is not a URL of the form postgres://user@host/database. ${ESCAPES}`,
    );
  } else if (!isEscaped(text)) {
    problems.push(
      `DATABASE_URL has a % that begins no escape, or an @ behind the host. ${ESCAPES}`,
    );
  }
  const foreign = isUrl ? FILES.filter((name) => new URL(text).searchParams.has(name)) : [];
  if (foreign.length > 0) {
    problems.push(
      `DATABASE_URL has ${foreign.join(" and ")}, which name files; set DATABASE_CA to the PEM of an authority instead.`,
    );
  }
  return text;
}

/** Whether a URL was taken apart where its writer meant it: a password may hold what ends one. */
function isEscaped(text: string): boolean {
  const { username, password, pathname, search, hash } = new URL(text);
  try {
    for (const part of [username, password, pathname]) decodeURIComponent(part);
  } catch {
    return false;
  }
  return ![pathname, search, hash].some((part) => part.includes("@"));
}

function readSecret(
  env: Environment,
  port: number,
  tls: DatabaseTls,
  problems: string[],
): DatabaseSettings {
  const secretArn = env["DATABASE_SECRET_ARN"]!;
  const region = SECRET_ARN.exec(secretArn)?.[1] ?? "";
  if (region === "") {
    problems.push(
      `${shown("DATABASE_SECRET_ARN", secretArn, /^arn:[\w:/.*-]+$/)}; it must be ` +
        "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME.",
    );
  }
  return { kind: "secret", secretArn, region, ...readServer(env, port, problems), tls };
}

function readIam(
  env: Environment,
  port: number,
  tls: DatabaseTls,
  problems: string[],
): DatabaseSettings {
  if (env["DATABASE_AUTH"] !== "iam")
    problems.push("DATABASE_AUTH is something else; it must be iam.");
  if (tls === null) {
    problems.push("DATABASE_TLS is off, and DATABASE_AUTH=iam needs it: a token is a password.");
  }
  const server = readServer(env, port, problems);
  const user = readName(env, "DATABASE_USER", problems);
  const [, region = env["AWS_REGION"] ?? ""] = RDS_HOST.exec(server.host)?.filter(Boolean) ?? [];
  if (!REGION.test(region)) {
    problems.push(
      "The region of the database is not known: DATABASE_HOST does not name it, and AWS_REGION is " +
        `"${region}".`,
    );
  }
  return { kind: "iam", user, region, ...server, tls };
}

/** The value where it looks harmless: a secret may have been pasted into the wrong setting. */
function shown(variable: string, value: string, harmless: RegExp): string {
  return harmless.test(value) ? `${variable} is "${value}"` : `${variable} is something else`;
}

function readServer(env: Environment, port: number, problems: string[]) {
  const host = env["DATABASE_HOST"] ?? "";
  if (host === "") problems.push("DATABASE_HOST is not set; it is the name of the server.");
  else if (/[\s:/@]/.test(host)) {
    problems.push(
      `${shown("DATABASE_HOST", host, /^[\w.:-]+$/)}; it must be a name or an address, without a port.`,
    );
  }
  return { host, port, name: readName(env, "DATABASE_NAME", problems) };
}

function readName(env: Environment, variable: string, problems: string[]): string {
  const name = env[variable] ?? "";
  if (name === "") problems.push(`${variable} is not set.`);
  return name;
}

/** What an URL's sslmode asks for. What Postgres' own client falls back from is not offered. */
const SSL_MODES: Record<string, "verify" | "off"> = {
  disable: "off",
  require: "verify",
  "verify-ca": "verify",
  "verify-full": "verify",
};

function readTls(env: Environment, problems: string[]): DatabaseTls {
  const ca = readCertificates(env, "DATABASE_CA", problems);
  const url = env["DATABASE_URL"] ?? "";
  const sslMode = URL.canParse(url) ? new URL(url).searchParams.get("sslmode") : null;
  const asked = sslMode === null ? undefined : SSL_MODES[sslMode];
  if (sslMode !== null && asked === undefined) {
    const modes = Object.keys(SSL_MODES).join(", ");
    problems.push(`DATABASE_URL has sslmode=${sslMode}; it may be one of ${modes}.`);
  }
  const isLocalUrl = url !== "" && !isLambda(env);
  const standard = asked ?? (isLocalUrl ? "off" : "verify");
  const tls = readChoice(env, "DATABASE_TLS", ["verify", "off"], standard, problems);
  if (asked !== undefined && tls !== asked) {
    problems.push(
      `DATABASE_TLS is ${tls}, and DATABASE_URL has sslmode=${sslMode}; leave one out.`,
    );
  }
  if (tls === "off" && ca !== undefined) {
    problems.push("DATABASE_CA is set, and TLS with the database is off: set DATABASE_TLS=verify.");
  }
  return tls === "off" ? null : { ca };
}
