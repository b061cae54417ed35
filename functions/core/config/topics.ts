/** A table as Postgres stores its name: unquoted, case kept. */
export interface TableName {
  schema: string;
  table: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Tables as in `setup()`, a comma between two; commas inside quotes belong to a name. */
export function readTables(env: Environment, problems: string[]): TableName[] {
  const texts = (env["TOPIC_TABLES"] ?? "").match(/(?:"(?:[^"]|"")*"|[^",])+/g) ?? [];
  const tables: TableName[] = [];
  for (const text of texts.map((each) => each.trim()).filter(Boolean)) {
    const table = parseTableName(text);
    if (table === null) problems.push(`TOPIC_TABLES has "${text}"; each is table or schema.table.`);
    else tables.push(table);
  }
  return tables;
}

/**
 * A table's name as SQL writes it: in `public` without a schema, in lower case without quotes.
 *
 * @returns null when it is no such name
 */
export function parseTableName(text: string): TableName | null {
  const name = '("(?:[^"]|"")+"|[\\p{L}_][\\p{L}\\p{N}_$]*)';
  const parts = new RegExp(`^(?:${name}\\.)?${name}$`, "u").exec(text);
  if (parts === null) return null;
  return { schema: storedName(parts[1] ?? "public"), table: storedName(parts[2]!) };
}

function storedName(written: string): string {
  if (!written.startsWith('"')) return written.toLowerCase();
  return written.slice(1, -1).replaceAll('""', '"');
}
