/** Kraken's market metadata: read as ccxt reads the same answers. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import krakenClient from '../../node_modules/ccxt/js/src/kraken.js'
import type { Market } from '../../src/core/instrument.ts'
import { kraken } from '../../src/exchanges/kraken.ts'

function pair(
  base: string,
  quote: string,
  wsname: string | undefined,
  pair_decimals: unknown,
  lot_decimals: unknown,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    altname: `${base}${quote}`,
    wsname,
    aclass_base: 'currency',
    base,
    aclass_quote: 'currency',
    quote,
    lot: 'unit',
    cost_decimals: 5,
    pair_decimals,
    lot_decimals,
    lot_multiplier: 1,
    leverage_buy: [2, 3],
    leverage_sell: [2, 3],
    fees: [[0, 0.4]],
    fees_maker: [[0, 0.25]],
    fee_volume_currency: 'ZUSD',
    margin_call: 80,
    margin_stop: 40,
    ordermin: '0.0001',
    costmin: '0.5',
    tick_size: '0.1',
    status: 'online',
    ...more,
  }
}

const PAIRS: Record<string, unknown> = {
  XXBTZUSD: pair('XXBT', 'ZUSD', 'XBT/USD', 1, 8),
  XDGUSD: pair('XXDG', 'ZUSD', 'XDG/USD', 7, 8),
  ETHXBT: pair('XETH', 'XXBT', 'ETH/XBT', 5, 8),
  PEPEUSD: pair('PEPE', 'ZUSD', 'PEPE/USD', 9, 0),
  XTZEUR: pair('XTZ', 'ZEUR', 'XTZ/EUR', 4, 8, { status: 'cancel_only' }),
  XNEWUSD: pair('XNEW', 'ZUSD', 'NEW/USD', 4, 8, { status: 'post_only' }),
  ZNEWZUSD: pair('ZNEW', 'ZUSD', 'NOW/USD', 4, 8),
  LUNAUSD: pair('LUNA', 'ZUSD', 'LUNA/USD', 8, 8),
  LUNA2USD: pair('LUNA2', 'ZUSD', 'LUNA2/USD', 4, 8),
  USDTZUSD: pair('USDT', 'ZUSD', 'USDT/USD', 5, 8),
  EURSUSD: pair('EURs', 'ZUSD', undefined, 3, 2, { status: undefined }),
  ODDUSD: pair('ODD', 'ZUSD', 'ODD/USD', undefined, '6'),
  COARSEUSD: pair('COARSE', 'ZUSD', 'COARSE/USD', -2, -1),
  'BTC:BTNL': pair('XXBT', 'ZUSD', undefined, 1, 8),
}

const ASSETS: Record<string, unknown> = {
  XXBT: {
    aclass: 'currency',
    altname: 'XBT',
    decimals: 10,
    display_decimals: 5,
    status: 'enabled',
  },
  XXDG: { aclass: 'currency', altname: 'XDG', decimals: 8, display_decimals: 2, status: 'enabled' },
  XETH: {
    aclass: 'currency',
    altname: 'ETH',
    decimals: 10,
    display_decimals: 5,
    status: 'enabled',
  },
  'XBT.M': { aclass: 'currency', altname: 'XBT.M', decimals: 10, display_decimals: 5 },
  'XETH.S': { aclass: 'currency', altname: 'ETH.S', decimals: 10, display_decimals: 5 },
  XTZ: { aclass: 'currency', altname: 'XTZ', decimals: 8, display_decimals: 5 },
  XNEW: { aclass: 'currency', altname: 'New', decimals: 8, display_decimals: 5 },
  ZNEW: { aclass: 'currency', altname: 'UST', decimals: 8, display_decimals: 5 },
  ZUSD: { aclass: 'currency', altname: 'USD', decimals: 4, display_decimals: 2 },
  ODD: { aclass: 'currency', altname: 'NOTX', decimals: 8, display_decimals: 5 },
}

const answer = (result: unknown) => ({ error: [], result })

interface Client {
  fetch: (url: string) => Promise<unknown>
  fetchCurrencies(): Promise<unknown>
  fetchMarkets(): Promise<readonly CcxtMarket[]>
  fetchTickers(): Promise<Record<string, { quoteVolume?: number }>>
  setMarkets(markets: unknown): unknown
}
interface CcxtMarket {
  readonly id: string
  readonly symbol: string
  readonly active: boolean
  readonly precision: { readonly price?: number; readonly amount?: number }
}

function client(tickers: unknown = {}): Client {
  const Exchange = krakenClient as unknown as new (settings: object) => Client
  const exchange = new Exchange({ enableRateLimit: false })
  exchange.fetch = (url: string) => {
    if (url.includes('/public/AssetPairs')) return Promise.resolve(structuredClone(answer(PAIRS)))
    if (url.includes('/public/Assets')) return Promise.resolve(structuredClone(answer(ASSETS)))
    if (url.includes('/public/Ticker')) return Promise.resolve(structuredClone(answer(tickers)))
    return Promise.reject(new Error(`unexpected ${url}`))
  }
  return exchange
}

const decimals = (step: number | undefined) =>
  step === undefined ? 8 : Math.max(0, Math.round(-Math.log10(step)))

describe('markets', () => {
  test('as ccxt reads them', async () => {
    const exchange = client()
    // It adds the names that only the assets tell.
    await exchange.fetchCurrencies()
    const expected = (await exchange.fetchMarkets()).map(({ symbol, active, precision }) => ({
      symbol,
      active,
      priceDecimals: decimals(precision.price),
      sizeDecimals: decimals(precision.amount),
    }))
    const markets = kraken.markets!.parse([answer(PAIRS), answer(ASSETS)])!
    assert.deepEqual(
      markets.map(({ symbol, active, priceDecimals, sizeDecimals }) => ({
        symbol,
        active,
        priceDecimals,
        sizeDecimals,
      })),
      expected,
    )
    assert.ok(markets.length === Object.keys(PAIRS).length)
  })

  test('the names on the wire are those of version 2', () => {
    const markets: Market[] = kraken.markets!.parse([answer(PAIRS), answer(ASSETS)])!
    const names = Object.fromEntries(markets.map(({ symbol, wireSymbol }) => [symbol, wireSymbol]))
    assert.equal(names['BTC/USD'], 'BTC/USD')
    assert.equal(names['DOGE/USD'], 'DOGE/USD')
    assert.equal(names['USTC/USD'], 'NOW/USD')
    assert.equal(names['ETH/BTC'], 'ETH/BTC')
    // The exchange's own name, not the unified one: they are different coins.
    assert.equal(names['LUNC/USD'], 'LUNA/USD')
    assert.equal(names['LUNA/USD'], 'LUNA2/USD')
    assert.equal(names['EURS/USD'], 'EURS/USD', 'without a name: the symbol')
  })

  test('an answer of another shape is none', () => {
    const { urls, parse } = kraken.markets!
    assert.equal(urls.length, 2)
    assert.deepEqual(parse([answer({}), answer({})]), [])
    for (
      const answers of [
        [],
        [null, null],
        [answer(PAIRS)],
        [{ error: ['EGeneral:Too many requests'] }, answer(ASSETS)],
        [answer([]), answer({})],
        [answer({ A: null }), answer({})],
        [answer({ A: { base: 'A' } }), answer({})],
        [answer(PAIRS), { error: [], result: null }],
      ]
    ) {
      assert.equal(parse(answers), undefined, JSON.stringify(answers))
    }
  })
})

test('volumes as ccxt reads them', async () => {
  const tickers = {
    XXBTZUSD: {
      a: ['86000.1', '1', '1.000'],
      b: ['86000.0', '1', '1.000'],
      c: ['86000.1', '0.01'],
      v: ['120.5', '2000.25'],
      p: ['85900.5', '85800.25'],
      t: [1000, 20000],
      l: ['85000', '84000'],
      h: ['87000', '88000'],
      o: '85500.0',
    },
    PEPEUSD: { c: ['0.000005', '1'], v: ['1', '2500000000'], p: ['0.000004', '0.0000041'], o: '1' },
    XTZEUR: { c: ['1', '1'], v: ['0', '0'], p: ['0', '0'], o: '1' },
    LUNAUSD: { c: ['1', '1'], v: null, p: ['0', '0'], o: '1' },
    GONEUSD: { c: ['1', '1'], v: ['1', '1'], p: ['1', '1'], o: '1' },
  }
  const { urls, parse } = kraken.volumes!
  const markets = kraken.markets!.parse([answer(PAIRS), answer(ASSETS)])!
  const volumes = parse([answer(tickers), answer(PAIRS)], markets)!
  const exchange = client(tickers)
  exchange.setMarkets(await exchange.fetchMarkets())
  const expected = await exchange.fetchTickers()
  for (const name of ['BTC/USD', 'PEPE/USD', 'XTZ/EUR']) {
    const volume = volumes.get(name)!
    const said = expected[name].quoteVolume!
    assert.ok(Math.abs(volume - said) <= 1e-9 * said, `${name}: ${volume} and ${said}`)
  }
  assert.ok(volumes.get('BTC/USD')! > 1.7e8)
  const traded = [...volumes].filter(([, volume]) => volume > 0).map(([symbol]) => symbol)
  assert.deepEqual(traded, ['BTC/USD', 'PEPE/USD'])
  assert.deepEqual([...volumes.keys()], [...new Set(markets.map(({ symbol }) => symbol))])
  assert.equal(urls.length, 2)
  for (const answers of [[], [null, answer(PAIRS)], [answer({}), null], [answer([]), answer({})]]) {
    assert.equal(parse(answers, markets), undefined)
  }
})
