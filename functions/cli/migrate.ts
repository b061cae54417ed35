import { reachDatabase } from "../core/postgres/database.ts";
import { migrate } from "../core/postgres/migrate.ts";
import { readSchema } from "../core/postgres/schema.ts";
import { sqlFolder } from "../lambda.ts";
import { runConfigured } from "./run.ts";

const USAGE = `Usage: DATABASE_URL=postgres://user@host/database npm run migrate

Installs pg2kafka's schema in the database, or brings it up to date. Running it
again changes nothing. Also takes over from the Go service of the same name.`;

await runConfigured(USAGE, async (config) => {
  const sql = await reachDatabase(config.database);
  try {
    console.log(JSON.stringify(await migrate(sql, readSchema(sqlFolder()))));
  } finally {
    await sql.end({ timeout: 1 });
  }
  return 0;
});
