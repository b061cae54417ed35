import { parseTableName } from "../functions/core/config/topics.ts";
import { topicName } from "../functions/core/topic.ts";
import { dashboardUrl, type MetricSource } from "./dashboard.ts";
import type { Stage } from "./lambda.ts";
import { functionName } from "./names.ts";
import { warningsOf } from "./warnings.ts";

const SETUP_EVENT = { table: "products", externalId: "sku" };

/** What a deploy prints: what to invoke, where to look, what was made. */
export function outputsOf(stage: Stage, source: MetricSource): Record<string, unknown> {
  const { settings, database, kafka, account } = stage;
  const invoke = (name: string, event?: object) =>
    [
      `aws lambda invoke --region ${account.region}`,
      `--function-name ${name}`,
      // The CLI itself gives up after a minute and would invoke again.
      "--cli-read-timeout 0",
      ...(event === undefined
        ? []
        : [`--cli-binary-format raw-in-base64-out --payload '${JSON.stringify(event)}'`]),
      "/dev/stdout",
    ].join(" ");
  const topics = settings.topics.tables.map((table) => topicOf(table, stage));
  const drains = source.functionNames.map((name) => invoke(name));
  const warnings = warningsOf(settings);
  return {
    ...(settings.migration.onDeploy
      ? {}
      : { migrate: invoke(functionName($app.stage, "migrate")) }),
    setup: invoke(functionName($app.stage, "setup"), SETUP_EVENT),
    drain: drains.length === 1 ? drains[0] : drains,
    dashboard: dashboardUrl(source),
    topics: topics.length > 0 ? topics : topicOf('"TABLE"', stage),
    brokers: kafka.brokers,
    ...(database.host === undefined ? {} : { databaseHost: database.host }),
    ...(database.secretArn === undefined ? {} : { queryEditorSecret: database.secretArn }),
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

function topicOf(table: string, { settings, database }: Stage): string {
  const { namespace } = settings.topics;
  const { name } = database;
  return topicName({ namespace, database: name, ...parseTableName(table)! });
}
