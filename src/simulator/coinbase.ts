/** Coinbase Advanced Trade market data as a synchronous state machine: no socket, timer or clock. */
import { ASK, BID } from '../core/changes.ts'
import {
  channelFrame,
  heartbeatEvent,
  newConnection,
  parseClientMessage,
  RateLimit,
  statsOf,
} from './coinbase-connection.ts'
import type { Connection, ConnectionStats } from './coinbase-connection.ts'
import { CoinbaseFaults } from './coinbase-faults.ts'
import type { Declared } from './coinbase-faults.ts'
import { Level2Frames } from './coinbase-level2.ts'
import { CoinbaseMarkets } from './coinbase-markets.ts'
import type { MarketsOptions } from './coinbase-markets.ts'
import { HEARTBEAT_MS, subscribedTo, Subscriptions } from './coinbase-subscriptions.ts'
import type { SubscriptionRules } from './coinbase-subscriptions.ts'
import type { FaultSpec } from './faults.ts'
import type { Market } from './market.ts'
import { hashText, Random } from './random.ts'

export interface ExchangeOptions extends MarketsOptions, SubscriptionRules {
  /** Market frames per second over all products, whether somebody listens or not. 100. */
  readonly rate?: number
  /** Changes per frame, on average; they are 1 to 2 updates - 1, now and then none. 2. */
  readonly updates?: number
  /** Client rules, both per second and over the whole exchange (as if all came from one IP). */
  readonly connectsPerSecond?: number
  readonly messagesPerSecond?: number
  /** What a client message over the limit costs: an error reply (and no effect), or the socket. */
  readonly overLimit?: 'error' | 'disconnect'
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
const encoder = new TextEncoder()

/**
 * Deterministic: the same options and the same calls with the same times give the same frames.
 * Time never runs by itself; `tick` brings everything up to its argument. A market moves whether
 * or not somebody listens; frames of one connection share one sequence, from 0.
 */
export class CoinbaseExchange extends CoinbaseMarkets {
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
  readonly declared: readonly Declared[]
  /** While true the market stands still; everything else goes on. */
  paused = false

  readonly #output: ExchangeOutput
  readonly #connections = new Map<number, Connection>()
  /** Connections whose updates of a product flow. */
  readonly #listeners: Connection[][]
  readonly #faults: CoinbaseFaults
  readonly #subscriptions: Subscriptions
  readonly #frames: Level2Frames
  readonly #connects: RateLimit
  readonly #messages: RateLimit
  readonly #updates: number
  readonly #overLimit: 'error' | 'disconnect'
  readonly #snapshotLevels: number
  readonly #catchUpMs: number
  #rate: number
  #nextId = 1
  #nowMs = NaN
  /** Market frames owed, fractional. */
  #owed = 0

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(options)
    this.#output = output
    this.#frames = new Level2Frames(this.products)
    this.#listeners = this.products.map(() => [])
    const random = new Random(hashText('faults', options.seed ?? 1))
    this.#faults = new CoinbaseFaults(this.names, random)
    this.declared = this.#faults.declared
    this.#subscriptions = new Subscriptions(options, this.names, {
      refused: (connection, message, nowMs) => this.#error(connection, message, nowMs),
      unsubscribed: (connection, product) => this.#unlisten(connection, product),
    })
    this.#connects = new RateLimit(options.connectsPerSecond ?? 8)
    this.#messages = new RateLimit(options.messagesPerSecond ?? 8)
    this.#rate = options.rate ?? 100
    this.#updates = options.updates ?? 2
    this.#overLimit = options.overLimit ?? 'error'
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
    this.history.opened(id)
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
    this.#subscriptions.receive(connection, message, nowMs)
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
        if (ack.dueMs === Infinity) ack.dueMs = nowMs + this.#subscriptions.ackDelayMs
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
      const product = this.draw()
      const market = this.markets[product]!
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
    this.#faults.inject(spec)
  }

  clearFaults(): void {
    this.#faults.clear()
  }

  connectionStats(): ConnectionStats[] {
    return [...this.#connections.values()].map(statsOf)
  }

  /** A new list each time: a loop over the old one may be under way. */
  #unlisten(connection: Connection, product: number): void {
    const listeners = this.#listeners[product]!
    if (!listeners.includes(connection)) return
    this.#listeners[product] = listeners.filter((one) => one !== connection)
  }

  /** Gives the number of levels it took. */
  #snapshot(connection: Connection, product: number, nowMs: number): number {
    const market = this.markets[product]!
    const fault = this.#faults.struck('wrong-snapshot', connection, product, nowMs)
    const variant = fault?.spec.variant ?? 'stale'
    const missing = fault !== undefined && variant === 'missing'
    const defect = fault === undefined ? undefined : missing ? 'missing' : 'crossed'
    const wrong = this.#frames.snapshot(market, product, defect, nowMs)
    if (fault !== undefined) {
      if (wrong) this.#faults.declare('wrong-snapshot', variant, connection, market)
      else fault.refund()
    }
    const sequence = connection.sequence
    this.history.delivered(connection.id, product, sequence, market.version)
    this.history.snapshotDelivered(connection.id, product, sequence, missing && wrong)
    this.#listeners[product]!.push(connection)
    this.#send(connection, this.#frames.stamped(sequence), nowMs)
    return market.sides[BID].count + market.sides[ASK].count
  }

  #publish(market: Market, product: number, nowMs: number): void {
    const listeners = this.#listeners[product]!
    this.#frames.update(market, product, undefined, nowMs)
    for (let i = 0; i < listeners.length; i++) {
      const connection = listeners[i]!
      if (connection.closed) continue
      if (connection.stalled.size > 0 && connection.stalled.has(product)) continue
      if (this.#faults.isArmed && this.#strike(connection, market, product, nowMs)) continue
      const sequence = connection.sequence
      this.history.delivered(connection.id, product, sequence, market.version)
      this.#send(connection, this.#frames.stamped(sequence), nowMs)
    }
  }

  /** True when the frame of this connection was dealt with. */
  #strike(connection: Connection, market: Market, product: number, nowMs: number): boolean {
    if (this.#faults.struck('stall', connection, product, nowMs) !== undefined) {
      connection.stalled.add(product)
      this.#faults.declare('stall', 'until subscribed anew', connection, market)
      return true
    }
    const fault = this.#faults.struck('crossed', connection, product, nowMs)
    if (fault === undefined) return false
    const sequence = connection.sequence
    if (this.#frames.update(market, product, 'crossed', nowMs)) {
      this.#faults.declare('crossed', 'a bid at the best ask', connection, market)
    } else {
      fault.refund()
    }
    this.history.delivered(connection.id, product, sequence, market.version)
    const bytes = this.#frames.stamped(sequence)
    // The frame of the others is the true one again.
    this.#frames.update(market, product, undefined, nowMs)
    this.#send(connection, bytes, nowMs)
    return true
  }

  #acknowledge(connection: Connection, nowMs: number): void {
    const subscriptions = subscribedTo(connection, this.products)
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
