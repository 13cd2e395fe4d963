/** How often something may happen: so much in any stretch of time. */

/** At most `count` in any `perMs`. */
export interface Limit {
  readonly count: number
  readonly perMs: number
}

/** Times and weights of the last accepted events. */
export class RateLimit {
  readonly #limit: Limit
  #times: number[] = []
  #weights: number[] = []
  #used = 0

  constructor(limit: Limit) {
    this.#limit = limit
  }

  /** False, and not counted, when it would be one too many. */
  take(nowMs: number, weight = 1): boolean {
    this.#forget(nowMs)
    if (this.#used + weight > this.#limit.count) return false
    this.#times.push(nowMs)
    this.#weights.push(weight)
    this.#used += weight
    return true
  }

  used(nowMs: number): number {
    this.#forget(nowMs)
    return this.#used
  }

  /** Milliseconds until the oldest event is forgotten. */
  freeInMs(nowMs: number): number {
    return this.#times.length === 0 ? 0 : this.#times[0]! + this.#limit.perMs - nowMs
  }

  #forget(nowMs: number): void {
    let gone = 0
    while (gone < this.#times.length && nowMs - this.#times[gone]! >= this.#limit.perMs) {
      this.#used -= this.#weights[gone]!
      gone++
    }
    if (gone === 0) return
    this.#times.splice(0, gone)
    this.#weights.splice(0, gone)
  }
}
