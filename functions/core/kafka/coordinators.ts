import Cluster, { type Coordinator } from "kafkajs/src/cluster/index.js";

/** What has moved since is found so much later. */
const AGE_MS_MAX = 1_000;

interface Answer {
  coordinator: Promise<Coordinator>;
  askedMs: number;
}

let isRemembering = false;

/**
 * Keep kafkajs from asking who coordinates before each request to a coordinator: four requests of
 * the nine that a transaction takes. An answer holds for a second. One that is wrong by then makes
 * the request fail as it does where the coordinator moves after the question.
 *
 * It replaces a function inside kafkajs 2.2.4, the last version there is, which package.json pins.
 * Calling it again changes nothing.
 */
export function rememberCoordinators(): void {
  if (isRemembering) return;
  isRemembering = true;
  const answers = new WeakMap<Cluster, Map<string, Answer>>();
  const { findGroupCoordinatorMetadata: ask } = Cluster.prototype;

  Cluster.prototype.findGroupCoordinatorMetadata = function (question) {
    const known = answers.get(this) ?? new Map<string, Answer>();
    answers.set(this, known);
    const name = `${question.coordinatorType} ${question.groupId}`;
    const last = known.get(name);
    const askedMs = performance.now();
    if (last && askedMs - last.askedMs < AGE_MS_MAX) return last.coordinator;
    const coordinator = ask.call(this, question);
    known.set(name, { coordinator, askedMs });
    coordinator.catch(() => known.delete(name));
    return coordinator;
  };
}
