/** A seeded market: one book that moves realistically, with a log that rebuilds any recent state. */
import { ASK, BID } from '../core/changes.ts'
import { decimalText } from './products.ts'
import type { Product } from './products.ts'
import { ChangeLog } from './market-log.ts'
import { MarketShape } from './market-shape.ts'
import { SideLevels } from './market-side.ts'
import type { Random } from './random.ts'

/** Best first, canonical decimal text. */
export interface BookTruth {
  readonly wireSymbol: string
  readonly symbol: string
  readonly version: number
  readonly bids: [price: string, size: string][]
  readonly asks: [price: string, size: string][]
}

/**
 * Order-dependent 53-bit digest of a book view. A consumer computes it over its own canonical
 * texts and compares it with `digestAt` of the same depth.
 */
export function bookDigest(
  bids: readonly (readonly [string, string])[],
  asks: readonly (readonly [string, string])[],
): number {
  let a = 0x2545f491
  let b = 0x41c6ce57
  for (let side = 0; side < 2; side++) {
    const levels = side === BID ? bids : asks
    a = Math.imul(a ^ (levels.length + 1), 0x9e3779b1)
    b = Math.imul(b ^ (side + 7), 0x5f356495)
    for (const level of levels) {
      for (let part = 0; part < 2; part++) {
        const text = level[part]!
        for (let i = 0; i < text.length; i++) {
          const code = text.charCodeAt(i)
          a = Math.imul(a ^ code, 0x9e3779b1)
          b = Math.imul(b ^ code, 0x5f356495)
        }
        a = Math.imul(a ^ 0x2c, 0x85ebca6b)
        b = Math.imul(b ^ 0x2c, 0xc2b2ae35)
      }
    }
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35)
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  return (b >>> 11) * 0x100000000 + (a >>> 0)
}

/** The middle may be so far from where it began, as a part of that. */
const DRIFT_MAX = 0.1

export interface MarketOptions {
  /** Levels a side to begin with and to hover around. */
  readonly levels: number
  /** Versions that can be rebuilt at least. */
  readonly history: number
}

/**
 * The book of one product and its way through time. `step` makes the next version; the columns
 * `side key old now` from `changed` on are what it changed, valid until the next step.
 */
export class Market {
  readonly product: Product
  readonly sides: readonly [SideLevels, SideLevels]
  /** 0 is the initial book; one more for each frame. */
  version = 0
  readonly log: ChangeLog
  readonly #random: Random
  readonly #levels: number
  readonly #meanDepth: number
  readonly #shape: MarketShape
  #trend = 1
  #cursor: [SideLevels, SideLevels] | undefined
  #cursorVersion = 0

  constructor(product: Product, random: Random, options: MarketOptions) {
    this.product = product
    this.#random = random
    this.#levels = Math.max(1, options.levels)
    this.#meanDepth = Math.max(1, Math.min(50, this.#levels / 4))
    this.log = new ChangeLog(options.history)
    const capacity = Math.ceil(this.#levels * 1.3) + 16
    this.sides = [new SideLevels(capacity), new SideLevels(capacity)]
    this.#fill(BID)
    this.#fill(ASK)
    this.#shape = new MarketShape(this.sides, this.#levels)
  }

  /** First change of the current version, in the columns of `log`. */
  get changed(): number {
    return this.log.versions === 0 ? 0 : this.log.starts[this.log.versions - 1]!
  }

  /** Makes the next version of about `updates` changes on average (1 to 2 updates - 1). */
  step(updates: number): void {
    const random = this.#random
    this.log.begin()
    this.version++
    // The exchange sends frames without updates now and then; they count all the same.
    if (random.next() < 0.003) return
    const count = updates <= 1 ? 1 : 1 + random.below(updates * 2 - 1)
    if (random.next() < 0.01) this.#trend = -this.#trend
    this.#turn()
    for (let i = 0; i < count; i++) this.#change()
  }

  /** Best price of a side in ticks, NaN when it is empty. */
  best(side: number): number {
    const levels = this.sides[side]!
    if (levels.count === 0) return NaN
    const key = levels.keys[levels.count - 1]!
    return side === BID ? key : -key
  }

  /** Oldest version that `bookAt` can rebuild. */
  get oldestVersion(): number {
    return this.log.firstVersion - 1
  }

  /** The book as of a version; undefined when it is beyond the history. */
  bookAt(version: number, depth = Infinity): BookTruth | undefined {
    const sides = this.#sidesAt(version)
    if (sides === undefined) return undefined
    return {
      wireSymbol: this.product.wireSymbol,
      symbol: this.product.symbol,
      version,
      bids: this.#texts(sides[BID], BID, depth),
      asks: this.#texts(sides[ASK], ASK, depth),
    }
  }

  /** The same as numbers, `[ticks, lots]`. */
  rowsAt(
    version: number,
    depth = Infinity,
  ): { bids: [number, number][]; asks: [number, number][] } | undefined {
    const sides = this.#sidesAt(version)
    if (sides === undefined) return undefined
    const rows = ({ count, keys, lots }: SideLevels): [number, number][] => {
      const found: [number, number][] = []
      for (let i = count - 1; i >= Math.max(0, count - depth); i--) {
        found.push([Math.abs(keys[i]!), lots[i]!])
      }
      return found
    }
    return { bids: rows(sides[BID]), asks: rows(sides[ASK]) }
  }

  priceText(ticks: number): string {
    return decimalText(ticks * this.product.priceStep, this.product.priceDecimals)
  }

  sizeText(lots: number): string {
    return decimalText(lots * this.product.sizeStep, this.product.sizeDecimals)
  }

  /** A size such as the market would quote. */
  randomLots(): number {
    const random = this.#random
    const lots = Math.max(1, Math.round(random.exponential(this.product.meanLots)))
    const kind = random.next()
    // Sizes typed by people are round; those of machines are not.
    if (kind < 0.25 && lots > 100) return Math.max(1, Math.round(lots / 100) * 100)
    if (kind < 0.4 && lots > 1e6) return Math.round(lots / 1e6) * 1e6
    return lots
  }

  #texts(levels: SideLevels, side: number, depth: number): [string, string][] {
    const rows: [string, string][] = []
    const end = Math.max(0, levels.count - depth)
    for (let i = levels.count - 1; i >= end; i--) {
      const key = levels.keys[i]!
      rows.push([this.priceText(side === BID ? key : -key), this.sizeText(levels.lots[i]!)])
    }
    return rows
  }

  /** Moves a cached copy of the book along the log: cheap for neighbouring versions. */
  #sidesAt(version: number): readonly [SideLevels, SideLevels] | undefined {
    if (version === this.version) return this.sides
    if (version > this.version || version < this.oldestVersion || version < 0) return undefined
    let cursor = this.#cursor
    const usable = cursor !== undefined && this.#cursorVersion >= this.oldestVersion &&
      Math.abs(this.#cursorVersion - version) <= this.version - version
    if (cursor === undefined || !usable) {
      cursor ??= [new SideLevels(0), new SideLevels(0)]
      cursor[BID].copyFrom(this.sides[BID])
      cursor[ASK].copyFrom(this.sides[ASK])
      this.#cursor = cursor
      this.#cursorVersion = this.version
    }
    const log = this.log
    while (this.#cursorVersion < version) {
      const next = ++this.#cursorVersion
      for (let i = log.start(next), end = log.end(next); i < end; i++) {
        cursor[log.side[i]!]!.set(log.key[i]!, log.now[i]!)
      }
    }
    while (this.#cursorVersion > version) {
      const last = this.#cursorVersion--
      for (let i = log.end(last) - 1, start = log.start(last); i >= start; i--) {
        cursor[log.side[i]!]!.set(log.key[i]!, log.old[i]!)
      }
    }
    return cursor
  }

  /** Dense near the middle, ever sparser away from it. */
  #fill(side: number): void {
    const random = this.#random
    const levels = this.sides[side]!
    const middle = this.product.startTicks
    const wanted = side === BID ? Math.min(this.#levels, middle - 1) : this.#levels
    const reach = side === BID ? middle * 0.7 : middle * 1.5
    const widest = Math.max(1, Math.min(2000, (2 * reach) / this.#levels - 1))
    const keys: number[] = []
    let ticks = side === BID ? middle : middle + 1
    for (let i = 0; i < wanted; i++) {
      keys.push(side === BID ? ticks : -ticks)
      const mean = (widest - 1) * (i / wanted)
      const gap = 1 + Math.floor(mean * 2 * random.next())
      ticks += side === BID ? -gap : gap
      if (ticks < 1) break
    }
    for (let i = keys.length - 1; i >= 0; i--) levels.set(keys[i]!, this.randomLots())
  }

  #put(side: number, key: number, lots: number): void {
    const old = this.sides[side]!.set(key, lots)
    this.log.push(side, key, old, lots)
  }

  #change(): void {
    const random = this.#random
    const side = random.next() < 0.5 ? BID : ASK
    const levels = this.sides[side]!
    const count = levels.count
    // Inserts and deletes balance around the wanted number of levels.
    const fullness = count / this.#levels
    const insert = 0.3 + 0.25 * Math.max(-1, Math.min(1, (1 - fullness) * 4))
    const draw = random.next()
    if (count === 0) return this.#insert(side, levels, 0)
    const mended = this.#shape.mended(side, this.sides, random)
    if (mended === mended) {
      return this.#put(side, mended, this.#shape.removes ? 0 : this.randomLots())
    }
    const depth = this.#depth(count)
    if (draw < insert) this.#insert(side, levels, depth)
    else if (draw < 0.6) this.#delete(side, levels, depth)
    else if (draw < 0.65) this.#deleteAbsent(side, levels, depth)
    else if (draw < 0.651) this.#outlier(side)
    else this.#put(side, levels.keys[count - 1 - depth]!, this.randomLots())
  }

  #depth(count: number): number {
    const random = this.#random
    if (random.next() < 0.03) return random.below(count)
    return Math.min(count - 1, Math.floor(random.exponential(this.#meanDepth)))
  }

  /** The book thins at the top on the side the trend runs into. */
  #delete(side: number, levels: SideLevels, depth: number): void {
    if (levels.count === 1 && this.#levels > 3) return this.#insert(side, levels, 0)
    const consumed = (side === ASK) === (this.#trend > 0)
    const at = consumed && this.#random.next() < 0.15 ? 0 : depth
    this.#put(side, levels.keys[levels.count - 1 - at]!, 0)
  }

  #insert(side: number, levels: SideLevels, depth: number): void {
    const random = this.#random
    const key = this.#freeKey(side, levels, depth)
    // No room: the level there is modified instead.
    if (Number.isNaN(key)) return
    this.#put(side, key, this.randomLots())
    // Nobody needs it any more, but seeds keep their meaning.
    random.next()
  }

  /** Keeps the middle near where it began. */
  #turn(): void {
    const bid = this.best(BID)
    const start = this.product.startTicks
    if (bid < start * (1 - DRIFT_MAX)) this.#trend = 1
    if (bid > start * (1 + DRIFT_MAX)) this.#trend = -1
  }

  /** A key that does not cross the other side; of an existing level when there is no gap. */
  #freeKey(side: number, levels: SideLevels, depth: number): number {
    const random = this.#random
    const other = this.sides[1 - side]!
    // In keys of this side the other side's best stands above all of ours.
    const limit = other.count === 0 ? NaN : -other.keys[other.count - 1]!
    const count = levels.count
    if (count === 0) {
      const start = side === BID ? this.product.startTicks : -this.product.startTicks - 1
      const top = Number.isNaN(limit) ? start : limit - 1
      return this.#valid(side, top - random.below(3))
    }
    const best = levels.keys[count - 1]!
    const improving = (side === BID) === (this.#trend > 0)
    if (depth === 0 || (improving && random.next() < 0.15)) {
      const room = Number.isNaN(limit) ? 3 : limit - 1 - best
      if (room >= 1) return this.#valid(side, best + 1 + random.below(Math.min(room, 10)))
    }
    const at = count - 1 - depth
    const key = levels.keys[at]!
    if (at === 0) return this.#valid(side, key - 1 - random.below(20))
    const gap = key - levels.keys[at - 1]!
    return gap > 1 ? key - 1 - random.below(gap - 1) : key
  }

  /** Prices are at least one tick. */
  #valid(side: number, key: number): number {
    if (side === BID) return key >= 1 ? key : NaN
    return key <= -1 ? key : NaN
  }

  /** The exchange routinely deletes prices that its clients never saw. */
  #deleteAbsent(side: number, levels: SideLevels, depth: number): void {
    const at = levels.count - 1 - depth
    const key = this.#valid(side, levels.keys[at]! - 1 - this.#random.below(5))
    if (Number.isNaN(key)) return
    this.#put(side, key, 0)
  }

  /** Somebody bids a fraction of the price, or asks a multiple. */
  #outlier(side: number): void {
    const random = this.#random
    const start = this.product.startTicks
    const key = side === BID
      ? 1 + random.below(Math.max(1, start * 0.02))
      : -(start * 3 + random.below(start * 40))
    const limit = this.sides[1 - side]!
    if (limit.count > 0 && key >= -limit.keys[limit.count - 1]!) return
    this.#put(side, key, this.randomLots())
  }
}
