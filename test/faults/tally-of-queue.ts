import type { Sql } from "postgres";
import { readCommitted } from "../support/committed.ts";
import type { Tally } from "./history.ts";

/**
 * Compare what is in Kafka with the queue, which still holds what was delivered in the last minutes:
 * where a database has forgotten commits, their events come before others of the same steps. What a
 * history has committed and the queue has no more counts as lost.
 */
export async function tallyOfQueue(sql: Sql, brokers: string[], topic: string): Promise<Tally> {
  const queue = await sql<{ uuid: string; key: string }[]>`
    select uuid, external_id as key from pg2kafka.outbound_event_queue order by id`;
  const places = new Map(queue.map(({ uuid }, place) => [uuid, place]));
  const last = new Map<string | null, number>();
  const seen = new Set<string>();
  let repeated = 0;
  let inverted = 0;
  for (const { key, value } of await readCommitted(brokers, topic)) {
    const { uuid } = JSON.parse(value);
    const place = places.get(uuid);
    if (seen.has(uuid)) repeated += 1;
    else if (place !== undefined) {
      if (place < (last.get(key) ?? 0)) inverted += 1;
      last.set(key, place);
    }
    seen.add(uuid);
  }
  const inBoth = queue.filter(({ uuid }) => seen.has(uuid)).length;
  const [{ events }] = await sql<
    [{ events: number }]
  >`select count(*)::int as events from expected`;
  return {
    events,
    lost: events - inBoth,
    invented: seen.size - inBoth,
    repeated,
    inverted,
  };
}
