import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import { scratchDirectory, unprivilegedUser } from "../local/user.ts";
import type { Certificates } from "./certificates.ts";

/* The superuser needs no password, for the test itself; everybody else needs theirs. */
const access = (type: "host" | "hostssl") => `
host all postgres 127.0.0.1/32 trust
${type} all all 127.0.0.1/32 scram-sha-256
`;

/**
 * A Postgres that lets applications in as RDS does: by password, over TLS only.
 *
 * @param type "host" also lets them in without TLS
 */
export async function startTlsPostgres(
  certificates: Certificates,
  type: "host" | "hostssl" = "hostssl",
): Promise<LocalPostgres> {
  const user = unprivilegedUser();
  const directory = mkdtempSync(join(await scratchDirectory(user), "pg2kafka-tls-"));
  const write = (name: string, text: string) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    if (user) chownSync(path, user.uid, user.gid);
    return path;
  };
  chmodSync(directory, 0o755);
  const server = await startPostgres({
    name: "tls",
    settings: {
      ssl: "on",
      ssl_cert_file: write("server.pem", certificates.certificate),
      ssl_key_file: write("server.key", certificates.key),
      hba_file: write("hba.conf", access(type)),
    },
  });
  const { stop } = server;
  return Object.assign(server, {
    async stop(...args: Parameters<typeof stop>) {
      await stop(...args);
      rmSync(directory, { recursive: true, force: true });
    },
  });
}
