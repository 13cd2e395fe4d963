/** The plan: nothing lost, nothing doubled, everything even, for any map. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { makePlan } from '../../src/config/plan.ts'
import type { PlannedSymbol } from '../../src/core/instrument.ts'

function symbolsOf(count: number): PlannedSymbol[] {
  return Array.from({ length: count }, (_, i) => ({
    symbol: `S${i}/USD`,
    wireSymbol: `S${i}-USD`,
    priceDecimals: 2,
    sizeDecimals: 8,
    partition: i,
  }))
}

function spread(counts: readonly number[]): number {
  return Math.max(...counts) - Math.min(...counts)
}

describe('makePlan', () => {
  test('loses and doubles no symbol, and shares evenly, for any map', () => {
    const input = fc.record({
      count: fc.integer({ min: 1, max: 300 }),
      workers: fc.integer({ min: 1, max: 40 }),
      cpus: fc.uniqueArray(fc.nat(64), { maxLength: 8 }),
      symbolsPerConnection: fc.integer({ min: 1, max: 50 }),
    })
    fc.assert(fc.property(input, ({ count, workers, cpus, symbolsPerConnection }) => {
      const symbols = symbolsOf(count)
      const limits = { symbolsPerConnection }
      const plan = makePlan({ symbols, workers, cpus, limits })
      assert.equal(plan.length, Math.min(workers, count))
      assert.deepEqual(plan.map(({ id }) => id), plan.map((_, i) => i))
      const dealt = plan.flatMap(({ connections }) => connections.flat())
      assert.deepEqual(new Set(dealt), new Set(symbols))
      assert.equal(dealt.length, count)
      assert.ok(spread(plan.map(({ connections }) => connections.flat().length)) <= 1)
      for (const { connections, cpu, id, budgetShare } of plan) {
        const sizes = connections.map((connection) => connection.length)
        assert.ok(Math.min(...sizes) >= 1 && Math.max(...sizes) <= symbolsPerConnection)
        assert.ok(spread(sizes) <= 1)
        assert.equal(sizes.length, Math.ceil(connections.flat().length / symbolsPerConnection))
        assert.equal(cpu, cpus.length === 0 ? undefined : cpus[id % cpus.length])
        assert.ok(Math.abs(budgetShare * plan.length - 1) < 1e-9)
      }
      assert.deepEqual(makePlan({ symbols, workers, cpus, limits }), plan)
    }))
  })

  test('deals in the order of the map', () => {
    const plan = makePlan({
      symbols: symbolsOf(5),
      workers: 2,
      cpus: [4, 6],
      limits: { symbolsPerConnection: 2 },
    })
    assert.deepEqual(
      plan.map(({ cpu, connections }) => [
        cpu,
        connections.map((connection) => connection.map(({ symbol }) => symbol)),
      ]),
      [
        [4, [['S0/USD', 'S4/USD'], ['S2/USD']]],
        [6, [['S1/USD', 'S3/USD']]],
      ],
    )
  })
})
