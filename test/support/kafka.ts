import { afterAll, beforeAll, inject } from "vitest";
import { type KafkaOptions, type LocalKafka, startKafka } from "../local/kafka.ts";

export interface TestKafka {
  /** For tests that need no more than brokers: KAFKA_BROKER's, or those of a Kafka of its own. */
  readonly brokers: string[];
  /**
   * For tests that stop or freeze brokers, or need the settings: a Kafka that nobody else uses.
   * Started at the first call where `brokers` are given ones.
   */
  own(): Promise<LocalKafka>;
}

/** One Kafka for the tests of a file or a `describe`. `options` are those of its own. */
export function useKafka(options: KafkaOptions = {}): TestKafka {
  const given = inject("given").brokers;
  let starting: Promise<LocalKafka> | undefined;
  let brokers = given;

  const own = () => {
    starting ??= startKafka(options);
    return starting;
  };
  beforeAll(async () => {
    if (given.length === 0) brokers = (await own()).bootstrap;
  });
  afterAll(async () => {
    const kafka = await starting?.catch(() => undefined);
    await kafka?.stop();
  });
  return {
    get brokers() {
      return brokers;
    },
    own,
  };
}
