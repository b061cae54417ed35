import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { readConfig } from "../../functions/core/config.ts";
import { describeFailure } from "../../functions/core/failure.ts";
import { createProducer } from "../../functions/core/kafka/producer.ts";
import { connectDatabase } from "../../functions/core/postgres/database.ts";
import { type Certificates, type Flaws, makeCertificates } from "../aws/certificates.ts";
import { type Impostor, startImpostor } from "../local/impostor.ts";
import { message } from "../transactions/message.ts";
import type { Environment } from "./support.ts";

const USER = "marker-user";
const SECRET = "marker-secret";

const REFUSED: { name: string; flaws: Flaws; isUnknown?: boolean }[] = [
  { name: "an authority that nobody knows", flaws: {}, isUnknown: true },
  { name: "its own signature", flaws: { isSelfSigned: true } },
  { name: "a day that is over", flaws: { isExpired: true } },
  { name: "the name of another host", flaws: { isForAnother: true } },
];

let good: Certificates;

beforeAll(async () => {
  good = await makeCertificates();
});

async function impostor(
  protocol: "postgres" | "kafka",
  identity: Certificates | null,
): Promise<Impostor> {
  const started = await startImpostor(protocol, identity);
  onTestFinished(() => started.stop());
  return started;
}

function configFor(env: Environment) {
  return readConfig({
    DATABASE_URL: `postgres://${USER}:${SECRET}@127.0.0.1:1/shop`,
    DATABASE_TLS: "verify",
    REQUEST_TIMEOUT_MS: "3000",
    CONNECTION_TIMEOUT_MS: "3000",
    KAFKA_AUTH: "iam",
    KAFKA_REGION: "eu-central-1",
    ...env,
  });
}

/** @returns what is told of the failure */
async function askPostgres({ port }: Impostor, ca: string): Promise<string> {
  const { database } = configFor({
    DATABASE_URL: `postgres://${USER}:${SECRET}@127.0.0.1:${port}/shop`,
    DATABASE_CA: ca,
  });
  const sql = await connectDatabase(database);
  onTestFinished(() => sql.end({ timeout: 0 }));
  const error = await sql`select 1`.then(
    () => expect.unreachable(),
    (error: unknown) => error,
  );
  const { code, message } = describeFailure(error, database);
  return `${code}: ${message}`;
}

/** @returns what is told of the failure */
async function askKafka({ port }: Impostor, ca: string): Promise<string> {
  vi.stubEnv("AWS_ACCESS_KEY_ID", USER);
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", SECRET);
  onTestFinished(() => void vi.unstubAllEnvs());
  const config = configFor({ KAFKA_CA: ca });
  const brokers = [`127.0.0.1:${port}`];
  const producer = createProducer({ brokers, clientId: USER, ...config.producer });
  onTestFinished(() => producer.close());
  const error = await producer.send([message("t", SECRET, SECRET)]).then(
    () => expect.unreachable(),
    (error: unknown) => error,
  );
  const { code, message: text } = describeFailure(error);
  return `${code}: ${text}`;
}

describe.each([
  {
    protocol: "postgres",
    ask: askPostgres,
    ofCertificate: /^DATABASE_CERTIFICATE: .*DATABASE_CA/,
    ofPlainText: /^DATABASE_UNREACHABLE: .*TLS if DATABASE_TLS is verify/,
  },
  {
    protocol: "kafka",
    ask: askKafka,
    ofCertificate: /^KAFKA_UNAVAILABLE: .*not trusted.*KAFKA_CA/,
    ofPlainText: /^KAFKA_UNAVAILABLE: /,
  },
] as const)(
  "where TLS with $protocol is wanted",
  ({ protocol, ask, ofCertificate, ofPlainText }) => {
    test.each(REFUSED)("a server with $name is told nothing", async ({ flaws, isUnknown }) => {
      const bad = await makeCertificates(flaws);
      const server = await impostor(protocol, bad);
      expect(await ask(server, isUnknown ? good.ca : bad.ca)).toMatch(ofCertificate);
      expect(server.connections).toBeGreaterThan(0);
      expect(server.heard()).toBe("");
    });

    test("a server that says it does without is told nothing", async () => {
      const server = await impostor(protocol, null);
      expect(await ask(server, good.ca)).toMatch(ofPlainText);
      expect(server.connections).toBeGreaterThan(0);
      expect(server.heard()).toBe("");
    });

    test("a server that proves itself is told who asks", async () => {
      const server = await impostor(protocol, good);
      await ask(server, good.ca);
      expect(server.heard()).toContain(USER);
    });
  },
);
