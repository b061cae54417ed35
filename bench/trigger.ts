import { readFileSync } from "node:fs";
import postgres, { type Sql } from "postgres";
import type { Bench } from "./bench.ts";
import { type BenchDatabase, createDatabase } from "./database.ts";
import {
  bulkStatements,
  createItems,
  type Statements,
  singleStatements,
  withEventsByHand,
} from "./items.ts";
import { formatNumber, NO_TARGET, Samples, TARGET_COLUMNS, type Table, target } from "./report.ts";

const CANDIDATES = ["none", "ours", "peer", "limit"] as const;
type Candidate = (typeof CANDIDATES)[number];

const OPERATIONS = { insert: "INSERT", update: "UPDATE", remove: "DELETE" } as const;
type Operation = keyof typeof OPERATIONS;

const SINGLE_MS = 700;
const CLIENTS = [1, 4];
const COMMITS = ["on", "off"];

/** What a capture costs the application's writes. */
export async function benchTrigger(bench: Bench): Promise<Table[]> {
  const database = await createDatabase(bench.postgres, "bench_trigger");
  const { sql } = database;
  try {
    for (const candidate of CANDIDATES) await sql.unsafe(createItems(`items_${candidate}`));
    await sql`select pg2kafka.setup('items_ours', 'sku')`;
    await sql.unsafe(readFileSync(new URL("peers/row-trigger.sql", import.meta.url), "utf8"));
    await sql`
      insert into peer.external_id_relations (external_id, table_name) values ('sku', 'items_peer')`;
    await sql`
      create trigger items_peer_enqueue_event after insert or update or delete on items_peer
      for each row execute function peer.enqueue_event()`;
    return [...(await benchBulk(bench, sql)), ...(await benchSingle(bench, database))];
  } finally {
    await database.close();
  }
}

async function benchBulk({ rounds, isQuick, progress }: Bench, sql: Sql): Promise<Table[]> {
  const rows = isQuick ? 5_000 : 100_000;
  const samples = new Samples();
  for (let round = 1; round <= rounds; round++) {
    for (const candidate of CANDIDATES) {
      progress(`trigger: ${rows} rows in a statement, ${candidate}, round ${round}`);
      await empty(sql, candidate);
      await sql`checkpoint`;
      const statements = statementsOf(candidate, bulkStatements);
      for (const operation of operations()) {
        const parameters = operation === "insert" ? [1, rows] : [];
        const startedMs = performance.now();
        const { count } = await sql.unsafe(statements[operation], parameters);
        samples.add(`${operation} ${candidate}`, (performance.now() - startedMs) / 1000);
        if (count !== rows) throw new Error(`${operation} touched ${count} rows, not ${rows}.`);
      }
    }
  }
  const table = {
    title: `Trigger: ${formatNumber(rows)} rows in one statement`,
    note:
      "Seconds, median (least–most). *by hand*: the same statement plus one set-based insert of " +
      "the same events. *row trigger*: a trigger written as pg2kafka's is. Ratios are the medians " +
      "of each round's.",
    columns: [
      "",
      "no trigger",
      "ours",
      "by hand (limit)",
      "row trigger",
      "ours / limit",
      "row trigger / ours",
      "ours / none",
    ],
    rows: operations().map((operation) => {
      const name = (candidate: Candidate) => `${operation} ${candidate}`;
      const ratio = (a: Candidate, b: Candidate) =>
        formatNumber(samples.pairedRatio(name(a), name(b)), 2);
      return [
        OPERATIONS[operation],
        samples.text(name("none"), 2),
        samples.text(name("ours"), 2),
        samples.text(name("limit"), 2),
        samples.text(name("peer"), 2),
        ratio("ours", "limit"),
        ratio("peer", "ours"),
        ratio("ours", "none"),
      ];
    }),
  };
  return [table, bulkTargets(samples)];
}

function bulkTargets(samples: Samples): Table {
  return {
    title: "Trigger: the targets of many rows in one statement",
    note: "Times of the table before: by hand is the limit.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: operations().flatMap((operation) => {
      const toLimit = samples.pairedRatio(`${operation} ours`, `${operation} limit`);
      const ofPeer = samples.pairedRatio(`${operation} peer`, `${operation} ours`);
      return [
        [
          `${OPERATIONS[operation]}: times as long as by hand`,
          formatNumber(toLimit, 2),
          ...target(toLimit, "≤", 1.3, { digits: 1 }),
        ],
        [
          `${OPERATIONS[operation]}: times as fast as the row trigger`,
          formatNumber(ofPeer, 2),
          ...target(ofPeer, "≥", 4),
        ],
      ];
    }),
  };
}

async function benchSingle(
  { rounds, isQuick, progress }: Bench,
  { sql, url }: BenchDatabase,
): Promise<Table[]> {
  const samples = new Samples();
  for (let round = 1; round <= rounds; round++) {
    for (const clients of CLIENTS) {
      for (const commit of COMMITS) {
        progress(`trigger: one row a transaction, ${clients} clients, round ${round}`);
        for (const candidate of CANDIDATES) {
          await empty(sql, candidate);
          const rates = await singleRates(url, candidate, clients, commit, isQuick);
          for (const operation of operations()) {
            samples.add(`${operation} ${clients} ${commit} ${candidate}`, rates[operation]);
          }
        }
      }
    }
  }
  const table = {
    title: "Trigger: one row a transaction",
    note:
      "Transactions per second, median (least–most), from one Node process with prepared " +
      "statements. Shares are the medians of each round's.",
    columns: [
      "",
      "clients",
      "synchronous_commit",
      "no trigger",
      "ours",
      "by hand (limit)",
      "row trigger",
      "ours / none",
      "ours / limit",
      "row trigger / none",
    ],
    rows: operations().flatMap((operation) =>
      CLIENTS.flatMap((clients) =>
        COMMITS.map((commit) => {
          const name = (candidate: Candidate) => `${operation} ${clients} ${commit} ${candidate}`;
          const share = (a: Candidate, b: Candidate) =>
            formatNumber(samples.pairedRatio(name(a), name(b)), 2);
          return [
            OPERATIONS[operation],
            String(clients),
            commit,
            samples.text(name("none")),
            samples.text(name("ours")),
            samples.text(name("limit")),
            samples.text(name("peer")),
            share("ours", "none"),
            share("ours", "limit"),
            share("peer", "none"),
          ];
        }),
      ),
    ),
  };
  return [table, singleTargets(samples)];
}

/** With one client beside no trigger, with four beside the event inserted by hand. */
function singleTargets(samples: Samples): Table {
  const references = [
    { clients: 1, other: "none", label: "no trigger", bound: 0.85 },
    { clients: 4, other: "limit", label: "by hand", bound: 0.9 },
  ];
  return {
    title: "Trigger: the targets of one row a transaction",
    note:
      "Shares of the table before. What the event inserted by hand keeps is the most that any " +
      "capture into this queue could.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: operations().flatMap((operation) =>
      references.flatMap(({ clients, other, label, bound }) =>
        COMMITS.flatMap((commit) => {
          const name = (candidate: string) => `${operation} ${clients} ${commit} ${candidate}`;
          const row = (candidate: Candidate, who: string, judge: (share: number) => string[]) => {
            const share = samples.pairedRatio(name(candidate), name(other));
            const text = `${OPERATIONS[operation]}, ${clients} client${clients > 1 ? "s" : ""}, synchronous_commit ${commit}`;
            return [`${text}: ${who} of ${label}`, formatNumber(share, 2), ...judge(share)];
          };
          const ours = row("ours", "share", (share) => target(share, "≥", bound, { digits: 2 }));
          return other === "none"
            ? [ours, row("limit", "by hand's share", () => NO_TARGET)]
            : [ours];
        }),
      ),
    ),
  };
}

/** Each client inserts rows for a while, then updates them, then deletes them. */
async function singleRates(
  url: string,
  candidate: Candidate,
  clients: number,
  commit: string,
  isQuick: boolean,
): Promise<Record<Operation, number>> {
  const statements = statementsOf(candidate, singleStatements);
  const durationMs = isQuick ? 100 : SINGLE_MS;
  const connection = { synchronous_commit: commit };
  const sessions = Array.from({ length: clients }, () =>
    postgres(url, { max: 1, fetch_types: false, connection }),
  );
  try {
    await Promise.all(sessions.map((session) => session`select 1`));
    const counts = sessions.map(() => 0);
    const run = async (operation: Operation, rowsOf: (client: number) => number) => {
      const startedMs = performance.now();
      const done = await Promise.all(
        sessions.map(async (session, client) => {
          let count = 0;
          for (; performance.now() - startedMs < durationMs; count++) {
            if (operation === "remove" && count >= rowsOf(client)) break;
            const row = client * 10_000_000 + (count % rowsOf(client));
            await session.unsafe(statements[operation], [row], { prepare: true });
          }
          return count;
        }),
      );
      if (operation === "insert") counts.splice(0, clients, ...done);
      const seconds = (performance.now() - startedMs) / 1000;
      return done.reduce((sum, count) => sum + count, 0) / seconds;
    };
    const insert = await run("insert", () => Number.MAX_SAFE_INTEGER);
    const update = await run("update", (client) => counts[client]!);
    const remove = await run("remove", (client) => counts[client]!);
    return { insert, update, remove };
  } finally {
    await Promise.all(sessions.map((session) => session.end()));
  }
}

function statementsOf(candidate: Candidate, make: (table: string) => Statements): Statements {
  const table = `items_${candidate}`;
  return candidate === "limit" ? withEventsByHand(table, make(table)) : make(table);
}

async function empty(sql: Sql, candidate: Candidate): Promise<void> {
  await sql.unsafe(`truncate items_${candidate} restart identity`);
  await sql`truncate pg2kafka.outbound_event_queue, peer.outbound_event_queue`;
}

function operations(): Operation[] {
  return Object.keys(OPERATIONS) as Operation[];
}
