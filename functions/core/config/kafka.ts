import type { IamSettings } from "../kafka/sasl.ts";
import { type Environment, REGION, readCertificates, readChoice } from "./environment.ts";

/** @see https://docs.aws.amazon.com/msk/latest/developerguide/msk-get-bootstrap-brokers.html */
const MSK_BROKER = /\.kafka[a-z-]*\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?:\d+$/;

export function readBrokers(env: Environment, problems: string[]): string[] {
  const brokers = (env["KAFKA_BROKER"] ?? "")
    .split(",")
    .map((broker) => broker.trim())
    .filter(Boolean);
  for (const broker of brokers) {
    const port = /^[^\s:/]+:(\d{1,5})$/.exec(broker)?.[1];
    if (!(Number(port) >= 1 && Number(port) <= 65_535)) {
      problems.push(`KAFKA_BROKER has "${broker}"; each broker is host:port.`);
    }
  }
  return brokers;
}

/** @returns null where Kafka asks nobody who they are */
export function readIam(
  env: Environment,
  brokers: readonly string[],
  problems: string[],
): IamSettings | null {
  const ca = readCertificates(env, "KAFKA_CA", problems);
  if (readChoice(env, "KAFKA_AUTH", ["none", "iam"], "none", problems) === "none") {
    if (ca !== undefined) problems.push("KAFKA_CA is set, and only KAFKA_AUTH=iam uses TLS.");
    return null;
  }
  return { region: readRegion(env, brokers, problems), ca };
}

function readRegion(env: Environment, brokers: readonly string[], problems: string[]): string {
  const named = [...new Set(brokers.map((broker) => MSK_BROKER.exec(broker)?.[1]))];
  const [inNames] = named;
  if (!env["KAFKA_REGION"] && named.length > 1) {
    problems.push(`KAFKA_BROKER names several regions (${named.join(", ")}); set KAFKA_REGION.`);
  }
  const region = env["KAFKA_REGION"] || inNames || env["AWS_REGION"] || "";
  if (!REGION.test(region)) {
    problems.push(
      `The region of Kafka is "${region}": set KAFKA_REGION, such as eu-central-1. KAFKA_AUTH=iam needs it.`,
    );
  }
  return region;
}
