/* The parts of kafkajs that are changed here, and its own types leave out. */

declare module "kafkajs/src/cluster/index.js" {
  export interface Coordinator {
    coordinator: { nodeId: number };
  }

  export default class Cluster {
    findGroupCoordinatorMetadata(question: {
      groupId: string;
      coordinatorType: number;
    }): Promise<Coordinator>;
  }
}

declare module "kafkajs/src/network/requestQueue/index.js" {
  export default class RequestQueue {
    /** Requests that wait to be sent. */
    pending: unknown[];
    /** Milliseconds since the epoch: until then the broker wants none. */
    throttledUntil: number;
    scheduleCheckPendingRequests(): void;
  }
}

declare module "kafkajs/src/protocol/encoder.js" {
  import type { Frame } from "../functions/core/kafka/frame.ts";

  interface Encoded {
    buf: Buffer;
    /** What is written of `buf`. */
    buffer: Buffer;
    frame?: Frame;
  }

  export default class Encoder implements Encoded {
    buf: Buffer;
    offset: number;
    get buffer(): Buffer;
    /** Not of kafkajs: where `buf` is, since `adoptFrames()`. */
    frame?: Frame;
    writeEncoder(value: Encoded): this;
  }
}

declare module "kafkajs/src/protocol/requests/produce/index.js" {
  import type { Message } from "kafkajs";
  import type { Encoded } from "kafkajs/src/protocol/encoder.js";

  export interface ProduceArguments {
    acks: number;
    timeout: number;
    transactionalId?: string | null;
    /** A number, or a string where it came from a broker. */
    producerId?: number | string;
    producerEpoch?: number;
    topicData: {
      topic: string;
      partitions: { partition: number; firstSequence?: number; messages: Message[] }[];
    }[];
  }

  export interface Protocol {
    request: { encode: () => Promise<Encoded> };
    response: { decode: (answer: Buffer) => Promise<object> };
  }

  const Produce: {
    versions: string[];
    protocol: (of: { version: string | number }) => (args: ProduceArguments) => Protocol;
  };
  export default Produce;
}

declare module "snappyjs" {
  const snappy: { compress(bytes: Buffer): Buffer };
  export default snappy;
}
