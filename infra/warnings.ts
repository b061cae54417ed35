import { retentionWarning } from "../functions/core/kafka/retention.ts";
import type { Settings } from "./filled-settings.ts";
import { rateMinutes } from "./schedule.ts";

/** What may be meant, and may also be a mistake: printed with the outputs. */
export function warningsOf({
  network,
  database,
  kafka,
  topics,
  drain,
  alarms,
}: Settings): string[] {
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
  if (rateMinutes(drain.schedule) === null) {
    warnings.push(
      `alarms.noRunMinutes is ${alarms.noRunMinutes}: with ${drain.schedule} it should be longer than the ` +
        "longest time between two runs.",
    );
  }
  const { retentionMs } = topics;
  const lost =
    retentionMs === undefined ? null : retentionWarning("topics.retentionMs", retentionMs);
  if (lost !== null) warnings.push(lost);
  return warnings;
}
