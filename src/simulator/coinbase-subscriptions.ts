/** What the simulated Coinbase makes of subscribe and unsubscribe messages. */
import type { Ack, ClientMessage, Connection } from './coinbase-connection.ts'
import type { Product } from './products.ts'

/** Milliseconds between the heartbeats of a connection. */
export const HEARTBEAT_MS = 1_000
const PUBLIC_CHANNELS = new Set(['ticker', 'ticker_batch', 'market_trades', 'candles', 'status'])

export interface SubscriptionRules {
  /** One unknown product: the whole message is refused (default), or it is skipped. */
  readonly unknownProduct?: 'refuse' | 'skip'
  /** Milliseconds from the first data of a subscription to its acknowledgement. 5. */
  readonly ackDelayMs?: number
}

export interface SubscriptionOwner {
  /** The answer is an error; it may be one of several to the same message. */
  refused(connection: Connection, message: string, nowMs: number): void
  /** Updates of this product flow no more. */
  unsubscribed(connection: Connection, product: number): void
}

/** Notes on the connection what it is owed: snapshots, acknowledgements, heartbeats. */
export class Subscriptions {
  readonly ackDelayMs: number
  /** Product indices by name. */
  readonly #names: ReadonlyMap<string, number>
  readonly #owner: SubscriptionOwner
  readonly #unknownProduct: 'refuse' | 'skip'

  constructor(
    rules: SubscriptionRules,
    names: ReadonlyMap<string, number>,
    owner: SubscriptionOwner,
  ) {
    this.ackDelayMs = rules.ackDelayMs ?? 5
    this.#unknownProduct = rules.unknownProduct ?? 'refuse'
    this.#names = names
    this.#owner = owner
  }

  /** One message of a client that kept to the limits. */
  receive(connection: Connection, message: ClientMessage, nowMs: number): void {
    const { channel, productIds: ids } = message
    const on = message.type === 'subscribe'
    if (channel === 'heartbeats') {
      if (!on) connection.heartbeatDueMs = Infinity
      else if (connection.heartbeatDueMs === Infinity) {
        connection.heartbeatDueMs = nowMs + HEARTBEAT_MS
      }
    } else if (channel === 'level2') {
      const products = this.#resolve(connection, ids, nowMs)
      if (products === undefined) return
      if (on) return this.#subscribe(connection, products, nowMs)
      for (const product of products) {
        connection.level2.delete(product)
        connection.stalled.delete(product)
        this.#owner.unsubscribed(connection, product)
        connection.pending = connection.pending.filter((one) => one.product !== product)
      }
      for (const ack of connection.acks) {
        const waiting = connection.pending.some((one) => one.ack === ack)
        if (ack.dueMs === Infinity && !waiting) ack.dueMs = nowMs
      }
    } else if (PUBLIC_CHANNELS.has(channel)) {
      const listed = connection.others.get(channel) ?? new Set<string>()
      for (const id of ids) {
        if (on) listed.add(id)
        else listed.delete(id)
      }
      connection.others.set(channel, listed)
      if (listed.size === 0 && !on) connection.others.delete(channel)
    } else {
      // What the exchange answers to private and to unknown channels alike.
      return this.#owner.refused(connection, 'authentication failure', nowMs)
    }
    if (on) connection.subscribed = true
    connection.acks.push({ dueMs: nowMs + this.ackDelayMs })
  }

  #resolve(connection: Connection, ids: readonly string[], nowMs: number): number[] | undefined {
    if (ids.length === 0) {
      this.#owner.refused(connection, 'product_ids is required for channel level2', nowMs)
      return undefined
    }
    const products: number[] = []
    let unknown = 0
    for (const id of ids) {
      const product = id.includes('/') ? undefined : this.#names.get(id)
      if (product === undefined) {
        unknown++
        this.#owner.refused(connection, `${id} is not a valid product`, nowMs)
      } else if (!products.includes(product)) {
        products.push(product)
      }
    }
    if (unknown > 0 && (this.#unknownProduct === 'refuse' || products.length === 0)) {
      return undefined
    }
    return products
  }

  #subscribe(connection: Connection, products: readonly number[], nowMs: number): void {
    connection.subscribed = true
    const ack: Ack = { dueMs: Infinity }
    let fresh = 0
    for (const product of products) {
      // Subscribed already: only the acknowledgement, no second snapshot.
      if (connection.level2.has(product)) continue
      connection.level2.add(product)
      connection.pending.push({ product, ack })
      fresh++
    }
    if (fresh === 0) ack.dueMs = nowMs + this.ackDelayMs
    connection.acks.push(ack)
  }
}

/** All that the connection is subscribed to, as an acknowledgement lists it. */
export function subscribedTo(
  connection: Connection,
  products: readonly Product[],
): Record<string, string[]> {
  const subscriptions: Record<string, string[]> = {}
  if (connection.heartbeatDueMs !== Infinity) subscriptions['heartbeats'] = ['heartbeats']
  if (connection.level2.size > 0) {
    subscriptions['level2'] = [...connection.level2].map((index) => products[index]!.wireSymbol)
  }
  for (const [channel, ids] of connection.others) subscriptions[channel] = [...ids]
  return subscriptions
}
