/** What a simulated exchange knows of one client connection, and what it owes it. */
import type { Stream } from './stream.ts'

/** An answer on its way; answers leave in order. */
export interface Ack {
  /** Infinity until the first data of its subscription was sent. */
  dueMs: number
  sent: boolean
  readonly make: (nowMs: number) => string
}

/** A snapshot still to be sent. */
export interface Pending {
  readonly subscription: Subscription
  readonly ack: Ack | undefined
  /** Not before this time. */
  readonly fromMs: number
}

export class Subscription {
  readonly connection: Connection
  readonly stream: Stream
  /** The product's name as the client spells it. */
  readonly name: string
  /** The exchange's number for it, such as a channel id; 0 where there is none. */
  id = 0
  /** Of its last frame; NaN before. */
  sentMs = NaN
  /** Its updates are not sent any more, until it is subscribed anew. */
  stalled = false

  constructor(connection: Connection, stream: Stream, name: string) {
    this.connection = connection
    this.stream = stream
    this.name = name
  }
}

/** An exchange with more to remember extends it. */
export class Connection {
  readonly id: number
  readonly openedMs: number
  /** Of the address it came to. */
  readonly path: string
  readonly query: URLSearchParams
  /** Of the next numbered frame. */
  sequence = 0
  closed = false
  frames = 0
  bytes = 0
  lastSentMs: number
  lastReceivedMs: number
  /** A subscription was accepted once. */
  subscribed = false
  /** When the exchange's `timer` is due; Infinity: never. */
  timerMs = Infinity
  /** By product and channel, in the order of the requests. */
  readonly subscriptions = new Map<string, Subscription>()
  /** Snapshots still to be sent, in order. */
  pending: Pending[] = []
  acks: Ack[] = []
  pingDueMs = Infinity
  pongDueMs = Infinity
  messages: RateLimit | undefined
  requests: RateLimit | undefined

  constructor(id: number, nowMs: number, path: string, query: URLSearchParams) {
    this.id = id
    this.openedMs = nowMs
    this.path = path
    this.query = query
    this.lastSentMs = nowMs
    this.lastReceivedMs = nowMs
  }
}

export interface ConnectionStats {
  readonly id: number
  readonly path: string
  readonly frames: number
  readonly bytes: number
  readonly products: number
}

export function statsOf(connection: Connection): ConnectionStats {
  return {
    id: connection.id,
    path: connection.path,
    frames: connection.frames,
    bytes: connection.bytes,
    products: connection.subscriptions.size,
  }
}

/** At most `count` in any `perMs`. */
export interface Limit {
  readonly count: number
  readonly perMs: number
}

/** Times and weights of the last accepted events. */
export class RateLimit {
  readonly #limit: Limit
  #times: number[] = []
  #weights: number[] = []
  #used = 0

  constructor(limit: Limit) {
    this.#limit = limit
  }

  /** False, and not counted, when it would be one too many. */
  take(nowMs: number, weight = 1): boolean {
    this.#forget(nowMs)
    if (this.#used + weight > this.#limit.count) return false
    this.#times.push(nowMs)
    this.#weights.push(weight)
    this.#used += weight
    return true
  }

  used(nowMs: number): number {
    this.#forget(nowMs)
    return this.#used
  }

  /** Milliseconds until the oldest event is forgotten. */
  freeInMs(nowMs: number): number {
    return this.#times.length === 0 ? 0 : this.#times[0]! + this.#limit.perMs - nowMs
  }

  #forget(nowMs: number): void {
    let gone = 0
    while (gone < this.#times.length && nowMs - this.#times[gone]! >= this.#limit.perMs) {
      this.#used -= this.#weights[gone]!
      gone++
    }
    if (gone === 0) return
    this.#times.splice(0, gone)
    this.#weights.splice(0, gone)
  }
}
