import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { CODECS, compress, decompress } from '../../src/kafka/codecs.ts'

const text = (size: number) => new TextEncoder().encode('{"bids":[[3021.55,0.8]]},'.repeat(size))
/** Does not compress. */
const noise = (size: number) => {
  let state = 7
  return Uint8Array.from({ length: size }, () => (state = (state * 16_807) % 2_147_483_647) >> 8)
}

describe('codecs', () => {
  for (const codec of CODECS) {
    test(`${codec}: what was packed is unpacked`, () => {
      for (const bytes of [text(1), text(40_000), noise(1), noise(12), noise(70_000)]) {
        assert.deepEqual(new Uint8Array(decompress(codec, compress(codec, bytes))), bytes)
      }
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 1, maxLength: 5_000 }), (bytes) => {
          assert.deepEqual(new Uint8Array(decompress(codec, compress(codec, bytes))), bytes)
        }),
        { numRuns: 50 },
      )
    })

    if (codec === 'none') continue
    test(`${codec}: what is not packed is refused, and so is a piece that is cut off`, () => {
      assert.throws(() => decompress(codec, noise(200)))
      const packed = compress(codec, noise(50_000))
      let unpacked: Uint8Array | undefined
      try {
        unpacked = decompress(codec, packed.subarray(0, packed.length - 20_000))
      } catch {
        return
      }
      assert.notDeepEqual(unpacked, noise(50_000))
    })
  }

  test('snappy without frames is read too', async () => {
    const { default: snappy } = await import('snappyjs')
    assert.deepEqual(new Uint8Array(decompress('snappy', snappy.compress(text(9)))), text(9))
  })
})
