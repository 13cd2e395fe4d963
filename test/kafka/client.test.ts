import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import process from 'node:process'
import { describe, test } from 'node:test'
import { BRIEF, KafkaClient } from '../../src/kafka/client.ts'
import { until } from '../support/until.ts'

interface Answering {
  readonly port: number
  readonly sockets: Socket[]
  close(): Promise<void>
}

/** Answers the first `answers` requests of each connection with an empty ApiVersions list. */
async function serve(answers: number): Promise<Answering> {
  const sockets: Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    let answered = 0
    socket.on('error', () => {})
    socket.on('data', (request) => {
      if (answered >= answers) return
      answered += 1
      const response = new Uint8Array(14)
      response[3] = 10
      response.set(request.subarray(8, 12), 4) // the request's correlation id
      // Two pieces, cut inside the length prefix.
      socket.write(response.subarray(0, 3))
      setTimeout(() => socket.write(response.subarray(3)), 20)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

describe('the stall watchdog', () => {
  test('ends a connection that owes an answer', async () => {
    const server = await serve(0)
    const client = new KafkaClient({ brokers: [`127.0.0.1:${server.port}`], stallTimeoutMs: 150 })
    const session = client.session(BRIEF)
    const started = performance.now()
    await assert.rejects(session.kafka.admin().connect(), /no answer for 150 ms/)
    // Without it kafkajs waits 10 s here.
    assert.ok(performance.now() - started < 3_000)
    assert.ok(server.sockets.length >= 2, 'it was tried on a new connection')
    session.abort()
    await server.close()
  })

  test('leaves a connection alone that owes nothing', async () => {
    const server = await serve(2)
    const client = new KafkaClient({ brokers: [`127.0.0.1:${server.port}`], stallTimeoutMs: 100 })
    const session = client.session(BRIEF)
    const socket = session.socketFactory({
      host: '127.0.0.1',
      port: server.port,
      ssl: undefined as never,
      onConnect: () => {},
    }) as Socket
    let answer = 0
    socket.on('data', (chunk: Uint8Array) => answer += chunk.length)
    socket.write(new Uint8Array([0, 0, 0, 10, 0, 18, 0, 2, 0, 0, 0, 1, 0, 0]))
    await until('the answer', 2_000, () => answer === 14)
    const answeredAt = performance.now()
    await until('several watchdog periods', 2_000, () => performance.now() - answeredAt > 400)
    assert.equal(socket.destroyed, false)
    // Of the next two only one is answered.
    socket.write(new Uint8Array([0, 0, 0, 10, 0, 18, 0, 2, 0, 0, 0, 2, 0, 0]))
    await until('the second answer is on its way', 2_000, () => answer > 14)
    socket.write(new Uint8Array([0, 0, 0, 10, 0, 18, 0, 2, 0, 0, 0, 3, 0, 0]))
    await until('the end of a stalled connection', 2_000, () => socket.destroyed)
    session.abort()
    await server.close()
  })
})

test('an aborted session leaves no socket and refuses new ones', async () => {
  const server = await serve(100)
  const client = new KafkaClient({ brokers: [`127.0.0.1:${server.port}`] })
  const session = client.session(BRIEF)
  const admin = session.kafka.admin()
  await admin.connect()
  session.abort()
  await until('the sockets are gone', 2_000, () => server.sockets.every((one) => one.destroyed))
  const count = server.sockets.length
  await assert.rejects(admin.listTopics())
  assert.equal(server.sockets.length, count)
  await server.close()
})

test('an idle connection arms no timer again and again', async () => {
  const server = await serve(100)
  const client = new KafkaClient({ brokers: [`127.0.0.1:${server.port}`] })
  const session = client.session(BRIEF)
  await session.kafka.admin().connect()
  const original = globalThis.setTimeout
  let armed = 0
  globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
    armed += 1
    return original(...args)
  }) as typeof setTimeout
  try {
    await new Promise((resolve) => original(resolve, 200))
  } finally {
    globalThis.setTimeout = original
  }
  assert.ok(armed < 5, `${armed} timers in 200 ms`)
  session.abort()
  await server.close()
})

test('messages of the client library go to the log that was given, none to stdout', async () => {
  const server = await serve(0)
  const lines: string[] = []
  const client = new KafkaClient({
    brokers: [`127.0.0.1:${server.port}`],
    stallTimeoutMs: 50,
    log: (level, message) => lines.push(`${level} ${message}`),
  })
  const write = process.stdout.write
  let printed = 0
  process.stdout.write = (() => (printed += 1) > 0) as typeof process.stdout.write
  const session = client.session(BRIEF)
  try {
    await assert.rejects(session.kafka.admin().connect())
  } finally {
    process.stdout.write = write
  }
  assert.equal(printed, 0)
  assert.ok(lines.some((line) => /^warn kafkajs Connection: .*no answer/.test(line)), `${lines}`)
  session.abort()
  await server.close()
})
