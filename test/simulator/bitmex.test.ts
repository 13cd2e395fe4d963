/** The simulated BitMEX, with a client as simple as can be: it believes all and counts what is wrong. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bitmex as adapter } from '../../src/exchanges/bitmex.ts'
import { bitmex, BitmexExchange } from '../../src/simulator/bitmex.ts'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'
import type { FaultSpec } from '../../src/simulator/faults.ts'
import { parseFault } from '../../src/simulator/faults.ts'

const THREE = ['BTC/USD:BTC', 'MOG/USDT:USDT', 'BTC/USDT']
const IDS = ['XBTUSD', 'MOGUSDT', 'XBT_USDT']

interface Row {
  readonly symbol: string
  readonly id: number
  readonly side: 'Buy' | 'Sell'
  readonly size?: number
  readonly price?: number
}

interface Frame {
  readonly table?: string
  readonly action?: 'partial' | 'insert' | 'update' | 'delete'
  readonly filter?: { readonly symbol: string }
  readonly data?: readonly Row[]
  readonly info?: string
  readonly success?: boolean
  readonly subscribe?: string
  readonly unsubscribe?: string
  readonly status?: number
  readonly error?: string
}

const decoder = new TextDecoder()

class Client {
  readonly frames: Frame[] = []
  /** By symbol: rows by side and id. */
  readonly tables = new Map<string, Map<string, Row>>()
  pongs = 0
  unknown = 0
  undecodable = 0

  receive(bytes: Uint8Array): void {
    const text = decoder.decode(bytes)
    if (text === 'pong') {
      this.pongs++
      return
    }
    let frame: Frame
    try {
      frame = JSON.parse(text)
    } catch {
      this.undecodable++
      return
    }
    this.frames.push(frame)
    if (frame.action === 'partial') this.tables.set(frame.filter!.symbol, new Map())
    for (const row of frame.data ?? []) {
      const table = this.tables.get(row.symbol)!
      const key = `${row.side} ${row.id}`
      const held = table.get(key)
      const isNew = frame.action === 'partial' || frame.action === 'insert'
      if (isNew ? held !== undefined : held === undefined) this.unknown++
      if (frame.action === 'delete') table.delete(key)
      else table.set(key, { ...held, ...row })
    }
  }

  book(symbol: string): { bids: [number, number][]; asks: [number, number][] } {
    const rows = [...this.tables.get(symbol)!.values()]
    const of = (side: string, sign: number) =>
      rows.filter((row) => row.side === side)
        .map((row): [number, number] => [row.price!, row.size!])
        .sort((a, b) => sign * (a[0] - b[0]))
    return { bids: of('Buy', -1), asks: of('Sell', 1) }
  }

  actions(): string[] {
    return this.frames.flatMap(({ action }) => action ?? [])
  }
}

/** The exchange and its clients without any I/O, under a clock that the test turns. */
class Floor {
  readonly exchange: BitmexExchange
  readonly clients = new Map<number, Client>()
  readonly sent: string[] = []
  nowMs = 1_626_993_367_000

  constructor(options: Partial<ExchangeOptions> = {}) {
    this.exchange = new BitmexExchange({ symbols: THREE, levels: 20, rate: 0, ...options }, {
      frame: (connection, bytes) => {
        this.sent.push(decoder.decode(bytes))
        this.clients.get(connection)?.receive(bytes)
      },
      close: () => {},
    })
    this.exchange.tick(this.nowMs)
  }

  connect(): number {
    const id = this.exchange.connect(this.nowMs, '/realtime')
    if (id >= 0) this.clients.set(id, new Client())
    return id
  }

  say(connection: number, message: unknown): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    this.exchange.receive(connection, text, this.nowMs)
  }

  ask(connection: number, op: string, symbols: readonly string[] = IDS): void {
    this.say(connection, { op, args: symbols.map((symbol) => `orderBookL2:${symbol}`) })
  }

  run(ms: number, stepMs = 10): void {
    const end = this.nowMs + ms
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + stepMs)
      this.exchange.tick(this.nowMs)
    }
  }

  subscribed(symbols: readonly string[] = IDS): Client {
    const id = this.connect()
    this.ask(id, 'subscribe', symbols)
    this.run(50)
    return this.clients.get(id)!
  }

  assertTrue(client: Client, symbols: readonly string[] = IDS): void {
    for (const symbol of symbols) {
      const { bids, asks } = this.exchange.truth(symbol)!
      const numbers = (rows: readonly (readonly [string, string])[]) =>
        rows.map(([price, size]) => [Number(price), Number(size)])
      assert.deepEqual(client.book(symbol), { bids: numbers(bids), asks: numbers(asks) }, symbol)
    }
  }

  get rules(): string[] {
    return this.exchange.violations.map(({ rule }) => rule)
  }

  get(path: string, query = ''): unknown {
    return this.exchange.rest(path, new URLSearchParams(query), this.nowMs).body
  }
}

describe('the stream', () => {
  test('a client that applies every frame has the true book after each', () => {
    for (const pushMs of [0, 100]) {
      const floor = new Floor({ rate: 500, seed: 8, pushMs })
      const client = floor.subscribed()
      for (let i = 0; i < 100; i++) {
        floor.run(10)
        if (pushMs > 0) floor.exchange.flush(floor.nowMs)
        floor.assertTrue(client)
      }
      assert.equal(
        client.unknown,
        0,
        'updates and deletes of what is there, inserts of what is not',
      )
      assert.equal(client.undecodable, 0)
      assert.deepEqual(
        [...new Set(client.actions())].sort(),
        ['delete', 'insert', 'partial', 'update'],
      )
    }
  })

  test('another client in mid-stream, and one after a pause', () => {
    const floor = new Floor({ rate: 300, seed: 4 })
    const first = floor.subscribed()
    floor.run(500)
    const second = floor.subscribed(['XBTUSD'])
    floor.run(500)
    floor.assertTrue(first)
    floor.assertTrue(second, ['XBTUSD'])
    floor.ask(1, 'unsubscribe', ['XBTUSD'])
    floor.ask(2, 'unsubscribe', ['XBTUSD'])
    floor.run(500)
    floor.ask(1, 'subscribe', ['XBTUSD'])
    floor.run(500)
    floor.assertTrue(first)
    assert.equal(first.unknown + second.unknown, 0)
    assert.deepEqual(floor.rules, [])
  })

  test('frames have the shape of the exchange, the acknowledgement comes first', () => {
    const floor = new Floor({ symbols: ['MOG/USDT:USDT'], levels: 2 })
    floor.subscribed(['MOGUSDT'])
    for (let i = 0; i < 40; i++) floor.exchange.advance(1, floor.nowMs)
    const [welcome, ack, partial, ...changes] = floor.sent
    assert.match(welcome!, /^\{"info":"Welcome to the BitMEX Realtime API\."/)
    assert.equal(
      ack,
      '{"success":true,"subscribe":"orderBookL2:MOGUSDT",' +
        '"request":{"op":"subscribe","args":["orderBookL2:MOGUSDT"]}}',
    )
    const head = '\\{"symbol":"MOGUSDT","id":\\d+,"side":"(Buy|Sell)"'
    const full = `${head},"size":\\d+,"price":\\d(\\.\\d+)?e-\\d+\\}`
    assert.match(
      partial!,
      new RegExp(
        '^\\{"table":"orderBookL2","action":"partial","keys":\\["symbol","id","side"\\],' +
          '"types":\\{[^}]*\\},"foreignKeys":\\{[^}]*\\},"attributes":\\{[^}]*\\},' +
          `"filter":\\{"symbol":"MOGUSDT"\\},"data":\\[(${full}(,${full})*)?\\]\\}$`,
      ),
    )
    const change = new RegExp(
      '^\\{"table":"orderBookL2","action":(' +
        `"insert","data":\\[${full}\\]|"update","data":\\[${head},"size":\\d+\\}\\]` +
        `|"delete","data":\\[${head}\\}\\])\\}$`,
    )
    assert.ok(changes.length > 25)
    for (const text of changes) assert.match(text, change)
  })
})

describe('the protocol', () => {
  test('what is subscribed already, or is not, is refused; so is what does not exist', () => {
    const floor = new Floor()
    const client = floor.subscribed()
    floor.ask(1, 'subscribe', ['XBTUSD'])
    floor.ask(1, 'unsubscribe', ['XBTUSD', 'XBTUSD'])
    floor.ask(1, 'subscribe', ['XXXUSD'])
    for (const args of [['trade:XBTUSD'], [], 7]) floor.say(1, { op: 'subscribe', args })
    floor.say(1, 'hello')
    floor.say(1, { op: 'dance', args: ['x'] })
    floor.run(50)
    assert.deepEqual(client.frames.flatMap(({ error }) => error ?? []), [
      'You are already subscribed to this topic: orderBookL2:XBTUSD',
      'You are not subscribed to this topic: orderBookL2:XBTUSD',
      'Unknown or expired symbol: XXXUSD',
      'Unknown table: trade',
      'args is required',
      'args is required',
      'Unrecognized request. See https://www.bitmex.com/app/wsAPI for details.',
      'Unknown op: dance',
    ])
    assert.equal(client.frames.filter(({ unsubscribe }) => unsubscribe !== undefined).length, 1)
  })

  test('ping, 40 requests at once, 720 connections an hour', () => {
    const floor = new Floor({ limits: { connectionsOpen: 1000 } })
    const client = floor.subscribed()
    for (let i = 0; i < 50; i++) floor.say(1, 'ping')
    assert.equal(client.pongs, 50)
    for (let i = 0; i < 40; i++) floor.ask(1, i % 2 === 0 ? 'unsubscribe' : 'subscribe')
    assert.deepEqual(floor.rules, ['requests'])
    assert.equal(client.frames.filter(({ status }) => status === 429).length, 1)
    for (let i = 0; i < 720; i++) floor.connect()
    assert.deepEqual(floor.rules, ['requests', 'connects'])
    assert.equal(floor.exchange.connect(floor.nowMs + 3_600_000, '/elsewhere'), -2)
  })
})

describe('faults', () => {
  const fault = (text: string): FaultSpec => parseFault(text, Object.keys(bitmex.rules.faults!))

  test('an orphan, and half a frame', () => {
    const floor = new Floor()
    const client = floor.subscribed()
    floor.exchange.inject(fault('orphan'))
    floor.run(20)
    assert.equal(client.unknown, 1)
    floor.exchange.inject(fault('half'))
    floor.run(20)
    assert.equal(client.undecodable, 1)
    floor.assertTrue(client)
  })

  test('crossed: one client alone has an insert too many', () => {
    const floor = new Floor()
    const [one, other] = [floor.subscribed(), floor.subscribed()]
    floor.exchange.inject({ kind: 'crossed', symbol: 'XBTUSD', connection: 1 })
    for (let i = 0; i < 3; i++) floor.exchange.advanceOf('XBTUSD', 1, floor.nowMs)
    floor.assertTrue(other)
    assert.notDeepEqual(one.book('XBTUSD'), other.book('XBTUSD'))
    floor.ask(1, 'unsubscribe', ['XBTUSD'])
    floor.ask(1, 'subscribe', ['XBTUSD'])
    floor.run(50)
    floor.assertTrue(one)
  })
})

test('metadata, volumes and names are as the adapter reads them', () => {
  const symbols = [
    ...THREE,
    'BTC/USD:BTC-261225',
    'XRP/BTC:BTC-261225',
    'ETH/USD:BTC-270326',
    'ETH/USD:BTC',
  ]
  const floor = new Floor({ symbols })
  const answers = adapter.markets!.urls.map((url) => floor.get(new URL(url).pathname))
  const markets = adapter.markets!.parse(answers)!
  assert.deepEqual(markets.map(({ symbol, wireSymbol }) => [symbol, wireSymbol]), [
    ['BTC/USD:BTC', 'XBTUSD'],
    ['MOG/USDT:USDT', 'MOGUSDT'],
    ['BTC/USDT', 'XBT_USDT'],
    ['BTC/USD:BTC-261225', 'XBTZ26'],
    ['XRP/BTC:BTC-261225', 'XRPZ26'],
    ['ETH/USD:BTC-270326', 'ETHUSDH27'],
    ['ETH/USD:BTC', 'ETHUSD'],
  ])
  assert.equal(markets[1]!.priceDecimals, 11)
  assert.ok(markets.every(({ active, sizeDecimals }) => active && sizeDecimals === 0))
  const volumes = [...adapter.volumes!.parse(answers, markets)!.values()]
  assert.deepEqual(volumes, volumes.toSorted((a, b) => b - a))
  const rows = floor.get('/api/v1/orderBook/L2', 'symbol=XBTUSD&depth=3') as Row[]
  assert.deepEqual(rows.map(({ side }) => side), ['Sell', 'Sell', 'Sell', 'Buy', 'Buy', 'Buy'])
  for (const symbol of ['BTC/EUR:EUR', 'UNI/USDT:BTC']) {
    assert.throws(() => new Floor({ symbols: [symbol] }), /expected BASE\/QUOTE/)
  }
})
