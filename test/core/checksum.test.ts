/** CRC-32: published vectors, and the definition bit by bit as the judge of everything else. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { crc32 } from '../../src/core/checksum.ts'

const encoder = new TextEncoder()

/** The definition: one bit at a time, without a table. */
function plain(bytes: Uint8Array): number {
  let register = 0xffffffff
  for (const byte of bytes) {
    register ^= byte
    for (let bit = 0; bit < 8; bit++) {
      register = register & 1 ? (register >>> 1) ^ 0xedb88320 : register >>> 1
    }
  }
  return (register ^ 0xffffffff) >>> 0
}

describe('CRC-32', () => {
  test('published vectors', () => {
    for (
      const [text, expected] of [
        ['', 0],
        ['a', 0xe8b7be43],
        ['123456789', 0xcbf43926],
        ['The quick brown fox jumps over the lazy dog', 0x414fa339],
      ] as const
    ) {
      assert.equal(crc32(encoder.encode(text)), expected, text)
    }
  })

  test('any bytes, any part of them, in any two parts', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 70 }),
        fc.nat(70),
        fc.nat(70),
        fc.nat(70),
        (bytes, ...cuts) => {
          const [from, middle, to] = cuts.map((cut) => Math.min(cut, bytes.length))
            .sort((a, b) => a - b)
          const expected = plain(bytes.subarray(from, to))
          assert.equal(crc32(bytes, from, to), expected)
          assert.equal(crc32(bytes, middle, to, crc32(bytes, from, middle)), expected)
          assert.equal(crc32(bytes), plain(bytes))
        },
      ),
    )
  })
})
