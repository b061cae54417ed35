import type { Sql } from "postgres";
import type { Bench } from "./bench.ts";
import {
  CANDIDATES,
  type Candidate,
  createCandidates,
  emptyCandidate,
  OPERATIONS,
  operations,
  statementsOf,
} from "./candidates.ts";
import { createDatabase } from "./database.ts";
import { bulkStatements } from "./items.ts";
import { formatNumber, Samples, TARGET_COLUMNS, type Table, target } from "./report.ts";
import { benchSingle } from "./single.ts";

/** What a capture costs the application's writes. */
export async function benchTrigger(bench: Bench): Promise<Table[]> {
  const database = await createDatabase(bench.postgres, "bench_trigger");
  const { sql } = database;
  try {
    await createCandidates(sql);
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
      await emptyCandidate(sql, candidate);
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
