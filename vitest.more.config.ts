import { defineConfig } from "vitest/config";

/** Tests of the test servers themselves, and what takes longer than its worth in each run. */
export const MORE = [
  "test/dependencies.test.ts",
  "test/faults/broker-disk.test.ts",
  "test/faults/standby.test.ts",
  "test/faults/transactions.test.ts",
  "test/local/**/*.test.ts",
  "test/support/committed.test.ts",
  "test/transactions/acls.test.ts",
  "test/transactions/transactional.test.ts",
  "test/transactions/process.test.ts",
  "test/transactions/unknown.test.ts",
  "test/relay/by-hand.test.ts",
  "test/relay/hostile-values.test.ts",
  "test/relay/interleaving.test.ts",
  "test/relay/lanes.test.ts",
  "test/relay/lanes-model.test.ts",
  "test/relay/linger.test.ts",
  "test/relay/markers.test.ts",
  "test/relay/one-trip.test.ts",
  "test/relay/refused.test.ts",
  "test/relay/snapshot.test.ts",
  "test/relay/replay.test.ts",
  "test/relay/replay-drain.test.ts",
  "test/relay/replay-model.test.ts",
  "test/relay/replay-more.test.ts",
  "test/relay/status.test.ts",
  "test/relay/snapshot-drain.test.ts",
  "test/relay/snapshot-order.test.ts",
  "test/relay/snapshot-model.test.ts",
  "test/relay/tls.test.ts",
  "test/sql/alter.test.ts",
  "test/sql/hostile.test.ts",
  "test/sql/nested.test.ts",
  "test/sql/partitions.test.ts",
  "test/sql/replication.test.ts",
  "test/sql/snapshot.test.ts",
  "test/sql/too-old.test.ts",
  "test/sql/upgrade.test.ts",
];

export default defineConfig({
  test: {
    include: MORE,
    globalSetup: "test/local/warm-up.ts",
    testTimeout: 180_000,
    hookTimeout: 180_000,
    // kafkajs sets timers in the past, which Node 24 warns of; for Vitest itself, see package.json.
    execArgv: ["--disable-warning=TimeoutNegativeWarning"],
    maxWorkers: 3,
  },
});
