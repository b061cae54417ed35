import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { useKafka } from "../support/kafka.ts";
import type { Job, Stop } from "./drain.ts";
import { Journal } from "./journal.ts";
import { startDrain } from "./process.ts";
import { batchOf, countStream } from "./stream.ts";
import { newBatch, newTopic, producerFor, settingsFor } from "./support.ts";

const cluster = useKafka();
const NOTHING_WRONG = { lost: 0, repeated: 0, inverted: 0, misplaced: 0 };

/** A stream of three batches, on a topic of two partitions. */
async function newJob(): Promise<Job> {
  const topic = newTopic();
  await createTopic(cluster.brokers, topic, { partitions: 2 });
  const directory = mkdtempSync(join(tmpdir(), "pg2kafka-transactions-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return {
    // Longer than the test: only a fence ends what a process leaves open.
    settings: settingsFor(cluster.brokers, { transactionTimeoutMs: 600_000 }),
    stream: { topics: [topic], keys: 10, batches: 3, eventsPerBatch: 50 },
    journal: join(directory, "journal"),
  };
}

/** At the second batch. The producer asks before an attempt, before each request, and before the
 *  commit: with one request, the third time. */
const STOPS: [string, Stop["at"], number][] = [
  ["before it is sent", "begun", 1],
  ["between its request and the commit", 3, 1],
  ["between the commit and settling it", "committed", 2],
];

describe("a process that sends batches in transactions", () => {
  test.each(STOPS)(
    "is killed %s: what it began is in Kafka wholly or not at all, and the next one knows",
    async (_, at, committed) => {
      const job = await newJob();
      const first = startDrain({ ...job, stop: { batch: 2, at } });
      await first.stopped();
      first.kill("SIGKILL");
      await first.ended;
      const { begun } = new Journal(job.journal);
      expect(begun?.number).toBe("2");

      const last = await producerFor(job.settings).fence();
      expect(last?.number).toBe(String(committed));
      expect(last?.id === begun?.id).toBe(committed === 2);
      const batches = { ...job.stream, batches: committed };
      const { read, ...wrong } = await countStream(cluster.brokers, batches);
      expect(wrong).toEqual(NOTHING_WRONG);
      expect(read).toBe(committed * 50);

      const { code, output } = await startDrain(job).ended;
      expect(code, output).toBe(0);
      const all = await countStream(cluster.brokers, job.stream);
      expect(all).toEqual({ read: 150, ...NOTHING_WRONG });
    },
  );

  test("is frozen before its commit while another takes over, and thawed: it commits nothing", async () => {
    const job = await newJob();
    const zombie = startDrain({ ...job, stop: { batch: 2, at: 3 } });
    await zombie.stopped();
    const producer = producerFor(job.settings);
    await producer.fence();
    await producer.send(batchOf(job.stream, 2), newBatch(2));
    zombie.kill("SIGCONT");
    const { code, output } = await zombie.ended;
    expect(output).toContain("FENCED");
    expect(code).toBe(1);
    await producer.send(batchOf(job.stream, 3), newBatch(3));
    const all = await countStream(cluster.brokers, job.stream);
    expect(all).toEqual({ read: 150, ...NOTHING_WRONG });
  });
});
