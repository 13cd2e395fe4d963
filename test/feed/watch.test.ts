import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { SNAPSHOT_WITHIN_MS, SymbolWatch } from '../../src/feed/watch.ts'

/** Loses the book at `nowMs`; returns the delay until it is asked for again. */
function delay(watch: SymbolWatch, nowMs: number): number {
  watch.lost(nowMs, 1)
  return watch.resyncAtMs - nowMs
}

describe('SymbolWatch', () => {
  test('asks at once, then after 1, 2, 4 .. 30 s; starts over when live for a while', () => {
    const watch = new SymbolWatch()
    const delays: number[] = []
    let now = 0
    for (let i = 0; i < 8; i++) {
      delays.push(delay(watch, now))
      now = watch.resyncAtMs
      watch.expect(now)
      watch.live(now + 10, 0, false)
      now += 1000
    }
    assert.deepEqual(delays, [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
    assert.equal(delay(watch, now + 21_000), 0)
  })

  test('jitter shortens a delay by up to half', () => {
    const watch = new SymbolWatch()
    watch.lost(0, 0)
    watch.expect(0)
    watch.live(0, 0, false)
    watch.lost(0, 0)
    assert.equal(watch.resyncAtMs, 500)
  })

  test('a loss while a resync is planned does not move it', () => {
    const watch = new SymbolWatch()
    watch.lost(100, 1)
    watch.lost(5000, 1)
    assert.equal(watch.resyncAtMs, 100)
    watch.expect(6000)
    assert.equal(delay(watch, 6000), 1000)
  })

  test('a snapshot that does not come is overdue, once postponed later', () => {
    const watch = new SymbolWatch()
    watch.expect(0)
    assert.equal(watch.due(SNAPSHOT_WITHIN_MS - 1, 0), 'nothing')
    assert.equal(watch.due(SNAPSHOT_WITHIN_MS, 0), 'overdue')
    watch.postpone(SNAPSHOT_WITHIN_MS)
    assert.equal(watch.due(SNAPSHOT_WITHIN_MS, 0), 'nothing')
    watch.live(SNAPSHOT_WITHIN_MS + 1, 1, false)
    assert.equal(watch.due(SNAPSHOT_WITHIN_MS * 3, 1), 'nothing')
  })

  test('a rejected symbol is asked for after 60 s, then twice as late, or as the exchange says', () => {
    const watch = new SymbolWatch()
    watch.reject(0, 0)
    assert.equal(watch.resyncAtMs, 60_000)
    watch.reject(60_000, 0)
    assert.equal(watch.resyncAtMs, 180_000)
    watch.reject(180_000, 1_000_000)
    assert.equal(watch.resyncAtMs, 1_180_000)
    watch.lost(1_000_000, 1)
    assert.equal(watch.resyncAtMs, 1_180_000)
    watch.live(1_180_000, 0, false)
    watch.reject(2_000_000, 0)
    assert.equal(watch.resyncAtMs, 2_060_000)
  })

  describe('rhythm', () => {
    /** Live at 0, then one message every `gapMs`, looked at every 100 ms. */
    function listen(gapMs: number, count: number): { watch: SymbolWatch; endMs: number } {
      const watch = new SymbolWatch()
      watch.live(0, 0, false)
      for (let now = 100; now <= gapMs * count; now += 100) {
        assert.notEqual(watch.due(now, Math.floor(now / gapMs)), 'stale', `at ${now}`)
      }
      return { watch, endMs: gapMs * count }
    }

    const staleAt = (watch: SymbolWatch, fromMs: number, messages: number): number => {
      for (let now = fromMs; now < fromMs + 1e8; now += 1000) {
        if (watch.due(now, messages) === 'stale') return now - fromMs
      }
      return Infinity
    }

    test('a lively symbol is suspicious after 10 s, a slow one after 5 of its gaps', () => {
      const lively = listen(10, 5000)
      assert.equal(staleAt(lively.watch, lively.endMs, 5000), 11_000)
      const slow = listen(5000, 100)
      const after = staleAt(slow.watch, slow.endMs, 100)
      assert.ok(after > 24_000 && after <= 27_000, `${after}`)
    })

    test('one that has hardly ever changed is given a minute', () => {
      const { watch, endMs } = listen(100, 5)
      assert.equal(staleAt(watch, endMs, 5), 61_000)
    })

    test('what is asked for must come within 4 s', () => {
      const { watch, endMs } = listen(100, 100)
      watch.check(endMs + 10_000)
      assert.equal(watch.due(endMs + 13_900, 101), 'nothing', 'whatever came meanwhile')
      assert.equal(watch.due(endMs + 14_000, 101), 'overdue')
      assert.equal(watch.isChecking, true)
      watch.lost(endMs + 14_000, 1)
      assert.equal(watch.isChecking, false)
    })

    test('when the book proved right the next silence must be twice as long', () => {
      const { watch, endMs } = listen(100, 100)
      const first = staleAt(watch, endMs, 100)
      watch.check(endMs + first)
      watch.live(endMs + first, 101, true)
      assert.equal(watch.isChecking, false)
      const second = staleAt(watch, endMs + first, 101)
      assert.ok(second >= 2 * first && second < 2 * first + 2000, `${second}`)
      const at = endMs + first + second
      watch.check(at)
      watch.live(at, 102, false)
      assert.equal(staleAt(watch, at, 102), 11_000)
    })

    test('a lively one that paused is suspicious as soon as before when that is an hour ago', () => {
      const { watch, endMs } = listen(500, 200)
      let now = endMs
      let messages = 200
      const pause = (): number => {
        const silentMs = staleAt(watch, now, messages)
        now += silentMs
        watch.check(now)
        watch.live(now, ++messages, true)
        return silentMs
      }
      const speak = (ms: number): void => {
        for (const endMs = now + ms; now < endMs; now += 500) watch.due(now, ++messages)
      }
      const near = (ms: number): void => {
        const silentMs = pause()
        assert.ok(Math.abs(silentMs - ms) <= 4000, `${silentMs}, expected about ${ms}`)
      }
      for (const ms of [10_000, 22_000, 46_000]) near(ms)
      speak(3_400_000)
      near(94_000)
      speak(3_700_000)
      assert.ok(watch.isLively)
      near(10_000)
      // What it was given before it is given again: one answer an hour.
      near(190_000)
    })

    test('a hundred symbols of any rhythm cost few answers, and fewer messages', () => {
      let state = 1
      const random = (): number => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        return (state + 1) / 2 ** 32
      }
      const kinds: Readonly<Record<string, () => number>> = {
        'of 5 s to an hour': () => 5000 * 720 ** random(),
        'of 1 s to 30 s': () => 1000 * 30 ** random(),
        'without any news': () => Infinity,
        'that speak twice a second for two minutes, and pause for three': () => 500,
      }
      for (const [kind, gapOf] of Object.entries(kinds)) {
        const each = Array.from({ length: 100 }, () => {
          const watch = new SymbolWatch()
          watch.live(0, 0, false)
          const gapMs = gapOf()
          return { watch, gapMs, nextMs: -Math.log(random()) * gapMs, messages: 0, at: random() }
        })
        const perHour: [answers: number, messages: number][] = []
        for (let now = 0; now < 3 * 3_600_000; now += 500) {
          const hour = Math.floor(now / 3_600_000)
          const counts = perHour[hour] ??= [0, 0]
          let isAsked = false
          for (const one of each) {
            for (; one.nextMs <= now; one.nextMs -= Math.log(random()) * one.gapMs) {
              const isPause = (one.nextMs / 300_000 + one.at) % 1 > 0.4
              if (one.gapMs !== 500 || !isPause) one.messages++
            }
            isAsked = one.watch.due(now, one.messages) === 'stale' || isAsked
          }
          if (!isAsked) continue
          counts[1]++
          for (const { watch, messages } of each) {
            const isNear = watch.isNearlyStale(now, messages)
            if (!isNear && watch.due(now, messages) !== 'stale') continue
            watch.check(now)
            watch.live(now, messages, true)
            counts[0]++
          }
        }
        for (const [hour, [answers, messages]] of perHour.entries()) {
          const what = `${kind}, hour ${hour}: ${answers} answers, ${messages} messages`
          assert.ok(answers <= (hour === 0 ? 700 : 200), what)
          assert.ok(messages <= (hour === 0 ? 100 : 50), what)
        }
      }
    })

    test('time in which nobody listened is no silence', () => {
      const { watch, endMs } = listen(100, 100)
      watch.listened(endMs + 9000)
      assert.equal(watch.due(endMs + 18_000, 100), 'nothing')
    })

    test('without a live book silence means nothing', () => {
      const { watch, endMs } = listen(100, 100)
      watch.idle()
      assert.equal(staleAt(watch, endMs, 100), Infinity)
    })
  })
})
