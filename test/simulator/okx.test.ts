/** The simulated OKX, with a client as simple as can be: it believes all and counts what is wrong. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'
import type { FaultSpec } from '../../src/simulator/faults.ts'
import { parseFault } from '../../src/simulator/faults.ts'
import { bookDigest } from '../../src/simulator/market.ts'
import { okx, OkxExchange } from '../../src/simulator/okx.ts'

const THREE = ['BTC/USDT', 'MOG/USDT', 'BTC/USDT:USDT']
const IDS = ['BTC-USDT', 'MOG-USDT', 'BTC-USDT-SWAP']
const DEPTH = 400

interface Frame {
  readonly event?: string
  readonly code?: string
  readonly msg?: string
  readonly connId?: string
  readonly arg?: { readonly channel: string; readonly instId: string }
  readonly action?: 'snapshot' | 'update'
  readonly data?: readonly {
    readonly asks: readonly (readonly string[])[]
    readonly bids: readonly (readonly string[])[]
    readonly ts: string
    readonly checksum: number
    readonly seqId: number
    readonly prevSeqId: number
  }[]
}

const decoder = new TextDecoder()

class Client {
  readonly frames: Frame[] = []
  readonly asks = new Map<string, Map<string, string>>()
  readonly bids = new Map<string, Map<string, string>>()
  readonly seqIds = new Map<string, number>()
  pongs = 0
  gaps = 0
  orphans = 0
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
    if (frame.action === undefined) return
    const id = frame.arg!.instId
    const { asks, bids, seqId, prevSeqId } = frame.data![0]!
    if (frame.action === 'snapshot') {
      this.asks.set(id, new Map())
      this.bids.set(id, new Map())
      assert.equal(prevSeqId, -1)
    } else if (prevSeqId !== this.seqIds.get(id)) {
      this.gaps++
    }
    this.seqIds.set(id, seqId)
    for (const [levels, side] of [[asks, this.asks], [bids, this.bids]] as const) {
      for (const [price, size] of levels) {
        if (size !== '0') side.get(id)!.set(price!, size!)
        else if (!side.get(id)!.delete(price!)) this.orphans++
      }
    }
  }

  book(id: string): { bids: [string, string][]; asks: [string, string][] } {
    return {
      bids: [...this.bids.get(id) ?? []].sort((a, b) => Number(b[0]) - Number(a[0])),
      asks: [...this.asks.get(id) ?? []].sort((a, b) => Number(a[0]) - Number(b[0])),
    }
  }

  isCrossed(id: string): boolean {
    const { bids, asks } = this.book(id)
    return bids.length > 0 && asks.length > 0 && Number(bids[0]![0]) >= Number(asks[0]![0])
  }

  events(event: string): Frame[] {
    return this.frames.filter((frame) => frame.event === event)
  }

  updates(id: string): Frame[] {
    return this.frames.filter((frame) => frame.action === 'update' && frame.arg!.instId === id)
  }
}

/** The exchange and its clients without any I/O, under a clock that the test turns. */
class Floor {
  readonly exchange: OkxExchange
  readonly clients = new Map<number, Client>()
  readonly closed: { connection: number; code: number; reason: string }[] = []
  readonly sent: string[] = []
  nowMs = 1_795_362_721_000

  constructor(options: Partial<ExchangeOptions> = {}) {
    this.exchange = new OkxExchange({ symbols: THREE, levels: 20, rate: 0, ...options }, {
      frame: (connection, bytes) => {
        this.sent.push(`${connection} ${decoder.decode(bytes)}`)
        this.clients.get(connection)?.receive(bytes)
      },
      close: (connection, code, reason) => this.closed.push({ connection, code, reason }),
    })
    this.exchange.tick(this.nowMs)
  }

  connect(target = '/ws/v5/public'): number {
    const id = this.exchange.connect(this.nowMs, target)
    if (id >= 0) this.clients.set(id, new Client())
    return id
  }

  say(connection: number, message: unknown): void {
    const text = typeof message === 'string' ? message : JSON.stringify(message)
    this.exchange.receive(connection, text, this.nowMs)
  }

  ask(connection: number, op: string, ids: readonly string[] = IDS): void {
    this.say(connection, { op, args: ids.map((instId) => ({ channel: 'books', instId })) })
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
      const { bids, asks } = this.exchange.truth(id, DEPTH)!
      assert.deepEqual(client.book(id), { bids, asks }, id)
    }
  }

  get rules(): string[] {
    return this.exchange.violations.map(({ rule }) => rule)
  }
}

describe('the stream', () => {
  test('same seed and same calls, same frames; another seed, others', () => {
    const run = (seed: number) => {
      const floor = new Floor({ seed, rate: 200 })
      floor.subscribed()
      floor.run(1000)
      floor.subscribed(['BTC-USDT'])
      floor.run(1000)
      return floor.sent
    }
    const first = run(5)
    assert.ok(first.length > 400)
    assert.deepEqual(run(5), first)
    assert.notDeepEqual(run(6), first)
  })

  test('a client that applies every frame has the true book after each', () => {
    for (const pushMs of [0, 100]) {
      const floor = new Floor({ rate: 500, updates: 3, seed: 8, pushMs })
      const client = floor.subscribed()
      for (let i = 0; i < 100; i++) {
        floor.run(10)
        if (pushMs > 0) floor.exchange.flush(floor.nowMs)
        floor.assertTrue(client)
      }
      assert.equal(client.gaps, 0)
      assert.equal(client.orphans, 0)
      assert.equal(client.undecodable, 0)
    }
  })

  test('a window of 400 levels: what is pushed out is deleted, what slides in is told', () => {
    const floor = new Floor({ levels: 900, rate: 300, updates: 4, seed: 3, symbols: ['BTC/USDT'] })
    const client = floor.subscribed(['BTC-USDT'])
    const { bids, asks } = client.frames.find(({ action }) => action === 'snapshot')!.data![0]!
    assert.deepEqual([bids.length, asks.length], [DEPTH, DEPTH])
    const late: Client[] = []
    for (let i = 0; i < 60; i++) {
      floor.run(20)
      floor.assertTrue(client, ['BTC-USDT'])
      if (i % 20 === 9) late.push(floor.subscribed(['BTC-USDT']))
    }
    for (const other of [client, ...late]) {
      floor.assertTrue(other, ['BTC-USDT'])
      assert.equal(other.gaps, 0, 'one chain, whenever a client came')
      assert.equal(other.orphans, 0)
      assert.equal(other.book('BTC-USDT').bids.length, DEPTH)
    }
    assert.ok(floor.exchange.truth('BTC-USDT')!.bids.length > DEPTH)
  })

  test('a snapshot has the number of the last frame, also when unseen changes came since', () => {
    const floor = new Floor({ levels: 900, updates: 1, seed: 9, symbols: ['BTC/USDT'] })
    const client = floor.subscribed(['BTC-USDT'])
    let unseen = 0
    for (let i = 0; i < 400 && unseen < 5; i++) {
      const before = client.frames.length
      floor.exchange.advance(1, floor.nowMs)
      if (client.frames.length > before) continue
      unseen++
      floor.nowMs += 1000
      const late = floor.subscribed(['BTC-USDT'])
      assert.equal(late.seqIds.get('BTC-USDT'), client.seqIds.get('BTC-USDT'))
      while (late.updates('BTC-USDT').length === 0) floor.exchange.advance(1, floor.nowMs)
      assert.equal(late.gaps, 0)
      floor.assertTrue(late, ['BTC-USDT'])
    }
    assert.equal(unseen, 5)
  })

  test('irregular steps, equal on all connections; the truth as of a number', () => {
    const floor = new Floor({ rate: 300, seed: 4 })
    const [one, other] = [floor.subscribed(), floor.subscribed(['BTC-USDT'])]
    const seen: { nonce: number; digest: number }[] = []
    for (let i = 0; i < 60; i++) {
      floor.run(10)
      assert.equal(one.seqIds.get('BTC-USDT'), other.seqIds.get('BTC-USDT'))
      const { bids, asks } = one.book('BTC-USDT')
      seen.push({ nonce: one.seqIds.get('BTC-USDT')!, digest: bookDigest(bids, asks) })
    }
    const steps = one.updates('BTC-USDT').map(({ data }) => data![0]!.seqId - data![0]!.prevSeqId)
    assert.ok(new Set(steps).size > 5 && steps.every((step) => step > 0))
    for (const { nonce, digest } of seen) {
      const version = floor.exchange.versionAtNonce('BTC-USDT', 1, nonce)
      assert.equal(floor.exchange.digestAt('BTC-USDT', version, DEPTH), digest)
      const [truth] = floor.exchange.truthAtNonce('BTC/USDT', 'any', nonce, DEPTH)
      assert.equal(bookDigest(truth!.bids, truth!.asks), digest)
    }
  })

  test('frames have the shape of the exchange', () => {
    const floor = new Floor({ symbols: ['BTC/USDT'], levels: 2 })
    floor.subscribed(['BTC-USDT'])
    for (let i = 0; i < 20; i++) floor.exchange.advance(1, floor.nowMs)
    const level = '\\["\\d+(\\.\\d*[1-9])?","\\d+(\\.\\d*[1-9])?","0","\\d+"\\]'
    const levels = `\\[(${level}(,${level})*)?\\]`
    const book = new RegExp(
      '^1 \\{"arg":\\{"channel":"books","instId":"BTC-USDT"\\},"action":"(snapshot|update)",' +
        `"data":\\[\\{"asks":${levels},"bids":${levels},"ts":"\\d{13}","checksum":0,` +
        '"seqId":\\d+,"prevSeqId":(-1|\\d+)\\}\\]\\}$',
    )
    const ack = '1 {"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},' +
      '"connId":"00000001"}'
    assert.equal(floor.sent[0], ack, 'the acknowledgement comes first')
    assert.ok(floor.sent.length > 15)
    for (const text of floor.sent.slice(1)) assert.match(text, book)
  })

  test('a quiet book shows that it is alive', () => {
    const floor = new Floor()
    const client = floor.subscribed(['BTC-USDT'])
    floor.exchange.advanceOf('BTC-USDT', 3, floor.nowMs)
    const { length } = client.frames
    const last = client.seqIds.get('BTC-USDT')
    for (let i = 0; i < 7; i++) {
      floor.run(19_000, 500)
      floor.say(1, 'ping')
    }
    const alive = client.frames.slice(length).map(({ data }) => data![0]!)
    assert.deepEqual(
      alive.map(({ asks, bids, seqId, prevSeqId }) => [asks, bids, seqId, prevSeqId]),
      [1, 2].map(() => [[], [], last, last]),
    )
    assert.equal(client.gaps, 0)
    assert.equal(client.pongs, 7)
    floor.exchange.advanceOf('BTC-USDT', 1, floor.nowMs)
    floor.assertTrue(client, ['BTC-USDT'])
    assert.equal(client.gaps, 0)
  })
})

describe('the protocol', () => {
  test('subscribe, again, unsubscribe, and anew', () => {
    const floor = new Floor({ rate: 100 })
    const id = floor.connect()
    const client = floor.clients.get(id)!
    floor.ask(id, 'subscribe')
    floor.run(100)
    assert.deepEqual(client.events('subscribe').map(({ arg }) => arg!.instId), IDS)
    const snapshots = () => client.frames.filter(({ action }) => action === 'snapshot').length
    assert.equal(snapshots(), 3)
    floor.ask(id, 'subscribe', ['BTC-USDT'])
    floor.run(100)
    assert.equal(client.events('subscribe').length, 4)
    assert.equal(snapshots(), 3, 'no second one')
    floor.ask(id, 'unsubscribe', ['BTC-USDT'])
    const before = client.updates('BTC-USDT').length
    floor.run(1000)
    assert.equal(client.events('unsubscribe').length, 1)
    assert.equal(client.updates('BTC-USDT').length, before)
    floor.ask(id, 'unsubscribe', ['BTC-USDT'])
    floor.ask(id, 'subscribe', ['BTC-USDT'])
    floor.run(100)
    assert.equal(snapshots(), 4)
    floor.assertTrue(client)
    assert.equal(client.gaps, 0)
    assert.deepEqual(floor.rules, [])
  })

  test('errors', () => {
    const floor = new Floor()
    const id = floor.connect()
    const client = floor.clients.get(id)!
    const codes = () => client.events('error').map(({ code }) => code)
    for (const text of ['x', '{}', '{"op":"login","args":[{}]}', '{"op":"subscribe","args":[]}']) {
      floor.say(id, text)
    }
    floor.say(id, { op: 'subscribe', args: [{ channel: 'books' }] })
    assert.deepEqual(codes(), Array(5).fill('60012'))
    assert.match(client.events('error')[0]!.msg!, /^Invalid request: x$/)
    floor.ask(id, 'subscribe', ['XXX-USDT', 'BTC-USDT', 'BTC/USDT'])
    floor.say(id, { op: 'subscribe', args: [{ channel: 'tickers', instId: 'BTC-USDT' }] })
    floor.run(50)
    assert.deepEqual(codes().slice(5), ['60018', '60018', '60018'])
    assert.match(client.events('error')[5]!.msg!, /channel:books,instId:XXX-USDT doesn't exist/)
    floor.assertTrue(client, ['BTC-USDT'])
    const strict = new Floor({ unknownProduct: 'refuse' })
    const other = strict.subscribed(['XXX-USDT', 'BTC-USDT'])
    assert.equal(other.events('subscribe').length, 0)
    assert.equal(floor.connect('/ws/v5/private'), -2)
  })

  test('3 connections a second', () => {
    const floor = new Floor()
    assert.deepEqual([1, 2, 3, 4].map(() => floor.connect() > 0), [true, true, true, false])
    assert.deepEqual(floor.rules, ['connects'])
    floor.run(1000)
    assert.ok(floor.connect() > 0)
  })

  test('480 requests an hour on each connection', () => {
    const floor = new Floor()
    const id = floor.connect()
    const client = floor.clients.get(id)!
    for (let i = 0; i < 480; i++) floor.ask(id, i % 2 === 0 ? 'subscribe' : 'unsubscribe')
    assert.deepEqual(client.events('error'), [])
    floor.ask(id, 'subscribe')
    assert.deepEqual(client.events('error').map(({ code }) => code), ['60014'])
    floor.say(id, 'ping')
    assert.equal(client.pongs, 1, 'a ping is no request')
    const other = floor.connect()
    floor.ask(other, 'subscribe')
    assert.deepEqual(floor.clients.get(other)!.events('error'), [])
    assert.deepEqual(floor.rules, ['requests'])
  })

  test('64 KB a request', () => {
    const floor = new Floor()
    const id = floor.connect()
    floor.ask(id, 'subscribe', Array(2000).fill('BTC-USDT'))
    assert.deepEqual(floor.clients.get(id)!.events('error').map(({ code }) => code), ['60013'])
    assert.deepEqual(floor.rules, ['request-bytes'])
  })

  test('30 s of silence, or without a subscription, end the connection', () => {
    const floor = new Floor()
    floor.connect()
    floor.subscribed()
    const third = floor.connect()
    floor.ask(third, 'subscribe')
    floor.run(20_000, 500)
    floor.say(third, 'ping')
    floor.run(11_000, 500)
    assert.deepEqual(floor.closed.map(({ connection }) => connection).sort(), [1, 2])
    assert.deepEqual(floor.rules.toSorted(), ['idle', 'subscribe-within'])
    floor.run(20_000, 500)
    assert.deepEqual(floor.closed.map(({ connection }) => connection).sort(), [1, 2, 3])
  })
})

describe('faults', () => {
  const fault = (text: string): FaultSpec => parseFault(text, Object.keys(okx.rules.faults!))

  test('the notice, and the end 60 s later', () => {
    const floor = new Floor({ rate: 50, faults: [fault('notice'), fault('notice')] })
    const client = floor.subscribed()
    floor.run(1000)
    const [notice, ...more] = client.events('notice')
    assert.deepEqual(more, [], 'said once')
    assert.equal(notice!.code, '64008')
    assert.match(notice!.msg!, /service upgrade/)
    floor.run(58_000, 500)
    assert.deepEqual(floor.closed, [])
    floor.assertTrue(client)
    floor.run(2_000, 500)
    assert.deepEqual(floor.closed.map(({ connection }) => connection), [1])
    assert.deepEqual(floor.exchange.declared.map(({ kind }) => kind), ['notice'])
    assert.deepEqual(floor.rules, [])
  })

  test('a subscription that ends of itself', () => {
    const floor = new Floor({ rate: 100 })
    const client = floor.subscribed()
    floor.exchange.inject(fault('unsubscribe'))
    floor.run(20)
    assert.deepEqual(client.events('unsubscribe').map(({ arg }) => arg!.instId), ['BTC-USDT'])
    const before = client.updates('BTC-USDT').length
    floor.run(1000)
    assert.equal(client.updates('BTC-USDT').length, before)
    floor.ask(1, 'subscribe', ['BTC-USDT'])
    floor.run(100)
    floor.assertTrue(client)
  })

  test('stall: silence until subscribed anew, without signs of life', () => {
    const floor = new Floor({ rate: 100, faults: [fault('stall:BTC-USDT')] })
    const client = floor.subscribed()
    floor.run(100_000, 200)
    assert.deepEqual(client.updates('BTC-USDT'), [])
    assert.ok(client.updates('MOG-USDT').length > 100)
    floor.ask(1, 'unsubscribe', ['BTC-USDT'])
    floor.ask(1, 'subscribe', ['BTC-USDT'])
    floor.run(500)
    floor.assertTrue(client)
    assert.equal(client.gaps, 0)
  })

  test('crossed, wrong snapshots, refusals and delays', () => {
    const floor = new Floor({ rate: 100 })
    const client = floor.subscribed()
    const other = floor.subscribed()
    floor.exchange.inject({ kind: 'crossed', symbol: 'BTC-USDT', connection: 1 })
    floor.exchange.advanceOf('BTC-USDT', 5, floor.nowMs)
    assert.equal(client.isCrossed('BTC-USDT'), true)
    assert.equal(other.isCrossed('BTC-USDT'), false)
    assert.equal(client.gaps, 0, 'the number does not tell')
    floor.assertTrue(other)

    floor.run(1000)
    floor.exchange.inject(fault('wrong-snapshot:BTC-USDT'))
    assert.equal(floor.subscribed().isCrossed('BTC-USDT'), true)
    floor.exchange.inject(fault('wrong-snapshot:BTC-USDT:missing'))
    const missing = floor.subscribed()
    const seqId = missing.seqIds.get('BTC-USDT')!
    assert.equal(floor.exchange.isTainted('BTC-USDT', 4, seqId), true)
    assert.equal(floor.exchange.isTainted('MOG-USDT', 4, seqId), false)

    floor.run(1000)
    floor.exchange.inject(fault('refuse:BTC-USDT'))
    floor.exchange.inject(fault('ignore:MOG-USDT'))
    const refused = floor.subscribed()
    assert.deepEqual(refused.events('error').map(({ code }) => code), ['60018'])
    assert.deepEqual(refused.events('subscribe').map(({ arg }) => arg!.instId), ['BTC-USDT-SWAP'])
    floor.exchange.inject(fault('slow:BTC-USDT:2s'))
    const slow = floor.subscribed()
    assert.equal(slow.bids.has('BTC-USDT'), false)
    floor.run(2100)
    floor.assertTrue(slow)
  })

  test('a symbol that is listed no more: its frames stop, nobody can subscribe to it', () => {
    const floor = new Floor({ rate: 100 })
    const client = floor.subscribed()
    floor.exchange.delist('BTC/USDT', floor.nowMs)
    const before = client.frames.filter(({ arg }) => arg?.instId === 'BTC-USDT').length
    floor.run(100_000, 200)
    assert.equal(client.frames.filter(({ arg }) => arg?.instId === 'BTC-USDT').length, before)
    floor.ask(1, 'unsubscribe', ['BTC-USDT'])
    floor.ask(1, 'subscribe', ['BTC-USDT'])
    assert.deepEqual(client.events('error').map(({ code }) => code), ['60018', '60018'])
    const { body } = floor.exchange.rest(
      '/api/v5/public/instruments',
      new URLSearchParams('instType=SPOT'),
      floor.nowMs,
    )
    assert.deepEqual(
      (body as { data: { instId: string }[] }).data.map(({ instId }) => instId),
      ['MOG-USDT'],
    )
  })
})

describe('REST', () => {
  interface Body {
    readonly code: string
    readonly data: readonly Record<string, unknown>[]
  }
  const get = (floor: Floor, target: string): Body => {
    const [path, query] = target.split('?')
    const answer = floor.exchange.rest(path!, new URLSearchParams(query), floor.nowMs)
    assert.equal(answer.status, 200)
    return answer.body as Body
  }
  const symbols = [...THREE, 'ETH/USD:ETH', 'ETH/USD:ETH-261225']

  test('instruments and tickers by type', () => {
    const floor = new Floor({ symbols })
    const table = {
      SPOT: ['BTC-USDT', 'MOG-USDT'],
      SWAP: ['BTC-USDT-SWAP', 'ETH-USD-SWAP'],
      FUTURES: ['ETH-USD-261225'],
      OPTION: [],
    }
    for (const [type, ids] of Object.entries(table)) {
      for (const path of ['/api/v5/public/instruments', '/api/v5/market/tickers']) {
        const { code, data } = get(floor, `${path}?instType=${type}`)
        assert.equal(code, '0')
        assert.deepEqual(data.map(({ instId }) => instId), ids)
        assert.ok(data.every(({ instType }) => instType === type))
      }
    }
    const [future] = get(floor, '/api/v5/public/instruments?instType=FUTURES').data
    assert.equal(future!.expTime, String(Date.UTC(2026, 11, 25, 8)))
    assert.deepEqual(
      [future!.uly, future!.settleCcy, future!.lotSz, future!.ctType],
      ['ETH-USD', 'ETH', '1', 'inverse'],
    )
    const [swap] = get(floor, '/api/v5/market/tickers?instType=SWAP').data
    const quote = Number(swap!.volCcy24h) * Number(swap!.last)
    assert.ok(Math.abs(quote / (50_000_000 / 3) - 1) < 1e-6, 'counted in the base currency')
    assert.equal(get(floor, '/api/v5/public/instruments').code, '51000')
  })

  test('books have a number of the chain', () => {
    const floor = new Floor({ rate: 200, restLag: { older: 0, newer: 0 } })
    const client = floor.subscribed()
    floor.run(500)
    const { data: [book] } = get(floor, '/api/v5/market/books?instId=BTC-USDT&sz=400')
    const { bids, asks } = client.book('BTC-USDT')
    const pairs = (levels: unknown) => (levels as string[][]).map(([price, size]) => [price, size])
    assert.deepEqual(pairs(book!.bids), bids)
    assert.deepEqual(pairs(book!.asks), asks)
    assert.equal(book!.seqId, client.seqIds.get('BTC-USDT'))
    assert.equal(get(floor, '/api/v5/market/books?instId=NOPE-USDT').code, '51001')
    assert.equal(get(floor, '/api/v5/market/books?instId=BTC-USDT&sz=401').code, '51000')
    assert.equal(get(floor, '/api/v5/market/books-full?instId=BTC-USDT&sz=5000').code, '0')
  })

  test('too many requests', () => {
    const floor = new Floor()
    const statuses = Array.from(
      { length: 21 },
      () => floor.exchange.rest('/api/v5/public/time', new URLSearchParams(), floor.nowMs),
    )
    assert.deepEqual(statuses.map(({ status }) => status), [...Array(20).fill(200), 429])
    assert.equal((statuses[20]!.body as Body).code, '50011')
    assert.deepEqual(floor.rules, ['weight'])
  })
})
