/**
 * Coinbase Advanced Trade: channel `level2`, whole books in band, one `sequence_num` per connection.
 *
 * ```
 * {"channel":"l2_data","timestamp":"2026-08-24T22:34:13.793075885Z","sequence_num":7,
 *  "events":[{"type":"update",            // or "snapshot": the whole book
 *    "product_id":"BTC-USD",              // the canonical id, also when an alias was subscribed
 *    "updates":[{"side":"bid",            // or "offer"
 *      "event_time":"2026-08-24T22:34:13.790000Z",
 *      "price_level":"78856.05",
 *      "new_quantity":"0.0476177"}]}]}    // absolute; "0" deletes
 * ```
 *
 * 1. On open: subscribe `level2`, then `heartbeats` (an idle channel is closed by the exchange).
 * 2. `sequence_num` starts at 0 for each connection and counts the frames of every channel, so it
 *    is checked before anything else is looked at. The acknowledgement of a subscription comes
 *    after its first data.
 * 3. At or below the last number: a duplicate, ignored. More than one above: a loss, which may have
 *    hit any product, so all are suspect, and what the frame itself carries is dropped.
 * 4. A snapshot replaces the book and does not touch the counter. Without one, updates are ignored.
 * 5. Resync: unsubscribe and subscribe the products; the next snapshot makes one live again.
 * 6. An acknowledgement lists all that is subscribed on the connection. A live product that was on
 *    an earlier list, is not on the newest, and has sent nothing for two calls of `heartbeat`, is on
 *    a dead subscription (the snapshot was still under way when its resync was lost).
 *
 * A snapshot that was already under way when a resync is asked for cannot be told from the one it
 * brings (acknowledgements come late and name no request), and need not be: it is the exchange's
 * book as of its own number, in sequence, and the next snapshot replaces it. What is never believed
 * is a snapshot between a loss and the resync that follows it.
 */
import { ActiveList } from '../core/active-list.ts'
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner, timeFromText } from '../core/scanner.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, Session, SessionOutput, SessionStats } from './adapter.ts'
import {
  appendLevel,
  decimalOf,
  exact,
  isRecord,
  isUnsigned,
  parseMessage,
  unreadableText,
} from './decode.ts'
import { defer, indexesIn } from './deferral.ts'
import { codesWith, decimalsOf, volumesOf } from './listing.ts'
import { saidBy } from './said.ts'
import { fixedText, mixed } from './warm-frames.ts'

const DATA = new Literal('{"channel":"l2_data","')
const TIMESTAMP = new Literal('timestamp":"')
/** Older frames have one field more. */
const CLIENT_TIMESTAMP = new Literal('client_id":"","timestamp":"')
const SEQUENCE = new Literal(',"sequence_num":')
const UPDATE = new Literal(',"events":[{"type":"update","product_id":"')
const SNAPSHOT = new Literal(',"events":[{"type":"snapshot","product_id":"')
const BID_LEVEL = new Literal('{"side":"bid","event_time":"')
const OFFER_LEVEL = new Literal('{"side":"offer","event_time":"')
const PRICE = new Literal(',"price_level":"')
const SIZE = new Literal(',"new_quantity":"')
const END = new Literal(']}]}')
const BRACE = 0x7d
const COMMA = 0x2c

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const WAITING = 1
const LIVE = 2

/** Product ids in one message; more is legal, but makes one error reply cost more. */
const PRODUCTS_PER_MESSAGE = 100

/**
 * So many duplicates in a row, or one so far back, are none: the exchange has begun to count anew,
 * and every further change would be taken for a repetition.
 */
const DUPLICATES_MAX = 32
const DUPLICATE_DISTANCE_MAX = 1024

/** An acknowledgement comes right behind the first data of its subscription. */
const REVIEW_MS = 5_000

const RATE_LIMITED = /rate.?limit|too many|throttl/i
/** The exchange names no time; its budgets are per second. */
const RATE_LIMIT_WAIT_MS = 5_000

/** Stablecoin pairs with books of their own; any other `X-USDC` is another name of `X-USD`. */
const OWN_BOOKS: ReadonlySet<string> = new Set(['USDT-USDC', 'EURC-USDC'])

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

function canonical(wireSymbol: string): string {
  return wireSymbol.endsWith('-USDC') && !OWN_BOOKS.has(wireSymbol)
    ? wireSymbol.slice(0, -1)
    : wireSymbol
}

interface L2Event {
  readonly index: number
  readonly isSnapshot: boolean
  readonly updates: readonly unknown[]
}

/** Every product id under which the exchange may send one of the instruments. */
function productIds(instruments: readonly Instrument[]): Map<string, number> {
  const ids = new Map<string, number>()
  instruments.forEach(({ wireSymbol }, index) => {
    if (!ids.has(wireSymbol)) ids.set(wireSymbol, index)
  })
  // A product that was asked for by its own name keeps it, also beside its alias.
  instruments.forEach(({ wireSymbol }, index) => {
    const id = canonical(wireSymbol)
    if (!ids.has(id)) ids.set(id, index)
  })
  return ids
}

class CoinbaseSession implements Session {
  readonly heartbeatMs = REVIEW_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  provenUs = 0
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  private readonly products: ReadonlyMap<string, number>
  private readonly wireIds: WireIds
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly subscribed: ActiveList
  /** One acknowledgement had several channels: one without `level2` says that none is left. */
  private listsAllChannels = false
  private reviewedSequence = -1
  private readonly states: Uint8Array<ArrayBuffer>
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private lastSequence = -1
  private duplicatesInRow = 0
  /** Of the frame that was scanned last. */
  private sequence = 0
  private timestampMs = -1
  private isSnapshot = false

  constructor(instruments: readonly Instrument[], output: SessionOutput) {
    this.instruments = instruments
    this.output = output
    this.products = productIds(instruments)
    this.wireIds = new WireIds(this.products, '","updates":[')
    this.states = new Uint8Array(instruments.length).fill(WAITING)
    this.subscribed = new ActiveList(instruments.map(({ wireSymbol }) => canonical(wireSymbol)))
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.request('subscribe', [...new Set(this.instruments.map(({ wireSymbol }) => wireSymbol))])
    this.output.send('{"type":"subscribe","channel":"heartbeats"}')
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
    this.request('unsubscribe', ids)
    this.request('subscribe', ids)
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index < 0) {
      this.receivedJson(frame, receivedUs)
      return
    }
    if (!this.advance(this.sequence, receivedUs)) return
    this.deliver(index, this.isSnapshot, receivedUs)
  }

  heartbeat(): void {
    // Where nothing comes through, no acknowledgement does.
    if (this.isDead || this.reviewedSequence === this.lastSequence) return
    this.reviewedSequence = this.lastSequence
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
   * The fast path: one event of one known product in exactly the known spelling, decoded into
   * `changes`. Returns the instrument's index, or -1 for the JSON route to have the last word.
   */
  private scan(): number {
    if (!scanner.literal(DATA)) return -1
    if (!scanner.literal(TIMESTAMP) && !scanner.literal(CLIENT_TIMESTAMP)) return -1
    const timestampMs = scanner.time()
    if (timestampMs < 0 || !scanner.literal(SEQUENCE)) return -1
    const sequence = scanner.unsigned()
    if (sequence < 0) return -1
    const isUpdate = scanner.literal(UPDATE)
    if (!isUpdate && !scanner.literal(SNAPSHOT)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0) return -1
    const changes = this.changes
    changes.reset()
    if (!scanner.literal(END) && !this.scanLevels(this.instruments[index])) return -1
    if (!scanner.isDone()) return -1
    this.sequence = sequence
    this.timestampMs = timestampMs
    this.isSnapshot = !isUpdate
    return index
  }

  private scanLevels(instrument: Instrument): boolean {
    const changes = this.changes
    const { priceDecimals, sizeDecimals } = instrument
    for (let i = 0;; i++) {
      if (i === changes.side.length) changes.grow()
      if (scanner.literal(BID_LEVEL)) changes.side[i] = BID
      else if (scanner.literal(OFFER_LEVEL)) changes.side[i] = ASK
      else return false
      if (!scanner.skipText() || !scanner.literal(PRICE)) return false
      let price = scanner.decimal(priceDecimals)
      if (!(price >= 0)) {
        if (price < 0) return false
        price = exact(scanner.decimalText(), priceDecimals, changes.widePrice, i)
      }
      changes.price[i] = price
      if (!scanner.literal(SIZE)) return false
      let size = scanner.decimal(sizeDecimals)
      if (!(size >= 0)) {
        if (size < 0) return false
        size = exact(scanner.decimalText(), sizeDecimals, changes.wideSize, i)
      }
      changes.size[i] = size
      changes.count = i + 1
      if (!scanner.byte(BRACE)) return false
      if (!scanner.byte(COMMA)) return scanner.literal(END)
    }
  }

  /** True when the frame is the next one. Otherwise what it carries must not be used. */
  private advance(sequence: number, receivedUs: number): boolean {
    const expected = this.lastSequence + 1
    if (sequence === expected) {
      this.lastSequence = sequence
      this.duplicatesInRow = 0
      this.provenUs = receivedUs
      return true
    }
    if (sequence < expected) {
      this.stats.duplicates++
      this.duplicatesInRow++
      if (
        this.duplicatesInRow > DUPLICATES_MAX ||
        sequence < expected - DUPLICATE_DISTANCE_MAX
      ) {
        this.abandon(
          'E_SEQUENCE_GAP',
          `sequence_num fell from ${expected - 1} to ${sequence}, expected ${expected}; ` +
            'the exchange counts anew, so the connection is replaced',
        )
      }
      return false
    }
    this.lastSequence = sequence
    this.duplicatesInRow = 0
    this.suspectAll(`sequence_num ${sequence} was received, ${expected} was expected`)
    return false
  }

  private deliver(index: number, isSnapshot: boolean, receivedUs: number): void {
    const state = this.states[index]
    if (isSnapshot ? state === SUSPECT : state !== LIVE) return
    this.subscribed.vouch(index)
    const changes = this.changes
    changes.nonce = this.sequence
    changes.timestampMs = this.timestampMs
    changes.receivedUs = receivedUs
    if (isSnapshot) {
      this.states[index] = LIVE
      this.output.snapshot(index, changes)
    } else {
      this.output.delta(index, changes)
    }
  }

  /** Everything that is not a plain `l2_data` frame, and `l2_data` in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    const message = parseMessage(frame)
    if (typeof message === 'string') return this.undecodable(frame, message)
    const { channel, sequence_num: sequence } = message
    const isData = channel === 'l2_data'
    if (isData) this.stats.scannerFallbacks++
    if (sequence !== undefined || isData) {
      if (!isUnsigned(sequence)) {
        return this.undecodable(frame, 'sequence_num is not an integer from 0')
      }
      if (isData) {
        // Decoded whole before it may count: a broken frame has no number either.
        const events = this.decodeEvents(message.events)
        if (typeof events === 'string') return this.undecodable(frame, events)
        if (this.advance(sequence, receivedUs)) {
          this.sequence = sequence
          const { timestamp } = message
          this.timestampMs = typeof timestamp === 'string' ? timeFromText(timestamp) : -1
          this.deliverEvents(events, receivedUs)
        }
        return
      }
      if (!this.advance(sequence, receivedUs)) return
    }
    if (channel === 'heartbeats') return
    if (channel === 'subscriptions') return this.acknowledged(message.events)
    if (message.type === 'error') this.refused(message)
    else this.stats.unknownFrames++
  }

  /** Counts with products of `level2` alone; what cannot be read says nothing. */
  private acknowledged(events: unknown): void {
    if (!Array.isArray(events) || events.length === 0) return
    const active = new Set<string>()
    let hasLevel2 = false
    let hasOthers = false
    for (const event of events) {
      if (!isRecord(event) || !isRecord(event.subscriptions)) return
      const { level2, ...others } = event.subscriptions
      hasOthers ||= Object.keys(others).length > 0
      if (level2 === undefined) continue
      if (!Array.isArray(level2)) return
      hasLevel2 = true
      for (const id of level2) if (typeof id === 'string') active.add(canonical(id))
    }
    this.listsAllChannels ||= hasLevel2 && hasOthers
    if (hasLevel2 || this.listsAllChannels) this.subscribed.update(active)
  }

  /** The events of known products, checked to the last level; a text says what is wrong. */
  private decodeEvents(events: unknown): L2Event[] | string {
    if (!Array.isArray(events)) return 'events is not an array'
    const decoded: L2Event[] = []
    for (const event of events) {
      if (!isRecord(event)) return 'an event is not an object'
      const { type, product_id: id } = event
      if (typeof id !== 'string') return 'product_id is not text'
      const index = this.products.get(id)
      if (index === undefined) continue
      if (type !== 'snapshot' && type !== 'update') return 'type is not snapshot or update'
      // An empty list is also written as null.
      const updates = event.updates === null ? [] : event.updates
      if (!Array.isArray(updates)) return 'updates is not an array'
      this.changes.reset()
      const problem = this.append(updates, this.instruments[index])
      if (problem !== undefined) return problem
      decoded.push({ index, isSnapshot: type === 'snapshot', updates })
    }
    if (decoded.length === 0 && events.length > 0) this.stats.unknownFrames++
    return decoded
  }

  /** Adds levels to `changes`; returns what is wrong with them. */
  private append(updates: readonly unknown[], instrument: Instrument): string | undefined {
    const changes = this.changes
    for (const update of updates) {
      if (!isRecord(update)) return 'an update is not an object'
      const { side } = update
      if (side !== 'bid' && side !== 'offer') return 'side is not bid or offer'
      const price = decimalOf(update.price_level)
      if (price === undefined) return 'price_level is not a decimal from 0'
      const size = decimalOf(update.new_quantity)
      if (size === undefined) return 'new_quantity is not a decimal from 0'
      appendLevel(changes, side === 'bid' ? BID : ASK, price, size, instrument)
    }
    return undefined
  }

  /** One call per product, so that no state between two events of a frame is ever seen. */
  private deliverEvents(events: readonly L2Event[], receivedUs: number): void {
    for (const [position, { index }] of events.entries()) {
      if (events.findIndex((event) => event.index === index) !== position) continue
      const changes = this.changes
      changes.reset()
      let isSnapshot = false
      for (const event of events) {
        if (event.index !== index) continue
        if (event.isSnapshot) {
          changes.reset()
          isSnapshot = true
        }
        this.append(event.updates, this.instruments[index])
      }
      this.deliver(index, isSnapshot, receivedUs)
    }
  }

  /** An error reply: about the products it names, or about the connection. */
  private refused(message: Record<string, unknown>): void {
    const said = saidBy(message.message, message.reason)
    const named = said.named(this.products)
    if (said.matches(RATE_LIMITED)) {
      const refused = named.size > 0 ? [...named] : indexesIn(this.states, WAITING)
      // Else a heartbeat or an end was refused: nothing is missing.
      if (refused.length === 0) this.stats.unknownFrames++
      for (const index of refused) this.states[index] = SUSPECT
      return defer(
        this.output,
        this.instruments,
        refused,
        `Coinbase refused a message ("${said}"); expected to be within 8 messages and 8 ` +
          'connections a second per IP address; look for other clients on this address',
        RATE_LIMIT_WAIT_MS,
      )
    }
    if (named.size === 0) {
      this.isDead = true
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `Coinbase answered with an error that names no product ("${said}"), expected a ` +
            'subscription; the connection is replaced',
          { scope: 'connection' },
        ),
      )
      return
    }
    for (const index of named) {
      this.states[index] = SUSPECT
      const { symbol, wireSymbol } = this.instruments[index]
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `Coinbase refused ${wireSymbol} ("${said}"), expected a subscription; ` +
            'check that the product is listed and tradable',
          { scope: 'symbol', symbol },
        ),
      )
    }
  }

  /** It may have been anything, so nothing on this socket is proven any more. */
  private undecodable(frame: Uint8Array, problem: string): void {
    this.abandon('E_DECODE', unreadableText(frame, problem, 'an Advanced Trade message'))
  }

  private abandon(code: 'E_DECODE' | 'E_SEQUENCE_GAP', message: string): void {
    this.isDead = true
    this.suspectAll(message)
    this.output.fail(new ObfeedError(code, message, { scope: 'connection' }))
  }

  private suspectAll(detail: string): void {
    // First all, then the calls: the feed may ask for a resync from inside one.
    this.states.fill(SUSPECT)
    for (let i = 0; i < this.states.length; i++) this.output.suspect(i, 'gap', detail)
  }

  private request(type: 'subscribe' | 'unsubscribe', ids: readonly string[]): void {
    for (let i = 0; i < ids.length; i += PRODUCTS_PER_MESSAGE) {
      const some = ids.slice(i, i + PRODUCTS_PER_MESSAGE)
      this.output.send(JSON.stringify({ type, product_ids: some, channel: 'level2' }))
    }
  }
}

/** Canned life of one connection: a book of 500 levels a side, then updates that change it. */
function warmFrames(instrument: Instrument): Uint8Array[] {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const encoder = new TextEncoder()
  const price = (ticks: number) => fixedText(ticks, priceDecimals)
  const size = (lots: number) => fixedText(lots, sizeDecimals)
  const frame = (sequence: number, type: string, updates: string[]) =>
    encoder.encode(
      `{"channel":"l2_data","timestamp":"2026-01-01T00:00:00.123456789Z","sequence_num":${sequence},` +
        `"events":[{"type":"${type}","product_id":"${canonical(wireSymbol)}",` +
        `"updates":[${updates.join(',')}]}]}`,
    )
  const level = (n: number, lots: number) => {
    const offset = (n >> 1) + 1
    return `{"side":"${n & 1 ? 'bid' : 'offer'}","event_time":"2026-01-01T00:00:00.123456Z",` +
      `"price_level":"${price(100_000 + (n & 1 ? -offset : offset))}",` +
      `"new_quantity":"${lots === 0 ? '0' : size(lots)}"}`
  }
  const frames = [frame(0, 'snapshot', Array.from({ length: 1000 }, (_, n) => level(n, 1 + n)))]
  for (let i = 1; i <= 300; i++) {
    const updates: string[] = []
    for (let k = 0; k < 1 + i % 8; k++) {
      const random = mixed(i * 8 + k)
      updates.push(level(random % 1100, random % 3 === 0 ? 0 : random % 1_000_003))
    }
    frames.push(frame(i, 'update', updates))
  }
  return frames
}

const codeOf = codesWith({ CGLD: 'CELO' })

const PRODUCTS = 'https://api.coinbase.com/api/v3/brokerage/market/products'

/** What is read of a product in the answer of `/api/v3/brokerage/market/products`. */
interface Product {
  readonly product_id?: unknown
  readonly product_type?: unknown
  readonly base_currency_id?: unknown
  readonly quote_currency_id?: unknown
  readonly base_increment?: unknown
  readonly quote_increment?: unknown
  readonly price_increment?: unknown
  readonly trading_disabled?: unknown
  readonly is_disabled?: unknown
  readonly status?: unknown
  readonly alias?: unknown
  readonly approximate_quote_24h_volume?: unknown
}

/** What ccxt does not tell of a product. */
function refine(market: Market, { is_disabled: isDisabled, status, alias }: Product): Market {
  return {
    ...market,
    active: market.active && isDisabled !== true && status !== 'delisted',
    ...(typeof alias === 'string' && alias !== '' ? { aliasOf: alias } : {}),
  }
}

function parseMarkets(answer: unknown): Market[] | undefined {
  const products = (answer as { readonly products?: unknown } | null)?.products
  if (!Array.isArray(products)) return undefined
  const markets: Market[] = []
  for (const product of products as readonly (Product | null)[]) {
    if (product?.product_type !== 'SPOT') continue
    const { product_id: id, base_currency_id: base, quote_currency_id: quote } = product
    if (typeof id !== 'string' || typeof base !== 'string' || typeof quote !== 'string') {
      return undefined
    }
    const market = {
      symbol: `${codeOf(base)}/${codeOf(quote)}`,
      wireSymbol: id,
      priceDecimals: decimalsOf(product.price_increment || product.quote_increment),
      sizeDecimals: decimalsOf(product.base_increment),
      active: product.trading_disabled !== true,
    }
    markets.push(refine(market, product))
  }
  return markets
}

function parseVolumes(
  answer: unknown,
  markets: readonly Market[],
): Map<string, number> | undefined {
  const products = (answer as { readonly products?: unknown } | null)?.products
  if (!Array.isArray(products)) return undefined
  const byId = new Map<unknown, number>()
  for (const product of products as readonly (Product | null)[]) {
    byId.set(product?.product_id, Number(product?.approximate_quote_24h_volume) || 0)
  }
  return volumesOf(markets, byId)
}

export const coinbase: Adapter = {
  exchange: 'coinbase',
  protocol: { snapshot: 'inband', loss: 'sequence', lossScope: 'connection', depth: 'full' },
  limits: {
    // One loss costs the snapshots of all symbols of its socket.
    symbolsPerConnection: 20,
    framesPerSecond: 8,
    connectsPerSecond: 8,
    subscribeWithinMs: 5_000,
    // BTC-USD's snapshot alone is about 5 MB.
    frameBytesMax: 64 * 1024 * 1024,
  },
  url: () => 'wss://advanced-trade-ws.coinbase.com',
  markets: {
    urls: [PRODUCTS],
    parse: ([answer]) => parseMarkets(answer),
    ccxt: { skip: /[?&]product_type=FUTURE\b/, refine },
  },
  volumes: {
    urls: [PRODUCTS],
    parse: ([answer], markets) => parseVolumes(answer, markets),
  },
  canonical,
  warmFrames,
  open: (instruments, output) => new CoinbaseSession(instruments, output),
}
