import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Sql } from "postgres";
import type { Bench } from "./bench.ts";
import { formatNumber, type Table } from "./report.ts";

/** Those that took most. */
const PLANS_MAX = 8;

/** For the sessions that begin after it. Timing each row would slow down what is timed. */
const SETTINGS = {
  session_preload_libraries: "auto_explain",
  "auto_explain.log_min_duration": "0",
  "auto_explain.log_analyze": "on",
  "auto_explain.log_timing": "off",
  "auto_explain.log_buffers": "on",
  "auto_explain.log_wal": "on",
  "auto_explain.log_nested_statements": "on",
  "auto_explain.log_parameter_max_length": "0",
};

interface Execution {
  ms: number;
  plan: string;
}

interface Statement {
  /** Of all statements that were sent together. */
  query: string;
  /** The first node of its plan, which tells it from those. */
  node: string;
  executions: Execution[];
}

/** EXPLAIN (ANALYZE, BUFFERS, WAL) of every statement that `work` makes in the database. */
export async function benchPlans(
  { postgres }: Bench,
  sql: Sql,
  database: string,
  work: () => Promise<unknown>,
): Promise<Table[]> {
  for (const [name, value] of Object.entries(SETTINGS)) {
    await sql.unsafe(`alter database ${database} set ${name} = '${value}'`);
  }
  const log = join(dirname(postgres.dataDir), "postgres.log");
  const from = statSync(log).size;
  await work();
  const text = readFileSync(log).subarray(from).toString();
  await sql.unsafe(`alter database ${database} reset all`);

  const statements = readStatements(text).slice(0, PLANS_MAX);
  return [
    {
      title: "Drain: its statements",
      note:
        "By `auto_explain`, in a drain of their own, those that took most first; statements within " +
        "functions are counted in the functions' callers as well. Milliseconds include what " +
        "explaining costs.",
      columns: ["", "statement", "plan", "times", "ms", "in all, ms"],
      rows: statements.map(({ query, node, executions }, index) => [
        String(index + 1),
        `\`${shorten(query)}\``,
        node,
        formatNumber(executions.length),
        formatNumber(medianOf(executions).ms, 2),
        formatNumber(totalMs(executions)),
      ]),
      details: statements
        .map(({ query, executions }, index) => {
          const { ms, plan } = medianOf(executions);
          const head = `### ${index + 1}. The execution that took ${formatNumber(ms, 2)} ms, the median`;
          return `${head}\n\n\`\`\`\n${query}\n\n${plan}\n\`\`\`\n`;
        })
        .join("\n"),
    },
  ];
}

/** An entry of the log goes on in lines that begin with a tab: the query's text, then the plan. */
function readStatements(log: string): Statement[] {
  const statements = new Map<string, Statement>();
  for (const [, ms, body] of log.matchAll(/duration: ([\d.]+) ms {2}plan:\n((?:\t.*\n)+)/g)) {
    const lines = body!.trimEnd().split("\n");
    const planAt = lines.findIndex((line) => /^\t\S.* \(cost=/.test(line));
    const query = withoutValues(dedent(lines.slice(0, planAt)).replace("Query Text: ", ""));
    const plan = dedent(lines.slice(planAt));
    const [node] = plan.split("  (cost=", 1) as [string];
    const key = `${query}\n${node}`;
    const statement = statements.get(key) ?? { query, node, executions: [] };
    statement.executions.push({ ms: Number(ms), plan });
    statements.set(key, statement);
  }
  return [...statements.values()].sort((a, b) => totalMs(b.executions) - totalMs(a.executions));
}

/** As `one-trip.ts` writes them; what only sets the transaction's mode goes too. */
function withoutValues(text: string): string {
  return text
    .replace(/^set transaction.*?;/s, "")
    .replaceAll(/\$\$.*?\$\$/gs, "…")
    .trim();
}

function dedent(lines: string[]): string {
  return lines.map((line) => line.slice(1)).join("\n");
}

function shorten(query: string): string {
  const line = query.replaceAll(/\s+/g, " ").replaceAll("|", "\\|");
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

function medianOf(executions: Execution[]): Execution {
  const sorted = executions.toSorted((a, b) => a.ms - b.ms);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function totalMs(executions: Execution[]): number {
  return executions.reduce((sum, { ms }) => sum + ms, 0);
}
