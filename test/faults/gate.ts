import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** Where a request is held up, and its connection with it. */
export interface Stop {
  /** Whether these bytes, written at once by a client, are the request. */
  isRequest: (bytes: Buffer) => boolean;
  /** Hold up not that request but the next one on its connection of which this holds. */
  next?: (bytes: Buffer) => boolean;
  /** asked: the server has none of it; half: the first half; answered: all, and its answer is held. */
  place: "asked" | "half" | "answered";
  /** The first of its kind is 1. */
  nth: number;
}

/**
 * A TCP proxy on 127.0.0.1 that holds one connection up at an exact place of what goes over it. It keeps in
 * memory what is held.
 */
export class Gate {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #stop: (Stop & { reach: () => void }) | null = null;
  #held: Connection | null = null;

  /**
   * @param address `host:port` of the server
   * @param isAdvertised the server's answers tell clients to connect to that address, as Kafka's do:
   *   they are told this proxy's instead
   */
  static async start(address: string, { isAdvertised = false } = {}): Promise<Gate> {
    const server = createServer({ pauseOnConnect: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Gate(server, address, isAdvertised);
  }

  private constructor(server: Server, address: string, isAdvertised: boolean) {
    const { hostname: host, port: targetPort } = new URL(`tcp://${address}`);
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    const told = (port: number) => {
      const bytes = Buffer.alloc(2 + host.length + 4);
      bytes.writeInt16BE(host.length);
      bytes.write(host, 2);
      bytes.writeInt32BE(port, 2 + host.length);
      return bytes;
    };
    const [real, own] = [told(Number(targetPort)), told(this.port)];
    server.on("connection", (client) => {
      const target = connect({ host, port: Number(targetPort) });
      const connection = new Connection(client, target);
      for (const socket of [client, target]) {
        this.#sockets.add(socket);
        socket.setNoDelay(true);
        socket.on("error", () => {});
        socket.on("close", () => this.#sockets.delete(socket));
      }
      client.on("data", (bytes) => this.#request(connection, bytes));
      target.on("data", (bytes) => {
        const at = isAdvertised ? bytes.indexOf(real) : -1;
        if (at >= 0) own.copy(bytes, at);
        this.#answer(connection, bytes);
      });
      client.on("end", () => connection.requests.end());
      target.on("end", () => connection.answers.end());
      client.on("close", () => connection.requests.end());
      target.on("close", () => connection.answers.end());
      client.resume();
    });
  }

  /** @returns when a request is where it is to stop; until `open` or `drop` it stays there */
  stopAt(stop: Stop): Promise<void> {
    return new Promise((reach) => {
      this.#stop = { ...stop, reach };
    });
  }

  /** Stop nothing any more, and let what was held arrive: late, as a network may bring it. */
  open(): void {
    this.#stop = null;
    this.#held?.release();
    this.#held = null;
  }

  /** The same, but what was held never arrives. */
  drop(): void {
    this.#stop = null;
    this.#held?.destroy();
    this.#held = null;
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, "close");
  }

  #request(connection: Connection, bytes: Buffer): void {
    const stop = this.#stop;
    if (stop && this.#isIt(stop, connection, bytes)) {
      if (stop.place === "answered") {
        connection.isAnswerAwaited = true;
      } else {
        const half = stop.place === "half" ? bytes.length >> 1 : 0;
        connection.requests.write(bytes.subarray(0, half));
        connection.requests.hold();
        this.#reached(stop, connection);
        connection.requests.write(bytes.subarray(half));
        return;
      }
    }
    connection.requests.write(bytes);
  }

  #answer(connection: Connection, bytes: Buffer): void {
    const stop = this.#stop;
    if (stop && connection.isAnswerAwaited) {
      connection.answers.hold();
      this.#reached(stop, connection);
    }
    connection.answers.write(bytes);
  }

  #isIt(stop: Stop, connection: Connection, bytes: Buffer): boolean {
    if (connection.isNextAwaited && stop.next!(bytes)) return true;
    if (!stop.isRequest(bytes) || stop.nth-- > 1) return false;
    connection.isNextAwaited = stop.next !== undefined;
    return !connection.isNextAwaited;
  }

  #reached({ reach }: { reach: () => void }, connection: Connection): void {
    this.#stop = null;
    this.#held = connection;
    reach();
  }
}

class Connection {
  readonly requests: Flow;
  readonly answers: Flow;
  isNextAwaited = false;
  isAnswerAwaited = false;
  readonly #sockets: Socket[];

  constructor(client: Socket, target: Socket) {
    this.requests = new Flow(target);
    this.answers = new Flow(client);
    this.#sockets = [client, target];
  }

  release(): void {
    this.requests.release();
    this.answers.release();
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** One direction of a connection. */
class Flow {
  readonly #to: Socket;
  #held: Buffer[] | null = null;
  #hasEnded = false;

  constructor(to: Socket) {
    this.#to = to;
  }

  write(bytes: Buffer): void {
    if (this.#held) this.#held.push(bytes);
    else if (this.#to.writable) this.#to.write(bytes);
  }

  end(): void {
    this.#hasEnded = true;
    if (!this.#held) this.#to.end();
  }

  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const bytes of held) this.write(bytes);
    if (this.#hasEnded) this.#to.end();
  }
}
