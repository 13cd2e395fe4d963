import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import ccxt from 'ccxt'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'
import { Floor } from './floor.ts'

interface Depth {
  readonly e: string
  readonly E: number
  readonly T?: number
  readonly s: string
  readonly U: number
  readonly u: number
  readonly pu?: number
  readonly b: [string, string][]
  readonly a: [string, string][]
}

interface Snapshot {
  readonly lastUpdateId: number
  readonly bids: [string, string][]
  readonly asks: [string, string][]
}

/** Splices one symbol as the exchange's documentation says; keeps the texts of the wire. */
class Client {
  readonly #isSpot: boolean
  readonly buffer: Depth[] = []
  bids: Map<string, string> | undefined
  asks = new Map<string, string>()
  nonce = -1
  /** Of the first event after the snapshot: how many of its ids the snapshot had already. */
  overlap = NaN
  gaps = 0
  orphans = 0
  tooOld = 0
  stale = 0

  constructor(isSpot: boolean) {
    this.#isSpot = isSpot
  }

  receive(text: string): void {
    const frame = JSON.parse(text)
    const event: Depth | undefined = frame.e === 'depthUpdate' ? frame : frame.data
    if (event?.e !== 'depthUpdate') return
    if (this.bids === undefined) this.buffer.push(event)
    else this.#apply(event)
  }

  /** False: it is older than what was buffered, or nothing was buffered yet. */
  load({ lastUpdateId, bids, asks }: Snapshot): boolean {
    const first = this.buffer[0]
    const least = this.#isSpot ? (first?.U ?? NaN) - 1 : first?.pu ?? NaN
    if (!(lastUpdateId >= least)) {
      this.tooOld++
      return false
    }
    this.bids = new Map(bids)
    this.asks = new Map(asks)
    this.nonce = lastUpdateId
    for (const event of this.buffer.splice(0)) this.#apply(event)
    return true
  }

  #apply(event: Depth): void {
    const { U, u, pu } = event
    if (this.#isSpot ? u <= this.nonce : u < this.nonce) {
      this.stale++
      return
    }
    const isFirst = Number.isNaN(this.overlap)
    const isNext = this.#isSpot
      ? U <= this.nonce + 1 && this.nonce + 1 <= u
      : pu === this.nonce || (isFirst && U <= this.nonce && this.nonce <= u)
    if (!isNext) this.gaps++
    if (isFirst) this.overlap = this.nonce - U + 1
    this.nonce = u
    for (const [side, list] of [[this.bids!, event.b], [this.asks, event.a]] as const) {
      for (const [price, size] of list) {
        if (Number(size) !== 0) side.set(price, size)
        else if (!side.delete(price)) this.orphans++
      }
    }
  }

  /** Canonical, best first. */
  book(depth = Infinity): { bids: [string, string][]; asks: [string, string][] } {
    const plain = (text: string) =>
      text.includes('.') ? text.replace(/0+$/, '').replace(/\.$/, '') : text
    const rows = (side: Map<string, string>, sign: number) =>
      [...side].sort((a, b) => sign * (Number(a[0]) - Number(b[0]))).slice(0, depth)
        .map(([price, size]): [string, string] => [plain(price), plain(size)])
    return { bids: rows(this.bids!, -1), asks: rows(this.asks, 1) }
  }
}

const VENUES = [
  { exchange: 'binance', isSpot: true, symbol: 'BTC/USDT', ws: '', rest: '/api/v3' },
  {
    exchange: 'binanceusdm',
    isSpot: false,
    symbol: 'BTC/USDT:USDT',
    ws: '/public',
    rest: '/fapi/v1',
  },
] as const

const say = (method: string, params: unknown, id: unknown = 1) => ({ method, params, id })

for (const { exchange, isSpot, symbol, ws, rest } of VENUES) {
  const floorWith = (options: Partial<ExchangeOptions> = {}, target = `${ws}/stream`) => {
    const client = new Client(isSpot)
    const floor = new Floor(
      exchange,
      { symbols: [symbol, symbol.replace('BTC/', 'SHIB/')], levels: 50, rate: 200, ...options },
      (connection, text) => connection === 1 && client.receive(text),
    )
    const id = floor.connect(target)
    floor.say(id, say('SUBSCRIBE', ['btcusdt@depth@100ms']))
    return { floor, client, id }
  }
  /** As a client does: again when the answer is too old. */
  const splice = (floor: Floor, client: Client, limit = 1000) => {
    for (let i = 0; i < 40 && client.bids === undefined; i++) {
      floor.run(20)
      const { status, body } = floor.get(`${rest}/depth?symbol=BTCUSDT&limit=${limit}`)
      assert.equal(status, 200)
      client.load(body as Snapshot)
    }
    assert.ok(client.bids !== undefined, 'spliced')
  }

  describe(`${exchange} books`, () => {
    for (const pushMs of [0, 100]) {
      test(`REST and stream splice without a hole, pushed every ${pushMs} ms`, () => {
        const overlaps: number[] = []
        let tooOld = 0
        let stale = 0
        for (let seed = 1; seed <= 25; seed++) {
          const { floor, client, id } = floorWith({ seed, pushMs, updates: 3 })
          splice(floor, client)
          floor.run(500)
          floor.exchange.flush(floor.nowMs)
          floor.exchange.paused = true
          floor.run(200)
          const { bids, asks, version } = floor.exchange.truth(symbol)!
          assert.deepEqual(client.book(), { bids, asks }, `seed ${seed}`)
          assert.equal(client.gaps, 0, `seed ${seed}`)
          assert.equal(floor.exchange.versionAtNonce(symbol, id, client.nonce), version)
          overlaps.push(client.overlap)
          tooOld += client.tooOld
          stale += client.stale
        }
        assert.ok(tooOld > 0, 'some answers are older than the stream')
        assert.ok(stale > 0, 'some are newer than what was sent first')
        // With merged frames a snapshot falls into the middle of one.
        if (pushMs > 0) assert.ok(overlaps.some((ids) => ids > 0), overlaps.join())
      })
    }

    test('as of each nonce the book is the true one, on any connection', () => {
      const { floor, client } = floorWith({ updates: 3, history: 2000 })
      splice(floor, client)
      let compared = 0
      for (let i = 0; i < 300; i++) {
        floor.run(10)
        const [truth] = floor.exchange.truthAtNonce(symbol, 'any', client.nonce)
        assert.deepEqual(client.book(), { bids: truth!.bids, asks: truth!.asks })
        compared++
      }
      assert.equal(compared, 300)
      assert.ok(client.orphans > 3, `${client.orphans} orphan deletes`)
    })

    test('the same frame has the same ids on every connection; raw ones are not wrapped', () => {
      const { floor, id } = floorWith()
      const raw = floor.connect(`${ws}/ws/btcusdt@depth@100ms`)
      floor.run(1000)
      const wrapped = floor.of(id).filter((text) => text.includes('depthUpdate'))
        .map((text) => JSON.parse(text))
      const plain = floor.of(raw).map((text) => JSON.parse(text))
      assert.ok(wrapped.length > 50 && plain.length > 50)
      assert.ok(wrapped.every((frame) => frame.stream === 'btcusdt@depth@100ms'))
      assert.deepEqual(wrapped.slice(-50).map((frame) => frame.data), plain.slice(-50))
    })

    test('frames have the shape of the exchange', () => {
      const { floor, id } = floorWith({}, `${ws}/ws`)
      floor.run(2000)
      const decimals = isSpot ? [8, 8] : [1, 3]
      const level = `\\["\\d+\\.\\d{${decimals[0]}}","\\d+\\.\\d{${decimals[1]}}"\\]`
      const list = `\\[(${level}(,${level})*)?\\]`
      const shape = isSpot
        ? `^\\{"e":"depthUpdate","E":\\d{13},"s":"BTCUSDT","U":\\d+,"u":\\d+,"b":${list},"a":${list}\\}$`
        : `^\\{"e":"depthUpdate","E":\\d{13},"T":\\d{13},"s":"BTCUSDT","U":\\d+,"u":\\d+,"pu":\\d+,"b":${list},"a":${list}\\}$`
      const frames = floor.of(id).slice(1)
      assert.ok(frames.length > 100)
      let last: Depth | undefined
      let adjacent = 0
      for (const text of frames) {
        assert.match(text, new RegExp(shape))
        const event: Depth = JSON.parse(text)
        assert.ok(event.U <= event.u)
        if (last !== undefined) {
          if (isSpot) assert.equal(event.U, last.u + 1)
          else assert.equal(event.pu, last.u)
          if (event.U === last.u + 1) adjacent++
        }
        const prices = [...event.b, ...event.a].map(([price]) => price)
        assert.equal(new Set(prices).size, prices.length, 'each price once')
        last = event
      }
      if (!isSpot) assert.ok(adjacent < frames.length / 2, 'ids of other products lie between')
    })

    test('a wrong REST book: stale is crossed, missing is tainted until the next', () => {
      for (const variant of ['stale', 'missing']) {
        const floor = new Floor(exchange, {
          symbols: [symbol],
          rate: 0,
          restLag: { older: 0, newer: 0 },
          faults: [{ kind: 'wrong-snapshot', variant }],
        })
        const get = () => floor.get(`${rest}/depth?symbol=BTCUSDT&limit=50`).body as Snapshot
        const wrong = get()
        const isCrossed = Number(wrong.bids[0]![0]) >= Number(wrong.asks[0]![0])
        assert.equal(isCrossed, variant === 'stale')
        const isTainted = () => floor.exchange.isTainted(symbol, 7, wrong.lastUpdateId + 5)
        assert.equal(isTainted(), variant === 'missing')
        floor.exchange.advance(5, floor.nowMs)
        const right = get()
        assert.ok(Number(right.bids[0]![0]) < Number(right.asks[0]![0]))
        assert.equal(floor.exchange.isTainted(symbol, 7, right.lastUpdateId), false)
        assert.equal(floor.exchange.declared.length, 1)
      }
    })

    test('an answer can be short of what was asked for, not of the smallest book', () => {
      const floor = new Floor(exchange, {
        symbols: [symbol],
        rate: 0,
        levels: 300,
        restLag: { older: 0, newer: 0 },
      })
      const get = (limit: number) =>
        floor.get(`${rest}/depth?symbol=BTCUSDT&limit=${limit}`).body as Snapshot
      const least = isSpot ? 100 : 50
      const whole = get(500)
      floor.exchange.inject({ kind: 'rest-short' })
      // One that cannot be short leaves the fault to the next.
      assert.equal(get(least).bids.length, least)
      const short = get(500)
      for (const side of ['bids', 'asks'] as const) {
        const { length } = short[side]
        assert.ok(length >= least && length < whole[side].length, `${side}: ${length}`)
        assert.deepEqual(short[side], whole[side].slice(0, length))
      }
      assert.deepEqual(get(500), whole)
      assert.equal(floor.exchange.declared.length, 1)
    })

    test('an answer can be far too old', () => {
      const { floor } = floorWith({ faults: [{ kind: 'rest-lag' }] })
      floor.run(8000)
      const old = floor.get(`${rest}/depth?symbol=BTCUSDT&limit=50`).body as Snapshot
      const version = floor.exchange.versionAtNonce(symbol, 0, old.lastUpdateId)
      assert.ok(version <= floor.exchange.version(symbol) - 100)
      const { bids } = floor.exchange.bookAt(symbol, version, 50)!
      assert.deepEqual(old.bids.map(([price]) => Number(price)), bids.map(([one]) => Number(one)))
    })
  })

  describe(`the ${exchange} protocol`, () => {
    const last = (floor: Floor, id: number) => JSON.parse(floor.of(id).at(-1)!)

    test('acks, listings, unknown streams and refusals', () => {
      const { floor, id } = floorWith({ rate: 0, limits: { pingsCount: false } })
      const step = (message: unknown) => {
        floor.run(1000)
        floor.say(id, message)
        floor.run(20)
        return last(floor, id)
      }
      floor.run(20)
      assert.deepEqual(last(floor, id), { result: null, id: 1 })
      const unknown = ['nopeusdt@depth@100ms', 'btcusdt@trade', 'BTCUSDT@depth@100ms']
      assert.deepEqual(step(say('SUBSCRIBE', unknown, 'a7')), { result: null, id: 'a7' })
      assert.deepEqual(step(say('LIST_SUBSCRIPTIONS', undefined, 3)), {
        result: ['btcusdt@depth@100ms', ...unknown],
        id: 3,
      })
      floor.exchange.advance(20, floor.nowMs)
      assert.ok(floor.of(id).some((text) => text.includes('"depthUpdate"')))
      assert.deepEqual(step(say('UNSUBSCRIBE', ['btcusdt@depth@100ms'], null)), {
        result: null,
        id: null,
      })
      const mark = floor.of(id).length
      floor.exchange.advance(20, floor.nowMs)
      assert.equal(floor.of(id).length, mark)
      assert.equal(step(say('HELLO', [], 9)).error.code, 2)
      assert.equal(step(say('HELLO', [], 9)).id, 9)
      assert.equal(step('{"method').code, 3)
      assert.equal(step({ method: 'SUBSCRIBE', params: [], id: 1.5 }).code, 2)
      assert.equal(floor.exchange.stats.violations, 0)
    })

    const most = isSpot ? 5 : 10
    test(`more than ${most} messages a second, pings too, end the connection`, () => {
      const { floor, id } = floorWith({ rate: 0 })
      for (let i = 2; i <= most; i++) {
        if (i % 2 === 0) floor.exchange.pinged(id, floor.nowMs)
        else floor.say(id, say('LIST_SUBSCRIPTIONS', undefined, i))
      }
      assert.equal(floor.closed.length, 0)
      floor.exchange.ponged(id, floor.nowMs)
      assert.deepEqual(floor.closed.map(({ connection, code }) => [connection, code]), [[id, 1008]])
      assert.deepEqual(floor.exchange.violations.map((one) => one.rule), ['messages'])
    })

    test('the exchange pings; without a pong it ends the connection', () => {
      const { floor, id } = floorWith({ rate: 0 })
      const everyMs = isSpot ? 20_000 : 180_000
      const silent = floor.connect(`${ws}/ws`)
      floor.run(everyMs + 1000, 1000)
      assert.deepEqual(floor.pings, [id, silent])
      floor.exchange.ponged(id, floor.nowMs)
      for (let i = 0; i < 3; i++) {
        floor.run(isSpot ? 20_000 : 200_000, 1000)
        floor.exchange.ponged(id, floor.nowMs)
      }
      assert.deepEqual(floor.closed.map((one) => one.connection), [silent])
      assert.equal(floor.exchange.violations[0]!.rule, 'pong')
    })

    test('300 connections in five minutes, the next is refused', () => {
      const floor = new Floor(exchange, { symbols: [symbol] })
      for (let i = 0; i < 300; i++) assert.ok(floor.connect(`${ws}/ws`) > 0)
      assert.equal(floor.connect(`${ws}/ws`), -1)
      assert.equal(floor.exchange.violations[0]!.rule, 'connects')
      floor.run(300_000, 60_000)
      assert.ok(floor.connect(`${ws}/ws`) > 0)
    })

    test('a day is the longest a connection lasts, or what is configured', () => {
      const { floor, id } = floorWith({ rate: 0, limits: { lifetimeMs: 5000 } })
      floor.run(4900)
      assert.equal(floor.closed.length, 0)
      floor.run(200)
      assert.deepEqual(floor.closed.map((one) => one.connection), [id])
      assert.equal(floor.exchange.stats.violations, 0)
    })

    test('1,024 streams a connection', () => {
      const { floor, id } = floorWith({ symbols: 1025, levels: 2, rate: 0 })
      const wire = floor.exchange.products.map((one) => one.wireSymbol.toLowerCase())
      floor.say(id, say('SUBSCRIBE', wire.slice(1, 1024).map((one) => `${one}@depth@100ms`), 2))
      floor.run(20)
      assert.equal(last(floor, id).result, null)
      floor.say(id, say('SUBSCRIBE', [`${wire[1024]}@depth@100ms`], 3))
      assert.equal(last(floor, id).error.code, 2)
      assert.equal(floor.exchange.violations[0]!.rule, 'subscriptions')
    })

    test('a delisted symbol falls silent and REST knows it no more', () => {
      const { floor, id } = floorWith({ faults: [{ kind: 'delist', symbol }] })
      floor.run(1000)
      const mark = floor.of(id).length
      floor.run(1000)
      assert.equal(floor.of(id).length, mark)
      const { status, body } = floor.get(`${rest}/depth?symbol=BTCUSDT&limit=50`)
      assert.equal(status, 400)
      assert.equal((body as { code: number }).code, -1121)
      const info = floor.get(`${rest}/exchangeInfo`).body as { symbols: unknown[] }
      assert.equal(info.symbols.length, 1)
    })
  })

  describe(`${exchange} REST`, () => {
    test('weights are counted, then 429, then 418', () => {
      const floor = new Floor(exchange, { symbols: [symbol], rate: 0 })
      const path = `${rest}/depth?symbol=BTCUSDT&limit=1000`
      const weight = isSpot ? 50 : 20
      const budget = isSpot ? 6000 : 2400
      for (let used = weight; used <= budget; used += weight) {
        const { status, headers } = floor.get(path)
        assert.equal(status, 200)
        assert.equal(headers!['x-mbx-used-weight-1m'], String(used))
      }
      floor.run(10_000, 1000)
      const refused = floor.get(path)
      assert.equal(refused.status, 429)
      assert.equal(refused.headers!['retry-after'], '50')
      assert.equal((refused.body as { code: number }).code, -1003)
      // What was under way already breaks no rule; whoever goes on is banned.
      assert.equal(floor.get(path).status, 429)
      assert.equal(floor.exchange.stats.violations, 1)
      const insists = [1, 2, 3].map(() => {
        floor.run(600, 600)
        return floor.get(path).status
      })
      assert.deepEqual(insists, [429, 429, 418])
      assert.equal(floor.exchange.stats.violations, 4)
      assert.equal(floor.exchange.stats.requestsRefused, 5)
      floor.run(121_000, 1000)
      assert.equal(floor.get(path).status, 200)
    })

    test('a 429 out of the blue is no violation, but asking on is', () => {
      const floor = new Floor(exchange, {
        symbols: [symbol],
        rate: 0,
        faults: [{ kind: 'rest-error' }],
      })
      const { status, headers } = floor.get(`${rest}/time`)
      assert.equal(status, 429)
      assert.equal(headers!['retry-after'], '2')
      assert.equal(floor.get(`${rest}/time`).status, 429)
      assert.equal(floor.exchange.stats.violations, 0)
      floor.run(500, 500)
      assert.equal(floor.get(`${rest}/time`).status, 429)
      assert.equal(floor.exchange.violations[0]!.rule, 'weight')
      floor.run(2000, 1000)
      assert.equal(floor.get(`${rest}/time`).status, 200)
    })

    test('5xx and requests that are never answered', () => {
      const faults = ['503', 'timeout'].map((variant) => ({ kind: 'rest-error', variant }))
      const floor = new Floor(exchange, { symbols: [symbol], rate: 0, faults })
      assert.equal(floor.get(`${rest}/time`).status, 503)
      assert.equal(floor.get(`${rest}/time`).status, 0)
      assert.equal(floor.get(`${rest}/time`).status, 200)
    })

    test('limits of the depth', () => {
      const floor = new Floor(exchange, { symbols: [symbol], rate: 0, levels: 2000 })
      const rows = (limit: string) => {
        const { status, body } = floor.get(`${rest}/depth?symbol=BTCUSDT${limit}`)
        return status === 200 ? (body as Snapshot).bids.length : (body as { code: number }).code
      }
      assert.equal(rows('&limit=5'), 5)
      assert.equal(rows(''), isSpot ? 100 : 500)
      assert.equal(rows('&limit=5000'), isSpot ? 2000 : -4021)
      assert.equal(rows('&limit=7'), isSpot ? 7 : -4021)
      assert.equal(floor.get(`${rest}/depth?symbol=NOPE`).status, 400)
      assert.equal(floor.get('/api/v9/depth?symbol=BTCUSDT').status, 404)
    })

    test('ccxt reads the markets and the volumes', async () => {
      const symbols = isSpot
        ? ['BTC/USDT', 'SHIB/USDC', 'ETH/BTC']
        : ['BTC/USDT:USDT', 'SHIB/USDC:USDC', 'ETH/USDT:USDT-261225']
      const floor = new Floor(exchange, { symbols })
      const client = isSpot
        ? new ccxt.binance({
          enableRateLimit: false,
          options: { fetchMarkets: { types: ['spot'] } },
        })
        : new ccxt.binanceusdm({
          enableRateLimit: false,
          options: { fetchMarkets: { types: ['linear'] } },
        })
      client.fetch = (url: string) => {
        const { pathname, search } = new URL(url)
        return Promise.resolve(JSON.parse(JSON.stringify(floor.get(pathname + search).body)))
      }
      const markets = await client.loadMarkets()
      assert.deepEqual(Object.keys(markets).sort(), [...symbols].sort())
      for (
        const { symbol: name, wireSymbol, quoteIncrement, baseIncrement } of floor.exchange.products
      ) {
        const market = markets[name]!
        assert.equal(market.id, wireSymbol)
        assert.equal(market.active, true)
        assert.equal(market.precision.price, Number(quoteIncrement), name)
        assert.equal(market.precision.amount, Number(baseIncrement), name)
      }
      const tickers = await client.fetchTickers()
      const volumes = symbols.map((name) => tickers[name]!.quoteVolume!)
      assert.deepEqual([...volumes].sort((a, b) => b - a), volumes)
    })
  })
}

describe('what only spot has', () => {
  test('serverShutdown, and 10 s later the end', () => {
    for (const target of ['/stream', '/ws']) {
      const floor = new Floor('binance', {
        symbols: ['BTC/USDT'],
        rate: 10,
        faults: [{ kind: 'shutdown', after: 50 }],
      })
      const id = floor.connect(target)
      floor.say(id, say('SUBSCRIBE', ['btcusdt@depth@100ms']))
      floor.run(2000)
      const frame = JSON.parse(floor.of(id).find((text) => text.includes('serverShutdown'))!)
      if (target === '/stream') assert.equal(frame.stream, '!serverShutdown')
      assert.equal((frame.data ?? frame).e, 'serverShutdown')
      assert.equal(floor.closed.length, 0)
      floor.run(10_000, 50)
      assert.deepEqual(floor.closed.map((one) => one.connection), [id])
    }
  })

  test('times in microseconds when asked for', () => {
    const floor = new Floor('binance', { symbols: ['BTC/USDT'], rate: 100 })
    const id = floor.connect('/ws/btcusdt@depth@100ms?timeUnit=MICROSECOND')
    const other = floor.connect('/ws/btcusdt@depth@100ms')
    floor.run(500)
    assert.match(floor.of(id).at(-1)!, /"E":\d{16},/)
    assert.match(floor.of(other).at(-1)!, /"E":\d{13},/)
  })
})

describe('what only futures have', () => {
  test('bare paths are retired, depth is under /public', () => {
    const floor = new Floor('binanceusdm', { symbols: ['BTC/USDT:USDT'], rate: 100 })
    assert.equal(floor.connect('/ws/btcusdt@depth'), -2)
    assert.equal(floor.connect('/stream?streams=btcusdt@depth'), -2)
    const market = floor.connect('/market/stream?streams=btcusdt@depth@100ms')
    const right = floor.connect('/public/stream?streams=btcusdt@depth@500ms/btcusdt@depth')
    floor.run(500)
    assert.equal(floor.of(market).length, 0)
    const streams = new Set(floor.of(right).map((text) => JSON.parse(text).stream))
    assert.deepEqual([...streams].sort(), ['btcusdt@depth', 'btcusdt@depth@500ms'])
  })
})
