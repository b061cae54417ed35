import { NUMBERS } from "../functions/core/config/numbers.ts";
import { parseTableName } from "../functions/core/config/topics.ts";
import { readConfig } from "../functions/core/config.ts";
import { ConfigError } from "../functions/core/errors.ts";
import { topicName, topicProblem } from "../functions/core/topic.ts";
import { type ArnShape, arnProblem, parseArn } from "./arns.ts";
import type { Settings } from "./filled-settings.ts";
import { lingerProblems } from "./linger.ts";
import { functionName, LAMBDAS } from "./names.ts";
import { rateMinutes, scheduleProblem } from "./schedule.ts";
import { LOG_RETENTIONS } from "./settings.ts";

/** A Lambda's name; https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html */
const FUNCTION_NAME_CHARACTERS_MAX = 64;
/** Postgres cuts longer names off. */
const NAME_BYTES_MAX = 63;
const MINUTES_PER_DAY = 24 * 60;

const SUBNET = /^subnet-([0-9a-f]{8}|[0-9a-f]{17})$/;
const SECURITY_GROUP = /^sg-([0-9a-f]{8}|[0-9a-f]{17})$/;
const REGION = /^[a-z]{2}(-[a-z]+)+-\d$/;
const HOST = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*$/;
const RDS_RESOURCE = /^(db|cluster|prx)-[A-Za-z0-9]+$/;
const NEW_DATABASE = /^[A-Za-z][A-Za-z0-9_]{0,62}$/;
const DATABASE_USER = /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/;
const POSTGRES_VERSION = /^1[3-9](\.\d+)?$/;
const KAFKA_VERSION = /^(3\.([6-9]|\d\d)|[4-9]\.\d+)\.(\d+|x)(\.kraft)?$/;
const BROKER_INSTANCE = /^(kafka|express)\.[a-z0-9]+\.[a-z0-9]+$/;
const NAMESPACE = /^[A-Za-z0-9._-]{1,100}$/;

/** Variables of the Lambdas that may be set beside the numbers. */
const VARIABLES = ["COMPRESSION", "DATABASE_TLS", "DATABASE_CA", "KAFKA_CA"];
/** Numbers that follow from other settings. */
const DERIVED = [
  "DATABASE_PORT",
  "LANE",
  "LANES",
  "TIMEOUT_MS",
  "TOPIC_PARTITIONS",
  "TOPIC_REPLICATION",
];

/** Gathers one sentence per problem. */
class Checklist {
  readonly problems: string[] = [];

  add(problem: string | null): void {
    if (problem !== null) this.problems.push(problem);
  }

  matches(setting: string, text: string, pattern: RegExp, must: string): void {
    if (!pattern.test(text)) this.add(`${setting} is "${text}"; it must be ${must}.`);
  }

  oneOf(setting: string, value: unknown, allowed: readonly unknown[]): void {
    if (allowed.includes(value)) return;
    this.add(`${setting} is ${JSON.stringify(value)}; it may be ${allowed.join(", ")}.`);
  }

  between(setting: string, value: number, min: number, max: number): void {
    if (Number.isInteger(value) && value >= min && value <= max) return;
    this.add(`${setting} is ${value}; it must be a whole number from ${min} to ${max}.`);
  }

  arn(setting: string, text: string, shape: ArnShape, region: string | undefined): void {
    const problem = arnProblem(setting, text, shape);
    this.add(problem);
    if (problem !== null || region === undefined) return;
    this.add(regionProblem(setting, text, region));
  }
}

/** Everything here is reached inside one region. */
function regionProblem(setting: string, arn: string, region: string): string | null {
  const found = parseArn(arn)?.region;
  if (found === region) return null;
  return `${setting} is in ${found}, and the deploy goes to ${region}; set region to "${found}".`;
}

/** Everything that can't be in the settings of a stage, each as one sentence. */
export function checkSettings(stage: string, settings: Settings): string[] {
  const list = new Checklist();
  checkStage(list, stage, settings);
  checkNetwork(list, settings);
  checkDatabase(list, settings);
  checkKafka(list, settings);
  checkTopics(list, settings);
  checkDrain(list, settings);
  for (const problem of lingerProblems(settings)) list.add(problem);
  checkAlarms(list, settings);
  return list.problems;
}

function checkStage(list: Checklist, stage: string, settings: Settings): void {
  const longest = LAMBDAS.map((id) => functionName(stage, id)).reduce((a, b) =>
    a.length >= b.length ? a : b,
  );
  const over = longest.length - FUNCTION_NAME_CHARACTERS_MAX;
  if (over > 0)
    list.add(`Stage "${stage}" is too long by ${over}: a Lambda would be "${longest}".`);
  if (settings.region !== undefined) {
    list.matches("region", settings.region, REGION, "a region, such as eu-west-1");
  }
  list.oneOf("removal", settings.removal, ["remove", "retain", "retain-all"]);
  list.oneOf("logRetention", settings.logRetention, LOG_RETENTIONS);
}

function checkNetwork(list: Checklist, { network }: Settings): void {
  list.oneOf("network.kind", network.kind, ["new", "existing"]);
  if (network.kind === "new") {
    list.oneOf("network.nat", network.nat, ["none", "ec2", "managed"]);
    list.between("network.zones", network.zones, 2, 3);
    return;
  }
  if (network.subnetIds.length === 0) list.add("network.subnetIds is empty; name one or more.");
  if (network.securityGroupIds.length === 0) {
    list.add("network.securityGroupIds is empty; name one or more.");
  }
  for (const id of network.subnetIds) {
    list.matches("network.subnetIds", id, SUBNET, "like subnet-0123456789abcdef0");
  }
  for (const id of network.securityGroupIds) {
    list.matches("network.securityGroupIds", id, SECURITY_GROUP, "like sg-0123456789abcdef0");
  }
}

function checkDatabase(list: Checklist, { database, network, region }: Settings): void {
  list.oneOf("database.kind", database.kind, ["new", "existing"]);
  if (database.kind === "new") {
    list.oneOf("database.engine", database.engine, ["aurora", "rds"]);
    list.oneOf("database.access", database.access, ["link", "secret", "iam"]);
    const letters = "1 to 63 letters, digits and underscores, a letter first";
    list.matches("database.name", database.name, NEW_DATABASE, letters);
    list.matches("database.version", database.version, POSTGRES_VERSION, "13 to 19, such as 17");
    checkUser(list, "database.user", database.user);
    checkZones(list, "database", network);
    return;
  }
  list.oneOf("database.access", database.access, ["url", "secret", "iam"]);
  if (database.access === "url") return;
  list.matches("database.host", database.host, HOST, "a host name");
  list.between("database.port", database.port, 1, 65_535);
  checkName(list, "database.name", database.name);
  if (database.access === "secret") {
    list.arn("database.secretArn", database.secretArn, "secret", region);
    if (database.kmsKeyArn !== undefined) {
      list.arn("database.kmsKeyArn", database.kmsKeyArn, "key", region);
    }
    return;
  }
  const id =
    'what "aws rds describe-db-instances" calls DbiResourceId, DbClusterResourceId or prx-…';
  list.matches("database.resourceId", database.resourceId, RDS_RESOURCE, id);
  checkUser(list, "database.user", database.user);
  if (database.ownerUser !== database.user) {
    checkUser(list, "database.ownerUser", database.ownerUser);
  }
}

/** Its name stands in an ARN, where `*` and `?` would stand for other users. */
function checkUser(list: Checklist, setting: string, user: string): void {
  list.matches(setting, user, DATABASE_USER, "1 to 63 letters, digits, underscores and hyphens");
}

function checkName(list: Checklist, setting: string, name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes >= 1 && bytes <= NAME_BYTES_MAX) return;
  list.add(`${setting} has ${bytes} bytes; Postgres allows 1 to ${NAME_BYTES_MAX}.`);
}

/** Aurora, RDS and MSK want two availability zones; a subnet is in one. */
function checkZones(list: Checklist, setting: string, network: Settings["network"]): void {
  if (network.kind === "new" || network.subnetIds.length >= 2) return;
  list.add(
    `A new ${setting} needs subnets in two availability zones; network.subnetIds has ` +
      `${network.subnetIds.length}.`,
  );
}

function checkKafka(list: Checklist, { kafka, network, region }: Settings): void {
  list.oneOf("kafka.kind", kafka.kind, ["new", "existing"]);
  if (kafka.kind === "existing") {
    list.arn("kafka.clusterArn", kafka.clusterArn, "cluster", region);
    list.oneOf("kafka.brokers", kafka.brokers, ["private", "public"]);
    if (kafka.brokers === "public" && network.kind === "new" && network.nat === "none") {
      list.add('kafka.brokers is "public"; a new network reaches them only with network.nat.');
    }
    return;
  }
  checkZones(list, "kafka", network);
  if (kafka.type === "serverless") return;
  const zones = network.kind === "new" ? network.zones : network.subnetIds.length;
  list.between("kafka.brokers", kafka.brokers, zones, 60);
  if (zones > 0 && kafka.brokers % zones !== 0) {
    list.add(`kafka.brokers is ${kafka.brokers}; it must be a multiple of the ${zones} subnets.`);
  }
  list.matches("kafka.version", kafka.version, KAFKA_VERSION, "3.6 or newer, such as 3.8.x");
  list.matches("kafka.instanceType", kafka.instanceType, BROKER_INSTANCE, "like kafka.t3.small");
  list.between("kafka.volumeGb", kafka.volumeGb, 1, 16_384);
}

function checkTopics(list: Checklist, { topics, database }: Settings): void {
  if (topics.namespace !== undefined) {
    const must = "1 to 100 of the characters A-Z a-z 0-9 . _ -";
    list.matches("topics.namespace", topics.namespace, NAMESPACE, must);
  }
  // A URL's database is not known here; the rest of the names is.
  const { namespace } = topics;
  const name = "name" in database ? database.name : "";
  for (const text of topics.tables) {
    const table = parseTableName(text);
    if (table === null) {
      list.add(`topics.tables has ${text}; each is as in setup(): products, sales."Orders".`);
    } else {
      list.add(topicProblem(topicName({ namespace, database: name, ...table })));
    }
  }
  const { TOPIC_PARTITIONS, TOPIC_REPLICATION } = NUMBERS;
  list.between("topics.partitions", topics.partitions, TOPIC_PARTITIONS.min, TOPIC_PARTITIONS.max);
  if (topics.replication !== undefined) {
    list.between("topics.replication", topics.replication, 1, TOPIC_REPLICATION.max);
  }
  if (topics.retentionMs !== undefined && topics.retentionMs !== -1) {
    list.between("topics.retentionMs", topics.retentionMs, 60_000, Number.MAX_SAFE_INTEGER);
  }
  if (topics.cleanup !== undefined) {
    list.oneOf("topics.cleanup", topics.cleanup, ["delete", "compact", "compact,delete"]);
  }
}

function checkDrain(list: Checklist, settings: Settings): void {
  const { drain } = settings;
  const variables: Record<string, string> = {};
  list.add(scheduleProblem(drain.schedule));
  list.between("drain.timeoutSeconds", drain.timeoutSeconds, 30, 900);
  list.between("drain.memoryMb", drain.memoryMb, 128, 10_240);
  if (drain.reservedConcurrency !== null) {
    list.between("drain.reservedConcurrency", drain.reservedConcurrency, 1, 100);
  }
  list.oneOf("drain.linger", drain.linger, [true, false]);
  list.oneOf("drain.delivery", drain.delivery, ["at-least-once", "exactly-once"]);
  list.between("drain.lanes", drain.lanes, NUMBERS.LANES.min, NUMBERS.LANES.max);
  for (const [name, text] of Object.entries(drain.variables)) {
    const isNumber = Object.hasOwn(NUMBERS, name) && !DERIVED.includes(name);
    if (isNumber || VARIABLES.includes(name)) variables[name] = text;
    else {
      list.add(
        `drain.variables has ${name}, which is no setting of the Lambdas, or follows from others.`,
      );
    }
  }
  for (const problem of variableProblems(variables, settings)) {
    list.add(`drain.variables: ${problem}`);
  }
  const marginMs = Number(drain.variables["MARGIN_MS"] ?? NUMBERS.MARGIN_MS.default);
  if (marginMs >= drain.timeoutSeconds * 1000) {
    list.add(
      `drain.timeoutSeconds is ${drain.timeoutSeconds}; it must be more than MARGIN_MS ` +
        `(${marginMs}), or no batch would ever start.`,
    );
  }
}

/** What the Lambdas would say of their variables when they start. The heap is only known there. */
function variableProblems(variables: Record<string, string>, { database }: Settings): string[] {
  const place =
    database.access === "iam"
      ? { DATABASE_AUTH: "iam", DATABASE_HOST: "h", DATABASE_NAME: "d", DATABASE_USER: "u" }
      : { DATABASE_URL: "postgres://u@h/d" };
  const env = {
    AWS_LAMBDA_FUNCTION_NAME: "drain",
    AWS_REGION: "eu-west-1",
    KAFKA_BROKER: "b:9098",
    KAFKA_AUTH: "iam",
    ...place,
    ...variables,
  };
  try {
    readConfig(env, Number.POSITIVE_INFINITY);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return [...error.problems];
    throw error;
  }
}

function checkAlarms(list: Checklist, { alarms, drain, region }: Settings): void {
  if (alarms.snsTopicArn !== undefined) {
    list.arn("alarms.snsTopicArn", alarms.snsTopicArn, "snsTopic", region);
  }
  list.between("alarms.lagMinutes", alarms.lagMinutes, 1, MINUTES_PER_DAY);
  list.between("alarms.queueBytes", alarms.queueBytes, 1024 ** 2, 1024 ** 4);
  list.between("alarms.noRunMinutes", alarms.noRunMinutes, 2, MINUTES_PER_DAY);
  const rate = rateMinutes(drain.schedule);
  if (rate !== null && alarms.noRunMinutes < 2 * rate) {
    list.add(
      `alarms.noRunMinutes is ${alarms.noRunMinutes}; it must be at least twice the ` +
        `${rate} minutes of ${drain.schedule}.`,
    );
  }
  if (alarms.noRunMinutes * 60 <= drain.timeoutSeconds) {
    list.add(
      `alarms.noRunMinutes is ${alarms.noRunMinutes}; it must be longer than ` +
        `drain.timeoutSeconds (${drain.timeoutSeconds}): a long run is no missing run.`,
    );
  }
}
