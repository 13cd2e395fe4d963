/**
 * Bitfinex v2: channel `book` (P0, F0), one sequence per connection and a checksum per book.
 *
 * ```
 * {"event":"subscribed","channel":"book","chanId":225206,"symbol":"tBTCUSD","prec":"P0",
 *  "freq":"F0","len":"100","subId":"0","pair":"BTCUSD"}
 * [225206,[[27752,1,0.0038],[27753,2,-1.5]],3,1618677545451]   // whole book: price, count, amount
 * [225206,[27752,1,0.0041],4,1618677545571]                    // amount > 0 bid, < 0 ask
 * [225206,[27752,0,1],5,1618677545571]                         // count 0: deletes, 1 bid, -1 ask
 * [225206,"hb",6,1618677560571]                                // every 15 s
 * [225206,"cs",-1341686839,7,1618677560571]                    // CRC-32 of the best 25 a side
 * ```
 *
 * Behind what a frame says stand its sequence number and its time, because the connection is set
 * so; more may follow one day. Numbers are what JavaScript prints (`7e-7`), and are never read
 * through a double: their text is exact.
 *
 * 1. On open: settings, then one `subscribe` a symbol. The exchange's own first message tells
 *    whether it is open; in maintenance nothing more is asked for until its end is told, then all is.
 * 2. The sequence begins at 1 and counts the frames of all channels, also of those just left, but
 *    no events. It is checked before anything else is looked at.
 * 3. At or below the last number: a duplicate, ignored. More than one above: a loss, which may have
 *    hit any book, so all are suspect, and what the frame itself carries is dropped.
 * 4. A channel is known by its number only. `subscribed` says which symbol it is, and must agree
 *    with what was asked for. Frames of channels that were left count for the sequence alone, and so
 *    do heartbeats of one that is not announced yet.
 * 5. A snapshot replaces the book. Without one, updates and checksums are ignored.
 * 6. A checksum is of the book as the frames before it left it, and is handed on as an empty change
 *    with a check. So is a heartbeat, without one: its book is as current as the heartbeat.
 * 7. Resync: unsubscribe, wait until that is confirmed, subscribe. A resync that finds one still
 *    under way asks again for what is not answered (of a subscription: the second one that does, as
 *    the first may only be early), and leaves a channel whose announcement was missed.
 * 8. What leaves the window of `len` levels is deleted by a message of its own, before what enters
 *    is told: nothing is to be forgotten without one.
 * 9. 20051: the socket will end. 20060 and 20061: maintenance begins and ends; all books in between
 *    are stale, and asked for again behind it, also when its beginning was not heard of.
 */
import { Book } from '../core/book.ts'
import { ASK, BID, type BookCheck, LevelChanges } from '../core/changes.ts'
import { crc32 } from '../core/checksum.ts'
import { canonicalDecimal, writeAscii, writeScaled } from '../core/decimal.ts'
import { ObfeedError } from '../core/errors.ts'
import type { InvalidReason } from '../core/event.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner } from '../core/scanner.ts'
import type { Side } from '../core/side.ts'
import { isRegularPrice } from '../core/wide.ts'
import type { Adapter, BookDepth, Limits, Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendLevel, decodeText, exact, isRecord, unreadableText } from './decode.ts'
import { defer } from './deferral.ts'
import { COMMON_CODES } from './listing.ts'
import { saidBy, shown } from './said.ts'
import { mixed } from './warm-frames.ts'

const HEARTBEAT = new Literal('"hb",')
const CHECKSUM = new Literal('"cs",')
const OPEN = 0x5b
const CLOSE = 0x5d
const COMMA = 0x2c
const MINUS = 0x2d
const COLON = 0x3a

/** What a frame is. */
const OTHER = -1
const EMPTY = 0
const CHECK = 1
const UPDATE = 2
const SNAPSHOT = 3

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const WAITING = 1
const LIVE = 2

/** The subscription of an instrument. */
const NONE = 0
const ASKED = 1
const SUBSCRIBED = 2
const LEAVING = 3

/** Settings of the connection. */
const TIMESTAMP = 32_768
const SEQUENCE = 65_536
const CHECKSUMS = 131_072
const FLAGS = TIMESTAMP | SEQUENCE | CHECKSUMS

/** Levels a side that can be subscribed. */
const LENGTHS = [25, 100, 250] as const
const LENGTH_MAX = 250
/** Levels a side that a checksum covers. */
const CHECKED = 25

/** A number this large in a frame is a time in ms, never a sequence. */
const TIME_MIN = 1e12

/** In place of an instrument: the channel is not announced. */
const STRANGER = -1
/** As many as are plausible; a busy connection has a handful in its life. */
const STRANGERS_MAX = 1000

/** Below this JavaScript prints an exponent. */
const PLAIN_PLACES = 6
/** From here on not every decimal of so many digits is what JavaScript prints of its double. */
const PLAIN_MAX = 1e15

/**
 * So many duplicates in a row, or one so far back, are none: the exchange has begun to count anew,
 * and every further change would be taken for a repetition.
 */
const DUPLICATES_MAX = 32
const DUPLICATE_DISTANCE_MAX = 1024

/** In maintenance no channel beats. */
const PING_MS = 10_000

const RESTART = 20_051
const MAINTENANCE_BEGINS = 20_060
const MAINTENANCE_ENDS = 20_061

const ALREADY_SUBSCRIBED = 10_301
const CHANNEL_LIMIT = 10_305
const RATE_LIMIT = 11_010
const RATE_LIMITED = /rate.?limit|too many|throttl/i
/** The exchange's budget of connections is per minute. */
const RATE_LIMIT_WAIT_MS = 60_000

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

/** A number of a frame, as it stands there. */
class Token {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  /** The integer from 0 that it is; -1: another number. */
  get unsigned(): number {
    const value = Number(this.text)
    return Number.isSafeInteger(value) && value >= 0 ? value : -1
  }
}

function keepNumbers(_key: string, value: unknown, context?: { readonly source?: string }) {
  return typeof value === 'number' ? new Token(context?.source ?? '') : value
}

function lengthFor(wanted: number): number {
  return wanted === 0 ? LENGTH_MAX : LENGTHS.find((length) => length >= wanted) ?? LENGTH_MAX
}

function depth(wanted: number): BookDepth {
  const length = lengthFor(wanted)
  return { view: wanted === 0 ? length : Math.min(wanted, length), kept: Infinity }
}

// -- the checksum

const prices = [new Float64Array(CHECKED), new Float64Array(CHECKED)] as const
const sizes = [new Float64Array(CHECKED), new Float64Array(CHECKED)] as const
/** Room for 100 numbers with their colons; none is printed in more than 32 bytes. */
const printed = new Uint8Array(4096)

/** CRC-32, signed, of the best levels as the exchange prints them: bid, ask, bid, ask ... */
function checksumOf(book: Book): number {
  const bids = readBest(book.bids, BID)
  const asks = readBest(book.asks, ASK)
  let at = 0
  for (let i = 0; i < bids || i < asks; i++) {
    if (i < bids) at = printLevel(at, book, BID, i)
    if (i < asks) at = printLevel(at, book, ASK, i)
  }
  // Without the colon behind the last one.
  return crc32(printed, 0, Math.max(0, at - 1)) | 0
}

function readBest(side: Side, which: typeof BID | typeof ASK): number {
  return side.read(0, CHECKED, prices[which], sizes[which])
}

function printLevel(at: number, book: Book, which: typeof BID | typeof ASK, i: number): number {
  const price = prices[which][i]
  if (isRegularPrice(price) && isPlain(price, book.priceDecimals)) {
    at = writeScaled(printed, at, price, book.priceDecimals)
  } else {
    at = writeAscii(printed, at, String(Number(book.priceText(price))))
  }
  printed[at++] = COLON
  if (which === ASK) printed[at++] = MINUS
  const size = sizes[which][i]
  if (isPlain(size, book.sizeDecimals)) {
    at = writeScaled(printed, at, size, book.sizeDecimals)
  } else {
    at = writeAscii(printed, at, String(Number(book.sizeText(size))))
  }
  printed[at++] = COLON
  return at
}

/** JavaScript prints the double of this decimal digit by digit as the decimal is. */
function isPlain(scaled: number, decimals: number): boolean {
  if (scaled >= PLAIN_MAX || scaled <= 0) return false
  return decimals <= PLAIN_PLACES || scaled >= 10 ** (decimals - PLAIN_PLACES)
}

class BitfinexSession implements Session, BookCheck {
  readonly heartbeatMs = PING_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  provenUs = 0
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  private readonly length: number
  private readonly bySymbol: ReadonlyMap<string, number>
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly states: Uint8Array<ArrayBuffer>
  private readonly phases: Uint8Array<ArrayBuffer>
  /** By instrument: resyncs that came while an answer was waited for. */
  private readonly repeats: Uint16Array<ArrayBuffer>
  /** By instrument: its channel, while it has one. */
  private readonly channels: Float64Array<ArrayBuffer>
  /** Channel -> instrument; `-1 - instrument` once it was left. */
  private readonly owners: Map<number, number> = new Map()
  /** A busy channel's frames come in runs. */
  private lastChannel = -1
  private lastOwner = 0
  /** Channels that were never announced and have sent more than heartbeats. */
  private readonly strangers: Set<number> = new Set()
  private isOpen = false
  /** The settings are in force. */
  private isSet = false
  private inMaintenance = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private pings = 0
  private hasTime = true
  private lastSequence = 0
  private duplicatesInRow = 0
  /** Of the frame that was read last. */
  private owner = 0
  private sequence = 0
  private timestampMs = -1
  private checksum = 0

  constructor(instruments: readonly Instrument[], output: SessionOutput, wanted: number) {
    this.instruments = instruments
    this.output = output
    this.length = lengthFor(wanted)
    this.bySymbol = new Map(instruments.map(({ wireSymbol }, index) => [wireSymbol, index]))
    this.states = new Uint8Array(instruments.length).fill(WAITING)
    this.phases = new Uint8Array(instruments.length)
    this.repeats = new Uint16Array(instruments.length)
    this.channels = new Float64Array(instruments.length)
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.sendSettings()
    for (let index = 0; index < this.instruments.length; index++) this.subscribe(index)
  }

  resync(index: number): void {
    if (this.isDead) return
    this.states[index] = WAITING
    // `opened`, or the end of the maintenance, asks for everything anyway.
    if (this.isOpen && !this.inMaintenance) this.renew(index)
  }

  heartbeat(): void {
    if (this.isDead || !this.isOpen) return
    this.output.send(`{"event":"ping","cid":${++this.pings}}`)
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    scanner.load(frame)
    const kind = this.scan()
    scanner.release()
    if (kind === OTHER) this.receivedJson(frame, receivedUs)
    else if (this.advance(this.sequence, receivedUs)) this.deliver(kind, receivedUs)
  }

  /** The checksum that was received last, against the book it is of. */
  holds(book: Book): boolean {
    return checksumOf(book) === this.checksum
  }

  /**
   * The fast path: a frame of a known channel in exactly the known spelling, its levels decoded
   * into `changes`. Returns what it is, or `OTHER` for the JSON route to have the last word.
   */
  private scan(): number {
    if (!scanner.byte(OPEN)) return OTHER
    const channel = scanner.unsigned()
    if (channel < 0 || !scanner.byte(COMMA)) return OTHER
    let owner = this.lastOwner
    if (channel !== this.lastChannel) {
      const found = this.owners.get(channel)
      if (found === undefined) return OTHER
      owner = found
      this.lastChannel = channel
      this.lastOwner = owner
    }
    this.owner = owner
    const changes = this.changes
    changes.reset()
    let kind = EMPTY
    if (scanner.byte(OPEN)) {
      const { priceDecimals, sizeDecimals } = this.instruments[owner < 0 ? -1 - owner : owner]
      if (scanner.byte(OPEN)) {
        kind = SNAPSHOT
        for (;;) {
          if (!this.scanLevel(priceDecimals, sizeDecimals)) return OTHER
          if (!scanner.byte(COMMA)) break
          if (!scanner.byte(OPEN)) return OTHER
        }
        if (!scanner.byte(CLOSE)) return OTHER
      } else if (scanner.byte(CLOSE)) {
        kind = SNAPSHOT
      } else {
        kind = UPDATE
        if (!this.scanLevel(priceDecimals, sizeDecimals)) return OTHER
      }
      if (!scanner.byte(COMMA)) return OTHER
    } else if (scanner.literal(CHECKSUM)) {
      kind = CHECK
      const isNegative = scanner.byte(MINUS)
      const magnitude = scanner.unsigned()
      const checksum = isNegative ? -magnitude : magnitude
      if (magnitude < 0 || !isChecksum(checksum) || !scanner.byte(COMMA)) return OTHER
      this.checksum = checksum
    } else if (!scanner.literal(HEARTBEAT)) {
      return OTHER
    }
    const sequence = scanner.unsigned()
    if (sequence < 0) return OTHER
    let timestampMs = -1
    if (scanner.byte(COMMA)) {
      timestampMs = scanner.unsigned()
      if (timestampMs < 0) return OTHER
    }
    if (!scanner.byte(CLOSE) || !scanner.isDone()) return OTHER
    this.stamp(sequence, timestampMs)
    return kind
  }

  /** Price, count, amount and the closing bracket. */
  private scanLevel(priceDecimals: number, sizeDecimals: number): boolean {
    const changes = this.changes
    const i = changes.count
    if (i === changes.side.length) changes.grow()
    let price = scanner.number(priceDecimals)
    if (!(price >= 0)) {
      if (price < 0) return false
      price = exact(scanner.numberText(), priceDecimals, changes.widePrice, i)
    }
    changes.price[i] = price
    if (!scanner.byte(COMMA)) return false
    const count = scanner.unsigned()
    if (count < 0 || !scanner.byte(COMMA)) return false
    changes.side[i] = scanner.byte(MINUS) ? ASK : BID
    let size = scanner.number(sizeDecimals)
    if (!(size > 0)) {
      // An amount of 0 says nothing of the side.
      if (size <= 0) return false
      if (count > 0) size = exact(scanner.numberText(), sizeDecimals, changes.wideSize, i)
    }
    changes.size[i] = count === 0 ? 0 : size
    changes.count = i + 1
    return scanner.byte(CLOSE)
  }

  /** What stands behind the payload: the sequence, then the time. */
  private stamp(sequence: number, timestampMs: number): void {
    if (sequence >= TIME_MIN && timestampMs >= 0 && timestampMs < TIME_MIN) {
      // Each is of a size that the other never has: should they ever change places, it shows.
      this.sequence = timestampMs
      this.timestampMs = sequence
    } else {
      this.sequence = sequence
      this.timestampMs = this.hasTime ? timestampMs : -1
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
          `the sequence fell from ${expected - 1} to ${sequence}, expected ${expected}; ` +
            'the exchange counts anew, so the connection is replaced',
        )
      }
      return false
    }
    this.lastSequence = sequence
    this.duplicatesInRow = 0
    this.suspectAll('gap', `sequence ${sequence} was received, ${expected} was expected`)
    return false
  }

  /** Hands on what the last frame said, `changes` are its levels. */
  private deliver(kind: number, receivedUs: number): void {
    const index = this.owner
    if (index < 0 || this.inMaintenance) return
    const state = this.states[index]
    if (kind === SNAPSHOT ? state === SUSPECT : state !== LIVE) return
    const changes = this.changes
    changes.nonce = this.sequence
    changes.timestampMs = this.timestampMs
    changes.receivedUs = receivedUs
    if (kind === SNAPSHOT) {
      this.states[index] = LIVE
      this.output.snapshot(index, changes)
    } else {
      if (kind === CHECK) changes.check = this
      this.output.delta(index, changes)
    }
  }

  // -- everything that is not a plain frame of a known channel

  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    let message: unknown
    try {
      const text = decodeText(frame)
      message = JSON.parse(text)
      if (Array.isArray(message)) message = JSON.parse(text, keepNumbers)
    } catch {
      return this.undecodable(frame, 'not JSON')
    }
    if (isRecord(message)) return this.receivedEvent(message)
    if (!Array.isArray(message)) return this.undecodable(frame, 'not a JSON object or array')
    const kind = this.decode(message)
    if (typeof kind === 'string') return this.undecodable(frame, kind)
    if (!this.advance(this.sequence, receivedUs)) return
    if (kind === OTHER) this.stats.unknownFrames++
    else this.deliver(kind, receivedUs)
  }

  /** As `scan`, of any legal spelling; a text says what is wrong. */
  private decode(message: readonly unknown[]): number | string {
    const [id, payload] = message
    const channel = id instanceof Token ? id.unsigned : -1
    if (channel < 0) return 'the channel is not an integer from 0'
    const owner = this.owners.get(channel)
    const kind = kindOf(payload)
    let end = kind === CHECK ? 3 : 2
    if (kind === OTHER) {
      // How much of it is payload is not known, so the end is counted from behind.
      end = Math.max(2, message.length - 1)
      const last = message[end]
      if (end > 2 && last instanceof Token && last.unsigned >= TIME_MIN) end--
    }
    const sequence = message[end]
    const time = message[end + 1]
    if (!(sequence instanceof Token) || sequence.unsigned < 0) {
      return 'the sequence is not an integer from 0'
    }
    if (kind === CHECK) {
      const token = message[2]
      const checksum = token instanceof Token ? Number(token.text) : NaN
      if (!isChecksum(checksum)) return 'the checksum is not an integer of 32 bits'
      this.checksum = checksum
    }
    const changes = this.changes
    changes.reset()
    if (kind === UPDATE || kind === SNAPSHOT) {
      const levels = kind === UPDATE ? [payload] : payload as unknown[]
      const instrument = owner === undefined
        ? undefined
        : this.instruments[owner < 0 ? -1 - owner : owner]
      for (const level of levels) {
        const problem = this.append(level, instrument)
        if (problem !== undefined) return problem
      }
    }
    this.stamp(sequence.unsigned, time instanceof Token ? time.unsigned : -1)
    if (owner === undefined) {
      this.owner = STRANGER
      // It may beat before it is announced.
      if (kind === EMPTY) return EMPTY
      if (kind !== OTHER && this.strangers.size < STRANGERS_MAX) this.strangers.add(channel)
      return OTHER
    }
    if (kind !== OTHER) this.stats.scannerFallbacks++
    this.owner = owner
    return kind
  }

  /** Adds a level to `changes`; returns what is wrong with it. */
  private append(level: unknown, instrument: Instrument | undefined): string | undefined {
    if (!Array.isArray(level)) return 'a level is not an array'
    const [priceToken, countToken, amountToken] = level as readonly unknown[]
    const price = priceToken instanceof Token ? canonicalDecimal(priceToken.text) : undefined
    if (price === undefined || price.charCodeAt(0) === MINUS) {
      return 'a price is not a number from 0'
    }
    const count = countToken instanceof Token ? countToken.unsigned : -1
    if (count < 0) return 'a count is not an integer from 0'
    const amount = amountToken instanceof Token ? canonicalDecimal(amountToken.text) : undefined
    if (amount === undefined || amount === '0') return 'an amount is not a number other than 0'
    if (instrument === undefined) return undefined
    const isAsk = amount.charCodeAt(0) === MINUS
    const size = count === 0 ? '0' : isAsk ? amount.slice(1) : amount
    appendLevel(this.changes, isAsk ? ASK : BID, price, size, instrument)
    return undefined
  }

  private receivedEvent(message: Readonly<Record<string, unknown>>): void {
    switch (message.event) {
      case 'info':
        return this.informed(message)
      case 'conf':
        return this.configured(message)
      case 'subscribed':
        return this.subscribed(message)
      case 'unsubscribed':
        return this.unsubscribed(message.chanId)
      case 'error':
        return this.refused(message)
      case 'pong':
        return
      default:
        this.stats.unknownFrames++
    }
  }

  // -- the connection

  private informed(message: Readonly<Record<string, unknown>>): void {
    const { code, version, platform, msg } = message
    const said = typeof msg === 'string' && msg !== '' ? ` ("${shown(msg)}")` : ''
    if (code === RESTART) {
      this.output.retire(`Bitfinex will end this connection soon${said}`)
    } else if (code === MAINTENANCE_BEGINS) {
      this.pause(`Bitfinex pauses for maintenance${said}`)
    } else if (code === MAINTENANCE_ENDS) {
      // Events are not numbered: its beginning may have been lost.
      if (this.states.includes(LIVE)) this.pause(`Bitfinex was in maintenance${said}`)
      this.resume()
    } else if (version !== undefined && version !== 2) {
      this.giveUp(
        'E_SUBSCRIBE',
        `Bitfinex speaks version ${shown(version)} of its protocol, expected 2; ` +
          'update obfeed, or correct --ws-url',
      )
    } else if (isRecord(platform) && platform.status === 0) {
      this.pause('Bitfinex is in maintenance')
    } else if (version !== undefined) {
      this.resume()
    } else {
      this.stats.unknownFrames++
    }
  }

  private pause(detail: string): void {
    if (this.inMaintenance) return
    this.inMaintenance = true
    this.suspectAll('stale', detail)
  }

  /** The exchange is open. */
  private resume(): void {
    if (!this.inMaintenance) return
    this.inMaintenance = false
    // What stood before is no proof of anything, and what was asked for may have been forgotten.
    if (!this.isSet) this.sendSettings()
    this.states.fill(WAITING)
    this.repeats.fill(1)
    for (let index = 0; index < this.instruments.length; index++) this.renew(index)
  }

  private configured(message: Readonly<Record<string, unknown>>): void {
    const { status, flags } = message
    const given = typeof flags === 'number' ? flags : FLAGS
    const needed = SEQUENCE | CHECKSUMS
    if (status !== 'OK' || (given & needed) !== needed) {
      // They are sent once more behind the maintenance.
      if (this.inMaintenance) return
      return this.giveUp(
        'E_SUBSCRIBE',
        `Bitfinex refused the settings of the connection (${shown(message)}), expected ` +
          `status OK with flags ${FLAGS}; without sequence and checksums no book can be proven, ` +
          'so the connection is replaced',
      )
    }
    this.isSet = true
    this.hasTime = (given & TIMESTAMP) !== 0
  }

  private sendSettings(): void {
    this.output.send(`{"event":"conf","flags":${FLAGS}}`)
  }

  // -- subscriptions

  private subscribe(index: number): void {
    this.phases[index] = ASKED
    this.repeats[index] = 0
    this.sendSubscribe(index)
  }

  private sendSubscribe(index: number): void {
    const symbol = JSON.stringify(this.instruments[index].wireSymbol)
    this.output.send(
      `{"event":"subscribe","channel":"book","symbol":${symbol},"prec":"P0","freq":"F0",` +
        `"len":"${this.length}","subId":"${index}"}`,
    )
  }

  private assign(channel: number, owner: number): void {
    this.owners.set(channel, owner)
    this.lastChannel = -1
  }

  /** The channel is left: what it still sends counts for the sequence alone. */
  private leave(channel: number, index: number): void {
    this.assign(channel, -1 - index)
    this.sendUnsubscribe(channel)
  }

  private sendUnsubscribe(channel: number): void {
    this.output.send(`{"event":"unsubscribe","chanId":${channel}}`)
  }

  /** A fresh snapshot, by a subscription of its own. */
  private renew(index: number): void {
    switch (this.phases[index]) {
      case NONE:
        return this.subscribe(index)
      case SUBSCRIBED:
        this.phases[index] = LEAVING
        return this.leave(this.channels[index], index)
      case LEAVING:
        return this.sendUnsubscribe(this.channels[index])
      default: {
        this.repeats[index]++
        // One of them may be the answer, its announcement lost.
        for (const channel of this.strangers) {
          this.strangers.delete(channel)
          this.leave(channel, index)
          return this.sendSubscribe(index)
        }
        if (this.repeats[index] > 1) this.sendSubscribe(index)
      }
    }
  }

  private subscribed(message: Readonly<Record<string, unknown>>): void {
    const { chanId: channel, channel: name, prec, freq, len } = message
    if (name !== 'book') {
      this.stats.unknownFrames++
      return
    }
    const index = this.named(message)
    if (typeof channel !== 'number' || !Number.isSafeInteger(channel) || index < 0) {
      return this.giveUp(
        'E_SUBSCRIBE',
        `Bitfinex confirmed a subscription that was not asked for (${shown(message)}), ` +
          'expected a channel number and one of the symbols of the connection; it is replaced',
      )
    }
    if (this.phases[index] !== ASKED) {
      // Told twice, or asked twice: one is enough.
      if (this.channels[index] !== channel) this.leave(channel, index)
      return
    }
    this.channels[index] = channel
    const differs = (prec !== undefined && prec !== 'P0') ||
      (freq !== undefined && freq !== 'F0') ||
      (len !== undefined && Number(shown(len)) !== this.length)
    if (differs) {
      this.phases[index] = LEAVING
      this.leave(channel, index)
      return this.reject(
        index,
        `Bitfinex subscribed ${this.instruments[index].wireSymbol} with prec ${
          shown(prec)
        }, freq ` +
          `${shown(freq)}, len ${shown(len)}, expected P0, F0, ${this.length}; try another --depth`,
      )
    }
    this.assign(channel, index)
    this.phases[index] = SUBSCRIBED
    if (this.strangers.delete(channel)) {
      this.distrust(index, 'was announced behind its first data')
    }
  }

  private unsubscribed(channel: unknown): void {
    const owner = this.owners.get(channel as number)
    if (owner === undefined) return
    if (owner < 0) {
      const index = -1 - owner
      if (this.phases[index] === LEAVING && this.channels[index] === channel) this.left(index)
      return
    }
    // Not asked for: the exchange ended it.
    this.assign(channel as number, -1 - owner)
    this.phases[owner] = NONE
    this.distrust(owner, 'was ended by the exchange')
  }

  private distrust(index: number, what: string): void {
    this.states[index] = SUSPECT
    const { wireSymbol } = this.instruments[index]
    this.output.suspect(index, 'stale', `the subscription of ${wireSymbol} ${what}`)
  }

  private left(index: number): void {
    this.phases[index] = NONE
    if (this.states[index] === WAITING && !this.inMaintenance) this.subscribe(index)
  }

  /**
   * The instrument that a message is about; -1: none of these. The exchange repeats what was asked
   * for; when its parts contradict each other, none is believed.
   */
  private named(message: Readonly<Record<string, unknown>>): number {
    const { subId, symbol, pair } = message
    const found: (number | undefined)[] = []
    if (typeof subId === 'string' && /^\d{1,5}$/.test(subId)) {
      found.push(Number(subId) < this.instruments.length ? Number(subId) : undefined)
    }
    if (typeof symbol === 'string') found.push(this.bySymbol.get(symbol))
    if (typeof pair === 'string' && found.length === 0) {
      found.push(this.bySymbol.get(`t${pair}`) ?? this.bySymbol.get(pair))
    }
    const [first] = found
    return first !== undefined && found.every((index) => index === first) ? first : -1
  }

  // -- errors

  /** An error reply: about the symbol it names, or about the connection. */
  private refused(message: Readonly<Record<string, unknown>>): void {
    const { msg, code, chanId } = message
    const said = saidBy(typeof msg === 'string' ? msg : message)
    const quoted = `"${said}"${code === undefined ? '' : `, code ${shown(code)}`}`
    if (code === RATE_LIMIT || said.matches(RATE_LIMITED)) {
      const asked = this.named(message)
      if (asked >= 0) {
        if (this.phases[asked] === ASKED) this.phases[asked] = NONE
        this.states[asked] = SUSPECT
        return defer(
          this.output,
          this.instruments,
          [asked],
          `Bitfinex refused a message (${quoted}); look for other clients on this address`,
          RATE_LIMIT_WAIT_MS,
        )
      }
      return this.giveUp(
        'E_RATE_LIMITED',
        `Bitfinex refused a message (${quoted}); expected to be within 20 connections a minute ` +
          'per IP address; look for other clients on this address',
        RATE_LIMIT_WAIT_MS,
      )
    }
    const owner = typeof chanId === 'number' ? this.owners.get(chanId) : undefined
    if (owner !== undefined && owner < 0) {
      // Refused for now, and asked for again behind the maintenance.
      if (this.inMaintenance) return
      // It cannot be left: it is gone already.
      return this.unsubscribed(chanId)
    }
    const index = owner ?? this.named(message)
    if (index < 0) {
      if (this.inMaintenance) return
      return this.giveUp(
        'E_SUBSCRIBE',
        `Bitfinex answered with an error that names no symbol of this connection (${quoted}), ` +
          'expected a subscription; the connection is replaced',
      )
    }
    const isAsked = this.phases[index] === ASKED
    if (code === ALREADY_SUBSCRIBED && (!isAsked || this.repeats[index] > 0)) return
    if (code === ALREADY_SUBSCRIBED && !this.inMaintenance) {
      return this.giveUp(
        'E_SUBSCRIBE',
        `Bitfinex has a channel for ${this.instruments[index].wireSymbol} already (${quoted}), ` +
          'expected that it was left; its number is not known any more, so the connection is replaced',
      )
    }
    if (isAsked) this.phases[index] = NONE
    if (this.inMaintenance) return
    const { wireSymbol } = this.instruments[index]
    this.reject(
      index,
      code === CHANNEL_LIMIT
        ? `Bitfinex has no channel left for ${wireSymbol} on this connection (${quoted}), ` +
          `expected ${LIMITS.symbolsPerConnection}; serve fewer symbols per connection`
        : `Bitfinex refused ${wireSymbol} (${quoted}), expected a subscription; ` +
          'check that the pair is listed and tradable',
    )
  }

  private reject(index: number, message: string): void {
    this.states[index] = SUSPECT
    const { symbol } = this.instruments[index]
    this.output.fail(new ObfeedError('E_SUBSCRIBE', message, { scope: 'symbol', symbol }))
  }

  /** It may have been anything, so nothing on this socket is proven any more. */
  private undecodable(frame: Uint8Array, problem: string): void {
    this.abandon('E_DECODE', unreadableText(frame, problem, 'a Bitfinex v2 message'))
  }

  private abandon(code: 'E_DECODE' | 'E_SEQUENCE_GAP', message: string): void {
    this.isDead = true
    this.suspectAll('gap', message)
    this.giveUp(code, message)
  }

  private giveUp(
    code: 'E_DECODE' | 'E_SEQUENCE_GAP' | 'E_SUBSCRIBE' | 'E_RATE_LIMITED',
    message: string,
    retryAfterMs?: number,
  ): void {
    this.isDead = true
    this.output.fail(
      new ObfeedError(code, message, {
        scope: 'connection',
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      }),
    )
  }

  private suspectAll(reason: InvalidReason, detail: string): void {
    // First all, then the calls: the feed may ask for a resync from inside one.
    this.states.fill(SUSPECT)
    for (let i = 0; i < this.states.length; i++) this.output.suspect(i, reason, detail)
  }
}

/** An integer of 32 bits with a sign. */
function isChecksum(value: number): boolean {
  return Number.isInteger(value) && value >= -0x80000000 && value <= 0x7fffffff
}

function kindOf(payload: unknown): number {
  if (payload === 'hb') return EMPTY
  if (payload === 'cs') return CHECK
  if (!Array.isArray(payload)) return OTHER
  return payload.length === 0 || Array.isArray(payload[0]) ? SNAPSHOT : UPDATE
}

/** Canned life of one connection: a book of 250 levels a side, then changes and checksums of it. */
function warmFrames(instrument: Instrument): Uint8Array[] {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const encoder = new TextEncoder()
  const decimal = (scaled: number, decimals: number) =>
    String(Number((scaled / 10 ** decimals).toFixed(Math.min(decimals, 20))))
  const book = new Book(priceDecimals, sizeDecimals, LENGTH_MAX)
  const changes = new LevelChanges()
  let sequence = 0
  const frame = (payload: string) =>
    encoder.encode(`[17470,${payload},${++sequence},${1_767_225_600_000 + sequence}]`)
  /** Level `n` of a side, the best one is 0. */
  const level = (side: typeof BID | typeof ASK, n: number, lots: number) => {
    const i = changes.count++
    changes.side[i] = side
    changes.price[i] = 100_000 + (side === BID ? -1 - n : 1 + n)
    changes.size[i] = lots
    const price = decimal(changes.price[i], priceDecimals)
    const sign = side === BID ? '' : '-'
    return lots === 0
      ? `[${price},0,${sign}1]`
      : `[${price},${1 + n % 7},${sign}${decimal(lots, sizeDecimals)}]`
  }
  const frames = [encoder.encode(
    `{"event":"subscribed","channel":"book","chanId":17470,"symbol":${
      JSON.stringify(wireSymbol)
    },` +
      '"prec":"P0","freq":"F0","subId":"0"}',
  )]
  const levels: string[] = []
  for (const side of [BID, ASK] as const) {
    for (let n = 0; n < LENGTH_MAX; n++) levels.push(level(side, n, 1 + 2 * n + side))
  }
  book.load(changes)
  frames.push(frame(`[${levels.join(',')}]`))
  for (let i = 1; i <= 600; i++) {
    const random = mixed(i)
    changes.reset()
    frames.push(
      frame(level(random & 1 ? BID : ASK, random % 40, random % 3 === 0 ? 0 : random % 1_000_003)),
    )
    book.apply(changes)
    if (i % 8 === 0) frames.push(frame(`"cs",${checksumOf(book)}`))
    if (i % 50 === 0) frames.push(frame('"hb"'))
  }
  return frames
}

// -- markets

/** Currencies whose unified code is another one, as ccxt has them. */
const CODES: ReadonlyMap<string, string> = new Map(Object.entries({
  ...COMMON_CODES,
  ALG: 'ALGO',
  AMP: 'AMPL',
  ATO: 'ATOM',
  BCHABC: 'XEC',
  BCHN: 'BCH',
  DAT: 'DATA',
  DOG: 'MDOGE',
  DSH: 'DASH',
  EDO: 'PNT',
  EUS: 'EURS',
  EUT: 'EURT',
  EUTF0: 'EURT',
  HTX: 'HT',
  IDX: 'ID',
  IOT: 'IOTA',
  IQX: 'IQ',
  LUNA: 'LUNC',
  LUNA2: 'LUNA',
  MNA: 'MANA',
  ORS: 'ORS Group',
  PAS: 'PASS',
  QSH: 'QASH',
  QTM: 'QTUM',
  RBT: 'RBTC',
  SNG: 'SNGLS',
  STJ: 'STORJ',
  TERRAUST: 'USTC',
  TSD: 'TUSD',
  UDC: 'USDC',
  UST: 'USDT',
  USTF0: 'USDT',
  VSY: 'VSYS',
  WAX: 'WAXP',
  XCH: 'XCHF',
  YGG: 'YEED',
  YYW: 'YOYOW',
  ZBT: 'ZB',
}))

/** Stands in the names of perpetual contracts and of the currencies they are made of. */
const PERPETUAL = 'F0'
const SIZE_DECIMALS = 8
/** Decimals of a price of which nothing is known. */
const PRICE_DECIMALS = 8
const PRICE_DECIMALS_MAX = 16

const PAIRS = 'https://api-pub.bitfinex.com/v2/conf/pub:info:pair,pub:info:pair:futures'
const TICKERS = 'https://api-pub.bitfinex.com/v2/tickers?symbols=ALL'

interface Ticker {
  readonly last: number
  readonly volume: number
}

/** By wire symbol; undefined when the answer has another shape. */
function parseTickers(answer: unknown): Map<string, Ticker> | undefined {
  if (!Array.isArray(answer)) return undefined
  const tickers = new Map<string, Ticker>()
  for (const row of answer as readonly unknown[]) {
    if (!Array.isArray(row)) return undefined
    const [symbol, , , , , , , last, volume] = row as readonly unknown[]
    // Others are rates of loans, in rows of another shape.
    if (typeof symbol !== 'string' || !symbol.startsWith('t')) continue
    if (typeof last === 'number' && typeof volume === 'number') {
      tickers.set(symbol, { last, volume })
    }
  }
  return tickers
}

/**
 * A price has five significant digits wherever it lies, so no fixed number of decimals suits all
 * pairs. These hold every price from 1/10,000 of the last one to 300,000 times as much as a small
 * integer; the others are exact too, at some cost.
 */
function priceDecimalsOf(last: number | undefined): number {
  if (last === undefined || !(last > 0) || last === Infinity) return PRICE_DECIMALS
  const magnitude = Number(last.toExponential().split('e')[1])
  return Math.min(PRICE_DECIMALS_MAX, Math.max(0, PRICE_DECIMALS - magnitude))
}

function codeOf(currency: string): string {
  return (CODES.get(currency) ?? currency).split(PERPETUAL)[0]
}

function parseMarkets([answer, tickersAnswer]: readonly unknown[]): Market[] | undefined {
  if (!Array.isArray(answer)) return undefined
  const [spot, futures] = answer as readonly unknown[]
  if (!Array.isArray(spot) || !Array.isArray(futures)) return undefined
  const tickers = parseTickers(tickersAnswer)
  const markets: Market[] = []
  for (const entry of [...spot, ...futures] as readonly unknown[]) {
    const name = Array.isArray(entry) ? entry[0] as unknown : undefined
    if (typeof name !== 'string' || name === '') return undefined
    const pair = name.toUpperCase()
    const [base, quote] = pair.includes(':')
      ? pair.split(':') as [string, string]
      : [pair.slice(0, 3), pair.slice(3, 6)]
    const settle = pair.includes(PERPETUAL) ? `:${codeOf(quote)}` : ''
    const wireSymbol = `t${pair}`
    markets.push({
      symbol: `${codeOf(base)}/${codeOf(quote)}${settle}`,
      wireSymbol,
      priceDecimals: priceDecimalsOf(tickers?.get(wireSymbol)?.last),
      sizeDecimals: SIZE_DECIMALS,
      // What is not traded any more is not listed.
      active: true,
    })
  }
  return markets
}

function parseVolumes(
  [answer]: readonly unknown[],
  markets: readonly Market[],
): Map<string, number> | undefined {
  const tickers = parseTickers(answer)
  if (tickers === undefined) return undefined
  const volumes = new Map<string, number>()
  for (const { symbol, wireSymbol } of markets) {
    const ticker = tickers.get(wireSymbol)
    if (ticker !== undefined) volumes.set(symbol, ticker.last * ticker.volume)
  }
  return volumes
}

const LIMITS: Limits = {
  symbolsPerConnection: 25,
  // No limit is documented; this subscribes a whole connection within two seconds.
  framesPerSecond: 20,
  connectsPerSecond: 20 / 60,
  connectsWindowMs: 60_000,
  // No limit is documented.
  subscribeWithinMs: 30_000,
  // A whole book is about 20 kB.
  frameBytesMax: 4 * 1024 * 1024,
}

export const bitfinex: Adapter = {
  exchange: 'bitfinex',
  protocol: { snapshot: 'inband', loss: 'both', lossScope: 'connection', depth: LENGTH_MAX },
  limits: LIMITS,
  url: () => 'wss://api-pub.bitfinex.com/ws/2',
  markets: { urls: [PAIRS, TICKERS], refining: [TICKERS], parse: parseMarkets },
  volumes: { urls: [TICKERS], parse: parseVolumes },
  depth,
  warmFrames,
  open: (instruments, output, wanted) => new BitfinexSession(instruments, output, wanted),
}
