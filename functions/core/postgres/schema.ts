import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

/** One `.sql` file. */
export interface SqlFile {
  /** The file's name without its folder and its ending; no two have the same. */
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

/** The files in a folder and in those below it, by name. */
function readFolder(folder: string): SqlFile[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".sql"))
    .map((file) => {
      const text = readFileSync(join(folder, file), "utf8");
      const checksum = createHash("sha256").update(text).digest("hex");
      return { name: basename(file, ".sql"), text, checksum };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
