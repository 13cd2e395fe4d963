/** Bitfinex v2 public market data: its messages, frames and rules. */
import { ASK, BID } from '../core/changes.ts'
import { crc32 } from '../core/checksum.ts'
import { BITFINEX_LISTING, listedPair } from './bitfinex-names.ts'
import { bitfinexRest } from './bitfinex-rest.ts'
import type { BookUpdate } from './book-update.ts'
import { Connection } from './connection.ts'
import type { Stream, Subscription } from './connection.ts'
import { SimulatedExchange } from './exchange.ts'
import type { ExchangeOptions, ExchangeOutput, ExchangeRules, RestBook } from './exchange.ts'
import type { RestAnswer } from './rest.ts'
import type { Channel } from './stream.ts'
import type { TopSide } from './top-view.ts'
import type { Twin } from './twin.ts'

const PATH = '/ws/2'
const TIMESTAMP = 32_768
const SEQUENCE = 65_536
const CHECKSUMS = 131_072
/** Every channel of a connection beats at the same time. */
const HEARTBEAT_MS = 15_000
/** Frames with changes between two checksums of a book. */
const CHECKSUM_EVERY = 4
/** Levels a side that a checksum covers. */
const CHECKED = 25
/** From the notice of a restart to the end of the connection. */
const RESTART_MS = 10_000
const MAINTENANCE_MS = 5_000
/** What was on its way when the maintenance was told is no violation. */
const MAINTENANCE_GRACE_MS = 1_000
const FIRST_CHANNEL = 10_092

/** By levels a side; what leaves the window is deleted. */
const CHANNELS: ReadonlyMap<string, Channel> = new Map(
  [1, 25, 100, 250].map((depth) => [
    String(depth),
    { key: `book-${depth}`, depth, deletesPushed: true },
  ]),
)

const RULES: ExchangeRules = {
  exchange: 'bitfinex',
  listing: BITFINEX_LISTING,
  defaultSymbols: ['BTC/USD', 'ETH/USD', 'BTC/USDT:USDT'],
  limits: {
    connects: { count: 20, perMs: 60_000 },
    subscriptionsPerConnection: 25,
    weight: { count: 90, perMs: 60_000 },
  },
  first: 'ack',
  hasChecksum: true,
  checksumsFollow: true,
  faults: {
    'restart': 'info 20051, and the end of the connection 10 s later',
    'maintenance': 'info 20060, and 20061 after 5 s; until subscribed anew nothing changes',
  },
}

class BitfinexConnection extends Connection {
  flags = 0
  nextBeatMs = Infinity
  /** The exchange ends the connection then. */
  closesMs = Infinity
  maintenanceEndsMs = Infinity

  constructor(id: number, nowMs: number, path: string, query: URLSearchParams) {
    super(id, nowMs, path, query)
    // Frames are counted from 1.
    this.sequence = 1
  }
}

/** One frame of an update. */
interface Part {
  readonly payload: string
  /** With it the client has all that the update brings, but for levels beyond the window. */
  readonly isComplete: boolean
}

type Fields = Readonly<Record<string, unknown>>

/** Frames of one connection share one sequence; events stand outside of it. */
export class BitfinexExchange extends SimulatedExchange<BitfinexConnection> {
  readonly #encoder = new TextEncoder()
  /** Of the update that was spelt last. */
  #parts: Part[] = []
  #nextChannel = FIRST_CHANNEL

  /** One change a version: each frame of it leaves a window that is true, before or after it. */
  constructor(options: ExchangeOptions, output: ExchangeOutput) {
    super(RULES, { ...options, updates: 1 }, output)
  }

  protected override newConnection(
    id: number,
    nowMs: number,
    path: string,
    query: URLSearchParams,
  ): BitfinexConnection {
    return new BitfinexConnection(id, nowMs, path, query)
  }

  protected override accepts(path: string): boolean {
    return path === PATH
  }

  protected override get numbersAcks(): boolean {
    return false
  }

  protected override greet(connection: BitfinexConnection, nowMs: number): void {
    connection.nextBeatMs = nowMs + HEARTBEAT_MS
    this.#schedule(connection)
    const serverId = `00000000-0000-4000-8000-${String(connection.id).padStart(12, '0')}`
    this.#event(connection, { event: 'info', version: 2, serverId, platform: { status: 1 } }, nowMs)
  }

  // ---- the client's messages

  protected override message(connection: BitfinexConnection, text: string, nowMs: number): void {
    let message: Fields
    try {
      message = (JSON.parse(text) ?? {}) as Fields
    } catch {
      return this.#error(connection, 'event: invalid', 10_000, {}, nowMs)
    }
    switch (message['event']) {
      case 'ping':
        return this.#event(connection, { event: 'pong', ts: nowMs, cid: message['cid'] }, nowMs)
      case 'conf':
        return this.#configure(connection, message, nowMs)
      case 'subscribe':
        return this.#subscribe(connection, message, nowMs)
      case 'unsubscribe':
        return this.#unsubscribe(connection, message['chanId'], nowMs)
      default:
        return this.#error(connection, 'event: invalid', 10_000, {}, nowMs)
    }
  }

  #configure(connection: BitfinexConnection, { flags }: Fields, nowMs: number): void {
    if (typeof flags !== 'number' || !Number.isSafeInteger(flags) || flags < 0) {
      return this.#event(connection, { event: 'conf', status: 'FAILED' }, nowMs)
    }
    connection.flags = flags
    this.acknowledge(
      connection,
      () => JSON.stringify({ event: 'conf', status: 'OK', flags }),
      nowMs,
    )
  }

  #subscribe(connection: BitfinexConnection, message: Fields, nowMs: number): void {
    const { event: _, ...asked } = message
    const { channel: name, symbol, prec = 'P0', freq = 'F0', len = '25', subId } = asked
    const answered = { ...asked, pair: typeof symbol === 'string' ? listedPair(symbol) : undefined }
    const refuse = (msg: string, code: number): void =>
      this.#error(connection, msg, code, answered, nowMs)
    if (this.#isClosedFor(connection, `subscribe ${symbol}`, nowMs)) {
      return refuse('maintenance', 10_300)
    }
    if (name !== 'book') return refuse('channel: unknown', 10_302)
    const channel = CHANNELS.get(String(len))
    if (channel === undefined) return refuse('len: invalid', 10_012)
    if (prec !== 'P0' || freq !== 'F0') return refuse('prec: invalid', 10_011)
    const product = typeof symbol === 'string' ? this.#find(symbol) : undefined
    if (product === undefined) return refuse('symbol: invalid', 10_300)
    const verdict = this.verdict(connection, product, nowMs)
    if (verdict === 'ignore') return
    if (verdict === 'refuse') return refuse('symbol: invalid', 10_300)
    if (this.subscriptionTo(connection, product, channel) !== undefined) {
      return refuse('subscribe: dup', 10_301)
    }
    const chanId = this.#nextChannel++
    const ack = this.newAck(() =>
      JSON.stringify({
        event: 'subscribed',
        channel: 'book',
        chanId,
        symbol,
        prec,
        freq,
        len: String(len),
        ...(subId === undefined ? {} : { subId }),
        pair: answered.pair,
      }), nowMs)
    const { wireSymbol } = this.products[product]!
    const subscription = this.subscribe(connection, product, channel, ack, wireSymbol, nowMs)
    if (subscription === undefined) return refuse('subscribe: limit', 10_305)
    subscription.id = chanId
    this.queue(connection, ack, nowMs)
  }

  /** Only by the exchange's own name. */
  #find(symbol: string): number | undefined {
    const product = this.find(symbol)
    return product !== undefined && this.products[product]!.wireSymbol === symbol
      ? product
      : undefined
  }

  #unsubscribe(connection: BitfinexConnection, chanId: unknown, nowMs: number): void {
    const asked = { chanId }
    if (this.#isClosedFor(connection, `unsubscribe ${chanId}`, nowMs)) {
      return this.#error(connection, 'maintenance', 10_400, asked, nowMs)
    }
    const subscription = [...connection.subscriptions.values()].find(({ id }) => id === chanId)
    if (subscription === undefined) {
      return this.#error(connection, 'unsubscribe: invalid', 10_401, asked, nowMs)
    }
    this.unsubscribe(subscription, nowMs)
    this.acknowledge(connection, () => unsubscribedText(subscription), nowMs)
  }

  /** True in maintenance; to ask all the same is a violation. */
  #isClosedFor(connection: BitfinexConnection, what: string, nowMs: number): boolean {
    const { maintenanceEndsMs } = connection
    if (maintenanceEndsMs === Infinity) return false
    if (nowMs >= maintenanceEndsMs - MAINTENANCE_MS + MAINTENANCE_GRACE_MS) {
      this.violate('maintenance', `${what} in maintenance`, connection, nowMs)
    }
    return true
  }

  // ---- frames

  /**
   * What enters the window or changes, then what leaves it. The exchange itself deletes first; this
   * way round the best levels are those of a version after every frame, and a client that relies on
   * neither order is right with both.
   */
  protected override bookFrame(update: BookUpdate): Uint8Array {
    const { isSnapshot, market, count, side, ticks, lots } = update
    if (isSnapshot) {
      const levels = Array.from({ length: count }, (_, i) => levelText(update, i))
      this.#parts = [{ payload: `[${levels.join(',')}]`, isComplete: true }]
      return EMPTY
    }
    const parts: Part[] = []
    let hasDelete = false
    for (let i = 0; i < count; i++) {
      if (lots[i] !== 0) continue
      const key = side[i] === BID ? ticks[i]! : -ticks[i]!
      // Still there, but beyond the window.
      hasDelete ||= market.sides[side[i]!]!.get(key) === 0
    }
    for (let i = 0; i < count; i++) {
      if (lots[i] !== 0) parts.push({ payload: levelText(update, i), isComplete: !hasDelete })
    }
    for (let i = 0; i < count; i++) {
      if (lots[i] === 0) parts.push({ payload: levelText(update, i), isComplete: true })
    }
    this.#parts = parts
    return EMPTY
  }

  protected override publishTo(
    subscription: Subscription,
    _shared: Uint8Array,
    update: BookUpdate,
  ): void {
    const { stream, from, version, nowMs, isSnapshot } = update
    for (const { payload, isComplete } of this.#parts) {
      this.#deliver(subscription, payload, isComplete ? version : from, nowMs)
    }
    if (!isSnapshot && stream.frames % CHECKSUM_EVERY === 0) {
      this.#deliverChecksum(subscription, version, nowMs)
    }
  }

  #deliver(subscription: Subscription, payload: string, version: number, nowMs: number): void {
    const connection = subscription.connection as BitfinexConnection
    const text = frameText(connection, subscription.id, payload, nowMs)
    this.deliver(subscription, this.#encoder.encode(text), version, nowMs)
  }

  #deliverChecksum(subscription: Subscription, version: number, nowMs: number): void {
    const connection = subscription.connection as BitfinexConnection
    if ((connection.flags & CHECKSUMS) === 0) return
    const payload = `"cs",${checksumOf(subscription.stream)}`
    const { stream } = subscription
    this.history.checksumDelivered(connection.id, stream.product, connection.sequence)
    this.#deliver(subscription, payload, version, nowMs)
  }

  // ---- what happens by itself

  protected override timer(connection: BitfinexConnection, _dueMs: number, nowMs: number): void {
    if (nowMs >= connection.closesMs) return this.close(connection, 1012, 'Service Restart')
    if (nowMs >= connection.maintenanceEndsMs) {
      connection.maintenanceEndsMs = Infinity
      this.#info(connection, 20_061, 'Maintenance ended. Please subscribe again.', nowMs)
    }
    if (nowMs >= connection.nextBeatMs) {
      connection.nextBeatMs = nowMs + HEARTBEAT_MS
      for (const subscription of connection.subscriptions.values()) {
        if (subscription.stalled) continue
        const { id, stream, sentMs } = subscription
        if (Number.isNaN(sentMs)) {
          // Its heart beats also before it is announced.
          this.send(connection, frameText(connection, id, '"hb"', nowMs), nowMs)
          continue
        }
        this.#deliver(subscription, '"hb"', stream.sentVersion, nowMs)
        this.#deliverChecksum(subscription, stream.sentVersion, nowMs)
      }
    }
    this.#schedule(connection)
  }

  #schedule(connection: BitfinexConnection): void {
    const { nextBeatMs, closesMs, maintenanceEndsMs } = connection
    connection.timerMs = Math.min(nextBeatMs, closesMs, maintenanceEndsMs)
  }

  protected override ownFault(
    kind: string,
    connection: BitfinexConnection,
    nowMs: number,
  ): boolean {
    if (kind === 'restart') {
      if (connection.closesMs < Infinity) return false
      connection.closesMs = nowMs + RESTART_MS
      this.#info(connection, 20_051, 'Stopping. Please try to reconnect', nowMs)
    } else {
      if (connection.maintenanceEndsMs < Infinity) return false
      connection.maintenanceEndsMs = nowMs + MAINTENANCE_MS
      for (const subscription of connection.subscriptions.values()) subscription.stalled = true
      this.#info(connection, 20_060, 'Entering in Maintenance mode. Please pause.', nowMs)
    }
    this.#schedule(connection)
    return true
  }

  /** The channel ends. */
  protected override delistedTo(subscription: Subscription, nowMs: number): void {
    const connection = subscription.connection as BitfinexConnection
    this.send(connection, unsubscribedText(subscription), nowMs, false)
  }

  protected override overMessages(connection: BitfinexConnection, nowMs: number): void {
    this.#error(connection, 'ERR_RATE_LIMIT', 11_010, {}, nowMs)
    if (this.endsOverLimit) this.close(connection, 1008, 'ERR_RATE_LIMIT')
  }

  // ---- REST

  protected override answer(
    path: string,
    query: URLSearchParams,
    nowMs: number,
  ): RestAnswer | undefined {
    return bitfinexRest(this, path, query, nowMs)
  }

  /** A book for REST. */
  book(product: number, depth: number, nowMs: number): RestBook {
    return this.restBook(product, depth, nowMs)
  }

  protected override restError(status: number): unknown {
    return status === 429 || status === 418
      ? ['error', 11_010, 'ratelimit: error']
      : ['error', 20_060, 'maintenance']
  }

  // ---- events

  #info(connection: BitfinexConnection, code: number, msg: string, nowMs: number): void {
    this.#event(connection, { event: 'info', code, msg }, nowMs)
  }

  #event(connection: BitfinexConnection, event: Fields, nowMs: number): void {
    this.send(connection, JSON.stringify(event), nowMs, false)
  }

  /** `about`: what was asked for. */
  #error(
    connection: BitfinexConnection,
    msg: string,
    code: number,
    about: Fields,
    nowMs: number,
  ): void {
    this.refuse(connection, JSON.stringify({ ...about, event: 'error', msg, code }), nowMs)
  }
}

const EMPTY = new Uint8Array(0)

function unsubscribedText({ id }: Subscription): string {
  return JSON.stringify({ event: 'unsubscribed', status: 'OK', chanId: id })
}

/** Sequence and time as the connection wants them. */
function frameText(
  { flags, sequence }: BitfinexConnection,
  channel: number,
  payload: string,
  nowMs: number,
): string {
  const number = (flags & SEQUENCE) === 0 ? '' : `,${sequence}`
  const time = (flags & TIMESTAMP) === 0 ? '' : `,${Math.floor(nowMs)}`
  return `[${channel},${payload}${number}${time}]`
}

/** Price, number of orders, amount; a delete tells its side by the amount alone. */
function levelText(update: BookUpdate, i: number): string {
  const sign = update.side[i] === BID ? '' : '-'
  const price = String(Number(update.priceText(i)))
  const lots = update.lots[i]!
  if (lots === 0) return `[${price},0,${sign}1]`
  return `[${price},${1 + lots % 5},${sign}${Number(update.sizeText(i))}]`
}

/** Of the true window, whatever was sent. */
function checksumOf({ market, view }: Stream): number {
  const texts: string[] = []
  const add = ({ keys, lots }: TopSide, i: number, sign: string): void => {
    texts.push(
      String(Number(market.priceText(Math.abs(keys[i]!)))),
      sign + String(Number(market.sizeText(lots[i]!))),
    )
  }
  const bids = view!.sides[BID]
  const asks = view!.sides[ASK]
  for (let i = 0; i < CHECKED; i++) {
    if (i < bids.count) add(bids, i, '')
    if (i < asks.count) add(asks, i, '-')
  }
  return crc32(new TextEncoder().encode(texts.join(':'))) | 0
}

export const bitfinex: Twin = {
  rules: RULES,
  create: (options, output) => new BitfinexExchange(options, output),
  target: () => PATH,
  subscribeText: (wireSymbol) =>
    JSON.stringify({
      event: 'subscribe',
      channel: 'book',
      symbol: wireSymbol,
      prec: 'P0',
      freq: 'F0',
      len: '100',
    }),
}
