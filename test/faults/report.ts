import { TestRunner } from "vitest";
import type { Tally } from "./history.ts";

/** A line of the table that `npm run test:faults` ends with. */
export interface FaultReport extends Partial<Tally> {
  seed?: number;
  /** How many faults were made; by kind, where there are several. */
  tried: number | Record<string, number>;
  /** How drains ended, and how often. */
  ends?: Record<string, number>;
}

declare module "vitest" {
  interface TaskMeta {
    fault?: FaultReport;
  }
}

/** Print what came out of the test that runs, and keep it for the table. Call it before what it says
 *  is checked. */
export function report(result: FaultReport): void {
  const task = TestRunner.getCurrentTest()!;
  task.meta.fault = result;
  console.log(`${task.name}: ${JSON.stringify(result)}`);
}
