import postgres, { type Sql } from "postgres";
import { type LocalPostgres, startPostgres } from "../local/postgres.ts";
import { type Proxy as Network, startProxy } from "../local/proxy.ts";
import { waitFor } from "../support/wait.ts";

const SETTINGS = { wal_keep_size: "256MB", wal_retrieve_retry_interval: "100ms" };

/** A Postgres and its standby, behind an address that leads to whichever is the primary. */
export class Replicas {
  /** Of the primary, and after a failover of the next one: superuser, database `postgres`. */
  readonly url: string;
  readonly #address: Network;
  readonly #isSynchronous: boolean;
  #primary: LocalPostgres;
  #standby: LocalPostgres | undefined;
  /** Between the two. */
  #link: Network | undefined;

  /** @param synchronous a commit is confirmed, and seen by others, when the standby has it */
  static async start({ synchronous }: { synchronous: boolean }): Promise<Replicas> {
    const primary = await startPostgres({ name: "primary", settings: SETTINGS });
    const replicas = new Replicas(primary, await startProxy(primary.port), synchronous);
    await replicas.addStandby();
    return replicas;
  }

  private constructor(primary: LocalPostgres, address: Network, synchronous: boolean) {
    this.#primary = primary;
    this.#address = address;
    this.#isSynchronous = synchronous;
    this.url = urlOn(address.port);
  }

  /** Make a standby of a copy of the primary, which stops for that. */
  async addStandby(): Promise<void> {
    const link = await startProxy(this.#primary.port);
    await this.#primary.restart("fast", async () => {
      this.#standby = await startPostgres({
        name: "standby",
        settings: SETTINGS,
        from: this.#primary.dataDir,
        standbyOf: urlOn(link.port),
      });
    });
    this.#link = link;
    await this.#on(this.#primary.url, async (sql) => {
      await waitFor(async () => {
        const rows = await sql`select from pg_stat_replication where state = 'streaming'`;
        return rows.length > 0;
      });
      if (!this.#isSynchronous) return;
      await sql`alter system set synchronous_standby_names = '*'`;
      await sql`select pg_reload_conf()`;
      await waitFor(async () => {
        const rows = await sql`select from pg_stat_replication where sync_state = 'sync'`;
        return rows.length > 0;
      });
    });
  }

  /** Wait until the standby has all that is committed now, and let it get nothing more. */
  async cutLink(): Promise<void> {
    await this.#on(this.#primary.url, async (sql) => {
      const [row] = await sql`select pg_current_wal_insert_lsn()::text as lsn`;
      await waitFor(async () => {
        const rows = await sql`
          select from pg_stat_replication where flush_lsn >= ${row!["lsn"]}::text::pg_lsn`;
        return rows.length > 0;
      });
    });
    this.#link?.freeze();
  }

  /** The primary crashes and is gone; the standby takes its place and its address. */
  async failOver(): Promise<void> {
    await this.#primary.stop("immediate");
    await this.#link?.stop();
    this.#primary = this.#standby!;
    this.#standby = undefined;
    await this.#on(this.#primary.url, async (sql) => {
      await sql`select pg_promote()`;
      await sql`alter system reset synchronous_standby_names`;
      await sql`select pg_reload_conf()`;
    });
    this.#address.redirect(this.#primary.port);
  }

  async stop(): Promise<void> {
    await this.#address.stop();
    await this.#link?.stop();
    await this.#standby?.stop("immediate");
    await this.#primary.stop("immediate");
  }

  async #on(url: string, work: (sql: Sql) => Promise<void>): Promise<void> {
    const sql = postgres(url, { max: 1, onnotice: () => {} });
    try {
      await work(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }
}

function urlOn(port: number): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}
