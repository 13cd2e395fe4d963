/**
 * Coinbase Exchange: the keyless channel `level2_batch`, whole books in band, nothing to prove them
 * by. Coinbase Advanced Trade (`coinbase`) serves the same books with a sequence.
 *
 * ```
 * {"type":"snapshot","product_id":"BTC-USD",       // the whole book
 *  "asks":[["78856.06","0.5"]],"bids":[["78856.05","0.0476177"]],
 *  "time":"2026-08-24T22:34:13.790000Z"}           // older frames have none
 * {"type":"l2update","product_id":"BTC-USD",
 *  "changes":[["buy",                              // or "sell"
 *    "78856.05","0.00000000"]],                    // absolute; zero deletes
 *  "time":"2026-08-24T22:34:13.790000Z"}           // the year 1 when the exchange does not know
 * ```
 *
 * 1. On open: subscribe `level2_batch` and `heartbeat` (one a second for each product, so that a
 *    silent socket is a dead one).
 * 2. A snapshot replaces the book. Without one, updates are ignored.
 * 3. Neither a sequence nor a checksum: a lost frame does not show. A frame that cannot be read may
 *    have been a change of any book, so all of the socket are suspect.
 * 4. Sizes below zero and `NaN` have been seen: such a level is no news and is passed over.
 * 5. A time in the year 1 stands for the one before it.
 * 6. A refusal names products: all others that wait are asked for again, as they may have been in the
 *    refused message.
 * 7. Resync: unsubscribe and subscribe the products; the next snapshot makes one live again. One that
 *    was under way already is the exchange's book too, and the next one replaces it.
 * 8. An acknowledgement lists all that is subscribed on the connection. A live product that was on an
 *    earlier list, is not on the newest, and has sent nothing for two calls of `heartbeat`, is on a
 *    dead subscription.
 */
import { ActiveList } from '../core/active-list.ts'
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import { canonicalDecimal } from '../core/decimal.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner, timeFromText } from '../core/scanner.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendLevel, decimalOf, exact, isRecord, parseMessage, unreadableText } from './decode.ts'
import { defer, indexesIn } from './deferral.ts'
import { codesWith, decimalsOf, volumesOf } from './listing.ts'
import { saidBy } from './said.ts'
import { fixedText, mixed } from './warm-frames.ts'

const UPDATE = new Literal('{"type":"l2update","product_id":"')
const SNAPSHOT = new Literal('{"type":"snapshot","product_id":"')
/** Behind the product: the hash of an id ends at its quote. */
const CHANGES = new Literal(',"changes":[')
const ASKS = new Literal(',"asks":[')
const BIDS = new Literal(',"bids":[')
const BUY = new Literal('["buy","')
const SELL = new Literal('["sell","')
const LEVEL = new Literal('["')
const SIZE = new Literal(',"')
const TIME = new Literal(',"time":"')
const BRACE = 0x7d
const BRACKET = 0x5d
const COMMA = 0x2c

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const WAITING = 1
const LIVE = 2

/** The exchange answers for `level2_batch` also under the name of the channel it batches. */
const BOOK_CHANNELS: ReadonlySet<unknown> = new Set(['level2_batch', 'level2'])
/** Products in one message; more is legal, but makes one error reply cost more. */
const PRODUCTS_PER_MESSAGE = 100
/** An acknowledgement comes right behind the first data of its subscription. */
const REVIEW_MS = 5_000

const RATE_LIMITED = /rate.?limit|too many|throttl/i
/** The exchange names no time; its budgets are per second. */
const RATE_LIMIT_WAIT_MS = 5_000

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

class CoinbaseExchangeSession implements Session {
  readonly heartbeatMs = REVIEW_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  private readonly products = new Map<string, number>()
  private readonly wireIds: WireIds
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly subscribed: ActiveList
  private readonly states: Uint8Array<ArrayBuffer>
  /** Of the newest frame of each product that had one, ms since 1970; -1: none yet. */
  private readonly times: Float64Array<ArrayBuffer>
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private frames = 0
  private reviewedFrames = 0
  /** Of the frame that was scanned last. */
  private timestampMs = -1
  private isSnapshot = false

  constructor(instruments: readonly Instrument[], output: SessionOutput) {
    this.instruments = instruments
    this.output = output
    instruments.forEach(({ wireSymbol }, index) => {
      if (!this.products.has(wireSymbol)) this.products.set(wireSymbol, index)
    })
    this.wireIds = new WireIds(this.products, '"')
    this.states = new Uint8Array(instruments.length).fill(WAITING)
    this.times = new Float64Array(instruments.length).fill(-1)
    this.subscribed = new ActiveList(instruments.map(({ wireSymbol }) => wireSymbol))
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.request('subscribe', [...this.products.keys()], ['level2_batch', 'heartbeat'])
  }

  resync(index: number): void {
    this.resyncAll([index])
  }

  resyncAll(indexes: readonly number[]): void {
    if (this.isDead) return
    for (const index of indexes) this.states[index] = WAITING
    // Before that, `opened` subscribes everything anyway.
    if (!this.isOpen) return
    const ids = [...new Set(indexes.map((index) => this.instruments[index].wireSymbol))]
    this.request('unsubscribe', ids, ['level2_batch'])
    this.request('subscribe', ids, ['level2_batch'])
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    this.frames++
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index < 0) {
      this.receivedJson(frame, receivedUs)
      return
    }
    if (this.timestampMs >= 0) this.times[index] = this.timestampMs
    this.deliver(index, receivedUs)
  }

  heartbeat(): void {
    // Where nothing comes through, no acknowledgement does.
    if (this.isDead || this.reviewedFrames === this.frames) return
    this.reviewedFrames = this.frames
    const ended: number[] = []
    for (let i = 0; i < this.states.length; i++) {
      if (this.subscribed.review(i, this.states[i] === LIVE)) ended.push(i)
    }
    for (const index of ended) this.states[index] = SUSPECT
    for (const index of ended) {
      const { wireSymbol } = this.instruments[index]
      this.output.suspect(index, 'stale', `${wireSymbol} is not subscribed any more`)
    }
  }

  /**
   * The fast path: a frame of one known product in exactly the known spelling, decoded into
   * `changes`. Returns the instrument's index, or -1 for the JSON route to have the last word.
   */
  private scan(): number {
    const isUpdate = scanner.literal(UPDATE)
    if (!isUpdate && !scanner.literal(SNAPSHOT)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0) return -1
    const instrument = this.instruments[index]
    this.changes.reset()
    this.isSnapshot = !isUpdate
    if (isUpdate) {
      if (!scanner.literal(CHANGES) || !this.scanChanges(instrument)) return -1
    } else {
      if (!scanner.literal(ASKS) || !this.scanSide(ASK, instrument)) return -1
      if (!scanner.literal(BIDS) || !this.scanSide(BID, instrument)) return -1
    }
    if (scanner.byte(BRACE)) {
      this.timestampMs = -1
    } else {
      if (!scanner.literal(TIME)) return -1
      this.timestampMs = scanner.time()
      if (this.timestampMs < 0 || !scanner.byte(BRACE)) return -1
    }
    return scanner.isDone() ? index : -1
  }

  /** `["buy","1.5","2"],...]`, from behind the opening bracket. */
  private scanChanges(instrument: Instrument): boolean {
    if (scanner.byte(BRACKET)) return true
    for (;;) {
      if (scanner.literal(BUY)) {
        if (!this.scanLevel(BID, instrument)) return false
      } else if (!scanner.literal(SELL) || !this.scanLevel(ASK, instrument)) {
        return false
      }
      if (!scanner.byte(COMMA)) return scanner.byte(BRACKET)
    }
  }

  /** `["1.5","2"],...]`, from behind the opening bracket. */
  private scanSide(side: number, instrument: Instrument): boolean {
    if (scanner.byte(BRACKET)) return true
    for (;;) {
      if (!scanner.literal(LEVEL) || !this.scanLevel(side, instrument)) return false
      if (!scanner.byte(COMMA)) return scanner.byte(BRACKET)
    }
  }

  /** `1.5","2"]`, into `changes`. */
  private scanLevel(side: number, instrument: Instrument): boolean {
    const changes = this.changes
    const i = changes.count
    if (i === changes.side.length) changes.grow()
    let price = scanner.decimal(instrument.priceDecimals)
    if (!(price >= 0)) {
      if (price < 0) return false
      price = exact(scanner.decimalText(), instrument.priceDecimals, changes.widePrice, i)
    }
    if (!scanner.literal(SIZE)) return false
    let size = scanner.decimal(instrument.sizeDecimals)
    if (!(size >= 0)) {
      if (size < 0) return false
      size = exact(scanner.decimalText(), instrument.sizeDecimals, changes.wideSize, i)
    }
    changes.side[i] = side
    changes.price[i] = price
    changes.size[i] = size
    changes.count = i + 1
    return scanner.byte(BRACKET)
  }

  /** Hands `changes` on, when they count. */
  private deliver(index: number, receivedUs: number): void {
    const state = this.states[index]
    if (this.isSnapshot ? state === SUSPECT : state !== LIVE) return
    this.subscribed.vouch(index)
    const changes = this.changes
    changes.timestampMs = this.timestampMs
    changes.receivedUs = receivedUs
    if (this.isSnapshot) {
      this.states[index] = LIVE
      this.output.snapshot(index, changes)
    } else {
      this.output.delta(index, changes)
    }
  }

  /** Everything that is not a plain book frame, and book frames in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    const message = parseMessage(frame)
    if (typeof message === 'string') return this.undecodable(frame, message)
    switch (message.type) {
      case 'l2update':
      case 'snapshot':
        this.stats.scannerFallbacks++
        return this.receivedBook(frame, message, receivedUs)
      case 'heartbeat':
        return
      case 'subscriptions':
        return this.acknowledged(message.channels)
      case 'error':
        return this.refused(message)
      case undefined:
        return this.undecodable(frame, 'no type')
      default:
        this.stats.unknownFrames++
    }
  }

  private receivedBook(
    frame: Uint8Array,
    message: Record<string, unknown>,
    receivedUs: number,
  ): void {
    const { product_id: id, time } = message
    if (typeof id !== 'string') return this.undecodable(frame, 'product_id is not text')
    const index = this.products.get(id)
    if (index === undefined) {
      this.stats.unknownFrames++
      return
    }
    const instrument = this.instruments[index]
    this.changes.reset()
    this.isSnapshot = message.type === 'snapshot'
    const problem = this.isSnapshot
      ? this.append(message.asks, ASK, instrument) ?? this.append(message.bids, BID, instrument)
      : this.append(message.changes, undefined, instrument)
    if (problem !== undefined) return this.undecodable(frame, problem)
    this.timestampMs = -1
    if (typeof time === 'string') {
      const ms = timeFromText(time)
      if (ms >= 0) this.times[index] = ms
      this.timestampMs = this.times[index]
    }
    this.deliver(index, receivedUs)
  }

  /** Adds levels to `changes`; returns what is wrong with them. Without `side` they have their own. */
  private append(
    levels: unknown,
    side: number | undefined,
    instrument: Instrument,
  ): string | undefined {
    if (levels === null) return undefined
    if (!Array.isArray(levels)) return 'the levels are not an array'
    for (const level of levels as readonly unknown[]) {
      if (!Array.isArray(level)) return 'a level is not an array'
      const [first, ...rest] = level as readonly unknown[]
      const [priceText, sizeText] = side === undefined ? rest : [first, ...rest]
      const which = side ?? (first === 'buy' ? BID : first === 'sell' ? ASK : undefined)
      if (which === undefined) return 'side is not buy or sell'
      const price = decimalOf(priceText)
      if (price === undefined) return 'a price is not a decimal from 0'
      if (sizeText === 'NaN') continue
      const size = typeof sizeText === 'string' ? canonicalDecimal(sizeText) : undefined
      if (size === undefined) return 'a size is not a decimal'
      if (size.startsWith('-')) continue
      appendLevel(this.changes, which, price, size, instrument)
    }
    return undefined
  }

  /** What cannot be read says nothing. */
  private acknowledged(channels: unknown): void {
    if (!Array.isArray(channels)) return
    const active = new Set<string>()
    for (const channel of channels as readonly unknown[]) {
      if (!isRecord(channel)) return
      if (!BOOK_CHANNELS.has(channel.name)) continue
      if (!Array.isArray(channel.product_ids)) return
      for (const id of channel.product_ids) if (typeof id === 'string') active.add(id)
    }
    this.subscribed.update(active)
  }

  /** An error reply: about the products it names, or about the connection. */
  private refused(message: Record<string, unknown>): void {
    const said = saidBy(message.message, message.reason)
    const named = said.named(this.products)
    if (said.matches(RATE_LIMITED)) {
      const refused = named.size > 0 ? [...named] : indexesIn(this.states, WAITING)
      // Else an end was refused: nothing is missing.
      if (refused.length === 0) this.stats.unknownFrames++
      for (const index of refused) this.states[index] = SUSPECT
      return defer(
        this.output,
        this.instruments,
        refused,
        `Coinbase Exchange refused a message ("${said}"), expected to be within 100 messages ` +
          'and 8 connections a second per IP address; look for other clients on this address',
        RATE_LIMIT_WAIT_MS,
      )
    }
    if (named.size === 0) {
      this.abandon(
        new ObfeedError(
          'E_SUBSCRIBE',
          `Coinbase Exchange answered with an error that names no product ("${said}"), expected a ` +
            'subscription of level2_batch; the connection is replaced; if it stays, use the ' +
            'exchange coinbase, which serves the same books',
          { scope: 'connection' },
        ),
      )
      return
    }
    const wasWaiting = [...named].some((index) => this.states[index] === WAITING)
    for (const index of named) this.states[index] = SUSPECT
    // One bad product has its whole message refused. Each repetition asks for fewer.
    if (wasWaiting) this.requestWaiting()
    for (const index of named) {
      const { symbol, wireSymbol } = this.instruments[index]
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `Coinbase Exchange refused ${wireSymbol} ("${said}"), expected a subscription; ` +
            'check that the product is listed and tradable',
          { scope: 'symbol', symbol },
        ),
      )
    }
  }

  private requestWaiting(): void {
    const ids = [...this.products].filter(([, index]) => this.states[index] === WAITING)
      .map(([id]) => id)
    this.request('subscribe', ids, ['level2_batch', 'heartbeat'])
  }

  private abandon(error: ObfeedError): void {
    this.isDead = true
    this.states.fill(SUSPECT)
    this.output.fail(error)
  }

  /** It may have been a change of any book, and nothing else would ever tell. */
  private undecodable(frame: Uint8Array, problem: string): void {
    const detail = unreadableText(frame, problem)
    // First all, then the calls: the feed may ask for a resync from inside one.
    this.states.fill(SUSPECT)
    for (let i = 0; i < this.states.length; i++) this.output.suspect(i, 'gap', detail)
  }

  private request(
    type: 'subscribe' | 'unsubscribe',
    ids: readonly string[],
    channels: readonly string[],
  ): void {
    for (let i = 0; i < ids.length; i += PRODUCTS_PER_MESSAGE) {
      const some = ids.slice(i, i + PRODUCTS_PER_MESSAGE)
      this.output.send(JSON.stringify({ type, product_ids: some, channels }))
    }
  }
}

/** Canned life of one connection: a book of 500 levels a side, then updates that change it. */
function warmFrames(instrument: Instrument): Uint8Array[] {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const encoder = new TextEncoder()
  const price = (ticks: number) => fixedText(ticks, priceDecimals)
  const size = (lots: number) => fixedText(lots, sizeDecimals)
  const time = '"time":"2026-01-01T00:00:00.123456Z"'
  const asks: string[] = []
  const bids: string[] = []
  for (let n = 1; n <= 500; n++) {
    asks.push(`["${price(100_000 + n)}","${size(2 * n)}"]`)
    bids.push(`["${price(100_000 - n)}","${size(2 * n + 1)}"]`)
  }
  const frames = [
    encoder.encode(
      `{"type":"snapshot","product_id":"${wireSymbol}","asks":[${asks.join(',')}],` +
        `"bids":[${bids.join(',')}],${time}}`,
    ),
  ]
  for (let i = 1; i <= 300; i++) {
    const changes: string[] = []
    for (let k = 0; k < 1 + i % 8; k++) {
      const random = mixed(i * 8 + k)
      const offset = 1 + (random % 1100 >> 1)
      const lots = random % 3 === 0 ? 0 : random % 1_000_003
      changes.push(
        random & 1
          ? `["buy","${price(100_000 - offset)}","${size(lots)}"]`
          : `["sell","${price(100_000 + offset)}","${size(lots)}"]`,
      )
    }
    frames.push(
      encoder.encode(
        `{"type":"l2update","product_id":"${wireSymbol}","changes":[${changes.join(',')}],${time}}`,
      ),
    )
  }
  return frames
}

const codeOf = codesWith({ CGLD: 'CELO' })

const REST = 'https://api.exchange.coinbase.com'

/** What is read of a product in the answer of `/products`. */
interface Product {
  readonly id?: unknown
  readonly base_increment?: unknown
  readonly quote_increment?: unknown
  readonly status?: unknown
}

function parseMarkets(products: unknown): Market[] | undefined {
  if (!Array.isArray(products)) return undefined
  const markets: Market[] = []
  for (const product of products as readonly (Product | null)[]) {
    const id = product?.id
    if (typeof id !== 'string') return undefined
    // By the id: auctions of a pair have an id of their own, but the currencies of the pair.
    const [base, quote] = id.split('-')
    if (quote === undefined) return undefined
    markets.push({
      symbol: `${codeOf(base)}/${codeOf(quote)}`,
      wireSymbol: id,
      priceDecimals: decimalsOf(product!.quote_increment),
      sizeDecimals: decimalsOf(product!.base_increment),
      active: product!.status === 'online',
    })
  }
  return markets
}

/** `volumes`: what was traded, in the base currency. `lines`: `[time, ..., price]`, newest first. */
function parseVolumes(
  volumes: unknown,
  lines: unknown,
  markets: readonly Market[],
): Map<string, number> | undefined {
  if (!Array.isArray(volumes) || !isRecord(lines)) return undefined
  const traded = new Map<string, number>()
  for (const row of volumes as readonly unknown[]) {
    if (!isRecord(row) || typeof row.id !== 'string') return undefined
    const line = lines[row.id]
    const newest = Array.isArray(line) ? line[0] : undefined
    const price = Array.isArray(newest) ? Number(newest.at(-1)) : NaN
    traded.set(row.id, Number(row.spot_volume_24hour) * price || 0)
  }
  return volumesOf(markets, traded)
}

export const coinbaseexchange: Adapter = {
  exchange: 'coinbaseexchange',
  protocol: { snapshot: 'inband', loss: 'none', lossScope: 'symbol', depth: 'full' },
  limits: {
    // One frame that cannot be read costs the snapshots of all symbols of its socket.
    symbolsPerConnection: 20,
    framesPerSecond: 50,
    connectsPerSecond: 4,
    subscribeWithinMs: 5_000,
    // Nothing tells of a lost frame: a fresh snapshot on the next socket mends what it left wrong.
    lifetimeMs: 15 * 60_000,
    frameBytesMax: 64 * 1024 * 1024,
  },
  url: () => 'wss://ws-feed.exchange.coinbase.com',
  markets: {
    urls: [`${REST}/products`],
    parse: ([products]) => parseMarkets(products),
  },
  volumes: {
    urls: [`${REST}/products/volume-summary`, `${REST}/products/spark-lines`],
    parse: ([volumes, lines], markets) => parseVolumes(volumes, lines, markets),
  },
  warmFrames,
  open: (instruments, output) => new CoinbaseExchangeSession(instruments, output),
}
