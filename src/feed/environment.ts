/** The real world behind `Environment`: wall clock, timers, randomness, HTTP, WebSockets. */
import type { Environment, HttpResponse, Timer } from '../core/environment.ts'
import { openWebSocket } from './connection.ts'

/** How often the fast clock is compared with the wall clock. */
const ANCHOR_CHECK_MS = 1000
/** A difference beyond the resolution of `Date.now` is a step (settimeofday, suspend, NTP). */
const STEP_MS = 2

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
  setTimer,
  random: () => Math.random(),
  openSocket: openWebSocket,
  httpGet,
}

/** Longest delay a runtime counts; a longer one would end at once. */
const DELAY_MAX_MS = 2 ** 31 - 1

function setTimer(delayMs: number, callback: () => void): Timer {
  if (delayMs <= DELAY_MAX_MS) {
    const handle = setTimeout(callback, delayMs)
    return { cancel: () => clearTimeout(handle) }
  }
  let next: Timer | undefined
  const handle = setTimeout(() => next = setTimer(delayMs - DELAY_MAX_MS, callback), DELAY_MAX_MS)
  return {
    cancel() {
      clearTimeout(handle)
      next?.cancel()
    },
  }
}

/** Loaded when first needed: node:http takes as long to load as the rest of a worker. */
function httpGet(url: string, timeoutMs: number, done: (response: HttpResponse) => void): Timer {
  let call: Timer | undefined
  let cancelled = false
  import('./http.ts').then((http) => {
    if (!cancelled) call = http.httpGet(url, timeoutMs, done)
  })
  return {
    cancel() {
      cancelled = true
      call?.cancel()
    },
  }
}
