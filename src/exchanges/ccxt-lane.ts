/**
 * One ccxt exchange object and the symbols it watches. It is hooked below `watchOrderBook`: whatever
 * one message does to a book becomes one frame, and nothing passes through ccxt's own loop, which
 * merges. Each symbol is watched once and never again: after a loss a new lane takes over.
 */
import { FollowedBook, SaidSide } from './ccxt-book.ts'
import type { CcxtBook, CcxtExchange, CcxtSnapshot, CcxtSocket } from './ccxt-client.ts'
import { isLimit, kindOf, names, searched } from './ccxt-errors.ts'
import type { CcxtFrame, LossKind } from './ccxt-session.ts'
import type { CcxtClass } from './ccxt-classes.ts'
import { type CcxtPosition, isBehind, positionOf, UNKNOWN } from './ccxt-position.ts'
import { repair } from './ccxt-repairs.ts'
import { foreignError } from '../core/foreign-text.ts'
import type { Instrument } from '../core/instrument.ts'

/** Symbols in one subscription; the strictest exchange takes ten topics a message. */
const BATCH = 10
/** The next subscription waits for the first data of the one before, but not longer. */
const START_GAP_MS = 500
/** Changes that wait for a snapshot which does not come. */
const CACHE_MAX = 20_000
/**
 * For exchanges with snapshots by REST. By itself ccxt waits for up to 25 changes before it asks for
 * one, which a quiet market takes minutes for, and gives up after three that are too old.
 */
const REST_SYNC = { snapshotDelay: 0, snapshotMaxRetries: 8 }

/** As for native sockets: see `CONNECTION_TIMINGS` in feed/connection.ts. */
const SILENCE_MS = 8000
const PONG_WITHIN_MS = 5000
/** `WebSocket.OPEN`. */
const OPEN = 1

const WAITING = 0
const LIVE = 1
const LOST = 2

/** A symbol of a lane. */
export interface Place {
  /** Position in the instruments of the socket. */
  readonly index: number
  readonly instrument: Instrument
  /** How often its book was asked for; the session ignores what an earlier lane says. */
  readonly generation: number
}

class Watched {
  state = WAITING
  book: FollowedBook | undefined
  /** ccxt has the book in its list. */
  isRegistered = false
  readonly bids: SaidSide = new SaidSide(true)
  readonly asks: SaidSide = new SaidSide(false)
  readonly place: Place
  /** Of what was said last. */
  position: CcxtPosition = UNKNOWN

  constructor(place: Place) {
    this.place = place
  }
}

/** What a lane tells its socket. */
export interface LaneOwner {
  readonly isPaused: boolean
  emit(frame: CcxtFrame): void
  /** The lane's book is ready to take over from the one it `succeeds`: that one is to be silent now. */
  joins(lane: Lane, place: Place): void
  /** Something came from the exchange. */
  alive(): void
  /** The whole lane is of no use any more. */
  ended(lane: Lane, kind: 'closed' | 'limited', message: string): void
  /** A message that subscribed these at once was refused; which of them is to blame is not known. */
  split(places: readonly Place[]): void
}

export interface LaneOptions {
  readonly row: CcxtClass
  readonly exchange: CcxtExchange
  readonly places: readonly Place[]
  /** Levels a side that are asked for; undefined: what ccxt asks for. */
  readonly limit: number | undefined
  /** Subscribe several symbols at once where the exchange can. */
  readonly batches: boolean
  /**
   * The lane is to take over from another one, when its book is not behind what this says of that
   * one's. Undefined: it begins.
   */
  readonly succeeds?: () => CcxtPosition | undefined
  redirectSocket(url: string): string
  redirectRest(url: string): string
}

export class Lane {
  isDead = false
  readonly #owner: LaneOwner
  readonly #options: LaneOptions
  readonly #exchange: CcxtExchange
  readonly #watched: Map<string, Watched> = new Map()
  readonly #books: WeakMap<CcxtBook, FollowedBook> = new WeakMap()
  /** Books that were only handed to `resolve`, by symbol: one exchange registers none. */
  readonly #resolved: Map<string, CcxtBook> = new Map()
  /** When each socket was heard of last, monotonic ms. */
  readonly #sockets: Map<CcxtSocket, number> = new Map()
  #nested = 0
  /** An error is being handed to all promises of a socket. */
  #isForAll = false
  #message: unknown
  #isLookDue = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #starting: readonly Watched[] = []
  #next: (() => void) | undefined

  constructor(owner: LaneOwner, options: LaneOptions) {
    this.#owner = owner
    this.#options = options
    this.#exchange = options.exchange
    repair(options.exchange)
    const { options: settings } = options.exchange
    settings['watchOrderBook'] = { ...settings['watchOrderBook'] as object, ...REST_SYNC }
    for (const place of options.places) {
      this.#watched.set(place.instrument.symbol, new Watched(place))
    }
    this.#hook()
  }

  /** What it serves, or is about to. */
  get places(): Place[] {
    return [...this.#watched.values()].filter(({ state }) => state !== LOST)
      .map(({ place }) => place)
  }

  /** Subscribes all, one message after the other. */
  start(): void {
    const size = this.#options.batches ? BATCH : 1
    const watched = [...this.#watched.values()]
    const groups: Watched[][] = []
    for (let i = 0; i < watched.length; i += size) groups.push(watched.slice(i, i + size))
    this.#startGroup(groups, 0)
  }

  /** How far the live book of a symbol has come; undefined: this lane has none. */
  positionOf(index: number): CcxtPosition | undefined {
    for (const { place, state, position } of this.#watched.values()) {
      if (place.index === index && state === LIVE) return position
    }
    return undefined
  }

  /** Another lane takes the symbol over. True: none is left. */
  mute(index: number): boolean {
    let left = 0
    for (const watched of this.#watched.values()) {
      if (watched.place.index === index) this.#retire(watched)
      if (watched.state !== LOST) left++
    }
    return left === 0
  }

  /** Says everything that changed while the socket was paused. */
  resume(): void {
    this.#review(true)
  }

  /** Ends all sockets, timers and promises of ccxt; nothing is said any more. */
  dispose(): void {
    if (this.isDead) return
    this.isDead = true
    clearTimeout(this.#timer)
    for (const socket of this.#sockets.keys()) {
      socket.clearPingInterval()
      socket.clearConnectionTimeout()
      hush(socket)
    }
    this.#exchange.close().catch(ignore)
    // A socket that ccxt has dropped from its list is not closed by it, and none waits for its peer.
    for (const { connection } of this.#sockets.keys()) {
      if (connection?.terminate !== undefined) connection.terminate()
      else connection?.close()
    }
  }

  #startGroup(groups: readonly Watched[][], position: number): void {
    clearTimeout(this.#timer)
    this.#next = undefined
    const group = groups[position]
    if (this.isDead || group === undefined) {
      this.#starting = []
      return
    }
    this.#starting = group
    const next = () => this.#startGroup(groups, position + 1)
    const symbols = group.filter(({ state }) => state !== LOST)
      .map(({ place }) => place.instrument.symbol)
    if (symbols.length === 0) return next()
    this.#next = next
    this.#timer = setTimeout(next, START_GAP_MS)
    this.#watch(symbols)
  }

  #watch(symbols: readonly string[]): void {
    const exchange = this.#exchange
    const { limit, row } = this.#options
    // A copy: ccxt adds to it.
    const params = { ...row.params }
    const group = this.#starting
    const fail = (error: unknown) => this.#failed(error, undefined, group)
    try {
      const promise = symbols.length === 1
        ? exchange.watchOrderBook(symbols[0]!, limit, params)
        : exchange.watchOrderBookForSymbols(symbols, limit, params)
      promise.then(ignore, fail)
    } catch (error) {
      fail(error)
    }
  }

  // -- the hooks

  #hook(): void {
    const exchange = this.#exchange
    const { row, limit, redirectRest } = this.#options
    const truncated = row.truncates === true ? limit : undefined
    for (const kind of ['orderBook', 'indexedOrderBook', 'countedOrderBook'] as const) {
      const make = exchange[kind]
      exchange[kind] = (snapshot: CcxtSnapshot = {}, depth?: number): CcxtBook => {
        // What is cut off is decided here: ccxt cuts where the exchange goes on telling.
        const book = make.call(exchange, snapshot, Number.MAX_SAFE_INTEGER)
        const filled = snapshot.bids !== undefined || snapshot.asks !== undefined
        const kept = truncated ?? depth ?? Infinity
        const levels = kept > 0 && kept < Number.MAX_SAFE_INTEGER ? kept : Infinity
        this.#books.set(book, new FollowedBook(book, filled, levels, this.#touched))
        return book
      }
    }
    const handle = exchange.handleMessage
    exchange.handleMessage = (socket, message) => this.#received(handle, socket, message)
    const client = exchange.client
    exchange.client = (url) => {
      if (this.isDead) throw new Error('this connection is closed')
      const socket = client.call(exchange, url)
      if (!this.#sockets.has(socket)) this.#hookSocket(socket)
      return socket
    }
    const onError = exchange.onError
    exchange.onError = (socket, error) => {
      onError.call(exchange, socket, error)
      this.#disconnected(foreignError(error))
    }
    const onClose = exchange.onClose
    exchange.onClose = (socket, event) => {
      onClose.call(exchange, socket, event)
      this.#disconnected('closed by the exchange')
    }
    const spawn = exchange.spawn
    exchange.spawn = (method, ...values) => {
      // Told of only after an answer from the exchange; the book is wrong from here on.
      const { handleCheckSumError, loadOrderBook } = exchange as {
        readonly handleCheckSumError?: unknown
        readonly loadOrderBook?: unknown
      }
      if (method !== undefined && method === handleCheckSumError) {
        this.#lose(this.#watched.get(String(values[1])), 'checksum', 'the checksum does not match')
      }
      // Changes of a lost book go on to come, and each would have its snapshot asked for again.
      if (method !== undefined && method === loadOrderBook) {
        if (this.#watched.get(String(values[2]))?.state === LOST) return Promise.resolve()
      }
      return spawn.call(exchange, method, ...values)
    }
    const fetch = exchange.fetch
    exchange.fetch = (url, ...values) => {
      if (this.isDead) return Promise.reject(new Error('this connection is closed'))
      return fetch.call(exchange, redirectRest(url), ...values)
    }
    exchange.log = ignore
  }

  #hookSocket(socket: CcxtSocket): void {
    this.#sockets.set(socket, performance.now())
    const { redirectSocket } = this.#options
    const connect = socket.createConnection
    socket.createConnection = () => {
      if (this.isDead) return
      const { url } = socket
      // Only for the dialling: ccxt finds its sockets by the exchange's own address.
      try {
        socket.url = redirectSocket(url)
        connect.call(socket)
      } finally {
        socket.url = url
      }
    }
    const send = socket.send
    socket.send = (message) => {
      const sent = send.call(socket, message)
      // Not everyone who sends waits for it.
      sent.catch((error) => this.#disconnected(foreignError(error)))
      return sent
    }
    const resolve = socket.resolve
    socket.resolve = (result, hash) => {
      if (!this.isDead) this.#noteResolved(result, hash)
      return resolve.call(socket, result, hash)
    }
    const reject = socket.reject
    socket.reject = (error, hash) => {
      hush(socket)
      // Without a hash it goes on to this one with the hash of each promise: that blames nobody.
      const isOne = !this.#isForAll
      this.#isForAll ||= hash === undefined
      const result = reject.call(socket, error, hash)
      if (isOne) {
        this.#isForAll = false
        this.#failed(error, hash)
      }
      return result
    }
    const reset = socket.reset
    socket.reset = (error) => {
      this.#isForAll = true
      hush(socket)
      reset.call(socket, error)
      this.#isForAll = false
      this.#disconnected(foreignError(error))
    }
    const pong = socket.onPong
    socket.onPong = () => {
      pong.call(socket)
      this.#heard(socket)
    }
    socket.log = (...values) => {
      if (values.includes('onMessage JSON.parse')) this.#disconnected('a frame that is not JSON')
    }
  }

  #received(
    handle: CcxtExchange['handleMessage'],
    socket: CcxtSocket,
    message: unknown,
  ): unknown {
    if (this.isDead) return undefined
    if (this.#nested === 0) {
      if (this.#isLookDue) this.#review(false)
      this.#message = message
    }
    this.#nested++
    let result: unknown
    try {
      result = handle.call(this.#exchange, socket, message)
      if (result instanceof Promise) result.catch((error) => this.#failed(error))
    } catch (error) {
      this.#failed(error)
    }
    this.#nested--
    if (this.#nested === 0) {
      if (!this.isDead) this.#review(true)
      this.#message = undefined
      this.#heard(socket)
    }
    return result
  }

  #heard(socket: CcxtSocket): void {
    if (this.isDead) return
    if (this.#sockets.has(socket)) this.#sockets.set(socket, performance.now())
    this.#owner.alive()
  }

  /**
   * Pings what was silent for long, and gives up what does not answer: ccxt itself takes a minute for
   * that and more. Call once a second; `lateMs`: nobody listened for so long.
   */
  look(nowMs: number, lateMs: number): void {
    for (const [socket, heardMs] of this.#sockets) {
      const { connection } = socket
      // One that is not open yet has a time limit of its own.
      const isAsked = connection?.readyState === OPEN && connection.ping !== undefined
      const silentMs = isAsked ? nowMs - heardMs - lateMs : 0
      if (!isAsked || lateMs > 0) this.#sockets.set(socket, nowMs - silentMs)
      if (silentMs > SILENCE_MS + PONG_WITHIN_MS) {
        const seconds = Math.round(silentMs / 1000)
        return this.#disconnected(`nothing for ${seconds} s, and no answer to a ping`)
      }
      if (silentMs > SILENCE_MS) connection!.ping!()
    }
  }

  readonly #touched = (): void => {
    if (this.#nested > 0 || this.#isLookDue || this.isDead) return
    // From a promise: an answer by REST is being put in, all of it before the next turn.
    this.#isLookDue = true
    queueMicrotask(() => {
      if (this.#isLookDue && !this.isDead) this.#review(false)
    })
  }

  #noteResolved(result: unknown, hash: string | undefined): void {
    if (typeof result !== 'object' || result === null) return
    const book = result as CcxtBook
    if (!this.#books.has(book)) return
    const named = this.#watched.get(String(book.symbol)) ?? this.#named(hash)[0]
    if (named !== undefined) this.#resolved.set(named.place.instrument.symbol, book)
  }

  // -- what became of the books

  /** `inBand`: within a message of the exchange, not from an answer by REST. */
  #review(inBand: boolean): void {
    this.#isLookDue = false
    const { orderbooks } = this.#exchange
    for (const [symbol, watched] of this.#watched) {
      const registered = orderbooks[symbol]
      if (watched.state === LOST) {
        if (registered !== undefined && registered.cache.length > 0) registered.cache.length = 0
        continue
      }
      const book = registered ?? this.#resolved.get(symbol)
      const followed = book === undefined ? undefined : this.#books.get(book)
      if (followed === undefined) {
        if (watched.isRegistered) this.#lose(watched, 'gap', 'ccxt dropped the book')
        continue
      }
      watched.isRegistered = registered !== undefined
      if (followed !== watched.book) {
        watched.book = followed
        followed.isTouched = true
        followed.isWhole = true
      }
      if (!inBand && followed.isTouched) followed.isByRest = true
      if (watched.state === WAITING && followed.book.cache.length > CACHE_MAX) {
        this.#lose(watched, 'gap', `no snapshot within ${CACHE_MAX} changes`)
      } else if (followed.isTouched && !this.#owner.isPaused) {
        this.#say(watched, followed)
      }
    }
    this.#resolved.clear()
  }

  #say(watched: Watched, followed: FollowedBook): void {
    const isLive = watched.state === LIVE
    const stores = this.#options.row.stores === true || followed.isCleared
    if (followed.isWhole && !followed.isFilled && (followed.isEmpty || !stores)) {
      // Made anew or cleared, to be filled later.
      if (isLive) this.#lose(watched, 'gap', 'ccxt began the book anew')
      return
    }
    const position = positionOf(followed.book)
    const live = isLive ? undefined : this.#options.succeeds?.()
    if (live !== undefined && isBehind(position, live)) return
    // With a snapshot by REST the exchange tells of the whole book from then on.
    if (!isLive && followed.isByRest) followed.depth = Infinity
    followed.truncate()
    if (!isLive) {
      watched.bids.clear()
      watched.asks.clear()
    }
    const isWhole = followed.isWhole || !isLive
    const b = watched.bids.update(followed.bids, isWhole)
    const a = watched.asks.update(followed.asks, isWhole)
    followed.seen()
    const { index, generation } = watched.place
    if (b === undefined || a === undefined) {
      this.#lose(watched, 'gap', 'ccxt put a level into the book that has no price or size')
      return
    }
    watched.position = position
    const { nonce: n, timestampMs: ts } = position
    const frame = { i: index, g: generation, n, ts, b, a }
    if (isLive) {
      this.#owner.emit({ t: 'delta', ...frame })
      return
    }
    watched.state = LIVE
    const h = followed.isByRest || this.#options.row.finite === true ? 1 : 0
    if (this.#options.succeeds === undefined) this.#owner.emit({ t: 'snapshot', h, ...frame })
    else {
      this.#owner.joins(this, watched.place)
      this.#owner.emit({ t: 'refreshed', h, ...frame })
    }
    if (!this.isDead && this.#starting.includes(watched)) this.#next?.()
  }

  // -- what went wrong

  #disconnected(message: string): void {
    if (!this.isDead) this.#owner.ended(this, 'closed', message)
  }

  /**
   * Finds out which symbols an error is about: those that its promise, its text or the message
   * before it names, else those that are being subscribed. Nobody: the whole lane.
   */
  #failed(error: unknown, hash?: string, asked?: readonly Watched[]): void {
    if (this.isDead) return
    const group = asked ?? this.#pending()
    const name = error instanceof Error ? error.name : ''
    const text = foreignError(error)
    if (isLimit(name, text)) {
      this.#owner.ended(this, 'limited', text)
      return
    }
    let found = this.#named(hash)
    if (found.length === 0) found = this.#named(text)
    if (found.length === 0) found = this.#named(searched(this.#message))
    const waiting = group.filter(({ state }) => state === WAITING)
    const isNobodys = found.length === 0 && waiting.length === 0
    // Of symbols that were told of one by one, the promise comes last and is nobody's.
    if (isNobodys && !group.some(({ state }) => state === LOST)) {
      this.#disconnected(text)
      return
    }
    const kind = kindOf(name, text)
    if (found.length === 0 && asked === undefined && (kind === 'gap' || kind === 'checksum')) {
      // No refusal: what could not be taken in may have been a change of any live book.
      for (const watched of this.#watched.values()) {
        if (watched.state === LIVE) this.#lose(watched, kind, text)
      }
    }
    if (isNobodys) return
    const isBatch = this.#options.batches && group.length > 1
    if (found.length === 0 && !isBatch) found = waiting
    for (const watched of found) this.#lose(watched, kind, text)
    if (this.isDead || !isBatch || group.some(({ state }) => state === LIVE)) return
    // The message that was refused had asked for the others as well.
    const rest = group.filter(({ state }) => state === WAITING)
    if (rest.length === 0) return
    for (const watched of rest) this.#retire(watched)
    this.#owner.split(rest.map(({ place }) => place))
    this.#next?.()
  }

  /** The symbols that an error without a name is most likely about. */
  #pending(): readonly Watched[] {
    if (this.#starting.length > 0) return this.#starting
    return [...this.#watched.values()].filter(({ state }) => state === WAITING)
  }

  /** The symbols that a text names, by either of their names. */
  #named(text: string | undefined): Watched[] {
    if (text === undefined || text === '') return []
    const upper = text.toUpperCase()
    return [...this.#watched.values()].filter(({ place: { instrument } }) =>
      names(upper, instrument.symbol) || names(upper, instrument.wireSymbol)
    )
  }

  #lose(watched: Watched | undefined, kind: LossKind, message: string): void {
    if (watched === undefined || watched.state === LOST || this.isDead) return
    this.#retire(watched)
    const { index, generation } = watched.place
    this.#owner.emit({ t: 'lost', i: index, g: generation, r: kind, m: message })
    if (!this.isDead && this.#starting.includes(watched)) this.#next?.()
  }

  #retire(watched: Watched): void {
    watched.state = LOST
    watched.book?.ignore()
    watched.bids.clear()
    watched.asks.clear()
  }
}

function ignore(): void {}

/** Promises of ccxt that nobody may be waiting for. */
function hush(socket: CcxtSocket): void {
  for (const future of Object.values(socket.futures)) future.catch(ignore)
}
