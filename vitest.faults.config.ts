import { defineConfig } from "vitest/config";

/** What takes minutes: streams of batches while brokers and processes are killed. */
export default defineConfig({
  test: {
    include: ["test/faults/**/*.test.ts"],
    globalSetup: "test/local/warm-up.ts",
    testTimeout: 1_800_000,
    hookTimeout: 300_000,
    // Each fault has its turn, on servers that nobody else uses.
    fileParallelism: false,
  },
});
