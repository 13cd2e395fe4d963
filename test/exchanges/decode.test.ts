/** What adapters share: exact levels of JSON messages, and what is read of market lists. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal, scaledFromText } from '../../src/core/decimal.ts'
import {
  appendLevel,
  appendSide,
  decimalOf,
  exact,
  parseMessage,
  unreadableText,
} from '../../src/exchanges/decode.ts'
import { codesWith, dayOf, decimalsOf, volumesOf } from '../../src/exchanges/listing.ts'
import { fixedText } from '../../src/exchanges/warm-frames.ts'
import { levelsOf } from './listener.ts'
import { decimalText } from './wounds.ts'

const encoder = new TextEncoder()
const BTC = { symbol: 'BTC/USD', wireSymbol: 'BTC-USD', priceDecimals: 2, sizeDecimals: 8 }

describe('exact levels', () => {
  test('a decimal is its scaled integer, or else its canonical text', () => {
    const exponent = fc.tuple(fc.nat(99_999), fc.integer({ min: -30, max: 30 }))
      .map(([n, power]) => `${n}e${power}`)
    fc.assert(
      fc.property(fc.oneof(decimalText, exponent), fc.nat(22), (text, decimals) => {
        const canonical = canonicalDecimal(text)
        if (canonical === undefined) return
        const wide = new Map<number, string>()
        const value = exact(text, decimals, wide, 3)
        assert.deepEqual(value, scaledFromText(canonical, decimals))
        assert.deepEqual([...wide], Number.isNaN(value) ? [[3, canonical]] : [])
      }),
      { numRuns: 1000 },
    )
  })

  test('a side is what its levels are one by one, or a problem', () => {
    const level = fc.tuple(decimalText, decimalText)
    fc.assert(
      fc.property(fc.array(level, { maxLength: 5 }), (levels) => {
        const [whole, single] = [new LevelChanges(2), new LevelChanges(2)]
        const problem = appendSide(whole, ASK, levels, BTC)
        const texts = levels.map((each) => each.map(decimalOf))
        assert.equal(problem === undefined, texts.flat().every((text) => text !== undefined))
        if (problem !== undefined) return
        for (const [price, size] of texts) appendLevel(single, ASK, price!, size!, BTC)
        assert.deepEqual(levelsOf(whole, BTC), levelsOf(single, BTC))
        assert.deepEqual(
          levelsOf(whole, BTC).map(([, ...level]) => level),
          texts,
        )
      }),
      { numRuns: 500 },
    )
  })

  test('what is no level is named', () => {
    const problemOf = (level: unknown) => appendSide(new LevelChanges(), BID, [level], BTC)
    assert.equal(problemOf({}), 'a level is not an array')
    assert.equal(problemOf([1, '1']), 'a price is not a decimal from 0')
    assert.equal(problemOf(['-1', '1']), 'a price is not a decimal from 0')
    assert.equal(problemOf(['1']), 'a size is not a decimal from 0')
    assert.equal(problemOf(['1', '1', 'more']), undefined)
  })
})

describe('messages', () => {
  test('an object, or what it is instead', () => {
    assert.deepEqual(parseMessage(encoder.encode('{"a":1}')), { a: 1 })
    const asText = (_: string, value: unknown, context?: { readonly source?: string }) =>
      context?.source ?? value
    assert.deepEqual(parseMessage(encoder.encode('{"a":1.50}'), asText), { a: '1.50' })
    for (const text of ['[]', 'null', '1', '"a"']) {
      assert.equal(parseMessage(encoder.encode(text)), 'not a JSON object')
    }
    for (const text of ['', '{', 'pong']) {
      assert.equal(parseMessage(encoder.encode(text)), 'not JSON')
    }
    assert.equal(parseMessage(Uint8Array.of(0x22, 0xff, 0x22)), 'not JSON')
  })

  test('a frame that could not be read is quoted in printable characters', () => {
    const frame = encoder.encode(`\n{"ä":${'x'.repeat(100)}`)
    const excerpt = `?{"??":${'x'.repeat(73)}`
    assert.equal(
      unreadableText(frame, 'not JSON'),
      `a frame of 107 bytes could not be read (not JSON); it begins with ${excerpt}`,
    )
    assert.equal(
      unreadableText(frame, 'not JSON', 'a message'),
      'a frame of 107 bytes could not be read (not JSON), expected a message; the connection is ' +
        `replaced; it begins with ${excerpt}`,
    )
  })
})

describe('market lists', () => {
  test('codes: common ones, and those of one exchange', () => {
    const codeOf = codesWith({ CGLD: 'CELO' })
    assert.deepEqual(['xbt', 'BCHSV', 'cgld', 'eth'].map(codeOf), ['BTC', 'BSV', 'CELO', 'ETH'])
    assert.equal(codesWith({})('CGLD'), 'CGLD')
  })

  test('decimals of an increment, eight where none is told', () => {
    assert.deepEqual(['0.01', '0.01000', '5', '1e-7'].map(decimalsOf), [2, 2, 0, 7])
    assert.deepEqual(['0', '-1', '', 0.01, undefined].map(decimalsOf), [8, 8, 8, 8, 8])
  })

  test('days and volumes', () => {
    assert.equal(dayOf(1_798_185_600_000), '261225')
    const market = { ...BTC, active: true }
    assert.deepEqual([...volumesOf([market], new Map([['BTC-USD', 5]]))], [['BTC/USD', 5]])
    assert.deepEqual([...volumesOf([market], new Map())], [['BTC/USD', 0]])
  })
})

test('canned numbers keep their zeros', () => {
  assert.deepEqual([fixedText(120, 8), fixedText(120, 2), fixedText(120, 0)], [
    '0.00000120',
    '1.20',
    '120',
  ])
})
