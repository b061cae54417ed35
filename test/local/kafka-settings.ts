/** Ports of 127.0.0.1, one per listener of a broker. */
export interface BrokerPorts {
  /** Listener CLIENT. */
  client: number;
  /** Listener BROKER: between brokers, and for the readiness check. */
  broker: number;
  /** Listener CONTROLLER: the KRaft quorum. */
  controller: number;
}

/** Java without what pays off only in processes that run for long. */
export const JAVA_ARGS = [
  "-XX:+UseSerialGC",
  "-XX:TieredStopAtLevel=1",
  "-XX:-UsePerfData",
  "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
  "-Dorg.slf4j.simpleLogger.showDateTime=true",
];

/**
 * The settings of a broker that starts quickly, uses little memory, and fails over quickly.
 *
 * @param brokers how many there are
 * @param advertisedPort what clients are told instead of `ports.client`
 */
export function brokerSettings(
  brokers: 1 | 3,
  ports: BrokerPorts,
  advertisedPort: number,
): Record<string, string> {
  const replicas = String(brokers);
  const replicasMin = brokers === 3 ? "2" : "1";
  return {
    "process.roles": "broker,controller",
    listeners: [
      `CLIENT://127.0.0.1:${ports.client}`,
      `BROKER://127.0.0.1:${ports.broker}`,
      `CONTROLLER://127.0.0.1:${ports.controller}`,
    ].join(),
    "advertised.listeners": [
      `CLIENT://127.0.0.1:${advertisedPort}`,
      `BROKER://127.0.0.1:${ports.broker}`,
    ].join(),
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",

    "default.replication.factor": replicas,
    "min.insync.replicas": replicasMin,
    "offsets.topic.replication.factor": replicas,
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": replicas,
    "transaction.state.log.min.isr": replicasMin,
    "transaction.state.log.num.partitions": "1",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",

    // A killed broker's partitions have new leaders after 3 s instead of 9.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",

    // Nothing is deleted: neither by age, where tests set timestamps, nor by size.
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "log.segment.bytes": String(64 * 1024 * 1024),
    "log.index.size.max.bytes": String(1024 * 1024),
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.io.buffer.size": "65536",
    "num.network.threads": "1",
    "num.io.threads": "2",
  };
}
