import { rootCertificates } from "node:tls";
import type { AuthenticationProviderArgs, Authenticator, KafkaConfig } from "kafkajs";
import { environmentCredentials } from "../credentials/index.ts";

/** How to log in where MSK's IAM authentication is on. */
export interface IamSettings {
  /** The region of the cluster. */
  region: string;
  /** PEM; authorities to trust besides those of Node. */
  ca: string | undefined;
}

/** Who we say we are was not taken; the cluster says no more than that. */
export class NotAuthenticated extends Error {
  override readonly name = "NotAuthenticated";
  /** Where kafkajs has Kafka's name of an error. */
  readonly type: "SASL_AUTHENTICATION_FAILED" | "NO_CREDENTIALS";

  constructor(type: NotAuthenticated["type"], message: string) {
    super(message);
    this.type = type;
  }
}

type Send = AuthenticationProviderArgs["saslAuthenticate"];

/**
 * TLS that verifies, and SASL/OAUTHBEARER with a token of MSK's: a URL that the function's role has
 * signed. Each authentication signs a new one, which needs no network, so a session always gets a
 * token's whole life of 15 minutes.
 *
 * kafkajs' own OAUTHBEARER reports whatever goes wrong meanwhile, a lost connection too, as wrong
 * credentials; this one lets each error be what it is.
 *
 * @see https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html
 */
export function iamSecurity({ region, ca }: IamSettings): Pick<KafkaConfig, "ssl" | "sasl"> {
  // Loaded where it is used, so that without IAM nobody pays for it; and while the connection opens.
  // A bundle in several files has a CommonJS module's names in `default` only.
  const signer = import("aws-msk-iam-sasl-signer-js").then(({ default: module }) => module);
  signer.catch(() => {}); // Shows where it is awaited.
  const authorities = ca === undefined ? {} : { ca: [...rootCertificates, ca] };
  return {
    ssl: { rejectUnauthorized: true, ...authorities },
    sasl: {
      mechanism: "oauthbearer",
      authenticationProvider: ({ saslAuthenticate }): Authenticator => ({
        authenticate: async () =>
          authenticate(await signToken(await signer, region), saslAuthenticate),
      }),
    },
  };
}

async function authenticate(token: string, send: Send): Promise<void> {
  const challenge = await send({
    request: { encode: () => initialResponse(token) },
    // The bytes come with their length before them.
    response: { decode: (bytes) => bytes.subarray(4), parse: (bytes) => bytes },
  });
  // The mechanism says yes with nothing, and no with a JSON that may tell why.
  if (challenge && challenge.length > 0) {
    throw new NotAuthenticated("SASL_AUTHENTICATION_FAILED", "The broker refused the token.");
  }
}

/** @see https://datatracker.ietf.org/doc/html/rfc7628#section-3.1 */
function initialResponse(token: string): Buffer {
  const message = Buffer.from(`n,,\u0001auth=Bearer ${token}\u0001\u0001`);
  const length = Buffer.alloc(4);
  length.writeInt32BE(message.length);
  return Buffer.concat([length, message]);
}

async function signToken(
  signer: typeof import("aws-msk-iam-sasl-signer-js"),
  region: string,
): Promise<string> {
  const credentials = await environmentCredentials().catch((error: Error) => {
    throw new NotAuthenticated("NO_CREDENTIALS", error.message);
  });
  const { token } = await signer.generateAuthTokenFromCredentialsProvider({
    region,
    awsCredentialsProvider: async () => credentials,
  });
  return token;
}
