import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import type { Environment } from '../../src/core/environment.ts'
import { adapters } from '../../src/exchanges/index.ts'
import { realEnvironment } from '../../src/feed/environment.ts'
import { warm } from '../../src/feed/warm.ts'
import { fakeAdapter } from './world.ts'

describe('warm', () => {
  for (const [exchange, adapter] of Object.entries(adapters)) {
    if (adapter.warmFrames === undefined) continue
    test(`${exchange}: every canned frame goes all the way, through the fast path`, async () => {
      let sessions = 0
      let fallbacks = 0
      let opened = 0
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
      }
      const passes = { count: 0 }
      const records = await warm(counting, environment, () => passes.count++ < 2)
      const frames = adapter.warmFrames!({
        symbol: 'BTC/USD',
        wireSymbol: 'BTC-USD',
        priceDecimals: 2,
        sizeDecimals: 8,
      }).length
      // Half of the sessions are rehearsals that count the opening messages; a life ends with one
      // `invalid`. Not every frame changes a book: some acknowledge, some only prove.
      const lives = sessions / 2
      assert.ok(lives >= 2)
      assert.ok(records > lives * frames * 0.6 && records <= lives * (frames + 1), `${records}`)
      assert.deepEqual([fallbacks, opened], [0, 0])
    })
  }

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
