import type { Sql } from "postgres";

/** An object stands as JSON, all else as its text. */
type Value = string | number | boolean | object | null;

/**
 * Run statements in one transaction and one round trip: they go out as one message, which Postgres
 * answers when all are committed. With parameters it would be two for each statement and two for the
 * transaction, as without prepared statements the client asks for the parameters' types first.
 *
 * @param mode whatever the database's default: SERIALIZABLE would drag the application's writers
 *   into conflicts with ours
 * @param statements made with `statement`; each returns rows: of others postgres.js makes no result
 * @returns the rows of each
 */
export async function inOneTrip<Results extends object[][]>(
  sql: Sql,
  mode: "read committed read write" | "repeatable read read only",
  ...statements: string[]
): Promise<Results> {
  const message = [`set transaction isolation level ${mode}`, ...statements].join(";\n");
  const [, ...results] = await sql.unsafe(message);
  return results as unknown as Results;
}

/** SQL with values in it. @throws {TypeError} for a text that could end the literal it stands in */
export function statement(texts: TemplateStringsArray, ...values: Value[]): string {
  return String.raw({ raw: texts }, ...values.map(literal));
}

/** Nothing is special between dollars but a dollar, whatever the server's settings. */
function literal(value: Value): string {
  if (value === null) return "null";
  if (typeof value === "object") return `$$${JSON.stringify(value).replaceAll("$", "\\u0024")}$$`;
  if (String(value).includes("$")) throw new TypeError(`No "$" may be in a statement: ${value}`);
  return `$$${value}$$`;
}
