/**
 * Keeps a simulated market in shape. Random changes alone drive a book apart: its spread grows, its
 * levels crowd in one place and thin out in another, and those far off become many. Within a band
 * around what a book was in the beginning nothing is done about that; beyond it, one change at a
 * time brings it back.
 */
import { ASK, BID } from '../core/changes.ts'
import type { SideLevels } from './market-side.ts'
import type { Random } from './random.ts'

/** Levels from the best price on that are "near" it; of a small side, half of them. */
const NEAR_RANK = 20
/** The spread in ticks that is small enough for any market. */
const SPREAD_TICKS = 20

/** How a side lay in the beginning, in ticks. */
class SideShape {
  readonly nearRank: number
  /** From the best level to the one of `nearRank`. */
  readonly near: number
  /** Most of the side lies before this one. */
  readonly mostRank: number
  /** From the best level to the one of `mostRank`. */
  readonly most: number
  /** From the best level to the worst. */
  readonly far: number
  /** The widest gap between two neighbours. */
  readonly gap: number
  /** It may lie so many times wider, or narrower; few levels scatter more. */
  readonly slack: number
  /** The same of `most`. */
  readonly mostSlack: number

  constructor({ count, keys }: SideLevels) {
    const best = keys[count - 1]!
    this.nearRank = Math.min(NEAR_RANK, count >> 1)
    this.near = best - keys[count - 1 - this.nearRank]!
    this.mostRank = (count * 3) >> 2
    this.most = best - keys[count - 1 - this.mostRank]!
    this.far = best - keys[0]!
    let gap = 1
    for (let i = 1; i < count; i++) gap = Math.max(gap, keys[i]! - keys[i - 1]!)
    this.gap = gap
    this.slack = 2 + 20 / Math.max(1, this.nearRank)
    this.mostSlack = 1.3 + 20 / Math.max(1, this.mostRank)
  }
}

export class MarketShape {
  /** The level that `mended` gave goes. */
  removes = false
  readonly #shapes: readonly [SideShape, SideShape]
  readonly #spreadMax: number
  /** Levels a side are not to be more, or fewer, by mending. */
  readonly #most: number
  readonly #fewest: number

  /** Of a market of about `levels` levels a side, as it is now. */
  constructor(sides: readonly [SideLevels, SideLevels], levels: number) {
    const bids = new SideShape(sides[BID])
    const asks = new SideShape(sides[ASK])
    this.#shapes = [bids, asks]
    const near = (bids.near + asks.near) / 4
    this.#spreadMax = Math.max(SPREAD_TICKS, (bids.slack - 1) * near)
    this.#most = levels * 1.2
    this.#fewest = levels * 0.8
  }

  /** The key of a side, not empty, that is to be set (or, see `removes`, to go); NaN: it lies well. */
  mended(side: number, sides: readonly [SideLevels, SideLevels], random: Random): number {
    const levels = sides[side]!
    const other = sides[1 - side]!
    const { count, keys } = levels
    const shape = this.#shapes[side]!
    const best = keys[count - 1]!
    this.removes = false
    if (other.count > 0) {
      const room = -other.keys[other.count - 1]! - best
      if (room > this.#spreadMax) return best + 1 + random.below(room - 1)
    }
    const near = this.#stretched(levels, shape.nearRank, shape.near, shape.slack, random)
    if (near === near) return near
    const most = this.#stretched(levels, shape.mostRank, shape.most, shape.mostSlack, random)
    if (most === most) return most
    // A few that lie far off are as it should be.
    const off = Math.max(2, count >> 5)
    if (count <= 4 * off) return NaN
    const far = best - keys[off]!
    if (far > shape.slack * shape.far) {
      this.removes = true
      return keys[0]!
    }
    if (far * shape.slack >= shape.far) return NaN
    const key = keys[off]! - 1 - random.below(shape.gap)
    // Prices are at least one tick.
    return side === BID && key < 1 ? NaN : key
  }

  /** The same for the distance from the best level to the one of `rank`, which is `usual`ly so. */
  #stretched(
    { count, keys }: SideLevels,
    rank: number,
    usual: number,
    slack: number,
    random: Random,
  ): number {
    if (rank < 2 || rank >= count) return NaN
    const distance = keys[count - 1]! - keys[count - 1 - rank]!
    if (distance > slack * usual && count < this.#most) {
      // One more, in the widest gap.
      let at = count - 1
      for (let i = count - 2; i >= count - rank; i--) {
        if (keys[i]! - keys[i - 1]! > keys[at]! - keys[at - 1]!) at = i
      }
      return keys[at]! - 1 - random.below(keys[at]! - keys[at - 1]! - 1)
    }
    if (distance * slack >= usual || count <= this.#fewest) return NaN
    this.removes = true
    return keys[count - 2 - random.below(rank - 1)]!
  }
}
