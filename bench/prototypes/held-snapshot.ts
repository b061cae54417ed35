import type { Sql } from "postgres";
import type { Bench } from "../bench.ts";
import { type BenchDatabase, READER, whileHeld } from "../database.ts";
import { formatMegabytes, Samples, type Table } from "../report.ts";

const BATCH = 500;
const DATA = `json_build_object('n', g, 'text', repeat('x', 150))`;

/** A queue, as SQL: `take` returns how many events it took and settled. */
interface Design {
  label: string;
  create: string;
  insert: string;
  take: string;
}

const DESIGNS: Record<string, Design> = {
  marked: {
    label: "a flag per event, updated (pg2kafka)",
    create: `
      create table q_marked (id bigserial, data json, processed boolean not null default false);
      create index on q_marked (id)`,
    insert: `insert into q_marked (data) select ${DATA} from generate_series(1, ${BATCH}) g`,
    take: `
      with batch as (
        select id, data from q_marked where not processed order by id limit ${BATCH}
      )
      update q_marked q set processed = true from batch where q.id = batch.id returning q.data`,
  },
  deleted: {
    label: "deleted by id, SKIP LOCKED",
    create: "create table q_deleted (id bigserial primary key, data json)",
    insert: `insert into q_deleted (data) select ${DATA} from generate_series(1, ${BATCH}) g`,
    take: `
      with batch as (
        select id from q_deleted order by id limit ${BATCH} for update skip locked
      )
      delete from q_deleted q using batch where q.id = batch.id returning q.data`,
  },
  snapshots: {
    label: "between two snapshots, positions appended",
    create: `
      create table q_snapshots (
        xact xid8 not null default pg_current_xact_id(), id bigserial, data json
      );
      create index on q_snapshots (id);
      create index on q_snapshots (xact, id);
      create table q_log (number bigserial primary key, delivered pg_snapshot, last_id bigint);
      insert into q_log (delivered, last_id) select pg_current_snapshot(), 0`,
    insert: `insert into q_snapshots (data) select ${DATA} from generate_series(1, ${BATCH}) g`,
    take: `
      with position as (
        select * from q_log order by number desc limit 1
      ), batch as (
        select q.id, q.data from q_snapshots q
        where q.id > (select last_id from position)
          and not pg_visible_in_snapshot(q.xact, (select delivered from position))
        order by q.id limit ${BATCH}
      ), settled as (
        insert into q_log (delivered, last_id)
        select pg_current_snapshot(), max(id) from batch having max(id) is not null
      )
      select data from batch`,
  },
};

/**
 * A steady queue under a held snapshot: insert a batch, take a batch, and so on. What is spent on
 * taking, at the start and after many batches.
 */
export async function prototypeHeldSnapshot(
  { rounds, isQuick, progress }: Bench,
  { sql, url }: BenchDatabase,
): Promise<Table> {
  const steps = isQuick ? 20 : 400;
  const samples = new Samples();
  const sizes = new Map<string, number>();
  for (let round = 1; round <= rounds; round++) {
    for (const [name, design] of Object.entries(DESIGNS)) {
      progress(`prototypes: held snapshot, ${name}, round ${round}`);
      await sql.unsafe(`drop table if exists q_${name}, q_log cascade`);
      await sql.unsafe(design.create);
      const times = await whileHeld(url, READER, () => takeSteadily(sql, design, steps));
      const tenth = steps / 10;
      samples.add(`${name} first`, rate(times.slice(0, tenth)));
      samples.add(`${name} last`, rate(times.slice(-tenth)));
      const [size] = await sql<{ bytes: string }[]>`
        select pg_total_relation_size(${`q_${name}`}::regclass) as bytes`;
      sizes.set(name, Number(size!.bytes));
    }
  }
  return {
    title: `Prototype: taking events while a reader's snapshot is held, ${steps} batches of ${BATCH}`,
    note: "Events per second of taking and settling alone, first and last tenth; no Kafka.",
    columns: ["", "first tenth", "last tenth", "last ÷ first", "size at the end"],
    rows: Object.entries(DESIGNS).map(([name, { label }]) => [
      label,
      samples.text(`${name} first`),
      samples.text(`${name} last`),
      samples.pairedRatio(`${name} last`, `${name} first`).toFixed(2),
      formatMegabytes(sizes.get(name)!),
    ]),
  };
}

async function takeSteadily(sql: Sql, design: Design, steps: number): Promise<number[]> {
  const times: number[] = [];
  for (let step = 0; step < steps; step++) {
    await sql.unsafe(design.insert);
    const startedMs = performance.now();
    const { length } = await sql.unsafe(design.take);
    times.push(performance.now() - startedMs);
    if (length !== BATCH) throw new Error(`${design.label}: took ${length}, not ${BATCH}.`);
  }
  return times;
}

function rate(timesMs: number[]): number {
  const totalMs = timesMs.reduce((sum, time) => sum + time, 0);
  return (timesMs.length * BATCH) / (totalMs / 1000);
}
