/* The part of kafkajs that is changed here, and its own types leave out. */

declare module "kafkajs/src/protocol/requests/fetch/v11/response.js" {
  export interface FetchedPartition {
    messages: {
      offset: string;
      /** A marker, of which a consumer is not told. */
      isControlRecord?: boolean;
      /** None in the oldest format of messages. */
      batchContext?: { producerId: string; inTransaction: boolean };
    }[];
    abortedTransactions: { producerId: string; firstOffset: string }[];
  }

  const response: {
    decode: (bytes: Buffer) => Promise<{ responses: { partitions: FetchedPartition[] }[] }>;
  };
  export default response;
}
