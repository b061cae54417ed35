import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import type { Certificates } from "./certificates.ts";
import type { Role } from "./msk.ts";

const SSL_REQUEST = 80_877_103;
/** Of the drain's region, which the test's host names do not tell. */
const REGION = "eu-central-1";

export interface RdsIam {
  readonly port: number;
  /** Tokens that came as passwords, in order, and whether they were taken. */
  readonly logins: { token: string; isTaken: boolean }[];
  stop(): Promise<void>;
}

/**
 * Stands before a Postgres as RDS' IAM authentication does: over TLS, it asks for the password in
 * clear text, takes it for a token and verifies it for this role and user, then lets the client
 * through to the server, which asks for no password.
 *
 * It shows what the client sends, byte by byte; what RDS makes of it, only RDS can show.
 */
export async function startRdsIam(
  certificates: Certificates,
  targetPort: number,
  role: Role,
): Promise<RdsIam> {
  const logins: RdsIam["logins"] = [];
  const sockets = new Set<Socket>();
  const secureContext = createSecureContext({
    cert: certificates.certificate,
    key: certificates.key,
  });
  const server = createServer(async (client) => {
    sockets.add(client);
    client.on("error", () => {});
    const [request] = (await once(client, "data")) as [Buffer];
    if (request.readInt32BE(4) !== SSL_REQUEST) {
      client.destroy();
      return;
    }
    client.write("S");
    const secure = new TLSSocket(client, { isServer: true, secureContext });
    secure.on("error", () => client.destroy());
    const [startup] = (await once(secure, "data")) as [Buffer];
    secure.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]));
    const [answer] = (await once(secure, "data")) as [Buffer];
    const token = answer.subarray(5, -1).toString();
    const user = /user\0([^\0]+)/.exec(startup.toString())?.[1] ?? "";
    const isTaken = isToken(token, `127.0.0.1:${port}`, user, role);
    logins.push({ token, isTaken });
    if (!isTaken) {
      secure.end(refusal(user));
      return;
    }
    const target = connect({ port: targetPort, host: "127.0.0.1" });
    sockets.add(target);
    target.on("error", () => secure.destroy());
    target.write(startup);
    target.pipe(secure).pipe(target);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    logins,
    async stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}

/** @see https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html */
function isToken(token: string, host: string, user: string, { env }: Role): boolean {
  const url = new URL(`https://${token}`);
  const query = url.searchParams;
  const date = query.get("X-Amz-Date") ?? "";
  const scope = `${date.slice(0, 8)}/${REGION}/rds-db/aws4_request`;
  const signedAt = Date.parse(date.replace(/^(....)(..)(..T..)(..)(..Z)$/, "$1-$2-$3:$4:$5"));
  const ageS = (Date.now() - signedAt) / 1000;
  const canonicalQuery = url.search
    .slice(1)
    .split("&")
    .filter((pair) => !pair.startsWith("X-Amz-Signature="))
    .sort()
    .join("&");
  const request = ["GET", "/", canonicalQuery, `host:${host}`, "", "host", sha256("")].join("\n");
  const text = ["AWS4-HMAC-SHA256", date, scope, sha256(request)].join("\n");
  const key = scope
    .split("/")
    .reduce<string | Buffer>((k, part) => hmac(k, part), `AWS4${env.AWS_SECRET_ACCESS_KEY}`);
  return (
    url.host === host &&
    query.get("Action") === "connect" &&
    query.get("DBUser") === user &&
    query.get("X-Amz-Credential") === `${env.AWS_ACCESS_KEY_ID}/${scope}` &&
    query.get("X-Amz-Security-Token") === env.AWS_SESSION_TOKEN &&
    query.get("X-Amz-Expires") === "900" &&
    ageS > -300 &&
    ageS < 900 &&
    query.get("X-Amz-Signature") === hmac(key, text).toString("hex")
  );
}

/** ErrorResponse as RDS words it. */
function refusal(user: string): Buffer {
  const fields = Buffer.from(
    `SFATAL\0VFATAL\0C28000\0MPAM authentication failed for user "${user}"\0\0`,
  );
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
