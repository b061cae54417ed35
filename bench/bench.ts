import type { LocalKafka } from "../test/local/kafka.ts";
import type { LocalPostgres } from "../test/local/postgres.ts";
import type { Table } from "./report.ts";

/** How much to measure. */
export interface Scale {
  rounds: number;
  /** A fraction of the sizes, to see that all works. */
  isQuick: boolean;
  /** Also what takes many minutes. */
  isAll: boolean;
}

/** What the sections of the benchmark work with. */
export interface Bench extends Scale {
  postgres: LocalPostgres;
  /** @throws when there is no Java or Maven; started at the first call */
  kafka: () => Promise<LocalKafka>;
  /** A line on standard error. */
  progress: (text: string) => void;
}

/** A section; its rounds are interleaved: each measures every candidate once. */
export type Section = (bench: Bench) => Promise<Table[]>;
