/** The order book of one symbol, exact to the last digit, and its top-N view. */
import { ASK, BID, type LevelChanges } from './changes.ts'
import { scaledToText } from './decimal.ts'
import type { SideDifference } from './side-view.ts'
import { Side } from './side.ts'
import { isRegularPrice, WideTable } from './wide.ts'

/** The net change of the view by the last `apply`; empty after `load`. */
export interface ViewDifference {
  readonly bids: SideDifference
  readonly asks: SideDifference
  readonly isEmpty: boolean
}

class Difference implements ViewDifference {
  readonly bids: SideDifference
  readonly asks: SideDifference

  constructor(bids: SideDifference, asks: SideDifference) {
    this.bids = bids
    this.asks = asks
  }

  get isEmpty(): boolean {
    return this.bids.count === 0 && this.asks.count === 0
  }
}

/**
 * A book throws `E_DECODE` (scope `symbol`) when it could only go on by being wrong; it is empty
 * then and needs a `load`.
 */
export class Book {
  readonly priceDecimals: number
  readonly sizeDecimals: number
  /** Levels a side in the view; Infinity = all. */
  readonly depth: number
  readonly bids: Side
  readonly asks: Side
  readonly wide: WideTable
  readonly difference: ViewDifference

  constructor(priceDecimals: number, sizeDecimals: number, depth: number) {
    this.priceDecimals = priceDecimals
    this.sizeDecimals = sizeDecimals
    this.depth = depth
    this.wide = new WideTable(priceDecimals)
    this.bids = new Side(BID, 1, depth, this.wide)
    this.asks = new Side(ASK, -1, depth, this.wide)
    this.difference = new Difference(this.bids.difference, this.asks.difference)
  }

  /** Levels in the whole book, not only in the view. */
  get bidCount(): number {
    return this.bids.count
  }

  get askCount(): number {
    return this.asks.count
  }

  clear(): void {
    this.bids.clear()
    this.asks.clear()
    this.wide.clear()
  }

  /** Replaces the whole book. Any order; the last of equal prices wins; size 0 is no level. */
  load(changes: LevelChanges): void {
    this.clear()
    try {
      this.bids.load(changes)
      this.asks.load(changes)
    } catch (error) {
      this.clear()
      throw error
    }
  }

  /** Applies a whole frame; then `difference` is what it changed in the view. */
  apply(changes: LevelChanges): void {
    if (this.wide.count > 0) this.wide.settle()
    try {
      this.bids.apply(changes)
      this.asks.apply(changes)
    } catch (error) {
      this.clear()
      throw error
    }
  }

  /** Best bid at or above best ask: no exchange's book is, so this one is wrong. */
  isCrossed(): boolean {
    // -Infinity + anything, when a side is empty, is not at or above 0.
    return this.bids.bestKey() + this.asks.bestKey() >= 0
  }

  /** Canonical text of a price in `difference` or from `Side.read`. */
  priceText(price: number): string {
    if (isRegularPrice(price)) return scaledToText(price, this.priceDecimals)
    return this.wide.priceText(price)
  }

  /** Canonical text of a size in `difference` or from `Side.read`. */
  sizeText(size: number): string {
    return size < 0 ? this.wide.sizeText(size) : scaledToText(size, this.sizeDecimals)
  }

  /** Up to `count` levels as `[price, size]` texts, best first. For audits and tests. */
  levels(side: typeof BID | typeof ASK, count = Infinity): [string, string][] {
    const from = side === BID ? this.bids : this.asks
    const wanted = Math.min(count, from.count)
    const price = new Float64Array(wanted)
    const size = new Float64Array(wanted)
    from.read(0, wanted, price, size)
    const levels: [string, string][] = []
    for (let i = 0; i < wanted; i++) {
      levels.push([this.priceText(price[i]), this.sizeText(size[i])])
    }
    return levels
  }
}
