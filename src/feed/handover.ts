/** The planned replacement of a socket: the next one is live before the old one ends. */
import { Book } from '../core/book.ts'
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import type { Environment } from '../core/environment.ts'
import { ObfeedError } from '../core/errors.ts'
import type { PlannedSymbol } from '../core/instrument.ts'
import { isRegularPrice } from '../core/wide.ts'
import type { Adapter, BookDepth, Session } from '../exchanges/adapter.ts'
import type { Connection, ConnectionOwner } from './connection.ts'
import type { GroupOutput } from './group-output.ts'
import { isBehind, type MutablePosition } from './position.ts'
import type { SymbolStream } from './stream.ts'

/** A fresh subscription is in effect by then, so that what it starts with follows on. */
const SETTLE_MS = 1000
/** A book of the next socket that is behind for this long has missed something: it is asked for again. */
const CATCH_UP_MS = 10_000
/** Not sooner than this after it was asked for again. */
const AGAIN_MS = 5000
/** One that the exchange refuses on the next socket is waited for this long, and then goes without. */
const REFUSED_MS = 10_000
/** Without success for this long the old socket goes on, as long as the exchange lets it. */
export const HANDOVER_WITHIN_MS = 60_000

export interface HandoverContext {
  readonly adapter: Adapter
  readonly environment: Environment
  readonly symbols: readonly PlannedSymbol[]
  readonly streams: readonly SymbolStream[]
  readonly depth: BookDepth
  /** The next socket is open: its session, and the output through which that one speaks. */
  open(): { readonly session: Session; readonly output: GroupOutput }
  /** The next socket's book of a symbol takes the place of the old one's. */
  adopt(index: number, book: LevelChanges): void
  /** The next socket carries the symbol from now on, and has to ask for its book. */
  resync(index: number): void
  /** The next socket carries the symbol from now on, but the exchange refused it there. */
  reject(index: number, message: string): void
  /** The next socket is gone with all that it carried; undefined: it was never open. */
  lost(output: GroupOutput | undefined, carried: readonly number[]): void
}

/** A book of the next socket that nobody sees yet. */
interface Rehearsed extends MutablePosition {
  readonly book: Book
  readonly sinceMs: number
  receivedUs: number
}

/**
 * Where books come in band, all symbols change over in one moment: when every book of the next
 * socket has come as far as the old one's. Where they come by REST, the session goes on from the old
 * one's sequence, symbol by symbol.
 */
export class Handover implements ConnectionOwner {
  /** By symbol: 1 = the next socket carries it. */
  readonly carries: Uint8Array
  readonly startedMs: number
  session: Session | undefined
  output: GroupOutput | undefined
  readonly #context: HandoverContext
  /** Two sockets tell the same sequence of a symbol. */
  readonly #bySymbol: boolean
  readonly #rehearsed: (Rehearsed | undefined)[]
  /** Books of the next socket to ask for again; not from inside its own call. */
  readonly #again = new Set<number>()
  /** When that was done last. */
  readonly #askedMs: Float64Array
  /** What the exchange said of symbols that it does not serve on the next socket. */
  readonly #refused = new Map<number, string>()
  readonly #changes = new LevelChanges()
  #connection: Connection | undefined
  #openedMs = 0

  constructor(context: HandoverContext) {
    this.#context = context
    this.#bySymbol = context.adapter.protocol.lossScope === 'symbol'
    this.carries = new Uint8Array(context.symbols.length)
    this.#rehearsed = context.symbols.map(() => undefined)
    this.#askedMs = new Float64Array(context.symbols.length).fill(-Infinity)
    this.startedMs = context.environment.monotonicMs()
  }

  /** Call once, before the connection is started. */
  attach(connection: Connection): void {
    this.#connection = connection
  }

  get connection(): Connection {
    if (this.#connection === undefined) throw new Error('a handover without its connection')
    return this.#connection
  }

  opened(): Session {
    const { session, output } = this.#context.open()
    this.session = session
    this.output = output
    output.joining = this
    this.#openedMs = this.#context.environment.monotonicMs()
    return session
  }

  lost(): void {
    const { output } = this
    this.session = undefined
    this.output = undefined
    output?.cut()
    this.#rehearsed.fill(undefined)
    this.#again.clear()
    this.#askedMs.fill(-Infinity)
    this.#refused.clear()
    const carried = [...this.carries.keys()].filter((index) => this.carries[index] === 1)
    this.carries.fill(0)
    this.#context.lost(output, carried)
  }

  /** The exchange asks for a new socket of the next one's already. */
  retiring(detail: string): void {
    this.connection.reopen('lifetime', detail)
  }

  // ---- from the next socket's session, of symbols that it does not carry yet ----

  snapshot(index: number, changes: LevelChanges): void {
    const { symbols, depth, environment } = this.#context
    const { priceDecimals, sizeDecimals } = symbols[index]
    // The view is of no interest here, only the whole book.
    const book = new Book(priceDecimals, sizeDecimals, 1, depth.kept)
    this.#again.delete(index)
    this.#rehearsed[index] = {
      book,
      sinceMs: environment.monotonicMs(),
      nonce: -1,
      nonceText: undefined,
      timestampMs: -1,
      receivedUs: 0,
    }
    this.#advance(index, changes, () => book.load(changes))
  }

  delta(index: number, changes: LevelChanges): void {
    const book = this.#rehearsed[index]?.book
    if (book !== undefined) this.#advance(index, changes, () => book.apply(changes))
  }

  suspect(index: number): void {
    this.#rehearsed[index] = undefined
    this.#again.add(index)
  }

  /** Not about a symbol that the next socket carries already. */
  isItsOwn(error: ObfeedError): boolean {
    return error.scope !== 'symbol' || this.carries[this.#indexOf(error)] !== 1
  }

  fail(error: ObfeedError): void {
    if (error.scope !== 'symbol') {
      this.connection.reopen('failed', error.message, error.retryAfterMs ?? 0)
      return
    }
    const index = this.#indexOf(error)
    if (index < 0) return
    // Also with a book that has come by now: nothing more will be told of it.
    this.#rehearsed[index] = undefined
    this.#refused.set(index, error.message)
  }

  /** Call several times per second. True: the next socket carries everything. */
  tick(nowMs: number): boolean {
    const { session } = this
    if (session === undefined || nowMs - this.#openedMs < SETTLE_MS) return false
    if (session.splice === undefined) {
      for (const index of this.#again) {
        if (nowMs - this.#askedMs[index] < AGAIN_MS) continue
        this.#askedMs[index] = nowMs
        this.#again.delete(index)
        session.resync(index)
      }
      if (!this.#isReady(nowMs)) return false
      this.takeAll()
    } else {
      const { streams } = this.#context
      for (let index = 0; index < streams.length; index++) {
        if (this.carries[index] === 1) continue
        if (streams[index].state !== 'live' || this.#isGivenUp(index, nowMs)) this.#take(index)
        else {
          // Before the call: what follows on is delivered from within it.
          this.carries[index] = 1
          if (!session.splice(index, streams[index].nonce)) this.carries[index] = 0
        }
      }
    }
    return !this.carries.includes(0)
  }

  /** The next socket carries everything from now on, ready or not. */
  takeAll(): void {
    for (let index = 0; index < this.carries.length; index++) {
      if (this.carries[index] === 0) this.#take(index)
    }
  }

  #take(index: number): void {
    this.carries[index] = 1
    const rehearsed = this.#rehearsed[index]
    this.#rehearsed[index] = undefined
    const refusal = this.#refused.get(index)
    if (rehearsed === undefined && refusal !== undefined) this.#context.reject(index, refusal)
    else if (
      rehearsed === undefined || !this.#hasCaughtUp(rehearsed, this.#context.streams[index])
    ) {
      this.#context.resync(index)
    } else this.#context.adopt(index, this.#dump(rehearsed))
  }

  /** Every book that is live on the old socket is here, and no older. */
  #isReady(nowMs: number): boolean {
    return this.#context.streams.every((stream, index) => {
      if (stream.state !== 'live') return true
      const rehearsed = this.#rehearsed[index]
      if (rehearsed === undefined) return this.#isGivenUp(index, nowMs)
      if (this.#hasCaughtUp(rehearsed, stream)) return true
      if (nowMs - rehearsed.sinceMs > CATCH_UP_MS) this.suspect(index)
      return false
    })
  }

  /** The exchange refused it, and the old socket has had time to hear of that as well. */
  #isGivenUp(index: number, nowMs: number): boolean {
    return this.#refused.has(index) && nowMs - this.#openedMs > REFUSED_MS
  }

  /** It has come as far as consumers have. */
  #hasCaughtUp(rehearsed: Rehearsed, stream: SymbolStream): boolean {
    return !isBehind(rehearsed, stream.reached, this.#bySymbol)
  }

  #advance(index: number, changes: LevelChanges, step: () => void): void {
    const rehearsed = this.#rehearsed[index]!
    try {
      step()
    } catch (error) {
      if (!(error instanceof ObfeedError)) throw error
      this.suspect(index)
      return
    }
    rehearsed.nonce = changes.nonce
    rehearsed.nonceText = changes.nonceText
    rehearsed.timestampMs = changes.timestampMs
    rehearsed.receivedUs = changes.receivedUs
    const holds = changes.check === undefined || changes.check.holds(rehearsed.book)
    if (!holds || rehearsed.book.isCrossed()) this.suspect(index)
  }

  #indexOf(error: ObfeedError): number {
    return this.#context.symbols.findIndex(({ symbol }) => symbol === error.symbol)
  }

  /** The book as one snapshot; valid until the next call. */
  #dump({ book, nonce, nonceText, timestampMs, receivedUs }: Rehearsed): LevelChanges {
    const changes = this.#changes
    changes.reset()
    changes.nonce = nonce
    changes.nonceText = nonceText
    changes.timestampMs = timestampMs
    changes.receivedUs = receivedUs
    const { bids, asks } = book
    if (bids.horizon !== -Infinity) changes.bidHorizon = bids.horizon
    // A key of an ask is its price with the sign turned.
    if (asks.horizon !== -Infinity) changes.askHorizon = -asks.horizon
    for (const which of [BID, ASK]) {
      const side = which === BID ? bids : asks
      const price = new Float64Array(side.count)
      const size = new Float64Array(side.count)
      side.read(0, side.count, price, size)
      for (let level = 0; level < price.length; level++) {
        const i = changes.count++
        if (i === changes.side.length) changes.grow()
        changes.side[i] = which
        changes.price[i] = isRegularPrice(price[level]) ? price[level] : NaN
        changes.size[i] = size[level] < 0 ? NaN : size[level]
        if (Number.isNaN(changes.price[i])) changes.widePrice.set(i, book.priceText(price[level]))
        if (Number.isNaN(changes.size[i])) changes.wideSize.set(i, book.sizeText(size[level]))
      }
    }
    return changes
  }
}
