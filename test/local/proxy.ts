import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

export interface Proxy {
  /** Where clients connect, on 127.0.0.1. */
  port: number;
  /** Destroy all connections that are open now. */
  cut(): void;
  /** Forward nothing, in either direction, and keep the connections: the other side hangs. */
  freeze(): void;
  /** Forward again, first what arrived meanwhile. */
  thaw(): void;
  /** Destroy new connections as they arrive; those that are open live on. */
  refuse(): void;
  /** Take new connections again. */
  accept(): void;
  /** Destroy everything and give the port back. */
  stop(): Promise<void>;
}

/**
 * A TCP proxy on 127.0.0.1 that can fail like a network.
 *
 * @param targetPort the server's port on 127.0.0.1; nobody needs to listen there yet
 */
export async function startProxy(targetPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let frozen = false;
  let refusing = false;

  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    if (refusing) {
      client.on("error", () => {});
      client.destroy();
      return;
    }
    const target = connect({ port: targetPort, host: "127.0.0.1", allowHalfOpen: true });
    forward(client, target);
    forward(target, client);
  });

  function forward(from: Socket, to: Socket): void {
    sockets.add(from);
    from.setNoDelay(true);
    if (frozen) from.pause();
    from.on("data", (bytes) => {
      if (!to.write(bytes)) from.pause();
    });
    to.on("drain", () => {
      if (!frozen) from.resume();
    });
    from.on("end", () => to.end());
    from.on("error", () => {});
    from.on("close", (hadError) => {
      sockets.delete(from);
      if (hadError) to.destroy();
      else to.end();
    });
    if (!frozen) from.resume();
  }

  function cut(): void {
    for (const socket of sockets) socket.destroy();
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.pause();
    },
    thaw() {
      frozen = false;
      for (const socket of sockets) socket.resume();
    },
    refuse() {
      refusing = true;
    },
    accept() {
      refusing = false;
    },
    async stop() {
      if (!server.listening) return;
      server.close();
      cut();
      await once(server, "close");
    },
  };
}
