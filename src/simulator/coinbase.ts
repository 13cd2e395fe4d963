/** Coinbase Advanced Trade market data as a synchronous state machine: no socket, timer or clock. */
import { ASK, BID } from '../core/changes.ts'
import {
  channelFrame,
  heartbeatEvent,
  newConnection,
  parseClientMessage,
  RateLimit,
} from './coinbase-connection.ts'
import type { Ack, ClientMessage, Connection } from './coinbase-connection.ts'
import { isExchangeFault, Trigger } from './faults.ts'
import type { ExchangeFaultKind, FaultSpec } from './faults.ts'
import { FrameEncoder } from './frames.ts'
import { FrameHistory } from './frame-history.ts'
import { bookDigest, Market } from './market.ts'
import type { BookTruth } from './market.ts'
import { aliasOf, listProducts } from './products.ts'
import type { Product, ProductSpec } from './products.ts'
import { hashText, Random } from './random.ts'

export interface ExchangeOptions {
  /** Names, specifications, or how many products of a realistic list. */
  readonly symbols: number | readonly (string | ProductSpec)[]
  readonly seed?: number
  /** Levels a side; a product with few ticks below its price has fewer bids. 100. */
  readonly levels?: number
  /** Market frames per second over all products, whether somebody listens or not. 100. */
  readonly rate?: number
  /** Changes per frame, on average; they are 1 to 2 updates - 1, now and then none. 2. */
  readonly updates?: number
  /** 0: all products are equally busy; 1: Zipf, the first is the busiest. */
  readonly skew?: number
  /** Versions per product that can be rebuilt at least, and frames remembered. 1024. */
  readonly history?: number
  /** Connections whose frames are remembered. 256. */
  readonly connectionsRemembered?: number
  /** Client rules, both per second and over the whole exchange (as if all came from one IP). */
  readonly connectsPerSecond?: number
  readonly messagesPerSecond?: number
  /** What a client message over the limit costs: an error reply (and no effect), or the socket. */
  readonly overLimit?: 'error' | 'disconnect'
  /** One unknown product: the whole message is refused (default), or it is skipped. */
  readonly unknownProduct?: 'refuse' | 'skip'
  /** Milliseconds from the first data of a subscription to its acknowledgement. 5. */
  readonly ackDelayMs?: number
  /** Levels of snapshots per tick, over all connections; at least one snapshot. 60,000. */
  readonly snapshotLevelsPerTick?: number
  /** After a pause in ticks at most this much of the market is caught up with. 1,000. */
  readonly catchUpMs?: number
  readonly faults?: readonly FaultSpec[]
}

/** Called from within `receive`, `tick` and `advance`; of the exchange it may call `disconnected`. */
export interface ExchangeOutput {
  /** One text frame; the receiver owns the bytes. */
  frame(connection: number, bytes: Uint8Array): void
  /** The exchange ends the connection; it forgets it with this call. */
  close(connection: number, code: number, reason: string): void
  /** False holds the next snapshot of this connection back until a later tick. */
  ready?(connection: number): boolean
}

/** A fault that struck inside the exchange. */
export interface Declared {
  readonly kind: ExchangeFaultKind
  readonly variant: string
  readonly connection: number
  readonly wireSymbol: string
  /** Of the frame that was wrong; for `stall` the first that was not sent. */
  readonly sequence: number
  readonly version: number
}

export interface ConnectionStats {
  readonly id: number
  readonly frames: number
  readonly bytes: number
  readonly products: number
  readonly heartbeats: boolean
}

export interface ExchangeStats {
  connectionsOpen: number
  connectionsOpened: number
  connectionsRefused: number
  /** Client messages. */
  messages: number
  /** Rules broken: connects or messages over the limit, no subscription within 5 s. */
  violations: number
  errors: number
  framesSent: number
  bytesSent: number
  /** Market frames made, whether sent or not. */
  versions: number
}

const SUBSCRIBE_WITHIN_MS = 5_000
const IDLE_MS = 90_000
const HEARTBEAT_MS = 1_000
const PUBLIC_CHANNELS = new Set(['ticker', 'ticker_batch', 'market_trades', 'candles', 'status'])
const encoder = new TextEncoder()

/**
 * Deterministic: the same options and the same calls with the same times give the same frames.
 * Time never runs by itself; `tick` brings everything up to its argument. A market moves whether
 * or not somebody listens; frames of one connection share one sequence, from 0.
 */
export class CoinbaseExchange {
  readonly products: readonly Product[]
  readonly stats: ExchangeStats = {
    connectionsOpen: 0,
    connectionsOpened: 0,
    connectionsRefused: 0,
    messages: 0,
    violations: 0,
    errors: 0,
    framesSent: 0,
    bytesSent: 0,
    versions: 0,
  }
  /** Faults that struck inside the exchange, the last 1,000. */
  readonly declared: Declared[] = []
  /** While true the market stands still; everything else goes on. */
  paused = false

  readonly #output: ExchangeOutput
  readonly #markets: Market[]
  readonly #wireBytes: Uint8Array[]
  /** Both spellings and aliases -> product index. */
  readonly #names = new Map<string, number>()
  readonly #connections = new Map<number, Connection>()
  /** Connections whose updates of a product flow. */
  readonly #listeners: Connection[][]
  readonly #history: FrameHistory
  readonly #random: Random
  readonly #faultRandom: Random
  readonly #weights: Float64Array
  readonly #frames = new FrameEncoder()
  readonly #connects: RateLimit
  readonly #messages: RateLimit
  readonly #updates: number
  readonly #overLimit: 'error' | 'disconnect'
  readonly #unknownProduct: 'refuse' | 'skip'
  readonly #ackDelayMs: number
  readonly #snapshotLevels: number
  readonly #catchUpMs: number
  #faults: Trigger[] = []
  #rate: number
  #nextId = 1
  #nowMs = NaN
  /** Market frames owed, fractional. */
  #owed = 0

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    const seed = options.seed ?? 1
    this.products = listProducts(options.symbols)
    this.#output = output
    this.#random = new Random(seed)
    this.#faultRandom = new Random(hashText('faults', seed))
    const history = options.history ?? 1024
    const levels = options.levels ?? 100
    this.#markets = this.products.map((product) =>
      new Market(product, new Random(hashText(product.wireSymbol, seed)), { levels, history })
    )
    this.#wireBytes = this.products.map((product) => encoder.encode(product.wireSymbol))
    this.#listeners = this.products.map(() => [])
    for (const product of this.products) {
      const alias = aliasOf(product)
      if (alias !== undefined) {
        this.#names.set(alias, product.index)
        this.#names.set(alias.replace('-', '/'), product.index)
      }
    }
    // A product of its own wins over the alias of another.
    for (const product of this.products) {
      this.#names.set(product.wireSymbol, product.index)
      this.#names.set(product.symbol, product.index)
    }
    this.#history = new FrameHistory(history, options.connectionsRemembered ?? 256)
    this.#weights = cumulativeWeights(this.products.length, options.skew ?? 0)
    this.#connects = new RateLimit(options.connectsPerSecond ?? 8)
    this.#messages = new RateLimit(options.messagesPerSecond ?? 8)
    this.#rate = options.rate ?? 100
    this.#updates = options.updates ?? 2
    this.#overLimit = options.overLimit ?? 'error'
    this.#unknownProduct = options.unknownProduct ?? 'refuse'
    this.#ackDelayMs = options.ackDelayMs ?? 5
    this.#snapshotLevels = options.snapshotLevelsPerTick ?? 60_000
    this.#catchUpMs = options.catchUpMs ?? 1000
    for (const fault of options.faults ?? []) this.inject(fault)
  }

  /** A client connected. Gives the connection's id, or -1: refused, over the connect limit. */
  connect(nowMs: number): number {
    if (!this.#connects.take(nowMs)) {
      this.stats.violations++
      this.stats.connectionsRefused++
      return -1
    }
    const id = this.#nextId++
    this.#connections.set(id, newConnection(id, nowMs))
    this.#history.opened(id)
    this.stats.connectionsOpened++
    this.stats.connectionsOpen++
    return id
  }

  /** The client's socket is gone; nothing is sent to it any more. */
  disconnected(id: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#connections.delete(id)
    connection.closed = true
    this.stats.connectionsOpen--
    for (const product of connection.level2) this.#unlisten(connection, product)
  }

  /** One client message. */
  receive(id: number, text: string, nowMs: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.stats.messages++
    if (!this.#messages.take(nowMs)) {
      this.stats.violations++
      this.#error(connection, 'rate limit exceeded', nowMs)
      if (this.#overLimit === 'disconnect') this.#close(connection, 1008, 'rate limit exceeded')
      return
    }
    const message = parseClientMessage(text)
    if (typeof message === 'string') return this.#error(connection, message, nowMs)
    this.#subscription(connection, message, nowMs)
  }

  /** Brings the exchange up to `nowMs`: rules, snapshots, acknowledgements, heartbeats, market. */
  tick(nowMs: number): void {
    const elapsed = Number.isNaN(this.#nowMs) ? 0 : Math.max(0, nowMs - this.#nowMs)
    this.#nowMs = nowMs
    let levels = this.#snapshotLevels
    for (const connection of [...this.#connections.values()]) {
      if (connection.closed) continue
      if (!connection.subscribed && nowMs - connection.openedMs >= SUBSCRIBE_WITHIN_MS) {
        this.stats.violations++
        this.#close(connection, 1000, 'no subscription within 5 seconds')
        continue
      }
      if (nowMs - connection.lastFrameMs >= IDLE_MS) {
        this.#close(connection, 1000, 'idle: subscribe to heartbeats to keep it open')
        continue
      }
      while (levels > 0 && connection.pending.length > 0 && !connection.closed) {
        if (this.#output.ready?.(connection.id) === false) break
        const { product, ack } = connection.pending.shift()!
        levels -= this.#snapshot(connection, product, nowMs)
        if (ack.dueMs === Infinity) ack.dueMs = nowMs + this.#ackDelayMs
      }
      while (connection.acks.length > 0 && connection.acks[0]!.dueMs <= nowMs) {
        connection.acks.shift()
        this.#acknowledge(connection, nowMs)
      }
      if (connection.heartbeatDueMs <= nowMs) {
        connection.heartbeatDueMs += HEARTBEAT_MS
        // A clock that leapt gets one heartbeat, not hundreds.
        if (connection.heartbeatDueMs < nowMs) connection.heartbeatDueMs = nowMs + HEARTBEAT_MS
        this.#heartbeat(connection, nowMs)
      }
    }
    if (this.paused) return
    this.#owed += (Math.min(elapsed, this.#catchUpMs) * this.#rate) / 1000
    // A frame due exactly now must not slip by a rounding error.
    const due = Math.floor(this.#owed + 1e-9)
    this.#owed -= due
    if (due > 0) this.advance(due, nowMs)
  }

  /** Makes this many market frames now, paused or not. */
  advance(frames: number, nowMs: number): void {
    for (let i = 0; i < frames; i++) {
      const product = this.products.length === 1 ? 0 : this.#draw()
      const market = this.#markets[product]!
      market.step(this.#updates)
      this.stats.versions++
      if (this.#listeners[product]!.length > 0) this.#publish(market, product, nowMs)
    }
  }

  /** Market frames per second over all products, from now on. */
  setRate(rate: number): void {
    this.#rate = rate
  }

  /**
   * When `tick` next has something to do, in the time of its argument; Infinity when never. A
   * paced market counts as due at its next frame.
   */
  nextDueMs(): number {
    let due = Infinity
    for (const connection of this.#connections.values()) {
      if (!connection.subscribed) {
        due = Math.min(due, connection.openedMs + SUBSCRIBE_WITHIN_MS)
      }
      due = Math.min(due, connection.lastFrameMs + IDLE_MS, connection.heartbeatDueMs)
      if (connection.pending.length > 0) due = Math.min(due, this.#nowMs)
      if (connection.acks.length > 0) due = Math.min(due, connection.acks[0]!.dueMs)
    }
    if (!this.paused && this.#rate > 0) {
      due = Math.min(due, this.#nowMs + ((1 - this.#owed) * 1000) / this.#rate)
    }
    return due
  }

  /** Arms an exchange fault; line faults are not the exchange's and are ignored. */
  inject(spec: FaultSpec): void {
    if (!isExchangeFault(spec.kind)) return
    this.#faults.push(new Trigger(spec, this.#faultRandom))
  }

  clearFaults(): void {
    this.#faults = []
  }

  /** The product of a wire symbol, unified symbol or alias. */
  product(name: string): Product | undefined {
    const index = this.#names.get(name)
    return index === undefined ? undefined : this.products[index]
  }

  /** The book as it is now; undefined for an unknown symbol. */
  truth(symbol: string, depth = Infinity): BookTruth | undefined {
    const market = this.#market(symbol)
    return market?.bookAt(market.version, depth)
  }

  /** Version of the book now; each market frame of the product adds one. -1: unknown symbol. */
  version(symbol: string): number {
    return this.#market(symbol)?.version ?? -1
  }

  /** Rebuilds a former state, cheaply for neighbouring versions; undefined beyond the history. */
  bookAt(symbol: string, version: number, depth = Infinity): BookTruth | undefined {
    return this.#market(symbol)?.bookAt(version, depth)
  }

  /** `bookDigest` of that state; undefined beyond the history. */
  digestAt(symbol: string, version: number, depth = Infinity): number | undefined {
    const book = this.bookAt(symbol, version, depth)
    return book === undefined ? undefined : bookDigest(book.bids, book.asks)
  }

  /**
   * Version that a client of `connection` has after the frame `nonce` (any channel's); -1 when it
   * had no data of the symbol by then, or that is forgotten. Frames count as sent by the
   * exchange, whatever faults did to them on their way.
   */
  versionAtNonce(symbol: string, connection: number, nonce: number): number {
    const index = this.#names.get(symbol)
    return index === undefined ? -1 : this.#history.versionAt(connection, index, nonce)
  }

  /**
   * The book that is true as of `nonce`. Sequences are per connection: with `'any'` the answer
   * has one book for each remembered connection in which the frame `nonce` was about the symbol.
   */
  truthAtNonce(
    symbol: string,
    connection: number | 'any',
    nonce: number,
    depth = Infinity,
  ): BookTruth[] {
    const index = this.#names.get(symbol)
    if (index === undefined) return []
    const connections = connection === 'any'
      ? this.#history.connectionsWith(index, nonce)
      : [connection]
    const versions = new Set<number>()
    for (const id of connections) versions.add(this.#history.versionAt(id, index, nonce))
    const books: BookTruth[] = []
    for (const version of versions) {
      const book = version < 0 ? undefined : this.#markets[index]!.bookAt(version, depth)
      if (book !== undefined) books.push(book)
    }
    return books
  }

  /** The client could not know better: its snapshot was wrong and nothing on the wire told. */
  isTainted(symbol: string, connection: number, nonce: number): boolean {
    const index = this.#names.get(symbol)
    return index !== undefined && this.#history.tainted(connection, index, nonce)
  }

  connectionStats(): ConnectionStats[] {
    return [...this.#connections.values()].map((connection) => ({
      id: connection.id,
      frames: connection.frames,
      bytes: connection.bytes,
      products: connection.level2.size,
      heartbeats: connection.heartbeatDueMs !== Infinity,
    }))
  }

  #market(symbol: string): Market | undefined {
    const index = this.#names.get(symbol)
    return index === undefined ? undefined : this.#markets[index]
  }

  #draw(): number {
    const weights = this.#weights
    const mark = this.#random.next() * weights[weights.length - 1]!
    let low = 0
    let high = weights.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (weights[middle]! <= mark) low = middle + 1
      else high = middle
    }
    return low
  }

  #subscription(connection: Connection, message: ClientMessage, nowMs: number): void {
    const { channel, productIds: ids } = message
    const on = message.type === 'subscribe'
    if (channel === 'heartbeats') {
      if (!on) connection.heartbeatDueMs = Infinity
      else if (connection.heartbeatDueMs === Infinity) {
        connection.heartbeatDueMs = nowMs + HEARTBEAT_MS
      }
    } else if (channel === 'level2') {
      const products = this.#resolve(connection, ids, nowMs)
      if (products === undefined) return
      if (on) return this.#subscribe(connection, products, nowMs)
      for (const product of products) {
        connection.level2.delete(product)
        connection.stalled.delete(product)
        this.#unlisten(connection, product)
        connection.pending = connection.pending.filter((one) => one.product !== product)
      }
      for (const ack of connection.acks) {
        const waiting = connection.pending.some((one) => one.ack === ack)
        if (ack.dueMs === Infinity && !waiting) ack.dueMs = nowMs
      }
    } else if (PUBLIC_CHANNELS.has(channel)) {
      const listed = connection.others.get(channel) ?? new Set<string>()
      for (const id of ids) {
        if (on) listed.add(id)
        else listed.delete(id)
      }
      connection.others.set(channel, listed)
      if (listed.size === 0 && !on) connection.others.delete(channel)
    } else {
      // What the exchange answers to private and to unknown channels alike.
      return this.#error(connection, 'authentication failure', nowMs)
    }
    if (on) connection.subscribed = true
    connection.acks.push({ dueMs: nowMs + this.#ackDelayMs })
  }

  #resolve(connection: Connection, ids: readonly string[], nowMs: number): number[] | undefined {
    if (ids.length === 0) {
      this.#error(connection, 'product_ids is required for channel level2', nowMs)
      return undefined
    }
    const products: number[] = []
    let unknown = 0
    for (const id of ids) {
      const product = id.includes('/') ? undefined : this.#names.get(id)
      if (product === undefined) {
        unknown++
        this.#error(connection, `${id} is not a valid product`, nowMs)
      } else if (!products.includes(product)) {
        products.push(product)
      }
    }
    if (unknown > 0 && (this.#unknownProduct === 'refuse' || products.length === 0)) {
      return undefined
    }
    return products
  }

  #subscribe(connection: Connection, products: readonly number[], nowMs: number): void {
    connection.subscribed = true
    const ack: Ack = { dueMs: Infinity }
    let fresh = 0
    for (const product of products) {
      // Subscribed already: only the acknowledgement, no second snapshot.
      if (connection.level2.has(product)) continue
      connection.level2.add(product)
      connection.pending.push({ product, ack })
      fresh++
    }
    if (fresh === 0) ack.dueMs = nowMs + this.#ackDelayMs
    connection.acks.push(ack)
  }

  /** A new list each time: a loop over the old one may be under way. */
  #unlisten(connection: Connection, product: number): void {
    const listeners = this.#listeners[product]!
    if (!listeners.includes(connection)) return
    this.#listeners[product] = listeners.filter((one) => one !== connection)
  }

  /** Gives the number of levels it took. */
  #snapshot(connection: Connection, product: number, nowMs: number): number {
    const market = this.#markets[product]!
    const fault = this.#struck('wrong-snapshot', connection, product, nowMs)
    const variant = fault?.spec.variant ?? 'stale'
    const missing = fault !== undefined && variant === 'missing'
    let omitted = missing ? 0 : -1
    const frames = this.#frames
    frames.begin(market, this.#wireBytes[product]!, true, nowMs)
    let wrong = false
    if (fault !== undefined && !missing) wrong = this.#crossing(market)
    for (let side = 0; side < 2; side++) {
      const levels = market.sides[side]!
      for (let i = levels.count - 1; i >= 0; i--) {
        // The third best level of a side is the one that is missing.
        if (omitted >= 0 && (levels.count - 1 - i === 2 || levels.count < 3)) {
          omitted = -1
          wrong = true
          continue
        }
        const key = levels.keys[i]!
        frames.level(side, side === BID ? key : -key, levels.lots[i]!)
      }
    }
    frames.finish()
    if (fault !== undefined) {
      if (wrong) this.#declare('wrong-snapshot', variant, connection, market)
      else fault.refund()
    }
    const sequence = connection.sequence
    this.#history.delivered(connection.id, product, sequence, market.version)
    this.#history.snapshotDelivered(connection.id, product, sequence, missing && wrong)
    this.#listeners[product]!.push(connection)
    this.#send(connection, frames.stamped(sequence), nowMs)
    return market.sides[BID].count + market.sides[ASK].count
  }

  /** Writes a level that crosses the book into the frame; false when there is no way to. */
  #crossing(market: Market): boolean {
    const ask = market.best(ASK)
    const bid = market.best(BID)
    if (Number.isNaN(bid) || Number.isNaN(ask)) return false
    this.#frames.level(BID, ask, Math.max(1, Math.round(market.product.meanLots)))
    return true
  }

  #publish(market: Market, product: number, nowMs: number): void {
    const listeners = this.#listeners[product]!
    this.#update(market, product, false, nowMs)
    for (let i = 0; i < listeners.length; i++) {
      const connection = listeners[i]!
      if (connection.closed) continue
      if (connection.stalled.size > 0 && connection.stalled.has(product)) continue
      if (this.#faults.length > 0 && this.#strike(connection, market, product, nowMs)) continue
      const sequence = connection.sequence
      this.#history.delivered(connection.id, product, sequence, market.version)
      this.#send(connection, this.#frames.stamped(sequence), nowMs)
    }
  }

  #update(market: Market, product: number, crossed: boolean, nowMs: number): boolean {
    const frames = this.#frames
    const log = market.log
    frames.begin(market, this.#wireBytes[product]!, false, nowMs)
    for (let i = market.changed; i < log.changes; i++) {
      const side = log.side[i]!
      const key = log.key[i]!
      frames.level(side, side === BID ? key : -key, log.now[i]!)
    }
    const done = crossed && this.#crossing(market)
    frames.finish()
    return done
  }

  /** True when the frame of this connection was dealt with. */
  #strike(connection: Connection, market: Market, product: number, nowMs: number): boolean {
    if (this.#struck('stall', connection, product, nowMs) !== undefined) {
      connection.stalled.add(product)
      this.#declare('stall', 'until subscribed anew', connection, market)
      return true
    }
    const fault = this.#struck('crossed', connection, product, nowMs)
    if (fault === undefined) return false
    const sequence = connection.sequence
    if (this.#update(market, product, true, nowMs)) {
      this.#declare('crossed', 'a bid at the best ask', connection, market)
    } else {
      fault.refund()
    }
    this.#history.delivered(connection.id, product, sequence, market.version)
    const bytes = this.#frames.stamped(sequence)
    // The frame of the others is the true one again.
    this.#update(market, product, false, nowMs)
    this.#send(connection, bytes, nowMs)
    return true
  }

  #struck(
    kind: ExchangeFaultKind,
    connection: Connection,
    product: number,
    nowMs: number,
  ): Trigger | undefined {
    for (const trigger of this.#faults) {
      const { spec } = trigger
      if (spec.kind !== kind) continue
      if (spec.connection !== undefined && spec.connection !== connection.id) continue
      if (spec.symbol !== undefined && this.#names.get(spec.symbol) !== product) continue
      if (trigger.hit(nowMs)) return trigger
    }
    return undefined
  }

  #declare(
    kind: ExchangeFaultKind,
    variant: string,
    connection: Connection,
    market: Market,
  ): void {
    this.declared.push({
      kind,
      variant,
      connection: connection.id,
      wireSymbol: market.product.wireSymbol,
      sequence: connection.sequence,
      version: market.version,
    })
    if (this.declared.length > 1000) this.declared.shift()
  }

  #acknowledge(connection: Connection, nowMs: number): void {
    const subscriptions: Record<string, string[]> = {}
    if (connection.heartbeatDueMs !== Infinity) subscriptions['heartbeats'] = ['heartbeats']
    if (connection.level2.size > 0) {
      subscriptions['level2'] = [...connection.level2].map((index) =>
        this.products[index]!.wireSymbol
      )
    }
    for (const [channel, ids] of connection.others) subscriptions[channel] = [...ids]
    this.#sendText(
      connection,
      channelFrame(connection, 'subscriptions', { subscriptions }, nowMs),
      nowMs,
    )
  }

  #heartbeat(connection: Connection, nowMs: number): void {
    const event = heartbeatEvent(connection, nowMs)
    this.#sendText(connection, channelFrame(connection, 'heartbeats', event, nowMs), nowMs)
  }

  #sendText(connection: Connection, text: string, nowMs: number): void {
    this.#send(connection, encoder.encode(text), nowMs)
  }

  /** Errors stand outside of the sequence. */
  #error(connection: Connection, message: string, nowMs: number): void {
    this.stats.errors++
    connection.lastFrameMs = nowMs
    const bytes = encoder.encode(JSON.stringify({ type: 'error', message }))
    this.#count(connection, bytes)
    this.#output.frame(connection.id, bytes)
  }

  #send(connection: Connection, bytes: Uint8Array, nowMs: number): void {
    if (connection.closed) return
    connection.sequence++
    connection.lastFrameMs = nowMs
    this.#count(connection, bytes)
    this.#output.frame(connection.id, bytes)
  }

  #count(connection: Connection, bytes: Uint8Array): void {
    connection.frames++
    connection.bytes += bytes.length
    this.stats.framesSent++
    this.stats.bytesSent += bytes.length
  }

  #close(connection: Connection, code: number, reason: string): void {
    this.disconnected(connection.id)
    this.#output.close(connection.id, code, reason)
  }
}

function cumulativeWeights(count: number, skew: number): Float64Array {
  const weights = new Float64Array(count)
  let sum = 0
  for (let i = 0; i < count; i++) {
    sum += 1 / Math.pow(i + 1, skew)
    weights[i] = sum
  }
  return weights
}
