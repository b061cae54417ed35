import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** PEM texts: an authority, and a server's certificate that it signed. */
export interface Certificates {
  ca: string;
  certificate: string;
  /** PKCS 8. */
  key: string;
}

/** What makes a certificate one to be refused. */
export interface Flaws {
  /** For another host than 127.0.0.1. */
  isForAnother?: boolean;
  /** Its day was yesterday. */
  isExpired?: boolean;
  /** Signed with its own key, and not by the authority. */
  isSelfSigned?: boolean;
}

/** An authority of its own, and a certificate for localhost and 127.0.0.1, for a day. */
export async function makeCertificates(flaws: Flaws = {}): Promise<Certificates> {
  const directory = mkdtempSync(join(tmpdir(), "pg2kafka-tls-"));
  const openssl = (...args: string[]) => run("openssl", args, { cwd: directory, timeout: 120_000 });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const text = (name: string) => readFileSync(join(directory, name), "utf8");
  try {
    const names = flaws.isForAnother ? "DNS:another.example" : "DNS:localhost,IP:127.0.0.1";
    const signer = flaws.isSelfSigned
      ? ["-signkey", "server.key"]
      : ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    await openssl(
      ...["req", "-x509", ...key, "-days", "1", "-subj", "/CN=Authority of the tests"],
      ...["-keyout", "ca.key", "-out", "ca.pem"],
    );
    await openssl(
      ...["req", ...key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
    );
    writeFileSync(join(directory, "names"), `subjectAltName=${names}`);
    await openssl(
      ...["x509", "-req", "-in", "server.csr", ...signer, "-days", flaws.isExpired ? "-1" : "1"],
      ...["-extfile", "names", "-out", "server.pem"],
    );
    return { ca: text("ca.pem"), certificate: text("server.pem"), key: text("server.key") };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
