import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inOneTrip, statement } from "../../functions/core/postgres/one-trip.ts";
import { useDatabase } from "../support/database.ts";

const server = useDatabase();
const RUNS = 100;

describe("statements in one round trip", () => {
  test("are one transaction in the mode asked for, whatever the default", async () => {
    const sql = server.database.connect({
      connection: {
        default_transaction_isolation: "serializable",
        default_transaction_read_only: true,
      },
    });
    await server.sql`create table made (id int)`;
    const xact = "select pg_current_xact_id()::text as xact";
    const [, [first], [second]] = await inOneTrip<
      [object[], { xact: string }[], { xact: string }[]]
    >(sql, "read committed read write", "insert into made values (1) returning id", xact, xact);
    expect(second).toEqual(first);
    const isolation = "select current_setting('transaction_isolation') as isolation";
    expect(await inOneTrip(sql, "read committed read write", isolation)).toEqual([
      [{ isolation: "read committed" }],
    ]);
    const writing = inOneTrip(sql, "repeatable read read only", "insert into made values (2)");
    await expect(writing).rejects.toMatchObject({ code: "25006" });
  });

  test("all fail where one does, and the connection is as before", async () => {
    const sql = server.database.connect({ max: 1 });
    await sql`create table written (id int)`;
    const failing = inOneTrip(
      sql,
      "read committed read write",
      "insert into written values (1)",
      "select 1 / 0",
    );
    await expect(failing).rejects.toMatchObject({ code: "22012" });
    expect(await sql`select * from written`).toEqual([]);
  });

  test.each(["on", "off"])("carry any value, standard_conforming_strings %s", async (setting) => {
    const sql = server.database.connect({ connection: { standard_conforming_strings: setting } });
    const unit = fc.constantFrom("$", "'", '"', "\\", ";", "\0", "\ud800", "$1", "é", "x");
    const values = fc.jsonValue({
      stringUnit: fc.oneof(unit, fc.string({ unit: "binary" })),
    });
    await fc.assert(
      fc.asyncProperty(values, async (value) => {
        const [[row]] = await inOneTrip<[{ carried: string }[]]>(
          sql,
          "read committed read write",
          statement`select ${{ value }}::json::text as carried`,
        );
        expect(JSON.parse(row!.carried)).toEqual(JSON.parse(JSON.stringify({ value })));
      }),
      { numRuns: RUNS },
    );
  });

  test("carry numbers, texts, booleans and null, and refuse a text that could end its literal", async () => {
    const values = statement`select ${-1}::int as int, ${"700:701:700"} as text, ${false}::bool as bool, ${null} as none`;
    const [[row]] = await inOneTrip<[object[]]>(server.sql, "read committed read write", values);
    expect(row).toEqual({ int: -1, text: "700:701:700", bool: false, none: null });
    expect(() => statement`select ${"$$, pg_sleep(1) --"}`).toThrow(TypeError);
  });
});
