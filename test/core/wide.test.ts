/** Values without an exact scaled integer stay exact, in order, and cost only themselves. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal, compareDecimals } from '../../src/core/decimal.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import { Consumer, pushText, seeded, textSides, type Which } from './model.ts'

function bookOf(levels: [Which, string, string][], depth = Infinity): [Book, LevelChanges] {
  const book = new Book(2, 4, depth)
  const changes = new LevelChanges(1)
  for (const [side, price, size] of levels) pushText(changes, book, side, price, size)
  book.load(changes)
  changes.reset()
  return [book, changes]
}

describe('wide values', () => {
  test('keep every digit and their place among the others', () => {
    const [book] = bookOf([
      [BID, '100.01', '1'],
      [BID, '100.010000000000000000001', '2'],
      [BID, '100.010000000000000000002', '0.12345678901234567890123'],
      [BID, '100.02', '3'],
      [BID, '100.019999999999999999999', '4'],
      [BID, '123456789012345678901234567890.5', '99999999999999999999'],
      [BID, '90071992547409.91', '5'],
      [BID, '0.001', '6'],
    ])
    assert.deepEqual(book.levels(BID), [
      ['123456789012345678901234567890.5', '99999999999999999999'],
      ['90071992547409.91', '5'],
      ['100.02', '3'],
      ['100.019999999999999999999', '4'],
      ['100.010000000000000000002', '0.12345678901234567890123'],
      ['100.010000000000000000001', '2'],
      ['100.01', '1'],
      ['0.001', '6'],
    ])
  })

  test('are changed, deleted and told as differences like any other', () => {
    const [book, changes] = bookOf([
      [ASK, '5.005', '1'],
      [ASK, '5.01', '0.00001'],
    ])
    pushText(changes, book, ASK, '5.005', '0')
    pushText(changes, book, ASK, '5.01', '0.00001')
    pushText(changes, book, ASK, '5.0050001', '0.000011')
    pushText(changes, book, ASK, '7.0000001', '0')
    book.apply(changes)
    const { asks } = book.difference
    assert.deepEqual(
      [0, 1].map((i) => [book.priceText(asks.price[i]), book.sizeText(asks.size[i])]),
      [['5.005', '0'], ['5.0050001', '0.000011']],
    )
    assert.equal(asks.count, 2, 'the same wide size is no change')
    assert.deepEqual(book.levels(ASK), [['5.0050001', '0.000011'], ['5.01', '0.00001']])
  })

  test('cross the book exactly', () => {
    const at = (bid: string, ask: string) => bookOf([[BID, bid, '1'], [ASK, ask, '1']])[0]
    assert.ok(!at('100.011', '100.012').isCrossed())
    assert.ok(at('100.012', '100.012').isCrossed())
    assert.ok(at('100.012', '100.011').isCrossed())
    assert.ok(!at('100.01', '100.0100000000000000000001').isCrossed())
    assert.ok(at('100.0100000000000000000001', '100.01').isCrossed())
    assert.ok(!at('9'.repeat(30), `${'9'.repeat(30)}.1`).isCrossed())
  })

  test('leave nothing behind when they go', () => {
    const [book, changes] = bookOf([[BID, '1', '1']])
    for (let i = 0; i < 200; i++) {
      changes.reset()
      pushText(changes, book, BID, `1.00${i + 1}`, `0.00001${i + 1}`)
      pushText(changes, book, ASK, `2.00${i + 1}`, `1.00001${i + 1}`)
      if (i > 0) {
        pushText(changes, book, BID, `1.00${i}`, '0')
        pushText(changes, book, ASK, `2.00${i}`, '0')
      }
      book.apply(changes)
    }
    changes.reset()
    pushText(changes, book, BID, '1.00200', '0')
    pushText(changes, book, ASK, '2.00200', '0')
    book.apply(changes)
    changes.reset()
    book.apply(changes)
    assert.equal(book.wide.count, 0)
    assert.deepEqual(book.levels(BID), [['1', '1']])
  })

  test('end in an error and an empty book when no key is left between two', () => {
    const [book, changes] = bookOf([[BID, '1', '1']])
    const apply = () => {
      for (let i = 0; i < 3000; i++) {
        changes.reset()
        // Each one nearer to the last, all within what one double can tell apart.
        pushText(changes, book, BID, `100000000.00${'0'.repeat(20 + i)}1`, '1')
        book.apply(changes)
      }
    }
    assert.throws(
      apply,
      (error) =>
        error instanceof ObfeedError && error.code === 'E_DECODE' && error.scope === 'symbol',
    )
    assert.equal(book.bidCount, 0)
    changes.reset()
    pushText(changes, book, BID, '1.001', '1')
    book.load(changes)
    assert.deepEqual(book.levels(BID), [['1.001', '1']])
  })

  test('a negative size is refused', () => {
    const [book, changes] = bookOf([[BID, '1', '1']])
    pushText(changes, book, BID, '1', '-1')
    assert.throws(() => book.apply(changes), ObfeedError)
    changes.reset()
    pushText(changes, book, BID, '1', '-1.000001')
    assert.throws(() => book.load(changes), ObfeedError)
  })
})

describe('a book with wide values in it equals a naive model by text', () => {
  for (const [seed, depth, share] of [[1, 1, 0.5], [2, 5, 0.3], [3, 30, 0.1], [4, Infinity, 0.3]]) {
    test(`depth ${depth}, ${share * 100} % wide`, () => {
      const random = seeded(seed)
      const book = new Book(2, 4, depth)
      const changes = new LevelChanges(8)
      const naive = textSides()
      const consumer = new Consumer(book)
      const price = (side: Which) => {
        const ticks = 1 + Math.floor(random() * 40)
        const cents = 10_000 + (side === BID ? -ticks : ticks)
        const wide = random() < share
        const kind = random()
        if (wide && kind < 0.1) {
          return canonicalDecimal(`${side === BID ? 0 : 9e20 + ticks * 1e6}.001`) as string
        }
        // Few different ones, so that they are met again.
        const rest = wide ? `${Math.floor(random() * 4)}${'0'.repeat(kind < 0.5 ? 2 : 16)}7` : ''
        return canonicalDecimal(
          `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}${rest}`,
        ) as string
      }
      const size = () => {
        if (random() < 0.35) return '0'
        const base = `${Math.floor(random() * 3)}.${1 + Math.floor(random() * 9)}`
        return random() < share ? `${base}00000000000000000001` : base
      }
      const push = (side: Which) => {
        const [p, s] = [price(side), size()]
        pushText(changes, book, side, p, s)
        naive[side].set(p, s)
      }
      const check = (frame: number) => {
        for (const side of [BID, ASK] as const) {
          const whole = naive[side].top(Infinity)
          assert.deepEqual(book.levels(side), whole, `frame ${frame}: the whole book`)
          assert.deepEqual(
            consumer.top(side),
            whole.slice(0, depth === Infinity ? undefined : depth),
            `frame ${frame}: the view`,
          )
        }
        const [bids, asks] = naive
        const crossed = bids.prices.length > 0 && asks.prices.length > 0 &&
          compareDecimals(bids.prices[0], asks.prices[0]) >= 0
        assert.equal(book.isCrossed(), crossed)
      }
      for (let frame = 0; frame < 8000; frame++) {
        changes.reset()
        if (frame % 2000 === 0) {
          naive[BID].clear()
          naive[ASK].clear()
          for (let i = 0; i < 50; i++) push(i % 2 === 0 ? BID : ASK)
          book.load(changes)
          consumer.load()
        } else {
          const count = 1 + Math.floor(random() * 5)
          for (let i = 0; i < count; i++) push(random() < 0.5 ? BID : ASK)
          book.apply(changes)
          consumer.apply()
        }
        if (frame % 10 === 0) check(frame)
      }
      assert.ok(book.wide.count < 1000, `${book.wide.count} entries for a small book`)
    })
  }
})
