/** Many seeded worlds; a failure names the seed and prints the line that replays it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PLANTED } from './planted.ts'
import { runWorld } from './world.ts'

const WORLDS = Number(process.env['OBFEED_WORLDS'] ?? 1000)
const PER_TEST = 100
/** A planted bug is found within so many worlds. */
const FOUND_WITHIN = 200
const SLOW = { timeout: 120_000 }

describe('worlds', () => {
  for (let first = 1; first <= WORLDS; first += PER_TEST) {
    const last = Math.min(WORLDS, first + PER_TEST - 1)
    test(`seeds ${first} to ${last}: no book is wrong, and all recover`, SLOW, async () => {
      let compared = 0
      for (let seed = first; seed <= last; seed++) {
        const { failure, compared: books } = await runWorld(seed)
        assert.equal(failure, undefined, `./scripts/worlds --seeds 1 --from ${seed}`)
        compared += books
      }
      assert.ok(compared > 10 * (last - first), `only ${compared} books were compared`)
    })
  }

  test('the same seed is the same world, whatever ran before', SLOW, async () => {
    for (const seed of [7, 40, 122]) {
      const once = await runWorld(seed)
      await runWorld(seed + 1)
      assert.deepEqual(await runWorld(seed), once)
    }
  })

  test('every kind of fault strikes', SLOW, async () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= 150; seed++) {
      for (const kind of (await runWorld(seed)).faults.keys()) seen.add(kind)
    }
    assert.deepEqual([...seen].sort(), FAULTS)
  })
})

describe('a planted bug is found', () => {
  for (const [name, planted] of Object.entries(PLANTED)) {
    test(name, SLOW, async () => {
      for (let seed = 1; seed <= FOUND_WITHIN; seed++) {
        const { failure } = await runWorld(seed, { planted })
        if (failure !== undefined) return
      }
      assert.fail(`not found within ${FOUND_WITHIN} worlds: ./scripts/worlds --bug ${name}`)
    })
  }
})

const FAULTS = [
  'acknowledgement lost',
  'batch rejected',
  'batch stored late',
  'broker crashed',
  'broker stalled',
  'clock stepped',
  'connect hang',
  'connect refused',
  'consumer joined late',
  'disconnect',
  'exchange outage',
  'exchange: crossed',
  'exchange: stall',
  'exchange: wrong-snapshot',
  'frame cut',
  'frame dropped',
  'frame duplicated',
  'frame reordered',
  'frames delayed',
  'half-open',
  'leader moved',
  'line slow',
  'metadata refused',
  'partition missing in acknowledgement',
  'producer refused',
  'request lost',
  'send abandoned',
  'send never answered',
  'snapshot slow',
  'stream dropped by the sink',
  'subscription ignored',
  'subscription refused',
  'succession without the exchange',
  'worker drained',
  'worker killed',
]
