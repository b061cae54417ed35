import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import { basename } from "node:path";
import type { Sql } from "postgres";
import { kafkaJars } from "../test/local/kafka-files.ts";
import { POSTGRES_SETTINGS } from "./database.ts";
import { formatNumber } from "./report.ts";

/** What a reader needs to place the figures, as Markdown. */
export async function describeMachine(sql: Sql, usesKafka: boolean): Promise<string> {
  const [postgres] = await sql<{ version: string }[]>`
    select current_setting('server_version') as version`;
  const settings = Object.entries(POSTGRES_SETTINGS).map(([key, value]) => `${key}=${value}`);
  const versions = [
    `Postgres ${postgres?.version ?? "?"} (${settings.join(", ")})`,
    usesKafka ? `Kafka ${await kafkaVersion()} (one broker, 512 MB heap, acks=all)` : "",
    `Node ${process.versions.node}`,
    `kafkajs ${packageVersion("kafkajs")}`,
    `postgres.js ${packageVersion("postgres")}`,
  ];
  const memory = formatNumber(totalmem() / 2 ** 30);
  return [
    `- ${new Date().toISOString().slice(0, 10)}`,
    `- ${availableParallelism()} cores, ${cpus()[0]?.model.trim() ?? "?"}, ${memory} GB, shared by all of it`,
    `- ${versions.filter(Boolean).join("; ")}`,
  ].join("\n");
}

/** How much the machine does besides; to be asked before anything is started. */
export function describeLoad(): string {
  const load = loadavg()[0]!;
  const isNoisy = load > 0.3;
  return (
    `- load before the run: ${formatNumber(load, 2)}` +
    (isNoisy ? ": **the machine was shared with other work; read the ratios, not the rates**" : "")
  );
}

async function kafkaVersion(): Promise<string> {
  const jars = (await kafkaJars()).map((jar) => basename(jar));
  return jars.map((jar) => /^kafka-clients-([\d.]+)\.jar$/.exec(jar)?.[1]).find(Boolean) ?? "?";
}

function packageVersion(name: string): string {
  const url = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(url, "utf8")) as { version: string }).version;
}
