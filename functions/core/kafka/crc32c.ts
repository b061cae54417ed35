/** Castagnoli's polynomial, its bits in reverse. */
const POLYNOMIAL = 0x82f63b78;
/** Bytes taken at once: each has a table of its own. */
const SLICES = 8;

const [T0, T1, T2, T3, T4, T5, T6, T7] = makeTables() as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/**
 * CRC-32C, as a record batch has it: an unsigned 32-bit integer. Node itself has only the CRC-32
 * of zlib, which is of another polynomial.
 */
export function crc32c(bytes: Uint8Array): number {
  const { length } = bytes;
  let crc = -1;
  let at = 0;
  for (; at + SLICES <= length; at += SLICES) {
    crc =
      T7[(crc ^ bytes[at]!) & 0xff]! ^
      T6[((crc >>> 8) ^ bytes[at + 1]!) & 0xff]! ^
      T5[((crc >>> 16) ^ bytes[at + 2]!) & 0xff]! ^
      T4[(crc >>> 24) ^ bytes[at + 3]!]! ^
      T3[bytes[at + 4]!]! ^
      T2[bytes[at + 5]!]! ^
      T1[bytes[at + 6]!]! ^
      T0[bytes[at + 7]!]!;
  }
  for (; at < length; at++) crc = T0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

/** The first is of a byte, each following one of a byte that has one more byte after it. */
function makeTables(): Int32Array[] {
  const first = Int32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    return crc;
  });
  const tables = [first];
  for (let slice = 1; slice < SLICES; slice++) {
    tables.push(tables[slice - 1]!.map((crc) => first[crc & 0xff]! ^ (crc >>> 8)));
  }
  return tables;
}
