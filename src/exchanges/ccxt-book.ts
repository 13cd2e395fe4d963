/**
 * Follows a book of ccxt: notes where it was touched, and says how it differs from what was said of
 * it before. Whatever ccxt does between two looks (store, reset, truncate, replace) comes out as the
 * levels that are different now; the book itself is never handed on.
 */
import { canonicalDecimal } from '../core/decimal.ts'
import type { CcxtBook, CcxtSide, CcxtSnapshot } from './ccxt-client.ts'

/** `[price, size]` as text; size `0` removes. */
export type LevelText = readonly [price: string, size: string]

/** One side of a followed book: the prices that were touched since the last look. */
class TouchedSide {
  readonly side: CcxtSide
  readonly prices: Set<number> = new Set()
  /** Something was stored that has no price or size; ccxt takes that for a delete. */
  isBroken = false

  constructor(side: CcxtSide, touched: () => void, book: FollowedBook) {
    this.side = side
    const store = side.storeArray
    const prices = this.prices
    // An order is also known by its id alone.
    const needsPrice = side.hashmap === undefined
    // Not enumerable: ccxt copies and prints its books.
    Object.defineProperty(side, 'storeArray', {
      value: (row: readonly unknown[]): void => {
        this.isBroken ||= !isValue(row[1]) || (needsPrice && !isValue(row[0]))
        if (!book.isWhole) prices.add(Number(row[0]))
        book.isTouched = true
        touched()
        store.call(side, row)
      },
    })
  }
}

/** What was noted of one book object of ccxt. */
export class FollowedBook {
  readonly book: CcxtBook
  readonly bids: TouchedSide
  readonly asks: TouchedSide
  /** Something was stored or reset since the last look. */
  isTouched = true
  /** Every level may be different: single prices are not noted. */
  isWhole = true
  /** A snapshot was put in, be it empty. */
  isFilled: boolean
  /** It was emptied to be filled level by level. */
  isCleared = false
  /** Something was put in outside of a message: an answer by REST. */
  isByRest = false
  /** Levels a side that are kept; Infinity: all. */
  depth: number

  /** `touched` is called for each change, also those that come outside of a message. */
  constructor(book: CcxtBook, isFilled: boolean, depth: number, touched: () => void) {
    this.book = book
    this.isFilled = isFilled
    this.depth = depth
    this.bids = new TouchedSide(book.bids, touched, this)
    this.asks = new TouchedSide(book.asks, touched, this)
    const reset = book.reset
    Object.defineProperty(book, 'reset', {
      value: (snapshot: CcxtSnapshot = {}): unknown => {
        this.isTouched = true
        this.isWhole = true
        this.isFilled = snapshot.bids !== undefined || snapshot.asks !== undefined
        this.isCleared = !this.isFilled
        touched()
        return reset.call(book, snapshot)
      },
    })
  }

  get isEmpty(): boolean {
    return this.book.bids.length === 0 && this.book.asks.length === 0
  }

  /** The next look compares what is touched from here on. */
  seen(): void {
    this.isTouched = false
    // The orders at one price cannot be told from a price alone.
    this.isWhole = this.book.bids.hashmap !== undefined
    this.bids.prices.clear()
    this.asks.prices.clear()
  }

  /** Nothing is noted any more until it is looked at again. */
  ignore(): void {
    this.isWhole = true
    this.bids.prices.clear()
    this.asks.prices.clear()
  }

  /** Forgets what lies beyond the depth, as the exchange does. */
  truncate(): void {
    if (this.depth === Infinity) return
    for (const { side, prices } of [this.bids, this.asks]) {
      if (side.length <= this.depth) continue
      for (let i = this.depth; i < side.length; i++) prices.add(Number(side[i]![0]))
      const before = side.depth
      side.depth = this.depth
      side.limit()
      side.depth = before
    }
  }
}

/** One side as it was said last: price -> size. */
export class SaidSide {
  readonly #sizes: Map<number, number> = new Map()
  readonly #isBid: boolean

  constructor(isBid: boolean) {
    this.#isBid = isBid
  }

  clear(): void {
    this.#sizes.clear()
  }

  /**
   * What is different now, said from here on. Undefined when the side holds something that is no
   * price or size.
   */
  update(touched: TouchedSide, isWhole: boolean): LevelText[] | undefined {
    const { side, prices, isBroken } = touched
    if (isBroken) return undefined
    const out: LevelText[] = []
    if (!isWhole) {
      for (const price of prices) {
        if (!this.#say(price, sizeAt(side, price, this.#isBid), out)) {
          return undefined
        }
      }
      if (this.#sizes.size === side.length) return out
      // Changed past the notes.
    }
    const now = new Map<number, number>()
    for (let i = 0; i < side.length; i++) {
      const price = Number(side[i]![0])
      const size = Number(side[i]![1])
      if (!isQuantity(price) || !isQuantity(size)) return undefined
      now.set(price, (now.get(price) ?? 0) + size)
    }
    for (const price of this.#sizes.keys()) if (!now.has(price)) this.#say(price, 0, out)
    for (const [price, size] of now) this.#say(price, size, out)
    return out
  }

  #say(price: number, size: number, out: LevelText[]): boolean {
    if (!isQuantity(size)) return false
    if ((this.#sizes.get(price) ?? 0) === size) return true
    if (size === 0) this.#sizes.delete(price)
    else this.#sizes.set(price, size)
    out.push([plain(price), plain(size)])
    return true
  }
}

function isValue(value: unknown): boolean {
  return value !== undefined && value !== null && isQuantity(Number(value))
}

/** From 0, and short enough to be written without an exponent. */
function isQuantity(value: number): boolean {
  const isUsual = value === 0 || (value >= 1e-40 && value < 1e60)
  return isUsual || (value > 0 && canonicalDecimal(String(value)) !== undefined)
}

/** 0 when there is no such level. */
function sizeAt(side: CcxtSide, price: number, isBid: boolean): number {
  const { index } = side
  const key = isBid ? -price : price
  let low = 0
  let high = side.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (index[middle]! < key) low = middle + 1
    else high = middle
  }
  const row = low < side.length ? side[low] : undefined
  return row !== undefined && Number(row[0]) === price ? Number(row[1]) : 0
}

/** The shortest decimal of a double, without an exponent. */
export function plain(value: number): string {
  const text = String(value)
  return text.includes('e') ? canonicalDecimal(text) ?? text : text
}
