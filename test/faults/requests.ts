/** Kinds of Kafka's requests, by their number. @see https://kafka.apache.org/protocol#protocol_api_keys */
const KAFKA_REQUESTS = { produce: 0, "end transaction": 26 } as const;

export type KafkaRequest = keyof typeof KAFKA_REQUESTS;

/** Whether what a client sends to Kafka begins with such a request: its size, then its kind. */
export function isKafka(kind: KafkaRequest): (bytes: Buffer) => boolean {
  return (bytes) => bytes.length >= 8 && bytes.readInt16BE(4) === KAFKA_REQUESTS[kind];
}

/** Whether a client asks Postgres for something with this in its text. */
export function isQuery(part: string): (bytes: Buffer) => boolean {
  return (bytes) => bytes.includes(part);
}
