/** The real world behind `Environment`: wall clock, timers, randomness, HTTP, WebSockets. */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Environment, HttpResponse, Timer } from '../core/environment.ts'
import { openWebSocket } from './connection.ts'

/** How often the fast clock is compared with the wall clock. */
const ANCHOR_CHECK_MS = 1000
/** A difference beyond the resolution of `Date.now` is a step (settimeofday, suspend, NTP). */
const STEP_MS = 2
/** A larger answer is cut off: no exchange's snapshot comes near it. */
const BODY_BYTES_MAX = 64 * 1024 * 1024

/**
 * A clock of microsecond resolution at the price of one monotonic read. The anchor is what must be
 * added to the monotonic clock to get wall time; it moves only when the wall clock was stepped.
 */
export class WallClock {
  #anchorMs: number
  #checkAtMs: number
  readonly #monotonic: () => number
  readonly #wall: () => number

  /** `monotonic` and `wall` in ms; `wall` may be as coarse as 1 ms. */
  constructor(monotonic: () => number, wall: () => number, anchorMs: number) {
    this.#monotonic = monotonic
    this.#wall = wall
    this.#anchorMs = anchorMs
    this.#checkAtMs = -Infinity
  }

  /** Integer microseconds since 1970. */
  nowUs(): number {
    const now = this.#monotonic()
    if (now >= this.#checkAtMs) this.#check(now)
    return Math.floor((this.#anchorMs + now) * 1000)
  }

  #check(before: number): void {
    const wall = this.#wall()
    const after = this.#monotonic()
    // Descheduled between the reads: the pair says nothing, the next call tries again.
    if (after - before > 1) return
    this.#checkAtMs = after + ANCHOR_CHECK_MS
    // `wall` was cut to whole ms: the true offset lies within 1 ms above.
    const offset = wall - before
    if (this.#anchorMs < offset - STEP_MS || this.#anchorMs > offset + 1 + STEP_MS) {
      this.#anchorMs = offset + 0.5
    }
  }
}

const clock = new WallClock(() => performance.now(), () => Date.now(), performance.timeOrigin)

/** What a worker runs in. One per process; the clock is shared. */
export const realEnvironment: Environment = {
  nowUs: () => clock.nowUs(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs, callback): Timer {
    const handle = setTimeout(callback, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
  random: () => Math.random(),
  openSocket: openWebSocket,
  httpGet,
}

function httpGet(url: string, timeoutMs: number, done: (response: HttpResponse) => void): Timer {
  let settled = false
  const request = url.startsWith('https:') ? httpsRequest : httpRequest
  const outgoing = request(url, { headers: { 'user-agent': 'obfeed', accept: 'application/json' } })
  const finish = (response: HttpResponse): void => {
    if (settled) return
    settled = true
    clearTimeout(deadline)
    outgoing.destroy()
    done(response)
  }
  // One deadline for the whole exchange: a peer that drips bytes must not hold the slot.
  const deadline = setTimeout(
    () => finish({ status: 0, body: `no answer within ${timeoutMs} ms` }),
    timeoutMs,
  )
  outgoing.on('error', (error) => finish({ status: 0, body: error.message }))
  outgoing.on('response', (incoming) => collect(incoming, finish))
  outgoing.end()
  return {
    cancel() {
      settled = true
      clearTimeout(deadline)
      outgoing.destroy()
    },
  }
}

function collect(incoming: IncomingMessage, finish: (response: HttpResponse) => void): void {
  const chunks: Uint8Array[] = []
  let bytes = 0
  incoming.on('data', (chunk: Uint8Array) => {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) {
      finish({ status: 0, body: `answer is larger than ${BODY_BYTES_MAX} bytes` })
      return
    }
    chunks.push(chunk)
  })
  incoming.on('end', () => {
    // `end` also follows a connection cut inside the body.
    if (!incoming.complete) {
      finish({ status: 0, body: 'answer was cut' })
      return
    }
    const retryAfterMs = parseRetryAfter(incoming.headers['retry-after'], Date.now())
    finish({
      status: incoming.statusCode ?? 0,
      body: Buffer.concat(chunks).toString('utf8'),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
  })
  incoming.on('error', (error) => finish({ status: 0, body: error.message }))
  incoming.on('close', () => finish({ status: 0, body: 'answer was cut' }))
}

/** `Retry-After` in ms: seconds or an HTTP date; undefined when absent or unreadable. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined
  const text = header.trim()
  if (/^\d+(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1000)
  const at = Date.parse(text)
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs)
}
