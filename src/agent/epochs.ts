/** What every epoch of a worker's next life must exceed, although its last second went unheard. */

/** Epochs that a life may have begun since its last report, while its clock stood behind them. */
const UNREPORTED = 1000

/**
 * An epoch is the wall clock in ms, or one more than the last where the clock has been set back. A
 * life that ends without a word has told its epochs up to a second ago, so the clock must tell the
 * rest: none can be beyond the furthest that the wall clock has ever been ahead of the monotonic
 * one.
 */
export class EpochFloor {
  #reported = -Infinity
  #aheadMs = -Infinity
  #hasBegun = false

  /** Call at least once a second: both clocks in ms, read together. */
  clock(wallMs: number, monotonicMs: number): void {
    this.#aheadMs = Math.max(this.#aheadMs, wallMs - monotonicMs)
  }

  /** A life told its highest epoch. */
  reported(epochMax: number): void {
    this.#reported = Math.max(this.#reported, epochMax)
  }

  /**
   * A life begins that can publish, with both clocks as for `clock`. Gives what its epochs must
   * exceed: 0 for the first, more than 0 for every other, whether or not the one before it ever
   * told anything.
   */
  begin(wallMs: number, monotonicMs: number): number {
    this.clock(wallMs, monotonicMs)
    if (!this.#hasBegun) {
      this.#hasBegun = true
      return 0
    }
    return Math.max(this.#reported + UNREPORTED, Math.ceil(this.#aheadMs + monotonicMs))
  }
}
