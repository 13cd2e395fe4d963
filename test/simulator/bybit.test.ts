/** The simulated Bybit, met by the real session and by raw messages. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Instrument, Market } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { bybit as adapter } from '../../src/exchanges/bybit.ts'
import { bybit as twin } from '../../src/simulator/bybit.ts'
import type { ExchangeOptions, SimulatedExchange } from '../../src/simulator/exchange.ts'
import type { BookTruth } from '../../src/simulator/market.ts'
import { Listener, type NaiveBook } from '../exchanges/listener.ts'

const decoder = new TextDecoder()
const encoder = new TextEncoder()

interface Reply {
  readonly success?: boolean
  readonly ret_msg?: string
  readonly req_id?: string
  readonly op?: string
  readonly topic?: string
  readonly type?: string
  readonly ts?: number
  readonly cts?: number
  readonly data?: {
    readonly s: string
    readonly b: [string, string][]
    readonly a: [string, string][]
    readonly u: number
    readonly seq: number
  }
}

/** One connection; with instruments it is the real session's. */
class Client {
  readonly id: number
  readonly frames: Reply[] = []
  readonly texts: string[] = []
  readonly listener: Listener
  readonly session: Session | undefined
  /** By wire symbol, made of the frames alone: it believes every one. */
  readonly books = new Map<string, NaiveBook>()
  /** Frames on their way. */
  readonly inbox: string[] = []
  taken = 0

  constructor(id: number, instruments: readonly Instrument[], depth: number) {
    this.id = id
    this.listener = new Listener(instruments, adapter.depth!(depth))
    this.session = instruments.length === 0
      ? undefined
      : adapter.open(instruments, this.listener, depth)
  }

  take(text: string): void {
    const frame = JSON.parse(text) as Reply
    this.texts.push(text)
    this.frames.push(frame)
    const { type, data } = frame
    if (data === undefined) return
    const book = type === 'snapshot' ? new Map<string, string>() : this.books.get(data.s)!
    this.books.set(data.s, book)
    for (const [side, levels] of [['bid', data.b], ['ask', data.a]] as const) {
      for (const [price, size] of levels) {
        const key = `${side} ${Number(price)}`
        if (size === '0') book.delete(key)
        else book.set(key, size)
      }
    }
  }

  get data(): Reply[] {
    return this.frames.filter(({ topic }) => topic !== undefined)
  }

  get replies(): Reply[] {
    return this.frames.filter(({ topic }) => topic === undefined)
  }
}

class Floor {
  readonly exchange: SimulatedExchange
  readonly clients = new Map<number, Client>()
  readonly closed: { connection: number; code: number; reason: string }[] = []
  nowMs = 1_795_362_721_000

  constructor(options: ExchangeOptions) {
    this.exchange = twin.create(options, {
      frame: (connection, bytes) => {
        this.clients.get(connection)?.inbox.push(decoder.decode(bytes))
      },
      close: (connection, code, reason) => this.closed.push({ connection, code, reason }),
    })
    this.exchange.tick(this.nowMs)
  }

  /** As the adapter reads the lists. */
  markets(): Market[] {
    const markets = adapter.markets!.parse(adapter.markets!.urls.map((url) => [this.get(url)]))
    assert.ok(markets !== undefined)
    return markets
  }

  get(url: string): unknown {
    const { pathname, searchParams } = new URL(url, 'https://api.bybit.com')
    return this.exchange.rest(pathname, searchParams, this.nowMs).body
  }

  /** The real session for these symbols of one segment. */
  open(symbols: readonly string[], depth = 50): Client {
    const markets = this.markets()
    const instruments = symbols.map((symbol) => {
      const market = markets.find((one) => one.symbol === symbol)
      assert.ok(market !== undefined, symbol)
      return market
    })
    const { pathname } = new URL(adapter.url(instruments))
    assert.equal(pathname, twin.target!(symbols[0]!))
    const client = new Client(this.exchange.connect(this.nowMs, pathname), instruments, depth)
    this.clients.set(client.id, client)
    client.session!.opened()
    this.pump()
    return client
  }

  /** A bare connection. */
  connect(segment = 'spot'): Client {
    const id = this.exchange.connect(this.nowMs, `/v5/public/${segment}`)
    const client = new Client(id, [], 50)
    this.clients.set(id, client)
    return client
  }

  say(client: Client, message: unknown): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    this.exchange.receive(client.id, text, this.nowMs)
    this.pump()
  }

  /** Carries everything to where it belongs. */
  pump(): void {
    for (let moved = true; moved;) {
      moved = false
      for (const client of this.clients.values()) {
        const { inbox, session, listener } = client
        while (inbox.length > 0) {
          const text = inbox.shift()!
          client.take(text)
          session?.received(encoder.encode(text), this.nowMs * 1000)
          moved = true
        }
        while (client.taken < listener.sent.length) {
          this.exchange.receive(client.id, listener.sent[client.taken++]!, this.nowMs)
          moved = true
        }
      }
    }
  }

  run(ms: number, stepMs = 10): void {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.nowMs += stepMs
      this.exchange.tick(this.nowMs)
      this.pump()
    }
  }

  /** What the session has of a symbol is what is true. */
  assertTrue(client: Client, symbols: readonly string[], depth: number): void {
    this.exchange.flush(this.nowMs)
    this.pump()
    symbols.forEach((symbol, index) => {
      const truth = naive(this.exchange.truth(symbol, depth)!)
      assert.deepEqual(client.listener.books[index], truth, symbol)
      const own = client.books.get(this.exchange.product(symbol)!.wireSymbol)!
      const sizes = new Map([...truth].map(([key, size]) => {
        return [`${key.slice(0, 4)}${Number(key.slice(4))}`, size]
      }))
      assert.deepEqual(own, sizes, symbol)
    })
  }
}

function naive({ bids, asks }: BookTruth): NaiveBook {
  return new Map([
    ...bids.map(([price, size]) => [`bid ${price}`, size] as const),
    ...asks.map(([price, size]) => [`ask ${price}`, size] as const),
  ])
}

function isEqual(a: NaiveBook, b: NaiveBook): boolean {
  return a.size === b.size && [...a].every(([key, size]) => b.get(key) === size)
}

const LINEAR = ['BTC/USDT:USDT', 'MOG/USDT:USDT', 'ETH/USDC:USDC', 'BTC/USDT:USDT-261225']
const SPOT = ['BTC/USDT', 'MOG/USDT', 'ETH/BTC']
const INVERSE = ['BTC/USD:BTC', 'ETH/USD:ETH-261225']
const ALL = [...SPOT, ...LINEAR, ...INVERSE]

describe('the stream', () => {
  test('same seed and same calls, same frames; another seed, others', () => {
    const run = (seed: number) => {
      const floor = new Floor({ symbols: ALL, seed, levels: 30, rate: 200 })
      const clients = [floor.open(SPOT), floor.open(LINEAR)]
      floor.run(1000)
      return clients.flatMap(({ texts }) => texts)
    }
    const first = run(5)
    assert.ok(first.length > 100)
    assert.deepEqual(run(5), first)
    assert.notDeepEqual(run(6), first)
  })

  test('the real session has the true book, in each segment and depth', () => {
    for (const [pushMs, depth] of [[0, 50], [20, 200]] as const) {
      const floor = new Floor({ symbols: ALL, levels: 220, rate: 500, updates: 6, pushMs })
      const groups = [SPOT, LINEAR, INVERSE]
      const clients = groups.map((symbols) => floor.open(symbols, depth))
      for (let i = 0; i < 8; i++) {
        floor.run(100)
        groups.forEach((symbols, at) => floor.assertTrue(clients[at]!, symbols, depth))
      }
      for (const { listener, session } of clients) {
        assert.deepEqual(listener.suspects, [])
        assert.deepEqual(listener.failures, [])
        assert.deepEqual(session!.stats, {
          scannerFallbacks: 0,
          unknownFrames: 0,
          duplicates: 0,
        })
      }
      assert.deepEqual(floor.exchange.violations, [])
    }
  })

  test('what leaves the window is deleted, what enters is told', () => {
    const floor = new Floor({ symbols: ['BTC/USDT'], levels: 80, rate: 0, updates: 8 })
    const client = floor.open(['BTC/USDT'])
    floor.run(10)
    const book = new Map<string, string>()
    let slid = 0
    const sizeOf = (side: string) => [...book.keys()].filter((key) => key.startsWith(side)).length
    for (let i = 0; i < 1500; i++) {
      floor.exchange.advance(1, floor.nowMs)
      floor.pump()
    }
    for (const { data } of client.data) {
      for (const [side, levels] of [['b', data!.b], ['a', data!.a]] as const) {
        for (const [price, size] of levels) {
          if (size !== '0') book.set(`${side} ${price}`, size)
          else assert.ok(book.delete(`${side} ${price}`), 'only what was told of is deleted')
        }
        if (sizeOf(side) === 50) slid++
        assert.ok(sizeOf(side) <= 50)
      }
    }
    assert.ok(slid > 500)
    const isEmpty = ({ data }: Reply) => data!.b.length + data!.a.length === 0
    assert.ok(client.data.some(isEmpty), 'now and then nothing has changed')
  })

  test('u counts the frames of a topic for all its listeners, seq rises', () => {
    const floor = new Floor({ symbols: ['BTC/USDT'], levels: 60, rate: 100 })
    const first = floor.open(['BTC/USDT'])
    floor.run(500)
    const second = floor.open(['BTC/USDT'])
    const deeper = floor.open(['BTC/USDT'], 200)
    floor.run(500)
    for (const { data: frames } of [first, second, deeper]) {
      const updates = frames.map(({ data }) => data!.u)
      assert.deepEqual(updates, updates.map((_, i) => updates[0]! + i))
      const sequences = frames.map(({ data }) => data!.seq)
      assert.deepEqual(sequences, sequences.toSorted((a, b) => a - b))
      assert.ok(new Set(sequences).size === sequences.length)
      assert.deepEqual(
        frames.map(({ type }) => type),
        frames.map((_, i) => i === 0 ? 'snapshot' : 'delta'),
      )
    }
    assert.deepEqual(first.texts.at(-1), second.texts.at(-1))
    assert.notEqual(first.data.at(-1)!.data!.u, deeper.data.at(-1)!.data!.u)
    assert.equal(first.data.at(-1)!.data!.seq, deeper.data.at(-1)!.data!.seq)
  })

  test('the truth as of a nonce is what the session had then', () => {
    const floor = new Floor({ symbols: LINEAR, levels: 70, rate: 300, pushMs: 20 })
    const client = floor.open(LINEAR)
    const seen: { symbol: string; nonce: number; book: NaiveBook }[] = []
    for (let i = 0; i < 40; i++) {
      if (i === 20) client.session!.resync(1)
      floor.run(20)
      LINEAR.forEach((symbol, index) => {
        const last = client.listener.outputs.findLast((one) => one.index === index)
        if (last === undefined) return
        const book = new Map(client.listener.books[index])
        seen.push({ symbol, nonce: last.nonce, book })
      })
    }
    assert.ok(seen.length > 100)
    for (const { symbol, nonce, book } of seen.reverse()) {
      for (const connection of [client.id, 'any'] as const) {
        const [truth] = floor.exchange.truthAtNonce(symbol, connection, nonce, 50)
        assert.deepEqual(book, naive(truth!))
      }
    }
  })

  test('frames have the shape of the exchange', () => {
    const floor = new Floor({ symbols: ALL, levels: 3, rate: 100 })
    const level = '\\["\\d+(?:\\.\\d+)?","\\d+(?:\\.\\d+)?"\\]'
    const levels = `\\[(?:${level}(?:,${level})*)?\\]`
    for (const [symbols, wire] of [[SPOT, 'BTCUSDT'], [INVERSE, 'ETHUSDZ26']] as const) {
      const client = floor.open(symbols)
      floor.run(2000)
      const shape = new RegExp(
        `^\\{"topic":"orderbook\\.50\\.${wire}","ts":\\d{13},"type":"(?:snapshot|delta)","data":` +
          `\\{"s":"${wire}","b":${levels},"a":${levels},"u":\\d+,"seq":\\d+\\},"cts":\\d{13}\\}$`,
      )
      const texts = client.texts.filter((text) => text.includes(`.${wire}"`))
      assert.ok(texts.length > 10)
      for (const text of texts) assert.match(text, shape)
    }
    const contracts = floor.open(['BTC/USDT:USDT'])
    floor.run(20)
    for (const [price] of contracts.data[0]!.data!.b) assert.match(price, /\.\d\d$/)
  })

  test('the same wire symbol is another market in another segment', () => {
    const floor = new Floor({ symbols: ['BTC/USDT', 'BTC/USDT:USDT'], levels: 5, rate: 0 })
    const [spot, linear] = [floor.open(['BTC/USDT']), floor.open(['BTC/USDT:USDT'])]
    floor.run(20)
    assert.equal(spot.data[0]!.data!.s, linear.data[0]!.data!.s)
    assert.notDeepEqual(spot.data[0]!.data!.b, linear.data[0]!.data!.b)
    floor.assertTrue(spot, ['BTC/USDT'], 50)
    floor.assertTrue(linear, ['BTC/USDT:USDT'], 50)
  })

  test('depth 1 sends whole books', () => {
    const floor = new Floor({ symbols: ['BTC/USDT'], levels: 10, rate: 200, updates: 4 })
    const client = floor.connect()
    floor.say(client, { op: 'subscribe', args: ['orderbook.1.BTCUSDT'] })
    floor.run(500)
    const { data } = client
    assert.ok(data.length > 10)
    for (const { type, data: book } of data) {
      assert.equal(type, 'snapshot')
      assert.equal(book!.b.length + book!.a.length, 2)
    }
    const truth = floor.exchange.truth('BTC/USDT', 1)!
    assert.deepEqual([data.at(-1)!.data!.b, data.at(-1)!.data!.a], [truth.bids, truth.asks])
  })
})

describe('the protocol', () => {
  const subscribe = (client: Client, ...args: string[]) => ({
    op: 'subscribe',
    req_id: `${client.id}-${args.length}`,
    args,
  })

  test('acknowledged by number, before the data or behind them', () => {
    for (const first of ['ack', 'data'] as const) {
      const floor = new Floor({ symbols: SPOT, rate: 0, first })
      const client = floor.connect()
      floor.say(client, subscribe(client, 'orderbook.50.BTCUSDT', 'tickers.BTCUSDT'))
      floor.run(100)
      assert.deepEqual(
        client.frames.map(({ success, op, req_id: id, type }) => type ?? [success, op, id]),
        first === 'ack'
          ? [[true, 'subscribe', '1-2'], 'snapshot']
          : ['snapshot', [true, 'subscribe', '1-2']],
      )
      floor.say(client, { op: 'unsubscribe', req_id: 'u', args: ['orderbook.50.BTCUSDT'] })
      floor.run(100)
      assert.deepEqual(client.frames.at(-1)!.req_id, 'u')
      const count = client.data.length
      floor.exchange.advance(50, floor.nowMs)
      floor.pump()
      assert.equal(client.data.length, count, 'nothing of it any more')
      floor.say(client, subscribe(client, 'orderbook.50.BTCUSDT'))
      floor.run(100)
      assert.equal(client.data.length, count + 1)
      assert.ok(client.data.at(-1)!.data!.u > client.data[0]!.data!.u, 'it counted on')
    }
  })

  test('what is wrong with one topic refuses the whole message', () => {
    const table: readonly [string, string, RegExp][] = [
      ['spot', 'orderbook.500.BTCUSDT', /^error:handler not found,topic:orderbook\.500\.BTCUSDT$/],
      ['spot', 'weather.BTCUSDT', /^error:handler not found,topic:weather/],
      ['spot', 'orderbook.50.GONEUSDT', /^Invalid symbol :\[GONEUSDT\]$/],
      ['linear', 'orderbook.50.GONEUSDT', /^error:handler not found,topic:orderbook\.50\.GONE/],
      ['linear', 'orderbook.50.ETHBTC', /^error:handler not found/],
      ['inverse', 'orderbook.50.BTCUSDT', /^error:handler not found/],
    ]
    for (const [segment, topic, said] of table) {
      const floor = new Floor({ symbols: ALL, rate: 0 })
      const client = floor.connect(segment)
      const good = { spot: 'MOGUSDT', linear: 'ETHPERP', inverse: 'BTCUSD' }[segment]
      floor.say(client, subscribe(client, `orderbook.50.${good}`, topic))
      floor.run(50)
      const [reply, ...others] = client.frames
      assert.deepEqual(others, [])
      assert.equal(reply!.success, false)
      assert.match(reply!.ret_msg!, said)
      assert.equal(reply!.req_id, '1-2')
      floor.say(client, subscribe(client, `orderbook.50.${good}`))
      floor.run(50)
      assert.equal(client.data.length, 1, 'it was not subscribed')
      assert.deepEqual(floor.exchange.violations, [])
    }
  })

  test('or the topic alone is passed over', () => {
    const floor = new Floor({ symbols: SPOT, rate: 0, unknownProduct: 'skip' })
    const client = floor.connect()
    floor.say(client, subscribe(client, 'orderbook.50.GONEUSDT', 'orderbook.50.BTCUSDT'))
    floor.run(50)
    assert.equal(client.replies[0]!.success, true)
    assert.equal(client.data.length, 1)
  })

  test('a topic twice is refused', () => {
    const floor = new Floor({ symbols: SPOT, rate: 0 })
    const client = floor.connect()
    floor.say(client, subscribe(client, 'orderbook.50.BTCUSDT'))
    floor.say(client, subscribe(client, 'orderbook.50.MOGUSDT', 'orderbook.50.BTCUSDT'))
    floor.run(50)
    const refused = client.replies.filter(({ success }) => success === false)
    assert.deepEqual(refused.map(({ ret_msg: said }) => said), [
      'error:already subscribed,topic:orderbook.50.BTCUSDT',
    ])
    assert.equal(client.data.length, 1)
  })

  test('what is no request is refused', () => {
    const floor = new Floor({ symbols: SPOT, rate: 0 })
    const client = floor.connect()
    const wrong = ['nonsense', 'null', { op: 'dance' }, { op: 'subscribe' }, {
      op: 'subscribe',
      args: [7],
    }, { op: 'subscribe', args: [] }]
    for (const message of wrong) floor.say(client, message)
    assert.deepEqual(client.replies.map(({ success }) => success), wrong.map(() => false))
  })

  test('pings are answered in the spelling of the segment', () => {
    const floor = new Floor({ symbols: ALL, rate: 0 })
    for (const [segment, said] of [['spot', 'ping'], ['linear', 'ping'], ['inverse', 'pong']]) {
      const client = floor.connect(segment)
      floor.say(client, { op: 'ping', req_id: 'p' })
      const [{ op, req_id: id }] = client.frames as [Reply]
      assert.deepEqual([op, id], [said, 'p'])
    }
    const client = floor.open(INVERSE)
    floor.run(50)
    const before = client.listener.outputs.length
    client.session!.heartbeat!()
    floor.pump()
    assert.equal(client.replies.at(-1)!.op, 'pong')
    assert.equal(client.session!.stats.unknownFrames, 0)
    assert.equal(client.listener.outputs.length, before)
  })
})

describe('the rules', () => {
  const rulesOf = (floor: Floor) => floor.exchange.violations.map(({ rule }) => rule)

  test('spot takes ten topics a message, the others more', () => {
    const symbols = Array.from({ length: 12 }, (_, i) => `A${i}/USDT`)
    const floor = new Floor({
      symbols: [...symbols, ...symbols.map((symbol) => `${symbol}:USDT`)],
      rate: 0,
    })
    const args = symbols.map((symbol) => `orderbook.50.${symbol.replace('/', '')}`)
    const [spot, linear] = [floor.connect('spot'), floor.connect('linear')]
    floor.say(spot, { op: 'subscribe', args })
    floor.say(linear, { op: 'subscribe', args })
    floor.run(50)
    assert.deepEqual(rulesOf(floor), ['args'])
    assert.equal(spot.replies[0]!.success, false)
    assert.deepEqual([spot.data.length, linear.data.length], [0, 12])
    floor.say(spot, { op: 'subscribe', args: args.slice(0, 10) })
    floor.run(50)
    assert.equal(spot.data.length, 10)
  })

  test('all topics of a connection together have a length', () => {
    const floor = new Floor({ symbols: 1100, levels: 1, rate: 0 })
    const client = floor.connect('linear')
    const args = floor.exchange.products
      .filter(({ segment }) => segment === 'linear')
      .map(({ wireSymbol }) => `orderbook.50.${wireSymbol}`)
    const many = Array.from({ length: 300 }, (_, i) => `publicTrade.${'X'.repeat(80)}${i}`)
    floor.say(client, { op: 'subscribe', args: [...args, ...many] })
    assert.deepEqual(rulesOf(floor), ['args-length'])
    assert.equal(client.replies[0]!.success, false)
    floor.say(client, { op: 'subscribe', args })
    floor.run(20)
    assert.equal(rulesOf(floor).length, 1)
  })

  test('a session with as many symbols as it may have keeps them all', () => {
    const count = adapter.limits.symbolsPerConnection
    const symbols = Array.from({ length: count }, (_, i) => `LONGNAME${1000 + i}/USDT`)
    const floor = new Floor({ symbols, levels: 2, rate: 0, messagesPerSecond: 1000 })
    const client = floor.open(symbols, 1000)
    floor.run(100)
    assert.equal(client.listener.outputs.length, count)
    client.session!.resyncAll!(symbols.map((_, index) => index))
    floor.pump()
    floor.run(100)
    assert.equal(client.listener.outputs.length, 2 * count)
    assert.deepEqual(rulesOf(floor), [])
  })

  test('connections: how many, how often, and where', () => {
    const floor = new Floor({
      symbols: SPOT,
      limits: { connectionsOpen: 3, connects: { count: 5, perMs: 300_000 } },
    })
    const ids = Array.from({ length: 4 }, () => floor.connect().id)
    assert.deepEqual(ids.map((id) => id > 0), [true, true, true, false])
    floor.exchange.disconnected(ids[0]!)
    assert.ok(floor.connect().id > 0)
    assert.equal(floor.connect().id, -1)
    assert.deepEqual(rulesOf(floor), ['connections', 'connects'])
    const other = new Floor({ symbols: SPOT })
    for (const path of ['/', '/v5/public/option', '/v5/private', '/v5/public/spot/x']) {
      assert.equal(other.exchange.connect(other.nowMs, path), -2, path)
    }
    const { connects, connectionsOpen } = twin.rules.limits
    assert.deepEqual([connects, connectionsOpen], [{ count: 500, perMs: 300_000 }, 1000])
    assert.ok(adapter.limits.connectsPerSecond * 300 <= connects!.count)
  })

  test('a client that says nothing is dropped, one that pings is not', () => {
    const floor = new Floor({ symbols: SPOT, rate: 0 })
    const [silent, alive] = [floor.connect(), floor.open(['BTC/USDT'])]
    for (let s = 0; s < 620; s += 20) {
      floor.run(20_000, 10_000)
      alive.session!.heartbeat!()
      floor.pump()
    }
    assert.deepEqual(floor.closed.map(({ connection }) => connection), [silent.id])
    assert.deepEqual(rulesOf(floor), ['idle'])
  })

  test('a flood of messages is refused', () => {
    for (const overLimit of ['error', 'disconnect'] as const) {
      const floor = new Floor({ symbols: SPOT, rate: 0, overLimit })
      const client = floor.open(['BTC/USDT'])
      for (let i = 0; i < 30; i++) floor.say(client, { op: 'ping' })
      assert.ok(rulesOf(floor).includes('messages'))
      assert.equal(floor.closed.length, overLimit === 'disconnect' ? 1 : 0)
      const { code, scope } = client.listener.failures[0]!
      assert.deepEqual([code, scope], ['E_RATE_LIMITED', 'connection'])
    }
  })
})

describe('faults', () => {
  /** A session that lives, and then what the fault does to it. */
  function struck(kind: string, more: Partial<ExchangeOptions> = {}) {
    const floor = new Floor({ symbols: LINEAR, levels: 60, rate: 200, ...more })
    const client = floor.open(LINEAR)
    floor.run(300)
    floor.assertTrue(client, LINEAR, 50)
    // Some changes wait again to be sent.
    floor.run(30)
    floor.exchange.inject({ kind })
    return { floor, client }
  }

  /** The feed's part. */
  function mend(client: Client): number {
    let lost = 0
    client.listener.books.forEach((book, index) => {
      if (book !== undefined) return
      lost++
      client.session!.resync(index)
    })
    return lost
  }

  test('restart: a snapshot with u 1, and on from there', () => {
    const { floor, client } = struck('restart')
    const before = client.listener.outputs.length
    floor.run(500)
    const snapshots = client.listener.outputs.slice(before).filter((o) => o.kind === 'snapshot')
    assert.deepEqual(snapshots.map(({ nonce }) => nonce), [1])
    const index = snapshots[0]!.index
    const after = client.listener.outputs.slice(before)
      .filter((one) => one.index === index && one.nonce < 1000).map(({ nonce }) => nonce)
    assert.ok(after.length > 5)
    assert.deepEqual(after, after.map((_, i) => 1 + i))
    assert.deepEqual(client.listener.suspects, [])
    floor.assertTrue(client, LINEAR, 50)
    const truth = floor.exchange.truthAtNonce(LINEAR[index]!, client.id, after.at(-1)!, 50)
    assert.deepEqual(naive(truth[0]!), client.listener.books[index])
    assert.deepEqual(floor.exchange.declared.map(({ kind }) => kind), ['restart'])
    assert.ok(Object.hasOwn(twin.rules.faults!, 'restart'))
  })

  test('restart, with changes still to be sent', () => {
    const { floor, client } = struck('restart', { pushMs: 50 })
    floor.exchange.inject({ kind: 'restart', probability: 0.2 })
    for (let i = 0; i < 50; i++) {
      floor.run(10)
      LINEAR.forEach((symbol, index) => {
        const { nonce } = client.listener.outputs.findLast((one) => one.index === index)!
        const [truth] = floor.exchange.truthAtNonce(symbol, client.id, nonce, 50)
        assert.deepEqual(client.listener.books[index], naive(truth!))
      })
    }
    // Each topic once: the next time is after many frames.
    assert.equal(client.listener.outputs.filter(({ nonce }) => nonce === 1).length, 4)
    assert.deepEqual(client.listener.suspects, [])
    floor.assertTrue(client, LINEAR, 50)
  })

  test('restart: the truth of the run before is not forgotten', () => {
    const { floor, client } = struck('restart')
    const books = new Map<number, NaiveBook>()
    const { listener } = client
    const symbol = LINEAR[0]!
    const restart = () => floor.exchange.inject({ kind: 'restart', everyMs: 1, count: 12 })
    restart()
    const runs: Map<number, NaiveBook>[] = []
    let last = 0
    for (let i = 0; i < 150; i++) {
      floor.run(50)
      if (i % 30 === 0) restart()
      const { nonce } = listener.outputs.findLast(({ index }) => index === 0)!
      if (nonce < last) {
        runs.push(new Map(books))
        books.clear()
      }
      last = nonce
      books.set(nonce, new Map(listener.books[0]))
    }
    runs.push(books)
    assert.ok(runs.length >= 3, `${runs.length} runs`)
    for (const run of runs.slice(1, -1)) assert.ok(Math.max(...run.keys()) >= 200, 'long enough')
    const compare = (nonce: number, book: NaiveBook) => {
      const truths = floor.exchange.truthAtNonce(symbol, 'any', nonce, 50).map(naive)
      assert.ok(truths.some((truth) => isEqual(truth, book)), `nonce ${nonce}`)
    }
    for (const run of runs) for (const [nonce, book] of run) compare(nonce, book)
    // The newest run is meant by a number of both, the one before by those beyond it.
    for (const [nonce, book] of runs.at(-1)!) {
      const version = floor.exchange.versionAtNonce(symbol, client.id, nonce)
      assert.deepEqual(naive(floor.exchange.bookAt(symbol, version, 50)!), book)
    }
    const [[nonce, book]] = [...runs[0]!].slice(-1) as [[number, NaiveBook]]
    const version = floor.exchange.versionAtNonce(symbol, client.id, nonce)
    assert.deepEqual(naive(floor.exchange.bookAt(symbol, version, 50)!), book)
    assert.equal(floor.exchange.versionAtNonce(symbol, client.id, 10_000_000), -1)
    assert.deepEqual(floor.exchange.truthAtNonce(symbol, 'any', nonce + 100, 50), [], 'never sent')
    assert.equal(floor.exchange.versionAtNonce('X', client.id, nonce), -1)
  })

  test('resend: a snapshot that nobody asked for', () => {
    const { floor, client } = struck('resend')
    const before = client.listener.outputs.length
    floor.run(500)
    const snapshots = client.listener.outputs.slice(before).filter((o) => o.kind === 'snapshot')
    assert.equal(snapshots.length, 1)
    assert.deepEqual(client.listener.suspects, [])
    floor.assertTrue(client, LINEAR, 50)
  })

  test('either makes up for a snapshot that lacked a level, and for a stall', () => {
    for (const kind of ['restart', 'resend']) {
      const { floor, client } = struck('nothing')
      floor.exchange.inject({ kind: 'wrong-snapshot', variant: 'missing', count: 4 })
      client.session!.resyncAll!(LINEAR.map((_, index) => index))
      floor.pump()
      floor.run(100)
      const isTainted = (index: number) =>
        floor.exchange.isTainted(
          LINEAR[index]!,
          client.id,
          client.listener.outputs.findLast((one) => one.index === index)!.nonce,
        )
      assert.ok(LINEAR.every((_, index) => isTainted(index)))
      floor.exchange.inject({ kind: 'stall', count: 4, probability: 0.5 })
      floor.run(300)
      floor.exchange.inject({ kind, count: 40, probability: 1 })
      floor.run(500)
      assert.ok(!LINEAR.some((_, index) => isTainted(index)))
      floor.assertTrue(client, LINEAR, 50)
    }
  })

  test('stall: silent until subscribed anew', () => {
    const { floor, client } = struck('stall')
    floor.run(1000)
    const { wireSymbol } = floor.exchange.declared[0]!
    const index = LINEAR.findIndex((symbol) =>
      floor.exchange.product(symbol)!.wireSymbol === wireSymbol
    )
    const truth = naive(floor.exchange.truth(LINEAR[index]!, 50)!)
    assert.notDeepEqual(client.listener.books[index], truth)
    client.session!.resync(index)
    floor.pump()
    floor.run(300)
    floor.assertTrue(client, LINEAR, 50)
  })

  test('wrong snapshots and crossed updates are seen in the book', () => {
    for (const kind of ['wrong-snapshot', 'crossed']) {
      const { floor, client } = struck(kind)
      if (kind === 'wrong-snapshot') client.session!.resync(0)
      const isCrossed = () =>
        client.listener.realBooks.some((book) => book !== undefined && book.isCrossed())
      let seen = false
      for (let i = 0; i < 30 && !seen; i++) {
        floor.run(10)
        seen = isCrossed()
      }
      assert.ok(seen, kind)
    }
  })

  test('refuse: one topic, and the session asks for the rest again', () => {
    const floor = new Floor({ symbols: LINEAR, levels: 10, rate: 50 })
    floor.exchange.inject({ kind: 'refuse', symbol: LINEAR[1]! })
    const client = floor.open(LINEAR)
    floor.run(200)
    assert.deepEqual(client.listener.failures.map(({ symbol }) => symbol), [LINEAR[1]])
    assert.deepEqual(client.listener.books.map((book) => book !== undefined), [
      true,
      false,
      true,
      true,
    ])
    assert.equal(mend(client), 1)
    floor.pump()
    floor.run(200)
    floor.assertTrue(client, LINEAR, 50)
    assert.deepEqual(floor.exchange.violations, [])
  })

  test('ignore and slow: nothing, or late; asking again mends it', () => {
    const floor = new Floor({ symbols: LINEAR, levels: 10, rate: 50 })
    floor.exchange.inject({ kind: 'ignore', symbol: LINEAR[1]! })
    floor.exchange.inject({ kind: 'slow', symbol: LINEAR[2]!, delayMs: 500 })
    const client = floor.open(LINEAR)
    floor.run(200)
    const live = () => client.listener.books.map((book) => book !== undefined)
    assert.deepEqual(live(), [true, false, false, true])
    floor.run(500)
    assert.deepEqual(live(), [true, false, true, true])
    mend(client)
    floor.pump()
    floor.run(200)
    floor.assertTrue(client, LINEAR, 50)
  })

  test('delist: the topic stops, and cannot be had again', () => {
    const { floor, client } = struck('delist')
    floor.run(500)
    const index = LINEAR.findIndex((symbol) => floor.exchange.isDelisted(symbol))
    assert.ok(index >= 0)
    assert.deepEqual(client.listener.failures, [])
    const before = client.listener.outputs.filter((one) => one.index === index).length
    floor.run(500)
    assert.equal(client.listener.outputs.filter((one) => one.index === index).length, before)
    assert.ok(!floor.markets().some(({ symbol }) => symbol === LINEAR[index]))
    client.session!.resync(index)
    floor.pump()
    floor.run(100)
    assert.deepEqual(client.listener.failures.map(({ symbol }) => symbol), [LINEAR[index]])
  })

  test('a session that is told of losses ends with the truth', () => {
    const floor = new Floor({
      symbols: LINEAR,
      levels: 60,
      rate: 300,
      seed: 4,
      messagesPerSecond: 1000,
    })
    const client = floor.open(LINEAR)
    for (const kind of ['restart', 'resend', 'stall', 'refuse', 'slow', 'crossed']) {
      floor.exchange.inject({ kind, probability: 0.01 })
    }
    for (let i = 0; i < 100; i++) {
      // A frame is lost on its way.
      if (i % 5 === 4) client.inbox.shift()
      floor.nowMs += 10
      floor.exchange.tick(floor.nowMs)
      if (i % 5 === 3) client.inbox.shift()
      floor.pump()
      if (i % 7 === 0) mend(client)
    }
    assert.ok(client.listener.suspects.length > 5)
    floor.exchange.clearFaults()
    client.session!.resyncAll!(LINEAR.map((_, index) => index))
    floor.pump()
    floor.run(300)
    floor.assertTrue(client, LINEAR, 50)
  })
})

describe('REST', () => {
  test('the lists are as the adapter reads them', () => {
    const floor = new Floor({ symbols: ALL, rate: 0 })
    const markets = floor.markets()
    assert.deepEqual(markets.map(({ symbol }) => symbol), ALL)
    for (const { symbol, wireSymbol, priceDecimals, sizeDecimals, active } of markets) {
      const product = floor.exchange.product(symbol)!
      assert.deepEqual(
        [wireSymbol, priceDecimals, sizeDecimals, active],
        [product.wireSymbol, product.priceDecimals, product.sizeDecimals, true],
      )
    }
    assert.deepEqual(markets.map(({ wireSymbol }) => wireSymbol), [
      'BTCUSDT',
      'MOGUSDT',
      'ETHBTC',
      'BTCUSDT',
      'MOGUSDT',
      'ETHPERP',
      'BTCUSDT-25DEC26',
      'BTCUSD',
      'ETHUSDZ26',
    ])
  })

  test('volumes, the first of a list the most', () => {
    const floor = new Floor({ symbols: ALL, rate: 0 })
    const volumes = adapter.volumes!
    const found = volumes.parse(volumes.urls.map((url) => floor.get(url)), floor.markets())!
    const sizes = ALL.map((symbol) => found.get(symbol)!)
    assert.ok(sizes.every((size) => size > 0))
    assert.deepEqual(sizes, sizes.toSorted((a, b) => b - a))
  })

  interface Body {
    readonly retCode: number
    readonly result: {
      readonly list: Record<string, string>[]
      readonly nextPageCursor?: string
      readonly b: [string, string][]
      readonly a: [string, string][]
      readonly u: number
    }
  }

  test('pages, books, times and what is refused', () => {
    const floor = new Floor({ symbols: LINEAR, rate: 0, levels: 60 })
    const get = (path: string) => floor.get(`/v5/market/${path}`) as Body
    const wires: string[] = []
    let cursor = ''
    for (let page = 0; page < 3; page++) {
      const { result } = get(`instruments-info?category=linear&limit=2&cursor=${cursor}`)
      wires.push(...result.list.map(({ symbol }) => symbol!))
      cursor = encodeURIComponent(result.nextPageCursor!)
      if (cursor === '') break
    }
    assert.deepEqual(wires, floor.exchange.products.map(({ wireSymbol }) => wireSymbol))
    const one = get('instruments-info?category=linear&symbol=ETHPERP').result.list
    assert.equal(one.length, 1)
    assert.deepEqual(get('instruments-info?category=option').result.list, [])
    assert.equal(get('instruments-info?category=x').retCode, 10001)
    assert.equal(get('orderbook?category=linear').retCode, 10001)
    assert.equal(get('orderbook?category=linear&symbol=X').retCode, 10001)
    const { b, a } = get('orderbook?category=linear&symbol=BTCUSDT&limit=3').result
    assert.deepEqual([b.length, a.length], [3, 3])
    const deep = new Floor({ symbols: ['BTC/USDT', 'BTC/USDT:USDT'], rate: 0, levels: 700 })
    for (const [category, most] of [['spot', 200], ['linear', 500]] as const) {
      const path = `/v5/market/orderbook?category=${category}&symbol=BTCUSDT&limit=900`
      assert.equal((deep.get(path) as Body).result.b.length, most)
    }
    assert.equal(get('time').retCode, 0)
    const missing = floor.exchange.rest('/v5/order', new URLSearchParams(), floor.nowMs)
    assert.equal(missing.status, 404)
  })

  test('a book of REST is one that was or is', () => {
    const floor = new Floor({ symbols: ['BTC/USDT'], levels: 30, rate: 0 })
    floor.exchange.advance(50, floor.nowMs)
    for (let i = 0; i < 30; i++) {
      const { result } = floor.get(
        '/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=10',
      ) as Body
      const truth = floor.exchange.bookAt('BTC/USDT', result.u, 10)!
      assert.deepEqual([result.b, result.a], [truth.bids, truth.asks])
    }
  })

  test('too many requests, and faults', () => {
    const floor = new Floor({ symbols: SPOT, rate: 0 })
    const get = () => floor.exchange.rest('/v5/market/time', new URLSearchParams(), floor.nowMs)
    for (let i = 0; i < 600; i++) assert.equal(get().status, 200)
    const { status, body } = get()
    assert.deepEqual([status, (body as Body).retCode], [429, 10006])
    floor.nowMs += 10_000
    floor.exchange.inject({ kind: 'rest-error', variant: '503' })
    assert.equal(get().status, 503)
    assert.equal(get().status, 200)
  })
})
