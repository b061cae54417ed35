/** The app's name, which begins the name of everything it makes. */
export const APP = "pg2kafka";

/** The Lambdas: each has its handler in `functions/<id>.ts`. */
export const LAMBDAS = ["drain", "migrate", "setup", "topics", "topics-api"] as const;
export type LambdaId = (typeof LAMBDAS)[number];

/** What a stage is called in metrics, alarms and names. */
export function serviceName(stage: string): string {
  return `${APP}-${stage}`;
}

/** Fixed, so that a command in a runbook can name it, and a policy its logs. */
export function functionName(stage: string, id: LambdaId): string {
  return `${serviceName(stage)}-${id}`;
}

export function logGroupName(stage: string, id: LambdaId): string {
  return `/aws/lambda/${functionName(stage, id)}`;
}
