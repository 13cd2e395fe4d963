import { beforeEach, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import type { Refusal } from '../../src/core/environment.ts'
import type { ObfeedError } from '../../src/core/errors.ts'
import { Replica } from '../../src/core/replica.ts'
import type { Hold } from '../../src/feed/address.ts'
import { Feed, type FeedOptions } from '../../src/feed/feed.ts'
import { KIND_INVALID } from '../../src/sinks/sink.ts'
import {
  type FakeAdapter,
  fakeAdapter,
  type FakeAdapterOptions,
  FakeEnvironment,
  type FakeFrame,
  type FakeRequest,
  FakeSink,
  symbols,
} from './world.ts'

/** A started feed of one connection with `count` symbols. */
class World {
  readonly environment = new FakeEnvironment()
  readonly sink = new FakeSink()
  readonly adapter: FakeAdapter
  readonly feed: Feed
  readonly notices: string[] = []
  readonly fatal: ObfeedError[] = []
  /** What the other workers are told. */
  readonly held: Hold[] = []
  /** Number of the next frame of the open socket. */
  n = 0

  constructor(count = 1, adapter: FakeAdapterOptions = {}, options: Partial<FeedOptions> = {}) {
    this.adapter = fakeAdapter(adapter)
    this.feed = new Feed(
      {
        adapter: this.adapter,
        plan: { id: 0, connections: [symbols(count)], budgetShare: 1 },
        depth: 2,
        publish: 'delta',
        snapshotIntervalMs: 30_000,
        epochFloor: 0,
        onHeld: (hold) => this.held.push(hold),
        onFatal: (error) => this.fatal.push(error),
        onNotice: (_level, message) => this.notices.push(message),
        ...options,
      },
      this.environment,
      this.sink,
    )
    void this.sink.start(this.feed.streams, this.feed.sinkEvents)
    this.feed.start()
  }

  open(): void {
    this.n = 0
    this.environment.socket.open()
  }

  frame(frame: Omit<FakeFrame, 'n'>): void {
    this.environment.socket.receive({ n: this.n++, ...frame })
  }

  snapshot(i = 0): void {
    this.frame({ t: 's', i, b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
  }

  update(size: number, i = 0): void {
    this.frame({ t: 'u', i, b: [[10, size]] })
  }

  /** Time passes on a socket that is alive, and whose live books are not silent. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 1000) {
      this.environment.advance(Math.min(1000, left))
      this.frame({ t: 'h' })
      for (const [i, { state }] of this.feed.stats.books.entries()) {
        if (state === 'live') this.frame({ t: 'u', i })
      }
    }
  }

  /** Time passes until the feed gives the socket up. */
  passUntilLost(ms: number): void {
    const { socket } = this.environment
    for (let left = ms; left > 0 && !socket.terminated; left -= 100) {
      this.environment.advance(100)
      if (!socket.terminated) this.frame({ t: 'h' })
    }
    assert.equal(socket.terminated, true)
  }

  /** Until a new socket was asked for; opens it. */
  reopen(): void {
    const count = this.environment.sockets.length
    for (let i = 0; i < 1000 && this.environment.sockets.length === count; i++) {
      this.environment.advance(100)
    }
    assert.equal(this.environment.sockets.length, count + 1)
    this.open()
  }

  get sent(): string[] {
    return this.environment.socket.sent
  }

  takeSent(): string[] {
    return this.environment.socket.sent.splice(0)
  }
}

const SNAPSHOT = '[[10,1],[9,2]][[11,1],[12,2]]'

describe('a book', () => {
  let world: World
  beforeEach(() => {
    world = new World()
    world.open()
  })

  test('snapshot, then deltas of the view, numbered; what changes nothing is not published', () => {
    world.snapshot()
    world.update(5)
    world.frame({ t: 'u' })
    world.update(5)
    world.frame({ t: 'u', b: [[8, 3], [10, 0]] })
    assert.deepEqual(world.sink.take(), [
      `snapshot 1.0 ${SNAPSHOT}`,
      'delta 1.1 [[10,5]][]',
      'delta 1.2 [[10,0],[8,3]][]',
    ])
    const [book] = world.feed.stats.books
    assert.deepEqual([book.state, book.seq, book.updates, book.bidLevels], ['live', 2, 3, 2])
    assert.equal(book.lastUpdateMs, world.environment.nowUs() / 1000)
  })

  test('updates before a snapshot are not published', () => {
    world.update(5)
    assert.deepEqual(world.sink.take(), [])
    assert.equal(world.feed.stats.books[0].state, 'syncing')
  })

  test('records carry times and the exchange sequence', () => {
    world.snapshot()
    world.environment.advance(7)
    world.update(5)
    const [first, second] = world.sink.records
    const nowUs = world.environment.nowUs()
    assert.equal(first.value.nonce, 0)
    assert.equal(first.value.epoch, nowUs / 1000 - 7)
    assert.equal(first.value.proof, 'sequence')
    assert.equal(second.value.nonce, 1)
    assert.deepEqual([second.value.receivedUs, second.value.publishedUs], [nowUs, nowUs])
    assert.equal(second.timestampMs, nowUs / 1000)
  })

  test('a crossed frame publishes nothing but the end of the epoch, and asks again', () => {
    world.snapshot()
    world.takeSent()
    world.frame({ t: 'u', b: [[11, 1], [10, 7]] })
    assert.deepEqual(world.sink.take(), [`snapshot 1.0 ${SNAPSHOT}`, 'invalid 1.1 crossed'])
    world.update(3)
    world.environment.advance(0)
    assert.deepEqual(world.takeSent(), ['resync 0'])
    world.update(4)
    assert.deepEqual(world.sink.take(), [])
    world.snapshot()
    assert.deepEqual(world.sink.take(), [`snapshot 2.0 ${SNAPSHOT}`])
    assert.deepEqual(world.feed.stats.books[0].resyncs, { crossed: 1 })
  })

  test('a crossed snapshot is not published', () => {
    world.frame({ t: 's', b: [[10, 1]], a: [[10, 1]] })
    assert.deepEqual(world.sink.take(), [])
    world.environment.advance(0)
    assert.ok(world.sent.includes('resync 0'))
  })

  test('an unasked snapshot begins a new epoch', () => {
    world.snapshot()
    world.snapshot()
    assert.deepEqual(world.sink.take().map((line) => line.slice(0, 12)), [
      'snapshot 1.0',
      'snapshot 2.0',
    ])
  })

  test('checkpoints repeat the last seq, heartbeats fill silence', () => {
    world.snapshot()
    world.update(5)
    world.sink.take()
    world.environment.advance(100)
    world.pass(30_000)
    const kinds = world.sink.records.map(({ value }) => `${value.type} ${value.seq}`)
    assert.deepEqual(kinds.filter((kind) => kind.startsWith('snapshot')), ['snapshot 1'])
    const beats = world.sink.records.filter(({ value }) => value.type === 'heartbeat')
    assert.ok(beats.length >= 4 && beats.length <= 6, `${beats.length}`)
    assert.deepEqual([...new Set(beats.map(({ value }) => `${value.seq} ${value.state}`))], [
      '1 live',
    ])
    assert.match(world.sink.take()[0], /^snapshot 1\.1 \[\[10,5\],\[9,2\]\]/)
    world.update(6)
    assert.deepEqual(world.sink.take(), ['delta 1.2 [[10,6]][]'])
  })

  test('after the end of an epoch heartbeats say invalid; before any epoch there are none', () => {
    world.pass(9000)
    assert.deepEqual(world.sink.records, [])
    world.snapshot()
    world.frame({ t: 'u', b: [[11, 1]] })
    world.sink.records = []
    world.pass(6000)
    const [beat] = world.sink.records
    assert.deepEqual([beat.value.type, beat.value.state, beat.value.seq], [
      'heartbeat',
      'invalid',
      1,
    ])
  })

  test('epochs grow although the wall clock steps back, and stay above the floor', () => {
    const floor = world.environment.nowUs() / 1000 + 5_000_000
    world = new World(1, {}, { epochFloor: floor })
    world.open()
    world.snapshot()
    world.environment.offsetMs -= 3_600_000
    world.snapshot()
    const epochs = world.sink.records.map(({ value }) => value.epoch)
    assert.deepEqual(epochs, [floor + 1, floor + 2, floor + 3])
    assert.equal(world.feed.stats.epochMax, floor + 3)
  })
})

describe('the successor of a worker that died', () => {
  const DEAD = 1_600_000_000_000

  test('calls what was published before invalid, at once and for every symbol', () => {
    const world = new World(3, {}, { epochFloor: DEAD })
    const nowMs = world.environment.nowUs() / 1000
    assert.deepEqual(
      world.sink.records.map(({ stream, kind, value }) => [stream, kind, value]),
      [0, 1, 2].map((stream) => [stream, KIND_INVALID, {
        v: 1,
        type: 'invalid',
        exchange: 'fake',
        symbol: `S${stream}/USD`,
        epoch: nowMs,
        seq: 0,
        reason: 'disconnect',
        receivedUs: nowMs * 1000,
        publishedUs: nowMs * 1000,
      }]),
    )
    assert.equal(world.feed.stats.epochMax, nowMs)
    assert.equal(world.feed.stats.books[0].state, 'syncing')
  })

  test('once; its books live in epochs above, and heartbeats say what holds', () => {
    const world = new World(1, {}, { epochFloor: DEAD })
    world.environment.advance(6000)
    const beat = world.sink.records.find(({ value }) => value.type === 'heartbeat')!.value
    assert.deepEqual([beat.seq, beat.state], [0, 'invalid'])
    world.open()
    world.snapshot()
    world.update(5)
    assert.deepEqual(world.sink.take(), [
      'invalid 1.0 disconnect',
      `snapshot 2.0 ${SNAPSHOT}`,
      'delta 2.1 [[10,5]][]',
    ])
  })

  test('says it again when the sink lost it', () => {
    const world = new World(1, {}, { epochFloor: DEAD })
    world.sink.events!.dropped(0, 1)
    world.sink.events!.writable(0)
    world.feed.drain()
    const said = world.sink.take()
    assert.equal(said[0], 'invalid 1.0 disconnect')
    assert.ok(said.length > 1)
    for (const text of said.slice(1)) assert.match(text, /^invalid 1\.0 /)
  })

  test('a worker without a predecessor has nothing to take back', () => {
    const world = new World(1)
    world.environment.advance(6000)
    world.feed.drain()
    assert.deepEqual(world.sink.records, [])
  })
})

test('--publish book sends the whole view, with a new seq each time', () => {
  const world = new World(1, {}, { publish: 'book' })
  world.open()
  world.snapshot()
  world.update(5)
  world.update(5)
  world.update(6)
  assert.deepEqual(world.sink.take(), [
    `snapshot 1.0 ${SNAPSHOT}`,
    'snapshot 1.1 [[10,5],[9,2]][[11,1],[12,2]]',
    'snapshot 1.2 [[10,6],[9,2]][[11,1],[12,2]]',
  ])
})

test('a full book is split over records that stay small', () => {
  const world = new World(1, {}, { depth: 0 })
  world.open()
  const levels = Array.from({ length: 60_000 }, (_, i) => [1_000_000 - i, 123_456] as const)
  world.frame({ t: 's', b: levels, a: [[2_000_000, 1]] })
  const { records } = world.sink
  assert.ok(records.length > 1)
  const bids: unknown[] = []
  records.forEach(({ value }, part) => {
    assert.deepEqual([value.part, value.parts, value.seq], [part, records.length, 0])
    assert.ok(JSON.stringify(value).length < 750_000)
    assert.equal(value.depth, undefined)
    bids.push(...value.bids)
  })
  assert.deepEqual(bids, levels)
  assert.equal(new Set(records.map(({ value }) => value.epoch)).size, 1)
})

test('what a record cannot hold is split: snapshots, checkpoints and deltas of any depth', () => {
  const world = new World(1, {}, { depth: 1000 })
  world.open()
  world.sink.recordBytesMax = 2_000
  const copy = new Replica()
  /** Kinds and outcomes of what was pushed since. */
  const pushed = () => {
    const records = world.sink.records.splice(0)
    return records.map(({ value }) => {
      const text = JSON.stringify(value)
      assert.ok(text.length <= 2_000)
      return `${value.type} ${value.seq} ${copy.receive(text)}`
    }).filter((line, i, lines) => line !== lines[i - 1])
  }
  const levels = (size: number) => Array.from({ length: 300 }, (_, i) => [1_000 - i, size] as const)
  world.frame({ t: 's', b: levels(1), a: [[2_000, 1]] })
  world.frame({ t: 'u', b: [[1_000, 9]] })
  assert.deepEqual(pushed(), ['snapshot 0 waiting', 'snapshot 0 snapshot', 'delta 1 delta'])
  // A change of nearly all levels is no delta, but the whole book in parts.
  world.frame({ t: 'u', b: levels(7) })
  world.frame({ t: 'u', b: [[1_000, 8]] })
  const whole = ['snapshot 2 waiting', 'snapshot 2 snapshot', 'delta 3 delta']
  assert.deepEqual(pushed(), whole)
  world.environment.advance(31_000)
  const checkpoint = pushed().filter((line) => line.startsWith('snapshot'))
  assert.deepEqual(checkpoint, ['snapshot 3 waiting', 'snapshot 3 checkpoint'])
  assert.equal(copy.missed, 0)
  assert.deepEqual(copy.bids(2), [['1000', '8'], ['999', '7']])
})

describe('a sink without room', () => {
  let world: World
  beforeEach(() => {
    world = new World(2)
    world.open()
    world.snapshot()
    world.update(5)
    world.sink.take()
  })

  const drop = () => {
    world.sink.blocked.add(0)
    world.feed.sinkEvents.dropped(0, 1)
  }
  const release = () => {
    world.sink.blocked.delete(0)
    world.feed.sinkEvents.writable(0)
  }

  test('the epoch ends at once, the book stays current, a new epoch begins with room', () => {
    drop()
    assert.deepEqual(world.sink.take(), ['invalid 1.2 overflow'])
    world.update(6)
    world.update(7)
    assert.deepEqual(world.sink.take(), [])
    assert.equal(world.sink.refused, 0, 'nothing was even tried')
    assert.deepEqual(
      [world.feed.stats.books[0].state, world.feed.stats.books[0].reason],
      ['suspect', 'overflow'],
    )
    release()
    assert.deepEqual(world.sink.take(), ['snapshot 2.0 [[10,7],[9,2]][[11,1],[12,2]]'])
    world.update(8)
    assert.deepEqual(world.sink.take(), ['delta 2.1 [[10,8]][]'])
    const [book] = world.feed.stats.books
    assert.deepEqual([book.state, book.reason, book.resyncs], ['live', undefined, { overflow: 1 }])
  })

  test('what was lost is told once, in numbers', () => {
    world.notices.length = 0
    drop()
    world.feed.sinkEvents.dropped(1, 41)
    world.pass(1000)
    assert.deepEqual(world.notices.map((notice) => notice.slice(0, 42)), [
      'the sink lost 42 events of 2 symbols: it w',
    ])
  })

  test('dropped from inside push: the event was not taken', () => {
    world.sink.onPush = (stream) => {
      world.sink.onPush = undefined
      world.sink.blocked.add(stream)
      world.feed.sinkEvents.dropped(stream, 3)
    }
    world.update(6)
    assert.deepEqual(world.sink.take(), ['invalid 1.2 overflow'])
    release()
    assert.deepEqual(world.sink.take(), ['snapshot 2.0 [[10,6],[9,2]][[11,1],[12,2]]'])
  })

  test('dropped from inside push, the event taken all the same: the invalid counts on from it', () => {
    world.sink.onPush = (stream) => {
      world.sink.onPush = undefined
      world.feed.sinkEvents.dropped(stream, 3)
    }
    world.update(6)
    assert.deepEqual(world.sink.take(), ['delta 1.2 [[10,6]][]', 'invalid 1.3 overflow'])
  })

  test('dropped from inside push of another stream: that event goes out, then the invalid', () => {
    world.snapshot(1)
    world.sink.take(1)
    world.sink.onPush = () => {
      world.sink.onPush = undefined
      drop()
    }
    world.update(6, 1)
    assert.deepEqual(world.sink.take(1), ['delta 1.1 [[10,6]][]'])
    assert.deepEqual(world.sink.take(0), ['invalid 1.2 overflow'])
  })

  test('a sink that says only false ends the epoch as well', () => {
    world.sink.blocked.add(0)
    world.update(6)
    assert.deepEqual(world.sink.take(), ['invalid 1.2 overflow'])
  })

  test('an invalid that may be among the dropped is said again, under the same seq', () => {
    world.frame({ t: 'u', b: [[11, 1]] })
    drop()
    assert.deepEqual(world.sink.take(), ['invalid 1.2 crossed', 'invalid 1.2 overflow'])
    release()
    assert.deepEqual(world.sink.take(), ['invalid 1.2 crossed'])
    world.snapshot()
    assert.deepEqual(world.sink.take(), [`snapshot 2.0 ${SNAPSHOT}`])
  })

  test('an exchange snapshot without room waits for it', () => {
    drop()
    world.sink.take()
    world.snapshot()
    world.update(3)
    assert.deepEqual(world.sink.take(), [])
    release()
    assert.deepEqual(world.sink.take(), ['snapshot 2.0 [[10,3],[9,2]][[11,1],[12,2]]'])
  })

  test('a book lost without room says nothing: its epoch has ended', () => {
    drop()
    world.sink.take()
    world.frame({ t: 'u', b: [[11, 1]] })
    assert.deepEqual(world.sink.take(), [])
  })

  test('pressure stops and starts reading, and silence meanwhile means nothing', () => {
    world.feed.sinkEvents.pressure(true)
    assert.equal(world.environment.socket.paused, true)
    world.environment.advance(60_000)
    assert.equal(world.environment.sockets.length, 1)
    world.feed.sinkEvents.pressure(false)
    assert.equal(world.environment.socket.paused, false)
    world.environment.socket.answers = false
    world.environment.advance(13_000)
    assert.equal(world.environment.sockets.length, 1)
    world.environment.advance(3000)
    assert.ok(world.environment.socket !== world.environment.sockets[0])
  })
})

describe('a gap on a connection-wide sequence', () => {
  let world: World
  beforeEach(() => {
    world = new World(3)
    world.open()
    for (let i = 0; i < 3; i++) world.snapshot(i)
    for (let i = 0; i < 3; i++) world.sink.take(i)
    world.takeSent()
  })

  const gap = () => {
    world.n++
    world.frame({ t: 'h' })
  }

  test('invalidates every symbol once and resynchronises all in one request', () => {
    gap()
    for (let i = 0; i < 3; i++) assert.deepEqual(world.sink.take(i), ['invalid 1.1 gap'])
    assert.equal(world.feed.stats.books[2].state, 'suspect')
    world.environment.advance(0)
    assert.deepEqual(world.takeSent(), ['resync 0,1,2'])
    assert.equal(world.feed.stats.books[2].state, 'syncing')
    world.update(9, 1)
    world.snapshot(1)
    assert.deepEqual(world.sink.take(1), [`snapshot 2.0 ${SNAPSHOT}`])
    assert.deepEqual(world.feed.stats.books.map(({ resyncs }) => resyncs.gap), [1, 1, 1])
  })

  test('the second waits about a second, the third in a minute replaces the socket', () => {
    gap()
    world.environment.advance(0)
    for (let i = 0; i < 3; i++) world.snapshot(i)
    world.takeSent()
    gap()
    world.environment.advance(400)
    assert.deepEqual(world.takeSent(), [])
    world.environment.advance(700)
    assert.deepEqual(world.takeSent(), ['resync 0,1,2'])
    for (let i = 0; i < 3; i++) world.snapshot(i)
    world.sink.take(2)
    gap()
    assert.equal(world.environment.sockets[0].terminated, true, 'at once')
    assert.deepEqual(world.sink.take(2), ['invalid 3.1 gap'])
    world.reopen()
    world.snapshot(0)
    assert.equal(world.feed.stats.reconnects.resync, 1)
    assert.match(world.sink.take(0).at(-1)!, /^snapshot 4\.0/)
  })

  test('a gap while a snapshot was trusted again still ends it', () => {
    gap()
    world.environment.advance(0)
    world.snapshot(0)
    gap()
    world.snapshot(0)
    world.sink.take(0)
    gap()
    assert.deepEqual(world.sink.take(0), ['invalid 3.1 gap'])
  })
})

test('without a batched resync many lost books replace the socket, few are asked one by one', () => {
  const lose = (count: number) => {
    const world = new World(count, { batched: false })
    world.open()
    for (let i = 0; i < count; i++) world.snapshot(i)
    world.takeSent()
    world.n++
    world.frame({ t: 'h' })
    world.environment.advance(0)
    return world.environment.socket.terminated ? 'replaced' : world.takeSent().join()
  }
  assert.equal(lose(2), 'resync 0,resync 1')
  assert.equal(lose(9), 'replaced')
})

describe('a lost socket', () => {
  test('ends every epoch at once and nothing of it reaches the next session', () => {
    const world = new World(2)
    world.open()
    world.snapshot(0)
    world.snapshot(1)
    world.sink.take(0)
    world.sink.take(1)
    const old = world.environment.socket
    old.events.closed(1006, '')
    assert.deepEqual(world.sink.take(0), ['invalid 1.1 disconnect'])
    assert.deepEqual(world.sink.take(1), ['invalid 1.1 disconnect'])
    assert.equal(world.feed.stats.connectionsOpen, 0)
    world.reopen()
    world.snapshot(0)
    const frames = world.feed.stats.frames
    old.receive({ n: 1, t: 'u', i: 0, b: [[10, 77]] })
    old.events.closed(1006, '')
    assert.deepEqual(world.sink.take(0), [`snapshot 2.0 ${SNAPSHOT}`])
    assert.deepEqual([world.feed.stats.frames, world.feed.stats.connectionsOpen], [frames, 1])
    assert.deepEqual(world.feed.stats.reconnects, { closed: 1 })
  })

  test('silence of the whole socket is noticed; a loop that stood still is not silence', () => {
    const world = new World()
    world.open()
    world.snapshot()
    world.sink.take()
    world.environment.advance(200)
    world.environment.freeze(30_000)
    assert.equal(world.environment.socket.terminated, false)
    world.frame({ t: 'h' })
    world.environment.socket.answers = false
    world.environment.advance(13_800)
    assert.equal(world.environment.socket.terminated, false)
    assert.equal(world.environment.socket.pings, 1)
    world.environment.advance(600)
    assert.equal(world.environment.sockets[0].terminated, true)
    assert.equal(world.sink.take().at(-1), 'invalid 1.1 disconnect')
  })

  test('a quiet socket whose peer answers pings stays, and so do its books', () => {
    const world = new World()
    world.open()
    world.snapshot()
    world.sink.take()
    world.environment.advance(55_000)
    assert.equal(world.environment.sockets.length, 1)
    assert.ok(world.environment.socket.pings >= 5)
    assert.deepEqual(world.sink.take().filter((line) => line.startsWith('invalid')), [])
  })

  test('a session that fails is replaced, and its later effects are lost', () => {
    const world = new World()
    world.open()
    world.snapshot()
    world.sink.take()
    world.frame({ t: 'x', b: [[10, 1]] })
    assert.deepEqual(world.sink.take(), ['invalid 1.1 disconnect'])
    world.reopen()
    world.adapter.sessions[1].resync(0)
    world.environment.advance(100)
    assert.deepEqual(world.sent, ['subscribe', 'heartbeats'])
    assert.equal(world.feed.stats.reconnects.failed, 1)
    assert.equal(world.adapter.sessions.length, 3)
  })

  test('counters of old sessions are kept', () => {
    const world = new World()
    world.open()
    world.snapshot()
    world.environment.socket.receive({ n: 0, t: 'h' })
    world.environment.socket.events.closed(1006, '')
    world.reopen()
    world.snapshot()
    world.environment.socket.receive({ n: 0, t: 'h' })
    assert.equal(world.feed.stats.duplicates, 2)
    assert.equal(world.feed.stats.frames, 4)
  })
})

describe('a snapshot that does not come', () => {
  test('is asked for again, then on a new socket, then seldom; others go on', () => {
    const world = new World(2)
    world.open()
    world.snapshot(1)
    world.takeSent()
    world.pass(16_000)
    assert.deepEqual(world.takeSent(), ['resync 0'])
    world.pass(12_000)
    assert.deepEqual(world.takeSent(), ['resync 0'])
    assert.equal(world.environment.sockets.length, 1)
    world.passUntilLost(15_000)
    world.reopen()
    world.snapshot(1)
    for (let i = 0; i < 100 && !world.notices.at(-1)!.includes('not served'); i++) world.pass(1000)
    assert.match(world.notices.at(-1)!, /^S0\/USD: not served \(no snapshot, .* again in 60 s$/)
    world.takeSent()
    world.pass(58_000)
    assert.deepEqual(world.takeSent(), [])
    world.pass(3000)
    assert.equal(world.environment.sockets.length, 2, 'the second socket stays')
    assert.deepEqual(world.takeSent(), ['resync 0'])
    world.snapshot(0)
    assert.equal(world.feed.stats.books[0].state, 'live')
  })

  test('of no symbol at all: the socket is replaced each time', () => {
    const world = new World(2)
    world.open()
    for (let i = 0; i < 3; i++) {
      world.passUntilLost(120_000)
      assert.equal(world.environment.sockets.length, i + 1)
      world.reopen()
    }
  })
})

describe('a rejected symbol', () => {
  test('is asked for again after a minute, the other is not touched', () => {
    const world = new World(2)
    world.open()
    world.snapshot(1)
    world.takeSent()
    world.frame({ t: 'x', i: 0 })
    world.pass(55_000)
    assert.deepEqual(world.takeSent(), [])
    world.pass(6000)
    assert.deepEqual(world.takeSent(), ['resync 0'])
    world.frame({ t: 'x', i: 0 })
    world.pass(100_000)
    assert.deepEqual(world.takeSent(), [])
    world.pass(25_000)
    assert.deepEqual(world.takeSent(), ['resync 0'])
    world.snapshot(0)
    assert.deepEqual(world.feed.stats.books.map(({ state }) => state), ['live', 'live'])
    assert.equal(world.environment.sockets.length, 1)
    assert.equal(world.sink.take(1).filter((line) => line.startsWith('invalid')).length, 0)
  })
})

describe('a heartbeat', () => {
  const heartbeats = (world: World) =>
    world.sink.records.filter(({ value }) => value.type === 'heartbeat').map(({ value }) => value)

  test('tells when the exchange spoke last; where one sequence serves all, of anything', () => {
    for (const lossScope of ['symbol', 'connection'] as const) {
      const world = new World(1, { lossScope })
      world.open()
      world.snapshot()
      const spokeUs = world.environment.nowUs()
      world.environment.advance(3000)
      world.frame({ t: 'h' })
      const provedUs = world.environment.nowUs()
      world.environment.advance(3000)
      const expected = lossScope === 'symbol' ? spokeUs : provedUs
      assert.deepEqual(heartbeats(world).map(({ lastUs }) => lastUs), [expected], lossScope)
    }
  })
})

describe('a symbol that fell silent', () => {
  let world: World
  beforeEach(() => {
    world = new World(2)
    world.open()
    world.snapshot(0)
    world.snapshot(1)
    for (let i = 0; i < 50; i++) {
      world.environment.advance(500)
      world.update(100 + i, 0)
      world.update(100 + i, 1)
    }
    world.sink.take()
    world.takeSent()
  })

  const quiet = (ms: number) => {
    for (let left = ms; left > 0; left -= 500) {
      world.environment.advance(500)
      world.update(left, 1)
    }
  }

  test('is asked for while it counts on; an answer that differs begins a new run', () => {
    quiet(9500)
    assert.equal(world.feed.stats.books[0].stale, false)
    quiet(1000)
    assert.equal(world.feed.stats.books[0].stale, true)
    assert.deepEqual(world.takeSent(), ['resync 0'])
    assert.deepEqual(world.sink.take(), [])
    world.frame({ t: 's', i: 0, b: [[10, 1]], a: [[11, 1]] })
    assert.deepEqual(world.sink.take(), ['invalid 1.51 stale', 'snapshot 2.0 [[10,1]][[11,1]]'])
    assert.deepEqual(
      [world.feed.stats.books[0].stale, world.feed.stats.books[1].stale],
      [false, false],
    )
    quiet(10_500)
    assert.equal(world.feed.stats.books[0].stale, true, 'the book was wrong: watched as before')
  })

  test('is invalid within 15 s when no answer comes, and asked for again', () => {
    quiet(14_900)
    assert.equal(world.sink.take().at(-1), 'invalid 1.51 stale')
    quiet(500)
    assert.deepEqual(world.takeSent(), ['resync 0', 'resync 0'])
    assert.equal(world.feed.stats.books[0].state, 'syncing')
    assert.equal(world.environment.sockets.length, 1)
  })

  test('whose book proves right goes on, and is left alone twice as long', () => {
    quiet(10_500)
    world.frame({ t: 's', i: 0, b: [[10, 149], [9, 2]], a: [[11, 1], [12, 2]] })
    assert.equal(world.feed.stats.books[0].stale, false)
    assert.deepEqual(world.sink.take(), [], 'nobody sees it')
    quiet(19_000)
    assert.equal(world.feed.stats.books[0].stale, false)
    quiet(2500)
    assert.equal(world.feed.stats.books[0].stale, true)
  })

  test('together with others is asked for in one message', () => {
    world.environment.advance(10_500)
    assert.deepEqual(world.takeSent(), ['resync 0,1'])
  })

  test('together with those that fell silent a moment later, too', () => {
    quiet(1500)
    world.environment.advance(12_000)
    assert.deepEqual(world.takeSent(), ['resync 0,1'])
  })

  test('takes others with it that would be asked for soon', () => {
    world.environment.advance(10_500)
    for (const i of [0, 1]) {
      world.frame({ t: 's', i, b: [[10, 149], [9, 2]], a: [[11, 1], [12, 2]] })
    }
    world.environment.advance(5000)
    world.update(7, 1)
    world.takeSent()
    world.environment.advance(16_500)
    assert.deepEqual(world.takeSent(), ['resync 0,1'])
  })

  test('of many that are slow anyway, those are asked for that REST can answer in time', () => {
    world = new World(12, { rest: 'always', batched: false, lossScope: 'symbol' })
    world.open()
    const answered = new Set<FakeRequest>()
    const answer = (): void => {
      for (const request of world.environment.requests) {
        if (answered.has(request) || request.cancelled) continue
        answered.add(request)
        request.answer({ status: 200, body: '{"b":[[10,1],[9,2]],"a":[[11,1],[12,2]]}' })
      }
    }
    for (let n = 0; n < 12; n++) answer()
    assert.ok(world.feed.stats.books.every(({ state }) => state === 'live'))
    const asked = (): number => world.feed.stats.books.filter(({ stale }) => stale).length
    world.environment.advance(59_000)
    assert.equal(asked(), 0)
    world.environment.advance(2000)
    assert.equal(asked(), 4)
    for (const n of [4, 4, 0]) {
      answer()
      answer()
      world.environment.advance(200)
      assert.equal(asked(), n)
    }
    assert.ok(world.feed.stats.books.every(({ state }) => state === 'live'))
    assert.equal(answered.size, 24)
  })
})

describe('REST snapshots', () => {
  test('are fetched per socket; those of a lost one are forgotten', () => {
    const world = new World(1, { rest: true }, { restUrl: 'http://127.0.0.1:1' })
    world.open()
    const [first] = world.environment.requests
    assert.equal(first.url, 'http://127.0.0.1:1/depth?symbol=S0/USD')
    world.environment.socket.events.closed(1006, '')
    assert.equal(first.cancelled, true)
    world.reopen()
    const body = JSON.stringify({ b: [[10, 1], [9, 2]], a: [[11, 1], [12, 2]] })
    world.environment.requests[1].answer({ status: 200, body })
    assert.deepEqual(world.sink.take(), [`snapshot 1.0 ${SNAPSHOT}`])
  })

  test('a slow answer is waited for, a refused symbol is asked for later', () => {
    const world = new World(1, { rest: true })
    world.open()
    for (let i = 0; i < 4; i++) {
      world.pass(9000)
      world.environment.requests.at(-1)!.answer({ status: 503, body: '' })
      world.environment.advance(31_000)
    }
    while (world.environment.requests.at(-1)!.cancelled) world.environment.advance(500)
    world.takeSent()
    world.environment.requests.at(-1)!.answer({ status: 400, body: 'unknown symbol' })
    assert.ok(world.notices.some((notice) => notice.includes('status 400: unknown symbol')))
    world.pass(61_000)
    assert.deepEqual(world.takeSent(), ['resync 0'])
  })
})

describe('drain', () => {
  test('says shutdown for every running epoch and leaves nothing behind', () => {
    const world = new World(3)
    world.open()
    world.snapshot(0)
    world.snapshot(1)
    world.frame({ t: 'u', i: 1, b: [[11, 1]] })
    for (let i = 0; i < 3; i++) world.sink.take(i)
    world.feed.drain()
    assert.deepEqual(world.sink.take(0), ['invalid 1.1 shutdown'])
    assert.deepEqual(world.sink.take(1), [])
    assert.deepEqual(world.sink.take(2), [])
    assert.equal(world.environment.socket.terminated, true)
    assert.equal(world.environment.pendingTimers, 0)
    world.snapshot(0)
    world.feed.sinkEvents.writable(0)
    world.feed.drain()
    assert.deepEqual(world.sink.take(0), [])
  })

  test('a feed that never connected drains as well', () => {
    const world = new World()
    world.feed.drain()
    assert.deepEqual(world.sink.records, [])
    assert.equal(world.environment.pendingTimers, 0)
  })
})

describe('a symbol that is not traded at present', () => {
  const [traded, resting] = symbols(2)
  const dormant = [{ ...resting, reason: 'not traded at present' }]
  const plan = { id: 0, connections: [[traded]], dormant, budgetShare: 1 }

  test('is said to be so, and the others are served', () => {
    const world = new World(2, {}, { plan })
    world.open()
    world.snapshot()
    assert.deepEqual(world.feed.streams.map(({ symbol }) => symbol), ['S0/USD', 'S1/USD'])
    const records = world.sink.records.filter(({ stream }) => stream === 1)
    assert.deepEqual(records.map(({ value }) => [value.type, value.seq]), [['invalid', 0]])
    assert.equal(records[0].value.reason, 'delisted')
    const [first, second] = world.feed.stats.books
    assert.deepEqual([first.state, second.state, second.reason], ['live', 'suspect', 'delisted'])
    world.environment.advance(60_000)
    assert.equal(world.environment.sockets.length, 1)
    const beats = world.sink.records.filter(({ stream, value }) =>
      stream === 1 && value.type === 'heartbeat'
    )
    assert.ok(beats.length >= 10, 'and goes on being said')
  })

  test('gets a socket of its own once it is traded, and a higher epoch', () => {
    const world = new World(2, {}, { plan })
    world.open()
    world.snapshot()
    const before = world.feed.stats.books[1].epoch
    world.feed.wake([{ ...resting, priceDecimals: 1 }, { ...resting, symbol: 'NO/BODY' }])
    world.feed.wake([resting])
    assert.equal(world.environment.sockets.length, 2)
    world.open()
    world.snapshot()
    const book = world.feed.stats.books[1]
    assert.equal(book.state, 'live')
    assert.ok(book.epoch > before)
    const last = world.sink.records.filter(({ stream }) => stream === 1).at(-1)!.value
    assert.equal(last.type, 'snapshot')
    assert.equal(last.bids[0][0], 1, 'with the decimals of today')
    assert.equal(world.feed.stats.books[0].state, 'live')
  })
})

describe('asked too often', () => {
  test('what was refused waits, longer each time, and the others live on', () => {
    const world = new World(3, { lossScope: 'symbol' })
    world.open()
    for (const index of [0, 1]) world.snapshot(index)
    const { environment } = world
    const refuse = (): void => world.frame({ t: 'l', i: 2 })
    const asked = (): number => environment.socket.sent.filter((text) => text === 'resync 2').length
    refuse()
    for (const [n, seconds] of [7, 14, 28].entries()) {
      for (let beat = 1; beat < seconds * 5; beat++) {
        environment.advance(200)
        world.update(beat, 0)
        world.update(beat, 1)
      }
      assert.equal(asked(), n, `${seconds} s`)
      environment.advance(500)
      assert.equal(asked(), n + 1)
      refuse()
    }
    assert.equal(environment.sockets.length, 1)
    assert.deepEqual(world.feed.stats.books.map(({ state }) => state), ['live', 'live', 'suspect'])
    assert.notEqual(world.feed.stats.books[2].reason, 'delisted')
    assert.deepEqual(world.held, [], 'it is not about the address')
    world.snapshot(2)
    assert.equal(world.feed.stats.books[2].state, 'live')
  })
})

describe('an address that is refused', () => {
  /** Sockets of a symbol each. */
  function sockets(count: number): Partial<FeedOptions> {
    const connections = symbols(count).map((symbol) => [symbol])
    return { plan: { id: 0, connections, budgetShare: 1 } }
  }

  /** Every slot has its socket refused at once. */
  function refuseAll(world: World, refusal: Refusal): void {
    for (const socket of world.environment.sockets.splice(0)) {
      socket.events.closed(1006, `HTTP ${refusal.status}`, refusal)
    }
  }

  test('Retry-After of one upgrade holds for all sockets and requests, then one tries', () => {
    const world = new World(10, { rest: true }, sockets(10))
    const { environment, feed } = world
    assert.equal(environment.sockets.length, 10)
    refuseAll(world, { status: 429, retryAfterMs: 30_000 })
    assert.equal(feed.stats.held, 'HTTP 429 to a WebSocket, Retry-After 30 s')
    environment.advance(29_900)
    assert.equal(environment.sockets.length, 0)
    assert.equal(environment.requests.length, 0)
    assert.ok(feed.stats.heldMs > 0 && feed.stats.heldMs <= 100)
    environment.advance(1100)
    assert.equal(environment.sockets.length, 1, 'one to see whether it is over')
    environment.socket.open()
    environment.advance(1000)
    assert.equal(environment.sockets.length, 10)
    assert.equal(feed.stats.held, '')
    const told = world.notices.filter((text) => /refuses this address \(HTTP 429/.test(text))
    assert.equal(told.length, 1, world.notices.join('\n'))
    assert.match(told[0], /for 30 s; live books go on/)
    assert.deepEqual(world.held.map(({ forMs }) => forMs), [30_000])
  })

  test('a firewall: fewer and fewer attempts', () => {
    const world = new World(10, {}, sockets(10))
    let attempts = 0
    for (let ms = 0; ms < 3_600_000; ms += 100) {
      attempts += world.environment.sockets.length
      refuseAll(world, { status: 403 })
      world.environment.advance(100)
    }
    assert.ok(attempts >= 10 + 12 && attempts < 40, `${attempts} attempts in an hour`)
  })

  test('what another worker was told holds here as well, also before this one began', () => {
    for (const early of [true, false]) {
      const hold = { forMs: 10_000, reason: 'HTTP 418 to a REST request' }
      const world = new World(3, {}, early ? { held: hold } : {})
      if (!early) {
        world.environment.sockets.splice(0)[0].events.closed(1006, 'reset')
        world.feed.hold(hold)
      }
      world.environment.advance(9900)
      assert.equal(world.environment.sockets.length, 0)
      world.environment.advance(2000)
      assert.equal(world.environment.sockets.length, 1)
      assert.deepEqual(world.held, [], 'and is not told on')
    }
  })

  test('too many messages, says the exchange: no new socket for so long', () => {
    const world = new World(2, {}, sockets(2))
    world.environment.sockets[0].open()
    world.environment.sockets[0].receive({ t: 'l', n: 0 })
    world.environment.sockets[1].events.closed(1006, 'reset')
    world.environment.advance(6900)
    assert.equal(world.environment.sockets.length, 2)
    world.environment.advance(200)
    assert.equal(world.environment.sockets.length, 3)
  })
})

describe('for humans', () => {
  test('notices are few, however much happens', () => {
    const world = new World(1)
    for (let i = 0; i < 500; i++) {
      world.environment.socket.events.closed(1006, 'refused')
      for (let wait = 0; wait < 400 && world.environment.socket.terminated; wait++) {
        world.environment.advance(100)
      }
    }
    const seconds = world.environment.monotonicMs() / 1000
    assert.ok(world.notices.length <= 25 + 3 * seconds, `${world.notices.length} in ${seconds} s`)
    assert.match(world.notices[0], /cannot connect \(refused: code 1006, refused\), again in/)
  })

  test('a failed sink is fatal', () => {
    const world = new World()
    const error = { code: 'E_SINK' } as ObfeedError
    world.feed.sinkEvents.failed(error)
    assert.deepEqual(world.fatal, [error])
  })
})

test('checkpoints of many symbols do not fall into one tick', () => {
  const world = new World(300)
  world.open()
  for (let i = 0; i < 300; i++) world.snapshot(i)
  world.sink.records = []
  let most = 0
  let total = 0
  for (let tick = 0; tick < 650; tick++) {
    world.environment.randomValue = (tick * 0.37) % 1
    world.environment.advance(100)
    world.frame({ t: 'h' })
    const count = world.sink.records.filter(({ value }) => value.type === 'snapshot').length
    world.sink.records = []
    most = Math.max(most, count)
    total += count
  }
  assert.ok(most <= 2, `${most} in one tick`)
  assert.ok(total >= 600, `${total}`)
})
