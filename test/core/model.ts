/** A naive order book to hold the real one against: a sorted list and a Map, nothing clever. */
import assert from 'node:assert/strict'
import type { Book } from '../../src/core/book.ts'
import { ASK, BID, type LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal, compareDecimals, scaledFromText } from '../../src/core/decimal.ts'

export type Which = typeof BID | typeof ASK

/** Deterministic numbers in [0, 1): mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = state
    x = Math.imul(x ^ (x >>> 15), x | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296
  }
}

/** One side, by scaled integer or by decimal text. `rank(a, b) < 0`: a is better. */
export class NaiveSide<Value extends number | string> {
  readonly sizes: Map<Value, Value> = new Map()
  readonly prices: Value[] = []
  readonly #rank: (a: Value, b: Value) => number
  readonly #zero: Value

  constructor(rank: (a: Value, b: Value) => number, zero: Value) {
    this.#rank = rank
    this.#zero = zero
  }

  set(price: Value, size: Value): void {
    const known = this.sizes.has(price)
    if (size !== this.#zero) {
      this.sizes.set(price, size)
      if (!known) this.prices.splice(this.#position(price), 0, price)
    } else if (known) {
      this.sizes.delete(price)
      this.prices.splice(this.#position(price), 1)
    }
  }

  clear(): void {
    this.sizes.clear()
    this.prices.length = 0
  }

  top(count: number): [Value, Value][] {
    return this.prices.slice(0, Math.min(count, this.prices.length)).map((price) => [
      price,
      this.sizes.get(price) as Value,
    ])
  }

  #position(price: Value): number {
    let low = 0
    let high = this.prices.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#rank(this.prices[middle], price) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Naive sides by scaled integer: `[bids, asks]`. */
export function numberSides(): [NaiveSide<number>, NaiveSide<number>] {
  return [new NaiveSide<number>((a, b) => b - a, 0), new NaiveSide<number>((a, b) => a - b, 0)]
}

/** Naive sides by canonical text: `[bids, asks]`. */
export function textSides(): [NaiveSide<string>, NaiveSide<string>] {
  return [
    new NaiveSide<string>((a, b) => compareDecimals(b, a), '0'),
    new NaiveSide<string>((a, b) => compareDecimals(a, b), '0'),
  ]
}

/** Adds a level given as decimal text the way a session does: scaled when it fits, else wide. */
export function pushText(
  changes: LevelChanges,
  book: Book,
  side: Which,
  price: string,
  size: string,
): void {
  if (changes.count === changes.side.length) changes.grow()
  const i = changes.count++
  changes.side[i] = side
  changes.price[i] = scaledFromText(price, book.priceDecimals)
  if (Number.isNaN(changes.price[i])) changes.widePrice.set(i, canonicalDecimal(price) as string)
  changes.size[i] = scaledFromText(size, book.sizeDecimals)
  if (Number.isNaN(changes.size[i])) changes.wideSize.set(i, canonicalDecimal(size) as string)
}

export function pushScaled(changes: LevelChanges, side: Which, price: number, size: number): void {
  if (changes.count === changes.side.length) changes.grow()
  const i = changes.count++
  changes.side[i] = side
  changes.price[i] = price
  changes.size[i] = size
}

/** A consumer that knows only snapshots and differences of the view, by decimal text. */
export class Consumer {
  readonly sides: [Map<string, string>, Map<string, string>] = [new Map(), new Map()]
  readonly #book: Book

  constructor(book: Book) {
    this.#book = book
  }

  load(): void {
    for (const side of [BID, ASK] as const) {
      this.sides[side] = new Map(this.#book.levels(side, this.#book.depth))
    }
  }

  /** Applies the book's difference; each entry must change something, best first, no price twice. */
  apply(): void {
    const book = this.#book
    for (const side of [BID, ASK] as const) {
      const levels = this.sides[side]
      const difference = side === BID ? book.difference.bids : book.difference.asks
      for (let i = 0; i < difference.count; i++) {
        if (i > 0) {
          const better = difference.price[i - 1] - difference.price[i]
          assert.ok(side === BID ? better > 0 : better < 0, 'the difference is not best first')
        }
        const price = book.priceText(difference.price[i])
        const size = book.sizeText(difference.size[i])
        if (size === '0') assert.ok(levels.delete(price), `deletes ${price}, not in the view`)
        else {
          assert.notEqual(levels.get(price), size, `sets ${price} to what it is`)
          levels.set(price, size)
        }
      }
    }
  }

  /** The view by text, best first. */
  top(side: Which): [string, string][] {
    return [...this.sides[side]].sort(([a], [b]) =>
      side === BID ? compareDecimals(b, a) : compareDecimals(a, b)
    )
  }
}
