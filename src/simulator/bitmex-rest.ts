/** The public REST calls of BitMEX that market metadata, volumes and a book cross-check need. */
import type { BitmexExchange } from './bitmex.ts'
import { idOf, priceToken } from './bitmex.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

const DEPTH_DEFAULT = 25

function codeOf(currency: string): string {
  return currency === 'BTC' ? 'XBT' : currency
}

/** Currencies that something is settled in are counted in their smallest part. */
function settlementOf(currency: string): string {
  return currency === 'BTC' ? 'XBt' : currency === 'USDT' ? 'USDt' : currency
}

function expiryOf({ expiry }: Product): string | null {
  if (expiry === undefined) return null
  const [year, month, day] = [0, 2, 4].map((at) => expiry.slice(at, at + 2))
  return `20${year}-${month}-${day}T12:00:00.000Z`
}

function instrument(exchange: BitmexExchange, product: Product): Record<string, unknown> {
  const { symbol, wireSymbol, base, quote, settle, expiry } = product
  const top = exchange.truth(symbol, 1)
  const isInverse = settle === base
  return {
    symbol: wireSymbol,
    rootSymbol: codeOf(base),
    state: exchange.isDelisted(symbol) ? 'Unlisted' : 'Open',
    typ: settle === undefined ? 'IFXXXP' : expiry === undefined ? 'FFWCSX' : 'FFCCSX',
    listing: '2020-01-01T00:00:00.000Z',
    expiry: expiryOf(product),
    underlying: codeOf(base),
    quoteCurrency: codeOf(quote),
    settlCurrency: settle === undefined ? '' : settlementOf(settle),
    positionCurrency: isInverse ? quote : '',
    lotSize: 1,
    tickSize: Number(product.quoteIncrement),
    multiplier: isInverse ? -100_000_000 : 1,
    isInverse,
    isQuanto: settle !== undefined && !isInverse && settle !== quote,
    bidPrice: Number(top?.bids[0]?.[0] ?? 0),
    askPrice: Number(top?.asks[0]?.[0] ?? 0),
    // The first of a list trades the most.
    foreignNotional24h: Math.round(50_000_000 / (product.index + 1)),
  }
}

/** Answers one GET; undefined when the exchange has no such path. */
export function bitmexRest(
  exchange: BitmexExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  switch (path) {
    case '/api/v1/instrument/active':
      return {
        status: 200,
        body: exchange.products.filter(({ symbol }) => !exchange.isDelisted(symbol))
          .map((product) => instrument(exchange, product)),
      }
    case '/api/v1/orderBook/L2': {
      const id = query.get('symbol') ?? ''
      const product = exchange.products.find(({ wireSymbol }) => wireSymbol === id)
      if (product === undefined) return { status: 200, body: [] }
      const wanted = Number(query.get('depth') ?? DEPTH_DEFAULT)
      const depth = wanted === 0 ? Infinity : wanted
      const { bids, asks } = exchange.bookOf(product.index, depth, nowMs)
      const rows = (side: string, levels: readonly [number, number][]) =>
        levels.map(([ticks, lots]) => ({
          symbol: id,
          id: idOf(product, ticks),
          side,
          size: lots * product.sizeStep,
          price: Number(priceToken(product, ticks)),
        }))
      return { status: 200, body: [...rows('Sell', asks.toReversed()), ...rows('Buy', bids)] }
    }
    default:
      return undefined
  }
}
