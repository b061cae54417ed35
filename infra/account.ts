import type { Account } from "./permissions.ts";

/**
 * The account and region that the deploy goes to. Asked for at once, so that what depends on it
 * can be refused before anything is made.
 */
export async function currentAccount(): Promise<Account> {
  const [partition, region, caller] = await Promise.all([
    aws.getPartition({}),
    aws.getRegion({}),
    aws.getCallerIdentity({}),
  ]);
  return { partition: partition.partition, region: region.region, id: caller.accountId };
}
