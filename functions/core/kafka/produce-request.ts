import type { Message as KafkaMessage } from "kafkajs";
import Produce, {
  type ProduceArguments,
  type Protocol,
} from "kafkajs/src/protocol/requests/produce/index.js";
import type { Message } from "../message.ts";
import { CODECS, type Compression } from "./compression.ts";
import { adoptFrames, Frame } from "./frame.ts";
import { encodeRecordBatch } from "./record-batch.ts";

/** The first version of the request that carries record batches; it came with Kafka 0.11. */
const VERSION_MIN = 3;
const NO_PRODUCER_ID = -1;

/* What a request adds to its record batches, names apart.
   Produce Request => transactional_id acks timeout [topic [partition record_set]]
   @see https://kafka.apache.org/protocol#The_Messages_Produce */
const LENGTH_BYTES = 4;
const REQUEST_BYTES = 2 + 2 + 4 + 4;
const TOPIC_BYTES = 2 + 4;
const PARTITION_BYTES = 4 + LENGTH_BYTES;

/** All messages for one partition, as what kafkajs takes for one message. */
class PartitionMessages {
  readonly value = null;
  readonly partition: number;
  readonly messages: readonly Message[];
  readonly bytesMax: number;
  readonly compression: Compression;

  constructor(
    partition: number,
    messages: readonly Message[],
    bytesMax: number,
    compression: Compression,
  ) {
    this.partition = partition;
    this.messages = messages;
    this.bytesMax = bytesMax;
    this.compression = compression;
  }
}

/**
 * What to hand to kafkajs for the messages of one partition: one object that stands for all of
 * them, because kafkajs takes quadratic time to group messages by partition.
 *
 * @param bytesMax at least the size of their record batch without compression
 * @param isCounted for a transaction: kafkajs numbers messages by how many it is given, so as many
 *   are given; the others are not looked at
 */
export function partitionMessages(
  partition: number,
  messages: readonly Message[],
  bytesMax: number,
  compression: Compression,
  isCounted = false,
): KafkaMessage[] {
  const all = new PartitionMessages(partition, messages, bytesMax, compression);
  if (!isCounted) return [all];
  return [all, ...messages.slice(1).map(() => ({ partition, value: null }))];
}

let isReplaced = false;

/**
 * Make kafkajs encode what `partitionMessages` returns by record-batch.ts. All else is sent as before.
 *
 * It replaces a function inside kafkajs 2.2.4, the last version there is, which package.json pins.
 * Calling it again changes nothing.
 */
export function encodeBatches(): void {
  if (isReplaced) return;
  isReplaced = true;
  adoptFrames();
  const { versions, protocol } = Produce;
  Produce.versions = versions.filter((version) => Number(version) >= VERSION_MIN);
  Produce.protocol = (version) => {
    const describe = protocol(version);
    return (args) => {
      const described = describe(args);
      const isOurs = args.topicData[0]?.partitions[0]?.messages[0] instanceof PartitionMessages;
      return isOurs ? encodedHere(described, args) : described;
    };
  };
}

function encodedHere({ request, response }: Protocol, args: ProduceArguments): Protocol {
  const frame = new Frame(requestBytesMax(args));
  return {
    request: {
      ...request,
      encode: async () => {
        await writeRequest(frame, args);
        return frame;
      },
    },
    response: {
      ...response,
      decode: (answer) => {
        frame.release();
        return response.decode(answer);
      },
    },
  };
}

function content({ messages }: { messages: readonly unknown[] }): PartitionMessages {
  return messages[0] as PartitionMessages;
}

function requestBytesMax({ transactionalId, topicData }: ProduceArguments): number {
  let bytes = REQUEST_BYTES + Buffer.byteLength(transactionalId ?? "");
  for (const { topic, partitions } of topicData) {
    bytes += TOPIC_BYTES + Buffer.byteLength(topic);
    for (const partition of partitions) bytes += PARTITION_BYTES + content(partition).bytesMax;
  }
  return bytes;
}

async function writeRequest(frame: Frame, args: ProduceArguments): Promise<void> {
  const { transactionalId = null, producerId = NO_PRODUCER_ID, producerEpoch = 0 } = args;
  frame.writeString(transactionalId).writeInt16(args.acks).writeInt32(args.timeout);
  frame.writeInt32(args.topicData.length);
  for (const { topic, partitions } of args.topicData) {
    frame.writeString(topic).writeInt32(partitions.length);
    for (const part of partitions) {
      const { messages, compression } = content(part);
      if (producerId !== NO_PRODUCER_ID && part.messages.length !== messages.length) {
        throw new Error(
          `kafkajs counts ${part.messages.length} messages where ${messages.length} are sent: ` +
            "hand them to it as counted.",
        );
      }
      frame.writeInt32(part.partition);
      const length = await encodeRecordBatch(
        frame.bytes.subarray(frame.end + LENGTH_BYTES),
        messages,
        CODECS[compression],
        {
          producerId: BigInt(producerId),
          producerEpoch,
          firstSequence: part.firstSequence ?? 0,
          isTransactional: transactionalId !== null,
        },
      );
      frame.writeInt32(length);
      frame.end += length;
    }
  }
}
