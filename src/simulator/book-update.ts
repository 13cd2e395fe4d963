/** What one frame of a book says, independent of how an exchange spells it. */
import { ASK, BID } from '../core/changes.ts'
import type { Stream } from './connection.ts'
import type { Market } from './market.ts'
import { fixedText } from './products.ts'
import type { LevelList } from './top-view.ts'
import type { Writer } from './writer.ts'

/**
 * Reused for every frame: levels in columns, in the order in which they are sent. A snapshot lists
 * the bids, then the asks, best first. `lots` 0 deletes.
 */
export class BookUpdate implements LevelList {
  stream!: Stream
  market!: Market
  isSnapshot = false
  /** The changes lead from version `from` to `version`; the same in a snapshot. */
  from = 0
  version = 0
  nowMs = 0
  count = 0
  side = new Uint8Array(256)
  ticks = new Float64Array(256)
  lots = new Float64Array(256)
  readonly #positions = new Map<number, number>()

  begin(stream: Stream, isSnapshot: boolean, nowMs: number): void {
    this.stream = stream
    this.market = stream.market
    this.isSnapshot = isSnapshot
    this.from = stream.sentVersion
    // A quiet window may be behind its market: it is as of its last frame, for all its listeners.
    this.version = isSnapshot ? stream.sentVersion : stream.market.version
    this.nowMs = nowMs
    this.count = 0
  }

  add(side: number, ticks: number, lots: number): void {
    const at = this.count++
    if (at === this.side.length) this.#grow()
    this.side[at] = side
    this.ticks[at] = ticks
    this.lots[at] = lots
  }

  /** Every change since `from` in the order of the market, also of one price twice. */
  addLog(): void {
    const log = this.market.log
    const start = this.from + 1 >= log.firstVersion ? this.from + 1 : log.firstVersion
    if (start > this.version) return
    for (let i = log.start(start); i < log.changes; i++) {
      const key = log.key[i]!
      const side = log.side[i]!
      this.add(side, side === BID ? key : -key, log.now[i]!)
    }
  }

  /** The same, each price once with its last size. */
  addMerged(): void {
    const positions = this.#positions
    positions.clear()
    const log = this.market.log
    const start = this.from + 1 >= log.firstVersion ? this.from + 1 : log.firstVersion
    if (start > this.version) return
    for (let i = log.start(start); i < log.changes; i++) {
      // Keys of bids are positive, those of asks negative.
      const key = log.key[i]!
      const at = positions.get(key)
      if (at !== undefined) {
        this.lots[at] = log.now[i]!
        continue
      }
      positions.set(key, this.count)
      this.add(log.side[i]!, Math.abs(key), log.now[i]!)
    }
  }

  /** The market's whole book. */
  addBook(): void {
    for (let side = BID; side <= ASK; side++) {
      const levels = this.market.sides[side]!
      for (let i = levels.count - 1; i >= 0; i--) {
        const key = levels.keys[i]!
        this.add(side, side === BID ? key : -key, levels.lots[i]!)
      }
    }
  }

  /** Leaves out the third best bid, else the first level there is; false when there is none. */
  omit(): boolean {
    if (this.count === 0) return false
    let at = 0
    let bids = 0
    while (bids < this.count && this.side[bids] === BID) bids++
    if (bids >= 3) at = 2
    else if (bids === 0 && this.count >= 3) at = 2
    this.side.copyWithin(at, at + 1, this.count)
    this.ticks.copyWithin(at, at + 1, this.count)
    this.lots.copyWithin(at, at + 1, this.count)
    this.count--
    return true
  }

  /** Adds a bid at the best ask, in a snapshot as the best bid; false when a side is empty. */
  cross(): boolean {
    const ask = this.market.best(ASK)
    if (Number.isNaN(ask) || Number.isNaN(this.market.best(BID))) return false
    const lots = Math.max(1, Math.round(this.market.product.meanLots))
    this.add(BID, ask, lots)
    if (!this.isSnapshot) return true
    this.side.copyWithin(1, 0, this.count - 1)
    this.ticks.copyWithin(1, 0, this.count - 1)
    this.lots.copyWithin(1, 0, this.count - 1)
    this.side[0] = BID
    this.ticks[0] = ask
    this.lots[0] = lots
    return true
  }

  /** Canonical. */
  priceText(at: number): string {
    return this.market.priceText(this.ticks[at]!)
  }

  sizeText(at: number): string {
    return this.market.sizeText(this.lots[at]!)
  }

  /** With all decimals of the product, or at least so many. */
  fixedPrice(at: number, decimals?: number): string {
    const { priceStep, priceDecimals } = this.market.product
    return fixedText(this.ticks[at]! * priceStep, priceDecimals, decimals)
  }

  fixedSize(at: number, decimals?: number): string {
    const { sizeStep, sizeDecimals } = this.market.product
    return fixedText(this.lots[at]! * sizeStep, sizeDecimals, decimals)
  }

  /** The same into a buffer, without a string in between. */
  writePrice(writer: Writer, at: number, decimals?: number): void {
    const { priceStep, priceDecimals } = this.market.product
    writer.fixed(this.ticks[at]! * priceStep, priceDecimals, decimals)
  }

  writeSize(writer: Writer, at: number, decimals?: number): void {
    const { sizeStep, sizeDecimals } = this.market.product
    writer.fixed(this.lots[at]! * sizeStep, sizeDecimals, decimals)
  }

  #grow(): void {
    const capacity = this.side.length * 2
    const side = new Uint8Array(capacity)
    side.set(this.side)
    this.side = side
    const ticks = new Float64Array(capacity)
    ticks.set(this.ticks)
    this.ticks = ticks
    const lots = new Float64Array(capacity)
    lots.set(this.lots)
    this.lots = lots
  }
}
