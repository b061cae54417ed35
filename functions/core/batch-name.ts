/** What tells a batch from all others, in Kafka and in the queue's log. */
export interface BatchName {
  /** Counts batches, in decimal digits: 0 to 2^63 - 1. */
  number: string;
  /** A random uuid, drawn anew for each batch that is made up. */
  id: string;
}
