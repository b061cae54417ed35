import type { Stage } from "./lambda.ts";
import { createOwnerLambda } from "./owner-lambda.ts";

/** Long enough for a migration that waits its turn behind others. */
const TIMEOUT_SECONDS = 300;
const MEMORY_MB = 512;

/** The one-shot migration, invoked by hand as the outputs say. */
export function createMigration(stage: Stage) {
  return createOwnerLambda(
    {
      id: "migrate",
      component: "Migrate",
      description: "Installs the schema pg2kafka, or brings it up to date; invoked by hand",
      timeoutSeconds: TIMEOUT_SECONDS,
      memoryMb: MEMORY_MB,
    },
    stage,
  );
}

/** Run it at deploy: at the first, and again when its code, which includes sql/, has changed. */
export function migrateNow(
  migration: sst.aws.Function,
  { database }: Stage,
): aws.lambda.Invocation {
  return new aws.lambda.Invocation(
    "Migrated",
    {
      functionName: migration.name,
      input: "{}",
      triggers: { code: migration.nodes.function.s3Key.apply((key) => key ?? "") },
    },
    { dependsOn: database.ready },
  );
}
