import type { DatabaseSettings } from "../config/database.ts";
import { environmentCredentials } from "../credentials/index.ts";
import { DatabaseError } from "../errors.ts";

/** As whom to log in. */
export interface Login {
  user: string;
  password: string;
}

/** How long Secrets Manager may take, in all tries. */
const SECRET_TIMEOUT_MS = 4_000;
const SECRET_TRIES_MAX = 2;

type ServerSettings = Exclude<DatabaseSettings, { kind: "url" }>;

/**
 * Read the login that counts now: the secret as it is, or a new IAM token, which lives 15 minutes
 * and matters at login only.
 *
 * @throws {DatabaseError} DATABASE_SECRET, DATABASE_CREDENTIALS
 */
export function readLogin(settings: ServerSettings): Promise<Login> {
  return settings.kind === "secret" ? readSecret(settings) : signToken(settings);
}

async function readSecret({
  secretArn,
  region,
}: Extract<ServerSettings, { kind: "secret" }>): Promise<Login> {
  const { GetSecretValueCommand, SecretsManagerClient } = await import(
    "@aws-sdk/client-secrets-manager"
  );
  const client = new SecretsManagerClient({
    region,
    credentials: environmentCredentials,
    maxAttempts: SECRET_TRIES_MAX,
  });
  try {
    const command = new GetSecretValueCommand({ SecretId: secretArn });
    const abortSignal = AbortSignal.timeout(SECRET_TIMEOUT_MS);
    const { SecretString } = await client.send(command, { abortSignal });
    return parseSecret(SecretString ?? "");
  } catch (cause) {
    if (cause instanceof DatabaseError) throw cause;
    const { name } = cause as Error;
    throw new DatabaseError(
      `The secret ${secretArn} (DATABASE_SECRET_ARN) could not be read: ${name}. Check that it ` +
        "exists, that the function's role allows secretsmanager:GetSecretValue on it (and " +
        "kms:Decrypt on its key), and that the function's subnets reach Secrets Manager through " +
        "NAT or an interface endpoint.",
      { code: "DATABASE_SECRET", cause },
    );
  } finally {
    client.destroy();
  }
}

/** As RDS writes it. No error carries the text, nor a parser's error, which quotes it. */
function parseSecret(text: string): Login {
  let secret: { username?: unknown; password?: unknown } = {};
  try {
    secret = Object(JSON.parse(text));
  } catch {
    // Told below.
  }
  const { username: user, password } = secret;
  if (typeof user === "string" && typeof password === "string" && user !== "" && password !== "") {
    return { user, password };
  }
  throw new DatabaseError(
    'The secret of DATABASE_SECRET_ARN is not JSON of the form {"username": "...", "password": "..."}.',
    { code: "DATABASE_SECRET" },
  );
}

async function signToken({
  host,
  port,
  user,
  region,
}: Extract<ServerSettings, { kind: "iam" }>): Promise<Login> {
  const { Signer } = await import("@aws-sdk/rds-signer");
  const credentials = await environmentCredentials().catch((cause: Error) => {
    throw new DatabaseError(cause.message, { code: "DATABASE_CREDENTIALS", cause });
  });
  const signer = new Signer({ hostname: host, port, username: user, region, credentials });
  return { user, password: await signer.getAuthToken() };
}
