import postgres, { type Sql } from "postgres";
import type { Bench } from "./bench.ts";
import {
  CANDIDATES,
  type Candidate,
  emptyCandidate,
  OPERATIONS,
  type Operation,
  operations,
  statementsOf,
} from "./candidates.ts";
import { processMicros } from "./cpu.ts";
import type { BenchDatabase } from "./database.ts";
import { singleStatements } from "./items.ts";
import { formatNumber, NO_TARGET, Samples, TARGET_COLUMNS, type Table, target } from "./report.ts";

const CLIENTS = [1, 4];
const COMMITS = ["on", "off"] as const;

/** A machine that others use too is slow for seconds at a time: so all candidates take turns that
 *  are much shorter. The first turn makes plans, and does not count. */
const TURN_MS = 100;
const TURNS = 9;

/** Rows of one client in one turn get numbers of their own. */
const ROWS_A_TURN = 100_000;
const ROWS_A_CLIENT = ROWS_A_TURN * (TURNS + 1);

const COLUMNS = [
  "",
  "clients",
  "synchronous_commit",
  "no trigger",
  "ours",
  "by hand (limit)",
  "row trigger",
];

interface Setting {
  clients: number;
  commit: (typeof COMMITS)[number];
}

const SETTINGS: Setting[] = CLIENTS.flatMap((clients) =>
  COMMITS.map((commit) => ({ clients, commit })),
);

/** What a capture costs transactions of one row each. */
export async function benchSingle(
  { rounds, isQuick, progress }: Bench,
  { sql, url }: BenchDatabase,
): Promise<Table[]> {
  const samples = new Samples();
  for (let round = 1; round <= rounds; round++) {
    for (const setting of SETTINGS) {
      progress(`trigger: one row a transaction, ${nameOf(setting)}, round ${round}`);
      for (const candidate of CANDIDATES) await emptyCandidate(sql, candidate);
      await takeTurns(url, setting, isQuick ? 2 : TURNS, samples);
    }
  }
  return [ratesTable(samples), cpuTable(samples), targetsTable(samples)];
}

async function takeTurns(
  url: string,
  setting: Setting,
  turns: number,
  samples: Samples,
): Promise<void> {
  const candidates = await Promise.all(
    CANDIDATES.map(async (candidate) => ({ candidate, writers: await openWriters(url, setting) })),
  );
  try {
    for (let turn = 0; turn < turns; turn++) {
      for (const { candidate, writers } of candidates) {
        const measured = await takeTurn(writers, candidate, turn);
        if (turn === 0) continue;
        for (const operation of operations()) {
          const name = sampleName(operation, setting, candidate);
          samples.add(name, measured[operation].rate);
          samples.add(`${name} µs`, measured[operation].cpuMicros);
        }
      }
    }
  } finally {
    await Promise.all(
      candidates.flatMap(({ writers }) => writers.map(({ session }) => session.end())),
    );
  }
}

interface Writer {
  session: Sql;
  /** Of its backend. */
  pid: number;
}

function openWriters(url: string, { clients, commit }: Setting): Promise<Writer[]> {
  const connection = { synchronous_commit: commit };
  return Promise.all(
    Array.from({ length: clients }, async () => {
      const session = postgres(url, { max: 1, fetch_types: false, connection });
      const [backend] = await session<{ pid: number }[]>`select pg_backend_pid() as pid`;
      return { session, pid: backend!.pid };
    }),
  );
}

interface Measured {
  /** Transactions a second. */
  rate: number;
  /** Of the backends, for each transaction. */
  cpuMicros: number;
}

/** Each writer inserts rows for a while, then updates them, then deletes them. */
async function takeTurn(
  writers: Writer[],
  candidate: Candidate,
  turn: number,
): Promise<Record<Operation, Measured>> {
  const statements = statementsOf(candidate, singleStatements);
  const inserted: number[] = [];
  const run = async (operation: Operation): Promise<Measured> => {
    const startedMicros = usedMicros(writers);
    const startedMs = performance.now();
    const counts = await Promise.all(
      writers.map(async ({ session }, writer) => {
        const rows = inserted[writer] ?? ROWS_A_TURN;
        const first = writer * ROWS_A_CLIENT + turn * ROWS_A_TURN;
        let count = 0;
        for (; performance.now() - startedMs < TURN_MS; count++) {
          if (operation === "remove" && count >= rows) break;
          await session.unsafe(statements[operation], [first + (count % rows)], { prepare: true });
        }
        return count;
      }),
    );
    if (operation === "insert") inserted.push(...counts);
    const seconds = (performance.now() - startedMs) / 1000;
    const transactions = counts.reduce((sum, count) => sum + count, 0);
    const cpuMicros = (usedMicros(writers) - startedMicros) / transactions;
    return { rate: transactions / seconds, cpuMicros };
  };
  return { insert: await run("insert"), update: await run("update"), remove: await run("remove") };
}

function usedMicros(writers: Writer[]): number {
  return writers.reduce((sum, { pid }) => sum + processMicros(pid), 0);
}

function ratesTable(samples: Samples): Table {
  return {
    title: "Trigger: one row a transaction",
    note:
      "Transactions per second, median (least–most), from one Node process with prepared " +
      `statements. Each candidate writes for ${TURN_MS} ms, then the next; shares are the medians ` +
      "of each turn's.",
    columns: [...COLUMNS, "ours / none", "ours / limit", "row trigger / none"],
    rows: eachSetting((operation, setting) => {
      const name = (candidate: Candidate) => sampleName(operation, setting, candidate);
      const share = (a: Candidate, b: Candidate) =>
        formatNumber(samples.pairedRatio(name(a), name(b)), 2);
      return [
        ...labels(operation, setting),
        samples.text(name("none")),
        samples.text(name("ours")),
        samples.text(name("limit")),
        samples.text(name("peer")),
        share("ours", "none"),
        share("ours", "limit"),
        share("peer", "none"),
      ];
    }),
  };
}

function cpuTable(samples: Samples): Table {
  return {
    title: "Trigger: CPU of one row a transaction",
    note: "Microseconds of CPU of the backends for each transaction, the medians of the turns.",
    columns: COLUMNS,
    rows: eachSetting((operation, setting) => [
      ...labels(operation, setting),
      ...(["none", "ours", "limit", "peer"] as const).map((candidate) =>
        formatNumber(samples.median(`${sampleName(operation, setting, candidate)} µs`)),
      ),
    ]),
  };
}

/** With one client beside no trigger, with four beside the event inserted by hand. */
function targetsTable(samples: Samples): Table {
  const references = {
    1: { other: "none", label: "no trigger", bound: 0.85 },
    4: { other: "limit", label: "by hand", bound: 0.9 },
  } as const;
  return {
    title: "Trigger: the targets of one row a transaction",
    note:
      "Shares of the table before. What the event inserted by hand keeps is the most that any " +
      "capture into this queue could.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: eachSetting((operation, setting) => {
      const { other, label, bound } = references[setting.clients as keyof typeof references];
      const row = (candidate: Candidate, who: string, judge: (share: number) => string[]) => {
        const share = samples.pairedRatio(
          sampleName(operation, setting, candidate),
          sampleName(operation, setting, other),
        );
        const text = `${OPERATIONS[operation]}, ${nameOf(setting)}: ${who} of ${label}`;
        return [text, formatNumber(share, 2), ...judge(share)];
      };
      const ours = row("ours", "share", (share) => target(share, "≥", bound, { digits: 2 }));
      return other === "none" ? [ours, row("limit", "by hand's share", () => NO_TARGET)] : [ours];
    }).flat(),
  };
}

function eachSetting<Row>(rowOf: (operation: Operation, setting: Setting) => Row): Row[] {
  return operations().flatMap((operation) => SETTINGS.map((setting) => rowOf(operation, setting)));
}

function labels(operation: Operation, { clients, commit }: Setting): string[] {
  return [OPERATIONS[operation], String(clients), commit];
}

function nameOf({ clients, commit }: Setting): string {
  return `${clients} client${clients > 1 ? "s" : ""}, synchronous_commit ${commit}`;
}

function sampleName(operation: Operation, setting: Setting, candidate: Candidate): string {
  return `${operation} ${nameOf(setting)} ${candidate}`;
}
