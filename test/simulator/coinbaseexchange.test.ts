/** The simulated Coinbase Exchange, with a client as simple as can be. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { coinbaseexchange as adapter } from '../../src/exchanges/coinbaseexchange.ts'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'
import { CoinbaseBatchExchange, coinbaseexchange } from '../../src/simulator/coinbaseexchange.ts'
import type { FaultSpec } from '../../src/simulator/faults.ts'
import { parseFault } from '../../src/simulator/faults.ts'

const THREE = ['BTC/USD', 'MOG/USD', 'ETH/EUR']
const IDS = ['BTC-USD', 'MOG-USD', 'ETH-EUR']

interface Frame {
  readonly type: string
  readonly product_id?: string
  readonly asks?: readonly (readonly [string, string])[]
  readonly bids?: readonly (readonly [string, string])[]
  readonly changes?: readonly (readonly [string, string, string])[]
  readonly time?: string
  readonly message?: string
  readonly reason?: string
  readonly channels?: readonly { readonly name: string; readonly product_ids: string[] }[]
}

const decoder = new TextDecoder()
const canonical = (text: string) => text.includes('.') ? text.replace(/\.?0+$/, '') : text

class Client {
  readonly frames: Frame[] = []
  readonly books = new Map<string, { buy: Map<string, string>; sell: Map<string, string> }>()
  undecodable = 0

  receive(bytes: Uint8Array): void {
    let frame: Frame
    try {
      frame = JSON.parse(decoder.decode(bytes))
    } catch {
      this.undecodable++
      return
    }
    this.frames.push(frame)
    const id = frame.product_id ?? ''
    if (frame.type === 'snapshot') {
      const texts = (rows: readonly (readonly [string, string])[]) =>
        new Map(rows.map(([price, size]) => [canonical(price), canonical(size)]))
      this.books.set(id, { buy: texts(frame.bids!), sell: texts(frame.asks!) })
    }
    for (const [side, price, size] of frame.changes ?? []) {
      const levels = this.books.get(id)![side as 'buy' | 'sell']
      if (!(Number(size) >= 0)) continue
      if (Number(size) === 0) levels.delete(canonical(price))
      else levels.set(canonical(price), canonical(size))
    }
  }

  book(id: string): { bids: [string, string][]; asks: [string, string][] } {
    const { buy, sell } = this.books.get(id)!
    return {
      bids: [...buy].sort((a, b) => Number(b[0]) - Number(a[0])),
      asks: [...sell].sort((a, b) => Number(a[0]) - Number(b[0])),
    }
  }

  of(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type)
  }
}

/** The exchange and its clients without any I/O, under a clock that the test turns. */
class Floor {
  readonly exchange: CoinbaseBatchExchange
  readonly clients = new Map<number, Client>()
  readonly closed: number[] = []
  readonly sent: string[] = []
  nowMs = 1_795_362_721_000

  constructor(options: Partial<ExchangeOptions> = {}) {
    this.exchange = new CoinbaseBatchExchange({ symbols: THREE, levels: 20, rate: 0, ...options }, {
      frame: (connection, bytes) => {
        this.sent.push(decoder.decode(bytes))
        this.clients.get(connection)?.receive(bytes)
      },
      close: (connection) => this.closed.push(connection),
    })
    this.exchange.tick(this.nowMs)
  }

  connect(): number {
    const id = this.exchange.connect(this.nowMs)
    if (id >= 0) this.clients.set(id, new Client())
    return id
  }

  say(connection: number, message: unknown): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    this.exchange.receive(connection, text, this.nowMs)
  }

  ask(id: number, type: string, ids: readonly string[], channels: unknown[] = ['level2_batch']) {
    this.say(id, { type, product_ids: ids, channels })
  }

  run(ms: number, stepMs = 10): void {
    const end = this.nowMs + ms
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + stepMs)
      this.exchange.tick(this.nowMs)
    }
  }

  subscribed(ids: readonly string[] = IDS): Client {
    const id = this.connect()
    this.ask(id, 'subscribe', ids)
    this.run(50)
    return this.clients.get(id)!
  }

  assertTrue(client: Client, ids: readonly string[] = IDS): void {
    for (const id of ids) {
      const { bids, asks } = this.exchange.truth(id)!
      assert.deepEqual(client.book(id), { bids, asks }, id)
    }
  }

  get rules(): string[] {
    return this.exchange.violations.map(({ rule }) => rule)
  }

  get(path: string): unknown {
    return this.exchange.rest(path, new URLSearchParams(), this.nowMs).body
  }
}

describe('the stream', () => {
  test('a client that applies every frame has the true book after each', () => {
    for (const pushMs of [0, 50]) {
      const floor = new Floor({ rate: 500, updates: 3, seed: 8, pushMs })
      const client = floor.subscribed()
      for (let i = 0; i < 100; i++) {
        floor.run(10)
        if (pushMs > 0) floor.exchange.flush(floor.nowMs)
        floor.assertTrue(client)
      }
      assert.ok(client.of('l2update').length > 50)
    }
  })

  test('frames have the shape of the exchange; data comes before the acknowledgement', () => {
    const floor = new Floor({ symbols: ['BTC/USD'], levels: 2 })
    floor.subscribed(['BTC-USD'])
    for (let i = 0; i < 20; i++) floor.exchange.advance(1, floor.nowMs)
    const [snapshot, ack, ...updates] = floor.sent
    const pair = '\\["\\d+\\.\\d{2}","\\d+\\.\\d{8}"\\]'
    const side = `\\[(${pair}(,${pair})*)?\\]`
    const time = '"time":"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z"'
    assert.match(
      snapshot!,
      new RegExp(
        `^\\{"type":"snapshot","product_id":"BTC-USD","asks":${side},"bids":${side},${time}\\}$`,
      ),
    )
    assert.equal(
      ack,
      '{"type":"subscriptions","channels":[{"name":"level2_batch","product_ids":["BTC-USD"]}]}',
    )
    const change = '\\["(buy|sell)","\\d+\\.\\d{2}","\\d+\\.\\d{8}"\\]'
    const update = new RegExp(
      `^\\{"type":"l2update","product_id":"BTC-USD","changes":\\[(${change}(,${change})*)?\\],${time}\\}$`,
    )
    assert.ok(updates.length > 15)
    for (const text of updates) assert.match(text, update)
  })

  test('subscribe, again, unsubscribe, and anew', () => {
    const floor = new Floor({ rate: 100 })
    const client = floor.subscribed()
    floor.ask(1, 'subscribe', ['BTC-USD'])
    floor.run(100)
    assert.equal(client.of('snapshot').length, 3, 'no second one')
    floor.ask(1, 'unsubscribe', ['BTC-USD'])
    floor.run(20)
    const before = client.of('l2update').filter((frame) => frame.product_id === 'BTC-USD').length
    floor.run(500)
    const after = client.of('l2update').filter((frame) => frame.product_id === 'BTC-USD').length
    assert.equal(after, before)
    assert.deepEqual(client.of('subscriptions').at(-1)!.channels, [
      { name: 'level2_batch', product_ids: ['MOG-USD', 'ETH-EUR'] },
    ])
    floor.ask(1, 'subscribe', ['BTC-USD'])
    floor.run(100)
    floor.assertTrue(client)
    assert.deepEqual(floor.rules, [])
  })

  test('heartbeats once a second for each product', () => {
    const floor = new Floor()
    const id = floor.connect()
    floor.ask(id, 'subscribe', IDS, ['level2_batch', 'heartbeat'])
    floor.run(3_500)
    const client = floor.clients.get(id)!
    assert.equal(client.of('heartbeat').length, 9)
    floor.ask(id, 'unsubscribe', IDS, ['heartbeat'])
    floor.run(3_000)
    assert.equal(client.of('heartbeat').length, 9)
    assert.equal(client.books.size, 3)
  })
})

describe('rules', () => {
  test('errors', () => {
    const floor = new Floor()
    const id = floor.connect()
    const client = floor.clients.get(id)!
    floor.say(id, 'x')
    floor.say(id, { type: 'hello' })
    floor.say(id, { type: 'subscribe', product_ids: IDS })
    floor.ask(id, 'subscribe', IDS, ['level2'])
    floor.ask(id, 'subscribe', IDS, ['weather'])
    floor.ask(id, 'subscribe', ['BTC-USD', 'XXX-USD'])
    floor.run(100)
    const errors = client.of('error').map(({ message, reason }) => reason ?? message)
    assert.deepEqual(errors.length, 6)
    assert.match(errors[3]!, /require authentication/)
    assert.equal(errors[5], 'XXX-USD is not a valid product')
    assert.equal(client.books.size, 0, 'the whole message is refused')
  })

  test('a subscription within five seconds, 8 connections and 100 messages a second', () => {
    const floor = new Floor()
    for (let i = 0; i < 9; i++) floor.connect()
    assert.deepEqual(floor.rules, ['connects'])
    for (let i = 0; i < 101; i++) floor.ask(1, 'subscribe', ['BTC-USD'])
    assert.deepEqual(floor.rules, ['connects', 'messages'])
    floor.run(5_100, 100)
    assert.deepEqual(floor.closed, [2, 3, 4, 5, 6, 7, 8])
  })

  test('a product that is delisted is told of, and is gone from the metadata', () => {
    const floor = new Floor({ rate: 100 })
    const client = floor.subscribed()
    floor.exchange.delist('BTC/USD', floor.nowMs)
    assert.equal(client.of('error').at(-1)!.message, 'BTC-USD is delisted')
    assert.equal((floor.get('/products') as unknown[]).length, 2)
  })
})

describe('faults', () => {
  const fault = (text: string): FaultSpec =>
    parseFault(text, Object.keys(coinbaseexchange.rules.faults!))

  test('odd values change nothing; half a frame', () => {
    const floor = new Floor()
    const client = floor.subscribed()
    floor.exchange.inject(fault('odd'))
    floor.run(20)
    const odd = client.of('l2update')[0]!
    assert.match(odd.time!, /^0001-01-01T/)
    assert.deepEqual(odd.changes!.map(([, , size]) => size), ['-1.00000000', 'NaN'])
    floor.exchange.inject(fault('half'))
    floor.run(20)
    assert.equal(client.undecodable, 1)
    floor.assertTrue(client)
  })

  test('stall and crossed', () => {
    const floor = new Floor({ rate: 100 })
    const client = floor.subscribed()
    floor.exchange.inject(fault('stall:BTC-USD'))
    floor.exchange.inject({ kind: 'crossed', symbol: 'ETH-EUR' })
    floor.exchange.advanceOf('ETH-EUR', 1, floor.nowMs)
    const { bids, asks } = client.book('ETH-EUR')
    assert.ok(Number(bids[0]![0]) >= Number(asks[0]![0]))
    floor.run(1000)
    assert.equal(client.of('l2update').some((frame) => frame.product_id === 'BTC-USD'), false)
    floor.assertTrue(client, ['MOG-USD'])
  })
})

test('metadata and volumes are as the adapter reads them', () => {
  const floor = new Floor()
  const answers = (urls: readonly string[]) => urls.map((url) => floor.get(new URL(url).pathname))
  const markets = adapter.markets!.parse(answers(adapter.markets!.urls))!
  assert.deepEqual(markets.map(({ symbol, wireSymbol }) => [symbol, wireSymbol]), [
    ['BTC/USD', 'BTC-USD'],
    ['MOG/USD', 'MOG-USD'],
    ['ETH/EUR', 'ETH-EUR'],
  ])
  assert.deepEqual(markets.map((one) => [one.priceDecimals, one.sizeDecimals]), [
    [2, 8],
    [11, 0],
    [2, 8],
  ])
  const volumes = adapter.volumes!.parse(answers(adapter.volumes!.urls), markets)!
  const [first, second, third] = [...volumes.values()]
  assert.ok(first! > second! && second! > third! && third! > 0)
  const book = floor.get('/products/BTC-USD/book') as { bids: string[][] }
  assert.equal(book.bids.length, 1)
  assert.equal(floor.exchange.rest('/nothing', new URLSearchParams(), floor.nowMs).status, 404)
})
