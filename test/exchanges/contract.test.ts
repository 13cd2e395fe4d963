/** Every adapter of the registry keeps the one contract. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adapters } from '../../src/exchanges/index.ts'
import { coinbaseFixture } from './coinbase.fixture.ts'
import { contract } from './contract.ts'
import type { Fixture } from './fixture.ts'

const fixtures: readonly Fixture[] = [coinbaseFixture]

test('every adapter has a fixture, under its own name', () => {
  assert.deepEqual(
    fixtures.map(({ adapter }) => adapter.exchange).sort(),
    Object.keys(adapters).sort(),
  )
  for (const { adapter } of fixtures) assert.equal(adapters[adapter.exchange], adapter)
})

for (const fixture of fixtures) contract(fixture)
