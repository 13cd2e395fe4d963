/** The parts of the worlds themselves: what they claim of time, broker and consumer is true. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PartitionBatch } from '../../src/kafka/wire.ts'
import { type EventKind, KIND_DELTA } from '../../src/sinks/sink.ts'
import { NO_BROKER_FAULTS, SimulatedCluster, type StoredRecord } from './broker.ts'
import { Random, VirtualClock } from './clock.ts'
import { ConsumerBook, readEvent } from './consumer.ts'
import { Tally } from './tally.ts'

function run(clock: VirtualClock, untilUs: number): Promise<void> {
  return clock.run(untilUs, () => {}, () => false)
}

describe('clock', () => {
  test('events run by time, then in the order they were made; cancelled ones never', async () => {
    const clock = new VirtualClock(0)
    const random = new Random(1, 'order')
    const ran: number[] = []
    const expected: { at: number; n: number }[] = []
    for (let n = 0; n < 500; n++) {
      const at = random.int(0, 40)
      const timer = clock.after(at, () => ran.push(n))
      if (n % 7 === 0) timer.cancel()
      else expected.push({ at, n })
    }
    await run(clock, 100)
    expected.sort((a, b) => a.at - b.at || a.n - b.n)
    assert.deepEqual(ran, expected.map(({ n }) => n))
    assert.equal(clock.timeUs, 100)
  })

  test('promise jobs that an event sets off end before the next event', async () => {
    const clock = new VirtualClock(0)
    const ran: string[] = []
    clock.after(5, async () => {
      for (let i = 0; i < 15; i++) await undefined
      ran.push(`jobs at ${clock.timeUs}`)
    })
    clock.after(5, () => ran.push('next'))
    await run(clock, 10)
    assert.deepEqual(ran, ['jobs at 5', 'next'])
  })
})

function batch(...values: string[]): PartitionBatch[] {
  const encoder = new TextEncoder()
  const records = values.map((value) => ({
    key: encoder.encode('K'),
    value: encoder.encode(value),
    timestampMs: 0,
    kind: KIND_DELTA as EventKind,
  }))
  return [{ partition: 0, records }]
}

function cluster(seed: number) {
  const clock = new VirtualClock(0)
  const tally = new Tally()
  const log: StoredRecord[] = []
  const size = { brokers: 2, partitions: 1 }
  const made = new SimulatedCluster(clock, new Random(seed, 'b'), tally, size, (r) => log.push(r))
  const values = (): string[] => log.map(({ value }) => value)
  return { clock, tally, log, values, cluster: made, wire: made.connect() }
}

describe('broker', () => {
  test('a batch whose acknowledgement was lost is stored once', async () => {
    const { clock, cluster: made, wire, values } = cluster(3)
    made.faults = { ...NO_BROKER_FAULTS, lostAck: 1 }
    const acked: (readonly number[])[] = []
    void wire.open(made.leaderOf(0)).then(async (producer) => {
      acked.push(await producer.send(batch('a', 'b')))
      acked.push(await producer.send(batch('c')))
    })
    await run(clock, 1_000_000)
    made.faults = NO_BROKER_FAULTS
    await run(clock, 60_000_000)
    assert.deepEqual(acked, [[0], [0]])
    assert.deepEqual(values(), ['a', 'b', 'c'])
  })

  test('an identity that is used on after a failure loses data without a word', async () => {
    const { clock, cluster: made, wire, values } = cluster(4)
    made.faults = { ...NO_BROKER_FAULTS, lostAck: 1 }
    const outcomes: string[] = []
    void wire.open(made.leaderOf(0)).then(async (producer) => {
      await producer.send(batch('a')).catch(() => outcomes.push('failed'))
      made.faults = NO_BROKER_FAULTS
      await new Promise<void>((resolve) => clock.after(1_000_000, resolve))
      outcomes.push(String(await producer.send(batch('b'))))
    })
    await run(clock, 60_000_000)
    assert.deepEqual(outcomes, ['failed', '0'])
    assert.deepEqual(values(), ['a'], 'b took the sequence of a')
  })

  test('a stalled broker stores what its client has long given up', async () => {
    const { clock, cluster: made, wire, log } = cluster(5)
    let failed = false
    void wire.open(made.leaderOf(0)).then(async (producer) => {
      made.stall(made.leaderOf(0))
      await producer.send(batch('a')).catch(() => failed = true)
      await producer.close()
      made.unstall(made.leaderOf(0))
    })
    await run(clock, 60_000_000)
    assert.ok(failed)
    assert.deepEqual(log.map(({ value, late }) => [value, late]), [['a', true]])
  })
})

function event(type: string, epoch: number, seq: number, rest: string): string {
  return `{"v":1,"type":"${type}","exchange":"coinbase","symbol":"A/B","epoch":${epoch},` +
    `"seq":${seq},${rest}}`
}

describe('consumer', () => {
  const snapshot = '"nonce":1,"bids":[[10.5,1],[10,0.30000000000000004]],"asks":[]'

  function read(book: ConsumerBook, text: string): string {
    return book.receive(readEvent(text))
  }

  test('follows the rule: load, apply, drop, gap, checkpoint, invalid, zombie', () => {
    const book = new ConsumerBook()
    assert.equal(read(book, event('delta', 5, 1, '"bids":[[10,1]],"asks":[]')), 'dropped')
    assert.equal(read(book, event('snapshot', 5, 0, snapshot)), 'loaded')
    assert.equal(book.text(), '10.5:1 10:0.30000000000000004 |')
    assert.equal(
      read(book, event('delta', 5, 1, '"nonce":2,"bids":[[10.5,0]],"asks":[[11,2]]')),
      'applied',
    )
    assert.equal(book.text(), '10:0.30000000000000004 | 11:2')
    assert.equal(read(book, event('delta', 5, 1, '"bids":[[1,1]],"asks":[]')), 'dropped')
    assert.equal(read(book, event('delta', 5, 3, '"bids":[[1,1]],"asks":[]')), 'gap')
    assert.equal(book.valid, false)
    assert.equal(read(book, event('snapshot', 5, 3, snapshot)), 'loaded')
    assert.equal(read(book, event('snapshot', 4, 9, snapshot)), 'dropped')
    assert.equal(read(book, event('invalid', 5, 4, '"reason":"gap"')), 'invalid')
    assert.equal(read(book, event('snapshot', 5, 4, snapshot)), 'dropped')
    assert.equal(book.valid, false)
    assert.equal(read(book, event('snapshot', 6, 0, snapshot)), 'loaded')
    assert.equal(book.valid, true)
  })

  test('refuses numbers that are not the canonical text', () => {
    for (const level of ['[1.50,1]', '[1e3,1]', '[01,1]', '[1,0.0]', '["1",1]']) {
      assert.throws(() => readEvent(event('delta', 1, 1, `"bids":[${level}],"asks":[]`)), level)
    }
  })
})
