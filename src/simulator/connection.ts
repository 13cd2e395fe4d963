/** Client connections of a simulated exchange, what they are owed, and the streams they share. */
import type { Market } from './market.ts'
import type { RateLimit } from './rate-limit.ts'
import type { Channel } from './stream.ts'
import { TopView } from './top-view.ts'

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

/** One channel of one product: what all its listeners were told last. */
export class Stream {
  readonly product: number
  readonly market: Market
  readonly channel: Channel
  /** Undefined for the whole book. */
  readonly view: TopView | undefined
  /** Those whose updates flow. Replaced, never changed in place by a removal. */
  listeners: Subscription[] = []
  /** The version that the last frame led to; in the window nothing has changed since. */
  sentVersion: number
  /** Update frames made so far: what an exchange that counts by topic numbers them with. */
  frames = 0
  /** Infinity while nothing waits to be sent. */
  dueMs = Infinity

  constructor(product: number, market: Market, channel: Channel) {
    this.product = product
    this.market = market
    this.channel = channel
    this.view = Number.isFinite(channel.depth)
      ? new TopView(channel.depth, channel.deletesPushed ?? false)
      : undefined
    this.sentVersion = market.version
    this.view?.reset(market)
  }

  /** Nobody listened: it goes on from the present, under a number of its own. */
  begin(): void {
    if (this.sentVersion === this.market.version) return
    this.sentVersion = this.market.version
    this.frames++
    this.view?.reset(this.market)
  }
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
