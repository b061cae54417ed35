import { topicName } from "./topic.ts";

/** A row of the queue. */
export interface QueueEvent {
  /** In decimal digits. */
  id: string;
  uuid: string;
  externalId: string | null;
  schema: string;
  table: string;
  /** INSERT, UPDATE, DELETE, SNAPSHOT or TRUNCATE. */
  statement: string;
  /** JSON text, passed through untouched: parsing would cost numbers their precision. Null is sent
   *  as JSON's null. */
  data: string | null;
  /** Microseconds since the epoch in decimal digits. */
  createdAtMicros: string;
  /** The number of the replay that sends it once more; null when it is sent for the first time. */
  replay: number | null;
}

/** A Kafka record before its partition is chosen. */
export interface Message {
  topic: string;
  /** The bytes of the external id; an empty id is an empty key, no id is null. */
  key: Buffer | null;
  /** JSON as pg2kafka writes it. */
  value: string;
  /** Of the value in UTF-8. */
  valueBytes: number;
  headers: Record<string, string>;
  /** Milliseconds since the epoch in decimal digits, as kafkajs takes them. */
  timestampMs: string;
  /** It goes to every partition of its topic. */
  broadcast: boolean;
  /** An upper bound, a few bytes above the truth, of its size in an uncompressed record batch. */
  bytes: number;
}

/** What all messages of a queue have in common. */
export interface MessageSettings {
  /** The queue's own uuid; with an event's uuid it tells repeats from copies of a database. */
  queueId: string;
  database: string;
  namespace?: string | undefined;
}

/** The statement that is about every key of its topic. */
export const TRUNCATE = "TRUNCATE";

/* The most that a record adds to its content, with the four headers' names and lengths.
   Record => Length Attributes TimestampDelta OffsetDelta KeyLength ValueLength HeaderCount
   @see https://kafka.apache.org/documentation/#record */
const RECORD_BYTES_MAX = 5 + 1 + 10 + 5 + 5 + 5 + 1;
const HEADER_LENGTHS_BYTES_MAX = 1 + 5;
const HEADER_NAMES = ["pg2kafka-uuid", "pg2kafka-queue", "pg2kafka-table", "pg2kafka-statement"];
const REPLAY_HEADER = "pg2kafka-replay";
/** A replay's number is a smallint. */
const REPLAY_BYTES_MAX = HEADER_LENGTHS_BYTES_MAX + REPLAY_HEADER.length + "32767".length;
const OVERHEAD_BYTES_MAX =
  RECORD_BYTES_MAX +
  HEADER_NAMES.reduce((sum, name) => sum + HEADER_LENGTHS_BYTES_MAX + name.length, 0);

/**
 * Make the function that turns a queue's events into messages. It is pure; it remembers the names
 * of each table, and the last `createdAtMicros`, which the events of a statement share.
 *
 * Value: `{"uuid","external_id","statement","data","created_at"}` in this order without spaces,
 * created_at in RFC 3339 as Go prints it. Key: the external id. Timestamp: created_at.
 * Headers: `pg2kafka-uuid`, `pg2kafka-queue`, `pg2kafka-table` (`schema.table`, quoted as in SQL
 * where that is needed), `pg2kafka-statement`.
 * A replay sends the same once more, with its number in one more header: `pg2kafka-replay`.
 * A TRUNCATE has no key, `{}` as its data, and goes to every partition.
 *
 * @example
 * const toMessage = messageFormat({ queueId, database: "shop_test" });
 * toMessage(event).topic; // "pg2kafka.shop_test.products"
 */
export function messageFormat(settings: MessageSettings): (event: QueueEvent) => Message {
  const { queueId } = settings;
  const tables = new Map<string, TableNames>();
  let createdAtMicros = "0";
  let createdAt = formatTime(0n);
  let timestampMs = formatMs(0n);

  return (event) => {
    const { uuid, statement, schema, table, replay } = event;
    if (event.createdAtMicros !== createdAtMicros) {
      createdAtMicros = event.createdAtMicros;
      const micros = BigInt(createdAtMicros);
      createdAt = formatTime(micros);
      timestampMs = formatMs(micros);
    }
    // No name in Postgres contains a NUL.
    const tableKey = `${schema}\0${table}`;
    let names = tables.get(tableKey);
    if (names === undefined) {
      names = nameTable(settings, schema, table);
      tables.set(tableKey, names);
    }

    const broadcast = statement === TRUNCATE;
    const externalId = broadcast ? null : event.externalId;
    const data = broadcast ? "{}" : event.data;
    const key = externalId === null ? null : Buffer.from(externalId);
    const value =
      `{"uuid":"${uuid}","external_id":${JSON.stringify(externalId)},"statement":"${statement}",` +
      `"data":${data},"created_at":"${createdAt}"}`;
    const valueBytes = Buffer.byteLength(value);
    const headers: Record<string, string> = {
      "pg2kafka-uuid": uuid,
      "pg2kafka-queue": queueId,
      "pg2kafka-table": names.header,
      "pg2kafka-statement": statement,
    };
    if (replay !== null) headers[REPLAY_HEADER] = String(replay);
    return {
      topic: names.topic,
      key,
      value,
      valueBytes,
      headers,
      timestampMs,
      broadcast,
      bytes:
        OVERHEAD_BYTES_MAX +
        (key?.length ?? 0) +
        valueBytes +
        uuid.length +
        queueId.length +
        names.headerBytes +
        statement.length +
        (replay === null ? 0 : REPLAY_BYTES_MAX),
    };
  };
}

interface TableNames {
  topic: string;
  header: string;
  headerBytes: number;
}

function nameTable(settings: MessageSettings, schema: string, table: string): TableNames {
  const { database, namespace } = settings;
  const header = `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
  return {
    topic: topicName({ namespace, database, schema, table }),
    header,
    headerBytes: Buffer.byteLength(header),
  };
}

function quoteIdentifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** As Go's time.RFC3339Nano in UTC: no trailing zeros, and no dot before an empty fraction. */
function formatTime(micros: bigint): string {
  const seconds = floorDivide(micros, 1_000_000n);
  const fraction = String(micros - seconds * 1_000_000n)
    .padStart(6, "0")
    .replace(/0+$/, "");
  const wholeSeconds = new Date(Number(seconds) * 1000).toISOString().slice(0, -".000Z".length);
  return fraction === "" ? `${wholeSeconds}Z` : `${wholeSeconds}.${fraction}Z`;
}

function formatMs(micros: bigint): string {
  return String(floorDivide(micros, 1000n));
}

/** BigInt division rounds towards zero, which would move times before 1970 forward. */
function floorDivide(dividend: bigint, divisor: bigint): bigint {
  const quotient = dividend / divisor;
  return dividend < 0n && quotient * divisor !== dividend ? quotient - 1n : quotient;
}
