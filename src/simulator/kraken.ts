/** Kraken spot market data, WebSocket API v2: its messages, frames, checksum and rules. */
import { crc32 } from 'node:zlib'
import { ASK, BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { timestampText } from './clock-text.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, RestBook } from './exchange.ts'
import { krakenRest, pairNames } from './kraken-rest.ts'
import type { Market } from './market.ts'
import { fixedText } from './products.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { TopView } from './top-view.ts'
import type { Twin } from './twin.ts'
import { Writer } from './writer.ts'

/** No deletes are sent for what a window pushes out: the client truncates. */
const CHANNELS: ReadonlyMap<number, Channel> = new Map(
  [10, 25, 100, 500, 1000].map((depth) => [depth, { key: `book-${depth}`, depth }]),
)
const OTHER_CHANNELS = new Set(['ticker', 'trade', 'ohlc', 'instrument', 'level3', 'status'])
const CHECKSUM_LEVELS = 10
const HEARTBEAT_MS = 1_000
const MAINTENANCE_MS = 3_000

const RULES: ExchangeRules = {
  exchange: 'kraken',
  listing: {
    quotes: ['USD', 'EUR', 'USDT', 'USDC', 'GBP', 'BTC', 'ETH'],
    wireSymbol: ({ base, quote, settle }) => settle === undefined ? `${base}/${quote}` : undefined,
    increments: ({ base, quote }, usual) => ({
      price: base === 'BTC' && quote !== 'ETH' ? '0.1' : usual.price,
      size: '0.00000001',
    }),
  },
  defaultSymbols: ['BTC/USD', 'ETH/USD', 'SOL/EUR'],
  limits: {
    connects: { count: 150, perMs: 600_000 },
    messages: { count: 20, perMs: 1000, per: 'connection' },
    weight: { count: 20, perMs: 20_000 },
  },
  first: 'ack',
  hasChecksum: true,
  faults: {
    maintenance: 'the status says maintenance, books stand still, and 3 s later it says online',
  },
  aliases: (product) => pairNames(product),
}

class KrakenConnection extends Connection {
  /** Infinity while there is no maintenance. */
  onlineMs = Infinity
}

interface Request {
  readonly method?: unknown
  readonly req_id?: unknown
  readonly params?: {
    readonly channel?: unknown
    readonly symbol?: unknown
    readonly depth?: unknown
    readonly snapshot?: unknown
  }
}

/** Nothing is numbered; each book frame has the CRC-32 of the ten best levels it leaves. */
export class KrakenExchange extends SimulatedExchange<KrakenConnection> {
  readonly #writer = new Writer()

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(RULES, options, output)
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): KrakenConnection {
    return new KrakenConnection(id, nowMs, path, query)
  }

  protected override accepts(path: string): boolean {
    return path === '/v2' || path === '/'
  }

  protected override greet(connection: KrakenConnection, nowMs: number): void {
    this.#status(connection, 'online', nowMs)
    connection.timerMs = nowMs + HEARTBEAT_MS
  }

  protected override timer(connection: KrakenConnection, _dueMs: number, nowMs: number): void {
    if (connection.onlineMs <= nowMs) {
      connection.onlineMs = Infinity
      this.#status(connection, 'online', nowMs)
    }
    // Only what is subscribed and otherwise silent.
    if (connection.subscribed && nowMs - connection.lastSentMs >= HEARTBEAT_MS) {
      this.send(connection, '{"channel":"heartbeat"}', nowMs)
    }
    connection.timerMs = Math.min(
      Math.max(connection.lastSentMs + HEARTBEAT_MS, nowMs + 1),
      connection.onlineMs,
    )
  }

  protected override message(connection: KrakenConnection, text: string, nowMs: number): void {
    let request: Request | null
    try {
      request = JSON.parse(text)
    } catch {
      request = null
    }
    if (request === null || typeof request !== 'object') {
      return this.#fail(connection, {}, 'Invalid JSON', nowMs)
    }
    const { method } = request
    if (method === 'ping') {
      this.acknowledge(
        connection,
        (atMs) => `{"method":"pong"${idText(request)},${timesText(nowMs, atMs)}}`,
        nowMs,
        0,
      )
      return
    }
    if (method !== 'subscribe' && method !== 'unsubscribe') {
      return this.#fail(connection, request, 'Method not supported', nowMs)
    }
    const { channel } = request.params ?? {}
    if (channel === 'book') return this.#book(connection, request, method, nowMs)
    if (typeof channel !== 'string' || !OTHER_CHANNELS.has(channel)) {
      return this.#fail(connection, request, 'Channel not supported', nowMs)
    }
    if (method === 'subscribe') connection.subscribed = true
    const result = { channel, snapshot: true }
    this.acknowledge(connection, (atMs) => okText(request, result, nowMs, atMs), nowMs)
  }

  #book(
    connection: KrakenConnection,
    request: Request,
    method: 'subscribe' | 'unsubscribe',
    nowMs: number,
  ): void {
    const params = request.params!
    const depth = params.depth ?? 10
    const channel = CHANNELS.get(Number(depth))
    if (channel === undefined) {
      return this.#fail(connection, request, 'Subscription depth not supported', nowMs)
    }
    const symbols = params.symbol
    if (!Array.isArray(symbols) || symbols.length === 0) {
      return this.#fail(connection, request, 'Symbol(s) missing', nowMs)
    }
    for (const symbol of symbols) {
      const name = String(symbol)
      const product = this.find(name)
      if (product === undefined) {
        this.#fail(connection, request, `Currency pair not supported ${name}`, nowMs, name)
        continue
      }
      const current = this.subscriptionTo(connection, product, channel)
      const result = { channel: 'book', depth, snapshot: true, symbol: name }
      const ack = this.newAck((atMs) => okText(request, result, nowMs, atMs), nowMs)
      if (method === 'unsubscribe') {
        if (current === undefined) {
          this.#fail(connection, request, 'Subscription Not Found', nowMs, name)
          continue
        }
        this.unsubscribe(current, nowMs)
        const left = { channel: 'book', depth, symbol: name }
        this.acknowledge(connection, (atMs) => okText(request, left, nowMs, atMs), nowMs)
        continue
      }
      const verdict = this.verdict(connection, product, nowMs)
      if (verdict === 'ignore') continue
      if (verdict === 'refuse') {
        this.#fail(connection, request, `Currency pair not supported ${name}`, nowMs, name)
      } else if (current !== undefined) {
        this.#fail(connection, request, 'Already subscribed', nowMs, name)
      } else {
        this.subscribe(connection, product, channel, ack, name, nowMs)
        this.queue(connection, ack, nowMs)
      }
    }
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const writer = this.#writer
    const { stream, market, isSnapshot, count, side } = update
    writer.end = 0
    writer.text(
      `{"channel":"book","type":"${isSnapshot ? 'snapshot' : 'update'}","data":[{"symbol":"` +
        `${market.product.wireSymbol}","bids":[`,
    )
    for (let which = BID; which <= ASK; which++) {
      if (which === ASK) writer.text('],"asks":[')
      let isFirst = true
      for (let i = 0; i < count; i++) {
        if (side[i] !== which) continue
        // Several changes of one price may share a frame; the last one counts.
        if (!isSnapshot && i === 0 && update.version % 29 === 7) {
          writer.text(`{"price":${update.fixedPrice(i)},"qty":0.00000001},`)
        }
        writer.text(isFirst ? '{"price":' : ',{"price":')
        update.writePrice(writer, i)
        writer.text(',"qty":')
        update.writeSize(writer, i)
        writer.text('}')
        isFirst = false
      }
    }
    const checksum = checksumOf(market, stream.view!)
    writer.text(
      `],"checksum":${checksum},"timestamp":"${timestampText(update.nowMs, 6)}"}]}`,
    )
    return writer.bytes.subarray(0, writer.end)
  }

  protected override ownFault(kind: string, connection: KrakenConnection, nowMs: number): boolean {
    if (kind !== 'maintenance' || !connection.subscribed) return false
    this.#status(connection, 'maintenance', nowMs)
    // What the engine does meanwhile is not told: only a new subscription mends it.
    for (const subscription of connection.subscriptions.values()) subscription.stalled = true
    connection.onlineMs = nowMs + MAINTENANCE_MS
    connection.timerMs = Math.min(connection.timerMs, connection.onlineMs)
    return true
  }

  /** How the exchange says so is not documented; this is what the next subscription gets. */
  protected override delistedTo(subscription: Subscription, nowMs: number): void {
    const { name, connection } = subscription
    const request = { method: 'subscribe' }
    const message = `Currency pair not supported ${name}`
    this.#fail(connection as KrakenConnection, request, message, nowMs, name)
  }

  protected override overMessages(connection: KrakenConnection, nowMs: number): void {
    this.#fail(connection, {}, 'Exceeded msg rate', nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'Exceeded msg rate')
  }

  protected override restError(status: number): unknown {
    return { error: [status < 500 ? 'EGeneral:Too many requests' : 'EService:Unavailable'] }
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return krakenRest(this, path, query, nowMs)
  }

  /** A book for REST. */
  book(product: number, depth: number, nowMs: number): RestBook {
    return this.restBook(product, depth, nowMs)
  }

  /** The price of the best bid or ask, with all its decimals; 0: there is none. */
  bestPrice({ index, priceStep, priceDecimals }: Product, side: number): string {
    const ticks = this.markets[index]!.best(side)
    return Number.isNaN(ticks) ? '0' : fixedText(ticks * priceStep, priceDecimals)
  }

  #status(connection: KrakenConnection, system: string, nowMs: number): void {
    // Beyond 2^53, as the exchange's.
    const id = 17_843_232_920_108_168_701n - BigInt(connection.id)
    this.send(
      connection,
      `{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"${system}",` +
        `"api_version":"v2","connection_id":${id}}]}`,
      nowMs,
    )
  }

  #fail(
    connection: KrakenConnection,
    request: Request,
    error: string,
    nowMs: number,
    symbol?: string,
  ): void {
    const method = typeof request.method === 'string' ? `,"method":"${request.method}"` : ''
    const about = symbol === undefined ? '' : `,"symbol":${JSON.stringify(symbol)}`
    this.refuse(
      connection,
      `{"error":${JSON.stringify(error)}${method}${idText(request)},"success":false${about},` +
        `${timesText(nowMs, nowMs)}}`,
      nowMs,
    )
  }
}

/** Ten best asks, then bids: each token without its point and leading zeros. */
function checksumOf(market: Market, view: TopView): number {
  const { priceStep, sizeStep } = market.product
  let text = ''
  for (const which of [ASK, BID]) {
    const { count, keys, lots } = view.sides[which]!
    for (let i = 0; i < Math.min(CHECKSUM_LEVELS, count); i++) {
      // The decimals are fixed: what is left of a token are the digits of the scaled integer.
      text += `${Math.abs(keys[i]!) * priceStep}${lots[i]! * sizeStep}`
    }
  }
  return crc32(text) >>> 0
}

function idText(request: Request): string {
  const id = request.req_id
  return typeof id === 'number' ? `,"req_id":${id}` : ''
}

function timesText(inMs: number, outMs: number): string {
  return `"time_in":"${timestampText(inMs, 6)}","time_out":"${timestampText(outMs, 6)}"`
}

function okText(request: Request, result: unknown, inMs: number, outMs: number): string {
  return `{"method":"${request.method}"${idText(request)},"result":${JSON.stringify(result)},` +
    `"success":true,${timesText(inMs, outMs)}}`
}

export const kraken: Twin = {
  rules: RULES,
  create: (options, output) => new KrakenExchange(options, output),
  target: () => '/v2',
  subscribeText: (wireSymbol) =>
    JSON.stringify({
      method: 'subscribe',
      params: { channel: 'book', symbol: [wireSymbol], depth: 1000 },
    }),
}
