import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import kafkajs from "kafkajs";
import { cacheDirectory, once } from "../local/cache.ts";
import { startKafka } from "../local/kafka.ts";
import { javaCommand, kafkaJars } from "../local/kafka-files.ts";
import { startProxy, type Proxy as TcpProxy } from "../local/proxy.ts";
import { kafkaClient } from "../local/topics.ts";
import type { Certificates } from "./certificates.ts";

// Node does not see these names in kafkajs' CommonJS.
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const run = promisify(execFile);
const HANDLER = join(import.meta.dirname, "MskIamCallbackHandler.java");

/** A role's credentials, as a Lambda finds them in its environment. */
export interface Role {
  /** What Kafka's ACLs call it. */
  principal: string;
  env: { AWS_ACCESS_KEY_ID: string; AWS_SECRET_ACCESS_KEY: string; AWS_SESSION_TOKEN: string };
}

export interface Msk {
  /** For the function: TLS and IAM, through a proxy. */
  readonly brokers: string[];
  /** For the test: without either. */
  readonly inside: string[];
  readonly region: string;
  readonly proxy: TcpProxy;
  /** Make known who may log in, and how far ahead the broker's clock is; in place of what was. */
  know(roles: readonly Role[], clockOffsetSeconds?: number): void;
  /** What the broker has written. */
  log(): string;
  stop(): Promise<void>;
}

/** What the IAM statements of a drain allow, in Kafka's own words: of one that sends exactly once. */
const STATEMENTS = [
  [
    "kafka-cluster",
    AclResourceTypes.CLUSTER,
    ResourcePatternTypes.LITERAL,
    [AclOperationTypes.DESCRIBE, AclOperationTypes.IDEMPOTENT_WRITE],
  ],
  [
    "pg2kafka.",
    AclResourceTypes.TOPIC,
    ResourcePatternTypes.PREFIXED,
    [
      AclOperationTypes.DESCRIBE,
      AclOperationTypes.WRITE,
      AclOperationTypes.CREATE,
      AclOperationTypes.READ,
    ],
  ],
  [
    "pg2kafka.",
    AclResourceTypes.TRANSACTIONAL_ID,
    ResourcePatternTypes.PREFIXED,
    [AclOperationTypes.DESCRIBE, AclOperationTypes.WRITE],
  ],
  [
    "pg2kafka.",
    AclResourceTypes.GROUP,
    ResourcePatternTypes.PREFIXED,
    [AclOperationTypes.DESCRIBE, AclOperationTypes.READ],
  ],
] as const;

/**
 * A real Kafka that asks its clients for MSK's tokens over TLS, and whose authorizer lets a
 * principal do what the drain's IAM statements would.
 *
 * @param principals who gets these rights; others may log in, and no more
 * @param sessionMs after which a client must have authenticated again
 */
export async function startMsk(
  certificates: Certificates,
  { principals, sessionMs = 0 }: { principals: readonly string[]; sessionMs?: number },
): Promise<Msk> {
  const region = "eu-central-1";
  const directory = mkdtempSync(join(tmpdir(), "pg2kafka-msk-"));
  const knownFile = join(directory, "iam.properties");
  writeFileSync(knownFile, "");
  let proxy: TcpProxy | undefined;
  const oauthbearer = "listener.name.client.oauthbearer";
  const kafka = await startKafka({
    settings: {
      "listener.security.protocol.map": "CLIENT:SASL_SSL,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
      "ssl.keystore.type": "PEM",
      "ssl.keystore.certificate.chain": certificates.certificate,
      "ssl.keystore.key": certificates.key,
      "sasl.enabled.mechanisms": "OAUTHBEARER",
      [`${oauthbearer}.sasl.jaas.config`]:
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
      [`${oauthbearer}.sasl.server.callback.handler.class`]: "MskIamCallbackHandler",
      ...(sessionMs > 0 && { [`${oauthbearer}.connections.max.reauth.ms`]: String(sessionMs) }),
      "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
      // The listeners between brokers, which the test uses as well.
      "super.users": "User:ANONYMOUS",
      "allow.everyone.if.no.acl.found": "false",
    },
    classPath: [await compiledHandler()],
    javaArgs: [`-Dpg2kafka.iam=${knownFile}`],
    advertise: async (port) => {
      proxy = await startProxy(port);
      return proxy.port;
    },
  });
  const stop = async () => {
    await kafka.stop();
    await proxy?.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const inside = kafka.brokers.map(({ internalPort }) => `127.0.0.1:${internalPort}`);
    await allow(inside, principals);
    return {
      brokers: kafka.bootstrap,
      inside,
      region,
      proxy: proxy!,
      know: (roles, clockOffsetSeconds = 0) =>
        writeFileSync(knownFile, properties(region, roles, clockOffsetSeconds)),
      log: () => kafka.brokers.map(({ logFile }) => readFileSync(logFile, "utf8")).join(""),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function allow(inside: string[], principals: readonly string[]): Promise<void> {
  const admin = kafkaClient(inside).admin();
  await admin.connect();
  try {
    const acl = principals.flatMap((principal) =>
      STATEMENTS.flatMap(([resourceName, resourceType, resourcePatternType, operations]) =>
        operations.map((operation) => ({
          resourceName,
          resourceType,
          resourcePatternType,
          operation,
          principal: `User:${principal}`,
          host: "*",
          permissionType: AclPermissionTypes.ALLOW,
        })),
      ),
    );
    if (acl.length > 0) await admin.createAcls({ acl });
  } finally {
    await admin.disconnect();
  }
}

function properties(region: string, roles: readonly Role[], clockOffsetSeconds: number): string {
  const lines = roles.flatMap(({ principal, env }) => [
    `${env.AWS_ACCESS_KEY_ID}.secret=${env.AWS_SECRET_ACCESS_KEY}`,
    `${env.AWS_ACCESS_KEY_ID}.token=${env.AWS_SESSION_TOKEN}`,
    `${env.AWS_ACCESS_KEY_ID}.principal=${principal}`,
  ]);
  return [`region=${region}`, `clock.offset.seconds=${clockOffsetSeconds}`, ...lines, ""].join(
    "\n",
  );
}

/** The handler's class, in a directory for the class path; compiled once for each text of it. */
async function compiledHandler(): Promise<string> {
  const jars = await kafkaJars();
  const digest = createHash("sha256")
    .update(readFileSync(HANDLER))
    .update(jars.join())
    .digest("hex");
  return await once(
    join(await cacheDirectory(), `msk-iam-${digest.slice(0, 12)}`),
    async (draft) => {
      mkdirSync(draft);
      const java = javaCommand();
      const javac = java === "java" ? "javac" : join(dirname(java), "javac");
      const args = ["-nowarn", "-d", draft, "-cp", jars.join(":"), HANDLER];
      await run(javac, args, { timeout: 600_000 }).catch((cause) => {
        throw new Error(`javac (of a JDK, 17 or newer) failed:\n${cause.stderr}`, { cause });
      });
    },
  );
}
