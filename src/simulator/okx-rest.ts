/** The public REST calls of OKX that market metadata, volumes and a book cross-check need. */
import type { OkxExchange } from './okx.ts'
import type { Product } from './products.ts'
import type { RestAnswer } from './rest.ts'

const TYPES = ['SPOT', 'MARGIN', 'SWAP', 'FUTURES', 'OPTION']
const LISTED_MS = Date.UTC(2020, 2, 30)
const DEPTH_DEFAULT = 1

function answered(data: readonly unknown[]): RestAnswer {
  return { status: 200, body: { code: '0', data, msg: '' } }
}

/** As the exchange refuses: in the body of an answer that is well. */
function refused(code: string, msg: string): RestAnswer {
  return { status: 200, body: { code, data: [], msg } }
}

function typeOf({ settle, expiry }: Product): string {
  return settle === undefined ? 'SPOT' : expiry === undefined ? 'SWAP' : 'FUTURES'
}

function expiryMs({ expiry }: Product): string {
  if (expiry === undefined) return ''
  const [year, month, day] = [0, 2, 4].map((at) => Number(expiry.slice(at, at + 2)))
  return String(Date.UTC(2000 + year!, month! - 1, day!, 8))
}

function listed(exchange: OkxExchange, query: URLSearchParams): readonly Product[] {
  const type = query.get('instType')
  const id = query.get('instId')
  return exchange.products.filter((product) =>
    typeOf(product) === type && !exchange.isDelisted(product.symbol) &&
    (id === null || product.wireSymbol === id)
  )
}

function instrument(product: Product): Record<string, unknown> {
  const { wireSymbol, base, quote, settle, baseIncrement, quoteIncrement } = product
  const isSpot = settle === undefined
  const isInverse = settle === base
  const underlying = isSpot ? '' : `${base}-${quote}`
  return {
    alias: '',
    auctionEndTime: '',
    baseCcy: isSpot ? base : '',
    category: '1',
    contTdSwTime: '',
    ctMult: isSpot ? '' : '1',
    ctType: isSpot ? '' : isInverse ? 'inverse' : 'linear',
    ctVal: isSpot ? '' : isInverse ? '100' : '0.01',
    ctValCcy: isSpot ? '' : isInverse ? quote : base,
    expTime: expiryMs(product),
    instFamily: underlying,
    instId: wireSymbol,
    instType: typeOf(product),
    lever: '10',
    listTime: String(LISTED_MS),
    lotSz: baseIncrement,
    maxLmtSz: '100000000',
    maxMktSz: '1000000',
    minSz: baseIncrement,
    optType: '',
    quoteCcy: isSpot ? quote : '',
    ruleType: 'normal',
    settleCcy: settle ?? '',
    state: 'live',
    stk: '',
    tickSz: quoteIncrement,
    uly: underlying,
  }
}

/** The first of a list trades the most; contracts are counted in their base currency. */
function ticker(exchange: OkxExchange, product: Product, nowMs: number): Record<string, unknown> {
  const top = exchange.truth(product.symbol, 1)
  const [bid = ['', ''], ask = ['', '']] = [top?.bids[0], top?.asks[0]]
  const price = Number(bid[0] || ask[0] || 1)
  const quote = 50_000_000 / (product.index + 1)
  return {
    instType: typeOf(product),
    instId: product.wireSymbol,
    last: bid[0] || ask[0],
    lastSz: bid[1],
    askPx: ask[0],
    askSz: ask[1],
    bidPx: bid[0],
    bidSz: bid[1],
    open24h: bid[0],
    high24h: bid[0],
    low24h: bid[0],
    volCcy24h: (product.settle === undefined ? quote : quote / price).toFixed(8),
    vol24h: (quote / price).toFixed(8),
    ts: String(Math.floor(nowMs)),
    sodUtc0: bid[0],
    sodUtc8: bid[0],
  }
}

function books(
  exchange: OkxExchange,
  query: URLSearchParams,
  most: number,
  nowMs: number,
): RestAnswer {
  const id = query.get('instId') ?? ''
  const product = id.includes('/') ? undefined : exchange.product(id)
  if (product === undefined || exchange.isDelisted(product.symbol)) {
    return refused('51001', "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
  }
  const wanted = Number(query.get('sz') ?? DEPTH_DEFAULT)
  if (!(wanted >= 1 && wanted <= most)) return refused('51000', 'Parameter sz error')
  const { market, seqId, bids, asks } = exchange.book(product.index, Math.floor(wanted), nowMs)
  const texts = (rows: readonly [number, number][]) =>
    rows.map(([ticks, lots]) => [market.priceText(ticks), market.sizeText(lots), '0', '1'])
  return answered([{
    asks: texts(asks),
    bids: texts(bids),
    ts: String(Math.floor(nowMs)),
    seqId,
  }])
}

/** Answers one GET; undefined when the exchange has no such path. */
export function okxRest(
  exchange: OkxExchange,
  path: string,
  query: URLSearchParams,
  nowMs: number,
): RestAnswer | undefined {
  switch (path) {
    case '/api/v5/public/time':
      return answered([{ ts: String(Math.floor(nowMs)) }])
    case '/api/v5/market/books':
      return books(exchange, query, 400, nowMs)
    case '/api/v5/market/books-full':
      return books(exchange, query, 5000, nowMs)
    case '/api/v5/public/instruments':
    case '/api/v5/market/tickers': {
      if (!TYPES.includes(query.get('instType') ?? '')) {
        return refused('51000', 'Parameter instType error')
      }
      const products = listed(exchange, query)
      return answered(
        path.endsWith('tickers')
          ? products.map((product) => ticker(exchange, product, nowMs))
          : products.map(instrument),
      )
    }
    default:
      return undefined
  }
}
