import { Kafka, logLevel } from "kafkajs";
import { iamSecurity } from "./sasl.ts";
import type { ConnectionSettings } from "./settings.ts";

/**
 * kafkajs without its logs and its own retries: those report success for what was never sent when
 * a leader moves meanwhile. It does not connect yet.
 *
 * @param turn which of the brokers is asked first: after a failure, another one
 */
export function kafkaClient(settings: ConnectionSettings, turn: number): Kafka {
  const { brokers, ssl, sasl, iam } = settings;
  const first = turn % brokers.length;
  return new Kafka({
    brokers: [...brokers.slice(first), ...brokers.slice(0, first)],
    clientId: settings.clientId,
    connectionTimeout: settings.connectionTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    // A session is renewed before it ends by what a request may take to get there. One that is
    // shorter than this cannot be kept: the broker takes no renewal at once.
    reauthenticationThreshold: settings.requestTimeoutMs,
    retry: { retries: 0 },
    logLevel: logLevel.NOTHING,
    ...(ssl && { ssl }),
    ...(sasl && { sasl }),
    ...(iam && iamSecurity(iam)),
  });
}
