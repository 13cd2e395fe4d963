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
import { isBehind, isNumbered, type MutablePosition } from './position.ts'
import { isSameBook } from './same-book.ts'
import type { SymbolStream } from './stream.ts'

/** A fresh subscription is in effect by then, so that what it starts with follows on. */
const SETTLE_MS = 1000
/** A book of the next socket that is behind for this long has missed something: it is asked for again. */
const CATCH_UP_MS = 10_000
/** Not sooner than this after it was asked for again. */
const AGAIN_MS = 5000
/** A book of which nothing was told for this long stands still. */
const STANDS_STILL_MS = 5000
/** Without sequence and time the books of the next socket count after so long, whatever they hold. */
const TELLS_NOTHING_MS = 20_000
/** A book of the next socket that was level with the old one's in this time follows it closely. */
const LEVEL_WITHIN_MS = 2000
/** One that the exchange refuses on the next socket is waited for this long, and then goes without. */
const REFUSED_MS = 10_000
/** Without success for this long the old socket goes on, as long as the exchange lets it. */
const HANDOVER_WITHIN_MS = 60_000
/** A book that is not level in all this time begins anew: the others are on the next socket. */
const TAKE_WITHIN_MS = 10_000

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
 * Where books come in band, the next socket has to show that it keeps up: every book of it was
 * level with the old one's a moment ago. Then each symbol changes over in a moment in which it is
 * level, so that no book ever goes back. Where books come by REST, the session goes on from the old
 * one's sequence, symbol by symbol.
 */
export class Handover implements ConnectionOwner {
  /** By symbol: 1 = the next socket carries it. */
  readonly carries: Uint8Array
  session: Session | undefined
  output: GroupOutput | undefined
  readonly #context: HandoverContext
  readonly #startedMs: number
  /** Two sockets tell the same sequence of a symbol. */
  readonly #bySymbol: boolean
  readonly #rehearsed: (Rehearsed | undefined)[]
  /** Books of the next socket to ask for again; not from inside its own call. */
  readonly #again = new Set<number>()
  /** When that was done last. */
  readonly #askedMs: Float64Array
  /** When the book was level with the old socket's last. */
  readonly #levelMs: Float64Array
  /** What was published of each symbol when it was looked at last, and since when it is that. */
  readonly #updates: Float64Array
  readonly #stillMs: Float64Array
  /** Since when whatever is level changes over: the next socket keeps up. Infinity: it does not yet. */
  #takingMs = Infinity
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
    this.#levelMs = new Float64Array(context.symbols.length).fill(-Infinity)
    this.#updates = new Float64Array(context.symbols.length).fill(-1)
    this.#stillMs = new Float64Array(context.symbols.length)
    this.#startedMs = context.environment.monotonicMs()
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
    this.#levelMs.fill(-Infinity)
    this.#takingMs = Infinity
    this.#refused.clear()
    const carried = [...this.carries.keys()].filter((index) => this.carries[index] === 1)
    this.carries.fill(0)
    this.#context.lost(output, carried)
  }

  /** The exchange asks for a new socket of the next one's already. */
  retiring(detail: string): void {
    if (this.carries.includes(1)) this.connection.retireIn(AGAIN_MS)
    else this.connection.reopen('lifetime', detail)
  }

  /** It should have ended by now. */
  isOverdue(nowMs: number): boolean {
    return this.#isTaking
      ? nowMs - this.#takingMs > TAKE_WITHIN_MS
      : nowMs - this.#startedMs > HANDOVER_WITHIN_MS
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
    this.#advanced(index)
  }

  delta(index: number, changes: LevelChanges): void {
    const book = this.#rehearsed[index]?.book
    if (book === undefined) return
    this.#advance(index, changes, () => book.apply(changes))
    this.#advanced(index)
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

  get #isTaking(): boolean {
    return this.#takingMs !== Infinity
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
      if (!this.#isTaking && this.#isReady(nowMs)) this.#takingMs = nowMs
      if (!this.#isTaking) return false
      for (let index = 0; index < this.carries.length; index++) {
        if (this.carries[index] === 0 && this.#isDue(index, nowMs)) this.#take(index)
      }
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
    else if (rehearsed === undefined || !this.#mayFollow(rehearsed, index)) {
      this.#context.resync(index)
    } else this.#context.adopt(index, this.#dump(rehearsed))
  }

  #mayFollow(rehearsed: Rehearsed, index: number): boolean {
    return this.#hasCaughtUp(rehearsed, index, this.#context.environment.monotonicMs())
  }

  /** Every book that is live on the old socket is here, and follows it closely. */
  #isReady(nowMs: number): boolean {
    return this.#context.streams.every((_stream, index) => {
      if (this.#isDue(index, nowMs)) return true
      const rehearsed = this.#rehearsed[index]
      if (rehearsed === undefined) return false
      if (nowMs - this.#levelMs[index] <= LEVEL_WITHIN_MS) return true
      const seenMs = Math.max(rehearsed.sinceMs, this.#levelMs[index])
      if (nowMs - seenMs > CATCH_UP_MS) this.suspect(index)
      return false
    })
  }

  /** The symbol loses nothing by changing over now. */
  #isDue(index: number, nowMs: number): boolean {
    if (this.#context.streams[index].state !== 'live') return true
    if (this.#rehearsed[index] === undefined) return this.#isGivenUp(index, nowMs)
    return this.#isLevel(index, nowMs)
  }

  /** The exchange refused it, and the old socket has had time to hear of that as well. */
  #isGivenUp(index: number, nowMs: number): boolean {
    return this.#refused.has(index) && nowMs - this.#openedMs > REFUSED_MS
  }

  #isLevel(index: number, nowMs: number): boolean {
    const rehearsed = this.#rehearsed[index]
    if (rehearsed === undefined) return false
    if (!this.#hasCaughtUp(rehearsed, index, nowMs)) return false
    this.#levelMs[index] = nowMs
    return true
  }

  /** It has come as far as consumers have, as well as the exchange lets us know. */
  #hasCaughtUp(rehearsed: Rehearsed, index: number, nowMs: number): boolean {
    const stream = this.#context.streams[index]
    const { reached } = stream
    const isOlder = isBehind(rehearsed, reached, this.#bySymbol)
    if (this.#bySymbol && isNumbered(rehearsed) && isNumbered(reached)) return !isOlder
    const hasTime = reached.timestampMs >= 0
    if (!isOlder && hasTime && rehearsed.timestampMs > reached.timestampMs) return true
    // Of the same millisecond, or there are no times. Or the old socket was asked again for a book
    // that stands still, which so has the later time.
    const quietMs = nowMs - Math.max(this.#movedMs(index, nowMs), rehearsed.sinceMs)
    const canTell = isOlder ? quietMs > STANDS_STILL_MS : !hasTime || rehearsed.timestampMs >= 0
    if (canTell && isSameBook(rehearsed.book, stream.book)) return true
    if (isOlder) return false
    // Where the old socket has told nothing for long, there is nothing that it could lack. And where
    // nothing tells, a book that is wrong would never be replaced by one that is right.
    return quietMs > CATCH_UP_MS || nowMs - this.#openedMs > TELLS_NOTHING_MS && !hasTime
  }

  /** Since when what is published of the symbol stands still, as far as was looked. */
  #movedMs(index: number, nowMs: number): number {
    const { updates } = this.#context.streams[index].stats
    if (updates !== this.#updates[index]) {
      this.#updates[index] = updates
      this.#stillMs[index] = nowMs
    }
    return this.#stillMs[index]
  }

  /** Between two ticks a busy book is level now and then, and at a tick perhaps never. */
  #advanced(index: number): void {
    const nowMs = this.#context.environment.monotonicMs()
    if (this.#isLevel(index, nowMs) && this.#isTaking) this.#take(index)
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
