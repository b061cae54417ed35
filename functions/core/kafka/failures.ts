/** Why Kafka does not take a message, when sending it again as it is would not help now. */
export interface Refusal {
  /** Kafka's name of the error, or TOPIC_MISSING, TOPIC_NOT_CREATED, BEHIND_REFUSED. */
  code: string;
  /** For people: what happened, the bound, the way out. Never holds data or a key. */
  reason: string;
  /** What waits behind it: later events of the same key, or all of the topic. */
  scope: "key" | "topic";
  /** True when the message may be taken later as it is, once somebody has acted. */
  retriable: boolean;
}

/**
 * What to do about a failed request:
 * - `message`: one of its messages is refused; find it
 * - `topic`: its topic is refused
 * - `missing`: the topic does not exist, or the broker has not heard of it yet
 * - `later`: make new connections, learn where the leaders are, try again
 * - `timeout`: as `later`, but one try takes as long as a batch may
 * - `authentication`: nothing can be sent until somebody acts
 */
export type FailureKind = "message" | "topic" | "missing" | "later" | "timeout" | "authentication";

/** A failed request, by its innermost cause. */
export interface Failure {
  kind: FailureKind;
  /** Kafka's name of the error, or the client's or the system's. */
  type: string;
  cause: unknown;
}

/** kafkajs reported success, but its answer lacks a partition: nothing was sent to it. */
export class NotAcknowledged extends Error {
  override readonly name = "NotAcknowledged";

  constructor() {
    super("Kafka's answer lacks a partition that has messages: its leader is not known.");
  }
}

/* Not listed is `later`: what we do not know must not park an event. */
const KINDS: Record<string, FailureKind> = {
  MESSAGE_TOO_LARGE: "message",
  RECORD_LIST_TOO_LARGE: "message",
  INVALID_TIMESTAMP: "message",
  INVALID_RECORD: "message",
  // What brokers before 2.4 say of a record without key in a compacted topic.
  CORRUPT_MESSAGE: "message",
  UNSUPPORTED_FOR_MESSAGE_FORMAT: "message",

  TOPIC_AUTHORIZATION_FAILED: "topic",
  CLUSTER_AUTHORIZATION_FAILED: "topic",
  INVALID_TOPIC_EXCEPTION: "topic",
  POLICY_VIOLATION: "topic",
  UNKNOWN_TOPIC_OR_PARTITION: "missing",

  KafkaJSRequestTimeoutError: "timeout",
  KafkaJSLockTimeout: "timeout",

  KafkaJSSASLAuthenticationError: "authentication",
  SASL_AUTHENTICATION_FAILED: "authentication",
  UNSUPPORTED_SASL_MECHANISM: "authentication",
  NO_CREDENTIALS: "authentication",
};

/* Besides KINDS: what makes the creation of a topic fail for good. */
const CREATION_REFUSED = new Set([
  "INVALID_CONFIG",
  "INVALID_PARTITIONS",
  "INVALID_REPLICATION_FACTOR",
]);

const WAYS_OUT: Record<string, string> = {
  MESSAGE_TOO_LARGE: "Raise max.message.bytes of the topic, or make the row smaller.",
  RECORD_LIST_TOO_LARGE: "Raise max.message.bytes of the topic, or make the row smaller.",
  INVALID_TIMESTAMP:
    "Raise message.timestamp.before.max.ms or message.timestamp.after.max.ms of the topic.",
  INVALID_RECORD:
    "A compacted topic takes no message without a key: give the row an external id, or set " +
    "cleanup.policy=delete.",
  INVALID_TOPIC_EXCEPTION:
    "Kafka holds names for the same that differ only in dots and underscores: look for such a topic.",
  TOPIC_AUTHORIZATION_FAILED:
    "Grant Describe and Write on the topic, and Create to create it (in IAM: " +
    "kafka-cluster:DescribeTopic, WriteData, CreateTopic; the topics are those of TOPIC_NAMESPACE).",
  CLUSTER_AUTHORIZATION_FAILED:
    "Grant the right that Kafka asks for on the cluster (in IAM: kafka-cluster:DescribeCluster).",
};

/**
 * Classify what kafkajs threw. Only the innermost cause counts: the outer error's `retriable`
 * says that kafkajs has given up, not whether Kafka would take the message.
 */
export function classify(error: unknown): Failure {
  const cause = innermost(error);
  const type = typeOf(cause);
  return { kind: KINDS[type] ?? "later", type, cause };
}

/** Whether an attempt to create a topic was answered with a no, rather than not answered. */
export function isCreationRefused({ kind, type }: Failure): boolean {
  return kind === "topic" || CREATION_REFUSED.has(type);
}

/** Whether a record batch was too large, or a message. */
export function isTooLarge({ type }: Failure): boolean {
  return type === "MESSAGE_TOO_LARGE" || type === "RECORD_LIST_TOO_LARGE";
}

/** The refusal of one message, or of a topic, as Kafka put it. */
export function refusedByKafka({ kind, type }: Failure, topic: string): Refusal {
  const what = kind === "message" ? "a message for topic" : "all messages for topic";
  return {
    code: type,
    reason: `Kafka refused ${what} "${topic}": ${type}. ${WAYS_OUT[type] ?? ""}`.trimEnd(),
    scope: kind === "message" ? "key" : "topic",
    retriable: type.endsWith("_AUTHORIZATION_FAILED"),
  };
}

/** The refusal of a message that we know to be too large, before anything is sent. */
export function tooLarge(topic: string, bytes: number, bytesMax: number): Refusal {
  return {
    code: "MESSAGE_TOO_LARGE",
    reason:
      `A message for topic "${topic}" has ${bytes} bytes; the bound is ${bytesMax}. ` +
      "Raise it together with max.message.bytes of the topic, or make the row smaller.",
    scope: "key",
    retriable: false,
  };
}

/** The refusal of a topic that does not exist and is not to be created. */
export function topicMissing(topic: string): Refusal {
  return {
    code: "TOPIC_MISSING",
    reason: `Topic "${topic}" does not exist. Create it, or allow its creation.`,
    scope: "topic",
    retriable: true,
  };
}

/** The refusal of a topic that could not be created. */
export function topicNotCreated({ type }: Failure, topic: string): Refusal {
  return {
    code: "TOPIC_NOT_CREATED",
    reason:
      `Topic "${topic}" does not exist, and Kafka refused to create it: ${type}. ` +
      (WAYS_OUT[type] ??
        "Create it by hand, or mend TOPIC_PARTITIONS, TOPIC_REPLICATION, TOPIC_RETENTION_MS or TOPIC_CLEANUP."),
    scope: "topic",
    retriable: true,
  };
}

/** The refusal of a topic whose name Kafka does not allow. `problem` is a sentence. */
export function topicInvalid(problem: string): Refusal {
  return {
    code: "INVALID_TOPIC_EXCEPTION",
    reason: `${problem} Rename the table, or set a shorter namespace.`,
    scope: "topic",
    retriable: false,
  };
}

/** The refusal of a message that keeps its place behind a refused one. It was not sent. */
export function behindRefused(topic: string, scope: Refusal["scope"]): Refusal {
  const first = scope === "key" ? "an earlier message with the same key" : "an earlier message";
  return {
    code: "BEHIND_REFUSED",
    reason: `Not sent: ${first} for topic "${topic}" was refused. Mend that one first.`,
    scope,
    retriable: true,
  };
}

function innermost(error: unknown): unknown {
  let inner = error;
  // An error may be its own cause; none is nested this deep.
  for (let depth = 0; depth < 10; depth++) {
    const { cause, errors } = inner as { cause?: unknown; errors?: unknown[] };
    const next = cause ?? errors?.[0];
    if (!(next instanceof Error)) break;
    inner = next;
  }
  return inner;
}

function typeOf(error: unknown): string {
  if (!(error instanceof Error)) return "UNKNOWN";
  const { type, code } = error as { type?: unknown; code?: unknown };
  if (typeof type === "string") return type;
  return typeof code === "string" ? code : error.name;
}
