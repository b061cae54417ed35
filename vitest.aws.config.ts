import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

/** SST's components bring their own Pulumi: tests and components must share one. */
const PULUMI = fileURLToPath(new URL(".sst/platform/node_modules/@pulumi/", import.meta.url));

/** What wants more than `npm ci` installs: SST's components, or Lambda's runtime. */
export default defineConfig({
  resolve: { alias: [{ find: /^@pulumi\//, replacement: PULUMI }] },
  test: {
    include: ["test/aws/**/*.test.ts", "test/infra/**/*.test.ts"],
    globalSetup: ["test/infra/platform.ts", "test/aws/warm-up.ts"],
    testTimeout: 180_000,
    hookTimeout: 900_000,
    // kafkajs sets timers in the past, which Node 24 warns of; for Vitest itself, see package.json.
    execArgv: ["--disable-warning=TimeoutNegativeWarning"],
    maxWorkers: 2,
  },
});
