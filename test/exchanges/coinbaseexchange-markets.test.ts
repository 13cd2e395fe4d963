/** Coinbase Exchange's market metadata: read as ccxt reads the same answer. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import ccxtClient from '../../node_modules/ccxt/js/src/coinbaseexchange.js'
import type { Market } from '../../src/core/instrument.ts'
import { coinbaseexchange } from '../../src/exchanges/coinbaseexchange.ts'

const RECORDED = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/coinbase/exchange-level2-20210417.markets.json',
)

function product(id: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  const [base, quote] = id.split('-')
  return {
    id,
    base_currency: base,
    quote_currency: quote,
    quote_increment: '0.01',
    base_increment: '0.00000001',
    display_name: `${base}/${quote}`,
    min_market_funds: '1',
    margin_enabled: false,
    trading_disabled: false,
    status: 'online',
    status_message: '',
    ...more,
  }
}

const PRODUCTS = [
  product('BTC-USD'),
  product('BTCAUCTION-USD', { base_currency: 'BTC', cancel_only: true }),
  product('SHIB-USD', { base_increment: '1', quote_increment: '0.00000001' }),
  product('ODD-USD', { base_increment: '0.001', quote_increment: '0.10' }),
  product('COARSE-USD', { base_increment: '1', quote_increment: '1' }),
  product('OLD-USD', { status: 'delisted', trading_disabled: true }),
  product('DARK-USD', { trading_disabled: true }),
  product('CGLD-EUR'),
  product('XBT-EUR'),
  product('BCHSV-USDC'),
  product('NEW-USDT', { base_increment: undefined, quote_increment: undefined }),
]

/** As far as it is used here. */
interface CcxtMarket {
  readonly id: string
  readonly symbol: string
  readonly active: boolean
  readonly precision: { readonly price?: number; readonly amount?: number }
}

interface Client {
  publicGetProducts: () => Promise<unknown>
  fetchMarkets(): Promise<CcxtMarket[]>
}

async function ccxtMarkets(answer: unknown): Promise<Market[]> {
  const client = new (ccxtClient as unknown as new () => Client)()
  client.publicGetProducts = () => Promise.resolve(answer)
  const decimals = (step: number | undefined) =>
    step === undefined ? 8 : Math.max(0, Math.round(-Math.log10(step)))
  return (await client.fetchMarkets()).map(({ id, symbol, active, precision }) => ({
    symbol,
    wireSymbol: id,
    priceDecimals: decimals(precision.price),
    sizeDecimals: decimals(precision.amount),
    active,
  }))
}

describe('markets', () => {
  test('are read as ccxt reads them', async () => {
    const read = coinbaseexchange.markets!.parse([PRODUCTS])
    assert.deepEqual(read, await ccxtMarkets(PRODUCTS))
    assert.deepEqual(read!.slice(0, 3), [
      {
        symbol: 'BTC/USD',
        wireSymbol: 'BTC-USD',
        priceDecimals: 2,
        sizeDecimals: 8,
        active: true,
      },
      {
        symbol: 'BTCAUCTION/USD',
        wireSymbol: 'BTCAUCTION-USD',
        priceDecimals: 2,
        sizeDecimals: 8,
        active: true,
      },
      {
        symbol: 'SHIB/USD',
        wireSymbol: 'SHIB-USD',
        priceDecimals: 8,
        sizeDecimals: 0,
        active: true,
      },
    ])
  })

  test('recorded ones are read as ccxt reads them', { skip: !existsSync(RECORDED) }, async () => {
    const [{ body }] = JSON.parse(readFileSync(RECORDED, 'utf8'))
    const read = coinbaseexchange.markets!.parse([body])
    assert.equal(read!.length, 10)
    assert.deepEqual(read, await ccxtMarkets(body))
  })

  test('another shape is none', () => {
    const parse = (answer: unknown) => coinbaseexchange.markets!.parse([answer])
    for (const answer of [null, {}, 'x', [null], [{}], [{ id: 7 }], [{ id: 'BTCUSD' }]]) {
      assert.equal(parse(answer), undefined, JSON.stringify(answer))
    }
    assert.equal(coinbaseexchange.markets!.parse([]), undefined)
    assert.deepEqual(parse([]), [])
  })
})

describe('volumes', () => {
  const markets = coinbaseexchange.markets!.parse(
    [['BTC-USD', 'ETH-USD', 'DARK-USD', 'LONE-USD', 'MISSING-USD'].map((id) => product(id))],
  )!
  const parse = (...answers: unknown[]) => coinbaseexchange.volumes!.parse(answers, markets)

  test('are what was traded, at the newest price', () => {
    const volumes = [
      { id: 'BTC-USD', market_types: ['spot'], spot_volume_24hour: '2.5', rfq_volume_24hour: '9' },
      { id: 'ETH-USD', spot_volume_24hour: '10' },
      { id: 'DARK-USD', spot_volume_24hour: '' },
      { id: 'LONE-USD', spot_volume_24hour: '1' },
    ]
    const lines = {
      'BTC-USD': [[1639472400, 80_000], [1639468800, 70_000]],
      'ETH-USD': [[1639472400, 3000, 3100, 3050, 3070.5]],
      'DARK-USD': [[1639472400, 1]],
      'LONE-USD': [],
    }
    assert.deepEqual(
      parse(volumes, lines),
      new Map([
        ['BTC/USD', 200_000],
        ['ETH/USD', 30_705],
        ['DARK/USD', 0],
        ['LONE/USD', 0],
        ['MISSING/USD', 0],
      ]),
    )
  })

  test('another shape is none', () => {
    assert.equal(parse(null, {}), undefined)
    assert.equal(parse([], []), undefined)
    assert.equal(parse([7], {}), undefined)
    assert.equal(parse([]), undefined)
  })
})
