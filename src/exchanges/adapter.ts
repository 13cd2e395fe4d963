/**
 * The contract of an exchange. An `Adapter` is a value; a `Session` is the synchronous protocol
 * state machine of one socket, without sockets, timers, clocks or files: frames in, effects out.
 */
import type { LevelChanges } from '../core/changes.ts'
import type { ObfeedError } from '../core/errors.ts'
import type { InvalidReason, Proof } from '../core/event.ts'
import type { Instrument, Market } from '../core/instrument.ts'

/** What can be proven; the contract suite holds each adapter to its own table. */
export interface Protocol {
  readonly snapshot: 'inband' | 'rest'
  readonly loss: Proof
  /** What one lost frame makes suspect. */
  readonly lossScope: 'symbol' | 'connection'
  /** Levels per side the exchange maintains. */
  readonly depth: number | 'full'
}

/** The exchange's rules. All budgets are per IP address and shared out among workers. */
export interface Limits {
  readonly symbolsPerConnection: number
  /** Client messages per second. */
  readonly framesPerSecond: number
  readonly connectsPerSecond: number
  /** A subscription must arrive this soon after the socket opened. */
  readonly subscribeWithinMs: number
  /** A socket without any frame for this long is dead. */
  readonly staleMs: number
  /** Reconnect before the exchange does. Absent: never. */
  readonly lifetimeMs?: number
  /** Largest frame to accept, in bytes. */
  readonly frameBytesMax: number
}

/**
 * Market metadata read without ccxt, which takes longer to load than an exchange to answer. What is
 * read must equal what ccxt makes of the same answer.
 */
export interface MarketSource {
  /** Of one answer that lists all markets. */
  readonly url: string
  /** The spot markets in the exchange's order; undefined when the answer has another shape. */
  parse(answer: unknown): Market[] | undefined
}

export interface Adapter {
  /** ccxt exchange id. */
  readonly exchange: string
  readonly protocol: Protocol
  readonly limits: Limits
  /** The exchange's own WebSocket address for a socket with these instruments. */
  url(instruments: readonly Instrument[]): string
  /** Absent: market metadata comes through ccxt. */
  readonly markets?: MarketSource
  /** REST root, for exchanges whose snapshots come by REST. */
  readonly restUrl?: string
  /** The form two spellings of one market share on this exchange, by wire symbol. */
  canonical?(wireSymbol: string): string
  /**
   * Frames of one connection with this instrument alone, from its first one: a snapshot, then
   * changes that never cross the book. Given to throw-away sessions (again and again, each from the
   * start) they warm the code of the hot path before the first real frame comes.
   */
  warmFrames?(instrument: Instrument): Uint8Array[]
  /** One session per socket; all protocol state lives in it and dies with it. */
  open(instruments: readonly Instrument[], output: SessionOutput): Session
}

/** Events into the protocol. Each call is synchronous and runs to completion. It never throws. */
export interface Session {
  /** The socket is open: subscribe. */
  opened(): void
  /**
   * One frame, as bytes owned by the caller again after the call. `receivedUs`: microseconds since
   * 1970 when it reached user code.
   */
  received(frame: Uint8Array, receivedUs: number): void
  /** REST snapshot of the instrument `index` arrived (exchanges with `snapshot: 'rest'`). */
  snapshotReceived?(index: number, body: string, receivedUs: number): void
  /**
   * Ask for a fresh snapshot of instrument `index`; its changes are ignored until it arrives. The
   * feed paces these calls (backoff per symbol, cap per connection).
   */
  resync(index: number): void
  /**
   * The same for several at once, in as few client messages as the exchange allows. Absent: the
   * feed calls `resync` for each, or replaces the socket when there are many.
   */
  resyncAll?(indexes: readonly number[]): void
  /** Call `heartbeat` this often. Absent: nothing to do. */
  readonly heartbeatMs?: number
  heartbeat?(): void
  readonly stats: SessionStats
}

/** Plain counters, read once per second. */
export interface SessionStats {
  /** Frames the byte scanner handed to the JSON route. */
  scannerFallbacks: number
  /** Well-formed frames of a kind the session does not know. */
  unknownFrames: number
  /** Frames with an already seen sequence. */
  duplicates: number
}

/**
 * Effects out of the protocol; `index` is the position in the instruments given to `open`.
 * `changes` is the session's own reused buffer, valid during the call.
 */
export interface SessionOutput {
  /** Queue a client message; the connection paces it by `limits.framesPerSecond`. */
  send(text: string): void
  /** The whole book: replaces everything. */
  snapshot(index: number, changes: LevelChanges): void
  /** One exchange message, to be applied whole before anything is published. */
  delta(index: number, changes: LevelChanges): void
  /** The book of `index` is not proven any more; a resync will be asked for by the feed. */
  suspect(index: number, reason: InvalidReason, detail: string): void
  requestSnapshot(index: number, url: string): void
  /**
   * Scope `symbol` (with `symbol` set): this one cannot be served, others go on. Scope
   * `connection`: the socket must be replaced.
   */
  fail(error: ObfeedError): void
}
