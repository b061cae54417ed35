import { beforeEach } from "vitest";
import { createTopic } from "../local/topics.ts";
import { useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { drainToKafka, type Environment, one, receive } from "./support.ts";

/** The header that only messages of a replay have. */
export const REPLAY = "pg2kafka-replay";

/** Call it in a `describe`: a database for each test, whose tables `t` and `u` have topics of one
 *  partition, and what tests of replays do with it. */
export function useReplays(version: number) {
  const cluster = useKafka();
  const server = useDatabase(version, { superuser: true });
  const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

  beforeEach(async () => {
    for (const table of ["t", "u"]) await createTopic(cluster.brokers, topicOf(table));
  });

  const drain = (env: Environment = {}) => drainToKafka(server.database, cluster.brokers, env);

  /** The keys of `t`'s messages that a replay has sent, or one of them; in order. */
  async function replayedKeys(replay?: number, table = "t"): Promise<(string | null)[]> {
    const messages = await receive(cluster.brokers, topicOf(table));
    const isOf = (number?: string) =>
      number !== undefined && (!replay || Number(number) === replay);
    return messages.filter(({ headers }) => isOf(headers[REPLAY])).map(({ key }) => key);
  }

  async function replay(parameters = ""): Promise<number> {
    const { id } = await one<{ id: number }>(
      server.sql,
      `select pg2kafka.replay(${parameters}) as id`,
    );
    return id;
  }

  const replays = () =>
    server.sql`select id, state, events::int, percent::int from pg2kafka.replays order by id`;

  const rowsIn = async (table: string) =>
    (await one<{ rows: number }>(server.sql, `select count(*)::int as rows from pg2kafka.${table}`))
      .rows;

  return { server, cluster, topicOf, drain, replayedKeys, replay, replays, rowsIn };
}
