import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface SecretsManager {
  /** For AWS_ENDPOINT_URL_SECRETS_MANAGER. */
  readonly url: string;
  /** How many secrets were read. */
  readonly reads: number;
  /** By ARN, the text; what is not there is refused as Secrets Manager would. */
  readonly secrets: Map<string, string>;
  stop(): Promise<void>;
}

/** What the SDK's client asks Secrets Manager for, answered from a map. */
export async function startSecretsManager(): Promise<SecretsManager> {
  const secrets = new Map<string, string>();
  let reads = 0;
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += chunk;
    const isSigned = request.headers.authorization?.startsWith("AWS4-HMAC-SHA256 Credential=");
    const isRead = request.headers["x-amz-target"] === "secretsmanager.GetSecretValue";
    const { SecretId: arn } = JSON.parse(body);
    const text = isSigned && isRead ? secrets.get(arn) : undefined;
    reads += 1;
    response.setHeader("content-type", "application/x-amz-json-1.1");
    if (text !== undefined) response.end(JSON.stringify({ ARN: arn, SecretString: text }));
    else response.writeHead(400).end(JSON.stringify({ __type: "AccessDeniedException" }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get reads() {
      return reads;
    },
    secrets,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
