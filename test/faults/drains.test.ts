import { describe, expect, test } from "vitest";
import { buryDrains } from "../relay/support.ts";
import { useDatabase } from "../support/database.ts";
import { useKafka } from "../support/kafka.ts";
import { report } from "./report.ts";
import { DELIVERIES, drawSteps, Scene, untilReached } from "./scene.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { stepsOf } from "./steps.ts";

/** With two deliveries and two numbers of lanes, 200 kills together. */
const KILLS = ofSize({ short: 3, long: 50 });
/** Of these freezes, each so many-th lasts until the lease has run out by itself. */
const RUN_OUT_EVERY = 8;
/** Transactions, so that the other drain has work and takes over. */
const WRITTEN_MEANWHILE = 5;

const server = useDatabase();
const cluster = useKafka();

const scenes = DELIVERIES.flatMap((delivery) =>
  ofSize({ short: [1], long: [1, 2] }).map((lanes) => ({ delivery, lanes })),
);

describe.each(scenes)("$delivery, lanes: $lanes", ({ delivery, lanes }) => {
  const steps = stepsOf(delivery);
  /** In the long form each step. */
  const once = ofSize({ short: 1, long: steps.length });
  const setScene = () => {
    const options = { delivery, lanes, seed: SEED };
    return Scene.set(server.database, cluster.brokers, options);
  };

  test(`a drain is killed at ${KILLS} steps (seed ${SEED})`, async () => {
    const scene = await setScene();
    for (const step of drawSteps(steps, KILLS, scene.random)) {
      const stop = await scene.stopAt(step);
      const [victim, ...others] = scene.startDrains();
      await untilReached(stop, step, victim);
      victim.kill("SIGKILL");
      scene.drains.note(await victim.finished);
      stop.gate.drop();
      for (const { finished } of others) scene.drains.note(await finished);
      await buryDrains(scene.sql);
    }
    const { ends } = scene.drains;
    const tally = await scene.finish();
    report({ seed: SEED, tried: KILLS, ...tally, ends: Object.fromEntries(ends) });
    expect(ends.get("SIGKILL")).toBe(KILLS);
    expect(tally).toMatchObject({ lost: 0, invented: 0, inverted: 0 });
    if (delivery === "exactly-once") expect(tally.repeated).toBe(0);
  });

  test(`a drain is frozen at ${once} steps while another works, and thawed: it changes nothing (seed ${SEED})`, async () => {
    const scene = await setScene();
    for (const [nth, step] of drawSteps(steps, once, scene.random).entries()) {
      const stop = await scene.stopAt(step);
      const [victim, ...others] = scene.startDrains();
      await untilReached(stop, step, victim);
      victim.kill("SIGSTOP");
      const isToBeStale =
        step.isUnderLease === "if taken" ? await scene.isLeased() : step.isUnderLease;
      for (const { finished } of others) scene.drains.note(await finished);
      if ((nth + 1) % RUN_OUT_EVERY > 0) await scene.expireLeases();
      await scene.write(WRITTEN_MEANWHILE);
      await scene.drains.finish();
      const before = await scene.fingerprint();
      stop.gate.open();
      victim.kill("SIGCONT");
      scene.drains.note(await victim.finished);
      if (isToBeStale) expect(await scene.fingerprint(), step.name).toBe(before);
    }
    const { ends } = scene.drains;
    const stale = (ends.get("LEASE_LOST") ?? 0) + (ends.get("FENCED") ?? 0);
    const tally = await scene.finish();
    report({ seed: SEED, tried: once, ...tally, ends: Object.fromEntries(ends) });
    expect(tally).toMatchObject({ lost: 0, invented: 0, inverted: 0 });
    if (delivery === "exactly-once") expect(tally.repeated).toBe(0);
    expect(stale).toBeGreaterThanOrEqual(ofSize({ short: 0, long: 1 }));
  });

  test(`Postgres ends a drain's sessions at ${once} steps (seed ${SEED})`, async () => {
    const scene = await setScene();
    const terminated: Record<string, number> = {};
    for (const step of drawSteps(steps, once, scene.random)) {
      const stop = await scene.stopAt(step);
      const [victim, ...others] = scene.startDrains();
      await untilReached(stop, step, victim);
      // Of another lane's drain, too: they look alike to Postgres.
      const ended = await scene.sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'pg2kafka' and datname = current_database()`;
      expect(ended.length, step.name).toBeGreaterThan(0);
      stop.gate.open();
      for (const { finished } of [victim, ...others]) scene.drains.note(await finished);
      await buryDrains(scene.sql);
      const part = step.name.split(":")[0]!;
      terminated[part] = (terminated[part] ?? 0) + 1;
    }
    const { ends } = scene.drains;
    const tally = await scene.finish();
    report({ seed: SEED, tried: terminated, ...tally, ends: Object.fromEntries(ends) });
    expect(tally).toMatchObject({ lost: 0, invented: 0, inverted: 0 });
    if (delivery === "exactly-once") expect(tally.repeated).toBe(0);
  });
});
