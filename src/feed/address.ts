/**
 * What the exchange holds against this address. It counts, limits and blocks by IP address, so one
 * answer of that kind holds for every socket and every request of all workers.
 */
import type { Environment, Refusal } from '../core/environment.ts'

/** How long everything waits after "too many requests" without a `Retry-After`, at least. */
const LIMITED_MS = 10_000
/** After the first answer that names no time; doubled for each that follows. */
const BASE_MS = 5000
const CAP_MS = 300_000
const SHORTEST_MS = 1000
/** Nobody is asked to wait longer than this: a `Retry-After` of days is a mistake. */
const LONGEST_MS = 60 * 60_000

const TOO_MANY: ReadonlySet<number> = new Set([418, 429])
/** A firewall, a proxy or a regional block: exchanges have no word of their own for these. */
const BARRED: ReadonlySet<number> = new Set([401, 403, 407, 451])

/** Nothing is asked for so long. */
export interface Hold {
  readonly forMs: number
  /** For humans: `HTTP 403 to a REST request`. */
  readonly reason: string
}

/** What was refused: each kind comes back on its own. */
export type Access = 'WebSocket' | 'REST request'

/** One per worker. */
export class Address {
  readonly #environment: Environment
  readonly #onHeld: (hold: Hold) => void
  #untilMs = -Infinity
  #reason = ''
  /** Holds in a row without a good answer between them. */
  readonly #inARow: Record<Access, number> = { 'WebSocket': 0, 'REST request': 0 }
  #isTrying = false

  /** `onHeld`: the exchange said so to this worker; every other one must hear it. */
  constructor(environment: Environment, onHeld: (hold: Hold) => void) {
    this.#environment = environment
    this.#onHeld = onHeld
  }

  /** How long until something may be asked for; 0 = now. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#untilMs - nowMs)
  }

  /** A hold ended and nothing was answered well since: one at a time. */
  get isTrying(): boolean {
    return this.#isTrying
  }

  /** Undefined while nothing is held. */
  get held(): Hold | undefined {
    const forMs = this.waitMs(this.#environment.monotonicMs())
    return forMs > 0 ? { forMs, reason: this.#reason } : undefined
  }

  /**
   * An answer other than what was asked for. True: it is about this address, and everything waits.
   * `isOwn`: the exchange itself explains it, so it is about what was asked for.
   */
  refused(access: Access, { status, retryAfterMs }: Refusal, isOwn = false): boolean {
    const isTooMany = TOO_MANY.has(status) || retryAfterMs !== undefined
    if (!isTooMany && (isOwn || !BARRED.has(status))) return false
    // Of those that were under way together only the first counts.
    const isAlone = this.waitMs(this.#environment.monotonicMs()) === 0
    if (!isAlone && retryAfterMs === undefined) return true
    const grownMs = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(this.#inARow[access], 10))
    if (isAlone) this.#inARow[access]++
    const leastMs = isTooMany ? Math.max(LIMITED_MS, grownMs) : grownMs
    const random = this.#environment.random()
    const said = retryAfterMs === undefined
      ? ''
      : `, Retry-After ${Math.ceil(retryAfterMs / 1000)} s`
    this.hold({
      forMs: retryAfterMs ?? leastMs * (1 + 0.25 * random),
      reason: `HTTP ${status} to a ${access}${said}`,
    })
    return true
  }

  /** The exchange told this worker to wait. */
  hold({ forMs, reason }: Hold): void {
    const hold = { forMs: Math.min(LONGEST_MS, Math.max(SHORTEST_MS, forMs)), reason }
    if (this.#extend(hold)) this.#onHeld(hold)
  }

  /** Another worker was told so. They shall not all come back at once. */
  join({ forMs, reason }: Hold): void {
    this.#extend({ forMs: forMs * (1 + 0.1 * this.#environment.random()), reason })
  }

  /** Something was answered as it should be. */
  succeeded(access: Access): void {
    this.#inARow[access] = 0
    if (this.waitMs(this.#environment.monotonicMs()) === 0) this.#isTrying = false
  }

  #extend({ forMs, reason }: Hold): boolean {
    const untilMs = this.#environment.monotonicMs() + forMs
    if (untilMs <= this.#untilMs) return false
    this.#untilMs = untilMs
    this.#reason = reason
    this.#isTrying = true
    return true
  }
}
