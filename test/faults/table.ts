import { relative } from "node:path";
import type { Reporter, TestModule } from "vitest/node";
import type { FaultReport } from "./report.ts";

const COLUMNS = [
  "fault",
  "tried",
  "events",
  "lost",
  "invented",
  "repeated",
  "inverted",
  "drains ended",
];

/** Prints, at the end, a line for each fault that was tried, and how to try one again. */
export default class Table implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines: string[][] = [];
    let again = "";
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { fault } = test.meta();
        if (!fault) continue;
        lines.push([withoutSeed(test.fullName), ...cells(fault)]);
        const file = relative(process.cwd(), module.moduleId);
        again = `PG2KAFKA_TEST_SEED=${fault.seed ?? ""} npm run test:faults -- ${file} -t ${JSON.stringify(withoutSeed(test.name))}`;
      }
    }
    if (lines.length === 0) return;
    const rows = [COLUMNS, COLUMNS.map(() => "---"), ...lines];
    console.log(`\n${rows.map((row) => `| ${row.join(" | ")} |`).join("\n")}`);
    console.log(`\nAgain, with the seed that its line above has: ${again}\n`);
  }
}

function withoutSeed(name: string): string {
  return name.replace(/ \(seed \d+\)/, "");
}

function cells({ tried, events, lost, invented, repeated, inverted, ends }: FaultReport): string[] {
  const counts = [events, lost, invented, repeated, inverted].map((count) => `${count ?? ""}`);
  return [list(tried), ...counts, list(ends ?? "")];
}

function list(counts: number | string | Record<string, number>): string {
  if (typeof counts !== "object") return `${counts}`;
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}
