/** What is written with each codec of Kafka is read back by obfeed, and by Kafka's own consumer. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { realEnvironment } from '../../src/feed/environment.ts'
import { KafkaClient, PATIENT } from '../../src/kafka/client.ts'
import { CODECS } from '../../src/kafka/codecs.ts'
import type { Codec } from '../../src/kafka/codecs.ts'
import { endSession, KafkajsWire } from '../../src/kafka/kafkajs-wire.ts'
import type { WireOptions } from '../../src/kafka/kafkajs-wire.ts'
import { Publisher } from '../../src/kafka/publisher.ts'
import { readTopic } from '../../src/kafka/reader.ts'
import type { TopicRecord } from '../../src/kafka/reader.ts'
import { ensureTopic } from '../../src/kafka/topics.ts'
import { KIND_DELTA, KIND_HEARTBEAT, KIND_INVALID, KIND_SNAPSHOT } from '../../src/sinks/sink.ts'
import { startKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { Heard, pushText, streamsOn } from './fakes.ts'
import { CuttingProxy } from './proxy.ts'

// Every connection but the first to the cluster goes through the proxy.
const proxy = await CuttingProxy.start()
const kafka = await startKafka({
  own: true,
  settings: [`advertised.listeners=PLAINTEXT://127.0.0.1:${proxy.port}`],
})
proxy.target = Number(kafka.brokers.split(':')[1])
const client = new KafkaClient({ brokers: [kafka.brokers] })
const run = promisify(execFile)
const script = resolve(import.meta.dirname!, '../../scripts/kafka')
const reader = resolve(import.meta.dirname!, 'ReadTopic.java')
let topics = 0

after(async () => {
  proxy.close()
  await kafka.stop()
})

/** Of 200 records of `partition`. */
const textOf = (partition: number, i: number) => `${partition}:${i} `.padEnd(120, 'level,')

async function newTopic(partitions: number, compressionType?: Codec): Promise<string> {
  const topic = `compression-${process.pid}-${++topics}`
  await ensureTopic(client, { topic, partitions, replicationFactor: -1, manage: true })
  if (compressionType === undefined) return topic
  const session = client.session(PATIENT)
  const admin = session.kafka.admin()
  await admin.connect()
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{
      type: 2,
      name: topic,
      configEntries: [{ name: 'compression.type', value: compressionType }],
    }],
  })
  await endSession(session, admin)
  return topic
}

async function publish(topic: string, partition: number, options: WireOptions): Promise<void> {
  const publisher = new Publisher(
    { whenFull: 'conflate', queueBytesMax: 1e7, queueAgeMsMax: 10_000, deliveryTimeoutMs: 30_000 },
    realEnvironment,
    new KafkajsWire(client, topic, options),
  )
  await publisher.start(streamsOn(partition), new Heard())
  for (let i = 0; i < 200; i++) pushText(publisher, 0, KIND_DELTA, textOf(partition, i))
  assert.equal(await publisher.flush(10_000), true)
  await publisher.close()
}

interface Read {
  readonly records: TopicRecord[]
  readonly unreadable: string[]
}

async function read(
  topic: string,
  partitions: number[],
  isEnough: (found: Read) => boolean,
): Promise<Read> {
  const found: Read = { records: [], unreadable: [] }
  const controller = new AbortController()
  const reading = readTopic(client, {
    topic,
    partitions,
    from: 'earliest',
    signal: controller.signal,
    onRecord: (record) => found.records.push(record),
    onUnreadable: (partition, offset) => found.unreadable.push(`${partition}@${offset}`),
  })
  try {
    await until(() => `only ${found.records.length} records`, 10_000, () => isEnough(found))
  } finally {
    controller.abort()
    await reading
  }
  return found
}

describe('compression', () => {
  test(
    'each codec, chosen by obfeed: read by obfeed and by Kafka',
    { timeout: 90_000 },
    async () => {
      const topic = await newTopic(CODECS.length)
      for (const [partition, compression] of CODECS.entries()) {
        await publish(topic, partition, { compression })
      }
      const partitions = CODECS.map((_, partition) => partition)
      const { records } = await read(
        topic,
        partitions,
        ({ records }) => records.length >= 200 * CODECS.length,
      )
      const expected = partitions.flatMap((partition) =>
        Array.from({ length: 200 }, (_, i) => textOf(partition, i))
      )
      const texts = records.map(({ value }) => new TextDecoder().decode(value))
      assert.deepEqual(texts.sort(), expected.sort())
      const { stdout } = await run(
        script,
        ['tool', reader, kafka.brokers, topic, `${expected.length}`],
        { maxBuffer: 10_000_000 },
      )
      assert.deepEqual(stdout.trimEnd().split('\n').sort(), expected)
      // And each is what it says: the batches in the log.
      const { stdout: dump } = await run(script, [
        ...['tool', 'kafka.tools.DumpLogSegments', '--files'],
        partitions.map((partition) =>
          `${kafka.dir}/data/${topic}-${partition}/${'0'.repeat(20)}.log`
        )
          .join(),
      ], { maxBuffer: 10_000_000 })
      const stored = [...dump.matchAll(/compresscodec: (\w+)/g)].map(([, codec]) => codec)
      assert.deepEqual(new Set(stored), new Set(CODECS))
    },
  )

  test('each codec, chosen by the topic', { timeout: 60_000 }, async () => {
    for (const codec of CODECS) {
      if (codec === 'none') continue
      const topic = await newTopic(1, codec)
      await publish(topic, 0, {})
      const { records } = await read(topic, [0], ({ records }) => records.length >= 200)
      assert.deepEqual(
        records.map(({ value }) => new TextDecoder().decode(value)),
        Array.from({ length: 200 }, (_, i) => textOf(0, i)),
        codec,
      )
    }
  })

  test('what cannot be read is said, and the other partitions go on', async () => {
    const topic = await newTopic(2)
    await publish(topic, 0, {})
    await publish(topic, 1, { compression: 'lz4' })
    await publish(topic, 1, {})
    proxy.forge = (bytes) => {
      // Magic 2, a checksum, and the attributes of an lz4 batch: as if of a codec of the future.
      const forged = new Uint8Array(bytes)
      for (let at = 0; at + 9 < bytes.length; at++) {
        const attributes = bytes[at + 5] * 256 + bytes[at + 6]
        const isSmall = bytes[at + 7] === 0 && bytes[at + 8] === 0 && bytes[at + 9] === 0
        if (bytes[at] === 2 && attributes === 3 && isSmall) forged[at + 6] = 7
      }
      return forged
    }
    try {
      const { records, unreadable } = await read(
        topic,
        [0, 1],
        ({ records }) => records.length >= 400,
      )
      assert.deepEqual(unreadable, ['1@0'])
      assert.equal(records.filter(({ partition }) => partition === 1)[0].offset, 200)
      assert.equal(records.length, 400)
    } finally {
      proxy.forge = undefined
    }
  })
})

test('who published is said on every record but deltas', async () => {
  const topic = await newTopic(1)
  const publisher = new Publisher(
    { whenFull: 'conflate', queueBytesMax: 1e7, queueAgeMsMax: 10_000, deliveryTimeoutMs: 30_000 },
    realEnvironment,
    new KafkajsWire(client, topic, { producer: 'host/1/0.1.0' }),
  )
  await publisher.start(streamsOn(0), new Heard())
  for (const kind of [KIND_SNAPSHOT, KIND_DELTA, KIND_INVALID, KIND_HEARTBEAT] as const) {
    pushText(publisher, 0, kind, `${kind}`)
  }
  await publisher.flush(5_000)
  const { records } = await read(topic, [0], ({ records }) => records.length >= 4)
  assert.deepEqual(
    records.map(({ producer }) => producer),
    ['host/1/0.1.0', undefined, 'host/1/0.1.0', 'host/1/0.1.0'],
  )
  await publisher.close()
})
