/**
 * One side of one book on paper: our resting orders there, where each stands in its queue, and what
 * we took of the displayed levels (which stays taken: nobody put it back).
 */
import type { Side } from '../core/side.ts'
import type { Intent } from './broker.ts'
import { aheadAfter, aheadAfterGap, type QueueModel } from './queue.ts'

/** A resting order. */
export interface Resting {
  readonly intent: Intent
  /** Price with the sign that makes a better price the greater key. */
  readonly key: number
  remaining: number
  /** Filled so far, also while it arrived. */
  filled: number
  /** Others' size before it at its price. */
  ahead: number
}

/** How sizes of the book become integers of the step's decimals, rounded down. */
export interface SizeScale {
  units(size: number): number
}

/** Levels beyond our worst price that are kept to see how far a trade may have gone. */
const BEYOND = 16
const FIRST_READ = 32
/** Levels that a walk reads at a time. */
const WALKED = 8

/** What we took of one displayed level. */
interface Taken {
  units: number
  displayed: number
}

export class PaperSide {
  readonly sign: 1 | -1
  /** Best price first, then oldest first. */
  readonly resting: Resting[] = []
  readonly #side: Side
  readonly #scale: SizeScale
  readonly #model: QueueModel
  /** By price of the book. */
  readonly #taken: Map<number, Taken> = new Map()
  /** Levels before and after an event: prices of the book, and sizes in units. */
  #price: Float64Array<ArrayBuffer> = new Float64Array(FIRST_READ)
  #size: Float64Array<ArrayBuffer> = new Float64Array(FIRST_READ)
  #count = 0
  /** The side has no more levels than those. */
  #whole = true
  #oldPrice: Float64Array<ArrayBuffer> = new Float64Array(FIRST_READ)
  #oldSize: Float64Array<ArrayBuffer> = new Float64Array(FIRST_READ)
  readonly #walkPrice = new Float64Array(WALKED)
  readonly #walkSize = new Float64Array(WALKED)

  /** `sign` 1: bids, -1: asks. */
  constructor(sign: 1 | -1, side: Side, scale: SizeScale, model: QueueModel) {
    this.sign = sign
    this.#side = side
    this.#scale = scale
    this.#model = model
  }

  get hasTaken(): boolean {
    return this.#taken.size > 0
  }

  /** Whether levels of the side stand at or beyond `key` of an order on the other one. */
  reaches(key: number): boolean {
    return -this.#side.bestKey() <= key
  }

  /**
   * Displayed size at prices not worse than `limit` for who trades against this side, less what we
   * took already when `untaken`.
   */
  displayed(limit: number, untaken: boolean): number {
    let sum = 0
    this.walk(limit, untaken, (_, units) => {
      sum += units
      return true
    })
    return sum
  }

  /**
   * Best first, not worse than `limit`, until `visit` says false. Levels without size are left out.
   * `visit` must not walk.
   */
  walk(
    limit: number,
    untaken: boolean,
    visit: (price: number, units: number) => boolean,
  ): void {
    const most = this.sign * limit
    const price = this.#walkPrice
    const size = this.#walkSize
    for (let from = 0;; from += price.length) {
      const read = this.#side.read(from, price.length, price, size)
      for (let i = 0; i < read; i++) {
        if (this.sign * price[i] < most) return
        const units = this.#scale.units(size[i]) -
          (untaken ? this.#taken.get(price[i])?.units ?? 0 : 0)
        if (units > 0 && !visit(price[i], units)) return
      }
      if (read < price.length) return
    }
  }

  take(price: number, units: number): void {
    const taken = this.#taken.get(price)
    if (taken !== undefined) taken.units += units
    else this.#taken.set(price, { units, displayed: this.#displayedAt(price) })
  }

  /** An order begins to rest: behind all that is displayed at its price, and our older ones. */
  join(intent: Intent, remaining: number, filled: number): void {
    const key = this.sign * intent.priceUnits
    const ahead = this.#displayedAt(intent.priceUnits)
    let at = this.resting.length
    while (at > 0 && this.resting[at - 1]!.key < key) at--
    this.resting.splice(at, 0, { intent, key, remaining, filled, ahead })
    this.#read()
  }

  leave(order: Resting): void {
    const at = this.resting.indexOf(order)
    if (at >= 0) this.resting.splice(at, 1)
  }

  /** Others' size before it and that of our older ones at its price. */
  aheadOf(order: Resting): number {
    let older = 0
    for (const other of this.resting) {
      if (other === order) break
      if (other.key === order.key) older += other.remaining
    }
    return order.ahead + older
  }

  /**
   * An event was applied. Fills what may have traded by the model `best`, and moves the queues.
   *
   * @param gap events are missing before it
   */
  applied(gap: boolean, fill: (order: Resting, units: number) => void): void {
    if (this.#taken.size > 0) this.#settleTaken(gap)
    if (this.resting.length === 0) return
    const oldCount = this.#count
    const oldWhole = this.#whole
    const price = this.#oldPrice
    const size = this.#oldSize
    this.#oldPrice = this.#price
    this.#oldSize = this.#size
    this.#price = price
    this.#size = size
    this.#read()
    const { resting } = this
    /** What our better and older orders had of it. */
    let used = 0
    let old = 0
    let now = 0
    for (let i = 0; i < resting.length; i++) {
      const order = resting[i]!
      const units = order.intent.priceUnits
      now = this.#find(this.#price, this.#count, order.key, now)
      const after = now < this.#count && this.#price[now] === units ? this.#size[now]! : 0
      if (gap) {
        order.ahead = aheadAfterGap(this.#model, order.ahead, after)
        continue
      }
      old = this.#find(this.#oldPrice, oldCount, order.key, old)
      const before = old < oldCount && this.#oldPrice[old] === units ? this.#oldSize[old]! : 0
      const ahead = order.ahead
      order.ahead = aheadAfter(this.#model, ahead, before, after)
      if (this.#model.kind !== 'best') continue
      const reached = this.#count === 0 ? Infinity : this.#reached(order.key, oldCount, oldWhole)
      const part = Math.min(order.remaining, reached - ahead - used)
      if (part > 0) {
        used += part
        order.remaining -= part
        order.filled += part
        fill(order, part)
      }
    }
    if (this.#model.kind === 'best') this.#dropFilled()
  }

  #dropFilled(): void {
    for (let i = this.resting.length - 1; i >= 0; i--) {
      if (this.resting[i]!.remaining === 0) this.resting.splice(i, 1)
    }
  }

  /**
   * The most that may have traded at `key` or worse: decreases from the old touch down, as long as
   * each better level vanished.
   */
  #reached(key: number, oldCount: number, oldWhole: boolean): number {
    let sum = 0
    let now = 0
    for (let i = 0; i < oldCount; i++) {
      const price = this.#oldPrice[i]!
      const level = this.sign * price
      now = this.#find(this.#price, this.#count, level, now)
      const left = now < this.#count && this.#price[now] === price ? this.#size[now]! : 0
      if (level <= key && left < this.#oldSize[i]!) sum += this.#oldSize[i]! - left
      if (left > 0) return sum
    }
    // All that was known vanished: how much lay beyond it cannot be told.
    return oldWhole ? sum : Infinity
  }

  /** The first of `count` descending levels from `from` on whose key is not above `key`. */
  #find(price: Float64Array, count: number, key: number, from: number): number {
    let i = from
    while (i < count && this.sign * price[i]! > key) i++
    return i
  }

  /** Reads down to our worst price and a little beyond. */
  #read(): void {
    const worst = this.resting[this.resting.length - 1]!.key
    while (true) {
      const capacity = this.#price.length
      this.#count = this.#side.read(0, capacity, this.#price, this.#size)
      this.#whole = this.#count < capacity
      const deep = this.#count <= BEYOND ? NaN : this.sign * this.#price[this.#count - BEYOND]!
      if (this.#whole || deep < worst) break
      this.#price = new Float64Array(2 * capacity)
      this.#size = new Float64Array(2 * capacity)
      this.#oldPrice = grown(this.#oldPrice, 2 * capacity)
      this.#oldSize = grown(this.#oldSize, 2 * capacity)
    }
    for (let i = 0; i < this.#count; i++) this.#size[i] = this.#scale.units(this.#size[i]!)
  }

  #displayedAt(price: number): number {
    let found = 0
    this.walk(price, false, (at, units) => {
      if (at === price) found = units
      return true
    })
    return found
  }

  /** A level that disappeared gives back what was taken; in the best case whatever left was that. */
  #settleTaken(gap: boolean): void {
    for (const [price, taken] of this.#taken) {
      const now = this.#displayedAt(price)
      if (this.#model.kind === 'best') {
        if (gap) taken.units = 0
        else if (now < taken.displayed) taken.units -= taken.displayed - now
      }
      taken.displayed = now
      if (now === 0 || taken.units <= 0) this.#taken.delete(price)
    }
  }
}

function grown(column: Float64Array<ArrayBuffer>, capacity: number): Float64Array<ArrayBuffer> {
  if (column.length >= capacity) return column
  const larger = new Float64Array(capacity)
  larger.set(column)
  return larger
}
