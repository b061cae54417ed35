/** What OpenSSL and Node say of a certificate that is not trusted, or of another host. */
const REFUSED =
  /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_|CERT_|ERR_TLS_CERT_ALTNAME)/;

/** Whether an error's code says that the server's certificate was refused. */
export function isCertificateRefused(code: string): boolean {
  return REFUSED.test(code);
}
