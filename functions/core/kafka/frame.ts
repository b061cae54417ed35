import Encoder from "kafkajs/src/protocol/encoder.js";

/** Room for what kafkajs writes before a request: its size, its kind and the client's id. */
const HEADROOM_BYTES = 512;
const BUFFER_BYTES_MIN = 65_536;
/** As many requests as are mostly on their way at once. */
const BUFFERS_KEPT_MAX = 4;
/** What is larger is given back to the system. */
const BUFFER_BYTES_KEPT_MAX = 8 * 1024 * 1024;

/** Buffers of requests that were answered. New memory is dear: the system must clear each page. */
const kept: Buffer[] = [];

/**
 * A request to Kafka in one buffer, from first to last byte as it goes over the network. kafkajs
 * would copy it twice to put something before it, each time into new memory. Needs `adoptFrames()`.
 */
export class Frame {
  /** Write here, from `end` on. */
  readonly bytes: Buffer;
  start = HEADROOM_BYTES;
  end = HEADROOM_BYTES;

  /** @param bytesMax what will be written at most */
  constructor(bytesMax: number) {
    this.bytes = takeBuffer(HEADROOM_BYTES + bytesMax);
  }

  writeInt16(value: number): this {
    this.end = this.bytes.writeInt16BE(value, this.end);
    return this;
  }

  writeInt32(value: number): this {
    this.end = this.bytes.writeInt32BE(value, this.end);
    return this;
  }

  /** With its length before it; null is the length -1. */
  writeString(text: string | null): this {
    if (text === null) return this.writeInt16(-1);
    this.writeInt16(Buffer.byteLength(text));
    this.end += this.bytes.write(text, this.end);
    return this;
  }

  /** Let other requests have the buffer. Call it once, when Kafka has answered and not before. */
  release(): void {
    if (this.bytes.length <= BUFFER_BYTES_KEPT_MAX && kept.length < BUFFERS_KEPT_MAX) {
      kept.push(this.bytes);
    }
  }

  /** The two as kafkajs has them in its encoders. */
  get buffer(): Buffer {
    return this.bytes.subarray(this.start, this.end);
  }

  get buf(): Buffer {
    return this.buffer;
  }

  get frame(): this {
    return this;
  }
}

/**
 * Make kafkajs's encoder write itself before a frame, in the frame's own buffer, instead of
 * copying the frame behind itself. What is sent is the same.
 *
 * It changes a class inside kafkajs 2.2.4, the last version there is, which package.json pins.
 * Call it once.
 */
export function adoptFrames(): void {
  const { writeEncoder } = Encoder.prototype;
  Encoder.prototype.writeEncoder = function writeOrAdopt(value) {
    const { frame } = value;
    if (frame === undefined || this.offset > frame.start) return writeEncoder.call(this, value);
    frame.start -= this.offset;
    this.buf.copy(frame.bytes, frame.start, 0, this.offset);
    this.frame = frame;
    this.buf = frame.buffer;
    this.offset = this.buf.length;
    return this;
  };
}

function takeBuffer(bytes: number): Buffer {
  const index = kept.findIndex(({ length }) => length >= bytes);
  if (index >= 0) return kept.splice(index, 1)[0]!;
  // Most are too small: make room for larger ones.
  kept.shift();
  return Buffer.allocUnsafeSlow(Math.max(bytes, BUFFER_BYTES_MIN));
}
