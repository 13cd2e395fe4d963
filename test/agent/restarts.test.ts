/** Restart delays, the budget, and who counts as silent: all on a clock of our own. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { HeartbeatWatch, RESTART_POLICY, RestartHistory } from '../../src/agent/restarts.ts'

const policy = { ...RESTART_POLICY, budget: 1000 }

function delays(history: RestartHistory, deaths: readonly [started: number, now: number][]) {
  return deaths.map(([started, now]) => {
    const verdict = history.died(started, now)
    return verdict.action === 'restart' ? verdict.delayMs : -1
  })
}

describe('restarts', () => {
  test('the delay doubles from 0.5 s to 15 s', () => {
    const history = new RestartHistory(policy, () => 0)
    const deaths = Array.from({ length: 8 }, (_, i): [number, number] => [i * 100, i * 100 + 1])
    assert.deepEqual(delays(history, deaths), [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000])
  })

  test('jitter takes away up to half, so that the cap stays one', () => {
    fc.assert(fc.property(
      fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
        minLength: 1,
        maxLength: 40,
      }),
      (numbers) => {
        let i = 0
        const history = new RestartHistory(policy, () => numbers[i++ % numbers.length])
        for (let n = 0; n < 40; n++) {
          const verdict = history.died(n, n + 1)
          assert.ok(verdict.action === 'restart')
          const ceiling = Math.min(15000, 500 * 2 ** n)
          assert.ok(verdict.delayMs >= Math.floor(ceiling / 2) && verdict.delayMs <= ceiling)
        }
      },
    ))
  })

  test('a worker that held for a minute starts again quickly', () => {
    const history = new RestartHistory(policy, () => 0)
    assert.deepEqual(
      delays(history, [[0, 1], [10, 11], [20, 59_000], [60_000, 120_000], [120_000, 120_001]]),
      [500, 1000, 2000, 500, 1000],
    )
  })

  test('the budget is spent by one death more than it has within the window', () => {
    const history = new RestartHistory(RESTART_POLICY, () => 0)
    for (let i = 0; i < 10; i++) assert.equal(history.died(0, i * 1000).action, 'restart')
    assert.deepEqual(history.died(0, 20_000), { action: 'give-up', deaths: 11, withinMs: 20_000 })
  })

  test('deaths outside the window are forgotten', () => {
    const history = new RestartHistory(RESTART_POLICY, () => 0)
    for (let i = 0; i < 100; i++) assert.equal(history.died(0, i * 30_000).action, 'restart')
  })

  test('an outage of what it needs costs no budget', () => {
    const history = new RestartHistory(RESTART_POLICY, () => 0)
    for (let i = 0; i < 50; i++) assert.equal(history.died(0, i, true).action, 'restart')
    for (let i = 0; i < 10; i++) assert.equal(history.died(0, 100 + i).action, 'restart')
    assert.equal(history.died(0, 200).action, 'give-up')
  })
})

describe('heartbeats', () => {
  test('a worker silent for longer than the limit is named, once it was forgotten no more', () => {
    const watch = new HeartbeatWatch(10_000, 1000)
    watch.heard(1, 0)
    watch.heard(2, 0)
    for (let now = 1000; now <= 10_000; now += 1000) {
      watch.heard(2, now)
      assert.deepEqual(watch.check(now), [])
    }
    assert.deepEqual(watch.check(11_000), [1])
    watch.forget(1)
    assert.deepEqual(watch.check(12_000), [])
  })

  test('time in which the parent itself stood still does not count', () => {
    const watch = new HeartbeatWatch(10_000, 1000)
    watch.heard(1, 0)
    assert.deepEqual(watch.check(1000), [])
    assert.deepEqual(watch.check(500_000), [], 'the host was suspended')
    for (let now = 501_000; now < 507_000; now += 1000) assert.deepEqual(watch.check(now), [])
    assert.deepEqual(watch.check(509_500), [1], 'but silence after it does')
  })
})
