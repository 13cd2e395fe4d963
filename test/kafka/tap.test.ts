import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import { Verification } from '../../src/commands/verification.ts'
import { realEnvironment } from '../../src/feed/environment.ts'
import { KafkaClient } from '../../src/kafka/client.ts'
import { KafkajsWire } from '../../src/kafka/kafkajs-wire.ts'
import { Publisher } from '../../src/kafka/publisher.ts'
import { ensureTopic } from '../../src/kafka/topics.ts'
import { KIND_DELTA } from '../../src/sinks/sink.ts'
import { startKafka } from '../support/kafka.ts'
import { until } from '../support/until.ts'
import { Heard, pushText, streamsOn } from './fakes.ts'

const kafka = await startKafka()
const folder = mkdtempSync(join(tmpdir(), 'obfeed-tap-'))
const map = join(folder, 'map.json')
const client = new KafkaClient({ brokers: [kafka.brokers] })
const main = resolve(import.meta.dirname!, '../../src/main.ts')
let topics = 0

// Streams 0 to 2 are S0/USD to S2/USD, the last two in one partition.
writeFileSync(map, '{"S0/USD": 0, "S1/USD": 1, "S2/USD": 1}')

after(async () => {
  rmSync(folder, { recursive: true, force: true })
  await kafka.stop()
})

const nowUs = () => Date.now() * 1000

function event(type: string, stream: number, epoch: number, seq: number, rest: string): string {
  return `{"v":1,"type":"${type}","exchange":"x","symbol":"S${stream}/USD","epoch":${epoch},` +
    `"seq":${seq},"timestamp":null,"receivedUs":${
      nowUs() - 2_000
    },"publishedUs":${nowUs()},${rest}}`
}

const snapshot = (stream: number, epoch: number, seq: number, bid = '10.5') =>
  event('snapshot', stream, epoch, seq, `"proof":"sequence","bids":[[${bid},1]],"asks":[[11,2]]`)
const delta = (stream: number, epoch: number, seq: number, bid = '10.5') =>
  event('delta', stream, epoch, seq, `"bids":[[${bid},1]],"asks":[]`)

interface Topic {
  readonly name: string
  readonly publisher: Publisher
  put(stream: number, text: string): void
}

async function newTopic(): Promise<Topic> {
  const name = `tap-${process.pid}-${++topics}`
  await ensureTopic(client, { topic: name, partitions: 2, replicationFactor: -1, manage: true })
  const publisher = new Publisher(
    { whenFull: 'conflate', queueBytesMax: 1e7, queueAgeMsMax: 10_000, deliveryTimeoutMs: 30_000 },
    realEnvironment,
    new KafkajsWire(client, name),
  )
  await publisher.start(streamsOn(0, 1, 1), new Heard())
  return { name, publisher, put: (stream, text) => pushText(publisher, stream, KIND_DELTA, text) }
}

/** A topic whose three books are whole. */
async function soundTopic(): Promise<Topic> {
  const topic = await newTopic()
  for (let stream = 0; stream < 3; stream++) {
    topic.put(stream, snapshot(stream, 7, 0))
    for (let seq = 1; seq <= 20; seq++) topic.put(stream, delta(stream, 7, seq))
    topic.put(stream, snapshot(stream, 7, 20))
  }
  assert.equal(await topic.publisher.flush(5_000), true)
  return topic
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function command(topic: Topic, ...flags: string[]): string[] {
  const fixed = ['--exchange', 'coinbase', '--map', map, '--brokers', kafka.brokers]
  return [main, 'tap', ...fixed, '--topic', topic.name, ...flags]
}

function tap(topic: Topic, ...flags: string[]): Promise<Ended> {
  return new Promise((done) => {
    execFile(process.execPath, command(topic, ...flags), (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

describe('tap', () => {
  test('prints the record values, from a snapshot on, as many as asked for', async () => {
    const topic = await newTopic()
    const sent = [snapshot(0, 7, 0), delta(0, 7, 1), snapshot(0, 8, 0, '10.7'), delta(0, 8, 1)]
    topic.put(0, delta(0, 6, 99)) // of no use without its snapshot
    for (const text of sent) topic.put(0, text)
    topic.put(0, delta(0, 7, 2)) // a zombie
    topic.put(0, delta(0, 8, 1)) // a duplicate
    topic.put(0, delta(0, 8, 2))
    await topic.publisher.flush(5_000)
    const { code, stdout, stderr } = await tap(topic, '--limit', '5', '--symbol', 'S0/USD')
    const lines = stdout.trimEnd().split('\n')
    assert.equal(code, 0, stderr)
    assert.equal(lines.length, 5)
    assert.deepEqual(lines.slice(0, 4), sent)
    assert.equal(JSON.parse(lines[4]).seq, 2)
    await topic.publisher.close()
  })

  test('prints every part of a snapshot that is split, none of one that is not whole', async () => {
    const topic = await newTopic()
    const part = (epoch: number, number: number) =>
      event(
        'snapshot',
        0,
        epoch,
        0,
        `"proof":"sequence","part":${number},"parts":3,"bids":[[${13 - number},1]],"asks":[]`,
      )
    topic.put(0, part(7, 0)) // the others are lost
    const sent = [part(8, 0), part(8, 1), part(8, 2), delta(0, 8, 1)]
    for (const text of sent) topic.put(0, text)
    await topic.publisher.flush(5_000)
    const { code, stdout, stderr } = await tap(topic, '--limit', '4', '--symbol', 'S0/USD')
    assert.equal(code, 0, stderr)
    assert.deepEqual(stdout.trimEnd().split('\n'), sent)
    await topic.publisher.close()
  })

  test('--verify: sound books are proven, exit 0', async () => {
    const topic = await soundTopic()
    const { code, stdout, stderr } = await tap(topic, '--verify', '--json', '--limit', '66')
    assert.equal(code, 0, stderr)
    const report = JSON.parse(stdout)
    assert.equal(report.ok, true)
    assert.equal(report.records, 66)
    for (const symbol of report.symbols) {
      assert.equal(symbol.proven, true)
      assert.equal(symbol.state, 'live')
      assert.deepEqual([symbol.epoch, symbol.seq, symbol.updates], [7, 20, 21])
      assert.equal(symbol.checkpoints, 1)
    }
    await topic.publisher.close()
  })

  const broken: [string, (topic: Topic) => void, RegExp][] = [
    ['a gap', ({ put }) => put(1, delta(1, 7, 22)), /S1\/USD had 1 gaps inside an epoch/],
    ['a crossed book', ({ put }) => put(0, delta(0, 7, 21, '11')), /S0\/USD was crossed 1 times/],
    [
      'a checkpoint that differs',
      ({ put }) => put(2, snapshot(2, 7, 20, '10.4')),
      /S2\/USD differed from its checkpoint/,
    ],
    ['a value that is no event', ({ put }) => put(0, '{"v":1}'), /S0\/USD .*could not be read/],
  ]
  test('--verify: each kind of fault ends with exit 65', { timeout: 30_000 }, async () => {
    await Promise.all(broken.map(async ([name, breakIt, message]) => {
      const topic = await soundTopic()
      breakIt(topic)
      await topic.publisher.flush(5_000)
      const { code, stdout, stderr } = await tap(topic, '--verify', '--limit', '67')
      assert.equal(code, 65, name)
      assert.match(stderr, message)
      assert.match(stdout, /NOT PROVEN: 3 of 3 books/)
      await topic.publisher.close()
    }))
  })

  test('--verify: a book that never came whole, exit 65', async () => {
    const topic = await newTopic()
    topic.put(0, snapshot(0, 7, 0))
    topic.put(1, delta(1, 7, 3))
    await topic.publisher.flush(5_000)
    const { code, stdout, stderr } = await tap(topic, '--verify', '--seconds', '1')
    assert.equal(code, 65)
    assert.match(stderr, /S1\/USD was never proven.*S2\/USD was never proven/)
    assert.match(stdout, /^S0\/USD +0 +yes +live +7 +0 /m)
    assert.match(stdout, /^S1\/USD +1 +no +waiting +7 +3 /m)
    await topic.publisher.close()
  })

  test('TERM ends it with the table, and what came while it ran has a latency', async () => {
    const topic = await soundTopic()
    const child = spawn(process.execPath, command(topic, '--verify', '--json'), {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let stdout = ''
    child.stdout.on('data', (chunk: Uint8Array) => stdout += new TextDecoder().decode(chunk))
    let seq = 20
    const pushing = setInterval(() => {
      seq += 1
      for (let stream = 0; stream < 3; stream++) topic.put(stream, delta(stream, 7, seq))
    }, 5)
    // It says nothing before the end, so give it what it surely sees: records over two seconds.
    await until('two seconds of records', 10_000, () => seq > 420)
    clearInterval(pushing)
    child.kill('SIGTERM')
    const [code] = await once(child, 'close') as [number]
    const report = JSON.parse(stdout)
    assert.equal(code, 0, report.failures)
    assert.equal(report.ok, true)
    assert.ok(report.symbols[0].updatesPerSecond > 10)
    assert.ok(report.published.p50 > 0 && report.published.p50 <= report.published.p99)
    assert.ok(report.published.p50 < report.received.p50)
    await topic.publisher.close()
  })

  test('a reader of its output that has enough is success', async () => {
    const topic = await soundTopic()
    const child = spawn(process.execPath, command(topic), { stdio: ['ignore', 'pipe', 'inherit'] })
    child.stdout.once('data', () => child.stdout.destroy())
    const pushing = setInterval(() => topic.put(0, snapshot(0, 8, 0)), 20)
    const [code] = await once(child, 'close') as [number]
    clearInterval(pushing)
    assert.equal(code, 0)
    await topic.publisher.close()
  })

  test('a full disk ends it with one line, exit 73', async () => {
    const topic = await soundTopic()
    for (const more of [[], ['--verify', '--seconds', '1']]) {
      const [first, ...rest] = command(topic, ...more)
      const words = ['-c', 'exec "$@" >/dev/full', 'sh', process.execPath, first, ...rest]
      const child = spawn('sh', words, { stdio: ['ignore', 'ignore', 'pipe'] })
      let stderr = ''
      child.stderr.on('data', (chunk: Uint8Array) => stderr += new TextDecoder().decode(chunk))
      const [code] = await once(child, 'close') as [number]
      assert.equal(code, 73, stderr)
      assert.match(stderr, /^obfeed: stdout cannot be written .*room\n$/)
    }
    await topic.publisher.close()
  })

  test('what is wrong is said: no topic, no such symbol', async () => {
    const topic = await newTopic()
    await topic.publisher.close()
    const missing = await tap({ ...topic, name: 'not-there' }, '--seconds', '5')
    assert.equal(missing.code, 78)
    assert.match(missing.stderr, /there is no topic not-there/)
    const misspelt = await tap(topic, '--symbol', 'S1/USDT')
    assert.equal(misspelt.code, 64)
    assert.match(misspelt.stderr, /S1\/USD/)
  })
})

test('the report counts what a heartbeat or a jump shows', () => {
  const verification = new Verification(new Map([['S0/USD', 0]]), 0)
  const feed = (text: string) =>
    verification.receive('S0/USD', new TextEncoder().encode(text), 0, nowUs())
  feed(snapshot(0, 7, 0))
  feed(snapshot(0, 7, 3))
  feed(event('heartbeat', 0, 7, 5, '"state":"live"'))
  assert.equal(verification.receive('other', new Uint8Array(), 0, 0), undefined)
  const report = verification.report(1_000, 2_000_000)
  assert.equal(report.symbols[0].gaps, 3)
  assert.equal(report.ok, false)
  assert.equal(report.records, 3)
  assert.ok(report.received !== undefined && report.received.p50 >= 1)
})
