/** What a stream says of a book that is known in part: never more than is certain, and all of that. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { Outlet, SymbolStream } from '../../src/feed/stream.ts'
import { FakeEnvironment, FakeSink, fill, symbols } from './world.ts'

type Level = readonly [price: number, size: number]
type Side = typeof BID | typeof ASK

/** The exchange's own book. */
class Truth {
  readonly sides: readonly [Map<number, number>, Map<number, number>] = [new Map(), new Map()]

  best(side: Side, count = Infinity): Level[] {
    return [...this.sides[side]].sort(([a], [b]) => side === BID ? b - a : a - b).slice(0, count)
  }

  set(side: Side, price: number, size: number): void {
    if (size === 0) this.sides[side].delete(price)
    else this.sides[side].set(price, size)
  }
}

/** A book by the consumer's rule, held against the exchange's after every single record. */
class Consumer {
  readonly sides: [Map<number, number>, Map<number, number>] = [new Map(), new Map()]
  depth = Infinity
  seq = -1
  epoch = -1
  valid = false
  /** Snapshots of the running epoch that changed the claim. */
  claims: number[] = []

  // deno-lint-ignore no-explicit-any
  receive(value: any, truth: Truth): void {
    if (value.epoch > this.epoch) {
      this.epoch = value.epoch
      this.valid = false
      this.seq = -1
    }
    if (value.type === 'heartbeat') {
      assert.equal(value.seq, this.seq)
      return
    }
    if (value.type === 'invalid') {
      this.valid = false
      this.seq = value.seq
      return
    }
    if (value.type === 'snapshot') {
      const sides = [new Map<number, number>(value.bids), new Map<number, number>(value.asks)]
      const depth = value.depth ?? Infinity
      if (this.valid && value.seq === this.seq) {
        assert.deepEqual([this.sides, this.depth], [sides, depth], 'a checkpoint changes nothing')
      } else {
        assert.equal(value.seq, this.seq + 1)
        if (this.valid) assert.notEqual(depth, this.depth, 'a second snapshot without a reason')
      }
      this.sides[BID] = sides[BID]
      this.sides[ASK] = sides[ASK]
      this.depth = depth
      this.claims.push(depth)
      this.valid = true
    } else {
      assert.ok(this.valid)
      assert.equal(value.seq, this.seq + 1)
      for (const side of [BID, ASK] as const) {
        for (const [price, size] of (side === BID ? value.bids : value.asks) as Level[]) {
          if (size !== 0) this.sides[side].set(price, size)
          else assert.ok(this.sides[side].delete(price), `deletes ${price}, which is not there`)
        }
      }
    }
    this.seq = value.seq
    for (const side of [BID, ASK] as const) {
      const mine = [...this.sides[side]].sort(([a], [b]) => side === BID ? b - a : a - b)
      assert.ok(mine.length <= this.depth, `${mine.length} levels, depth says ${this.depth}`)
      assert.deepEqual(mine, truth.best(side, this.depth), `${value.type}, depth ${this.depth}`)
    }
  }
}

type Step =
  | { readonly kind: 'delta'; readonly levels: readonly [Side, number, number][] }
  | { readonly kind: 'snapshot' | 'replace' | 'check'; readonly known: readonly [number, number] }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'block' }

const side = fc.constantFrom<Side>(BID, ASK)
const level = fc.tuple(side, fc.integer({ min: 1, max: 40 }), fc.constantFrom(0, 0, 1, 2, 3))
const known = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('delta' as const),
      levels: fc.array(level, { minLength: 1, maxLength: 8 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('snapshot' as const, 'replace' as const, 'check' as const),
      known,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.integer({ min: 0, max: 40_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('block' as const) }) },
)

function run(depth: number, steps: readonly Step[]): Consumer {
  const environment = new FakeEnvironment()
  const sink = new FakeSink()
  const outlet = new Outlet(sink, environment)
  const instrument = symbols(1)[0]!
  const stream = new SymbolStream({
    exchange: 'fake',
    instrument,
    stream: 0,
    proof: 'sequence',
    depth,
    kept: Infinity,
    publish: 'delta',
    snapshotIntervalMs: 10_000,
    epochFloor: 0,
  }, outlet)
  const truth = new Truth()
  const consumer = new Consumer()
  const changes = new LevelChanges()
  for (let i = 1; i <= 25; i++) {
    truth.set(BID, 100 - i, i)
    truth.set(ASK, 100 + i, i)
  }
  const read = () => {
    for (const { value } of sink.records.splice(0)) consumer.receive(value, truth)
  }
  /** A whole book that ends after so many levels a side. */
  const cut = (counts: readonly [number, number]): LevelChanges => {
    const bids = truth.best(BID, counts[0])
    const asks = truth.best(ASK, counts[1])
    fill(changes, bids, asks)
    if (bids.length < truth.sides[BID].size) changes.bidHorizon = bids.at(-1)![0]
    if (asks.length < truth.sides[ASK].size) changes.askHorizon = asks.at(-1)![0]
    return changes
  }
  const all: readonly Step[] = [{ kind: 'snapshot', known: [20, 25] }, ...steps]
  for (const next of all) {
    if (next.kind === 'wait') {
      environment.advance(next.ms)
      stream.tick(environment.monotonicMs(), true)
    } else if (next.kind === 'block') {
      if (sink.blocked.delete(0)) stream.writable()
      else sink.blocked.add(0)
    } else if (next.kind === 'delta') {
      const sides: [Level[], Level[]] = [[], []]
      for (const [which, away, size] of next.levels) {
        const price = which === BID ? 100 - away : 100 + away
        truth.set(which, price, size)
        sides[which].push([price, size])
      }
      // A side that is empty for consumers has no horizon; neither has this exchange.
      fill(changes, ...sides)
      stream.delta(changes)
    } else if (next.kind === 'snapshot') {
      stream.snapshot(cut(next.known))
    } else if (stream.state === 'live') {
      if (next.kind === 'replace') stream.replace(cut(next.known))
      else stream.checked(cut(next.known))
    }
    read()
  }
  return consumer
}

describe('a stream of a book that is known in part', () => {
  for (const depth of [1, 8, 20, 1000, 0]) {
    test(`depth ${depth}: consumers hold the best levels that it claims, after each record`, () => {
      fc.assert(
        fc.property(
          fc.array(step, { maxLength: 60 }),
          (steps) => void run(depth, steps),
        ),
        { numRuns: 300, seed: depth + 1 },
      )
    })
  }

  test('what is deepened is claimed at once, without a new run', () => {
    const down: Step[] = Array.from({ length: 12 }, (_, i) => ({
      kind: 'delta',
      levels: [[BID, i + 1, 0]],
    }))
    const consumer = run(20, [
      ...down,
      { kind: 'replace', known: [30, 30] },
      { kind: 'wait', ms: 200 },
    ])
    assert.equal(consumer.claims[0], 20)
    assert.ok(consumer.claims.length <= 9, `${consumer.claims}`)
    assert.equal(consumer.claims.at(-1), 20)
    assert.equal(consumer.sides[ASK].size, 20)
  })
})
