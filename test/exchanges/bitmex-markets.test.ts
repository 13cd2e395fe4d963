/** BitMEX's market metadata: its own reading, in the unified symbols that ccxt had for it. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import type { Market } from '../../src/core/instrument.ts'
import { bitmex } from '../../src/exchanges/bitmex.ts'

const RECORDED = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/bitmex/orderBookL2-20210722.markets.json',
)

function listed(
  symbol: string,
  typ: string,
  [underlying, quoteCurrency, settlCurrency]: readonly [string, string, string | undefined],
  tickSize: unknown,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    symbol,
    typ,
    state: 'Open',
    underlying,
    quoteCurrency,
    settlCurrency,
    tickSize,
    lotSize: 100,
    expiry: null,
    ...more,
  }
}

const parse = (answer: unknown) => bitmex.markets!.parse([answer])
const market = (symbol: string, wireSymbol: string, priceDecimals: number): Market => ({
  symbol,
  wireSymbol,
  priceDecimals,
  sizeDecimals: 0,
  active: true,
})

describe('markets', () => {
  test('perpetuals, quantos, dated futures and spot', () => {
    const december = { expiry: '2026-12-25T12:00:00.000Z' }
    const read = parse([
      listed('XBTUSD', 'FFWCSX', ['XBT', 'USD', 'XBt'], 0.5),
      listed('XBTUSDT', 'FFWCSX', ['XBT', 'USDT', 'USDt'], 0.5),
      listed('ETHUSD', 'FFWCSX', ['ETH', 'USD', 'XBt'], 0.05, { isQuanto: true }),
      listed('XBTZ26', 'FFCCSX', ['XBT', 'USD', 'XBt'], 0.5, december),
      listed('XRPZ26', 'FFCCSX', ['XRP', 'XBT', 'XBt'], 1e-8, december),
      listed('XBT_USDT', 'IFXXXP', ['XBT', 'USDT', undefined], 1),
    ])
    assert.deepEqual(read, [
      market('BTC/USD:BTC', 'XBTUSD', 1),
      market('BTC/USDT:USDT', 'XBTUSDT', 1),
      market('ETH/USD:BTC', 'ETHUSD', 2),
      market('BTC/USD:BTC-261225', 'XBTZ26', 1),
      market('XRP/BTC:BTC-261225', 'XRPZ26', 8),
      market('BTC/USDT', 'XBT_USDT', 0),
    ])
  })

  test('what has no book, or no step, is left out; what is not open is not active', () => {
    assert.deepEqual(
      parse([
        listed('.BXBT', 'MRCXXX', ['XBT', 'USD', ''], 0.01),
        listed('OKCUSDTH27', 'FFICSX', ['OKC', 'USDT', 'USDt'], 0.01),
        listed('BADZ26', 'FFCCSX', ['BAD', 'USD', 'XBt'], 0.5, { expiry: null }),
        listed('NOSTEP', 'FFWCSX', ['NO', 'USD', 'XBt'], null),
        listed('OLDUSD', 'FFWCSX', ['OLD', 'USD', 'XBt'], 0.25, { state: 'Unlisted' }),
      ]),
      [{ ...market('OLD/USD:BTC', 'OLDUSD', 2), active: false }],
    )
  })

  test('another shape is none', () => {
    for (const answer of [null, {}, 'x', [null], [7], [{}]]) {
      assert.equal(parse(answer), undefined, JSON.stringify(answer))
    }
    assert.equal(bitmex.markets!.parse([]), undefined)
  })

  test('recorded ones', { skip: !existsSync(RECORDED) }, () => {
    const [{ body }] = JSON.parse(readFileSync(RECORDED, 'utf8'))
    const read = parse(body)!
    assert.deepEqual(read.map(({ symbol, wireSymbol }) => [wireSymbol, symbol]).sort(), [
      ['ADAUSDT', 'ADA/USDT:BTC'],
      ['BCHUSD', 'BCH/USD:BTC'],
      ['EOSUSDT', 'EOS/USDT:BTC'],
      ['MATICUSDT', 'MATIC/USDT:BTC'],
      ['SOLUSDT', 'SOL/USDT:BTC'],
      ['TRXU21', 'TRX/BTC:BTC-210924'],
      ['TRXUSDT', 'TRX/USDT:BTC'],
      ['UNIUSDT', 'UNI/USDT:BTC'],
      ['XBTUSD', 'BTC/USD:BTC'],
      ['XRPU21', 'XRP/BTC:BTC-210924'],
    ])
    const volumes = bitmex.volumes!.parse([body], read)!
    assert.equal(volumes.get('BTC/USD:BTC'), 662123900)
    assert.equal(volumes.size, 10)
  })
})

test('volumes are what was traded in the quote currency; another shape is none', () => {
  const markets = [market('BTC/USD:BTC', 'XBTUSD', 1), market('ETH/USD:BTC', 'ETHUSD', 2)]
  const volumes = bitmex.volumes!.parse([[{ symbol: 'XBTUSD', foreignNotional24h: 5.5 }]], markets)
  assert.deepEqual(volumes, new Map([['BTC/USD:BTC', 5.5], ['ETH/USD:BTC', 0]]))
  assert.equal(bitmex.volumes!.parse([{}], markets), undefined)
})

test('the exchange says that it is closed', () => {
  assert.match(bitmex.closed!, /closed on 2026-09-23/)
})
