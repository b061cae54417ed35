import { configDefaults, defineConfig } from "vitest/config";
import { ONLY_LONG } from "./vitest.faults.config.ts";
import { MORE } from "./vitest.more.config.ts";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Other commands run these: test:aws (wants more than npm installs), test:more, test:faults.
    exclude: [...configDefaults.exclude, "test/aws/**", "test/infra/**", ...ONLY_LONG, ...MORE],
    globalSetup: "test/local/warm-up.ts",
    // Real servers on two cores: a test waits for conditions, and these only end what hangs.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // kafkajs sets timers in the past, which Node 24 warns of; for Vitest itself, see package.json.
    execArgv: ["--disable-warning=TimeoutNegativeWarning"],
    maxWorkers: 4,
  },
});
