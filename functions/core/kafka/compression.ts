import { promisify } from "node:util";
import { constants, gzip, gzipSync, zstdCompress, zstdCompressSync } from "node:zlib";

/** How the records of a record batch may be compressed; lz4, which Kafka knows too, is left out. */
export const COMPRESSIONS = ["none", "gzip", "snappy", "zstd"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

export interface Codec {
  /** Its number in the attributes of a record batch.
   *  @see https://kafka.apache.org/documentation/#recordbatch */
  id: number;
  compress: (records: Buffer) => Promise<Uint8Array> | Uint8Array;
}

/* Level 6 of gzip saves another eighth of the bytes for twice the time, level 3 of zstd nothing. */
const GZIP_LEVEL = 1;
const ZSTD_LEVEL = 1;

/** Below this, to hand them to another thread takes longer than to compress them: 200 µs for one
 *  message that is compressed in 45. */
const THREAD_BYTES_MIN = 16_384;

const gzipInThread = promisify(gzip);
const zstdInThread = promisify(zstdCompress);

/** Null where records are sent as they are. */
export const CODECS: Record<Compression, Codec | null> = {
  none: null,
  gzip: {
    id: 1,
    compress: (records) => {
      const options = { level: GZIP_LEVEL, chunkSize: chunkSize(records) };
      return isSmall(records) ? gzipSync(records, options) : gzipInThread(records, options);
    },
  },
  snappy: {
    id: 2,
    // One block, without the framing of snappy-java: Kafka and its clients read both.
    compress: async (records) => (await import("snappyjs")).default.compress(records),
  },
  zstd: {
    id: 4,
    compress: (records) => {
      const options = {
        params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL },
        chunkSize: chunkSize(records),
        pledgedSrcSize: records.length,
      };
      return isSmall(records) ? zstdCompressSync(records, options) : zstdInThread(records, options);
    },
  },
};

function isSmall({ length }: Buffer): boolean {
  return length < THREAD_BYTES_MIN;
}

/** So that one piece holds the result. */
function chunkSize({ length }: Buffer): number {
  return Math.max(constants.Z_MIN_CHUNK, length);
}
