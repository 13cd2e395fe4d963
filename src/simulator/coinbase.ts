/** Coinbase Advanced Trade market data: its messages, frames and rules. */
import type { BookUpdate } from './book-update.ts'
import { timestampText } from './clock-text.ts'
import { FrameEncoder } from './coinbase-frames.ts'
import { aliasOf, coinbaseRest } from './coinbase-rest.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules } from './exchange.ts'
import type { Product } from './products.ts'
import { PLAIN_LISTING } from './products.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { Twin } from './twin.ts'

const LEVEL2: Channel = { key: 'level2', depth: Infinity }
/** Milliseconds between the heartbeats of a connection. */
const HEARTBEAT_MS = 1_000
const PUBLIC_CHANNELS = new Set(['ticker', 'ticker_batch', 'market_trades', 'candles', 'status'])
const encoder = new TextEncoder()

const RULES: ExchangeRules = {
  exchange: 'coinbase',
  listing: PLAIN_LISTING,
  defaultSymbols: ['BTC/USD', 'ETH/USD', 'ETH/EUR'],
  limits: {
    connects: { count: 8, perMs: 1000 },
    messages: { count: 8, perMs: 1000, per: 'exchange' },
    subscribeWithinMs: 5_000,
    idle: {
      afterMs: 90_000,
      of: 'sent',
      reason: 'idle: subscribe to heartbeats to keep it open',
      isViolation: false,
    },
  },
  first: 'data',
  sendsEveryChange: true,
  aliases(product: Product): string[] {
    const alias = aliasOf(product)
    return alias === undefined ? [] : [alias, `:${alias}`, alias.replace('-', '/')]
  },
}

class CoinbaseConnection extends Connection {
  hasHeartbeats = false
  heartbeatCounter = 0
  /** Channels without data, with the product names as they were asked for. */
  readonly others = new Map<string, Set<string>>()
}

interface ClientMessage {
  readonly type: 'subscribe' | 'unsubscribe'
  readonly channel: string
  readonly productIds: readonly string[]
}

/** The message, or what the exchange answers to one that it does not understand. */
function parseMessage(text: string): ClientMessage | string {
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

/** Frames of one connection share one sequence, from 0; errors stand outside of it. */
export class CoinbaseExchange extends SimulatedExchange<CoinbaseConnection> {
  readonly #frames = new FrameEncoder()
  /** By product index. */
  readonly #wireBytes: readonly Uint8Array[]

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(RULES, options, output)
    this.#wireBytes = this.products.map((product) => encoder.encode(product.wireSymbol))
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): CoinbaseConnection {
    return new CoinbaseConnection(id, nowMs, path, query)
  }

  protected override message(connection: CoinbaseConnection, text: string, nowMs: number): void {
    const message = parseMessage(text)
    if (typeof message === 'string') return this.#error(connection, message, nowMs)
    const { channel, productIds: ids } = message
    const isOn = message.type === 'subscribe'
    if (channel === 'heartbeats') {
      if (!isOn) connection.timerMs = Infinity
      else if (!connection.hasHeartbeats) connection.timerMs = nowMs + HEARTBEAT_MS
      connection.hasHeartbeats = isOn
    } else if (channel === 'level2') {
      return this.#level2(connection, ids, isOn, nowMs)
    } else if (PUBLIC_CHANNELS.has(channel)) {
      const listed = connection.others.get(channel) ?? new Set<string>()
      for (const id of ids) {
        if (isOn) listed.add(id)
        else listed.delete(id)
      }
      connection.others.set(channel, listed)
      if (listed.size === 0 && !isOn) connection.others.delete(channel)
    } else {
      // What the exchange answers to private and to unknown channels alike.
      return this.#error(connection, 'authentication failure', nowMs)
    }
    if (isOn) connection.subscribed = true
    this.acknowledge(connection, (atMs) => this.#subscriptions(connection, atMs), nowMs)
  }

  #level2(
    connection: CoinbaseConnection,
    ids: readonly string[],
    isOn: boolean,
    nowMs: number,
  ): void {
    const products = this.#resolve(connection, ids, nowMs)
    if (products === undefined) return
    const make = (atMs: number): string => this.#subscriptions(connection, atMs)
    if (!isOn) {
      for (const product of products.keys()) {
        const subscription = this.subscriptionTo(connection, product, LEVEL2)
        if (subscription !== undefined) this.unsubscribe(subscription, nowMs)
      }
      this.acknowledge(connection, make, nowMs)
      return
    }
    const ack = this.newAck(make, nowMs)
    for (const [product, id] of products) {
      const verdict = this.verdict(connection, product, nowMs)
      // One that is ignored is waited for in vain; the rest of the message is served.
      if (verdict === 'ignore') continue
      if (verdict === 'refuse') this.#error(connection, `${id} is not a valid product`, nowMs)
      // Subscribed already: only the acknowledgement, no second snapshot.
      else this.subscribe(connection, product, LEVEL2, ack, id, nowMs)
    }
    connection.subscribed = true
    this.queue(connection, ack, nowMs)
  }

  #resolve(
    connection: CoinbaseConnection,
    ids: readonly string[],
    nowMs: number,
  ): Map<number, string> | undefined {
    if (ids.length === 0) {
      this.#error(connection, 'product_ids is required for channel level2', nowMs)
      return undefined
    }
    const products = new Map<number, string>()
    let unknown = 0
    for (const id of ids) {
      const product = this.find(id)
      if (product === undefined) {
        unknown++
        this.#error(connection, `${id} is not a valid product`, nowMs)
      } else if (!products.has(product)) {
        products.set(product, id)
      }
    }
    const isRefused = unknown > 0 && (this.unknownProduct ?? 'refuse') === 'refuse'
    return isRefused || products.size === 0 ? undefined : products
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const frames = this.#frames
    const { stream, market, isSnapshot, nowMs, count, side, ticks, lots } = update
    frames.begin(market, this.#wireBytes[stream.product]!, isSnapshot, nowMs)
    for (let i = 0; i < count; i++) frames.level(side[i]!, ticks[i]!, lots[i]!)
    return frames.finish()
  }

  protected override stamped(_shared: Uint8Array, subscription: Subscription): Uint8Array {
    return this.#frames.stamped(subscription.connection.sequence)
  }

  protected override timer(connection: CoinbaseConnection, dueMs: number, nowMs: number): void {
    // A clock that leapt gets one heartbeat, not hundreds.
    const nextMs = dueMs + HEARTBEAT_MS
    connection.timerMs = nextMs < nowMs ? nowMs + HEARTBEAT_MS : nextMs
    const text = timestampText(nowMs)
    const uptime = ((nowMs - connection.openedMs) / 1000).toFixed(9)
    const event = {
      current_time: `${text.slice(0, 10)} ${text.slice(11, -1)} +0000 UTC m=+${uptime}`,
      heartbeat_counter: connection.heartbeatCounter++,
    }
    this.send(connection, channelFrame(connection, 'heartbeats', event, nowMs), nowMs)
  }

  protected override overMessages(connection: CoinbaseConnection, nowMs: number): void {
    this.#error(connection, 'rate limit exceeded', nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'rate limit exceeded')
  }

  protected override delistedTo(subscription: Subscription, nowMs: number): void {
    const connection = subscription.connection as CoinbaseConnection
    this.#error(connection, `${subscription.name} is not a valid product`, nowMs)
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return coinbaseRest(this, path, query, nowMs)
  }

  /** All that the connection is subscribed to. */
  #subscriptions(connection: CoinbaseConnection, nowMs: number): string {
    const subscriptions: Record<string, string[]> = {}
    if (connection.hasHeartbeats) subscriptions['heartbeats'] = ['heartbeats']
    if (connection.subscriptions.size > 0) {
      subscriptions['level2'] = [...connection.subscriptions.values()].map(({ stream }) =>
        stream.market.product.wireSymbol
      )
    }
    for (const [channel, ids] of connection.others) subscriptions[channel] = [...ids]
    return channelFrame(connection, 'subscriptions', { subscriptions }, nowMs)
  }

  #error(connection: CoinbaseConnection, message: string, nowMs: number): void {
    this.refuse(connection, JSON.stringify({ type: 'error', message }), nowMs)
  }
}

/** A frame of any channel but `l2_data`, under the connection's next sequence. */
function channelFrame(
  connection: CoinbaseConnection,
  channel: 'subscriptions' | 'heartbeats',
  event: unknown,
  nowMs: number,
): string {
  const head = `{"channel":"${channel}","timestamp":"${timestampText(nowMs)}","sequence_num":`
  return `${head}${connection.sequence},"events":[${JSON.stringify(event)}]}`
}

export const coinbase: Twin = {
  rules: RULES,
  create: (options, output) => new CoinbaseExchange(options, output),
  subscribeText: (wireSymbol) =>
    JSON.stringify({ type: 'subscribe', channel: 'level2', product_ids: [wireSymbol] }),
}
