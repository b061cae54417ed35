import response, {
  type FetchedPartition,
} from "kafkajs/src/protocol/requests/fetch/v11/response.js";

/**
 * Let kafkajs' consumers with `read_committed` leave out what was aborted, whoever else wrote meanwhile.
 * For this process, from the first import on.
 *
 * Kafka lists the aborted transactions in the order in which they ended. kafkajs takes the list for
 * one in the order in which they began: of two that overlap and are aborted, as those of two lanes, it
 * shows messages of the one that began first and ended last.
 *
 * @see https://github.com/apache/kafka/blob/4.1.0/clients/src/main/java/org/apache/kafka/clients/consumer/internals/CompletedFetch.java
 *   sorts the list
 */
const { decode } = response;
response.decode = async (bytes) => {
  const answer = await decode(bytes);
  for (const { partitions } of answer.responses) partitions.forEach(hideAborted);
  return answer;
};

function hideAborted(partition: FetchedPartition): void {
  const left = partition.abortedTransactions.toSorted(
    (a, b) => Number(a.firstOffset) - Number(b.firstOffset),
  );
  const aborted = new Set<string>();
  for (const message of partition.messages) {
    while (left.length > 0 && Number(left[0]!.firstOffset) <= Number(message.offset)) {
      aborted.add(left.shift()!.producerId);
    }
    const { producerId, inTransaction } = message.batchContext ?? {};
    // The marker at its end.
    if (message.isControlRecord) aborted.delete(producerId!);
    // kafkajs passes over these, and goes on behind them.
    else if (inTransaction && aborted.has(producerId!)) message.isControlRecord = true;
  }
  partition.abortedTransactions = [];
}
