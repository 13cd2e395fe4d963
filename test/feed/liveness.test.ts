/** One liveness for every socket: of each exchange, beside many others, and on real ones. */
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { PlannedSymbol } from '../../src/core/instrument.ts'
import type { Adapter, SessionOutput } from '../../src/exchanges/adapter.ts'
import { adapters } from '../../src/exchanges/index.ts'
import { Budget } from '../../src/feed/budget.ts'
import { Connection, type LossReason } from '../../src/feed/connection.ts'
import { realEnvironment } from '../../src/feed/environment.ts'
import { Feed, TICK_MS } from '../../src/feed/feed.ts'
import { twins } from '../../src/simulator/registry.ts'
import { type Simulator, startSimulator } from '../../src/simulator/server.ts'
import { until } from '../support/until.ts'
import { FakeEnvironment, FakeSink, symbols } from './world.ts'

/** A socket that is not there any more is found within this time. */
const DEAD_WITHIN_MS = 15_000
/** A worker among many has a small share of what an address may say, and sockets enough. */
const SHARE = 1 / 4
const SOCKETS = 8

/** Sockets of one exchange, without the feed's other reasons to give them up. */
class Sockets {
  readonly environment = new FakeEnvironment()
  /** Why open sockets were given up. */
  readonly losses: { reason: LossReason; detail: string }[] = []
  readonly connections: Connection[] = []

  constructor(adapter: Adapter) {
    // How fast sockets may be opened is not what is looked at.
    const limits = { ...adapter.limits, connectsPerSecond: 1e6, connectsWindowMs: 1000 }
    const budget = new Budget(limits, SHARE, 0, this.environment)
    const instruments = symbols(1)
    for (let n = 0; n < SOCKETS; n++) {
      const ignore = (): void => {}
      const connection: Connection = new Connection(
        { url: 'wss://fake.example', limits, openingMessages: 1 },
        budget,
        this.environment,
        {
          opened: () => adapter.open(instruments, output, 10),
          retiring: ignore,
          lost: (reason, detail, opened) => {
            if (opened) this.losses.push({ reason, detail })
          },
        },
      )
      const output: SessionOutput = {
        send: (text) => connection.send(text),
        snapshot: ignore,
        delta: ignore,
        refreshed: ignore,
        suspect: ignore,
        requestSnapshot: ignore,
        retire: ignore,
        fail: ignore,
      }
      connection.start()
      this.connections.push(connection)
    }
    let opened = 0
    this.advance(600_000, () => {
      while (opened < this.environment.sockets.length) this.environment.sockets[opened++].open()
      return this.connections.every(({ state }) => state === 'open')
    })
  }

  /** Time passes until it is done; returns how much did. */
  advance(ms: number, done: () => boolean): number {
    for (let passed = 0; passed < ms; passed += TICK_MS) {
      if (done()) return passed
      this.environment.advance(TICK_MS)
      for (const each of this.connections) each.tick(this.environment.monotonicMs())
    }
    return ms
  }
}

for (const adapter of Object.values(adapters)) {
  describe(adapter.exchange, () => {
    test('sockets whose peers answer pings live on, however quiet they are', () => {
      const sockets = new Sockets(adapter)
      sockets.advance(600_000, () => false)
      assert.deepEqual(sockets.losses, [])
      for (const { pings } of sockets.environment.sockets) assert.ok(pings > 30, `${pings} pings`)
    })

    test('half-open ones are found within 15 s, all at once beside each other', () => {
      const sockets = new Sockets(adapter)
      sockets.advance(30_000, () => false)
      for (const socket of sockets.environment.sockets) socket.answers = false
      const tookMs = sockets.advance(60_000, () => sockets.losses.length === SOCKETS)
      assert.ok(tookMs <= DEAD_WITHIN_MS, `the last one was found after ${tookMs} ms`)
      for (const { reason, detail } of sockets.losses) {
        assert.equal(reason, 'stale')
        assert.match(detail, /^nothing for \d+ ms, and no answer to a ping$/)
      }
    })
  })
}

describe('real sockets', () => {
  const open: { close(): unknown }[] = []
  after(async () => {
    for (const each of open.reverse()) await each.close()
  })

  interface Served {
    readonly exchange: string
    readonly simulator: Simulator
    readonly feed: Feed
    readonly sink: FakeSink
  }

  async function serve(exchange: string): Promise<Served> {
    const quote = twins[exchange]!.rules.listing.quotes[0]!
    const simulator = await startSimulator({ exchange, symbols: [`BTC/${quote}`], rate: 20 })
    open.push(simulator)
    const planned: PlannedSymbol[] = simulator.exchange.products.map((product) => ({
      symbol: product.symbol,
      wireSymbol: product.wireSymbol,
      priceDecimals: product.priceDecimals,
      sizeDecimals: product.sizeDecimals,
      partition: 0,
    }))
    const sink = new FakeSink()
    const feed = new Feed(
      {
        adapter: adapters[exchange]!,
        plan: { id: 0, connections: [planned], budgetShare: 1 },
        depth: 5,
        publish: 'delta',
        snapshotIntervalMs: 30_000,
        epochFloor: 0,
        wsUrl: simulator.wsUrl,
        restUrl: simulator.restUrl,
        onFatal: (error) => assert.fail(error.message),
        onNotice: () => {},
      },
      realEnvironment,
      sink,
    )
    void sink.start(feed.streams, feed.sinkEvents)
    feed.start()
    open.push({ close: () => feed.drain() })
    return { exchange, simulator, feed, sink }
  }

  test('a half-open one of each exchange is found within 15 s', { timeout: 60_000 }, async () => {
    const served = await Promise.all(Object.keys(adapters).map(serve))
    await until(
      'all books',
      15_000,
      () => served.every(({ feed }) => feed.stats.books.every(({ state }) => state === 'live')),
    )
    const began = performance.now()
    const foundMs = new Map<string, number>()
    for (const { simulator } of served) simulator.control('half-open')
    await until('every dead socket', 30_000, () => {
      for (const { exchange, sink } of served) {
        const isSaid = sink.records.some(({ value }) => value.type === 'invalid')
        if (isSaid && !foundMs.has(exchange)) foundMs.set(exchange, performance.now() - began)
      }
      return foundMs.size === served.length
    })
    for (const [exchange, ms] of foundMs) {
      assert.ok(ms <= DEAD_WITHIN_MS, `${exchange}: after ${Math.round(ms)} ms`)
    }
    await until(
      'all books again',
      15_000,
      () => served.every(({ feed }) => feed.stats.books.every(({ state }) => state === 'live')),
    )
  })
})
