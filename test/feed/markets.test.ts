/** Market metadata, as the adapter reads it and through ccxt, against a small HTTP stub with products as Coinbase documents them. */
import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import process from 'node:process'
import { Buffer } from 'node:buffer'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { loadMarkets } from '../../src/feed/markets.ts'

function product(id: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  const [base, quote] = id.split('-')
  return {
    product_id: id,
    base_increment: '0.00000001',
    quote_increment: '0.01',
    price_increment: '0.01',
    quote_min_size: '1',
    quote_max_size: '150000000',
    base_min_size: '0.00000001',
    base_max_size: '3400',
    is_disabled: false,
    status: 'online',
    trading_disabled: false,
    product_type: 'SPOT',
    base_currency_id: base,
    quote_currency_id: quote,
    alias: '',
    alias_to: [],
    ...more,
  }
}

const PRODUCTS = [
  product('BTC-USD', { alias_to: ['BTC-USDC'] }),
  product('BTC-USDC', { alias: 'BTC-USD' }),
  product('SHIB-USD', { base_increment: '1', price_increment: '0.00000001' }),
  product('ODD-USD', { base_increment: '0.0025', price_increment: '5' }),
  product('NEW-USD', { price_increment: undefined, quote_increment: undefined }),
  product('OLD-USD', { trading_disabled: true }),
  product('GONE-USD', { status: 'delisted', is_disabled: true }),
  product('CGLD-USD'),
  product('XBT-EUR', { price_increment: '', quote_increment: '0.10' }),
  product('BCHSV-USD', { base_increment: '0' }),
]
/** Listed beside them, and no spot market. */
const FUTURE = product('BIT-28NOV26-CDE', { product_type: 'FUTURE' })

let server: Server
let restUrl: string
let asked: string[] = []
let answer: (request: IncomingMessage, response: ServerResponse) => void

function answerWith(status: number, body: string, headers: Record<string, string> = {}): void {
  answer = (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers })
    response.end(body)
  }
}

describe('loadMarkets', () => {
  before(async () => {
    server = createServer((request, response) => {
      asked.push(request.url ?? '')
      answer(request, response)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    restUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  test('reads symbols, steps, states and aliases with one request', async () => {
    asked = []
    answerWith(200, JSON.stringify({ products: PRODUCTS }))
    const markets = await loadMarkets('coinbase', { restUrl })
    assert.deepEqual(asked, ['/api/v3/brokerage/market/products'])
    const row = (symbol: string): unknown[] => {
      const market = markets.find((candidate) => candidate.symbol === symbol)
      assert.ok(market, symbol)
      const { wireSymbol, priceDecimals, sizeDecimals, active, aliasOf } = market
      return [wireSymbol, priceDecimals, sizeDecimals, active, aliasOf]
    }
    assert.equal(markets.length, PRODUCTS.length)
    assert.deepEqual(row('BTC/USD'), ['BTC-USD', 2, 8, true, undefined])
    assert.deepEqual(row('BTC/USDC'), ['BTC-USDC', 2, 8, true, 'BTC-USD'])
    assert.deepEqual(row('SHIB/USD'), ['SHIB-USD', 8, 0, true, undefined])
    assert.deepEqual(row('ODD/USD'), ['ODD-USD', 0, 4, true, undefined])
    assert.deepEqual(row('NEW/USD'), ['NEW-USD', 8, 8, true, undefined])
    assert.equal(row('OLD/USD')[3], false)
    assert.equal(row('GONE/USD')[3], false)
  })

  test('is read as ccxt reads it, market by market', async () => {
    answerWith(200, JSON.stringify({ products: [...PRODUCTS, FUTURE] }))
    const native = await loadMarkets('coinbase', { restUrl })
    assert.deepEqual(native.map(({ symbol }) => symbol).slice(-3), [
      'CELO/USD',
      'BTC/EUR',
      'BSV/USD',
    ])
    assert.deepEqual(native, await loadMarkets('coinbase', { restUrl, throughCcxt: true }))
  })

  test('an answer of another shape is left to ccxt, without asking again', async () => {
    asked = []
    const odd = { products: [...PRODUCTS, { ...product('X-USD'), base_currency_id: 7 }] }
    answerWith(200, JSON.stringify(odd))
    const markets = await loadMarkets('coinbase', { restUrl })
    assert.equal(markets.length, PRODUCTS.length + 1)
    assert.equal(asked.length, 1)
  })

  test('puts the path of the override in front', async () => {
    asked = []
    answerWith(200, JSON.stringify({ products: PRODUCTS }))
    await loadMarkets('coinbase', { restUrl: `${restUrl}/proxy/` })
    assert.deepEqual(asked, ['/proxy/api/v3/brokerage/market/products'])
  })

  test('asks again after a refusal that passes', async () => {
    asked = []
    answer = (_, response) => {
      response.writeHead(asked.length < 3 ? 503 : 200, { 'retry-after': '0' })
      response.end(JSON.stringify({ products: PRODUCTS }))
    }
    assert.equal((await loadMarkets('coinbase', { restUrl })).length, PRODUCTS.length)
    assert.equal(asked.length, 3)
  })

  const failures: readonly [what: string, status: number, body: string, found: RegExp][] = [
    [
      'a refused region',
      451,
      'no',
      /HTTP 451 no \(the exchange may refuse this region\), expected/,
    ],
    ['a wrong path', 404, '{"error": "x"}', /HTTP 404 {"error": "x"}, expected the list/],
    ['what is no JSON', 200, '<html>', /an answer that is not JSON: <html>, expected the list/],
    ['an empty list', 200, '{"products": []}', /the answer lists no spot market, expected/],
  ]
  for (const [what, status, body, found] of failures) {
    test(`says what it found: ${what}, exit 69, not asked twice`, async () => {
      asked = []
      answerWith(status, body)
      await assert.rejects(loadMarkets('coinbase', { restUrl }), (error: Error) => {
        assert.match(error.message, found)
        assert.match(error.message, /check the network, a proxy \(HTTPS_PROXY\) or --rest-url$/)
        assert.equal((error as Error & { exitCode?: number }).exitCode, 69)
        return true
      })
      assert.equal(asked.length, 1)
    })
  }

  test('an address that only refines may fail', async () => {
    answer = (request, response) => {
      const isList = request.url!.includes('pub:info:pair')
      response.writeHead(isList ? 200 : 404)
      response.end(isList ? JSON.stringify([[['BTCUSD', []]], []]) : 'not found')
    }
    const [market] = await loadMarkets('bitfinex', { restUrl })
    assert.deepEqual([market.symbol, market.priceDecimals], ['BTC/USD', 8])
  })

  test('what ccxt wants and is not given is said, and no network is blamed', async () => {
    answerWith(200, '{}')
    await assert.rejects(loadMarkets('alpaca', { restUrl }), {
      exitCode: 69,
      message: /^ccxt cannot list the markets of alpaca .*alpaca requires "apiKey" credential/,
    })
  })

  test('an answer is read up to a size, as it is after decompression', async () => {
    const small = gzipSync(Buffer.alloc(300 * 1024 * 1024, ' '))
    answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
      response.end(small)
    }
    const before = process.memoryUsage.rss()
    await assert.rejects(loadMarkets('coinbase', { restUrl }), {
      exitCode: 69,
      message: /an answer of more than 67108864 bytes/,
    })
    const grownMb = (process.memoryUsage.rss() - before) / 2 ** 20
    assert.ok(grownMb < 200, `${grownMb} MB`)
  })

  test('gives up on a server that never answers, exit 69', async () => {
    answer = () => {}
    await assert.rejects(loadMarkets('coinbase', { restUrl, timeoutMs: 50 }), {
      exitCode: 69,
      message: /no answer within 0.05 s/,
    })
  })

  test('gives up where nobody listens, exit 69', async () => {
    const refusing = { restUrl: 'http://127.0.0.1:1' }
    await assert.rejects(loadMarkets('coinbase', refusing), { exitCode: 69 })
  })

  test('what one exchange calls an alias is none on another', async () => {
    const future = (instId: string, alias: string) => ({
      instType: 'FUTURES',
      instId,
      alias,
      uly: 'BTC-USDT',
      instFamily: 'BTC-USDT',
      settleCcy: 'USDT',
      ctVal: '0.01',
      ctMult: '1',
      ctType: 'linear',
      ctValCcy: 'BTC',
      listTime: '1',
      expTime: '1798185600000',
      lotSz: '1',
      minSz: '1',
      tickSz: '0.1',
      state: 'live',
    })
    const data = [future('BTC-USDT-261225', 'quarter'), future('BTC-USDT-261226', 'quarter')]
    answerWith(200, JSON.stringify({ code: '0', data }))
    const markets = await loadMarkets('okx', { restUrl, throughCcxt: true })
    const ids = new Set(markets.map(({ wireSymbol }) => wireSymbol))
    assert.deepEqual([...ids].sort(), ['BTC-USDT-261225', 'BTC-USDT-261226'])
    assert.ok(markets.every(({ aliasOf }) => aliasOf === undefined))
  })

  test('knows which exchanges it can ask, exit 78', async () => {
    await assert.rejects(loadMarkets('nowhere'), {
      exitCode: 78,
      message: /^no market metadata for exchange "nowhere".*list exchanges/,
    })
  })
})
