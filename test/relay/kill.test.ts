import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { type Command, startCommand } from "./command.ts";
import { expireLeases, one, receive, withoutRepeats } from "./support.ts";

/** PG2KAFKA_TEST_KILLS=200 asks for more. */
const KILLS = Number(process.env["PG2KAFKA_TEST_KILLS"] ?? 10);
const KEYS = 40;
const EVENTS_PER_ROUND = 400;
const BATCH_EVENTS = 20;
/** A drain is killed after it has taken its lease and settled up to so many batches, */
const SETTLED_MAX = 6;
/** and some time more: less than the other batches of a round take. */
const KILL_AFTER_MS_MAX = 30;

const server = useDatabase();
const cluster = useKafka();
const topic = () => `pg2kafka.${server.database.name}.t`;

function startDrain(): Command {
  return startCommand("drain", {
    DATABASE_URL: server.database.url,
    KAFKA_BROKER: cluster.brokers.join(","),
    BATCH_EVENTS_MAX: String(BATCH_EVENTS),
    REQUEST_TIMEOUT_MS: "2000",
  });
}

async function lastNumber(): Promise<number> {
  const { number } = await one<{ number: number }>(
    server.sql,
    "select coalesce(max(number), 0)::int as number from pg2kafka.drain_log",
  );
  return number;
}

/** What a killed drain has sent to Postgres may still be carried out. */
async function drainSessions(): Promise<number> {
  const { count } = await one<{ count: number }>(
    server.sql,
    `select count(*)::int as count from pg_stat_activity
     where application_name = 'pg2kafka' and datname = current_database()`,
  );
  return count;
}

/** Events of KEYS rows, numbered in their order. */
async function enqueueRound(round: number): Promise<void> {
  await server.sql.unsafe(`
    insert into pg2kafka.outbound_event_queue (external_id, table_name, statement, data)
    select 'k' || n % ${KEYS}, 't', 'UPDATE', json_build_object('n', n)
    from generate_series(${round * EVENTS_PER_ROUND + 1}, ${(round + 1) * EVENTS_PER_ROUND}) n`);
}

/** @returns how many repeats there were */
async function expectAllInOrder(events: number): Promise<number> {
  const { messages, repeats } = withoutRepeats(await receive(cluster.brokers, topic()));
  const numbers = messages.map(({ data }) => Number(data!["n"]));
  expect([...numbers].sort((a, b) => a - b)).toEqual(
    Array.from({ length: events }, (_, index) => index + 1),
  );
  const byKey = Map.groupBy(messages, ({ key }) => key);
  for (const [key, ofKey] of byKey) {
    const own = ofKey.map(({ data }) => Number(data!["n"]));
    expect(own, `${key}`).toEqual([...own].sort((a, b) => a - b));
  }
  return repeats;
}

describe("npm run drain", () => {
  test(`is killed ${KILLS} times while it works: nothing is lost, and each key's order stays`, async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    let settledBeforeKill = 0;
    for (let round = 0; round < KILLS; round++) {
      await enqueueRound(round);
      const before = await lastNumber();
      const drain = startDrain();
      const settled = Math.floor(Math.random() * (SETTLED_MAX + 1));
      await waitFor(async () => (await lastNumber()) > before + settled, { timeoutMs: 20_000 });
      // At a random moment of its work: not a wait for something to become true.
      await sleep(Math.random() * KILL_AFTER_MS_MAX);
      drain.kill("SIGKILL");
      const { signal } = await drain.finished;
      expect(signal).toBe("SIGKILL");
      settledBeforeKill += (await lastNumber()) - before;
      await waitFor(async () => (await drainSessions()) === 0);
      await expireLeases(server.sql);
    }
    const { code, summary } = await startDrain().finished;
    expect(summary()).toMatchObject({ drained: true, stopped: null });
    expect(code).toBe(0);
    const repeats = await expectAllInOrder(KILLS * EVENTS_PER_ROUND);
    // Each kill repeats the batch under way at most.
    expect(repeats).toBeLessThanOrEqual(KILLS * BATCH_EVENTS);
    console.log(`${KILLS} kills, ${settledBeforeKill} log entries before them, ${repeats} repeats`);
  }, 180_000);

  test("is frozen while another drain takes over, and thawed: it changes nothing, and each key's order stays", async () => {
    await createTopic(cluster.brokers, topic(), { partitions: 3 });
    for (let round = 0; round < 5; round++) await enqueueRound(round);
    const stale = startDrain();
    await waitFor(async () => (await lastNumber()) > 3, { timeoutMs: 20_000 });
    process.kill(stale.pid, "SIGSTOP");
    const frozenAt = await lastNumber();
    await expireLeases(server.sql);
    const { summary } = await startDrain().finished;
    expect(summary()).toMatchObject({ drained: true });
    expect(await lastNumber()).toBeGreaterThan(frozenAt);
    const numberBefore = await lastNumber();
    await enqueueRound(5);
    process.kill(stale.pid, "SIGCONT");
    const finished = await stale.finished;
    // It depends on what it did when it was frozen: its settling is refused; or Kafka's answer is
    // too late for it; or Postgres has ended the transaction that it held open.
    expect(finished.stderr).toMatch(/LEASE_LOST|KAFKA_UNAVAILABLE|CONNECTION_CLOSED/);
    expect(finished.code).toBe(1);
    expect(await lastNumber()).toBe(numberBefore);
    await startDrain().finished;
    expect(await expectAllInOrder(6 * EVENTS_PER_ROUND)).toBeLessThanOrEqual(BATCH_EVENTS);
  });
});
