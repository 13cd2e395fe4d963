/** One frame's level changes, decoded into columns that are reused for every frame. */
import type { Book } from './book.ts'

export const BID = 0
export const ASK = 1

/** What an exchange says of the book that a frame leaves behind, such as a checksum. */
export interface BookCheck {
  /** Called once, right after the frame was applied to `book`. */
  holds(book: Book): boolean
}

/**
 * Filled by a session, read by the book, valid only during the call that hands it over.
 *
 * `price[i]` and `size[i]` are integers scaled by the instrument's decimals. A value that has no
 * exact scaled integer (more decimals, or beyond 2^53) is NaN there and its canonical decimal text
 * stands in `widePrice` or `wideSize` under `i`. A size of 0 removes the level. Changes are in the
 * order of the frame: the last one of a price wins.
 */
export class LevelChanges {
  count = 0
  side: Uint8Array<ArrayBuffer>
  price: Float64Array<ArrayBuffer>
  size: Float64Array<ArrayBuffer>
  readonly widePrice: Map<number, string> = new Map()
  readonly wideSize: Map<number, string> = new Map()

  /** The exchange's sequence as it sends it; -1 when there is none. */
  nonce = -1
  /** The sequence as text, only when it is beyond 2^53. */
  nonceText: string | undefined = undefined
  /** Exchange event time in ms; -1 when the exchange sends none. */
  timestampMs = -1
  /** Microseconds since 1970 when the frame reached user code. */
  receivedUs = 0
  /** The proof that comes with this frame; undefined: none does. */
  check: BookCheck | undefined = undefined
  /**
   * Of a snapshot that ends before the book does: the scaled price of its worst level, a side. What
   * lies beyond is unknown and stays out of the book, also when later changes tell of it. NaN: the
   * whole side is known. Not read of a delta.
   */
  bidHorizon = NaN
  askHorizon = NaN

  constructor(capacity = 1024) {
    this.side = new Uint8Array(capacity)
    this.price = new Float64Array(capacity)
    this.size = new Float64Array(capacity)
  }

  /** Forgets the levels, what checks them and their horizons; keeps the memory. */
  reset(): void {
    this.count = 0
    this.check = undefined
    this.bidHorizon = NaN
    this.askHorizon = NaN
    if (this.widePrice.size > 0) this.widePrice.clear()
    if (this.wideSize.size > 0) this.wideSize.clear()
  }

  /** Doubles the capacity; the columns are replaced, so do not hold on to them. */
  grow(): void {
    const capacity = this.side.length * 2
    const side = new Uint8Array(capacity)
    side.set(this.side)
    this.side = side
    const price = new Float64Array(capacity)
    price.set(this.price)
    this.price = price
    const size = new Float64Array(capacity)
    size.set(this.size)
    this.size = size
  }
}
