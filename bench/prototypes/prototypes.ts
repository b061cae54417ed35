import type { Bench } from "../bench.ts";
import { createDatabase } from "../database.ts";
import type { Table } from "../report.ts";
import { prototypeCapture } from "./capture.ts";
import { prototypeHeldSnapshot } from "./held-snapshot.ts";
import { prototypeIndexes } from "./indexes.ts";
import { prototypeSingleRow } from "./single-row.ts";

/** The measurements by which the queue and the triggers were designed. */
export async function benchPrototypes(bench: Bench): Promise<Table[]> {
  const database = await createDatabase(bench.postgres, "bench_prototypes");
  try {
    return [
      await prototypeHeldSnapshot(bench, database),
      await prototypeIndexes(bench, database),
      await prototypeCapture(bench, database),
      await prototypeSingleRow(bench, database),
    ];
  } finally {
    await database.close();
  }
}
