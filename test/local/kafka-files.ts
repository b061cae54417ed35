import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { cacheDirectory, once } from "./cache.ts";
import { runMaven } from "./maven.ts";

const run = promisify(execFile);

const POM = fileURLToPath(new URL("./kafka.pom.xml", import.meta.url));
const JARS = "kafka-4.1.1";

/** What the brokers of Kafka 4 are compiled for. */
const JAVA_MIN = 17;

/** Whether `startKafka` can work here; `reason` says what is missing and what to install. */
export type KafkaAvailability = { available: true } | { available: false; reason: string };

/** Look for Java 17 or newer and for the broker's jars, or Maven to fetch them. Starts nothing. */
export async function isKafkaAvailable(): Promise<KafkaAvailability> {
  const version = await javaVersion();
  if (version === undefined || version < JAVA_MIN) {
    const found = version === undefined ? "there is none" : `it is ${version}`;
    const reason = `Kafka needs Java ${JAVA_MIN} or newer, and ${found}. Install a JRE.`;
    return { available: false, reason };
  }
  if (existsSync(join(await cacheDirectory(), JARS)) || isOnPath("mvn")) return { available: true };
  const reason = "Kafka's jars are not in the cache, and there is no mvn to fetch them.";
  return { available: false, reason };
}

/** The java command: of JAVA_HOME when that is set, otherwise the one on the PATH. */
export function javaCommand(): string {
  const home = process.env["JAVA_HOME"];
  return home ? join(home, "bin", "java") : "java";
}

/**
 * The broker's jars, as absolute paths in a fixed order.
 *
 * Side effect: the first call fetches them (44 MB) with Maven, from where Maven is set up to.
 * @throws with Maven's output when that fails
 */
export async function kafkaJars(): Promise<string[]> {
  const cache = await cacheDirectory();
  const directory = await once(join(cache, JARS), async (draft) => {
    mkdirSync(draft);
    const goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"];
    await runMaven("Kafka", POM, [...goal, `-DoutputDirectory=${draft}`]);
  });
  const jars = readdirSync(directory).filter((name) => name.endsWith(".jar"));
  return jars.sort().map((name) => join(directory, name));
}

async function javaVersion(): Promise<number | undefined> {
  try {
    const { stderr } = await run(javaCommand(), ["-version"], { timeout: 120_000 });
    return Number(/version "(\d+)/.exec(stderr)?.[1]);
  } catch {
    return undefined;
  }
}

function isOnPath(command: string): boolean {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  return directories.some((directory) => existsSync(join(directory, command)));
}
