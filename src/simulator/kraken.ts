/** Kraken spot market data, WebSocket API v2: its messages, frames, checksum and REST metadata. */
import { crc32 } from 'node:zlib'
import { ASK, BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { timestampText } from './clock-text.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules } from './exchange.ts'
import type { Market } from './market.ts'
import { fixedText } from './products.ts'
import type { Product } from './products.ts'
import { hashText } from './random.ts'
import type { Twin } from './registry.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { TopView } from './top-view.ts'
import { Writer } from './writer.ts'

/** No deletes are sent for what a window pushes out: the client truncates. */
const CHANNELS: ReadonlyMap<number, Channel> = new Map(
  [10, 25, 100, 500, 1000].map((depth) => [depth, { key: `book-${depth}`, depth }]),
)
const OTHER_CHANNELS = new Set(['ticker', 'trade', 'ohlc', 'instrument', 'level3', 'status'])
const CHECKSUM_LEVELS = 10
const HEARTBEAT_MS = 1_000
const MAINTENANCE_MS = 3_000

/** What REST calls currencies that are as old as the exchange. */
const OLD_NAMES: Readonly<Record<string, string>> = {
  BTC: 'XXBT',
  ETH: 'XETH',
  LTC: 'XLTC',
  XRP: 'XXRP',
  XLM: 'XXLM',
  ETC: 'XETC',
  ZEC: 'XZEC',
  MLN: 'XMLN',
  DOGE: 'XXDG',
  USD: 'ZUSD',
  EUR: 'ZEUR',
  GBP: 'ZGBP',
}
const SHORT_NAMES: Readonly<Record<string, string>> = { BTC: 'XBT', DOGE: 'XDG' }

function shortName(code: string): string {
  return SHORT_NAMES[code] ?? code
}

/** Key, alternative name and v1 name of a pair. */
function pairNames({ base, quote }: Product): [key: string, altname: string, wsname: string] {
  const altname = shortName(base) + shortName(quote)
  const isOld = OLD_NAMES[base] !== undefined && OLD_NAMES[quote] !== undefined && base !== 'DOGE'
  const key = isOld ? OLD_NAMES[base]! + OLD_NAMES[quote]! : altname
  return [key, altname, `${shortName(base)}/${shortName(quote)}`]
}

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
    switch (path) {
      case '/0/public/AssetPairs':
        return ok(this.#perPair(query, (product) => assetPair(product)))
      case '/0/public/Ticker':
        return ok(this.#perPair(query, (product) => this.#ticker(product)))
      case '/0/public/Assets':
        return ok(this.#assets())
      case '/0/public/Depth':
        return this.#depth(query, nowMs)
      case '/0/public/Time': {
        const unixtime = Math.floor(nowMs / 1000)
        return ok({ unixtime, rfc1123: new Date(nowMs).toUTCString() })
      }
      case '/0/public/SystemStatus':
        return ok({ status: 'online', timestamp: timestampText(nowMs, 6) })
      default:
        return undefined
    }
  }

  /** Of all listed pairs, or of those asked for; undefined when one is not listed. */
  #perPair(
    query: URLSearchParams,
    describe: (product: Product) => unknown,
  ): Record<string, unknown> | undefined {
    const wanted = query.get('pair')?.split(',')
    const entries: Record<string, unknown> = {}
    for (const name of wanted ?? this.products.map((product) => product.symbol)) {
      const product = this.product(name)
      if (product === undefined || this.isDelisted(name)) {
        if (wanted !== undefined) return undefined
        continue
      }
      entries[pairNames(product)[0]] = describe(product)
    }
    return entries
  }

  #ticker(product: Product): unknown {
    const market = this.markets[product.index]!
    const price = (side: number): string => {
      const ticks = market.best(side)
      const { priceStep, priceDecimals } = product
      return Number.isNaN(ticks) ? '0' : fixedText(ticks * priceStep, priceDecimals)
    }
    const bid = price(BID)
    const ask = price(ASK)
    const volume = volumeOf(product)
    return {
      a: [ask, '1', '1.000'],
      b: [bid, '1', '1.000'],
      c: [bid, '0.10000000'],
      v: [(volume / 2).toFixed(8), volume.toFixed(8)],
      p: [bid, bid],
      t: [1000, 2000],
      l: [bid, bid],
      h: [ask, ask],
      o: bid,
    }
  }

  #assets(): Record<string, unknown> {
    const assets: Record<string, unknown> = {}
    for (const { base, quote } of this.products) {
      for (const code of [base, quote]) {
        assets[OLD_NAMES[code] ?? code] = {
          aclass: 'currency',
          altname: shortName(code),
          decimals: 10,
          display_decimals: 5,
          status: 'enabled',
        }
      }
    }
    return assets
  }

  #depth(query: URLSearchParams, nowMs: number): RestAnswer {
    const name = query.get('pair') ?? ''
    const product = this.product(name)
    if (product === undefined || this.isDelisted(name)) return ok(undefined)
    const depth = Number(query.get('count') ?? '100') || 100
    const { bids, asks } = this.restBook(product.index, Math.min(500, depth), nowMs)
    const { priceStep, priceDecimals, sizeStep } = product
    const rows = (side: readonly (readonly [number, number])[]) =>
      side.map(([ticks, lots]) => [
        fixedText(ticks * priceStep, priceDecimals),
        // REST gives sizes with three decimals, so that nobody splices it.
        (lots * sizeStep * Math.pow(10, -product.sizeDecimals)).toFixed(3),
        Math.floor(nowMs / 1000),
      ])
    return ok({ [pairNames(product)[0]]: { asks: rows(asks), bids: rows(bids) } })
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

function ok(result: Record<string, unknown> | undefined): RestAnswer {
  if (result === undefined) {
    return { status: 200, body: { error: ['EQuery:Unknown asset pair'] } }
  }
  return { status: 200, body: { error: [], result } }
}

/** In base units; the first products trade the most. */
function volumeOf(product: Product): number {
  const spread = 1 + (hashText(product.symbol) % 100) / 1000
  const price = product.startTicks * product.priceStep * Math.pow(10, -product.priceDecimals)
  return (1e9 / (product.index + 1) / price) * spread
}

function assetPair(product: Product): unknown {
  const [, altname, wsname] = pairNames(product)
  return {
    altname,
    wsname,
    aclass_base: 'currency',
    base: OLD_NAMES[product.base] ?? product.base,
    aclass_quote: 'currency',
    quote: OLD_NAMES[product.quote] ?? product.quote,
    lot: 'unit',
    cost_decimals: 5,
    pair_decimals: product.priceDecimals,
    lot_decimals: product.sizeDecimals,
    lot_multiplier: 1,
    leverage_buy: [2, 3],
    leverage_sell: [2, 3],
    fees: [[0, 0.4], [10_000, 0.35]],
    fees_maker: [[0, 0.25], [10_000, 0.2]],
    fee_volume_currency: 'ZUSD',
    margin_call: 80,
    margin_stop: 40,
    ordermin: '0.0001',
    costmin: '0.5',
    tick_size: product.quoteIncrement,
    status: 'online',
  }
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
