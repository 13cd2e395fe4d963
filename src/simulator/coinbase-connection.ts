/** What the simulated Coinbase knows of one client connection, its messages and its budget. */
import { timestampText } from './frames.ts'

export interface Ack {
  /** Infinity until the first data of the subscription was sent. */
  dueMs: number
}

export interface Connection {
  readonly id: number
  readonly openedMs: number
  /** Of the next frame. */
  sequence: number
  closed: boolean
  frames: number
  bytes: number
  lastFrameMs: number
  /** A subscription was accepted once. */
  subscribed: boolean
  /** Infinity while the channel is not subscribed. */
  heartbeatDueMs: number
  heartbeatCounter: number
  /** Subscribed products by index. */
  readonly level2: Set<number>
  /** Products whose updates are not sent any more, until they are subscribed anew. */
  readonly stalled: Set<number>
  /** Channels without data, with the product names as they were asked for. */
  readonly others: Map<string, Set<string>>
  /** Snapshots still to be sent, in order. */
  pending: { product: number; ack: Ack }[]
  /** Acknowledgements still to be sent, in order. */
  acks: Ack[]
}

export interface ConnectionStats {
  readonly id: number
  readonly frames: number
  readonly bytes: number
  readonly products: number
  readonly heartbeats: boolean
}

export function newConnection(id: number, nowMs: number): Connection {
  return {
    id,
    openedMs: nowMs,
    sequence: 0,
    closed: false,
    frames: 0,
    bytes: 0,
    lastFrameMs: nowMs,
    subscribed: false,
    heartbeatDueMs: Infinity,
    heartbeatCounter: 0,
    level2: new Set(),
    stalled: new Set(),
    others: new Map(),
    pending: [],
    acks: [],
  }
}

export function statsOf(connection: Connection): ConnectionStats {
  return {
    id: connection.id,
    frames: connection.frames,
    bytes: connection.bytes,
    products: connection.level2.size,
    heartbeats: connection.heartbeatDueMs !== Infinity,
  }
}

export interface ClientMessage {
  readonly type: 'subscribe' | 'unsubscribe'
  readonly channel: string
  readonly productIds: readonly string[]
}

/** The message, or what the exchange answers to one that it does not understand. */
export function parseClientMessage(text: string): ClientMessage | string {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return 'failed to parse message: not JSON'
  }
  if (message === null || typeof message !== 'object') {
    return 'failed to parse message: not an object'
  }
  const fields = message as Record<string, unknown>
  const type = fields['type']
  const channel = fields['channel']
  const productIds = fields['product_ids'] ?? []
  if (type !== 'subscribe' && type !== 'unsubscribe') {
    return `invalid type ${JSON.stringify(type ?? '')}`
  }
  if (typeof channel !== 'string') return 'channel is required, one per message'
  if (!Array.isArray(productIds) || !productIds.every((one) => typeof one === 'string')) {
    return 'product_ids is not a list of strings'
  }
  return { type, channel, productIds }
}

/** A frame of any channel but `l2_data`, under the connection's next sequence. */
export function channelFrame(
  connection: Connection,
  channel: 'subscriptions' | 'heartbeats',
  event: unknown,
  nowMs: number,
): string {
  const head = `{"channel":"${channel}","timestamp":"${timestampText(nowMs)}","sequence_num":`
  return `${head}${connection.sequence},"events":[${JSON.stringify(event)}]}`
}

export function heartbeatEvent(connection: Connection, nowMs: number): Record<string, unknown> {
  const text = timestampText(nowMs)
  const uptime = ((nowMs - connection.openedMs) / 1000).toFixed(9)
  return {
    current_time: `${text.slice(0, 10)} ${text.slice(11, -1)} +0000 UTC m=+${uptime}`,
    heartbeat_counter: connection.heartbeatCounter++,
  }
}

/** Times of the last accepted events: at most `limit` in any second. */
export class RateLimit {
  readonly #limit: number
  #times: number[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  /** False, and not counted, when it would be one too many. */
  take(nowMs: number): boolean {
    this.#times = this.#times.filter((time) => nowMs - time < 1000)
    if (this.#times.length >= this.#limit) return false
    this.#times.push(nowMs)
    return true
  }
}
