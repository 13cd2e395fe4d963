/** Worlds that found a bug in the product: they pass now, and fail with the bug planted again. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { EpochFloor } from '../../src/agent/epochs.ts'
import { REGRESSIONS } from './planted.ts'
import { runWorld } from './world.ts'

describe('regressions', () => {
  for (const [name, { seed, exchange, planted }] of Object.entries(REGRESSIONS)) {
    test(`${name}, seed ${seed}`, async () => {
      const now = await runWorld(seed, { exchange })
      const replay = `./scripts/worlds --seeds 1 --from ${seed} --exchange ${exchange}`
      assert.equal(now.failure, undefined, replay)
      const then = await runWorld(seed, { exchange, planted })
      assert.ok(
        then.failure !== undefined,
        `seed ${seed} does not find it any more, the worlds have changed; find another with ` +
          `./scripts/worlds --bug ${name}`,
      )
    })
  }
})

describe('the epoch floor of a restarted worker', () => {
  /** Whose first life began at this time. */
  function begun(wallMs: number, monotonicMs: number): EpochFloor {
    const epochs = new EpochFloor()
    assert.equal(epochs.begin(wallMs, monotonicMs), 0, 'nothing was there before')
    return epochs
  }

  test('the life before never told anything: the present all the same', () => {
    assert.equal(begun(1_000_000, 5).begin(1_000_002, 7), 1_000_002)
  })

  test('a steady clock: the present, so that an epoch stays the time it began', () => {
    const epochs = begun(1_000_000, 5)
    epochs.reported(900_000)
    assert.equal(epochs.begin(1_000_020, 25), 1_000_020)
  })

  test('a clock set back: beyond all that it showed before', () => {
    const epochs = begun(1_000_000, 5)
    epochs.reported(0)
    epochs.clock(400_000, 1_005)
    assert.equal(epochs.begin(400_200, 1_205), 1_001_200)
  })

  test('epochs ahead of every clock: beyond what may have followed the last report', () => {
    const epochs = begun(1_000, 0)
    epochs.reported(9_000_000)
    epochs.reported(8_000_000)
    assert.ok(epochs.begin(1_000, 0) >= 9_001_000)
  })
})
