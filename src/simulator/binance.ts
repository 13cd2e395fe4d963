/** Binance spot and USD-M futures market data: streams, messages, frames and rules. */
import { ASK, BID } from '../core/changes.ts'
import { binanceError, binanceRest, binanceWeight, SPOT_DECIMALS } from './binance-rest.ts'
import type { BookUpdate } from './book-update.ts'
import { Connection } from './connection.ts'
import type { Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, RestBook } from './exchange.ts'
import type { Product } from './products.ts'
import { hashText } from './random.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { Twin } from './twin.ts'
import { UpdateIds } from './update-ids.ts'
import { ascii, Writer } from './writer.ts'

const SHUTDOWN_MS = 10_000
const LIFETIME_MS = 86_400_000
const CONNECTS = { count: 300, perMs: 300_000 }
const END = ascii('}')

const SPOT: ExchangeRules = {
  exchange: 'binance',
  listing: {
    quotes: ['USDT', 'USDC', 'BTC', 'EUR', 'ETH'],
    wireSymbol: ({ base, quote, settle }) => settle === undefined ? base + quote : undefined,
    increments: (_parts, usual) => ({ price: capped(usual.price), size: capped(usual.size) }),
  },
  defaultSymbols: ['BTC/USDT', 'ETH/USDT', 'ETH/BTC'],
  limits: {
    connects: CONNECTS,
    messages: { count: 5, perMs: 1000, per: 'connection' },
    pingsCount: true,
    subscriptionsPerConnection: 1024,
    ping: { everyMs: 20_000, pongWithinMs: 60_000 },
    lifetimeMs: LIFETIME_MS,
    weight: { count: 6000, perMs: 60_000 },
  },
  first: 'ack',
  leastLevels: 100,
  faults: { shutdown: 'serverShutdown is announced, and 10 s later the connection ends' },
}

const USDM: ExchangeRules = {
  exchange: 'binanceusdm',
  listing: {
    quotes: ['USDT:USDT', 'USDC:USDC'],
    wireSymbol: ({ base, quote, settle, expiry }) =>
      settle === quote ? base + quote + (expiry === undefined ? '' : `_${expiry}`) : undefined,
    increments: ({ base }, usual) =>
      base === 'BTC' ? { price: '0.1', size: '0.001' } : {
        price: capped(usual.price),
        size: usual.size === '0.00000001' ? '0.001' : usual.size,
      },
  },
  defaultSymbols: ['BTC/USDT:USDT', 'ETH/USDT:USDT', 'ETH/USDC:USDC'],
  limits: {
    connects: CONNECTS,
    messages: { count: 10, perMs: 1000, per: 'connection' },
    pingsCount: true,
    subscriptionsPerConnection: 1024,
    ping: { everyMs: 180_000, pongWithinMs: 600_000 },
    lifetimeMs: LIFETIME_MS,
    weight: { count: 2400, perMs: 60_000 },
  },
  first: 'ack',
  leastLevels: 50,
}

/** Nothing here has more than eight decimals. */
function capped(increment: string): string {
  const [, fraction = ''] = increment.split('.')
  return fraction.length > SPOT_DECIMALS ? '0.00000001' : increment
}

class BinanceConnection extends Connection {
  /** Frames are wrapped with the name of their stream. */
  isCombined = false
  inMicroseconds = false
  /** Streams without data here, by name. */
  readonly others = new Set<string>()
}

/** Update ids are the product's own: the same on every connection and in REST. */
export class BinanceExchange extends SimulatedExchange<BinanceConnection> {
  readonly isSpot: boolean
  readonly #writer = new Writer()
  /** What stands before the frames of a stream on combined connections. */
  readonly #heads = new Map<string, Uint8Array>()
  /** Speed and time unit -> channel. */
  readonly #channels = new Map<string, Channel>()

  constructor(rules: ExchangeRules, options: ExchangeOptions, output: ExchangeOutput) {
    super(rules, options, output)
    this.isSpot = rules === SPOT
    this.ids = this.products.map(({ symbol }) => {
      const base = 1e9 + hashText(symbol, options.seed ?? 1)
      // Futures share their ids: others come between two of a product.
      return this.isSpot ? new UpdateIds(base, 8, 8) : new UpdateIds(base * 40, 64, 32)
    })
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): BinanceConnection {
    const connection = new BinanceConnection(id, nowMs, path, query)
    connection.isCombined = path.endsWith('/stream')
    const unit = (query.get('timeUnit') ?? '').toLowerCase()
    connection.inMicroseconds = this.isSpot && unit === 'microsecond'
    return connection
  }

  protected override accepts(path: string): boolean {
    return this.isSpot
      ? /^\/(?:ws(?:\/.*)?|stream)$/.test(path)
      : /^\/(?:public|market)\/(?:ws(?:\/.*)?|stream)$/.test(path)
  }

  /** Streams may be named in the address. */
  protected override greet(connection: BinanceConnection, nowMs: number): void {
    const raw = /\/ws\/(.+)$/.exec(connection.path)?.[1]
    const names = connection.query.get('streams') ?? raw
    if (names === undefined) return
    for (const name of decodeURIComponent(names).split('/')) {
      if (name !== '') this.#subscribe(connection, name, nowMs)
    }
  }

  protected override message(connection: BinanceConnection, text: string, nowMs: number): void {
    let request: { method?: unknown; params?: unknown; id?: unknown } | null
    try {
      request = JSON.parse(text)
    } catch (error) {
      const why = error instanceof Error ? error.message : 'not JSON'
      return this.#error(connection, 3, `Invalid JSON: ${why}`, undefined, nowMs)
    }
    if (request === null || typeof request !== 'object' || Array.isArray(request)) {
      return this.#error(connection, 2, 'Invalid request: not an object', undefined, nowMs)
    }
    const { method, params, id } = request
    if (!isId(id)) {
      const what = 'Invalid request: request ID must be an integer, a string or null'
      return this.#error(connection, 2, what, undefined, nowMs)
    }
    switch (method) {
      case 'SUBSCRIBE':
      case 'UNSUBSCRIBE': {
        if (!Array.isArray(params) || !params.every((one) => typeof one === 'string')) {
          const what = 'Invalid request: params must be a list of stream names'
          return this.#error(connection, 2, what, id, nowMs)
        }
        if (method === 'UNSUBSCRIBE') {
          for (const name of params) this.#unsubscribe(connection, name, nowMs)
        } else {
          let ignored = 0
          for (const name of params) {
            const verdict = this.#subscribe(connection, name, nowMs)
            if (verdict === 'refuse') {
              return this.#error(connection, 2, `Invalid request: ${name}`, id, nowMs)
            }
            if (verdict === 'ignore') ignored++
          }
          if (ignored > 0 && ignored === params.length) return
        }
        return this.#result(connection, null, id, nowMs)
      }
      case 'LIST_SUBSCRIPTIONS': {
        const named = [...connection.subscriptions.values()].map((one) => one.name)
        return this.#result(connection, [...named, ...connection.others], id, nowMs)
      }
      case 'SET_PROPERTY':
        if (Array.isArray(params) && params[0] === 'combined') {
          connection.isCombined = params[1] === true
        }
        return this.#result(connection, null, id, nowMs)
      default:
        return this.#error(
          connection,
          2,
          `Invalid request: unknown variant \`${String(method)}\``,
          id,
          nowMs,
        )
    }
  }

  #subscribe(
    connection: BinanceConnection,
    name: string,
    nowMs: number,
  ): 'ok' | 'refuse' | 'ignore' {
    connection.subscribed = true
    const found = this.#stream(connection, name)
    if (found === undefined) {
      // Acknowledged like any other, and never heard of again.
      connection.others.add(name)
      return 'ok'
    }
    const [product, channel] = found
    const verdict = this.verdict(connection, product, nowMs)
    if (verdict !== 'ok') return verdict
    if (this.subscriptionTo(connection, product, channel) !== undefined) return 'ok'
    const made = this.subscribe(connection, product, channel, undefined, name, nowMs)
    return made === undefined ? 'refuse' : 'ok'
  }

  #unsubscribe(connection: BinanceConnection, name: string, nowMs: number): void {
    connection.others.delete(name)
    for (const subscription of connection.subscriptions.values()) {
      if (subscription.name === name) return this.unsubscribe(subscription, nowMs)
    }
  }

  /** `btcusdt@depth@100ms`; undefined for what is not a book stream of a listed product. */
  #stream(connection: BinanceConnection, name: string): [number, Channel] | undefined {
    const match = /^([\p{Ll}\p{Lo}\d_]+)@depth(?:@(\d+)ms)?$/u.exec(name)
    if (match === null || connection.path.startsWith('/market/')) return undefined
    const speed = match[2] ?? (this.isSpot ? '1000' : '250')
    const speeds = this.isSpot ? ['100', '1000'] : ['0', '100', '250', '500']
    const product = this.find(match[1]!.toUpperCase())
    if (product === undefined || !speeds.includes(speed)) return undefined
    const key = `depth@${speed}${connection.inMicroseconds ? 'us' : ''}`
    let channel = this.#channels.get(key)
    if (channel === undefined) {
      channel = { key, depth: Infinity, snapshotElsewhere: true }
      this.#channels.set(key, channel)
    }
    return [product, channel]
  }

  protected override bookFrame(update: BookUpdate): Uint8Array {
    const writer = this.#writer
    const { stream, market, from, version, nowMs, count, side } = update
    const ids = this.ids![stream.product]!
    const before = ids.last(from)
    const last = ids.last(version)
    const isMicro = stream.channel.key.endsWith('us')
    const time = Math.floor(isMicro ? nowMs * 1000 : nowMs)
    writer.end = 0
    writer.text(`{"e":"depthUpdate","E":${time}`)
    if (this.isSpot) {
      writer.text(`,"s":"${market.product.wireSymbol}","U":${before + 1},"u":${last}`)
    } else {
      // Ids of other products lie between.
      writer.text(
        `,"T":${time - 3},"s":"${market.product.wireSymbol}","U":${
          before + 1 + (version * 7) % 20
        }` +
          `,"u":${last},"pu":${before}`,
      )
    }
    const decimals = this.isSpot ? SPOT_DECIMALS : undefined
    for (let which = BID; which <= ASK; which++) {
      writer.text(which === BID ? ',"b":[' : '],"a":[')
      let isFirst = true
      for (let i = 0; i < count; i++) {
        if (side[i] !== which) continue
        writer.text(isFirst ? '["' : ',["')
        update.writePrice(writer, i, decimals)
        writer.text('","')
        update.writeSize(writer, i, decimals)
        writer.text('"]')
        isFirst = false
      }
    }
    writer.text(']}')
    return writer.bytes.subarray(0, writer.end)
  }

  protected override stamped(shared: Uint8Array, subscription: Subscription): Uint8Array {
    const connection = subscription.connection as BinanceConnection
    if (!connection.isCombined) return shared.slice()
    let head = this.#heads.get(subscription.name)
    if (head === undefined) {
      head = ascii(`{"stream":"${subscription.name}","data":`)
      this.#heads.set(subscription.name, head)
    }
    const frame = new Uint8Array(head.length + shared.length + END.length)
    frame.set(head)
    frame.set(shared, head.length)
    frame.set(END, head.length + shared.length)
    return frame
  }

  protected override ownFault(
    kind: string,
    connection: BinanceConnection,
    nowMs: number,
  ): boolean {
    if (kind !== 'shutdown' || !connection.subscribed || connection.timerMs !== Infinity) {
      return false
    }
    const event = `{"e":"serverShutdown","E":${Math.floor(nowMs)}}`
    const text = connection.isCombined ? `{"stream":"!serverShutdown","data":${event}}` : event
    this.send(connection, text, nowMs)
    connection.timerMs = nowMs + SHUTDOWN_MS
    return true
  }

  protected override timer(connection: BinanceConnection): void {
    this.close(connection, 1001, 'server shutdown')
  }

  protected override overMessages(connection: BinanceConnection): void {
    this.close(connection, 1008, 'Too many requests')
  }

  #result(connection: BinanceConnection, result: unknown, id: unknown, nowMs: number): void {
    const text = JSON.stringify({ result, id })
    this.acknowledge(connection, () => text, nowMs)
  }

  #error(
    connection: BinanceConnection,
    code: number,
    msg: string,
    id: unknown,
    nowMs: number,
  ): void {
    // Requests that can be read are answered with their id.
    const answer = id === undefined ? { code, msg } : { error: { code, msg }, id }
    this.refuse(connection, JSON.stringify(answer), nowMs)
  }

  // ---- REST

  /** A book for REST, and the update id that it is as of. */
  book(product: number, depth: number, nowMs: number): RestBook & { lastUpdateId: number } {
    const book = this.restBook(product, depth, nowMs)
    return { ...book, lastUpdateId: this.ids![product]!.last(book.version) }
  }

  /** The price of the best bid; 0: there is none. */
  bidOf({ index, priceStep, priceDecimals }: Product): number {
    const ticks = this.markets[index]!.best(BID)
    return Number.isNaN(ticks) ? 0 : ticks * priceStep * Math.pow(10, -priceDecimals)
  }

  protected override weightOf(path: string, query: URLSearchParams): number {
    return binanceWeight(this.isSpot, path, query)
  }

  protected override restHeaders(usedWeight: number): Record<string, string> {
    return { 'x-mbx-used-weight-1m': String(usedWeight) }
  }

  protected override restError(status: number, nowMs: number, retryAfterS: number): unknown {
    return binanceError(status, this.limits.weight?.count, nowMs + retryAfterS * 1000)
  }

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return binanceRest(this, path, query, nowMs)
  }
}

/** int64, at most 36 letters and digits, or null. */
function isId(id: unknown): boolean {
  if (id === null || Number.isInteger(id)) return true
  return typeof id === 'string' && /^[0-9A-Za-z_-]{1,36}$/.test(id)
}

function subscribeText(wireSymbol: string): string {
  const params = [`${wireSymbol.toLowerCase()}@depth@100ms`]
  return JSON.stringify({ method: 'SUBSCRIBE', params, id: 1 })
}

export const binance: Twin = {
  rules: SPOT,
  create: (options, output) => new BinanceExchange(SPOT, options, output),
  target: () => '/stream',
  subscribeText,
}

export const binanceusdm: Twin = {
  rules: USDM,
  create: (options, output) => new BinanceExchange(USDM, options, output),
  target: () => '/public/stream',
  subscribeText,
}
