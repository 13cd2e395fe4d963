/** The public REST calls of Bybit that market metadata, volumes and a book cross-check need. */
import type { BybitExchange } from './bybit.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

const LIMIT_DEFAULT = 500
const LIMIT_MAX = 1000
const LAUNCHED_MS = Date.UTC(2020, 2, 30)

function answered(result: unknown, nowMs: number): RestAnswer {
  return {
    status: 200,
    body: { retCode: 0, retMsg: 'OK', result, retExtInfo: {}, time: Math.floor(nowMs) },
  }
}

/** As the exchange refuses: in the body of an answer that is well. */
function refused(retCode: number, retMsg: string, nowMs: number): RestAnswer {
  return {
    status: 200,
    body: { retCode, retMsg, result: {}, retExtInfo: {}, time: Math.floor(nowMs) },
  }
}

/** What is listed and traded; nothing waits for its launch here. */
function listed(exchange: BybitExchange, query: URLSearchParams): readonly Product[] {
  const category = query.get('category')
  const symbol = query.get('symbol')
  const status = query.get('status') ?? 'Trading'
  if (status !== 'Trading') return []
  return exchange.products.filter((product) =>
    product.segment === category && !exchange.isDelisted(product.symbol) &&
    (symbol === null || product.wireSymbol === symbol)
  )
}

function deliveryMs({ expiry }: Product): number {
  if (expiry === undefined) return 0
  const [year, month, day] = [0, 2, 4].map((at) => Number(expiry.slice(at, at + 2)))
  return Date.UTC(2000 + year!, month! - 1, day!, 8)
}

function spot(product: Product): Record<string, unknown> {
  const { wireSymbol, base, quote, baseIncrement, quoteIncrement } = product
  return {
    symbol: wireSymbol,
    baseCoin: base,
    quoteCoin: quote,
    innovation: '0',
    status: 'Trading',
    marginTrading: 'utaOnly',
    stTag: '0',
    lotSizeFilter: {
      basePrecision: baseIncrement,
      quotePrecision: '0.00000001',
      minOrderQty: baseIncrement,
      maxOrderQty: '1000000000',
      minOrderAmt: '5',
      maxOrderAmt: '8000000',
    },
    priceFilter: { tickSize: quoteIncrement },
    riskParameters: { priceLimitRatioX: '0.01', priceLimitRatioY: '0.02' },
  }
}

function contract(product: Product): Record<string, unknown> {
  const { wireSymbol, base, quote, settle, expiry, baseIncrement, quoteIncrement } = product
  const kind = product.segment === 'linear' ? 'Linear' : 'Inverse'
  return {
    symbol: wireSymbol,
    contractType: `${kind}${expiry === undefined ? 'Perpetual' : 'Futures'}`,
    status: 'Trading',
    baseCoin: base,
    quoteCoin: quote,
    launchTime: String(LAUNCHED_MS),
    deliveryTime: String(deliveryMs(product)),
    deliveryFeeRate: '',
    priceScale: String(product.priceDecimals),
    leverageFilter: { minLeverage: '1', maxLeverage: '100.00', leverageStep: '0.01' },
    priceFilter: { minPrice: quoteIncrement, maxPrice: '1999999.98', tickSize: quoteIncrement },
    lotSizeFilter: {
      maxOrderQty: '1000000000',
      minOrderQty: baseIncrement,
      qtyStep: baseIncrement,
      postOnlyMaxOrderQty: '1000000000',
      minNotionalValue: '5',
    },
    unifiedMarginTrade: true,
    fundingInterval: 480,
    settleCoin: settle,
    copyTrading: 'both',
    upperFundingRate: '0.00375',
    lowerFundingRate: '-0.00375',
    isPreListing: false,
    preListingInfo: null,
  }
}

function instruments(
  exchange: BybitExchange,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer {
  const category = query.get('category')
  const found = listed(exchange, query)
  if (category === 'spot') {
    return answered({ category, list: found.map(spot) }, nowMs)
  }
  const limit = Math.min(LIMIT_MAX, Number(query.get('limit') ?? LIMIT_DEFAULT) || LIMIT_DEFAULT)
  const from = Number(/^from=(\d+)$/.exec(query.get('cursor') ?? '')?.[1] ?? 0)
  const next = from + limit < found.length ? `from=${from + limit}` : ''
  const list = found.slice(from, from + limit).map(contract)
  return answered({ category, list, nextPageCursor: next }, nowMs)
}

/** The first of a list trades the most. */
function tickers(exchange: BybitExchange, query: URLSearchParams, nowMs: number): RestAnswer {
  const list = listed(exchange, query).map((product) => {
    const top = exchange.truth(product.symbol, 1)
    const [bid = ['', ''], ask = ['', '']] = [top?.bids[0], top?.asks[0]]
    const price = Number(bid[0] || ask[0] || 1)
    const quote = 50_000_000 / (product.index + 1)
    const [volume, turnover] = product.segment === 'inverse'
      ? [quote, quote / price]
      : [quote / price, quote]
    return {
      symbol: product.wireSymbol,
      bid1Price: bid[0],
      bid1Size: bid[1],
      ask1Price: ask[0],
      ask1Size: ask[1],
      lastPrice: bid[0],
      prevPrice24h: bid[0],
      price24hPcnt: '0.01',
      highPrice24h: bid[0],
      lowPrice24h: bid[0],
      turnover24h: turnover.toFixed(4),
      volume24h: volume.toFixed(4),
    }
  })
  return answered({ category: query.get('category'), list }, nowMs)
}

function orderBook(exchange: BybitExchange, query: URLSearchParams, nowMs: number): RestAnswer {
  const [product] = query.get('symbol') === null ? [] : listed(exchange, query)
  if (product === undefined) return refused(10001, 'params error: symbol invalid', nowMs)
  const limit = Number(query.get('limit') ?? 25) || 25
  const most = product.segment === 'spot' ? 200 : 500
  const { market, version, bids, asks } = exchange.book(
    product.index,
    Math.min(limit, most),
    nowMs,
  )
  const texts = (rows: readonly [number, number][]) =>
    rows.map(([ticks, lots]) => [market.priceText(ticks), market.sizeText(lots)])
  return answered({
    s: product.wireSymbol,
    b: texts(bids),
    a: texts(asks),
    ts: Math.floor(nowMs),
    u: version,
    seq: exchange.sequence(product.index, version),
    cts: Math.floor(nowMs) - 1,
  }, nowMs)
}

const CATEGORIES = ['spot', 'linear', 'inverse', 'option']
const CALLS = new Map([
  ['/v5/market/instruments-info', instruments],
  ['/v5/market/tickers', tickers],
  ['/v5/market/orderbook', orderBook],
])

function time(nowMs: number): RestAnswer {
  const ms = Math.floor(nowMs)
  return answered({ timeSecond: String(Math.floor(ms / 1000)), timeNano: `${ms}000000` }, nowMs)
}

/** Answers one GET; undefined when the exchange has no such path. */
export function bybitRest(
  exchange: BybitExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  if (path === '/v5/market/time') return time(nowMs)
  const call = CALLS.get(path)
  if (call === undefined) return undefined
  const category = query.get('category') ?? ''
  if (!CATEGORIES.includes(category)) {
    return refused(10001, 'params error: Category is invalid', nowMs)
  }
  return call(exchange, query, nowMs)
}
