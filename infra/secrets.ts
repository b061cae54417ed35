import type { Settings } from "./filled-settings.ts";

/** The one secret of the app: the database's URL, where there is neither an ARN nor IAM. */
export const DATABASE_URL_SECRET = "DatabaseUrl";

/**
 * What is wrong with the secrets, as sentences without their values. SST itself would notice a
 * missing one only when much is made already.
 *
 * @param env SST puts the stage's secrets into `SST_SECRET_<name>`
 */
export function secretProblems(
  stage: string,
  { database }: Settings,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  if (database.kind === "new" || database.access !== "url") return [];
  const url = env[`SST_SECRET_${DATABASE_URL_SECRET}`];
  const command = `npx sst secret set ${DATABASE_URL_SECRET} postgres://USER:PASSWORD@HOST/DATABASE --stage ${stage}`;
  if (!url) return [`The secret ${DATABASE_URL_SECRET} is not set: ${command}`];
  if (databaseNameOf(url) !== null) return [];
  return [
    `The secret ${DATABASE_URL_SECRET} is not a URL of the form ` +
      `postgres://USER:PASSWORD@HOST/DATABASE: ${command}`,
  ];
}

/** The database that a URL names; null when it is no such URL. */
export function databaseNameOf(url: string): string | null {
  if (!URL.canParse(url)) return null;
  const { protocol, pathname, hostname } = new URL(url);
  if (!/^postgres(ql)?:$/.test(protocol) || hostname === "" || pathname.length < 2) return null;
  try {
    return decodeURIComponent(pathname.slice(1));
  } catch {
    return null;
  }
}
