/** Binance spot and USD-M: the numbered steps, edge frames, and two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Adapter, Session } from '../../src/exchanges/adapter.ts'
import { binance, binanceusdm } from '../../src/exchanges/binance.ts'
import { depthText, eventText } from './binance.fixture.ts'
import type { WireLevel } from './fixture.ts'
import { applyLevel, Listener, type NaiveBook, withinHorizon } from './listener.ts'
import { describeRoutes } from './routes.ts'
import { anyLevels, plainLevels } from './wounds.ts'

const RECORDINGS = resolve(import.meta.dirname!, '../../../shared/recordings/binance')

const encoder = new TextEncoder()

function instrument(symbol: string, priceDecimals = 2, sizeDecimals = 5): Instrument {
  return { symbol, wireSymbol: symbol.replace('/', ''), priceDecimals, sizeDecimals }
}

const BTC = instrument('BTC/USDT')
const ETH = instrument('ETH/USDT')

/** A session on an open socket, whose requests wait to be answered by hand. */
class Client {
  readonly listener: Listener
  readonly session: Session
  readonly instruments: readonly Instrument[]
  readonly adapter: Adapter

  constructor(adapter: Adapter, instruments: readonly Instrument[] = [BTC], depth = 400) {
    this.adapter = adapter
    this.instruments = instruments
    this.listener = new Listener(instruments)
    this.session = adapter.open(instruments, this.listener, depth)
  }

  /** Open, with everything acknowledged. */
  static confirmed(
    adapter: Adapter,
    instruments: readonly Instrument[] = [BTC],
    depth = 400,
  ): Client {
    const client = new Client(adapter, instruments, depth)
    client.session.opened()
    client.acknowledge()
    return client
  }

  /** Live as of 100, level `bid 10` of size 1. */
  static live(adapter: Adapter, instruments: readonly Instrument[] = [BTC]): Client {
    const client = Client.confirmed(adapter, instruments)
    client.snapshot(100, [['bid', '10', '1']])
    client.event(adapter === binance ? [101, 101] : [100, 101, 100], [['ask', '20', '1']])
    return client
  }

  acknowledge(id = 1): void {
    this.give(`{"result":null,"id":${id}}`)
  }

  give(...texts: string[]): void {
    for (const text of texts) this.session.received(encoder.encode(text), 1_000_000)
  }

  /** `[U, u, pu]`; spot has no `pu`. */
  event(ids: readonly number[], levels: readonly WireLevel[] = [], index = 0): void {
    const [U, u, pu] = ids
    const { wireSymbol } = this.instruments[index]
    const isSpot = this.adapter === binance || pu === undefined
    this.give(eventText(wireSymbol, isSpot ? { U, u } : { U, u, pu }, levels))
  }

  snapshot(id: number, levels: readonly WireLevel[] = [], index = 0, atS = 2): void {
    const body = depthText(id, levels, 5000, this.adapter === binanceusdm)
    this.session.snapshotReceived!(index, body, atS * 1e6)
  }

  /** Kind and nonce of everything handed on. */
  get outputs(): [string, number][] {
    return this.listener.outputs.map(({ kind, nonce }) => [kind, nonce])
  }

  get suspects(): [number, string][] {
    return this.listener.suspects.map(({ index, reason }) => [index, reason])
  }

  get asked(): number[] {
    return this.listener.requests.map(({ index }) => index)
  }

  book(index = 0): string {
    const book = this.listener.books[index]
    return book === undefined ? 'none' : [...book].map((level) => level.join(' ')).sort().join(', ')
  }
}

const both = [binance, binanceusdm]

describe('steps', () => {
  test('1: lower-case streams, at most fifty a message, numbered', () => {
    for (const adapter of both) {
      const many = Array.from({ length: 120 }, (_, i) => instrument(`A${i}/USDT`))
      const { session, listener } = new Client(adapter, many)
      session.opened()
      session.opened()
      const sent = listener.sent.map((text) => JSON.parse(text))
      assert.deepEqual(sent.map(({ method, id }) => [method, id]), [
        ['SUBSCRIBE', 1],
        ['SUBSCRIBE', 2],
        ['SUBSCRIBE', 3],
      ])
      assert.deepEqual(sent.map(({ params }) => params.length), [50, 50, 20])
      assert.deepEqual(
        sent.flatMap(({ params }) => params),
        many.map((_, i) => `a${i}usdt@depth@100ms`),
      )
      assert.ok(listener.sent.every((text) => text.length < 2000))
    }
  })

  test('2: a snapshot is asked for once the subscription is shown, once', () => {
    for (const adapter of both) {
      const client = new Client(adapter, [BTC, ETH])
      client.session.opened()
      assert.deepEqual(client.asked, [])
      client.event([5, 6, 4], [], 1)
      assert.deepEqual(client.asked, [1], 'the first event shows it')
      client.event([7, 8, 6], [], 1)
      client.acknowledge()
      client.acknowledge()
      assert.deepEqual(client.asked, [1, 0], 'the acknowledgement does')
      assert.equal(client.session.stats.unknownFrames, 1, 'nothing waits for the second')
    }
  })

  test('2: sizes and their weights', () => {
    const spot = 'https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit='
    const usdm = 'https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit='
    /** The first snapshot of a book and those that refresh it: levels and weight. */
    const table: [Adapter, number, [number, number], [number, number]][] = [
      [binance, 1, [100, 5], [100, 5]],
      [binance, 80, [100, 5], [100, 5]],
      [binance, 81, [100, 5], [500, 25]],
      [binance, 400, [500, 25], [500, 25]],
      [binance, 800, [1000, 50], [1000, 50]],
      [binance, 1000, [1000, 50], [5000, 250]],
      [binance, 9000, [5000, 250], [5000, 250]],
      [binance, 0, [5000, 250], [5000, 250]],
      [binanceusdm, 40, [50, 2], [50, 2]],
      [binanceusdm, 41, [50, 2], [100, 5]],
      [binanceusdm, 400, [500, 10], [500, 10]],
      [binanceusdm, 800, [1000, 20], [1000, 20]],
      [binanceusdm, 0, [1000, 20], [1000, 20]],
    ]
    for (const [adapter, depth, first, refreshing] of table) {
      const client = new Client(adapter, [BTC], depth)
      client.session.opened()
      client.acknowledge()
      client.snapshot(100)
      client.session.refresh!(0)
      const url = adapter === binance ? spot : usdm
      assert.deepEqual(
        client.listener.requests,
        [first, refreshing].map(([levels, weight]) => ({
          index: 0,
          url: `${url}${levels}`,
          weight,
          delayMs: 0,
        })),
      )
    }
    assert.deepEqual([0, 1, 4000, 4001].map((n) => binance.depth!(n).view), [4000, 1, 4000, 4000])
    assert.deepEqual([0, 10, 800, 1000].map((n) => binanceusdm.depth!(n).view), [800, 10, 800, 800])
    for (const adapter of both) assert.equal(adapter.depth!(10).kept, Infinity)
    assert.deepEqual(both.map(({ protocol }) => protocol.depth), [4000, 800])
  })

  /** Kept events, the snapshot's id, and the nonce of the book that comes of it; none: too old. */
  const joins: [Adapter, number[][], number, number | undefined][] = [
    [binance, [], 100, 100],
    [binance, [[101, 103]], 100, 103],
    [binance, [[99, 103]], 100, 103],
    [binance, [[102, 103]], 100, undefined],
    [binance, [[99, 100]], 100, 100],
    [binance, [[90, 95]], 100, 100],
    [binance, [[90, 95], [96, 100], [101, 104], [105, 105]], 100, 105],
    [binance, [[90, 95], [96, 102], [103, 104]], 100, 104],
    // Lost while waiting: only what follows is kept.
    [binance, [[90, 95], [97, 102], [103, 104]], 100, 104],
    [binance, [[90, 95], [97, 102], [103, 104]], 95, undefined],
    [binance, [[90, 101], [103, 104]], 100, undefined],
    [binanceusdm, [], 100, 100],
    [binanceusdm, [[100, 103, 90]], 100, 103],
    [binanceusdm, [[99, 100, 90]], 100, 100],
    [binanceusdm, [[90, 99, 80]], 100, 100],
    [binanceusdm, [[105, 109, 100]], 100, 109],
    [binanceusdm, [[101, 109, 99]], 100, undefined],
    [binanceusdm, [[105, 109, 101]], 100, undefined],
    [binanceusdm, [[90, 99, 80], [100, 104, 99], [107, 110, 104]], 100, 110],
    [binanceusdm, [[90, 99, 80], [100, 104, 99], [107, 110, 105]], 100, undefined],
    [binanceusdm, [[90, 99, 80], [100, 104, 99], [107, 110, 105]], 105, 110],
  ]
  for (const [adapter, events, id, nonce] of joins) {
    test(`3: ${adapter.exchange} ${JSON.stringify(events)} at ${id}: ${nonce ?? 'too old'}`, () => {
      const client = Client.confirmed(adapter)
      for (const event of events) client.event(event, [['bid', `${event[1]}`, `${event[1]}`]])
      client.snapshot(id, [['bid', '1', '7'], ['bid', `${id + 3}`, '8']])
      if (nonce === undefined) {
        assert.deepEqual(client.outputs, [])
        assert.deepEqual(client.asked, [0, 0], 'asked for again')
        assert.deepEqual(client.suspects, [])
        return
      }
      assert.deepEqual(client.outputs, [['snapshot', nonce]])
      const book: NaiveBook = new Map()
      applyLevel(book, 'bid', '1', '7')
      applyLevel(book, 'bid', `${id + 3}`, '8')
      const chained = adapter === binanceusdm
      for (const [, u] of events) {
        if (chained ? u >= id : u > id) applyLevel(book, 'bid', `${u}`, `${u}`)
      }
      assert.deepEqual(client.listener.books[0], book)
      assert.deepEqual(client.asked, [0])
    })
  }

  test('3: however many are too old, the events are kept, and the first that is not joins', () => {
    for (const adapter of both) {
      const client = Client.confirmed(adapter)
      client.event([102, 103, 101])
      for (let i = 0; i < 8; i++) {
        client.event([104 + i, 104 + i, 103 + i])
        client.snapshot(50 + i)
      }
      assert.deepEqual([client.asked.length, client.suspects], [9, []])
      const delays = client.listener.requests.map(({ delayMs }) => delayMs)
      assert.deepEqual(delays.slice(0, 5), [0, 1200, 3600, 10_000, 10_000])
      client.snapshot(103)
      assert.deepEqual(client.outputs, [['snapshot', 111]])
    }
  })

  test('3: after a silence a snapshot ahead of the stream is no book before an event says so', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      const last = client.outputs.at(-1)![1]
      client.session.resync(0)
      const { length } = client.outputs
      client.snapshot(last + 50)
      client.snapshot(last + 60)
      client.snapshot(last + 70)
      assert.equal(client.outputs.length, length, 'events were lost')
      assert.equal(client.listener.requests.at(-1)!.delayMs, 1000)
      client.event([last + 65, last + 75, last + 64])
      client.snapshot(last + 70)
      assert.deepEqual(client.outputs.at(-1), ['snapshot', last + 75])
    }
  })

  test('3: a book that moves on beside a silent stream: asked for five times, then at an event', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      let at = client.outputs.at(-1)![1]
      client.session.resync(0)
      const { length } = client.outputs
      const asked = client.asked.length
      for (let i = 0; i < 5; i++) client.snapshot(at += 10)
      assert.deepEqual([client.outputs.length, client.asked.length], [length, asked + 4])
      client.event([at - 5, at + 5, at - 6])
      assert.equal(client.asked.length, asked + 5)
      client.snapshot(at)
      assert.deepEqual(client.outputs.at(-1), ['snapshot', at + 5])
    }
  })

  test('3: a symbol in doubt: beyond what was known the stream, or a second answer, must say so', () => {
    for (const adapter of both) {
      for (const [id, isLive] of [[500, true], [501, false]] as const) {
        const client = Client.confirmed(adapter)
        client.session.fellSilent!(0, 500)
        client.snapshot(id)
        assert.equal(client.outputs.length > 0, isLive)
        if (isLive) continue
        client.snapshot(id, [], 0, 12)
        assert.deepEqual(client.outputs, [['snapshot', id]])
      }
    }
  })

  test('3: after a silence a snapshot that is no further than the stream counts', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      const last = client.outputs.at(-1)![1]
      client.session.resync(0)
      client.snapshot(last)
      assert.deepEqual(client.outputs.at(-1), ['snapshot', last])
    }
  })

  test('3: one ahead that stands still counts; without an event the third costs the socket', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      let at = client.outputs.at(-1)![1]
      for (let round = 1; round <= 3; round++) {
        at += 10
        client.session.resync(0)
        if (round > 1) client.acknowledge(round)
        const { length } = client.outputs
        client.snapshot(at)
        client.snapshot(at, [], 0, 11)
        assert.equal(client.outputs.length, length, 'a lively book pauses, too')
        client.snapshot(at, [], 0, 12)
        if (round < 3) assert.deepEqual(client.outputs.at(-1), ['snapshot', at])
      }
      assert.deepEqual(client.listener.failures.map(({ code, scope }) => [code, scope]), [
        ['E_SUBSCRIBE', 'connection'],
      ])
      assert.match(client.listener.failures[0].message, /no event of .* while its book moved/)
    }
  })

  test('3: what was seen and is not kept makes a snapshot too old as well', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      client.event([110, 112, 111])
      assert.deepEqual(client.suspects, [[0, 'gap']])
      client.session.resync(0)
      client.snapshot(105)
      assert.equal(client.outputs.length, 2)
      client.snapshot(112)
      assert.deepEqual(client.outputs[2], ['snapshot', 112])
    }
  })

  test('4: horizons are the worst of an answer that may be cut, whatever came since', () => {
    const bids = Array.from({ length: 500 }, (_, i): WireLevel => ['bid', `${1000 - i}`, '1'])
    const asks = Array.from({ length: 500 }, (_, i): WireLevel => ['ask', `${2000 + i}.5`, '1'])
    const changes: [number, number][] = []
    for (const adapter of both) {
      // No more than the smallest snapshot has: all there are.
      const few = adapter === binance ? 99 : 49
      for (const levels of [[...bids, ...asks], [...bids.slice(0, few), ...asks], bids]) {
        const client = Client.confirmed(adapter)
        client.listener.snapshot = (_, { bidHorizon, askHorizon }) => {
          changes.push([bidHorizon, askHorizon])
        }
        client.event([101, 101, 100], [['bid', '3', '1'], ['ask', '9000', '1']])
        client.snapshot(100, levels)
      }
      assert.deepEqual(changes.splice(0), [[50_100, 249_950], [NaN, 249_950], [50_100, NaN]])
    }
  })

  test("4: times are the last event's, USD-M's of the engine", () => {
    for (
      const [adapter, event, bare] of [
        [binance, 1_795_312_800_123, -1],
        [binanceusdm, 1_795_312_800_120, 1_795_312_800_090],
      ] as const
    ) {
      const client = Client.confirmed(adapter)
      client.snapshot(100)
      client.event([101, 101, 100])
      client.session.resync(0)
      client.event([102, 102, 101])
      client.snapshot(101)
      assert.deepEqual(client.listener.outputs.map((o) => [o.timestampMs, o.receivedUs]), [
        [bare, 2_000_000],
        [event, 1_000_000],
        [event, 2_000_000],
      ])
    }
  })

  test('5: a snapshot ahead of the stream: what it holds is passed over, no duplicate', () => {
    const rows = [
      [binance, [[90, 95], [96, 100], [101, 103]], [['snapshot', 100], ['delta', 103]]],
      [binance, [[90, 95], [96, 102]], [['snapshot', 100], ['delta', 102]]],
      [binanceusdm, [[90, 95, 80], [96, 100, 95], [110, 111, 100]], [
        ['snapshot', 100],
        ['delta', 100],
        ['delta', 111],
      ]],
      [binanceusdm, [[90, 95, 80], [99, 104, 95]], [['snapshot', 100], ['delta', 104]]],
      [binanceusdm, [[102, 104, 100]], [['snapshot', 100], ['delta', 104]]],
    ] as const
    for (const [adapter, events, outputs] of rows) {
      const client = Client.confirmed(adapter)
      client.snapshot(100)
      for (const event of events) client.event(event)
      assert.deepEqual(client.outputs, outputs)
      assert.equal(client.session.stats.duplicates, 0)
      assert.deepEqual(client.suspects, [])
    }
    for (
      const [adapter, event] of [[binance, [102, 103]], [binanceusdm, [101, 103, 99]]] as const
    ) {
      const client = Client.confirmed(adapter)
      client.snapshot(100)
      client.event(event)
      assert.deepEqual(client.suspects, [[0, 'gap']])
    }
  })

  test('6: duplicates are ignored and counted, gaps are of their symbol alone', () => {
    const rows = [
      // Live as of 101: ids, then whether it is delivered, a duplicate or a gap.
      [binance, [102, 102], 'delta'],
      [binance, [101, 103], 'delta'],
      [binance, [100, 101], 'duplicate'],
      [binance, [50, 60], 'duplicate'],
      [binance, [103, 103], 'gap'],
      [binanceusdm, [107, 109, 101], 'delta'],
      [binanceusdm, [101, 101, 101], 'delta'],
      [binanceusdm, [100, 101, 100], 'duplicate'],
      [binanceusdm, [50, 60, 40], 'duplicate'],
      [binanceusdm, [102, 103, 100], 'gap'],
      [binanceusdm, [101, 103, 100], 'gap'],
      [binanceusdm, [105, 109, 104], 'gap'],
      [binanceusdm, [90, 95, 101], 'gap'],
    ] as const
    for (const [adapter, ids, fate] of rows) {
      const client = Client.live(adapter, [BTC, ETH])
      client.snapshot(7, [['bid', '1', '1']], 1)
      client.event(ids, [['bid', '10', '5']])
      const what = `${adapter.exchange} ${ids}: ${fate}`
      assert.equal(client.outputs.length, fate === 'delta' ? 4 : 3, what)
      assert.equal(client.session.stats.duplicates, fate === 'duplicate' ? 1 : 0, what)
      assert.deepEqual(client.suspects, fate === 'gap' ? [[0, 'gap']] : [], what)
      assert.ok(client.book(1) === 'bid 1 1', what)
      if (fate !== 'gap') continue
      client.event([102, 110, 101])
      assert.equal(client.outputs.length, 3, 'ignored until the resync')
      client.event(adapter === binance ? [8, 9] : [8, 9, 7], [], 1)
      assert.deepEqual(client.outputs[3], ['delta', 9], 'the other one goes on')
    }
  })

  test('6: numbers that begin anew are not taken for duplicates for ever', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      for (let i = 0; i < 32; i++) client.event([10 + i, 10 + i, 9 + i])
      assert.deepEqual(client.suspects, [])
      client.event([42, 42, 41])
      assert.deepEqual(client.suspects, [[0, 'gap']])
      assert.match(client.listener.suspects[0].detail, /counts anew/)
      client.session.resync(0)
      client.event([43, 44, 42])
      client.snapshot(43)
      assert.deepEqual(client.outputs.at(-1), ['snapshot', 44])

      // The same while syncing.
      const late = Client.live(adapter)
      late.session.resync(0)
      for (let i = 0; i < 33; i++) late.event([10 + i, 10 + i, 9 + i])
      late.event([43, 44, 42])
      late.snapshot(41)
      assert.deepEqual(late.outputs.at(-1), ['snapshot', 44])
      assert.equal(late.session.stats.duplicates, 33)

      // And with a snapshot that the stream never reaches.
      const far = Client.confirmed(adapter)
      far.snapshot(1_000_000)
      for (let i = 0; i <= 600; i++) far.event([10 + i, 10 + i, 9 + i])
      assert.deepEqual(far.suspects, [[0, 'gap']])
    }
  })

  test('6: a duplicate between others does not add up', () => {
    const client = Client.live(binance)
    for (let i = 102; i < 202; i++) {
      client.event([i, i])
      client.event([i, i])
    }
    assert.deepEqual(client.suspects, [])
    assert.equal(client.session.stats.duplicates, 100)
  })

  test('6, 3: what was counted before a new beginning does not count', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      client.session.resync(0)
      client.event([102, 102, 101])
      for (let i = 0; i < 20; i++) client.event([99, 99, 98])
      for (let i = 0; i < 4; i++) client.snapshot(50)
      client.snapshot(101)
      for (let i = 0; i < 20; i++) client.event([99, 99, 98])
      client.event([103, 103, 102])
      client.session.resync(0)
      for (let i = 0; i < 4; i++) client.snapshot(50)
      assert.deepEqual(client.suspects, [])
    }
  })

  test('6, 8: numbers that begin anew are found out while refreshes fail', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      for (let i = 0; i < 33; i++) {
        assert.deepEqual(client.suspects, [])
        if (i % 8 === 0) {
          client.session.refresh!(0)
          for (let k = 0; k < 5; k++) client.snapshot(10 + i)
        }
        client.event([10 + i, 10 + i, 9 + i])
      }
      assert.deepEqual(client.suspects, [[0, 'gap']])
    }
  })

  test('6, 3: a lost symbol whose numbers begin anew comes back', () => {
    for (const adapter of both) {
      for (const isHeardWhileLost of [false, true]) {
        const client = Client.live(adapter)
        client.event([150, 151, 149])
        let u = 10
        const few = () => {
          for (let i = 0; i < 4; i++, u++) client.event([u, u, u - 1])
        }
        for (let cycle = 0; cycle < 10; cycle++) {
          if (isHeardWhileLost) few()
          client.session.resync(0)
          if (!isHeardWhileLost) few()
          for (let k = 0; k < 5 && client.outputs.length === 2; k++) client.snapshot(u - 1)
        }
        assert.deepEqual(client.outputs[2]?.[0], 'snapshot')
      }
    }
  })

  test('7: resync asks by REST while the symbol sends, else subscribes it anew', () => {
    for (const adapter of both) {
      const client = Client.live(adapter, [BTC, ETH, instrument('X/USDT')])
      client.session.resync(0)
      assert.equal(client.listener.sent.length, 1)
      assert.deepEqual(client.asked, [0, 1, 2, 0])
      client.session.resyncAll!([0, 1])
      assert.deepEqual(JSON.parse(client.listener.sent[1]), {
        method: 'SUBSCRIBE',
        params: ['btcusdt@depth@100ms', 'ethusdt@depth@100ms'],
        id: 2,
      })
      client.snapshot(200)
      assert.equal(client.outputs.length, 2, 'not before it is confirmed')
      client.acknowledge(2)
      assert.deepEqual(client.asked, [0, 1, 2, 0, 0, 1])
      client.snapshot(200)
      client.snapshot(200, [], 0, 12)
      assert.equal(client.outputs.length, 3)
    }
  })

  test('7: a resync in any state forgets what was kept', () => {
    for (const adapter of both) {
      const client = Client.confirmed(adapter)
      client.event([98, 99, 97], [['bid', '5', '5']])
      client.session.resync(0)
      client.event([100, 101, 99], [['bid', '6', '6']])
      client.snapshot(100, [['bid', '1', '1']])
      assert.equal(client.book(), 'bid 1 1, bid 6 6')
      client.session.refresh!(0)
      client.session.resync(0)
      client.event([102, 103, 101], [['bid', '7', '7']])
      client.snapshot(102, [['bid', '1', '1']])
      assert.deepEqual(client.outputs, [['snapshot', 101], ['snapshot', 103]])
    }
  })

  test('8: refresh: older, equal, newer than the stream', () => {
    for (const adapter of both) {
      const first = adapter === binance ? 102 : 101
      for (const id of [101, 103, 105]) {
        const client = Client.live(adapter)
        client.session.refresh!(0)
        client.session.refresh!(0)
        assert.equal(client.asked.length, 2)
        client.event([first, 103, 101], [['bid', '11', '1']])
        client.event([adapter === binance ? 104 : 103, 105, 103], [['ask', '20', '0']])
        client.snapshot(id, [['bid', '9', '9'], ['ask', '20', '1'], ['ask', '30', '3']])
        assert.deepEqual(client.outputs.slice(-2), [['delta', 105], ['refreshed', 105]])
        const { levels, timestampMs } = client.listener.outputs.at(-1)!
        const sides = new Map(levels.map(([side, price, size]) => [`${side} ${price}`, size]))
        assert.equal(sides.get('bid 9'), '9')
        if (id === 101) assert.equal(sides.get('bid 11'), '1')
        if (id !== 105) assert.equal(sides.get('ask 20'), '0')
        assert.equal(timestampMs, client.listener.outputs.at(-2)!.timestampMs)
        client.snapshot(105)
        assert.equal(client.outputs.at(-1)![0], 'refreshed', 'another answer is passed over')
        assert.equal(client.listener.outputs.length, 5)
        client.event([adapter === binance ? 106 : 105, 106, 105])
        assert.deepEqual(client.outputs.at(-1), ['delta', 106])
        client.session.refresh!(0)
        assert.equal(client.asked.length, 3, 'and again')
      }
    }
  })

  test('8: refresh: a snapshot ahead waits for the stream', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      client.session.refresh!(0)
      client.snapshot(104, [['bid', '10', '1'], ['bid', '9', '9']])
      assert.equal(client.outputs.length, 2)
      client.event([102, 103, 101], [['bid', '9', '1']])
      assert.deepEqual(client.outputs.at(-1), ['delta', 103])
      client.event([104, 106, 103], [['bid', '10', '2']])
      assert.deepEqual(client.outputs.slice(-2), [['delta', 106], ['refreshed', 106]])
      assert.equal(client.book(), 'bid 10 2, bid 9 9')
    }
  })

  test('8: refresh: too old or unreadable costs nothing but another request', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      client.session.refresh!(0)
      client.snapshot(99)
      assert.equal(client.asked.length, 3)
      client.session.snapshotReceived!(0, '{"lastUpdateId":1', 1)
      client.event([102, 103, 101])
      assert.deepEqual(client.suspects, [])
      client.session.refresh!(0)
      assert.equal(client.asked.length, 4)
      for (let i = 0; i < 9; i++) client.snapshot(102 - i)
      assert.ok(client.asked.length <= 8, 'not for ever')
      assert.deepEqual(client.outputs.map(([kind]) => kind), ['snapshot', 'delta', 'delta'])
    }
  })

  test('8: refresh: a snapshot ahead that does not meet the stream is given up', () => {
    const client = Client.live(binanceusdm)
    client.session.refresh!(0)
    client.snapshot(104)
    client.event([106, 107, 101])
    assert.equal(client.asked.length, 3)
    client.event([108, 109, 107])
    assert.equal(client.asked.length, 3, 'once')
    client.snapshot(107)
    assert.deepEqual(client.outputs.slice(-2), [['delta', 109], ['refreshed', 109]])
  })

  test('8: a gap ends a refresh', () => {
    for (const adapter of both) {
      const client = Client.live(adapter)
      client.session.refresh!(0)
      client.event([150, 151, 149])
      client.snapshot(151)
      assert.deepEqual(client.suspects, [[0, 'gap']])
      assert.equal(client.outputs.length, 2)
    }
  })

  test('9: splice: from where it cannot, and from where it can', () => {
    const rows = [
      // Kept events, the nonce, and what is delivered; undefined: not yet.
      [binance, [], 100, []],
      [binance, [[101, 102], [103, 104]], 100, [102, 104]],
      [binance, [[101, 102], [103, 104]], 102, [104]],
      [binance, [[101, 102], [103, 104]], 104, []],
      [binance, [[101, 102], [103, 104]], 109, []],
      [binance, [[101, 102], [103, 104]], 101, [102, 104]],
      [binance, [[101, 102], [103, 104]], 99, undefined],
      [binanceusdm, [], 100, []],
      [binanceusdm, [[101, 102, 100], [103, 104, 102]], 100, [102, 104]],
      [binanceusdm, [[101, 102, 100], [103, 104, 102]], 102, [102, 104]],
      [binanceusdm, [[101, 102, 100], [103, 104, 102]], 104, [104]],
      [binanceusdm, [[101, 102, 100], [103, 104, 102]], 109, []],
      [binanceusdm, [[101, 102, 100], [103, 104, 102]], 99, undefined],
    ] as const
    for (const [adapter, events, nonce, expected] of rows) {
      const client = Client.confirmed(adapter)
      client.listener.books[0] = new Map()
      client.listener.delta = (index, changes) => {
        const { nonce, timestampMs, receivedUs } = changes
        const kind = 'delta'
        client.listener.outputs.push({ index, kind, nonce, levels: [], timestampMs, receivedUs })
      }
      for (const event of events) client.event(event, [['bid', '1', '1']])
      assert.equal(client.session.splice!(0, nonce), expected !== undefined)
      assert.deepEqual(client.listener.outputs.map((o) => o.nonce), expected ?? [])
      for (const { timestampMs, receivedUs } of client.listener.outputs) {
        assert.ok(timestampMs > 1_795_312_800_000 && receivedUs === 1_000_000)
      }
      if (expected === undefined) {
        assert.deepEqual(client.suspects, [])
        continue
      }
      client.snapshot(150)
      assert.equal(client.session.splice!(0, 100), false, 'live already')
      const end = Math.max(nonce, events.at(-1)?.[1] ?? 0)
      client.event(adapter === binance ? [end + 1, end + 2] : [end + 1, end + 2, end])
      assert.equal(client.listener.outputs.at(-1)!.nonce, end + 2, 'goes on')
      assert.deepEqual(client.suspects, [])
      client.event([end + 9, end + 9, end + 8])
      assert.deepEqual(client.suspects, [[0, 'gap']])
    }
  })

  test('9: splice: not before the subscription is shown, nor of a lost symbol', () => {
    for (const adapter of both) {
      const client = new Client(adapter)
      assert.equal(client.session.splice!(0, 100), false)
      client.session.opened()
      assert.equal(client.session.splice!(0, 100), false)
      client.acknowledge()
      assert.equal(client.session.splice!(0, 100), true)
      client.event([102, 103, 101])
      assert.deepEqual(client.suspects, [[0, 'gap']], 'after an empty log the nonce counts')
      assert.equal(client.session.splice!(0, 103), false)
      client.session.resync(0)
      assert.equal(client.session.splice!(0, 102), false, 'more than that was seen')
      assert.equal(client.session.splice!(0, 103), true)
    }
  })

  test('9: splice: events of the other socket may have ended elsewhere', () => {
    const usdm = Client.confirmed(binanceusdm)
    usdm.listener.adopt(0, Client.live(binanceusdm).listener)
    assert.equal(usdm.session.splice!(0, 101), true)
    usdm.event([97, 98, 96])
    usdm.event([99, 103, 98], [['bid', '9', '9']])
    assert.deepEqual(usdm.outputs, [['delta', 103]])
    const spot = Client.confirmed(binance)
    spot.listener.adopt(0, Client.live(binance).listener)
    assert.equal(spot.session.splice!(0, 101), true)
    spot.event([97, 98])
    spot.event([99, 103], [['bid', '9', '9']])
    assert.deepEqual(spot.outputs, [['delta', 103]])
    assert.deepEqual([usdm, spot].map(({ session }) => session.stats.duplicates), [0, 0])
  })

  test('9: splice: every event has its own levels', () => {
    for (const adapter of both) {
      const client = Client.confirmed(adapter)
      client.listener.adopt(0, Client.live(adapter).listener)
      const wide = '0.12345678901234567'
      client.event([102, 102, 101], [['bid', '5', '5'], ['bid', '6', wide]])
      client.event([103, 103, 102], [['bid', '6', '6']])
      client.event([104, 104, 103], [['bid', '7', '7'], ['ask', `1${wide}`, wide]])
      client.session.splice!(0, 101)
      assert.deepEqual(client.listener.outputs.map(({ levels }) => levels), [
        [['bid', '5', '5'], ['bid', '6', wide]],
        [['bid', '6', '6']],
        [['bid', '7', '7'], ['ask', `1${wide}`, wide]],
      ])
    }
  })

  test('9: splice: a resync from inside what is delivered stops it', () => {
    const client = Client.confirmed(binance)
    for (let u = 101; u < 105; u++) client.event([u, u])
    let delivered = 0
    client.listener.delta = () => {
      delivered++
      client.session.resync(0)
    }
    client.session.splice!(0, 100)
    assert.equal(delivered, 1)
  })

  test('more than is kept: what came first is dropped, and the snapshot must be newer', () => {
    for (const adapter of both) {
      const client = Client.confirmed(adapter)
      for (let u = 1; u <= 2500; u++) client.event([u, u, u - 1], [['bid', `${u}`, '1']])
      client.snapshot(1500)
      assert.deepEqual([client.outputs, client.asked.length], [[], 2])
      client.snapshot(2100)
      assert.deepEqual(client.outputs, [['snapshot', 2500]])
      assert.equal(client.listener.books[0]!.size, adapter === binance ? 400 : 401)
    }
    // The same while a refresh is under way.
    for (const adapter of both) {
      const client = Client.confirmed(adapter)
      client.snapshot(0)
      client.event([1, 1, 0])
      client.session.refresh!(0)
      for (let u = 2; u <= 2500; u++) client.event([u, u, u - 1])
      client.snapshot(1500)
      assert.equal(client.asked.length, 3)
      client.snapshot(2001)
      assert.deepEqual(client.outputs.at(-1), ['refreshed', 2500])
    }
  })
})

describe('replies', () => {
  const error = (id: unknown, msg = 'Invalid request: malformed', code = 2) => [
    JSON.stringify({ code, msg, id }),
    JSON.stringify({ error: { code, msg }, id }),
  ]

  test('10: a refused request for one symbol is about that symbol', () => {
    for (const adapter of both) {
      for (const text of error(1)) {
        const client = new Client(adapter)
        client.session.opened()
        client.give(text)
        assert.deepEqual(
          client.listener.failures.map((e) => [e.code, e.scope, e.symbol]),
          [['E_SUBSCRIBE', 'symbol', 'BTC/USDT']],
        )
        assert.match(client.listener.failures[0].message, /2: Invalid request: malformed/)
        client.event([1, 2, 0])
        assert.deepEqual(client.asked, [], 'not before the resync')
        client.session.resync(0)
        assert.equal(client.listener.sent.length, 2, 'subscribes again')
      }
    }
  })

  test('10: one for several is made again in halves, until it is alone', () => {
    const many = Array.from({ length: 7 }, (_, i) => instrument(`A${i}/USDT`))
    const client = new Client(binance, many)
    client.session.opened()
    for (let at = 0; at < client.listener.sent.length; at++) {
      const { params, id } = JSON.parse(client.listener.sent[at])
      if (params.includes('a5usdt@depth@100ms')) client.give(error(id)[0])
      else client.acknowledge(id)
    }
    assert.deepEqual(client.listener.failures.map(({ symbol }) => symbol), ['A5/USDT'])
    assert.deepEqual(client.asked.toSorted(), [0, 1, 2, 3, 4, 6])
  })

  test('10: the others of a request whose error names one are subscribed again', () => {
    const client = new Client(binance, [BTC, ETH, instrument('ETHBTC'), instrument('WETHBTC')])
    client.session.opened()
    client.give(error(1, 'Invalid request: no stream ETHBTC@depth@100ms')[0])
    assert.deepEqual(client.listener.failures.map(({ symbol }) => symbol), ['ETHBTC'])
    assert.deepEqual(JSON.parse(client.listener.sent[1]), {
      method: 'SUBSCRIBE',
      params: ['btcusdt@depth@100ms', 'ethusdt@depth@100ms', 'wethbtc@depth@100ms'],
      id: 2,
    })
  })

  test('10: a stream is not named by the end of another name', () => {
    const client = new Client(binance, [instrument('ETHBTC'), instrument('WETHBTC')])
    client.session.opened()
    client.give(error(1, 'no stream wethbtc@depth@100ms')[1])
    assert.deepEqual(client.listener.failures.map(({ symbol }) => symbol), ['WETHBTC'])
  })

  test('10: after a refusal only the resync counts', () => {
    for (const adapter of both) {
      const client = new Client(adapter)
      client.session.opened()
      client.give(error(1)[0])
      client.acknowledge(1)
      assert.deepEqual(client.asked, [], 'the request is answered')
      assert.equal(client.session.stats.unknownFrames, 1)
      const live = Client.live(adapter)
      live.give(error(9, 'no stream btcusdt@depth@100ms')[0])
      live.event([102, 102, 101])
      live.session.resync(0)
      assert.deepEqual([live.asked.length, live.listener.sent.length], [1, 2])
    }
  })

  test('2: the acknowledgement of a symbol that is lost meanwhile asks for nothing', () => {
    const client = new Client(binance, [BTC, ETH])
    client.session.opened()
    client.give(eventText('BTCUSDT', { U: 2, u: 1 }, []))
    client.acknowledge()
    assert.deepEqual([client.suspects, client.asked], [[[0, 'gap']], [1]])
    client.session.resync(0)
    assert.deepEqual(client.listener.sent.length, 2)
  })

  test('a planned end is said once, in either spelling', () => {
    for (
      const text of [
        '{"e":"serverShutdown","E":1795312800123}',
        '{"e":"!serverShutdown","E":1795312800123}',
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1795312800123}}',
        '{"stream":"!serverShutdown","data":{"E":1795312800123}}',
      ]
    ) {
      const client = Client.live(binance)
      client.give(text, text)
      assert.equal(client.listener.retirements.length, 1, text)
      client.event([102, 102])
      assert.equal(client.outputs.length, 3, 'the book goes on')
    }
  })

  test('unknown messages are counted', () => {
    const texts = [
      '{"result":["btcusdt@depth@100ms"],"id":3}',
      '{"result":null,"id":99}',
      '{"result":null}',
      '{"e":"trade","s":"BTCUSDT"}',
      '{"stream":"btcusdt@trade","data":{"e":"trade"}}',
      '{"stream":"!ticker@arr","data":[]}',
      '{}',
      eventText('XRPUSDT', { U: 1, u: 1, pu: 0 }, []),
    ]
    for (const adapter of both) {
      const client = Client.live(adapter)
      client.give(...texts)
      assert.equal(client.session.stats.unknownFrames, texts.length)
      assert.deepEqual([client.suspects, client.listener.failures], [[], []])
    }
  })
})

describe('frames', () => {
  test('combined spelling, unknown fields, names outside ASCII', () => {
    const moon = { ...instrument('币安人生/USDT'), wireSymbol: '币安人生USDT' }
    for (const adapter of both) {
      const client = Client.confirmed(adapter, [BTC, moon])
      assert.match(client.listener.sent[0], /"币安人生usdt@depth@100ms"/)
      assert.match(client.listener.requests[1].url, /symbol=%E5%B8%81%E5%AE%89[%0-9A-F]+USDT&/)
      client.snapshot(1, [], 0)
      client.snapshot(1, [], 1)
      const text = (u: number, index = 0) => {
        const ids = { U: u, u, ...(adapter === binance ? {} : { pu: u - 1 }) }
        return eventText(client.instruments[index].wireSymbol, ids, [['bid', '1', `${u}`]])
      }
      client.give(
        `{"stream":"btcusdt@depth@100ms","data":${text(2)}}`,
        text(3).replace('"U"', '"ps":"BTCUSDT","st":1,"U"'),
        text(4).replace(/}$/, ',"st":1,"ps":"BTCUSDT"}'),
      )
      assert.equal(client.session.stats.scannerFallbacks, 0)
      client.give(
        text(5).replace(/}$/, ',"zz":{"a":[]}}'),
        ` ${text(6)}`,
        text(7).replaceAll('"s":', '"s" :'),
        text(2, 1),
        JSON.stringify({ data: JSON.parse(text(3, 1)), stream: '币安人生usdt@depth@100ms' }),
      )
      assert.equal(client.session.stats.scannerFallbacks, 4)
      assert.deepEqual([client.book(0), client.book(1)], ['bid 1 7', 'bid 1 3'])
      assert.deepEqual(client.suspects, [])
    }
  })

  test('an event that cannot be read costs its symbol, any other frame the connection', () => {
    const event = eventText('BTCUSDT', { U: 102, u: 103, pu: 101 }, [['bid', '99', '5']])
    const broken = [
      ['"U":102', '"U":104'],
      ['"U":102', '"U":-1'],
      ['"U":102', '"U":"102"'],
      ['"u":103', '"u":103.5'],
      ['"u":103', '"u":9007199254740993'],
      ['"u":103,', ''],
      ['"b":[', '"b":[7,'],
      ['"b":[', '"c":['],
      ['"a":[]', '"a":{}'],
      ['"5"', '"-5"'],
      ['"5"', '"NaN"'],
      ['"5"', '""'],
      ['"5"', '5'],
      ['"5"', 'null'],
      ['"99"', '"-99"'],
      ['"99"', '"0x10"'],
      ['"99"', '99'],
      [',"5"', ''],
    ]
    for (const adapter of both) {
      for (const [from, to] of broken) {
        const client = Client.live(adapter, [BTC, ETH])
        client.snapshot(7, [], 1)
        const text = event.replace(from, to)
        assert.notEqual(text, event)
        client.give(text)
        assert.deepEqual(client.suspects, [[0, 'gap']], text)
        assert.deepEqual(client.listener.failures, [], text)
        client.give(text)
        assert.equal(client.suspects.length, 1, 'said once')
        client.event(adapter === binance ? [8, 8] : [8, 8, 7], [], 1)
        assert.deepEqual(client.outputs.at(-1), ['delta', 8])
      }
      for (
        const text of ['', 'null', '[]', '7', '{"e":"depthUpdate"', event.replace('"BTCUSDT"', '1')]
      ) {
        const client = Client.live(adapter, [BTC, ETH])
        client.give(text, text)
        assert.deepEqual(
          client.listener.failures.map(({ code, scope }) => [code, scope]),
          [['E_DECODE', 'connection']],
          text,
        )
        assert.deepEqual(client.suspects, [[0, 'gap'], [1, 'gap']])
        client.snapshot(500)
        client.session.resync(0)
        assert.equal(client.outputs.length, 2, 'a given-up socket')
        assert.equal(client.listener.sent.length, 1)
      }
    }
    const usdm = Client.live(binanceusdm)
    usdm.give(event.replace(',"pu":101', ''))
    assert.deepEqual(usdm.suspects, [[0, 'gap']], 'USD-M cannot do without pu')
    const bytes = Client.live(binance)
    bytes.session.received(Uint8Array.from([0x22, 0xff, 0x22]), 1)
    assert.equal(bytes.listener.failures[0].code, 'E_DECODE', 'not UTF-8')
  })

  test('a snapshot that cannot be read is said and paced by the feed', () => {
    const whole = depthText(200, [['bid', '1', '1'], ['ask', '2', '2']])
    const bodies = [
      '',
      '<html>',
      'null',
      '[]',
      '{"code":-1000,"msg":"An unknown error occurred"}',
      whole.replace('200', '"200"'),
      whole.replace('200', '-1'),
      whole.replace('"bids"', '"bid"'),
      whole.replace('"1","1"', '"1"'),
      whole.replace('"1","1"', '"1",1'),
      whole.replace('["1","1"]', '"1"'),
      whole.replace('"2","2"', '"2","-2"'),
    ]
    for (const adapter of both) {
      for (const body of bodies) {
        const client = Client.confirmed(adapter)
        client.session.snapshotReceived!(0, body, 1)
        assert.deepEqual([client.outputs, client.suspects], [[], [[0, 'gap']]], body)
        assert.match(client.listener.suspects[0].detail, /REST snapshot could not be read/)
        assert.equal(client.asked.length, 1)
      }
      const client = Client.live(adapter)
      client.session.snapshotReceived!(0, 'nonsense', 1)
      client.session.snapshotReceived!(9, whole, 1)
      assert.deepEqual([client.outputs.length, client.suspects], [2, []], 'nobody asked')
    }
  })

  test('wide values stay exact, also when they were kept, and cost only themselves', () => {
    const values = [
      '0.12345678901234567',
      '12345678901234567',
      '123456789012345678901234567890.000000001',
      '90071992.54740992',
      '5.000000000000000000000000000000',
      '99999999999999999999',
    ]
    const levels = values.flatMap((value): WireLevel[] => [
      ['bid', value, '1'],
      ['bid', '10', value],
      ['ask', value, value],
    ])
    for (const adapter of both) {
      const client = Client.confirmed(adapter)
      client.event([101, 101, 100], [['bid', '7', '7']])
      client.event([102, 102, 101], levels)
      client.event([103, 103, 102], [['bid', '8', '8']])
      client.snapshot(100, [['ask', values[0], '3']])
      const texts = (side: string) =>
        levels.filter(([each]) => each === side).map(([side, price, size]) => [
          side,
          canonicalDecimal(price),
          canonicalDecimal(size),
        ])
      assert.deepEqual(client.listener.outputs[0].levels, [
        ['ask', values[0], '3'],
        ['bid', '7', '7'],
        ...texts('bid'),
        ...texts('ask'),
        ['bid', '8', '8'],
      ])
      assert.equal(client.session.stats.scannerFallbacks, 0)
    }
  })

  test('a full snapshot of wide prices alone has no horizon, so it is not used', () => {
    const bids = Array.from({ length: 500 }, (_, i): WireLevel => ['bid', `0.000${i + 1000}`, '1'])
    const client = Client.confirmed(binance)
    client.snapshot(100, bids)
    assert.deepEqual(client.suspects, [[0, 'gap']])
    const fine = Client.confirmed(binance)
    fine.snapshot(100, [...bids.slice(1), ['bid', '5', '1']])
    assert.deepEqual(fine.outputs, [['snapshot', 100]])
  })
})

/** What both routes have to agree on. */
function story(adapter: Adapter, bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const client = Client.live(adapter, instruments)
  client.snapshot(100, [], 1)
  client.session.received(bytes, 5)
  const live = client.listener.books.map((book) => book !== undefined)
  client.event([104, 105, 103])
  client.event([101, 105, 100], [], 1)
  const { outputs, suspects, failures } = client.listener
  const { unknownFrames, duplicates } = client.session.stats
  return {
    outputs,
    live,
    suspects: suspects.map(({ index, reason }) => [index, reason]),
    failures: failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    unknownFrames,
    duplicates,
  }
}

const id = fc.oneof(fc.constantFrom(100, 101, 102, 103), fc.nat(110), fc.maxSafeNat())
const frameText = fc.record({
  symbol: fc.constantFrom('BTCUSDT', 'ETHUSDT', 'XRPUSDT', 'BTCUSD'),
  ids: fc.record({ U: id, u: id, pu: id }, { requiredKeys: ['U', 'u'] }),
  levels: anyLevels,
  more: fc.constantFrom('', ',"st":1', ',"ps":"BTCUSDT"', ',"x":[]'),
  wrapped: fc.boolean(),
}).map(({ symbol, ids, levels, more, wrapped }) => {
  const text = eventText(symbol, ids, levels).replace(/}$/, `${more}}`)
  return wrapped ? `{"stream":"${symbol.toLowerCase()}@depth@100ms","data":${text}}` : text
})
for (const adapter of both) {
  const ids = { U: 102, u: 103, ...(adapter === binance ? {} : { pu: 101 }) }
  const plain = (levels: readonly WireLevel[]) => eventText('BTCUSDT', ids, levels)
  const event = plain([['bid', '7.5', '3'], ['ask', '8', '0']])
  describeRoutes({
    story: (bytes, instruments) => story(adapter, bytes, instruments),
    instruments: [BTC, ETH],
    frames: frameText,
    plain: plainLevels.map(plain),
    examples: [event, `{"stream":"btcusdt@depth@100ms","data":${event}}`],
    runs: { frames: 500, wounded: 900 },
    fallbacks: (text) => {
      const client = Client.live(adapter)
      client.give(text)
      assert.equal(client.outputs.length, 3)
      return client.session.stats.scannerFallbacks
    },
  }, ` of ${adapter.exchange}`)
}

interface Recorded {
  readonly t: number
  readonly raw: string
}

interface Answer {
  readonly t: number
  readonly url: string
  readonly body: { lastUpdateId: number; bids: [string, string][]; asks: [string, string][] }
}

interface Event {
  readonly s: string
  readonly u: number
  readonly b: [string, string][]
  readonly a: [string, string][]
}

for (
  const [adapter, name] of [[binance, 'spot-20211012'], [binanceusdm, 'usdm-20210722']] as const
) {
  describe(`recorded frames of ${adapter.exchange}`, {
    skip: !existsSync(join(RECORDINGS, `${name}.book.jsonl`)),
  }, () => {
    const read = (suffix: string): string => readFileSync(join(RECORDINGS, name + suffix), 'utf8')
    const frames = () =>
      read('.book.jsonl').trim().split('\n').map((line) => JSON.parse(line) as Recorded)
    const answers = () => JSON.parse(read('.rest.json')) as Answer[]
    const instruments = (): Instrument[] =>
      adapter.markets!.parse([JSON.parse(read('.markets.json'))[0].body])!
    const eventOf = (raw: string): Event => JSON.parse(raw).data

    /** Frames and answers in the order in which they were received. */
    function play(client: Client, recorded: readonly Recorded[], rest: readonly Answer[]): void {
      const wires = client.instruments.map(({ wireSymbol }) => wireSymbol)
      let answered = 0
      for (const { t, raw } of recorded) {
        while (answered < rest.length && rest[answered].t < t) {
          const { url, body } = rest[answered++]
          const index = wires.indexOf(new URL(url).searchParams.get('symbol')!)
          client.session.snapshotReceived!(index, JSON.stringify(body), 1)
        }
        client.give(raw)
      }
    }

    function played(recorded: readonly Recorded[]): Client {
      const client = Client.confirmed(adapter, instruments(), 800)
      play(client, recorded, answers())
      return client
    }

    /** By the documented rules alone: what is not after the snapshot is not applied. */
    function truthOf(answer: Answer, recorded: readonly Recorded[], wireSymbol: string): NaiveBook {
      const book: NaiveBook = new Map()
      for (const [price, size] of answer.body.bids) applyLevel(book, 'bid', price, size)
      for (const [price, size] of answer.body.asks) applyLevel(book, 'ask', price, size)
      for (const { raw } of recorded) {
        const { s, u, b, a } = eventOf(raw)
        if (s !== wireSymbol || u <= answer.body.lastUpdateId) continue
        for (const [price, size] of b) applyLevel(book, 'bid', price, size)
        for (const [price, size] of a) applyLevel(book, 'ask', price, size)
      }
      return book
    }

    test('all four symbols meet their snapshots, and end in the book of a naive model', () => {
      const recorded = frames()
      const client = played(recorded)
      assert.deepEqual([client.suspects, client.listener.failures], [[], []])
      assert.deepEqual(client.asked, [0, 1, 2, 3], 'no snapshot was too old')
      const { scannerFallbacks, duplicates } = client.session.stats
      assert.deepEqual([scannerFallbacks, duplicates], [0, 0])
      client.instruments.forEach(({ wireSymbol }, index) => {
        const answer = answers().find(({ url }) => url.includes(`=${wireSymbol}&`))!
        const truth = truthOf(answer, recorded, wireSymbol)
        assert.ok(truth.size > 500)
        const { priceDecimals } = client.instruments[index]
        const known = withinHorizon(truth, client.listener.horizons[index], priceDecimals)
        assert.ok(known.size > 500)
        // Only what stands beyond the answer is not known; its worst price that has no digits below
        // those of the metadata tells where that is.
        const digits = (price: string): number =>
          price.replace(/0+$/, '').split('.')[1]?.length ?? 0
        const worst = (levels: readonly [string, string][]): number =>
          Number(levels.findLast(([price]) => digits(price) <= priceDecimals)![0])
        const [worstBid, worstAsk] = [worst(answer.body.bids), worst(answer.body.asks)]
        for (const key of truth.keys()) {
          const [side, price] = key.split(' ')
          const beyond = side === 'bid' ? Number(price) < worstBid : Number(price) > worstAsk
          assert.equal(known.has(key), !beyond, `${wireSymbol} ${key}`)
        }
        assert.deepEqual(client.listener.books[index], known, wireSymbol)
      })
    })

    test('any one frame dropped: noticed, or before the snapshot and without effect', () => {
      const recorded = frames()
      const whole = played(recorded)
      const last = new Map(recorded.map(({ raw }, i) => [eventOf(raw).s, i]))
      const symbols = recorded.map(({ raw }) => eventOf(raw).s)
      const [markets, rest] = [instruments(), answers()]
      let noticed = 0
      for (let dropped = 0; dropped < recorded.length; dropped += adapter === binance ? 2 : 11) {
        // Nothing comes behind it that could tell.
        if (last.get(symbols[dropped]) === dropped) continue
        const index = markets.findIndex(({ wireSymbol }) => wireSymbol === symbols[dropped])
        const others = recorded.filter((_, i) => i !== dropped)
        const client = new Client(adapter, markets, 800)
        // No books, until it is known that they matter.
        client.listener.snapshot = () => {}
        client.listener.delta = () => {}
        client.session.opened()
        client.acknowledge()
        play(client, others, rest)
        if (client.suspects.length > 0) {
          assert.deepEqual(client.suspects, [[index, 'gap']])
          noticed++
        } else if (client.asked.length > 4) {
          assert.equal(client.asked[4], index, 'its snapshot is too old now')
          noticed++
        } else {
          assert.deepEqual(played(others).listener.books, whole.listener.books)
        }
      }
      assert.ok(noticed > 50, `${noticed} noticed`)
    })

    test('both routes agree on every frame', () => {
      const recorded = frames()
      const slow = recorded.map(({ t, raw }) => ({ t, raw: ` ${raw}` }))
      const [one, other] = [played(recorded), played(slow)]
      assert.deepEqual(one.listener.outputs, other.listener.outputs)
      assert.equal(other.session.stats.scannerFallbacks, recorded.length)
    })
  })
}

test('changes that are kept do not share memory with the frame that brought them', () => {
  const client = Client.confirmed(binance)
  const text = encoder.encode(eventText('BTCUSDT', { U: 101, u: 101 }, [['bid', '5', '5']]))
  client.session.received(text, 1)
  text.fill(0x20)
  client.snapshot(100, [])
  assert.equal(client.book(), 'bid 5 5')
})
