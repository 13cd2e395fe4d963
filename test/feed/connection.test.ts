import { afterEach, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server, type Socket as NetSocket } from 'node:net'
import type { AddressInfo } from 'node:net'
import WebSocket, { WebSocketServer } from 'ws'
import type { Environment, SocketEvents } from '../../src/core/environment.ts'
import type { Limits, Session } from '../../src/exchanges/adapter.ts'
import { Budget } from '../../src/feed/budget.ts'
import {
  Connection,
  CONNECTION_TIMINGS,
  type ConnectionTimings,
  type LossReason,
  openWebSocket,
} from '../../src/feed/connection.ts'
import { realEnvironment } from '../../src/feed/environment.ts'
import { until } from '../support/until.ts'
import { fakeAdapter } from './world.ts'

const closers: (() => void)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** A WebSocket server that is ended after the test. */
async function serve(
  connected: (socket: WebSocket) => void,
  options: { readonly autoPong?: boolean } = {},
): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', ...options })
  closers.push(() => {
    for (const client of server.clients) client.terminate()
    server.close()
  })
  server.on('connection', connected)
  await once(server, 'listening')
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

/** A TCP server that takes connections and never says a word. */
async function serveSilence(): Promise<{ url: string; server: Server; sockets: NetSocket[] }> {
  const sockets: NetSocket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
  })
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`, server, sockets }
}

interface Loss {
  readonly reason: LossReason
  readonly detail: string
  readonly opened: boolean
  readonly retryMs: number
}

/** A connection with an owner that notes everything, ticked often, ended after the test. */
class Slot {
  readonly losses: Loss[] = []
  /** Frames by session. */
  readonly sessions: string[][] = []
  readonly connection: Connection
  /** How often it asked to be replaced. */
  retiring = 0
  /** What each session sends when it opens. */
  opening: string[] = ['subscribe']
  /** Sessions prove themselves with their first frame. */
  proves = false

  constructor(
    url: string,
    limits: Partial<Limits> = {},
    timings: Partial<ConnectionTimings> = {},
    environment: Environment = realEnvironment,
  ) {
    const adapter = fakeAdapter({ limits })
    const budget = new Budget(adapter.limits, 1, 0, environment)
    this.connection = new Connection(
      {
        url,
        limits: adapter.limits,
        openingMessages: 1,
        timings: {
          ...CONNECTION_TIMINGS,
          connectTimeoutMs: 2000,
          backoffBaseMs: 10,
          backoffCapMs: 50,
          ...timings,
        },
      },
      budget,
      environment,
      {
        opened: () => this.#session(),
        retiring: () => this.retiring++,
        lost: (reason, detail, opened, retryMs) =>
          this.losses.push({ reason, detail, opened, retryMs }),
      },
    )
    const ticks = setInterval(() => this.connection.tick(environment.monotonicMs()), 10)
    closers.push(() => {
      clearInterval(ticks)
      this.connection.stop()
    })
    this.connection.start()
  }

  #session(): Session {
    const frames: string[] = []
    this.sessions.push(frames)
    return {
      opened: () => {
        for (const text of this.opening) this.connection.send(text)
      },
      received: (frame) => {
        frames.push(new TextDecoder().decode(frame))
        if (this.proves) this.connection.proven()
      },
      resync: () => {},
      stats: { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 },
    }
  }
}

describe('openWebSocket', () => {
  interface Seen {
    opened: number
    frames: Uint8Array[]
    signs: number
    closed: [number, string][]
  }

  function watcher(): { seen: Seen; events: SocketEvents } {
    const seen: Seen = { opened: 0, frames: [], signs: 0, closed: [] }
    return {
      seen,
      events: {
        opened: () => seen.opened++,
        received: (frame) => seen.frames.push(frame),
        alive: () => seen.signs++,
        closed: (code, reason) => seen.closed.push([code, reason]),
      },
    }
  }

  test('text arrives as bytes, also a message of many megabytes', async () => {
    const big = 20 * 1024 * 1024
    const url = await serve((socket) => {
      socket.on('message', (data) => {
        socket.send(`you said ${data}`)
        socket.send('x'.repeat(big))
        socket.close(4000, 'bye')
      })
    })
    const { seen, events } = watcher()
    const socket = openWebSocket(url, { ...events, opened: () => socket.send('hé') }, 1 << 26)
    await until('close', 5000, () => seen.closed.length)
    assert.deepEqual(seen.closed, [[4000, 'bye']])
    assert.ok(seen.frames[0] instanceof Uint8Array)
    assert.equal(new TextDecoder().decode(seen.frames[0]), 'you said hé')
    assert.equal(seen.frames[1].length, big)
  })

  test('closed comes exactly once: refused, not a WebSocket server, terminated', async () => {
    const { url, sockets } = await serveSilence()
    const refused = watcher()
    openWebSocket('ws://127.0.0.1:1/', refused.events, 1 << 26)
    const denied = watcher()
    openWebSocket(url, denied.events, 1 << 26)
    const cut = watcher()
    const terminated = openWebSocket(url, cut.events, 1 << 26)
    await until('connections', 2000, () => sockets.length === 2)
    sockets[0].end('HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n')
    terminated.terminate()
    terminated.terminate()
    assert.deepEqual(cut.seen.closed, [], 'never from inside the call')
    await until('all closed', 2000, () => refused.seen.closed.length && denied.seen.closed.length)
    await new Promise((resolve) => setTimeout(resolve, 20))
    assert.deepEqual(cut.seen.closed, [[1006, 'terminated']])
    assert.equal(refused.seen.closed.length, 1)
    assert.match(refused.seen.closed[0][1], /REFUSED|refused|Failed/i)
    assert.equal(denied.seen.closed.length, 1)
    assert.match(denied.seen.closed[0][1], /429|101/)
    assert.equal(refused.seen.opened + denied.seen.opened + cut.seen.opened, 0)
  })

  test('what a refused upgrade was answered with is handed on', async () => {
    const { url, server } = await serveSilence()
    const page = 'Content-Type: text/html\r\nContent-Length: 6\r\n\nslow d'.replace(
      '\n\n',
      '\n\r\n',
    )
    server.on('connection', (socket) => {
      socket.once('data', () => {
        socket.write(`HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\n${page}`)
      })
    })
    let closed: unknown[] | undefined
    const { seen, events } = watcher()
    openWebSocket(url, { ...events, closed: (...all) => closed = all }, 1 << 26)
    await until('closed', 2000, () => closed)
    assert.deepEqual(closed, [
      1006,
      'HTTP 429 in place of a WebSocket',
      { status: 429, retryAfterMs: 30_000 },
    ])
    assert.equal(seen.opened, 0)
  })

  test('pause stops delivery, resume continues with nothing lost', async () => {
    let sent = 0
    const url = await serve((socket) => {
      const timer = setInterval(() => socket.send(String(sent++)), 2)
      socket.on('close', () => clearInterval(timer))
    })
    const { seen, events } = watcher()
    const socket = openWebSocket(url, events, 1 << 26)
    await until('frames', 2000, () => seen.frames.length > 3)
    socket.pause()
    const mark = sent
    await until('more sent', 2000, () => sent > mark + 20)
    const paused = seen.frames.length
    assert.ok(paused < sent - 10, `${paused} of ${sent}`)
    socket.resume()
    await until('the rest', 2000, () => seen.frames.length > paused + 20)
    const numbers = seen.frames.map((frame) => Number(new TextDecoder().decode(frame)))
    numbers.forEach((number, i) => assert.equal(number, i))
    socket.terminate()
  })
})

test('a frame beyond the limit is not delivered and ends the socket', async () => {
  const url = await serve((socket) => {
    socket.send('x'.repeat(1000))
    socket.send('y'.repeat(1001))
  })
  const slot = new Slot(url, { frameBytesMax: 1000 })
  const loss = await until('lost', 3000, () => slot.losses[0])
  assert.equal(loss.opened, true)
  assert.deepEqual(slot.sessions[0].map((frame) => frame[0]), ['x'])
})

describe('Connection', () => {
  test('a handshake that never ends is given up', async () => {
    const { url, sockets } = await serveSilence()
    const slot = new Slot(url, {}, { connectTimeoutMs: 60 })
    await until('two time-outs', 3000, () => slot.losses.length >= 2)
    assert.equal(slot.losses[0].reason, 'connect-timeout')
    assert.equal(slot.losses[0].opened, false)
    assert.ok(sockets.length >= 2)
    assert.equal(slot.sessions.length, 0)
  })

  test('refused attempts wait longer and longer, up to the cap, with full jitter', async () => {
    const randoms = [0.999, 0.999, 0.999, 0.999, 0.999, 0.001, 0.5]
    let next = 0
    const environment: Environment = {
      ...realEnvironment,
      random: () => randoms[Math.min(next++, randoms.length - 1)],
    }
    const { url, server } = await serveSilence()
    server.close()
    await once(server, 'close')
    const slot = new Slot(url, {}, { backoffBaseMs: 8, backoffCapMs: 50 }, environment)
    await until('seven attempts', 3000, () => slot.losses.length >= 7)
    const waits = slot.losses.slice(0, 7).map(({ retryMs }) => Math.round(retryMs))
    assert.deepEqual(waits, [8, 16, 32, 50, 50, 0, 25])
    assert.ok(slot.losses.every(({ reason }) => reason === 'refused'))
  })

  test('delays start over only after good data, not after a mere connection', async () => {
    const url = await serve((socket) => {
      socket.send('hello')
      socket.on('message', () => socket.close(1012, 'restart'))
    })
    const environment: Environment = { ...realEnvironment, random: () => 0.999999 }
    const slot = new Slot(url, {}, { backoffBaseMs: 4, backoffCapMs: 1000 }, environment)
    await until('four losses', 3000, () => slot.losses.length >= 4)
    assert.deepEqual(slot.losses.slice(0, 4).map(({ retryMs }) => Math.round(retryMs)), [
      4,
      8,
      16,
      32,
    ])
    assert.deepEqual(
      [slot.losses[0].reason, slot.losses[0].detail, slot.losses[0].opened],
      ['closed', 'code 1012, restart', true],
    )
    slot.proves = true
    const before = slot.losses.length
    await until('more losses', 3000, () => slot.losses.length >= before + 3)
    assert.equal(Math.round(slot.losses[before + 2].retryMs), 4)
  })

  test('a socket that is silent and answers no ping is replaced (half-open)', async () => {
    let connections = 0
    let pings = 0
    const url = await serve((socket) => {
      connections++
      socket.on('ping', () => pings++)
      // The peer's kernel still acknowledges; only an answer tells.
      socket.send('first')
    }, { autoPong: false })
    const slot = new Slot(url, {}, { silenceMs: 100, pongWithinMs: 60 })
    await until('a second socket', 3000, () => connections >= 2)
    assert.equal(slot.losses[0].reason, 'stale')
    const silent = /nothing for (\d+) ms, and no answer to a ping/.exec(slot.losses[0].detail)
    // Never sooner; later only where the machine is busy.
    assert.ok(Number(silent?.[1]) >= 160, slot.losses[0].detail)
    assert.equal(slot.sessions[0].length, 1)
    assert.ok(pings >= 1)
  })

  test('pings and pongs are signs of life: a quiet peer that is there keeps its socket', async () => {
    let pings = 0
    const quiet = await serve((socket) => socket.on('ping', () => pings++))
    const asked = new Slot(quiet, {}, { silenceMs: 40, pongWithinMs: 60 })
    await until('pings', 3000, () => pings >= 5)
    assert.deepEqual(asked.losses, [])
    const url = await serve((socket) => {
      const timer = setInterval(() => socket.ping(), 10)
      socket.on('close', () => clearInterval(timer))
      socket.on('ping', () => assert.fail('it need not be asked'))
    }, { autoPong: false })
    const pinged = new Slot(url, {}, { silenceMs: 400, pongWithinMs: 1 })
    await until('open', 3000, () => pinged.connection.state === 'open')
    await new Promise((resolve) => setTimeout(resolve, 900))
    assert.deepEqual(pinged.losses, [])
  })

  test('a pause is no silence', async () => {
    let stream = true
    const url = await serve((socket) => {
      const timer = setInterval(() => stream && socket.send('tick'), 20)
      socket.on('close', () => clearInterval(timer))
    }, { autoPong: false })
    const slot = new Slot(url, {}, { silenceMs: 100, pongWithinMs: 50 })
    await until('frames', 3000, () => slot.connection.frames > 20)
    assert.equal(slot.losses.length, 0)
    slot.connection.pause()
    stream = false
    await new Promise((resolve) => setTimeout(resolve, 400))
    assert.equal(slot.losses.length, 0)
    slot.connection.resume()
    await until('stale', 3000, () => slot.losses.length)
    assert.equal(slot.losses.at(-1)!.reason, 'stale')
  })

  test('messages leave no faster than the budget allows', async () => {
    const times: number[] = []
    const url = await serve((socket) => socket.on('message', () => times.push(performance.now())))
    const slot = new Slot(url, { framesPerSecond: 40 })
    slot.opening = Array.from({ length: 30 }, (_, i) => `message ${i}`)
    await until('all messages', 5000, () => times.length === 30)
    const burst = Math.floor((40 * 0.85) / 3)
    const rate = 40 * 0.85 - burst
    const leastMs = ((30 - burst) * 1000) / rate - 60
    assert.ok(times[29] - times[0] >= leastMs, `${times[29] - times[0]} < ${leastMs}`)
    assert.equal(slot.connection.queued, 0)
  })

  test('no event of an old socket reaches the next session', async () => {
    let connections = 0
    const url = await serve((socket) => {
      const id = ++connections
      const timer = setInterval(() => socket.send(`from ${id}`), 1)
      socket.on('close', () => clearInterval(timer))
    })
    const links: SocketEvents[] = []
    const environment: Environment = {
      ...realEnvironment,
      openSocket: (to, events, frameBytesMax) => {
        links.push(events)
        return openWebSocket(to, events, frameBytesMax)
      },
    }
    const slot = new Slot(url, {}, {}, environment)
    for (let round = 1; round <= 5; round++) {
      await until('frames', 3000, () => (slot.sessions[round - 1]?.length ?? 0) > 3)
      slot.connection.reopen('resync', 'test')
      // The network's last word, as late as it gets.
      for (const link of links) {
        link.received(new TextEncoder().encode('late'))
        link.opened()
        link.closed(1006, 'late')
      }
    }
    await until('the sixth', 3000, () => (slot.sessions[5]?.length ?? 0) > 3)
    for (const link of links.slice(0, 5)) link.received(new TextEncoder().encode('late'))
    slot.sessions.forEach((frames, i) => {
      assert.deepEqual([...new Set(frames)], [`from ${i + 1}`])
    })
    assert.equal(slot.losses.length, 5)
    assert.equal(slot.connection.frames, slot.sessions.flat().length)
  })

  test('asks once to be replaced before the exchange would end it', async () => {
    const url = await serve((socket) => {
      const timer = setInterval(() => socket.send('tick'), 5)
      socket.on('close', () => clearInterval(timer))
    })
    const slot = new Slot(url, { lifetimeMs: 150 })
    await until('old', 3000, () => slot.retiring === 1)
    slot.connection.retireIn(20)
    await until('still old', 3000, () => slot.retiring === 2)
    assert.equal(slot.connection.state, 'open')
    assert.deepEqual(slot.losses, [])
  })

  test('a stopped slot stays silent', async () => {
    let open = 0
    const url = await serve((socket) => {
      open++
      socket.on('close', () => open--)
    })
    const slot = new Slot(url)
    await until('open', 3000, () => open === 1)
    slot.connection.stop()
    slot.connection.reopen('resync', 'no')
    slot.connection.send('no')
    await until('closed', 3000, () => open === 0)
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.equal(open, 0)
    assert.deepEqual(slot.losses, [])
  })
})
