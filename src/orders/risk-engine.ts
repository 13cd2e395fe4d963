/**
 * Risk with a memory: rate, duplicates, losses of the day, refusals in a row, and the brake
 * (active, reducing, halted), which only ever gets tighter until an operator lifts it.
 */
import { amountOf, amountText } from '../core/exact.ts'
import type { Intent } from './broker.ts'
import type { Limits } from './limits.ts'
import {
  checkAlways,
  checkLimits,
  type Mode,
  reduces,
  type Refusal,
  type RiskState,
} from './risk.ts'

const US_PER_S = 1e6
const US_PER_DAY = 86_400e6
/** Fingerprints that are kept; older ones are beyond every `duplicateMs` at the allowed rate. */
const RECENT_MAX = 10_000

export class RiskEngine {
  readonly limits: Limits | undefined
  /** Refusals by code. */
  readonly refused: Map<string, number> = new Map()
  #mode: Mode = 'active'
  #why = ''
  /** Tokens x 10^6: integers, so that nothing is lost over time. */
  #tokens: number
  #refilledUs = -1
  /** Book, side, price and size -> when it was last let through. */
  readonly #recent: Map<string, number> = new Map()
  #rejects = 0
  #day = -1
  #dayStart = 0n
  #dayBest = 0n

  /** Without limits only what needs none is checked. */
  constructor(limits: Limits | undefined) {
    this.limits = limits
    this.#tokens = this.#burst()
  }

  get mode(): Mode {
    return this.#mode
  }

  /** Why it is not active. */
  get why(): string {
    return this.#why
  }

  /** An order that is let through counts from here on; one that is refused does not. */
  check(
    intent: Intent,
    state: Omit<RiskState, 'mode' | 'why'>,
    nowUs: number,
  ): Refusal | undefined {
    const refusal = this.#check(intent, { ...state, mode: this.#mode, why: this.#why }, nowUs)
    if (refusal !== undefined) {
      this.refused.set(refusal.code, (this.refused.get(refusal.code) ?? 0) + 1)
    }
    return refusal
  }

  #check(intent: Intent, state: RiskState, nowUs: number): Refusal | undefined {
    const refused = checkAlways(intent, state)
    const { limits } = this
    if (refused !== undefined || limits === undefined) return refused
    const limited = checkLimits(intent, state, limits)
    if (limited !== undefined) return limited
    const key = `${intent.book} ${intent.side} ${intent.price} ${intent.size}`
    const last = this.#recent.get(key)
    if (last !== undefined && nowUs - last < limits.duplicateMs * 1000) {
      return {
        code: 'E_DUPLICATE',
        text: `the same order was sent ${(nowUs - last) / 1000} ms ago, expected ` +
          `${limits.duplicateMs} ms between them`,
      }
    }
    if (this.#mode === 'reducing' && !reduces(intent, state.position)) {
      return { code: 'E_LOSS', text: `${this.#why}: only orders that reduce a position pass` }
    }
    this.#refill(limits, nowUs)
    if (this.#tokens < US_PER_S) {
      return { code: 'E_RATE', text: `more than ${limits.ordersPerSecond} orders a second` }
    }
    this.#tokens -= US_PER_S
    this.#recent.delete(key)
    this.#recent.set(key, nowUs)
    if (this.#recent.size > RECENT_MAX) {
      for (const oldest of this.#recent.keys()) {
        this.#recent.delete(oldest)
        break
      }
    }
    return undefined
  }

  #burst(): number {
    return Math.max(1, this.limits?.ordersPerSecond ?? 1) * US_PER_S
  }

  #refill(limits: Limits, nowUs: number): void {
    if (this.#refilledUs >= 0 && nowUs > this.#refilledUs) {
      const gained = (nowUs - this.#refilledUs) * limits.ordersPerSecond
      this.#tokens = Math.min(this.#burst(), this.#tokens + gained)
    }
    if (nowUs > this.#refilledUs) this.#refilledUs = nowUs
  }

  /** The exchange's answer to an order. True: this halted it. */
  answered(type: string): boolean {
    if (type === 'rejected') this.#rejects++
    else if (type === 'open' || type === 'fill') this.#rejects = 0
    const most = this.limits?.maxRejects
    if (most === undefined || this.#rejects <= most) return false
    return this.halt(`${this.#rejects} orders in a row were rejected, expected at most ${most}`)
  }

  /** How many orders are unknown now. True: this halted it. */
  unknown(count: number): boolean {
    const most = this.limits?.maxUnknown
    if (most === undefined || count <= most) return false
    return this.halt(`${count} orders are unknown, expected at most ${most}`)
  }

  /**
   * All that was made or lost so far, as an amount, marked at the bad side. Beyond a limit only
   * orders that reduce pass, and once nothing is held none does. True: this halted it.
   */
  marked(result: bigint, flat: boolean, nowUs: number): boolean {
    const { limits } = this
    if (limits === undefined) return false
    const day = Math.floor(nowUs / US_PER_DAY)
    if (day !== this.#day) {
      this.#day = day
      this.#dayStart = result
      this.#dayBest = result
    }
    if (result > this.#dayBest) this.#dayBest = result
    if (this.#mode === 'active') {
      const loss = this.#dayStart - result
      const drawdown = this.#dayBest - result
      if (loss > amountOf(limits.maxDailyLoss)) {
        this.#reduce(`the day's loss of ${amountText(loss)} is above ${limits.maxDailyLoss}`)
      } else if (drawdown > amountOf(limits.maxDrawdown)) {
        this.#reduce(`the drawdown of ${amountText(drawdown)} is above ${limits.maxDrawdown}`)
      }
    }
    return this.#mode === 'reducing' && flat && this.halt(this.#why)
  }

  #reduce(why: string): void {
    this.#mode = 'reducing'
    this.#why = why
  }

  /** Nothing new passes any more. True: it was not halted before. */
  halt(why: string): boolean {
    if (this.#mode === 'halted') return false
    this.#mode = 'halted'
    this.#why = why
    return true
  }
}
