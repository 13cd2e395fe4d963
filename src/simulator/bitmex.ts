/** BitMEX's table `orderBookL2` as it was until the exchange closed: messages, frames and rules. */
import { BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { bitmexRest } from './bitmex-rest.ts'
import type { Connection, Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, RestBook } from './exchange.ts'
import type { Increments, Listing, Product, SymbolParts } from './products.ts'
import { decimalText } from './products.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { Twin } from './twin.ts'
import { ascii, Writer } from './writer.ts'

const PATH = '/realtime'
const ORDER_BOOK: Channel = { key: 'orderBookL2', depth: Infinity }
/** Requests that may be made at once; the welcome says how many are left. */
const REQUESTS_AT_ONCE = 40
/** Far enough apart that no two products have the same. */
const IDS_PER_PRODUCT = 100_000_000_000
const MONTHS = 'FGHJKMNQUVXZ'

function codeOf(currency: string): string {
  return currency === 'BTC' ? 'XBT' : currency
}

const LISTING: Listing = {
  quotes: ['USDT:USDT', 'USD:BTC', 'USDT'],
  wireSymbol({ base, quote, settle, expiry }: SymbolParts): string | undefined {
    const name = `${codeOf(base)}${codeOf(quote)}`
    if (settle === undefined) return `${codeOf(base)}_${codeOf(quote)}`
    if (expiry === undefined) {
      return settle === 'USDT' && quote === 'USDT' || settle === 'BTC' && quote === 'USD'
        ? name
        : undefined
    }
    if (settle !== 'BTC' || (quote !== 'BTC' && quote !== 'USD')) return undefined
    const month = MONTHS[Number(expiry.slice(2, 4)) - 1]
    // The short names are those of the oldest futures.
    const short = quote === 'BTC' || base === 'BTC' ? codeOf(base) : name
    return month === undefined ? undefined : `${short}${month}${expiry.slice(0, 2)}`
  },
  /** Sizes are whole contracts. */
  increments({ base, quote }: SymbolParts, usual: Increments): Increments {
    return { price: base === 'BTC' && quote !== 'BTC' ? '0.5' : usual.price, size: '1' }
  },
}

const RULES: ExchangeRules = {
  exchange: 'bitmex',
  listing: LISTING,
  defaultSymbols: ['BTC/USD:BTC', 'ETH/USD:BTC', 'XRP/USDT:USDT'],
  limits: {
    connects: { count: 720, perMs: 3_600_000 },
    connectionsOpen: 20,
    requests: { count: REQUESTS_AT_ONCE, perMs: 10_000 },
    weight: { count: 30, perMs: 60_000 },
  },
  first: 'ack',
  faults: {
    'orphan': 'a delete of an id that is not in the table, as if an insert had been lost',
    'half': 'a frame that ends in the middle',
  },
}

interface ClientMessage {
  readonly op: 'subscribe' | 'unsubscribe'
  readonly args: readonly string[]
}

/** The message, or what the exchange finds wrong with it. */
function parseMessage(text: string): ClientMessage | string {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return 'Unrecognized request. See https://www.bitmex.com/app/wsAPI for details.'
  }
  const { op, args } = (message ?? {}) as Record<string, unknown>
  if (op !== 'subscribe' && op !== 'unsubscribe') return `Unknown op: ${String(op)}`
  const list = typeof args === 'string' ? [args] : args
  if (!Array.isArray(list) || list.length === 0) return 'args is required'
  if (!list.every((one) => typeof one === 'string')) return 'args is not a list of strings'
  return { op, args: list }
}

const ROW = ascii('{"symbol":"')
const ID = ascii('","id":')
const BUY = ascii(',"side":"Buy"')
const SELL = ascii(',"side":"Sell"')
const SIZE = ascii(',"size":')
const PRICE = ascii(',"price":')
const COMMA = 44
const BRACE = 125

const ACTIONS = ['delete', 'update', 'insert'] as const
type Action = (typeof ACTIONS)[number]

/** Frames of a symbol are the same on every connection; each has one action, and none a number. */
export class BitmexExchange extends SimulatedExchange {
  readonly #writer = new Writer()
  /** What the last `bookFrame` made of its update. */
  readonly #frames: Uint8Array[] = []
  readonly #rows: Record<Action, number[]> = { delete: [], update: [], insert: [] }
  /** What a level held before the update, by key. */
  readonly #before = new Map<number, number>()

  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    // One change a frame: so each frame leaves a book that was the market's.
    super(RULES, { ...options, updates: 1 }, output)
  }

  protected override accepts(path: string): boolean {
    return path === PATH
  }

  protected override greet(connection: Connection, nowMs: number): void {
    const welcome = {
      info: 'Welcome to the BitMEX Realtime API.',
      version: '2021-07-14T01:26:29.000Z',
      timestamp: new Date(nowMs).toISOString(),
      docs: 'https://www.bitmex.com/app/wsAPI',
      limit: { remaining: REQUESTS_AT_ONCE - 1 },
    }
    this.send(connection, JSON.stringify(welcome), nowMs)
  }

  protected override message(connection: Connection, text: string, nowMs: number): void {
    if (text === 'ping') return this.send(connection, 'pong', nowMs)
    const message = parseMessage(text)
    if (typeof message === 'string') return this.#error(connection, 400, message, text, nowMs)
    if (!this.request(connection, nowMs)) return this.overMessages(connection, nowMs)
    for (const topic of message.args) this.#topic(connection, message, topic, nowMs)
  }

  #topic(connection: Connection, request: ClientMessage, topic: string, nowMs: number): void {
    const [table, symbol = ''] = topic.split(':')
    const refused = (error: string) => this.#error(connection, 400, error, request, nowMs)
    if (table !== ORDER_BOOK.key) return refused(`Unknown table: ${table}`)
    const product = symbol.includes('/') ? undefined : this.find(symbol)
    if (product === undefined) return refused(`Unknown or expired symbol: ${symbol}`)
    const subscription = this.subscriptionTo(connection, product, ORDER_BOOK)
    const isOn = request.op === 'subscribe'
    if (isOn ? subscription !== undefined : subscription === undefined) {
      const state = isOn ? 'already' : 'not'
      return refused(`You are ${state} subscribed to this topic: ${topic}`)
    }
    const make = (): string => JSON.stringify({ success: true, [request.op]: topic, request })
    if (subscription !== undefined) {
      this.unsubscribe(subscription, nowMs)
      this.acknowledge(connection, make, nowMs)
      return
    }
    const verdict = this.verdict(connection, product, nowMs)
    if (verdict === 'ignore') return
    if (verdict === 'refuse') return refused(`Unknown or expired symbol: ${symbol}`)
    const ack = this.newAck(make, nowMs)
    this.subscribe(connection, product, ORDER_BOOK, ack, topic, nowMs)
    this.queue(connection, ack, nowMs)
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    this.#frames.length = 0
    if (update.isSnapshot) {
      this.#frames.push(this.#table(update, 'partial', undefined))
    } else {
      this.#sort(update)
      // In this order no book is ever crossed on the way.
      for (const action of ACTIONS) {
        const rows = this.#rows[action]
        if (rows.length > 0) this.#frames.push(this.#table(update, action, rows))
      }
    }
    return this.#frames[0] ?? new Uint8Array(0)
  }

  /** Which rows are inserts, updates and deletes; a level that came and went is none of them. */
  #sort(update: BookUpdate): void {
    const { market: { log }, from, version, count, side, ticks, lots } = update
    const before = this.#before
    before.clear()
    const start = Math.max(from + 1, log.firstVersion)
    if (start <= version) {
      for (let i = log.start(start); i < log.changes; i++) {
        const key = log.key[i]!
        if (!before.has(key)) before.set(key, log.old[i]!)
      }
    }
    const rows = this.#rows
    for (const action of ACTIONS) rows[action].length = 0
    for (let i = 0; i < count; i++) {
      const had = before.get(side[i] === BID ? ticks[i]! : -ticks[i]!) ?? 0
      if (had > 0) rows[lots[i] === 0 ? 'delete' : 'update'].push(i)
      else if (lots[i]! > 0) rows.insert.push(i)
    }
  }

  /** All rows, or those at `only`. */
  #table(
    update: BookUpdate,
    action: Action | 'partial',
    only: readonly number[] | undefined,
  ): Uint8Array {
    const writer = this.#writer
    const { product } = update.market
    writer.end = 0
    writer.text(`{"table":"${ORDER_BOOK.key}","action":"${action}"`)
    if (action === 'partial') {
      writer.text(
        ',"keys":["symbol","id","side"],' +
          '"types":{"symbol":"symbol","id":"long","side":"symbol","size":"long","price":"float"},' +
          '"foreignKeys":{"symbol":"instrument","side":"side"},' +
          '"attributes":{"symbol":"parted","id":"sorted"},' +
          `"filter":{"symbol":"${product.wireSymbol}"}`,
      )
    }
    writer.text(',"data":[')
    const count = only?.length ?? update.count
    for (let n = 0; n < count; n++) {
      const i = only?.[n] ?? n
      if (n > 0) writer.bytes[writer.end++] = COMMA
      this.#row(update, product, i, action)
    }
    writer.text(']}')
    return writer.copy()
  }

  #row(update: BookUpdate, product: Product, i: number, action: Action | 'partial'): void {
    const writer = this.#writer
    const ticks = update.ticks[i]!
    writer.ensure(256)
    writer.raw(ROW)
    writer.text(product.wireSymbol)
    writer.raw(ID)
    writer.text(String(idOf(product, ticks)))
    writer.raw(update.side[i] === BID ? BUY : SELL)
    if (action !== 'delete') {
      writer.raw(SIZE)
      writer.text(String(update.lots[i]! * product.sizeStep))
    }
    if (action === 'insert' || action === 'partial') {
      writer.raw(PRICE)
      writer.text(priceToken(product, ticks))
    }
    writer.ensure(64)
    writer.bytes[writer.end++] = BRACE
  }

  protected override publishTo(
    subscription: Subscription,
    _shared: Uint8Array,
    update: BookUpdate,
  ): void {
    const last = this.#frames.length - 1
    for (const [n, frame] of this.#frames.entries()) {
      const version = n === last ? update.version : update.from
      this.deliver(subscription, frame.slice(), version, update.nowMs)
    }
  }

  protected override ownFault(kind: string, connection: Connection, nowMs: number): boolean {
    const [subscription] = connection.subscriptions.values()
    if (subscription === undefined) return false
    const { wireSymbol, index } = subscription.stream.market.product
    const text = `{"table":"${ORDER_BOOK.key}","action":"delete","data":[{"symbol":"${wireSymbol}",`
    const orphan = `${text}"id":${(index + 1) * IDS_PER_PRODUCT},"side":"Sell"}]}`
    this.send(connection, kind === 'orphan' ? orphan : text, nowMs)
    return true
  }

  protected override overMessages(connection: Connection, nowMs: number): void {
    const error = 'Rate limit exceeded, retry in 10 seconds.'
    const body = { status: 429, error, meta: { retryAfter: 10 }, request: {} }
    this.refuse(connection, JSON.stringify(body), nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, error)
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return bitmexRest(this, path, query, nowMs)
  }

  /** A book for REST. */
  bookOf(product: number, depth: number, nowMs: number): RestBook {
    return this.restBook(product, depth, nowMs)
  }

  protected override restError(status: number): unknown {
    const message = status === 429
      ? 'Rate limit exceeded, retry in 1 seconds.'
      : 'The system is currently overloaded. Please try again later.'
    return { error: { message, name: status === 429 ? 'RateLimitError' : 'HTTPError' } }
  }

  #error(
    connection: Connection,
    status: number,
    error: string,
    request: unknown,
    nowMs: number,
  ): void {
    this.refuse(connection, JSON.stringify({ status, error, meta: {}, request }), nowMs)
  }
}

/** One for each price, higher for lower prices; the same on both sides. */
export function idOf(product: Product, ticks: number): number {
  return (product.index + 1) * IDS_PER_PRODUCT - ticks
}

/** As the exchange writes numbers: `0.5`, `3.5e-7`. */
export function priceToken(product: Product, ticks: number): string {
  return String(Number(decimalText(ticks * product.priceStep, product.priceDecimals)))
}

export const bitmex: Twin = {
  rules: RULES,
  create: (options, output) => new BitmexExchange(options, output),
  target: () => PATH,
  subscribeText: (wireSymbol) =>
    JSON.stringify({ op: 'subscribe', args: [`${ORDER_BOOK.key}:${wireSymbol}`] }),
}
