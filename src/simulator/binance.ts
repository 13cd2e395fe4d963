/** Binance spot and USD-M futures market data: streams, frames, REST books and metadata. */
import { ASK, BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules } from './exchange.ts'
import { fixedText } from './products.ts'
import type { Product } from './products.ts'
import { hashText } from './random.ts'
import type { Twin } from './registry.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import { UpdateIds } from './update-ids.ts'
import { ascii, Writer } from './writer.ts'

const SHUTDOWN_MS = 10_000
const DAY_MS = 86_400_000
const CONNECTS = { count: 300, perMs: 300_000 }
/** What a spot stream's numbers are padded to. */
const SPOT_DECIMALS = 8
const USDM_LIMITS = [5, 10, 20, 50, 100, 500, 1000]
const WEIGHTS_SPOT: readonly (readonly [number, number])[] = [
  [100, 5],
  [500, 25],
  [1000, 50],
  [5000, 250],
]
const WEIGHTS_USDM: readonly (readonly [number, number])[] = [[50, 2], [100, 5], [500, 10], [
  1000,
  20,
]]
const END = ascii('}')

const SPOT: ExchangeRules = {
  exchange: 'binance',
  listing: {
    quotes: ['USDT', 'USDC', 'BTC', 'EUR', 'ETH'],
    wireSymbol: ({ base, quote, settle }) => settle === undefined ? base + quote : undefined,
    increments: (_parts, usual) => ({ price: capped(usual.price), size: capped(usual.size) }),
  },
  defaultSymbols: ['BTC/USDT', 'ETH/USDT', 'ETH/BTC'],
  limits: {
    connects: CONNECTS,
    messages: { count: 5, perMs: 1000, per: 'connection' },
    pingsCount: true,
    subscriptionsPerConnection: 1024,
    ping: { everyMs: 20_000, pongWithinMs: 60_000 },
    lifetimeMs: DAY_MS,
    weight: { count: 6000, perMs: 60_000 },
  },
  first: 'ack',
  faults: { shutdown: 'serverShutdown is announced, and 10 s later the connection ends' },
}

const USDM: ExchangeRules = {
  exchange: 'binanceusdm',
  listing: {
    quotes: ['USDT:USDT', 'USDC:USDC'],
    wireSymbol: ({ base, quote, settle, expiry }) =>
      settle === quote ? base + quote + (expiry === undefined ? '' : `_${expiry}`) : undefined,
    increments: ({ base }, usual) =>
      base === 'BTC' ? { price: '0.1', size: '0.001' } : {
        price: capped(usual.price),
        size: usual.size === '0.00000001' ? '0.001' : usual.size,
      },
  },
  defaultSymbols: ['BTC/USDT:USDT', 'ETH/USDT:USDT', 'ETH/USDC:USDC'],
  limits: {
    connects: CONNECTS,
    messages: { count: 10, perMs: 1000, per: 'connection' },
    pingsCount: true,
    subscriptionsPerConnection: 1024,
    ping: { everyMs: 180_000, pongWithinMs: 600_000 },
    lifetimeMs: DAY_MS,
    weight: { count: 2400, perMs: 60_000 },
  },
  first: 'ack',
}

/** Nothing here has more than eight decimals. */
function capped(increment: string): string {
  const [, fraction = ''] = increment.split('.')
  return fraction.length > SPOT_DECIMALS ? '0.00000001' : increment
}

class BinanceConnection extends Connection {
  /** Frames are wrapped with the name of their stream. */
  isCombined = false
  inMicroseconds = false
  /** Streams without data here, by name. */
  readonly others = new Set<string>()
}

/** Update ids are the product's own: the same on every connection and in REST. */
export class BinanceExchange extends SimulatedExchange<BinanceConnection> {
  readonly #isSpot: boolean
  readonly #writer = new Writer()
  /** What stands before the frames of a stream on combined connections. */
  readonly #heads = new Map<string, Uint8Array>()
  /** Speed and time unit -> channel. */
  readonly #channels = new Map<string, Channel>()

  constructor(rules: ExchangeRules, options: ExchangeOptions, output: ExchangeOutput) {
    super(rules, options, output)
    this.#isSpot = rules === SPOT
    this.ids = this.products.map(({ symbol }) => {
      const base = 1e9 + hashText(symbol, options.seed ?? 1)
      // Futures share their ids: others come between two of a product.
      return this.#isSpot ? new UpdateIds(base, 8, 8) : new UpdateIds(base * 40, 64, 32)
    })
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): BinanceConnection {
    const connection = new BinanceConnection(id, nowMs, path, query)
    connection.isCombined = path.endsWith('/stream')
    const unit = (query.get('timeUnit') ?? '').toLowerCase()
    connection.inMicroseconds = this.#isSpot && unit === 'microsecond'
    return connection
  }

  protected override accepts(path: string): boolean {
    return this.#isSpot
      ? /^\/(?:ws(?:\/.*)?|stream)$/.test(path)
      : /^\/(?:public|market)\/(?:ws(?:\/.*)?|stream)$/.test(path)
  }

  /** Streams may be named in the address. */
  protected override greet(connection: BinanceConnection, nowMs: number): void {
    const raw = /\/ws\/(.+)$/.exec(connection.path)?.[1]
    const names = connection.query.get('streams') ?? raw
    if (names === undefined) return
    for (const name of decodeURIComponent(names).split('/')) {
      if (name !== '') this.#subscribe(connection, name, nowMs)
    }
  }

  protected override message(connection: BinanceConnection, text: string, nowMs: number): void {
    let request: { method?: unknown; params?: unknown; id?: unknown } | null
    try {
      request = JSON.parse(text)
    } catch (error) {
      const why = error instanceof Error ? error.message : 'not JSON'
      return this.#error(connection, 3, `Invalid JSON: ${why}`, undefined, nowMs)
    }
    if (request === null || typeof request !== 'object' || Array.isArray(request)) {
      return this.#error(connection, 2, 'Invalid request: not an object', undefined, nowMs)
    }
    const { method, params, id } = request
    if (!isId(id)) {
      const what = 'Invalid request: request ID must be an integer, a string or null'
      return this.#error(connection, 2, what, undefined, nowMs)
    }
    switch (method) {
      case 'SUBSCRIBE':
      case 'UNSUBSCRIBE': {
        if (!Array.isArray(params) || !params.every((one) => typeof one === 'string')) {
          const what = 'Invalid request: params must be a list of stream names'
          return this.#error(connection, 2, what, id, nowMs)
        }
        if (method === 'UNSUBSCRIBE') {
          for (const name of params) this.#unsubscribe(connection, name, nowMs)
        } else {
          let ignored = 0
          for (const name of params) {
            const verdict = this.#subscribe(connection, name, nowMs)
            if (verdict === 'refuse') {
              return this.#error(connection, 2, `Invalid request: ${name}`, id, nowMs)
            }
            if (verdict === 'ignore') ignored++
          }
          if (ignored > 0 && ignored === params.length) return
        }
        return this.#result(connection, null, id, nowMs)
      }
      case 'LIST_SUBSCRIPTIONS': {
        const named = [...connection.subscriptions.values()].map((one) => one.name)
        return this.#result(connection, [...named, ...connection.others], id, nowMs)
      }
      case 'SET_PROPERTY':
        if (Array.isArray(params) && params[0] === 'combined') {
          connection.isCombined = params[1] === true
        }
        return this.#result(connection, null, id, nowMs)
      default:
        return this.#error(
          connection,
          2,
          `Invalid request: unknown variant \`${String(method)}\``,
          id,
          nowMs,
        )
    }
  }

  #subscribe(
    connection: BinanceConnection,
    name: string,
    nowMs: number,
  ): 'ok' | 'refuse' | 'ignore' {
    connection.subscribed = true
    const found = this.#stream(connection, name)
    if (found === undefined) {
      // Acknowledged like any other, and never heard of again.
      connection.others.add(name)
      return 'ok'
    }
    const [product, channel] = found
    const verdict = this.verdict(connection, product, nowMs)
    if (verdict !== 'ok') return verdict
    if (this.subscriptionTo(connection, product, channel) !== undefined) return 'ok'
    const made = this.subscribe(connection, product, channel, undefined, name, nowMs)
    return made === undefined ? 'refuse' : 'ok'
  }

  #unsubscribe(connection: BinanceConnection, name: string, nowMs: number): void {
    connection.others.delete(name)
    for (const subscription of connection.subscriptions.values()) {
      if (subscription.name === name) return this.unsubscribe(subscription, nowMs)
    }
  }

  /** `btcusdt@depth@100ms`; undefined for what is not a book stream of a listed product. */
  #stream(connection: BinanceConnection, name: string): [number, Channel] | undefined {
    const match = /^([a-z0-9_]+)@depth(?:@(\d+)ms)?$/.exec(name)
    if (match === null || connection.path.startsWith('/market/')) return undefined
    const speed = match[2] ?? (this.#isSpot ? '1000' : '250')
    const speeds = this.#isSpot ? ['100', '1000'] : ['0', '100', '250', '500']
    const product = this.find(match[1]!.toUpperCase())
    if (product === undefined || !speeds.includes(speed)) return undefined
    const key = `depth@${speed}${connection.inMicroseconds ? 'us' : ''}`
    let channel = this.#channels.get(key)
    if (channel === undefined) {
      channel = { key, depth: Infinity, snapshotElsewhere: true }
      this.#channels.set(key, channel)
    }
    return [product, channel]
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const writer = this.#writer
    const { stream, market, from, version, nowMs, count, side } = update
    const ids = this.ids![stream.product]!
    const before = ids.last(from)
    const last = ids.last(version)
    const isMicro = stream.channel.key.endsWith('us')
    const time = Math.floor(isMicro ? nowMs * 1000 : nowMs)
    writer.end = 0
    writer.text(`{"e":"depthUpdate","E":${time}`)
    if (this.#isSpot) {
      writer.text(`,"s":"${market.product.wireSymbol}","U":${before + 1},"u":${last}`)
    } else {
      // Ids of other products lie between.
      writer.text(
        `,"T":${time - 3},"s":"${market.product.wireSymbol}","U":${
          before + 1 + (version * 7) % 20
        }` +
          `,"u":${last},"pu":${before}`,
      )
    }
    const decimals = this.#isSpot ? SPOT_DECIMALS : undefined
    for (let which = BID; which <= ASK; which++) {
      writer.text(which === BID ? ',"b":[' : '],"a":[')
      let isFirst = true
      for (let i = 0; i < count; i++) {
        if (side[i] !== which) continue
        writer.text(isFirst ? '["' : ',["')
        update.writePrice(writer, i, decimals)
        writer.text('","')
        update.writeSize(writer, i, decimals)
        writer.text('"]')
        isFirst = false
      }
    }
    writer.text(']}')
    return writer.bytes.subarray(0, writer.end)
  }

  protected override stamped(shared: Uint8Array, subscription: Subscription): Uint8Array {
    const connection = subscription.connection as BinanceConnection
    if (!connection.isCombined) return shared.slice()
    let head = this.#heads.get(subscription.name)
    if (head === undefined) {
      head = ascii(`{"stream":"${subscription.name}","data":`)
      this.#heads.set(subscription.name, head)
    }
    const frame = new Uint8Array(head.length + shared.length + END.length)
    frame.set(head)
    frame.set(shared, head.length)
    frame.set(END, head.length + shared.length)
    return frame
  }

  protected override ownFault(
    kind: string,
    connection: BinanceConnection,
    nowMs: number,
  ): boolean {
    if (kind !== 'shutdown' || !connection.subscribed || connection.timerMs !== Infinity) {
      return false
    }
    const event = `{"e":"serverShutdown","E":${Math.floor(nowMs)}}`
    const text = connection.isCombined ? `{"stream":"!serverShutdown","data":${event}}` : event
    this.send(connection, text, nowMs)
    connection.timerMs = nowMs + SHUTDOWN_MS
    return true
  }

  protected override timer(connection: BinanceConnection): void {
    this.close(connection, 1001, 'server shutdown')
  }

  protected override overMessages(connection: BinanceConnection): void {
    this.close(connection, 1008, 'Too many requests')
  }

  #result(connection: BinanceConnection, result: unknown, id: unknown, nowMs: number): void {
    const text = JSON.stringify({ result, id })
    this.acknowledge(connection, () => text, nowMs)
  }

  #error(
    connection: BinanceConnection,
    code: number,
    msg: string,
    id: unknown,
    nowMs: number,
  ): void {
    // Requests that can be read are answered with their id.
    const answer = id === undefined ? { code, msg } : { error: { code, msg }, id }
    this.refuse(connection, JSON.stringify(answer), nowMs)
  }

  // ---- REST

  protected override weightOf(path: string, query: URLSearchParams): number {
    if (path.endsWith('/depth')) {
      const limit = Number(query.get('limit') ?? (this.#isSpot ? '100' : '500'))
      const weights = this.#isSpot ? WEIGHTS_SPOT : WEIGHTS_USDM
      return (weights.find(([most]) => limit <= most) ?? weights.at(-1)!)[1]
    }
    if (path.endsWith('/exchangeInfo')) return this.#isSpot ? 20 : 1
    if (path.endsWith('/ticker/24hr') && !query.has('symbol')) return this.#isSpot ? 80 : 40
    return 1
  }

  protected override restHeaders(usedWeight: number): Record<string, string> {
    return { 'x-mbx-used-weight-1m': String(usedWeight) }
  }

  protected override restError(status: number, nowMs: number, retryAfterS: number): unknown {
    if (status === 418) {
      const until = Math.floor(nowMs + retryAfterS * 1000)
      return { code: -1003, msg: `Way too much request weight used; IP banned until ${until}.` }
    }
    if (status === 429) {
      const most = this.limits.weight?.count
      const msg = `Too much request weight used; current limit is ${most} request weight per ` +
        '1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.'
      return { code: -1003, msg }
    }
    return { code: -1001, msg: 'Internal error; unable to process your request.' }
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    const root = this.#isSpot ? '/api/v3/' : '/fapi/v1/'
    if (!path.startsWith(root)) return undefined
    switch (path.slice(root.length)) {
      case 'ping':
        return { status: 200, body: {} }
      case 'time':
        return { status: 200, body: { serverTime: Math.floor(nowMs) } }
      case 'depth':
        return this.#depth(query, nowMs)
      case 'exchangeInfo':
        return { status: 200, body: this.#exchangeInfo(nowMs) }
      case 'ticker/24hr':
        return this.#tickers(query, nowMs)
      default:
        return undefined
    }
  }

  #listed(): Product[] {
    return this.products.filter((product) => !this.isDelisted(product.symbol))
  }

  #depth(query: URLSearchParams, nowMs: number): RestAnswer {
    const product = this.find(query.get('symbol') ?? '')
    if (product === undefined) return INVALID_SYMBOL
    const asked = query.get('limit')
    let limit = Number(asked ?? (this.#isSpot ? '100' : '500'))
    if (this.#isSpot) limit = Math.min(limit, 5000)
    if (this.#isSpot ? !(limit >= 1) : !USDM_LIMITS.includes(limit)) {
      const msg = this.#isSpot ? "Illegal characters found in parameter 'limit'" : `${asked} is ` +
        `not valid depth limit.`
      return { status: 400, body: { code: this.#isSpot ? -1100 : -4021, msg } }
    }
    const { version, bids, asks } = this.restBook(product, limit, nowMs)
    const { priceStep, priceDecimals, sizeStep, sizeDecimals } = this.products[product]!
    const decimals = this.#isSpot ? SPOT_DECIMALS : undefined
    const rows = (side: readonly (readonly [number, number])[]) =>
      side.map(([ticks, lots]) => [
        fixedText(ticks * priceStep, priceDecimals, decimals),
        fixedText(lots * sizeStep, sizeDecimals, decimals),
      ])
    const lastUpdateId = this.ids![product]!.last(version)
    const times = this.#isSpot ? {} : { E: Math.floor(nowMs), T: Math.floor(nowMs) - 8 }
    return { status: 200, body: { lastUpdateId, ...times, bids: rows(bids), asks: rows(asks) } }
  }

  #exchangeInfo(nowMs: number): unknown {
    const { count } = this.limits.weight ?? { count: 0 }
    return {
      timezone: 'UTC',
      serverTime: Math.floor(nowMs),
      rateLimits: [
        { rateLimitType: 'REQUEST_WEIGHT', interval: 'MINUTE', intervalNum: 1, limit: count },
      ],
      exchangeFilters: [],
      symbols: this.#listed().map((one) => this.#isSpot ? spotSymbol(one) : usdmSymbol(one)),
    }
  }

  #tickers(query: URLSearchParams, nowMs: number): RestAnswer {
    const wanted = query.get('symbol')
    if (wanted === null) {
      return { status: 200, body: this.#listed().map((one) => this.#ticker(one, nowMs)) }
    }
    const product = this.find(wanted)
    if (product === undefined) return INVALID_SYMBOL
    return { status: 200, body: this.#ticker(this.products[product]!, nowMs) }
  }

  #ticker(product: Product, nowMs: number): unknown {
    const market = this.markets[product.index]!
    const ticks = market.best(BID)
    const price = Number.isNaN(ticks) ? 0 : ticks * product.priceStep *
      Math.pow(10, -product.priceDecimals)
    // The first products trade the most.
    const quoteVolume = 1e9 / (product.index + 1)
    return {
      symbol: product.wireSymbol,
      priceChange: '0.00000000',
      priceChangePercent: '0.000',
      lastPrice: price.toFixed(8),
      bidPrice: price.toFixed(8),
      volume: (price === 0 ? 0 : quoteVolume / price).toFixed(8),
      quoteVolume: quoteVolume.toFixed(8),
      openTime: Math.floor(nowMs) - DAY_MS,
      closeTime: Math.floor(nowMs),
      count: 1000,
    }
  }
}

const INVALID_SYMBOL: RestAnswer = {
  status: 400,
  body: { code: -1121, msg: 'Invalid symbol.' },
}

/** int64, at most 36 letters and digits, or null. */
function isId(id: unknown): boolean {
  if (id === null || Number.isInteger(id)) return true
  return typeof id === 'string' && /^[0-9A-Za-z_-]{1,36}$/.test(id)
}

function filtersOf(product: Product, decimals?: number): unknown[] {
  const { priceStep, priceDecimals, sizeStep, sizeDecimals } = product
  const tickSize = fixedText(priceStep, priceDecimals, decimals)
  const stepSize = fixedText(sizeStep, sizeDecimals, decimals)
  return [
    { filterType: 'PRICE_FILTER', minPrice: tickSize, maxPrice: '10000000', tickSize },
    { filterType: 'LOT_SIZE', minQty: stepSize, maxQty: '9000000000', stepSize },
    { filterType: 'MARKET_LOT_SIZE', minQty: stepSize, maxQty: '9000000', stepSize },
  ]
}

function spotSymbol(product: Product): unknown {
  return {
    symbol: product.wireSymbol,
    status: 'TRADING',
    baseAsset: product.base,
    baseAssetPrecision: 8,
    quoteAsset: product.quote,
    quotePrecision: 8,
    quoteAssetPrecision: 8,
    orderTypes: ['LIMIT', 'MARKET'],
    icebergAllowed: true,
    ocoAllowed: true,
    isSpotTradingAllowed: true,
    isMarginTradingAllowed: false,
    filters: [
      ...filtersOf(product, SPOT_DECIMALS),
      { filterType: 'NOTIONAL', minNotional: '5.00000000', maxNotional: '9000000.00000000' },
    ],
    permissions: [],
    permissionSets: [['SPOT']],
  }
}

function usdmSymbol(product: Product): unknown {
  const { base, quote, settle, expiry } = product
  const [year, month, day] = expiry === undefined
    ? [2100, 12, 25]
    : [0, 2, 4].map((at) => Number(expiry.slice(at, at + 2)))
  const date = Date.UTC(expiry === undefined ? year! : 2000 + year!, month! - 1, day, 8)
  return {
    symbol: product.wireSymbol,
    pair: base + quote,
    contractType: expiry === undefined ? 'PERPETUAL' : 'CURRENT_QUARTER',
    deliveryDate: date,
    onboardDate: 1_569_398_400_000,
    status: 'TRADING',
    maintMarginPercent: '2.5000',
    requiredMarginPercent: '5.0000',
    baseAsset: base,
    quoteAsset: quote,
    marginAsset: settle,
    pricePrecision: product.priceDecimals,
    quantityPrecision: product.sizeDecimals,
    baseAssetPrecision: 8,
    quotePrecision: 8,
    underlyingType: 'COIN',
    orderTypes: ['LIMIT', 'MARKET'],
    timeInForce: ['GTC', 'IOC', 'FOK'],
    filters: [...filtersOf(product), { filterType: 'MIN_NOTIONAL', notional: '5' }],
  }
}

function subscribeText(wireSymbol: string): string {
  const params = [`${wireSymbol.toLowerCase()}@depth@100ms`]
  return JSON.stringify({ method: 'SUBSCRIBE', params, id: 1 })
}

export const binance: Twin = {
  rules: SPOT,
  create: (options, output) => new BinanceExchange(SPOT, options, output),
  target: () => '/stream',
  subscribeText,
}

export const binanceusdm: Twin = {
  rules: USDM,
  create: (options, output) => new BinanceExchange(USDM, options, output),
  target: () => '/public/stream',
  subscribeText,
}
