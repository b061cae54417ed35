import type { Stop } from "./gate.ts";
import { isQuery } from "./requests.ts";

/** A place in a drain's work, where it can be stopped exactly. */
export interface Step extends Omit<Stop, "nth"> {
  name: string;
  server: "postgres" | "kafka";
  /** It comes so often at least in a drain of four batches. */
  times: number;
  /** Only there. */
  delivery?: "exactly-once";
  /** Comes only where part of the queue is to be emptied, or a snapshot of a table is under way. */
  needs?: "rest" | "snapshot";
  /** Another drain that works meanwhile makes this one stale; where it comes by before and after it
   *  takes its lease: if it has. */
  isUnderLease: boolean | "if taken";
}

type Kind = Pick<Step, "times"> & Partial<Step>;

/* Kafka's numbers of its requests. https://kafka.apache.org/protocol#protocol_api_keys */
const PRODUCE = 0;
const INIT_PRODUCER_ID = 22;
const ADD_PARTITIONS_TO_TXN = 24;
const END_TXN = 26;
const TXN_OFFSET_COMMIT = 28;

/** Where kafkajs writes the request's number, and the client's id. */
const API_KEY_AT = 4;
const CLIENT_ID_AT = 14;
const CLIENT_ID = "pg2kafka";

const TRANSACTIONAL: Partial<Step> = { delivery: "exactly-once" };

/** What a drain asks of Postgres and Kafka, in its order; each at two or three places. */
const STEPS: readonly Step[] = [
  ...inPostgres("taking the lease", "pg2kafka.take_lease(", { times: 1, isUnderLease: false }),
  ...inOneTrip("reading", "pg2kafka.read_events(", { times: 3, isUnderLease: "if taken" }),
  ...inOneTrip("beginning a batch", '"begun":{', { times: 3, ...TRANSACTIONAL }),
  ...inKafka("fencing", INIT_PRODUCER_ID, { times: 1, ...TRANSACTIONAL }),
  ...inKafka("noting the batch", TXN_OFFSET_COMMIT, { times: 4, ...TRANSACTIONAL }),
  ...inKafka("adding partitions", ADD_PARTITIONS_TO_TXN, { times: 3, ...TRANSACTIONAL }),
  ...inKafka("sending", PRODUCE, { times: 3 }),
  ...inKafka("committing", END_TXN, { times: 4, ...TRANSACTIONAL }),
  ...inOneTrip("settling", "pg2kafka.settle(", { times: 4 }),
  ...inPostgres("a step of a snapshot", "pg2kafka.snapshot_step(", {
    times: 1,
    needs: "snapshot",
  }),
  ...inOneTrip("emptying a part of the queue", "pg2kafka.reclaim(", { times: 1, needs: "rest" }),
  ...inOneTrip("emptying the log", "pg2kafka.reclaim_log(", { times: 1 }),
];

/** A message that is a transaction. */
function inOneTrip(name: string, part: string, kind: Kind): Step[] {
  const isRequest = isQuery(part);
  return atPlaces({ name, server: "postgres", isUnderLease: true, isRequest, ...kind });
}

/** A call within a transaction of its own. */
function inPostgres(name: string, part: string, kind: Kind): Step[] {
  const isRequest = isQuery(part);
  const next = (bytes: Buffer) => /\bcommit\b/.test(bytes.toString("latin1"));
  const step = { server: "postgres", isUnderLease: true, isRequest, ...kind } as const;
  return [
    { ...step, name: `${name}: asked for`, place: "asked" },
    { ...step, name: `${name}: done, not committed`, place: "asked", next },
    { ...step, name: `${name}: committed, not told`, place: "answered", next },
  ];
}

function inKafka(name: string, key: number, kind: Kind): Step[] {
  const isRequest = (bytes: Buffer) =>
    bytes.length > CLIENT_ID_AT + CLIENT_ID.length &&
    bytes.readInt16BE(API_KEY_AT) === key &&
    bytes.toString("latin1", CLIENT_ID_AT, CLIENT_ID_AT + CLIENT_ID.length) === CLIENT_ID;
  return atPlaces({ name, server: "kafka", isUnderLease: true, isRequest, ...kind });
}

function atPlaces(step: Omit<Step, "place">): Step[] {
  const { name } = step;
  return [
    { ...step, name: `${name}: asked for`, place: "asked" },
    { ...step, name: `${name}: half of it`, place: "half" },
    { ...step, name: `${name}: done, not told`, place: "answered" },
  ];
}

/** Those that a drain with this delivery comes by. */
export function stepsOf(delivery: string): Step[] {
  return STEPS.filter((step) => [undefined, delivery].includes(step.delivery));
}
