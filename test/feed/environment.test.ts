import { afterEach, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { HttpResponse } from '../../src/core/environment.ts'
import { realEnvironment, WallClock } from '../../src/feed/environment.ts'
import { parseRetryAfter } from '../../src/feed/retry-after.ts'
import { until } from '../support/until.ts'

describe('WallClock', () => {
  /** Monotonic and wall clock under the test's control. */
  function clocks(anchorMs: number) {
    const state = { monotonic: 5000, wall: 1_800_000_000_000, tornMs: 0 }
    const pass = (ms: number) => {
      state.monotonic += ms
      state.wall += ms
    }
    const clock = new WallClock(
      () => {
        const now = state.monotonic
        pass(state.tornMs)
        return now
      },
      () => Math.floor(state.wall),
      anchorMs,
    )
    return { state, clock, pass }
  }

  test('microseconds between the ticks of the wall clock', () => {
    const { clock, pass } = clocks(1_800_000_000_000 - 5000)
    assert.equal(clock.nowUs(), 1_800_000_000_000_000)
    pass(0.25)
    assert.equal(clock.nowUs(), 1_800_000_000_000_250)
    assert.ok(Number.isSafeInteger(clock.nowUs()))
  })

  test('follows steps in both directions within a second, ignores the coarseness', () => {
    const { state, clock, pass } = clocks(1_800_000_000_000.4 - 5000)
    clock.nowUs()
    for (let i = 0; i < 10; i++) {
      pass(997.3)
      assert.equal(clock.nowUs(), Math.floor((state.monotonic + 1_800_000_000_000.4 - 5000) * 1000))
    }
    for (const step of [3_600_000, -7_200_000, 50]) {
      state.wall += step
      pass(1001)
      assert.ok(Math.abs(clock.nowUs() / 1000 - state.wall) <= 1, `step ${step}`)
    }
  })

  test('a pair of reads that was torn apart moves nothing', () => {
    const { state, clock, pass } = clocks(1_800_000_000_000 - 5000)
    clock.nowUs()
    pass(2000)
    state.tornMs = 20
    clock.nowUs()
    state.tornMs = 0
    assert.equal(clock.nowUs(), (state.monotonic - 5000 + 1_800_000_000_000) * 1000)
  })

  test('the real one agrees with the system and is cheap', () => {
    const before = Date.now()
    const now = realEnvironment.nowUs()
    const after = Date.now()
    assert.ok(now >= (before - 3) * 1000 && now <= (after + 4) * 1000)
    let last = 0
    const started = performance.now()
    for (let i = 0; i < 100_000; i++) last = Math.max(last, realEnvironment.nowUs())
    const each = ((performance.now() - started) * 1e6) / 100_000
    assert.ok(Number.isInteger(last))
    assert.ok(each < 2000, `${each} ns`)
  })
})

describe('timers', () => {
  test('fire once; a cancelled one never', async () => {
    let fired = 0
    realEnvironment.setTimer(1, () => fired++)
    const cancelled = realEnvironment.setTimer(1, () => fired += 100)
    cancelled.cancel()
    cancelled.cancel()
    await until('fired', 1000, () => fired)
    await new Promise((resolve) => setTimeout(resolve, 10))
    assert.equal(fired, 1)
  })

  test('longer than the runtime can count: not sooner', async () => {
    let fired = 0
    const timers = [2 ** 31, 1e12, Infinity].map((ms) =>
      realEnvironment.setTimer(ms, () => fired++)
    )
    await new Promise((resolve) => realEnvironment.setTimer(50, () => resolve(undefined)))
    for (const timer of timers) timer.cancel()
    assert.equal(fired, 0)
  })
})

describe('httpGet', () => {
  const closers: (() => void)[] = []
  afterEach(() => {
    for (const close of closers.splice(0)) close()
  })

  async function serve(listener: RequestListener): Promise<string> {
    const server = createServer(listener)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closers.push(() => {
      server.closeAllConnections()
      server.close()
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const get = (url: string, timeoutMs = 2000) =>
    new Promise<HttpResponse>((resolve) => realEnvironment.httpGet(url, timeoutMs, resolve))

  test('status, body and path', async () => {
    const base = await serve((request, response) => {
      response.statusCode = request.url === '/a?b=c' ? 200 : 404
      response.end(`path ${request.url} é`)
    })
    assert.deepEqual(await get(`${base}/a?b=c`), { status: 200, body: 'path /a?b=c é' })
    assert.equal((await get(`${base}/x`)).status, 404)
  })

  test('Retry-After', async () => {
    const base = await serve((_request, response) => {
      response.writeHead(429, { 'retry-after': '7' })
      response.end()
    })
    assert.deepEqual(await get(base), { status: 429, body: '', retryAfterMs: 7000 })
    assert.equal(parseRetryAfter('Sun, 22 Nov 2026 00:00:10 GMT', Date.UTC(2026, 10, 22)), 10_000)
    assert.equal(parseRetryAfter('Sun, 22 Nov 2026 00:00:00 GMT', Date.UTC(2027, 0)), 0)
    assert.equal(parseRetryAfter('soon', 0), undefined)
    const day = 24 * 3_600_000
    for (const text of ['9'.repeat(400), '86401', 'Sun, 22 Nov 2099 00:00:00 GMT']) {
      assert.equal(parseRetryAfter(text, Date.UTC(2026, 0)), day, 'not longer than a day')
    }
    assert.equal(parseRetryAfter(undefined, 0), undefined)
  })

  test('status 0 when refused, cut or dripping past the deadline', async () => {
    assert.equal((await get('http://127.0.0.1:1/')).status, 0)
    const cut = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('half')
      setTimeout(() => response.destroy(), 20)
    })
    assert.equal((await get(cut)).status, 0)
    const drips = await serve((_request, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'), 20)
      response.on('close', () => clearInterval(timer))
    })
    const started = performance.now()
    const response = await get(drips, 150)
    assert.equal(response.status, 0)
    assert.match(response.body, /150 ms/)
    assert.ok(performance.now() - started < 1500)
  })

  test('a cancelled request is not answered', async () => {
    let asked = 0
    const base = await serve((_request, response) => {
      asked++
      response.end('late')
    })
    let answers = 0
    const request = realEnvironment.httpGet(base, 2000, () => answers++)
    request.cancel()
    await get(base)
    assert.ok(asked >= 1)
    assert.equal(answers, 0)
  })
})
