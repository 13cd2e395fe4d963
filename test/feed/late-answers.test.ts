/** A feed of the real Binance adapters against REST servers that lag, and streams that fall silent. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { binance, binanceusdm } from '../../src/exchanges/binance.ts'
import { Feed } from '../../src/feed/feed.ts'
import { FakeEnvironment, FakeSink, symbols } from './world.ts'

const EVENT_MS = 100
const FIRST_ID = 1_000_000

class Exchange {
  readonly environment = new FakeEnvironment()
  readonly sink = new FakeSink()
  readonly feed: Feed
  /** Requests by wire symbol. */
  readonly calls = new Map<string, number>()
  /** Streams say nothing while their books move on; acknowledgements come. */
  deaf = false
  readonly #adapter: typeof binance
  readonly #wires: string[]
  readonly #ages: { readonly oldMs: number; readonly takesMs: number }
  readonly #startMs: number
  /** By socket: messages that were acknowledged. */
  readonly #heard = new Map<object, number>()
  #lastId = 0
  #answered = 0

  constructor(
    adapter: typeof binance,
    count: number,
    ages: { readonly oldMs: number; readonly takesMs: number },
  ) {
    this.#adapter = adapter
    this.#ages = ages
    const planned = symbols(count)
    this.#wires = planned.map(({ wireSymbol }) => wireSymbol)
    this.feed = new Feed(
      {
        adapter,
        plan: { id: 0, cpu: 0, budgetShare: 1, connections: [planned] },
        depth: 10,
        publish: 'delta',
        snapshotIntervalMs: 60_000,
        epochFloor: 0,
        onFatal: (error) => assert.fail(error),
        onNotice: () => {},
      },
      this.environment,
      this.sink,
    )
    this.#startMs = this.environment.monotonicMs()
    void this.sink.start(this.feed.streams, this.feed.sinkEvents)
    this.feed.start()
  }

  get nowMs(): number {
    return this.environment.monotonicMs() - this.#startMs
  }

  get live(): number {
    return this.feed.stats.books.filter(({ state }) => state === 'live').length
  }

  run(ms: number): void {
    const endMs = this.nowMs + ms
    while (this.nowMs < endMs) {
      this.environment.advance(10)
      this.#acknowledge()
      this.#answer()
      if (!this.deaf) this.#tell()
    }
  }

  /** Of all books: each has one event in every 100 ms. */
  #idAt(atMs: number): number {
    return FIRST_ID + Math.floor(atMs / EVENT_MS)
  }

  #acknowledge(): void {
    for (const socket of this.environment.sockets) {
      if (socket.terminated) continue
      const from = this.#heard.get(socket) ?? 0
      if (!this.#heard.has(socket)) {
        this.#heard.set(socket, 0)
        socket.open()
      }
      for (const text of socket.sent.slice(from)) {
        const { method, id } = JSON.parse(text)
        if (method === 'SUBSCRIBE') socket.receive({ result: null, id })
      }
      this.#heard.set(socket, socket.sent.length)
    }
  }

  #tell(): void {
    const u = this.#idAt(this.nowMs)
    if (u === this.#lastId) return
    this.#lastId = u
    const levels = { b: [['90', `${1 + u % 50}`]], a: [] }
    for (const socket of this.environment.sockets) {
      if (socket.terminated || !this.#heard.has(socket)) continue
      for (const s of this.#wires) {
        socket.receive(
          this.#adapter === binance
            ? { e: 'depthUpdate', E: 1, s, U: u, u, ...levels }
            : { e: 'depthUpdate', E: 1, T: 1, s, U: u, u, pu: u - 1, ...levels },
        )
      }
    }
  }

  #answer(): void {
    const { requests } = this.environment
    for (; this.#answered < requests.length; this.#answered++) {
      const request = requests[this.#answered]!
      const wire = new URL(request.url).searchParams.get('symbol')!
      this.calls.set(wire, (this.calls.get(wire) ?? 0) + 1)
      this.environment.setTimer(this.#ages.takesMs, () => {
        const lastUpdateId = this.#idAt(Math.max(0, this.nowMs - this.#ages.oldMs))
        const body = { lastUpdateId, bids: [['90', '1'], ['80', '1']], asks: [['110', '1']] }
        request.answer({ status: 200, body: JSON.stringify(body) })
      })
    }
  }
}

for (const adapter of [binance, binanceusdm]) {
  describe(adapter.exchange, () => {
    for (const [count, oldMs] of [[1, 500], [50, 1000], [20, 4000]] as const) {
      test(`answers ${oldMs} ms old, ${count} symbols: all live in 10 s, in 4 calls each`, () => {
        const exchange = new Exchange(adapter, count, { oldMs, takesMs: 50 })
        exchange.run(10_000)
        assert.equal(exchange.live, count)
        const most = Math.max(...exchange.calls.values())
        assert.ok(most <= 4, `${most} calls`)
        exchange.run(20_000)
        assert.equal(exchange.live, count)
        assert.ok(
          exchange.feed.stats.books.every(({ resyncs }) => Object.keys(resyncs).length === 0),
        )
      })
    }

    test('a silent stream whose book moves: not live, subscribed anew, socket replaced', () => {
      const exchange = new Exchange(adapter, 1, { oldMs: 0, takesMs: 50 })
      exchange.run(40_000)
      assert.equal(exchange.live, 1)
      const [first] = exchange.environment.sockets
      exchange.deaf = true
      exchange.run(15_000)
      assert.equal(exchange.live, 0)
      exchange.run(15_000)
      assert.ok(first!.sent.length > 1, 'subscribed anew')
      exchange.run(60_000)
      assert.ok(first!.terminated, 'socket replaced')
      for (let s = 0; s < 600; s++) {
        exchange.run(1000)
        assert.equal(exchange.live, 0, `live again after ${s} s`)
      }
      exchange.deaf = false
      exchange.run(70_000)
      assert.equal(exchange.live, 1)
    })
  })
}
