import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

/* Below the ranges from which Linux (32768+) and macOS (49152+) take the ports of outgoing
   connections: there, while a server is down, a client that retries can get the server's port
   for its own end, connect to itself, and keep the server from coming back. */
const PORT_MIN = 12_000;
const PORT_MAX = 31_999;
const TRIES_MAX = 100;

/**
 * A port of 127.0.0.1 on which nobody listens now. It is not reserved.
 *
 * @throws when 100 random ones are all taken
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const port = randomInt(PORT_MIN, PORT_MAX + 1);
    if (await isFree(port)) return port;
  }
  throw new Error(`No free port among ${TRIES_MAX} tried from ${PORT_MIN} to ${PORT_MAX}.`);
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
