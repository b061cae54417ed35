import { drain, dryRun, isRegularStop, requireBrokers } from "../core/drain.ts";
import { createProducer } from "../core/kafka/producer.ts";
import { log } from "../core/log.ts";
import { reachDatabase } from "../core/postgres/database.ts";
import { migrate } from "../core/postgres/migrate.ts";
import { readSchema } from "../core/postgres/schema.ts";
import { sqlFolder } from "../lambda.ts";
import { withinTime } from "../time-limit.ts";
import { runConfigured } from "./run.ts";

const USAGE = `Usage: DATABASE_URL=... KAFKA_BROKER=host:port[,host:port] npm run drain

Sends what waits in the queue to Kafka until it is empty or TIMEOUT_MS have
passed. The last line on standard error is a summary, as JSON.

  DRY_RUN=true             print the messages instead, and leave the queue as it is
  PERFORM_MIGRATIONS=true  run the migration first
  TOPIC_NAMESPACE=name     topics become pg2kafka.name.database.table

All settings: see the README. Exit code 0: the queue is empty, the time was up,
another drain is at work, or the drain is paused; 1: it could not work.`;

/** For what was begun in time, to be settled and told. */
const ANSWER_MS = 1_000;

await runConfigured(USAGE, async (config) => {
  const startedMs = performance.now();
  const brokers = config.dryRun ? [] : requireBrokers(config);
  const schema = readSchema(sqlFolder());
  const sql = await reachDatabase(config.database);
  const producer = createProducer({ brokers, clientId: "pg2kafka", ...config.producer });
  try {
    if (config.performMigrations) log("info", "migrated", await migrate(sql, schema));
    if (config.dryRun) {
      const messages = await dryRun(sql, config, schema, (line) =>
        process.stdout.write(`${line}\n`),
      );
      log("info", "dry run", { messages });
      return 0;
    }
    let isRegular = false;
    // Postgres is asked without a time limit: a connection that is lost for good would hold it here.
    const work = async () => {
      const report = await drain(sql, producer, config, schema, startedMs + config.timeoutMs);
      isRegular = isRegularStop(report.stopped);
      log(isRegular ? "info" : "error", "drained", report);
    };
    await withinTime(config.timeoutMs + ANSWER_MS, work, () => {});
    return isRegular ? 0 : 1;
  } finally {
    await Promise.all([producer.close(), sql.end({ timeout: 1 })]);
  }
});
