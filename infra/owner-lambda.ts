import { createLambda, type LambdaOptions, type Stage } from "./lambda.ts";

/** A Lambda that works in the database as the owner of the schema; invoked by hand. */
export function createOwnerLambda(
  options: Pick<LambdaOptions, "id" | "component" | "description" | "timeoutSeconds" | "memoryMb">,
  stage: Stage,
) {
  const { owner } = stage.database;
  return createLambda(
    {
      ...options,
      environment: { ...owner.environment, ...stage.settings.drain.variables },
      link: owner.link,
      permissions: owner.permissions,
      network: stage.network,
    },
    stage,
  );
}
