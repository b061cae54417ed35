/** The part of kafkajs's own encoder that encoder.ts changes. */
declare module "kafkajs/src/protocol/encoder.js" {
  export default class Encoder {
    static nextPowerOfTwo: (bytes: number) => number;
    buf: Buffer;
    offset: number;
    /** Make room for so many bytes more. */
    ensureAvailable(bytes: number): void;
  }
}
