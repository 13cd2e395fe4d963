/**
 * Kraken spot, WebSocket API v2: channel `book`, books in band, each frame with a CRC-32 of the
 * ten best levels a side that it leaves behind.
 *
 * ```
 * {"channel":"book","type":"update",       // or "snapshot": the whole book, down to the depth
 *  "data":[{"symbol":"BTC/USD",
 *    "bids":[{"price":78871.5,"qty":0.01266503}],    // absolute; 0.00000000 deletes
 *    "asks":[],
 *    "checksum":1406471562,
 *    "timestamp":"2026-08-24T22:21:57.110183Z"}]}    // snapshots of older servers have none
 * ```
 *
 * 1. On open: subscribe the symbols with a depth of 10, 25, 100, 500 or 1000. One acknowledgement
 *    or error comes per symbol, then its snapshot. Without one, updates are ignored.
 * 2. A frame is applied whole, in its order, then the book is cut to the subscribed depth: no
 *    deletes come for what was pushed out.
 * 3. Then the checksum must hold: of the ten best asks, then the ten best bids, best first, price
 *    and size, each as on the wire without the point and without leading zeros, trailing zeros
 *    kept. The numbers on the wire have a fixed count of decimals per symbol, so these are the
 *    digits of the scaled integers. Should the count on the wire not be the instrument's (it was
 *    changed, or the metadata is old), the checksum decides which one is right.
 * 4. Resync: unsubscribe, wait for the answer, subscribe. Whatever comes before the subscription
 *    is asked for again belongs to the old one and is ignored.
 * 5. A snapshot that comes twice is told by its checksum and time and changes nothing. An update
 *    that comes twice changes nothing either: all sizes are absolute.
 * 6. Maintenance: the engine stands still, and what it does to the books is not told. They are
 *    suspect when it begins and when it ends, also when a status is said again: statuses come with
 *    changes, so another one in between was not heard.
 *
 * What the checksum cannot show: a loss that touches only levels below the tenth. It stays unseen
 * until one of those levels is among the ten best, and is mended by any resync. A depth of 10 has
 * no such levels. (TCP loses and reorders nothing within a connection; what is left is the
 * exchange's own doing.)
 */
import { Book } from '../core/book.ts'
import { ASK, BID, type BookCheck, LevelChanges } from '../core/changes.ts'
import { crc32 } from '../core/checksum.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner, timeFromText } from '../core/scanner.ts'
import { isRegularPrice } from '../core/wide.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, BookDepth, Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendLevel, decimalOf, exact, isRecord, parseMessage, unreadableText } from './decode.ts'
import { defer, indexesIn } from './deferral.ts'
import { COMMON_CODES, DECIMALS_DEFAULT, volumesOf } from './listing.ts'
import { type Said, saidBy, shown } from './said.ts'
import { fixedText, mixed } from './warm-frames.ts'

const BOOK = new Literal('{"channel":"book","type":"')
const UPDATE = new Literal('update","data":[{"symbol":"')
const SNAPSHOT = new Literal('snapshot","data":[{"symbol":"')
const LEVEL = new Literal('{"price":')
/** `,"qty":` is too short for a literal to be compared word by word, and comes with every level. */
const SIZE_LENGTH = 7
const SIZE_HEAD = 0x7471222c
const SIZE_TAIL = 0x3a227974
const ASKS = new Literal('],"asks":[')
/** The usual update is of one side. */
const FIRST_ASK = new Literal('],"asks":[{"price":')
const NO_ASKS = new Literal('],"asks":[],"checksum":')
const NEXT_LEVEL = new Literal('},{"price":')
const CHECKSUM = new Literal('],"checksum":')
const TIMESTAMP = new Literal(',"timestamp":"')
const END = new Literal('}]}')
const BRACE = 0x7d

/** Depths that can be subscribed. */
const DEPTHS = [10, 25, 100, 500, 1000]
const DEPTH_MAX = 1000
/** Levels a side in the checksum. */
const PROVEN = 10
const CHECKSUM_MAX = 0xffffffff

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
/** The exchange refused it. */
const REFUSED = 1
/** Unsubscribe was sent. */
const LEAVING = 2
/** Not subscribed, to be subscribed with the others that are still leaving. */
const LEFT = 3
/** Subscribe was sent, or will be on open: the snapshot is awaited. */
const JOINING = 4
const LIVE = 5

/** Symbols in one message; more is legal, but makes one error cost more. */
const SYMBOLS_PER_MESSAGE = 100

/** An unsubscription that is not answered within two of these is taken for done. */
const REVIEW_MS = 2_000

const RATE_LIMITED = /msg rate|rate.?limit|too many|throttl/i
/** The exchange names no time; its budgets are per second. */
const RATE_LIMIT_WAIT_MS = 5_000
const ALREADY_SUBSCRIBED = /already subscribed/i

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()
const encoder = new TextEncoder()

function depth(wanted: number): BookDepth {
  const kept = wanted === 0 ? DEPTH_MAX : DEPTHS.find((each) => each >= wanted) ?? DEPTH_MAX
  return { view: wanted === 0 ? kept : Math.min(wanted, kept), kept }
}

/** Prices and sizes of the levels in a checksum, ten of each, asks before bids. */
const ASK_PRICES = new Float64Array(PROVEN)
const ASK_SIZES = new Float64Array(PROVEN)
const BID_PRICES = new Float64Array(PROVEN)
const BID_SIZES = new Float64Array(PROVEN)
/** The text of a checksum: forty numbers up to 2^53, and room to write past the end. */
const text = new Uint8Array(4 * PROVEN * 16 + 4)
const textView = new DataView(text.buffer)
/** `0000` to `9999`, the first digit in the low byte. */
const QUADS = new Int32Array(10000)
for (let i = 0; i < QUADS.length; i++) {
  const digits = String(i).padStart(4, '0')
  for (let k = 0; k < 4; k++) QUADS[i] |= digits.charCodeAt(k) << (8 * k)
}

/** The levels that a checksum was made of last, of one instrument: most frames leave them alone. */
class Proof {
  private readonly values: Float64Array<ArrayBuffer> = new Float64Array(4 * PROVEN)
  private asks = 0
  private bids = 0
  /** Of the book, if the wire has the instrument's decimals; -1: it cannot have. */
  checksum = 0

  /** Brings `checksum` up to date. */
  update(book: Book): void {
    const asks = book.asks.read(0, PROVEN, ASK_PRICES, ASK_SIZES)
    const bids = book.bids.read(0, PROVEN, BID_PRICES, BID_SIZES)
    let isSame = asks === this.asks && bids === this.bids
    this.asks = asks
    this.bids = bids
    const values = this.values
    for (let i = 0; i < asks; i++) {
      const price = ASK_PRICES[i]
      const size = ASK_SIZES[i]
      if (values[i] === price && values[i + PROVEN] === size) continue
      isSame = false
      values[i] = price
      values[i + PROVEN] = size
    }
    for (let i = 0; i < bids; i++) {
      const price = BID_PRICES[i]
      const size = BID_SIZES[i]
      if (values[i + 2 * PROVEN] === price && values[i + 3 * PROVEN] === size) continue
      isSame = false
      values[i + 2 * PROVEN] = price
      values[i + 3 * PROVEN] = size
    }
    if (isSame) return
    let end = writeSide(ASK_PRICES, ASK_SIZES, asks, 0)
    if (end >= 0) end = writeSide(BID_PRICES, BID_SIZES, bids, end)
    this.checksum = end < 0 ? -1 : crc32(text, 0, end)
  }
}

/** Writes one side's part of the text; -1 when it has values without a scaled integer. */
function writeSide(prices: Float64Array, sizes: Float64Array, count: number, at: number): number {
  for (let i = 0; i < count; i++) {
    const price = prices[i]
    const size = sizes[i]
    if (size < 0 || !isRegularPrice(price)) return -1
    // A zero is nothing but leading zeros.
    if (price !== 0) at = writeDigits(at, price)
    at = writeDigits(at, size)
  }
  return at
}

/** Writes an integer up to 2^53 into `text`; returns the position behind it. */
function writeDigits(at: number, value: number): number {
  if (value < 1e8) return writeSmall(at, value | 0)
  const high = Math.floor(value / 1e8)
  const low = (value - high * 1e8) | 0
  at = writeSmall(at, high | 0)
  const middle = (low / 10000) | 0
  textView.setInt32(at, QUADS[middle], true)
  textView.setInt32(at + 4, QUADS[low - middle * 10000], true)
  return at + 8
}

/** Up to eight digits, without leading zeros. */
function writeSmall(at: number, value: number): number {
  if (value < 10000) return writeFew(at, value)
  const high = (value / 10000) | 0
  at = writeFew(at, high)
  textView.setInt32(at, QUADS[value - high * 10000], true)
  return at + 4
}

/** Up to four digits, without leading zeros; the bytes behind them are spoilt. */
function writeFew(at: number, value: number): number {
  if (value >= 1000) {
    textView.setInt32(at, QUADS[value], true)
    return at + 4
  }
  if (value >= 100) {
    textView.setInt32(at, QUADS[value] >>> 8, true)
    return at + 3
  }
  textView.setInt32(at, QUADS[value] >>> (value >= 10 ? 16 : 24), true)
  return at + (value >= 10 ? 2 : 1)
}

/** The checksum of a book whose numbers have so many decimals on the wire; -1: it cannot have. */
function checksumOf(book: Book, priceDecimals: number, sizeDecimals: number): number {
  let digits = ''
  for (const side of [ASK, BID] as const) {
    for (const [price, size] of book.levels(side, PROVEN)) {
      const priceDigits = digitsOf(price, priceDecimals)
      const sizeDigits = digitsOf(size, sizeDecimals)
      if (priceDigits === undefined || sizeDigits === undefined) return -1
      digits += priceDigits + sizeDigits
    }
  }
  return crc32(encoder.encode(digits))
}

/** A canonical decimal as it stands in the checksum; undefined when it has more decimals. */
function digitsOf(text: string, decimals: number): string | undefined {
  const [whole, fraction = ''] = text.split('.')
  if (fraction.length > decimals) return undefined
  return (whole + fraction.padEnd(decimals, '0')).replace(/^0+/, '')
}

/** One element of `data`. */
interface Entry {
  readonly index: number
  readonly bids: unknown
  readonly asks: unknown
  readonly checksum: unknown
  readonly timestamp: unknown
}

class KrakenSession implements Session, BookCheck {
  readonly heartbeatMs = REVIEW_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  /** Levels a side that are subscribed. */
  private readonly depth: number
  private readonly symbols: ReadonlyMap<string, number>
  private readonly wireIds: WireIds
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly states: Uint8Array<ArrayBuffer>
  /** By instrument: 1 when the last `heartbeat` found it leaving. */
  private readonly wasLeaving: Uint8Array<ArrayBuffer>
  private readonly proofs: readonly Proof[]
  /** Decimals on the wire, by instrument. */
  private readonly priceDecimals: number[]
  private readonly sizeDecimals: number[]
  /** What tells the snapshot that an instrument is live by, to know it again. */
  private readonly snapshotChecksums: Float64Array<ArrayBuffer>
  private readonly snapshotTimes: Float64Array<ArrayBuffer>
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private isMaintained = false
  /** The last status of the matching engine. */
  private system = ''
  /** Of the frame that was decoded last. */
  private isSnapshot = false
  private checksum = 0
  private timestampMs = -1
  /** The most decimals of its numbers; -1: it has none. */
  private pricePlaces = -1
  private sizePlaces = -1
  /** The instrument whose book `holds` is asked about. */
  private checked = 0

  constructor(instruments: readonly Instrument[], output: SessionOutput, wanted: number) {
    this.instruments = instruments
    this.output = output
    this.depth = depth(wanted).kept
    const symbols = new Map<string, number>()
    instruments.forEach(({ wireSymbol }, index) => {
      if (!symbols.has(wireSymbol)) symbols.set(wireSymbol, index)
    })
    this.symbols = symbols
    this.wireIds = new WireIds(symbols, '","bids":[')
    this.states = new Uint8Array(instruments.length).fill(JOINING)
    this.wasLeaving = new Uint8Array(instruments.length)
    this.proofs = instruments.map(() => new Proof())
    this.priceDecimals = instruments.map(({ priceDecimals }) => priceDecimals)
    this.sizeDecimals = instruments.map(({ sizeDecimals }) => sizeDecimals)
    this.snapshotChecksums = new Float64Array(instruments.length).fill(-1)
    this.snapshotTimes = new Float64Array(instruments.length).fill(-1)
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.request('subscribe', [...this.symbols.values()])
  }

  resync(index: number): void {
    this.resyncAll([index])
  }

  resyncAll(indexes: readonly number[]): void {
    // Before that, `opened` subscribes everything anyway.
    if (this.isDead || !this.isOpen) return
    const leaving: number[] = []
    for (const index of indexes) {
      const state = this.states[index]
      // Asked again while it is leaving: the answer is lost, so nothing is waited for any more.
      if (state === LEAVING || state === REFUSED) this.states[index] = LEFT
      else if (state !== LEFT) {
        this.states[index] = LEAVING
        leaving.push(index)
      }
    }
    this.request('unsubscribe', leaving)
    this.join()
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index < 0) this.receivedJson(frame, receivedUs)
    else this.deliver(index, receivedUs)
  }

  heartbeat(): void {
    if (this.isDead || !this.isOpen) return
    const { states, wasLeaving } = this
    let isServed = false
    for (let i = 0; i < states.length; i++) {
      if (states[i] === LIVE) isServed = true
      const isLeaving = states[i] === LEAVING
      if (isLeaving && wasLeaving[i] === 1) states[i] = LEFT
      wasLeaving[i] = isLeaving ? 1 : 0
    }
    // Heartbeats come only with a subscription; silence must go on to mean a dead socket.
    if (!this.join() && !isServed) this.output.send('{"method":"ping"}')
  }

  /** Whether the ten best levels a side are the exchange's. */
  holds(book: Book): boolean {
    const proof = this.proofs[this.checked]
    proof.update(book)
    if (proof.checksum === this.checksum) return true
    return this.holdsOtherwise(book)
  }

  /** The same with other decimals on the wire than the instrument's, and with wide values. */
  private holdsOtherwise(book: Book): boolean {
    const { checked, checksum, priceDecimals, sizeDecimals } = this
    const isDecided = this.proofs[checked].checksum >= 0
    for (const price of new Set([priceDecimals[checked], this.pricePlaces, book.priceDecimals])) {
      for (const size of new Set([sizeDecimals[checked], this.sizePlaces, book.sizeDecimals])) {
        if (isDecided && price === book.priceDecimals && size === book.sizeDecimals) continue
        if (price < 0 || size < 0 || checksumOf(book, price, size) !== checksum) continue
        priceDecimals[checked] = price
        sizeDecimals[checked] = size
        return true
      }
    }
    this.states[checked] = SUSPECT
    return false
  }

  /**
   * The fast path: one entry of one known symbol in exactly the known spelling, decoded into
   * `changes`. Returns the instrument's index, or -1 for the JSON route to have the last word.
   */
  private scan(): number {
    if (!scanner.literal(BOOK)) return -1
    const isUpdate = scanner.literal(UPDATE)
    if (!isUpdate && !scanner.literal(SNAPSHOT)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0) return -1
    this.reset()
    const instrument = this.instruments[index]
    if (scanner.literal(LEVEL) && !this.scanSide(BID, instrument)) return -1
    if (!scanner.literal(NO_ASKS)) {
      if (scanner.literal(FIRST_ASK)) {
        if (!this.scanSide(ASK, instrument)) return -1
      } else if (!scanner.literal(ASKS)) return -1
      if (!scanner.literal(CHECKSUM)) return -1
    }
    const checksum = scanner.unsigned()
    if (checksum < 0 || checksum > CHECKSUM_MAX) return -1
    if (scanner.literal(TIMESTAMP)) {
      this.timestampMs = scanner.time()
      if (this.timestampMs < 0) return -1
    }
    if (!scanner.literal(END) || !scanner.isDone()) return -1
    this.checksum = checksum
    this.isSnapshot = !isUpdate
    return index
  }

  /** The levels of one side, from behind the first `LEVEL` up to the bracket that closes it. */
  private scanSide(side: typeof BID | typeof ASK, instrument: Instrument): boolean {
    const changes = this.changes
    const { view } = scanner
    const { priceDecimals, sizeDecimals } = instrument
    let { pricePlaces, sizePlaces } = this
    for (let i = changes.count;; i++) {
      if (i === changes.side.length) changes.grow()
      changes.side[i] = side
      let price = scanner.number(priceDecimals)
      if (!(price >= 0)) {
        if (price < 0) return false
        price = exact(scanner.numberText(), priceDecimals, changes.widePrice, i)
      }
      changes.price[i] = price
      if (scanner.places > pricePlaces) pricePlaces = scanner.places
      const at = scanner.at
      if (view.getInt32(at, true) !== SIZE_HEAD) return false
      if (view.getInt32(at + 3, true) !== SIZE_TAIL) return false
      scanner.at = at + SIZE_LENGTH
      let size = scanner.number(sizeDecimals)
      if (!(size >= 0)) {
        if (size < 0) return false
        size = exact(scanner.numberText(), sizeDecimals, changes.wideSize, i)
      }
      changes.size[i] = size
      if (scanner.places > sizePlaces) sizePlaces = scanner.places
      changes.count = i + 1
      if (scanner.literal(NEXT_LEVEL)) continue
      if (!scanner.byte(BRACE)) return false
      this.pricePlaces = pricePlaces
      this.sizePlaces = sizePlaces
      return true
    }
  }

  private reset(): void {
    this.changes.reset()
    this.timestampMs = -1
    this.pricePlaces = -1
    this.sizePlaces = -1
  }

  /** Hands on what was decoded. */
  private deliver(index: number, receivedUs: number): void {
    const state = this.states[index]
    const { isSnapshot, checksum, timestampMs } = this
    if (state !== LIVE && (!isSnapshot || state !== JOINING)) return
    const changes = this.changes
    changes.timestampMs = timestampMs
    changes.receivedUs = receivedUs
    changes.check = this
    this.checked = index
    if (!isSnapshot) {
      this.output.delta(index, changes)
      return
    }
    if (
      state === LIVE && checksum === this.snapshotChecksums[index] &&
      timestampMs === this.snapshotTimes[index]
    ) {
      this.stats.duplicates++
      return
    }
    this.states[index] = LIVE
    this.snapshotChecksums[index] = checksum
    this.snapshotTimes[index] = timestampMs
    this.output.snapshot(index, changes)
  }

  /** Everything that is not a plain book frame, and book frames in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    const message = parseMessage(frame, numberAsText)
    if (typeof message === 'string') return this.undecodable(frame, message)
    const { channel, method, error, success } = message
    if (channel === 'book') {
      this.stats.scannerFallbacks++
      const entries = this.decodeEntries(message)
      if (typeof entries === 'string') this.undecodable(frame, entries)
      else this.deliverEntries(entries, message.type === 'snapshot', receivedUs)
      return
    }
    if (channel === 'heartbeat') return
    if (channel === 'status') return this.systemChanged(message.data)
    if (error !== undefined || success === false) return this.refused(message)
    if (method === 'subscribe' || method === 'unsubscribe') return this.acknowledged(message)
    if (method !== 'pong') this.stats.unknownFrames++
  }

  /** The entries of known symbols; a text says what is wrong with the frame as a whole. */
  private decodeEntries(message: Record<string, unknown>): Entry[] | string {
    const { type, data } = message
    if (type !== 'snapshot' && type !== 'update') return 'type is not snapshot or update'
    if (!Array.isArray(data)) return 'data is not an array'
    const entries: Entry[] = []
    for (const each of data) {
      if (!isRecord(each)) return 'an element of data is not an object'
      const { symbol, bids, asks, checksum, timestamp } = each
      if (typeof symbol !== 'string') return 'symbol is not text'
      const index = this.symbols.get(symbol)
      if (index !== undefined) entries.push({ index, bids, asks, checksum, timestamp })
    }
    if (entries.length === 0 && data.length > 0) this.stats.unknownFrames++
    return entries
  }

  /** One call per symbol, so that no state between two entries of a frame is ever seen. */
  private deliverEntries(
    entries: readonly Entry[],
    isSnapshot: boolean,
    receivedUs: number,
  ): void {
    for (const [position, { index }] of entries.entries()) {
      if (entries.findIndex((entry) => entry.index === index) !== position) continue
      this.reset()
      this.isSnapshot = isSnapshot
      let problem: string | undefined
      for (const entry of entries) {
        if (entry.index === index) problem ??= this.append(entry, this.instruments[index])
      }
      if (problem === undefined) this.deliver(index, receivedUs)
      else this.doubt(index, `a frame could not be read (${problem})`)
    }
  }

  /** Adds an entry to `changes`; returns what is wrong with it. The last checksum counts. */
  private append(entry: Entry, instrument: Instrument): string | undefined {
    const { checksum, timestamp } = entry
    // An earlier whole book is replaced.
    if (this.isSnapshot) this.reset()
    const problem = this.appendSide(BID, entry.bids, instrument) ??
      this.appendSide(ASK, entry.asks, instrument)
    if (problem !== undefined) return problem
    if (
      !Number.isInteger(checksum) || !(Number(checksum) >= 0 && Number(checksum) <= CHECKSUM_MAX)
    ) {
      return `checksum is not an integer from 0 to ${CHECKSUM_MAX}`
    }
    this.checksum = Number(checksum)
    this.timestampMs = typeof timestamp === 'string' ? timeFromText(timestamp) : -1
    return undefined
  }

  private appendSide(
    side: typeof BID | typeof ASK,
    levels: unknown,
    instrument: Instrument,
  ): string | undefined {
    // An empty side is also left out.
    if (levels === undefined || levels === null) return undefined
    if (!Array.isArray(levels)) return 'bids or asks is not an array'
    for (const level of levels) {
      if (!isRecord(level)) return 'a level is not an object'
      const price = decimalOf(level.price)
      if (price === undefined) return 'price is not a number from 0'
      const size = decimalOf(level.qty)
      if (size === undefined) return 'qty is not a number from 0'
      appendLevel(this.changes, side, price, size, instrument)
      this.pricePlaces = Math.max(this.pricePlaces, placesOf(level.price))
      this.sizePlaces = Math.max(this.sizePlaces, placesOf(level.qty))
    }
    return undefined
  }

  /** The status of the matching engine; it comes on connect and with every change. */
  private systemChanged(data: unknown): void {
    const system = Array.isArray(data) && isRecord(data[0]) ? data[0].system : undefined
    if (typeof system !== 'string') {
      this.stats.unknownFrames++
      return
    }
    const isMaintained = system === 'maintenance'
    const begins = isMaintained && !this.isMaintained
    const ends = !isMaintained && this.isMaintained
    // It comes with changes only: what was in between was not heard.
    const isRepeated = !isMaintained && system === this.system
    this.system = system
    this.isMaintained = isMaintained
    if (!begins && !ends && !isRepeated) return
    const found = `Kraken's system status is now "${shown(system)}"${isRepeated ? ' again' : ''}`
    for (let index = 0; index < this.states.length; index++) {
      // What was subscribed meanwhile may be at a standstill, too.
      if (this.states[index] === LIVE || ends) this.doubt(index, found, 'stale')
    }
  }

  /** A subscription began or ended. */
  private acknowledged(message: Record<string, unknown>): void {
    const { method, result } = message
    const symbol = isRecord(result) ? result.symbol : undefined
    const index = typeof symbol === 'string' ? this.symbols.get(symbol) : undefined
    if (index === undefined || !isRecord(result)) {
      this.stats.unknownFrames++
      return
    }
    if (method === 'unsubscribe') {
      if (this.states[index] === LIVE) {
        this.doubt(index, 'the exchange ended the subscription', 'stale')
      }
      this.left(index)
      return
    }
    const given = result.depth
    if (given === undefined || given === this.depth) return
    // Another depth would leave levels in the book that the exchange tells nothing of any more.
    this.refuse(
      index,
      `Kraken subscribed ${symbol} with depth ${shown(given)}, expected ${this.depth}; ` +
        'choose another --depth',
    )
  }

  /** Nothing of the old subscription is to come any more. */
  private left(index: number): void {
    if (this.states[index] !== LEAVING) return
    this.states[index] = LEFT
    this.join()
  }

  /** Subscribes what has left, together, once nothing is leaving. False: nothing to do. */
  private join(): boolean {
    if (this.states.includes(LEAVING) || !this.states.includes(LEFT)) return false
    const joining: number[] = []
    for (let i = 0; i < this.states.length; i++) {
      if (this.states[i] !== LEFT) continue
      this.states[i] = JOINING
      joining.push(i)
    }
    this.request('subscribe', joining)
    return true
  }

  /** An error reply: about a symbol, or about the connection. */
  private refused(message: Record<string, unknown>): void {
    const { error, method, symbol } = message
    const said = saidBy(error ?? 'no reason given')
    const index = this.symbolIn(symbol, said)
    if (said.matches(RATE_LIMITED)) {
      const refused = index === undefined ? indexesIn(this.states, JOINING, LEAVING) : [index]
      const text =
        `Kraken refused a message ("${said}"); expected to be within 20 messages a second ` +
        'per connection; look for other clients on this address'
      for (const one of refused) this.states[one] = REFUSED
      if (refused.length > 0) {
        return defer(this.output, this.instruments, refused, text, RATE_LIMIT_WAIT_MS)
      }
      this.isDead = true
      this.output.fail(
        new ObfeedError('E_RATE_LIMITED', text, {
          scope: 'connection',
          retryAfterMs: RATE_LIMIT_WAIT_MS,
        }),
      )
      return
    }
    if (method === 'unsubscribe') {
      // It is not subscribed: that is what was wanted.
      if (index !== undefined) this.left(index)
      else for (let i = 0; i < this.states.length; i++) this.left(i)
      return
    }
    if (said.matches(ALREADY_SUBSCRIBED)) {
      if (index !== undefined && this.states[index] === JOINING) {
        this.doubt(index, `Kraken sends no snapshot ("${said}")`)
      }
      return
    }
    if (index === undefined) {
      this.isDead = true
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `Kraken answered with an error that names no symbol of this connection ("${said}"), ` +
            'expected a subscription; the connection is replaced',
          { scope: 'connection' },
        ),
      )
      return
    }
    this.refuse(
      index,
      `Kraken refused ${this.instruments[index].wireSymbol} ("${said}"), expected a ` +
        'subscription; check that the market is listed and online',
    )
  }

  /** The instrument an error is about. */
  private symbolIn(symbol: unknown, said: Said): number | undefined {
    if (typeof symbol === 'string') return this.symbols.get(symbol)
    const [first] = said.named(this.symbols)
    return first
  }

  private refuse(index: number, message: string): void {
    this.states[index] = REFUSED
    const { symbol } = this.instruments[index]
    this.output.fail(new ObfeedError('E_SUBSCRIBE', message, { scope: 'symbol', symbol }))
  }

  /** The book may be wrong; the feed will ask for a resync. */
  private doubt(index: number, detail: string, reason: 'gap' | 'stale' = 'gap'): void {
    const state = this.states[index]
    if (state !== LIVE && state !== JOINING) return
    this.states[index] = SUSPECT
    this.output.suspect(index, reason, detail)
  }

  /** It may have been a change of any book, also one that no checksum would show. */
  private undecodable(frame: Uint8Array, problem: string): void {
    const message = unreadableText(frame, problem, 'a Kraken v2 message')
    this.isDead = true
    this.output.fail(new ObfeedError('E_DECODE', message, { scope: 'connection' }))
  }

  private request(method: 'subscribe' | 'unsubscribe', indexes: readonly number[]): void {
    for (let i = 0; i < indexes.length; i += SYMBOLS_PER_MESSAGE) {
      const symbol = indexes.slice(i, i + SYMBOLS_PER_MESSAGE)
        .map((index) => this.instruments[index].wireSymbol)
      const params = { channel: 'book', symbol, depth: this.depth }
      this.output.send(
        JSON.stringify({
          method,
          params: method === 'subscribe' ? { ...params, snapshot: true } : params,
        }),
      )
    }
  }
}

/** The digits of a price or size are its value: a double would lose the last ones. */
function numberAsText(key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || (key !== 'price' && key !== 'qty')) return value
  return context?.source ?? String(value)
}

/** Digits behind the point, -1 when there is an exponent. */
function placesOf(value: unknown): number {
  const match = typeof value === 'string' ? /^\d+(?:\.(\d+))?$/.exec(value) : null
  return match === null ? -1 : match[1]?.length ?? 0
}

/**
 * Canned life of one connection: a book of 500 levels a side, then updates that change it. The ten
 * best levels are the same for every depth: what is deleted among them was pushed in before.
 */
function warmFrames(instrument: Instrument): Uint8Array[] {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const book = new Book(priceDecimals, sizeDecimals, PROVEN)
  const changes = new LevelChanges()
  /** Side, ticks from the middle, lots. */
  type Change = readonly [side: typeof BID | typeof ASK, offset: number, lots: number]
  const ticks = (side: number, offset: number) => 100_000 + (side === BID ? -offset : offset)
  const frame = (type: string, levels: readonly Change[]) => {
    changes.reset()
    for (const [side, offset, lots] of levels) {
      const i = changes.count++
      if (i === changes.side.length) changes.grow()
      changes.side[i] = side
      changes.price[i] = ticks(side, offset)
      changes.size[i] = lots
    }
    if (type === 'snapshot') book.load(changes)
    else book.apply(changes)
    const list = (wanted: number) =>
      levels.filter(([side]) => side === wanted).map(([side, offset, lots]) => {
        const price = fixedText(ticks(side, offset), priceDecimals)
        return `{"price":${price},"qty":${fixedText(lots, sizeDecimals)}}`
      }).join(',')
    const checksum = checksumOf(book, priceDecimals, sizeDecimals)
    return encoder.encode(
      `{"channel":"book","type":"${type}","data":[{"symbol":"${wireSymbol}",` +
        `"bids":[${list(BID)}],"asks":[${list(ASK)}],"checksum":${checksum},` +
        '"timestamp":"2026-01-01T00:00:00.123456Z"}]}',
    )
  }
  const sides = [BID, ASK] as const
  /** The tenth level, as the exchange tells of it again when it comes back into sight. */
  const tenth = (side: typeof BID | typeof ASK): Change => [side, 2 * PROVEN, 77]
  const frames = [
    frame(
      'snapshot',
      sides.flatMap((side) =>
        Array.from({ length: 500 }, (_, n): Change => [side, 2 * n + 2, n === 9 ? 77 : 1 + n])
      ),
    ),
  ]
  for (let i = 0; i < 300; i++) {
    const levels: Change[] = []
    const side = sides[i & 1]
    // In turn: a level is pushed in, and goes again.
    const isPush = (i >> 1) % 2 === 0
    levels.push([side, 3, isPush ? 1 + i : 0])
    if (!isPush) levels.push(tenth(side))
    for (let k = 0; k < i % 6; k++) {
      const random = mixed(i * 8 + k)
      if (random % 4 === 0) levels.push([side, 2 + 2 * (random % 9), 1 + random % 1_000_003])
      else levels.push([side, 22 + random % 1200, random % 3 === 0 ? 0 : 1 + random % 1_000_003])
    }
    frames.push(frame('update', levels))
  }
  return frames
}

const ASSET_PAIRS = 'https://api.kraken.com/0/public/AssetPairs'
const ASSETS = 'https://api.kraken.com/0/public/Assets'
const TICKER = 'https://api.kraken.com/0/public/Ticker'

/** Currencies whose unified code is another one, as ccxt has them. */
const CODES: ReadonlyMap<string, string> = new Map([
  ...Object.entries(COMMON_CODES),
  ['LUNA', 'LUNC'],
  ['LUNA2', 'LUNA'],
  ['REPV2', 'REP'],
  ['REP', 'REPV1'],
  ['UST', 'USTC'],
  ['XDG', 'DOGE'],
  ['FEE', 'KFEE'],
  ['XETC', 'ETC'],
  ['XETH', 'ETH'],
  ['XLTC', 'LTC'],
  ['XMLN', 'MLN'],
  ['XREP', 'REP'],
  ['XXBT', 'BTC'],
  ['XXDG', 'DOGE'],
  ['XXLM', 'XLM'],
  ['XXMR', 'XMR'],
  ['XXRP', 'XRP'],
  ['XZEC', 'ZEC'],
  ['ZAUD', 'AUD'],
  ['ZCAD', 'CAD'],
  ['ZEUR', 'EUR'],
  ['ZGBP', 'GBP'],
  ['ZJPY', 'JPY'],
  ['ZUSD', 'USD'],
])
/** Names that version 2 of the WebSocket API spells otherwise than `wsname`. */
const WIRE_NAMES: ReadonlyMap<string, string> = new Map([['XBT', 'BTC'], ['XDG', 'DOGE']])

/** The `result` of an answer of the REST API. */
function resultOf(answer: unknown): Record<string, unknown> | undefined {
  const result = isRecord(answer) ? answer.result : undefined
  return isRecord(result) ? result : undefined
}

/** The codes of currencies, with those that only the list of assets tells: X and Z in front. */
function codesOf(assets: Record<string, unknown>): Map<string, string> {
  const codes = new Map(CODES)
  for (const [id, asset] of Object.entries(assets)) {
    const altname = isRecord(asset) ? asset.altname : undefined
    if (typeof altname !== 'string' || altname === id) continue
    if (!/^[XZ]/.test(id) || id.includes('.')) continue
    const name = altname.toUpperCase()
    codes.set(id, codes.get(name) ?? name)
  }
  return codes
}

function decimalsIn(value: unknown): number {
  const decimals = parseInt(String(value), 10)
  return Number.isNaN(decimals) ? DECIMALS_DEFAULT : Math.max(0, decimals)
}

/** The market's name on the wire, where the pair tells one. */
function wireNameOf({ wsname }: Record<string, unknown>): string | undefined {
  if (typeof wsname !== 'string' || wsname === '') return undefined
  return wsname.split('/').map((name) => WIRE_NAMES.get(name) ?? name).join('/')
}

function parseMarkets([pairsAnswer, assetsAnswer]: readonly unknown[]): Market[] | undefined {
  const pairs = resultOf(pairsAnswer)
  const assets = resultOf(assetsAnswer)
  if (pairs === undefined || assets === undefined) return undefined
  const codes = codesOf(assets)
  const codeOf = (id: string): string => codes.get(id.toUpperCase()) ?? id.toUpperCase()
  const markets: Market[] = []
  for (const [id, pair] of Object.entries(pairs)) {
    if (!isRecord(pair)) return undefined
    const { base, quote } = pair
    if (typeof base !== 'string' || typeof quote !== 'string') return undefined
    const symbol = id.includes(':BTNL') ? id : `${codeOf(base)}/${codeOf(quote)}`
    markets.push({
      symbol,
      wireSymbol: wireNameOf(pair) ?? symbol,
      priceDecimals: decimalsIn(pair.pair_decimals),
      sizeDecimals: decimalsIn(pair.lot_decimals),
      active: pair.status === 'online',
    })
  }
  return markets
}

function parseVolumes(
  [tickersAnswer, pairsAnswer]: readonly unknown[],
  markets: readonly Market[],
): Map<string, number> | undefined {
  const tickers = resultOf(tickersAnswer)
  const pairs = resultOf(pairsAnswer)
  if (tickers === undefined || pairs === undefined) return undefined
  const volumes = new Map<string, number>()
  for (const [id, pair] of Object.entries(pairs)) {
    const name = isRecord(pair) ? wireNameOf(pair) : undefined
    const ticker = tickers[id]
    if (name === undefined || !isRecord(ticker)) continue
    // Each: today, and the last 24 hours.
    const { v: volume, p: average } = ticker
    if (!Array.isArray(volume) || !Array.isArray(average)) continue
    volumes.set(name, Number(volume[1]) * Number(average[1]) || 0)
  }
  return volumesOf(markets, volumes)
}

/**
 * Proof: a CRC-32 of the ten best levels a side behind every frame. With a depth above 10 a loss
 * that touches only deeper levels is not seen before one of them is among the ten best.
 */
export const kraken: Adapter = {
  exchange: 'kraken',
  protocol: { snapshot: 'inband', loss: 'checksum', lossScope: 'symbol', depth: DEPTH_MAX },
  limits: {
    symbolsPerConnection: 200,
    framesPerSecond: 20,
    // 150 attempts in any ten minutes.
    connectsPerSecond: 150 / 600,
    connectsWindowMs: 600_000,
    subscribeWithinMs: 10_000,
    // No checksum reaches below the tenth level: a fresh snapshot mends what a loss left there.
    lifetimeMs: 60 * 60_000,
    // 1000 levels a side are less than 100 kB.
    frameBytesMax: 4 * 1024 * 1024,
  },
  url: () => 'wss://ws.kraken.com/v2',
  markets: {
    urls: [ASSET_PAIRS, ASSETS],
    parse: parseMarkets,
  },
  volumes: {
    urls: [TICKER, ASSET_PAIRS],
    parse: parseVolumes,
  },
  depth,
  warmFrames,
  open: (instruments, output, wanted) => new KrakenSession(instruments, output, wanted),
}
