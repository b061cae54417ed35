import { currentAccount } from "./account.ts";
import { createAlarms } from "./alarms.ts";
import { checkSettings } from "./checks.ts";
import { createDashboard } from "./dashboard.ts";
import { database } from "./database.ts";
import { settingsOf } from "./defaults.ts";
import { createDrains } from "./drain.ts";
import { SettingsError } from "./errors.ts";
import { existingKafka, newKafka } from "./kafka.ts";
import type { Stage } from "./lambda.ts";
import { createMigration, migrateNow } from "./migration.ts";
import { drainNames, serviceName } from "./names.ts";
import { network } from "./network.ts";
import { outputsOf } from "./outputs.ts";
import { secretProblems } from "./secrets.ts";
import type { StageSettings } from "./settings.ts";
import { createSetup } from "./setup.ts";
import { createTopics } from "./topics.ts";

/**
 * Make everything of the stage that is deployed, in order; what can be refused is refused first.
 *
 * @returns the outputs: what to invoke, where to look
 * @throws {SettingsError} before anything is made
 */
export async function build(
  stages: Readonly<Record<string, StageSettings>>,
): Promise<Record<string, unknown>> {
  const settings = settingsOf($app.stage, stages);
  const problems = secretProblems($app.stage, settings, process.env);
  if (problems.length > 0) throw new SettingsError(problems);
  const account = await currentAccount();
  // Now that the region is known, each ARN must be in it.
  const elsewhere = checkSettings($app.stage, { ...settings, region: account.region });
  if (elsewhere.length > 0) throw new SettingsError(elsewhere);
  const cluster = settings.kafka.kind === "existing" ? await existingKafka(settings.kafka) : null;

  const where = await network(settings.network);
  const kafka = settings.kafka.kind === "existing" ? cluster! : newKafka(settings.kafka, where);
  const stage: Stage = {
    settings,
    account,
    network: where,
    kafka,
    database: database(settings.database, where, account),
  };

  const migration = createMigration(stage);
  createSetup(stage);
  const migrated = settings.migration.onDeploy ? [migrateNow(migration, stage)] : [];
  const topics = createTopics(stage);
  createDrains(stage, [...migrated, ...topics]);

  const source = {
    region: account.region,
    service: serviceName($app.stage),
    functionNames: drainNames($app.stage, settings.drain.lanes),
  };
  createDashboard(source);
  createAlarms(settings, source);
  return outputsOf(stage, source);
}
