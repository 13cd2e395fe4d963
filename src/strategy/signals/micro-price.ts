/**
 * The micro-price: mid + G*(imbalance, spread), what the mid is expected to become (Stoikov 2018).
 * `MicroPriceFit` estimates G* offline from a stream of books, on symmetrised data: every move
 * counts once as it was and once mirrored, so that G* has no drift and its sum converges.
 */
import type { Book, MicroPriceTable } from '../contract.ts'
import { netSize, nextLevel } from './levels.ts'

/** Of a book: which state it is in, and its mid. */
interface Place {
  readonly bucket: number
  readonly spread: number
  readonly mid: number
}

function placeOf(
  book: Book,
  grid: Pick<MicroPriceTable, 'tick' | 'buckets' | 'spreads'>,
): Place | undefined {
  const { bids, asks } = book
  const b = nextLevel(bids, 0)
  const a = nextLevel(asks, 0)
  const bid = bids.price(b)
  const ask = asks.price(a)
  const bidSize = netSize(bids, b)
  const share = bidSize / (bidSize + netSize(asks, a))
  const spread = Math.floor((ask - bid) / grid.tick + 0.5)
  if (!(share >= 0) || !(spread >= 1) || spread > grid.spreads) return undefined
  const bucket = Math.min(grid.buckets - 1, Math.floor(share * grid.buckets))
  return { bucket, spread, mid: (bid + ask) / 2 }
}

export function microPrice(book: Book, table: MicroPriceTable): number {
  const place = placeOf(book, table)
  if (place === undefined) return NaN
  return place.mid + (table.adjustment[place.bucket]?.[place.spread - 1] ?? NaN)
}

/** Terms below this part of the sum end it: less is the rounding of doubles, which never dies. */
const CONVERGED = 1e-15
const TERMS_MAX = 100_000

/**
 * G* = sum of B^k G1 with G1 = (1-Q)^-1 r and B = (1-Q)^-1 T.
 *
 * @param q probabilities of going from state to state while the mid stays
 * @param t the same for moves of the mid
 * @param r expected move of the mid in one step from each state
 * @throws {RangeError} when the sum does not converge: the data were not symmetrised
 */
export function microPriceAdjustments(
  q: readonly (readonly number[])[],
  t: readonly (readonly number[])[],
  r: readonly number[],
): number[] {
  const n = r.length
  // (1-Q) X = [r | T], solved for all columns at once.
  const rows = q.map((row, i) => [
    ...row.map((value, j) => (i === j ? 1 : 0) - value),
    r[i]!,
    ...t[i]!,
  ])
  for (let column = 0; column < n; column++) {
    let pivot = column
    for (let i = column + 1; i < n; i++) {
      if (Math.abs(rows[i]![column]!) > Math.abs(rows[pivot]![column]!)) pivot = i
    }
    if (!(Math.abs(rows[pivot]![column]!) > 1e-300)) {
      throw new RangeError('the mid never moves out of some state; expected a longer recording')
    }
    const row = rows[pivot]!
    rows[pivot] = rows[column]!
    rows[column] = row
    for (let i = 0; i < n; i++) {
      if (i === column) continue
      const factor = rows[i]![column]! / row[column]!
      if (factor === 0) continue
      for (let j = column; j < row.length; j++) rows[i]![j]! -= factor * row[j]!
    }
  }
  const first = rows.map((row, i) => row[n]! / row[i]!)
  const b = rows.map((row, i) => row.slice(n + 1).map((value) => value / row[i]!))
  let term = first
  const sum = [...first]
  for (let k = 0; k < TERMS_MAX; k++) {
    const last = term
    term = b.map((row) => row.reduce((total, value, j) => total + value * last[j]!, 0))
    let greatest = 0
    let largest = 0
    for (let i = 0; i < n; i++) {
      sum[i]! += term[i]!
      greatest = Math.max(greatest, Math.abs(term[i]!))
      largest = Math.max(largest, Math.abs(sum[i]!))
    }
    if (greatest <= CONVERGED * largest) return sum
  }
  throw new RangeError('the adjustments do not converge; expected symmetrised data')
}

/** Feed it every event of one book, in order; `table` any time. */
export class MicroPriceFit {
  readonly #grid: Pick<MicroPriceTable, 'tick' | 'buckets' | 'spreads'>
  readonly #states: number
  /** `[from][to]`: steps in which the mid stayed, and in which it moved. */
  readonly #stayed: Float64Array
  readonly #moved: Float64Array
  /** Sum of moves from a state, in price. */
  readonly #move: Float64Array
  #before: Place | undefined = undefined
  /** Steps seen so far. */
  steps = 0

  constructor(grid: Pick<MicroPriceTable, 'tick' | 'buckets' | 'spreads'>) {
    this.#grid = grid
    this.#states = grid.buckets * grid.spreads
    this.#stayed = new Float64Array(this.#states * this.#states)
    this.#moved = new Float64Array(this.#states * this.#states)
    this.#move = new Float64Array(this.#states)
  }

  /** The next book does not follow the last one. */
  restart(): void {
    this.#before = undefined
  }

  add(book: Book): void {
    const now = placeOf(book, this.#grid)
    const before = this.#before
    this.#before = now
    if (now === undefined || before === undefined) return
    // Half a tick is the smallest move of a mid: what is less is the rounding of doubles.
    const halves = Math.round((now.mid - before.mid) / this.#grid.tick * 2)
    const move = halves * this.#grid.tick / 2
    this.#count(before, now, move, false)
    this.#count(before, now, -move, true)
    this.steps++
  }

  #count(from: Place, to: Place, move: number, mirrored: boolean): void {
    const { buckets, spreads } = this.#grid
    const state = ({ bucket, spread }: Place) =>
      (mirrored ? buckets - 1 - bucket : bucket) * spreads + spread - 1
    const i = state(from)
    const at = i * this.#states + state(to)
    if (move === 0) this.#stayed[at]!++
    else {
      this.#moved[at]!++
      this.#move[i]! += move
    }
  }

  /**
   * States that were never left have no adjustment (0).
   *
   * @throws {RangeError} when the mid never moves: too short a recording
   */
  table(): MicroPriceTable {
    const { tick, buckets, spreads } = this.#grid
    const seen: number[] = []
    const steps = new Float64Array(this.#states)
    for (let i = 0; i < this.#states; i++) {
      for (let j = 0; j < this.#states; j++) {
        steps[i]! += this.#stayed[i * this.#states + j]! + this.#moved[i * this.#states + j]!
      }
      if (steps[i]! > 0) seen.push(i)
    }
    const part = (counts: Float64Array) =>
      seen.map((i) => seen.map((j) => counts[i * this.#states + j]! / steps[i]!))
    const values = microPriceAdjustments(
      part(this.#stayed),
      part(this.#moved),
      seen.map((i) => this.#move[i]! / steps[i]!),
    )
    const all = new Array<number>(this.#states).fill(0)
    seen.forEach((state, k) => all[state] = values[k]!)
    const adjustment = Array.from(
      { length: buckets },
      (_, bucket) => all.slice(bucket * spreads, (bucket + 1) * spreads),
    )
    return { v: 1, tick, buckets, spreads, adjustment }
  }
}
