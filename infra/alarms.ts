import { type MetricName, NAMESPACE } from "../functions/core/metrics.ts";
import type { MetricSource } from "./dashboard.ts";
import type { Settings } from "./filled-settings.ts";
import { rateMinutes } from "./schedule.ts";

const SECONDS_PER_MINUTE = 60;
const MS_PER_MINUTE = 60_000;
const WATCH_MINUTES_MIN = 5;

/** One alarm: what CloudWatch compares, and what somebody who is woken by it reads. */
export interface Alarm {
  name: string;
  description: string;
  metric: { namespace: string; name: string; dimensions: Record<string, string>; stat: string };
  comparison: "GreaterThanThreshold" | "GreaterThanOrEqualToThreshold" | "LessThanThreshold";
  threshold: number;
  /** Of one period. */
  minutes: number;
  /** All of so many must be bad. */
  periods: number;
  missing: "breaching" | "notBreaching" | "ignore";
}

/**
 * A period that holds the end of an invocation, which is when its metrics are written, however
 * long it takes. How far apart the runs of a cron schedule are, only `noRunMinutes` tells.
 */
function watchMinutes({ drain, alarms }: Settings): number {
  const apart = rateMinutes(drain.schedule) ?? alarms.noRunMinutes;
  const taken = Math.ceil(drain.timeoutSeconds / SECONDS_PER_MINUTE);
  return Math.max(WATCH_MINUTES_MIN, apart + taken);
}

/**
 * The alarms of a stage. What the drains publish is about all lanes; what Lambda does, about one,
 * for together they would hide the lane that does not run. A drain that does not run has no
 * metrics: NoRun alone watches that.
 */
export function alarmsOf(settings: Settings, source: MetricSource): Alarm[] {
  return [
    ...queueAlarms(settings, source.service),
    ...source.functionNames.flatMap((name, lane) => lambdaAlarms(settings, name, lane)),
  ];
}

function queueAlarms(settings: Settings, service: string): Alarm[] {
  const { alarms } = settings;
  const own = (name: MetricName, stat: string) => ({
    namespace: NAMESPACE,
    name,
    dimensions: { service },
    stat,
  });
  const minutes = watchMinutes(settings);
  return [
    {
      name: "Lag",
      description: `The oldest event waits for more than ${alarms.lagMinutes} minutes.`,
      metric: own("LagMs", "Maximum"),
      comparison: "GreaterThanThreshold",
      threshold: alarms.lagMinutes * MS_PER_MINUTE,
      minutes,
      periods: 1,
      missing: "ignore",
    },
    {
      name: "Parked",
      description: "Events are parked: select * from pg2kafka.parked says why.",
      metric: own("Parked", "Maximum"),
      comparison: "GreaterThanThreshold",
      threshold: 0,
      minutes,
      periods: 1,
      missing: "ignore",
    },
    {
      name: "QueueBytes",
      description: `The queue takes more than ${alarms.queueBytes} bytes of the database's disk.`,
      metric: own("QueueBytes", "Maximum"),
      comparison: "GreaterThanThreshold",
      threshold: alarms.queueBytes,
      minutes,
      periods: 1,
      missing: "ignore",
    },
  ];
}

function lambdaAlarms(settings: Settings, functionName: string, lane: number): Alarm[] {
  const { alarms } = settings;
  const number = lane === 0 ? "" : String(lane);
  const lambda = (name: string) => ({
    namespace: "AWS/Lambda",
    name,
    dimensions: { FunctionName: functionName },
    stat: "Sum",
  });
  return [
    {
      name: `Errors${number}`,
      description: `${functionName} fails: the last lines of its log say why.`,
      metric: lambda("Errors"),
      comparison: "GreaterThanOrEqualToThreshold",
      threshold: 1,
      minutes: watchMinutes(settings),
      // One failure that the next tick mends wakes nobody.
      periods: 2,
      missing: "notBreaching",
    },
    {
      name: `NoRun${number}`,
      description: `${functionName} has not run for ${alarms.noRunMinutes} minutes: look at its schedule.`,
      metric: lambda("Invocations"),
      comparison: "LessThanThreshold",
      threshold: 1,
      minutes: 1,
      periods: alarms.noRunMinutes,
      missing: "breaching",
    },
  ];
}

export function createAlarms(
  settings: Settings,
  source: MetricSource,
): aws.cloudwatch.MetricAlarm[] {
  const told = settings.alarms.snsTopicArn;
  const actions = told === undefined ? [] : [told];
  return alarmsOf(settings, source).map(
    ({ name, description, metric, comparison, threshold, minutes, periods, missing }) =>
      new aws.cloudwatch.MetricAlarm(`${name}Alarm`, {
        name: `${source.service}-${name}`,
        alarmDescription: description,
        namespace: metric.namespace,
        metricName: metric.name,
        dimensions: metric.dimensions,
        statistic: metric.stat,
        period: minutes * SECONDS_PER_MINUTE,
        evaluationPeriods: periods,
        datapointsToAlarm: periods,
        comparisonOperator: comparison,
        threshold,
        treatMissingData: missing,
        alarmActions: actions,
        okActions: actions,
      }),
  );
}
