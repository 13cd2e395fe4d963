/** Addresses as operators give them: some hang, some are IPv6, some the cluster itself got wrong. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { after, describe, test } from 'node:test'
import { KafkaClient } from '../../src/kafka/client.ts'
import { KafkajsWire } from '../../src/kafka/kafkajs-wire.ts'
import { ensureTopic } from '../../src/kafka/topics.ts'
import { startKafka } from '../support/kafka.ts'

const kafka = await startKafka()
const target = Number(kafka.brokers.split(':')[1])
const topic = `reach-${process.pid}`
const request = { topic, partitions: 2, replicationFactor: -1, manage: true }
const ends: (() => void)[] = []

after(async () => {
  for (const end of ends) end()
  await kafka.stop()
})

/** Listens at `host` and does `serve` with each connection. */
async function listen(host: string, serve: (socket: net.Socket) => void): Promise<number> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, host)
  await once(server, 'listening')
  ends.push(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

function relay(socket: net.Socket): void {
  const broker = net.connect(target, '127.0.0.1')
  broker.on('error', () => socket.destroy())
  socket.on('close', () => broker.destroy())
  broker.on('close', () => socket.destroy())
  socket.pipe(broker).pipe(socket)
}

describe('seeds', () => {
  test('one that accepts and never answers costs nothing beside one that lives', async () => {
    const hung = await listen('127.0.0.1', () => {})
    for (let i = 0; i < 8; i++) {
      const began = performance.now()
      const client = new KafkaClient({ brokers: [`127.0.0.1:${hung}`, kafka.brokers] })
      await ensureTopic(client, request)
      const wire = new KafkajsWire(client, topic)
      assert.equal((await wire.leaders()).size, 2)
      await (await wire.open(1)).close()
      await wire.close()
      assert.ok(performance.now() - began < 4_000, `${performance.now() - began} ms`)
      assert.deepEqual(await client.reach.choose(), { host: '127.0.0.1', port: target })
    }
  })

  test('the one that answered is remembered until it fails', async () => {
    const first = await listen('127.0.0.1', relay)
    const brokers = [`127.0.0.1:${first}`, '127.0.0.1:1']
    const { reach } = new KafkaClient({ brokers })
    assert.equal((await reach.choose()).port, first)
    for (const end of ends.splice(-1)) end()
    assert.equal((await reach.choose()).port, first)
    reach.failed({ host: '127.0.0.1', port: first }, 'it hung up')
    await assert.rejects(reach.choose(), /127\.0\.0\.1:1: .*127\.0\.0\.1:\d+: /)
  })

  test('none that answers: each is named with its reason, exit 69', async () => {
    const hung = await listen('127.0.0.1', () => {})
    const web = await listen(
      '127.0.0.1',
      (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    )
    const client = new KafkaClient({
      brokers: [`127.0.0.1:${hung}`, '127.0.0.1:1', `127.0.0.1:${web}`],
      stallTimeoutMs: 200,
    })
    await assert.rejects(
      ensureTopic(client, { ...request, connectTimeoutMs: 1_000 }),
      (error: Error & { exitCode?: number }) => {
        assert.equal(error.exitCode, 69)
        assert.ok(
          error.message.includes(`127.0.0.1:${hung}: no answer within 200 ms`),
          error.message,
        )
        assert.match(error.message, /127\.0\.0\.1:1: .*(refused|ECONNREFUSED|connect)/i)
        assert.ok(
          error.message.includes(`127.0.0.1:${web}: it does not speak Kafka`),
          error.message,
        )
        return true
      },
    )
  })

  test('IPv6 in brackets', async () => {
    const port = await listen('::1', relay)
    for (const brokers of [[`[::1]:${port}`], [`[::1]:${port}`, '127.0.0.1:1']]) {
      const client = new KafkaClient({ brokers })
      assert.equal((await ensureTopic(client, request)).partitions, 2)
    }
  })

  test('a name that means ::1 first, where only 127.0.0.1 listens', async () => {
    const client = new KafkaClient({
      brokers: [`localhost:${target}`],
      lookup: (_, options, done) => {
        const both = [{ address: '::1', family: 6 }, { address: '127.0.0.1', family: 4 }]
        if (options.all === true) done(null, both)
        else done(null, '::1', 6)
      },
    })
    assert.equal((await ensureTopic(client, request)).partitions, 2)
  })
})

test('brokers that name themselves wrongly: the address and the setting are said', {
  timeout: 60_000,
}, async () => {
  const lost = await startKafka({
    own: true,
    settings: ['advertised.listeners=PLAINTEXT://kafka-internal.invalid:9092'],
  })
  try {
    const client = new KafkaClient({ brokers: [lost.brokers] })
    const said = (error: Error & { exitCode?: number }) => {
      assert.equal(error.exitCode, 69)
      assert.match(error.message, /^Kafka answers at 127\.0\.0\.1:\d+, but names addresses/)
      assert.match(error.message, /kafka-internal\.invalid:9092 \(.*\).*advertised\.listeners/)
      return true
    }
    await assert.rejects(ensureTopic(client, request), said)
  } finally {
    await lost.stop()
  }
})
