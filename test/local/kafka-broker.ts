import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Child, logTail, startChild } from "./child.ts";
import type { BrokerPorts } from "./kafka-settings.ts";
import { kafkaUuid } from "./kafka-uuid.ts";
import { kafkaClient } from "./topics.ts";

const READY_TIMEOUT_MS = 120_000;

export interface BrokerOptions {
  id: number;
  clusterId: string;
  /** The cluster's directory; the broker's own is made in it. Removed if this process dies. */
  clusterDirectory: string;
  keep: boolean;
  /** Names of the directories for its partitions, in its own; the first is for the metadata, too. */
  dataDirectories: readonly string[];
  /** Ports of 127.0.0.1, one per listener. */
  ports: BrokerPorts;
  settings: Record<string, string>;
  java: string;
  javaArgs: string[];
}

export interface LocalBroker {
  readonly id: number;
  /** Where the broker listens for clients. */
  readonly port: number;
  /** Where it listens for other brokers: without authentication, whatever clients need. */
  readonly internalPort: number;
  /** Another one after each start. */
  readonly pid: number;
  readonly logFile: string;
  isRunning(): boolean;
  /** SIGKILL, and wait until the process is gone. The data stays. */
  kill(): Promise<void>;
  /** Start it again on the same ports and data; resolves when it knows itself registered. */
  start(): Promise<void>;
  /** Shut down in order: leaders move first. The data stays. Killed after `timeoutMs`, or 10 s. */
  stop(timeoutMs?: number): Promise<void>;
}

/**
 * Format a broker's directories and start its process, without waiting for the cluster.
 * `StorageTool` would take a second of Java for the four lines of meta.properties.
 */
export async function launchBroker(options: BrokerOptions): Promise<LocalBroker> {
  const { id, ports } = options;
  const directory = join(options.clusterDirectory, String(id));
  const dataDirectories = options.dataDirectories.map((name) => join(directory, name));
  const settingsFile = join(directory, "server.properties");
  const logFile = join(directory, "broker.log");
  for (const data of dataDirectories) {
    const meta = {
      version: "1",
      "cluster.id": options.clusterId,
      "node.id": String(id),
      "directory.id": kafkaUuid(),
    };
    mkdirSync(data, { recursive: true });
    writeFileSync(join(data, "meta.properties"), properties(meta));
  }
  const settings = {
    ...options.settings,
    "node.id": String(id),
    "log.dirs": dataDirectories.join(),
  };
  writeFileSync(settingsFile, properties(settings));

  const launch = (): Promise<Child> =>
    startChild({
      command: options.java,
      args: [...options.javaArgs, "kafka.Kafka", settingsFile],
      cwd: directory,
      env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
      logFile,
      orphanSignal: "KILL",
      orphanDirectory: options.keep ? undefined : options.clusterDirectory,
    });
  let child = await launch();
  const broker: LocalBroker = {
    id,
    port: ports.client,
    internalPort: ports.broker,
    logFile,
    get pid() {
      return child.pid;
    },
    isRunning: () => child.isRunning(),
    kill: () => child.stop([]),
    stop: (timeoutMs) => child.stop(["SIGTERM"], timeoutMs),
    async start() {
      if (child.isRunning()) return;
      child = await launch();
      await waitUntilRegistered(broker, ports.broker, [id]);
    },
  };
  return broker;
}

/**
 * Wait until the broker answers and lists all of `ids` as live brokers with a controller.
 *
 * @throws with the end of the broker's log after two minutes, or when its process has ended
 */
export async function waitUntilRegistered(
  broker: LocalBroker,
  port: number,
  ids: number[],
): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    const admin = kafkaClient([`127.0.0.1:${port}`]).admin();
    try {
      await admin.connect();
      const { brokers, controller } = await admin.describeCluster();
      const live = new Set(brokers.map(({ nodeId }) => nodeId));
      if (controller !== null && ids.every((id) => live.has(id))) return;
    } catch (cause) {
      if (!broker.isRunning() || Date.now() > deadline) {
        const text = `Kafka broker ${broker.id} did not start:\n${logTail(broker.logFile)}`;
        throw new Error(text, { cause });
      }
    } finally {
      await admin.disconnect();
    }
    if (Date.now() > deadline) {
      throw new Error(
        `Kafka broker ${broker.id} does not see brokers ${ids} after ${READY_TIMEOUT_MS} ms.`,
      );
    }
    await sleep(20);
  }
}

function properties(values: Record<string, string>): string {
  const lines = Object.entries(values).map(([key, value]) => {
    return `${key}=${value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`;
  });
  return lines.join("");
}
