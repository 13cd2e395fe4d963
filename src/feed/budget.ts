/** How fast one worker may open sockets and send messages: its share of the per-IP limits. */
import type { Environment, Timer } from '../core/environment.ts'
import type { Limits } from '../exchanges/adapter.ts'
import { Address } from './address.ts'

/** Part of an exchange's limit that is used: clocks differ and packets bunch up on the way. */
const MARGIN = 0.85
/** Part of `subscribeWithinMs` within which the messages of a new socket must be sendable. */
const SUBSCRIBE_PART = 0.5
/** How soon to look again when a socket waits for others' messages. */
const RETRY_MS = 50
/** Added to a window: what leaves us together does not arrive together, and clocks differ. */
const SLACK_MS = 1000

/**
 * Tokens that grow with time. Burst and rate together stay below the limit in every window of one
 * second, also summed over workers whose shares sum to 1.
 */
export class TokenBucket {
  readonly perSecond: number
  readonly burst: number
  #tokens: number
  #updatedMs: number

  /**
   * `phase` in [0, 1): where in its first interval a bucket of less than one token a second begins,
   * so that workers started together do not spend their first tokens together.
   */
  constructor(limitPerSecond: number, share: number, phase: number, nowMs: number) {
    const allowed = limitPerSecond * share * MARGIN
    this.burst = Math.max(1, Math.floor(allowed / 3))
    this.perSecond = allowed < 1 ? allowed : Math.max(1, allowed - this.burst)
    this.#tokens = allowed < 1 ? 1 - phase : this.burst
    this.#updatedMs = nowMs
  }

  /** How long until a token is there; 0 = now. */
  waitMs(nowMs: number): number {
    this.#refill(nowMs)
    return this.#tokens >= 1 ? 0 : ((1 - this.#tokens) * 1000) / this.perSecond
  }

  take(nowMs: number): void {
    this.#refill(nowMs)
    this.#tokens -= 1
  }

  /** The same whether there is one or not; what was taken in advance is given back later. */
  takeAhead(nowMs: number): void {
    this.#refill(nowMs)
    this.#tokens = Math.max(-this.burst, this.#tokens - 1)
  }

  /** How long until `count` tokens were there, one after the other. */
  drainMs(count: number, nowMs: number): number {
    this.#refill(nowMs)
    return Math.max(0, ((count - this.#tokens) * 1000) / this.perSecond)
  }

  #refill(nowMs: number): void {
    const grown = this.#tokens + ((nowMs - this.#updatedMs) * this.perSecond) / 1000
    // A hair below a whole token is a whole one: timers would spin on the rounding error.
    this.#tokens = Math.min(this.burst, grown > 1 - 1e-6 && grown < 1 ? 1 : grown)
    this.#updatedMs = nowMs
  }
}

/**
 * At most so much within any window, also as the exchange sees it, where each may arrive up to a
 * second later than another; all at once if it must be.
 */
export class SlidingWindow {
  readonly #limit: number
  readonly #windowMs: number
  readonly #spent: { readonly atMs: number; readonly weight: number }[] = []
  #sum = 0

  constructor(limit: number, windowMs: number) {
    this.#limit = limit
    this.#windowMs = windowMs + SLACK_MS
  }

  /**
   * How long until `weight` may be spent within `part` of the limit; 0 = now. One that is above it
   * goes alone.
   */
  waitMs(nowMs: number, weight = 1, part = 1): number {
    while (this.#spent.length > 0 && nowMs - this.#spent[0].atMs >= this.#windowMs) {
      this.#sum -= this.#spent.shift()!.weight
    }
    let over = this.#sum + weight - this.#limit * part
    for (const { atMs, weight: spent } of this.#spent) {
      if (over <= 0) return 0
      over -= spent
      if (over <= 0) return this.#windowMs - (nowMs - atMs)
    }
    return this.#spent.length === 0 ? 0 : this.#windowMs - (nowMs - this.#spent.at(-1)!.atMs)
  }

  take(nowMs: number, weight = 1): void {
    if (this.#limit === Infinity) return
    // One that is above the limit takes as many windows as it weighs.
    const overMs = Math.max(0, weight / this.#limit - 1) * this.#windowMs
    this.#spent.push({ atMs: nowMs + overMs, weight })
    this.#sum += weight
  }
}

/** This worker's part of the exchange's limit on new sockets. */
function connectBudget(
  { connectsPerSecond, connectsWindowMs = 1000 }: Limits,
  share: number,
  phase: number,
  nowMs: number,
): TokenBucket | SlidingWindow {
  const count = Math.floor((connectsPerSecond * connectsWindowMs * share * MARGIN) / 1000)
  // Less than one in a window: they must not all be spent at once by all workers.
  return connectsWindowMs <= 1000 || count < 1
    ? new TokenBucket(connectsPerSecond, share, phase, nowMs)
    : new SlidingWindow(count, connectsWindowMs)
}

/** A socket slot as the budget sees it. */
export interface BudgetClient {
  /** Messages the next socket sends when it opens. */
  readonly openingMessages: number
  /** Messages waiting to be sent. */
  readonly queued: number
  /** The exchange closes this socket unless its messages leave soon. */
  readonly urgent: boolean
  /** Granted: open the socket now. */
  connect(): void
  /** Granted: send one message now. */
  sendNext(): void
}

/**
 * Grants in order of request, messages of fresh sockets first. A socket is granted only when its
 * subscriptions, behind those promised before, can leave in time.
 */
export class Budget {
  readonly connects: TokenBucket | SlidingWindow
  readonly messages: TokenBucket
  /** What it says of new sockets goes before every budget. */
  readonly address: Address
  readonly #environment: Environment
  readonly #windowMs: number
  readonly #connecting: BudgetClient[] = []
  readonly #sending: BudgetClient[] = []
  /** Granted a socket that is not open yet. */
  readonly #promised = new Set<BudgetClient>()
  #timer: Timer | undefined
  #pumping = false
  #again = false

  constructor(
    limits: Limits,
    share: number,
    phase: number,
    environment: Environment,
    address: Address = new Address(environment, () => {}),
  ) {
    this.address = address
    const now = environment.monotonicMs()
    this.connects = connectBudget(limits, share, phase, now)
    this.messages = new TokenBucket(limits.framesPerSecond, share, phase, now)
    this.#windowMs = limits.subscribeWithinMs * SUBSCRIBE_PART
    this.#environment = environment
  }

  requestConnect(client: BudgetClient): void {
    if (!this.#connecting.includes(client)) this.#connecting.push(client)
    this.#pump()
  }

  requestSend(client: BudgetClient): void {
    if (!this.#sending.includes(client)) this.#sending.push(client)
    this.#pump()
  }

  /**
   * A message that cannot wait has left: a protocol ping, which some exchanges count like any other.
   * Those that can wait do so for it. One beside what the budget grants breaks no limit.
   */
  spend(): void {
    this.messages.takeAhead(this.#environment.monotonicMs())
  }

  /** The granted socket is open: its messages are in its queue now. */
  opened(client: BudgetClient): void {
    this.address.succeeded('WebSocket')
    this.#promised.delete(client)
  }

  /** Forgets every request and promise of the client. */
  cancel(client: BudgetClient): void {
    remove(this.#connecting, client)
    remove(this.#sending, client)
    this.#promised.delete(client)
    this.#pump()
  }

  #pump(): void {
    // A grant may ask again before it returns.
    if (this.#pumping) {
      this.#again = true
      return
    }
    this.#pumping = true
    let waitMs: number
    do {
      this.#again = false
      const now = this.#environment.monotonicMs()
      waitMs = Math.min(this.#send(now), this.#connect(now))
    } while (this.#again)
    this.#pumping = false
    this.#timer?.cancel()
    this.#timer = waitMs === Infinity
      ? undefined
      : this.#environment.setTimer(Math.max(1, Math.ceil(waitMs)), () => {
        this.#timer = undefined
        this.#pump()
      })
  }

  /** Sends what may be sent; returns how long until more may be, Infinity when nothing waits. */
  #send(nowMs: number): number {
    while (this.#sending.length > 0) {
      const waitMs = this.messages.waitMs(nowMs)
      if (waitMs > 0) return waitMs
      const urgent = this.#sending.findIndex((client) => client.urgent)
      const client = this.#sending.splice(Math.max(0, urgent), 1)[0]
      if (client.queued === 0) continue
      this.messages.take(nowMs)
      client.sendNext()
      if (client.queued > 0 && !this.#sending.includes(client)) {
        // A fresh socket finishes its subscriptions before the next one starts its own.
        if (client.urgent) this.#sending.unshift(client)
        else this.#sending.push(client)
      }
    }
    return Infinity
  }

  #connect(nowMs: number): number {
    while (this.#connecting.length > 0) {
      const waitMs = Math.max(this.address.waitMs(nowMs), this.connects.waitMs(nowMs))
      if (waitMs > 0) return waitMs
      if (this.address.isTrying && this.#promised.size > 0) return RETRY_MS
      const client = this.#connecting[0]
      const ahead = this.#ahead()
      const total = ahead + client.openingMessages
      // With nothing ahead, waiting would not help.
      if (ahead > 0 && this.messages.drainMs(total, nowMs) > this.#windowMs) return RETRY_MS
      this.#connecting.shift()
      this.connects.take(nowMs)
      this.#promised.add(client)
      client.connect()
    }
    return Infinity
  }

  /** Messages that go before those of the next socket. */
  #ahead(): number {
    let count = 0
    for (const client of this.#promised) count += client.openingMessages
    for (const client of this.#sending) if (client.urgent) count += client.queued
    return count
  }
}

function remove(list: BudgetClient[], client: BudgetClient): void {
  const at = list.indexOf(client)
  if (at >= 0) list.splice(at, 1)
}
