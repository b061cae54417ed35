import { setTimeout as sleep } from "node:timers/promises";
import { type Command, type Finished, startCommand } from "../relay/command.ts";
import type { Environment } from "../relay/support.ts";

/** Short times, so that a fault outlasts some of them and not others. */
const QUICK = {
  REQUEST_TIMEOUT_MS: "1500",
  CONNECTION_TIMEOUT_MS: "1000",
  LEASE_MS: "5000",
  MARGIN_MS: "2000",
  TIMEOUT_MS: "20000",
  BATCH_EVENTS_MAX: "50",
} satisfies Environment;
/** More than a request takes on a busy machine: where a fault is at one place only, or over. */
export const AMPLE = {
  REQUEST_TIMEOUT_MS: "8000",
  CONNECTION_TIMEOUT_MS: "3000",
  LEASE_MS: "20000",
  MARGIN_MS: "9000",
  TIMEOUT_MS: "60000",
} satisfies Environment;
const PAUSE_MS = 200;
/** Ticks that `finish` allows: each waits for leases and parked events of those that died. */
const FINISHING_TICKS_MAX = 100;

/**
 * `npm run drain` as a schedule runs it: for each lane, one process after another, whatever they
 * end with. They linger, so that there is always one to be hit.
 */
export class Drains {
  /** How each of them ended: the code that its summary gave, or the signal; how often. */
  readonly ends = new Map<string, number>();
  readonly #env: Environment;
  readonly #lanes: number;
  readonly #current: Command[] = [];
  readonly #loops: Promise<void>[] = [];
  #isRunning = true;

  /** @param env DATABASE_URL and KAFKA_BROKER, and what else a run wants other than here */
  constructor(env: Environment, lanes = 1) {
    this.#env = { ...QUICK, LANES: String(lanes), ...env };
    this.#lanes = lanes;
  }

  start(): void {
    for (let lane = 0; lane < this.#lanes; lane++) this.#loops.push(this.#repeat(lane));
  }

  /** The process of a lane that runs now, or ran last. */
  current(lane = 0): Command {
    return this.#current[lane]!;
  }

  /** No more are started; those at work end by their own time. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    for (const command of this.#current) command.kill("SIGTERM");
    await Promise.all(this.#loops);
    this.#loops.length = 0;
    this.#isRunning = true;
  }

  /** Drain what is left. @throws when that does not come to an end */
  async finish(): Promise<void> {
    await this.stop();
    for (let tick = 0; tick < FINISHING_TICKS_MAX; tick++) {
      const commands = Array.from({ length: this.#lanes }, (_, lane) =>
        this.#run(lane, { ...AMPLE, LINGER: "false" }),
      );
      const ended = await Promise.all(commands.map(({ finished }) => finished));
      ended.forEach((one) => {
        this.note(one);
      });
      const isDone = ended.every((one) => {
        const { drained, parked, stopped } = one.summary();
        return drained === true && parked === 0 && stopped === null;
      });
      if (isDone) return;
      await sleep(PAUSE_MS);
    }
    throw new Error(`Not drained after ${FINISHING_TICKS_MAX} ticks: ${this.describeEnds()}`);
  }

  describeEnds(): string {
    return JSON.stringify(Object.fromEntries(this.ends));
  }

  async #repeat(lane: number): Promise<void> {
    while (this.#isRunning) {
      this.#current[lane] = this.#run(lane, { LINGER: "true" });
      this.note(await this.#current[lane].finished);
      await sleep(PAUSE_MS);
    }
  }

  #run(lane: number, env: Environment): Command {
    return startCommand("drain", { ...this.#env, LANE: String(lane), ...env });
  }

  /** Count how one ended that the caller has started. */
  note(finished: Finished): void {
    const end = finished.signal ?? codeOf(finished);
    this.ends.set(end, (this.ends.get(end) ?? 0) + 1);
  }
}

function codeOf(finished: Finished): string {
  try {
    return finished.summary().stopped?.code ?? "done";
  } catch {
    return `code ${finished.code}`;
  }
}
