import type { Admin } from "kafkajs";
import { topicProblem } from "../topic.ts";
import {
  classify,
  type Failure,
  isCreationRefused,
  type Refusal,
  refusedByKafka,
  topicInvalid,
  topicMissing,
  topicNotCreated,
} from "./failures.ts";
import type { Outbox } from "./outbox.ts";
import type { TopicCreation } from "./settings.ts";

/** Partitions added to a topic are used after this long; until then keys go where they went. */
export const PARTITIONS_AGE_MS_MAX = 60_000;

/** The topics of a cluster, as far as they are known. */
export class Topics {
  readonly #admin: Admin;
  readonly #creation: TopicCreation | null;
  readonly #known = new Map<string, { partitions: number; expiresAtMs: number }>();

  constructor(admin: Admin, creation: TopicCreation | null) {
    this.#admin = admin;
    this.#creation = creation;
  }

  /**
   * Give the outbox's messages their partitions, or refuse them with their topic.
   * Side effect: creates missing topics where that is allowed.
   *
   * @throws when Kafka cannot say, or has created a topic and not heard of it everywhere
   */
  async placeMessages(outbox: Outbox): Promise<void> {
    const nowMs = Date.now();
    for (const topic of outbox.topics()) {
      const problem = topicProblem(topic);
      if (problem !== null) outbox.refuseTopic(topic, topicInvalid(problem));
    }
    const isUnknown = (topic: string) => (this.#known.get(topic)?.expiresAtMs ?? 0) <= nowMs;
    const unknown = outbox.topics().filter(isUnknown);
    if (unknown.length > 0) await this.#learn(unknown, outbox);
    for (const topic of outbox.topics()) outbox.place(topic, this.#known.get(topic)!.partitions);
  }

  /** All at once; one by one when that fails, for the answer does not say which it was. */
  async #learn(topics: string[], outbox: Outbox): Promise<void> {
    const someFailed = await this.#fetch(topics);
    if (someFailed === null) return;
    let justCreated: Failure | null = null;
    for (const topic of topics) {
      const failure = await this.#fetch([topic]);
      if (failure === null) continue;
      if (failure.kind === "topic") {
        outbox.refuseTopic(topic, refusedByKafka(failure, topic));
      } else if (failure.kind !== "missing") {
        throw failure.cause;
      } else if (this.#creation === null) {
        outbox.refuseTopic(topic, topicMissing(topic));
      } else {
        const refusal = await this.#create(topic, this.#creation);
        if (refusal === null) justCreated = failure;
        else outbox.refuseTopic(topic, refusal);
      }
    }
    if (justCreated !== null) throw justCreated.cause;
  }

  async #fetch(topics: string[]): Promise<Failure | null> {
    try {
      const metadata = await this.#admin.fetchTopicMetadata({ topics });
      const expiresAtMs = Date.now() + PARTITIONS_AGE_MS_MAX;
      for (const { name, partitions } of metadata.topics) {
        this.#known.set(name, { partitions: partitions.length, expiresAtMs });
      }
      return null;
    } catch (error) {
      return classify(error);
    }
  }

  /** Succeeds as well when somebody else has created it meanwhile. */
  async #create(topic: string, creation: TopicCreation): Promise<Refusal | null> {
    const { partitions, replicationFactor, configs = {} } = creation;
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
    try {
      await this.#admin.createTopics({
        topics: [{ topic, numPartitions: partitions, replicationFactor, configEntries }],
        waitForLeaders: false,
      });
      return null;
    } catch (error) {
      const failure = classify(error);
      if (isCreationRefused(failure)) return topicNotCreated(failure, topic);
      throw error;
    }
  }
}
