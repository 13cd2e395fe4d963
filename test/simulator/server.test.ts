import assert from 'node:assert/strict'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import ccxt from 'ccxt'
import { WebSocket } from 'ws'
import { startSimulator } from '../../src/simulator/server.ts'
import type { Simulator, SimulatorOptions } from '../../src/simulator/server.ts'
import { NaiveClient } from './naive-client.ts'

const open: { close(): unknown }[] = []
after(async () => {
  for (const one of open.reverse()) await one.close()
})

async function started(options: Partial<SimulatorOptions> = {}): Promise<Simulator> {
  const simulator = await startSimulator({ symbols: ['BTC/USD', 'ETH/EUR'], ...options })
  open.push(simulator)
  return simulator
}

/** Megabytes pass: on a busy machine that takes a while. */
const PATIENT = { timeout: 70_000 }

interface Remote extends NaiveClient {
  readonly ws: WebSocket
  status: 'connecting' | 'open' | 'closed'
  closeCode: number
  failure: string
}

function connect(url: string, messages: readonly unknown[]): Remote {
  const ws = new WebSocket(url, { perMessageDeflate: false, maxPayload: 64 * 1024 * 1024 })
  const remote: Remote = Object.assign(new NaiveClient(), {
    ws,
    status: 'connecting' as const,
    closeCode: 0,
    failure: '',
  })
  ws.on('open', () => {
    remote.status = 'open'
    for (const message of messages) ws.send(JSON.stringify(message))
  })
  ws.on('message', (data: Uint8Array) => remote.receive(data))
  ws.on('error', (error: Error) => remote.failure = error.message)
  ws.on('close', (code: number) => {
    remote.status = 'closed'
    remote.closeCode = code
  })
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

const level2 = (...ids: string[]) => ({ type: 'subscribe', channel: 'level2', product_ids: ids })
const heartbeats = { type: 'subscribe', channel: 'heartbeats' }

async function json(url: string, method = 'GET', body?: unknown): Promise<[number, unknown]> {
  const response = await fetch(url, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return [response.status, await response.json()]
}

describe('the server', () => {
  test('a client over a socket rebuilds the book and finds it true at rest', async () => {
    const simulator = await started({ rate: 3000, levels: 200, seed: 2 })
    const client = connect(`${simulator.wsUrl}/some/path`, [
      level2('BTC-USD', 'ETH-EUR'),
      heartbeats,
    ])
    await until(
      '2,000 frames and a heartbeat',
      () => client.frames.length > 2000 && client.of('heartbeats').length > 0,
    )
    const [paused] = await json(`${simulator.restUrl}/control/pause`, 'POST')
    assert.equal(paused, 200)
    const [, truth] = await json(`${simulator.restUrl}/control/truth?symbol=BTC/USD`)
    const { bids, asks, version } = truth as { bids: unknown; asks: unknown; version: number }
    assert.equal(version, simulator.exchange.version('BTC-USD'))
    const expected = JSON.stringify({ bids, asks })
    await until('the true book', () => JSON.stringify(client.book('BTC-USD')) === expected)
    assert.equal(client.gaps, 0)
    const last = client.of('l2_data').filter((one) => one.events![0]!.product_id === 'BTC-USD').at(
      -1,
    )!
    const [, asOf] = await json(
      `${simulator.restUrl}/control/truth?symbol=BTC-USD&connection=1&nonce=${last.sequence_num}`,
    )
    assert.equal((asOf as { books: { version: number }[] }).books[0]!.version, version)
    await json(`${simulator.restUrl}/control/resume`, 'POST')
    await until('it goes on', () => simulator.exchange.version('BTC-USD') > version)
    const [, stats] = await json(`${simulator.restUrl}/control/stats`)
    const { connections, violations } = stats as {
      connections: { id: number; frames: number }[]
      violations: number
    }
    assert.equal(connections.length, 1)
    assert.ok(connections[0]!.frames > 2000)
    assert.equal(violations, 0)
  })

  test('the ninth connect in a second gets 429', async () => {
    const simulator = await started()
    const clients = Array.from({ length: 9 }, () => connect(simulator.wsUrl, []))
    await until('all answered', () => clients.every((one) => one.status !== 'connecting'))
    assert.equal(clients.filter((one) => one.status === 'open').length, 8)
    assert.match(clients.find((one) => one.status === 'closed')!.failure, /429/)
    assert.equal(simulator.stats().violations, 1)
  })

  test('line faults by control endpoint: drop, disconnect, half-open, clear', async () => {
    const simulator = await started({ rate: 500, levels: 20 })
    const client = connect(simulator.wsUrl, [level2('BTC-USD')])
    await until('data', () => client.frames.length > 20)
    assert.equal(client.gaps, 0)
    const url = `${simulator.restUrl}/control/fault`
    assert.equal((await json(url, 'POST', { kind: 'drop' }))[0], 200)
    await until('a gap', () => client.gaps === 1)
    const [status, refusal] = await json(url, 'POST', { kind: 'explode' })
    assert.equal(status, 400)
    assert.match((refusal as { error: string }).error, /"explode", expected one of/)
    simulator.control('disconnect')
    await until('the end', () => client.status === 'closed')
    assert.equal(client.closeCode, 1006)
    assert.equal(simulator.stats().connectionsOpen, 0)

    simulator.control('half-open:10')
    const second = connect(simulator.wsUrl, [level2('BTC-USD')])
    await until('9 frames', () => second.frames.length === 9)
    const version = simulator.exchange.version('BTC-USD')
    await until('the market goes on', () => simulator.exchange.version('BTC-USD') > version + 50)
    assert.equal(second.frames.length, 9)
    assert.equal(second.status, 'open')
    assert.deepEqual(simulator.stats().faultHits, { drop: 1, disconnect: 1, 'half-open': 1 })

    await json(`${simulator.restUrl}/control/clear`, 'POST')
    const third = connect(simulator.wsUrl, [level2('BTC-USD')])
    await until('no more faults', () => third.frames.length > 30)
  })

  test('a client that does not read is cut off, the others are served', PATIENT, async () => {
    const simulator = await started({
      rate: 2000,
      updates: 200,
      levels: 100,
      clientBufferBytesMax: 1_000_000,
    })
    const reader = connect(simulator.wsUrl, [level2('ETH-EUR')])
    const sleeper = connect(simulator.wsUrl, [level2('BTC-USD')])
    await until('both are served', () => reader.frames.length > 0 && sleeper.frames.length > 0)
    sleeper.ws.pause()
    await until('cut off', () => simulator.stats().slowClients === 1, 60_000)
    assert.equal(simulator.stats().connectionsOpen, 1)
    const frames = reader.frames.length
    await until('the other goes on', () => reader.frames.length > frames + 20)
    assert.equal(reader.gaps, 0)
  })

  test(
    'an endless stream of snapshots waits for the client, nothing is lost',
    PATIENT,
    async () => {
      const simulator = await started({ symbols: 30, levels: 4000, rate: 200 })
      const ids = simulator.exchange.products.map((product) => product.wireSymbol)
      const client = connect(simulator.wsUrl, [level2(...ids)])
      await until('30 snapshots', () => client.bids.size === 30, 15_000)
      assert.equal(client.gaps, 0)
    },
  )

  test('a taken port is said', async () => {
    const simulator = await started()
    await assert.rejects(
      startSimulator({ symbols: 1, port: simulator.port }),
      /cannot listen on 127\.0\.0\.1:\d+: .*choose another port/,
    )
  })

  test('unknown paths and symbols answer 404', async () => {
    const { restUrl } = await started()
    for (
      const path of [
        '/',
        '/control/nothing',
        '/control/truth?symbol=NO-USD',
        '/api/v3/brokerage/market/products/NO-USD',
        '/api/v3/brokerage/market/product_book?product_id=NO-USD',
      ]
    ) {
      assert.equal((await json(restUrl + path))[0], 404, path)
    }
  })

  test('a single product and its alias', async () => {
    const { restUrl } = await started()
    const path = `${restUrl}/api/v3/brokerage/market/products`
    const [, product] = await json(`${path}/BTC-USD`)
    const [, alias] = await json(`${path}/BTC-USDC`)
    assert.deepEqual((product as { alias_to: string[] }).alias_to, ['BTC-USDC'])
    assert.equal((alias as { alias: string }).alias, 'BTC-USD')
    const [, map] = await json(`${restUrl}/control/map`)
    assert.deepEqual(map, { 'BTC/USD': 0, 'ETH/EUR': 1 })
  })
})

describe('stock ccxt', () => {
  test('loads the markets, reads and watches a book', async () => {
    const simulator = await started({
      symbols: ['BTC/USD', 'ETH/EUR', 'MOG/USD'],
      rate: 300,
      levels: 50,
      seed: 4,
    })
    const client = new ccxt.pro.coinbase({ enableRateLimit: false })
    open.push(client)
    client.urls['api'] = {
      ...client.urls['api'] as object,
      rest: simulator.restUrl,
      ws: simulator.wsUrl,
    }
    // ccxt asks for this before it opens a ws:// address.
    await client.loadHttpProxyAgent()
    const markets = await client.loadMarkets()
    assert.deepEqual(Object.keys(markets).sort(), [
      'BTC/USD',
      'BTC/USDC',
      'ETH/EUR',
      'MOG/USD',
      'MOG/USDC',
    ])
    const bitcoin = markets['BTC/USD']!
    assert.equal(bitcoin.id, 'BTC-USD')
    assert.equal(bitcoin.active, true)
    assert.equal(bitcoin.precision.price, 0.01)
    assert.equal(bitcoin.precision.amount, 1e-8)
    assert.equal(bitcoin.info.quote_increment, '0.01')
    assert.equal(markets['MOG/USD']!.precision.price, 1e-11)
    const serverTime = await client.fetchTime()
    assert.ok(Math.abs(serverTime! - Date.now()) < 5000)

    for (let i = 0; i < 20; i++) await client.watchOrderBook('BTC/USD')
    simulator.pause()
    const truth = simulator.truth('BTC-USD')!
    const numbers = (side: readonly (readonly [string, string])[]) =>
      JSON.stringify(side.map(([price, size]) => [Number(price), Number(size)]))
    const watched = () => client.orderbooks['BTC/USD']!
    await until(
      'the true book',
      () =>
        JSON.stringify([...watched().bids]) === numbers(truth.bids) &&
        JSON.stringify([...watched().asks]) === numbers(truth.asks),
    )
    const fetched = await client.fetchOrderBook('BTC/USD', 10)
    assert.equal(
      JSON.stringify(fetched.bids.map(([p, s]) => [p, s])),
      numbers(truth.bids.slice(0, 10)),
    )
    assert.equal(simulator.stats().violations, 0)
  })
})

describe('the command', () => {
  test('says where it listens in one JSON line and ends with 0 on TERM', async () => {
    const { spawn } = await import('node:child_process')
    const program = `
      const { default: command } = await import(${
      JSON.stringify(
        new URL('../../src/commands/simulate.ts', import.meta.url).href,
      )
    })
      const { runCommand } = await import('citty')
      await runCommand(command, { rawArgs: process.argv.slice(-7) })
    `
    const flags = [
      'coinbase',
      '--symbols',
      '7',
      '--rate',
      '50',
      '--fault',
      'drop:0.01,disconnect:30s',
    ]
    const child = spawn(process.execPath, ['-e', program, '--', ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    open.push({ close: () => child.kill('SIGKILL') })
    let output = ''
    let errors = ''
    child.stdout.on('data', (part: Uint8Array) => output += part)
    child.stderr.on('data', (part: Uint8Array) => errors += part)
    let code: number | null | undefined
    child.on('exit', (status) => code = status)
    await until(`a line (${errors})`, () => output.includes('\n') || code !== undefined)
    assert.equal(errors, '')
    const line = JSON.parse(output)
    assert.equal(line.symbols, 7)
    assert.match(line.command, /^obfeed --exchange coinbase --map MAP\.json --ws-url ws:\/\/127/)
    const [, products] = await json(`${line.restUrl}/api/v3/brokerage/market/products`)
    assert.equal((products as { num_products: number }).num_products, 14)
    const client = connect(line.wsUrl, [level2('BTC-USD')])
    await until('a snapshot', () => client.bids.has('BTC-USD'))
    child.kill('SIGTERM')
    await until('its end', () => code !== undefined)
    assert.equal(code, 0)
    assert.equal(errors, '')
  })
})
