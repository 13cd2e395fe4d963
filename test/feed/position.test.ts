import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isBehind, type Position } from '../../src/feed/position.ts'

const at = (nonce: number, timestampMs: number, nonceText?: string): Position => ({
  nonce,
  nonceText,
  timestampMs,
})

describe('isBehind', () => {
  const table: [what: string, book: Position, known: Position, symbol: boolean, all: boolean][] = [
    ['the same', at(10, 100), at(10, 100), false, false],
    ['a lower number', at(9, 90), at(10, 100), true, true],
    ['a lower number without a time', at(9, -1), at(10, -1), true, false],
    ['a lower number with the time of the answer', at(9, 110), at(10, 100), true, false],
    ['a higher number', at(11, 110), at(10, 100), false, false],
    ['a higher number of the same moment', at(11, 100), at(10, 100), false, false],
    ['a higher number from before a new count', at(1000, 90), at(1, 100), true, true],
    ['a new count', at(1, 110), at(1000, 100), false, false],
    ['a new count without a time', at(1, -1), at(1000, -1), true, false],
    ['nothing known', at(10, 100), at(-1, -1), false, false],
    ['only a time, older', at(-1, 90), at(-1, 100), true, true],
    ['only a time, newer', at(-1, 110), at(-1, 100), false, false],
    [
      'beyond 2^53, lower',
      at(-1, 1, '9007199254740993'),
      at(-1, 1, '9007199254740995'),
      true,
      false,
    ],
    ['beyond 2^53, higher', at(-1, 1, '9007199254740997'), at(5, 1), false, false],
  ]
  for (const [what, book, known, bySymbol, byConnection] of table) {
    test(what, () => {
      assert.equal(isBehind(book, known, true), bySymbol, 'a sequence of the symbol')
      assert.equal(isBehind(book, known, false), byConnection, 'a sequence of the connection')
    })
  }
})
