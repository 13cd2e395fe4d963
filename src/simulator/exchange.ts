/**
 * What all simulated exchanges have in common, as a synchronous state machine without sockets,
 * timers or clocks: what happens when, and what an exchange builds upon. An exchange is a subclass
 * that knows its rules and how things are spelt (`ExchangeHabits`). Limits, connections,
 * subscriptions, book streams, what is sent, and REST are parts with files of their own.
 */
import { statsOf } from './connection.ts'
import type { Ack, Connection, ConnectionStats, Subscription } from './connection.ts'
import { Connections } from './connections.ts'
import { Enforcement } from './enforcement.ts'
import { ExchangeFaults } from './exchange-faults.ts'
import type { Declared } from './exchange-faults.ts'
import { ExchangeHabits } from './exchange-habits.ts'
import type { FaultSpec } from './faults.ts'
import { Outbox } from './outbox.ts'
import { Pace } from './pace.ts'
import { Publisher } from './publisher.ts'
import { hashText, Random } from './random.ts'
import type { RestAnswer } from './rest.ts'
import { RestService } from './rest-service.ts'
import { limitsOf, noStats } from './rules.ts'
import type {
  ExchangeLimits,
  ExchangeOptions,
  ExchangeOutput,
  ExchangeRules,
  ExchangeStats,
  RestBook,
  Verdict,
  Violation,
} from './rules.ts'
import type { Channel } from './stream.ts'
import { Subscriptions } from './subscriptions.ts'

export type * from './rules.ts'

/**
 * Deterministic: the same options and the same calls with the same times give the same frames.
 * Time never runs by itself; `tick` brings everything up to its argument. A market moves whether
 * or not somebody listens.
 */
export abstract class SimulatedExchange<C extends Connection = Connection>
  extends ExchangeHabits<C> {
  readonly limits: ExchangeLimits
  readonly stats: ExchangeStats = noStats()
  /** Faults that struck inside the exchange, the last 1,000. */
  readonly declared: readonly Declared[]
  /** Rules that clients broke, the last 1,000. */
  readonly violations: Violation[]
  /** While true the market stands still; everything else goes on. */
  paused = false

  readonly #connections: Connections<C>
  readonly #subscriptions: Subscriptions
  readonly #faults: ExchangeFaults
  readonly #ownFaults: readonly string[]
  readonly #enforcement: Enforcement
  readonly #outbox: Outbox
  readonly #publisher: Publisher
  readonly #pace: Pace
  readonly #rest: RestService
  readonly #snapshotLevels: number
  #nowMs = NaN

  constructor(rules: ExchangeRules, options: ExchangeOptions, output: ExchangeOutput) {
    super(rules, options)
    const { markets, names, history, random, stats } = this
    const limits = limitsOf(rules, options)
    const faultRandom = new Random(hashText('faults', options.seed ?? 1))
    const faults = new ExchangeFaults(this.products, names, faultRandom)
    const enforcement = new Enforcement(limits, stats)
    const pace = new Pace(options)
    const publisher = new Publisher(rules, options, { markets, history, faults, stats }, {
      bookFrame: (update) => this.bookFrame(update),
      publishTo: (subscription, shared, update) => this.publishTo(subscription, shared, update),
      nonce: (subscription, version) => this.nonce(subscription, version),
      delist: (symbol, nowMs) => this.delist(symbol, nowMs),
    })
    const outbox = new Outbox(rules, options, output, stats, publisher)
    const subscriptions = new Subscriptions(enforcement, publisher, outbox, faults)
    const connected = { limits, stats, history, enforcement, subscriptions }
    this.#connections = new Connections<C>(output, connected, {
      accepts: (path) => this.accepts(path),
      newConnection: (id, nowMs, path, query) => this.newConnection(id, nowMs, path, query),
      greet: (connection, nowMs) => this.greet(connection, nowMs),
      message: (connection, text, nowMs) => this.message(connection, text, nowMs),
      overMessages: (connection, nowMs) => this.overMessages(connection, nowMs),
    })
    const hasChecksum = rules.hasChecksum === true
    const { leastLevels = 1 } = rules
    const books = { markets, names, random, faults, publisher, pace }
    this.#rest = new RestService(options, { ...connected, ...books, hasChecksum, leastLevels }, {
      answer: (path, query, nowMs) => this.answer(path, query, nowMs),
      weightOf: (path, query) => this.weightOf(path, query),
      restError: (status, nowMs, retryAfterS) => this.restError(status, nowMs, retryAfterS),
      restHeaders: (usedWeight) => this.restHeaders(usedWeight),
      moves: (product) => !this.paused && !this.delisted.has(product),
      idOf: (product, version) =>
        this.ids === undefined ? undefined : this.ids[product]!.last(version),
    })
    this.limits = limits
    this.declared = faults.declared
    this.violations = enforcement.violations
    this.#faults = faults
    this.#ownFaults = Object.keys(rules.faults ?? {})
    this.#enforcement = enforcement
    this.#outbox = outbox
    this.#publisher = publisher
    this.#subscriptions = subscriptions
    this.#pace = pace
    this.#snapshotLevels = options.snapshotLevelsPerTick ?? 60_000
    for (const fault of options.faults ?? []) this.inject(fault)
  }

  // ---- the client's side

  /**
   * A client connected to this path and query. Gives the connection's id; -1: refused, over the
   * connect limit; -2: nothing is served there.
   */
  connect(nowMs: number, target = '/'): number {
    return this.#connections.connect(nowMs, target)
  }

  /** The client's socket is gone; nothing is sent to it any more. */
  disconnected(id: number): void {
    this.#connections.disconnected(id)
  }

  /** One client message. */
  receive(id: number, text: string, nowMs: number): void {
    this.#connections.receive(id, text, nowMs)
  }

  /** A protocol ping of the client. */
  pinged(id: number, nowMs: number): void {
    this.#connections.control(id, false, nowMs)
  }

  /** A protocol pong of the client. */
  ponged(id: number, nowMs: number): void {
    this.#connections.control(id, true, nowMs)
  }

  /** One GET. Weight, faults and paths that do not exist are dealt with here. */
  rest(path: string, query: URLSearchParams, nowMs: number): RestAnswer {
    return this.#rest.get(path, query, nowMs)
  }

  // ---- time

  /** Brings the exchange up to `nowMs`: rules, snapshots, acknowledgements, timers, market. */
  tick(nowMs: number): void {
    const elapsed = Number.isNaN(this.#nowMs) ? 0 : Math.max(0, nowMs - this.#nowMs)
    this.#nowMs = nowMs
    this.#connections.greetAll(nowMs)
    this.#publisher.flushDue(nowMs)
    let levels = this.#snapshotLevels
    const { numbersAcks } = this
    for (const connection of [...this.#connections.all()]) {
      if (connection.closed || this.#connections.review(connection, nowMs)) continue
      levels = this.#outbox.sendDue(connection, levels, nowMs, numbersAcks)
      if (connection.timerMs <= nowMs) {
        const dueMs = connection.timerMs
        connection.timerMs = Infinity
        this.timer(connection, dueMs, nowMs)
      }
      if (this.#ownFaults.length > 0 && this.#faults.isArmed) this.#strikeOwn(connection, nowMs)
    }
    if (this.paused) return
    const due = this.#pace.due(elapsed)
    if (due > 0) this.advance(due, nowMs)
  }

  /** Makes this many market frames now, paused or not. */
  advance(frames: number, nowMs: number): void {
    for (let i = 0; i < frames; i++) this.#step(this.draw(), nowMs)
  }

  /** The same of one product, by any of its names. */
  advanceOf(symbol: string, frames: number, nowMs: number): void {
    const product = this.names.get(symbol)
    if (product === undefined) return
    for (let i = 0; i < frames; i++) this.#step(product, nowMs)
  }

  /** Sends what is held back to be merged. */
  flush(nowMs: number): void {
    this.#publisher.flush(nowMs)
  }

  /** Market frames per second over all products, from now on. */
  setRate(rate: number): void {
    this.#pace.rate = rate
  }

  /**
   * When `tick` next has something to do, in the time of its argument; Infinity when never. A
   * paced market counts as due at its next frame.
   */
  nextDueMs(): number {
    let due = this.#connections.someToGreet ? this.#nowMs : Infinity
    for (const connection of this.#connections.all()) {
      const ruleMs = this.#enforcement.dueMs(connection)
      const sendMs = this.#outbox.dueMs(connection, this.#nowMs)
      due = Math.min(due, ruleMs, sendMs, connection.timerMs)
    }
    due = Math.min(due, this.#publisher.dueMs())
    return this.paused ? due : Math.min(due, this.#pace.dueMs(this.#nowMs))
  }

  // ---- faults

  /** Arms an exchange fault; line faults are not the exchange's and are ignored. */
  inject(spec: FaultSpec): void {
    this.#faults.inject(spec)
  }

  clearFaults(): void {
    this.#faults.clear()
  }

  /** The product is listed no more: it stands still, its listeners get what the exchange sends. */
  delist(symbol: string, nowMs: number): void {
    const product = this.names.get(symbol)
    if (product === undefined || this.delisted.has(product)) return
    this.delisted.add(product)
    for (const connection of [...this.#connections.all()]) {
      for (const subscription of [...connection.subscriptions.values()]) {
        if (subscription.stream.product !== product) continue
        this.unsubscribe(subscription, nowMs)
        if (!connection.closed) this.delistedTo(subscription, nowMs)
      }
    }
  }

  connectionStats(): ConnectionStats[] {
    return [...this.#connections.all()].map(statsOf)
  }

  // ---- what an exchange builds upon

  protected get nowMs(): number {
    return this.#nowMs
  }

  protected get connections(): Iterable<C> {
    return this.#connections.all()
  }

  /** Counts a subscribe or unsubscribe request; false: one too many. */
  protected request(connection: C, nowMs: number): boolean {
    return this.#enforcement.mayRequest(connection, nowMs)
  }

  /** What the armed faults make of a subscription; to be asked once for each product. */
  protected verdict(connection: C, product: number, nowMs: number): Verdict {
    return this.#faults.verdict(connection, product, nowMs)
  }

  /** The subscription to this product and channel, if there is one. */
  protected subscriptionTo(
    connection: C,
    product: number,
    channel: Channel,
  ): Subscription | undefined {
    return this.#subscriptions.get(connection, product, channel)
  }

  /**
   * Subscribes; the snapshot follows, before or after `ack` as is the exchange's habit, where the
   * channel has one. Undefined: it is subscribed already, or there are too many.
   */
  protected subscribe(
    connection: C,
    product: number,
    channel: Channel,
    ack: Ack | undefined,
    name: string,
    nowMs: number,
  ): Subscription | undefined {
    return this.#subscriptions.add(connection, product, channel, ack, name, nowMs)
  }

  /** Nothing of it is sent any more, nor its snapshot; its acknowledgement still is. */
  protected unsubscribe(subscription: Subscription, nowMs: number): void {
    this.#subscriptions.remove(subscription, nowMs)
  }

  /** Queues an answer; answers leave in order. It is spelt when it leaves. */
  protected acknowledge(
    connection: C,
    make: (nowMs: number) => string,
    nowMs: number,
    delayMs?: number,
  ): Ack {
    return this.#outbox.acknowledge(connection, make, nowMs, delayMs)
  }

  /**
   * An answer to a subscription, for `subscribe`: where data comes first it waits for them. `queue`
   * it after the subscriptions that it answers.
   */
  protected newAck(make: (nowMs: number) => string, nowMs: number): Ack {
    return this.#outbox.newAck(make, nowMs)
  }

  protected queue(connection: C, ack: Ack, nowMs: number): void {
    this.#outbox.queue(connection, ack, nowMs)
  }

  /** Sends now. Frames are numbered by connection, but those outside of its sequence. */
  protected send(connection: C, text: string, nowMs: number, isNumbered = true): void {
    this.#outbox.sendText(connection, text, nowMs, isNumbered)
  }

  /** Sends an error now, outside of any sequence. */
  protected override refuse(connection: C, text: string, nowMs: number): void {
    this.stats.errors++
    this.#outbox.sendText(connection, text, nowMs, false)
  }

  /** Sends one frame of a book, after which the client has this version of it. */
  protected override deliver(
    subscription: Subscription,
    bytes: Uint8Array,
    version: number,
    nowMs: number,
  ): void {
    const { connection, stream } = subscription
    const nonce = this.nonce(subscription, version)
    this.history.delivered(connection.id, stream.product, nonce, version)
    subscription.sentMs = nowMs
    this.#outbox.send(connection, bytes, nowMs, true)
  }

  protected override close(connection: C, code: number, reason: string): void {
    this.#connections.close(connection, code, reason)
  }

  protected violate(
    rule: string,
    detail: string,
    connection: C | undefined,
    nowMs: number,
  ): void {
    this.#enforcement.violate(rule, detail, connection, nowMs)
  }

  /**
   * A book for a REST answer. As in reality it may be older than what was sent, or newer: then the
   * market has moved and the sockets hear of it with the next tick.
   */
  protected restBook(product: number, depth: number, nowMs: number): RestBook {
    return this.#rest.book(product, depth, nowMs)
  }

  // ---- inside

  #strikeOwn(connection: C, nowMs: number): void {
    for (const kind of this.#ownFaults) {
      if (connection.closed) return
      const fault = this.#faults.struck(kind, connection.id, -1, nowMs)
      if (fault === undefined) continue
      if (this.ownFault(kind, connection, nowMs)) {
        this.#faults.declare(kind, '', connection, undefined, -1)
      } else fault.refund()
    }
  }

  #step(product: number, nowMs: number): void {
    if (!this.delisted.has(product)) this.#publisher.step(product, nowMs)
  }
}
