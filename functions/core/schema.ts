import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** One `.sql` file. */
export interface SqlFile {
  /** The file's name without its ending. */
  name: string;
  text: string;
  /** SHA-256 of the text, hexadecimal. */
  checksum: string;
}

/** Everything that is installed in the database. */
export interface Schema {
  /** In the order in which they are applied; each is applied once. */
  migrations: SqlFile[];
  /** One function each, applied again whenever the text changes. */
  functions: SqlFile[];
  /** Names this schema: two of the same version are the same text. */
  version: string;
}

/**
 * Read the folder `sql/`.
 *
 * @throws when a folder is missing
 */
export function readSchema(directory: string): Schema {
  const migrations = readFolder(join(directory, "migrations"));
  const functions = readFolder(join(directory, "functions"));
  const digest = createHash("sha256");
  for (const { name, checksum } of [...migrations, ...functions]) digest.update(name + checksum);
  const last = migrations.at(-1)?.name.split("_")[0] ?? "none";
  return { migrations, functions, version: `${last}-${digest.digest("hex").slice(0, 12)}` };
}

function readFolder(folder: string): SqlFile[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".sql"))
    .sort()
    .map((file) => {
      const text = readFileSync(join(folder, file), "utf8");
      const checksum = createHash("sha256").update(text).digest("hex");
      return { name: file.slice(0, -".sql".length), text, checksum };
    });
}
