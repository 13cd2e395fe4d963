/** The whole path of a frame without network: session, book, view, event bytes, lane. */
import { Book } from '../core/book.ts'
import type { LevelChanges } from '../core/changes.ts'
import { EventEncoder } from '../core/encoder.ts'
import type { ObfeedError } from '../core/errors.ts'
import type { InvalidReason } from '../core/event.ts'
import type { Instrument } from '../core/instrument.ts'
import { copyBytes, Slab } from '../core/slab.ts'
import type { Adapter, Session, SessionOutput } from '../exchanges/adapter.ts'

/** How far along the path a frame goes. */
export const DECODE = 0
export const BOOK = 1
export const ENCODE = 2
export const LANE = 3
export type Stage = 0 | 1 | 2 | 3

const LANE_BYTES = 4 * 1024 * 1024
/** One for all pipes: fresh memory would be measured with them. */
const lane = new Uint8Array(LANE_BYTES)
const EPOCH = Date.UTC(2026, 7, 24, 22, 34)

/** One socket's session with a book and an encoder per instrument, and the lane of all pipes. */
export class Pipe implements SessionOutput {
  readonly session: Session
  readonly books: Book[] = []
  readonly lane: Uint8Array<ArrayBuffer> = lane
  /** Events and bytes that reached the lane. */
  events = 0
  bytes = 0

  private readonly stage: Stage
  private readonly slab = new Slab()
  private readonly encoders: EventEncoder[] = []
  private readonly seqs: Float64Array<ArrayBuffer>
  private at = 0

  constructor(adapter: Adapter, instruments: readonly Instrument[], depth: number, stage: Stage) {
    this.stage = stage
    this.seqs = new Float64Array(instruments.length)
    for (const { symbol, priceDecimals, sizeDecimals } of instruments) {
      const book = new Book(priceDecimals, sizeDecimals, depth)
      const proof = adapter.protocol.loss
      this.books.push(book)
      this.encoders.push(
        new EventEncoder(adapter.exchange, symbol, book, proof, depth, this.slab),
      )
    }
    this.session = adapter.open(instruments, this, depth)
    this.session.opened()
  }

  send(): void {}

  requestSnapshot(): void {}

  refreshed(): void {}

  retire(): void {}

  snapshot(index: number, changes: LevelChanges): void {
    this.books[index].load(changes)
    this.seqs[index] = 0
    this.encoders[index].snapshot(EPOCH, 0, changes, nowUs())
    this.push()
  }

  delta(index: number, changes: LevelChanges): void {
    const stage = this.stage
    if (stage === DECODE) return
    const book = this.books[index]
    book.apply(changes)
    if (book.isCrossed()) throw new Error('the generated book is crossed')
    if (stage === BOOK || book.difference.isEmpty) return
    this.encoders[index].delta(EPOCH, ++this.seqs[index], changes, nowUs())
    if (stage === LANE) this.push()
  }

  suspect(_index: number, reason: InvalidReason, detail: string): void {
    throw new Error(`the generated frames were not accepted: ${reason}, ${detail}`)
  }

  fail(error: ObfeedError): void {
    throw error
  }

  private push(): void {
    const { bytes, start, end } = this.slab
    if (this.at + end - start > LANE_BYTES) this.at = 0
    copyBytes(this.lane, this.at, bytes, start, end)
    this.at += end - start
    this.events++
    this.bytes += end - start
  }
}

const timeOrigin = performance.timeOrigin

/** Microseconds since 1970, as the feed reads them. */
export function nowUs(): number {
  return Math.floor((timeOrigin + performance.now()) * 1000)
}
