/**
 * What all simulated exchanges have in common, as a synchronous state machine without sockets,
 * timers or clocks: markets, connections, listeners, limits, faults and REST. An exchange is a
 * subclass that knows its rules and how things are spelt.
 */
import { BookUpdate } from './book-update.ts'
import { Connection, RateLimit, statsOf, Subscription } from './connection.ts'
import type { Ack, ConnectionStats, Pending } from './connection.ts'
import { ExchangeFaults } from './exchange-faults.ts'
import type { Declared } from './exchange-faults.ts'
import type { FaultKind, FaultSpec } from './faults.ts'
import { SimulatedMarkets } from './markets.ts'
import { hashText, Random } from './random.ts'
import { RestBudget } from './rest.ts'
import type { RestAnswer } from './rest.ts'
import { limitsOf } from './rules.ts'
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
import { Stream } from './stream.ts'
import type { Channel } from './stream.ts'

export type {
  ExchangeLimits,
  ExchangeOptions,
  ExchangeOutput,
  ExchangeRules,
  ExchangeStats,
  RestBook,
  Verdict,
  Violation,
} from './rules.ts'

const VIOLATIONS_MAX = 1_000
/** More versions are never merged into one frame: the market's log must still have them all. */
const MERGE_MAX = 256
const SLOW_MS = 3_000
const SYMBOL_PARAMETERS = ['symbol', 'pair', 'instId', 'product_id', 'symbols']
const encoder = new TextEncoder()

/**
 * Deterministic: the same options and the same calls with the same times give the same frames.
 * Time never runs by itself; `tick` brings everything up to its argument. A market moves whether
 * or not somebody listens.
 */
export abstract class SimulatedExchange<C extends Connection = Connection>
  extends SimulatedMarkets {
  readonly rules: ExchangeRules
  readonly limits: ExchangeLimits
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
    requests: 0,
    requestsRefused: 0,
  }
  /** Faults that struck inside the exchange, the last 1,000. */
  readonly declared: readonly Declared[]
  /** Rules that clients broke, the last 1,000. */
  readonly violations: Violation[] = []
  /** While true the market stands still; everything else goes on. */
  paused = false

  /** Seeded, for whatever an exchange leaves to chance. */
  protected readonly random: Random
  protected readonly unknownProduct: 'refuse' | 'skip' | undefined
  readonly #output: ExchangeOutput
  readonly #connections = new Map<number, C>()
  /** Not greeted yet. */
  readonly #greeting: C[] = []
  /** By product index. */
  readonly #streams: Stream[][]
  readonly #faults: ExchangeFaults
  readonly #ownFaults: readonly string[]
  readonly #update = new BookUpdate()
  readonly #connects: RateLimit | undefined
  readonly #messages: RateLimit | undefined
  readonly #budget: RestBudget | undefined
  readonly #updates: number
  readonly #pushMs: number
  readonly #mergeMax: number
  readonly #overLimit: 'error' | 'disconnect'
  readonly #first: 'ack' | 'data'
  readonly #ackDelayMs: number
  readonly #restLag: { readonly older: number; readonly newer: number }
  readonly #snapshotLevels: number
  readonly #catchUpMs: number
  /** Streams with something to send later. */
  #waiting: Stream[] = []
  #rate: number
  #nextId = 1
  #nowMs = NaN
  /** Market frames owed, fractional. */
  #owed = 0

  constructor(rules: ExchangeRules, options: ExchangeOptions, output: ExchangeOutput) {
    super(options, rules.listing, rules.aliases)
    this.rules = rules
    this.limits = limitsOf(rules, options)
    this.#output = output
    this.#streams = this.products.map(() => [])
    this.random = new Random(hashText('exchange', options.seed ?? 1))
    this.#faults = new ExchangeFaults(
      this.names,
      new Random(hashText('faults', options.seed ?? 1)),
    )
    this.declared = this.#faults.declared
    this.#ownFaults = Object.keys(rules.faults ?? {})
    const { connects, messages, weight } = this.limits
    this.#connects = connects === undefined ? undefined : new RateLimit(connects)
    this.#messages = messages?.per === 'exchange' ? new RateLimit(messages) : undefined
    this.#budget = weight === undefined ? undefined : new RestBudget(weight)
    this.#rate = options.rate ?? 100
    this.#updates = options.updates ?? 2
    this.#pushMs = options.pushMs ?? 0
    this.#mergeMax = Math.max(1, Math.min(MERGE_MAX, options.history ?? MERGE_MAX))
    this.#overLimit = options.overLimit ?? 'error'
    this.unknownProduct = options.unknownProduct
    this.#first = options.first ?? rules.first
    this.#ackDelayMs = options.ackDelayMs ?? 5
    this.#restLag = options.restLag ?? { older: 8, newer: 2 }
    this.#snapshotLevels = options.snapshotLevelsPerTick ?? 60_000
    this.#catchUpMs = options.catchUpMs ?? 1000
    for (const fault of options.faults ?? []) this.inject(fault)
  }

  // ---- what an exchange must say

  /** One client message that kept to the limits. */
  protected abstract message(connection: C, text: string, nowMs: number): void

  /**
   * Once per frame of a stream: what all its listeners get, or the part of it that they share. The
   * bytes may be a view of a buffer that the next call overwrites.
   */
  protected abstract bookFrame(update: BookUpdate): Uint8Array

  /** One GET; undefined when there is no such path. */
  protected abstract answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined

  // ---- what an exchange may say

  /** Keeps more than `Connection` does. */
  protected newConnection(id: number, nowMs: number, path: string, query: URLSearchParams): C {
    return new Connection(id, nowMs, path, query) as C
  }

  /** False: nothing is served at this address. */
  protected accepts(_path: string): boolean {
    return true
  }

  /** A client connected: what the exchange says unasked. */
  protected greet(_connection: C, _nowMs: number): void {}

  /** `connection.timerMs` has come (it was `dueMs`); it is Infinity again unless set here. */
  protected timer(_connection: C, _dueMs: number, _nowMs: number): void {}

  /** The frame of one listener, made of what they share; the receiver owns the bytes. */
  protected stamped(shared: Uint8Array, _subscription: Subscription, _nowMs: number): Uint8Array {
    return shared.slice()
  }

  /**
   * Sends an update or snapshot to one listener. An exchange that spells it in several frames says
   * with each `deliver` which version a client has after it.
   */
  protected publishTo(subscription: Subscription, shared: Uint8Array, update: BookUpdate): void {
    const bytes = this.stamped(shared, subscription, update.nowMs)
    this.deliver(subscription, bytes, update.version, update.nowMs)
  }

  /** What a client will call the nonce of the next frame of this subscription, as of `version`. */
  protected nonce(subscription: Subscription, version: number): number {
    const { stream, connection } = subscription
    return this.ids === undefined ? connection.sequence : this.ids[stream.product]!.last(version)
  }

  /** One of the exchange's own faults strikes; false: it could not, now. */
  protected ownFault(_kind: string, _connection: C, _nowMs: number): boolean {
    return false
  }

  /** The product is gone: what a listener is told of it. It was unsubscribed already. */
  protected delistedTo(_subscription: Subscription, _nowMs: number): void {}

  /** Over the message limit. */
  protected overMessages(connection: C, nowMs: number): void {
    this.refuse(connection, JSON.stringify({ error: 'rate limit exceeded' }), nowMs)
    if (this.#overLimit === 'disconnect') this.close(connection, 1008, 'rate limit exceeded')
  }

  /** Acknowledgements take part in the connection's sequence. */
  protected get numbersAcks(): boolean {
    return true
  }

  /** True: this exchange ends connections that say too much. */
  protected get endsOverLimit(): boolean {
    return this.#overLimit === 'disconnect'
  }

  protected weightOf(_path: string, _query: URLSearchParams): number {
    return 1
  }

  /** The body of a REST refusal or failure. */
  protected restError(status: number, _nowMs: number, _retryAfterS: number): unknown {
    return { error: `status ${status}` }
  }

  /** Headers of every REST answer. */
  protected restHeaders(_usedWeight: number): Record<string, string> {
    return {}
  }

  // ---- the client's side

  /**
   * A client connected to this path and query. Gives the connection's id; -1: refused, over the
   * connect limit; -2: nothing is served there.
   */
  connect(nowMs: number, target = '/'): number {
    const mark = target.indexOf('?')
    const path = mark < 0 ? target : target.slice(0, mark)
    const query = new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1))
    if (this.#connects?.take(nowMs) === false) {
      const { count, perMs } = this.limits.connects!
      this.violate('connects', `more than ${count} connections in ${perMs} ms`, undefined, nowMs)
      this.stats.connectionsRefused++
      return -1
    }
    const most = this.limits.connectionsOpen ?? Infinity
    if (this.#connections.size >= most) {
      this.violate('connections', `more than ${most} connections at once`, undefined, nowMs)
      this.stats.connectionsRefused++
      return -1
    }
    if (!this.accepts(path)) return -2
    const id = this.#nextId++
    const connection = this.newConnection(id, nowMs, path, query)
    const { messages, requests, ping } = this.limits
    if (messages?.per === 'connection') connection.messages = new RateLimit(messages)
    if (requests !== undefined) connection.requests = new RateLimit(requests)
    if (ping !== undefined && this.#output.ping !== undefined) {
      connection.pingDueMs = nowMs + ping.everyMs
    }
    this.#connections.set(id, connection)
    this.history.opened(id)
    this.stats.connectionsOpened++
    this.stats.connectionsOpen++
    this.#greeting.push(connection)
    return id
  }

  /** The client's socket is gone; nothing is sent to it any more. */
  disconnected(id: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#connections.delete(id)
    connection.closed = true
    this.stats.connectionsOpen--
    for (const subscription of connection.subscriptions.values()) this.#unlisten(subscription)
  }

  /** One client message. */
  receive(id: number, text: string, nowMs: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    this.#greetAll(nowMs)
    this.stats.messages++
    connection.lastReceivedMs = nowMs
    if (!this.#maySpeak(connection, nowMs)) return
    if (!connection.closed) this.message(connection, text, nowMs)
  }

  /** A protocol ping of the client. */
  pinged(id: number, nowMs: number): void {
    this.#control(id, nowMs)
  }

  /** A protocol pong of the client. */
  ponged(id: number, nowMs: number): void {
    const connection = this.#connections.get(id)
    if (connection !== undefined) connection.pongDueMs = Infinity
    this.#control(id, nowMs)
  }

  /** One GET. Weight, faults and paths that do not exist are dealt with here. */
  rest(path: string, query: URLSearchParams, nowMs: number): RestAnswer {
    this.stats.requests++
    const fault = this.#faults.struck('rest-error', 0, this.#asked(query), nowMs)
    if (fault !== undefined) {
      const status = fault.spec.variant ?? '429'
      this.#declare('rest-error', status, undefined, undefined, -1)
      if (status === 'timeout') return { status: 0, body: undefined }
      if (status === '429' || status === '418') {
        const forMs = fault.spec.delayMs ?? (status === '418' ? 10_000 : 2_000)
        const told = Number(status) as 418 | 429
        this.#budget?.tell(told, nowMs, forMs)
        return this.#refused(told, Math.ceil(forMs / 1000), nowMs)
      }
      return { status: Number(status), body: this.restError(Number(status), nowMs, 0) }
    }
    const weight = this.weightOf(path, query)
    const refusal = this.#budget?.refusal(weight, nowMs)
    if (refusal !== undefined) {
      const { count, perMs } = this.limits.weight!
      const detail = `GET ${path}: told to wait, or over ${count} weight in ${perMs} ms`
      if (refusal.isViolation) this.violate('weight', detail, undefined, nowMs)
      return this.#refused(refusal.status, refusal.retryAfterS, nowMs)
    }
    const answer = this.answer(path, query, nowMs) ??
      { status: 404, body: { error: 'NOT_FOUND', message: `no GET ${path}` } }
    const headers = { ...this.restHeaders(this.#budget?.used(nowMs) ?? 0), ...answer.headers }
    return { ...answer, headers }
  }

  // ---- time

  /** Brings the exchange up to `nowMs`: rules, snapshots, acknowledgements, timers, market. */
  tick(nowMs: number): void {
    const elapsed = Number.isNaN(this.#nowMs) ? 0 : Math.max(0, nowMs - this.#nowMs)
    this.#nowMs = nowMs
    this.#greetAll(nowMs)
    this.#flushDue(nowMs)
    let levels = this.#snapshotLevels
    for (const connection of [...this.#connections.values()]) {
      if (connection.closed || this.#endedByRule(connection, nowMs)) continue
      if (this.#first === 'ack') this.#sendAcks(connection, nowMs)
      levels = this.#sendSnapshots(connection, levels, nowMs)
      this.#sendAcks(connection, nowMs)
      if (connection.timerMs <= nowMs) {
        const dueMs = connection.timerMs
        connection.timerMs = Infinity
        this.timer(connection, dueMs, nowMs)
      }
      if (this.#ownFaults.length > 0 && this.#faults.isArmed) this.#strikeOwn(connection, nowMs)
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
    const waiting = this.#waiting
    this.#waiting = []
    for (const stream of waiting) this.#publish(stream, nowMs)
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
    let due = this.#greeting.length > 0 ? this.#nowMs : Infinity
    const { subscribeWithinMs, lifetimeMs, idle } = this.limits
    for (const connection of this.#connections.values()) {
      if (!connection.subscribed && subscribeWithinMs !== undefined) {
        due = Math.min(due, connection.openedMs + subscribeWithinMs)
      }
      if (lifetimeMs !== undefined) due = Math.min(due, connection.openedMs + lifetimeMs)
      if (idle !== undefined) due = Math.min(due, idleSince(connection, idle.of) + idle.afterMs)
      due = Math.min(due, connection.timerMs, connection.pingDueMs, connection.pongDueMs)
      const ackMs = connection.acks.length > 0 ? connection.acks[0]!.dueMs : Infinity
      due = Math.min(due, ackMs)
      for (const pending of connection.pending) {
        const waits = this.#waitsForAck(pending) ? ackMs : this.#nowMs
        due = Math.min(due, Math.max(waits, pending.fromMs))
      }
    }
    for (const stream of this.#waiting) due = Math.min(due, stream.dueMs)
    if (!this.paused && this.#rate > 0) {
      due = Math.min(due, this.#nowMs + ((1 - this.#owed) * 1000) / this.#rate)
    }
    return due
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
    for (const connection of [...this.#connections.values()]) {
      for (const subscription of [...connection.subscriptions.values()]) {
        if (subscription.stream.product !== product) continue
        this.unsubscribe(subscription, nowMs)
        if (!connection.closed) this.delistedTo(subscription, nowMs)
      }
    }
  }

  connectionStats(): ConnectionStats[] {
    return [...this.#connections.values()].map(statsOf)
  }

  // ---- what an exchange builds upon

  protected get nowMs(): number {
    return this.#nowMs
  }

  protected get connections(): Iterable<C> {
    return this.#connections.values()
  }

  /** The product that can be subscribed under this name, of this segment; undefined: none. */
  protected find(name: string, segment = ''): number | undefined {
    const product = this.names.get(`${segment}:${name}`)
    return product === undefined || this.delisted.has(product) ? undefined : product
  }

  /** Counts a subscribe or unsubscribe request; false: one too many. */
  protected request(connection: C, nowMs: number): boolean {
    if (connection.requests === undefined || connection.requests.take(nowMs)) return true
    const { count, perMs } = this.limits.requests!
    this.violate('requests', `more than ${count} requests in ${perMs} ms`, connection, nowMs)
    return false
  }

  /** What the armed faults make of a subscription; to be asked once for each product. */
  protected verdict(connection: C, product: number, nowMs: number): Verdict {
    if (!this.#faults.isArmed) return 'ok'
    for (const kind of ['refuse', 'ignore'] as const) {
      if (this.#faults.struck(kind, connection.id, product, nowMs) === undefined) continue
      this.#declare(kind, '', connection, product, -1)
      return kind
    }
    return 'ok'
  }

  /** The subscription to this product and channel, if there is one. */
  protected subscriptionTo(
    connection: C,
    product: number,
    channel: Channel,
  ): Subscription | undefined {
    return connection.subscriptions.get(`${product}/${channel.key}`)
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
    const key = `${product}/${channel.key}`
    if (connection.subscriptions.has(key)) return undefined
    const most = this.limits.subscriptionsPerConnection ?? Infinity
    if (connection.subscriptions.size >= most) {
      this.violate('subscriptions', `more than ${most} on one connection`, connection, nowMs)
      return undefined
    }
    connection.subscribed = true
    const subscription = new Subscription(connection, this.#stream(product, channel), name)
    connection.subscriptions.set(key, subscription)
    if (channel.snapshotElsewhere === true) {
      this.#bringUp(subscription.stream, nowMs)
      subscription.stream.listeners.push(subscription)
      return subscription
    }
    const late = this.#faults.struck('slow', connection.id, product, nowMs)
    if (late !== undefined) this.#declare('slow', '', connection, product, -1)
    const fromMs = late === undefined ? -Infinity : nowMs + (late.spec.delayMs ?? SLOW_MS)
    connection.pending.push({ subscription, ack, fromMs })
    return subscription
  }

  /** Nothing of it is sent any more, nor its snapshot; its acknowledgement still is. */
  protected unsubscribe(subscription: Subscription, nowMs: number): void {
    const { connection, stream } = subscription
    connection.subscriptions.delete(`${stream.product}/${stream.channel.key}`)
    this.#unlisten(subscription)
    connection.pending = connection.pending.filter((one) => one.subscription !== subscription)
    for (const ack of connection.acks) {
      if (ack.dueMs !== Infinity || connection.pending.some((one) => one.ack === ack)) continue
      ack.dueMs = nowMs
    }
  }

  /** Queues an answer; answers leave in order. It is spelt when it leaves. */
  protected acknowledge(
    connection: C,
    make: (nowMs: number) => string,
    nowMs: number,
    delayMs: number = this.#ackDelayMs,
  ): Ack {
    const ack = { dueMs: nowMs + delayMs, sent: false, make }
    connection.acks.push(ack)
    return ack
  }

  /**
   * An answer to a subscription, for `subscribe`: where data comes first it waits for them. `queue`
   * it after the subscriptions that it answers.
   */
  protected newAck(make: (nowMs: number) => string, nowMs: number): Ack {
    const dueMs = this.#first === 'data' ? Infinity : nowMs + this.#ackDelayMs
    return { dueMs, sent: false, make }
  }

  protected queue(connection: C, ack: Ack, nowMs: number): void {
    if (ack.dueMs === Infinity && !connection.pending.some((one) => one.ack === ack)) {
      ack.dueMs = nowMs + this.#ackDelayMs
    }
    connection.acks.push(ack)
  }

  /** Sends now. Frames are numbered by connection, but those outside of its sequence. */
  protected send(connection: C, text: string, nowMs: number, isNumbered = true): void {
    this.#send(connection, encoder.encode(text), nowMs, isNumbered)
  }

  /** Sends an error now, outside of any sequence. */
  protected refuse(connection: C, text: string, nowMs: number): void {
    this.stats.errors++
    this.#send(connection, encoder.encode(text), nowMs, false)
  }

  /** Sends one frame of a book, after which the client has this version of it. */
  protected deliver(
    subscription: Subscription,
    bytes: Uint8Array,
    version: number,
    nowMs: number,
  ): void {
    const { connection, stream } = subscription
    const nonce = this.nonce(subscription, version)
    this.history.delivered(connection.id, stream.product, nonce, version)
    subscription.sentMs = nowMs
    this.#send(connection as C, bytes, nowMs, true)
  }

  protected close(connection: C, code: number, reason: string): void {
    if (connection.closed) return
    this.disconnected(connection.id)
    this.#output.close(connection.id, code, reason)
  }

  protected violate(
    rule: string,
    detail: string,
    connection: C | undefined,
    nowMs: number,
  ): void {
    this.stats.violations++
    this.violations.push({ rule, detail, connection: connection?.id ?? 0, atMs: nowMs })
    if (this.violations.length > VIOLATIONS_MAX) this.violations.shift()
  }

  /**
   * A book for a REST answer. As in reality it may be older than what was sent, or newer: then the
   * market has moved and the sockets hear of it with the next tick.
   */
  protected restBook(product: number, depth: number, nowMs: number): RestBook {
    const market = this.markets[product]!
    const version = this.#restVersion(product, nowMs)
    const rows = market.rowsAt(version, depth)!
    const fault = this.#faults.struck('wrong-snapshot', 0, product, nowMs)
    const variant = fault?.spec.variant ?? 'stale'
    let isMissing = false
    if (fault !== undefined) {
      const { bids, asks } = rows
      const isPossible = variant === 'missing' ? bids.length > 2 : bids.length * asks.length > 0
      if (!isPossible) fault.refund()
      else if (variant === 'missing') {
        bids.splice(2, 1)
        isMissing = true
      } else {
        bids.unshift([asks[0]![0], Math.max(1, Math.round(market.product.meanLots))])
        if (bids.length > depth) bids.pop()
      }
      if (isPossible) this.#declare('wrong-snapshot', variant, undefined, product, version)
    }
    if (this.ids !== undefined) {
      const id = this.ids[product]!.last(version)
      this.history.snapshotDelivered(0, product, id, isMissing && this.rules.hasChecksum !== true)
    }
    return { market, version, bids: rows.bids, asks: rows.asks }
  }

  // ---- inside

  /** Not from within `connect`: its caller cannot carry frames yet. */
  #greetAll(nowMs: number): void {
    while (this.#greeting.length > 0) {
      const connection = this.#greeting.shift()!
      if (!connection.closed) this.greet(connection, nowMs)
    }
  }

  #maySpeak(connection: C, nowMs: number): boolean {
    const limit = this.#messages ?? connection.messages
    if (limit === undefined || limit.take(nowMs)) return true
    const { count, perMs } = this.limits.messages!
    this.violate('messages', `more than ${count} messages in ${perMs} ms`, connection, nowMs)
    this.overMessages(connection, nowMs)
    return false
  }

  #control(id: number, nowMs: number): void {
    const connection = this.#connections.get(id)
    if (connection === undefined) return
    connection.lastReceivedMs = nowMs
    if (this.limits.pingsCount === true) this.#maySpeak(connection, nowMs)
  }

  /** The product that a request is about; -1: none, or several. */
  #asked(query: URLSearchParams): number {
    for (const name of SYMBOL_PARAMETERS) {
      const value = query.get(name)
      if (value !== null) return this.names.get(value) ?? -1
    }
    return -1
  }

  #refused(status: 418 | 429, retryAfterS: number, nowMs: number): RestAnswer {
    this.stats.requestsRefused++
    return {
      status,
      body: this.restError(status, nowMs, retryAfterS),
      headers: {
        ...this.restHeaders(this.#budget?.used(nowMs) ?? 0),
        'retry-after': String(retryAfterS),
      },
    }
  }

  #endedByRule(connection: C, nowMs: number): boolean {
    const { subscribeWithinMs, lifetimeMs, idle, ping } = this.limits
    const age = nowMs - connection.openedMs
    if (subscribeWithinMs !== undefined && !connection.subscribed && age >= subscribeWithinMs) {
      const detail = `no subscription within ${subscribeWithinMs / 1000} seconds`
      this.violate('subscribe-within', detail, connection, nowMs)
      this.close(connection, 1000, detail)
    } else if (idle !== undefined && nowMs - idleSince(connection, idle.of) >= idle.afterMs) {
      if (idle.isViolation) this.violate('idle', idle.reason, connection, nowMs)
      this.close(connection, 1000, idle.reason)
    } else if (lifetimeMs !== undefined && age >= lifetimeMs) {
      this.close(connection, 1000, `connected for ${lifetimeMs / 1000} seconds`)
    } else if (connection.pongDueMs <= nowMs) {
      this.violate('pong', `no pong within ${ping!.pongWithinMs} ms`, connection, nowMs)
      this.close(connection, 1008, 'Pong timeout')
    } else if (connection.pingDueMs <= nowMs) {
      connection.pingDueMs = nowMs + ping!.everyMs
      if (connection.pongDueMs === Infinity) connection.pongDueMs = nowMs + ping!.pongWithinMs
      this.#output.ping!(connection.id)
    }
    return connection.closed
  }

  #waitsForAck({ ack }: Pending): boolean {
    return this.#first === 'ack' && ack !== undefined && !ack.sent
  }

  /** Gives the levels that are left of this tick's. */
  #sendSnapshots(connection: C, levels: number, nowMs: number): number {
    let left = levels
    let at = 0
    while (left > 0 && at < connection.pending.length && !connection.closed) {
      if (this.#output.ready?.(connection.id) === false) break
      const pending = connection.pending[at]!
      if (pending.fromMs > nowMs || this.#waitsForAck(pending)) {
        at++
        continue
      }
      connection.pending.splice(at, 1)
      left -= this.#snapshot(pending.subscription, nowMs)
      const { ack } = pending
      if (ack !== undefined && ack.dueMs === Infinity) ack.dueMs = nowMs + this.#ackDelayMs
    }
    return left
  }

  #sendAcks(connection: C, nowMs: number): void {
    while (connection.acks.length > 0 && connection.acks[0]!.dueMs <= nowMs) {
      const ack = connection.acks.shift()!
      ack.sent = true
      this.send(connection, ack.make(nowMs), nowMs, this.numbersAcks)
      if (connection.closed) return
    }
  }

  #strikeOwn(connection: C, nowMs: number): void {
    for (const kind of this.#ownFaults) {
      if (connection.closed) return
      const fault = this.#faults.struck(kind, connection.id, -1, nowMs)
      if (fault === undefined) continue
      if (this.ownFault(kind, connection, nowMs)) {
        this.#declare(kind, '', connection, undefined, -1)
      } else fault.refund()
    }
  }

  #stream(product: number, channel: Channel): Stream {
    const streams = this.#streams[product]!
    let stream = streams.find((one) => one.channel.key === channel.key)
    if (stream === undefined) {
      stream = new Stream(product, this.markets[product]!, channel)
      streams.push(stream)
    }
    return stream
  }

  /** A new list each time: a loop over the old one may be under way. */
  #unlisten(subscription: Subscription): void {
    const { stream } = subscription
    if (!stream.listeners.includes(subscription)) return
    stream.listeners = stream.listeners.filter((one) => one !== subscription)
  }

  #step(product: number, nowMs: number): void {
    if (this.delisted.has(product)) return
    this.markets[product]!.step(this.#updates)
    this.stats.versions++
    const streams = this.#streams[product]!
    for (let i = 0; i < streams.length; i++) {
      const stream = streams[i]!
      if (stream.listeners.length === 0) continue
      if (this.#pushMs === 0) this.#publish(stream, nowMs)
      else this.#holdBack(stream, nowMs + this.#pushMs, nowMs)
    }
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

  #flushDue(nowMs: number): void {
    if (this.#waiting.length === 0) return
    const due = this.#waiting.filter((stream) => stream.dueMs <= nowMs)
    this.#waiting = this.#waiting.filter((stream) =>
      stream.dueMs > nowMs && stream.dueMs < Infinity
    )
    for (const stream of due) this.#publish(stream, nowMs)
  }

  /** Gives the number of levels it took. */
  #snapshot(subscription: Subscription, nowMs: number): number {
    const { stream } = subscription
    const { market, product } = stream
    const connection = subscription.connection as C
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
      if (isWrong) this.#declare('wrong-snapshot', variant, connection, product, market.version)
      else fault.refund()
    }
    const nonce = this.nonce(subscription, update.version)
    const isTaint = isMissing && isWrong && this.rules.hasChecksum !== true
    this.history.snapshotDelivered(connection.id, product, nonce, isTaint)
    stream.listeners.push(subscription)
    this.publishTo(subscription, this.bookFrame(update), update)
    return update.count
  }

  /** Brings a stream to the present before one more listens to it. */
  #bringUp(stream: Stream, nowMs: number): void {
    if (stream.listeners.length === 0) stream.begin()
    else this.#publish(stream, nowMs)
  }

  /** One frame with all that is new, to all listeners. */
  #publish(stream: Stream, nowMs: number): void {
    stream.dueMs = Infinity
    const { market, product } = stream
    const listeners = stream.listeners
    if (stream.sentVersion === market.version || listeners.length === 0) return
    const update = this.#update
    if (!this.#fill(update, stream, nowMs)) return
    stream.sentVersion = market.version
    stream.frames++
    let shared = this.bookFrame(update)
    for (let i = 0; i < listeners.length; i++) {
      const subscription = listeners[i]!
      const connection = subscription.connection as C
      if (connection.closed || subscription.stalled) continue
      if (this.#faults.isArmed) {
        if (this.#faults.struck('delist', connection.id, product, nowMs) !== undefined) {
          this.#declare('delist', '', connection, product, market.version)
          this.delist(market.product.symbol, nowMs)
          return
        }
        if (this.#faults.struck('stall', connection.id, product, nowMs) !== undefined) {
          subscription.stalled = true
          const variant = 'until subscribed anew'
          this.#declare('stall', variant, connection, product, market.version)
          continue
        }
        const fault = this.#faults.struck('crossed', connection.id, product, nowMs)
        if (fault !== undefined) {
          const { count } = update
          if (update.cross()) {
            const variant = 'a bid at the best ask'
            this.#declare('crossed', variant, connection, product, market.version)
          } else fault.refund()
          this.publishTo(subscription, this.bookFrame(update), update)
          // The frame of the others is the true one again.
          update.count = count
          shared = this.bookFrame(update)
          continue
        }
      }
      this.publishTo(subscription, shared, update)
    }
  }

  /** False: nothing to say. */
  #fill(update: BookUpdate, stream: Stream, nowMs: number): boolean {
    const { view, channel } = stream
    if (view === undefined) {
      update.begin(stream, false, nowMs)
      if (this.rules.sendsEveryChange === true) update.addLog()
      else update.addMerged()
      return true
    }
    update.begin(stream, false, nowMs)
    view.advance(update)
    if (update.count === 0) {
      const isIdle = update.market.log.changes === update.market.changed
      return isIdle && this.rules.sendsEmptyFrames === true
    }
    if (channel.whole !== true) return true
    update.begin(stream, true, nowMs)
    update.version = update.market.version
    view.addAll(update)
    return true
  }

  /** Which version a REST request of now gets; it may have to be made first. */
  #restVersion(product: number, nowMs: number): number {
    const market = this.markets[product]!
    const lag = this.#faults.struck('rest-lag', 0, product, nowMs)
    const oldest = Math.max(0, market.oldestVersion)
    if (lag !== undefined) {
      const version = Math.max(oldest, market.version - 100 - this.random.below(400))
      this.#declare('rest-lag', '', undefined, product, version)
      return version
    }
    const { older, newer } = this.#restLag
    const draw = this.random.next()
    if (draw < 0.3 && older > 0) {
      return Math.max(oldest, market.version - 1 - this.random.below(older))
    }
    if (draw < 0.5 && newer > 0 && !this.paused && !this.delisted.has(product)) {
      for (let i = this.random.below(newer); i >= 0; i--) {
        market.step(this.#updates)
        this.stats.versions++
        this.#owed--
      }
      for (const stream of this.#streams[product]!) {
        if (stream.listeners.length > 0) this.#holdBack(stream, nowMs, nowMs)
      }
    }
    return market.version
  }

  #declare(
    kind: FaultKind,
    variant: string,
    connection: C | undefined,
    product: number | undefined,
    version: number,
  ): void {
    this.#faults.declare({
      kind,
      variant,
      connection: connection?.id ?? 0,
      wireSymbol: product === undefined ? '' : this.products[product]!.wireSymbol,
      sequence: connection?.sequence ?? -1,
      version,
    })
  }

  #send(connection: C, bytes: Uint8Array, nowMs: number, isNumbered: boolean): void {
    if (connection.closed) return
    if (isNumbered) connection.sequence++
    connection.lastSentMs = nowMs
    connection.frames++
    connection.bytes += bytes.length
    this.stats.framesSent++
    this.stats.bytesSent += bytes.length
    this.#output.frame(connection.id, bytes)
  }
}

function idleSince(connection: Connection, of: 'sent' | 'received' | 'either'): number {
  if (of === 'sent') return connection.lastSentMs
  if (of === 'received') return connection.lastReceivedMs
  return Math.max(connection.lastSentMs, connection.lastReceivedMs)
}
