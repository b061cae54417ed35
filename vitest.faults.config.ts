import { defineConfig } from "vitest/config";

/** What has no short form. */
export const ONLY_LONG = ["test/faults/load.test.ts"];

/** All faults in their long form: what takes minutes. */
export default defineConfig({
  test: {
    include: ["test/faults/**/*.test.ts"],
    env: { PG2KAFKA_TEST_FAULTS: "long" },
    reporters: ["default", "./test/faults/table.ts"],
    globalSetup: "test/local/warm-up.ts",
    testTimeout: 1_800_000,
    hookTimeout: 300_000,
    // Each fault has its turn, on servers that nobody else uses.
    fileParallelism: false,
  },
});
