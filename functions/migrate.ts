import { readConfig } from "./core/config.ts";
import { connectDatabase } from "./core/database.ts";
import { log } from "./core/log.ts";
import { type MigrateReport, migrate } from "./core/migrate.ts";
import { readSchema } from "./core/schema.ts";
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
