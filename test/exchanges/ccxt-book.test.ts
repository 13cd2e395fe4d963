/** What is said of a book of ccxt, against what the book holds. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  CountedOrderBook,
  IndexedOrderBook,
  OrderBook,
} from '../../node_modules/ccxt/js/src/base/ws/OrderBook.js'
import { FollowedBook, type LevelText, plain, SaidSide } from '../../src/exchanges/ccxt-book.ts'
import type { CcxtBook } from '../../src/exchanges/ccxt-client.ts'

/** The book as it was said. */
class Said {
  readonly bids: SaidSide = new SaidSide(true)
  readonly asks: SaidSide = new SaidSide(false)
  readonly levels: Map<string, string> = new Map()

  look(followed: FollowedBook): number {
    const b = this.bids.update(followed.bids, followed.isWhole)
    const a = this.asks.update(followed.asks, followed.isWhole)
    followed.seen()
    assert.ok(a !== undefined && b !== undefined)
    for (const [name, levels] of [['bid', b], ['ask', a]] as const) {
      for (const [price, size] of levels) this.#apply(`${name} ${price}`, size)
    }
    return a.length + b.length
  }

  #apply(key: string, size: string): void {
    assert.notEqual(this.levels.get(key) ?? '0', size, `${key} was said before`)
    if (size === '0') this.levels.delete(key)
    else this.levels.set(key, size)
  }
}

function truth(book: CcxtBook): Record<string, string> {
  const sums = new Map<string, number>()
  for (const [name, side] of [['bid', book.bids], ['ask', book.asks]] as const) {
    for (let i = 0; i < side.length; i++) {
      const [price, size] = side[i] as [number, number]
      const key = `${name} ${plain(price)}`
      sums.set(key, (sums.get(key) ?? 0) + size)
    }
  }
  return Object.fromEntries([...sums].map(([key, size]) => [key, plain(size)]).sort())
}

function follow(book: unknown, depth = Infinity): [CcxtBook, FollowedBook] {
  const own = book as CcxtBook
  return [own, new FollowedBook(own, false, depth, () => {})]
}

const level = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 3 }))
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ isBid: fc.boolean(), level, id: fc.integer({ max: 5 }) }) },
  { weight: 1, arbitrary: fc.constant('reset' as const) },
  { weight: 3, arbitrary: fc.constant('look' as const) },
)

describe('every kind of book', () => {
  const kinds = { plain: OrderBook, counted: CountedOrderBook, indexed: IndexedOrderBook }
  for (const [name, Kind] of Object.entries(kinds)) {
    test(`${name}: what was said is what the book holds`, () => {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
          const [book, followed] = follow(new Kind())
          const said = new Said()
          for (const each of steps) {
            if (each === 'look') {
              said.look(followed)
              assert.deepEqual(Object.fromEntries([...said.levels].sort()), truth(book))
            } else if (each === 'reset') {
              book.reset({ bids: [[3, 1, 1]], asks: [[4, 2, 2]] })
            } else {
              const [price, size] = each.level
              const side = each.isBid ? book.bids : book.asks
              side.storeArray([price, size, name === 'indexed' ? `${each.id}` : size])
            }
          }
          said.look(followed)
          assert.deepEqual(Object.fromEntries([...said.levels].sort()), truth(book))
          assert.equal(said.look(followed), 0)
        }),
        { numRuns: 200 },
      )
    })
  }

  test('what lies beyond the depth is forgotten, and said so', () => {
    const [book, followed] = follow(new OrderBook(), 2)
    const said = new Said()
    for (const price of [10, 11, 12]) book.asks.storeArray([price, 1])
    followed.truncate()
    said.look(followed)
    assert.deepEqual([...said.levels.keys()], ['ask 10', 'ask 11'])
    book.asks.storeArray([9, 1])
    followed.truncate()
    said.look(followed)
    assert.deepEqual([...said.levels.keys()].sort(), ['ask 10', 'ask 9'])
    book.asks.storeArray([9, 0])
    followed.truncate()
    said.look(followed)
    assert.deepEqual([...said.levels.keys()], ['ask 10'])
  })

  test('a level without a price or size is no level', () => {
    for (const row of [[NaN, 1], [1, NaN], [1], [1, null], [-1, 1], [1, -1], [Infinity, 1]]) {
      for (const isWhole of [true, false]) {
        const [book, followed] = follow(new OrderBook())
        if (!isWhole) followed.seen()
        book.asks.storeArray(row)
        assert.equal(new SaidSide(false).update(followed.asks, isWhole), undefined, String(row))
      }
    }
  })

  test('ccxt sees nothing of it when it copies a book', () => {
    const [book] = follow(new OrderBook())
    book.asks.storeArray([1, 2])
    assert.deepEqual(Object.keys(book.asks), ['0'])
    assert.ok(!Object.keys(book).includes('reset'))
  })
})

test('numbers are plain decimals', () => {
  const cases: LevelText[] = [['1e-7', '0.0000001'], ['1e21', '1000000000000000000000']]
  for (const [value, text] of cases) assert.equal(plain(Number(value)), text)
  assert.equal(plain(5.1e-8), '0.000000051')
  assert.equal(plain(98765.4), '98765.4')
})
