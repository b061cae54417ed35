import { ConfigError } from "../errors.ts";
import { retentionWarning } from "../kafka/retention.ts";
import type { TopicCreation } from "../kafka/settings.ts";
import type { Environment } from "./environment.ts";
import type { NumberName } from "./numbers.ts";

/** A table as Postgres stores its name: unquoted, case kept. */
export interface TableName {
  schema: string;
  table: string;
}

/** What the Lambdas that create topics may be asked for. */
export interface TopicsEvent {
  /** As in SQL: `products`, `sales."Orders"`. Without them, those of TOPIC_TABLES. */
  tables?: string[];
}

/** Kafka forgets nothing below this by accident. */
const RETENTION_MS_MIN = 60_000;
const FOREVER = -1;

const CLEANUPS = ["delete", "compact", "compact,delete"];

/** How topics are created: those of the tables in the settings, and those met later if allowed. */
export function readTopicCreation(
  env: Environment,
  numbers: Record<NumberName, number>,
  problems: string[],
): Required<TopicCreation> {
  const configs: Record<string, string> = {};
  const retentionMs = readRetention(env, problems);
  if (retentionMs !== undefined) configs["retention.ms"] = String(retentionMs);
  const cleanup = (env["TOPIC_CLEANUP"] ?? "").replaceAll(" ", "");
  if (cleanup !== "" && !CLEANUPS.includes(cleanup)) {
    problems.push(`TOPIC_CLEANUP is "${cleanup}"; it may be delete, compact or compact,delete.`);
  }
  if (cleanup !== "") configs["cleanup.policy"] = cleanup;
  const { TOPIC_PARTITIONS: partitions, TOPIC_REPLICATION: replicationFactor } = numbers;
  return { partitions, replicationFactor, configs };
}

/** What is odd about the topics to be created, though it works; null if nothing. */
export function topicWarning({ configs = {} }: TopicCreation): string | null {
  return retentionWarning("TOPIC_RETENTION_MS", Number(configs["retention.ms"] ?? FOREVER));
}

/** Tables as in `setup()`: `orders`, `sales.orders`, `sales."Order Items"`; a comma between two. */
export function readTables(env: Environment, problems: string[]): TableName[] {
  const text = env["TOPIC_TABLES"] ?? "";
  return splitTables(text).flatMap((name) => {
    const table = parseTableName(name);
    if (table === null) problems.push(`TOPIC_TABLES has "${name}"; each is table or schema.table.`);
    return table ?? [];
  });
}

/**
 * The tables that an event asks for; null when it leaves that to TOPIC_TABLES.
 *
 * @throws {ConfigError} naming each that is none
 */
export function tablesOfEvent(event: unknown): TableName[] | null {
  const { tables } = Object(event) as { tables?: unknown };
  if (tables === undefined) return null;
  const problems: string[] = [];
  const names = (Array.isArray(tables) ? tables : [tables]).flatMap((name: unknown) => {
    const table = typeof name === "string" ? parseTableName(name) : null;
    if (table !== null) return table;
    problems.push(
      `The event has the table ${JSON.stringify(name)}; it must be {"tables": ["products", "sales.orders"]}.`,
    );
    return [];
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return names;
}

/**
 * A table's name as SQL writes it, without a schema in `public`: what is not quoted is folded to
 * lower case.
 *
 * @returns null when it is no such name
 */
export function parseTableName(text: string): TableName | null {
  const part = '("(?:[^"]|"")+"|[\\p{L}_][\\p{L}\\p{N}_$]*)';
  const [, first, second] = new RegExp(`^${part}(?:\\.${part})?$`, "u").exec(text) ?? [];
  if (first === undefined) return null;
  const [schema, table] = second === undefined ? ["public", first] : [first, second];
  return { schema: unquote(schema), table: unquote(table) };
}

function splitTables(text: string): string[] {
  // A comma inside quotes is part of a name.
  const names = text.match(/(?:"(?:[^"]|"")*"|[^",])+/g) ?? [];
  return names.map((name) => name.trim()).filter(Boolean);
}

function unquote(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name.toLowerCase();
}

function readRetention(env: Environment, problems: string[]): number | undefined {
  const text = env["TOPIC_RETENTION_MS"] ?? "";
  if (text === "") return undefined;
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  const max = Number.MAX_SAFE_INTEGER;
  if (value === FOREVER || (value >= RETENTION_MS_MIN && value <= max)) return value;
  problems.push(
    `TOPIC_RETENTION_MS is "${text}"; it must be ${FOREVER} (forever), or a whole number from ` +
      `${RETENTION_MS_MIN} to ${max}.`,
  );
  return undefined;
}
