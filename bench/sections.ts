import type { Section } from "./bench.ts";
import { benchCompression } from "./compression.ts";
import { benchDelivery } from "./delivery.ts";
import { benchDrain } from "./drain.ts";
import { benchHuge } from "./huge.ts";
import { benchLanes } from "./lanes.ts";
import { benchLatency } from "./latency.ts";
import { benchDebezium } from "./peers/debezium.ts";
import { benchProfile } from "./profile.ts";
import { benchPrototypes } from "./prototypes/prototypes.ts";
import { benchQueue } from "./queue.ts";
import { benchSetup } from "./setup.ts";
import { benchShapes } from "./shapes.ts";
import { benchTrigger } from "./trigger.ts";

/** All sections, in the order of the report. */
export const SECTIONS: Record<string, SectionOptions> = {
  trigger: { run: benchTrigger, about: "what a capture costs the application's writes" },
  drain: { run: benchDrain, about: "events a second, over the backlog; --all: larger ones" },
  lanes: { run: benchLanes, about: "several drains side by side" },
  delivery: { run: benchDelivery, about: "at least once beside exactly once" },
  latency: { run: benchLatency, about: "from COMMIT to a consumer, and what lingering costs" },
  setup: { run: benchSetup, about: "of 1 M rows: how fast, and who waits how long" },
  shapes: { run: benchShapes, about: "wide and large rows, many small and one huge transaction" },
  compression: { run: benchCompression, about: "each codec, on rows that look real" },
  queue: { run: benchQueue, about: "its size on disk; --all: by the clock" },
  profile: {
    run: benchProfile,
    about: "where the drain's time goes, and the plans of its statements",
    file: "results-plans.md",
  },
  huge: {
    run: benchHuge,
    about: "10 M in the backlog, beside 1 M",
    isLong: true,
    file: "results-huge.md",
  },
  debezium: { run: benchDebezium, about: "the same from a replication slot", isLong: true },
  prototypes: {
    run: benchPrototypes,
    about: "why the queue and the capture are as they are",
    isLong: true,
    file: "results-prototypes.md",
  },
};

interface SectionOptions {
  run: Section;
  /** For --help. */
  about: string;
  /** Only with --all, or by name. */
  isLong?: boolean;
  /** Its results stand there, and not in results.md. */
  file?: string;
}
