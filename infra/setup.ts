import type { Stage } from "./lambda.ts";
import { createOwnerLambda } from "./owner-lambda.ts";

/** The longest there is: a table of many partitions takes its time, and so does a database that sleeps. */
const TIMEOUT_SECONDS = 900;
const MEMORY_MB = 256;

/** `setup()` for those whose database has no query editor; invoked by hand as the outputs say. */
export function createSetup(stage: Stage) {
  return createOwnerLambda(
    {
      id: "setup",
      component: "Setup",
      description: "Tracks a table: select pg2kafka.setup(table, externalId); invoked by hand",
      timeoutSeconds: TIMEOUT_SECONDS,
      memoryMb: MEMORY_MB,
    },
    stage,
  );
}
