/** The public REST calls of Bitfinex that market metadata, volumes and a book cross-check need. */
import { listedPair } from './bitfinex-names.ts'
import type { BitfinexExchange } from './bitfinex.ts'
import type { RestBook } from './exchange.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

/** Of an order, in the base currency. */
const SIZE_MIN = '0.00004'
const SIZE_MAX = '2000.0'
const LENGTHS = [1, 25, 100, 250]

function listed(exchange: BitfinexExchange): readonly Product[] {
  return exchange.products.filter(({ symbol }) => !exchange.isDelisted(symbol))
}

function pairInfo(product: Product): unknown[] {
  const limits = [null, null, null, SIZE_MIN, SIZE_MAX, null, null, null, 0.2, 0.1, null]
  return [listedPair(product.wireSymbol), limits]
}

/** One list of the configuration; one that does not exist is empty. */
function configuration(exchange: BitfinexExchange, label: string): unknown[] {
  const products = listed(exchange)
  const spot = products.filter(({ settle }) => settle === undefined)
  const futures = products.filter(({ settle }) => settle !== undefined)
  switch (label) {
    case 'pub:info:pair':
      return spot.map(pairInfo)
    case 'pub:info:pair:futures':
      return futures.map(pairInfo)
    case 'pub:list:pair:exchange':
      return spot.map(({ wireSymbol }) => listedPair(wireSymbol))
    case 'pub:list:pair:futures':
      return futures.map(({ wireSymbol }) => listedPair(wireSymbol))
    default:
      return []
  }
}

/** The first of a list trades the most. */
function ticker(exchange: BitfinexExchange, product: Product): unknown[] {
  const top = exchange.truth(product.symbol, 1)
  const [bid, bidSize] = (top?.bids[0] ?? ['0', '0']).map(Number)
  const [ask, askSize] = (top?.asks[0] ?? ['0', '0']).map(Number)
  const last = bid || ask || 1
  const volume = Number((50_000_000 / (product.index + 1) / last).toFixed(8))
  return [product.wireSymbol, bid, bidSize, ask, askSize, 0, 0, last, volume, last, last]
}

function rows({ market, bids, asks }: RestBook): unknown[] {
  const row = ([ticks, lots]: [number, number], sign: number) => [
    Number(market.priceText(ticks)),
    1 + lots % 5,
    sign * Number(market.sizeText(lots)),
  ]
  return [...bids.map((level) => row(level, 1)), ...asks.map((level) => row(level, -1))]
}

/** Answers one GET; undefined when the exchange has no such path. */
export function bitfinexRest(
  exchange: BitfinexExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  const [version, call, argument = '', precision] = decodeURIComponent(path).split('/').slice(1)
  if (version !== 'v2') return undefined
  switch (call) {
    case 'platform':
      return argument === 'status' ? { status: 200, body: [1] } : undefined
    case 'conf': {
      const labels = argument.split(',')
      return { status: 200, body: labels.map((label) => configuration(exchange, label)) }
    }
    case 'tickers': {
      const wanted = query.get('symbols') ?? ''
      const products = wanted === 'ALL'
        ? listed(exchange)
        : listed(exchange).filter(({ wireSymbol }) => wanted.split(',').includes(wireSymbol))
      return { status: 200, body: products.map((product) => ticker(exchange, product)) }
    }
    case 'book': {
      const product = listed(exchange).find(({ wireSymbol }) => wireSymbol === argument)
      const length = Number(query.get('len') ?? 25)
      if (product === undefined || precision !== 'P0' || !LENGTHS.includes(length)) {
        return { status: 500, body: ['error', 10_020, 'symbol: invalid'] }
      }
      return { status: 200, body: rows(exchange.book(product.index, length, nowMs)) }
    }
    default:
      return undefined
  }
}
