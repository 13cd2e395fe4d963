/** Symbols found by their bytes: the same answer as a Map of strings. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Scanner } from '../../src/core/scanner.ts'
import { WireIds } from '../../src/core/wire-ids.ts'

const encoder = new TextEncoder()
// With letters whose low byte is that of another: Ł and A, 币 and a Latin letter, 𝐁 and its halves.
const id = fc.string({ unit: fc.constantFrom(...'ABC-ŁłA币安𝐁'), minLength: 1, maxLength: 6 })

test('agrees with a Map, whatever was asked before', () => {
  fc.assert(
    fc.property(fc.uniqueArray(id, { maxLength: 30 }), fc.array(id), (known, asked) => {
      const map = new Map(known.map((text, index) => [text, index * 3]))
      const ids = new WireIds(map, '",')
      const scanner = new Scanner()
      for (const text of [...asked, ...known, ...known.toReversed()]) {
        scanner.load(encoder.encode(`${text}",`))
        assert.equal(ids.read(scanner), map.get(text) ?? -1, text)
        if (map.has(text)) assert.ok(scanner.isDone())
      }
    }),
  )
})

test('another suffix, a cut symbol and an empty set are no match', () => {
  const scanner = new Scanner()
  const ids = new WireIds(new Map([['BTC-USD', 0], ['BTC-USDC', 1]]), '","updates":[')
  for (const text of ['BTC-USD","levels":[', 'BTC-USD"', 'BTC-US', 'BTC-USDT","updates":[', '']) {
    scanner.load(encoder.encode(text))
    assert.equal(ids.read(scanner), -1, text)
  }
  scanner.load(encoder.encode('BTC-USDC","updates":['))
  assert.equal(ids.read(scanner), 1)
  scanner.load(encoder.encode('BTC-USD","updates":['))
  assert.equal(new WireIds(new Map(), '"').read(scanner), -1)
})

test('a symbol is the bytes of its whole UTF-8', () => {
  const scanner = new Scanner()
  const ids = new WireIds(new Map([['\u0141BC-USDT', 0], ['币安人生USDT', 1]]), '",')
  for (
    const [text, index] of [['ABC-USDT', -1], ['\u0141BC-USDT', 0], ['币安人生USDT', 1]] as const
  ) {
    scanner.load(encoder.encode(`${text}",`))
    assert.equal(ids.read(scanner), index, text)
  }
})

test('what JSON must escape, or UTF-8 cannot hold, is left to JSON', () => {
  const odd = ['A"B', 'A\\B', 'A\nB', 'A\ud83d', 'A\ude00']
  const ids = new WireIds(new Map(odd.map((text, index) => [text, index])), '",')
  const scanner = new Scanner()
  for (const text of [...odd, 'A\ufffd']) {
    scanner.load(encoder.encode(`${text}",`))
    assert.equal(ids.read(scanner), -1, JSON.stringify(text))
  }
})
