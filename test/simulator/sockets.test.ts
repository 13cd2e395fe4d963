/** The exchanges behind real sockets: addresses, protocol pings, REST statuses, stock ccxt clients. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import ccxt from 'ccxt'
import { WebSocket } from 'ws'
import { startSimulator } from '../../src/simulator/server.ts'
import type { Simulator, SimulatorOptions } from '../../src/simulator/server.ts'

const open: { close(): unknown }[] = []
after(async () => {
  for (const one of open.reverse()) await one.close()
})

async function started(options: SimulatorOptions): Promise<Simulator> {
  const simulator = await startSimulator(options)
  open.push(simulator)
  return simulator
}

interface Remote {
  readonly ws: WebSocket
  readonly texts: string[]
  pings: number
  status: 'connecting' | 'open' | 'closed'
  failure: string
}

function connect(url: string, messages: readonly unknown[] = []): Remote {
  const ws = new WebSocket(url, { perMessageDeflate: false })
  const remote: Remote = { ws, texts: [], pings: 0, status: 'connecting', failure: '' }
  ws.on('open', () => {
    remote.status = 'open'
    for (const message of messages) ws.send(JSON.stringify(message))
  })
  ws.on('message', (data: Uint8Array) => remote.texts.push(data.toString()))
  ws.on('ping', () => remote.pings++)
  ws.on('error', (error: Error) => remote.failure = error.message)
  ws.on('close', () => remote.status = 'closed')
  open.push({ close: () => ws.terminate() })
  return remote
}

async function until(what: string, condition: () => boolean, limitMs = 8000): Promise<void> {
  const deadline = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const SUBSCRIBE = { method: 'SUBSCRIBE', params: ['btcusdt@depth@100ms'], id: 1 }

describe('binance behind a socket', () => {
  test('path and query reach it, and others are not found', async () => {
    const { wsUrl } = await started({ exchange: 'binance', symbols: ['BTC/USDT'], rate: 500 })
    const wrapped = connect(`${wsUrl}/stream?streams=btcusdt@depth@100ms`)
    const raw = connect(`${wsUrl}/ws/btcusdt@depth@100ms`)
    const lost = connect(`${wsUrl}/somewhere`)
    await until('data', () => wrapped.texts.length > 3 && raw.texts.length > 3)
    assert.match(wrapped.texts[0]!, /^\{"stream":"btcusdt@depth@100ms","data":\{"e":"depthUpdate"/)
    assert.match(raw.texts[0]!, /^\{"e":"depthUpdate"/)
    await until('a refusal', () => lost.status === 'closed')
    assert.match(lost.failure, /404/)
  })

  test("its pings are answered, and the client's count as messages", async () => {
    const simulator = await started({
      exchange: 'binance',
      symbols: ['BTC/USDT'],
      limits: { ping: { everyMs: 300, pongWithinMs: 250 } },
    })
    const client = connect(`${simulator.wsUrl}/ws`, [SUBSCRIBE])
    await until('three pings', () => client.pings >= 3)
    assert.equal(client.status, 'open')
    assert.equal(simulator.stats().violations, 0)
    for (let i = 0; i < 8; i++) client.ws.ping()
    await until('its end', () => client.status === 'closed')
    assert.deepEqual(simulator.stats().broken.map((one) => one.rule), ['messages'])
  })

  test('REST has headers, statuses and requests without an answer', async () => {
    const { restUrl } = await started({
      exchange: 'binance',
      symbols: ['BTC/USDT'],
      faults: [{ kind: 'rest-error', after: 1 }, {
        kind: 'rest-error',
        variant: 'timeout',
        after: 1,
      }],
    })
    const url = `${restUrl}/api/v3/depth?symbol=BTCUSDT&limit=5`
    const good = await fetch(url)
    assert.equal(good.headers.get('x-mbx-used-weight-1m'), '5')
    assert.equal((await good.json()).bids.length, 5)
    const refused = await fetch(url)
    assert.equal(refused.status, 429)
    assert.equal(refused.headers.get('retry-after'), '2')
    await refused.text()
    await assert.rejects(fetch(url, { signal: AbortSignal.timeout(300) }), /timed? ?out|abort/i)
  })
})

describe('faults and limits by their exchange', () => {
  test('each exchange knows its own', async () => {
    const binance = await started({ exchange: 'binance', symbols: ['BTC/USDT'], rate: 100 })
    const client = connect(`${binance.wsUrl}/ws`, [SUBSCRIBE])
    await until('data', () => client.texts.length > 1)
    binance.control('shutdown')
    await until('the notice', () => client.texts.some((text) => text.includes('serverShutdown')))
    assert.equal(binance.stats().faultHits['shutdown'], 1)
    const kraken = await started({ exchange: 'kraken', symbols: ['BTC/USD'] })
    assert.throws(() => kraken.control('shutdown'), /expected one of .*maintenance/)
    assert.throws(() => startSimulator({ exchange: 'mtgox', symbols: 1 }), /binance, .*kraken/)
  })
})

describe('stock ccxt', () => {
  const numbers = (side: readonly (readonly [string, string])[], depth: number) =>
    JSON.stringify(side.slice(0, depth).map(([price, size]) => [Number(price), Number(size)]))

  test('kraken: markets, a watched book, a fetched one', async () => {
    const simulator = await started({
      exchange: 'kraken',
      symbols: ['BTC/USD', 'ETH/EUR'],
      rate: 300,
      levels: 60,
    })
    const client = new ccxt.pro.kraken({ enableRateLimit: false })
    open.push(client)
    const { restUrl, wsUrl } = simulator
    const api = client.urls['api'] as Record<string, unknown>
    client.urls['api'] = {
      ...api,
      public: restUrl,
      ws: { ...api['ws'] as object, publicV2: `${wsUrl}/v2` },
    }
    await client.loadHttpProxyAgent()
    await client.loadMarkets()
    for (let i = 0; i < 20; i++) await client.watchOrderBook('ETH/EUR', 10)
    simulator.pause()
    const truth = simulator.truth('ETH/EUR', 10)!
    await until('the true book', () => {
      const book = client.orderbooks['ETH/EUR']!
      return JSON.stringify([...book.bids].slice(0, 10)) === numbers(truth.bids, 10) &&
        JSON.stringify([...book.asks].slice(0, 10)) === numbers(truth.asks, 10)
    })
    const fetched = await client.fetchOrderBook('BTC/USD', 5)
    assert.equal(fetched.bids.length, 5)
    assert.equal(simulator.stats().violations, 0)
  })

  for (const exchange of ['binance', 'binanceusdm'] as const) {
    test(`${exchange}: markets, a spliced book`, async () => {
      const isSpot = exchange === 'binance'
      const symbol = isSpot ? 'ETH/BTC' : 'ETH/USDT:USDT'
      const simulator = await started({
        exchange,
        symbols: [symbol, isSpot ? 'BTC/USDT' : 'BTC/USDT:USDT'],
        rate: 300,
        levels: 60,
        pushMs: 20,
        // ccxt does not look whether a snapshot is older than what it has buffered.
        restLag: { older: 0, newer: 2 },
      })
      const types = [isSpot ? 'spot' : 'linear']
      const client = new ccxt.pro[exchange]({
        enableRateLimit: false,
        options: { fetchMarkets: { types } },
      })
      open.push(client)
      const { restUrl, wsUrl } = simulator
      const api = client.urls['api'] as Record<string, unknown>
      client.urls['api'] = {
        ...api,
        public: `${restUrl}/api/v3`,
        fapiPublic: `${restUrl}/fapi/v1`,
        ws: {
          ...api['ws'] as object,
          spot: `${wsUrl}/ws`,
          future: `${wsUrl}/ws`,
        },
      }
      await client.loadHttpProxyAgent()
      await client.loadMarkets()
      for (let i = 0; i < 10; i++) await client.watchOrderBook(symbol)
      simulator.pause()
      const truth = simulator.truth(symbol)!
      await until('the true book', () => {
        const book = client.orderbooks[symbol]!
        return JSON.stringify([...book.bids]) === numbers(truth.bids, Infinity) &&
          JSON.stringify([...book.asks]) === numbers(truth.asks, Infinity)
      })
      assert.equal(simulator.stats().violations, 0)
    })
  }
})
