import type { Config } from "./core/config.ts";
import { ConfigError } from "./core/errors.ts";
import { log } from "./core/log.ts";
import { reachDatabase } from "./core/postgres/database.ts";
import { isOwnText } from "./core/postgres/failures.ts";
import { answer, lambdaConfig } from "./lambda.ts";

/** `select pg2kafka.setup(table, external id)`, for a database without a query editor. */
export interface SetupEvent {
  /** As in SQL: `products`, `sales."Orders"`. */
  table: string;
  /** The column that becomes the messages' key. */
  externalId: string;
}

export interface SetupReport extends SetupEvent {
  /** False when the table was tracked before; then nothing was changed. */
  tracked: boolean;
  /** What the database said besides, such as that no unique index covers the column. */
  notices: string[];
}

/** What setup() says of a table that is tracked already. */
const SKIPPED = "WARNING";

/**
 * Track a table: from now on each change becomes an event, and each row that is there a SNAPSHOT.
 *
 * @throws what the database refuses, with its hint; nothing was changed then
 */
export async function handler(event: SetupEvent): Promise<SetupReport> {
  let config: Config | undefined;
  return await answer(
    async () => {
      const { table, externalId } = readEvent(event);
      config = await lambdaConfig();
      const notices: { severity: string; message: string }[] = [];
      const sql = await reachDatabase(config.database, ({ severity = "", message = "" }) => {
        if (isOwnText(message)) notices.push({ severity, message });
      });
      try {
        await sql.begin(
          "isolation level read committed read write",
          (tx) => tx`select pg2kafka.setup(${table}::text::regclass, ${externalId})`,
        );
      } finally {
        await sql.end({ timeout: 1 });
      }
      const report = {
        table,
        externalId,
        tracked: !notices.some(({ severity }) => severity === SKIPPED),
        notices: notices.map(({ message }) => message),
      };
      log("info", "setup", report);
      return report;
    },
    () => config,
  );
}

function readEvent(event: unknown): SetupEvent {
  const { table, externalId } = Object(event) as Partial<Record<string, unknown>>;
  const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
  if (isText(table) && isText(externalId)) return { table, externalId };
  throw new ConfigError([
    'The event must be {"table": "products", "externalId": "sku"}: the table, and the column that becomes the key.',
  ]);
}
