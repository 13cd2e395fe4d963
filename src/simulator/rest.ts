/** REST answers of a simulated exchange, and how often they may be asked for. */
import { RateLimit } from './rate-limit.ts'
import type { Limit } from './rate-limit.ts'

export interface RestAnswer {
  /** 0: the request is never answered. */
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** Requests, weighed: over the limit 429 with `Retry-After`, and 418 for who does not stop. */
export class RestBudget {
  readonly #window: RateLimit
  readonly #insistence: number
  #toldMs = -Infinity
  #toldUntilMs = -Infinity
  #ignored = 0

  /** After so many requests while told to wait the answer is 418. */
  constructor(limit: Limit, insistence = 3) {
    this.#window = new RateLimit(limit)
    this.#insistence = insistence
  }

  used(nowMs: number): number {
    return this.#window.used(nowMs)
  }

  /** Undefined: go on. Else what to answer, and whether the client broke a rule. */
  refusal(weight: number, nowMs: number): Refusal | undefined {
    if (nowMs < this.#toldUntilMs) {
      const retryAfterS = Math.ceil((this.#toldUntilMs - nowMs) / 1000)
      const isUnderway = nowMs - this.#toldMs < UNDERWAY_MS
      if (isUnderway) return { status: 429, retryAfterS, isViolation: false }
      this.#ignored++
      if (this.#ignored < this.#insistence) return { status: 429, retryAfterS, isViolation: true }
      return { ...this.tell(418, nowMs, 120_000), isViolation: true }
    }
    if (this.#window.take(nowMs, weight)) return undefined
    const forMs = Math.max(1000, this.#window.freeInMs(nowMs))
    return { ...this.tell(429, nowMs, forMs), isViolation: true }
  }

  /** From now on the client is told to wait. */
  tell(status: 418 | 429, nowMs: number, forMs: number): Refusal {
    if (status === 429) this.#ignored = 0
    this.#toldMs = nowMs
    this.#toldUntilMs = nowMs + forMs
    return { status, retryAfterS: Math.ceil(forMs / 1000), isViolation: false }
  }
}

export interface Refusal {
  readonly status: 418 | 429
  readonly retryAfterS: number
  /** The client could know better. */
  readonly isViolation: boolean
}

/** A request that comes so soon was sent before its sender could know of the refusal. */
const UNDERWAY_MS = 500
