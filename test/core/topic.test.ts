import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { topicName, topicProblem } from "../../functions/core/topic.ts";

const database = "shop_test";

describe("the topic of a table", () => {
  test("is pg2kafka's for the schema public, with or without a namespace", () => {
    const table = { database, schema: "public", table: "products" };
    expect(topicName(table)).toBe("pg2kafka.shop_test.products");
    expect(topicName({ ...table, namespace: "eu" })).toBe("pg2kafka.eu.shop_test.products");
    expect(topicName({ ...table, namespace: "" })).toBe("pg2kafka.shop_test.products");
  });

  test("names every other schema", () => {
    expect(topicName({ database, schema: "sales", table: "products" })).toBe(
      "pg2kafka.shop_test.sales.products",
    );
  });

  test("writes what is not a plain letter of a schema or table as its bytes", () => {
    const table = 'Große Liste-1."x"';
    expect(topicName({ database, schema: "public", table })).toBe(
      "pg2kafka.shop_test.Gro-C3-9Fe-20Liste-2D1-2E-22x-22",
    );
  });

  test("keeps what Kafka allows of a database and a namespace", () => {
    const names = { namespace: "a.b-c", database: "shop.test-1 x", schema: "public" };
    expect(topicName({ ...names, table: "t" })).toBe("pg2kafka.a.b-c.shop.test-1-20x.t");
  });

  test("is shared by no two tables, and Kafka allows its characters", () => {
    const awkward = fc.string({ unit: fc.constantFrom("x", "y", ".", "-", "_", "2E", "2D", "é") });
    const name = fc.oneof(awkward, fc.string({ unit: "grapheme" }), fc.constant("public"));
    const pair = fc.tuple(name, name).filter((names) => names.every((text) => text !== ""));
    fc.assert(
      fc.property(pair, pair, ([schema, table], [otherSchema, otherTable]) => {
        const topic = topicName({ database, schema, table });
        const other = topicName({ database, schema: otherSchema, table: otherTable });
        expect(topic === other).toBe(schema === otherSchema && table === otherTable);
        expect(topic).toMatch(/^[A-Za-z0-9._-]+$/);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("a topic's name", () => {
  test.each(["a", "a".repeat(249), "...", "A.b_c-1"])("Kafka allows: %s", (topic) => {
    expect(topicProblem(topic)).toBeNull();
  });

  test.each([
    ["", "0 characters"],
    ["a".repeat(250), "250 characters; Kafka allows 1 to 249"],
    [".", "does not allow"],
    ["..", "does not allow"],
    ["a b", "outside [A-Za-z0-9._-]"],
  ])("Kafka does not allow: %s", (topic, problem) => {
    expect(topicProblem(topic)).toContain(problem);
  });
});
