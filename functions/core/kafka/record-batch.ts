import type { Message } from "../message.ts";
import type { Codec } from "./compression.ts";
import { crc32c } from "./crc32c.ts";

/** What Kafka is told of the producer; all but `isTransactional` is without meaning at id -1. */
export interface ProducerState {
  /** -1 for a producer without idempotence. */
  producerId: bigint;
  producerEpoch: number;
  /** Of the first record in the batch: how many records the producer has sent to the partition. */
  firstSequence: number;
  isTransactional: boolean;
}

/* Where the fields of a record batch are, and what it has without its records.
   @see https://kafka.apache.org/documentation/#recordbatch */
const FIRST_OFFSET_AT = 0;
const LENGTH_AT = 8;
const LEADER_EPOCH_AT = 12;
const MAGIC_AT = 16;
const CRC_AT = 17;
const ATTRIBUTES_AT = 21;
const LAST_OFFSET_DELTA_AT = 23;
const FIRST_TIMESTAMP_AT = 27;
const MAX_TIMESTAMP_AT = 35;
const PRODUCER_ID_AT = 43;
const PRODUCER_EPOCH_AT = 51;
const FIRST_SEQUENCE_AT = 53;
const RECORD_COUNT_AT = 57;
export const RECORD_BATCH_BYTES = 61;

const MAGIC = 2;
const TRANSACTIONAL = 0x10;

/**
 * Encode messages of one partition, at least one, as a record batch of Kafka's message format v2.
 * Only what differs between neighbours is encoded for each: a drain spends most of its time on
 * messages. What compression does not make smaller is sent without.
 *
 * @param buffer where to, from its start on; large enough for the messages without compression
 * @returns how many bytes it takes
 */
export async function encodeRecordBatch(
  buffer: Buffer,
  messages: readonly Message[],
  codec: Codec | null,
  { producerId, producerEpoch, firstSequence, isTransactional }: ProducerState,
): Promise<number> {
  const { end, firstTimestamp, maxTimestamp } = writeRecords(buffer, messages);
  let length = end;
  let attributes = isTransactional ? TRANSACTIONAL : 0;
  if (codec !== null) {
    const compressed = await codec.compress(buffer.subarray(RECORD_BATCH_BYTES, end));
    if (RECORD_BATCH_BYTES + compressed.length < end) {
      buffer.set(compressed, RECORD_BATCH_BYTES);
      length = RECORD_BATCH_BYTES + compressed.length;
      attributes |= codec.id;
    }
  }
  // The broker gives the real one.
  buffer.writeBigInt64BE(0n, FIRST_OFFSET_AT);
  buffer.writeInt32BE(length - LEADER_EPOCH_AT, LENGTH_AT);
  buffer.writeInt32BE(0, LEADER_EPOCH_AT);
  buffer.writeInt8(MAGIC, MAGIC_AT);
  buffer.writeInt16BE(attributes, ATTRIBUTES_AT);
  buffer.writeInt32BE(messages.length - 1, LAST_OFFSET_DELTA_AT);
  buffer.writeBigInt64BE(BigInt(firstTimestamp), FIRST_TIMESTAMP_AT);
  buffer.writeBigInt64BE(BigInt(maxTimestamp), MAX_TIMESTAMP_AT);
  buffer.writeBigInt64BE(producerId, PRODUCER_ID_AT);
  buffer.writeInt16BE(producerEpoch, PRODUCER_EPOCH_AT);
  buffer.writeInt32BE(firstSequence, FIRST_SEQUENCE_AT);
  buffer.writeInt32BE(messages.length, RECORD_COUNT_AT);
  buffer.writeUInt32BE(crc32c(buffer.subarray(ATTRIBUTES_AT, length)), CRC_AT);
  return length;
}

/** Write the records behind the room for the record batch's own fields.
 *  @see https://kafka.apache.org/documentation/#record */
function writeRecords(buffer: Buffer, messages: readonly Message[]) {
  const headers = new HeaderBlock();
  let timestampMs = messages[0]!.timestampMs;
  const firstTimestamp = Number(timestampMs);
  let maxTimestamp = firstTimestamp;
  let delta = 0;
  let at = RECORD_BATCH_BYTES;
  messages.forEach((message, index) => {
    const { key, value, valueBytes } = message;
    if (message.timestampMs !== timestampMs) {
      timestampMs = message.timestampMs;
      const timestamp = Number(timestampMs);
      delta = timestamp - firstTimestamp;
      maxTimestamp = Math.max(maxTimestamp, timestamp);
    }
    headers.encode(message.headers);
    const bytes =
      1 +
      sizeOfVarlong(delta) +
      sizeOfVarint(index) +
      sizeOfBytes(key) +
      sizeOfVarint(valueBytes) +
      valueBytes +
      headers.bytes.length;
    at = writeVarint(buffer, at, bytes);
    buffer[at] = 0; // attributes: Kafka has none yet
    at = writeVarlong(buffer, at + 1, delta);
    at = writeVarint(buffer, at, index);
    at = writeBytes(buffer, at, key);
    at = writeVarint(buffer, at, valueBytes);
    at += buffer.write(value, at);
    buffer.set(headers.bytes, at);
    at += headers.bytes.length;
  });
  return { end: at, firstTimestamp, maxTimestamp };
}

/**
 * The headers of one record, encoded. Those of neighbours have the same names and mostly the same
 * values: what differs is written over, where it has as many bytes.
 */
class HeaderBlock {
  /** No headers. */
  bytes = Buffer.of(0);
  #fields: { name: string; value: string; at: number; length: number }[] = [];

  encode(headers: Record<string, string>): void {
    if (!this.#writeOver(headers)) this.#layOut(headers);
  }

  /** @returns whether they fit */
  #writeOver(headers: Record<string, string>): boolean {
    const names = Object.keys(headers);
    if (names.length !== this.#fields.length) return false;
    for (let index = 0; index < names.length; index++) {
      const field = this.#fields[index]!;
      const name = names[index]!;
      const value = headers[name]!;
      if (name !== field.name) return false;
      if (value === field.value) continue;
      if (Buffer.byteLength(value) !== field.length) return false;
      this.bytes.write(value, field.at);
      field.value = value;
    }
    return true;
  }

  #layOut(headers: Record<string, string>): void {
    const entries = Object.entries(headers);
    const sizes = entries.flat().map((text) => sizeOfText(text));
    this.bytes = Buffer.alloc(
      sizes.reduce((sum, size) => sum + size, sizeOfVarint(entries.length)),
    );
    let at = writeVarint(this.bytes, 0, entries.length);
    this.#fields = entries.map(([name, value]) => {
      at = this.#writeText(name, at);
      const end = this.#writeText(value, at);
      const length = Buffer.byteLength(value);
      at = end;
      return { name, value, at: end - length, length };
    });
  }

  #writeText(text: string, at: number): number {
    const start = writeVarint(this.bytes, at, Buffer.byteLength(text));
    return start + this.bytes.write(text, start);
  }
}

function sizeOfText(text: string): number {
  const length = Buffer.byteLength(text);
  return sizeOfVarint(length) + length;
}

function sizeOfBytes(bytes: Uint8Array | null): number {
  return bytes === null ? 1 : sizeOfVarint(bytes.length) + bytes.length;
}

/** With its length before it; null is the length -1. */
function writeBytes(buffer: Buffer, at: number, bytes: Uint8Array | null): number {
  if (bytes === null) return writeVarint(buffer, at, -1);
  const start = writeVarint(buffer, at, bytes.length);
  buffer.set(bytes, start);
  return start + bytes.length;
}

function sizeOfVarint(value: number): number {
  let size = 1;
  for (let left = zigzag(value); left > 0x7f; left >>>= 7) size += 1;
  return size;
}

/** A whole number of up to 31 bits, seven bits a byte. @returns where it ends */
function writeVarint(buffer: Buffer, at: number, value: number): number {
  let left = zigzag(value);
  let end = at;
  for (; left > 0x7f; left >>>= 7) buffer[end++] = (left & 0x7f) | 0x80;
  buffer[end] = left;
  return end + 1;
}

/** The sign is the last bit. */
function zigzag(value: number): number {
  return ((value << 1) ^ (value >> 31)) >>> 0;
}

/* As varints, for whole numbers up to 2 ** 52 on either side of 0: milliseconds of 140,000 years. */

function sizeOfVarlong(value: number): number {
  if (value === (value | 0)) return sizeOfVarint(value);
  let size = 1;
  for (let left = zigzagLong(value); left > 0x7f; left = Math.floor(left / 0x80)) size += 1;
  return size;
}

function writeVarlong(buffer: Buffer, at: number, value: number): number {
  if (value === (value | 0)) return writeVarint(buffer, at, value);
  let left = zigzagLong(value);
  let end = at;
  for (; left > 0x7f; left = Math.floor(left / 0x80)) buffer[end++] = (left % 0x80) | 0x80;
  buffer[end] = left;
  return end + 1;
}

function zigzagLong(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}
