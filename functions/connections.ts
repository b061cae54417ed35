import type { Sql } from "postgres";
import { topicWarning } from "./core/config/topics.ts";
import type { Config } from "./core/config.ts";
import { requireBrokers } from "./core/drain.ts";
import { DatabaseError } from "./core/errors.ts";
import { describeFailure } from "./core/failure.ts";
import { createProducer, type OpenableProducer } from "./core/kafka/producer.ts";
import { log } from "./core/log.ts";
import { connectDatabase } from "./core/postgres/database.ts";
import { explainFailure } from "./core/postgres/failures.ts";
import { readSchema, type Schema } from "./core/postgres/schema.ts";
import { lambdaConfig, sqlFolder } from "./lambda.ts";

/** What outlives an invocation: connections are kept while the Lambda is warm. */
export interface Connections {
  config: Config;
  schema: Schema;
  sql: Sql;
  producer: OpenableProducer;
}

/** After this long without use, connections are made anew: what lies between drops idle ones without
 *  a word (AWS' networks after 350 s), and a request into such a one is not answered. */
const IDLE_MS_MAX = 240_000;

/** On the connections that were kept, and on new ones. */
const ATTEMPTS_MAX = 2;

let kept: Connections | undefined;
/** By the clock that goes on while the process is frozen. */
let usedAtMs = 0;

/**
 * Work on the connections that are kept, or on new ones, which are kept then, unless the work fails.
 * Where kept ones turn out dead, or the secret names another user, the work is done once more, on new ones.
 *
 * @param signal the invocation was given up; what is kept by then is another one's
 * @throws what the work throws, explained where it is about the database
 */
export async function withConnections<Result>(
  signal: AbortSignal,
  work: (connections: Connections) => Promise<Result>,
): Promise<Result> {
  if (Date.now() - usedAtMs > IDLE_MS_MAX) discardConnections();
  try {
    for (let attempt = 1; ; attempt++) {
      const isKept = kept !== undefined;
      try {
        return await work(kept ?? (await connect(signal)));
      } catch (error) {
        signal.throwIfAborted();
        const failure = kept ? explainFailure(error, kept.config.database) : error;
        // Also where it does not look like theirs: they may lead to a server that is a standby by now.
        discardConnections();
        if (attempt === ATTEMPTS_MAX || !endsWithConnection(failure, isKept)) throw failure;
        log("warn", "connecting anew", describeFailure(failure));
      }
    }
  } finally {
    if (!signal.aborted) usedAtMs = Date.now();
  }
}

/** Let go of the connections, whatever they are doing. */
export function discardConnections(): void {
  if (kept) close(kept);
  kept = undefined;
}

/** Whether a failure is about connections that were kept, and so may not come again on new ones. */
function endsWithConnection(failure: unknown, isKept: boolean): boolean {
  if (!(failure instanceof DatabaseError)) return false;
  const { code } = failure;
  return code === "DATABASE_USER_CHANGED" || (isKept && code === "DATABASE_UNREACHABLE");
}

async function connect(signal: AbortSignal): Promise<Connections> {
  const connections = await open();
  if (signal.aborted) close(connections);
  signal.throwIfAborted();
  kept = connections;
  return connections;
}

async function open(): Promise<Connections> {
  const config = await lambdaConfig();
  const warning = config.producer.createTopics && topicWarning(config.producer.createTopics);
  if (warning) log("warn", "topics", { message: warning });
  const brokers = requireBrokers(config);
  const producer = createProducer({ brokers, clientId: "pg2kafka", ...config.producer });
  // Kafka connects while Postgres does, and tells what there is to send. Transactions have their own.
  if (config.delivery === "at-least-once") producer.open();
  const sql = await connectDatabase(config.database).catch(async (error) => {
    await producer.close();
    throw explainFailure(error, config.database);
  });
  return { config, schema: readSchema(sqlFolder()), sql, producer };
}

function close({ sql, producer }: Connections): void {
  sql.end({ timeout: 0 }).catch(() => {});
  producer.close().catch(() => {});
}
