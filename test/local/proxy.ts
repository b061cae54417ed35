import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export type Direction = "toServer" | "toClient";

/**
 * Where a request is stopped: `half` of it has reached the server; or the server has `answered`, and
 * its answer has not reached the client.
 */
export type Stage = "half" | "answered";

export interface Proxy {
  /** Where clients connect, on 127.0.0.1. */
  port: number;
  /** Destroy all connections that are open now, with what is held back of them. */
  cut(): void;
  /** Forward nothing, in one direction or in both, and keep the connections: the other side hangs. */
  freeze(direction?: Direction): void;
  /** Forward again, first what arrived meanwhile. */
  thaw(): void;
  /** Forward nothing more of the connections that are open now, and do not close them: each side
   *  waits for the other for good. New connections live. */
  lose(): void;
  /** Destroy new connections as they arrive; those that are open live on. */
  refuse(): void;
  /** Take new connections again. */
  accept(): void;
  /** Lead new connections to another server on 127.0.0.1; those that are open live on. */
  redirect(targetPort: number): void;
  /** Forward each piece so much later, in both directions. */
  delay(ms: number): void;
  /** Bytes that have arrived, of connections that are open, and were not forwarded. */
  heldBytes(direction: Direction): number;
  /**
   * Wait for a request, and hold its connection in both directions when it has come so far. A
   * request is what arrives from a client at once.
   *
   * @returns whether one came in time; then `cut` or `thaw` as well what is held
   */
  catchRequest(
    matches: (bytes: Buffer) => boolean,
    stage: Stage,
    timeoutMs: number,
  ): Promise<boolean>;
  /** Destroy everything and give the port back. */
  stop(): Promise<void>;
}

/** What is waited for by `catchRequest`. */
interface Trap {
  matches: (bytes: Buffer) => boolean;
  stage: Stage;
  /** The request's connection, once it is on its way. */
  link: Link | undefined;
  spring: () => void;
}

/** A client's connection and the one to the server. */
interface Link {
  sockets: Socket[];
  held: Record<Direction, Held[]>;
  isCaught: boolean;
  isLost: boolean;
}

/** Bytes, or the end of what comes: forwarded no earlier than this, by `performance.now()`. */
interface Held {
  bytes: Buffer | null;
  dueMs: number;
}

/**
 * A TCP proxy on 127.0.0.1 that can fail like a network.
 *
 * @param targetPort the server's port on 127.0.0.1; nobody needs to listen there yet
 */
export async function startProxy(targetPort: number): Promise<Proxy> {
  const links = new Set<Link>();
  const frozen = new Set<Direction>();
  let port = targetPort;
  let isRefusing = false;
  let delayMs = 0;
  let trap: Trap | null = null;

  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    if (isRefusing) {
      client.on("error", () => {});
      client.destroy();
      return;
    }
    const target = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const held = { toServer: [], toClient: [] };
    const link: Link = { sockets: [client, target], held, isCaught: false, isLost: false };
    links.add(link);
    forward(link, "toServer", client, target);
    forward(link, "toClient", target, client);
    client.resume();
  });

  function forward(link: Link, direction: Direction, from: Socket, to: Socket): void {
    const held = link.held[direction];
    const flush = () => {
      while (held.length > 0 && !isHeld(link, direction)) {
        const [{ bytes, dueMs }] = held as [Held];
        const waitMs = dueMs - performance.now();
        if (waitMs > 0) {
          setTimeout(flush, waitMs);
          return;
        }
        held.shift();
        if (bytes === null) to.end();
        else if (!to.write(bytes)) from.pause();
      }
    };
    const take = (bytes: Buffer | null) => {
      held.push({ bytes, dueMs: delayMs === 0 ? 0 : performance.now() + delayMs });
      flush();
    };
    from.setNoDelay(true);
    from.on("data", (bytes) => {
      for (const part of spring(link, direction, bytes)) take(part);
    });
    from.on("end", () => take(null));
    from.on("thaw", flush);
    to.on("drain", () => from.resume());
    from.on("error", () => {});
    from.on("close", (hadError) => {
      if (link.sockets.every(({ destroyed }) => destroyed)) links.delete(link);
      // Given up before it was answered: the next one is waited for.
      if (trap?.link === link) trap.link = undefined;
      if (hadError) to.destroy();
      else take(null);
    });
  }

  function isHeld({ isCaught, isLost }: Link, direction: Direction): boolean {
    return isCaught || isLost || frozen.has(direction);
  }

  /** Cut what arrives where the trap closes, and close it there. */
  function* spring(link: Link, direction: Direction, bytes: Buffer): Generator<Buffer> {
    const isRequest = direction === "toServer" && trap !== null && trap.link === undefined;
    if (isRequest && trap!.matches(bytes)) {
      trap!.link = link;
      if (trap!.stage === "half") {
        const half = bytes.length >> 1;
        yield bytes.subarray(0, half);
        close(link);
        yield bytes.subarray(half);
        return;
      }
    } else if (trap?.link === link && direction === "toClient") {
      close(link);
    }
    yield bytes;
  }

  function close(link: Link): void {
    link.isCaught = true;
    trap!.spring();
    trap = null;
  }

  function cut(): void {
    for (const { sockets } of links) for (const socket of sockets) socket.destroy();
    links.clear();
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    freeze(direction) {
      for (const one of direction ? [direction] : (["toServer", "toClient"] as const)) {
        frozen.add(one);
      }
    },
    thaw() {
      frozen.clear();
      for (const link of links) {
        link.isCaught = false;
        for (const socket of link.sockets) socket.emit("thaw");
      }
    },
    lose() {
      for (const link of links) link.isLost = true;
    },
    refuse() {
      isRefusing = true;
    },
    accept() {
      isRefusing = false;
    },
    redirect(targetPort) {
      port = targetPort;
    },
    delay(ms) {
      delayMs = ms;
    },
    heldBytes(direction) {
      const held = [...links].flatMap((link) => link.held[direction]);
      return held.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0);
    },
    async catchRequest(matches, stage, timeoutMs) {
      if (trap !== null) throw new Error("The proxy waits for another request already.");
      return await new Promise((resolve) => {
        const timer = setTimeout(() => {
          trap = null;
          resolve(false);
        }, timeoutMs);
        const spring = () => {
          clearTimeout(timer);
          resolve(true);
        };
        trap = { matches, stage, link: undefined, spring };
      });
    },
    async stop() {
      if (!server.listening) return;
      server.close();
      cut();
      await once(server, "close");
    },
  };
}
