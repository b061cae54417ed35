import { NUMBERS } from "../functions/core/config/numbers.ts";
import type { Settings } from "./filled-settings.ts";
import { rateMinutes } from "./schedule.ts";

/** Of an invocation; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const TIMEOUT_SECONDS_MAX = 900;
/** The older invocation of a lane ends its work, and the newer one waits for the lease meanwhile. */
const INVOCATIONS = 2;
/** Beyond the next tick: MARGIN_MS, in which no batch starts, and as much for a tick that is late. */
const BEYOND_TICK_SECONDS = 30;

/**
 * How long an invocation that lingers may take: until after the next tick, so that lanes hand over
 * without a gap. Each second beyond is paid for twice, for both invocations run then.
 *
 * @returns null for cron, whose ticks may be any time apart
 */
export function lingerTimeoutSeconds(schedule: string): number | null {
  const minutes = rateMinutes(schedule);
  if (minutes === null) return null;
  return Math.min(TIMEOUT_SECONDS_MAX, minutes * 60 + BEYOND_TICK_SECONDS);
}

/** What keeps lanes that linger from handing over without a gap, as sentences. */
export function lingerProblems({ drain }: Settings): string[] {
  if (!drain.linger) return [];
  const problems: string[] = [];
  const { schedule, timeoutSeconds, reservedConcurrency } = drain;
  if (reservedConcurrency !== null && reservedConcurrency < INVOCATIONS) {
    problems.push(
      `drain.reservedConcurrency is ${reservedConcurrency}; with drain.linger it must be at least ` +
        `${INVOCATIONS}, or null: the next invocation starts before the last one ends.`,
    );
  }
  const minutes = rateMinutes(schedule);
  if (minutes === null) {
    const must = "with drain.linger it must be rate(…), so that one invocation follows another";
    return [...problems, `drain.schedule is "${schedule}"; ${must}.`];
  }
  const marginMs = Number(drain.variables["MARGIN_MS"] ?? NUMBERS.MARGIN_MS.default);
  const marginSeconds = Math.ceil(marginMs / 1000);
  const min = minutes * 60 + marginSeconds;
  const max = INVOCATIONS * minutes * 60 + marginSeconds;
  if (min > TIMEOUT_SECONDS_MAX) {
    problems.push(
      `drain.schedule is "${schedule}"; with drain.linger it must be so short that an invocation, ` +
        `of ${TIMEOUT_SECONDS_MAX} seconds at most, works until the next one.`,
    );
  } else if (timeoutSeconds < min || timeoutSeconds > max) {
    problems.push(
      `drain.timeoutSeconds is ${timeoutSeconds}; with drain.linger and ${schedule} it must be from ` +
        `${min} to ${max}: an invocation works until MARGIN_MS (${marginMs}) before its end, which ` +
        "must come after the next tick, and before the one after that.",
    );
  }
  return problems;
}
