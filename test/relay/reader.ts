import type { Sql } from "postgres";
import type { FetchedEvent } from "../../functions/core/postgres/batch.ts";
import {
  createQueue,
  type Held,
  type KeepLimits,
  type Queue,
  type SnapshotLimits,
} from "../../functions/core/postgres/queue.ts";
import type { Share } from "../../functions/core/postgres/state.ts";
import type { TestDatabase } from "../support/database.ts";
import { type CapturedEvent, expectFold, parseExactly } from "../support/events.ts";
import { drainSession, expireLeases, NOTHING } from "./support.ts";

const LEASE_MS = 600_000;
const PARKED_MAX = { eventsMax: 0, bytesMax: 0 };
const STEPS_MAX = 10_000;
const WHOLE: SnapshotLimits = { rowsMax: 5_000, bytesMax: 1e7 };

/** An event of a batch, as the tests look at it. */
export function capturedOf(event: FetchedEvent): CapturedEvent {
  const { id, externalId, schema, table, statement, data } = event;
  return {
    id: String(id),
    external_id: externalId,
    table_schema: schema,
    table_name: table,
    statement,
    data: data === null ? null : (parseExactly(data) as Record<string, unknown>),
  };
}

/** Reads the queue as the drain does, one batch or step at a time, and keeps what it has read. */
export class Reader {
  /** In the order of delivery. After a kill some come twice. */
  readonly events: CapturedEvent[] = [];
  /** Sent once more, as number of the replay and uuid of the event, in the order of delivery. */
  readonly replayed: { replay: string; uuid: string }[] = [];
  /** Those of `events`. */
  readonly uuids: string[] = [];
  readonly #seen = new Set<string>();
  readonly #queue: Queue;
  readonly #sql: Sql;
  #held: Held;

  static async open(
    database: TestDatabase,
    share?: Share,
    keep: KeepLimits | null = null,
  ): Promise<Reader> {
    const queue = createQueue(drainSession(database), share, keep);
    const held = await queue.takeLease(LEASE_MS);
    if (!held) throw new Error("Somebody else holds the lease.");
    return new Reader(queue, database.sql, held);
  }

  private constructor(queue: Queue, sql: Sql, held: Held) {
    this.#queue = queue;
    this.#sql = sql;
    this.#held = held;
  }

  /** Between two spans of events. */
  get isBetween(): boolean {
    return this.#held.position.target === null;
  }

  /**
   * Read a batch, deliver and settle it.
   *
   * @param isKilled the drain is killed after the batch is delivered; another one takes over
   * @returns whether there was anything
   */
  async deliver(eventsMax = 1_000, isKilled = false): Promise<boolean> {
    const { lease, position } = this.#held;
    const limits = { eventsMax, bytesMax: 1e7, eventBytesMax: 1e7 };
    const { events, after } = await this.#queue.fetch(position, lease.drawnId, limits, lease.share);
    for (const event of events) {
      const { uuid, replay } = event;
      const copy = `${replay}/${uuid}`;
      if (this.#seen.has(copy)) continue;
      this.#seen.add(copy);
      if (replay !== null) {
        this.replayed.push({ replay: String(replay), uuid });
        continue;
      }
      this.uuids.push(uuid);
      this.events.push(capturedOf(event));
    }
    if (isKilled) await this.takeOver();
    else {
      await this.#queue.settle(lease, LEASE_MS, { position: after, ...NOTHING }, PARKED_MAX);
      this.#held.position = after;
    }
    return events.length > 0 || position.target !== null;
  }

  /** Deliver what is left of the span under way, so that a step may follow. */
  async deliverSpan(eventsMax?: number): Promise<void> {
    while (!this.isBetween) await this.deliver(eventsMax);
  }

  /** One step of a snapshot. @returns rows read; null when no step is left */
  async step(limits: Partial<SnapshotLimits> = {}): Promise<number | null> {
    const { lease, position } = this.#held;
    const { rows, isLeft, after } = await this.#queue.stepSnapshot(
      lease,
      LEASE_MS,
      { position, ...NOTHING },
      {
        ...WHOLE,
        ...limits,
      },
    );
    this.#held.position = after;
    return isLeft ? rows : null;
  }

  /** One step of a replay. @returns events put into the queue; null when no step is left */
  async stepReplay(limits: Partial<SnapshotLimits> = {}): Promise<number | null> {
    const { lease, position } = this.#held;
    const { isLeft, events } = await this.#queue.stepReplay(
      lease,
      LEASE_MS,
      { position, ...NOTHING },
      { ...WHOLE, ...limits },
    );
    return isLeft ? events : null;
  }

  /** One step of keeping what is delivered. @returns how many were kept */
  async keep(keep: KeepLimits, limits: Partial<SnapshotLimits> = {}): Promise<number> {
    const { events } = await this.#queue.keepEvents(this.#held.lease, keep, {
      ...WHOLE,
      ...limits,
    });
    return events;
  }

  /** @returns bytes that the queue has given back */
  async reclaim(keeps: boolean): Promise<number> {
    return await this.#queue.reclaim(this.#held.lease, keeps);
  }

  /** As when this drain was killed: the next one begins with what is settled. */
  async takeOver(): Promise<void> {
    await expireLeases(this.#sql);
    this.#held = (await this.#queue.takeLease(LEASE_MS))!;
  }

  /** Give the lease back. */
  async close(): Promise<void> {
    const { lease, position } = this.#held;
    await this.#queue.settle(lease, 0, { position, ...NOTHING }, PARKED_MAX);
  }

  /** Deliver all there is, and end all snapshots. */
  async finish(limits?: Partial<SnapshotLimits>): Promise<void> {
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      while (await this.deliver());
      if ((await this.step(limits)) === null) return;
    }
    throw new Error(`Not finished after ${STEPS_MAX} steps.`);
  }

  /** Check that a consumer of the events, from one of them on, would hold what the table holds. */
  async expectFold(table: string, keyColumn: string, from = 0, name = table): Promise<void> {
    const events = this.events.slice(from).filter(({ table_name }) => table_name === name);
    await expectFold(events, this.#sql, table, keyColumn);
  }

  countOf(statement: string): number {
    return this.events.filter((event) => event.statement === statement).length;
  }
}
