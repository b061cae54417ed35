import { isKafkaAvailable, startKafka } from "./kafka.ts";
import { startPostgres } from "./postgres.ts";

/** Fetch and prepare the servers once, before test files start theirs side by side. */
export default async function warmUp(): Promise<void> {
  const kafka = await isKafkaAvailable();
  if (!kafka.available) throw new Error(`The tests need a real Kafka: ${kafka.reason}`);
  const servers = [startKafka(), startPostgres({ version: 13 }), startPostgres({ version: 18 })];
  for (const server of await Promise.all(servers)) await server.stop();
}
