/** The public REST calls of Coinbase Exchange that market metadata, volumes and a cross-check need. */
import type { CoinbaseBatchExchange } from './coinbaseexchange.ts'
import { timestampText } from './clock-text.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

function listed(exchange: CoinbaseBatchExchange): Product[] {
  return exchange.products.filter(({ symbol }) => !exchange.isDelisted(symbol))
}

function describe(product: Product): Record<string, unknown> {
  const { wireSymbol, base, quote, baseIncrement, quoteIncrement } = product
  return {
    id: wireSymbol,
    base_currency: base,
    quote_currency: quote,
    quote_increment: quoteIncrement,
    base_increment: baseIncrement,
    display_name: `${base}/${quote}`,
    min_market_funds: '1',
    margin_enabled: false,
    post_only: false,
    limit_only: false,
    cancel_only: false,
    status: 'online',
    status_message: '',
    trading_disabled: false,
    fx_stablecoin: false,
    max_slippage_percentage: '0.02000000',
    auction_mode: false,
    high_bid_limit_percentage: '',
  }
}

function priceOf(exchange: CoinbaseBatchExchange, product: Product): number {
  const top = exchange.truth(product.symbol, 1)
  return Number(top?.bids[0]?.[0] ?? top?.asks[0]?.[0] ?? 1)
}

function book(
  exchange: CoinbaseBatchExchange,
  product: Product,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer {
  const level = query.get('level') ?? '1'
  const depth = level === '1' ? 1 : 50
  const { market, version, bids, asks } = exchange.bookOf(product.index, depth, nowMs)
  const texts = (rows: readonly [number, number][]) =>
    rows.map(([ticks, lots]) => [market.priceText(ticks), market.sizeText(lots), 1])
  return {
    status: 200,
    body: {
      bids: texts(bids),
      asks: texts(asks),
      sequence: version,
      auction_mode: false,
      auction: null,
      time: timestampText(nowMs, 6),
    },
  }
}

/** Answers one GET; undefined when the exchange has no such path. */
export function coinbaseExchangeRest(
  exchange: CoinbaseBatchExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  switch (path) {
    case '/products':
      return { status: 200, body: listed(exchange).map(describe) }
    case '/products/volume-summary':
      // The first of a list trades the most.
      return {
        status: 200,
        body: listed(exchange).map((product) => ({
          id: product.wireSymbol,
          base_currency: product.base,
          quote_currency: product.quote,
          display_name: `${product.base}/${product.quote}`,
          market_types: ['spot'],
          spot_volume_24hour: (50_000_000 / (product.index + 1) / priceOf(exchange, product))
            .toFixed(8),
          spot_volume_30day: '0',
          rfq_volume_24hour: '0',
          rfq_volume_30day: '0',
          conversion_volume_24hour: '0',
          conversion_volume_30day: '0',
        })),
      }
    case '/products/spark-lines':
      return {
        status: 200,
        body: Object.fromEntries(
          listed(exchange).map((product) => [
            product.wireSymbol,
            [[Math.floor(nowMs / 1000), priceOf(exchange, product)]],
          ]),
        ),
      }
    case '/currencies': {
      const codes = new Set(listed(exchange).flatMap(({ base, quote }) => [base, quote]))
      return {
        status: 200,
        body: [...codes].sort().map((id) => ({
          id,
          name: id,
          min_size: '0.00000001',
          status: 'online',
          message: '',
          max_precision: '0.00000001',
          convertible_to: [],
          details: { type: 'crypto' },
          default_network: '',
          supported_networks: [],
        })),
      }
    }
    case '/time':
      return {
        status: 200,
        body: { iso: new Date(nowMs).toISOString(), epoch: Math.floor(nowMs) / 1000 },
      }
    default: {
      const match = /^\/products\/([^/]+)(\/book)?$/.exec(path)
      if (match === null) return undefined
      const id = decodeURIComponent(match[1]!)
      const product = listed(exchange).find(({ wireSymbol }) => wireSymbol === id)
      if (product === undefined) return { status: 404, body: { message: 'NotFound' } }
      if (match[2] === undefined) return { status: 200, body: describe(product) }
      return book(exchange, product, query, nowMs)
    }
  }
}
