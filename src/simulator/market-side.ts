/** One side of a simulated market. */

/**
 * One side, worst level first, so that work near the best price moves little memory. Keys ascend
 * towards the best: `ticks` on the bid side, `-ticks` on the ask side.
 */
export class SideLevels {
  count = 0
  keys: Float64Array<ArrayBuffer>
  lots: Float64Array<ArrayBuffer>

  constructor(capacity: number) {
    this.keys = new Float64Array(Math.max(16, capacity))
    this.lots = new Float64Array(Math.max(16, capacity))
  }

  copyFrom(other: SideLevels): void {
    if (this.keys.length < other.count) {
      this.keys = new Float64Array(other.keys.length)
      this.lots = new Float64Array(other.keys.length)
    }
    this.keys.set(other.keys.subarray(0, other.count))
    this.lots.set(other.lots.subarray(0, other.count))
    this.count = other.count
  }

  /** Position of the first key >= `key`. */
  lowerBound(key: number): number {
    const keys = this.keys
    // Gallop from the best price: nearly all changes are near it.
    let high = this.count
    let step = 1
    let low = high - 1
    while (low >= 0 && keys[low]! >= key) {
      high = low
      step *= 2
      low -= step
    }
    low = low < 0 ? 0 : low + 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (keys[middle]! < key) low = middle + 1
      else high = middle
    }
    return low
  }

  get(key: number): number {
    const at = this.lowerBound(key)
    return at < this.count && this.keys[at] === key ? this.lots[at]! : 0
  }

  /** Sets a level (0 removes it) and gives its former size, 0 when it was absent. */
  set(key: number, lots: number): number {
    const at = this.lowerBound(key)
    const count = this.count
    if (at < count && this.keys[at] === key) {
      const old = this.lots[at]!
      if (lots !== 0) {
        this.lots[at] = lots
      } else {
        this.keys.copyWithin(at, at + 1, count)
        this.lots.copyWithin(at, at + 1, count)
        this.count = count - 1
      }
      return old
    }
    if (lots === 0) return 0
    if (count === this.keys.length) this.#grow()
    if (at < count) {
      this.keys.copyWithin(at + 1, at, count)
      this.lots.copyWithin(at + 1, at, count)
    }
    this.keys[at] = key
    this.lots[at] = lots
    this.count = count + 1
    return 0
  }

  #grow(): void {
    const keys = new Float64Array(this.keys.length * 2)
    keys.set(this.keys)
    this.keys = keys
    const lots = new Float64Array(this.lots.length * 2)
    lots.set(this.lots)
    this.lots = lots
  }
}
