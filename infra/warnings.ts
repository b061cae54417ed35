import { RETENTION_MS_WARNED } from "./checks.ts";
import type { Settings } from "./defaults.ts";

const MS_PER_DAY = 24 * 60 * 60 * 1000;

/** What may be meant, and may also be a mistake: printed with the outputs. */
export function warningsOf({ network, database, kafka, topics }: Settings): string[] {
  const warnings: string[] = [];
  const away = [
    ...(database.kind === "existing" ? ["database"] : []),
    ...(kafka.kind === "existing" ? ["kafka"] : []),
  ];
  if (network.kind === "new" && away.length > 0) {
    warnings.push(
      `The network is new and ${away.join(" and ")} existing: the Lambdas reach that only after ` +
        "you peer the networks, or by public addresses with network.nat.",
    );
  }
  if (
    network.kind === "new" &&
    network.nat === "none" &&
    database.kind === "existing" &&
    database.access === "secret"
  ) {
    warnings.push(
      'The Lambdas cannot read database.secretArn from a new network with nat "none": set ' +
        'network.nat, or use access "iam".',
    );
  }
  const { retentionMs } = topics;
  if (retentionMs !== undefined && retentionMs !== -1 && retentionMs < RETENTION_MS_WARNED) {
    warnings.push(
      `topics.retentionMs is ${retentionMs}: messages carry the time of the change, so one that ` +
        `waited longer in the queue expires on arrival. Keep at least ` +
        `${RETENTION_MS_WARNED / MS_PER_DAY} days (${RETENTION_MS_WARNED}), or -1.`,
    );
  }
  return warnings;
}
