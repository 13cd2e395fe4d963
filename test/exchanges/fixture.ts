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
}

/** One connection of a healthy exchange. Frames wait in `outgoing` until they are taken. */
export interface Model {
  readonly outgoing: ModelFrame[]
  /** A message of the client. Throws when the exchange would not understand it. */
  receive(text: string): void
  /** A change of the market; makes a frame when the client is subscribed to it. */
  change(index: number, levels: readonly WireLevel[]): void
  /** Whatever the exchange sends on its own from time to time (heartbeats ...). */
  idle(): void
  /** A well-formed message of a kind that does not exist (yet). */
  unknown(): void
}

export interface ErrorReply {
  readonly text: string
  readonly code: ErrorCode
  readonly scope: 'symbol' | 'connection'
  /** Of the instruments, when the scope is `symbol`. */
  readonly index?: number
}

export interface Fixture {
  readonly adapter: Adapter
  /** At least three, of very different scales. */
  readonly instruments: readonly Instrument[]
  connect(): Model
  readonly errors: readonly ErrorReply[]
}
