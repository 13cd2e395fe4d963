/** The public REST calls of Coinbase that market metadata and a book cross-check need. */
import type { CoinbaseExchange } from './coinbase.ts'
import { timestampText } from './clock-text.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

/** Products whose `-USDC` market is one of its own rather than another name of `-USD`. */
const OWN_USDC = new Set(['USDT', 'EURC'])

/** `BTC-USDC` for `BTC-USD`; undefined where there is no second name. */
export function aliasOf(product: Product): string | undefined {
  if (product.quote !== 'USD' || OWN_USDC.has(product.base)) return undefined
  return `${product.base}-USDC`
}

interface Listing {
  readonly product: Product
  readonly id: string
  readonly quote: string
  /** The product this one is another name of. */
  readonly alias: string
  readonly aliasTo: readonly string[]
}

function listings(exchange: CoinbaseExchange): Listing[] {
  const listed: Listing[] = []
  for (const product of exchange.products) {
    if (exchange.isDelisted(product.symbol)) continue
    const alias = aliasOf(product)
    // A product of its own is not an alias.
    const taken = alias !== undefined && exchange.product(alias) !== product
    const second = alias === undefined || taken ? [] : [alias]
    listed.push({
      product,
      id: product.wireSymbol,
      quote: product.quote,
      alias: '',
      aliasTo: second,
    })
    for (const id of second) {
      listed.push({ product, id, quote: 'USDC', alias: product.wireSymbol, aliasTo: [] })
    }
  }
  return listed
}

function describe(exchange: CoinbaseExchange, listing: Listing): Record<string, unknown> {
  const { product } = listing
  const top = exchange.truth(product.wireSymbol, 1)
  const price = top?.bids[0]?.[0] ?? top?.asks[0]?.[0] ?? ''
  return {
    product_id: listing.id,
    price,
    price_percentage_change_24h: '0.5',
    volume_24h: '1000',
    volume_percentage_change_24h: '1',
    base_increment: product.baseIncrement,
    quote_increment: product.quoteIncrement,
    quote_min_size: '1',
    quote_max_size: '50000000',
    base_min_size: product.baseIncrement,
    base_max_size: '1000000000',
    base_name: product.base,
    quote_name: listing.quote,
    watched: false,
    is_disabled: false,
    new: false,
    status: 'online',
    cancel_only: false,
    limit_only: false,
    post_only: false,
    trading_disabled: false,
    auction_mode: false,
    product_type: 'SPOT',
    quote_currency_id: listing.quote,
    base_currency_id: product.base,
    fcm_trading_session_details: null,
    mid_market_price: '',
    alias: listing.alias,
    alias_to: listing.aliasTo,
    base_display_symbol: product.base,
    quote_display_symbol: listing.quote,
    view_only: false,
    price_increment: product.quoteIncrement,
    display_name: `${product.base}-${listing.quote}`,
    product_venue: 'CBE',
    approximate_quote_24h_volume: '0',
  }
}

const FIAT: readonly (readonly [string, string])[] = [
  ['USD', 'US Dollar'],
  ['EUR', 'Euro'],
  ['GBP', 'British Pound'],
]

function cryptoCodes(exchange: CoinbaseExchange): string[] {
  const codes = new Set<string>()
  for (const { product, quote } of listings(exchange)) codes.add(product.base).add(quote)
  return [...codes].filter((code) => !FIAT.some((fiat) => fiat[0] === code)).sort()
}

function notFound(message: string): RestAnswer {
  return { status: 404, body: { error: 'NOT_FOUND', error_details: message, message } }
}

function productBook(
  exchange: CoinbaseExchange,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer {
  const id = query.get('product_id') ?? ''
  const limit = Number(query.get('limit') ?? '1000')
  const book = id.includes('/') ? undefined : exchange.truth(id, limit > 0 ? limit : 1000)
  if (book === undefined) return notFound(`valid product_id is required, found "${id}"`)
  const levels = (side: readonly (readonly [string, string])[]) =>
    side.map(([price, size]) => ({ price, size }))
  return {
    status: 200,
    body: {
      pricebook: {
        product_id: id,
        bids: levels(book.bids),
        asks: levels(book.asks),
        time: timestampText(nowMs, 6),
      },
    },
  }
}

function products(exchange: CoinbaseExchange, query: URLSearchParams): RestAnswer {
  const type = query.get('product_type')
  // No futures here: an empty list, as the exchange answers where they are not offered.
  const listed = type === null || type === 'SPOT' ? listings(exchange) : []
  const wanted = new Set(query.getAll('product_ids'))
  const found = listed.filter((one) => wanted.size === 0 || wanted.has(one.id))
  const offset = Number(query.get('offset') ?? '0') || 0
  const limit = Number(query.get('limit') ?? '0') || found.length
  return {
    status: 200,
    body: {
      products: found.slice(offset, offset + limit).map((one) => describe(exchange, one)),
      num_products: found.length,
    },
  }
}

/** Answers one GET; undefined when the exchange has no such path. */
export function coinbaseRest(
  exchange: CoinbaseExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  const single = /^\/api\/v3\/brokerage\/(?:market\/)?products\/([^/]+)$/.exec(path)
  if (single !== null) {
    const id = decodeURIComponent(single[1]!)
    const listing = listings(exchange).find((one) => one.id === id)
    if (listing === undefined) return notFound(`product ${id} not found`)
    return { status: 200, body: describe(exchange, listing) }
  }
  switch (path) {
    case '/api/v3/brokerage/market/products':
      return products(exchange, query)
    case '/api/v3/brokerage/market/product_book':
      return productBook(exchange, query, nowMs)
    case '/api/v3/brokerage/time':
      return {
        status: 200,
        body: {
          iso: new Date(nowMs).toISOString(),
          epochSeconds: String(Math.floor(nowMs / 1000)),
          epochMillis: String(Math.floor(nowMs)),
        },
      }
    case '/v2/time':
      return {
        status: 200,
        body: {
          data: { iso: new Date(nowMs).toISOString(), epoch: Math.floor(nowMs / 1000) },
        },
      }
    case '/v2/currencies':
      return {
        status: 200,
        body: { data: FIAT.map(([id, name]) => ({ id, name, min_size: '0.01' })) },
      }
    case '/v2/currencies/crypto':
      return {
        status: 200,
        body: {
          data: cryptoCodes(exchange).map((code, index) => ({
            asset_id: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
            code,
            name: code,
            color: '#808080',
            sort_index: index,
            exponent: 8,
            type: 'crypto',
          })),
        },
      }
    case '/v2/exchange-rates': {
      const rates: Record<string, string> = {}
      for (const [code] of FIAT) rates[code] = '1'
      for (const code of cryptoCodes(exchange)) rates[code] = '1'
      return { status: 200, body: { data: { currency: 'USD', rates } } }
    }
    default:
      return undefined
  }
}
