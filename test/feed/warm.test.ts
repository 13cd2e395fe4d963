import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import type { Environment } from '../../src/core/environment.ts'
import { adapters } from '../../src/exchanges/index.ts'
import { realEnvironment } from '../../src/feed/environment.ts'
import { warm } from '../../src/feed/warm.ts'
import { fakeAdapter } from './world.ts'

const INSTRUMENT = {
  symbol: 'BTC/USD',
  wireSymbol: 'BTC-USD',
  priceDecimals: 2,
  sizeDecimals: 8,
}

describe('warm', () => {
  for (const [exchange, adapter] of Object.entries(adapters)) {
    test(`${exchange}: every canned frame goes all the way, through the fast path`, async () => {
      let sessions = 0
      let fallbacks = 0
      let opened = 0
      let asked = 0
      const counting = {
        ...adapter,
        open: (...parameters: Parameters<typeof adapter.open>) => {
          const session = adapter.open(...parameters)
          sessions++
          const received = session.received.bind(session)
          session.received = (frame, receivedUs) => {
            received(frame, receivedUs)
            fallbacks += session.stats.scannerFallbacks
          }
          return session
        },
      }
      const environment: Environment = {
        ...realEnvironment,
        openSocket: () => {
          opened++
          throw new Error('no real socket is opened')
        },
        httpGet: () => {
          asked++
          throw new Error('nothing real is asked')
        },
      }
      const passes = { count: 0 }
      const records = await warm(counting, environment, () => passes.count++ < 2)
      const frames = adapter.warmFrames!(INSTRUMENT).length
      // Half of the sessions are rehearsals that count the opening messages; a life ends with one
      // `invalid`. Not every frame changes a book: some acknowledge, some only prove.
      const lives = sessions / 2
      assert.ok(lives >= 2)
      assert.ok(records > lives * frames * 0.6 && records <= lives * (frames + 1), `${records}`)
      assert.deepEqual([fallbacks, opened, asked], [0, 0, 0])
    })
  }

  test('a REST book is made of the canned answer, and of nothing without it', async () => {
    for (const adapter of [adapters.binance, adapters.binanceusdm]) {
      const passes = { count: 0 }
      const { warmSnapshot: _, ...silent } = adapter
      const records = await warm(
        silent,
        { ...realEnvironment, httpGet: () => assert.fail('nothing real is asked') },
        () => passes.count++ < 1,
      )
      assert.equal(records, 0)
      const { lastUpdateId, bids, asks } = JSON.parse(adapter.warmSnapshot!(INSTRUMENT))
      assert.ok(lastUpdateId > 0 && bids.length > 100 && asks.length > 100)
      assert.ok(Number(bids[0][0]) < Number(asks[0][0]))
    }
  })

  test('stops when it is not wanted any more, takes little time, lets the loop run', async () => {
    assert.equal(await warm(adapters.coinbase, realEnvironment, () => false), 0)
    let turns = 0
    const turning = setInterval(() => turns++, 5)
    const started = performance.now()
    await warm(adapters.coinbase, realEnvironment)
    clearInterval(turning)
    assert.ok(performance.now() - started < 3000)
    assert.ok(turns >= 3, `${turns}`)
  })

  test('does nothing for an adapter without canned frames', async () => {
    assert.equal(await warm(fakeAdapter(), realEnvironment), 0)
  })
})
