import { readConfig } from "../../functions/core/config.ts";
import { type DrainReport, drain } from "../../functions/core/drain.ts";
import { createProducer } from "../../functions/core/kafka/producer.ts";
import { connectDatabase } from "../../functions/core/postgres/database.ts";
import type { Environment } from "../relay/support.ts";
import { schema } from "../support/database.ts";

/**
 * One drain in this process, for what needs no process of its own: connections, settings and time are.
 *
 * @param timeMs until no batch starts any more, or a little later; `MARGIN_MS` comes after that
 */
export async function tick(env: Environment, timeMs: number): Promise<DrainReport> {
  const deadlineMs = performance.now() + timeMs + Number(env["MARGIN_MS"]);
  const config = readConfig(env);
  const sql = await connectDatabase(config.database);
  const producer = createProducer({
    brokers: config.brokers,
    clientId: "pg2kafka",
    ...config.producer,
  });
  try {
    return await drain(sql, producer, config, schema, deadlineMs);
  } finally {
    await Promise.all([producer.close(), sql.end({ timeout: 1 })]);
  }
}
