import { formatNumber } from "./report.ts";

export interface Series {
  name: string;
  /** In the order of x. */
  points: [x: number, y: number][];
}

export interface PlotOptions {
  title: string;
  xLabel: string;
  yLabel: string;
  xScale: "linear" | "logarithmic";
  /** Where the x axis ends; by default at the last point. */
  xMax?: number;
  series: Series[];
  /** Mark each point; for few of them. */
  hasDots?: boolean;
}

const WIDTH = 640;
const HEIGHT = 320;
const LEFT = 70;
const RIGHT = 150;
const TOP = 36;
const BOTTOM = 48;
const COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];
const TICKS = 5;

/** A line plot as SVG text, readable on a dark page as well. y begins at 0. */
export function linePlot(options: PlotOptions): string {
  const { title, xLabel, yLabel, series, hasDots = false } = options;
  const xTicks = ticksOfX(options);
  const yMax = Math.max(...series.flatMap(({ points }) => points.map(([, y]) => y)));
  const yStep = roundStep(yMax / TICKS);
  const yTop = Math.ceil(yMax / yStep) * yStep;
  const toX = (x: number) => LEFT + shareOfX(options, xTicks, x) * (WIDTH - LEFT - RIGHT);
  const toY = (y: number) => HEIGHT - BOTTOM - (y / yTop) * (HEIGHT - TOP - BOTTOM);

  const parts = [
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(LEFT, 20, title, "start", 14),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, xLabel),
    `<g transform="rotate(-90 16 ${HEIGHT / 2})">${text(16, HEIGHT / 2, yLabel)}</g>`,
  ];
  for (let y = 0; y <= yTop * 1.001; y += yStep) {
    parts.push(
      `<path d="M${LEFT} ${coordinate(toY(y))}H${WIDTH - RIGHT}" stroke="#ddd"/>`,
      text(LEFT - 6, toY(y) + 4, formatNumber(y, yStep < 1 ? 1 : 0), "end"),
    );
  }
  for (const x of xTicks) {
    parts.push(
      `<path d="M${coordinate(toX(x))} ${HEIGHT - BOTTOM}v5" stroke="#333"/>`,
      text(toX(x), HEIGHT - BOTTOM + 18, formatNumber(x)),
    );
  }
  series.forEach(({ name, points }, index) => {
    const colour = COLOURS[index % COLOURS.length]!;
    const places = points.map(([x, y]) => `${coordinate(toX(x))} ${coordinate(toY(y))}`);
    parts.push(
      `<path d="M${places.join("L")}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      `<path d="M${WIDTH - RIGHT + 10} ${TOP + 20 * index}h16" stroke="${colour}" stroke-width="2"/>`,
      text(WIDTH - RIGHT + 30, TOP + 20 * index + 4, name, "start"),
    );
    if (!hasDots) return;
    for (const place of places) {
      const [x, y] = place.split(" ");
      parts.push(`<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`);
    }
  });
  const size = `width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}"`;
  const open = `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif">`;
  return `${[open, `<title>${escapeMarkup(title)}</title>`, ...parts, "</svg>"].join("\n")}\n`;
}

function ticksOfX({ xScale, series, xMax }: PlotOptions): number[] {
  const all = series.flatMap(({ points }) => points.map(([x]) => x));
  const end = xMax ?? Math.max(...all);
  if (xScale === "linear") {
    const step = roundStep(end / TICKS);
    return Array.from({ length: Math.ceil(end / step) + 1 }, (_, index) => index * step);
  }
  const first = Math.floor(Math.log10(Math.min(...all)));
  const last = Math.ceil(Math.log10(end));
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

/** How far along the axis, 0 to 1. */
function shareOfX({ xScale }: PlotOptions, ticks: number[], x: number): number {
  const scale = xScale === "linear" ? (value: number) => value : Math.log10;
  const [from, to] = [scale(ticks[0]!), scale(ticks.at(-1)!)];
  return Math.min(1, (scale(x) - from) / (to - from));
}

/** 1, 2 or 5 times a power of ten, not below the value. */
function roundStep(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [1, 2, 5].find((factor) => factor * power >= value * 0.999);
  return (digit ?? 10) * power;
}

function text(x: number, y: number, content: string, anchor = "middle", size = 12): string {
  const place = `x="${coordinate(x)}" y="${coordinate(y)}"`;
  return `<text ${place} text-anchor="${anchor}" font-size="${size}" fill="#333">${escapeMarkup(content)}</text>`;
}

function coordinate(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeMarkup(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
