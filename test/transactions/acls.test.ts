import kafkajs, { type AclResourceTypes } from "kafkajs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { ProduceError } from "../../functions/core/errors.ts";
import type { TransactionalSettings } from "../../functions/core/kafka/transactional.ts";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import { createTopic, kafkaClient } from "../local/topics.ts";
import { messages, newBatch, newTopic, producerFor, settingsFor } from "./support.ts";

// Node does not see these names in kafkajs' CommonJS.
const {
  AclOperationTypes: Operation,
  AclPermissionTypes,
  AclResourceTypes: Resource,
  ResourcePatternTypes,
} = kafkajs;

interface Grant {
  resource: AclResourceTypes;
  name: string;
  operation: number;
}

let kafka: LocalKafka;
let inside: string[];

beforeAll(async () => {
  kafka = await startKafka({
    settings: {
      "listener.security.protocol.map":
        "CLIENT:SASL_PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
      "sasl.enabled.mechanisms": "PLAIN",
      "listener.name.client.plain.sasl.jaas.config":
        'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="secret";',
      "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
      "super.users": "User:ANONYMOUS",
    },
  });
  inside = kafka.brokers.map(({ internalPort }) => `127.0.0.1:${internalPort}`);
});
afterAll(async () => await kafka?.stop());

/** Give Ann these rights for the time of the test. */
async function grant(grants: readonly Grant[]): Promise<void> {
  const admin = kafkaClient(inside).admin();
  await admin.connect();
  const rules = grants.map(({ resource, name, operation }) => ({
    resourceType: resource,
    resourceName: name,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: "User:ann",
    host: "*",
    operation,
    permissionType: AclPermissionTypes.ALLOW,
  }));
  await admin.createAcls({ acl: rules });
  onTestFinished(async () => {
    await admin.deleteAcls({ filters: rules });
    await admin.disconnect();
  });
}

/** Settings with which Ann connects, and the rights that she needs for them and the topic. */
function forAnn(topic: string): [TransactionalSettings, Record<string, Grant>] {
  const sasl = { mechanism: "plain" as const, username: "ann", password: "secret" };
  const settings = settingsFor(kafka.bootstrap, { sasl });
  const { transactionalId, groupId, markerTopic } = settings;
  const grants = {
    "Write on the transactional id": {
      resource: Resource.TRANSACTIONAL_ID,
      name: transactionalId,
      operation: Operation.WRITE,
    },
    "Read on the group": { resource: Resource.GROUP, name: groupId, operation: Operation.READ },
    "Read on the topic of the notes": {
      resource: Resource.TOPIC,
      name: markerTopic,
      operation: Operation.READ,
    },
    "Write on the topic": { resource: Resource.TOPIC, name: topic, operation: Operation.WRITE },
  };
  return [settings, grants];
}

describe("the rights that transactions need", () => {
  test("are these, beside a topic for the notes that is there", async () => {
    const topic = newTopic();
    await createTopic(inside, topic);
    const [settings, grants] = forAnn(topic);
    await createTopic(inside, settings.markerTopic, { partitions: 3 });
    await grant(Object.values(grants));
    const producer = producerFor(settings);
    const batch = newBatch(1);
    await producer.fence();
    expect((await producer.send(messages(topic, 0, 10), batch)).refused.size).toBe(0);
    expect(await producer.fence()).toEqual(batch);
  });

  test.each([
    // kafkajs keeps to itself what the broker said.
    ["Write on the transactional id", "AlterTransactionalId"],
    ["Read on the group", "GROUP_AUTHORIZATION_FAILED"],
    ["Read on the topic of the notes", "TOPIC_AUTHORIZATION_FAILED"],
  ])("without %s, it says which one is missing", async (missing, named) => {
    const [settings, { [missing]: _, ...grants }] = forAnn(newTopic());
    await createTopic(inside, settings.markerTopic, { partitions: 3 });
    await grant(Object.values(grants));
    const error = await producerFor(settings)
      .fence()
      .catch((error: unknown) => error as ProduceError);
    expect(error).toMatchObject({ code: "TRANSACTION_REFUSED", retriable: true });
    expect((error as ProduceError).message).toContain(named);
  });

  test("with Create on the topic of the notes it is made, and without it is asked for", async () => {
    const topic = newTopic();
    await createTopic(inside, topic);
    const [settings, grants] = forAnn(topic);
    await grant(Object.values(grants));
    await expect(producerFor(settings).fence()).rejects.toMatchObject({
      code: "TRANSACTION_REFUSED",
      message: expect.stringMatching(/TOPIC_AUTHORIZATION_FAILED.*Create/),
    });
    const name = settings.markerTopic;
    await grant([{ resource: Resource.TOPIC, name, operation: Operation.CREATE }]);
    const producer = producerFor(settings);
    await producer.fence();
    const batch = newBatch(1);
    await producer.send(messages(topic, 0, 10), batch);
    expect(await producer.fence()).toEqual(batch);
  });

  test("without Write on a topic, its messages are refused and the others are committed", async () => {
    const [topic, denied] = [newTopic(), newTopic()];
    for (const name of [topic, denied]) await createTopic(inside, name);
    const [settings, grants] = forAnn(topic);
    await createTopic(inside, settings.markerTopic, { partitions: 3 });
    const describe = { resource: Resource.TOPIC, name: denied, operation: Operation.DESCRIBE };
    await grant([...Object.values(grants), describe]);
    const producer = producerFor(settings);
    await producer.fence();
    const content = [...messages(topic, 0, 10), ...messages(denied, 10, 2)];
    const { refused } = await producer.send(content, newBatch(1));
    expect([...refused.keys()].sort()).toEqual([10, 11]);
    expect(refused.get(10)).toMatchObject({ code: "TOPIC_AUTHORIZATION_FAILED", scope: "topic" });
  });
});
