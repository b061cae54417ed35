import type { Sql } from "postgres";
import { type Config, readConfig } from "./core/config.ts";
import { type DrainReport, drain, isRegularStop, requireBrokers } from "./core/drain.ts";
import { DrainError } from "./core/errors.ts";
import { createProducer, type Producer } from "./core/kafka/producer.ts";
import { log } from "./core/log.ts";
import { connectDatabase } from "./core/postgres/database.ts";
import { readSchema, type Schema } from "./core/postgres/schema.ts";
import { type LambdaContext, sqlFolder } from "./lambda.ts";

/** What outlives an invocation: connections are kept while the Lambda is warm. */
interface Warm {
  config: Config;
  schema: Schema;
  sql: Sql;
  producer: Producer;
}

let warm: Warm | undefined;

/**
 * One scheduled invocation: drain until the queue is empty or the Lambda's time is nearly up.
 *
 * @returns the report, which is also logged
 * @throws when the drain could not work, so that the invocation counts as an error
 */
export async function handler(_event: unknown, context: LambdaContext): Promise<DrainReport> {
  const deadlineMs = performance.now() + context.getRemainingTimeInMillis();
  warm ??= start();
  const { config, schema, sql, producer } = warm;
  const report = await drain(sql, producer, config, schema, deadlineMs);
  log(isRegularStop(report.stopped) ? "info" : "error", "drained", report);
  if (report.stopped && !isRegularStop(report.stopped)) throw new DrainError(report.stopped);
  return report;
}

function start(): Warm {
  const config = readConfig(process.env);
  const brokers = requireBrokers(config);
  return {
    config,
    schema: readSchema(sqlFolder()),
    sql: connectDatabase(config.databaseUrl),
    producer: createProducer({ brokers, clientId: "pg2kafka", ...config.producer }),
  };
}
