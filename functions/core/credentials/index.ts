/* Stands in for two packages of the AWS SDK that the signers of tokens bring with them (package.json,
   overrides): its chain of credential providers with their clients is 400 kB and takes longer to
   load than all else of the drain together, and a Lambda's credentials are in its environment. */

/** What AWS requests are signed with. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  /** Of a role; long-lived keys have none. */
  sessionToken?: string;
}

/**
 * The credentials that Lambda puts into the environment: those of the function's role.
 *
 * @throws when there are none, naming the variables
 */
export async function environmentCredentials(): Promise<Credentials> {
  const accessKeyId = process.env["AWS_ACCESS_KEY_ID"];
  const secretAccessKey = process.env["AWS_SECRET_ACCESS_KEY"];
  const sessionToken = process.env["AWS_SESSION_TOKEN"];
  if (!accessKeyId || !secretAccessKey) {
    throw new Error(
      "There are no AWS credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). " +
        "A Lambda has those of its role; elsewhere: aws configure export-credentials --format env",
    );
  }
  return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
}

/** What the signers ask for when they are not given credentials. */
export function fromNodeProviderChain(): () => Promise<Credentials> {
  return environmentCredentials;
}
