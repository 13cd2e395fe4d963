/** /livez, /readyz, /status and /metrics over a real socket. */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { parseAddress, startStatusServer, type StatusServer } from '../../src/agent/status.ts'
import { type AgentView, readiness } from '../../src/agent/view.ts'
import { until } from '../support/until.ts'
import { bookOf, kafkaOf, planOf, statsOf, viewOf, workerOf } from './fixtures.ts'

async function served(
  view: AgentView,
  body: (url: string, server: StatusServer) => Promise<void>,
): Promise<void> {
  const server = await startStatusServer('127.0.0.1:0', {
    view: () => view,
    metrics: () => 'obfeed_ready 1\n',
    about: () => ({ version: '1.2.3' }),
  })
  try {
    await body(`http://${server.address}`, server)
  } finally {
    await server.close()
  }
}

const healthy = viewOf([workerOf()])

describe('status server', () => {
  test('ready: 200, with a line for each condition when asked', () =>
    served(healthy, async (url) => {
      const plain = await fetch(`${url}/readyz`)
      assert.equal(plain.status, 200)
      assert.deepEqual(await plain.json(), { ready: true, reasons: [] })
      const verbose = await (await fetch(`${url}/readyz?verbose`)).text()
      assert.match(verbose, /^\[\+\]plan distributed\n/)
      assert.match(verbose, /\[\+\]books 1 of 1 live\nready\n$/)
    }))

  test('not ready: 503 and why; alive all the same', () =>
    served(viewOf([workerOf()], { draining: true }), async (url) => {
      const answer = await fetch(`${url}/readyz`)
      assert.equal(answer.status, 503)
      assert.deepEqual(await answer.json(), { ready: false, reasons: ['drain: draining'] })
      assert.equal((await fetch(`${url}/livez`)).status, 200)
    }))

  test('status is one JSON object', () =>
    served(healthy, async (url) => {
      const answer = await fetch(`${url}/status`)
      assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
      const status = JSON.parse(await answer.text())
      assert.equal(status.version, '1.2.3')
      assert.equal(status.ready, true)
      assert.equal(status.workers[0].books[0].symbol, 'BTC/USD')
    }))

  test('metrics have the type a scraper expects', () =>
    served(healthy, async (url) => {
      const answer = await fetch(`${url}/metrics`)
      assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
      assert.equal(await answer.text(), 'obfeed_ready 1\n')
    }))

  test('other paths and methods are refused', () =>
    served(healthy, async (url) => {
      assert.equal((await fetch(`${url}/`)).status, 404)
      assert.equal((await fetch(`${url}//`)).status, 404)
      assert.equal((await fetch(`${url}/metrics`, { method: 'POST' })).status, 405)
    }))

  test('clients that ask slowly hold 64 connections at most, and for seconds', {
    timeout: 30_000,
  }, () =>
    served(healthy, async (url, server) => {
      const port = Number(server.address.split(':').at(-1))
      const kept = new Set<Socket>()
      const slow = (text: string): Promise<void> =>
        new Promise((done) => {
          const socket = connect(port, '127.0.0.1', () => {
            kept.add(socket)
            socket.write(text, () => done())
          })
          socket.on('error', () => done())
          socket.on('close', () => kept.delete(socket))
        })
      for (let i = 0; i < 200; i++) await slow('GET /livez HTTP/1.1\r\nHost: x\r\n')
      await until('64 are left', 5000, () => kept.size <= 64)
      const begun = performance.now()
      for (let i = 0; i < 80; i++) {
        const answer = await fetch(`${url}/livez`, { headers: { connection: 'close' } })
        assert.equal(answer.status, 200)
        assert.equal(await answer.text(), 'ok\n')
      }
      assert.ok(performance.now() - begun < 5000, 'others are answered meanwhile')
      await until('the slow ones are given up', 10_000, () => kept.size === 0)
    }))

  test('of connections in use the idle ones go first', () =>
    served(healthy, async (_, server) => {
      const port = Number(server.address.split(':').at(-1))
      const ask = (socket: Socket): Promise<string> => {
        socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n\r\n')
        return new Promise((done) => {
          socket.once('data', (data) => done(String(data)))
          socket.once('close', () => done('closed'))
        })
      }
      const open = (): Promise<Socket> =>
        new Promise((done) => {
          const socket: Socket = connect(port, '127.0.0.1', () => done(socket))
          socket.on('error', () => {})
        })
      const first = await open()
      assert.match(await ask(first), /200 OK/)
      const others: Socket[] = []
      for (let i = 0; i < 63; i++) others.push(await open())
      for (const socket of others) assert.match(await ask(socket), /200 OK/)
      // It was idle longest, but has been asked again.
      assert.match(await ask(first), /200 OK/)
      const last = await open()
      assert.match(await ask(last), /200 OK/)
      assert.match(await ask(first), /200 OK/)
      await until('the longest idle is closed', 2000, () => others[0].destroyed)
      assert.match(await ask(others[1]), /200 OK/)
      for (const socket of [first, last, ...others]) socket.destroy()
    }))

  test('a busy port rejects and harms nobody', () =>
    served(healthy, async (url, server) => {
      const again = startStatusServer(server.address, {
        view: () => healthy,
        metrics: () => '',
        about: () => ({}),
      })
      await assert.rejects(again, /EADDRINUSE|in use/i)
      assert.equal((await fetch(`${url}/livez`)).status, 200)
    }))
})

test('addresses', () => {
  assert.deepEqual(parseAddress('127.0.0.1:9469'), { host: '127.0.0.1', port: 9469 })
  assert.deepEqual(parseAddress('[::1]:80'), { host: '::1', port: 80 })
  assert.deepEqual(parseAddress(':80'), { host: '::', port: 80 })
  for (const text of ['', 'x', '1.2.3.4', '1.2.3.4:99999', '::1:80']) {
    assert.equal(parseAddress(text), undefined, text)
  }
})

describe('readiness', () => {
  const failing = (view: AgentView): string[] =>
    readiness(view).filter((check) => !check.ok).map(({ name, detail }) => `${name}: ${detail}`)

  test('nothing is missing', () => assert.deepEqual(failing(healthy), []))

  test('an address that the exchange refuses is said, and counts while a book is missing', () => {
    const refused = (state: 'live' | 'syncing'): AgentView => {
      const worker = workerOf()
      const { stats } = worker
      const books = stats!.feed.books.map((book) => ({ ...book, state }))
      const feed = { ...stats!.feed, books, held: 'HTTP 403 to a REST request', heldMs: 11_900 }
      return viewOf([{ ...worker, stats: { ...stats!, feed } }])
    }
    assert.deepEqual(failing(refused('live')), [])
    const said = 'HTTP 403 to a REST request: this address is refused, asked again in 12 s'
    assert.ok(failing(refused('syncing')).includes(`exchange: ${said}`))
    assert.ok(readiness(refused('live')).some(({ detail }) => detail === said))
  })

  test('before the plan only that is said', () => {
    const view = viewOf([workerOf()], { preparing: 'loading markets' })
    assert.deepEqual(failing(view), ['plan: loading markets'])
  })

  test('a dead worker takes its books with it', () => {
    const dead = workerOf({
      state: 'waiting',
      pid: undefined,
      stats: undefined,
      plan: planOf(0, 'A/B', 'C/D'),
    })
    assert.deepEqual(failing(viewOf([dead])), [
      'worker-0: waiting, not reporting',
      'books: 0 of 2 live; not: A/B (no worker), C/D (no worker)',
    ])
  })

  test('Kafka must be connected, every book live and none stale', () => {
    const stats = statsOf(
      [
        bookOf('A/B', { state: 'suspect', reason: 'gap' }),
        bookOf('C/D', { stale: true }),
        bookOf('E/F', { state: 'syncing' }),
        bookOf('G/H'),
      ],
      {},
      { connected: false },
    )
    assert.deepEqual(failing(viewOf([workerOf({ stats })])), [
      'kafka-0: not connected',
      'books: 1 of 4 live; not: A/B (gap), C/D (stale), E/F (syncing)',
    ])
  })

  test('events that wait for Kafka longer than 5 s, and a quota that makes them wait', () => {
    const late = (oldestMs: number, isThrottled: boolean) =>
      failing(viewOf([workerOf({
        stats: { ...statsOf([bookOf('A/B')], {}, { oldestMs }), kafka: kafkaOf({ isThrottled }) },
      })]))
    assert.deepEqual(late(4_999, true), [])
    assert.deepEqual(late(7_200, false), ['kafka-0: events are 7 s late'])
    assert.deepEqual(late(7_200, true), [
      'kafka-0: events are 7 s late, throttled by the broker 1200 ms',
    ])
  })

  test('another producer of the same books, told once for all workers', () => {
    const producer = 'host/9/0.1.0'
    const rivals = (...symbols: string[]) => [{ producer, symbols, silentMs: 100 }]
    const workers = [rivals('A/B', 'C/D'), rivals('E/F', 'G/H', 'I/J', 'K/L')].map((found, id) =>
      workerOf({
        id,
        stats: { ...statsOf([bookOf(`${id}/X`)]), kafka: kafkaOf({ rivals: found }) },
      })
    )
    assert.deepEqual(failing(viewOf(workers)), [
      `producers: ${producer} also publishes A/B, C/D, E/F, G/H, I/J and 1 more`,
    ])
  })

  test('many missing books are counted, not listed', () => {
    const books = Array.from({ length: 30 }, (_, i) => bookOf(`S${i}/X`, { state: 'syncing' }))
    assert.match(
      failing(viewOf([workerOf({ stats: statsOf(books) })])).join(),
      /S4\/X .* and 25 more$/,
    )
  })
})
