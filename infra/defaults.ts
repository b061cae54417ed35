import { checkSettings } from "./checks.ts";
import { SettingsError } from "./errors.ts";
import type { Settings } from "./filled-settings.ts";
import { unknownSettings } from "./known.ts";
import { lingerTimeoutSeconds } from "./linger.ts";
import type { DatabaseSettings, DrainSettings, KafkaSettings, StageSettings } from "./settings.ts";

/**
 * The settings of a stage: what is said of it, the defaults for the rest, all of it checked.
 *
 * @throws {SettingsError} naming every problem, its value and its bound
 */
export function settingsOf(
  stage: string,
  stages: Readonly<Record<string, StageSettings>>,
): Settings {
  const said = Object.hasOwn(stages, stage) ? stages[stage] : undefined;
  if (said === undefined) {
    throw new SettingsError([
      `Stage "${stage}" is not in infra/stages.ts, which has ${Object.keys(stages).join(", ")}. ` +
        "Add it there, or name another with --stage.",
    ]);
  }
  const settings = fill(said);
  const problems = [...unknownSettings(said), ...checkSettings(stage, settings)];
  if (problems.length > 0) throw new SettingsError(problems);
  return settings;
}

/** What SST asks of a stage before the program runs. Nothing is refused yet: see sst.config.ts. */
export function appOptions(
  stage: string,
  stages: Readonly<Record<string, StageSettings>>,
): Pick<Settings, "region" | "removal" | "protect"> {
  const { region, removal, protect } = fill(Object.hasOwn(stages, stage) ? stages[stage]! : {});
  return { region, removal, protect };
}

function fill(said: StageSettings): Settings {
  const network = said.network ?? { kind: "new" };
  const database = said.database ?? { kind: "new" };
  const kafka = said.kafka ?? { kind: "new" };
  const zones = network.kind === "new" ? (network.zones ?? 2) : network.subnetIds.length;
  return {
    region: said.region,
    removal: said.removal ?? "retain",
    protect: said.protect ?? false,
    network: network.kind === "new" ? { nat: "none", zones, ...network } : network,
    database: fillDatabase(database),
    kafka: fillKafka(kafka, zones),
    topics: { tables: [], create: kafka.kind === "new", partitions: 6, ...said.topics },
    drain: fillDrain(said.drain ?? {}),
    migration: { onDeploy: false, ...said.migration },
    logRetention: said.logRetention ?? "1 month",
    alarms: { lagMinutes: 15, queueBytes: 1024 ** 3, noRunMinutes: 5, ...said.alarms },
  };
}

function fillDrain(said: DrainSettings): Settings["drain"] {
  const { schedule = "rate(1 minute)", linger = false } = said;
  return {
    schedule,
    timeoutSeconds: (linger ? lingerTimeoutSeconds(schedule) : null) ?? 240,
    memoryMb: 512,
    reservedConcurrency: linger ? 2 : 1,
    lanes: 1,
    linger,
    delivery: "at-least-once",
    variables: {},
    ...said,
  };
}

function fillDatabase(said: DatabaseSettings): Settings["database"] {
  if (said.kind === "new") {
    return {
      engine: "aurora",
      name: "pg2kafka",
      version: "17",
      access: "link",
      user: "pg2kafka_drain",
      ...said,
    };
  }
  if (said.access === "url") return said;
  if (said.access === "secret") return { port: 5432, ...said };
  return { port: 5432, ownerUser: said.user, ...said };
}

function fillKafka(said: KafkaSettings, zones: number): Settings["kafka"] {
  if (said.kind === "existing") return { brokers: "private", ...said };
  if (said.type !== "provisioned") return { kind: "new", type: "serverless" };
  return {
    brokers: zones,
    instanceType: "kafka.t3.small",
    version: "3.8.x",
    volumeGb: 10,
    ...said,
  };
}
