/** Bybit v5 market data (spot, linear, inverse): its messages, frames and rules. */
import { ASK, BID } from '../core/changes.ts'
import { BookUpdate } from './book-update.ts'
import { bybitRest } from './bybit-rest.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules } from './exchange.ts'
import type { BookTruth } from './market.ts'
import { parseSymbol } from './products.ts'
import type { Listing, SymbolParts } from './products.ts'
import { hashText } from './random.ts'
import type { Twin } from './registry.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel, Stream } from './stream.ts'
import { UpdateIds } from './update-ids.ts'
import { ascii, Writer } from './writer.ts'

export const SEGMENTS = ['spot', 'linear', 'inverse'] as const
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

/** Month letters of dated inverse contracts. */
const MONTHS = 'FGHJKMNQUVXZ'
const MONTH_NAMES = [
  'JAN',
  'FEB',
  'MAR',
  'APR',
  'MAY',
  'JUN',
  'JUL',
  'AUG',
  'SEP',
  'OCT',
  'NOV',
  'DEC',
]

function segmentOf({ base, quote, settle }: SymbolParts): typeof SEGMENTS[number] {
  if (settle === undefined) return 'spot'
  return settle === base && settle !== quote ? 'inverse' : 'linear'
}

function wireSymbolOf(parts: SymbolParts): string | undefined {
  const { base, quote, settle, expiry } = parts
  const segment = segmentOf(parts)
  if (segment === 'linear' && settle !== quote) return undefined
  if (expiry === undefined) {
    return segment === 'linear' && quote === 'USDC' ? `${base}PERP` : base + quote
  }
  const month = Number(expiry.slice(2, 4)) - 1
  if (month < 0 || month > 11) return undefined
  if (segment === 'inverse') return `${base}${quote}${MONTHS[month]}${expiry.slice(0, 2)}`
  const day = `${Number(expiry.slice(4))}${MONTH_NAMES[month]}${expiry.slice(0, 2)}`
  return `${base}${quote === 'USDC' ? '' : quote}-${day}`
}

const LISTING: Listing = {
  quotes: ['USDT', 'USDT:USDT', 'USDC', 'USDC:USDC'],
  wireSymbol: wireSymbolOf,
  segment: segmentOf,
}

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

/** How a topic counts its frames. */
interface Count {
  /** Never changes; beyond the `u` of any restart. */
  readonly base: number
  /** Of each restart, the beginning among them: what makes `u` of its frames, and the first one. */
  readonly runs: { readonly offset: number; readonly first: number }[]
}

/**
 * A topic that restarted does not do so again before: what its clients still have to hear of the
 * run before could not be told from the new one.
 */
const RUN_FRAMES_MIN = 200

/** One topic of a request; without a product it is one that has no data here. */
interface Topic {
  readonly name: string
  readonly channel: Channel | undefined
  readonly product: number
}

const TOPIC_HEAD = ascii('{"topic":"')
const TS = ascii('","ts":')
const DELTA = ascii(',"type":"delta","data":{"s":"')
const SNAPSHOT = ascii(',"type":"snapshot","data":{"s":"')
const BIDS = ascii('","b":[')
const ASKS = ascii('],"a":[')
const UPDATE_ID = ascii('],"u":')
const LEVEL = ascii('["')
const SIZE = ascii('","')
const LEVEL_END = ascii('"]')
const COMMA = 0x2c

/** Each topic counts its own frames in `u`, whoever listens; `seq` is one of the whole product. */
export class BybitExchange extends SimulatedExchange<BybitConnection> {
  readonly #writer = new Writer()
  readonly #restarting = new BookUpdate()
  readonly #counts = new Map<Stream, Count>()
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
    return this.#count(stream).base + stream.frames
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

  /** Which frames of the product's topics had this `u`, as `nonce` numbers them; newest first. */
  #places(symbol: string, u: number): number[] {
    const index = this.names.get(symbol)
    const places: number[] = []
    for (const [stream, { base, runs }] of this.#counts) {
      if (stream.product !== index) continue
      let last = stream.frames
      for (const { offset, first } of [...runs].reverse()) {
        const frame = u - offset
        if (frame >= first && frame <= last) places.push(base + frame)
        last = first - 1
      }
    }
    return places
  }

  #count(stream: Stream): Count {
    let count = this.#counts.get(stream)
    if (count === undefined) {
      const { wireSymbol, segment } = stream.market.product
      const name = `${segment} ${stream.channel.key} ${wireSymbol}`
      const base = 18_521_288 + hashText(name) % 100_000_000
      count = { base, runs: [{ offset: base, first: 0 }] }
      this.#counts.set(stream, count)
    }
    return count
  }

  /** `u` of the last frame of a topic. */
  updateId(stream: Stream): number {
    return this.#count(stream).runs.at(-1)!.offset + stream.frames
  }

  /** `seq` of a version of a product, in every topic. */
  sequence(product: number, version: number): number {
    return this.#sequences[product]!.last(version)
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const { stream, market, isSnapshot, nowMs, version } = update
    const { wireSymbol, index } = market.product
    const writer = this.#writer
    const ts = Math.floor(nowMs)
    writer.end = 0
    writer.ensure(512)
    writer.raw(TOPIC_HEAD)
    writer.text(`${stream.channel.key}.${wireSymbol}`)
    writer.raw(TS)
    writer.text(String(ts))
    writer.raw(isSnapshot ? SNAPSHOT : DELTA)
    writer.text(wireSymbol)
    writer.raw(BIDS)
    this.#levels(update, BID)
    writer.raw(ASKS)
    this.#levels(update, ASK)
    writer.raw(UPDATE_ID)
    const u = this.updateId(stream)
    writer.text(`${u},"seq":${this.sequence(index, version)}},"cts":${ts - 1}}`)
    return writer.bytes.subarray(0, writer.end)
  }

  #levels(update: BookUpdate, which: typeof BID | typeof ASK): void {
    const writer = this.#writer
    const { count, side, ticks, lots, market } = update
    const { priceStep, priceDecimals, sizeStep, sizeDecimals, segment } = market.product
    let isFirst = true
    for (let i = 0; i < count; i++) {
      if (side[i] !== which) continue
      writer.ensure(256)
      if (isFirst) isFirst = false
      else writer.bytes[writer.end++] = COMMA
      writer.raw(LEVEL)
      // Contracts are quoted with all decimals of their tick.
      if (segment === 'spot') writer.decimal(ticks[i]! * priceStep, priceDecimals)
      else writer.text(update.fixedPrice(i))
      writer.raw(SIZE)
      writer.decimal(lots[i]! * sizeStep, sizeDecimals)
      writer.raw(LEVEL_END)
    }
    writer.ensure(256)
  }

  // -- faults of its own

  protected override ownFault(kind: string, connection: BybitConnection, nowMs: number): boolean {
    const listening = [...connection.subscriptions.values()]
      .filter((one) => one.stream.listeners.includes(one) && one.stream.view !== undefined)
    if (listening.length === 0) return false
    const { stream } = listening[this.random.below(listening.length)]!
    const { runs } = this.#count(stream)
    const isRestart = kind === 'restart'
    if (isRestart && runs.length > 1 && this.updateId(stream) < RUN_FRAMES_MIN) return false
    // As of the topic's last frame; what is held back comes after it.
    stream.frames++
    if (isRestart) runs.push({ offset: 1 - stream.frames, first: stream.frames })
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
