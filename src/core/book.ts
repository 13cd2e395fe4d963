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
  /** Levels a side in the view; Infinity = all. See `see`. */
  depth: number
  /** Levels a side in the whole book at most; no less than `depth`. */
  readonly kept: number
  readonly bids: Side
  readonly asks: Side
  readonly wide: WideTable
  readonly difference: ViewDifference

  constructor(priceDecimals: number, sizeDecimals: number, depth: number, kept = Infinity) {
    this.priceDecimals = priceDecimals
    this.sizeDecimals = sizeDecimals
    this.depth = depth
    this.kept = kept
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

  /** So many levels of either side are certainly the best ones; Infinity: all that there are. */
  get certainDepth(): number {
    const bids = this.bids.horizon === -Infinity ? Infinity : this.bids.count
    const asks = this.asks.horizon === -Infinity ? Infinity : this.asks.count
    return Math.min(bids, asks)
  }

  /**
   * From now on the view is the best `depth` levels a side; no more than `kept`. What enters or
   * leaves it by that is in no `difference`.
   */
  see(depth: number): void {
    if (depth === this.depth) return
    this.depth = depth
    this.bids.see(depth)
    this.asks.see(depth)
  }

  clear(): void {
    this.bids.clear()
    this.asks.clear()
    this.wide.clear()
  }

  /** Replaces the whole book. Any order; the last of equal prices wins; size 0 is no level. */
  load(changes: LevelChanges): void {
    this.clear()
    this.bids.setHorizon(changes.bidHorizon)
    this.asks.setHorizon(changes.askHorizon)
    try {
      this.bids.load(changes)
      this.asks.load(changes)
    } catch (error) {
      this.clear()
      throw error
    }
    this.truncate()
  }

  /**
   * Replaces the whole book like `load`, but then `difference` is what that changed in the view.
   * Adds to `changes` the deletes of what the book had and they have not.
   */
  replace(changes: LevelChanges): void {
    const given = changes.count
    for (const which of [BID, ASK] as const) {
      const side = which === BID ? this.bids : this.asks
      // Let everything through first: what lies beyond a nearer horizon must be deleted, too.
      side.setHorizon(NaN)
      const horizon = which === BID ? changes.bidHorizon : changes.askHorizon
      const prices = new Set<number | string>()
      for (let i = 0; i < given; i++) {
        if (changes.side[i] !== which) continue
        const name = this.priceName(changes, i)
        prices.add(name)
        const price = typeof name === 'number' ? name : Number(name) * 10 ** this.priceDecimals
        if (which === BID ? price < horizon : price > horizon) {
          changes.size[i] = 0
          changes.wideSize.delete(i)
        }
      }
      const price = new Float64Array(side.count)
      side.read(0, side.count, price, new Float64Array(side.count))
      for (const old of price) {
        const name = isRegularPrice(old) ? old : this.wide.priceText(old)
        if (!prices.has(name)) appendDelete(changes, which, name)
      }
    }
    this.apply(changes)
    this.bids.setHorizon(changes.bidHorizon)
    this.asks.setHorizon(changes.askHorizon)
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
    this.truncate()
  }

  /** Best bid at or above best ask: no exchange's book is, so this one is wrong. */
  isCrossed(): boolean {
    // -Infinity + anything, when a side is empty, is not at or above 0.
    return this.bids.bestKey() + this.asks.bestKey() >= 0
  }

  private truncate(): void {
    const kept = this.kept
    if (this.bids.count > kept) this.bids.truncate(kept)
    if (this.asks.count > kept) this.asks.truncate(kept)
  }

  /** A price of `changes`: its regular number, or the text that is one and the same for it. */
  private priceName(changes: LevelChanges, i: number): number | string {
    const price = changes.price[i]
    if (isRegularPrice(price)) return price
    const text = price === price ? this.wide.textOf(price) : changes.widePrice.get(i)
    if (text === undefined) throw new Error(`level ${i} has price NaN and no text in widePrice`)
    const regular = this.wide.regularPrice(text)
    return regular === regular ? regular : text
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

function appendDelete(
  changes: LevelChanges,
  which: typeof BID | typeof ASK,
  price: number | string,
): void {
  const i = changes.count
  if (i === changes.side.length) changes.grow()
  changes.side[i] = which
  changes.size[i] = 0
  changes.price[i] = typeof price === 'number' ? price : NaN
  if (typeof price === 'string') changes.widePrice.set(i, price)
  changes.count = i + 1
}
