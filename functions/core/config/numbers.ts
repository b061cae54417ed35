import type { Environment } from "./environment.ts";

/** A whole number from the environment. */
interface NumberSetting {
  default: number;
  min: number;
  max: number;
}

/** Every number that can be set; the README's table is checked against this one. */
export const NUMBERS = {
  BATCH_EVENTS_MAX: { default: 2_000, min: 1, max: 50_000 },
  BATCH_BYTES_MAX: { default: 8_388_608, min: 65_536, max: 67_108_864 },
  REQUEST_BYTES_MAX: { default: 900_000, min: 16_384, max: 8_388_608 },
  MESSAGE_BYTES_MAX: { default: 1_000_000, min: 1_024, max: 8_388_608 },
  REQUEST_TIMEOUT_MS: { default: 8_000, min: 1_000, max: 60_000 },
  CONNECTION_TIMEOUT_MS: { default: 3_000, min: 500, max: 30_000 },
  LEASE_MS: { default: 30_000, min: 5_000, max: 900_000 },
  MARGIN_MS: { default: 15_000, min: 1_000, max: 600_000 },
  TIMEOUT_MS: { default: 55_000, min: 2_000, max: 900_000 },
  PARKED_EVENTS_MAX: { default: 10_000, min: 1, max: 1_000_000 },
  PARKED_BYTES_MAX: { default: 268_435_456, min: 1_048_576, max: 17_179_869_184 },
  SNAPSHOT_SHARE: { default: 50, min: 1, max: 100 },
  KEEP_HOURS: { default: 0, min: 0, max: 720 },
  KEEP_BYTES_MAX: { default: 1_073_741_824, min: 67_108_864, max: 1_099_511_627_776 },
  TOPIC_PARTITIONS: { default: 6, min: 1, max: 10_000 },
  TOPIC_REPLICATION: { default: -1, min: -1, max: 32_767 },
  LANES: { default: 1, min: 1, max: 16 },
  LANE: { default: 0, min: 0, max: 15 },
  DATABASE_PORT: { default: 5_432, min: 1, max: 65_535 },
} as const satisfies Record<string, NumberSetting>;

export type NumberName = keyof typeof NUMBERS;

/** What must hold between two settings, or the invocation could not keep its promises. */
const RELATIONS: {
  holds: (n: Record<NumberName, number>) => boolean;
  says: string;
  of: NumberName[];
}[] = [
  {
    holds: (n) => n.LEASE_MS > 2 * n.REQUEST_TIMEOUT_MS,
    says: "LEASE_MS must be more than twice REQUEST_TIMEOUT_MS: a lease covers a request and its settling",
    of: ["LEASE_MS", "REQUEST_TIMEOUT_MS"],
  },
  {
    holds: (n) => n.MARGIN_MS > n.REQUEST_TIMEOUT_MS,
    says: "MARGIN_MS must be more than REQUEST_TIMEOUT_MS: a batch that starts last must end in time",
    of: ["MARGIN_MS", "REQUEST_TIMEOUT_MS"],
  },
  {
    holds: (n) => n.TIMEOUT_MS > n.MARGIN_MS,
    says: "TIMEOUT_MS must be more than MARGIN_MS: else no batch would ever start",
    of: ["TIMEOUT_MS", "MARGIN_MS"],
  },
  {
    holds: (n) => n.MESSAGE_BYTES_MAX <= n.BATCH_BYTES_MAX,
    says: "MESSAGE_BYTES_MAX must be at most BATCH_BYTES_MAX",
    of: ["MESSAGE_BYTES_MAX", "BATCH_BYTES_MAX"],
  },
  {
    holds: (n) => n.LANE < n.LANES,
    says: "LANE must be less than LANES: lanes are counted from 0",
    of: ["LANE", "LANES"],
  },
];

export function readNumbers(env: Environment, problems: string[]): Record<NumberName, number> {
  const names = Object.keys(NUMBERS) as NumberName[];
  const numbers = Object.fromEntries(
    names.map((name) => [name, readNumber(env, name, NUMBERS[name], problems)]),
  ) as Record<NumberName, number>;
  for (const { holds, says, of } of RELATIONS) {
    if (holds(numbers)) continue;
    const values = of.map((name) => `${name} is ${numbers[name]}`).join(", ");
    problems.push(`${says} (${values}).`);
  }
  return numbers;
}

/** @returns the default when it is not set, or wrong */
function readNumber(
  env: Environment,
  name: string,
  { default: standard, min, max }: NumberSetting,
  problems: string[],
): number {
  const text = env[name];
  if (text === undefined || text === "") return standard;
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  problems.push(`${name} is "${text}"; it must be a whole number from ${min} to ${max}.`);
  return standard;
}
