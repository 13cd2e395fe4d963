/** The public REST calls of Binance, spot and USD-M: books, metadata, tickers, and what they cost. */
import type { BinanceExchange } from './binance.ts'
import { fixedText } from './products.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

/** What the numbers of spot are padded to. */
export const SPOT_DECIMALS = 8
const DAY_MS = 86_400_000
const SPOT_DEPTH_MAX = 5000
const USDM_DEPTHS = [5, 10, 20, 50, 100, 500, 1000]
/** Of a book: levels at most -> weight. */
const SPOT_WEIGHTS: readonly (readonly [number, number])[] = [
  [100, 5],
  [500, 25],
  [1000, 50],
  [5000, 250],
]
const USDM_WEIGHTS: readonly (readonly [number, number])[] = [
  [50, 2],
  [100, 5],
  [500, 10],
  [1000, 20],
]
const INVALID_SYMBOL: RestAnswer = {
  status: 400,
  body: { code: -1121, msg: 'Invalid symbol.' },
}

export function binanceWeight(isSpot: boolean, path: string, query: URLSearchParams): number {
  if (path.endsWith('/depth')) {
    const limit = Number(query.get('limit') ?? (isSpot ? '100' : '500'))
    const weights = isSpot ? SPOT_WEIGHTS : USDM_WEIGHTS
    return (weights.find(([most]) => limit <= most) ?? weights.at(-1)!)[1]
  }
  if (path.endsWith('/exchangeInfo')) return isSpot ? 20 : 1
  if (path.endsWith('/ticker/24hr') && !query.has('symbol')) return isSpot ? 80 : 40
  return 1
}

/** The body of a refusal or failure. */
export function binanceError(status: number, most: number | undefined, untilMs: number): unknown {
  if (status === 418) {
    const until = Math.floor(untilMs)
    return { code: -1003, msg: `Way too much request weight used; IP banned until ${until}.` }
  }
  if (status === 429) {
    const msg = `Too much request weight used; current limit is ${most} request weight per ` +
      '1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.'
    return { code: -1003, msg }
  }
  return { code: -1001, msg: 'Internal error; unable to process your request.' }
}

/** Answers one GET; undefined when the exchange has no such path. */
export function binanceRest(
  exchange: BinanceExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  const root = exchange.isSpot ? '/api/v3/' : '/fapi/v1/'
  if (!path.startsWith(root)) return undefined
  switch (path.slice(root.length)) {
    case 'ping':
      return { status: 200, body: {} }
    case 'time':
      return { status: 200, body: { serverTime: Math.floor(nowMs) } }
    case 'depth':
      return depthOf(exchange, query, nowMs)
    case 'exchangeInfo':
      return { status: 200, body: exchangeInfo(exchange, nowMs) }
    case 'ticker/24hr':
      return tickers(exchange, query, nowMs)
    default:
      return undefined
  }
}

/** By its wire symbol alone. */
function find(exchange: BinanceExchange, wireSymbol: string): Product | undefined {
  const product = exchange.product(`:${wireSymbol}`)
  return product === undefined || exchange.isDelisted(product.symbol) ? undefined : product
}

function listed(exchange: BinanceExchange): Product[] {
  return exchange.products.filter((product) => !exchange.isDelisted(product.symbol))
}

function depthOf(exchange: BinanceExchange, query: URLSearchParams, nowMs: number): RestAnswer {
  const { isSpot } = exchange
  const product = find(exchange, query.get('symbol') ?? '')
  if (product === undefined) return INVALID_SYMBOL
  const asked = query.get('limit')
  let limit = Number(asked ?? (isSpot ? '100' : '500'))
  if (isSpot) limit = Math.min(limit, SPOT_DEPTH_MAX)
  if (isSpot ? !(limit >= 1) : !USDM_DEPTHS.includes(limit)) {
    const msg = isSpot
      ? "Illegal characters found in parameter 'limit'"
      : `${asked} is not valid depth limit.`
    return { status: 400, body: { code: isSpot ? -1100 : -4021, msg } }
  }
  const { lastUpdateId, bids, asks } = exchange.book(product.index, limit, nowMs)
  const { priceStep, priceDecimals, sizeStep, sizeDecimals } = product
  const decimals = isSpot ? SPOT_DECIMALS : undefined
  const rows = (side: readonly (readonly [number, number])[]) =>
    side.map(([ticks, lots]) => [
      fixedText(ticks * priceStep, priceDecimals, decimals),
      fixedText(lots * sizeStep, sizeDecimals, decimals),
    ])
  const times = isSpot ? {} : { E: Math.floor(nowMs), T: Math.floor(nowMs) - 8 }
  return { status: 200, body: { lastUpdateId, ...times, bids: rows(bids), asks: rows(asks) } }
}

function exchangeInfo(exchange: BinanceExchange, nowMs: number): unknown {
  const { count } = exchange.limits.weight ?? { count: 0 }
  return {
    timezone: 'UTC',
    serverTime: Math.floor(nowMs),
    rateLimits: [
      { rateLimitType: 'REQUEST_WEIGHT', interval: 'MINUTE', intervalNum: 1, limit: count },
    ],
    exchangeFilters: [],
    symbols: listed(exchange).map((one) => exchange.isSpot ? spotSymbol(one) : usdmSymbol(one)),
  }
}

function tickers(exchange: BinanceExchange, query: URLSearchParams, nowMs: number): RestAnswer {
  const wanted = query.get('symbol')
  if (wanted === null) {
    return { status: 200, body: listed(exchange).map((one) => ticker(exchange, one, nowMs)) }
  }
  const product = find(exchange, wanted)
  if (product === undefined) return INVALID_SYMBOL
  return { status: 200, body: ticker(exchange, product, nowMs) }
}

function ticker(exchange: BinanceExchange, product: Product, nowMs: number): unknown {
  const price = exchange.bidOf(product)
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
