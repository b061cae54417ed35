import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";

/** What a client of Postgres asks before it speaks TLS: length 8, and this code. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const HANDSHAKE = 22;

/** Somebody in the place of a server, who listens. */
export interface Impostor {
  readonly port: number;
  readonly connections: number;
  /** What clients have said in plain text or to the holder of the certificate's key, but for the
   *  question whether there is TLS and handshakes. */
  heard(): string;
  stop(): Promise<void>;
}

/**
 * Listen on 127.0.0.1 in the place of a Postgres or a Kafka with TLS, and answer nothing.
 *
 * @param identity certificate and key, as PEM; null: it does without TLS, as one would who wants the
 *   client to fall back
 */
export async function startImpostor(
  protocol: "postgres" | "kafka",
  identity: { certificate: string; key: string } | null,
): Promise<Impostor> {
  const sockets = new Set<Socket>();
  const said: Buffer[] = [];
  let connections = 0;
  const listen = (socket: Socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      if (socket instanceof TLSSocket || bytes[0] !== HANDSHAKE) said.push(bytes);
      else socket.destroy();
    });
  };
  const secureContext =
    identity && createSecureContext({ cert: identity.certificate, key: identity.key });
  const speak = (socket: Socket) =>
    listen(secureContext ? new TLSSocket(socket, { isServer: true, secureContext }) : socket);
  const server = createServer(async (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    if (protocol === "postgres") {
      const [request] = (await once(socket, "data")) as [Buffer];
      if (!request.equals(SSL_REQUEST)) said.push(request);
      socket.write(secureContext ? "S" : "N");
    }
    speak(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    heard: () => Buffer.concat(said).toString(),
    async stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}
