import { describe, expect, test } from "vitest";
import { messageFormat, type QueueEvent } from "../../functions/core/message.ts";

const queueId = "7a6c1d0e-53a5-4f0c-9a55-0d7c1d0a6f11";
const toMessage = messageFormat({ queueId, database: "shop_test" });

/** The SNAPSHOT event of pg2kafka's README. */
const snapshot: QueueEvent = {
  id: "1",
  uuid: "ea76e080-6acd-413a-96b3-131a42ab1002",
  externalId: "CM01-B",
  schema: "public",
  table: "products",
  statement: "SNAPSHOT",
  data: '{"id":2,"sku":"CM01-B","name":"Blue Coffee Mug"}',
  createdAtMicros: micros("2017-11-02T16:14:36Z", 709_116),
  replay: null,
};

function micros(second: string, fraction: number): string {
  return String(BigInt(Date.parse(second)) * 1000n + BigInt(fraction));
}

function createdAt(createdAtMicros: string): string {
  return JSON.parse(toMessage({ ...snapshot, createdAtMicros }).value).created_at;
}

describe("a message", () => {
  test("has the value that pg2kafka's README shows for a SNAPSHOT", () => {
    expect(toMessage(snapshot).value).toBe(
      '{"uuid":"ea76e080-6acd-413a-96b3-131a42ab1002","external_id":"CM01-B",' +
        '"statement":"SNAPSHOT","data":{"id":2,"sku":"CM01-B","name":"Blue Coffee Mug"},' +
        '"created_at":"2017-11-02T16:14:36.709116Z"}',
    );
  });

  test("has the value that pg2kafka's README shows for an UPDATE", () => {
    const update = {
      ...snapshot,
      uuid: "d6521ce5-4068-45e4-a9ad-c0949033a55b",
      externalId: "CM01-R",
      statement: "UPDATE",
      data: '{"name":"Big Red Coffee Mug"}',
      createdAtMicros: micros("2017-11-02T16:15:13Z", 940_770),
    };
    expect(toMessage(update).value).toBe(
      '{"uuid":"d6521ce5-4068-45e4-a9ad-c0949033a55b","external_id":"CM01-R",' +
        '"statement":"UPDATE","data":{"name":"Big Red Coffee Mug"},' +
        '"created_at":"2017-11-02T16:15:13.94077Z"}',
    );
  });

  test("goes to the topic of its table, at the time of its event, under its external id", () => {
    const message = toMessage(snapshot);
    expect(message.topic).toBe("pg2kafka.shop_test.products");
    expect(message.timestampMs).toBe(String(Date.parse("2017-11-02T16:14:36.709Z")));
    expect(message.key).toEqual(Buffer.from("CM01-B"));
    expect(message.broadcast).toBe(false);
  });

  test("says in its headers where it comes from", () => {
    expect(toMessage(snapshot).headers).toEqual({
      "pg2kafka-uuid": snapshot.uuid,
      "pg2kafka-queue": queueId,
      "pg2kafka-table": "public.products",
      "pg2kafka-statement": "SNAPSHOT",
    });
  });

  test.each([
    ["sales", "Products", 'sales."Products"'],
    ["my sales", 'a"b', '"my sales"."a""b"'],
    ["a.b", "größe", '"a.b"."größe"'],
  ])("quotes the table's name where SQL needs it: %s, %s", (schema, table, header) => {
    const { headers } = toMessage({ ...snapshot, schema, table });
    expect(headers["pg2kafka-table"]).toBe(header);
  });

  test.each(['"', "\\", "\n", "\u0001", "é", "😀", 'a"b\\c'])(
    "escapes the external id %j as JSON needs it, and not in the key",
    (externalId) => {
      const { key, value } = toMessage({ ...snapshot, externalId });
      expect(JSON.parse(value.toString()).external_id).toBe(externalId);
      expect(key?.toString()).toBe(externalId);
    },
  );

  test("has an empty key for an empty external id, and a null one for none", () => {
    expect(toMessage({ ...snapshot, externalId: "" }).key).toEqual(Buffer.alloc(0));
    const none = toMessage({ ...snapshot, externalId: null });
    expect(none.key).toBeNull();
    expect(none.value).toContain('"external_id":null,');
  });

  test("carries its data as it is", () => {
    const data = '{"n": 12345678901234567890.10, "a":1, "a":2, "t":"\\u00e9é"}';
    expect(toMessage({ ...snapshot, data }).value).toContain(`"data":${data},"created_at"`);
  });

  test("of a TRUNCATE has no key and no data, and goes to every partition", () => {
    const message = toMessage({ ...snapshot, statement: "TRUNCATE", data: "null" });
    expect(message.key).toBeNull();
    expect(message.broadcast).toBe(true);
    expect(JSON.parse(message.value)).toMatchObject({
      external_id: null,
      statement: "TRUNCATE",
      data: {},
    });
  });
});

describe("a message that is sent again", () => {
  const again = toMessage({ ...snapshot, replay: 4711 });
  const first = toMessage(snapshot);

  test("is the first one, with the replay's number in one header more", () => {
    const { "pg2kafka-replay": replay, ...others } = again.headers;
    expect(replay).toBe("4711");
    expect({ ...again, headers: others, bytes: 0 }).toEqual({ ...first, bytes: 0 });
  });

  test("counts the header's bytes", () => {
    expect(again.bytes - first.bytes).toBeGreaterThanOrEqual("pg2kafka-replay4711".length + 2);
  });
});

describe("created_at", () => {
  test.each([
    [709_116, "2017-11-02T16:14:36.709116Z"],
    [940_770, "2017-11-02T16:14:36.94077Z"],
    [100_000, "2017-11-02T16:14:36.1Z"],
    [7, "2017-11-02T16:14:36.000007Z"],
    [0, "2017-11-02T16:14:36Z"],
  ])("has no trailing zeros: %i µs", (fraction, text) => {
    expect(createdAt(micros("2017-11-02T16:14:36Z", fraction))).toBe(text);
  });

  test("is right before the epoch, and at it", () => {
    expect(createdAt("-1")).toBe("1969-12-31T23:59:59.999999Z");
    expect(createdAt("0")).toBe("1970-01-01T00:00:00Z");
    expect(toMessage({ ...snapshot, createdAtMicros: "-1" }).timestampMs).toBe("-1");
  });

  test("is each event's own when events of several times take turns", () => {
    const times = [0, 1, 1, 0].map((fraction) => micros("2017-11-02T16:14:36Z", fraction));
    expect(times.map(createdAt)).toEqual([
      "2017-11-02T16:14:36Z",
      "2017-11-02T16:14:36.000001Z",
      "2017-11-02T16:14:36.000001Z",
      "2017-11-02T16:14:36Z",
    ]);
  });
});
