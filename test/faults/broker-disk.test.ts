import { mkdtempSync, readFileSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, test } from "vitest";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import { useDatabase, waitFor } from "../support/database.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { mayMount, moveToSmallDisk, type SmallDisk } from "./small-disk.ts";
import { type Fault, FEWER_MODES, runTrial } from "./trial.ts";

const TIMES = ofSize({ short: 1, long: 2 });
const DISK_MB = 48;
/** For a broker to find its disk full, and to end. */
const NOTICE_MS = 30_000;
const AWAY_MS_MAX = ofSize({ short: 1_000, long: 5_000 });
const CATCH_UP_MS = 1_500;

const scratch = mkdtempSync(join(tmpdir(), "pg2kafka-mount-"));
const isPossible = await mayMount(scratch);
rmdirSync(scratch);

const server = useDatabase();
/** With the metadata, which a broker cannot do without; and with partitions only. */
const DIRECTORIES = ["data", "more"] as const;
/** By broker and directory. */
const disks: Record<(typeof DIRECTORIES)[number], SmallDisk>[] = [];
let kafka: LocalKafka;

beforeAll(async () => {
  if (!isPossible) return;
  kafka = await startKafka({ brokers: 3, dataDirectories: DIRECTORIES });
  for (const broker of kafka.brokers) {
    await broker.kill();
    const move = (name: string) => moveToSmallDisk(join(dirname(broker.logFile), name), DISK_MB);
    disks.push({ data: await move("data"), more: await move("more") });
    await broker.start();
  }
});
afterAll(async () => {
  for (const broker of kafka?.brokers ?? []) await broker.kill();
  for (const { data, more } of disks) await Promise.all([data.remove(), more.remove()]);
  await kafka?.stop();
});

/** A broker that has no room for its metadata ends itself; those that follow it go on. */
const diskFull: Fault = async ({ random }) => {
  const index = random(kafka.brokers.length);
  const [broker, disk] = [kafka.brokers[index]!, disks[index]!.data];
  disk.fill();
  await waitFor(() => !broker.isRunning(), { timeoutMs: NOTICE_MS });
  await sleep(random(AWAY_MS_MAX));
  disk.free();
  await broker.start();
  await sleep(CATCH_UP_MS);
  return readFileSync(broker.logFile, "utf8").includes("No space left on device");
};

/** A broker that has no room for some partitions goes on without them, and answers KAFKA_STORAGE_ERROR
 *  until others lead them. It takes them up again when it is started anew. */
const oneOfTwoFull: Fault = async ({ random }) => {
  const index = random(kafka.brokers.length);
  const [broker, disk] = [kafka.brokers[index]!, disks[index]!.more];
  const log = () => readFileSync(broker.logFile, "utf8");
  const before = log().length;
  disk.fill();
  await waitFor(() => log().includes("Stopping serving logs in dir", before), {
    timeoutMs: NOTICE_MS,
  });
  await sleep(random(AWAY_MS_MAX));
  const isRunning = broker.isRunning();
  disk.free();
  await broker.kill();
  await broker.start();
  await sleep(CATCH_UP_MS);
  return isRunning;
};

// Only a superuser mounts.
test.runIf(isPossible).each(FEWER_MODES)(
  `brokers' disks are full, $delivery, lanes: $lanes (seed ${SEED})`,
  async (mode) => {
    await runTrial({
      ...mode,
      database: server.database,
      brokers: kafka.bootstrap,
      times: TIMES,
      faults: { "disk full": diskFull, "one of two disks full": oneOfTwoFull },
    });
  },
);
