import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory, once } from "./cache.ts";
import { type LocalBroker, launchBroker, waitUntilRegistered } from "./kafka-broker.ts";
import { isKafkaAvailable, javaCommand, kafkaJars } from "./kafka-files.ts";
import { brokerSettings, JAVA_ARGS } from "./kafka-settings.ts";
import { kafkaUuid } from "./kafka-uuid.ts";
import { freePort } from "./port.ts";
import { createTopic, kafkaClient, readTopic } from "./topics.ts";
import { scratchDirectory } from "./user.ts";

export type { LocalBroker } from "./kafka-broker.ts";
export { isKafkaAvailable, type KafkaAvailability } from "./kafka-files.ts";

/** Java writes the archive of its classes while it ends; on a busy machine that takes its time. */
const ARCHIVE_TIMEOUT_MS = 60_000;

export interface KafkaOptions {
  /** Default 1. With 3, topics have 3 replicas and `min.insync.replicas=2`. */
  brokers?: 1 | 3;
  /** Broker settings, over those of `brokerSettings` in kafka-settings.ts. */
  settings?: Record<string, string>;
  /** Java heap of each broker. Default 96: enough for tests; 512 for measurements. */
  heapMb?: number;
  /** More arguments for Java; the last of a kind counts. */
  javaArgs?: string[];
  /** More jars or directories with classes, for a broker-side plugin. */
  classPath?: string[];
  /**
   * Gets each broker's real port before it starts; returns the one that clients are told.
   * Put a proxy between them here. Default the real one. Brokers talk to each other directly.
   */
  advertise?: (port: number) => Promise<number>;
  /** Where the data is made. Default the system's temporary directory. */
  directory?: string;
  /** Leave the data when the cluster stops. Default false. */
  keep?: boolean;
  /** Of each broker, beside its log. Default `["data"]`. */
  dataDirectories?: readonly string[];
}

export interface LocalKafka {
  /** The advertised addresses, one per broker. */
  readonly bootstrap: string[];
  /** Numbered from 1. */
  readonly brokers: LocalBroker[];
  /** Kill all brokers and remove their data. Again: nothing. */
  stop(): Promise<void>;
}

/**
 * Start a Kafka of its own on 127.0.0.1, without authentication, in KRaft mode: each process is
 * a broker and a controller. Topics must be created; messages are kept whatever their timestamp.
 * All brokers are registered when the promise resolves; they end with this process at the latest.
 *
 * Side effects: the first call fetches the jars and archives the classes (about 20 s).
 * @throws with what is missing; with the end of a broker's log when it is not up within 60 s
 */
export async function startKafka(options: KafkaOptions = {}): Promise<LocalKafka> {
  const availability = await isKafkaAvailable();
  if (!availability.available) throw new Error(availability.reason);
  const archive = await classArchive();
  return await startCluster(options, archive ? [`-XX:SharedArchiveFile=${archive}`] : []);
}

async function startCluster(options: KafkaOptions, archiveArgs: string[]): Promise<LocalKafka> {
  const { brokers: count = 1, heapMb = 96, keep = false, dataDirectories = ["data"] } = options;
  const parent = options.directory ?? (await scratchDirectory());
  const clusterDirectory = mkdtempSync(join(parent, "pg2kafka-kafka-"));
  const classPath = [...(await kafkaJars()), ...(options.classPath ?? [])].join(":");
  const javaArgs = [`-Xmx${heapMb}m`, ...JAVA_ARGS, ...archiveArgs, ...(options.javaArgs ?? [])];
  const clusterId = kafkaUuid();
  const nodes = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const [client, broker, controller] = [await freePort(), await freePort(), await freePort()];
      const advertised = (await options.advertise?.(client)) ?? client;
      return { id: index + 1, ports: { client, broker, controller }, advertised };
    }),
  );
  const voters = nodes.map(({ id, ports }) => `${id}@127.0.0.1:${ports.controller}`).join(",");

  const brokers: LocalBroker[] = [];
  const stop = async () => {
    await Promise.all(brokers.map((broker) => broker.kill()));
    if (!keep) rmSync(clusterDirectory, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    for (const { id, ports, advertised } of nodes) {
      const settings = {
        ...brokerSettings(count, ports, advertised),
        "controller.quorum.voters": voters,
        ...options.settings,
      };
      const process = { java: javaCommand(), javaArgs: [...javaArgs, "-cp", classPath] };
      const place = { id, clusterId, clusterDirectory, dataDirectories, keep, ports };
      brokers.push(await launchBroker({ ...place, ...process, settings }));
    }
    const ids = nodes.map(({ id }) => id);
    await Promise.all(
      brokers.map((broker, index) => waitUntilRegistered(broker, nodes[index]!.ports.broker, ids)),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  const bootstrap = nodes.map(({ advertised }) => `127.0.0.1:${advertised}`);
  return { bootstrap, brokers, stop };
}

/**
 * An archive of the classes a broker loads, already parsed and linked: it halves the start. Made
 * by the exit of a broker that has done once what tests do. Java checks that it fits, and does
 * without it otherwise.
 *
 * @returns undefined where it was not made, as on a busy machine: a broker then starts more slowly
 */
async function classArchive(): Promise<string | undefined> {
  const jars = await kafkaJars();
  const id = createHash("sha256").update([javaCommand(), ...jars, ...JAVA_ARGS].join("\n"));
  const path = join(await cacheDirectory(), `kafka-classes-${id.digest("hex").slice(0, 12)}.jsa`);
  const made = once(path, async (draft) => {
    const cluster = await startCluster({}, [`-XX:ArchiveClassesAtExit=${draft}`]);
    try {
      await createTopic(cluster.bootstrap, "classes");
      const producer = kafkaClient(cluster.bootstrap).producer();
      await producer.connect();
      await producer.send({ topic: "classes", messages: [{ value: "" }] });
      await producer.disconnect();
      await readTopic(cluster.bootstrap, "classes");
      await Promise.all(cluster.brokers.map((broker) => broker.stop(ARCHIVE_TIMEOUT_MS)));
    } finally {
      await cluster.stop();
    }
  });
  return await made.catch(() => undefined);
}
