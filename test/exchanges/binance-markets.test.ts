/** Binance's market metadata and volumes, in its documented shapes, with ccxt as the judge. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import type { Market } from '../../src/core/instrument.ts'
import { binance, binanceusdm } from '../../src/exchanges/binance.ts'
import Ccxt from '../../node_modules/ccxt/js/src/binance.js'
import CcxtUsdm from '../../node_modules/ccxt/js/src/binanceusdm.js'

const RECORDINGS = resolve(import.meta.dirname!, '../../../shared/recordings/binance')

type Row = Record<string, unknown>

function filters(tickSize: string, stepSize: string): Row[] {
  return [
    { filterType: 'PRICE_FILTER', minPrice: tickSize, maxPrice: '1000000.00000000', tickSize },
    { filterType: 'LOT_SIZE', minQty: stepSize, maxQty: '9000.00000000', stepSize },
    { filterType: 'MARKET_LOT_SIZE', minQty: '0.0', maxQty: '9000.0', stepSize: '0.00000000' },
    { filterType: 'NOTIONAL', minNotional: '5.00000000', maxNotional: '9000000.00000000' },
  ]
}

function spot(base: string, quote: string, tick: string, step: string, more: Row = {}): Row {
  return {
    symbol: base + quote,
    status: 'TRADING',
    baseAsset: base,
    baseAssetPrecision: 8,
    quoteAsset: quote,
    quotePrecision: 8,
    quoteAssetPrecision: 8,
    orderTypes: ['LIMIT', 'LIMIT_MAKER', 'MARKET'],
    isSpotTradingAllowed: true,
    isMarginTradingAllowed: true,
    filters: filters(tick, step),
    permissions: [],
    permissionSets: [['SPOT', 'MARGIN', 'TRD_GRP_004']],
    ...more,
  }
}

function contract(symbol: string, base: string, quote: string, more: Row = {}): Row {
  return {
    symbol,
    pair: base + quote,
    contractType: 'PERPETUAL',
    deliveryDate: 4133404800000,
    onboardDate: 1569398400000,
    status: 'TRADING',
    baseAsset: base,
    quoteAsset: quote,
    marginAsset: quote,
    pricePrecision: 2,
    quantityPrecision: 3,
    baseAssetPrecision: 8,
    quotePrecision: 8,
    underlyingType: 'COIN',
    filters: filters('0.10', '0.001'),
    ...more,
  }
}

const SPOT = [
  spot('BTC', 'USDT', '0.01000000', '0.00001000'),
  spot('SHIB', 'USDT', '0.00000001', '1.00000000'),
  spot('ODD', 'BTC', '0.25000000', '5.00000000'),
  spot('BIG', 'IDR', '100.00000000', '0.00250000'),
  spot('NEW', 'USDT', '0.00000000', '0.00000000'),
  spot('BARE', 'USDT', '', '', { filters: [] }),
  spot('DIGITS', 'USDT', '', '', { filters: [], pricePrecision: 3, quantityPrecision: 0 }),
  spot('STOP', 'USDT', '0.01000000', '0.00001000', { status: 'BREAK' }),
  spot('GROUP', 'USDT', '0.01', '0.1', { permissions: ['SPOT', 'TRD_GRP_003'] }),
  spot('MANY', 'USDT', '0.01', '0.1', { permissions: ['SPOT', 'TRD_GRP_004'] }),
  spot('BCC', 'BTC', '0.00000100', '0.00100000'),
  spot('YOYO', 'BTC', '0.00000001', '1.00000000'),
  spot('BCHSV', 'XBT', '0.00000001', '1.00000000'),
  spot('币安人生', 'USDT', '0.00010000', '0.10000000'),
]

const USDM = [
  contract('BTCUSDT', 'BTC', 'USDT'),
  contract('ETHUSDC', 'ETH', 'USDC', { filters: filters('0.01', '0.001') }),
  contract('1000SATSUSDT', '1000SATS', 'USDT', { filters: filters('0.0000001', '1') }),
  contract('BTCUSDT_261225', 'BTC', 'USDT', {
    contractType: 'CURRENT_QUARTER',
    deliveryDate: 1798185600000,
  }),
  contract('ETHUSDT_270326', 'ETH', 'USDT', {
    contractType: 'NEXT_QUARTER',
    deliveryDate: 1806048000000,
    status: 'PENDING_TRADING',
  }),
  contract('TSLAUSDT', 'TSLA', 'USDT', { contractType: 'TRADIFI_PERPETUAL' }),
  contract('BTCSTUSDT', 'BTCST', 'USDT', { contractType: '', status: 'SETTLING' }),
  contract('GONEUSDT', 'GONE', 'USDT', { status: undefined, contractStatus: 'TRADING' }),
  contract('BAREUSDT', 'BARE', 'USDT', { filters: [] }),
  contract('币安人生USDT', '币安人生', 'USDT'),
]

interface Judge {
  options: { fetchMarkets: { types: string[] } }
  fetch: (url: string) => Promise<unknown>
  fetchMarkets(): Promise<Unified[]>
}

interface Unified {
  readonly id: string
  readonly symbol: string
  readonly active: boolean | undefined
  readonly spot: boolean
  readonly swap: boolean
  readonly future: boolean
  readonly precision: { readonly price?: number; readonly amount?: number }
}

function decimalsOf(step: number | undefined): number {
  if (step === undefined || step === 0) return 8
  const [digits, exponent] = step.toExponential().split('e')
  return Math.max(0, (digits.split('.')[1]?.length ?? 0) - Number(exponent))
}

/** The same answer through ccxt. */
async function judged(answer: unknown, url: string, isSpot: boolean): Promise<Market[]> {
  const Class = (isSpot ? Ccxt : CcxtUsdm) as unknown as new (settings: object) => Judge
  const client = new Class({ enableRateLimit: false })
  client.options.fetchMarkets.types = [isSpot ? 'spot' : 'linear']
  const asked: string[] = []
  client.fetch = (address) => {
    asked.push(address)
    return Promise.resolve(structuredClone(answer))
  }
  const unified = await client.fetchMarkets()
  assert.deepEqual(asked, [url], 'ccxt asks the same address')
  return unified.filter(({ spot, swap, future }) => isSpot ? spot : swap || future).map((
    market,
  ) => ({
    symbol: market.symbol,
    wireSymbol: market.id,
    priceDecimals: decimalsOf(market.precision.price),
    sizeDecimals: decimalsOf(market.precision.amount),
    active: market.active !== false,
  }))
}

for (const [adapter, rows] of [[binance, SPOT], [binanceusdm, USDM]] as const) {
  const isSpot = adapter === binance
  const source = adapter.markets!

  describe(`markets of ${adapter.exchange}`, () => {
    test('are read as ccxt reads them, market by market', async () => {
      const answer = { timezone: 'UTC', symbols: rows }
      const markets = source.parse([answer])!
      assert.equal(markets.length, rows.length)
      assert.deepEqual(markets, await judged(answer, source.urls[0], isSpot))
    })

    test('are unified names, steps and states', () => {
      const markets = source.parse([{ symbols: rows }])!
      const told = (wire: string): unknown[] => {
        const found = markets.find(({ wireSymbol }) => wireSymbol === wire)!
        return [found.symbol, found.priceDecimals, found.sizeDecimals, found.active]
      }
      const expected: Record<string, unknown[]> = isSpot
        ? {
          BTCUSDT: ['BTC/USDT', 2, 5, true],
          SHIBUSDT: ['SHIB/USDT', 8, 0, true],
          ODDBTC: ['ODD/BTC', 2, 0, true],
          BIGIDR: ['BIG/IDR', 0, 4, true],
          NEWUSDT: ['NEW/USDT', 8, 8, true],
          DIGITSUSDT: ['DIGITS/USDT', 3, 0, true],
          STOPUSDT: ['STOP/USDT', 2, 5, false],
          GROUPUSDT: ['GROUP/USDT', 2, 1, false],
          MANYUSDT: ['MANY/USDT', 2, 1, true],
          YOYOBTC: ['YOYOW/BTC', 8, 0, true],
        }
        : {
          BTCUSDT: ['BTC/USDT:USDT', 1, 3, true],
          BTCUSDT_261225: ['BTC/USDT:USDT-261225', 1, 3, true],
          ETHUSDT_270326: ['ETH/USDT:USDT-270326', 1, 3, false],
          TSLAUSDT: ['TSLA/USDT:USDT', 1, 3, true],
          BTCSTUSDT: ['BTCST/USDT:USDT', 1, 3, false],
          BAREUSDT: ['BARE/USDT:USDT', 2, 3, true],
        }
      for (const [wire, row] of Object.entries(expected)) assert.deepEqual(told(wire), row, wire)
    })

    test('of the other kind, or neither perpetual nor dated, are left out', () => {
      const other = isSpot ? USDM : SPOT
      assert.deepEqual(source.parse([{ symbols: other }]), [])
      const odd = contract('XUSDT', 'X', 'USDT', { contractType: '', deliveryDate: undefined })
      assert.deepEqual(source.parse([{ symbols: [odd] }]), [])
    })

    test('an answer of another shape is none', () => {
      const broken = [
        undefined,
        null,
        [],
        {},
        { symbols: {} },
        { symbols: [null] },
        { symbols: [7] },
        { symbols: [{ ...rows[0], symbol: 7 }] },
        { symbols: [{ ...rows[0], baseAsset: undefined }] },
        { symbols: [{ ...rows[0], quoteAsset: null }] },
      ]
      for (const answer of broken) assert.equal(source.parse([answer]), undefined)
      assert.equal(source.parse([]), undefined)
    })

    test('recorded answers', {
      skip: !existsSync(RECORDINGS),
    }, async () => {
      const file = isSpot ? 'spot-20211012.markets.json' : 'usdm-20210722.markets.json'
      const answer = JSON.parse(readFileSync(join(RECORDINGS, file), 'utf8'))[0].body
      const markets = source.parse([answer])!
      assert.equal(markets.length, 4)
      assert.deepEqual(markets, await judged(answer, source.urls[0], isSpot))
    })
  })

  test(`volumes of ${adapter.exchange} are in the quote currency, by unified symbol`, () => {
    const volumes = adapter.volumes!
    const markets = source.parse([{ symbols: rows }])!
    const [first, second, third] = markets
    const ticker = (symbol: string, quoteVolume: unknown): Row => ({
      symbol,
      lastPrice: '4.00000200',
      volume: '8913.30000000',
      quoteVolume,
      openTime: 1499783499040,
    })
    const answer = [
      ticker(first.wireSymbol, '15.30000000'),
      ticker('UNLISTED', '9'),
      ticker(second.wireSymbol, 'n/a'),
    ]
    const found = volumes.parse([answer], markets)!
    assert.equal(found.size, markets.length)
    const told = [first, second, third].map(({ symbol }) => found.get(symbol))
    assert.deepEqual(told, [15.3, 0, 0])
    for (const wrong of [undefined, null, {}, [7], [{ symbol: 7 }]]) {
      assert.equal(volumes.parse([wrong], markets), undefined)
    }
  })
}
