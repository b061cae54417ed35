import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import { runCommand } from "../relay/command.ts";

let server: LocalPostgres;

beforeAll(async () => {
  // Autovacuum would count up transaction ids of its own.
  const settings = { autovacuum: "off" };
  server = await startPostgres({ version: 12, name: "too-old", settings });
});

afterAll(async () => await server?.stop("immediate"));

test("a Postgres that is too old is refused with a sentence, and nothing is changed", async () => {
  const sql = postgres(server.url, { max: 1 });
  const state = () => sql`
    select txid_snapshot_xmax(txid_current_snapshot()) as xact,
      (select array_agg(nspname order by 1) from pg_namespace) as schemas`;
  const before = [...(await state())];
  const { code, stdout, stderr } = await runCommand("migrate", { DATABASE_URL: server.url });
  expect(stderr).toBe(
    "MigrationError POSTGRES_TOO_OLD: This is Postgres 12.22; pg2kafka needs 13 or newer. " +
      "Nothing was changed.\n",
  );
  expect(stdout).toBe("");
  expect(code).toBe(1);
  expect([...(await state())]).toEqual(before);
  await sql.end();
});
