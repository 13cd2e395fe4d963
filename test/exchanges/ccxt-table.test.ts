/** The table of ccxt's exchanges: complete, honest, and each of them gets as far as subscribing. */
import ccxt from 'ccxt'
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { WebSocketServer } from 'ws'
import type { Instrument } from '../../src/core/instrument.ts'
import { ccxtClasses } from '../../src/exchanges/ccxt-classes.ts'
import type { CcxtConstructor, CcxtExchange } from '../../src/exchanges/ccxt-client.ts'
import { marketOf, segmentOf, unifiedParts } from '../../src/exchanges/ccxt-market.ts'
import { ccxtAdapter, ccxtExchanges, loadCcxtClass } from '../../src/exchanges/ccxt.ts'
import { until } from '../support/until.ts'
import { CcxtClient } from './ccxt-stubs/client.ts'
import { listing } from './ccxt-stubs/listings.ts'

const PATIENT = { timeout: 120_000 }

function instrument(symbol: string, wireSymbol: string): Instrument {
  return { symbol, wireSymbol, priceDecimals: 2, sizeDecimals: 6 }
}

const SPOT = instrument('BTC/USDT', 'BTCUSDT')

/** Where the usual one does not exist. */
const OWN: Readonly<Record<string, Instrument>> = {
  apex: instrument('BTC/USDT:USDT', 'BTC-USDT'),
  binancecoinm: instrument('BTC/USD:BTC', 'BTCUSD_PERP'),
  binanceusdm: instrument('BTC/USDT:USDT', 'BTCUSDT'),
  blofin: instrument('BTC/USDT:USDT', 'BTC-USDT'),
  hyperliquid: instrument('BTC/USDC:USDC', '0'),
  kucoinfutures: instrument('BTC/USDT:USDT', 'XBTUSDTM'),
  ndax: instrument('BTC/CAD', '8'),
  phemex: instrument('BTC/USDT', 'sBTCUSDT'),
}

function instrumentOf(id: string): Instrument {
  return OWN[id] ?? SPOT
}

/** ccxt's own classes; its index knows them all. */
const classes = ccxt.pro as unknown as Readonly<Record<string, CcxtConstructor>>
const all = Object.keys(classes).flatMap((id): [string, Record<string, unknown>][] => {
  if (!ccxt.exchanges.includes(id)) return []
  return [[id, (new classes[id]!({}) as unknown as { has: Record<string, unknown> }).has]]
})

describe('the table', () => {
  test('has every exchange whose books ccxt can watch, and no other', () => {
    const able = all.filter(([, has]) => has['watchOrderBook'] === true).map(([id]) => id)
    assert.ok(able.length > 60)
    assert.deepEqual(Object.keys(ccxtClasses).sort(), able.sort())
    assert.deepEqual(ccxtExchanges().map(({ id }) => id).sort(), able)
  })

  test('batches only where ccxt does', () => {
    const able = new Set(
      all.filter(([, has]) => has['watchOrderBookForSymbols'] === true).map(([id]) => id),
    )
    for (const [id, row] of Object.entries(ccxtClasses)) {
      if (row.batches === true) assert.ok(able.has(id), id)
    }
  })

  test('what does not work has a reason and no adapter', () => {
    const broken = ccxtExchanges().filter(({ works }) => !works)
    assert.deepEqual(broken.map(({ id }) => id), [
      'alpaca',
      'cex',
      'coinbaseexchange',
      'coinbaseinternational',
      'coincheck',
      'derive',
      'luno',
      'nado',
    ])
    for (const { id, reason } of broken) {
      assert.ok(reason !== undefined && reason.length > 20, id)
      assert.equal(ccxtAdapter(id), undefined)
    }
    for (const { id, reason, works } of ccxtExchanges()) {
      if (!works) continue
      assert.equal(reason, undefined)
      assert.equal(ccxtAdapter(id)!.exchange, id)
      assert.equal(ccxtAdapter(id)!.protocol.loss, 'none')
    }
    assert.equal(ccxtAdapter('bitmex'), undefined)
    assert.equal(ccxtAdapter('constructor'), undefined)
  })

  test('ccxt asks for keys where the table says so, before it opens a socket', async () => {
    for (const [id, { refused }] of Object.entries(ccxtClasses)) {
      if (refused === undefined || !refused.includes('keys')) continue
      const exchange = new classes[id]!({})
      exchange.setMarkets([marketOf(SPOT, exchange)])
      const make = exchange.client
      exchange.client = (url) => {
        const socket = make.call(exchange, url)
        socket.createConnection = () => assert.fail(`${id} opens a socket`)
        return socket
      }
      await assert.rejects(
        async () => await exchange.watchOrderBook(SPOT.symbol),
        /requires "\w+" credential/,
        id,
      )
    }
  })

  test('the depth that can be had is the least that covers the wish', () => {
    const kraken = ccxtAdapter('kraken')!
    assert.deepEqual(kraken.depth!(0), { view: 1000, kept: Infinity })
    assert.deepEqual(kraken.depth!(30), { view: 30, kept: Infinity })
    assert.deepEqual(ccxtAdapter('hyperliquid')!.depth!(100), { view: 20, kept: Infinity })
    assert.equal(ccxtAdapter('deribit')!.depth, undefined)
  })
})

describe('markets made of an instrument', () => {
  test('the parts of unified symbols', () => {
    const parts = (symbol: string) => Object.values(unifiedParts(symbol))
    assert.deepEqual(parts('BTC/USDT'), ['BTC', 'USDT', undefined, 'spot'])
    assert.deepEqual(parts('BTC/USDT:USDT'), ['BTC', 'USDT', 'USDT', 'swap'])
    assert.deepEqual(parts('BTC/USD:BTC-261225'), ['BTC', 'USD', 'BTC', 'future'])
    assert.deepEqual(parts('ETH/USD:ETH-261225-4000-C'), ['ETH', 'USD', 'ETH', 'option'])
    assert.notEqual(
      segmentOf(instrument('BTC/USDT', '')),
      segmentOf(instrument('BTC/USDT:USDT', '')),
    )
  })

  test('every class finds them by both of their names', async () => {
    interface Finder extends CcxtExchange {
      market(symbol: string): { readonly id: string; readonly spot: boolean }
      safeMarket(id: string, market: undefined, delimiter: undefined, type: string): {
        readonly symbol: string
      }
    }
    for (const { id, works } of ccxtExchanges()) {
      if (!works) continue
      const wanted = instrumentOf(id)
      const Class = await loadCcxtClass(id)
      const exchange = new Class!({}) as Finder
      exchange.setMarkets([marketOf(wanted, exchange)])
      const { type } = unifiedParts(wanted.symbol)
      const market = exchange.market(wanted.symbol)
      assert.equal(market.id, wanted.wireSymbol, id)
      assert.equal(market.spot, type === 'spot', id)
      const found = exchange.safeMarket(wanted.wireSymbol, undefined, undefined, type)
      assert.equal(found.symbol, wanted.symbol, id)
    }
  })
})

test('every exchange that works subscribes the book', PATIENT, async () => {
  const heard = new Map<string, string[]>()
  const hear = (path: string, text: string) => {
    const id = path.split(/[/?]/)[1]!
    heard.set(id, [...heard.get(id) ?? [], text])
  }
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (part) => body += part)
    request.on('end', () => {
      const answer = listing(request.url!.split('/')[1]!, request.url!, body)
      response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(answer ?? {}))
    })
  })
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, { url }) => {
    hear(url!, url!)
    socket.on('message', (data) => hear(url!, String(data)))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const working = ccxtExchanges().filter(({ works }) => works).map(({ id }) => id)
  const clients: CcxtClient[] = []
  try {
    for (const id of working) {
      // One after the other: loading a class blocks everything else.
      await loadCcxtClass(id)
      clients.push(new CcxtClient(id, [instrumentOf(id)], `127.0.0.1:${port}/${id}`))
    }
    const missing = () =>
      working.filter((id) => {
        const { symbol, wireSymbol } = instrumentOf(id)
        const names = [wireSymbol, unifiedParts(symbol).base]
        return !heard.get(id)?.some((text) =>
          names.some((name) => text.toUpperCase().includes(name))
        )
      })
    const troubles = () =>
      missing().map((id) => `${id}: ${heard.get(id)} ${clients[working.indexOf(id)]!.troubles}`)
    await until(() => troubles().join('\n'), 60_000, () => missing().length === 0)
    for (const [index, { listener, closed }] of clients.entries()) {
      assert.equal(closed, undefined, working[index])
      assert.deepEqual(listener.failures, [], working[index])
    }
  } finally {
    for (const { socket } of clients) socket.terminate()
    await until('no socket is left', 20_000, () => sockets.clients.size === 0)
    sockets.close()
    server.close()
    server.closeAllConnections()
  }
})
