import { Metrics } from "@aws-lambda-powertools/metrics";
import { METRICS, type MetricName, NAMESPACE } from "./metrics.ts";

/** What is known; what is missing is not reported. */
export type MetricValues = Partial<Record<MetricName, number>>;

/** Write one line of CloudWatch's embedded metric format to standard output. */
export function writeMetrics(values: MetricValues): void {
  const metrics = new Metrics({ namespace: NAMESPACE });
  for (const name of Object.keys(METRICS) as MetricName[]) {
    const value = values[name];
    if (value !== undefined) metrics.addMetric(name, METRICS[name], value);
  }
  metrics.publishStoredMetrics();
}
