import { isCertificateRefused } from "../certificates.ts";
import type { Failure } from "./failures.ts";
import type { ConnectionSettings } from "./settings.ts";

/** What a port that speaks no TLS makes of a handshake. */
const NO_TLS = /^(EPROTO|ERR_SSL_)/;

/** What to check when Kafka was not to be reached, or took nobody: sentences that name settings. */
export function advice({ kind, type }: Failure, { iam, brokers }: ConnectionSettings): string {
  if (type === "NO_CREDENTIALS") {
    return (
      "The environment has no AWS credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY): a Lambda " +
      "has those of its role; elsewhere: aws configure export-credentials --format env."
    );
  }
  if (kind === "authentication" && iam) {
    return (
      "Check that the cluster has IAM authentication and KAFKA_BROKER its IAM port (9098), that " +
      `the function's role allows kafka-cluster:Connect on the cluster, and KAFKA_REGION (${iam.region}).`
    );
  }
  if (kind === "authentication") {
    return "Check the authentication settings (KAFKA_AUTH) and the role of the function.";
  }
  if (isCertificateRefused(type)) {
    return "The certificate is not trusted: check KAFKA_BROKER, and KAFKA_CA for an authority of your own.";
  }
  if (iam && NO_TLS.test(type)) {
    return "That port speaks no TLS: KAFKA_BROKER must name the port for IAM (9098), or set KAFKA_AUTH=none.";
  }
  if (iam && type === "ECONNRESET") {
    return "The broker closed the connection: check that KAFKA_BROKER names the port for IAM (9098), which speaks TLS.";
  }
  if (type === "ENOTFOUND" || type === "EAI_AGAIN") {
    return `There is no such host: check KAFKA_BROKER (${brokers.join(",")}).`;
  }
  return (
    "Check that the brokers run, can be reached (KAFKA_BROKER; the security groups and subnets of " +
    "both), and have enough replicas in sync."
  );
}
