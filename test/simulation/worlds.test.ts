/** Many seeded worlds; a failure names the seed and prints the line that replays it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { adapters } from '../../src/exchanges/index.ts'
import { PINNED } from './pinned.ts'
import { PLANTED } from './planted.ts'
import { exchangeOf, EXCHANGES, runWorld } from './world.ts'

const WORLDS = Number(process.env['OBFEED_WORLDS'] ?? 360)
const PER_TEST = 90
/** A planted bug is found within so many worlds. */
const FOUND_WITHIN = 200
const SLOW = { timeout: 240_000 }

describe('worlds', () => {
  const seen = new Set<string>()

  for (let first = 1; first <= WORLDS; first += PER_TEST) {
    const last = Math.min(WORLDS, first + PER_TEST - 1)
    test(`seeds ${first} to ${last}: no book is wrong, and all recover`, SLOW, async () => {
      let compared = 0
      for (let seed = first; seed <= last; seed++) {
        const { failure, exchange, compared: books, faults } = await runWorld(seed)
        const replay = `./scripts/worlds --seeds 1 --from ${seed} --exchange ${exchange}`
        assert.equal(failure, undefined, replay)
        compared += books
        for (const kind of faults.keys()) seen.add(kind)
      }
      assert.ok(compared > 10 * (last - first), `only ${compared} books were compared`)
    })
  }

  test('every kind of fault strikes', { skip: WORLDS < 360 }, () => {
    assert.deepEqual(FAULTS.filter((kind) => !seen.has(kind)), [])
    // What exchanges have of their own, and what their adapters do about it.
    const other = [...seen].filter((kind) => !FAULTS.includes(kind))
    assert.deepEqual(other.filter((kind) => !kind.startsWith('exchange: ')), [])
  })

  test('the same seed is the same world, whatever ran before', SLOW, async () => {
    for (const exchange of EXCHANGES) {
      const once = await runWorld(40, { exchange })
      await runWorld(41, { exchange })
      assert.deepEqual(await runWorld(40, { exchange }), once, exchange)
    }
  })

  test('a seed has its exchange, and all have worlds', () => {
    const chosen = EXCHANGES.map((_, seed) => exchangeOf(seed))
    assert.deepEqual(chosen, EXCHANGES)
    assert.deepEqual([...EXCHANGES].sort(), Object.keys(adapters).sort())
  })
})

describe('a world that failed once stays whole', () => {
  for (const { exchange, seed, found } of PINNED) {
    test(`${exchange} ${seed}: ${found}`, SLOW, async () => {
      assert.equal((await runWorld(seed, { exchange })).failure, undefined)
    })
  }
})

describe('a planted bug is found', () => {
  for (const [name, bug] of Object.entries(PLANTED)) {
    test(name, SLOW, async () => {
      const { from = 1 } = bug
      for (let seed = from; seed < from + FOUND_WITHIN; seed++) {
        const { failure } = await runWorld(seed, bug)
        if (failure !== undefined) return
      }
      assert.fail(`not found within ${FOUND_WITHIN} worlds: ./scripts/worlds --bug ${name}`)
    })
  }
})

const FAULTS = [
  'answer lost',
  'answer slow',
  'book refreshed',
  'book spliced',
  'acknowledgement lost',
  'batch rejected',
  'batch stored late',
  'broker crashed',
  'broker stalled',
  'clock stepped',
  'connect hang',
  'connect refused',
  'connect refused for a while',
  'consumer joined late',
  'disconnect',
  'exchange outage',
  'exchange: crossed',
  'exchange: delist',
  'exchange: rest-error',
  'exchange: rest-lag',
  'exchange: rest-short',
  'exchange: stall',
  'exchange: wrong-snapshot',
  'frame cut',
  'frame dropped',
  'frame duplicated',
  'frame reordered',
  'frames delayed',
  'half-open',
  'handover',
  'leader moved',
  'line slow',
  'metadata refused',
  'partition missing in acknowledgement',
  'producer refused',
  'request lost',
  'run handed over',
  'send abandoned',
  'send never answered',
  'server behind',
  'snapshot slow',
  'stream dropped by the sink',
  'subscription ignored',
  'subscription refused',
  'succession without the exchange',
  'worker drained',
  'worker killed',
]
