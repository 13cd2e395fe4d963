/** The limits of a simulated exchange: which a client broke, and which connections end for it. */
import type { Connection } from './connection.ts'
import { RateLimit } from './rate-limit.ts'
import type { ExchangeLimits, ExchangeStats, Violation } from './rules.ts'

const VIOLATIONS_MAX = 1_000

/** How the exchange closes a connection. */
export interface Ending {
  readonly code: number
  readonly reason: string
}

/** Decides and counts. What a client is told of it is the exchange's to say. */
export class Enforcement {
  /** Rules that clients broke, the last 1,000. */
  readonly violations: Violation[] = []
  readonly #limits: ExchangeLimits
  readonly #stats: ExchangeStats
  readonly #connects: RateLimit | undefined
  /** Of all connections together. */
  readonly #messages: RateLimit | undefined

  constructor(limits: ExchangeLimits, stats: ExchangeStats) {
    const { connects, messages } = limits
    this.#limits = limits
    this.#stats = stats
    this.#connects = connects === undefined ? undefined : new RateLimit(connects)
    this.#messages = messages?.per === 'exchange' ? new RateLimit(messages) : undefined
  }

  violate(
    rule: string,
    detail: string,
    connection: Connection | undefined,
    nowMs: number,
  ): void {
    this.#stats.violations++
    this.violations.push({ rule, detail, connection: connection?.id ?? 0, atMs: nowMs })
    if (this.violations.length > VIOLATIONS_MAX) this.violations.shift()
  }

  /** One more, when so many are open. */
  mayConnect(open: number, nowMs: number): boolean {
    const most = this.#limits.connectionsOpen ?? Infinity
    if (this.#connects?.take(nowMs) === false) {
      const { count, perMs } = this.#limits.connects!
      this.violate('connects', `more than ${count} connections in ${perMs} ms`, undefined, nowMs)
    } else if (open >= most) {
      this.violate('connections', `more than ${most} connections at once`, undefined, nowMs)
    } else return true
    this.#stats.connectionsRefused++
    return false
  }

  /** Gives a new connection what is counted of it. */
  opened(connection: Connection, canPing: boolean, nowMs: number): void {
    const { messages, requests, ping } = this.#limits
    if (messages?.per === 'connection') connection.messages = new RateLimit(messages)
    if (requests !== undefined) connection.requests = new RateLimit(requests)
    if (ping !== undefined && canPing) connection.pingDueMs = nowMs + ping.everyMs
  }

  /** Counts a client message. */
  maySpeak(connection: Connection, nowMs: number): boolean {
    const limit = this.#messages ?? connection.messages
    if (limit === undefined || limit.take(nowMs)) return true
    const { count, perMs } = this.#limits.messages!
    this.violate('messages', `more than ${count} messages in ${perMs} ms`, connection, nowMs)
    return false
  }

  /** Counts a subscribe or unsubscribe request. */
  mayRequest(connection: Connection, nowMs: number): boolean {
    if (connection.requests === undefined || connection.requests.take(nowMs)) return true
    const { count, perMs } = this.#limits.requests!
    this.violate('requests', `more than ${count} requests in ${perMs} ms`, connection, nowMs)
    return false
  }

  maySubscribe(connection: Connection, nowMs: number): boolean {
    const most = this.#limits.subscriptionsPerConnection ?? Infinity
    if (connection.subscriptions.size < most) return true
    this.violate('subscriptions', `more than ${most} on one connection`, connection, nowMs)
    return false
  }

  /** Why this connection ends now; undefined: it goes on. */
  ending(connection: Connection, nowMs: number): Ending | undefined {
    const { subscribeWithinMs, lifetimeMs, idle, ping } = this.#limits
    const age = nowMs - connection.openedMs
    if (subscribeWithinMs !== undefined && !connection.subscribed && age >= subscribeWithinMs) {
      const reason = `no subscription within ${subscribeWithinMs / 1000} seconds`
      this.violate('subscribe-within', reason, connection, nowMs)
      return { code: 1000, reason }
    }
    if (idle !== undefined && nowMs - idleSince(connection, idle.of) >= idle.afterMs) {
      if (idle.isViolation) this.violate('idle', idle.reason, connection, nowMs)
      return { code: 1000, reason: idle.reason }
    }
    if (lifetimeMs !== undefined && age >= lifetimeMs) {
      return { code: 1000, reason: `connected for ${lifetimeMs / 1000} seconds` }
    }
    if (connection.pongDueMs > nowMs) return undefined
    this.violate('pong', `no pong within ${ping!.pongWithinMs} ms`, connection, nowMs)
    return { code: 1008, reason: 'Pong timeout' }
  }

  /** A protocol ping is to be sent now; its pong is waited for from here on. */
  pings(connection: Connection, nowMs: number): boolean {
    if (connection.pingDueMs > nowMs) return false
    const { everyMs, pongWithinMs } = this.#limits.ping!
    connection.pingDueMs = nowMs + everyMs
    if (connection.pongDueMs === Infinity) connection.pongDueMs = nowMs + pongWithinMs
    return true
  }

  /** When `ending` or `pings` has something to say of the connection. */
  dueMs(connection: Connection): number {
    const { subscribeWithinMs, lifetimeMs, idle } = this.#limits
    let due = Math.min(connection.pingDueMs, connection.pongDueMs)
    if (!connection.subscribed && subscribeWithinMs !== undefined) {
      due = Math.min(due, connection.openedMs + subscribeWithinMs)
    }
    if (lifetimeMs !== undefined) due = Math.min(due, connection.openedMs + lifetimeMs)
    if (idle !== undefined) due = Math.min(due, idleSince(connection, idle.of) + idle.afterMs)
    return due
  }
}

function idleSince(connection: Connection, of: 'sent' | 'received' | 'either'): number {
  if (of === 'sent') return connection.lastSentMs
  if (of === 'received') return connection.lastReceivedMs
  return Math.max(connection.lastSentMs, connection.lastReceivedMs)
}
