import { createLambda, type Stage } from "./lambda.ts";

/** A snapshot of a large table takes its time. */
const TIMEOUT_SECONDS = 900;
const MEMORY_MB = 256;

/** `setup()` for those whose database has no query editor; invoked by hand as the outputs say. */
export function createSetup(stage: Stage) {
  const { owner } = stage.database;
  return createLambda(
    {
      id: "setup",
      component: "Setup",
      description: "Tracks a table: select pg2kafka.setup(table, externalId); invoked by hand",
      timeoutSeconds: TIMEOUT_SECONDS,
      memoryMb: MEMORY_MB,
      environment: { ...owner.environment, ...stage.settings.drain.variables },
      link: owner.link,
      permissions: owner.permissions,
      network: stage.network,
    },
    stage,
  );
}
