import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { compareDecimals, Replica } from '../../src/core/replica.ts'
import type { Outcome } from '../../src/core/replica.ts'
import { parseEvent } from '../../src/core/event-text.ts'

const head = (type: string, epoch: number, seq: number) =>
  `{"v":1,"type":"${type}","exchange":"x","symbol":"A/B","epoch":${epoch},"seq":${seq}`
const times = '"timestamp":null,"receivedUs":1,"publishedUs":2'

const snapshot = (epoch: number, seq: number, bids = '[[10,1]]', asks = '[[11,1]]') =>
  `${head('snapshot', epoch, seq)},"nonce":${seq},${times},"proof":"sequence","depth":5,` +
  `"bids":${bids},"asks":${asks}}`
const part = (epoch: number, seq: number, i: number, of: number, bids: string, asks = '[]') =>
  snapshot(epoch, seq, bids, asks).replace('"depth":5', `"part":${i},"parts":${of}`)
const delta = (epoch: number, seq: number, bids = '[[10,2]]', asks = '[]') =>
  `${head('delta', epoch, seq)},"nonce":${seq},${times},"bids":${bids},"asks":${asks}}`
const invalid = (epoch: number, seq: number) =>
  `${head('invalid', epoch, seq)},"reason":"gap","receivedUs":1,"publishedUs":2}`
const heartbeat = (epoch: number, seq: number, state = 'live') =>
  `${head('heartbeat', epoch, seq)},"state":"${state}","receivedUs":1,"publishedUs":2}`

type Step = readonly [event: string, outcome: Outcome, valid: boolean, bid?: string]

const tables: Record<string, readonly Step[]> = {
  'a run from its first snapshot': [
    [snapshot(5, 0), 'snapshot', true, '1'],
    [delta(5, 1), 'delta', true, '2'],
    [delta(5, 2, '[[10,3]]'), 'delta', true, '3'],
    [heartbeat(5, 2), 'heartbeat', true, '3'],
    [snapshot(5, 2, '[[10,3]]'), 'checkpoint', true, '3'],
    [delta(5, 3, '[[10,4]]'), 'delta', true, '4'],
  ],
  'a successor takes back what a dead writer left, then begins anew': [
    [snapshot(5, 0), 'snapshot', true, '1'],
    [delta(5, 1), 'delta', true, '2'],
    [invalid(6, 0), 'invalid', false],
    [delta(5, 2), 'zombie', false],
    [heartbeat(6, 0, 'invalid'), 'heartbeat', false],
    [invalid(6, 0), 'invalid', false],
    [snapshot(7, 0), 'snapshot', true, '1'],
    [delta(7, 1), 'delta', true, '2'],
  ],
  'a late joiner waits for a snapshot': [
    [delta(5, 8), 'waiting', false],
    [heartbeat(5, 8), 'heartbeat', false],
    [delta(5, 9), 'waiting', false],
    [snapshot(5, 9, '[[10,7]]'), 'snapshot', true, '7'],
    [delta(5, 10, '[[10,8]]'), 'delta', true, '8'],
  ],
  'duplicates change nothing': [
    [snapshot(5, 0), 'snapshot', true],
    [delta(5, 1), 'delta', true, '2'],
    [delta(5, 2, '[[10,9]]'), 'delta', true, '9'],
    [delta(5, 1), 'duplicate', true, '9'],
    [delta(5, 2, '[[10,9]]'), 'duplicate', true, '9'],
    [snapshot(5, 0), 'duplicate', true, '9'],
    [heartbeat(5, 1), 'heartbeat', true, '9'],
  ],
  'a gap ends the use until the next snapshot': [
    [snapshot(5, 0), 'snapshot', true],
    [delta(5, 2), 'gap', false],
    [delta(5, 3), 'waiting', false],
    [snapshot(5, 0), 'duplicate', false],
    [snapshot(5, 3, '[[10,6]]'), 'snapshot', true, '6'],
    [delta(5, 4, '[[10,5]]'), 'delta', true, '5'],
  ],
  'a heartbeat shows a loss at the end': [
    [snapshot(5, 0), 'snapshot', true],
    [heartbeat(5, 2), 'gap', false],
    [heartbeat(5, 2), 'heartbeat', false],
    [snapshot(5, 2), 'snapshot', true],
  ],
  'invalid ends the epoch for good': [
    [snapshot(5, 0), 'snapshot', true],
    [invalid(5, 1), 'invalid', false],
    [invalid(5, 1), 'invalid', false],
    [snapshot(5, 1), 'waiting', false],
    [delta(5, 2), 'waiting', false],
    [heartbeat(5, 1, 'invalid'), 'heartbeat', false],
    [snapshot(6, 0), 'snapshot', true],
  ],
  'invalid may jump over what was dropped': [
    [snapshot(5, 0), 'snapshot', true],
    [invalid(5, 40), 'invalid', false],
    [snapshot(6, 0), 'snapshot', true],
  ],
  'an invalid heartbeat stands for a lost invalid event': [
    [snapshot(5, 0), 'snapshot', true],
    [heartbeat(5, 1, 'invalid'), 'invalid', false],
    [snapshot(5, 1), 'waiting', false],
  ],
  'a higher epoch waits for its snapshot, a lower one is a zombie': [
    [snapshot(5, 0), 'snapshot', true],
    [delta(6, 1), 'waiting', false],
    [delta(5, 1), 'zombie', false],
    [snapshot(6, 1, '[[10,4]]'), 'snapshot', true, '4'],
    [snapshot(5, 7), 'zombie', true, '4'],
    [invalid(5, 8), 'zombie', true, '4'],
    [heartbeat(7, 3), 'heartbeat', false],
    [invalid(8, 0), 'invalid', false],
  ],
  'a checkpoint that differs is a mismatch, and is loaded': [
    [snapshot(5, 0), 'snapshot', true],
    [snapshot(5, 0, '[[10,1.5]]'), 'mismatch', true, '1.5'],
    [snapshot(5, 0, '[[10,1.5]]', '[[11,1],[12,1]]'), 'mismatch', true, '1.5'],
    [snapshot(5, 0, '[]', '[[11,1],[12,1]]'), 'mismatch', true],
    [delta(5, 1), 'delta', true, '2'],
  ],
  'a book at each change': [
    [snapshot(5, 0), 'snapshot', true, '1'],
    [snapshot(5, 1, '[[10,2]]'), 'snapshot', true, '2'],
    [snapshot(5, 2, '[[10,3]]'), 'snapshot', true, '3'],
  ],
  'a snapshot that is not best first is none': [
    [snapshot(5, 0, '[[10,1],[11,1]]'), 'mismatch', false],
    [snapshot(5, 1, '[[10,1],[10,1]]'), 'mismatch', false],
    [snapshot(5, 2, '[[10,0]]'), 'mismatch', false],
    [snapshot(5, 3, '[[10,1],[9.99,1]]', '[[10.5,1],[100,2]]'), 'snapshot', true, '1'],
  ],
  'a snapshot in parts': [
    [part(5, 0, 0, 3, '[[10,1],[9,1]]'), 'waiting', false],
    [part(5, 0, 2, 3, '[]', '[[11,1]]'), 'waiting', false],
    [delta(5, 1, '[[9,4]]'), 'waiting', false],
    [part(5, 0, 1, 3, '[[8,1]]'), 'snapshot', true, '1'],
    [delta(5, 2, '[[10,0]]'), 'delta', true, '4'],
    [part(5, 2, 0, 2, '[[9,4]]'), 'waiting', true, '4'],
    [part(5, 2, 1, 2, '[[8,1]]', '[[11,1]]'), 'checkpoint', true, '4'],
    [part(5, 2, 0, 2, '[[9,4]]'), 'waiting', true, '4'],
    [part(5, 2, 1, 2, '[[8,2]]', '[[11,1]]'), 'mismatch', true, '4'],
  ],
  'parts that do not belong together': [
    [part(5, 0, 0, 2, '[[10,1]]'), 'waiting', false],
    [part(5, 4, 1, 2, '[[9,1]]'), 'waiting', false],
    [part(5, 4, 0, 2, '[[10,2]]'), 'snapshot', true, '2'],
    [part(6, 0, 1, 2, '[[9,1]]'), 'waiting', false],
    [part(7, 0, 0, 2, '[[10,3]]'), 'waiting', false],
    [part(7, 0, 1, 2, '[[9,3]]'), 'snapshot', true, '3'],
  ],
  'old parts after a gap do not make the book usable': [
    [snapshot(5, 0), 'snapshot', true],
    [delta(5, 9), 'gap', false],
    [part(5, 3, 0, 2, '[[10,1]]'), 'waiting', false],
    [part(5, 3, 1, 2, '[[9,1]]'), 'waiting', false],
    [snapshot(5, 9), 'snapshot', true],
  ],
  'what is not an event of ours': [
    ['', 'unknown', false],
    ['{}', 'unknown', false],
    [snapshot(5, 0).replace('"v":1', '"v":2'), 'unknown', false],
    [snapshot(5, 0).replace('A/B', 'C/D'), 'unknown', false],
    [snapshot(5, 0).slice(0, -1), 'unknown', false],
    [snapshot(5, 0) + '}', 'unknown', false],
    [snapshot(5, 0).replace('[[10,1]]', '[[10,"1"]]'), 'unknown', false],
    [snapshot(5, 0).replace('[[10,1]]', '[[1e1,1]]'), 'unknown', false],
    [snapshot(5, 0).replace('[[10,1]]', '[[010,1]]'), 'unknown', false],
    [head('trade', 5, 0) + '}', 'unknown', false],
    [
      snapshot(5, 0).replace('"depth"', '"later":{"a":[1e3,-2.5E-7,null,{"b":"\\"]}"}]},"depth"'),
      'snapshot',
      true,
    ],
  ],
}

describe('the consumer rule', () => {
  for (const [name, steps] of Object.entries(tables)) {
    test(name, () => {
      const replica = new Replica('A/B')
      steps.forEach(([event, outcome, valid, bid], i) => {
        const value = i % 2 === 0 ? event : new TextEncoder().encode(event)
        const what = `step ${i}: ${event.slice(0, 120)}`
        assert.equal(replica.receive(value), outcome, what)
        assert.equal(replica.valid, valid, what)
        if (bid !== undefined) assert.equal(replica.bids(1)[0][1], bid, what)
      })
    })
  }

  test('what a snapshot jumped over is counted, removals of nothing too', () => {
    const replica = new Replica()
    replica.receive(snapshot(5, 0))
    replica.receive(snapshot(5, 3))
    assert.equal(replica.missed, 2)
    replica.receive(delta(5, 4, '[[9,0]]'))
    assert.equal(replica.orphans, 1)
  })

  test('header fields', () => {
    const replica = new Replica()
    replica.receive(snapshot(5, 3))
    assert.deepEqual([replica.epoch, replica.seq, replica.nonce], [5, 3, 3])
    replica.receive(delta(5, 4).replace('"nonce":4', '"nonce":"98765432109876543210"'))
    assert.equal(replica.nonce, '98765432109876543210')
    assert.equal(replica.event?.publishedUs, 2)
    replica.receive(invalid(5, 5))
    assert.equal(replica.event?.reason, 'gap')
  })
})

describe('levels', () => {
  test('no digit is lost', () => {
    const replica = new Replica()
    const price = '0.00000012345678901234567'
    replica.receive(
      snapshot(5, 0, `[[${price}8,12345678901234567890.5],[${price}7,1]]`, `[[${price}9,2]]`),
    )
    assert.deepEqual(replica.bids(), [[`${price}8`, '12345678901234567890.5'], [`${price}7`, '1']])
    assert.equal(replica.isCrossed, false)
    replica.receive(delta(5, 1, `[[${price}9,3]]`))
    assert.equal(replica.isCrossed, true)
    assert.deepEqual(replica.bids().map(([text]) => text.at(-1)), ['9', '8', '7'])
    replica.receive(delta(5, 2, `[[${price}9,0]]`))
    assert.equal(replica.bidCount, 2)
  })

  test('equal to a naive model after any deltas', () => {
    const level = fc.tuple(fc.integer({ min: -300, max: 300 }), fc.integer({ min: 0, max: 3 }))
    fc.assert(
      fc.property(fc.array(fc.array(level, { maxLength: 6 }), { maxLength: 30 }), (runs) => {
        const replica = new Replica()
        const model = new Map<number, number>()
        replica.receive(snapshot(5, 0, '[]', '[]'))
        runs.forEach((levels, i) => {
          const text = levels.map(([price, size]) => `[${price / 100},${size}]`).join()
          for (const [price, size] of levels) {
            if (size === 0) model.delete(price)
            else model.set(price, size)
          }
          assert.equal(replica.receive(delta(5, i + 1, `[${text}]`, `[${text}]`)), 'delta')
        })
        const sorted = [...model].sort(([a], [b]) => a - b)
          .map(([price, size]): [string, string] => [`${price / 100}`, `${size}`])
        assert.deepEqual(replica.asks(), sorted)
        assert.deepEqual(replica.bids(2), sorted.reverse().slice(0, 2))
      }),
    )
  })

  test('decimals compare exactly', () => {
    const digits = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n })
    const textOf = (value: bigint) => {
      const sign = value < 0n ? '-' : ''
      const padded = `${value < 0n ? -value : value}`.padStart(13, '0')
      const fraction = padded.slice(-12).replace(/0+$/, '')
      return `${sign}${padded.slice(0, -12)}${fraction === '' ? '' : `.${fraction}`}`
    }
    fc.assert(
      fc.property(digits, digits, (a, b) => {
        const expected = a < b ? -1 : a > b ? 1 : 0
        assert.equal(Math.sign(compareDecimals(textOf(a), textOf(b))), expected)
      }),
      { examples: [[-27n, -27n]] },
    )
  })
})

describe('reading a record value', () => {
  test('agrees with JSON.parse on every header', () => {
    const text = fc.string().filter((one) => !/^(bids|asks)$/.test(one))
    fc.assert(fc.property(text, fc.jsonValue(), fc.nat(), fc.nat(), (symbol, later, epoch, seq) => {
      const event = {
        v: 1,
        type: 'delta',
        later,
        exchange: 'x',
        symbol,
        epoch,
        seq,
        bids: [[1, 2]],
        asks: [],
      }
      for (const indent of [0, 1]) {
        const found = parseEvent(JSON.stringify(event, undefined, indent))
        assert.equal(found?.symbol, symbol)
        assert.equal(found?.epoch, epoch)
        assert.equal(found?.seq, seq)
        assert.deepEqual(found?.bids, ['1', '2'])
      }
    }))
  })

  test('never throws on a cut or broken value', () => {
    const whole = snapshot(5, 0)
    for (let i = 0; i < whole.length; i++) assert.equal(parseEvent(whole.slice(0, i)), undefined)
    fc.assert(fc.property(fc.string(), (noise) => {
      assert.equal(parseEvent(whole.slice(0, 20) + noise), undefined)
    }))
  })
})
