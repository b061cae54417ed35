import { describe, expect, test } from "vitest";
import { Reader } from "../relay/reader.ts";
import { newest, useDatabase } from "../support/database.ts";
import { clearEvents, readBriefly } from "../support/events.ts";

/* The kind of generated column that is the default since Postgres 18. It has no value in a trigger,
   and a transition table's may not be named. */
describe.runIf(newest >= 18)("virtual generated columns", () => {
  const pg = useDatabase(newest);

  test.each(["", "partition by list (id)"])(
    "are in no event and fail no write, also those that fail to be read: %s",
    async (partitioned) => {
      const { sql, database } = pg;
      await sql.unsafe(`
      create table t (
        id int, a int, r text, stored numeric generated always as (a * 10) stored,
        virtual text generated always as (repeat('v', a)) virtual,
        failing int generated always as (1 / a) virtual
      ) ${partitioned}`);
      if (partitioned) await sql`create table t_1 partition of t default`;
      await sql`insert into t (id, a) values (1, 0)`;
      await expect(sql`select pg2kafka.setup('t', 'virtual')`).rejects.toMatchObject({
        code: "42P10",
        hint: expect.stringContaining("STORED"),
      });
      await sql`select pg2kafka.setup('t', 'id')`;
      await sql`insert into t (id, a) values (2, 1), (3, 2)`;
      await sql`update t set a = 0 where id = 2`;
      await sql`update t set r = 'r' where id <> 2`;
      await sql`delete from t where id = 3`;
      const row = (id: string, a: string) => ({ id, a, r: null, stored: a === "0" ? a : `${a}0` });
      expect(await readBriefly(sql)).toEqual([
        ["SNAPSHOT", "1", row("1", "0")],
        ["INSERT", "2", row("2", "1")],
        ["INSERT", "3", row("3", "2")],
        ["UPDATE", "2", { a: "0", stored: "0" }],
        ["UPDATE", "1", { r: "r" }],
        ["UPDATE", "3", { r: "r" }],
        ["DELETE", "3", {}],
      ]);
      await clearEvents(sql);

      // Not compiled for the columns as they are; then compiled again.
      await sql`alter table t drop r, add more text generated always as ('m' || a) virtual, add b int`;
      for (const id of [4, 6]) {
        await sql`insert into t (id, a, b) values (${id}, 1, 1), (${id + 1}, 1, 1)`;
        await sql`update t set b = 2 where id >= ${id}`;
        await sql`delete from t where id = ${id}`;
        const key = String(id);
        const next = String(id + 1);
        const inserted = { a: "1", stored: "10", b: "1" };
        expect(await readBriefly(sql)).toEqual([
          ["INSERT", key, { id: key, ...inserted }],
          ["INSERT", next, { id: next, ...inserted }],
          ["UPDATE", key, { b: "2" }],
          ["UPDATE", next, { b: "2" }],
          ["DELETE", key, {}],
        ]);
        await clearEvents(sql);
        await sql`select pg2kafka.refresh_captures()`;
      }
      expect(await sql`select pg2kafka.refresh_captures() as count`).toEqual([{ count: 0 }]);

      // By the drain; a condition may name them.
      await sql`select pg2kafka.snapshot('t', 'virtual <> '''' and more is not null')`;
      const reader = await Reader.open(database);
      await reader.finish();
      expect(reader.events.map(({ statement, data }) => [statement, data])).toEqual(
        ["5", "7"].map((id) => ["SNAPSHOT", { id, a: "1", stored: "10", b: "2" }]),
      );
    },
  );
});
