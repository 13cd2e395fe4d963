/** Writes levels as `[price,size]` pairs into a slab: those of a frame's difference, or of a view. */
import type { Book } from './book.ts'
import { scaledBytesMax, writeAscii, writeScaled } from './decimal.ts'
import type { Slab } from './slab.ts'
import { isRegularPrice } from './wide.ts'

/** Room that is left behind a run of levels. */
const TAIL_MAX = 64

/** Levels read from a book at a time. */
const CHUNK = 1024
const chunkPrice = new Float64Array(CHUNK)
const chunkSize = new Float64Array(CHUNK)

const COMMA = 44
const OPEN = 91
const CLOSE = 93

/** For one book; where a level of the view is meant by its place, the asks count on from the bids. */
export class LevelWriter {
  private readonly book: Book
  private readonly slab: Slab
  private readonly levelBytesMax: number

  constructor(book: Book, slab: Slab) {
    this.book = book
    this.slab = slab
    this.levelBytesMax = scaledBytesMax(book.priceDecimals) + scaledBytesMax(book.sizeDecimals) + 4
  }

  /** Levels in the view, of both sides. */
  count(): number {
    return this.bidCount() + Math.min(this.book.asks.count, this.book.depth)
  }

  bidCount(): number {
    return Math.min(this.book.bids.count, this.book.depth)
  }

  /** Writes `[price,size]` pairs with commas between; leaves room for what follows. */
  write(at: number, price: Float64Array, size: Float64Array, count: number): number {
    const book = this.book
    const slab = this.slab
    const priceDecimals = book.priceDecimals
    const sizeDecimals = book.sizeDecimals
    slab.ensure(at + count * this.levelBytesMax + TAIL_MAX)
    const bytes = slab.bytes
    if (book.wide.count > 0) return this.wideLevels(at, price, size, count)
    for (let i = 0; i < count; i++) {
      if (i > 0) bytes[at++] = COMMA
      bytes[at++] = OPEN
      at = writeScaled(bytes, at, price[i], priceDecimals)
      bytes[at++] = COMMA
      at = writeScaled(bytes, at, size[i], sizeDecimals)
      bytes[at++] = CLOSE
    }
    return at
  }

  /** Writes view levels `[from, to)`, counted on from the bids to the asks, all of one side. */
  view(at: number, from: number, to: number): number {
    const bidCount = this.bidCount()
    const start = at
    while (from < to) {
      const read = this.read(from, to, bidCount)
      if (at > start) {
        this.slab.ensure(at + 1)
        this.slab.bytes[at++] = COMMA
      }
      at = this.write(at, chunkPrice, chunkSize, read)
      from += read
    }
    this.slab.ensure(at + TAIL_MAX)
    return at
  }

  /**
   * The first level of each part of the view that fits into `room` bytes, and at the end the level
   * count. It overwrites the slab. A level alone is never split, however long its digits are.
   */
  parts(room: number): number[] {
    const bidCount = this.bidCount()
    const count = this.count()
    const parts = [0]
    let used = 0
    this.slab.beginsWith = undefined
    for (let from = 0; from < count;) {
      const read = this.read(from, count, bidCount)
      for (let i = 0; i < read; i++) {
        const bytes = this.level(0, chunkPrice[i], chunkSize[i]) + 1
        if (used > 0 && used + bytes > room) {
          parts.push(from + i)
          used = 0
        }
        used += bytes
      }
      from += read
    }
    parts.push(count)
    return parts
  }

  /** Reads view levels `[from, …)` of one side (bids first, counted on) into the chunk. */
  private read(from: number, to: number, bidCount: number): number {
    const inBids = from < bidCount
    const end = inBids && to > bidCount ? bidCount : to
    const wanted = end - from < CHUNK ? end - from : CHUNK
    if (inBids) return this.book.bids.read(from, wanted, chunkPrice, chunkSize)
    return this.book.asks.read(from - bidCount, wanted, chunkPrice, chunkSize)
  }

  /** The same for a book that has wide values somewhere. */
  private wideLevels(at: number, price: Float64Array, size: Float64Array, count: number): number {
    for (let i = 0; i < count; i++) {
      if (i > 0) this.slab.bytes[at++] = COMMA
      at = this.level(at, price[i], size[i])
    }
    this.slab.ensure(at + TAIL_MAX)
    return at
  }

  /** Writes one level, wide or not, and leaves room for the next regular one. */
  private level(at: number, price: number, size: number): number {
    const book = this.book
    const slab = this.slab
    slab.ensure(at + this.levelBytesMax)
    slab.bytes[at++] = OPEN
    if (isRegularPrice(price)) at = writeScaled(slab.bytes, at, price, book.priceDecimals)
    else at = this.text(at, book.wide.priceText(price))
    slab.bytes[at++] = COMMA
    if (size >= 0) at = writeScaled(slab.bytes, at, size, book.sizeDecimals)
    else at = this.text(at, book.wide.sizeText(size))
    slab.bytes[at++] = CLOSE
    slab.ensure(at + this.levelBytesMax)
    return at
  }

  private text(at: number, value: string): number {
    this.slab.ensure(at + value.length + this.levelBytesMax)
    return writeAscii(this.slab.bytes, at, value)
  }
}
