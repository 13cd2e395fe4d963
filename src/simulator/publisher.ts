/** The book streams of a simulated exchange: what moves, and the frames that tell its listeners. */
import { BookUpdate } from './book-update.ts'
import { Stream } from './connection.ts'
import type { Subscription } from './connection.ts'
import type { ExchangeFaults } from './exchange-faults.ts'
import type { FrameHistory } from './frame-history.ts'
import type { Market } from './market.ts'
import type { ExchangeOptions, ExchangeRules, ExchangeStats } from './rules.ts'
import type { Channel } from './stream.ts'

/** More versions are never merged into one frame: the market's log must still have them all. */
const MERGE_MAX = 256

/** What the publisher works on; the exchange owns it. */
export interface Published {
  readonly markets: readonly Market[]
  readonly history: FrameHistory
  readonly faults: ExchangeFaults
  readonly stats: ExchangeStats
}

/** How the exchange spells what is published; see `ExchangeHabits`. */
export interface Speller {
  bookFrame(update: BookUpdate): Uint8Array
  publishTo(subscription: Subscription, shared: Uint8Array, update: BookUpdate): void
  nonce(subscription: Subscription, version: number): number
  delist(symbol: string, nowMs: number): void
}

/** One frame is made for all listeners of a stream, in which the faults strike one by one. */
export class Publisher {
  readonly #markets: readonly Market[]
  readonly #history: FrameHistory
  readonly #faults: ExchangeFaults
  readonly #stats: ExchangeStats
  readonly #rules: ExchangeRules
  readonly #speller: Speller
  readonly #updates: number
  readonly #pushMs: number
  readonly #mergeMax: number
  /** By product index. */
  readonly #streams: readonly Stream[][]
  readonly #update = new BookUpdate()
  /** Streams with something to send later. */
  #waiting: Stream[] = []

  constructor(
    rules: ExchangeRules,
    options: ExchangeOptions,
    published: Published,
    speller: Speller,
  ) {
    this.#markets = published.markets
    this.#history = published.history
    this.#faults = published.faults
    this.#stats = published.stats
    this.#rules = rules
    this.#speller = speller
    this.#updates = options.updates ?? 2
    this.#pushMs = options.pushMs ?? 0
    this.#mergeMax = Math.max(1, Math.min(MERGE_MAX, options.history ?? MERGE_MAX))
    this.#streams = this.#markets.map(() => [])
  }

  // ---- listeners

  stream(product: number, channel: Channel): Stream {
    const streams = this.#streams[product]!
    let stream = streams.find((one) => one.channel.key === channel.key)
    if (stream === undefined) {
      stream = new Stream(product, this.#markets[product]!, channel)
      streams.push(stream)
    }
    return stream
  }

  /** Updates flow from now on; the snapshot comes from elsewhere. */
  listen(subscription: Subscription, nowMs: number): void {
    this.#bringUp(subscription.stream, nowMs)
    subscription.stream.listeners.push(subscription)
  }

  /** Sends the snapshot, and updates from then on. Gives the number of levels it took. */
  snapshot(subscription: Subscription, nowMs: number): number {
    const { stream, connection } = subscription
    const { market, product } = stream
    this.#bringUp(stream, nowMs)
    const fault = this.#faults.struck('wrong-snapshot', connection.id, product, nowMs)
    const variant = fault?.spec.variant ?? 'stale'
    const isMissing = fault !== undefined && variant === 'missing'
    const update = this.#update
    update.begin(stream, true, nowMs)
    if (stream.view === undefined) update.addBook()
    else stream.view.addAll(update)
    let isWrong = false
    if (fault !== undefined) {
      isWrong = isMissing ? update.omit() : update.cross()
      if (isWrong) {
        this.#faults.declare('wrong-snapshot', variant, connection, product, market.version)
      } else fault.refund()
    }
    const nonce = this.#speller.nonce(subscription, update.version)
    const isToldAtOnce = this.#rules.hasChecksum === true && this.#rules.checksumsFollow !== true
    const isTaint = isMissing && isWrong && !isToldAtOnce
    this.#history.snapshotDelivered(connection.id, product, nonce, isTaint)
    stream.listeners.push(subscription)
    this.#speller.publishTo(subscription, this.#speller.bookFrame(update), update)
    return update.count
  }

  /** A new list each time: a loop over the old one may be under way. */
  unlisten(subscription: Subscription): void {
    const { stream } = subscription
    if (!stream.listeners.includes(subscription)) return
    stream.listeners = stream.listeners.filter((one) => one !== subscription)
  }

  // ---- movement

  /** The market of this product moves on, and those who listen are told. */
  step(product: number, nowMs: number): void {
    this.#move(product)
    const streams = this.#streams[product]!
    for (let i = 0; i < streams.length; i++) {
      const stream = streams[i]!
      if (stream.listeners.length === 0) continue
      if (this.#pushMs === 0) this.#publish(stream, nowMs)
      else this.#holdBack(stream, nowMs + this.#pushMs, nowMs)
    }
  }

  /** It moves on so often, of which those who listen hear with the next `flushDue`. */
  stepUnheard(product: number, times: number, nowMs: number): void {
    for (let i = 0; i < times; i++) this.#move(product)
    for (const stream of this.#streams[product]!) {
      if (stream.listeners.length > 0) this.#holdBack(stream, nowMs, nowMs)
    }
  }

  /** Sends what is held back. */
  flush(nowMs: number): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const stream of waiting) this.#publish(stream, nowMs)
  }

  /** Sends what is held back until now. */
  flushDue(nowMs: number): void {
    if (this.#waiting.length === 0) return
    const due = this.#waiting.filter((stream) => stream.dueMs <= nowMs)
    this.#waiting = this.#waiting.filter((stream) =>
      stream.dueMs > nowMs && stream.dueMs < Infinity
    )
    for (const stream of due) this.#publish(stream, nowMs)
  }

  /** When `flushDue` has something to send. */
  dueMs(): number {
    let due = Infinity
    for (const stream of this.#waiting) due = Math.min(due, stream.dueMs)
    return due
  }

  #move(product: number): void {
    this.#markets[product]!.step(this.#updates)
    this.#stats.versions++
  }

  /** Until `dueMs`, or until it is too much. */
  #holdBack(stream: Stream, dueMs: number, nowMs: number): void {
    if (stream.dueMs === Infinity) {
      stream.dueMs = dueMs
      this.#waiting.push(stream)
    }
    const versions = stream.market.version - stream.sentVersion
    if (stream.view === undefined && versions >= this.#mergeMax) this.#publish(stream, nowMs)
  }

  // ---- frames

  /** Brings a stream to the present before one more listens to it. */
  #bringUp(stream: Stream, nowMs: number): void {
    if (stream.listeners.length === 0) stream.begin()
    else this.#publish(stream, nowMs)
  }

  /** One frame with all that is new, to all listeners. */
  #publish(stream: Stream, nowMs: number): void {
    stream.dueMs = Infinity
    const { market } = stream
    const listeners = stream.listeners
    if (stream.sentVersion === market.version || listeners.length === 0) return
    const update = this.#update
    const speller = this.#speller
    if (!this.#fill(update, stream, nowMs)) return
    stream.sentVersion = market.version
    stream.frames++
    let shared = speller.bookFrame(update)
    for (let i = 0; i < listeners.length; i++) {
      const subscription = listeners[i]!
      if (subscription.connection.closed || subscription.stalled) continue
      if (this.#faults.isArmed) {
        const struck = this.#strike(subscription, update, nowMs)
        if (struck === 'delist') return
        if (struck === 'stall') continue
        if (struck === 'crossed') {
          // The frame of the others is the true one again.
          shared = speller.bookFrame(update)
          continue
        }
      }
      speller.publishTo(subscription, shared, update)
    }
  }

  /** Which fault took the place of the frame of this listener; undefined: none. */
  #strike(
    subscription: Subscription,
    update: BookUpdate,
    nowMs: number,
  ): 'delist' | 'stall' | 'crossed' | undefined {
    const faults = this.#faults
    const { connection, stream } = subscription
    const { market, product } = stream
    if (faults.struck('delist', connection.id, product, nowMs) !== undefined) {
      faults.declare('delist', '', connection, product, market.version)
      this.#speller.delist(market.product.symbol, nowMs)
      return 'delist'
    }
    if (faults.struck('stall', connection.id, product, nowMs) !== undefined) {
      subscription.stalled = true
      faults.declare('stall', 'until subscribed anew', connection, product, market.version)
      return 'stall'
    }
    const fault = faults.struck('crossed', connection.id, product, nowMs)
    if (fault === undefined) return undefined
    const { count } = update
    if (update.cross()) {
      faults.declare('crossed', 'a bid at the best ask', connection, product, market.version)
    } else fault.refund()
    this.#speller.publishTo(subscription, this.#speller.bookFrame(update), update)
    update.count = count
    return 'crossed'
  }

  /** False: nothing to say. */
  #fill(update: BookUpdate, stream: Stream, nowMs: number): boolean {
    const { view, channel } = stream
    update.begin(stream, false, nowMs)
    if (view === undefined) {
      if (this.#rules.sendsEveryChange === true) update.addLog()
      else update.addMerged()
      return true
    }
    view.advance(update)
    if (update.count === 0) {
      const isIdle = update.market.log.changes === update.market.changed
      return isIdle && this.#rules.sendsEmptyFrames === true
    }
    if (channel.whole !== true) return true
    update.begin(stream, true, nowMs)
    update.version = update.market.version
    view.addAll(update)
    return true
  }
}
