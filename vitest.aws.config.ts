import { defineConfig } from "vitest/config";

/** What wants more than `npm ci` installs: Lambda's runtime, SST's components. */
export default defineConfig({
  test: {
    include: ["test/aws/**/*.test.ts", "test/infra/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 300_000,
    maxWorkers: 2,
  },
});
