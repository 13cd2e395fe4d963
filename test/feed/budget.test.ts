import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Budget, type BudgetClient, SlidingWindow, TokenBucket } from '../../src/feed/budget.ts'
import { fakeAdapter, FakeEnvironment } from './world.ts'

/** The most events within any window. */
function most(times: readonly number[], windowMs: number): number {
  return Math.max(
    ...times.map((from) => times.filter((time) => time >= from && time < from + windowMs).length),
  )
}

/** When each of `count` tokens was taken, ms, by one that takes as soon as it may. */
function greedy(bucket: TokenBucket | SlidingWindow, count: number): number[] {
  const times: number[] = []
  let now = 0
  while (times.length < count) {
    const waitMs = bucket.waitMs(now)
    if (waitMs > 0) now += Math.ceil(waitMs)
    else {
      bucket.take(now)
      times.push(now)
    }
  }
  return times
}

/** The most events within any second. */
function densest(times: readonly number[]): number {
  return Math.max(
    ...times.map((from) => times.filter((time) => time >= from && time < from + 1000).length),
  )
}

describe('SlidingWindow', () => {
  test('a whole window at once, and never more within any', () => {
    const times = greedy(new SlidingWindow(15, 600_000), 50)
    assert.equal(times[14], 0)
    assert.equal(times[15], 601_000)
    assert.equal(most(times, 600_000), 15)
  })

  test('spent one by one it comes back one by one', () => {
    const window = new SlidingWindow(2, 10_000)
    window.take(0)
    window.take(400)
    assert.equal(window.waitMs(500), 10_500)
    assert.equal(window.waitMs(11_000), 0)
    window.take(11_000)
    assert.equal(window.waitMs(11_000), 400)
  })

  test('kept also by the clock of a server that each of them reaches up to a second late', () => {
    const times = greedy(new SlidingWindow(17, 60_000), 100)
    // A burst that is slow on its way, then one that is fast.
    const seen = times.map((time, i) => time + (Math.floor(i / 17) % 2 === 0 ? 990 : 10))
    assert.ok(most(seen, 60_000) <= 17, `${most(seen, 60_000)} within a minute`)
  })
})

describe('connects over a long window', () => {
  for (const workers of [1, 2, 8, 40]) {
    test(`${workers} workers together keep a limit of 20 a minute`, () => {
      const share = 1 / workers
      const all: number[] = []
      for (let id = 0; id < workers; id++) {
        const limits = { connectsPerSecond: 20 / 60, connectsWindowMs: 60_000 }
        const budget = budgetOf(new FakeEnvironment(), limits, share, (id * share) % 1)
        const start = budget.connects
        const base = 1000
        const times: number[] = []
        for (let now = base; now < base + 300_000; now += 100) {
          while (start.waitMs(now) === 0) {
            start.take(now)
            times.push(now)
          }
        }
        assert.ok(times.length > 0, 'nobody starves')
        all.push(...times)
      }
      assert.ok(most(all, 60_000) <= 20, `${most(all, 60_000)} within a minute`)
    })
  }
})

describe('TokenBucket', () => {
  test('stays within the limit in every second, also over all workers together', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 16 }),
        (limit, workers) => {
          const share = 1 / workers
          const all: number[] = []
          for (let id = 0; id < workers; id++) {
            const bucket = new TokenBucket(limit, share, (id * share) % 1, 0)
            const times = greedy(bucket, 40)
            all.push(...times)
            assert.ok(densest(times) <= Math.max(1, Math.ceil(limit * share)), `${times}`)
          }
          // Up to the end of the one that was done first, all of them were busy.
          if (limit * share * 0.85 >= 1) assert.ok(densest(all) <= limit, `${densest(all)}`)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('uses most of the limit and begins with a small burst', () => {
    const times = greedy(new TokenBucket(8, 1, 0, 0), 101)
    assert.equal(times[1], 0)
    const perSecond = 100_000 / times[100]
    assert.ok(perSecond > 4.5 && perSecond <= 8, `${perSecond}`)
  })

  test('a share below one a second begins at its own phase', () => {
    const firsts = [0, 1, 2, 3].map((id) => greedy(new TokenBucket(1, 0.25, id / 4, 0), 1)[0])
    assert.equal(firsts[0], 0)
    for (let i = 1; i < 4; i++) assert.ok(firsts[i] - firsts[i - 1] > 1000, `${firsts}`)
  })
})

class Client implements BudgetClient {
  readonly openingMessages: number
  queued = 0
  urgent = false
  readonly connects: number[] = []
  readonly sends: number[] = []
  readonly #environment: FakeEnvironment

  constructor(environment: FakeEnvironment, openingMessages = 2) {
    this.#environment = environment
    this.openingMessages = openingMessages
  }

  connect(): void {
    this.connects.push(this.#environment.monotonicMs())
  }

  sendNext(): void {
    this.queued--
    if (this.queued === 0) this.urgent = false
    this.sends.push(this.#environment.monotonicMs())
  }
}

function budgetOf(environment: FakeEnvironment, limits = {}, share = 1, phase = 0): Budget {
  const adapter = fakeAdapter({
    limits: { connectsPerSecond: 8, framesPerSecond: 8, subscribeWithinMs: 5000, ...limits },
  })
  return new Budget(adapter.limits, share, phase, environment)
}

describe('Budget', () => {
  test('opens a socket only when its messages can be sent in time', () => {
    const environment = new FakeEnvironment()
    const budget = budgetOf(environment, { connectsPerSecond: 1000 })
    const clients = Array.from({ length: 40 }, () => new Client(environment, 4))
    const latencies: number[] = []
    for (const client of clients) budget.requestConnect(client)
    const opened = new Set<Client>()
    for (let step = 0; step < 6000 && latencies.length < clients.length; step++) {
      environment.advance(10)
      for (const client of clients) {
        if (client.connects.length > 0 && !opened.has(client)) {
          opened.add(client)
          client.queued = client.openingMessages
          client.urgent = true
          budget.opened(client)
          budget.requestSend(client)
        }
        if (client.sends.length === 4) {
          latencies.push(client.sends[3] - client.connects[0])
          client.sends.push(0)
        }
      }
    }
    assert.equal(latencies.length, 40)
    assert.ok(Math.max(...latencies) < 5000, `${Math.max(...latencies)}`)
    assert.ok(densest(clients.flatMap((client) => client.sends.slice(0, 4))) <= 8)
  })

  test('messages of fresh sockets go before others', () => {
    const environment = new FakeEnvironment()
    const budget = budgetOf(environment)
    const old = new Client(environment)
    old.queued = 50
    budget.requestSend(old)
    environment.advance(500)
    const before = old.sends.length
    const fresh = new Client(environment)
    fresh.queued = 2
    fresh.urgent = true
    budget.requestSend(fresh)
    environment.advance(450)
    assert.equal(fresh.sends.length, 2)
    assert.ok(old.sends.length - before <= 1)
    environment.advance(20_000)
    assert.equal(old.sends.length, 50)
  })

  test('waiting messages of others never keep a socket from opening', () => {
    const environment = new FakeEnvironment()
    const budget = budgetOf(environment)
    const old = new Client(environment)
    old.queued = 1000
    budget.requestSend(old)
    const fresh = new Client(environment)
    budget.requestConnect(fresh)
    assert.equal(fresh.connects.length, 1)
  })

  test('what cannot wait is waited for by what can: with both no second is over a limit of 5', () => {
    const environment = new FakeEnvironment()
    const budget = budgetOf(environment, { framesPerSecond: 4 })
    const client = new Client(environment)
    client.queued = 60
    budget.requestSend(client)
    const pings: number[] = []
    for (let n = 0; n < 30; n++) {
      budget.spend()
      pings.push(environment.monotonicMs())
      environment.advance(1000)
    }
    assert.ok(densest([...client.sends, ...pings]) <= 5, `${densest([...client.sends, ...pings])}`)
    // In 30 s they have taken the place of as many.
    assert.ok(client.sends.length > 35 && client.sends.length < 50, `${client.sends.length}`)
    environment.advance(20_000)
    assert.equal(client.sends.length, 60)
  })

  test('a cancelled client is not granted anything and frees what it was promised', () => {
    const environment = new FakeEnvironment()
    const budget = budgetOf(environment, { connectsPerSecond: 1000 })
    const greedyClient = new Client(environment, 1000)
    const second = new Client(environment)
    const third = new Client(environment)
    budget.requestConnect(greedyClient)
    budget.requestConnect(second)
    budget.requestConnect(third)
    environment.advance(1000)
    assert.deepEqual([greedyClient.connects.length, second.connects.length], [1, 0])
    budget.cancel(second)
    budget.cancel(greedyClient)
    environment.advance(1000)
    assert.deepEqual([second.connects.length, third.connects.length], [0, 1])
    assert.equal(environment.pendingTimers, 0)
  })
})
