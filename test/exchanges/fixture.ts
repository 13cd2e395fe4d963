/** What the contract suite needs of each exchange: a small model of it that makes frames. */
import type { ErrorCode } from '../../src/core/errors.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Adapter } from '../../src/exchanges/adapter.ts'
import type { NaiveBook } from './listener.ts'

/** `[side, price, size]`, as text on the wire; size `0` deletes. */
export type WireLevel = readonly [side: 'bid' | 'ask', price: string, size: string]

/** One frame and the books of all instruments as of it. */
export interface ModelFrame {
  readonly bytes: Uint8Array
  readonly kind: 'snapshot' | 'delta' | 'control'
  /** The instrument it is about, unless `control`. */
  readonly index: number
  readonly truth: readonly NaiveBook[]
  /**
   * Of a `control` frame on an exchange whose proof covers the connection: its loss does not show,
   * because it is not counted.
   */
  readonly uncounted?: boolean
}

/**
 * One connection of a healthy exchange, which knows nothing of other connections. Frames wait in
 * `outgoing` until they are taken. Sequences follow from the changes alone where the exchange counts
 * them per symbol: two connections with the same changes have the same ones.
 */
export interface Model {
  readonly outgoing: ModelFrame[]
  /** A message of the client. Throws when the exchange would not understand it. */
  receive(text: string): void
  /**
   * A change of the market, in order, also of one price more than once; makes one or more frames when
   * the client is subscribed to it. What the exchange would not tell of (a delete of what is not
   * there) it need not. No levels: an empty update, where the exchange sends such.
   */
  change(index: number, levels: readonly WireLevel[]): void
  /** Whatever the exchange sends on its own from time to time (heartbeats ...). */
  idle(): void
  /** A well-formed message of a kind that does not exist (yet). */
  unknown(): void
  /** Exchanges with REST snapshots: the body the exchange answers with now. Throws: no such call. */
  rest?(url: string): string
  /**
   * The exchange ends a symbol and says so, then or soon after (`idle`). Absent: nothing is said,
   * silence alone shows it.
   */
  delist?(index: number): void
  /** The exchange says that it will end this connection soon. Absent: it never does. */
  retire?(): void
}

/** What the exchange's protocol cannot show, and why; everything else is asked of the adapter. */
export interface BlindSpots {
  /** So many levels a side are covered by a checksum; what a lost frame did below is not seen. */
  readonly below?: number
  /** The answer to a REST request does not show which symbol it is of: the reason. */
  readonly foreignSnapshot?: string
}

export interface ErrorReply {
  readonly text: string
  readonly code: ErrorCode
  readonly scope: 'symbol' | 'connection'
  /** Of the instruments, when the scope is `symbol`. */
  readonly index?: number
  /** The part of `text` that must be in the error's message. */
  readonly quote: string
}

export interface Fixture {
  readonly adapter: Adapter
  /**
   * At least three of one segment: the first with 1 to 4 price decimals (it trades at 98,765.4), the
   * second with 8 to 10 (0.00000051) and few size decimals (sizes to 10^12).
   */
  readonly instruments: readonly Instrument[]
  /** Wanted levels a side, as given to `Adapter.open`. */
  readonly depth: number
  /**
   * The wire can carry values off the instruments' grid: more decimals than declared, sizes beyond
   * 2^53. False where the exchange's format or its checksum rules that out.
   */
  readonly offGrid: boolean
  readonly blind?: BlindSpots
  /** A made-up instrument of the same segment, to fill a socket with. Absent: `A7/USD`, `A7-USD`. */
  instrument?(i: number): Instrument
  connect(): Model
  /**
   * "Too many requests", said of the message `refused` of the client, in as many words as the
   * exchange has for it.
   */
  limited(refused: string): string
  readonly errors: readonly ErrorReply[]
}
