import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { waitFor } from "../support/wait.ts";
import * as cache from "./cache.ts";
import { type LocalKafka, startKafka } from "./kafka.ts";
import { startPostgres } from "./postgres.ts";
import { startProxy } from "./proxy.ts";
import { createTopic, kafkaClient, readTopic } from "./topics.ts";

async function query(url: string, text: string): Promise<postgres.RowList<postgres.Row[]>> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return await sql.unsafe(text);
  } finally {
    await sql.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("the cache", () => {
  test("two who want the same thing at once get one that is made once", async () => {
    const directory = mkdtempSync(join(tmpdir(), "pg2kafka-cache-test-"));
    const path = join(directory, "thing");
    let made = 0;
    const make = async (draft: string) => {
      made += 1;
      await sleep(20);
      writeFileSync(draft, "");
    };
    await Promise.all([cache.once(path, make), cache.once(path, make)]);
    expect(made).toBe(1);
    expect(readdirSync(directory)).toEqual(["thing"]);
    rmSync(directory, { recursive: true });
  });

  test("a lock whose holder has died is taken over, and a failure leaves nothing", async () => {
    const directory = mkdtempSync(join(tmpdir(), "pg2kafka-cache-test-"));
    const path = join(directory, "thing");
    const { pid } = promisify(execFile)(process.execPath, ["--version"]).child;
    await waitFor(() => !isAlive(pid!));
    writeFileSync(`${path}.lock`, String(pid));
    const failing = cache.once(path, async (draft) => {
      writeFileSync(draft, "half");
      throw new Error("no space");
    });
    await expect(failing).rejects.toThrow("no space");
    expect(readdirSync(directory)).toEqual([]);
    rmSync(directory, { recursive: true });
  });
});

describe.each([13, 18] as const)("Postgres %i", (version) => {
  test("starts, keeps its data over both kinds of restart, and is gone when stopped", async () => {
    const server = await startPostgres({ version, settings: { work_mem: "5MB" } });
    const [row] = await query(server.url, "select version(), current_setting('work_mem') as mem");
    expect(row?.["version"]).toContain(`PostgreSQL ${version}.`);
    expect(row?.["mem"]).toBe("5MB");

    await query(server.url, "create table kept as select 1 as one");
    const pid = server.pid;
    await server.restart();
    await server.restart("immediate");
    expect(server.pid).not.toBe(pid);
    expect(await query(server.url, "select one from kept")).toEqual([{ one: 1 }]);

    await server.stop();
    expect(isAlive(server.pid)).toBe(false);
    expect(existsSync(server.dataDir)).toBe(false);
  });
});

test("a Postgres that does not start says why, in its own words", async () => {
  const start = startPostgres({ settings: { work_mem: "no number" } });
  await expect(start).rejects.toThrow(/did not start[\s\S]*invalid value for parameter "work_mem"/);
});

test("a Postgres does not outlive its parent, even one that is killed", async () => {
  const script = `
    const { startPostgres } = await import(${JSON.stringify(new URL("./postgres.ts", import.meta.url))});
    const { url, dataDir } = await startPostgres();
    console.log(JSON.stringify({ url, dataDir }));
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = await once(parent.stdout, "data");
  const { url, dataDir } = JSON.parse(line);
  expect(await query(url, "select 1 as one")).toEqual([{ one: 1 }]);
  parent.kill("SIGKILL");
  // Not by its pid: where process 1 adopts and does not reap, that stays. The guard waits 5 s then.
  await waitFor(() => !existsSync(dataDir));
  await expect(query(url, "select 1")).rejects.toThrow("ECONNREFUSED");
});

describe("Kafka", () => {
  async function send(kafka: LocalKafka, topic: string, count: number): Promise<void> {
    const retry = { retries: 200, initialRetryTime: 100, maxRetryTime: 500 };
    const producer = kafkaClient(kafka.bootstrap, retry).producer();
    await producer.connect();
    const messages = Array.from({ length: count }, (_, index) => ({
      key: index % 10 === 0 ? null : `key ${index}`,
      value: index % 7 === 0 ? null : `välue ${index}`,
      headers: { index: String(index) },
      timestamp: String(index + 1),
    }));
    await producer.send({ topic, acks: -1, messages });
    await producer.disconnect();
  }

  test("one broker: 1000 messages are read back exactly, each partition in order", async () => {
    const kafka = await startKafka();
    await createTopic(kafka.bootstrap, "products", { partitions: 3 });
    expect(await readTopic(kafka.bootstrap, "products")).toEqual([]);
    await send(kafka, "products", 1000);
    const messages = await readTopic(kafka.bootstrap, "products", { atLeast: 1000 });

    const places = new Set(messages.map(({ partition, offset }) => `${partition}/${offset}`));
    expect(places.size).toBe(1000);
    for (const partition of [0, 1, 2]) {
      const offsets = messages.filter((message) => message.partition === partition);
      expect(offsets.map(({ offset }) => offset)).toEqual(offsets.map((_, index) => index));
    }
    const contents = messages.map(({ partition: _, offset: __, ...content }) => content);
    expect(contents.sort((a, b) => a.timestamp - b.timestamp)).toEqual(
      Array.from({ length: 1000 }, (_, index) => ({
        key: index % 10 === 0 ? null : `key ${index}`,
        value: index % 7 === 0 ? null : `välue ${index}`,
        headers: { index: String(index) },
        timestamp: index + 1,
      })),
    );
    await expect(
      readTopic(kafka.bootstrap, "products", { atLeast: 1001, timeoutMs: 200 }),
    ).rejects.toThrow("holds 1000 messages at the timeout, not 1001");
    await expect(createTopic(kafka.bootstrap, "products")).rejects.toThrow("exists already");

    const pids = kafka.brokers.map(({ pid }) => pid);
    await kafka.stop();
    expect(pids.filter(isAlive)).toEqual([]);
    expect(existsSync(kafka.brokers[0]!.logFile)).toBe(false);
  });

  test("a broker starts also where the archive of its classes could not be made", async () => {
    const home = mkdtempSync(join(tmpdir(), "pg2kafka-java-test-"));
    const java = process.env["JAVA_HOME"] ? join(process.env["JAVA_HOME"], "bin", "java") : "java";
    mkdirSync(join(home, "bin"));
    const script = `#!/bin/sh
      for arg in "$@"; do
        shift
        case "$arg" in -XX:ArchiveClassesAtExit=*) ;; *) set -- "$@" "$arg" ;; esac
      done
      exec ${java} "$@"`;
    writeFileSync(join(home, "bin", "java"), script, { mode: 0o755 });
    vi.stubEnv("JAVA_HOME", home);
    try {
      const kafka = await startKafka();
      await createTopic(kafka.bootstrap, "products");
      await kafka.stop();
    } finally {
      vi.unstubAllEnvs();
      rmSync(home, { recursive: true });
    }
  });

  test("three brokers: a topic survives the kill of one, which then comes back", async () => {
    const kafka = await startKafka({ brokers: 3 });
    await createTopic(kafka.bootstrap, "products", { partitions: 3 });
    await send(kafka, "products", 100);
    const first = kafka.brokers[0]!;
    await first.kill();
    await send(kafka, "products", 100);
    expect(await readTopic(kafka.bootstrap, "products")).toHaveLength(200);

    await first.start();
    await send(kafka, "products", 100);
    expect(await readTopic(kafka.bootstrap, "products")).toHaveLength(300);
    await kafka.stop();
  });

  test("clients come through a proxy that is advertised in the broker's place", async () => {
    const proxies: Awaited<ReturnType<typeof startProxy>>[] = [];
    const kafka = await startKafka({
      advertise: async (port) => {
        const proxy = await startProxy(port);
        proxies.push(proxy);
        return proxy.port;
      },
    });
    await createTopic(kafka.bootstrap, "products");
    await send(kafka, "products", 10);
    expect(kafka.bootstrap).toEqual([`127.0.0.1:${proxies[0]!.port}`]);
    proxies[0]!.refuse();
    await expect(kafkaClient(kafka.bootstrap).admin().connect()).rejects.toThrow();
    proxies[0]!.accept();
    expect(await readTopic(kafka.bootstrap, "products")).toHaveLength(10);
    await kafka.stop();
    await proxies[0]!.stop();
  });
});

describe("the proxy", () => {
  let echo: Server;
  let targetPort: number;

  beforeAll(async () => {
    echo = createServer((socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    }).listen(0, "127.0.0.1");
    await once(echo, "listening");
    targetPort = (echo.address() as { port: number }).port;
  });
  afterAll(() => {
    echo.close();
  });

  function open(port: number): { socket: Socket; received: () => string } {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      text += bytes;
    });
    return { socket, received: () => text };
  }

  test("freeze forwards nothing, thaw forwards what was held back", async () => {
    const proxy = await startProxy(targetPort);
    const { socket, received } = open(proxy.port);
    socket.write("a");
    await waitFor(() => received() === "a");
    proxy.freeze();
    socket.write("b");
    const late = open(proxy.port);
    late.socket.write("c");
    await sleep(50);
    expect([received(), late.received()]).toEqual(["a", ""]);
    expect([socket.closed, late.socket.closed]).toEqual([false, false]);
    proxy.thaw();
    await waitFor(() => received() === "ab" && late.received() === "c");
    await proxy.stop();
  });

  test("freeze holds back one direction, and tells how much has arrived", async () => {
    const proxy = await startProxy(targetPort);
    const { socket, received } = open(proxy.port);
    proxy.freeze("toClient");
    socket.write("a");
    await waitFor(() => proxy.heldBytes("toClient") === 1);
    expect([proxy.heldBytes("toServer"), received()]).toEqual([0, ""]);
    proxy.cut();
    await waitFor(() => socket.closed);
    expect([proxy.heldBytes("toClient"), received()]).toEqual([0, ""]);
    await proxy.stop();
  });

  test("delay keeps the order of what it holds back, and of the end", async () => {
    const proxy = await startProxy(targetPort);
    // Much longer than from one look to the next, on a busy machine too.
    proxy.delay(1_000);
    const { socket, received } = open(proxy.port);
    socket.write("a");
    await waitFor(() => proxy.heldBytes("toClient") === 1);
    proxy.delay(0);
    socket.end("b");
    await waitFor(() => received() === "ab" && socket.closed);
    await proxy.stop();
  });

  test("lose leaves what is open to wait for good, and new connections live", async () => {
    const proxy = await startProxy(targetPort);
    const lost = open(proxy.port);
    lost.socket.write("a");
    await waitFor(() => lost.received() === "a");
    proxy.lose();
    lost.socket.write("b");
    await waitFor(() => proxy.heldBytes("toServer") === 1);
    proxy.thaw();
    const next = open(proxy.port);
    next.socket.write("c");
    await waitFor(() => next.received() === "c");
    expect([lost.received(), lost.socket.closed]).toEqual(["a", false]);
    await proxy.stop();
    await waitFor(() => lost.socket.closed);
  });

  test("a request is caught by half, or when it is answered; the others pass", async () => {
    const proxy = await startProxy(targetPort);
    const isMeant = (bytes: Buffer) => bytes.includes("me");
    const { socket, received } = open(proxy.port);
    const halved = proxy.catchRequest(isMeant, "half", 60_000);
    socket.write("you ");
    await waitFor(() => received() === "you ");
    socket.write("me12");
    expect(await halved).toBe(true);
    expect([proxy.heldBytes("toServer"), received()]).toEqual([2, "you "]);
    proxy.thaw();
    await waitFor(() => received() === "you me12");
    const answered = proxy.catchRequest(isMeant, "answered", 60_000);
    socket.write("me");
    expect(await answered).toBe(true);
    expect([proxy.heldBytes("toClient"), received()]).toEqual([2, "you me12"]);
    proxy.cut();
    await waitFor(() => socket.closed);
    expect(await proxy.catchRequest(isMeant, "half", 1)).toBe(false);
    await proxy.stop();
  });

  test("cut ends what is open, refuse what comes, and what was open lives on", async () => {
    const proxy = await startProxy(targetPort);
    const first = open(proxy.port);
    first.socket.write("a");
    await waitFor(() => first.received() === "a");
    proxy.cut();
    await waitFor(() => first.socket.closed);

    const second = open(proxy.port);
    second.socket.write("b");
    await waitFor(() => second.received() === "b");
    proxy.refuse();
    const refused = open(proxy.port);
    await waitFor(() => refused.socket.closed);
    second.socket.write("c");
    await waitFor(() => second.received() === "bc");
    proxy.accept();
    const third = open(proxy.port);
    third.socket.end("d");
    await waitFor(() => third.received() === "d" && third.socket.closed);
    await proxy.stop();
    await waitFor(() => second.socket.closed);
  });
});
