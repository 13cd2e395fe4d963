/** The public REST calls of Kraken: pairs under their old names, assets, tickers and books. */
import { ASK, BID } from '../core/changes.ts'
import { timestampText } from './clock-text.ts'
import type { KrakenExchange } from './kraken.ts'
import { fixedText } from './products.ts'
import type { Product } from './products.ts'
import { hashText } from './random.ts'
import type { RestAnswer } from './rest.ts'

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
export function pairNames(
  { base, quote }: Product,
): [key: string, altname: string, wsname: string] {
  const altname = shortName(base) + shortName(quote)
  const isOld = OLD_NAMES[base] !== undefined && OLD_NAMES[quote] !== undefined && base !== 'DOGE'
  const key = isOld ? OLD_NAMES[base]! + OLD_NAMES[quote]! : altname
  return [key, altname, `${shortName(base)}/${shortName(quote)}`]
}

function ok(result: Record<string, unknown> | undefined): RestAnswer {
  if (result === undefined) {
    return { status: 200, body: { error: ['EQuery:Unknown asset pair'] } }
  }
  return { status: 200, body: { error: [], result } }
}

/** Of all listed pairs, or of those asked for; undefined when one is not listed. */
function perPair(
  exchange: KrakenExchange,
  query: URLSearchParams,
  describe: (product: Product) => unknown,
): Record<string, unknown> | undefined {
  const wanted = query.get('pair')?.split(',')
  const entries: Record<string, unknown> = {}
  for (const name of wanted ?? exchange.products.map((product) => product.symbol)) {
    const product = exchange.product(name)
    if (product === undefined || exchange.isDelisted(name)) {
      if (wanted !== undefined) return undefined
      continue
    }
    entries[pairNames(product)[0]] = describe(product)
  }
  return entries
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

/** In base units; the first products trade the most. */
function volumeOf(product: Product): number {
  const spread = 1 + (hashText(product.symbol) % 100) / 1000
  const price = product.startTicks * product.priceStep * Math.pow(10, -product.priceDecimals)
  return (1e9 / (product.index + 1) / price) * spread
}

function ticker(exchange: KrakenExchange, product: Product): unknown {
  const bid = exchange.bestPrice(product, BID)
  const ask = exchange.bestPrice(product, ASK)
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

function assets(exchange: KrakenExchange): Record<string, unknown> {
  const assets: Record<string, unknown> = {}
  for (const { base, quote } of exchange.products) {
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

function depth(exchange: KrakenExchange, query: URLSearchParams, nowMs: number): RestAnswer {
  const name = query.get('pair') ?? ''
  const product = exchange.product(name)
  if (product === undefined || exchange.isDelisted(name)) return ok(undefined)
  const count = Number(query.get('count') ?? '100') || 100
  const { bids, asks } = exchange.book(product.index, Math.min(500, count), nowMs)
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

/** Answers one GET; undefined when the exchange has no such path. */
export function krakenRest(
  exchange: KrakenExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  switch (path) {
    case '/0/public/AssetPairs':
      return ok(perPair(exchange, query, assetPair))
    case '/0/public/Ticker':
      return ok(perPair(exchange, query, (product) => ticker(exchange, product)))
    case '/0/public/Assets':
      return ok(assets(exchange))
    case '/0/public/Depth':
      return depth(exchange, query, nowMs)
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
