import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ObfeedError } from '../../src/core/errors.ts'
import { Publisher } from '../../src/kafka/publisher.ts'
import type { PublisherOptions } from '../../src/kafka/publisher.ts'
import { KIND_DELTA, KIND_INVALID, KIND_SNAPSHOT } from '../../src/sinks/sink.ts'
import { Heard, pushText, ScriptedWire, settle, streamsOn, VirtualClock } from './fakes.ts'

interface Stage {
  clock: VirtualClock
  wire: ScriptedWire
  heard: Heard
  publisher: Publisher
}

async function stage(
  leaders: Readonly<Record<number, number>>,
  partitions: number[],
  options: Partial<PublisherOptions> = {},
): Promise<Stage> {
  const clock = new VirtualClock()
  const wire = new ScriptedWire(leaders)
  const heard = new Heard()
  const publisher = new Publisher(
    {
      whenFull: 'conflate',
      queueBytesMax: 10_000,
      queueAgeMsMax: 5_000,
      deliveryTimeoutMs: 30_000,
      ...options,
    },
    clock,
    wire,
  )
  await publisher.start(streamsOn(...partitions), heard)
  return { clock, wire, heard, publisher }
}

describe('batches', () => {
  test('the first event after idle leaves at once, the rest with the next batch', async () => {
    const { wire, publisher } = await stage({ 0: 1 }, [0])
    pushText(publisher, 0, KIND_SNAPSHOT, 'a')
    pushText(publisher, 0, KIND_DELTA, 'b')
    assert.equal(wire.sent.length, 0)
    await settle()
    assert.deepEqual(wire.last.records, ['0:a', '0:b'])
    pushText(publisher, 0, KIND_DELTA, 'c')
    await settle()
    pushText(publisher, 0, KIND_DELTA, 'd')
    await settle()
    assert.equal(wire.sent.length, 1)
    await wire.last.acknowledge()
    assert.deepEqual(wire.last.records, ['0:c', '0:d'])
    assert.equal(new TextDecoder().decode(wire.last.batches[0].records[0].key), 'S0/USD')
    assert.equal(publisher.stats.sentRecords, 2)
    assert.equal(publisher.stats.queuedRecords, 2)
  })

  test('one send per leader at a time, leaders independent', async () => {
    const { wire, publisher } = await stage({ 0: 1, 1: 1, 2: 7 }, [0, 1, 2])
    for (let stream = 0; stream < 3; stream++) pushText(publisher, stream, KIND_DELTA, `x${stream}`)
    await settle()
    assert.deepEqual(wire.sent.map(({ leader, records }) => [leader, records]), [
      [1, ['0:x0', '1:x1']],
      [7, ['2:x2']],
    ])
  })

  test('at most 500 records and 900 kB of a partition, in order', async () => {
    const { wire, publisher } = await stage({ 0: 1 }, [0], { queueBytesMax: 10_000_000 })
    const expected: string[] = []
    for (let i = 0; i < 1_203; i++) {
      pushText(publisher, 0, KIND_DELTA, `${i}`)
      expected.push(`0:${i}`)
    }
    await settle()
    for (let i = 0; i < 3; i++) await wire.last.acknowledge()
    assert.deepEqual(wire.log, expected)
    assert.deepEqual(wire.sent.map(({ records }) => records.length), [500, 500, 203])
    for (let i = 0; i < 4; i++) pushText(publisher, 0, KIND_SNAPSHOT, `${i}`.repeat(400_000))
    await settle()
    assert.deepEqual(wire.last.records.map((text) => text.length), [400_002, 400_002])
    await wire.last.acknowledge()
    assert.equal(wire.last.records.length, 2)
    assert.ok(wire.last.records[1] === `0:${'3'.repeat(400_000)}`)
  })

  test('a record larger than a batch goes alone', async () => {
    const { wire, publisher } = await stage({ 0: 1 }, [0], { queueBytesMax: 10_000_000 })
    pushText(publisher, 0, KIND_SNAPSHOT, 'x'.repeat(950_000))
    pushText(publisher, 0, KIND_DELTA, 'y')
    await settle()
    assert.equal(wire.last.records.length, 1)
    await wire.last.acknowledge()
    assert.deepEqual(wire.last.records, ['0:y'])
  })

  test('a topic that takes less gets less, and only its streams begin anew', async () => {
    const narrowed: number[] = []
    const { clock, wire, heard, publisher } = await stage({ 0: 1, 1: 2 }, [0, 0, 1], {
      queueBytesMax: 10_000_000,
      narrowed: (bytes) => narrowed.push(bytes),
    })
    const tooLarge = new ObfeedError('E_TOO_LARGE', 'too large', { scope: 'agent' })
    assert.equal(publisher.recordBytesMax, 700_000)
    for (const text of ['a', 'b']) pushText(publisher, 0, KIND_SNAPSHOT, text.repeat(20_000))
    pushText(publisher, 1, KIND_DELTA, 'c')
    pushText(publisher, 2, KIND_DELTA, 'd')
    await settle()
    await wire.sent[0].reject(tooLarge)
    assert.deepEqual(narrowed, [20_000])
    assert.deepEqual(heard.lines, ['dropped 0 2', 'dropped 1 1'])
    assert.ok(publisher.recordBytesMax < 20_000)
    await clock.advance(1_000)
    assert.deepEqual(heard.lines.slice(2), ['writable 0', 'writable 1'])
    for (const text of ['a', 'b']) pushText(publisher, 0, KIND_SNAPSHOT, text.repeat(15_000))
    await settle()
    assert.deepEqual(wire.last.records.map((text) => text.length), [15_002], 'one at a time')
    assert.deepEqual(heard.failures, [])
  })

  test('a topic that takes no books at all ends the agent', async () => {
    const { clock, wire, heard, publisher } = await stage({ 0: 1 }, [0])
    const tooLarge = new ObfeedError('E_TOO_LARGE', 'too large', { scope: 'agent' })
    for (let length = 8_400; heard.failures.length === 0; length = publisher.recordBytesMax) {
      pushText(publisher, 0, KIND_SNAPSHOT, 'a'.repeat(length))
      await settle()
      await wire.last.reject(tooLarge)
      await clock.advance(1_000)
    }
    assert.deepEqual(heard.failures, [tooLarge])
    assert.equal(wire.sent.length, 2)
  })

  test('bytes are copied once and stay what they were, over many turns', async () => {
    const { wire, publisher } = await stage({ 0: 1 }, [0, 0], { queueBytesMax: 1e9 })
    wire.automatic = true
    const expected: string[] = []
    let seed = 7
    for (let i = 0; i < 3_000; i++) {
      seed = (seed * 48_271) % 2_147_483_647
      const text = `${i}-${'ab'.repeat(seed % (i % 97 === 0 ? 12_000 : 90))}`
      pushText(publisher, i % 2, KIND_DELTA, text)
      expected.push(`0:${text}`)
      if (seed % 5 === 0) await settle()
    }
    await settle()
    assert.deepEqual(wire.log, expected)
    assert.equal(publisher.stats.queuedRecords, 0)
    assert.equal(publisher.stats.queuedBytes, 0)
  })

  test('memory is not written again while its records wait or are in flight', async () => {
    const { wire, publisher } = await stage({ 0: 1, 1: 2 }, [0, 0, 1], { queueBytesMax: 1e9 })
    const expected: string[][] = [[], [], []]
    let seed = 11
    for (let i = 0; i < 6_000; i++) {
      seed = (seed * 48_271) % 2_147_483_647
      const stream = seed % 3
      const text = `${stream}-${i}-${'q'.repeat(seed % 200)}`
      pushText(publisher, stream, KIND_DELTA, text)
      expected[stream].push(text)
      if (seed % 4 === 0) await settle()
      if (seed % 23 === 0) await wire.acknowledgeNext() // checks that the bytes are what they were
    }
    while (publisher.stats.queuedRecords > 0) await wire.acknowledgeNext()
    for (const [stream, texts] of expected.entries()) {
      const sent = wire.log.map((text) => text.slice(2))
        .filter((text) => text.startsWith(`${stream}-`))
      assert.deepEqual(sent, texts)
    }
  })

  test('latency is counted from the push', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1 }, [0])
    pushText(publisher, 0, KIND_DELTA, 'a')
    await clock.advance(3)
    await wire.last.acknowledge()
    assert.equal(publisher.stats.latencyCount, 1)
    assert.equal(publisher.stats.latencySumS, 0.003)
    assert.equal(publisher.stats.latencyBuckets[3], 1)
  })
})

describe('conflation', () => {
  test('over the byte limit the largest backlog goes, what is in flight stays', async () => {
    const { clock, wire, heard, publisher } = await stage({ 0: 1, 1: 1 }, [0, 1])
    pushText(publisher, 0, KIND_SNAPSHOT, 'first')
    await settle()
    for (let i = 0; i < 10; i++) pushText(publisher, 1, KIND_DELTA, `small${i}`)
    let taken = 0
    while (pushText(publisher, 0, KIND_DELTA, `${taken}`.padEnd(500, '.'))) taken += 1
    assert.deepEqual(heard.take(), [`dropped 0 ${taken + 1}`])
    assert.equal(publisher.stats.droppedRecords, taken + 1)
    assert.equal(pushText(publisher, 0, KIND_DELTA, 'refused'), false)
    assert.equal(pushText(publisher, 1, KIND_DELTA, 'other'), true)
    await clock.advance(1_000)
    assert.deepEqual(heard.take(), [], 'not writable while nothing is acknowledged')
    heard.onWritable = (stream) => pushText(publisher, stream, KIND_SNAPSHOT, 'anew')
    await wire.last.acknowledge()
    assert.deepEqual(heard.take(), ['writable 0'])
    assert.deepEqual(wire.last.records.slice(0, 2), ['0:anew', '1:small0'])
    assert.equal(wire.last.records.at(-1), '1:other')
    assert.deepEqual(wire.log.filter((text) => text.startsWith('0:')), ['0:first', '0:anew'])
  })

  test('an event too old drops its stream only', async () => {
    const { clock, wire, heard, publisher } = await stage({ 0: 1, 1: 1 }, [0, 1])
    pushText(publisher, 1, KIND_DELTA, 'in flight')
    await settle()
    pushText(publisher, 0, KIND_DELTA, 'old')
    await clock.advance(3_000)
    pushText(publisher, 1, KIND_DELTA, 'younger')
    await clock.advance(2_500)
    assert.deepEqual(heard.take(), ['dropped 0 1'])
    await wire.last.acknowledge()
    assert.deepEqual(heard.take(), ['writable 0'])
    assert.deepEqual(wire.last.records, ['1:younger'])
  })

  test('an invalid event is always taken, survives a drop, and one of them is kept', async () => {
    const { wire, heard, publisher } = await stage({ 0: 1, 1: 1 }, [0, 1])
    pushText(publisher, 1, KIND_DELTA, 'in flight')
    await settle()
    pushText(publisher, 0, KIND_DELTA, 'lost')
    pushText(publisher, 0, KIND_INVALID, 'said before')
    while (pushText(publisher, 0, KIND_DELTA, 'x'.repeat(900)));
    assert.equal(heard.take().length, 1)
    assert.equal(pushText(publisher, 0, KIND_INVALID, 'said after'), true)
    assert.equal(pushText(publisher, 0, KIND_INVALID, 'said last'), true)
    await wire.last.acknowledge()
    assert.deepEqual(wire.last.records, ['0:said last'])
  })

  test('a drop leaves the invalid event that was said before', async () => {
    const { wire, heard, publisher } = await stage({ 0: 1 }, [0])
    pushText(publisher, 0, KIND_SNAPSHOT, 'epoch 1')
    await settle()
    pushText(publisher, 0, KIND_DELTA, 'lost')
    pushText(publisher, 0, KIND_INVALID, 'end of epoch 1')
    pushText(publisher, 0, KIND_SNAPSHOT, 'epoch 2')
    while (pushText(publisher, 0, KIND_DELTA, 'x'.repeat(900)));
    assert.equal(heard.take().length, 1)
    await wire.last.acknowledge()
    assert.deepEqual(wire.log, ['0:epoch 1', '0:end of epoch 1'])
  })

  test('the feed may say invalid from inside dropped', async () => {
    const { wire, heard, publisher } = await stage({ 0: 1 }, [0])
    heard.onDropped = (stream) => {
      assert.equal(pushText(publisher, stream, KIND_INVALID, 'overflow'), true)
    }
    pushText(publisher, 0, KIND_SNAPSHOT, 'first')
    await settle()
    while (pushText(publisher, 0, KIND_DELTA, 'x'.repeat(900)));
    await wire.last.acknowledge()
    assert.deepEqual(wire.log, ['0:first', '0:overflow'])
  })

  test('memory is bounded though nothing is ever acknowledged', async () => {
    const { clock, heard, publisher } = await stage({ 0: 1, 1: 2 }, [0, 1, 0])
    heard.onWritable = (stream) => pushText(publisher, stream, KIND_SNAPSHOT, 's'.repeat(2_000))
    for (let i = 0; i < 5_000; i++) {
      pushText(publisher, i % 3, i % 50 === 0 ? KIND_INVALID : KIND_DELTA, 'd'.repeat(200))
      if (i % 10 === 0) await clock.advance(100)
      assert.ok(publisher.stats.queuedBytes <= 10_000 + 3 * 200, `${publisher.stats.queuedBytes}`)
    }
    assert.ok(publisher.stats.droppedRecords > 100)
  })
})

describe('block and exit', () => {
  test('block asks for a pause and ends it below half', async () => {
    const { wire, heard, publisher } = await stage({ 0: 1 }, [0], { whenFull: 'block' })
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    let pushed = 0
    while (heard.lines.length === 0) {
      assert.equal(pushText(publisher, 0, KIND_DELTA, 'x'.repeat(500)), true)
      pushed += 1
    }
    assert.deepEqual(heard.take(), ['pressure true'])
    assert.equal(pushText(publisher, 0, KIND_DELTA, 'still taken'), true)
    await wire.last.acknowledge()
    assert.deepEqual(heard.take(), [])
    await wire.last.acknowledge()
    assert.deepEqual(heard.take(), ['pressure false'])
    assert.equal(wire.log.length, pushed + 2)
  })

  test('block is bounded too', async () => {
    const { heard, publisher } = await stage({ 0: 1 }, [0], { whenFull: 'block' })
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    while (pushText(publisher, 0, KIND_DELTA, 'x'.repeat(500)));
    assert.ok(publisher.stats.queuedBytes <= 20_000)
    assert.match(heard.take().join(), /^pressure true,dropped 0 \d+$/)
  })

  test('exit fails once, and says why', async () => {
    const { heard, publisher } = await stage({ 0: 1 }, [0], { whenFull: 'exit' })
    for (let i = 0; i < 60; i++) pushText(publisher, 0, KIND_DELTA, 'x'.repeat(500))
    assert.equal(heard.failures.length, 1)
    assert.equal(heard.failures[0].code, 'E_OVERFLOW')
    assert.equal(heard.failures[0].exitCode, 75)
  })
})

describe('a spent identity', () => {
  const failures: [string, (stage: Stage) => Promise<void>][] = [
    ['a rejected send', ({ wire }) => wire.last.reject(new Error('broker went away'))],
    ['a missing acknowledgement', ({ wire }) => wire.last.acknowledge([])],
    ['the delivery timeout', ({ clock }) => clock.advance(30_001)],
  ]
  for (const [name, fail] of failures) {
    test(`${name}: its streams begin anew, the others go on, nothing is sent again`, async () => {
      const it = await stage({ 0: 1, 1: 1 }, [0, 1], { queueAgeMsMax: 60_000 })
      const { clock, wire, heard, publisher } = it
      pushText(publisher, 0, KIND_SNAPSHOT, 'unknown')
      await settle()
      pushText(publisher, 0, KIND_DELTA, 'behind')
      pushText(publisher, 1, KIND_SNAPSHOT, 'never sent')
      const failing = wire.last
      await fail(it)
      assert.deepEqual(heard.take().slice(0, 1), ['dropped 0 2'])
      heard.onWritable = (stream) => pushText(publisher, stream, KIND_SNAPSHOT, 'new epoch')
      await clock.advance(200)
      assert.deepEqual(wire.closed, [0])
      assert.deepEqual(wire.opened, [1, 1])
      assert.equal(wire.last.identity, 1)
      assert.deepEqual(wire.last.records, ['0:new epoch', '1:never sent'])
      assert.deepEqual(heard.take(), ['writable 0'])
      assert.equal(publisher.stats.errors, 1)
      assert.ok(wire.leadersCalls >= 2, 'the leaders are read again')
      // A late answer changes nothing.
      await failing.acknowledge()
      assert.equal(wire.sent.length, 2)
      await wire.last.acknowledge()
      assert.equal(publisher.stats.queuedRecords, 0)
      assert.equal(publisher.stats.droppedRecords, 2)
    })
  }

  test('of a partly acknowledged send only the missing partition is lost', async () => {
    const { clock, wire, heard, publisher } = await stage({ 0: 1, 1: 1 }, [0, 1])
    pushText(publisher, 0, KIND_DELTA, 'stored')
    pushText(publisher, 1, KIND_DELTA, 'missing')
    await settle()
    pushText(publisher, 0, KIND_DELTA, 'next')
    await wire.last.acknowledge([0])
    assert.deepEqual(heard.take(), ['dropped 1 1'])
    assert.equal(publisher.stats.sentRecords, 1)
    await clock.advance(200)
    assert.equal(wire.last.identity, 1)
    assert.deepEqual(wire.last.records, ['0:next'])
  })

  test('memory in flight is not written again while its fate is unknown', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1 }, [0], { deliveryTimeoutMs: 100 })
    pushText(publisher, 0, KIND_DELTA, 'unknown')
    await settle()
    const [{ value }] = wire.last.batches[0].records
    await clock.advance(5_000)
    wire.automatic = true
    for (let i = 0; i < 2_000; i++) {
      pushText(publisher, 0, KIND_DELTA, `${i}`.padEnd(100, '!'))
      if (i % 7 === 0) await settle()
    }
    assert.equal(new TextDecoder().decode(value), 'unknown')
  })

  test('a broker that hangs is not called connected, until it answers', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1 }, [0], { whenFull: 'block' })
    pushText(publisher, 0, KIND_DELTA, 'a')
    await clock.advance(9_000)
    assert.equal(publisher.stats.connected, true)
    await clock.advance(2_000)
    assert.equal(publisher.stats.connected, false)
    await wire.last.acknowledge()
    assert.equal(publisher.stats.connected, true)
  })

  test('opening backs off and goes on trying', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1 }, [0])
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    wire.openError = new Error('refused')
    await wire.last.reject(new Error('gone'))
    await clock.advance(60_000)
    assert.equal(publisher.stats.connected, false)
    assert.ok(publisher.stats.errors > 10 && publisher.stats.errors < 40)
    wire.openError = undefined
    await clock.advance(6_000)
    assert.equal(publisher.stats.connected, true)
    pushText(publisher, 0, KIND_DELTA, 'b')
    await settle()
    assert.deepEqual(wire.last.records, ['0:b'])
  })

  test('a final error of the wire is reported', async () => {
    const { wire, heard, publisher } = await stage({ 0: 1 }, [0])
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    await wire.last.reject(new ObfeedError('E_SINK', 'no rights', { scope: 'agent', exitCode: 77 }))
    assert.equal(heard.failures[0].exitCode, 77)
  })
})

describe('leaders', () => {
  test('a partition moves when nothing of it is in flight', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1, 1: 1 }, [0, 1])
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    pushText(publisher, 0, KIND_DELTA, 'b')
    const first = wire.last
    wire.leaderOf.set(0, 2)
    // The regular look at the leaders falls into the time the send takes.
    const patient = await stage({ 0: 1 }, [0], { deliveryTimeoutMs: 1_000_000, queueAgeMsMax: 1e6 })
    pushText(patient.publisher, 0, KIND_DELTA, 'a')
    await settle()
    patient.wire.leaderOf.set(0, 2)
    await patient.clock.advance(300_000)
    pushText(patient.publisher, 0, KIND_DELTA, 'b')
    await settle()
    assert.equal(patient.wire.leadersCalls, 2)
    assert.equal(patient.wire.sent.length, 1)
    await patient.wire.sent[0].acknowledge()
    assert.deepEqual(patient.wire.last.records, ['0:b'])
    assert.equal(patient.wire.last.leader, 2)
    assert.deepEqual(patient.wire.closed, [0], 'a group without partitions ends')
    // After a failure they are read at once.
    await first.reject(new Error('not the leader any more'))
    await clock.advance(400)
    pushText(publisher, 0, KIND_DELTA, 'refused: it was dropped')
    pushText(publisher, 1, KIND_DELTA, 'c')
    await clock.advance(400)
    assert.ok(wire.opened.includes(2))
    assert.equal(wire.last.leader, 1)
    assert.deepEqual(wire.last.records, ['1:c'])
  })

  test('a partition without leader waits, the others go on', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1, 1: 1 }, [0, 1], {
      queueAgeMsMax: 60_000,
    })
    wire.automatic = true
    wire.leaderOf.set(0, -1)
    await clock.advance(300_000)
    assert.equal(publisher.stats.connected, false)
    pushText(publisher, 0, KIND_DELTA, 'waits')
    pushText(publisher, 1, KIND_DELTA, 'goes')
    await settle()
    assert.deepEqual(wire.log, ['1:goes'])
    wire.leaderOf.set(0, 3)
    await clock.advance(5_000)
    assert.deepEqual(wire.log, ['1:goes', '0:waits'])
    assert.equal(publisher.stats.connected, true)
  })

  test('a partition that has vanished is the end', async () => {
    const { clock, wire, heard } = await stage({ 0: 1, 1: 1 }, [0, 1])
    wire.leaderOf.delete(1)
    await clock.advance(300_000)
    assert.equal(heard.failures.length, 1)
    assert.match(heard.failures[0].message, /partition 1 is not in the topic any more/)
    assert.equal(heard.failures[0].exitCode, 78)
  })

  test('metadata that never comes is asked for again', async () => {
    const { clock, wire } = await stage({ 0: 1 }, [0])
    wire.leadersHang = true
    await clock.advance(400_000)
    assert.ok(wire.leadersCalls > 3)
  })
})

/** A publisher, not started, of a cluster that refuses connections until told otherwise. */
function unreachable() {
  const clock = new VirtualClock()
  const wire = new ScriptedWire({ 0: 1 })
  wire.leadersError = new Error('connection refused')
  const publisher = new Publisher(
    { whenFull: 'conflate', queueBytesMax: 1, queueAgeMsMax: 1, deliveryTimeoutMs: 1 },
    clock,
    wire,
  )
  return { clock, wire, publisher }
}

describe('start', () => {
  test('no answer: E_UNAVAILABLE, exit 69, after 15 s', async () => {
    const { clock, publisher } = unreachable()
    const errors: ObfeedError[] = []
    publisher.start(streamsOn(0), new Heard()).catch((error: ObfeedError) => errors.push(error))
    await clock.advance(14_900)
    assert.equal(errors.length, 0)
    await clock.advance(200)
    const [error] = errors
    assert.equal(error.code, 'E_UNAVAILABLE')
    assert.equal(error.exitCode, 69)
    await publisher.close()
    assert.equal(clock.timers, 0, 'no timer is left')
  })

  test('a cluster that comes up in time', async () => {
    const { clock, wire, publisher } = unreachable()
    let started = false
    void publisher.start(streamsOn(0), new Heard()).then(() => started = true)
    await clock.advance(5_000)
    assert.equal(started, false)
    wire.leadersError = undefined
    await clock.advance(6_000)
    assert.equal(started, true)
    assert.equal(publisher.stats.connected, true)
  })

  test('a final error is not tried again', async () => {
    const wire = new ScriptedWire({ 0: 1 })
    wire.openError = new ObfeedError('E_SINK', 'no rights', { scope: 'agent', exitCode: 77 })
    const publisher = new Publisher(
      { whenFull: 'conflate', queueBytesMax: 1, queueAgeMsMax: 1, deliveryTimeoutMs: 1 },
      new VirtualClock(),
      wire,
    )
    await assert.rejects(publisher.start(streamsOn(0), new Heard()), /no rights/)
  })
})

describe('flush and close', () => {
  test('true once all that was pushed before is acknowledged', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1, 1: 2 }, [0, 1])
    assert.equal(await publisher.flush(10), true)
    pushText(publisher, 0, KIND_DELTA, 'a')
    pushText(publisher, 1, KIND_DELTA, 'b')
    await settle()
    let flushed: boolean | undefined
    void publisher.flush(1_000).then((complete) => flushed = complete)
    pushText(publisher, 0, KIND_DELTA, 'later')
    await wire.sent[0].acknowledge()
    await clock.advance(500)
    assert.equal(flushed, undefined)
    await wire.sent[1].acknowledge()
    assert.equal(flushed, true)
  })

  test('false in time, or when something was lost', async () => {
    const { clock, wire, publisher } = await stage({ 0: 1 }, [0])
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    const late = publisher.flush(100)
    await clock.advance(101)
    assert.equal(await late, false)
    const lost = publisher.flush(100_000)
    await wire.last.reject(new Error('gone'))
    assert.equal(await lost, false)
  })

  test('close ends every identity and every timer, and nothing is taken after', async () => {
    const { clock, wire, heard, publisher } = await stage({ 0: 1, 1: 2 }, [0, 1])
    pushText(publisher, 0, KIND_DELTA, 'a')
    await settle()
    await publisher.close()
    assert.deepEqual(wire.closed.sort(), [0, 1])
    assert.equal(wire.wireClosed, true)
    assert.equal(clock.timers, 0)
    assert.equal(pushText(publisher, 0, KIND_DELTA, 'b'), false)
    await wire.last.acknowledge()
    await clock.advance(100_000)
    assert.equal(wire.sent.length, 1)
    assert.deepEqual(heard.take(), [])
  })
})
