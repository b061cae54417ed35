/** The app's name, which begins the name of everything it makes. */
export const APP = "pg2kafka";

/** The Lambdas: each has its handler in `functions/<id>.ts`. */
export const LAMBDAS = ["drain", "migrate", "setup", "topics", "topics-api"] as const;
export type LambdaId = (typeof LAMBDAS)[number];

/** What a stage is called in metrics, alarms and names. */
export function serviceName(stage: string): string {
  return `${APP}-${stage}`;
}

/**
 * Fixed, so that a command in a runbook can name it, and a policy its logs.
 *
 * @param lane of the drains; the first has no number in its name
 */
export function functionName(stage: string, id: LambdaId, lane = 0): string {
  return `${serviceName(stage)}-${id}${lane === 0 ? "" : `-${lane}`}`;
}

/** The drains of a stage, by lane. */
export function drainNames(stage: string, lanes: number): string[] {
  return Array.from({ length: lanes }, (_, lane) => functionName(stage, "drain", lane));
}

/** Where a Lambda of that name writes its log. */
export function logGroupName(functionName: string): string {
  return `/aws/lambda/${functionName}`;
}
