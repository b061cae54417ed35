import { lambdaRuntime } from "./lambda-runtime.ts";

/** Compile Lambda's runtime once, before tests with a time limit want it. */
export default async function warmUp(): Promise<void> {
  await lambdaRuntime();
}
