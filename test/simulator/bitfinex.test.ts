/** The simulated Bitfinex, met by the real session, by a naive client, and by raw messages. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import type { Instrument, Market } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { bitfinex as adapter } from '../../src/exchanges/bitfinex.ts'
import { bitfinex as twin } from '../../src/simulator/bitfinex.ts'
import type { ExchangeOptions, SimulatedExchange } from '../../src/simulator/exchange.ts'
import type { FaultSpec } from '../../src/simulator/faults.ts'
import type { BookTruth } from '../../src/simulator/market.ts'
import { twinOf } from '../../src/simulator/registry.ts'
import { bestOf, Listener, type NaiveBook } from '../exchanges/listener.ts'

const decoder = new TextDecoder()
const encoder = new TextEncoder()

const SETTINGS = { event: 'conf', flags: 229_376 }
const SYMBOLS = ['BTC/USD', 'SHIB/USD', 'ETH/BTC', 'BTC/USDT:USDT']

interface Event {
  readonly event: string
  readonly code?: number
  readonly chanId?: number
  readonly symbol?: string
  readonly len?: string
}
type Row = [price: number, count: number, amount: number]
type Frame = [channel: number, payload: Row | Row[] | 'hb' | 'cs', ...rest: number[]]

/** Best first, from price to amount: the rules of the documentation and nothing else. */
class NaiveSide {
  readonly levels = new Map<number, number>()

  best(sign: number): [number, number][] {
    return [...this.levels].sort(([a], [b]) => sign * (b - a))
  }
}

/** One connection; with instruments it is the real session's. It believes every frame. */
class Client {
  readonly id: number
  readonly listener: Listener
  readonly session: Session | undefined
  readonly inbox: string[] = []
  readonly events: Event[] = []
  readonly frames: Frame[] = []
  /** By channel: bids and asks. */
  readonly books = new Map<number, readonly [NaiveSide, NaiveSide]>()
  readonly symbols = new Map<number, string>()
  sequence = 0
  checksums = 0
  taken = 0

  constructor(id: number, instruments: readonly Instrument[], depth: number) {
    this.id = id
    this.listener = new Listener(instruments, adapter.depth!(depth))
    this.session = instruments.length === 0
      ? undefined
      : adapter.open(instruments, this.listener, depth)
  }

  take(text: string, isNumbered: boolean): void {
    const message = JSON.parse(text) as Event | Frame
    if (!Array.isArray(message)) {
      this.events.push(message)
      if (message.event === 'subscribed') this.symbols.set(message.chanId!, message.symbol!)
      return
    }
    this.frames.push(message)
    const [channel, payload] = message
    if (isNumbered) assert.equal(message.at(-2), ++this.sequence, 'the sequence has no hole')
    if (payload === 'hb') return
    if (payload === 'cs') {
      this.checksums++
      const sides = this.books.get(channel)!
      assert.equal(message[2], checksumOf(sides), `checksum of ${this.symbols.get(channel)}`)
      return
    }
    const isSnapshot = payload.length === 0 || Array.isArray(payload[0])
    if (isSnapshot) this.books.set(channel, [new NaiveSide(), new NaiveSide()])
    for (const [price, count, amount] of isSnapshot ? payload as Row[] : [payload as Row]) {
      const { levels } = this.books.get(channel)![amount > 0 ? 0 : 1]
      if (count === 0) assert.ok(levels.delete(price), 'only what is there is deleted')
      else levels.set(price, amount)
    }
  }

  /** Of what is subscribed: by wire symbol, as texts. */
  bookOf(wireSymbol: string): NaiveBook {
    const [channel] = [...this.symbols].findLast(([, symbol]) => symbol === wireSymbol)!
    const book: NaiveBook = new Map()
    for (const [at, side] of ['bid', 'ask'].entries()) {
      for (const [price, amount] of this.books.get(channel)![at].levels) {
        book.set(`${side} ${price}`, String(Math.abs(amount)))
      }
    }
    return book
  }

  get errors(): (number | undefined)[] {
    return this.events.filter(({ event }) => event === 'error').map(({ code }) => code)
  }
}

function checksumOf([bids, asks]: readonly [NaiveSide, NaiveSide]): number {
  const [bid, ask] = [bids.best(1), asks.best(-1)]
  const texts: number[] = []
  for (let i = 0; i < 25; i++) {
    if (i < bid.length) texts.push(...bid[i])
    if (i < ask.length) texts.push(...ask[i])
  }
  return crc32(texts.join(':')) | 0
}

class Floor {
  readonly exchange: SimulatedExchange
  readonly clients = new Map<number, Client>()
  readonly closed: { connection: number; code: number; reason: string }[] = []
  /** What the simulator counts as wrong is asserted to be right, unless a fault makes it wrong. */
  readonly isFaulty: boolean
  nowMs = 1_795_362_721_000

  constructor(options: Partial<ExchangeOptions> = {}, isFaulty = false) {
    this.isFaulty = isFaulty
    this.exchange = twin.create({ symbols: SYMBOLS, rate: 200, ...options }, {
      frame: (connection, bytes) => {
        this.clients.get(connection)?.inbox.push(decoder.decode(bytes))
      },
      close: (connection, code, reason) => this.closed.push({ connection, code, reason }),
    })
    this.exchange.tick(this.nowMs)
  }

  get(url: string): unknown {
    const { pathname, searchParams } = new URL(url, 'https://api-pub.bitfinex.com')
    return this.exchange.rest(pathname, searchParams, this.nowMs).body
  }

  markets(): Market[] {
    const markets = adapter.markets!.parse(adapter.markets!.urls.map((url) => this.get(url)))
    assert.ok(markets !== undefined)
    return markets
  }

  /** The real session for these symbols. */
  open(symbols: readonly string[] = SYMBOLS, depth = 100): Client {
    const markets = this.markets()
    const instruments = symbols.map((symbol) => {
      const market = markets.find((one) => one.symbol === symbol)
      assert.ok(market !== undefined, symbol)
      return market
    })
    const { pathname } = new URL(adapter.url(instruments))
    assert.equal(pathname, twin.target!(symbols[0]))
    const client = new Client(this.exchange.connect(this.nowMs, pathname), instruments, depth)
    this.clients.set(client.id, client)
    client.session!.opened()
    this.pump()
    return client
  }

  /** A bare connection. */
  connect(): Client {
    const client = new Client(this.exchange.connect(this.nowMs, '/ws/2'), [], 100)
    this.clients.set(client.id, client)
    return client
  }

  say(client: Client, ...messages: unknown[]): void {
    for (const message of messages) {
      const text = typeof message === 'string' ? message : JSON.stringify(message)
      this.exchange.receive(client.id, text, this.nowMs)
    }
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
          if (!this.isFaulty) client.take(text, true)
          session?.received(encoder.encode(text), this.nowMs * 1000)
          moved = true
        }
        while (client.taken < listener.sent.length) {
          this.exchange.receive(client.id, listener.sent[client.taken++], this.nowMs)
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

  /** What the feed does: a lost book is asked for again. */
  repair(client: Client): void {
    for (const [index, book] of client.listener.books.entries()) {
      if (book === undefined) client.session!.resync(index)
    }
    this.pump()
  }

  /** What the session has of each symbol is what is true. */
  assertTrue(client: Client, symbols: readonly string[] = SYMBOLS, depth = 100): void {
    for (const [index, symbol] of symbols.entries()) {
      const truth = naive(this.exchange.truth(symbol, depth)!)
      const book = client.listener.books[index]
      assert.ok(book !== undefined, `${symbol} is live`)
      assert.deepEqual(new Map([...book].sort()), new Map([...truth].sort()), symbol)
      if (this.isFaulty) continue
      const own = client.bookOf(this.exchange.product(symbol)!.wireSymbol)
      const shown = [...truth].map(([key, size]) => {
        return [`${key.slice(0, 4)}${Number(key.slice(4))}`, String(Number(size))] as const
      })
      assert.deepEqual(new Map([...own].sort()), new Map(shown.sort()), symbol)
    }
  }
}

function naive({ bids, asks }: BookTruth): NaiveBook {
  return new Map([
    ...bids.map(([price, size]) => [`bid ${price}`, size] as const),
    ...asks.map(([price, size]) => [`ask ${price}`, size] as const),
  ])
}

const subscribe = (symbol: string, more: object = {}) => ({
  event: 'subscribe',
  channel: 'book',
  symbol,
  prec: 'P0',
  freq: 'F0',
  len: '25',
  ...more,
})

describe('the stream', () => {
  test('same seed and same calls, same frames; another seed, others', () => {
    const run = (seed: number): readonly Frame[] => {
      const floor = new Floor({ seed })
      const client = floor.open()
      floor.run(1000)
      return client.frames
    }
    assert.deepEqual(run(3), run(3))
    assert.notDeepEqual(run(3), run(4))
  })

  test('session, naive client and truth are one, at any depth', () => {
    for (const [depth, length] of [[10, 25], [100, 100], [0, 250]] as const) {
      // Deeper than the window, so that levels slide in and are pushed out.
      const floor = new Floor({ levels: 300, rate: 500 })
      const client = floor.open(SYMBOLS, depth)
      for (let i = 0; i < 5; i++) {
        floor.run(700)
        floor.assertTrue(client, SYMBOLS, length)
      }
      assert.ok(client.checksums > 100)
      assert.equal(client.listener.checks, client.checksums)
      assert.deepEqual(client.listener.suspects, [])
      assert.deepEqual(client.listener.failures, [])
      assert.deepEqual(floor.exchange.violations, [])
      assert.deepEqual(client.session!.stats, {
        scannerFallbacks: 0,
        unknownFrames: 0,
        duplicates: 0,
      })
    }
  })

  test('after every frame the best levels are those of the version that it is known by', () => {
    const floor = new Floor({ symbols: ['BTC/USD', 'XRP/USD'], levels: 60, history: 20_000 })
    const symbols = ['BTC/USD', 'XRP/USD']
    const client = floor.open(symbols, 25)
    const { listener } = client
    const { delta } = listener
    let compared = 0
    let extra = 0
    listener.delta = (index, changes) => {
      delta.call(listener, index, changes)
      const [truth, ...others] = floor.exchange
        .truthAtNonce(symbols[index], client.id, changes.nonce, 25)
      assert.deepEqual(others, [])
      const book = listener.books[index]!
      extra += book.size > 50 ? 1 : 0
      assert.deepEqual(
        new Map([...bestOf(book, 25)].sort()),
        new Map([...naive(truth)].sort()),
        `${changes.nonce}`,
      )
      compared++
    }
    floor.run(10_000)
    assert.ok(compared > 1000, `${compared}`)
    assert.ok(extra > 50, `${extra} with one level more for a moment`)
    const versions = floor.exchange.versionsSent('BTC/USD', client.id)
    assert.deepEqual(versions, versions.toSorted((a, b) => a - b))
  })

  test('prices have five significant digits, and numbers are as JavaScript prints them', () => {
    const floor = new Floor({ symbols: 360, rate: 2000 })
    const { products } = floor.exchange
    assert.ok(products.some(({ wireSymbol }) => wireSymbol.includes('F0:USTF0')))
    for (let from = 0; from < products.length; from += 20) {
      const some = products.slice(from, from + 20)
      const client = floor.open(some.map(({ symbol }) => symbol), 25)
      floor.run(500)
      floor.exchange.disconnected(client.id)
      for (const [, payload] of client.frames) {
        if (typeof payload === 'string') continue
        const rows = Array.isArray(payload[0]) ? payload as Row[] : [payload as Row]
        for (const [price] of rows) {
          assert.equal(Number(price.toPrecision(5)), price)
        }
      }
      floor.assertTrue(client, some.map(({ symbol }) => symbol), 25)
    }
    assert.deepEqual(floor.exchange.violations, [])
  })

  test('a heart beats for every channel, also before it is announced', () => {
    const floor = new Floor({ rate: 0, ackDelayMs: 50 })
    const client = floor.connect()
    floor.say(client, SETTINGS, subscribe('tBTCUSD'))
    floor.run(14_970)
    floor.say(client, subscribe('tSHIB:USD'))
    floor.run(200)
    const [channel] = [...client.symbols].find(([, symbol]) => symbol === 'tSHIB:USD')!
    assert.deepEqual(
      client.frames.map(([id, payload]) => [id === channel, Array.isArray(payload) || payload]),
      [[false, true], [false, 'hb'], [false, 'cs'], [true, 'hb'], [true, true]],
    )
    floor.run(30_000)
    assert.equal(client.frames.filter(([, payload]) => payload === 'hb').length, 6)
  })
})

describe('messages', () => {
  test('a subscription and its end', () => {
    const floor = new Floor({ rate: 0 })
    const client = floor.connect()
    floor.run(10)
    assert.deepEqual(client.events.map(({ event }) => event), ['info'])
    floor.say(client, SETTINGS, subscribe('tBTCUSD', { subId: 'mine' }))
    floor.run(50)
    const [, conf, subscribed] = client.events
    assert.deepEqual(conf, { event: 'conf', status: 'OK', flags: 229_376 })
    const { chanId } = subscribed
    assert.deepEqual(subscribed, {
      event: 'subscribed',
      channel: 'book',
      chanId,
      symbol: 'tBTCUSD',
      prec: 'P0',
      freq: 'F0',
      len: '25',
      subId: 'mine',
      pair: 'BTCUSD',
    })
    assert.equal(client.frames.length, 1)
    floor.say(client, { event: 'unsubscribe', chanId }, { event: 'ping', cid: 5 })
    floor.run(50)
    assert.deepEqual(client.events.slice(3).map(({ event }) => event), ['pong', 'unsubscribed'])
    floor.exchange.advanceOf('BTC/USD', 50, floor.nowMs)
    floor.pump()
    assert.equal(client.frames.length, 1, 'nothing more is sent')
    floor.say(client, subscribe('tBTCUSD'))
    floor.run(50)
    assert.notEqual(client.events.at(-1)!.chanId, chanId, 'another channel')
    assert.deepEqual(floor.exchange.violations, [])
  })

  test('settings: what is not wanted is left out', () => {
    for (const [flags, length] of [[0, 2], [65_536, 3], [32_768, 3], [98_304, 4]]) {
      const floor = new Floor({}, true)
      const client = floor.connect()
      floor.say(client, { event: 'conf', flags }, subscribe('tBTCUSD'))
      const frames: Frame[] = []
      client.take = () => {}
      for (let i = 0; i < 200; i++) {
        floor.nowMs += 10
        floor.exchange.tick(floor.nowMs)
        const texts = client.inbox.splice(0).filter((text) => text.startsWith('['))
        frames.push(...texts.map((text) => JSON.parse(text) as Frame))
      }
      assert.ok(frames.length > 50)
      assert.ok(frames.every((frame) => frame.length === length), `${flags}`)
      assert.ok(frames.every(([, payload]) => payload !== 'cs'))
    }
  })

  test('refusals', () => {
    const floor = new Floor({ rate: 0 })
    const client = floor.connect()
    floor.say(
      client,
      SETTINGS,
      'nonsense',
      'null',
      { event: 'dance' },
      subscribe('tNOPE'),
      subscribe('BTC/USD'),
      subscribe('tBTCUSD', { len: '50' }),
      subscribe('tBTCUSD', { prec: 'P1' }),
      subscribe('tBTCUSD', { channel: 'books' }),
      { event: 'unsubscribe', chanId: 99 },
      subscribe('tBTCUSD'),
      subscribe('tBTCUSD'),
      subscribe('tBTCUSD', { len: '100' }),
    )
    floor.run(50)
    assert.deepEqual(client.errors, [
      10_000,
      10_000,
      10_000,
      10_300,
      10_300,
      10_012,
      10_011,
      10_302,
      10_401,
      10_301,
    ])
    assert.equal(client.symbols.size, 2, 'another length is another channel')
    floor.say(client, { event: 'conf', flags: 'all' })
    assert.equal(client.events.at(-1)!.event, 'conf')
    assert.equal((client.events.at(-1) as unknown as { status: string }).status, 'FAILED')
    assert.equal(floor.exchange.stats.errors, 10)
  })

  test('limits are enforced and counted', () => {
    const floor = new Floor({ symbols: 30, rate: 0 })
    const client = floor.connect()
    floor.say(client, SETTINGS)
    for (const { wireSymbol } of floor.exchange.products) floor.say(client, subscribe(wireSymbol))
    floor.run(100)
    assert.equal(client.symbols.size, 25)
    assert.deepEqual(client.errors, Array.from({ length: 5 }, () => 10_305))
    assert.deepEqual(
      [...new Set(floor.exchange.violations.map(({ rule }) => rule))],
      ['subscriptions'],
    )
    const ids = Array.from({ length: 21 }, () => floor.exchange.connect(floor.nowMs, '/ws/2'))
    assert.deepEqual(ids.slice(-2), [-1, -1])
    assert.equal(floor.exchange.violations.at(-1)!.rule, 'connects')
    assert.equal(floor.exchange.connect(floor.nowMs + 60_001, '/ws/2') > 0, true)
    assert.equal(floor.exchange.connect(floor.nowMs + 60_001, '/ws'), -2)
  })
})

describe('REST', () => {
  test('markets and volumes as the adapter reads them', () => {
    const floor = new Floor({ symbols: 200 })
    const markets = floor.markets()
    assert.deepEqual(
      markets.map(({ symbol, wireSymbol }) => [symbol, wireSymbol]).sort(),
      floor.exchange.products.map(({ symbol, wireSymbol }) => [symbol, wireSymbol]).sort(),
    )
    const volumes = adapter.volumes!.parse(
      adapter.volumes!.urls.map((url) => floor.get(url)),
      markets,
    )!
    const busiest = [...volumes].sort(([, a], [, b]) => b - a).map(([symbol]) => symbol)
    assert.deepEqual(
      busiest.slice(0, 5),
      floor.exchange.products.slice(0, 5).map(({ symbol }) => symbol),
    )
    floor.exchange.delist('BTC/USD', floor.nowMs)
    assert.equal(floor.markets().some(({ symbol }) => symbol === 'BTC/USD'), false)
  })

  test('other calls', () => {
    const floor = new Floor({ restLag: { older: 0, newer: 0 } })
    assert.deepEqual(floor.get('/v2/platform/status'), [1])
    const rows = floor.get('/v2/book/tBTCUSD/P0?len=25') as Row[]
    const truth = floor.exchange.truth('BTC/USD', 25)!
    assert.deepEqual(rows.map(([price]) => String(price)), [
      ...truth.bids.map(([price]) => price),
      ...truth.asks.map(([price]) => price),
    ])
    assert.deepEqual((floor.get('/v2/book/tNOPE/P0') as unknown[])[0], 'error')
    assert.deepEqual(floor.get('/v2/conf/pub:list:pair:exchange,pub:none'), [
      ['BTCUSD', 'SHIB:USD', 'ETHBTC'],
      [],
    ])
    assert.equal(floor.exchange.rest('/v1/symbols', new URLSearchParams(), 0).status, 404)
    const some = floor.get('/v2/tickers?symbols=tETHBTC,tNOPE') as unknown[][]
    assert.deepEqual(some.map(([symbol]) => symbol), ['tETHBTC'])
  })
})

describe('faults', () => {
  /** Runs with a fault and repairs, then all is true again. */
  function survived(spec: FaultSpec, ms = 4000): { floor: Floor; client: Client } {
    const floor = new Floor({ levels: 120 }, true)
    const client = floor.open()
    floor.run(500)
    floor.assertTrue(client)
    floor.exchange.inject(spec)
    for (let passed = 0; passed < ms; passed += 500) {
      floor.run(500)
      floor.repair(client)
    }
    floor.exchange.clearFaults()
    // Wrong levels show in the next checksum at the latest.
    for (let i = 0; i < 4; i++) {
      floor.run(500)
      floor.repair(client)
    }
    return { floor, client }
  }

  test('crossed books and wrong snapshots are found by the checksum', () => {
    const faults: FaultSpec[] = [
      { kind: 'crossed' },
      { kind: 'wrong-snapshot' },
      { kind: 'wrong-snapshot', variant: 'missing' },
    ]
    for (const fault of faults) {
      const text = JSON.stringify(fault)
      const floor = new Floor({ rate: 400 }, true)
      const client = floor.open()
      if (fault.kind === 'crossed') floor.run(500)
      floor.exchange.inject(fault)
      floor.run(3000)
      assert.equal(floor.exchange.declared.length, 1, text)
      assert.deepEqual(client.listener.suspects.map(({ reason }) => reason), ['checksum'], text)
      floor.repair(client)
      floor.run(500)
      floor.assertTrue(client)
      assert.deepEqual(client.listener.failures, [])
    }
  })

  test('a wrong snapshot is not the fault of a client until its checksum was sent', () => {
    const floor = new Floor({ rate: 400 }, true)
    floor.exchange.inject({ kind: 'wrong-snapshot', variant: 'missing' })
    const client = floor.open(['BTC/USD'])
    const session = client.session!
    const checksums: Frame[] = []
    const received = session.received.bind(session)
    session.received = (frame, receivedUs) => {
      const message = JSON.parse(decoder.decode(frame))
      if (message[1] === 'cs') checksums.push(message)
      received(frame, receivedUs)
    }
    floor.run(3000)
    const [{ wireSymbol, connection, sequence } = assert.fail('none')] = floor.exchange.declared
    const isTainted = (nonce: number) => {
      const { symbol } = floor.exchange.product(wireSymbol)!
      return floor.exchange.isTainted(symbol, connection, nonce)
    }
    const [[, , , checksumSequence] = assert.fail('none')] = checksums
    assert.deepEqual([-1, 0].map((more) => isTainted(sequence + more)), [false, true])
    assert.deepEqual([-1, 0].map((more) => isTainted(checksumSequence + more)), [true, false])
  })

  test('a delisted pair ends alone', () => {
    const { floor, client } = survived({ kind: 'delist', symbol: 'SHIB/USD' })
    const { suspects, failures, books } = client.listener
    assert.deepEqual([...new Set(suspects.map(({ index }) => index))], [1])
    assert.ok(failures.length > 0)
    assert.ok(failures.every(({ scope, symbol }) => scope === 'symbol' && symbol === 'SHIB/USD'))
    assert.deepEqual(books.map((book) => book !== undefined), [true, false, true, true])
    assert.deepEqual(floor.exchange.violations, [])
  })

  test('a restart is announced before it comes', () => {
    const floor = new Floor({}, true)
    const client = floor.open()
    floor.run(500)
    floor.exchange.inject({ kind: 'restart' })
    floor.run(9_000)
    assert.equal(client.listener.retirements.length, 1)
    floor.assertTrue(client)
    assert.deepEqual(floor.closed, [])
    floor.run(2_000)
    assert.equal(floor.closed.length, 1)
  })

  test('maintenance: nothing is asked for, then everything', () => {
    const floor = new Floor({}, true)
    const client = floor.open()
    floor.run(500)
    floor.exchange.inject({ kind: 'maintenance' })
    floor.run(100)
    assert.deepEqual(client.listener.suspects.map(({ reason }) => reason), [
      'stale',
      'stale',
      'stale',
      'stale',
    ])
    const sent = client.listener.sent.length
    for (let i = 0; i < 4; i++) {
      floor.repair(client)
      client.session!.heartbeat!()
      floor.run(1000)
    }
    assert.equal(client.listener.sent.length, sent + 4, 'signs of life alone')
    assert.ok(client.listener.books.every((book) => book === undefined))
    floor.run(2000)
    floor.assertTrue(client)
    assert.deepEqual(floor.exchange.violations, [])
    assert.deepEqual(client.listener.failures, [])
  })

  test('who asks in maintenance breaks a rule', () => {
    const floor = new Floor({ rate: 0 })
    const client = floor.connect()
    floor.say(client, SETTINGS)
    floor.exchange.inject({ kind: 'maintenance' })
    floor.run(100)
    floor.say(client, subscribe('tBTCUSD'))
    assert.equal(floor.exchange.violations.length, 0, 'it may have been on its way')
    floor.run(2000)
    floor.say(client, subscribe('tBTCUSD'), { event: 'unsubscribe', chanId: 1 })
    assert.deepEqual(floor.exchange.violations.map(({ rule }) => rule), [
      'maintenance',
      'maintenance',
    ])
    assert.deepEqual(client.errors, [10_300, 10_300, 10_400])
    floor.run(4000)
    floor.say(client, subscribe('tBTCUSD'))
    floor.run(100)
    assert.equal(client.symbols.size, 1)
  })

  test('the others: all is true again in the end', () => {
    const faults: FaultSpec[] = [
      { kind: 'stall' },
      { kind: 'refuse', count: 3 },
      { kind: 'ignore', count: 2 },
      { kind: 'slow', delayMs: 300, count: 5 },
    ]
    for (const fault of faults) {
      const text = JSON.stringify(fault)
      const floor = new Floor({ levels: 60 }, true)
      floor.exchange.inject(fault)
      const client = floor.open()
      floor.run(1000)
      for (let i = 0; i < 6; i++) {
        // The feed finds a silent book in time.
        for (const index of SYMBOLS.keys()) if (i === 3) client.session!.resync(index)
        floor.repair(client)
        floor.run(1000)
      }
      assert.ok(floor.exchange.declared.length > 0, text)
      floor.assertTrue(client)
      assert.deepEqual(floor.exchange.violations, [], text)
    }
  })
})

test('it is registered, and a client is told how to begin', () => {
  assert.equal(twinOf('bitfinex'), twin)
  const floor = new Floor({ rate: 0 })
  const client = floor.connect()
  floor.say(client, SETTINGS, twin.subscribeText('tBTCUSD'))
  floor.run(50)
  assert.deepEqual([...client.symbols.values()], ['tBTCUSD'])
})
