import { setTimeout as sleep } from "node:timers/promises";

/** Wait until it holds; no test sleeps for a fixed time. The timeout only ends what hangs. */
export async function waitFor(
  condition: () => Promise<boolean> | boolean,
  { timeoutMs = 60_000 } = {},
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`Not so after ${timeoutMs} ms: ${condition}`);
    await sleep(10);
  }
}
