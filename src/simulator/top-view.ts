/** The best N levels of a market as one channel shows them, and what changes in it. */
import { ASK, BID } from '../core/changes.ts'
import type { Market } from './market.ts'

/** Takes levels in the order in which they are sent. */
export interface LevelList {
  readonly market: Market
  add(side: number, ticks: number, lots: number): void
}

/** One side, best level first; keys as in `SideLevels`. */
export class TopSide {
  count = 0
  readonly keys: Float64Array<ArrayBuffer>
  readonly lots: Float64Array<ArrayBuffer>

  constructor(depth: number) {
    this.keys = new Float64Array(depth)
    this.lots = new Float64Array(depth)
  }
}

/**
 * Holds what its listeners hold. `advance` tells the exact changes within the window since the
 * last call: a level that enters is an add, one that is gone a delete, and one that was pushed out
 * is a delete only where the exchange says so (`deletesPushed`).
 */
export class TopView {
  readonly depth: number
  readonly deletesPushed: boolean
  readonly sides: readonly [TopSide, TopSide]

  constructor(depth: number, deletesPushed: boolean) {
    this.depth = depth
    this.deletesPushed = deletesPushed
    this.sides = [new TopSide(depth), new TopSide(depth)]
  }

  reset(market: Market): void {
    for (let side = BID; side <= ASK; side++) this.#copy(market, side)
  }

  /** The whole window, bids first. */
  addAll(update: LevelList): void {
    for (let side = BID; side <= ASK; side++) {
      const { count, keys, lots } = this.sides[side]!
      for (let i = 0; i < count; i++) update.add(side, Math.abs(keys[i]!), lots[i]!)
    }
  }

  /** Moves to the market's present book and adds the changes to `update`: bids, then asks. */
  advance(update: LevelList): void {
    const { market } = update
    for (let side = BID; side <= ASK; side++) {
      const window = this.sides[side]!
      const levels = market.sides[side]!
      const wanted = Math.min(this.depth, levels.count)
      const worst = wanted === 0 ? Infinity : levels.keys[levels.count - wanted]!
      let old = 0
      let at = 0
      while (old < window.count || at < wanted) {
        const was = old < window.count ? window.keys[old]! : -Infinity
        const is = at < wanted ? levels.keys[levels.count - 1 - at]! : -Infinity
        if (was === is) {
          const lots = levels.lots[levels.count - 1 - at]!
          if (window.lots[old] !== lots) update.add(side, Math.abs(is), lots)
          old++
          at++
        } else if (was > is) {
          const isPushed = wanted === this.depth && was < worst && levels.get(was) !== 0
          if (!isPushed || this.deletesPushed) update.add(side, Math.abs(was), 0)
          old++
        } else {
          update.add(side, Math.abs(is), levels.lots[levels.count - 1 - at]!)
          at++
        }
      }
      this.#copy(market, side)
    }
  }

  #copy(market: Market, side: number): void {
    const window = this.sides[side]!
    const levels = market.sides[side]!
    const count = Math.min(this.depth, levels.count)
    window.count = count
    for (let i = 0; i < count; i++) {
      window.keys[i] = levels.keys[levels.count - 1 - i]!
      window.lots[i] = levels.lots[levels.count - 1 - i]!
    }
  }
}
