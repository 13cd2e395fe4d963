/**
 * The contract of an exchange. An `Adapter` is a value; a `Session` is the synchronous protocol
 * state machine of one socket, without sockets, timers, clocks or files: frames in, effects out.
 */
import type { LevelChanges } from '../core/changes.ts'
import type { Socket, SocketEvents } from '../core/environment.ts'
import type { ObfeedError } from '../core/errors.ts'
import type { InvalidReason, Proof } from '../core/event.ts'
import type { Instrument, Market } from '../core/instrument.ts'

/** What can be proven; the contract suite holds each adapter to its own table. */
export interface Protocol {
  readonly snapshot: 'inband' | 'rest'
  readonly loss: Proof
  /** What one lost frame makes suspect. */
  readonly lossScope: 'symbol' | 'connection'
  /** Levels per side the exchange maintains at most. */
  readonly depth: number | 'full'
}

/** What becomes of a wish for so many levels a side. */
export interface BookDepth {
  /** Levels a side that can be served, at most those wished for; 0 = the full book. */
  readonly view: number
  /**
   * Levels a side that the exchange keeps telling of: what a frame pushes beyond them is forgotten,
   * because no delete will come for it. Infinity: deletes come for everything.
   */
  readonly kept: number
}

/** The exchange's rules. All budgets are per IP address and shared out among workers. */
export interface Limits {
  readonly symbolsPerConnection: number
  /** Client messages per second. */
  readonly framesPerSecond: number
  /** Over a longer time, while in a moment there may be more where `connectsWindowMs` says so. */
  readonly connectsPerSecond: number
  /** The time over which the exchange counts new sockets. Absent: a second. */
  readonly connectsWindowMs?: number
  /** A subscription must arrive this soon after the socket opened. */
  readonly subscribeWithinMs: number
  /** Reconnect before the exchange does. Absent: never. */
  readonly lifetimeMs?: number
  /** Largest frame to accept, in bytes. */
  readonly frameBytesMax: number
  /** Weight of REST snapshots in any minute. Absent: not limited, or no REST snapshots. */
  readonly snapshotWeightPerMinute?: number
}

/**
 * Market metadata read without ccxt, which takes longer to load than an exchange to answer. What is
 * read must equal what ccxt makes of the same answer.
 */
export interface MarketSource {
  /** One GET each, at the same time; together they list all markets. */
  readonly urls: readonly string[]
  /** Those of `urls` that only make it finer: `parse` is given undefined for one that fails. */
  readonly refining?: readonly string[]
  /**
   * What to append to an address for the page after this answer; undefined: it was the last. Where
   * there is a `next`, each answer given to `parse` is the list of its pages.
   */
  next?(answer: unknown): string | undefined
  /**
   * The markets in the exchange's order, of the answers in the order of `urls`; undefined when an
   * answer has another shape.
   */
  parse(answers: readonly unknown[]): Market[] | undefined
  /**
   * ccxt asks the first of `urls` first and names the markets as the adapter does: it may read an
   * answer of another shape. Absent: it names them otherwise.
   */
  readonly ccxt?: {
    /** Its requests about markets that are not served here; they are answered with `{}`. */
    readonly skip?: RegExp
    /** Adds what only the exchange's own record of a market tells. */
    refine?(market: Market, record: Readonly<Record<string, unknown>>): Market
  }
}

/** How much is traded, to choose the busiest markets by. */
export interface VolumeSource {
  readonly urls: readonly string[]
  /** By unified symbol of `markets`: the last 24 hours, in the quote currency. */
  parse(
    answers: readonly unknown[],
    markets: readonly Market[],
  ): ReadonlyMap<string, number> | undefined
}

export interface Adapter {
  /** ccxt exchange id. */
  readonly exchange: string
  readonly protocol: Protocol
  readonly limits: Limits
  /** The exchange's own WebSocket address for a socket with these instruments. */
  url(instruments: readonly Instrument[]): string
  /**
   * The exchange is no more: one sentence that says since when. It is served from another address
   * (`--ws-url`) only.
   */
  readonly closed?: string
  /** Absent: market metadata comes through ccxt. */
  readonly markets?: MarketSource
  readonly volumes?: VolumeSource
  /** What can be had of `wanted` levels a side (0 = full). Absent: what was wished for, kept whole. */
  depth?(wanted: number): BookDepth
  /**
   * The body of an HTTP error is the exchange's own explanation of it, so that the error is about
   * what was asked for, not about who asks. Absent: none is.
   */
  isOwnError?(body: string): boolean
  /** Instruments of different segments cannot share a socket. Absent: all can. */
  segment?(instrument: Instrument): string
  /** The form two spellings of one market share on this exchange, by wire symbol. */
  canonical?(wireSymbol: string): string
  /**
   * Frames of one connection with this instrument alone, from its first one: a snapshot, then
   * changes that never cross the book. Given to throw-away sessions (again and again, each from the
   * start) they warm the code of the hot path before the first real frame comes.
   */
  warmFrames?(instrument: Instrument): Uint8Array[]
  /**
   * Body of the REST snapshot that `warmFrames` join; every request of a throw-away session is
   * answered with it. Exchanges with `snapshot: 'rest'`; without it their frames make no book.
   */
  warmSnapshot?(instrument: Instrument): string
  /**
   * One session per socket; all protocol state lives in it and dies with it. `depth`: levels a side
   * that are wanted, 0 = full.
   */
  open(instruments: readonly Instrument[], output: SessionOutput, depth: number): Session
  /**
   * Sockets that the adapter makes itself; its session reads their frames and writes their messages.
   * `url` is `url(instruments)` as it was redirected, `restUrl` what replaces scheme, host and port
   * of every REST address. Absent: a WebSocket to `url`.
   */
  openSocket?(
    url: string,
    events: SocketEvents,
    instruments: readonly Instrument[],
    restUrl?: string,
  ): Socket
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
   * Live, but less and less of the book is known (see `LevelChanges.bidHorizon`): ask for a newer
   * REST snapshot. The book goes on meanwhile; `SessionOutput.refreshed` ends it. A call while one
   * is under way changes nothing.
   */
  refresh?(index: number): void
  /**
   * Exchanges with `snapshot: 'rest'`: another socket served instrument `index` until now, and its
   * book as of `nonce` is known to the feed. True: this session goes on from exactly there, and
   * from within this call on delivers what came after `nonce`. False: it cannot yet (not subscribed,
   * or what it has seen begins after `nonce`); the feed asks again later.
   */
  splice?(index: number, nonce: number): boolean
  /**
   * Exchanges with `snapshot: 'rest'`, before `opened`: the stream of instrument `index` fell silent
   * on the socket before, when its book was as of `nonce`. A book beyond that counts only when
   * something shows that the stream is alive.
   */
  fellSilent?(index: number, nonce: number): void
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
  /**
   * Where one sequence runs over all that a socket brings: when the last frame came that followed in
   * it, so that nothing of any symbol was missing; microseconds since 1970, 0: none did yet. Absent:
   * what comes of one symbol says nothing of another.
   */
  readonly provenUs?: number
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
  /**
   * One exchange message, to be applied whole before anything is published. With `changes.check`
   * the book must hold against it afterwards, or it is lost: the feed asks for a resync.
   */
  delta(index: number, changes: LevelChanges): void
  /**
   * The whole book as of the change that was delivered last, with more of it known than before:
   * nothing was lost, no new run begins.
   */
  refreshed(index: number, changes: LevelChanges): void
  /** The book of `index` is not proven any more; a resync will be asked for by the feed. */
  suspect(index: number, reason: InvalidReason, detail: string): void
  /**
   * `weight` is what the exchange counts for the request; 1 when it does not weigh them. `delayMs`:
   * not sooner than this; absent: as soon as may be.
   */
  requestSnapshot(index: number, url: string, weight: number, delayMs?: number): void
  /** The exchange will end this socket soon: the feed opens another one before it does. */
  retire(detail: string): void
  /**
   * Scope `symbol` (with `symbol` set): this one cannot be served, others go on; with code
   * `E_RATE_LIMITED` it is asked for again after `retryAfterMs`, and not called delisted. Scope
   * `connection`: the socket must be replaced.
   */
  fail(error: ObfeedError): void
}

/** What the exchange serves of `wanted` levels a side, 0 = full. */
export function depthOf(adapter: Adapter, wanted: number): BookDepth {
  return adapter.depth?.(wanted) ?? { view: wanted, kept: Infinity }
}
