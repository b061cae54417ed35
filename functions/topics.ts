import { databaseName } from "./core/config/database.ts";
import { parseTableName, type TableName, topicWarning } from "./core/config/topics.ts";
import type { Config } from "./core/config.ts";
import { requireBrokers } from "./core/drain.ts";
import { ConfigError } from "./core/errors.ts";
import { createTopics, type TopicsReport } from "./core/kafka/create-topics.ts";
import { log } from "./core/log.ts";
import { topicName } from "./core/topic.ts";
import { answer, lambdaConfig } from "./lambda.ts";

/** Tables as in SQL: `products`, `sales."Orders"`. Without them, those of TOPIC_TABLES. */
export interface TopicsEvent {
  tables?: string[];
}

/**
 * Create the topics of tables by Kafka's own protocol, with the settings TOPIC_*. Again: nothing.
 *
 * @throws when Kafka is away or refuses one, naming the settings to look at
 */
export async function handler(event?: TopicsEvent): Promise<TopicsReport> {
  let config: Config | undefined;
  return await answer(
    async () => {
      config = await lambdaConfig();
      const { namespace, producer, topics } = config;
      const brokers = requireBrokers(config);
      const warning = topicWarning(topics.creation);
      if (warning !== null) log("warn", "topics", { message: warning });
      const database = databaseName(config.database);
      const names = (readEvent(event) ?? topics.tables).map(({ schema, table }) =>
        topicName({ namespace, database, schema, table }),
      );
      const connection = { ...producer, brokers, clientId: "pg2kafka" };
      const report = await createTopics(connection, [...new Set(names)], topics.creation);
      log("info", "topics", report);
      return report;
    },
    () => config,
  );
}

function readEvent(event: unknown): TableName[] | null {
  const { tables } = Object(event) as { tables?: unknown };
  if (tables === undefined) return null;
  const names = Array.isArray(tables) ? tables : [tables];
  return names.map((name: unknown) => {
    const table = typeof name === "string" ? parseTableName(name) : null;
    if (table !== null) return table;
    throw new ConfigError([
      `The event has the table ${JSON.stringify(name)}; it must be {"tables": ["products", "sales.orders"]}.`,
    ]);
  });
}
