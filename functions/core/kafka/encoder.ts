import Encoder from "kafkajs/src/protocol/encoder.js";

/** An encoder that has written nothing has no buffer; this is the first one it gets. */
const FIRST_BYTES = 512;
const KAFKAJS_FIRST_BYTES = 511;

/** A varint has seven bits in a byte, and five bytes at most. */
const VARINT_BYTES_MAX = 5;
/** Far from where 32 bits and 64 bits would be written differently. */
const SMALL = 1e9;

/**
 * Make kafkajs encode messages in little more than half the time. What it sends is the same, byte for byte.
 *
 * For each record, and for each header of a record, it allocates half a kilobyte of its own and
 * fills it with zeros before it writes some dozen bytes; here buffers come from Node's pool. Each
 * number takes an array and a buffer there, or arithmetic of 64 bits; here neither.
 *
 * It changes a class inside kafkajs 2.2.4, the last version there is, which package.json pins.
 * Call it once.
 */
export function speedUpEncoder(encoder = Encoder): void {
  const { nextPowerOfTwo, sizeOfVarInt, sizeOfVarLong, prototype } = encoder;
  const { writeVarLong } = prototype;

  encoder.nextPowerOfTwo = (bytes) => (bytes === KAFKAJS_FIRST_BYTES ? 0 : nextPowerOfTwo(bytes));
  prototype.ensureAvailable = function ensureAvailable(bytes) {
    const needed = this.offset + bytes;
    if (needed <= this.buf.length) return;
    // Not zeroed: only what was written is ever read.
    const larger = Buffer.allocUnsafe(needed < FIRST_BYTES ? FIRST_BYTES : nextPowerOfTwo(needed));
    this.buf.copy(larger, 0, 0, this.offset);
    this.buf = larger;
  };

  prototype.writeUVarInt = function writeUVarInt(value) {
    this.ensureAvailable(VARINT_BYTES_MAX);
    let left = value >>> 0;
    for (; left > 0x7f; left >>>= 7) this.buf[this.offset++] = (left & 0x7f) | 0x80;
    this.buf[this.offset++] = left;
    return this;
  };

  encoder.sizeOfVarLong = (value) =>
    isSmall(value) ? sizeOfVarInt.call(encoder, value) : sizeOfVarLong(value);
  prototype.writeVarLong = function writeVarLongOrInt(value) {
    return isSmall(value) ? this.writeVarInt(value) : writeVarLong.call(this, value);
  };
}

function isSmall(value: unknown): value is number {
  return typeof value === "number" && Math.abs(value) < SMALL;
}
