/** CRC-32 (IEEE 802.3, the one of zlib): the checksum that exchanges put on their books. */

/** Table `k` (256 entries each) takes a byte through the register followed by `k` zero bytes. */
const TABLES = new Int32Array(2048)
for (let i = 0; i < 256; i++) {
  let crc = i
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  TABLES[i] = crc
}
for (let i = 256; i < TABLES.length; i++) {
  const crc = TABLES[i - 256]
  TABLES[i] = (crc >>> 8) ^ TABLES[crc & 255]
}

/**
 * CRC-32 of `bytes[from]` up to and without `bytes[to]`, unsigned (`| 0` makes it signed). `crc`:
 * the result for the bytes before them, so that a text can be taken in parts.
 */
export function crc32(bytes: Uint8Array, from = 0, to: number = bytes.length, crc = 0): number {
  let register = ~crc
  let at = from
  for (const stop = to - 7; at < stop; at += 8) {
    register ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)
    register = TABLES[1792 + (register & 255)] ^ TABLES[1536 + ((register >>> 8) & 255)] ^
      TABLES[1280 + ((register >>> 16) & 255)] ^ TABLES[1024 + (register >>> 24)] ^
      TABLES[768 + bytes[at + 4]] ^ TABLES[512 + bytes[at + 5]] ^
      TABLES[256 + bytes[at + 6]] ^ TABLES[bytes[at + 7]]
  }
  for (; at < to; at++) register = (register >>> 8) ^ TABLES[(register ^ bytes[at]) & 255]
  return ~register >>> 0
}
