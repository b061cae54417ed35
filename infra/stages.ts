import type { StageSettings } from "./settings.ts";

/**
 * What each stage is made of: the one file to edit. A stage that is not listed is refused, so a
 * typing error in `--stage` makes nothing. What is left out has the default in settings.ts.
 */
export const STAGES: Readonly<Record<string, StageSettings>> = {
  /** Everything new, and all of it removed by `sst remove`. */
  dev: { removal: "remove" },
};
