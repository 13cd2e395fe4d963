/** Order flow imbalance: what every event added to and took from the levels of both sides. */
import type { Book, Flow, Signal } from '../contract.ts'
import { netSize, nextLevel } from './levels.ts'

/** One level of both sides as it was, and its flow. */
class LevelFlow implements Flow {
  last = NaN
  sum = 0
  #bid = NaN
  #bidSize = NaN
  #ask = NaN
  #askSize = NaN

  take(): number {
    const sum = this.sum
    this.sum = 0
    return sum
  }

  restart(bid: number, bidSize: number, ask: number, askSize: number): void {
    this.last = NaN
    this.sum = 0
    this.#keep(bid, bidSize, ask, askSize)
  }

  /** A missing level (NaN) connects to nothing: no increment. */
  update(bid: number, bidSize: number, ask: number, askSize: number): void {
    let flow = 0
    if (bid >= this.#bid) flow += bidSize
    if (bid <= this.#bid) flow -= this.#bidSize
    if (ask <= this.#ask) flow -= askSize
    if (ask >= this.#ask) flow += this.#askSize
    const connects = bid === bid && ask === ask && this.#bid === this.#bid &&
      this.#ask === this.#ask
    this.last = connects ? flow : NaN
    if (connects) this.sum += flow
    this.#keep(bid, bidSize, ask, askSize)
  }

  #keep(bid: number, bidSize: number, ask: number, askSize: number): void {
    this.#bid = bid
    this.#bidSize = bidSize
    this.#ask = ask
    this.#askSize = askSize
  }
}

export function ofi(): Signal<Flow> {
  return {
    run() {
      const value = new LevelFlow()
      const tell = (book: Book, restart: boolean): undefined => {
        const { bids, asks } = book
        const b = nextLevel(bids, 0)
        const a = nextLevel(asks, 0)
        const bidSize = netSize(bids, b)
        const askSize = netSize(asks, a)
        if (restart) value.restart(bids.price(b), bidSize, asks.price(a), askSize)
        else value.update(bids.price(b), bidSize, asks.price(a), askSize)
      }
      return { value, restart: (book) => tell(book, true), update: (book) => tell(book, false) }
    },
  }
}

export function mlofi(levels: number): Signal<readonly Flow[]> {
  return {
    run() {
      const value = Array.from({ length: levels }, () => new LevelFlow())
      const tell = (book: Book, restart: boolean): undefined => {
        const { bids, asks } = book
        let b = -1
        let a = -1
        for (const level of value) {
          b = nextLevel(bids, b + 1)
          a = nextLevel(asks, a + 1)
          const bidSize = netSize(bids, b)
          const askSize = netSize(asks, a)
          if (restart) level.restart(bids.price(b), bidSize, asks.price(a), askSize)
          else level.update(bids.price(b), bidSize, asks.price(a), askSize)
        }
      }
      return { value, restart: (book) => tell(book, true), update: (book) => tell(book, false) }
    },
  }
}
