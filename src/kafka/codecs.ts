/** The compressions of Kafka, both ways and synchronous: what stands behind a batch's header. */
import { Buffer } from 'node:buffer'
import * as zlib from 'node:zlib'
import lz4 from 'lz4js'
import snappy from 'snappyjs'

export type Codec = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** By the number that stands in a batch's attributes. */
export const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

/** A batch is never larger than this when unpacked; what is was not made by a sound producer. */
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024

/** Whether this runtime has zstd. */
export const hasZstd: boolean = typeof zlib.zstdCompressSync === 'function'

/** What `auto` means here: the best that this runtime can write. */
export const bestCodec: Codec = hasZstd ? 'zstd' : 'gzip'

/** @throws when this runtime lacks the codec. */
export function compress(codec: Codec, bytes: Uint8Array): Uint8Array {
  switch (codec) {
    case 'none':
      return bytes
    case 'gzip':
      return zlib.gzipSync(bytes, { level: 1 })
    case 'zstd':
      return zlib.zstdCompressSync(bytes, {
        params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 },
      })
    case 'lz4':
      return packLz4(bytes)
    case 'snappy':
      return snappyFramed(bytes)
  }
}

/** @throws when the bytes are not of that codec, or this runtime lacks it. */
export function decompress(codec: Codec, bytes: Uint8Array): Uint8Array {
  switch (codec) {
    case 'none':
      return bytes
    case 'gzip':
      return zlib.gunzipSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
    case 'zstd':
      if (!hasZstd) throw new Error('this runtime has no zstd')
      return zlib.zstdDecompressSync(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
    case 'lz4':
      return unpackLz4(bytes)
    case 'snappy':
      return unpackSnappy(bytes)
  }
}

/** Magic, version 1 with independent blocks of 64 KiB (Kafka takes no others), and its checksum. */
const LZ4_HEADER = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82)
const LZ4_BLOCK_BYTES = 64 * 1024
/** In a block's length: it is stored as it is. */
const LZ4_STORED = 0x8000_0000
const lz4Matches = new Uint32Array(64 * 1024)

function packLz4(bytes: Uint8Array): Uint8Array {
  const packed = Buffer.allocUnsafe(lz4.compressBound(LZ4_BLOCK_BYTES))
  const pieces: Uint8Array[] = [LZ4_HEADER]
  for (let at = 0; at < bytes.length; at += LZ4_BLOCK_BYTES) {
    const block = bytes.subarray(at, at + LZ4_BLOCK_BYTES)
    lz4Matches.fill(0)
    const size = lz4.compressBlock(block, packed, 0, block.length, lz4Matches)
    const isSmaller = size > 0 && size < block.length
    const length = Buffer.allocUnsafe(4)
    length.writeUInt32LE(isSmaller ? size : block.length + LZ4_STORED)
    pieces.push(length, isSmaller ? Uint8Array.from(packed.subarray(0, size)) : block)
  }
  pieces.push(new Uint8Array(4)) // a length of 0 ends the frame
  return Buffer.concat(pieces)
}

function unpackLz4(bytes: Uint8Array): Uint8Array {
  const size = Number(lz4.decompressBound(bytes))
  if (!(size <= UNPACKED_BYTES_MAX)) throw new Error(`an lz4 frame claims ${size} bytes`)
  const unpacked = new Uint8Array(size)
  return unpacked.subarray(0, lz4.decompressFrame(bytes, unpacked))
}

/** The frames of Java's producers, which every other client reads too: "\x82SNAPPY\0", 1, 1. */
const SNAPPY_HEADER = Uint8Array.of(0x82, 83, 78, 65, 80, 80, 89, 0, 0, 0, 0, 1, 0, 0, 0, 1)
const SNAPPY_BLOCK_BYTES = 32 * 1024

function snappyFramed(bytes: Uint8Array): Uint8Array {
  const pieces: Uint8Array[] = [SNAPPY_HEADER]
  for (let at = 0; at < bytes.length; at += SNAPPY_BLOCK_BYTES) {
    const block = snappy.compress(bytes.subarray(at, at + SNAPPY_BLOCK_BYTES))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(block.length)
    pieces.push(length, block)
  }
  return Buffer.concat(pieces)
}

/** Framed as above, or bare as librdkafka writes it. */
function unpackSnappy(bytes: Uint8Array): Uint8Array {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const isFramed = view.length >= SNAPPY_HEADER.length &&
    view.subarray(0, 8).equals(SNAPPY_HEADER.subarray(0, 8))
  if (!isFramed) return snappy.uncompress(view, UNPACKED_BYTES_MAX)
  const pieces: Uint8Array[] = []
  let left = UNPACKED_BYTES_MAX
  for (let at = SNAPPY_HEADER.length; at < view.length;) {
    const length = view.readUInt32BE(at)
    at += 4
    if (at + length > view.length) throw new Error('a snappy block is cut off')
    const block = snappy.uncompress(view.subarray(at, at + length), left)
    pieces.push(block)
    left -= block.length
    at += length
  }
  return Buffer.concat(pieces)
}
