/** Planned replacement of a socket, checks and horizons, as the feed acts on them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Feed } from '../../src/feed/feed.ts'
import {
  type FakeAdapter,
  fakeAdapter,
  type FakeAdapterOptions,
  FakeEnvironment,
  type FakeFrame,
  FakeSink,
  type FakeSocket,
  symbols,
} from './world.ts'

/** A feed of one connection; frames go to any of its sockets. */
class World {
  readonly environment = new FakeEnvironment()
  readonly sink = new FakeSink()
  readonly adapter: FakeAdapter
  readonly feed: Feed
  readonly notices: string[] = []
  readonly #numbers = new Map<FakeSocket, number>()

  constructor(count: number, options: FakeAdapterOptions = {}, depth = 2) {
    this.adapter = fakeAdapter(options)
    this.feed = new Feed(
      {
        adapter: this.adapter,
        plan: { id: 0, connections: [symbols(count)], budgetShare: 1 },
        depth,
        publish: 'delta',
        snapshotIntervalMs: 1_000_000,
        epochFloor: 0,
        onFatal: (error) => assert.fail(error),
        onNotice: (_level, message) => this.notices.push(message),
      },
      this.environment,
      this.sink,
    )
    void this.sink.start(this.feed.streams, this.feed.sinkEvents)
    this.feed.start()
    this.socket(0).open()
  }

  socket(i: number): FakeSocket {
    return this.environment.sockets[i]
  }

  frame(socket: number, frame: Omit<FakeFrame, 'n'>): void {
    const to = this.socket(socket)
    const n = this.#numbers.get(to) ?? 0
    this.#numbers.set(to, n + 1)
    to.receive({ n, ...frame })
  }

  snapshot(socket: number, i = 0, best = 10): void {
    this.frame(socket, { t: 's', i, b: [[best, 1], [9, 2]], a: [[11, 1], [12, 2]] })
  }

  /** Time passes on sockets that are alive, and whose books are not silent. */
  pass(ms: number, ...sockets: number[]): void {
    for (let left = ms; left > 0; left -= 1000) {
      this.environment.advance(Math.min(1000, left))
      for (const socket of sockets) {
        if (this.socket(socket).terminated) continue
        if (this.adapter.protocol.lossScope === 'symbol') this.frame(socket, { t: 'h' })
        else for (const i of this.feed.streams.keys()) this.frame(socket, { t: 'u', i })
      }
    }
  }
}

const FIRST = 'snapshot 1.0 [[10,1],[9,2]][[11,1],[12,2]]'

describe('a planned replacement of the socket', () => {
  test('the next one is live before the old one ends, and the run goes on', () => {
    const world = new World(2)
    world.snapshot(0, 0)
    world.snapshot(0, 1)
    world.frame(0, { t: 'r' })
    assert.equal(world.environment.sockets.length, 2)
    world.socket(1).open()
    world.snapshot(1, 0)
    // Both sockets tell the same change, the old one first.
    world.frame(0, { t: 'u', i: 0, b: [[10, 5]] })
    world.frame(1, { t: 'u', i: 0, b: [[10, 5]] })
    world.pass(3000, 0, 1)
    assert.equal(world.socket(0).terminated, false, 'one book is still missing')
    world.snapshot(1, 1)
    world.pass(1000, 0, 1)
    assert.equal(world.socket(0).terminated, true)
    world.frame(1, { t: 'u', i: 0, b: [[10, 6]] })
    world.frame(1, { t: 'u', i: 1, b: [[10, 7]] })
    assert.deepEqual(world.sink.take(0), [FIRST, 'delta 1.1 [[10,5]][]', 'delta 1.2 [[10,6]][]'])
    assert.deepEqual(world.sink.take(1), [FIRST, 'delta 1.1 [[10,7]][]'])
    assert.equal(world.feed.stats.reconnects['lifetime'], 1)
    assert.equal(world.feed.stats.connectionsOpen, 1)
  })

  test('what the next one knows more is a change like any other', () => {
    const world = new World(1)
    world.frame(0, { t: 's', ms: 1, b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.frame(1, { t: 's', ms: 2, b: [[9, 2], [8, 1]], a: [[11, 1], [12, 2]] })
    world.environment.advance(2000)
    assert.deepEqual(world.sink.take(), [FIRST, 'delta 1.1 [[10,0],[8,1]][]'])
  })

  test('it is asked for when the lifetime nears its end, once', () => {
    const world = new World(1, { limits: { lifetimeMs: 100_000 } })
    world.snapshot(0)
    world.pass(94_000, 0)
    assert.equal(world.environment.sockets.length, 1)
    world.pass(3000, 0)
    assert.equal(world.environment.sockets.length, 2)
    world.socket(1).open()
    world.snapshot(1)
    world.pass(90_000, 0, 1)
    assert.equal(world.environment.sockets.length, 2)
    assert.deepEqual(world.sink.take(), [FIRST])
  })

  test('a sequence of the symbol that is behind the old one is waited for', () => {
    const world = new World(1, { lossScope: 'symbol' })
    for (let i = 0; i < 4; i++) world.frame(0, { t: 'h' })
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.snapshot(1)
    world.environment.advance(2000)
    assert.equal(world.socket(0).terminated, false, 'it has come to 0 of 4')
    for (let i = 1; i < 4; i++) world.frame(1, { t: 'h' })
    world.frame(1, { t: 'u', b: [[10, 3]] })
    world.environment.advance(200)
    assert.equal(world.socket(0).terminated, true)
    assert.deepEqual(world.sink.take(), [FIRST, 'delta 1.1 [[10,3]][]'])
  })

  test('one that stays behind is asked for again, and never takes the place of a live book', () => {
    const world = new World(1, { lossScope: 'symbol' })
    for (let i = 0; i < 100; i++) world.frame(0, { t: 'h' })
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.snapshot(1)
    world.pass(10_000, 0, 1)
    assert.deepEqual(world.socket(1).sent.slice(2), [])
    world.pass(3000, 0, 1)
    assert.deepEqual(world.socket(1).sent.slice(2), ['resync 0'])
    world.frame(1, { t: 's', q: 50, b: [[10, 7]], a: [[11, 7]] })
    world.pass(20_000, 0, 1)
    assert.equal(world.socket(0).terminated, false, 'an old book takes no place')
    // The exchange ends the old one: the next one has to bring a book that is new enough.
    world.socket(0).events.closed(1001, 'going away')
    world.frame(1, { t: 's', q: 90, b: [[10, 8]], a: [[11, 8]] })
    assert.deepEqual(world.sink.take(), [FIRST, 'invalid 1.1 disconnect'])
    world.pass(2000, 1)
    world.frame(1, { t: 's', q: 101, b: [[10, 9]], a: [[11, 9]] })
    assert.deepEqual(world.sink.take(), ['snapshot 2.0 [[10,9]][[11,9]]'])
  })

  test('one that counts anew is told by its time', () => {
    const world = new World(1, { lossScope: 'symbol' })
    world.frame(0, { t: 's', q: 1000, ms: 5000, b: [[10, 1]], a: [[11, 1]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.frame(1, { t: 's', q: 1, ms: 4999, b: [[10, 7]], a: [[11, 1]] })
    world.pass(3000, 0, 1)
    assert.equal(world.socket(0).terminated, false)
    world.frame(1, { t: 'u', q: 2, ms: 5001, b: [[10, 2]] })
    world.pass(1000, 0, 1)
    assert.equal(world.socket(0).terminated, true)
    assert.equal(world.sink.take().at(-1), 'delta 1.1 [[10,2]][]')
  })

  test('a higher number from before the exchange counted anew is behind', () => {
    const world = new World(1, { lossScope: 'symbol' })
    world.frame(0, { t: 's', q: 1000, ms: 5000, b: [[10, 1]], a: [[11, 1]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.frame(1, { t: 's', q: 1001, ms: 5100, b: [[10, 7]], a: [[11, 1]] })
    world.frame(0, { t: 's', q: 1, ms: 5200, b: [[10, 3]], a: [[11, 1]] })
    world.pass(3000, 0, 1)
    assert.equal(world.socket(0).terminated, false)
    world.frame(1, { t: 's', q: 1, ms: 5200, b: [[10, 3]], a: [[11, 1]] })
    world.pass(1000, 0, 1)
    assert.equal(world.socket(0).terminated, true)
  })

  for (const bySymbol of [true, false]) {
    const scope = bySymbol ? 'symbol' : 'connection'
    test(`a replacement 50 frames behind never takes the book back (sequence of the ${scope})`, () => {
      const world = new World(1, { lossScope: scope })
      const at = (n: number) => ({ ...(bySymbol ? { q: n } : {}), ms: 10_000 + n })
      const whole = (n: number) => ({ ...at(n), b: [[10, n]], a: [[11, 1]] }) as const
      world.frame(0, { t: 's', ...whole(1200) })
      world.frame(0, { t: 'r' })
      world.socket(1).open()
      world.frame(1, { t: 's', ...whole(1150) })
      for (let n = 1201; n <= 1330; n++) {
        world.frame(0, { t: 'u', ...at(n), b: [[10, n]] })
        world.frame(1, { t: 'u', ...at(n - 50), b: [[10, n - 50]] })
        world.environment.advance(500)
      }
      const { records } = world.sink
      const sizes = records.filter(({ value }) => value.bids).map(({ value }) => value.bids[0][1])
      assert.deepEqual(sizes, [...sizes].sort((a, b) => a - b), 'never back')
      assert.equal(world.socket(0).terminated, false)
      assert.equal(world.socket(1).terminated, true, 'given up after a minute')
    })
  }

  test('a next socket that is always a little behind takes over between two changes', () => {
    const world = new World(2, { lossScope: 'symbol' })
    const at = (n: number) => ({ q: n, ms: 10_000 + n })
    for (const i of [0, 1]) world.frame(0, { t: 's', i, ...at(100), b: [[10, 1]], a: [[11, 1]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    for (const i of [0, 1]) world.frame(1, { t: 's', i, ...at(100), b: [[10, 1]], a: [[11, 1]] })
    // At no tick are both level; each of them is, for a moment, when the next socket tells.
    for (let n = 101; n < 160; n++) {
      for (const i of [0, 1]) world.frame(0, { t: 'u', i, ...at(n), b: [[10, n]] })
      world.environment.advance(30)
      world.frame(1, { t: 'u', i: n % 2, ...at(n), b: [[10, n]] })
      world.frame(0, { t: 'u', i: n % 2, ...at(n + 0.5), b: [[9, n]] })
      world.frame(1, { t: 'u', i: (n + 1) % 2, ...at(n), b: [[10, n]] })
      world.frame(0, { t: 'u', i: (n + 1) % 2, ...at(n + 0.5), b: [[9, n]] })
      world.environment.advance(30)
      for (const i of [0, 1]) world.frame(1, { t: 'u', i, ...at(n + 0.5), b: [[9, n]] })
    }
    assert.equal(world.socket(0).terminated, true)
    for (const stream of [0, 1]) {
      const texts = world.sink.take(stream)
      assert.ok(texts.every((text, n) => n === 0 || text.startsWith(`delta 1.${n} `)), `${texts}`)
      assert.deepEqual(texts.at(-1), `delta 1.${texts.length - 1} [[9,159]][]`)
    }
  })

  for (
    const [what, first, next] of [
      ['of the same millisecond', 5000, 5000],
      ['without a time', 5000, undefined],
    ] as const
  ) {
    test(`a book ${what} that differs is waited for while the old socket tells more`, () => {
      const world = new World(1, { lossScope: 'connection' })
      const timed = (ms: number | undefined) => ms === undefined ? {} : { ms }
      world.frame(0, { t: 's', ms: first, b: [[10, 1]], a: [[11, 1]] })
      world.frame(0, { t: 'r' })
      world.socket(1).open()
      world.frame(1, { t: 's', ...timed(next), b: [[10, 7]], a: [[11, 1]] })
      for (let n = 1; n < 9; n++) {
        world.frame(0, { t: 'u', ms: first + (next === undefined ? n : 0), b: [[9, n]] })
        world.environment.advance(1000)
      }
      assert.equal(world.socket(0).terminated, false, 'what the next one lacks is not known')
      world.frame(1, { t: 'u', ms: 6000, b: [[10, 8]] })
      world.pass(1000, 0, 1)
      assert.equal(world.socket(0).terminated, true)
      assert.equal(world.sink.take().at(-1), 'delta 1.9 [[10,8],[9,0]][]')
    })

    test(`a book ${what} that differs counts where neither socket tells anything`, () => {
      const world = new World(1, { lossScope: 'connection' })
      const timed = (ms: number | undefined) => ms === undefined ? {} : { ms }
      world.frame(0, { t: 's', ms: first, b: [[10, 1]], a: [[11, 1]] })
      world.frame(0, { t: 'r' })
      world.socket(1).open()
      world.frame(1, { t: 's', ...timed(next), b: [[10, 7]], a: [[11, 1]] })
      world.environment.advance(5000)
      assert.equal(world.socket(0).terminated, false)
      world.environment.advance(6000)
      assert.equal(world.socket(0).terminated, true)
    })
  }

  test('an older book that lacks a level beyond the view is not the same', () => {
    const world = new World(1, { lossScope: 'connection' }, 1)
    world.frame(0, { t: 's', ms: 5000, b: [[10, 1]], a: [[11, 1]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.frame(1, { t: 's', ms: 5000, b: [[10, 1]], a: [[11, 1]] })
    world.frame(0, { t: 'u', ms: 5001, b: [[9, 1]] })
    // Nobody tells anything more, and what the next one lacks is on its way.
    world.environment.advance(8000)
    assert.equal(world.socket(0).terminated, false)
    world.frame(1, { t: 'u', ms: 5001, b: [[9, 1]] })
    world.environment.advance(500)
    assert.equal(world.socket(0).terminated, true)
  })

  test('without sequence and time a book that differs is waited for, but not for ever', () => {
    const world = new World(1, { lossScope: 'connection' })
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.snapshot(1, 0, 8)
    for (let n = 0; n < 2; n++) {
      world.pass(9000, 0, 1)
      assert.equal(world.socket(0).terminated, false)
      world.snapshot(1, 0, 8)
    }
    world.pass(4000, 0, 1)
    assert.deepEqual(world.sink.take(), [FIRST, 'delta 1.1 [[10,0],[8,1]][]'])
  })

  test('a next socket that falls behind for good costs a run, and goes back nowhere', () => {
    const world = new World(2, { lossScope: 'symbol' })
    for (const i of [0, 1]) world.frame(0, { t: 's', i, q: 100, b: [[10, 1]], a: [[11, 1]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    for (const i of [0, 1]) world.frame(1, { t: 's', i, q: 100, b: [[10, 1]], a: [[11, 1]] })
    world.environment.advance(900)
    world.frame(0, { t: 'u', i: 1, q: 102, b: [[10, 2]] })
    world.environment.advance(300)
    // The first is carried by the next socket; the second never comes as far.
    world.frame(1, { t: 'u', i: 0, q: 101, b: [[10, 5]] })
    world.frame(0, { t: 'u', i: 0, q: 101, b: [[10, 6]] })
    world.frame(1, { t: 'r' })
    assert.equal(world.socket(1).terminated, false, 'not while it carries one of them')
    for (let passed = 0; passed < 12; passed++) {
      world.frame(0, { t: 'u', i: 1, q: 103 + passed, b: [[10, 3 + passed]] })
      world.frame(1, { t: 'u', i: 1, q: 101, b: [[10, 1]] })
      world.environment.advance(1000)
    }
    assert.deepEqual(world.sink.take(0).slice(0, 2), [
      'snapshot 1.0 [[10,1]][[11,1]]',
      'delta 1.1 [[10,5]][]',
    ])
    assert.equal(world.socket(0).terminated, true)
    assert.match(world.sink.take(1).at(-1)!, /^invalid .* disconnect$/)
    world.frame(1, { t: 's', i: 1, q: 200, b: [[10, 200]], a: [[11, 1]] })
    assert.deepEqual(world.sink.take(1), ['snapshot 2.0 [[10,200]][[11,1]]'])
  })

  test('one whose book is wrong again and again is not asked for all the time', () => {
    const world = new World(1)
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    for (let tick = 0, asked = -1; tick < 300; tick++) {
      const { length } = world.socket(1).sent
      if (length > asked) {
        world.frame(1, { t: 's', b: [[10, 1]], a: [[11, 1]], check: false })
        asked = length
      }
      world.environment.advance(100)
      if (tick % 10 === 0) { for (const socket of [0, 1]) world.frame(socket, { t: 'h' }) }
    }
    const resyncs = world.socket(1).sent.filter((text) => text === 'resync 0').length
    assert.ok(resyncs >= 2 && resyncs <= 10, `${resyncs} within 30 s`)
    assert.deepEqual(world.sink.take(), [FIRST])
  })

  test('one whose book came right by itself is not asked for any more', () => {
    const world = new World(2)
    world.snapshot(0, 0)
    world.snapshot(0, 1)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    const wrong = { t: 's', i: 0, b: [[10, 1]], a: [[11, 1]], check: false } as const
    world.frame(1, wrong)
    world.pass(2000, 0, 1)
    world.frame(1, wrong)
    world.environment.advance(200)
    world.snapshot(1, 0)
    world.pass(10_000, 0, 1)
    assert.deepEqual(world.socket(1).sent.slice(2), ['resync 0'])
  })

  test('one that the exchange refuses does not hold up the others, but for a while', () => {
    const world = new World(2)
    world.snapshot(0, 0)
    world.snapshot(0, 1)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.frame(1, { t: 'x', i: 0 })
    world.snapshot(1, 1)
    world.pass(9000, 0, 1)
    assert.equal(world.socket(0).terminated, false, 'the old socket may still be told why')
    world.pass(3000, 0, 1)
    assert.equal(world.socket(0).terminated, true)
    assert.deepEqual(world.sink.take(0), [FIRST, 'invalid 1.1 delisted'])
    assert.deepEqual(world.sink.take(1), [FIRST])
    world.pass(60_000, 1)
    assert.deepEqual(world.socket(1).sent.slice(-1), ['resync 0'])
  })

  test('a book that the exchange refuses after its snapshot takes no place', () => {
    const world = new World(1)
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.snapshot(1)
    world.frame(1, { t: 'x', i: 0 })
    world.pass(3000, 0, 1)
    assert.equal(world.socket(0).terminated, false, 'nothing more will come of it')
    world.frame(0, { t: 'u', b: [[10, 5]] })
    world.pass(9000, 0, 1)
    assert.equal(world.socket(0).terminated, true)
    assert.deepEqual(world.sink.take(), [FIRST, 'delta 1.1 [[10,5]][]', 'invalid 1.2 delisted'])
  })

  test('the exchange ends the old one first: the next one is taken as it is', () => {
    const world = new World(2)
    world.snapshot(0, 0)
    world.snapshot(0, 1)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.snapshot(1, 0)
    world.socket(0).events.closed(1001, 'going away')
    world.snapshot(1, 1)
    world.pass(60_000, 1)
    assert.equal(world.environment.sockets.length, 2)
    for (const stream of [0, 1]) {
      assert.deepEqual(world.sink.take(stream), [
        FIRST,
        'invalid 1.1 disconnect',
        FIRST.replace('1.0', '2.0'),
      ])
    }
  })

  test('one that does not come to life is given up, the old one goes on', () => {
    const world = new World(1)
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.pass(62_000, 0, 1)
    assert.equal(world.socket(1).terminated, true)
    world.frame(0, { t: 'u', b: [[10, 5]] })
    assert.deepEqual(world.sink.take(), [FIRST, 'delta 1.1 [[10,5]][]'])
    world.pass(300_000, 0)
    assert.equal(world.environment.sockets.length, 3, 'and it is tried again')
    world.socket(2).open()
    world.snapshot(2)
    world.frame(2, { t: 'u', b: [[10, 5]] })
    world.pass(2000, 0, 2)
    assert.equal(world.socket(0).terminated, true)
    world.frame(2, { t: 'u', b: [[10, 6]] })
    assert.deepEqual(world.sink.take(), ['delta 1.2 [[10,6]][]'])
  })

  test('where books come by REST the next one goes on from the sequence of the old one', () => {
    const spliced: string[] = []
    let isReady = false
    const world = new World(2, {
      rest: true,
      lossScope: 'symbol',
      splice: (index, nonce) => {
        spliced.push(`${index} after ${nonce}`)
        return isReady || index === 0
      },
    })
    const body = JSON.stringify({ b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    for (const request of [...world.environment.requests]) request.answer({ status: 200, body })
    world.frame(0, { t: 'u', i: 0, b: [[10, 5]] })
    world.frame(0, { t: 'u', i: 1, b: [[10, 5]] })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.environment.advance(1100)
    assert.equal(world.environment.requests.length, 2, 'no snapshot is asked for')
    assert.deepEqual([...new Set(spliced)], ['0 after 0', '1 after 1'])
    // The first is carried by the next socket now, the second by the old one still.
    world.frame(0, { t: 'u', i: 0, b: [[10, 66]] })
    world.frame(1, { t: 'u', i: 0, b: [[10, 6]] })
    world.frame(0, { t: 'u', i: 1, b: [[10, 7]] })
    world.frame(1, { t: 'u', i: 1, b: [[10, 77]] })
    isReady = true
    world.environment.advance(200)
    assert.equal(world.socket(0).terminated, true)
    world.frame(1, { t: 'u', i: 1, b: [[10, 8]] })
    const start = ['snapshot 1.0 [[10,1],[9,2]][[11,1],[12,2]]', 'delta 1.1 [[10,5]][]']
    assert.deepEqual(world.sink.take(0), [...start, 'delta 1.2 [[10,6]][]'])
    assert.deepEqual(world.sink.take(1), [...start, 'delta 1.2 [[10,7]][]', 'delta 1.3 [[10,8]][]'])
  })

  test('a next socket that is lost gives back what it carried', () => {
    const world = new World(2, { rest: true, lossScope: 'symbol', splice: (index) => index === 0 })
    const body = JSON.stringify({ b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    for (const request of [...world.environment.requests]) request.answer({ status: 200, body })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.environment.advance(1100)
    world.sink.take(0)
    world.socket(1).events.closed(1006, '')
    assert.deepEqual(world.sink.take(0), ['invalid 1.1 disconnect'])
    world.environment.advance(100)
    assert.deepEqual(world.socket(0).sent.slice(-1), ['resync 0'])
    world.snapshot(0, 0)
    assert.deepEqual(world.sink.take(0), [FIRST.replace('1.0', '2.0')])
  })

  test('a symbol that the exchange refuses on the socket that carries it is invalid at once', () => {
    const world = new World(2, { rest: true, lossScope: 'symbol', splice: (index) => index === 0 })
    const body = JSON.stringify({ b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    for (const request of [...world.environment.requests]) request.answer({ status: 200, body })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.environment.advance(1100)
    world.frame(1, { t: 'x', i: 1 })
    world.frame(1, { t: 'x', i: 0 })
    assert.deepEqual(world.sink.take(0), [FIRST, 'invalid 1.1 delisted'])
    assert.deepEqual(world.sink.take(1), [FIRST], 'the old socket carries it')
  })

  test('a REST snapshot that is asked for on the next one is waited for', () => {
    const world = new World(2, { rest: true, lossScope: 'symbol', splice: () => false })
    const body = JSON.stringify({ b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    const { requests } = world.environment
    for (const request of [...requests]) request.answer({ status: 200, body })
    world.frame(0, { t: 'x', i: 1 })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    const session = world.adapter.sessions.at(-1)!
    session.resync = () => session.opened()
    world.environment.advance(1100)
    assert.equal(requests.length, 3, 'the second was not live: it is asked for on the next socket')
    requests[2].answer({ status: 429, body: '', retryAfterMs: 45_000 })
    world.notices.length = 0
    world.pass(44_000, 0, 1)
    assert.deepEqual(world.notices, [])
  })

  test('a next socket that is lost takes its requests with it', () => {
    const world = new World(2, { rest: true, lossScope: 'symbol', splice: () => false })
    const body = JSON.stringify({ b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    const { requests } = world.environment
    for (const request of [...requests]) request.answer({ status: 200, body })
    world.frame(0, { t: 'x', i: 1 })
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    const session = world.adapter.sessions.at(-1)!
    session.resync = () => session.opened()
    world.environment.advance(1100)
    assert.equal(world.feed.stats.snapshotsWaiting, 1)
    world.socket(1).events.closed(1006, '')
    assert.equal(world.feed.stats.snapshotsWaiting, 0)
  })

  test('the next one is as deaf as the old one while the sink is full', () => {
    const world = new World(1, { limits: { lifetimeMs: 100_000 } })
    world.snapshot(0)
    world.sink.events!.pressure(true)
    world.pass(101_000, 0)
    world.socket(1).open()
    assert.equal(world.socket(1).paused, true)
    world.sink.events!.pressure(false)
    assert.equal(world.socket(1).paused, false)
  })

  test('a book that is known in part stays so', () => {
    const world = new World(1)
    world.snapshot(0)
    world.frame(0, { t: 'r' })
    world.socket(1).open()
    world.frame(1, { t: 's', b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]], horizon: [9, 12] })
    world.pass(2000, 0, 1)
    assert.equal(world.socket(0).terminated, true)
    world.frame(1, { t: 'u', b: [[10, 0]], a: [[13, 1], [11, 0]] })
    // Of asks all that is known are two: what lies beyond is not said, and no two are promised.
    assert.equal(world.sink.records.at(-1)?.value.depth, 1)
    assert.deepEqual(world.sink.take(), [FIRST, 'snapshot 1.1 [[9,2]][[12,2]]'])
  })
})

test('heartbeats that wait to be sent do not put off what is overdue', () => {
  const world = new World(1, { pings: true, limits: { framesPerSecond: 2 } })
  world.pass(14_000, 0)
  assert.ok(world.socket(0).sent.includes('resync 0'), String(world.socket(0).sent))
})

describe('a proof that comes with a frame', () => {
  test('a book that fails it is never published', () => {
    const world = new World(1)
    world.snapshot(0)
    world.frame(0, { t: 'u', b: [[10, 4]], check: true })
    world.frame(0, { t: 'u', b: [[10, 5]], check: false })
    world.frame(0, { t: 'u', b: [[10, 6]], check: true })
    assert.deepEqual(world.sink.take(), [
      FIRST,
      'delta 1.1 [[10,4]][]',
      'invalid 1.2 checksum',
    ])
    world.environment.advance(100)
    assert.deepEqual(world.socket(0).sent.slice(-1), ['resync 0'])
    world.frame(0, { t: 's', b: [[10, 1]], a: [[11, 1]], check: false })
    assert.deepEqual(world.sink.take(), [], 'nor is a snapshot')
    assert.equal(world.feed.stats.books[0].resyncs.checksum, 1)
  })
})

describe('a book that is known in part', () => {
  test('asks for more before the view runs short, and goes on in its run', () => {
    const world = new World(1)
    const session = world.adapter.sessions.at(-1)!
    const bids = [[10, 1], [9, 1], [8, 1], [7, 1], [6, 1], [5, 1]] as const
    world.frame(0, { t: 's', b: bids, a: [[11, 1], [12, 2]], horizon: [5, null] })
    world.frame(0, { t: 'u', b: [[10, 0]] })
    world.frame(0, { t: 'u', b: [[9, 0]] })
    world.pass(1000, 0)
    assert.deepEqual(session.refreshes, [])
    world.frame(0, { t: 'u', b: [[8, 0]] })
    world.pass(3000, 0)
    assert.deepEqual(session.refreshes, [0], 'half of what lay beyond the view is gone')
    world.sink.take()
    world.frame(0, { t: 'f', b: [[7, 1], [6, 1], [5, 1], [4, 1], [3, 1]], a: [[11, 1], [12, 2]] })
    world.pass(60_000, 0)
    assert.deepEqual(session.refreshes, [0])
    assert.deepEqual(world.sink.take(), [], 'the view is what it was')
    world.frame(0, { t: 'u', b: [[7, 0], [6, 0], [5, 0]] })
    assert.deepEqual(world.sink.take(), ['delta 1.4 [[7,0],[6,0],[4,1],[3,1]][]'])
  })

  test('asks for no more than there is to be had', () => {
    const world = new World(1, {}, 10)
    const session = world.adapter.sessions.at(-1)!
    const bids = [10, 9, 8, 7, 6, 5, 4, 3].map((price) => [price, 1] as const)
    world.frame(0, { t: 's', b: bids, a: [[11, 1]], horizon: [3, null] })
    world.frame(0, { t: 'u', b: [[10, 0], [9, 0]] })
    world.pass(40_000, 0)
    assert.deepEqual(session.refreshes, [], 'its snapshots have no more than eight')
    world.frame(0, { t: 'u', b: [[8, 0]] })
    world.pass(20_000, 0)
    assert.equal(session.refreshes[0], 0)
  })

  test('a side of which nothing is known any more is lost, not empty', () => {
    const world = new World(1)
    world.frame(0, { t: 's', b: [[10, 1], [9, 1]], a: [[11, 1]], horizon: [9, null] })
    world.frame(0, { t: 'u', b: [[10, 0], [9, 0]] })
    assert.deepEqual(world.sink.take(), [
      'snapshot 1.0 [[10,1],[9,1]][[11,1]]',
      'invalid 1.1 gap',
    ])
    world.environment.advance(100)
    assert.deepEqual(world.socket(0).sent.slice(-1), ['resync 0'])
    world.frame(0, { t: 's', b: [[8, 1]], a: [[11, 1]], horizon: [8, null] })
    assert.deepEqual(world.sink.take(), ['snapshot 2.0 [[8,1]][[11,1]]'])
  })

  test('a view that ran short says how far it reaches', () => {
    const world = new World(1)
    world.frame(0, { t: 's', b: [[10, 1], [9, 1], [8, 1]], a: [[11, 1]], horizon: [8, null] })
    assert.equal(world.sink.records[0].value.depth, 2)
    assert.deepEqual(world.sink.take(), ['snapshot 1.0 [[10,1],[9,1]][[11,1]]'])
    world.frame(0, { t: 'u', b: [[10, 0]] })
    assert.deepEqual(world.sink.take(), ['delta 1.1 [[10,0],[8,1]][]'])
    world.frame(0, { t: 'u', b: [[9, 0]] })
    assert.equal(world.sink.records[0].value.depth, 1)
    assert.deepEqual(world.sink.take(), ['snapshot 1.2 [[8,1]][[11,1]]'])
    world.frame(0, { t: 'u', b: [[7, 1]], a: [[12, 1]] })
    assert.deepEqual(world.sink.take(), [], 'what is not promised is not said')
    world.frame(0, { t: 'f', b: [[8, 1], [7, 1]], a: [[11, 1], [12, 1]] })
    assert.deepEqual(world.sink.take(), [])
    world.environment.advance(200)
    assert.equal(world.sink.records[0].value.depth, 2)
    assert.deepEqual(world.sink.take(), ['snapshot 1.3 [[8,1],[7,1]][[11,1],[12,1]]'])
  })

  test('a full book says so, too, but not anew for every level that goes', () => {
    const world = new World(1, {}, 0)
    const bids = Array.from({ length: 100 }, (_, i) => [200 - i, 1] as const)
    world.frame(0, { t: 's', b: bids, a: [[201, 1]], horizon: [101, null] })
    const claims = () =>
      world.sink.records.filter(({ value }) => value.type === 'snapshot')
        .map(({ value }) => value.depth)
    const first = claims()[0]
    assert.ok(first <= 100, `${first}`)
    for (let i = 0; i < 20; i++) {
      world.frame(0, { t: 'u', b: [[200 - i, 0]] })
      assert.ok(claims().at(-1) <= 99 - i, 'more is claimed than is certain')
    }
    assert.ok(claims().length <= 4, `${claims()}`)
  })
})
