/** Books of which only a part is known or kept, and their replacement without a new beginning. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal, compareDecimals } from '../../src/core/decimal.ts'
import { Consumer, pushText, seeded, type Which } from './model.ts'

type Level = [side: Which, price: string, size: string]

/** What a client knows by the rules: whole sides, cut off at a horizon, truncated after each frame. */
class Known {
  readonly sides: [Map<string, string>, Map<string, string>] = [new Map(), new Map()]
  horizons: [string | undefined, string | undefined] = [undefined, undefined]
  readonly #kept: number

  constructor(kept: number) {
    this.#kept = kept
  }

  apply(levels: readonly Level[]): void {
    for (const [side, price, size] of levels) {
      const horizon = this.horizons[side]
      if (horizon !== undefined && better(side, horizon, price)) continue
      if (Number(size) === 0) this.sides[side].delete(canonicalDecimal(price)!)
      else this.sides[side].set(canonicalDecimal(price)!, canonicalDecimal(size)!)
    }
    for (const side of [BID, ASK] as const) {
      for (const [price] of this.top(side).slice(this.#kept)) this.sides[side].delete(price)
    }
  }

  top(side: Which): [string, string][] {
    return [...this.sides[side]].sort(([a], [b]) => better(side, a, b) ? -1 : 1)
  }
}

function better(side: Which, a: string, b: string): boolean {
  const order = compareDecimals(a, b)
  return side === BID ? order > 0 : order < 0
}

/** Prices around 100 with 2 decimals, now and then off the grid, in sizes of both kinds. */
function randomLevel(random: () => number, spread: number): Level {
  const side: Which = random() < 0.5 ? BID : ASK
  const ticks = Math.ceil(random() * spread)
  const price = ((10_000 + (side === BID ? -ticks : ticks)) / 100).toFixed(2)
  const fate = random()
  const size = fate < 0.35
    ? '0'
    : fate < 0.4
    ? '0.123456789012345678'
    : String(1 + Math.floor(random() * 9))
  return [side, random() < 0.05 ? `${price}37` : price, size]
}

function assertSame(book: Book, known: Known, consumer: Consumer, depth: number): void {
  for (const side of [BID, ASK] as const) {
    const expected = known.top(side)
    assert.deepEqual(book.levels(side), expected)
    assert.deepEqual(consumer.top(side), expected.slice(0, depth))
  }
}

describe('a book that is not whole', () => {
  for (
    const { depth, kept } of [{ depth: 5, kept: 5 }, { depth: 5, kept: 70 }, { depth: 1, kept: 3 }]
  ) {
    test(`${kept} levels are kept, ${depth} are seen`, () => {
      const random = seeded(depth * 1000 + kept)
      const book = new Book(2, 4, depth, kept)
      const consumer = new Consumer(book)
      const known = new Known(kept)
      const changes = new LevelChanges(4)
      const frame = (count: number): Level[] => {
        const levels = Array.from({ length: count }, () => randomLevel(random, kept * 2))
        changes.reset()
        for (const level of levels) pushText(changes, book, ...level)
        return levels
      }
      known.apply(frame(kept * 3))
      book.load(changes)
      consumer.load()
      assertSame(book, known, consumer, depth)
      for (let i = 0; i < 2000; i++) {
        known.apply(frame(1 + Math.floor(random() * 6)))
        book.apply(changes)
        consumer.apply()
        assertSame(book, known, consumer, depth)
      }
    })
  }

  test('what lies beyond the horizon stays out, and the certain depth says what is left', () => {
    const book = new Book(2, 4, 10)
    const changes = new LevelChanges()
    for (const price of ['99', '98', '97']) pushText(changes, book, BID, price, '1')
    for (const price of ['101', '102']) pushText(changes, book, ASK, price, '1')
    changes.bidHorizon = 9700
    book.load(changes)
    assert.equal(book.certainDepth, 3)
    changes.reset()
    pushText(changes, book, BID, '96.99', '7')
    pushText(changes, book, BID, '96.995', '0.123456789')
    pushText(changes, book, BID, '98.5', '2')
    pushText(changes, book, ASK, '5000', '3')
    book.apply(changes)
    assert.deepEqual(book.levels(BID).map(([price]) => price), ['99', '98.5', '98', '97'])
    assert.deepEqual(book.levels(ASK).map(([price]) => price), ['101', '102', '5000'])
    assert.equal(book.certainDepth, 4)
    changes.reset()
    pushText(changes, book, BID, '99', '1')
    book.load(changes)
    assert.equal(book.certainDepth, Infinity, 'the next snapshot was a whole one')
  })

  test('a view that changes its depth in mid run shows just that many of the best levels', () => {
    const random = seeded(17)
    const book = new Book(2, 4, Infinity)
    const consumer = new Consumer(book)
    const known = new Known(Infinity)
    const changes = new LevelChanges(4)
    const frame = (count: number): void => {
      const levels = Array.from({ length: count }, () => randomLevel(random, 150))
      changes.reset()
      for (const level of levels) pushText(changes, book, ...level)
      known.apply(levels)
    }
    frame(300)
    book.load(changes)
    consumer.load()
    for (let i = 0; i < 5000; i++) {
      if (random() < 0.05) {
        const depth = random() < 0.1 ? Infinity : 1 + Math.floor(random() * 120)
        book.see(depth)
        assert.equal(book.depth, depth)
        consumer.load()
      }
      frame(1 + Math.floor(random() * 6))
      book.apply(changes)
      consumer.apply()
      assertSame(book, known, consumer, book.depth)
    }
  })

  test('replaced without a new beginning: the difference is what the view sees', () => {
    const depth = 5
    const random = seeded(3)
    const book = new Book(2, 4, depth)
    const consumer = new Consumer(book)
    const changes = new LevelChanges(4)
    book.load(changes)
    consumer.load()
    for (let round = 0; round < 1500; round++) {
      const known = new Known(Infinity)
      changes.reset()
      // A snapshot that ends somewhere, and changes behind it, on both sides of its end.
      const bid = 9_990 - Math.floor(random() * 30)
      const ask = 10_010 + Math.floor(random() * 30)
      const isCut = random() < 0.7
      known.horizons = isCut
        ? [(bid / 100).toFixed(2), (ask / 100).toFixed(2)]
        : [undefined, undefined]
      const levels = Array.from({ length: 40 }, () => randomLevel(random, 60))
      for (const level of levels) pushText(changes, book, ...level)
      if (isCut) {
        changes.bidHorizon = bid
        changes.askHorizon = ask
      }
      known.apply(levels)
      book.replace(changes)
      consumer.apply()
      assertSame(book, known, consumer, depth)
      assert.equal(book.certainDepth === Infinity, !isCut)

      const later = Array.from({ length: 5 }, () => randomLevel(random, 60))
      changes.reset()
      for (const level of later) pushText(changes, book, ...level)
      known.apply(later)
      book.apply(changes)
      consumer.apply()
      assertSame(book, known, consumer, depth)
    }
  })
})
