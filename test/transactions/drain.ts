/* A drain in miniature, as a process of its own: it carries a stream into Kafka by the protocol of
   the transactional producer, with a file in place of the database. */
import { randomUUID } from "node:crypto";
import { writeSync } from "node:fs";
import { ProduceError } from "../../functions/core/errors.ts";
import {
  createTransactionalProducer,
  type TransactionalSettings,
} from "../../functions/core/kafka/transactional.ts";
import { Journal, LeaseLost } from "./journal.ts";
import { batchOf, type Stream } from "./stream.ts";

/** Where the process stops itself, for the test to kill it or to let it go on. */
export interface Stop {
  batch: number;
  /** Once the batch is begun; at the time that the producer asks whether it may go on; or when the
   *  batch is in Kafka and not settled. */
  at: "begun" | number | "committed";
}

export interface Job {
  settings: TransactionalSettings;
  stream: Stream;
  journal: string;
  stop?: Stop;
}

/** In a row. More, and the process ends; the test starts another one. */
const FAILURES_MAX = 3;

const { settings, stream, journal: path, stop } = JSON.parse(process.argv[2]!) as Job;
const journal = new Journal(path, randomUUID());
const producer = createTransactionalProducer(settings);
let failures = 0;
let mustFence = true;

journal.append({ taken: true });
while (journal.settled < stream.batches) {
  try {
    if (mustFence) await fence();
    mustFence = false;
    if (journal.settled < stream.batches) await sendNext();
    failures = 0;
  } catch (error) {
    if (error instanceof LeaseLost) end("LEASE_LOST");
    if (!(error instanceof ProduceError)) throw error;
    mustFence = true;
    failures += 1;
    if (error.code === "FENCED" || failures > FAILURES_MAX) end(error.code);
    writeSync(1, `${error.code}\n`);
  }
}
await producer.close();
process.exit(0);

function end(reason: string): never {
  writeSync(1, `${reason}\n`);
  process.exit(1);
}

/** A batch that was begun is settled if it is in Kafka, and otherwise forgotten. */
async function fence(): Promise<void> {
  const last = await producer.fence();
  if (last !== null && !journal.knows(last.id)) throw new Error(`Batch ${last.id} is not ours.`);
  const { begun } = journal;
  if (begun !== null && begun.id === last?.id) journal.append({ settled: begun });
}

async function sendNext(): Promise<void> {
  const number = journal.settled + 1;
  const batch = { number: String(number), id: randomUUID() };
  journal.append({ begun: batch });
  stopAt(number, "begun");
  let asked = 0;
  const mayStart = () => {
    asked += 1;
    stopAt(number, asked);
    return true;
  };
  const { refused } = await producer.send(batchOf(stream, number), batch, { mayStart });
  if (refused.size > 0) throw new Error(`Kafka refused ${refused.size} messages.`);
  stopAt(number, "committed");
  journal.append({ settled: batch });
}

function stopAt(batch: number, at: Stop["at"]): void {
  if (stop?.batch !== batch || stop.at !== at) return;
  writeSync(1, "STOPPED\n");
  process.kill(process.pid, "SIGSTOP");
}
