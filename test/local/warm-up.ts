import type { TestProject } from "vitest/node";
import { readGiven, removeLeftovers } from "./given.ts";
import { isKafkaAvailable, startKafka } from "./kafka.ts";
import { startPostgres } from "./postgres.ts";

/**
 * Look at the servers that the environment names, and fetch and prepare the others once, before
 * test files start theirs side by side.
 *
 * @returns what to do when all tests have ended
 * @throws one sentence when there is no Kafka, or a named server cannot be used
 */
export default async function warmUp(project: TestProject): Promise<() => Promise<void>> {
  const given = await readGiven(process.env);
  project.provide("given", given);
  const kafka = await isKafkaAvailable();
  if (!kafka.available && given.brokers.length === 0) {
    throw new Error(`The tests need a real Kafka: ${kafka.reason} Or set KAFKA_BROKER.`);
  }
  const servers = [startPostgres({ version: 13 }), startPostgres({ version: 18 })];
  const started = await Promise.all(kafka.available ? [...servers, startKafka()] : servers);
  for (const server of started) await server.stop();
  return async () => {
    if (process.env["PG2KAFKA_TEST_KEEP"] !== "true") await removeLeftovers(given);
  };
}
