import type { Sql } from "postgres";
import { describe, expect, test } from "vitest";
import { dryRun } from "../../functions/core/drain.ts";
import type { Producer } from "../../functions/core/kafka/producer.ts";
import type { Batch, BatchLimits } from "../../functions/core/postgres/batch.ts";
import { readCommitted } from "../../functions/core/postgres/database.ts";
import { createQueue, type Lease, type Queue } from "../../functions/core/postgres/queue.ts";
import type { Position } from "../../functions/core/postgres/state.ts";
import {
  newest,
  pidOf,
  schema,
  type TestDatabase,
  useDatabase,
  versions,
  waitUntilBlocked,
} from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import {
  configFor,
  drainInto,
  drainSession,
  drainTable,
  drainToKafka,
  enqueue,
  enqueueMany,
  expireLeases,
  idleGeneration,
  idleGenerations,
  kafkaProducer,
  LIMITS,
  NOTHING,
  one,
  PARKED_MAX,
  receiveNew,
  writer,
} from "./support.ts";

const cluster = useKafka();

const drainOnce = (database: TestDatabase, options?: Parameters<typeof drainTable>[2]) =>
  drainTable(database, cluster.brokers, options);

const newMessages = (database: TestDatabase, table?: string) =>
  receiveNew(database, cluster.brokers, table);

/** One drain; the keys of what came to the topic of `t` since the call before, in order. */
async function drainedKeys(database: TestDatabase, options?: { sql: Sql }): Promise<string[]> {
  await drainOnce(database, options);
  return (await newMessages(database)).map(({ key }) => String(key));
}

function keysOf({ events }: Batch): (string | null)[] {
  return events.map(({ externalId }) => externalId);
}

async function leased(queue: Queue, leaseMs = 60_000): Promise<Lease> {
  const held = await queue.takeLease(leaseMs);
  expect(held).not.toBeNull();
  return held!.lease;
}

/** Read all that is there, batch by batch; each is settled. */
async function readBatches(queue: Queue, limits: Partial<BatchLimits> = {}): Promise<Batch[]> {
  const lease = await leased(queue);
  const batches: Batch[] = [];
  let { position } = await queue.readState();
  for (;;) {
    const batch = await queue.fetch(position, lease.drawnId, { ...LIMITS, ...limits });
    if (batch.events.length > 0) batches.push(batch);
    position = batch.after;
    await queue.settle(lease, 60_000, { position, ...NOTHING }, PARKED_MAX);
    if (position.target === null) break;
  }
  await queue.settle(lease, 0, { position, ...NOTHING }, PARKED_MAX);
  return batches;
}

async function bytesOf(sql: Sql, relation = "pg2kafka.outbound_event_queue"): Promise<number> {
  const { bytes } = await one<{ bytes: string }>(
    sql,
    `select sum(pg_total_relation_size(relid)) as bytes from pg_partition_tree('${relation}')
     where isleaf`,
  );
  return Number(bytes);
}

async function countIn(sql: Sql, generation: number): Promise<number> {
  const { count } = await one<{ count: string }>(
    sql,
    `select count(*) from pg2kafka.outbound_event_queue_${generation}`,
  );
  return Number(count);
}

describe.each(versions)("the queue on Postgres %i", (version) => {
  const server = useDatabase(version, { superuser: true });

  test("an event whose transaction commits after higher ids were delivered is delivered", async () => {
    const [late, other] = [writer(server.database), writer(server.database)];
    await late.unsafe("begin");
    await enqueue(late, "late");
    await enqueue(other, "early");
    expect(await drainedKeys(server.database)).toEqual(["early"]);
    expect(await drainedKeys(server.database)).toEqual([]);
    await late.unsafe("commit");
    await enqueue(other, "after");
    expect(await drainedKeys(server.database)).toEqual(["late", "after"]);
    expect(await drainedKeys(server.database)).toEqual([]);
  });

  test("a drain that is frozen inside a transaction of its own does not hold up the next one for long", async () => {
    const frozen = drainSession(server.database);
    const holding = Promise.withResolvers<void>();
    const transaction = readCommitted(frozen, async (tx) => {
      await tx`select pg2kafka.take_lease(0, 1, 10)`;
      holding.resolve();
      await new Promise(() => {});
    });
    await holding.promise;
    await enqueue(server.sql, "waits");
    const [keys] = await Promise.all([
      drainedKeys(server.database),
      expect(transaction).rejects.toMatchObject({ code: "CONNECTION_CLOSED" }),
    ]);
    expect(keys).toEqual(["waits"]);
  });

  test("so is one whose transaction is the newest of all, which no snapshot lists as in progress", async () => {
    const [first, newest] = [writer(server.database), writer(server.database)];
    await first.unsafe("begin");
    await first.unsafe("select pg_current_xact_id()");
    await newest.unsafe("begin");
    await enqueue(newest, "newest");
    await enqueue(first, "first");
    await first.unsafe("commit");
    expect(await drainedKeys(server.database)).toEqual(["first"]);
    await newest.unsafe("commit");
    expect(await drainedKeys(server.database)).toEqual(["newest"]);
  });

  test("the highest id drawn is told as it is, also while a writer logs that it draws some", async () => {
    const drawing = [1, 2].map(() =>
      writer(server.database)
        .unsafe(
          "do $$ begin loop perform nextval('pg2kafka.outbound_event_queue_id'); end loop; end $$",
        )
        .execute(),
    );
    const [told] = await server.sql<{ back: number }[]>`
      select count(*)::int as back
      from (
        select id, lag(id) over (order by nth) as last_id
        from (select nth, pg2kafka.drawn_id() as id from generate_series(1, 100000) nth offset 0) t
      ) t
      where id < last_id`;
    for (const query of drawing) query.cancel();
    await Promise.allSettled(drawing);
    expect(told).toEqual({ back: 0 });
  });

  test("ids that begin anew are noticed: nothing that bears them is passed over", async () => {
    await enqueueMany(server.sql, 50);
    await drainOnce(server.database);
    await newMessages(server.database);
    const queue = createQueue(drainSession(server.database));
    const held = (await queue.takeLease(60_000))!;
    await server.sql.unsafe("truncate pg2kafka.outbound_event_queue restart identity");
    await enqueue(server.sql, "under a low id");
    expect(await queue.hasWork(held.lease, held.position)).toBe(true);
    await expireLeases(server.sql);
    expect(await drainedKeys(server.database)).toEqual(["under a low id"]);
    expect(await drainedKeys(server.database)).toEqual([]);
  });

  test("two writers of one row come in the order of its lock, though the first has the higher transaction id", async () => {
    const [waiting, holding] = [writer(server.database), writer(server.database)];
    await server.sql`create table account (id int primary key, balance int)`;
    await server.sql`select pg2kafka.setup('account', 'id')`;
    await server.sql`insert into account values (1, 0)`;
    await waiting.unsafe("begin");
    const { pid } = await one<{ pid: number }>(
      waiting,
      "select pg_current_xact_id(), pg_backend_pid() as pid",
    );
    await holding.unsafe("begin");
    await holding.unsafe("update account set balance = 1");
    const second = waiting.unsafe("update account set balance = 2").execute();
    await waitUntilBlocked(server.sql, pid);
    await holding.unsafe("commit");
    await second;
    await waiting.unsafe("commit");

    await drainOnce(server.database, { table: "account" });
    const messages = await newMessages(server.database, "account");
    expect(messages.map(({ data }) => data?.["balance"])).toEqual([0, 1, 2]);
  });

  test("a writer's transaction is held open while thousands of events pass: each is read once", async () => {
    const held = writer(server.database);
    await held.unsafe("begin");
    await enqueue(held, "held");
    const plans: Plan[] = [];
    const sql = explainedSession(server.database, plans);
    const rounds = 10;
    for (let round = 0; round < rounds; round++) {
      await enqueueMany(server.sql, 300);
      expect(await drainedKeys(server.database, { sql })).toHaveLength(300);
    }
    await held.unsafe("commit");
    expect(await drainedKeys(server.database, { sql })).toEqual(["held"]);

    const scans = plans.flatMap(queueScans);
    const rowsRead = scans.reduce((sum, scan) => sum + scan.rows, 0);
    // Besides, each drain looks at the first event before it takes the lease.
    expect(rowsRead).toBeGreaterThanOrEqual(rounds * 301);
    expect(rowsRead).toBeLessThan(rounds * 310);
  });

  test("partitions that were never analysed are read by their indexes, and so is the check before a TRUNCATE", async () => {
    const held = writer(server.database);
    const idle = idleGeneration();
    await held.unsafe("begin");
    await enqueue(held, { key: "held", generation: idle });
    await enqueueMany(server.sql, 20_000, { generation: idle });
    await readBatches(createQueue(drainSession(server.database)), { eventsMax: 5_000 });
    await enqueueMany(server.sql, 50);
    await held.unsafe("commit");

    const plans: Plan[] = [];
    const sql = explainedSession(server.database, plans);
    const report = await drainOnce(server.database, { sql });
    expect(await newMessages(server.database)).toHaveLength(51);
    expect(report.reclaimedBytes).toBeGreaterThan(1_000_000);
    const scans = plans.flatMap(queueScans);
    expect(scans.length).toBeGreaterThan(4);
    const kinds = new Set(scans.map(({ kind }) => kind));
    expect(kinds).toEqual(new Set(["Index Scan", "Index Only Scan"]));
    const touched = scans.reduce((sum, { rows, removed }) => sum + rows + removed, 0);
    expect(touched).toBeLessThan(400);
  });

  describe("a span of events is cut into batches", () => {
    test("by count, and one of exactly that many ends with nothing left over", async () => {
      await enqueueMany(server.sql, 6);
      const queue = createQueue(drainSession(server.database));
      const batches = await readBatches(queue, { eventsMax: 3 });
      expect(batches.map(keysOf)).toEqual([
        ["1", "2", "3"],
        ["4", "5", "6"],
      ]);
      expect(batches[1]!.after.target).not.toBeNull();
      expect((await queue.readState()).position.target).toBeNull();
    });

    test("by bytes of the text, however small it is stored", async () => {
      const data = JSON.stringify("x".repeat(100_000));
      await enqueueMany(server.sql, 7, { data });
      const batches = await readBatches(createQueue(drainSession(server.database)), {
        bytesMax: 350_000,
      });
      expect(batches.map(({ events }) => events.length)).toEqual([3, 3, 1]);
      expect(batches[0]!.events[0]).toMatchObject({ data, dataBytes: data.length });
    });

    test("a single larger event comes alone", async () => {
      const large = JSON.stringify("x".repeat(300_000));
      await enqueue(server.sql, "a", { key: "large", data: large }, "b", "c");
      const batches = await readBatches(createQueue(drainSession(server.database)), {
        bytesMax: 1_000,
      });
      expect(batches.map(keysOf)).toEqual([["a"], ["large"], ["b", "c"]]);
      expect(batches[1]!.events[0]!.data).toBe(large);
    });

    test("data over the bound of an event is not read, only measured", async () => {
      const large = JSON.stringify("x".repeat(600_000));
      await enqueue(server.sql, { key: "large", data: large }, { key: "none", data: null });
      const [batch] = await readBatches(createQueue(drainSession(server.database)));
      expect(batch!.events).toMatchObject([
        { data: null, dataBytes: large.length },
        { data: null, dataBytes: null },
      ]);
    });

    test("events that become visible in the middle of it come after it, also with lower ids", async () => {
      const late = writer(server.database);
      await late.unsafe("begin");
      await enqueue(late, "late");
      await enqueueMany(server.sql, 4);
      const queue = createQueue(drainSession(server.database));
      const lease = await leased(queue);
      const { position } = await queue.readState();
      const limits = { ...LIMITS, eventsMax: 2 };
      const one = await queue.fetch(position, lease.drawnId, limits);
      await late.unsafe("commit");
      await enqueue(server.sql, "new");
      const two = await queue.fetch(one.after, lease.drawnId, limits);
      const end = await queue.fetch(two.after, lease.drawnId, limits);
      const next = await queue.fetch(end.after, lease.drawnId, limits);
      expect([one, two, end, next].map(keysOf)).toEqual([
        ["1", "2"],
        ["3", "4"],
        [],
        ["late", "new"],
      ]);
    });

    test("a large transaction that commits late is cut too, and no event is read twice", async () => {
      const late = writer(server.database);
      await late.unsafe("begin");
      await enqueueMany(late, 9_000);
      await enqueue(server.sql, "early");
      const plans: Plan[] = [];
      const queue = createQueue(explainedSession(server.database, plans));
      expect((await readBatches(queue)).map(keysOf)).toEqual([["early"]]);
      await enqueueMany(late, 500);
      await late.unsafe("commit");
      plans.length = 0;
      const batches = await readBatches(queue, { eventsMax: 1_000 });
      expect(batches.map(({ events }) => events.length)).toEqual([...Array(9).fill(1_000), 500]);
      const scans = plans.flatMap(queueScans);
      const rowsRead = scans.reduce((sum, { rows, removed }) => sum + rows + removed, 0);
      expect(rowsRead).toBeLessThan(9_600);
      const ids = batches.flatMap(({ events }) => events.map(({ id }) => id));
      expect(ids).toEqual([...new Set(ids)].sort((a, b) => Number(a) - Number(b)));
    });
  });

  test("savepoints: what was rolled back never comes, the rest comes when all of it is committed", async () => {
    const nested = writer(server.database);
    await nested.unsafe("begin; savepoint a");
    await enqueue(nested, "kept");
    await nested.unsafe("savepoint b");
    await enqueue(nested, "rolled back");
    await nested.unsafe("rollback to b");
    await enqueue(nested, "kept too");
    await nested.unsafe("release a");
    await enqueue(server.sql, "other");
    expect(await drainedKeys(server.database)).toEqual(["other"]);
    await nested.unsafe("commit");
    expect(await drainedKeys(server.database)).toEqual(["kept", "kept too"]);
  });

  test.each(["serializable", "repeatable read"])(
    "works where %s is the database's default, and leaves writers alone",
    async (isolation) => {
      const { database } = server;
      await server.sql.unsafe(
        `alter database ${database.name} set default_transaction_isolation = '${isolation}'`,
      );
      const [late, other] = [writer(database), writer(database)];
      const sql = drainSession(database);
      const idle = idleGeneration();
      await late.unsafe("begin");
      await enqueue(late, { key: "late", generation: idle });
      await enqueue(other, { key: "early", generation: idle });
      expect(await drainedKeys(database, { sql })).toEqual(["early"]);
      await late.unsafe("commit");
      expect(await drainedKeys(database, { sql })).toEqual(["late"]);
      expect(await countIn(other, idle)).toBe(0);
    },
  );

  describe("what is delivered gives its space back", () => {
    test("while a reader's old snapshot is held", async () => {
      const idle = idleGeneration();
      const reader = writer(server.database);
      await reader.unsafe("begin isolation level repeatable read");
      await reader.unsafe("select count(*) from pg_catalog.pg_class");
      const empty = await bytesOf(server.sql);
      await enqueueMany(server.sql, 20_000, { generation: idle });
      expect(await bytesOf(server.sql)).toBeGreaterThan(empty + 1_000_000);
      const report = await drainOnce(server.database);
      expect(report).toMatchObject({ delivered: 20_000, drained: true });
      expect(report.reclaimedBytes).toBeGreaterThan(1_000_000);
      expect(await bytesOf(server.sql)).toBe(empty);
    });

    test("by a drain that finds nothing to deliver, when the turn of its partition is over", async () => {
      const { current } = await one<{ current: number }>(
        server.sql,
        `insert into pg2kafka.outbound_event_queue (table_name, statement, data)
         values ('t', 'INSERT', '{}') returning generation as current`,
      );
      expect(await drainOnce(server.database)).toMatchObject({ reclaimedBytes: 0 });
      expect(await countIn(server.sql, current)).toBe(1);
      // Two minutes are not waited for: the rows move to where they would be then.
      const idle = idleGeneration();
      await server.sql.unsafe(`update pg2kafka.outbound_event_queue set generation = ${idle}`);
      const report = await drainOnce(server.database);
      expect(report).toMatchObject({ delivered: 0, drained: true });
      expect(report.reclaimedBytes).toBeGreaterThan(0);
      expect(await countIn(server.sql, idle)).toBe(0);
    });

    test("but for the partition in which a transaction still has a lock, until that ends", async () => {
      const [used, free] = await idleGenerations();
      await enqueueMany(server.sql, 1_000, { generation: used });
      await enqueueMany(server.sql, 1_000, { generation: free });
      const reader = writer(server.database);
      await reader.unsafe("begin");
      await reader.unsafe(`select count(*) from pg2kafka.outbound_event_queue_${used}`);
      await drainOnce(server.database);
      expect(await countIn(server.sql, used)).toBe(1_000);
      expect(await countIn(server.sql, free)).toBe(0);
      await reader.unsafe("commit");
      await drainOnce(server.database);
      expect(await countIn(server.sql, used)).toBe(0);
    });

    test("and not before it is delivered, though it came late and the lock was had", async () => {
      const idle = idleGeneration();
      const late = writer(server.database);
      await late.unsafe("begin");
      await enqueue(late, { key: "late", generation: idle });
      await enqueue(server.sql, { key: "early", generation: idle });
      const queue = createQueue(drainSession(server.database));
      await readBatches(queue);
      await late.unsafe("commit");

      const lease = await leased(queue);
      expect(await queue.reclaim(lease)).toBe(0);
      expect(await countIn(server.sql, idle)).toBe(2);
      const { position } = await queue.readState();
      await queue.settle(lease, 0, { position, ...NOTHING }, PARKED_MAX);
      expect(await drainedKeys(server.database)).toEqual(["late"]);
      expect(await countIn(server.sql, idle)).toBe(0);
    });

    test("nor by a transaction whose snapshot may be older than its lock", async () => {
      const idle = idleGeneration();
      await enqueue(server.sql, { key: "1", generation: idle });
      await drainedKeys(server.database);
      const session = writer(server.database);
      await session.unsafe("begin isolation level repeatable read");
      await expect(
        session.unsafe(`select pg2kafka.reclaim(${idle}, 0, gen_random_uuid())`),
      ).rejects.toThrow("pg2kafka: reclaim() needs READ COMMITTED");
    });

    /** An event in a part of the queue whose turn is over, delivered; and what to empty it with. */
    async function deliverIdle() {
      const idle = idleGeneration();
      await enqueue(server.sql, { key: "1", generation: idle });
      const queue = createQueue(drainSession(server.database));
      await readBatches(queue);
      return { idle, queue, lease: await leased(queue) };
    }

    test("but not while somebody uses its TOAST table alone: nobody waits for that either", async () => {
      const { idle, queue, lease } = await deliverIdle();
      const { toast } = await one<{ toast: string }>(
        server.sql,
        `select reltoastrelid::regclass::text as toast from pg_class
         where oid = 'pg2kafka.outbound_event_queue_${idle}'::regclass`,
      );
      const reader = writer(server.database);
      await reader.unsafe("begin");
      await reader.unsafe(`select count(*) from ${toast}`);
      expect(await queue.reclaim(lease)).toBe(0);
      await reader.unsafe("commit");
      expect(await queue.reclaim(lease)).toBeGreaterThan(0);
    });

    test("nor does it fail where another lane holds up the log for a moment", async () => {
      const { idle, queue, lease } = await deliverIdle();
      const other = writer(server.database);
      await other.unsafe("begin");
      await other.unsafe("lock table only pg2kafka.drain_log_0 in access exclusive mode");
      // Of what queue.reclaim() does, the step that must not wait; the others would, until the commit.
      const [reclaimed] = await server.sql<{ bytes: string }[]>`
        select pg2kafka.reclaim(${idle}, 0, ${lease.id}) as bytes`;
      expect(reclaimed).toEqual({ bytes: "0" });
      await other.unsafe("commit");
      expect(await queue.reclaim(lease)).toBeGreaterThan(0);
    });

    test("nor does a writer wait whose triggers write: only the partition of its own events is locked", async () => {
      await server.sql.unsafe(`
        create table account (id int primary key, balance int);
        create function follow() returns trigger language plpgsql as $$
        begin
          if new.id = 1 then update account set balance = new.balance where id = 2; end if;
          return null;
        end;
        $$;
        create trigger follow after update on account for each row execute function follow();
        select pg2kafka.setup('account', 'id');
        insert into account values (1, 0), (2, 0)`);
      const emptying = writer(server.database);
      await emptying.unsafe("begin");
      await emptying.unsafe(
        `lock table only pg2kafka.outbound_event_queue_${idleGeneration()} in access exclusive mode`,
      );
      const other = writer(server.database);
      await other.unsafe("set lock_timeout = '5s'");
      await other.unsafe("update account set balance = 1 where id = 1");
      await emptying.unsafe("commit");
      await drainOnce(server.database, { table: "account" });
      const messages = await newMessages(server.database, "account");
      expect(messages.map(({ key, statement }) => `${statement} ${key}`)).toEqual([
        ...["INSERT 1", "INSERT 2"],
        ...["UPDATE 1", "UPDATE 2"],
      ]);
    });

    test("and no writer waits for it: it steps back at once from a partition in use", async () => {
      const idle = idleGeneration();
      await enqueue(server.sql, { key: "1", generation: idle });
      const holder = writer(server.database);
      await holder.unsafe("begin");
      await enqueue(holder, { key: "held", generation: idle });
      const queue = createQueue(drainSession(server.database));
      await readBatches(queue);
      const lease = await leased(queue);
      // It would wait in a queue of locks if reclaim() did, and this test would hang.
      const other = writer(server.database);
      await other.unsafe("set lock_timeout = '5s'");
      const [bytes] = await Promise.all([
        queue.reclaim(lease),
        enqueue(other, { key: "2", generation: idle }),
      ]);
      expect(bytes).toBe(0);
      await holder.unsafe("commit");
      expect(await countIn(server.sql, idle)).toBe(3);
    });

    test("not under a lease that is no longer the last", async () => {
      const idle = idleGeneration();
      await enqueue(server.sql, { key: "1", generation: idle });
      const queue = createQueue(drainSession(server.database));
      await readBatches(queue);
      const stale = await leased(queue, 0);
      await leased(queue, 0);
      expect(await queue.reclaim(stale)).toBe(0);
      expect(await countIn(server.sql, idle)).toBe(1);
    });
  });
});

describe.each(versions)("a drain on Postgres %i", (version) => {
  // The highest transaction id counts everybody's, autovacuum's too.
  const server = useDatabase(version, { settings: { autovacuum: "off" } });

  test("that finds nothing writes nothing", async () => {
    const { database } = server;
    const counters = () =>
      one(
        server.sql,
        `select pg_snapshot_xmax(pg_current_snapshot())::text as xact,
           (select max(number)::text from pg2kafka.drain_log) as number`,
      );
    await server.sql`create table t (id int primary key)`;
    await server.sql`select pg2kafka.setup('t', 'id')`;
    await enqueue(server.sql, "1");
    await drainedKeys(database);
    const before = await counters();
    for (let times = 0; times < 3; times++) {
      expect(await drainOnce(database)).toMatchObject({ drained: true, batches: 0 });
    }
    expect(await counters()).toEqual(before);
  });
});

describe("after a restore into another cluster", () => {
  const server = useDatabase(newest, { alone: true });
  const other = useDatabase(newest, { alone: true });

  /** Move the contents of the queue's tables as a dump would, transaction ids included. */
  async function restore(from: Sql, to: Sql): Promise<void> {
    const tables = ["control", "outbound_event_queue", "drain_log", "parked_events"];
    await to.unsafe("truncate pg2kafka.control");
    for (const table of tables) {
      const generated = table === "parked_events" ? "bytes" : "";
      const columns = await from<{ names: string }[]>`
        select string_agg(quote_ident(attname), ', ' order by attnum) as names from pg_attribute
        where attrelid = ${`pg2kafka.${table}`}::regclass and attnum > 0 and attname <> ${generated}`;
      const { names } = columns[0]!;
      const { rows } = await one<{ rows: string }>(
        from,
        `select coalesce(json_agg(t), '[]')::text as rows from pg2kafka.${table} t`,
      );
      await to.unsafe(
        `insert into pg2kafka.${table} (${names})
         select ${names} from json_populate_recordset(null::pg2kafka.${table}, $1::text::json)`,
        [rows],
      );
    }
    const { last } = await one<{ last: string }>(
      from,
      "select last_value as last from pg2kafka.outbound_event_queue_id",
    );
    await to.unsafe(`select setval('pg2kafka.outbound_event_queue_id', ${last})`);
  }

  test("everything present is sent, new events too, and then it works as before", async () => {
    const old = server.database;
    await server.sql.unsafe(
      "do $$ begin for i in 1..3000 loop perform txid_current(); commit; end loop; end $$",
    );
    await enqueue(server.sql, "delivered");
    await drainedKeys(old);
    await enqueue(server.sql, "waiting");

    const fresh = other.database;
    const { queue_id } = await one<{ queue_id: string }>(
      server.sql,
      "select queue_id from pg2kafka.control",
    );
    await restore(server.sql, other.sql);
    const lower = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as xmax";
    const [before, after] = [
      await one<{ xmax: string }>(server.sql, lower),
      await one<{ xmax: string }>(other.sql, lower),
    ];
    expect(Number(after.xmax)).toBeLessThan(Number(before.xmax));
    const open = writer(fresh);
    await open.unsafe("begin");
    await enqueue(open, "open");
    await enqueue(other.sql, "new");

    const dry = dryRun(drainSession(fresh), configFor(fresh), schema, () => {});
    await expect(dry).rejects.toMatchObject({ code: "RESTORED" });
    const report = await drainOnce(fresh);
    const messages = await newMessages(fresh);
    expect(report).toMatchObject({ restored: true, drained: true, delivered: 3 });
    expect(messages.map(({ key }) => key)).toEqual(["delivered", "waiting", "new"]);
    expect(messages[0]!.headers["pg2kafka-queue"]).toBe(queue_id);

    await open.unsafe("commit");
    await enqueue(other.sql, "later");
    expect(await drainOnce(fresh)).toMatchObject({ restored: false, delivered: 2 });
    expect((await newMessages(fresh)).map(({ key }) => key)).toEqual(["open", "later"]);
    expect(await drainedKeys(fresh)).toEqual([]);
  });

  test("an event with a low transaction id and a low event id is not taken for delivered", async () => {
    await server.sql.unsafe(
      "do $$ begin for i in 1..3000 loop perform txid_current(); commit; end loop; end $$",
    );
    for (let times = 0; times < 3; times++) {
      await enqueue(server.sql, "delivered");
      await drainedKeys(server.database);
    }
    await server.sql`truncate pg2kafka.outbound_event_queue`;
    await restore(server.sql, other.sql);
    await other.sql`select setval('pg2kafka.outbound_event_queue_id', 1, false)`;
    await enqueue(other.sql, "new");
    expect(await drainOnce(other.database)).toMatchObject({ restored: true });
    expect((await newMessages(other.database)).map(({ key }) => key)).toEqual(["new"]);
  });
});

describe("the lease", () => {
  const server = useDatabase();
  const two = () => [0, 1].map(() => createQueue(drainSession(server.database))) as [Queue, Queue];
  const parkedOne = (id: string) => [
    { id, topic: "t", scope: "key", code: "X", reason: "x", retriable: true } as const,
  ];

  async function counts(): Promise<object> {
    return await one(
      server.sql,
      `select (select count(*)::int from pg2kafka.parked_events) as parked,
         (select max(number)::int from pg2kafka.drain_log) as number`,
    );
  }

  test("a second drain does not get it, and says so", async () => {
    const [first] = two();
    await enqueue(server.sql, "1");
    await server.sql`
      update pg2kafka.outbound_event_queue set created_at = created_at - interval '1 minute'`;
    await leased(first);
    const report = await drainOnce(server.database);
    expect(report).toMatchObject({ delivered: 0, drained: false, stopped: { code: "LEASED" } });
    expect(report.lagMs).toBeGreaterThanOrEqual(60_000);
    expect(await newMessages(server.database)).toEqual([]);
  });

  test("of two that start at once, one drains", async () => {
    await drainOnce(server.database);
    await enqueueMany(server.sql, 50);
    const reports = await Promise.all(
      [1, 2].map(() => drainToKafka(server.database, cluster.brokers)),
    );
    expect(await drainedKeys(server.database)).toHaveLength(50);
    const codes = reports.map(({ stopped, delivered }) => stopped?.code ?? delivered);
    expect(codes.sort()).toSatisfy(
      (found: unknown[]) => String(found) === "50,LEASED" || String(found) === "0,50",
    );
  });

  test("of many that ask for it at once, one gets it", async () => {
    const queues = Array.from({ length: 6 }, () => createQueue(drainSession(server.database)));
    const leases = await Promise.all(queues.map((queue) => queue.takeLease(60_000)));
    expect(leases.filter(Boolean)).toHaveLength(1);
  });

  test("when it has run out another drain takes over, and the stale one changes nothing", async () => {
    const [stale, fresh] = two();
    await enqueue(server.sql, "1");
    const lost = await leased(stale, 0);
    const { position } = await stale.readState();
    const { after, events } = await stale.fetch(position, lost.drawnId, LIMITS);
    const held = await leased(fresh);
    const before = await counts();
    const settlement = { position: after, ...NOTHING, parked: parkedOne(String(events[0]!.id)) };
    await expect(stale.settle(lost, 60_000, settlement, PARKED_MAX)).rejects.toMatchObject({
      code: "LEASE_LOST",
    });
    expect(await counts()).toEqual(before);
    expect((await fresh.fetch(position, held.drawnId, LIMITS)).events).toHaveLength(1);
    await fresh.settle(held, 0, { position: after, ...NOTHING }, PARKED_MAX);
  });

  test("nor one so stale that its entries are gone from the log", async () => {
    const [stale, fresh] = two();
    await enqueue(server.sql, "1");
    const lost = await leased(stale, 0);
    const { position } = await stale.readState();
    const { after, events } = await stale.fetch(position, lost.drawnId, LIMITS);
    const held = await leased(fresh);
    for (let settled = 0; settled < 1_100; settled++) {
      await fresh.settle(held, 60_000, { position, ...NOTHING }, PARKED_MAX);
    }
    await fresh.reclaim(held);
    const { lowest } = await one<{ lowest: string }>(
      server.sql,
      "select min(number) as lowest from pg2kafka.drain_log",
    );
    expect(Number(lowest)).toBe(1024);
    const before = await counts();
    const settlement = { position: after, ...NOTHING, parked: parkedOne(String(events[0]!.id)) };
    await expect(stale.settle(lost, 60_000, settlement, PARKED_MAX)).rejects.toMatchObject({
      code: "LEASE_LOST",
    });
    expect(await counts()).toEqual(before);
  });

  test("two settlements of one lease at the same number: one after the other, and what both park is parked once", async () => {
    const [one, two_] = two();
    await enqueue(server.sql, "1");
    const lease = await leased(one);
    const { position } = await one.readState();
    const { after, events } = await one.fetch(position, lease.drawnId, LIMITS);
    const settlement = { position: after, ...NOTHING, parked: parkedOne(String(events[0]!.id)) };
    const results = await Promise.allSettled([
      one.settle({ ...lease }, 60_000, settlement, PARKED_MAX),
      two_.settle({ ...lease }, 60_000, settlement, PARKED_MAX),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
    expect(await counts()).toEqual({ parked: 1, number: 3 });
  });

  test("a paused drain sends nothing, parked events neither, and says so; it goes on when resumed", async () => {
    await enqueue(server.sql, "1", "2");
    await readOneAndPark(two()[0]);
    await server.sql`select pg2kafka.pause()`;
    const report = await drainOnce(server.database);
    expect(report).toMatchObject({ drained: false, stopped: { code: "PAUSED" } });
    expect(await newMessages(server.database)).toEqual([]);
    await server.sql`select pg2kafka.resume()`;
    expect(await drainedKeys(server.database)).toEqual(["1", "2"]);
  });

  test("a drain that is paused while it works stops before its next batch", async () => {
    expect(await drainedKeys(server.database)).toEqual([]);
    await enqueueMany(server.sql, 5);
    const real = kafkaProducer(server.database, cluster.brokers);
    const pausing: Producer = {
      ...real,
      async send(...args) {
        await server.sql`select pg2kafka.pause()`;
        return await real.send(...args);
      },
    };
    const report = await drainInto(server.database, pausing, { env: { BATCH_EVENTS_MAX: "1" } });
    expect(report.stopped?.code).toBe("PAUSED");
    // The batch after may have been read before the pause.
    expect([1, 2]).toContain(report.delivered);
    await server.sql`select pg2kafka.resume()`;
    expect(await drainedKeys(server.database)).toEqual(["1", "2", "3", "4", "5"]);
  });

  test("the log of the drain stays small while a snapshot is held", async () => {
    const reader = writer(server.database);
    await reader.unsafe("begin isolation level repeatable read");
    await reader.unsafe("select 1");
    const queue = createQueue(drainSession(server.database));
    const lease = await leased(queue);
    const { position } = await queue.readState();
    let bytesMax = 0;
    for (let settled = 1; settled <= 3_000; settled++) {
      await queue.settle(lease, 60_000, { position, ...NOTHING }, PARKED_MAX);
      if (settled % 250 !== 0) continue;
      await queue.reclaim(lease);
      bytesMax = Math.max(bytesMax, await bytesOf(server.sql, "pg2kafka.drain_log"));
    }
    expect(bytesMax).toBeLessThan(600_000);
    const { number } = await one<{ number: string }>(
      server.sql,
      "select max(number) as number from pg2kafka.drain_log",
    );
    expect(number).toBe("3001");
  });

  test("the half of the log that is emptied is not the one that it has come to meanwhile", async () => {
    const { sql } = server;
    const queue = createQueue(drainSession(server.database));
    const lease = await leased(queue);
    const { position } = await queue.readState();
    // The next entry, 2048, is the first of its half, where an old one is left.
    await sql`
      insert into pg2kafka.drain_log (number, half, system_identifier, lanes, is_gathering)
      select n, n / 1024 % 2, system_identifier, lanes, is_gathering
      from pg2kafka.last_entry(), pg_control_system(), unnest('{1000,2047}'::int[]) n`;
    const { text } = await one<{ text: string }>(
      sql,
      "select pg_get_functiondef('pg2kafka.reclaim_log'::regproc) as text",
    );
    const pause = "perform pg_advisory_xact_lock(1);\n  execute format('lock";
    await sql.unsafe(text.replace("execute format('lock", pause));
    await sql`select pg_advisory_lock(1)`;
    const session = writer(server.database);
    const pid = await pidOf(session);
    const emptying = session`select pg2kafka.reclaim_log()`.execute();
    await waitUntilBlocked(sql, pid);
    await queue.settle(lease, 60_000, { position, ...NOTHING }, PARKED_MAX);
    await sql`select pg_advisory_unlock(1)`;
    await emptying;
    expect(await one(sql, "select max(number)::int from pg2kafka.drain_log")).toEqual({
      max: 2048,
    });
  });

  async function readOneAndPark(queue: Queue): Promise<Position> {
    const lease = await leased(queue);
    const { position } = await queue.readState();
    const { after, events } = await queue.fetch(position, lease.drawnId, {
      ...LIMITS,
      eventsMax: 1,
    });
    const parked = parkedOne(String(events[0]!.id)).map((event) => ({ ...event, topic: "t" }));
    await queue.settle(lease, 0, { position: after, ...NOTHING, parked }, PARKED_MAX);
    return after;
  }
});

/** A node of a plan, as auto_explain tells it. */
interface Plan {
  "Node Type": string;
  "Relation Name"?: string;
  "Actual Rows": number;
  "Actual Loops": number;
  "Rows Removed by Filter"?: number;
  Plans?: Plan[];
}

/** Connections as the drain's, on which Postgres tells the plan of each statement that it ran. */
function explainedSession(database: TestDatabase, plans: Plan[]): Sql {
  const settings = {
    session_preload_libraries: "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
  };
  return database.connect({
    max: 3,
    prepare: false,
    fetch_types: false,
    connection: settings as never,
    onnotice: ({ message }) => {
      const json = message?.indexOf("{") ?? -1;
      if (json >= 0) plans.push((JSON.parse(message!.slice(json)) as { Plan: Plan }).Plan);
    },
  });
}

/** What a plan read from the partitions of the queue. */
function queueScans(plan: Plan): { kind: string; rows: number; removed: number }[] {
  const below = (plan.Plans ?? []).flatMap(queueScans);
  if (!/^outbound_event_queue_\d$/.test(plan["Relation Name"] ?? "")) return below;
  if (plan["Actual Loops"] === 0) return below;
  const loops = plan["Actual Loops"];
  const rows = plan["Actual Rows"] * loops;
  const removed = (plan["Rows Removed by Filter"] ?? 0) * loops;
  return [...below, { kind: plan["Node Type"], rows, removed }];
}
