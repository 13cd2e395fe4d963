/** Bitfinex: pairs as ccxt reads them from the same answer, their scales, and what is traded. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import Bitfinex from '../../node_modules/ccxt/js/src/bitfinex.js'
import { scaledFromText } from '../../src/core/decimal.ts'
import type { Market } from '../../src/core/instrument.ts'
import { isRegularPrice } from '../../src/core/wide.ts'
import { bitfinex } from '../../src/exchanges/bitfinex.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/bitfinex/book-P0F0-len100-seq-20210417.markets.json',
)

const info = [null, null, null, '0.00004', '2000.0', null, null, null, 0.2, 0.1, null]
const spot = [
  'BTCUSD',
  'BTCUST',
  'ETHBTC',
  'DOGE:USD',
  'AVAX:UST',
  'DOGUSD',
  'LUNA:USD',
  'LUNA2:USD',
  'BCHABC:USD',
  'BCHN:USD',
  'IOTETH',
  'ALGUSD',
  'UDCUSD',
  'TESTBTC:TESTUSD',
  'TESTBTC:TESTUSDT',
  'AAABBB',
  'OP:USD',
  'usdtry',
  'MATIC1:USD',
]
const futures = [
  'BTCF0:USTF0',
  'ETHF0:BTCF0',
  'EUTF0:USTF0',
  'DOGEF0:USTF0',
  'XAUTF0:USTF0',
  'TESTBTCF0:TESTUSDTF0',
  'ALGF0:USTF0',
]
const listed = (names: readonly unknown[]) => names.map((name) => [name, info])
const PAIRS = [listed(spot), listed(futures)]

const ticker = (
  symbol: unknown,
  last: unknown,
  volume: unknown,
) => [symbol, 1, 2, 3, 4, 5, 6, last, volume, 9, 10]

interface Client {
  fetch: (url: string) => Promise<unknown>
  fetchMarkets(): Promise<{ id: string; symbol: string; active: boolean }[]>
}

/** What ccxt makes of the same answer. */
async function judged(pairs: unknown): Promise<Pick<Market, 'symbol' | 'wireSymbol' | 'active'>[]> {
  const client = new Bitfinex({ enableRateLimit: false }) as unknown as Client
  const asked: string[] = []
  client.fetch = (url) => {
    asked.push(url)
    return Promise.resolve(JSON.parse(JSON.stringify([...pairs as unknown[], [], []])))
  }
  const markets = await client.fetchMarkets()
  assert.equal(asked.length, 1)
  const ours = decodeURIComponent(bitfinex.markets!.urls[0])
  assert.ok(decodeURIComponent(asked[0]).startsWith(ours), `${asked[0]} begins with ${ours}`)
  return markets.map(({ id, symbol, active }) => ({ symbol, wireSymbol: id, active }))
}

function read(pairs: unknown, tickers: unknown = []): Market[] | undefined {
  return bitfinex.markets!.parse([pairs, tickers])
}

describe('markets', () => {
  test('are what ccxt makes of the same answer', async () => {
    const markets = read(PAIRS)!
    assert.deepEqual(
      markets.map(({ symbol, wireSymbol, active }) => ({ symbol, wireSymbol, active })),
      await judged(PAIRS),
    )
    const symbols = new Map(markets.map(({ wireSymbol, symbol }) => [wireSymbol, symbol]))
    assert.equal(symbols.get('tBTCUST'), 'BTC/USDT')
    assert.equal(symbols.get('tBTCF0:USTF0'), 'BTC/USDT:USDT')
    assert.equal(symbols.get('tDOGE:USD'), 'DOGE/USD')
    assert.equal(symbols.get('tTESTBTC:TESTUSD'), 'TESTBTC/TESTUSD')
  })

  test('every currency that ccxt calls by another code', async () => {
    const { commonCurrencies } = new Bitfinex({}) as unknown as {
      commonCurrencies: Record<string, string>
    }
    const ids = Object.keys(commonCurrencies)
    assert.ok(ids.length > 30)
    const pairs = [listed(ids.flatMap((id) => [`${id}:USD`, `BTC:${id}`])), []]
    assert.deepEqual(
      read(pairs)!.map(({ symbol, wireSymbol, active }) => ({ symbol, wireSymbol, active })),
      await judged(pairs),
    )
  })

  test('of a recorded list', { skip: !existsSync(RECORDING) }, async () => {
    const [{ body }] = JSON.parse(readFileSync(RECORDING, 'utf8')) as [{ body: [string[]] }]
    const pairs = [listed(body[0]), listed([])]
    const markets = read(pairs)!
    assert.ok(markets.length > 250)
    assert.deepEqual(
      markets.map(({ symbol, wireSymbol, active }) => ({ symbol, wireSymbol, active })),
      await judged(pairs),
    )
  })

  test('an answer of another shape is not guessed at', () => {
    const wrong = [null, {}, 'x', [], [listed(spot)], [{}, []], [listed(spot), {}]]
    for (const answer of wrong) assert.equal(read(answer), undefined, JSON.stringify(answer))
    for (const entry of [null, 'BTCUSD', [], [7], [''], [null, info]]) {
      assert.equal(read([[entry], []]), undefined, JSON.stringify(entry))
    }
    assert.deepEqual(read([[], []]), [])
  })

  test('five significant digits fit the scale wherever the price lies', () => {
    const lasts = [
      7e-8,
      1.2345e-6,
      0.0051,
      0.99999,
      1,
      9.99,
      10,
      2500.5,
      78_856,
      99_999,
      15_000_000,
    ]
    for (const last of lasts) {
      const [{ priceDecimals }] = read(PAIRS, [ticker('tBTCUSD', last, 1)])!
      for (const factor of [1e-4, 0.01, 0.5, 1, 2, 100, 1e4]) {
        const price = Number((last * factor).toPrecision(factor < 0.001 ? 1 : 5))
        const text = price.toFixed(20).replace(/0+$/, '')
        const decimals = text.length - text.indexOf('.') - 1
        // As many as toFixed can tell.
        if (decimals > 18) continue
        const shown = price.toFixed(Math.min(priceDecimals, 20))
        assert.equal(Number(shown), price, `${price} with ${priceDecimals} decimals`)
        const scaled = scaledFromText(shown, priceDecimals)
        assert.ok(isRegularPrice(scaled), `${price} with ${priceDecimals} decimals`)
      }
    }
    const decimals = (tickers: unknown) => read(PAIRS, tickers)![0].priceDecimals
    assert.equal(decimals([ticker('tBTCUSD', 78_856, 1)]), 4)
    for (
      const tickers of [
        undefined,
        null,
        {},
        [],
        [null],
        [ticker('tBTCUSD', null, 1)],
        [ticker('tBTCUSD', 0, 1)],
        [ticker('tBTCUSD', -5, 1)],
        [ticker('fBTC', 5, 1)],
      ]
    ) {
      assert.equal(decimals(tickers), 8, JSON.stringify(tickers))
    }
    assert.ok(read(PAIRS)!.every(({ sizeDecimals }) => sizeDecimals === 8))
  })
})

describe('volumes', () => {
  test('in the quote currency, by unified symbol', () => {
    const answer = [
      ticker('tBTCUSD', 50_000, 3),
      ticker('tBTCF0:USTF0', 50_001, 2),
      ['fUSD', 0.0003, 0.0003, 30, 1000, 0.0002, 2, 5000, 0, 0, 0, 10, 20, 30],
      ticker('tDEAD:USD', null, 0),
    ]
    const volumes = bitfinex.volumes!.parse([answer], read(PAIRS)!)
    assert.deepEqual([...volumes!], [['BTC/USD', 150_000], ['BTC/USDT:USDT', 100_002]])
  })

  test('an answer of another shape', () => {
    for (const answer of [undefined, null, {}, [7], ['tBTCUSD'], ['error', 11010, 'limit']]) {
      assert.equal(bitfinex.volumes!.parse([answer], []), undefined, JSON.stringify(answer))
    }
    assert.deepEqual([...bitfinex.volumes!.parse([[]], read(PAIRS)!)!], [])
  })
})
