import { type MetricName, NAMESPACE } from "../functions/core/metrics.ts";

const PERIOD_SECONDS = 60;
const WIDTH = 8;
const HEIGHT = 6;
const COLUMNS = 3;

type MetricRow = (string | Record<string, unknown>)[];

interface Chart {
  title: string;
  rows: MetricRow[];
  /** Of the vertical axis. */
  label?: string;
}

/** Where the metrics of one stage are. */
export interface MetricSource {
  region: string;
  /** The dimension of the drains' own metrics, the same for all lanes. */
  service: string;
  /** The dimension of Lambda's, for each lane. */
  functionNames: readonly string[];
}

/**
 * The body of the CloudWatch dashboard.
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
 */
export function dashboardBody(source: MetricSource): object {
  const widgets = charts(source).map(({ title, rows, label }, index) => ({
    type: "metric",
    x: (index % COLUMNS) * WIDTH,
    y: Math.floor(index / COLUMNS) * HEIGHT,
    width: WIDTH,
    height: HEIGHT,
    properties: {
      title,
      region: source.region,
      view: "timeSeries",
      period: PERIOD_SECONDS,
      metrics: rows,
      yAxis: { left: { min: 0, ...(label === undefined ? {} : { label, showUnits: false }) } },
    },
  }));
  return { widgets };
}

function charts({ service, functionNames }: MetricSource): Chart[] {
  const own = (name: MetricName, options: Record<string, unknown>): MetricRow => [
    NAMESPACE,
    name,
    "service",
    service,
    options,
  ];
  /** All lanes together. */
  const lambda = (name: string): MetricRow[] => {
    const id = name.toLowerCase();
    const ids = functionNames.map((_, lane) => `${id}${lane}`);
    const visible = ids.length === 1;
    const lanes = functionNames.map((functionName, lane) => {
      const options = { id: ids[lane], stat: "Sum", visible };
      return ["AWS/Lambda", name, "FunctionName", functionName, options];
    });
    const sum = [{ expression: `SUM([${ids.join(",")}])`, label: name, id }];
    return visible ? lanes : [...lanes, sum];
  };
  return [
    { title: "Lag: age of the oldest event", rows: [own("LagMs", { stat: "Maximum" })] },
    { title: "Backlog", rows: [own("Backlog", { stat: "Maximum" })] },
    {
      title: "Delivered",
      label: "events a second",
      rows: [
        own("Delivered", { id: "delivered", stat: "Sum", visible: false }),
        [{ expression: "delivered/PERIOD(delivered)", label: "Delivered", id: "rate" }],
      ],
    },
    { title: "Time of a batch", rows: [own("BatchMs", { stat: "Average" })] },
    { title: "Parked", rows: [own("Parked", { stat: "Maximum" })] },
    {
      title: "Errors",
      rows: [own("Failed", { stat: "Sum" }), ...lambda("Errors"), ...lambda("Throttles")],
    },
    {
      title: "Invocations and batches",
      rows: [...lambda("Invocations"), own("Batches", { stat: "Sum" })],
    },
    {
      title: "Time taken and left",
      rows: [own("DurationMs", { stat: "Maximum" }), own("TimeLeftMs", { stat: "Minimum" })],
    },
    {
      title: "Queue on disk, and what is kept of the delivered",
      rows: [own("QueueBytes", { stat: "Maximum" }), own("KeptBytes", { stat: "Maximum" })],
    },
    {
      title: "Rows that snapshots have still to read",
      rows: [own("SnapshotRowsLeft", { stat: "Maximum" })],
    },
    { title: "Events sent once more", rows: [own("Replayed", { stat: "Sum" })] },
  ];
}

/** The metrics of ours that a dashboard's body shows. */
export function metricsShown(source: MetricSource): string[] {
  const rows = charts(source).flatMap((chart) => chart.rows);
  return rows.flatMap(([namespace, name]) => (namespace === NAMESPACE ? [String(name)] : []));
}

export function createDashboard(source: MetricSource): aws.cloudwatch.Dashboard {
  return new aws.cloudwatch.Dashboard("Dashboard", {
    dashboardName: source.service,
    dashboardBody: JSON.stringify(dashboardBody(source)),
  });
}

/** Where it is seen. */
export function dashboardUrl({ region, service }: MetricSource): string {
  return `https://${region}.console.aws.amazon.com/cloudwatch/home?region=${region}#dashboards/dashboard/${service}`;
}
