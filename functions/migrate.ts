import { readConfig } from "./core/config.ts";
import { log } from "./core/log.ts";
import { connectDatabase } from "./core/postgres/database.ts";
import { type MigrateReport, migrate } from "./core/postgres/migrate.ts";
import { readSchema } from "./core/postgres/schema.ts";
import { sqlFolder } from "./lambda.ts";

/** The one-shot migration: install the schema, or bring it up to date. */
export async function handler(): Promise<MigrateReport> {
  const config = readConfig(process.env);
  const sql = connectDatabase(config.databaseUrl);
  try {
    const report = await migrate(sql, readSchema(sqlFolder()));
    log("info", "migrated", report);
    return report;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
