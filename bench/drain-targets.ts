import { LIMIT } from "./drain-limit.ts";
import { memoryTarget } from "./invocation.ts";
import {
  formatMegabytes,
  formatNumber,
  type Samples,
  TARGET_COLUMNS,
  type Table,
  target,
} from "./report.ts";

/** Debezium Server on a machine like this one, from 1 M changes; cited, not run here. */
const DEBEZIUM_EVENTS_PER_SECOND = 17_800;

/**
 * What of the drain's samples is held to a target.
 *
 * @param main the backlog that the others are compared with
 */
export function targetsTable(samples: Samples, main: number): Table {
  const name = String(main);
  const rate = samples.median(name);
  const flat = (label: string, candidate: string) => {
    const ratio = samples.pairedRatio(candidate, "alone");
    return [label, formatNumber(ratio, 2), ...target(ratio, "≥", 0.9, { digits: 2 })];
  };
  const share = samples.pairedRatio(name, LIMIT);
  const timesLoop = samples.pairedRatio(name, "loop");
  const timesDebezium = rate / DEBEZIUM_EVENTS_PER_SECOND;
  const label = `${formatNumber(main)} in the backlog`;
  const peak = samples.median(`${name} peak`);
  return {
    title: "Drain: the targets",
    note:
      `Debezium Server: ${formatNumber(DEBEZIUM_EVENTS_PER_SECOND)} events a second were measured ` +
      "on a machine like this one, from a backlog of 1 M; it was not run here (`--all` runs its " +
      "connector in Kafka Connect, see there). Flatness is against the same number of events " +
      "without what is named, drained before it in turns; that of 10 M stands in results-huge.md.",
    columns: ["", "measured", ...TARGET_COLUMNS],
    rows: [
      [
        `${label}: share of the limit`,
        formatNumber(share, 2),
        ...target(share, "≥", 0.8, { digits: 2 }),
      ],
      [`${label}: events/s (the aim)`, formatNumber(rate), ...target(rate, "≥", 60_000)],
      [`${label}: times the loop's`, formatNumber(timesLoop, 1), ...target(timesLoop, "≥", 75)],
      [
        `${label}: times Debezium's`,
        formatNumber(timesDebezium, 2),
        ...target(timesDebezium, "≥", 3),
      ],
      flat("a reader's snapshot held open: share of the rate", "reader"),
      flat("a writer's transaction held open: share of the rate", "writer"),
      flat("after three rotations: share of the rate", "rotated"),
      [`memory of the drain, ${label}`, formatMegabytes(peak), ...memoryTarget(peak)],
    ],
  };
}
