import { expect, test } from "vitest";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { newest, pidOf, type TestDatabase, useDatabase, waitFor } from "../support/database.ts";
import {
  drainSession,
  enqueue,
  expireLeases,
  LIMITS,
  NOTHING,
  PARKED_MAX,
  writer,
} from "./support.ts";

/** What commits without waiting for the disk is not there for so long. */
const server = useDatabase(newest, { settings: { wal_writer_delay: "10s" } });

/** The postmaster stays, and with it the time of its start. */
async function crash(database: TestDatabase): Promise<void> {
  const victim = database.connect();
  process.kill(await pidOf(victim), "SIGKILL");
  // A session that asks for nothing by itself, which would be nobody's to catch.
  const looking = database.connect({ fetch_types: false });
  await waitFor(() =>
    looking`select 1`.then(
      () => true,
      () => false,
    ),
  );
}

/** Let the commits of sessions that begin from now on not wait for the disk. */
async function waitForNoDisk({ name, sql }: TestDatabase): Promise<void> {
  await sql.unsafe(`alter database ${name} set synchronous_commit = off`);
  await sql`checkpoint`;
}

test("after a crash of the server, which may have forgotten what a drain has read, its lease is lost", async () => {
  const { database, sql } = server;
  const queue = createQueue(drainSession(database));
  const { lease, position } = (await queue.takeLease(60_000))!;
  const hasty = writer(database);
  await hasty`set synchronous_commit = off`;
  await enqueue(hasty, "forgotten");
  const { events, after } = await queue.fetch(position, lease.drawnId, LIMITS);
  expect(events).toHaveLength(1);

  await crash(database);
  await enqueue(sql, "later");

  const stale = createQueue(drainSession(database));
  const settling = stale.settle(lease, 60_000, { position: after, ...NOTHING }, PARKED_MAX);
  await expect(settling).rejects.toMatchObject({ code: "LEASE_LOST" });
  expect(await stale.hasWork(lease, position)).toBeNull();

  await expireLeases(sql);
  const next = createQueue(drainSession(database));
  const held = (await next.takeLease(60_000))!;
  const batch = await next.fetch(held.position, held.lease.drawnId, LIMITS);
  expect(batch.events.map(({ externalId }) => externalId)).toContain("later");
  await next.settle(held.lease, 0, { position: batch.after, ...NOTHING }, PARKED_MAX);
});

// Once in ten seconds Postgres writes to the disk by itself: then nothing is forgotten.
test("a lease that the crash has forgotten is lost, though the next one has its number", {
  retry: 3,
}, async () => {
  const { database } = server;
  await waitForNoDisk(database);
  const queue = createQueue(drainSession(database));
  const { lease, position } = (await queue.takeLease(60_000))!;
  await enqueue(writer(database), "forgotten", "forgotten too", "all of them");
  const { after } = await queue.fetch(position, lease.drawnId, LIMITS);

  await crash(database);
  const next = createQueue(drainSession(database));
  const { lease: nextLease, position: begin } = (await next.takeLease(60_000))!;
  expect(nextLease.token).toBe(lease.token);
  const careful = writer(database);
  await careful`set synchronous_commit = on`;
  const later = Array.from({ length: 8 }, (_, nth) => `later ${nth}`);
  await enqueue(careful, ...later);

  const stale = createQueue(drainSession(database));
  const settling = stale.settle(lease, 60_000, { position: after, ...NOTHING }, PARKED_MAX);
  await expect(settling).rejects.toMatchObject({ code: "LEASE_LOST" });
  expect(await stale.hasWork(lease, position)).toBeNull();
  const { events } = await next.fetch(begin, nextLease.drawnId, LIMITS);
  expect(events.map(({ externalId }) => externalId)).toEqual(later);
});

test("that a batch was begun is on disk before Kafka may have it, and so is what is in it", async () => {
  const { database } = server;
  await waitForNoDisk(database);
  const queue = createQueue(drainSession(database));
  const { lease, position } = (await queue.takeLease(60_000))!;
  await enqueue(writer(database), "hasty");
  const { after } = await queue.fetch(position, lease.drawnId, LIMITS);
  const begun = { number: "5", id: "the batch", settlement: { position: after, ...NOTHING } };
  const transaction = { sent: null, begun };
  await queue.settle(lease, 0, { position, transaction, ...NOTHING }, PARKED_MAX);

  await crash(database);
  const held = (await createQueue(drainSession(database)).takeLease(60_000))!;
  expect(held.transaction.begun?.id).toBe("the batch");
  const { events } = await createQueue(drainSession(database)).fetch(held.position, "0", LIMITS);
  expect(events.map(({ externalId }) => externalId)).toEqual(["hasty"]);
});
