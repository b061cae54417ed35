import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/* Below the ranges from which Linux (32768+) and macOS (49152+) take the ports of outgoing
   connections: there, while a server is down, a client that retries can get the server's port
   for its own end, connect to itself, and keep the server from coming back. */
const PORT_MIN = 12_000;
const PORT_MAX = 31_999;
const TRIES_MAX = 100;

/* Between looking at a port and listening there, somebody else may get the same: so each of Vitest's
   workers has ports of its own, and gives none twice. */
const WORKERS_MAX = 16;
const PORTS_EACH = Math.floor((PORT_MAX + 1 - PORT_MIN) / WORKERS_MAX);
const OWN_MIN = PORT_MIN + PORTS_EACH * (Number(process.env["VITEST_POOL_ID"] ?? 0) % WORKERS_MAX);
const given = new Set<number>();

/**
 * A port of 127.0.0.1 on which nobody listens now. It is reserved from this process and Vitest's other
 * workers, and from nobody else.
 *
 * @throws when 100 random ones are all taken
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const port = randomInt(OWN_MIN, OWN_MIN + PORTS_EACH);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
  const last = OWN_MIN + PORTS_EACH - 1;
  throw new Error(`No free port among ${TRIES_MAX} tried from ${OWN_MIN} to ${last}.`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}
