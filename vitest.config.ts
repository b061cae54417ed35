import { configDefaults, defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // These want more than npm installs, `npm run test:aws`, or minutes, `npm run test:faults`.
    exclude: [...configDefaults.exclude, "test/aws/**", "test/infra/**", "test/faults/**"],
    globalSetup: "test/local/warm-up.ts",
    // Real servers on two cores: a test waits for conditions, and these only end what hangs.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // kafkajs sets timers in the past, which Node 24 warns of; for Vitest itself, see package.json.
    execArgv: ["--disable-warning=TimeoutNegativeWarning"],
    maxWorkers: 3,
  },
});
