/** How fast a simulated market moves: the frames that are due as time passes. */
import type { ExchangeOptions } from './rules.ts'

export class Pace {
  /** Frames per second over all products. */
  rate: number
  readonly #catchUpMs: number
  /** Frames owed, fractional. */
  #owed = 0

  constructor(options: ExchangeOptions) {
    this.rate = options.rate ?? 100
    this.#catchUpMs = options.catchUpMs ?? 1000
  }

  /** Frames to make now that so much time has passed. */
  due(elapsedMs: number): number {
    this.#owed += (Math.min(elapsedMs, this.#catchUpMs) * this.rate) / 1000
    // A frame due exactly now must not slip by a rounding error.
    const due = Math.floor(this.#owed + 1e-9)
    this.#owed -= due
    return due
  }

  /** One was made before it was due. */
  ahead(): void {
    this.#owed--
  }

  /** When a frame is, as of the last `due` at `nowMs`; Infinity when never. */
  dueMs(nowMs: number): number {
    return this.rate > 0 ? nowMs + ((1 - this.#owed) * 1000) / this.rate : Infinity
  }
}
