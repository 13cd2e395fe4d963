/** Coinbase Exchange's keyless market data: messages, frames and rules of `level2_batch`. */
import { ASK, BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { timestampText } from './clock-text.ts'
import { coinbaseExchangeRest } from './coinbaseexchange-rest.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, RestBook } from './exchange.ts'
import { fixedText, PLAIN_LISTING } from './products.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { Twin } from './twin.ts'
import { ascii, Writer } from './writer.ts'

const LEVEL2_BATCH: Channel = { key: 'level2_batch', depth: Infinity }
/** Channels for which the exchange wants a login. */
const PRIVATE_CHANNELS = new Set(['level2', 'level3', 'full', 'user'])
const PUBLIC_CHANNELS = new Set(['heartbeat', 'ticker', 'ticker_batch', 'matches', 'status'])
const HEARTBEAT_MS = 1_000
/** Sizes have eight decimals, a deleted one too. */
const SIZE_DECIMALS = 8

const RULES: ExchangeRules = {
  exchange: 'coinbaseexchange',
  listing: PLAIN_LISTING,
  defaultSymbols: ['BTC/USD', 'ETH/USD', 'ETH/EUR'],
  limits: {
    connects: { count: 8, perMs: 1000 },
    messages: { count: 100, perMs: 1000, per: 'exchange' },
    subscribeWithinMs: 5_000,
  },
  first: 'data',
  sendsEveryChange: true,
  faults: {
    'odd': 'an update of the year 1 with a negative size and one that is no number',
    'half': 'a frame that ends in the middle',
  },
}

class CoinbaseBatchConnection extends Connection {
  /** Channels without a book, with their products. */
  readonly others = new Map<string, Set<string>>()
  heartbeats = 0
}

interface ClientMessage {
  readonly type: 'subscribe' | 'unsubscribe'
  /** Product ids by channel. */
  readonly channels: ReadonlyMap<string, readonly string[]>
}

/** The message, or what the exchange finds wrong with it. */
function parseMessage(text: string): ClientMessage | string {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return 'Malformed JSON'
  }
  const { type, product_ids: ids = [], channels } = (message ?? {}) as Record<string, unknown>
  if (type !== 'subscribe' && type !== 'unsubscribe') return 'Type has to be subscribe'
  if (!isTexts(ids)) return 'product_ids is not a list of strings'
  if (!Array.isArray(channels) || channels.length === 0) return 'channels is required'
  const byName = new Map<string, readonly string[]>()
  for (const channel of channels as readonly unknown[]) {
    if (typeof channel === 'string') {
      byName.set(channel, ids)
      continue
    }
    const { name, product_ids: own = ids } = (channel ?? {}) as Record<string, unknown>
    if (typeof name !== 'string' || !isTexts(own)) return 'a channel is not understood'
    byName.set(name, own)
  }
  return { type, channels: byName }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

const ASKS = ascii('","asks":[')
const BIDS = ascii('],"bids":[')
const CHANGES = ascii('","changes":[')
const LEVEL = ascii('["')
const BUY = ascii('["buy","')
const SELL = ascii('["sell","')
const SIZE = ascii('","')
const LEVEL_END = ascii('"]')
const COMMA = 44

/** Frames of a product are the same on every connection, and have no number. */
export class CoinbaseBatchExchange extends SimulatedExchange<CoinbaseBatchConnection> {
  readonly #writer = new Writer()

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(RULES, options, output)
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): CoinbaseBatchConnection {
    return new CoinbaseBatchConnection(id, nowMs, path, query)
  }

  protected override message(
    connection: CoinbaseBatchConnection,
    text: string,
    nowMs: number,
  ): void {
    const message = parseMessage(text)
    if (typeof message === 'string') return this.#error(connection, message, '', nowMs)
    for (const [channel, ids] of message.channels) {
      if (PRIVATE_CHANNELS.has(channel)) {
        const reason = 'level2, level3, and full channels now require authentication. ' +
          'https://docs.cloud.coinbase.com/exchange/docs/websocket-channels'
        return this.#failed(connection, reason, nowMs)
      }
      if (channel !== LEVEL2_BATCH.key && !PUBLIC_CHANNELS.has(channel)) {
        return this.#failed(connection, `${channel} is not a valid channel`, nowMs)
      }
      // One product that does not exist spoils the whole message, by habit.
      const unknown = ids.filter((id) => this.#productOf(id) === undefined)
      for (const id of unknown) this.#failed(connection, `${id} is not a valid product`, nowMs)
      if (unknown.length > 0 && (this.unknownProduct ?? 'refuse') === 'refuse') return
    }
    const ack = this.newAck(() => this.#subscriptions(connection), nowMs)
    const isOn = message.type === 'subscribe'
    for (const [channel, ids] of message.channels) {
      if (channel !== LEVEL2_BATCH.key) {
        this.#other(connection, channel, ids, isOn, nowMs)
        continue
      }
      for (const id of new Set(ids)) {
        const product = this.#productOf(id)
        if (product === undefined) continue
        if (isOn) {
          const verdict = this.verdict(connection, product, nowMs)
          if (verdict === 'refuse') this.#failed(connection, `${id} is not a valid product`, nowMs)
          // Subscribed already: only the acknowledgement, no second snapshot.
          else if (verdict === 'ok') {
            this.subscribe(connection, product, LEVEL2_BATCH, ack, id, nowMs)
          }
        } else {
          const subscription = this.subscriptionTo(connection, product, LEVEL2_BATCH)
          if (subscription !== undefined) this.unsubscribe(subscription, nowMs)
        }
      }
    }
    if (isOn) connection.subscribed = true
    this.queue(connection, ack, nowMs)
  }

  #productOf(id: string): number | undefined {
    return id.includes('/') ? undefined : this.find(id)
  }

  #other(
    connection: CoinbaseBatchConnection,
    channel: string,
    ids: readonly string[],
    isOn: boolean,
    nowMs: number,
  ): void {
    const listed = connection.others.get(channel) ?? new Set<string>()
    for (const id of ids) {
      if (!isOn) listed.delete(id)
      else if (this.#productOf(id) !== undefined) listed.add(id)
    }
    if (listed.size === 0) connection.others.delete(channel)
    else connection.others.set(channel, listed)
    if (channel !== 'heartbeat') return
    if (listed.size === 0) connection.timerMs = Infinity
    else if (connection.timerMs === Infinity) connection.timerMs = nowMs + HEARTBEAT_MS
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const { market, isSnapshot, nowMs } = update
    const writer = this.#writer
    const { wireSymbol } = market.product
    writer.end = 0
    writer.text(`{"type":"${isSnapshot ? 'snapshot' : 'l2update'}","product_id":"${wireSymbol}`)
    writer.ensure(32)
    if (isSnapshot) {
      writer.raw(ASKS)
      this.#levels(update, ASK)
      writer.raw(BIDS)
      this.#levels(update, BID)
    } else {
      writer.raw(CHANGES)
      this.#levels(update, undefined)
    }
    writer.text(`],"time":"${timestampText(Math.max(0, nowMs - 3.1), 6)}"}`)
    return writer.bytes.subarray(0, writer.end)
  }

  /** Of one side, or of both with their names. */
  #levels(update: BookUpdate, which: number | undefined): void {
    const { count, side } = update
    const writer = this.#writer
    let isFirst = true
    for (let i = 0; i < count; i++) {
      if (which !== undefined && side[i] !== which) continue
      writer.ensure(256)
      if (!isFirst) writer.bytes[writer.end++] = COMMA
      isFirst = false
      writer.raw(which !== undefined ? LEVEL : side[i] === BID ? BUY : SELL)
      writer.text(update.fixedPrice(i))
      writer.raw(SIZE)
      writer.text(update.fixedSize(i, SIZE_DECIMALS))
      writer.raw(LEVEL_END)
    }
    writer.ensure(64)
  }

  protected override timer(
    connection: CoinbaseBatchConnection,
    dueMs: number,
    nowMs: number,
  ): void {
    // A clock that leapt gets one heartbeat, not hundreds.
    const nextMs = dueMs + HEARTBEAT_MS
    connection.timerMs = nextMs < nowMs ? nowMs + HEARTBEAT_MS : nextMs
    for (const id of connection.others.get('heartbeat') ?? []) {
      const product = this.#productOf(id)
      // One that is listed no more is silent.
      if (product === undefined) continue
      const heartbeat = {
        type: 'heartbeat',
        last_trade_id: 1000 + connection.heartbeats,
        product_id: id,
        sequence: 90_000 + connection.heartbeats++,
        time: timestampText(nowMs, 6),
      }
      this.send(connection, JSON.stringify(heartbeat), nowMs)
    }
  }

  protected override ownFault(
    kind: string,
    connection: CoinbaseBatchConnection,
    nowMs: number,
  ): boolean {
    const subscription = [...connection.subscriptions.values()]
      .find(({ stream }) => stream.listeners.some((one) => one.connection === connection))
    if (subscription === undefined) return false
    const { product, best } = topOf(subscription)
    const odd = JSON.stringify({
      type: 'l2update',
      product_id: product,
      changes: [['buy', best, '-1.00000000'], ['sell', best, 'NaN']],
      time: '0001-01-01T00:00:00.000000Z',
    })
    this.send(connection, kind === 'odd' ? odd : odd.slice(0, 60), nowMs)
    return true
  }

  protected override delistedTo(subscription: Subscription, nowMs: number): void {
    const connection = subscription.connection as CoinbaseBatchConnection
    this.#error(connection, `${subscription.name} is delisted`, '', nowMs)
  }

  protected override overMessages(connection: CoinbaseBatchConnection, nowMs: number): void {
    this.#error(connection, 'rate limit exceeded', '', nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'rate limit exceeded')
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return coinbaseExchangeRest(this, path, query, nowMs)
  }

  /** A book for REST. */
  bookOf(product: number, depth: number, nowMs: number): RestBook {
    return this.restBook(product, depth, nowMs)
  }

  protected override restError(status: number): unknown {
    return { message: status === 429 ? 'Public rate limit exceeded' : `status ${status}` }
  }

  /** All that the connection is subscribed to. */
  #subscriptions(connection: CoinbaseBatchConnection): string {
    const channels: { name: string; product_ids: string[] }[] = []
    const books = [...connection.subscriptions.values()]
    if (books.length > 0) {
      const ids = books.map(({ stream }) => stream.market.product.wireSymbol)
      channels.push({ name: LEVEL2_BATCH.key, product_ids: ids })
    }
    for (const [name, ids] of connection.others) channels.push({ name, product_ids: [...ids] })
    return JSON.stringify({ type: 'subscriptions', channels })
  }

  #failed(connection: CoinbaseBatchConnection, reason: string, nowMs: number): void {
    this.#error(connection, 'Failed to subscribe', reason, nowMs)
  }

  #error(
    connection: CoinbaseBatchConnection,
    message: string,
    reason: string,
    nowMs: number,
  ): void {
    const error = { type: 'error', message, ...(reason === '' ? {} : { reason }) }
    this.refuse(connection, JSON.stringify(error), nowMs)
  }
}

/** A price of the product that is sure to be in its range. */
function topOf({ stream }: Subscription): { product: string; best: string } {
  const { product } = stream.market
  const ticks = stream.market.best(BID)
  const price = Number.isNaN(ticks) ? product.startTicks : ticks
  const best = fixedText(price * product.priceStep, product.priceDecimals)
  return { product: product.wireSymbol, best }
}

export const coinbaseexchange: Twin = {
  rules: RULES,
  create: (options, output) => new CoinbaseBatchExchange(options, output),
  subscribeText: (wireSymbol) =>
    JSON.stringify({
      type: 'subscribe',
      product_ids: [wireSymbol],
      channels: [LEVEL2_BATCH.key],
    }),
}
