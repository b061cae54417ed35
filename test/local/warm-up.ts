import type { TestProject } from "vitest/node";
import { readGiven, removeLeftovers } from "./given.ts";
import { isKafkaAvailable, startKafka } from "./kafka.ts";
import { startPostgres } from "./postgres.ts";

/**
 * Look at the servers that the environment names, and fetch and prepare the others once, before
 * test files start theirs side by side. One Kafka is for all of them where none is named: those that
 * stop brokers, or need settings, start their own.
 *
 * @returns what to do when all tests have ended
 * @throws one sentence when there is no Kafka, or a named server cannot be used
 */
export default async function warmUp(project: TestProject): Promise<() => Promise<void>> {
  const given = await readGiven(process.env);
  const kafka = await isKafkaAvailable();
  if (!kafka.available && given.brokers.length === 0) {
    throw new Error(`The tests need a real Kafka: ${kafka.reason} Or set KAFKA_BROKER.`);
  }
  const servers = await Promise.all([
    startPostgres({ version: 13 }),
    startPostgres({ version: 18 }),
  ]);
  for (const server of servers) await server.stop();
  const shared = given.brokers.length === 0 ? await startKafka({ heapMb: 256 }) : null;
  project.provide("given", shared ? { ...given, brokers: shared.bootstrap } : given);
  return async () => {
    await shared?.stop();
    if (process.env["PG2KAFKA_TEST_KEEP"] !== "true") await removeLeftovers(given);
  };
}
