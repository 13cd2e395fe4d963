import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { assignPartitions } from '../../src/config/map-assignment.ts'
import type { Market } from '../../src/core/instrument.ts'

function market(symbol: string, active = true): Market {
  return { symbol, wireSymbol: symbol, priceDecimals: 2, sizeDecimals: 8, active }
}

interface Given {
  readonly existing?: Record<string, number>
  readonly retired?: Record<string, number>
  readonly listed: readonly string[]
  readonly wanted?: readonly string[]
  readonly partitions?: number
  readonly reuse?: boolean
}

function assign({ existing = {}, retired = {}, listed, wanted = listed, ...rest }: Given) {
  const result = assignPartitions({
    existing: new Map(Object.entries(existing)),
    retired: new Map(Object.entries(retired)),
    markets: [...listed.map((symbol) => market(symbol)), market('HALTED/USD', false)],
    wanted,
    partitions: rest.partitions,
    reuse: rest.reuse ?? false,
  })
  return {
    map: Object.fromEntries(result.map),
    retired: Object.fromEntries(result.retired),
    added: result.added,
    delisted: Object.fromEntries(result.delisted),
  }
}

describe('assignPartitions', () => {
  test('a first map: one partition each, the most important first', () => {
    assert.deepEqual(assign({ listed: ['A', 'B', 'C'], wanted: ['C', 'A'] }), {
      map: { C: 0, A: 1 },
      retired: {},
      added: ['C', 'A'],
      delisted: {},
    })
  })

  test('symbols keep their partition, also those not wanted any more; new ones fill the holes', () => {
    const { map, added } = assign({
      existing: { B: 7, A: 0 },
      listed: ['A', 'B', 'C', 'D'],
      wanted: ['C', 'A', 'D'],
    })
    assert.deepEqual(map, { B: 7, A: 0, C: 1, D: 2 })
    assert.deepEqual(Object.keys(map), ['B', 'A', 'C', 'D'], 'the order of the file stays')
    assert.deepEqual(added, ['C', 'D'])
  })

  test('a delisted or halted symbol leaves, its partition stays empty', () => {
    const given = { existing: { A: 0, OLD: 1, 'HALTED/USD': 2 }, listed: ['A', 'N'] }
    const first = assign(given)
    assert.deepEqual(first, {
      map: { A: 0, N: 3 },
      retired: { OLD: 1, 'HALTED/USD': 2 },
      added: ['N'],
      delisted: { OLD: 1, 'HALTED/USD': 2 },
    })
    const second = assign({ existing: first.map, retired: first.retired, listed: ['A', 'N', 'M'] })
    assert.deepEqual([second.map, second.retired], [{ A: 0, N: 3, M: 4 }, first.retired])
  })

  test('one that comes back gets its old partition', () => {
    const { map, retired } = assign({
      existing: { A: 0 },
      retired: { OLD: 1, GONE: 2 },
      listed: ['A', 'NEW', 'OLD'],
      wanted: ['NEW', 'OLD'],
    })
    assert.deepEqual([map, retired], [{ A: 0, NEW: 3, OLD: 1 }, { GONE: 2 }])
  })

  test('with reuse the partitions of delisted ones are given on', () => {
    const { map, retired } = assign({
      existing: { A: 0, OLD: 1 },
      retired: { GONE: 2 },
      listed: ['A', 'N'],
      reuse: true,
    })
    assert.deepEqual([map, retired], [{ A: 0, N: 1 }, { GONE: 2 }])
  })

  test('with reuse, too, one that comes back finds its old partition free', () => {
    const { map, retired } = assign({
      existing: { A: 0 },
      retired: { OLD: 1, GONE: 2 },
      listed: ['A', 'NEW', 'OLD'],
      wanted: ['NEW', 'OLD'],
      reuse: true,
    })
    assert.deepEqual([map, retired], [{ A: 0, NEW: 2, OLD: 1 }, {}])
  })

  test('bounded: new symbols go where the fewest are', () => {
    const { map } = assign({
      existing: { A: 0, B: 0, C: 1 },
      listed: ['A', 'B', 'C', 'D', 'E', 'F'],
      partitions: 3,
    })
    assert.deepEqual(map, { A: 0, B: 0, C: 1, D: 2, E: 1, F: 2 })
  })

  test('run again, nothing moves, whatever is listed or not', () => {
    const names = fc.uniqueArray(fc.constantFrom(...'ABCDEFGHIJ'), { minLength: 1 })
    fc.assert(
      fc.property(
        fc.array(names, { minLength: 2, maxLength: 6 }),
        fc.boolean(),
        (days, bounded) => {
          let existing: Record<string, number> = {}
          let retired: Record<string, number> = {}
          const homes = new Map<string, number>()
          for (const listed of days) {
            const given = { existing, retired, listed }
            const result = assign(bounded ? { ...given, partitions: 4 } : given)
            for (const [symbol, partition] of Object.entries(result.map)) {
              assert.equal(homes.get(symbol) ?? partition, partition, `${symbol} moved`)
              homes.set(symbol, partition)
            }
            assert.deepEqual(Object.keys(result.map).sort(), [...listed].sort())
            if (!bounded) {
              const used = [...Object.values(result.map), ...Object.values(result.retired)]
              assert.equal(new Set(used).size, used.length, 'no partition has two owners')
            }
            existing = result.map
            retired = result.retired
          }
        },
      ),
    )
  })
})
