/** The part of kafkajs's own encoder that encoder.ts changes. */
declare module "kafkajs/src/protocol/encoder.js" {
  export default class Encoder {
    static nextPowerOfTwo: (bytes: number) => number;
    static sizeOfVarInt(value: number): number;
    static sizeOfVarLong(value: unknown): number;
    buf: Buffer;
    offset: number;
    /** Make room for so many bytes more. */
    ensureAvailable(bytes: number): void;
    writeUVarInt(value: number): this;
    writeVarInt(value: number): this;
    writeVarLong(value: unknown): this;
  }
}
