/** Every adapter of the registry keeps the one contract. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { adapters } from '../../src/exchanges/index.ts'
import { binanceFixture, binanceusdmFixture } from './binance.fixture.ts'
import { bitfinexFixture } from './bitfinex.fixture.ts'
import { bitmexFixture } from './bitmex.fixture.ts'
import { bybitFixture } from './bybit.fixture.ts'
import { coinbaseFixture } from './coinbase.fixture.ts'
import { coinbaseexchangeFixture } from './coinbaseexchange.fixture.ts'
import { krakenFixture } from './kraken.fixture.ts'
import { okxFixture } from './okx.fixture.ts'
import { contract } from './contract.ts'
import type { Fixture } from './fixture.ts'

const fixtures: readonly Fixture[] = [
  binanceFixture,
  binanceusdmFixture,
  bitfinexFixture,
  bitmexFixture,
  bybitFixture,
  coinbaseFixture,
  coinbaseexchangeFixture,
  krakenFixture,
  okxFixture,
]

test('every adapter has a fixture, under its own name', () => {
  assert.deepEqual(
    fixtures.map(({ adapter }) => adapter.exchange).sort(),
    Object.keys(adapters).sort(),
  )
  for (const { adapter } of fixtures) assert.equal(adapters[adapter.exchange], adapter)
})

for (const fixture of fixtures) contract(fixture)
