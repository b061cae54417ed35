import type { Config } from "./core/config.ts";
import { log } from "./core/log.ts";
import { reachDatabase } from "./core/postgres/database.ts";
import { type MigrateReport, migrate } from "./core/postgres/migrate.ts";
import { readSchema } from "./core/postgres/schema.ts";
import { answer, lambdaConfig, sqlFolder } from "./lambda.ts";

/**
 * The one-shot migration: install the schema, or bring it up to date. Again: nothing.
 *
 * @returns what was done, which is also logged
 */
export async function handler(): Promise<MigrateReport> {
  let config: Config | undefined;
  return await answer(
    async () => {
      config = await lambdaConfig();
      const sql = await reachDatabase(config.database);
      try {
        const report = await migrate(sql, readSchema(sqlFolder()));
        log("info", "migrated", report);
        return report;
      } finally {
        await sql.end({ timeout: 1 });
      }
    },
    () => config,
  );
}
