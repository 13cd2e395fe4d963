/**
 * The contract of every adapter, driven by frames: whatever a network does to them, a book that the
 * session feeds is the exchange's book as of that frame, or the session says that it is not proven.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Session } from '../../src/exchanges/adapter.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { Listener } from './listener.ts'

/** Small, seeded, good enough to mix test data. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** What reaches the session in place of the frame at `position`. */
type Network = (frame: ModelFrame, position: number) => readonly ModelFrame[]

/** One session on one model connection. */
class Run {
  readonly fixture: Fixture
  readonly model: Model
  readonly listener: Listener
  readonly session: Session
  readonly #network: Network
  /** Frames that left the exchange. */
  position = 0
  #messages = 0
  #receivedUs = 0

  constructor(fixture: Fixture, network: Network = (frame) => [frame]) {
    this.fixture = fixture
    this.#network = network
    this.model = fixture.connect()
    this.listener = new Listener(fixture.instruments)
    this.session = fixture.adapter.open(fixture.instruments, this.listener)
  }

  /** Carries messages and frames until both sides are silent. */
  settle(): void {
    for (;;) {
      if (this.#messages < this.listener.sent.length) {
        this.model.receive(this.listener.sent[this.#messages++])
      } else if (this.model.outgoing.length > 0) {
        for (const frame of this.#network(this.model.outgoing.shift()!, this.position++)) {
          this.give(frame)
        }
      } else {
        return
      }
    }
  }

  /** One frame to the session; every book it touches must then be the true one. */
  give(frame: ModelFrame): void {
    const { outputs, books } = this.listener
    const before = outputs.length
    // A copy that is spoilt at once: the session must not keep the caller's bytes.
    const bytes = Uint8Array.from(frame.bytes)
    this.session.received(bytes, ++this.#receivedUs)
    bytes.fill(0x20)
    for (const { index, receivedUs, kind } of outputs.slice(before)) {
      assert.equal(index, frame.index, 'only the instrument of the frame is touched')
      assert.equal(kind, frame.kind)
      assert.equal(receivedUs, this.#receivedUs)
      if (books[index] !== undefined) {
        assert.deepEqual(books[index], frame.truth[index], 'a false book was served')
      }
    }
    assert.ok(outputs.length - before <= 1, 'one exchange message is one change')
  }

  get live(): number[] {
    return this.fixture.instruments.map((_, index) => index)
      .filter((index) => this.listener.books[index] !== undefined)
  }
}

/** A price and a size on the instrument's own grid, and now and then off it. */
function randomLevel(fixture: Fixture, index: number, random: () => number): WireLevel {
  const { priceDecimals, sizeDecimals } = fixture.instruments[index]
  const side = random() < 0.5 ? 'bid' : 'ask'
  const ticks = 1000 + (side === 'bid' ? -1 : 1) * Math.ceil(random() * 12)
  const price = (ticks / 10 ** priceDecimals).toFixed(priceDecimals)
  const fate = random()
  if (fate < 0.35) return [side, price, fate < 0.1 ? `0.${'0'.repeat(sizeDecimals + 2)}` : '0']
  if (fate < 0.4) return [side, price, '0.12345678901234567890123']
  if (fate < 0.45) return [side, price, '90071992547409930001']
  if (fate < 0.5) return [side, `${price}${priceDecimals === 0 ? '.' : ''}00001`, '1']
  return [side, price, (random() * 10 ** (random() * 6)).toFixed(sizeDecimals)]
}

const STEPS = 40

/** A day on the exchange. The same for every run of one fixture. */
function live(run: Run, steps = STEPS): void {
  const random = randomOf(7)
  const { fixture, model, session } = run
  const everyone = fixture.instruments.map((_, index) => index)
  for (const index of everyone) {
    model.change(index, Array.from({ length: 8 }, () => randomLevel(fixture, index, random)))
  }
  session.opened()
  run.settle()
  for (let step = 0; step < steps; step++) {
    const index = Math.floor(random() * everyone.length)
    const count = Math.floor(random() * 5)
    if (step % 9 === 4) model.idle()
    model.change(index, Array.from({ length: count }, () => randomLevel(fixture, index, random)))
    run.settle()
  }
  // At the end everything moves once more, so that a loss can show.
  for (const index of everyone) model.change(index, [['bid', '0.5', '3']])
  model.idle()
  run.settle()
}

/** Frames of a whole day, by position. */
function framesOf(fixture: Fixture): ModelFrame[] {
  const frames: ModelFrame[] = []
  live(
    new Run(fixture, (frame) => {
      frames.push(frame)
      return [frame]
    }),
  )
  return frames
}

function assertEveryoneLive(run: Run): void {
  assert.deepEqual(run.live, run.fixture.instruments.map((_, index) => index))
}

/** A session that lived through the beginning of a day. */
function started(fixture: Fixture): Run {
  const run = new Run(fixture)
  live(run, 6)
  assertEveryoneLive(run)
  return run
}

/** What the feed does for every book that was lost. */
function repair(run: Run): void {
  for (let index = 0; index < run.fixture.instruments.length; index++) {
    if (run.listener.books[index] === undefined) run.session.resync(index)
  }
  run.settle()
}

export function contract(fixture: Fixture): void {
  const { adapter, instruments } = fixture
  const { protocol, limits } = adapter

  describe(`contract of ${adapter.exchange}`, () => {
    test('a healthy connection: every book is the true one after every frame', () => {
      const run = new Run(fixture)
      live(run)
      assertEveryoneLive(run)
      assert.deepEqual(run.listener.suspects, [])
      assert.deepEqual(run.listener.failures, [])
      assert.deepEqual(run.session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
      const kinds = new Set(run.listener.outputs.map(({ kind }) => kind))
      assert.deepEqual([...kinds].sort(), ['delta', 'snapshot'])
      const nonces = run.listener.outputs.map(({ nonce }) => nonce)
      if (protocol.lossScope === 'connection') {
        assert.deepEqual(nonces, nonces.toSorted((a, b) => a - b), 'nonces rise')
      }
      assert.ok(
        run.listener.outputs.some(({ levels }) =>
          levels.some(([, , size]) => size === '90071992547409930001')
        ),
        'the day has wide values in it',
      )
    })

    test('a frame with nothing in it changes nothing and is counted', () => {
      const run = started(fixture)
      const before = new Map(run.listener.books[0])
      run.model.change(0, [])
      run.settle()
      assert.deepEqual(run.listener.books[0], before)
      run.model.change(0, [['bid', '0.25', '1']])
      run.settle()
      assert.equal(run.listener.books[0]!.get('bid 0.25'), '1')
      assertEveryoneLive(run)
    })

    test('deletes of prices that are not there change nothing', () => {
      const run = started(fixture)
      const before = new Map(run.listener.books[0])
      run.model.change(0, [['bid', '0.01', '0'], ['ask', '987654321.25', '0.00']])
      run.settle()
      assert.deepEqual(run.listener.books[0], before)
      assertEveryoneLive(run)
    })

    test('any one frame lost: noticed, and healed by a resync', () => {
      const frames = framesOf(fixture)
      for (let lost = 0; lost < frames.length - 1; lost++) {
        let dropped: ModelFrame | undefined
        const run = new Run(fixture, (frame, position) => {
          // Until the loss both days are the same.
          if (position !== lost) return [frame]
          dropped = frame
          return []
        })
        live(run)
        assert.ok(dropped !== undefined)
        if (protocol.loss === 'none') continue
        const said = new Set(run.listener.suspects.map(({ index }) => index))
        if (protocol.lossScope === 'connection') {
          assert.equal(said.size, instruments.length, `frame ${lost}: all are suspect`)
          assert.deepEqual(run.live, [], `frame ${lost}: nothing is believed before a resync`)
        } else if (dropped.kind !== 'control') {
          assert.deepEqual([...said], [dropped.index], `frame ${lost}: its book is suspect`)
        }
        repair(run)
        assertEveryoneLive(run)
        run.model.change(0, [['bid', '0.75', '9']])
        run.settle()
        assert.equal(run.listener.books[0]!.get('bid 0.75'), '9')
      }
    })

    test('any one frame twice: no change, counted', () => {
      const frames = framesOf(fixture)
      for (let twice = 0; twice < frames.length; twice++) {
        const run = new Run(fixture, (f, position) => position === twice ? [f, f] : [f])
        live(run)
        assertEveryoneLive(run)
        assert.deepEqual(run.listener.suspects, [])
        const outputs = run.listener.outputs.length
        assert.equal(outputs, frames.filter(({ kind }) => kind !== 'control').length)
        if (protocol.lossScope === 'connection') assert.equal(run.session.stats.duplicates, 1)
      }
    })

    test('two neighbours exchanged: noticed or harmless', () => {
      const frames = framesOf(fixture)
      for (let first = 0; first < frames.length - 1; first++) {
        let held: ModelFrame | undefined
        const run = new Run(fixture, (frame, position) => {
          if (position === first) {
            held = frame
            return []
          }
          return position === first + 1 ? [frame, held!] : [frame]
        })
        // `give` compares every book that is touched with the truth.
        live(run)
        repair(run)
        assertEveryoneLive(run)
      }
    })

    test('a frame cut at any byte: never a throw, nothing half applied, never unnoticed', () => {
      const seen = new Set<string>()
      for (const frame of framesOf(fixture)) {
        // One of each kind with something in it.
        if (seen.has(frame.kind) || frame.bytes.length < 150) continue
        seen.add(frame.kind)
        for (let length = 0; length < frame.bytes.length; length++) {
          const run = started(fixture)
          const { listener, session } = run
          const outputs = listener.outputs.length
          session.received(frame.bytes.slice(0, length), 1)
          assert.equal(listener.outputs.length, outputs, `cut at ${length}: nothing is handed on`)
          if (run.live.length === 0) {
            assert.ok(listener.failures.every(({ code }) => code === 'E_DECODE'))
            run.model.change(0, [['bid', '0.25', '1']])
            run.settle()
            assert.equal(listener.outputs.length, outputs, 'a given-up socket is not listened to')
          } else {
            assertEveryoneLive(run)
            assert.equal(protocol.loss === 'none', false, 'where nothing proves, a cut is a loss')
          }
        }
      }
      assert.deepEqual([...seen].sort(), ['control', 'delta', 'snapshot'])
    })

    test('unknown kinds of messages are passed over and counted', () => {
      const run = started(fixture)
      const outputs = run.listener.outputs.length
      run.model.unknown()
      run.settle()
      assert.equal(run.session.stats.unknownFrames, 1)
      assert.equal(run.listener.outputs.length, outputs)
      run.model.change(1, [['ask', '2.5', '1']])
      run.settle()
      assert.equal(run.listener.outputs.length, outputs + 1)
      assertEveryoneLive(run)
    })

    test('error replies name the symbol, or give up the connection', () => {
      for (const { text, code, scope, index } of fixture.errors) {
        const run = started(fixture)
        run.session.received(new TextEncoder().encode(text), 1)
        const errors = run.listener.failures
        assert.deepEqual(errors.map((e) => [e.code, e.scope]), [[code, scope]], text)
        if (scope === 'symbol') {
          assert.equal(errors[0].symbol, instruments[index!].symbol)
          run.model.change(index!, [['bid', '0.25', '1']])
          const others = instruments.map((_, i) => i).filter((i) => i !== index)
          for (const other of others) run.model.change(other, [['bid', '0.25', '1']])
          run.settle()
          assert.deepEqual(run.live, others)
        } else {
          assert.deepEqual(run.live, [])
          if (code === 'E_RATE_LIMITED') assert.ok(errors[0].retryAfterMs! > 0)
        }
        assert.ok(errors[0].message.includes(JSON.parse(text).message), 'the cause is quoted')
      }
    })

    test('after a resync nothing of the old subscription counts', () => {
      for (let index = 0; index < instruments.length; index++) {
        const run = started(fixture)
        // Already on its way when the client asks.
        run.model.change(index, [['bid', '0.25', '1']])
        const late = run.model.outgoing.shift()!
        const outputs = run.listener.outputs.length
        run.session.resync(index)
        run.give(late)
        assert.equal(run.listener.outputs.length, outputs, 'no change before the new snapshot')
        run.settle()
        assert.equal(run.listener.outputs[outputs].kind, 'snapshot')
        assert.equal(run.listener.outputs.length, outputs + 1)
        run.model.change(index, [['bid', '0.25', '0']])
        run.settle()
        assertEveryoneLive(run)
        assert.deepEqual(run.listener.suspects, [])
      }
    })

    test('a resync before the socket is open, twice, and of all at once', () => {
      const run = new Run(fixture)
      run.session.resync(0)
      assert.deepEqual(run.listener.sent, [], 'nothing can be sent yet')
      live(run)
      run.session.resync(1)
      run.session.resync(1)
      for (let index = 0; index < instruments.length; index++) run.session.resync(index)
      run.settle()
      assertEveryoneLive(run)
      const outputs = run.listener.outputs.length
      const sent = run.listener.sent.length
      run.session.resyncAll?.(instruments.map((_, index) => index))
      run.settle()
      if (run.session.resyncAll !== undefined) {
        const kinds = run.listener.outputs.slice(outputs).map(({ kind }) => kind)
        assert.deepEqual(kinds, instruments.map(() => 'snapshot'))
        assert.ok(run.listener.sent.length - sent < 2 * instruments.length, 'fewer messages')
      }
      assertEveryoneLive(run)
      run.model.change(1, [['bid', '0.25', '1']])
      run.settle()
      assert.equal(run.listener.books[1]!.get('bid 0.25'), '1')
    })

    test('the protocol table is honest', () => {
      const run = new Run(fixture)
      if (protocol.depth === 'full') {
        const deep = Array.from({ length: 6000 }, (_, i): WireLevel => ['bid', `${i + 1}`, '1'])
        run.model.change(0, deep)
      }
      run.session.opened()
      run.settle()
      assertEveryoneLive(run)
      if (protocol.depth === 'full') assert.equal(run.listener.books[0]!.size, 6000)
      assert.equal(run.listener.requests.length > 0, protocol.snapshot === 'rest')
      assert.equal(run.session.snapshotReceived !== undefined, protocol.snapshot === 'rest')
      assert.ok(['sequence', 'checksum', 'both', 'none'].includes(protocol.loss))
    })

    test('the limits can be kept', () => {
      for (const [name, value] of Object.entries(limits)) {
        assert.ok(Number.isFinite(value) && value > 0, `${name} is ${value}`)
      }
      assert.match(adapter.url(instruments), /^wss:\/\//)
      const many = Array.from({ length: limits.symbolsPerConnection }, (_, i) => ({
        symbol: `A${i}/USD`,
        wireSymbol: `A${i}-USD`,
        priceDecimals: 2,
        sizeDecimals: 8,
      }))
      const listener = new Listener(many)
      adapter.open(many, listener).opened()
      const seconds = listener.sent.length / limits.framesPerSecond
      assert.ok(seconds * 1000 < limits.subscribeWithinMs, 'subscribed in time')
      for (const { wireSymbol } of many) {
        assert.ok(listener.sent.some((text) => text.includes(`"${wireSymbol}"`)), wireSymbol)
      }
      if (adapter.canonical !== undefined) {
        for (const { wireSymbol } of instruments) {
          const once = adapter.canonical(wireSymbol)
          assert.equal(adapter.canonical(once), once, 'canonical is final')
        }
      }
    })

    test('the frames to warm with take the fast path and make a book that never crosses', () => {
      for (const instrument of instruments) {
        const listener = new Listener([instrument])
        const session = adapter.open([instrument], listener)
        const frames = adapter.warmFrames?.(instrument) ?? []
        session.opened()
        for (const frame of frames) {
          session.received(frame, 1)
          const prices = { bid: -Infinity, ask: Infinity }
          for (const key of listener.books[0]!.keys()) {
            const [side, price] = key.split(' ')
            if (side === 'bid') prices.bid = Math.max(prices.bid, Number(price))
            else prices.ask = Math.min(prices.ask, Number(price))
          }
          assert.ok(prices.bid < prices.ask)
        }
        assert.equal(listener.outputs.length, frames.length)
        assert.equal(session.stats.scannerFallbacks, 0)
      }
    })

    test('random bytes: never a throw, never an output', () => {
      const random = randomOf(11)
      for (let round = 0; round < 500; round++) {
        const run = new Run(fixture)
        run.session.opened()
        const bytes = new Uint8Array(Math.floor(random() * 200))
        for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256)
        run.session.received(bytes, 1)
        assert.deepEqual(run.listener.outputs, [])
      }
    })
  })
}
