import kafkajs, { type Admin } from "kafkajs";
import { afterAll, beforeAll, test } from "vitest";
import { createTopic, kafkaClient, limitMessages } from "../local/topics.ts";
import { useDatabase, waitFor } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { type Fault, FEWER_MODES, runTrial, type Trial } from "./trial.ts";

// Node does not see these names in kafkajs' CommonJS.
const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const TIMES = ofSize({ short: 1, long: 2 });
/** For a drain to notice: one that has begun sees what is new within a minute. */
const NOTICE_MS = 60_000;
/** Of a message: some of what is written is longer, and most is not. */
const LOWERED_BYTES = 900;
const NOTE_LENGTH_MAX = 2_000;
const PARTITIONS_ADDED = 3;
/** What is parked is tried again at each tick. */
const TICKS = { TIMEOUT_MS: "7000" };

const server = useDatabase();
const cluster = useKafka({
  settings: {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
  },
});
let brokers: string[];
let admin: Admin;

beforeAll(async () => {
  // Not those that were given: they may have no rights to take away.
  brokers = (await cluster.own()).bootstrap;
  admin = kafkaClient(brokers).admin();
  await admin.connect();
});
afterAll(async () => await admin?.disconnect());

/** Wait until something is parked for this reason. */
async function untilParked({ database }: Trial, code: string): Promise<void> {
  await waitFor(
    async () => {
      const parked = await database.sql`select from pg2kafka.parked where code = ${code}`;
      return parked.length > 0;
    },
    { timeoutMs: NOTICE_MS },
  );
}

const missing: Fault = async (trial) => {
  await untilParked(trial, "TOPIC_MISSING");
  await createTopic(brokers, trial.topic, { partitions: 3 });
  return true;
};

const permissionTaken: Fault = async (trial) => {
  const rule = {
    resourceType: AclResourceTypes.TOPIC,
    resourceName: trial.topic,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: "User:ANONYMOUS",
    host: "*",
    operation: trial.random(2) === 0 ? AclOperationTypes.WRITE : AclOperationTypes.DESCRIBE,
    permissionType: AclPermissionTypes.DENY,
  };
  await admin.createAcls({ acl: [rule] });
  await untilParked(trial, "TOPIC_AUTHORIZATION_FAILED");
  await admin.deleteAcls({ filters: [rule] });
  return true;
};

const limitLowered: Fault = async (trial) => {
  await limitMessages(brokers, trial.topic, LOWERED_BYTES);
  await untilParked(trial, "MESSAGE_TOO_LARGE");
  await limitMessages(brokers, trial.topic, 1_000_000);
  await trial.database.sql`select pg2kafka.requeue()`;
  return true;
};

const partitionsAdded: Fault = async ({ topic }) => {
  const before = (await admin.fetchTopicOffsets(topic)).length;
  const count = before + PARTITIONS_ADDED;
  await admin.createPartitions({ topicPartitions: [{ topic, count }] });
  await waitFor(
    async () => {
      const offsets = await admin.fetchTopicOffsets(topic).catch(() => []);
      return offsets.some(({ partition, high }) => partition >= before && high !== "0");
    },
    { timeoutMs: NOTICE_MS },
  );
  return true;
};

test.each(FEWER_MODES)(
  `a topic is missing, closed and narrowed, $delivery, lanes: $lanes (seed ${SEED})`,
  async (mode) => {
    const { database } = server;
    await runTrial({
      ...mode,
      database,
      brokers,
      env: TICKS,
      times: TIMES,
      isTopicThere: false,
      first: missing,
      faults: { "permission taken": permissionTaken, "max.message.bytes lowered": limitLowered },
      // What was refused while the limit was raised again.
      last: () => database.sql`select pg2kafka.requeue()`,
      history: { noteLengthMax: NOTE_LENGTH_MAX },
    });
  },
);

test.each(FEWER_MODES)(
  `partitions are added, $delivery, lanes: $lanes (seed ${SEED})`,
  async (mode) => {
    await runTrial({
      ...mode,
      database: server.database,
      brokers,
      env: TICKS,
      times: TIMES,
      faults: { "partitions added": partitionsAdded },
      history: { areRowsDeleted: false },
      tally: () => ({ isRepartitioned: true }),
    });
  },
);

test.each(FEWER_MODES.flatMap((mode) => Array.from({ length: TIMES }, () => mode)))(
  `a topic is deleted and made again, $delivery, lanes: $lanes (seed ${SEED})`,
  async (mode) => {
    const { database } = server;
    let goneUpTo = new Map<string, number>();
    const deleted: Fault = async (trial) => {
      await waitFor(
        async () => {
          const offsets = await admin.fetchTopicOffsets(trial.topic);
          return offsets.every(({ high }) => high !== "0");
        },
        { timeoutMs: NOTICE_MS },
      );
      await admin.deleteTopics({ topics: [trial.topic] });
      await waitFor(async () => !(await admin.listTopics()).includes(trial.topic));
      goneUpTo = await trial.history.lastSteps(database.sql);
      await untilParked(trial, "TOPIC_MISSING");
      await createTopic(brokers, trial.topic, { partitions: 3 });
      return true;
    };
    await runTrial({
      ...mode,
      database,
      brokers,
      env: TICKS,
      times: 1,
      faults: { "topic deleted": deleted },
      history: { areRowsDeleted: false },
      tally: () => ({ goneUpTo }),
    });
  },
);
