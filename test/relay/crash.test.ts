import { expect, test } from "vitest";
import { createQueue } from "../../functions/core/postgres/queue.ts";
import { newest, pidOf, useDatabase, waitFor } from "../support/database.ts";
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

test("after a crash of the server, which may have forgotten what a drain has read, its lease is lost", async () => {
  const { database, sql } = server;
  const queue = createQueue(drainSession(database));
  const { lease, position } = (await queue.takeLease(60_000))!;
  const hasty = writer(database);
  await hasty`set synchronous_commit = off`;
  await enqueue(hasty, "forgotten");
  const { events, after } = await queue.fetch(position, lease.drawnId, LIMITS);
  expect(events).toHaveLength(1);

  // The postmaster stays, and with it the time of its start.
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
