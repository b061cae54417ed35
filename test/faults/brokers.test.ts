import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, test } from "vitest";
import { freeze } from "../local/freeze.ts";
import { type LocalBroker, type LocalKafka, startKafka } from "../local/kafka.ts";
import { type Proxy as Network, startProxy } from "../local/proxy.ts";
import { kafkaClient } from "../local/topics.ts";
import { useDatabase, waitFor } from "../support/database.ts";
import type { Random } from "../support/random.ts";
import { isKafka } from "./requests.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { type Fault, FEWER_MODES, MODES, runTrial } from "./trial.ts";

const TIMES = ofSize({ short: 1, long: 2 });
/** A broker's session is 3 s, a request's timeout 1.5 s: this is for shorter and for longer. */
const AWAY_MS_MAX = ofSize({ short: 1_000, long: 8_000 });
const ALL_AWAY_MS = 120_000;
/** Time for replicas to catch up after a broker was away. */
const CATCH_UP_MS = 1_500;
/** For a request to a broker that leads a partition. */
const CATCH_MS = 15_000;

const server = useDatabase();
const networks: Network[] = [];
let kafka: LocalKafka;

beforeAll(async () => {
  kafka = await startKafka({
    brokers: 3,
    advertise: async (port) => {
      const network = await startProxy(port);
      networks.push(network);
      return network.port;
    },
    settings: {
      // Who is named first of a partition's replicas leads it, a second later.
      "leader.imbalance.check.interval.seconds": "1",
      "leader.imbalance.per.broker.percentage": "0",
    },
  });
});
afterAll(async () => {
  await kafka?.stop();
  for (const network of networks) await network.stop();
});

interface Hit {
  broker: LocalBroker;
  network: Network;
}

/** A broker that a batch is on its way to, or has just stored it; its connection is held there. */
async function hitBroker(random: Random): Promise<Hit | undefined> {
  const stage = random(2) === 0 ? "half" : "answered";
  const first = random(kafka.brokers.length);
  for (let tries = 0; tries < kafka.brokers.length; tries++) {
    const index = (first + tries) % kafka.brokers.length;
    const [network, broker] = [networks[index]!, kafka.brokers[index]!];
    if (await network.catchRequest(isKafka("produce"), stage, CATCH_MS)) return { broker, network };
  }
  return undefined;
}

/** Kill these in the middle of a batch, and start them again. */
function kill(
  choose: (hit: LocalBroker) => LocalBroker[],
  away: (random: Random) => number,
): Fault {
  return async ({ random }) => {
    const hit = await hitBroker(random);
    if (!hit) return false;
    const brokers = choose(hit.broker);
    await Promise.all(brokers.map((broker) => broker.kill()));
    hit.network.cut();
    await sleep(away(random));
    await Promise.all(brokers.map((broker) => broker.start()));
    await sleep(CATCH_UP_MS);
    return true;
  };
}

const frozen: Fault = async ({ random }) => {
  const hit = await hitBroker(random);
  if (!hit) return false;
  freeze(hit.broker.pid);
  hit.network.thaw();
  await sleep(random(AWAY_MS_MAX));
  process.kill(hit.broker.pid, "SIGCONT");
  await sleep(CATCH_UP_MS);
  return true;
};

/** Each broker in turn, in order. */
const rollingRestart: Fault = async () => {
  for (const broker of kafka.brokers) {
    await broker.stop();
    await broker.start();
    await sleep(CATCH_UP_MS);
  }
  return true;
};

/** Leaders move from broker to broker, and all of these live. */
const leadersMoved: Fault = async ({ topic, random }) => {
  const admin = kafkaClient(kafka.bootstrap).admin();
  await admin.connect();
  try {
    const leaders = async () => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      const partitions = topics[0]!.partitions.sort((a, b) => a.partitionId - b.partitionId);
      return partitions.map(({ leader }) => leader);
    };
    const shift = 1 + random(2);
    const wanted = (await leaders()).map((leader) => ((leader - 1 + shift) % 3) + 1);
    const partitionAssignment = wanted.map((leader, partition) => ({
      partition,
      replicas: [0, 1, 2].map((more) => ((leader - 1 + more) % 3) + 1),
    }));
    await admin.alterPartitionReassignments({ topics: [{ topic, partitionAssignment }] });
    await waitFor(async () => String(await leaders()) === String(wanted), { timeoutMs: 20_000 });
    return true;
  } finally {
    await admin.disconnect();
  }
};

const awhile = (random: Random) => random(AWAY_MS_MAX);
const FAULTS: Record<string, Fault> = {
  "one killed": kill((hit) => [hit], awhile),
  "leaders moved": leadersMoved,
  // Too few are left to acknowledge anything.
  "two killed": kill((hit) => kafka.brokers.filter((one) => one !== hit), awhile),
  "all killed": kill(() => kafka.brokers, awhile),
  "one frozen": frozen,
  "rolling restart": rollingRestart,
};
/** `npm test` has those that leave most in doubt. */
const SHORT = ["one killed", "leaders moved"];

test.each(FEWER_MODES)(
  `brokers are lost, $delivery, lanes: $lanes (seed ${SEED})`,
  async (mode) => {
    const names = ofSize({ short: SHORT, long: Object.keys(FAULTS) });
    await runTrial({
      ...mode,
      database: server.database,
      brokers: kafka.bootstrap,
      times: TIMES,
      faults: Object.fromEntries(names.map((name) => [name, FAULTS[name]!])),
    });
  },
);

test.each(ofSize({ short: [], long: MODES }))(
  `all brokers are away for minutes, $delivery, lanes: $lanes (seed ${SEED})`,
  async (mode) => {
    await runTrial({
      ...mode,
      database: server.database,
      brokers: kafka.bootstrap,
      times: 1,
      faults: {
        "all away": kill(
          () => kafka.brokers,
          () => ALL_AWAY_MS,
        ),
      },
    });
  },
);
