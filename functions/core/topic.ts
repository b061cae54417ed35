/** Where a table's events go. Names are as Postgres stores them: unquoted, case kept. */
export interface TopicParts {
  /** Put before the database when given. */
  namespace?: string | undefined;
  database: string;
  schema: string;
  table: string;
}

/** @see https://github.com/apache/kafka/blob/4.1/clients/src/main/java/org/apache/kafka/common/internals/Topic.java */
const TOPIC_CHARACTERS_MAX = 249;

const PLAIN = /^[A-Za-z0-9_]*$/;
const ALLOWED_BY_KAFKA = /^[A-Za-z0-9._-]*$/;

/**
 * The topic of a table: `pg2kafka.[namespace.]database.table` for the schema public, as pg2kafka
 * has it, and `pg2kafka.[namespace.]database.schema.table` for any other.
 *
 * Within one database and namespace no two tables share a topic: in schema and table every byte
 * (UTF-8) outside [A-Za-z0-9_] is written `-HH` in upper-case hex, so a dot only ever separates.
 * Database and namespace keep all that Kafka allows, as pg2kafka leaves them.
 *
 * @returns a name that may still be too long for Kafka: see `topicProblem`
 */
export function topicName({ namespace, database, schema, table }: TopicParts): string {
  const parts = ["pg2kafka"];
  if (namespace) parts.push(escapeBytes(namespace, ALLOWED_BY_KAFKA));
  parts.push(escapeBytes(database, ALLOWED_BY_KAFKA));
  if (schema !== "public") parts.push(escapeBytes(schema, PLAIN));
  parts.push(escapeBytes(table, PLAIN));
  return parts.join(".");
}

/** What a lane's transactions are called in Kafka. */
export interface TransactionNames {
  transactionalId: string;
  groupId: string;
  /** Holds notes as offsets, and no message. */
  markerTopic: string;
}

/** Names that begin as the installation's topics do, and are none: no table has `--` in its own. */
export function transactionNames(
  { namespace, database }: Pick<TopicParts, "namespace" | "database">,
  lane: number,
): TransactionNames {
  const prefix = topicName({ namespace, database, schema: "public", table: "" });
  const ofLane = `${prefix}--lane-${lane}`;
  return { transactionalId: ofLane, groupId: ofLane, markerTopic: `${prefix}--batches` };
}

/** What keeps Kafka from accepting a topic's name, as a sentence with the bound; null if nothing. */
export function topicProblem(topic: string): string | null {
  if (topic.length < 1 || topic.length > TOPIC_CHARACTERS_MAX) {
    return `Topic "${topic}" has ${topic.length} characters; Kafka allows 1 to ${TOPIC_CHARACTERS_MAX}.`;
  }
  if (topic === "." || topic === "..") return `Kafka does not allow the topic name "${topic}".`;
  if (!ALLOWED_BY_KAFKA.test(topic)) {
    return `Topic "${topic}" has characters outside [A-Za-z0-9._-], which Kafka does not allow.`;
  }
  return null;
}

function escapeBytes(name: string, kept: RegExp): string {
  if (kept.test(name)) return name;
  const bytes = [...Buffer.from(name)].map((byte) => {
    const character = String.fromCharCode(byte);
    if (kept.test(character)) return character;
    return `-${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  });
  return bytes.join("");
}
