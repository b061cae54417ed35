import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { type LocalKafka, startKafka } from "../local/kafka.ts";
import { type Proxy as Network, type Stage, startProxy } from "../local/proxy.ts";
import type { Environment } from "../relay/support.ts";
import { useDatabase } from "../support/database.ts";
import { isKafka, isQuery } from "./requests.ts";
import { SEED } from "./seed.ts";
import { ofSize } from "./size.ts";
import { type Fault, MODES, runTrial, type Trial } from "./trial.ts";

const TIMES = ofSize({ short: 1, long: 2 });
/** Of the drains: connections that are cut need none to pass; for the others, a request's timeout is
 *  1.5 s and a lease 5 s. */
const DRAIN_TIMES: Environment = ofSize({
  short: {
    REQUEST_TIMEOUT_MS: "5000",
    CONNECTION_TIMEOUT_MS: "3000",
    MARGIN_MS: "6000",
    LEASE_MS: "12000",
  },
  long: {},
});
/** For shorter and for longer than these. */
const AWAY_MS_MAX = ofSize({ short: 1_000, long: 8_000 });
const DELAY_MS_MAX = 300;
/** For a request of the kind that is to be hit. */
const CATCH_MS = 60_000;

const server = useDatabase();
let kafka: LocalKafka;
let toKafka: Network;

beforeAll(async () => {
  kafka = await startKafka({
    advertise: async (port) => {
      toKafka = await startProxy(port);
      return toKafka.port;
    },
  });
});
afterAll(async () => {
  await kafka?.stop();
  await toKafka?.stop();
});

type Failure = (network: Network, trial: Trial) => Promise<unknown>;

/** What is done when a request has come so far. */
const FAILURES: Record<string, [Stage, Failure]> = {
  "cut in mid-request": ["half", async (network) => network.cut()],
  "cut when it is done and not answered": ["answered", async (network) => network.cut()],
  "requests lost": ["half", losing("toServer")],
  "answers lost": ["answered", losing("toClient")],
  "black hole": ["half", losing()],
  "nobody there": [
    "half",
    async (network, { random }) => {
      network.refuse();
      network.cut();
      await sleep(random(AWAY_MS_MAX));
      network.accept();
    },
  ],
  delay: [
    "half",
    async (network, { random }) => {
      network.delay(1 + random(DELAY_MS_MAX));
      network.thaw();
      await sleep(random(AWAY_MS_MAX));
      network.delay(0);
    },
  ],
  "lost for good": [
    "half",
    async (network, { drains }) => {
      network.lose();
      // By its own time, if not before.
      await drains.current().finished;
    },
  ],
};

/** `npm test` has those that leave most in doubt. */
const SHORT = ["cut in mid-request", "cut when it is done and not answered"];

/** What was lost comes after all, or never. */
function losing(direction?: "toServer" | "toClient"): Failure {
  return async (network, { random }) => {
    network.freeze(direction);
    await sleep(random(AWAY_MS_MAX));
    if (random(2) === 0) network.cut();
    network.thaw();
  };
}

function faultsOf(
  name: string,
  network: Network,
  isMeant: (bytes: Buffer) => boolean,
): Record<string, Fault> {
  const names = ofSize({ short: SHORT, long: Object.keys(FAILURES) });
  const faults = names.map((failure): [string, Fault] => {
    const [stage, fail] = FAILURES[failure]!;
    const fault: Fault = async (trial) => {
      const isHit = await network.catchRequest(isMeant, stage, CATCH_MS);
      await fail(network, trial);
      return isHit;
    };
    return [`${name}: ${failure}`, fault];
  });
  return Object.fromEntries(faults);
}

test.each(MODES)(`the network fails, $delivery, lanes: $lanes (seed ${SEED})`, async (mode) => {
  const url = new URL(server.database.url);
  const toPostgres = await startProxy(Number(url.port));
  onTestFinished(() => toPostgres.stop());
  url.port = String(toPostgres.port);
  const isLast = isKafka(mode.delivery === "exactly-once" ? "end transaction" : "produce");
  const { repeated } = await runTrial({
    ...mode,
    database: server.database,
    brokers: kafka.bootstrap,
    times: TIMES,
    env: { ...DRAIN_TIMES, DATABASE_URL: url.href },
    faults: {
      ...faultsOf("Kafka", toKafka, isLast),
      ...faultsOf("Postgres", toPostgres, isQuery("pg2kafka.settle")),
    },
  });
  // A batch whose answer is lost is sent again.
  if (mode.delivery === "at-least-once") expect(repeated).toBeGreaterThan(0);
});
