import { expect, test, vi } from "vitest";
import { kafkaClient } from "../../functions/core/kafka/client.ts";
import { rememberCoordinators } from "../../functions/core/kafka/coordinators.ts";
import { useKafka } from "../support/kafka.ts";

rememberCoordinators();
const cluster = useKafka();

test("who coordinates a group is asked once, not before each request", async () => {
  const settings = {
    brokers: cluster.brokers,
    connectionTimeoutMs: 3_000,
    requestTimeoutMs: 8_000,
  };
  const admin = kafkaClient({ clientId: "test", ...settings }, 0).admin();
  const asked: string[] = [];
  admin.on(admin.events.REQUEST, ({ payload }) => asked.push(payload.apiName));
  await admin.connect();
  await admin.fetchTopicMetadata();
  const ask = (groupId: string) => admin.fetchOffsets({ groupId, topics: [] });
  // The first group of a new cluster makes the topic of the groups.
  await vi.waitFor(() => ask("first"), { timeout: 30_000 });
  asked.length = 0;
  await Promise.all([ask("a"), ask("a"), ask("b")]);
  await admin.disconnect();
  const count = (name: string) => asked.filter((one) => one === name).length;
  expect(count("OffsetFetch")).toBe(3);
  expect(count("GroupCoordinator")).toBe(2);
});
