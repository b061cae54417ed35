import type { KafkaConfig } from "kafkajs";
import type { Compression } from "./compression.ts";
import type { IamSettings } from "./sasl.ts";

/** How to reach a cluster. */
export interface ConnectionSettings {
  /** Bootstrap addresses, `host:port`. */
  brokers: string[];
  /** What brokers see in their logs and quotas. */
  clientId: string;
  /** How long a broker may take to answer. It also bounds how long a send waits for replicas. */
  requestTimeoutMs: number;
  connectionTimeoutMs: number;
  ssl?: NonNullable<KafkaConfig["ssl"]>;
  sasl?: NonNullable<KafkaConfig["sasl"]>;
  /** TLS and MSK's IAM authentication, in place of `ssl` and `sasl`. */
  iam?: IamSettings | null;
}

export interface ProducerSettings extends ConnectionSettings {
  /** The most that a request carries, unless a single message is larger; before compression. At
   *  most the topics' `max.message.bytes`, or every request is refused first and sent in halves. */
  requestBytesMax: number;
  /** What a message may have, as a record batch of its own and before compression. */
  messageBytesMax: number;
  /** How to create topics that do not exist; without it their messages are refused. */
  createTopics?: TopicCreation | null;
  /** Default none. */
  compression?: Compression;
}

export interface TopicCreation {
  partitions: number;
  /** -1 for the cluster's default. */
  replicationFactor: number;
  /** Topic settings, such as `max.message.bytes`. */
  configs?: Record<string, string>;
}
