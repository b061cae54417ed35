import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { expect, inject, onTestFinished, test } from "vitest";
import { migrate } from "../../functions/core/postgres/migrate.ts";
import { startPostgres } from "../local/postgres.ts";
import { createTopic } from "../local/topics.ts";
import { drainToKafka, expireLeases } from "../relay/support.ts";
import { schema } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { History } from "./history.ts";
import { report } from "./report.ts";
import { SEED } from "./seed.ts";

const DISK_MB = 192;
const CHUNK_BYTES = 65_536;
/** Far more than what fills the space that is left to tables that have been begun. */
const WRITES_MAX = 20_000;

const cluster = useKafka();

/** A disk of its own, which only root can have. */
function mountDisk(): string {
  const disk = mkdtempSync(join(tmpdir(), "pg2kafka-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_MB}m`, "tmpfs", disk]);
  chmodSync(disk, 0o777);
  onTestFinished(() => {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  });
  return disk;
}

/** Take all space that is left, of DISK_MB at most. */
function fill(file: string): void {
  try {
    for (;;) writeFileSync(file, Buffer.alloc(CHUNK_BYTES), { flag: "a" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  }
}

test.skipIf(process.getuid?.() !== 0)(
  `the disk is full: writes fail as they would without us, and all that was committed is delivered (seed ${SEED})`,
  async () => {
    const disk = mountDisk();
    const server = await startPostgres({ directory: disk, name: "disk" });
    onTestFinished(() => server.stop("immediate"));
    const name = `disk_${inject("given").run}`;
    const admin = postgres(server.url, { max: 1 });
    await admin.unsafe(`create database ${name}`);
    await admin.end();
    const url = server.url.replace(/postgres$/, name);
    const connect = (options: postgres.Options<Record<string, never>> = {}) => {
      const session = postgres(url, { max: 1, onnotice: () => {}, ...options });
      onTestFinished(() => session.end({ timeout: 1 }));
      return session;
    };
    let sql = connect();
    await migrate(sql, schema);
    await sql`create table untracked (filling text)`;
    const topic = `pg2kafka.${name}.rows`;
    await createTopic(cluster.brokers, topic, { partitions: 3 });
    const history = await History.create(sql, url, { seed: SEED });
    await history.write(sql, 20);

    const file = join(disk, "filling");
    fill(file);
    const codes = new Set<string>();
    for (let nth = 0; nth < WRITES_MAX && codes.size === 0; nth++) {
      await history.transact(sql).catch(({ code }) => codes.add(code));
    }
    const database = { name, url, sql, notices: [], connect };
    const drained = await drainToKafka(database, cluster.brokers).then(
      ({ stopped }) => stopped?.code ?? "done",
      ({ code }) => code,
    );
    const untracked = await sql`
      insert into untracked select repeat('x', 1000) from generate_series(1, 10000)`.then(
      () => "done",
      ({ code }) => code,
    );
    console.log(JSON.stringify({ codes: [...codes], untracked, drained, ...history.counts }));
    rmSync(file);
    await server.restart("immediate");

    sql = connect();
    await history.write(sql, 5);
    await expireLeases(sql);
    const last = await drainToKafka({ ...database, sql }, cluster.brokers);
    expect(last).toMatchObject({ drained: true, stopped: null });
    const { events, repeated, ...wrong } = await history.tally(sql, cluster.brokers, topic);
    report({ seed: SEED, tried: 1, events, repeated, ...wrong, ends: { [drained]: 1 } });
    expect(wrong).toEqual({ lost: 0, invented: 0, inverted: 0 });
    // Postgres' own words: the disk is full, or its log cannot be written and it ends all sessions.
    expect(["53100", "57P02", "CONNECTION_CLOSED"]).toContain([...codes][0]);
    expect(untracked).not.toBe("done");
  },
);
