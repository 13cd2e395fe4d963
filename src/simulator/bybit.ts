/** Bybit v5 market data (spot, linear, inverse): its messages, frames and rules. */
import { BookUpdate } from './book-update.ts'
import { TopicCounts } from './bybit-counts.ts'
import { FrameEncoder } from './bybit-frames.ts'
import { LISTING, segmentOf } from './bybit-names.ts'
import { bybitRest } from './bybit-rest.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules } from './exchange.ts'
import type { BookTruth } from './market.ts'
import { parseSymbol } from './products.ts'
import { hashText } from './random.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { Twin } from './twin.ts'
import { UpdateIds } from './update-ids.ts'

const PATH = /^\/v5\/public\/(spot|linear|inverse)$/

/** The depths of the order book topics. The server tells of levels that leave the window. */
const CHANNELS: ReadonlyMap<string, Channel> = new Map([
  ['1', { key: 'orderbook.1', depth: 1, whole: true }],
  ['50', { key: 'orderbook.50', depth: 50, deletesPushed: true }],
  ['200', { key: 'orderbook.200', depth: 200, deletesPushed: true }],
  ['1000', { key: 'orderbook.1000', depth: 1000, deletesPushed: true }],
])
/** Topics without data here. */
const OTHER_TOPIC = /^(?:tickers|publicTrade|allLiquidation|kline\.[0-9A-Z]+)\.[A-Z0-9-]+$/

const TOPICS_PER_SPOT_MESSAGE = 10
/** Of all topics of a connection together. */
const TOPIC_CHARACTERS_MAX = 21_000

const RULES: ExchangeRules = {
  exchange: 'bybit',
  listing: LISTING,
  defaultSymbols: ['BTC/USDT', 'ETH/USDT', 'BTC/USDT:USDT', 'BTC/USD:BTC'],
  limits: {
    connects: { count: 500, perMs: 300_000 },
    connectionsOpen: 1000,
    // None is documented; who floods it is cut off all the same.
    messages: { count: 20, perMs: 1000, per: 'connection' },
    idle: {
      afterMs: 600_000,
      of: 'received',
      reason: 'no ping for 10 minutes',
      isViolation: true,
    },
    weight: { count: 600, perMs: 5_000 },
  },
  first: 'ack',
  sendsEmptyFrames: true,
  faults: {
    'restart': 'the service of a topic restarts: a snapshot with u 1, and on from there',
    'resend': 'a snapshot that nobody asked for',
  },
}

class BybitConnection extends Connection {
  readonly segment: string
  /** Topics that have no data here. */
  readonly others = new Set<string>()
  readonly text: string

  constructor(id: number, nowMs: number, path: string, query: URLSearchParams) {
    super(id, nowMs, path, query)
    this.segment = PATH.exec(path)?.[1] ?? ''
    const digits = hashText(`bybit ${id}`).toString(16).padStart(8, '0')
    this.text = `${digits}-7630-4fdc-a492-${String(id).padStart(12, '0')}`
  }
}

/** One topic of a request; without a product it is one that has no data here. */
interface Topic {
  readonly name: string
  readonly channel: Channel | undefined
  readonly product: number
}

/** Each topic counts its own frames in `u`, whoever listens; `seq` is one of the whole product. */
export class BybitExchange extends SimulatedExchange<BybitConnection> {
  readonly #frames = new FrameEncoder()
  readonly #restarting = new BookUpdate()
  readonly #counts = new TopicCounts()
  /** By product index. */
  readonly #sequences: readonly UpdateIds[]

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(RULES, options, output)
    this.#sequences = this.products.map(({ symbol }) =>
      new UpdateIds(7_961_638_724 + (hashText(symbol) % 1_000_000_000), 7, 7)
    )
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): BybitConnection {
    return new BybitConnection(id, nowMs, path, query)
  }

  protected override accepts(path: string): boolean {
    return PATH.test(path)
  }

  // -- messages

  protected override message(connection: BybitConnection, text: string, nowMs: number): void {
    let message: unknown
    try {
      message = JSON.parse(text)
    } catch {
      message = undefined
    }
    if (message === null || typeof message !== 'object') {
      return this.#error(connection, '', '', 'Invalid JSON', nowMs)
    }
    const { op, args, req_id: given } = message as Record<string, unknown>
    const id = typeof given === 'string' ? given : ''
    if (op === 'ping') return this.#pong(connection, id, nowMs)
    if (op !== 'subscribe' && op !== 'unsubscribe') {
      return this.#error(connection, String(op), id, 'error:unknown op', nowMs)
    }
    if (!Array.isArray(args) || args.length === 0 || !args.every((a) => typeof a === 'string')) {
      return this.#error(connection, op, id, 'error:args is not a list of topics', nowMs)
    }
    const problem = this.#request(connection, op, id, args, nowMs)
    if (problem !== undefined) this.#error(connection, op, id, problem, nowMs)
  }

  /** Carries out a whole message; what is wrong with it refuses all of it. */
  #request(
    connection: BybitConnection,
    op: 'subscribe' | 'unsubscribe',
    id: string,
    args: readonly string[],
    nowMs: number,
  ): string | undefined {
    if (connection.segment === 'spot' && args.length > TOPICS_PER_SPOT_MESSAGE) {
      const detail = `${args.length} topics in one message, ${TOPICS_PER_SPOT_MESSAGE} are allowed`
      this.violate('args', detail, connection, nowMs)
      return `error:args size >${TOPICS_PER_SPOT_MESSAGE}`
    }
    const make = (): string => this.#reply(connection, op, id, true, op)
    const topics: Topic[] = []
    for (const name of args) {
      const topic = this.#topic(connection, name)
      // What is not subscribed need not be unsubscribed.
      if (typeof topic !== 'string') topics.push(topic)
      else if (op === 'subscribe' && (this.unknownProduct ?? 'refuse') === 'refuse') return topic
    }
    if (op === 'unsubscribe') {
      for (const { name, product, channel } of topics) {
        connection.others.delete(name)
        const subscription = channel && this.subscriptionTo(connection, product, channel)
        if (subscription !== undefined) this.unsubscribe(subscription, nowMs)
      }
      this.acknowledge(connection, make, nowMs)
      return undefined
    }
    const problem = this.#tooMany(connection, topics, nowMs)
    if (problem !== undefined) return problem
    const served: Topic[] = []
    for (const topic of topics) {
      const verdict = topic.channel === undefined
        ? 'ok'
        : this.verdict(connection, topic.product, nowMs)
      if (verdict === 'refuse') return notFound(topic.name)
      if (verdict === 'ok') served.push(topic)
    }
    const ack = this.newAck(make, nowMs)
    for (const { name, product, channel } of served) {
      if (channel === undefined) connection.others.add(name)
      else this.subscribe(connection, product, channel, ack, name, nowMs)
    }
    connection.subscribed = true
    this.queue(connection, ack, nowMs)
    return undefined
  }

  #tooMany(
    connection: BybitConnection,
    topics: readonly Topic[],
    nowMs: number,
  ): string | undefined {
    const names = new Set(connection.others)
    for (const { name } of connection.subscriptions.values()) names.add(name)
    for (const { name } of topics) {
      if (names.has(name)) return `error:already subscribed,topic:${name}`
      names.add(name)
    }
    let characters = 0
    for (const name of names) characters += name.length
    if (characters <= TOPIC_CHARACTERS_MAX) return undefined
    const detail = `topics of ${characters} characters, ${TOPIC_CHARACTERS_MAX} are allowed`
    this.violate('args-length', detail, connection, nowMs)
    return `error:args length exceeds ${TOPIC_CHARACTERS_MAX}`
  }

  /** The topic of a name, or what the exchange answers to it. */
  #topic(connection: BybitConnection, name: string): Topic | string {
    if (OTHER_TOPIC.test(name)) return { name, channel: undefined, product: -1 }
    const [, depth = '', symbol = ''] = /^orderbook\.(\d+)\.(.+)$/.exec(name) ?? []
    const channel = CHANNELS.get(depth)
    if (channel === undefined) return notFound(name)
    const product = this.find(symbol, connection.segment)
    if (product !== undefined) return { name, channel, product }
    return connection.segment === 'spot' ? `Invalid symbol :[${symbol}]` : notFound(name)
  }

  #pong(connection: BybitConnection, id: string, nowMs: number): void {
    const text = connection.segment === 'inverse'
      ? JSON.stringify({
        req_id: id,
        op: 'pong',
        args: [String(Math.floor(nowMs))],
        conn_id: connection.text,
      })
      : this.#reply(connection, 'ping', id, true, 'pong')
    this.send(connection, text, nowMs, false)
  }

  #error(
    connection: BybitConnection,
    op: string,
    id: string,
    said: string,
    nowMs: number,
  ): void {
    this.refuse(connection, this.#reply(connection, op, id, false, said), nowMs)
  }

  #reply(
    connection: BybitConnection,
    op: string,
    id: string,
    success: boolean,
    said: string,
  ): string {
    return JSON.stringify({ success, ret_msg: said, conn_id: connection.text, req_id: id, op })
  }

  protected override overMessages(connection: BybitConnection, nowMs: number): void {
    this.#error(connection, '', '', 'Too many visits!', nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'too many messages')
  }

  protected override get numbersAcks(): boolean {
    return false
  }

  // -- frames

  /** Not `u`, which begins anew: what is remembered of a connection is found by rising numbers. */
  protected override nonce({ stream }: Subscription, _version: number): number {
    return this.#counts.place(stream)
  }

  override versionAtNonce(symbol: string, connection: number, nonce: number): number {
    const [newest] = this.#places(symbol, nonce)
    return newest === undefined ? -1 : super.versionAtNonce(symbol, connection, newest)
  }

  override truthAtNonce(
    symbol: string,
    connection: number | 'any',
    nonce: number,
    depth?: number,
  ): BookTruth[] {
    const places = this.#places(symbol, nonce)
    const some = connection === 'any' ? places : places.slice(0, 1)
    return some.flatMap((place) => super.truthAtNonce(symbol, connection, place, depth))
  }

  override isTainted(symbol: string, connection: number, nonce: number): boolean {
    const [newest] = this.#places(symbol, nonce)
    return newest !== undefined && super.isTainted(symbol, connection, newest)
  }

  #places(symbol: string, u: number): number[] {
    return this.#counts.places(this.names.get(symbol), u)
  }

  /** `seq` of a version of a product, in every topic. */
  sequence(product: number, version: number): number {
    return this.#sequences[product]!.last(version)
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const { stream, market, version } = update
    const seq = this.sequence(market.product.index, version)
    return this.#frames.encode(update, this.#counts.updateId(stream), seq)
  }

  // -- faults of its own

  protected override ownFault(kind: string, connection: BybitConnection, nowMs: number): boolean {
    const listening = [...connection.subscriptions.values()]
      .filter((one) => one.stream.listeners.includes(one) && one.stream.view !== undefined)
    if (listening.length === 0) return false
    const { stream } = listening[this.random.below(listening.length)]!
    const isRestart = kind === 'restart'
    if (isRestart && !this.#counts.mayRestart(stream)) return false
    // As of the topic's last frame; what is held back comes after it.
    stream.frames++
    if (isRestart) this.#counts.restart(stream)
    const update = this.#restarting
    update.begin(stream, true, nowMs)
    stream.view!.addAll(update)
    const shared = this.bookFrame(update).slice()
    for (const subscription of stream.listeners) {
      const { closed, id } = subscription.connection
      if (closed) continue
      subscription.stalled = false
      this.history.snapshotDelivered(id, stream.product, this.nonce(subscription, 0), false)
      this.publishTo(subscription, shared, update)
    }
    return true
  }

  // -- REST

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return bybitRest(this, path, query, nowMs)
  }

  /** A book for REST. */
  book(product: number, depth: number, nowMs: number): ReturnType<BybitExchange['restBook']> {
    return this.restBook(product, depth, nowMs)
  }

  protected override restError(status: number, nowMs: number): unknown {
    const [retCode, retMsg] = status === 429 || status === 418
      ? [10006, 'Too many visits!']
      : [10016, 'Server error.']
    return { retCode, retMsg, result: {}, retExtInfo: {}, time: Math.floor(nowMs) }
  }
}

function notFound(topic: string): string {
  return `error:handler not found,topic:${topic}`
}

export const bybit: Twin = {
  rules: RULES,
  create: (options, output) => new BybitExchange(options, output),
  target(symbol) {
    const parts = parseSymbol(symbol)
    return `/v5/public/${parts === undefined ? 'spot' : segmentOf(parts)}`
  },
  subscribeText: (wireSymbol) =>
    JSON.stringify({ op: 'subscribe', args: [`orderbook.50.${wireSymbol}`] }),
}
