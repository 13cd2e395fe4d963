/** OKX v5 public market data (spot, swaps, dated futures on one address): messages, frames, rules. */
import { ASK, BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, RestBook } from './exchange.ts'
import { okxRest } from './okx-rest.ts'
import type { Increments, Listing, SymbolParts } from './products.ts'
import { hashText } from './random.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { Twin } from './twin.ts'
import { UpdateIds } from './update-ids.ts'
import { ascii, Writer } from './writer.ts'

const PATH = '/ws/v5/public'
/** A level that is pushed out of the window is deleted, one that slides back in is told again. */
const BOOKS: Channel = { key: 'books', depth: 400, deletesPushed: true }
/** A book that does not change shows that it is alive. */
const KEEP_ALIVE_MS = 60_000
/** From the notice to the end. */
const NOTICE_MS = 60_000
const ARGUMENT_BYTES_MAX = 65_536
/** Steps of `seqId` are irregular: 1 to 21. */
const ID_STRIDE = 11

const LISTING: Listing = {
  quotes: ['USDT', 'USDT:USDT'],
  wireSymbol({ base, quote, settle, expiry }: SymbolParts): string | undefined {
    if (settle === undefined) return `${base}-${quote}`
    if (settle !== base && settle !== quote) return undefined
    return `${base}-${quote}-${expiry ?? 'SWAP'}`
  },
  /** Contracts are traded whole where they are inverse, by the hundredth where they are not. */
  increments({ base, settle }: SymbolParts, usual: Increments): Increments {
    if (settle === undefined) return usual
    return { price: usual.price, size: settle === base ? '1' : '0.01' }
  },
}

const RULES: ExchangeRules = {
  exchange: 'okx',
  listing: LISTING,
  defaultSymbols: ['BTC/USDT', 'ETH/USDT', 'BTC/USDT:USDT'],
  limits: {
    connects: { count: 3, perMs: 1000 },
    requests: { count: 480, perMs: 3_600_000 },
    subscribeWithinMs: 30_000,
    idle: {
      afterMs: 30_000,
      of: 'sent',
      reason: 'No data received in 30s.',
      isViolation: true,
    },
    weight: { count: 20, perMs: 2000 },
  },
  first: 'ack',
  faults: {
    'notice': 'a notice (64008) that the connection is closed for an upgrade, 60 s later',
    'unsubscribe': 'a subscription ends without having been asked to',
  },
}

class OkxConnection extends Connection {
  /** When the last frame of a subscription was sent. */
  readonly pushedMs = new Map<Subscription, number>()
  /** The exchange ends the connection then. */
  closesMs = Infinity

  get connId(): string {
    return this.id.toString(16).padStart(8, '0')
  }
}

interface Argument {
  readonly channel: string
  readonly instId: string
}

interface ClientMessage {
  readonly op: 'subscribe' | 'unsubscribe'
  readonly args: readonly Argument[]
}

/** Undefined: the exchange does not understand it. */
function parseMessage(text: string): ClientMessage | undefined {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return undefined
  }
  const { op, args } = (message ?? {}) as Record<string, unknown>
  if (op !== 'subscribe' && op !== 'unsubscribe') return undefined
  if (!Array.isArray(args) || args.length === 0) return undefined
  for (const arg of args) {
    const { channel, instId } = (arg ?? {}) as Record<string, unknown>
    if (typeof channel !== 'string' || typeof instId !== 'string') return undefined
  }
  return { op, args }
}

const DATA = ascii('","data":[{"asks":[')
const BIDS = ascii('],"bids":[')
const LEVEL = ascii('["')
const SIZE = ascii('","')
const ORDERS = ascii('","0","')
const LEVEL_END = ascii('"]')
const COMMA = 44

/** Frames of an instrument are the same on every connection, with one chain of `seqId`. */
export class OkxExchange extends SimulatedExchange<OkxConnection> {
  readonly #writer = new Writer()
  /** By product index: a frame up to its action. */
  readonly #heads: readonly Uint8Array[]
  readonly #ids: readonly UpdateIds[]

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(RULES, options, output)
    this.#heads = this.products.map(({ wireSymbol }) =>
      ascii(`{"arg":{"channel":"books","instId":"${wireSymbol}"},"action":"`)
    )
    this.#ids = this.products.map(({ wireSymbol }) =>
      new UpdateIds(80_000_000_000 + hashText(wireSymbol) % 1_000_000_000, ID_STRIDE, ID_STRIDE)
    )
    this.ids = this.#ids
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): OkxConnection {
    return new OkxConnection(id, nowMs, path, query)
  }

  protected override accepts(path: string): boolean {
    return path === PATH
  }

  protected override message(connection: OkxConnection, text: string, nowMs: number): void {
    if (text === 'ping') return this.send(connection, 'pong', nowMs, false)
    if (text.length > ARGUMENT_BYTES_MAX) {
      const detail = `a request of ${text.length} bytes, at most ${ARGUMENT_BYTES_MAX}`
      this.violate('request-bytes', detail, connection, nowMs)
      return this.#error(connection, '60013', 'Invalid args', nowMs)
    }
    const message = parseMessage(text)
    if (message === undefined) {
      return this.#error(connection, '60012', `Invalid request: ${text}`, nowMs)
    }
    if (!this.request(connection, nowMs)) {
      return this.#error(connection, '60014', 'Requests too frequent', nowMs)
    }
    const unknown = message.args.filter((arg) => this.#productOf(arg) === undefined)
    for (const arg of unknown) this.#unknown(connection, arg, nowMs)
    if (unknown.length > 0 && this.unknownProduct === 'refuse') return
    for (const arg of message.args) {
      const product = this.#productOf(arg)
      if (product === undefined) continue
      if (message.op === 'subscribe') this.#subscribe(connection, arg, product, nowMs)
      else this.#unsubscribe(connection, arg, product, nowMs)
    }
  }

  #productOf({ channel, instId }: Argument): number | undefined {
    return channel === BOOKS.key ? this.find(instId) : undefined
  }

  /** What is subscribed already is acknowledged once more, without a second snapshot. */
  #subscribe(connection: OkxConnection, arg: Argument, product: number, nowMs: number): void {
    const verdict = this.verdict(connection, product, nowMs)
    if (verdict === 'ignore') return
    if (verdict === 'refuse') return this.#unknown(connection, arg, nowMs)
    const ack = this.newAck(() => eventText('subscribe', arg, connection), nowMs)
    this.subscribe(connection, product, BOOKS, ack, arg.instId, nowMs)
    this.queue(connection, ack, nowMs)
  }

  #unsubscribe(connection: OkxConnection, arg: Argument, product: number, nowMs: number): void {
    const subscription = this.subscriptionTo(connection, product, BOOKS)
    if (subscription !== undefined) {
      connection.pushedMs.delete(subscription)
      this.unsubscribe(subscription, nowMs)
    }
    this.acknowledge(connection, () => eventText('unsubscribe', arg, connection), nowMs)
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const { stream, isSnapshot } = update
    const ids = this.#ids[stream.product]!
    const writer = this.#writer
    writer.end = 0
    writer.raw(this.#heads[stream.product]!)
    writer.text(isSnapshot ? 'snapshot' : 'update')
    writer.raw(DATA)
    this.#writeSide(update, ASK)
    writer.ensure(BIDS.length)
    writer.raw(BIDS)
    this.#writeSide(update, BID)
    const prevSeqId = isSnapshot ? -1 : ids.last(update.from)
    writer.text(tailText(ids.last(update.version), prevSeqId, update.nowMs))
    return writer.bytes.subarray(0, writer.end)
  }

  #writeSide({ market, count, side, ticks, lots }: BookUpdate, which: number): void {
    const writer = this.#writer
    const { priceStep, priceDecimals, sizeStep, sizeDecimals } = market.product
    let isFirst = true
    for (let i = 0; i < count; i++) {
      if (side[i] !== which) continue
      writer.ensure(256)
      if (!isFirst) writer.bytes[writer.end++] = COMMA
      isFirst = false
      writer.raw(LEVEL)
      writer.decimal(ticks[i]! * priceStep, priceDecimals)
      writer.raw(SIZE)
      writer.decimal(lots[i]! * sizeStep, sizeDecimals)
      writer.raw(ORDERS)
      writer.decimal(lots[i] === 0 ? 0 : 1 + lots[i]! % 17, 0)
      writer.raw(LEVEL_END)
    }
  }

  protected override publishTo(
    subscription: Subscription,
    shared: Uint8Array,
    update: BookUpdate,
  ): void {
    const connection = subscription.connection as OkxConnection
    connection.pushedMs.set(subscription, update.nowMs)
    connection.timerMs = Math.min(connection.timerMs, update.nowMs + KEEP_ALIVE_MS)
    super.publishTo(subscription, shared, update)
  }

  /** Signs of life of quiet books, and the end of a connection that was told of it. */
  protected override timer(connection: OkxConnection, _dueMs: number, nowMs: number): void {
    if (nowMs >= connection.closesMs) return this.close(connection, 1001, 'service upgrade')
    let nextMs = connection.closesMs
    for (const [subscription, pushedMs] of connection.pushedMs) {
      const dueMs = pushedMs + KEEP_ALIVE_MS
      if (dueMs > nowMs) {
        nextMs = Math.min(nextMs, dueMs)
        continue
      }
      connection.pushedMs.set(subscription, nowMs)
      nextMs = Math.min(nextMs, nowMs + KEEP_ALIVE_MS)
      if (!subscription.stalled) this.#keepAlive(subscription, nowMs)
    }
    connection.timerMs = nextMs
  }

  #keepAlive(subscription: Subscription, nowMs: number): void {
    const { product, sentVersion } = subscription.stream
    const seqId = this.#ids[product]!.last(sentVersion)
    const writer = this.#writer
    writer.end = 0
    writer.raw(this.#heads[product]!)
    writer.text('update')
    writer.raw(DATA)
    writer.raw(BIDS)
    writer.text(tailText(seqId, seqId, nowMs))
    this.deliver(subscription, writer.copy(), sentVersion, nowMs)
  }

  protected override ownFault(kind: string, connection: OkxConnection, nowMs: number): boolean {
    if (kind === 'notice') {
      if (connection.closesMs < Infinity) return false
      connection.closesMs = nowMs + NOTICE_MS
      connection.timerMs = Math.min(connection.timerMs, connection.closesMs)
      this.send(
        connection,
        JSON.stringify({
          event: 'notice',
          code: '64008',
          msg: 'The connection will soon be closed for a service upgrade. Please reconnect.',
          connId: connection.connId,
        }),
        nowMs,
        false,
      )
      return true
    }
    // One that flows, so that a client can be told nothing but the truth.
    const [subscription] = connection.pushedMs.keys()
    if (kind !== 'unsubscribe' || subscription === undefined) return false
    connection.pushedMs.delete(subscription)
    this.unsubscribe(subscription, nowMs)
    const arg = { channel: BOOKS.key, instId: subscription.name }
    this.send(connection, eventText('unsubscribe', arg, connection), nowMs, false)
    return true
  }

  /** Nothing is said: its frames stop. */
  protected override delistedTo(subscription: Subscription): void {
    const connection = subscription.connection as OkxConnection
    connection.pushedMs.delete(subscription)
  }

  protected override overMessages(connection: OkxConnection, nowMs: number): void {
    this.#error(connection, '60014', 'Requests too frequent', nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'Requests too frequent')
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return okxRest(this, path, query, nowMs)
  }

  /** A book for REST, and its number. */
  book(product: number, depth: number, nowMs: number): RestBook & { readonly seqId: number } {
    const book = this.restBook(product, depth, nowMs)
    return { ...book, seqId: this.#ids[product]!.last(book.version) }
  }

  protected override restError(status: number): unknown {
    return status === 429 || status === 418
      ? { code: '50011', data: [], msg: 'Too Many Requests' }
      : { code: '50001', data: [], msg: 'Service temporarily unavailable. Try again later.' }
  }

  #unknown(connection: OkxConnection, { channel, instId }: Argument, nowMs: number): void {
    const msg = `Wrong URL or channel:${channel},instId:${instId} doesn't exist. Please use the ` +
      'correct URL, channel and parameters referring to API document.'
    this.#error(connection, '60018', msg, nowMs)
  }

  #error(connection: OkxConnection, code: string, msg: string, nowMs: number): void {
    const { connId } = connection
    this.refuse(connection, JSON.stringify({ event: 'error', msg, code, connId }), nowMs)
  }
}

function eventText(event: string, arg: Argument, { connId }: OkxConnection): string {
  const { channel, instId } = arg
  return JSON.stringify({ event, arg: { channel, instId }, connId })
}

/** A frame from the end of its bids on. */
function tailText(seqId: number, prevSeqId: number, nowMs: number): string {
  return `],"ts":"${Math.floor(nowMs)}","checksum":0,"seqId":${seqId},"prevSeqId":${prevSeqId}}]}`
}

export const okx: Twin = {
  rules: RULES,
  create: (options, output) => new OkxExchange(options, output),
  target: () => PATH,
  subscribeText: (wireSymbol) =>
    JSON.stringify({ op: 'subscribe', args: [{ channel: BOOKS.key, instId: wireSymbol }] }),
}
