/** The `l2_data` frames of the simulated Coinbase: true ones, and those that a fault made wrong. */
import { ASK, BID } from '../core/changes.ts'
import { FrameEncoder } from './frames.ts'
import type { Market } from './market.ts'
import type { Product } from './products.ts'

const encoder = new TextEncoder()

/**
 * `missing`: a snapshot without the third best level of a side; `crossed`: with a bid at the best
 * ask.
 */
export type Defect = 'missing' | 'crossed'

/** Writes one frame, for all connections; `stamped` gives it to each. */
export class Level2Frames {
  readonly #frames = new FrameEncoder()
  /** By product index. */
  readonly #wireBytes: readonly Uint8Array[]

  constructor(products: readonly Product[]) {
    this.#wireBytes = products.map((product) => encoder.encode(product.wireSymbol))
  }

  /** The whole book. False: there was no way to bring the defect in, the frame is true. */
  snapshot(market: Market, product: number, defect: Defect | undefined, nowMs: number): boolean {
    const frames = this.#frames
    frames.begin(market, this.#wireBytes[product]!, true, nowMs)
    let omit = defect === 'missing'
    let wrong = defect === 'crossed' && this.#crossing(market)
    for (let side = 0; side < 2; side++) {
      const levels = market.sides[side]!
      for (let i = levels.count - 1; i >= 0; i--) {
        if (omit && (levels.count - 1 - i === 2 || levels.count < 3)) {
          omit = false
          wrong = true
          continue
        }
        const key = levels.keys[i]!
        frames.level(side, side === BID ? key : -key, levels.lots[i]!)
      }
    }
    frames.finish()
    return wrong
  }

  /** The market's last step. False as with `snapshot`. */
  update(market: Market, product: number, defect: 'crossed' | undefined, nowMs: number): boolean {
    const frames = this.#frames
    const log = market.log
    frames.begin(market, this.#wireBytes[product]!, false, nowMs)
    for (let i = market.changed; i < log.changes; i++) {
      const side = log.side[i]!
      const key = log.key[i]!
      frames.level(side, side === BID ? key : -key, log.now[i]!)
    }
    const wrong = defect === 'crossed' && this.#crossing(market)
    frames.finish()
    return wrong
  }

  /** The bytes of the last frame under this sequence; the receiver owns them. */
  stamped(sequence: number): Uint8Array {
    return this.#frames.stamped(sequence)
  }

  /** Writes a level that crosses the book into the frame; false when there is no way to. */
  #crossing(market: Market): boolean {
    const ask = market.best(ASK)
    const bid = market.best(BID)
    if (Number.isNaN(bid) || Number.isNaN(ask)) return false
    this.#frames.level(BID, ask, Math.max(1, Math.round(market.product.meanLots)))
    return true
  }
}
