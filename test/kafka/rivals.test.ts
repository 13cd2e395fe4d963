import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import { Book } from '../../src/core/book.ts'
import { EventEncoder } from '../../src/core/encoder.ts'
import { peekEvent } from '../../src/core/event-peek.ts'
import { Slab } from '../../src/core/slab.ts'
import { realEnvironment } from '../../src/feed/environment.ts'
import { KafkaClient } from '../../src/kafka/client.ts'
import { HeadReader } from '../../src/kafka/heads.ts'
import type { SeenBatch } from '../../src/kafka/heads.ts'
import { KafkajsWire } from '../../src/kafka/kafkajs-wire.ts'
import { readLastPublished } from '../../src/kafka/last-published.ts'
import { Publisher } from '../../src/kafka/publisher.ts'
import { CLIMB_MS, LOOK_MS, RIVAL_GONE_MS, RivalWatch } from '../../src/kafka/rivals.ts'
import { batchesOf } from '../../src/kafka/record-batch.ts'
import { ensureTopic } from '../../src/kafka/topics.ts'
import { KIND_DELTA, KIND_INVALID, KIND_SNAPSHOT } from '../../src/sinks/sink.ts'
import { startKafka } from '../support/kafka.ts'
import { Heard, pushText, settle, streamsOn, VirtualClock } from './fakes.ts'

const kafka = await startKafka()
const client = new KafkaClient({ brokers: [kafka.brokers] })
after(() => kafka.stop())

function event(type: string, stream: number, epoch: number, rest = ''): string {
  return `{"v":1,"type":"${type}","exchange":"x","symbol":"S${stream}/USD","epoch":${epoch},` +
    `"seq":3${rest},"receivedUs":1,"publishedUs":2}`
}

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value < 0 ? -2 * value - 1 : 2 * value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  return [...bytes, rest]
}

/** A batch as a broker hands it out. */
function batch(partition: number, producerId: number, text: string, producer?: string): SeenBatch {
  const field = (bytes: Uint8Array) => [...varint(bytes.length), ...bytes]
  const symbol = /"symbol":"([^"]*)"/.exec(text)?.[1] ?? ''
  const header = producer === undefined
    ? varint(0)
    : [...varint(1), ...field(Buffer.from('obfeed-producer')), ...field(Buffer.from(producer))]
  const record = [0, 0, 0, ...field(Buffer.from(symbol)), ...field(Buffer.from(text)), ...header]
  const body = [...varint(record.length), ...record]
  const bytes = Buffer.alloc(61 + body.length)
  bytes.writeInt32BE(49 + body.length, 8)
  bytes[16] = 2
  bytes.writeBigInt64BE(BigInt(producerId), 43)
  bytes.writeInt32BE(1, 57)
  bytes.set(body, 61)
  return { partition, batch: [...batchesOf(bytes)][0] }
}

const OWN_ID = 7
const OWN = 'us/1/0.1.0'
const OTHER = 'them/2/0.1.0'

async function stage(...partitions: number[]) {
  const clock = new VirtualClock()
  const epochs = partitions.map(() => 100)
  const climbs: string[] = []
  let seen: SeenBatch[] = []
  const closely: number[][] = []
  const watch = new RivalWatch({
    streams: streamsOn(...partitions),
    producer: OWN,
    isOwn: (id) => id === OWN_ID,
    look(partitions) {
      closely.push([...partitions])
      return Promise.resolve(seen.splice(0))
    },
    epochOf: (stream) => epochs[stream],
    outrank(stream, epoch) {
      climbs.push(`${stream} over ${epoch} at ${clock.monotonicMs()}`)
      epochs[stream] = epoch + 1
    },
    failed: () => true,
  }, clock)
  watch.start()
  await clock.advance(0) // the first look
  return {
    clock,
    epochs,
    climbs,
    watch,
    closely,
    async find(...found: SeenBatch[]) {
      seen = found
      await clock.advance(LOOK_MS)
      await settle()
    },
  }
}

describe('the watch for other publishers', () => {
  test('one above is outranked at once, then at its pace, also when it says no more', async () => {
    const { clock, epochs, climbs, find } = await stage(0)
    await find(batch(0, 9, event('snapshot', 0, 200), OTHER))
    assert.deepEqual(climbs, [`0 over 200 at ${LOOK_MS}`])
    await find(batch(0, 9, event('snapshot', 0, 300), OTHER)) // it climbs over us, and dies
    assert.equal(climbs.length, 1)
    await clock.advance(CLIMB_MS + LOOK_MS)
    assert.equal(climbs.length, 2)
    assert.match(climbs[1], /^0 over 300 /)
    assert.equal(epochs[0], 301)
    assert.ok(CLIMB_MS + 2 * LOOK_MS < 15_000, 'consumers wait so long')
  })

  test('an equal epoch is outranked too: consumers would mix both books', async () => {
    const { climbs, find } = await stage(0)
    await find(batch(0, 9, event('delta', 0, 100)))
    assert.equal(climbs.length, 1)
  })

  test('one below is told, and not outranked', async () => {
    const { watch, climbs, find, clock, closely } = await stage(0, 1)
    await find(
      batch(1, 9, event('heartbeat', 1, 50), OTHER),
      batch(0, OWN_ID, event('delta', 0, 100)),
    )
    assert.deepEqual(climbs, [])
    assert.deepEqual(watch.rivals, [{ producer: OTHER, symbols: ['S1/USD'], silentMs: 0 }])
    await clock.advance(LOOK_MS)
    assert.deepEqual(closely.at(-1), [1])
    await clock.advance(RIVAL_GONE_MS)
    assert.deepEqual(watch.rivals, [])
  })

  test('a late request of a worker that died, a last word, and a neighbour are no rivals', async () => {
    const { watch, climbs, find } = await stage(0)
    await find(batch(0, 8, event('delta', 0, 50)))
    await find(batch(0, 10, event('invalid', 0, 60, ',"reason":"shutdown"'), OTHER))
    await find(batch(0, 11, event('snapshot', 5, 900), OTHER)) // a symbol of somebody else
    assert.deepEqual(watch.rivals, [])
    assert.deepEqual(climbs, [])
  })

  test('one that publishes nothing but deltas is told when it goes on', async () => {
    const { watch, find } = await stage(0)
    await find(batch(0, 9, event('delta', 0, 50)))
    await find(batch(0, 9, event('delta', 0, 50)))
    assert.deepEqual(watch.rivals.map(({ producer }) => producer), ['unnamed producer 9'])
    await find(batch(0, 9, event('snapshot', 0, 50), OTHER))
    assert.deepEqual(watch.rivals.map(({ producer }) => producer), [OTHER])
  })

  test('another one by our very name, of another machine that looks the same, is a rival', async () => {
    const { watch, climbs, find } = await stage(0)
    await find(batch(0, 9, event('snapshot', 0, 200), OWN))
    assert.equal(climbs.length, 1)
    assert.deepEqual(watch.rivals.map(({ producer }) => producer), [OWN])
  })
})

test('the head of an event is read as the encoder writes it', () => {
  const slab = new Slab()
  const encoder = new EventEncoder('x', 'Ł"\\USD', new Book(2, 2, 5, 5), 'none', 5, slab)
  const peek = () => peekEvent(slab.bytes.subarray(slab.start, slab.end))
  const stamp = { nonce: 7, nonceText: undefined, timestampMs: 1_795_362_721_700, receivedUs: 1 }
  encoder.snapshot(1_795_362_721_783, 4, stamp, 9)
  assert.deepEqual(peek(), {
    type: 'snapshot',
    epoch: 1_795_362_721_783,
    seq: 4,
    nonce: 7,
    timestampMs: 1_795_362_721_700,
    reason: undefined,
  })
  encoder.delta(5, 6, { ...stamp, nonceText: '99999999999999999999', timestampMs: -1 }, 9)
  assert.deepEqual(
    [peek()?.type, peek()?.nonce, peek()?.timestampMs],
    ['delta', '99999999999999999999', undefined],
  )
  encoder.delta(5, 6, { ...stamp, nonce: -1 }, 9)
  assert.deepEqual([peek()?.nonce, peek()?.timestampMs], [undefined, 1_795_362_721_700])
  encoder.invalid(5, 7, 'shutdown', 1, 2)
  assert.deepEqual([peek()?.type, peek()?.reason, peek()?.seq], ['invalid', 'shutdown', 7])
  assert.equal(peekEvent(new TextEncoder().encode('hello')), undefined)
})

describe('on a real topic', () => {
  async function newTopic(partitions: number) {
    const topic = `rivals-${process.pid}-${Date.now()}`
    await ensureTopic(client, { topic, partitions, replicationFactor: -1, manage: true })
    const publisher = new Publisher(
      {
        whenFull: 'conflate',
        queueBytesMax: 1e8,
        queueAgeMsMax: 60_000,
        deliveryTimeoutMs: 30_000,
      },
      realEnvironment,
      new KafkajsWire(client, topic, { producer: OTHER }),
    )
    return { topic, publisher }
  }

  test('what was published last, also of a symbol that has long been silent', async () => {
    const { topic, publisher } = await newTopic(4)
    await publisher.start(streamsOn(0, 1, 1, 3), new Heard())
    const book = ',"nonce":44,"timestamp":1700000000000'
    pushText(publisher, 0, KIND_SNAPSHOT, event('snapshot', 0, 500, book))
    pushText(publisher, 0, KIND_INVALID, event('invalid', 0, 500, ',"reason":"shutdown"'))
    pushText(publisher, 2, KIND_SNAPSHOT, event('snapshot', 2, 9, book))
    for (let i = 0; i < 300; i++) {
      if (i % 50 === 0) await publisher.flush(10_000)
      pushText(publisher, 1, KIND_DELTA, event('delta', 1, 700, book))
    }
    await publisher.flush(10_000)
    const before = Date.now()
    const found = await readLastPublished(
      client,
      topic,
      new Map([['S0/USD', 0], ['S1/USD', 1], ['S2/USD', 1], ['S3/USD', 3]]),
      2_000,
    )
    const first = found.get('S0/USD')!
    assert.deepEqual(
      [first.epoch, first.nonce, first.timestampMs, first.producer, first.hasEnded],
      [500, 44, 1_700_000_000_000, OTHER, true],
    )
    assert.deepEqual([found.get('S1/USD')!.epoch, found.get('S1/USD')!.hasEnded], [700, false])
    // Its record lies too far back: above the newest record time no epoch can be.
    const silent = found.get('S2/USD')!
    assert.ok(silent.epoch > before - 60_000 && silent.epoch <= Date.now(), `${silent.epoch}`)
    assert.equal(found.has('S3/USD'), false, 'an empty partition says nothing')
    await publisher.close()
  })

  test('a cluster that does not answer costs the time that was given, no more', async () => {
    const nobody = new KafkaClient({ brokers: ['127.0.0.1:1'] })
    const began = performance.now()
    const found = await readLastPublished(nobody, 'x', new Map([['A', 0]]), 300)
    assert.equal(found.size, 0)
    assert.ok(performance.now() - began < 3_000)
  })

  test('looks see what was appended, once, by whom', async () => {
    const { topic, publisher } = await newTopic(2)
    await publisher.start(streamsOn(0, 1), new Heard())
    const heads = new HeadReader(client, topic, [0, 1])
    const nothing = new Set<number>()
    pushText(publisher, 0, KIND_DELTA, event('delta', 0, 1))
    await publisher.flush(5_000)
    assert.deepEqual(await heads.look(nothing), [])
    pushText(publisher, 1, KIND_DELTA, event('delta', 1, 1))
    await publisher.flush(5_000)
    const seen = await heads.look(nothing)
    assert.deepEqual(seen.map(({ partition }) => partition), [1])
    assert.ok(client.producerIds.has(seen[0].batch.producerId))
    assert.deepEqual(await heads.look(nothing), [])
    heads.close()
    await publisher.close()
  })
})
