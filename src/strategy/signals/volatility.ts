/** Exponentially weighted volatility of the mid, in the time of the events. */
import type { Signal, Volatility } from '../contract.ts'
import { exp, log } from '../../core/math.ts'
import { mid } from './levels.ts'

const US_PER_S = 1e6

class Ewma implements Volatility {
  variance = NaN
  readonly #tau: number
  #mid = NaN
  #us = 0

  constructor(tauSeconds: number) {
    this.#tau = tauSeconds
  }

  get value(): number {
    return Math.sqrt(this.variance)
  }

  restart(middle: number, us: number): void {
    this.variance = NaN
    this.#mid = middle
    this.#us = us
  }

  update(middle: number, us: number): void {
    // A side is missing: what comes after it is measured from what was before.
    if (!(middle > 0)) return
    if (!(this.#mid > 0)) {
      this.#mid = middle
      this.#us = us
      return
    }
    const seconds = (us - this.#us) / US_PER_S
    // Of the same moment: its move counts with the next event that took time.
    if (!(seconds > 0)) return
    const r = log(middle / this.#mid)
    const now = r * r / seconds
    const w = exp(-seconds / this.#tau)
    this.variance = this.variance === this.variance ? w * this.variance + (1 - w) * now : now
    this.#mid = middle
    this.#us = us
  }
}

export function ewmaVol(tauSeconds: number): Signal<Volatility> {
  return {
    run() {
      const value = new Ewma(tauSeconds)
      return {
        value,
        restart(book) {
          value.restart(mid(book), book.receivedUs)
        },
        update(book) {
          value.update(mid(book), book.receivedUs)
        },
      }
    },
  }
}
