/** What each connection of a simulated exchange is subscribed to. */
import { Subscription } from './connection.ts'
import type { Ack, Connection } from './connection.ts'
import type { Enforcement } from './enforcement.ts'
import type { ExchangeFaults } from './exchange-faults.ts'
import type { Outbox } from './outbox.ts'
import type { Publisher } from './publisher.ts'
import type { Channel } from './stream.ts'

const SLOW_MS = 3_000

export class Subscriptions {
  readonly #enforcement: Enforcement
  readonly #publisher: Publisher
  readonly #outbox: Outbox
  readonly #faults: ExchangeFaults

  constructor(
    enforcement: Enforcement,
    publisher: Publisher,
    outbox: Outbox,
    faults: ExchangeFaults,
  ) {
    this.#enforcement = enforcement
    this.#publisher = publisher
    this.#outbox = outbox
    this.#faults = faults
  }

  get(connection: Connection, product: number, channel: Channel): Subscription | undefined {
    return connection.subscriptions.get(keyOf(product, channel))
  }

  /** Undefined: there is one already, or there are too many. */
  add(
    connection: Connection,
    product: number,
    channel: Channel,
    ack: Ack | undefined,
    name: string,
    nowMs: number,
  ): Subscription | undefined {
    const key = keyOf(product, channel)
    if (connection.subscriptions.has(key)) return undefined
    if (!this.#enforcement.maySubscribe(connection, nowMs)) return undefined
    connection.subscribed = true
    const stream = this.#publisher.stream(product, channel)
    const subscription = new Subscription(connection, stream, name)
    connection.subscriptions.set(key, subscription)
    if (channel.snapshotElsewhere === true) {
      this.#publisher.listen(subscription, nowMs)
      return subscription
    }
    const late = this.#faults.struck('slow', connection.id, product, nowMs)
    if (late !== undefined) this.#faults.declare('slow', '', connection, product, -1)
    const fromMs = late === undefined ? -Infinity : nowMs + (late.spec.delayMs ?? SLOW_MS)
    connection.pending.push({ subscription, ack, fromMs })
    return subscription
  }

  /** Nothing of it is sent any more, nor its snapshot; its acknowledgement still is. */
  remove(subscription: Subscription, nowMs: number): void {
    const { connection, stream } = subscription
    connection.subscriptions.delete(keyOf(stream.product, stream.channel))
    this.#publisher.unlisten(subscription)
    this.#outbox.unsubscribed(subscription, nowMs)
  }

  /** The connection is gone. */
  silence(connection: Connection): void {
    for (const subscription of connection.subscriptions.values()) {
      this.#publisher.unlisten(subscription)
    }
  }
}

function keyOf(product: number, channel: Channel): string {
  return `${product}/${channel.key}`
}
