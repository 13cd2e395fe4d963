import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import kafkajs from 'kafkajs'
import { realEnvironment } from '../../src/feed/environment.ts'
import { KafkaClient, PATIENT } from '../../src/kafka/client.ts'
import { endSession, KafkajsWire } from '../../src/kafka/kafkajs-wire.ts'
import { Publisher } from '../../src/kafka/publisher.ts'
import type { PublisherOptions } from '../../src/kafka/publisher.ts'
import { readTopic } from '../../src/kafka/reader.ts'
import type { ReadOptions, TopicRecord } from '../../src/kafka/reader.ts'
import { ensureTopic } from '../../src/kafka/topics.ts'
import { KIND_DELTA, KIND_SNAPSHOT } from '../../src/sinks/sink.ts'
import type { EventKind } from '../../src/sinks/sink.ts'
import { startKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { CuttingProxy } from './proxy.ts'
import { Heard, pushText, streamsOn } from './fakes.ts'

let topics = 0
const messages: string[] = []

// Not in a `before` hook: Bun gives those 5 s. With auto.create the broker would make a topic for
// anyone who asks for its metadata; obfeed must not be the one.
// Every connection but the first to the cluster goes through the proxy.
const proxy = await CuttingProxy.start()
const kafka = await startKafka({
  own: true,
  settings: [
    'auto.create.topics.enable=true',
    `advertised.listeners=PLAINTEXT://127.0.0.1:${proxy.port}`,
  ],
})
proxy.target = Number(kafka.brokers.split(':')[1])
const client = new KafkaClient({
  brokers: [kafka.brokers],
  stallTimeoutMs: 1_000,
  log: (level, message) => messages.push(`${level} ${message}`),
})

after(async () => {
  proxy.close()
  await kafka.stop()
})

async function newTopic(partitions: number): Promise<string> {
  const topic = `topic-${++topics}`
  await ensureTopic(client, { topic, partitions, replicationFactor: -1, manage: true })
  return topic
}

async function withAdmin<T>(
  body: (admin: ReturnType<ReturnType<KafkaClient['session']>['kafka']['admin']>) => Promise<T>,
): Promise<T> {
  const session = client.session(PATIENT)
  const admin = session.kafka.admin()
  await admin.connect()
  try {
    return await body(admin)
  } finally {
    await endSession(session, admin)
  }
}

async function newPublisher(
  topic: string,
  partitions: number[],
  heard = new Heard(),
  options: Partial<PublisherOptions> = {},
): Promise<Publisher> {
  const publisher = new Publisher(
    {
      whenFull: 'conflate',
      queueBytesMax: 64_000_000,
      queueAgeMsMax: 60_000,
      deliveryTimeoutMs: 30_000,
      ...options,
    },
    realEnvironment,
    new KafkajsWire(client, topic),
  )
  await publisher.start(streamsOn(...partitions), heard)
  return publisher
}

/** Everything that is in the topic until `isEnough`. */
async function readAll(
  topic: string,
  partitions: readonly number[],
  isEnough: (records: readonly TopicRecord[]) => boolean,
  from: ReadOptions['from'] = 'earliest',
): Promise<TopicRecord[]> {
  const records: TopicRecord[] = []
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), 20_000)
  await readTopic(client, {
    topic,
    partitions,
    from,
    signal: controller.signal,
    onRecord(record) {
      records.push(record)
      if (isEnough(records)) controller.abort()
    },
  })
  clearTimeout(timer)
  assert.ok(isEnough(records), `only ${records.length} records within 20 s`)
  return records
}

/** `T`: every thread of it is stopped. */
function stateOf(pid: number): string | undefined {
  return /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
}

const textOf = ({ value }: TopicRecord) => new TextDecoder().decode(value)

describe('topics', () => {
  test('a missing topic is created, a small one grown, a fitting one kept', async () => {
    const topic = `topic-${++topics}`
    const request = { topic, partitions: 3, replicationFactor: 1, manage: true }
    const created = await ensureTopic(client, request)
    assert.deepEqual(created, { action: 'created', partitions: 3, replicas: 1, warnings: [] })
    const grown = await ensureTopic(client, { ...request, partitions: 5 })
    assert.equal(grown.action, 'grown')
    assert.equal(grown.partitions, 5)
    const kept = await ensureTopic(client, { ...request, manage: false })
    assert.deepEqual([kept.action, kept.partitions], ['kept', 5])
  })

  test('many at once agree', async () => {
    const topic = `topic-${++topics}`
    const request = { topic, partitions: 4, replicationFactor: -1, manage: true }
    const reports = await Promise.all([1, 2, 3].map(() => ensureTopic(client, request)))
    assert.deepEqual(reports.map(({ partitions }) => partitions), [4, 4, 4])
  })

  test('several topics of many partitions at once, each slow to become known', async () => {
    const requests = Array.from({ length: 4 }, () => ({
      topic: `topic-${++topics}`,
      partitions: 40,
      replicationFactor: -1,
      manage: true,
    }))
    const reports = await Promise.all(requests.map((request) => ensureTopic(client, request)))
    for (const { action, partitions } of reports) {
      assert.deepEqual([action, partitions], ['created', 40])
    }
  })

  test('without the right to manage: exit 78 with the command, and looking makes no topic', async () => {
    const topic = `topic-${++topics}`
    const request = { topic, partitions: 3, replicationFactor: -1, manage: false }
    await assert.rejects(ensureTopic(client, request), (error: Error & { exitCode?: number }) => {
      assert.equal(error.exitCode, 78)
      assert.ok(
        error.message.includes(
          `kafka-topics.sh --bootstrap-server ${kafka.brokers} --create --topic ${topic} --partitions 3`,
        ),
        error.message,
      )
      return true
    })
    const controller = new AbortController()
    await assert.rejects(
      readTopic(client, {
        topic,
        partitions: [0],
        from: 'earliest',
        signal: controller.signal,
        onRecord: () => {},
      }),
      { exitCode: 78 },
    )
    const wire = new KafkajsWire(client, topic)
    assert.equal((await wire.leaders()).size, 0)
    await wire.close()
    assert.equal((await withAdmin((admin) => admin.listTopics())).includes(topic), false)
    await ensureTopic(client, { ...request, partitions: 1, manage: true })
    await assert.rejects(ensureTopic(client, request), /--alter --topic .* --partitions 3/)
  })

  test('no broker: exit 69, naming the addresses', async () => {
    const nobody = new KafkaClient({ brokers: ['127.0.0.1:1'] })
    const request = { topic: 'x', partitions: 1, replicationFactor: -1, manage: true }
    await assert.rejects(
      ensureTopic(nobody, { ...request, connectTimeoutMs: 600 }),
      { exitCode: 69, code: 'E_UNAVAILABLE', message: /127\.0\.0\.1:1 .*--brokers/ },
    )
  })

  test('settings that hurt are told', async () => {
    const topic = `topic-${++topics}`
    const configEntries = [
      { name: 'max.message.bytes', value: '100000' },
      { name: 'cleanup.policy', value: 'compact' },
      { name: 'message.timestamp.type', value: 'LogAppendTime' },
    ]
    await withAdmin((admin) =>
      admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] })
    )
    const { warnings } = await ensureTopic(client, {
      topic,
      partitions: 1,
      replicationFactor: -1,
      manage: false,
    })
    assert.equal(warnings.length, 3)
    for (const { name } of configEntries) {
      assert.equal(
        warnings.filter((warning) => warning.includes(`--add-config ${name}=`)).length,
        1,
      )
    }
  })
})

describe('reader', () => {
  test('earliest, latest and a time; keys, timestamps and offsets', async () => {
    const topic = await newTopic(2)
    const publisher = await newPublisher(topic, [0, 1])
    const bytes = new TextEncoder().encode('ABC')
    const base = Date.now() - 10_000
    for (let i = 0; i < 10; i++) publisher.push(i % 2, KIND_DELTA, bytes, 0, 3, base + i * 1_000)
    assert.equal(await publisher.flush(5_000), true)
    const all = await readAll(topic, [0, 1], (records) => records.length === 10)
    const first = all.filter(({ partition }) => partition === 0)
    assert.deepEqual(first.map(({ offset }) => offset), [0, 1, 2, 3, 4])
    assert.deepEqual(
      first.map(({ timestampMs }) => timestampMs - base),
      [0, 2_000, 4_000, 6_000, 8_000],
    )
    assert.deepEqual(new Set(all.map(({ key }) => key)), new Set(['S0/USD', 'S1/USD']))
    assert.equal(textOf(all[0]), 'ABC')
    const late = await readAll(topic, [0, 1], (records) => records.length === 4, {
      timestampMs: base + 5_500,
    })
    assert.deepEqual(late.map(({ timestampMs }) => timestampMs - base).sort(), [
      6_000,
      7_000,
      8_000,
      9_000,
    ])
    // Nothing is that new: it begins with what comes next, as `latest` does.
    for (const from of ['latest', { timestampMs: Date.now() + 60_000 }] as const) {
      const controller = new AbortController()
      const seen: string[] = []
      let started = false
      const reading = readTopic(client, {
        topic,
        partitions: [0, 1],
        from,
        signal: controller.signal,
        onStart: () => started = true,
        onRecord: (record) => seen.push(textOf(record)),
      })
      await until('the reader has its positions', 5_000, () => started)
      pushText(publisher, 0, KIND_DELTA, 'new')
      await until('the new record', 5_000, () => seen.length > 0)
      controller.abort()
      await reading
      assert.deepEqual(seen, ['new'])
    }
    await publisher.close()
  })

  test('records that retention took away are skipped', async () => {
    const topic = await newTopic(1)
    const publisher = await newPublisher(topic, [0])
    for (let i = 0; i < 20; i++) pushText(publisher, 0, KIND_DELTA, `${i}`)
    await publisher.flush(5_000)
    const controller = new AbortController()
    const seen: string[] = []
    let paused: (() => void) | undefined
    const reading = readTopic(client, {
      topic,
      partitions: [0],
      from: 'earliest',
      signal: controller.signal,
      onRecord: (record) => seen.push(textOf(record)),
      pace: () => new Promise<void>((resolve) => paused = resolve),
    })
    await until('the first answer', 5_000, () => paused)
    assert.equal(seen.length, 20)
    for (let i = 20; i < 40; i++) pushText(publisher, 0, KIND_DELTA, `${i}`)
    await publisher.flush(5_000)
    await withAdmin(async (admin) => {
      await admin.fetchTopicOffsets(topic) // kafkajs forgets to load the metadata by itself
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '35' }] })
    })
    const release = setInterval(() => paused?.(), 5)
    await until('the rest', 5_000, () => seen.length === 25)
    clearInterval(release)
    controller.abort()
    paused?.()
    await reading
    assert.deepEqual(seen.slice(20), ['35', '36', '37', '38', '39'])
    await publisher.close()
  })

  test('a partition that is not there: exit 78', async () => {
    const topic = await newTopic(1)
    const { signal } = new AbortController()
    await assert.rejects(
      readTopic(client, { topic, partitions: [4], from: 'latest', signal, onRecord: () => {} }),
      { exitCode: 78, message: /has 1 partitions, so there is no partition 4/ },
    )
  })
})

describe('publisher', () => {
  test('what is sent is read back byte for byte, plain and compressed', async () => {
    const topic = await newTopic(1)
    const publisher = await newPublisher(topic, [0])
    pushText(publisher, 0, KIND_DELTA, 'alone')
    await publisher.flush(5_000)
    const large = `{"levels":[${'[3021.55,0.8],'.repeat(8_000)}]}`
    pushText(publisher, 0, KIND_DELTA, large)
    for (let i = 0; i < 300; i++) pushText(publisher, 0, KIND_DELTA, `${i} é`.padEnd(150, '-'))
    await publisher.flush(5_000)
    const records = await readAll(topic, [0], (found) => found.length === 302)
    assert.equal(textOf(records[0]), 'alone')
    assert.ok(textOf(records[1]) === large)
    assert.equal(textOf(records[301]), '299 é'.padEnd(150, '-'))
    await publisher.close()
  })

  test('a topic that takes 20 kB: books come in smaller parts, nothing else stops', async () => {
    const topic = await newTopic(2)
    await withAdmin((admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [{
          type: kafkajs.ConfigResourceTypes.TOPIC,
          name: topic,
          configEntries: [{ name: 'max.message.bytes', value: '20000' }],
        }],
      })
    )
    const heard = new Heard()
    const narrowed: number[] = []
    const publisher = await newPublisher(topic, [0, 1], heard, {
      narrowed: (bytes) => narrowed.push(bytes),
    })
    // As a stream does: a snapshot in parts, anew whenever there is room again.
    const publish = (stream: number) => {
      const parts = Math.ceil(90_000 / publisher.recordBytesMax)
      for (let part = 0; part < parts; part++) {
        const length = Math.min(publisher.recordBytesMax, 90_000)
        if (!pushText(publisher, stream, KIND_SNAPSHOT, `${stream}`.repeat(length))) return
      }
    }
    heard.onWritable = publish
    publish(0)
    pushText(publisher, 1, KIND_DELTA, 'small')
    const stored = await readAll(
      topic,
      [0, 1],
      (records) => records.filter(({ partition }) => partition === 0).length >= 7,
    )
    assert.ok(stored.every(({ value }) => value.length < 20_000))
    assert.deepEqual(heard.failures, [])
    assert.ok(
      narrowed.length > 0 && narrowed.every((bytes, i) => i === 0 || bytes < narrowed[i - 1]),
    )
    await publisher.close()
  })

  test('a partition the topic does not have is not lost silently', async () => {
    const topic = await newTopic(1)
    const wire = new KafkajsWire(client, topic)
    const producer = await wire.open(1)
    const record = {
      key: new Uint8Array([65]),
      value: new Uint8Array([66]),
      timestampMs: Date.now(),
      kind: KIND_DELTA as EventKind,
    }
    assert.deepEqual(await producer.send([{ partition: 0, records: [record] }]), [0])
    assert.deepEqual(await producer.send([{ partition: 7, records: [record] }]), [])
    await wire.close()
  })

  test('lost acknowledgements: every record once, in order', { timeout: 30_000 }, async () => {
    const topic = await newTopic(3)
    const heard = new Heard()
    const publisher = await newPublisher(topic, [0, 1, 2], heard)
    let pushed = 0
    const pushing = setInterval(() => {
      for (let i = 0; i < 10; i++, pushed++) {
        for (let s = 0; s < 3; s++) pushText(publisher, s, KIND_DELTA, `${pushed}`)
      }
    }, 5)
    const made = proxy.made
    const cutting = setInterval(() => proxy.cuts = 1, 150)
    try {
      await until('12 are lost', 15_000, () => proxy.made >= made + 12)
    } finally {
      clearInterval(pushing)
      clearInterval(cutting)
      proxy.cuts = 0
    }
    assert.equal(await publisher.flush(10_000), true)
    assert.deepEqual(heard.take(), [])
    const records = await readAll(topic, [0, 1, 2], (found) => found.length >= pushed * 3)
    for (const { partition, offset, value } of records) {
      assert.equal(new TextDecoder().decode(value), `${offset}`, `partition ${partition}`)
    }
    assert.equal(records.length, pushed * 3)
    await publisher.close()
  })

  test('kill -9 and restart: every record once, in order, and a reader that stays', {
    timeout: 60_000,
  }, async () => {
    const topic = await newTopic(3)
    const heard = new Heard()
    const publisher = await newPublisher(topic, [0, 1, 2, 2], heard)
    const controller = new AbortController()
    const live = new Map<string, TopicRecord[]>()
    const reading = readTopic(client, {
      topic,
      partitions: [0, 1, 2],
      from: 'earliest',
      signal: controller.signal,
      onRecord: (record) => {
        const records = live.get(record.key) ?? []
        live.set(record.key, records)
        records.push(record)
      },
    })
    let pushed = 0
    const pushing = setInterval(() => {
      for (let i = 0; i < 10; i++) {
        for (let s = 0; s < 4; s++) pushText(publisher, s, KIND_DELTA, `${s}:${pushed}`)
        pushed += 1
      }
    }, 5)
    try {
      await until('some are stored', 5_000, () => publisher.stats.sentRecords > 1_000)
      await kafka.kill9()
      await kafka.restart()
      const before = publisher.stats.sentRecords
      await until('it goes on', 15_000, () => publisher.stats.sentRecords > before + 2_000)
    } finally {
      clearInterval(pushing)
    }
    assert.equal(await publisher.flush(15_000), true)
    assert.deepEqual(heard.take(), [])
    assert.equal(publisher.stats.sentRecords, pushed * 4)
    const count = () => [...live.values()].reduce((total, { length }) => total + length, 0)
    await until(() => `${count()} of ${pushed * 4}`, 10_000, () => count() >= pushed * 4)
    controller.abort()
    await reading
    for (let s = 0; s < 4; s++) {
      const records = live.get(`S${s}/USD`) ?? []
      const wrong = records.findIndex((record, i) => textOf(record) !== `${s}:${i}`)
      const around = records.slice(Math.max(0, wrong - 2), wrong + 3)
      assert.equal(
        wrong,
        -1,
        around.map((record) => `${textOf(record)} at offset ${record.offset}`).join(', '),
      )
      assert.equal(records.length, pushed)
    }
    await publisher.close()
  })

  test('a broker that hangs: the socket is given up, nothing is lost or doubled', {
    timeout: 60_000,
  }, async () => {
    const topic = await newTopic(1)
    const heard = new Heard()
    const publisher = await newPublisher(topic, [0], heard)
    pushText(publisher, 0, KIND_DELTA, '0')
    await publisher.flush(5_000)
    messages.length = 0
    let sent = 1
    try {
      // The signal is sent when this returns, but on a busy host some threads still run for a while:
      // a broker that answers everything owes nothing, and then no watchdog has a reason to bite.
      process.kill(kafka.pid, 'SIGSTOP')
      await until('the broker stands still', 5_000, () => stateOf(kafka.pid) === 'T')
      for (; sent < 50; sent++) pushText(publisher, 0, KIND_DELTA, `${sent}`)
      await until(
        () => `the watchdog; ${messages.join('; ')}`,
        5_000,
        () => messages.some((one) => one.includes('no answer for')),
      )
      for (; sent < 100; sent++) pushText(publisher, 0, KIND_DELTA, `${sent}`)
    } finally {
      process.kill(kafka.pid, 'SIGCONT')
    }
    assert.equal(await publisher.flush(15_000), true)
    assert.deepEqual(heard.take(), [])
    const records = await readAll(topic, [0], (found) => found.length >= 100)
    assert.deepEqual(records.map(textOf), Array.from({ length: 100 }, (_, i) => `${i}`))
    await publisher.close()
  })

  test(
    'an outage beyond the delivery timeout: new run, no record twice, none out of order',
    { timeout: 60_000 },
    async () => {
      const topic = await newTopic(1)
      const heard = new Heard()
      const publisher = await newPublisher(topic, [0], heard, { deliveryTimeoutMs: 1_000 })
      let next = 0
      const push = () => pushText(publisher, 0, KIND_DELTA, `${next++}`)
      push()
      await publisher.flush(5_000)
      await kafka.kill9()
      for (let i = 0; i < 10; i++) push()
      await until('the loss is said', 5_000, () => heard.lines.length > 0)
      assert.match(heard.take()[0], /^dropped 0 \d+$/)
      assert.equal(push(), false)
      assert.equal(publisher.stats.connected, false)
      await kafka.restart()
      await until('the stream may begin anew', 20_000, () => heard.lines.includes('writable 0'))
      const anew = next
      for (let i = 0; i < 10; i++) push()
      assert.equal(await publisher.flush(10_000), true)
      const records = await readAll(topic, [0], (found) => textOf(found.at(-1)!) === `${next - 1}`)
      const numbers = records.map((record) => Number(textOf(record)))
      assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b))
      assert.deepEqual(numbers.slice(-10), Array.from({ length: 10 }, (_, i) => anew + i))
      await publisher.close()
    },
  )
})
