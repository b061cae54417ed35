import { DrainError } from "./core/errors.ts";

/**
 * Work until it is done or the time is up. What is given up may go on: it hears of it by the signal.
 *
 * @param giveUp lets go of what hangs
 * @throws {DrainError} TIME_UP
 */
export async function withinTime(
  timeMs: number,
  work: (signal: AbortSignal) => Promise<void>,
  giveUp: () => void,
): Promise<void> {
  const givenUp = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeUp = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      givenUp.abort();
      giveUp();
      const message =
        "The time is up, and Postgres or Kafka has not answered. The next invocation connects anew. " +
        "Check both, and the function's timeout.";
      reject(new DrainError({ code: "TIME_UP", message }));
    }, timeMs);
  });
  try {
    await Promise.race([work(givenUp.signal), timeUp]);
  } finally {
    clearTimeout(timer);
  }
}
