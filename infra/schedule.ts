const RATE = /^rate\(([1-9]\d{0,4}) (minute|minutes|hour|hours)\)$/;
const CRON = /^cron\(([^\s()]+ ){5}[^\s()]+\)$/;

/** What keeps EventBridge Scheduler from taking a schedule, as a sentence; null if nothing. */
export function scheduleProblem(text: string): string | null {
  if (RATE.test(text) || CRON.test(text)) return null;
  return (
    `drain.schedule is "${text}"; it must be rate(N minutes), rate(N hours) ` +
    "or cron() with six fields."
  );
}

/** Minutes between two runs; null for cron, whose runs may be any time apart. */
export function rateMinutes(schedule: string): number | null {
  const [, count, unit] = RATE.exec(schedule) ?? [];
  if (count === undefined || unit === undefined) return null;
  return Number(count) * (unit.startsWith("hour") ? 60 : 1);
}
