import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { handler } from "../../functions/topics-api.ts";

const CLUSTER = "arn:aws:kafka:eu-west-1:123456789012:cluster/events/6357e0b2-0e6a-4b86-a0b4-5";
const TOPICS_PATH = `/v1/clusters/${encodeURIComponent(CLUSTER)}/topics`;

interface Call {
  method: string;
  path: string;
  authorization: string;
  body: Record<string, unknown>;
}

interface Answer {
  status: number;
  error?: string;
  body?: object;
}

/** MSK's control API, as far as a test needs it: what it is asked, and scripted answers. */
let api: Server;
let calls: Call[];
let answer: (call: Call) => Answer;

const decode = (configs: unknown) => JSON.parse(Buffer.from(String(configs), "base64").toString());
const encode = (configs: object) => Buffer.from(JSON.stringify(configs)).toString("base64");

beforeEach(async () => {
  calls = [];
  answer = () => ({ status: 200, body: { status: "CREATING" } });
  api = createServer((request, response) => {
    let text = "";
    request.on("data", (chunk) => {
      text += chunk;
    });
    request.on("end", () => {
      const call = {
        method: request.method!,
        path: request.url!,
        authorization: request.headers.authorization ?? "",
        body: text === "" ? {} : JSON.parse(text),
      };
      calls.push(call);
      const { status, error, body = {} } = answer(call);
      response.writeHead(status, {
        "content-type": "application/json",
        ...(error === undefined ? {} : { "x-amzn-errortype": error }),
      });
      response.end(JSON.stringify(error === undefined ? body : { message: `says ${error}` }));
    });
  });
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
  vi.stubEnv("AWS_ENDPOINT_URL_KAFKA", `http://127.0.0.1:${(api.address() as AddressInfo).port}`);
  vi.stubEnv("AWS_REGION", "eu-west-1");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIATEST");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret-marker");
  vi.stubEnv("CLUSTER_ARN", CLUSTER);
  vi.stubEnv("DATABASE_NAME", "shop");
});

afterEach(() => {
  vi.unstubAllEnvs();
  api.close();
});

describe("topics by MSK's API", () => {
  it("are created as the settings say, by signed requests", async () => {
    vi.stubEnv("TOPIC_NAMESPACE", "eu");
    vi.stubEnv("TOPIC_PARTITIONS", "12");
    vi.stubEnv("TOPIC_REPLICATION", "2");
    vi.stubEnv("TOPIC_RETENTION_MS", "2592000000");
    vi.stubEnv("TOPIC_CLEANUP", "compact,delete");
    const report = await handler({ tables: ["products", 'sales."Orders"'] });
    expect(report).toEqual({
      created: ["pg2kafka.eu.shop.products", "pg2kafka.eu.shop.sales.Orders"],
      existing: [],
      warnings: [],
    });
    expect(calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
      `POST ${TOPICS_PATH}`,
      `POST ${TOPICS_PATH}`,
    ]);
    const { body, authorization } = calls[0]!;
    expect(authorization).toMatch(/^AWS4-HMAC-SHA256 Credential=AKIATEST\/\d+\/eu-west-1\/kafka\//);
    const { configs, ...others } = body;
    expect(others).toEqual({
      topicName: "pg2kafka.eu.shop.products",
      partitionCount: 12,
      replicationFactor: 2,
    });
    expect(decode(configs)).toEqual({
      "retention.ms": "2592000000",
      "cleanup.policy": "compact,delete",
    });
  });

  it("have six partitions and three replicas unless told otherwise, and the cluster's retention", async () => {
    vi.stubEnv("TOPIC_TABLES", "products,products");
    await handler();
    expect(calls.map(({ body }) => body)).toEqual([
      { topicName: "pg2kafka.shop.products", partitionCount: 6, replicationFactor: 3 },
    ]);
  });

  it.each(["TopicExistsException", "ConflictException"])(
    "that are there stay: %s",
    async (error) => {
      answer = ({ method }) =>
        method === "POST"
          ? { status: 409, error }
          : { status: 200, body: { configs: encode({ "retention.ms": "604800000" }) } };
      expect(await handler({ tables: ["products"] })).toEqual({
        created: [],
        existing: ["pg2kafka.shop.products"],
        warnings: [],
      });
      expect(calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
        `POST ${TOPICS_PATH}`,
        `GET ${TOPICS_PATH}/pg2kafka.shop.products`,
      ]);
    },
  );

  it("that are there and expire old messages are warned of", async () => {
    answer = ({ method }) =>
      method === "POST"
        ? { status: 409, error: "TopicExistsException" }
        : { status: 200, body: { configs: encode({ "retention.ms": "3600000" }) } };
    const { warnings } = await handler({ tables: ["products"] });
    expect(warnings).toEqual([
      'retention.ms of topic "pg2kafka.shop.products" is 3600000 ms: messages carry the time of ' +
        "the change, so one that waited longer in the queue expires on arrival. Keep at least " +
        "86400000, or -1.",
    ]);
  });

  it("that are compacted and nothing else expire nothing", async () => {
    const configs = encode({ "retention.ms": "3600000", "cleanup.policy": "compact" });
    answer = ({ method }) =>
      method === "POST"
        ? { status: 409, error: "TopicExistsException" }
        : { status: 200, body: { configs } };
    expect((await handler({ tables: ["products"] })).warnings).toEqual([]);
  });

  it("that were created a moment ago, and that the API does not know yet, are there", async () => {
    answer = ({ method }) =>
      method === "POST"
        ? { status: 409, error: "TopicExistsException" }
        : { status: 404, error: "NotFoundException" };
    expect((await handler({ tables: ["products"] })).existing).toEqual(["pg2kafka.shop.products"]);
  });

  it("wait for a controller that moves", async () => {
    let refusals = 2;
    answer = () => {
      refusals -= 1;
      if (refusals < 0) return { status: 200 };
      return { status: 400, error: "NotControllerException" };
    };
    const report = await handler({ tables: ["products"] });
    expect(report.created).toEqual(["pg2kafka.shop.products"]);
    expect(calls).toHaveLength(3);
  });

  it.each([
    [403, "ForbiddenException", "Look at the Lambda's role: kafka-cluster:CreateTopic"],
    [404, "NotFoundException", `Look at CLUSTER_ARN (${CLUSTER}).`],
    [400, "BadRequestException", "Look at TOPIC_REPLICATION (3; at most the brokers)"],
  ])("that are refused name the cause and the setting: %i %s", async (status, error, sentence) => {
    answer = () => ({ status, error });
    const failed = handler({ tables: ["products"] });
    await expect(failed).rejects.toMatchObject({ name: "TopicApiError", code: error });
    await expect(failed).rejects.toThrow(
      `MSK refused to create topic "pg2kafka.shop.products" (${error}: says ${error}).`,
    );
    await expect(failed).rejects.toThrow(sentence);
    expect(calls).toHaveLength(1);
  });

  it("ask again, a bounded number of times, when MSK is busy", async () => {
    answer = () => ({ status: 503, error: "ServiceUnavailableException" });
    await expect(handler({ tables: ["products"] })).rejects.toThrow("ServiceUnavailableException");
    expect(calls).toHaveLength(4);
  });

  it("are not asked for when the event has no tables in it, but something else", async () => {
    const failed = handler({ tables: ["products", "sales.", 7] as string[] });
    await expect(failed).rejects.toMatchObject({ name: "ConfigError" });
    await expect(failed).rejects.toThrow('The event has the table "sales."');
    await expect(failed).rejects.toThrow("The event has the table 7");
    expect(calls).toEqual([]);
  });

  it("are not asked for when a setting can't be: all problems at once", async () => {
    vi.stubEnv("CLUSTER_ARN", "events");
    vi.stubEnv("DATABASE_NAME", "");
    vi.stubEnv("TOPIC_PARTITIONS", "many");
    vi.stubEnv("TOPIC_RETENTION_MS", "1000");
    vi.stubEnv("TOPIC_CLEANUP", "shred");
    const failed = handler({ tables: ["products"] });
    await expect(failed).rejects.toThrow('CLUSTER_ARN is "events"');
    await expect(failed).rejects.toThrow("DATABASE_NAME is not set");
    await expect(failed).rejects.toThrow('TOPIC_PARTITIONS is "many"');
    await expect(failed).rejects.toThrow('TOPIC_RETENTION_MS is "1000"');
    await expect(failed).rejects.toThrow('TOPIC_CLEANUP is "shred"');
    expect(calls).toEqual([]);
  });
});
