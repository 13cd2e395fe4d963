/** One session on one model connection, and what every book must be after everything that happens. */
import assert from 'node:assert/strict'
import { ASK, BID } from '../../src/core/changes.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import {
  applyLevel,
  bestOf,
  Listener,
  type NaiveBook,
  pricesOf,
  type SnapshotRequest,
  withinHorizon,
} from './listener.ts'

/** Small, seeded, good enough to mix test data. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** What reaches the session in place of the frame at `position`. */
export type Network = (frame: ModelFrame, position: number) => readonly ModelFrame[]

/** How a REST request is answered; the least is: at once, by the exchange. */
export interface Answer {
  /** In place of what the exchange says. */
  readonly body?: string
  /** So many frames leave the exchange before it looks at its book ... */
  readonly takenAfter?: number
  /** ... and before its answer arrives. Infinity: never. */
  readonly givenAfter?: number
}

/** `nth`: how many requests came before this one. */
export type Server = (request: SnapshotRequest, nth: number) => Answer

export interface RunOptions {
  readonly network?: Network
  readonly server?: Server
}

/** A request under way. */
interface Pending extends SnapshotRequest {
  readonly answer: Answer
  readonly since: number
  body?: string
  version?: number
  truth?: NaiveBook
}

/** The newest that a session was told of a book. */
interface Known {
  readonly version: number
  readonly truth: NaiveBook
}

/** A session that cannot come to rest is broken. */
const EXCHANGES_MAX = 20_000

export class Run {
  readonly fixture: Fixture
  readonly model: Model
  readonly listener: Listener
  readonly session: Session
  /** All that happened in the market, also what this connection was not told of. */
  readonly market: NaiveBook[]
  /** Frames that left the exchange. */
  position = 0
  /** The exchange does not read what the client says. */
  isMute = false
  readonly #network: Network
  readonly #server: Server
  #messages = 0
  #requests = 0
  #receivedUs = 0
  #compared = 0
  readonly #versions: number[]
  readonly #stamps = new Map<ModelFrame, number>()
  readonly #known: (Known | undefined)[]
  readonly #pending: (Pending | undefined)[]
  /** Instruments for which a second request may replace the first. */
  readonly #askedAgain = new Set<number>()
  /** Levels a side that are still comparable, of books that were hit where it need not show. */
  readonly #disturbed = new Map<number, number>()
  /** Of these, the ones whose next snapshot makes up for it. */
  readonly #mending = new Set<number>()

  constructor(fixture: Fixture, { network, server }: RunOptions = {}) {
    const { adapter, instruments, depth } = fixture
    this.fixture = fixture
    this.#network = network ?? ((frame) => [frame])
    this.#server = server ?? (() => ({}))
    this.model = fixture.connect()
    this.market = instruments.map(() => new Map())
    this.#versions = instruments.map(() => 0)
    this.#known = instruments.map(() => undefined)
    this.#pending = instruments.map(() => undefined)
    this.listener = new Listener(instruments, adapter.depth?.(depth))
    this.session = adapter.open(instruments, this.listener, depth)
  }

  get live(): number[] {
    return this.fixture.instruments.map((_, index) => index)
      .filter((index) => this.listener.books[index] !== undefined)
  }

  /** The session wants another socket. */
  get isGivenUp(): boolean {
    return this.listener.failures.some(({ scope }) => scope === 'connection')
  }

  open(): void {
    this.session.opened()
    this.settle()
  }

  change(index: number, levels: readonly WireLevel[]): void {
    for (const [side, price, size] of levels) applyLevel(this.market[index], side, price, size)
    const version = ++this.#versions[index]
    const before = this.model.outgoing.length
    this.model.change(index, levels)
    // The frames of one change are as old as each other; the last one has it all.
    for (const frame of this.model.outgoing.slice(before)) this.#stamps.set(frame, version)
  }

  /** A new best bid, which every depth shows; it never crosses what `randomLevel` makes. */
  probe(index: number, size: string): void {
    this.change(index, [probeLevel(this.fixture, index, size)])
  }

  /** The feed asks for a new snapshot. */
  resync(index: number): void {
    this.#mending.add(index)
    this.#askedAgain.add(index)
    this.session.resync(index)
  }

  /** Asks for more of a live book. */
  refresh(index: number): void {
    this.session.refresh!(index)
  }

  /** Something was done to the frames of `index` that the protocol need not show. */
  disturb(index: number): void {
    const { loss } = this.fixture.adapter.protocol
    if (loss === 'none') this.#disturbed.set(index, 0)
    else if (loss === 'checksum') this.#disturbed.set(index, this.fixture.blind?.below ?? Infinity)
  }

  get disturbed(): number[] {
    return [...this.#disturbed.keys()]
  }

  /** Carries messages, answers and frames until both sides are silent. */
  settle(): void {
    for (let step = 0;; step++) {
      assert.ok(step < EXCHANGES_MAX, 'the session and the exchange do not come to rest')
      this.#collectRequests()
      if (!this.isMute && this.#messages < this.listener.sent.length) {
        this.model.receive(this.listener.sent[this.#messages++])
      } else if (this.#answerOne()) {
        continue
      } else if (this.model.outgoing.length > 0) {
        const next = this.model.outgoing.shift()!
        for (const frame of this.#network(next, this.position++)) this.give(frame)
      } else {
        return
      }
    }
  }

  /** One frame to the session; every book it touches must then be the true one. */
  give(frame: ModelFrame): void {
    const { outputs } = this.listener
    const isRest = this.fixture.adapter.protocol.snapshot === 'rest'
    const before = outputs.length
    if (frame.index >= 0) {
      const version = this.#stamps.get(frame) ?? this.#versions[frame.index]
      if (version >= (this.#known[frame.index]?.version ?? -1) || !isRest) {
        this.#known[frame.index] = { version, truth: frame.truth[frame.index] }
      }
    }
    // A copy that is spoilt at once: the session must not keep the caller's bytes.
    const bytes = Uint8Array.from(frame.bytes)
    this.session.received(bytes, ++this.#receivedUs)
    bytes.fill(0x20)
    this.#collectRequests()
    for (const { index, receivedUs, kind } of outputs.slice(before)) {
      assert.equal(index, frame.index, 'only the instrument of the frame is touched')
      if (!isRest) assert.equal(kind, frame.kind)
      if (kind === 'delta' && outputs.length - before === 1) {
        assert.equal(receivedUs, this.#receivedUs)
      }
    }
    if (!isRest) assert.ok(outputs.length - before <= 1, 'one exchange message is one change')
    this.#assertBooks(before)
  }

  /** A REST answer out of turn. `version` -1: not the symbol's own book. */
  answer(index: number, body: string): void {
    const before = this.listener.outputs.length
    this.session.snapshotReceived!(index, body, ++this.#receivedUs)
    this.#collectRequests()
    this.#assertBooks(before)
  }

  /** Every book is live and the market's own, as far as the exchange shows it. */
  assertTrue(): void {
    assert.deepEqual(this.live, this.fixture.instruments.map((_, index) => index))
    for (const index of this.live) {
      const book = this.listener.books[index]!
      this.#assertReal(index)
      const { priceDecimals } = this.fixture.instruments[index]
      const market = withinHorizon(
        this.market[index],
        this.listener.horizons[index],
        priceDecimals,
      )
      if (this.fixture.adapter.protocol.depth === 'full' && this.fixture.depth === 0) {
        assertSame(book, market, 'not the book of the market')
        continue
      }
      for (const side of ['bid', 'ask'] as const) {
        const best = pricesOf(book, side)
        const truth = pricesOf(market, side)
        assert.deepEqual(best, truth.slice(0, best.length))
        if (best.length < truth.length) assert.ok(best.length >= this.fixture.depth, 'depth')
        for (const price of best) {
          assert.equal(book.get(`${side} ${price}`), market.get(`${side} ${price}`))
        }
      }
    }
  }

  #assertReal(index: number): void {
    const real = this.listener.realBooks[index]!
    const both: NaiveBook = new Map()
    for (const [price, size] of real.levels(BID)) both.set(`bid ${price}`, size)
    for (const [price, size] of real.levels(ASK)) both.set(`ask ${price}`, size)
    assertSame(both, this.listener.books[index]!, 'the real book is the naive one')
  }

  #collectRequests(): void {
    const { requests } = this.listener
    while (this.#requests < requests.length) {
      const request = requests[this.#requests]
      const { index } = request
      const isFirst = this.#pending[index] === undefined
      assert.ok(isFirst || this.#askedAgain.has(index), 'one request at a time')
      this.#askedAgain.delete(index)
      const answer = this.#server(request, this.#requests++)
      this.#pending[index] = { ...request, answer, since: this.position }
    }
  }

  #answerOne(): boolean {
    if (this.isMute) return false
    for (const pending of this.#pending) {
      if (pending === undefined) continue
      const { index, url, since } = pending
      const { body, takenAfter = 0, givenAfter = 0 } = pending.answer
      if (pending.body === undefined && this.position >= since + takenAfter) {
        assert.ok(this.model.rest !== undefined, 'the exchange has no REST snapshots')
        pending.body = body ?? this.model.rest(url)
        if (body === undefined) {
          pending.version = this.#versions[index]
          pending.truth = new Map(this.market[index])
        }
      }
      if (pending.body === undefined || this.position < since + givenAfter) continue
      this.#pending[index] = undefined
      this.#askedAgain.delete(index)
      const { version, truth } = pending
      if (version !== undefined && version > (this.#known[index]?.version ?? -1)) {
        this.#known[index] = { version, truth: truth! }
      }
      this.answer(index, pending.body)
      return true
    }
    return false
  }

  #assertBooks(before: number): void {
    const outputs = this.listener.outputs.slice(before)
    for (const { index, kind } of outputs) {
      if (kind === 'snapshot' && this.#mending.delete(index)) this.#disturbed.delete(index)
    }
    for (const index of new Set(outputs.map(({ index }) => index))) this.#assertBook(index)
  }

  #assertBook(index: number): void {
    const book = this.listener.books[index]
    if (book === undefined) return
    const real = this.listener.realBooks[index]!
    // Whatever goes wrong in it stays wrong.
    if (this.#compared++ % 8 === 0) this.#assertReal(index)
    const levels = this.#disturbed.get(index) ?? Infinity
    if (levels === 0) return
    assert.equal(real.isCrossed(), false, 'never crossed')
    const known = this.#known[index]
    assert.ok(known !== undefined, 'a book of nothing')
    const { priceDecimals } = this.fixture.instruments[index]
    const truth = withinHorizon(known.truth, this.listener.horizons[index], priceDecimals)
    if (levels === Infinity) assertSame(book, truth, 'a false book was served')
    else assertSame(bestOf(book, levels), bestOf(truth, levels), 'a false top was served')
  }
}

/** Like `deepEqual`, which is slow, and runs some hundred thousand times here. */
function assertSame(actual: NaiveBook, expected: NaiveBook, message: string): void {
  let isSame = actual.size === expected.size
  if (isSame) { for (const [key, size] of expected) isSame &&= actual.get(key) === size }
  if (!isSame) assert.deepEqual(actual, expected, message)
}

/** Where an instrument trades, in steps of its price grid. */
function middleOf(fixture: Fixture, index: number): number {
  const { priceDecimals } = fixture.instruments[index]
  if (priceDecimals <= 4) return Math.round(98_765.4 * 10 ** priceDecimals)
  if (priceDecimals >= 8 && priceDecimals <= 10) return 51 * 10 ** (priceDecimals - 8)
  return 1000
}

function priceOf(fixture: Fixture, index: number, offset: number): string {
  const { priceDecimals } = fixture.instruments[index]
  const digits = String(middleOf(fixture, index) + offset).padStart(priceDecimals + 1, '0')
  if (priceDecimals === 0) return digits
  return `${digits.slice(0, -priceDecimals)}.${digits.slice(-priceDecimals)}`
}

function probeLevel(fixture: Fixture, index: number, size: string): WireLevel {
  return ['bid', priceOf(fixture, index, 0), size]
}

/** The key of `Run.probe` in a naive book. */
export function probeKey(fixture: Fixture, index: number): string {
  const book: NaiveBook = new Map()
  const [side, price] = probeLevel(fixture, index, '1')
  applyLevel(book, side, price, '1')
  return [...book.keys()][0]
}

/** A level far from everything that `randomLevel` makes. */
export function farLevel(fixture: Fixture, side: 'bid' | 'ask', size: string): WireLevel {
  return [side, priceOf(fixture, 0, side === 'bid' ? -500 : 500), size]
}

/** A price and a size on the instrument's own grid, and now and then off it. */
export function randomLevel(fixture: Fixture, index: number, random: () => number): WireLevel {
  const { priceDecimals, sizeDecimals } = fixture.instruments[index]
  const side = random() < 0.5 ? 'bid' : 'ask'
  const price = priceOf(fixture, index, (side === 'bid' ? -1 : 1) * (1 + Math.floor(random() * 12)))
  const fate = random()
  if (fate < 0.35) {
    return [
      side,
      price,
      fate < 0.1 ? `0${sizeDecimals > 0 ? '.' : ''}${'0'.repeat(sizeDecimals)}` : '0',
    ]
  }
  if (fixture.offGrid) {
    if (fate < 0.38) return [side, price, `0.${'0'.repeat(sizeDecimals + 2)}`]
    if (fate < 0.42) return [side, price, '0.12345678901234567890123']
    if (fate < 0.46) return [side, price, '90071992547409930001']
    if (fate < 0.5) return [side, `${price}${priceDecimals === 0 ? '.' : ''}00001`, '1']
  }
  return [side, price, (random() * largestSize(fixture, index) ** random()).toFixed(sizeDecimals)]
}

function largestSize(fixture: Fixture, index: number): number {
  // On the grid: up to 15 digits, as many as a double holds for certain.
  const { sizeDecimals } = fixture.instruments[index]
  return fixture.offGrid ? 1e12 : Math.min(1e12, 10 ** (15 - sizeDecimals))
}

/** The best asks, in the largest sizes that there are. */
function largeLevels(fixture: Fixture, index: number): WireLevel[] {
  const { sizeDecimals } = fixture.instruments[index]
  const large = largestSize(fixture, index).toFixed(sizeDecimals)
  const levels: WireLevel[] = [['ask', priceOf(fixture, index, 1), large]]
  if (fixture.offGrid) {
    levels.push(['ask', priceOf(fixture, index, 2), '90071992547409930001'])
  }
  return levels
}

const STEPS = 40

/** A day on the exchange. The same for every run of one fixture. */
export function live(run: Run, steps = STEPS): void {
  const random = randomOf(7)
  const { fixture, model } = run
  const everyone = fixture.instruments.map((_, index) => index)
  for (const index of everyone) {
    run.change(index, Array.from({ length: 16 }, () => randomLevel(fixture, index, random)))
    run.change(index, largeLevels(fixture, index))
  }
  run.open()
  for (let step = 0; step < steps; step++) {
    const index = Math.floor(random() * everyone.length)
    const count = Math.floor(random() * 5)
    if (step % 9 === 4) model.idle()
    run.change(index, Array.from({ length: count }, () => randomLevel(fixture, index, random)))
    run.settle()
  }
  // At the end everything moves once more, so that a loss can show.
  for (const size of ['4', '3']) for (const index of everyone) run.probe(index, size)
  model.idle()
  run.settle()
}

/** A session that lived through the beginning of a day. */
export function started(fixture: Fixture, options?: RunOptions): Run {
  const run = new Run(fixture, options)
  live(run, 6)
  run.assertTrue()
  return run
}

/** What the feed does for every book that was lost, and now and then for one that may be false. */
export function repair(run: Run): void {
  const disturbed = run.disturbed
  for (let index = 0; index < run.fixture.instruments.length; index++) {
    if (run.listener.books[index] === undefined || disturbed.includes(index)) run.resync(index)
  }
  run.settle()
}
