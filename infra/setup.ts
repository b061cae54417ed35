import type { Stage } from "./lambda.ts";
import { createOwnerLambda } from "./owner-lambda.ts";

/** For the table's lock it tries ten seconds; what else it does takes one. */
const TIMEOUT_SECONDS = 60;
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
