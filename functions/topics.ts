import { databaseName } from "./core/config/database.ts";
import { type TopicsEvent, tablesOfEvent, topicWarning } from "./core/config/topics.ts";
import type { Config } from "./core/config.ts";
import { requireBrokers } from "./core/drain.ts";
import { createTopics, type TopicsReport } from "./core/kafka/create-topics.ts";
import { log } from "./core/log.ts";
import { topicName } from "./core/topic.ts";
import { answer, lambdaConfig } from "./lambda.ts";

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
      const names = (tablesOfEvent(event) ?? topics.tables).map(({ schema, table }) =>
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
