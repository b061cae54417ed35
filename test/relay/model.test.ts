import { setTimeout as sleep } from "node:timers/promises";
import type { Sql } from "postgres";
import { expect, test } from "vitest";
import { createTopic } from "../local/topics.ts";
import { newest, useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { startCommand } from "./command.ts";
import {
  buryDrains,
  drainToKafka,
  type Environment,
  MARGIN_MS,
  one,
  type Received,
  receive,
  withoutRepeats,
  writer,
} from "./support.ts";

/* Random concurrent transactions on three tables, while drains run and are killed. Each row has
   a version that every change of it raises by one, so that a lost, repeated or overtaken event
   shows as a gap. What each topic adds up to must be the table. PG2KAFKA_TEST_SEED repeats the
   choices of a run; the timing of its transactions is Postgres' own. */

const SEED = Number(process.env["PG2KAFKA_TEST_SEED"] ?? Date.now() % 1_000_000_000);
const DURATION_MS = 8_000;
/** A slow machine goes on until it has done this, */
const TRANSACTIONS_MIN = 50;
const DRAINS_MIN = 6;
/** but no longer. */
const DURATION_MS_MAX = 60_000;
const WRITERS = 6;
const WRITERS_THAT_PAUSE = 2;
const KEYS = 12;
const ROLLED_BACK = "ROLLED BACK";
/** Of a drain. */
const TICK = { timeoutMs: MARGIN_MS + 2_000 };

// Its writers set deadlock_timeout.
const server = useDatabase(newest, { superuser: true });
const cluster = useKafka();
const topicOf = (table: string) => `pg2kafka.${server.database.name}.${table}`;

/** How a table is written, and how many partitions its topic has. */
const TABLES = {
  /** Contended by all writers. */
  accounts: { partitions: 3 },
  /** Rows change their key: in order only within one partition. */
  products: { partitions: 1 },
  /** Written in bulk, and emptied now and then. */
  drafts: { partitions: 2 },
} as const;

type Table = keyof typeof TABLES;

function pick<Item>(random: Random, items: readonly Item[]): Item {
  return items[random(items.length)]!;
}

/** A change to one of the tables, marked so that it can be told whether it was to be kept. */
function randomStatement(random: Random, note: string, changesKeys: boolean): string {
  const key = random(KEYS);
  const other = random(KEYS);
  const text = `${note} ${random(1_000)} é"\\n`;
  return pick(random, [
    `insert into accounts values (${key}, 1, $$${text}$$) on conflict do nothing`,
    `insert into accounts values (${key}, 1, $$${text}$$)
       on conflict (id) do update set version = accounts.version + 1, note = excluded.note`,
    `update accounts set version = version + 1, note = $$${text}$$ where id = ${key}`,
    `update accounts set version = version + 1, note = $$${text}$$ where id = ${key}`,
    `update accounts set version = version + 1 where id in (${key}, ${other})`,
    `delete from accounts where id = ${key}`,
    `insert into products (sku, version, note) values ('s${key}', 1, $$${text}$$)
       on conflict do nothing`,
    `update products set version = version + 1, note = $$${text}$$ where sku = 's${key}'`,
    ...(changesKeys ? [changeOfKey(key, other)] : []),
    `delete from products where sku = 's${key}'`,
    `insert into drafts select n, 1, $$${text}$$ from generate_series(${key}, ${key + 8}) n
       on conflict do nothing`,
    `update drafts set version = version + 1, note = $$${text}$$ where id between ${key} and ${key + 5}`,
    `delete from drafts where id % 7 = ${key % 7}`,
    random(6) === 0
      ? "truncate drafts"
      : `update drafts set version = version + 1 where id = ${key}`,
  ]);
}

function changeOfKey(key: number, other: number): string {
  return `update products set sku = 's${other}', version = version + 1 where sku = 's${key}'
       and not exists (select from products where sku = 's${other}')`;
}

/** One transaction. Those that lose a lock or a deadlock are rolled back, as applications do. */
async function randomTransaction(
  session: Sql,
  random: Random,
  changesKeys: boolean,
  pause: () => Promise<void>,
) {
  const isKept = random(5) > 0;
  const note = () => (isKept ? "kept" : ROLLED_BACK);
  const run = async (text: string) => {
    await session.unsafe(text);
  };
  try {
    await run("begin");
    for (let left = 1 + random(6); left > 0; left--) {
      const kind = random(8);
      if (kind === 0) {
        await run("savepoint s");
        await run(randomStatement(random, ROLLED_BACK, changesKeys));
        await run("rollback to s");
      } else if (kind === 1) {
        await run("savepoint s");
        await run(randomStatement(random, note(), changesKeys));
        await run("release s");
      } else await run(randomStatement(random, note(), changesKeys));
      await pause();
    }
    await run(isKept ? "commit" : "rollback");
  } catch (error) {
    const { code = "" } = error as { code?: string };
    // Deadlock, lock timeout, two writers who move a row to one key.
    if (!["40P01", "55P03", "23505"].includes(code)) throw error;
    await run("rollback");
  }
}

/** How many lanes drain at a time; it changes from drain to drain. A row that changes its key
 *  changes its lane, so its events are in order only with one. */
const MODES = [
  { name: "one drain", lanes: [1], changesKeys: true },
  {
    name: "lanes whose number changes, lingering now and then",
    lanes: [1, 2, 4],
    changesKeys: false,
  },
];

test.each(MODES)(
  `what arrives is what was committed, in the order of each row: $name (seed ${SEED})`,
  async (mode) => {
    const { sql, database } = server;
    await sql.unsafe(`
    create table accounts (id int primary key, version int not null, note text);
    create table products (
      uid int generated always as identity, sku text unique, version int not null, note text);
    create table drafts (id int primary key, version int not null, note text);
    insert into accounts values (0, 1, 'before'), (1, 1, 'before');
    select pg2kafka.setup('accounts', 'id');
    select pg2kafka.setup('products', 'sku');
    select pg2kafka.setup('drafts', 'id')`);
    for (const [table, options] of Object.entries(TABLES)) {
      await createTopic(cluster.brokers, topicOf(table), options);
    }

    let drains = 0;
    let kills = 0;
    let transactions = 0;
    let isOver = false;
    /** Some writers hold some transactions open while drains pass. */
    const maybePause = async (random: Random, index: number) => {
      if (index >= WRITERS_THAT_PAUSE || random(12) > 0) return;
      const until = drains + 2;
      await waitFor(() => drains >= until || isOver, { timeoutMs: DURATION_MS_MAX + 20_000 });
    };
    const startMs = performance.now();
    const isEnough = () => {
      const durationMs = performance.now() - startMs;
      if (transactions < TRANSACTIONS_MIN || drains < DRAINS_MIN)
        return durationMs > DURATION_MS_MAX;
      return durationMs > DURATION_MS;
    };

    const writers = Array.from({ length: WRITERS }, async (_, index) => {
      const random = randomFrom(SEED + index);
      const session = writer(database);
      await session.unsafe("set lock_timeout = '400ms'; set deadlock_timeout = '50ms'");
      while (!isEnough()) {
        await randomTransaction(session, random, mode.changesKeys, () => maybePause(random, index));
        transactions += 1;
      }
    });

    const random = randomFrom(SEED - 1);
    const killedDrain = async (env: Environment) => {
      const child = startCommand("drain", {
        DATABASE_URL: database.url,
        KAFKA_BROKER: cluster.brokers.join(","),
        ...env,
      });
      // At a random moment of its start or its work: not a wait for something to become true.
      await sleep(300 + random(700));
      child.kill("SIGKILL");
      if ((await child.finished).signal === "SIGKILL") kills += 1;
    };
    const drainUntilOver = async () => {
      while (!isOver) {
        const lanes = pick(random, mode.lanes);
        const isKilled = random(3) === 0;
        const lingers = lanes > 1 && random(3) === 0;
        const tick = Array.from({ length: lanes }, (_, lane) => {
          const env = {
            LANES: String(lanes),
            LANE: String(lane),
            LINGER: String(lingers),
            BATCH_EVENTS_MAX: String(1 + random(30)),
          };
          return isKilled ? killedDrain(env) : drainToKafka(database, cluster.brokers, env, TICK);
        });
        await Promise.all(tick);
        if (isKilled) await buryDrains(sql);
        drains += 1;
      }
    };
    const draining = drainUntilOver();
    await Promise.race([Promise.all(writers), draining]);
    isOver = true;
    await Promise.all([...writers, draining]);
    // What other lanes have left is gathered first.
    await drainToKafka(database, cluster.brokers);
    const last = await drainToKafka(database, cluster.brokers);
    expect(last).toMatchObject({ drained: true, parked: 0, stopped: null });

    let repeats = 0;
    const arrived = new Set<string>();
    for (const table of Object.keys(TABLES) as Table[]) {
      const received = await receive(cluster.brokers, topicOf(table));
      const once = withoutRepeats(received);
      repeats += once.repeats;
      for (const { uuid } of once.messages) arrived.add(uuid);
      expect(foldRows(once.messages, table), table).toEqual(await rowsOf(sql, table));
      for (const { data } of once.messages) expect(JSON.stringify(data)).not.toContain(ROLLED_BACK);
    }
    const queued = await sql<{ uuid: string }[]>`select uuid from pg2kafka.outbound_event_queue`;
    // Emptied partitions take four minutes.
    expect([...arrived].sort()).toEqual(queued.map(({ uuid }) => uuid).sort());
    if (kills === 0) expect(repeats).toBe(0);
    expect(transactions).toBeGreaterThanOrEqual(TRANSACTIONS_MIN);
    expect(drains).toBeGreaterThanOrEqual(DRAINS_MIN);
    console.log(
      `${mode.name}, seed ${SEED}: ${transactions} transactions, ${arrived.size} events, ${drains} drains, ` +
        `${kills} killed, ${repeats} repeats`,
    );
  },
  180_000,
);

type Row = Record<string, unknown>;

/** What a consumer holds at the end; on the way, no row may skip or go back a version. */
function foldRows(messages: readonly Received[], table: Table): Row[] {
  const keyColumn = table === "products" ? "sku" : "id";
  const held = new Map<string, Row>();
  for (const { key, statement, data, partition } of messages) {
    if (statement === "TRUNCATE") {
      for (const [id, row] of held) if (row["partition"] === partition) held.delete(id);
      continue;
    }
    const before = held.get(key!);
    const what = `${statement} of ${table} ${key}: ${JSON.stringify(data)}`;
    if (statement === "DELETE") {
      expect(before, what).toBeDefined();
      held.delete(key!);
    } else if (statement === "UPDATE") {
      expect(before, what).toBeDefined();
      expect(data!["version"], what).toBe(Number(before!["version"]) + 1);
      held.delete(key!);
      held.set(String(data![keyColumn] ?? key), { ...before, ...data, partition });
    } else {
      expect(before, what).toBeUndefined();
      expect(data!["version"], what).toBe(1);
      held.set(key!, { ...data, partition });
    }
  }
  return [...held.values()]
    .map(({ partition: _, ...row }) => row)
    .sort((a, b) => String(a[keyColumn]).localeCompare(String(b[keyColumn])));
}

async function rowsOf(sql: Sql, table: Table): Promise<Row[]> {
  const keyColumn = table === "products" ? "sku" : "id";
  const { rows } = await one<{ rows: string }>(
    sql,
    `select coalesce(json_agg(t), '[]')::text as rows from ${table} t`,
  );
  return (JSON.parse(rows) as Row[]).sort((a, b) =>
    String(a[keyColumn]).localeCompare(String(b[keyColumn])),
  );
}
