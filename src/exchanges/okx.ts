/**
 * OKX v5: public channel `books`, 400 levels a side in band, one chain of `seqId` per instrument.
 * Spot, swaps and dated futures alike; sizes of contracts are contracts.
 *
 * ```
 * {"arg":{"channel":"books","instId":"BTC-USDT"},
 *  "action":"update",                     // or "snapshot": the whole book
 *  "data":[{"asks":[["78722.3","0.38699412","0","10"]],  // price, size, always "0", orders
 *    "bids":[["78722.2","0","0","0"]],    // size "0" deletes
 *    "ts":"1787612486107",
 *    "checksum":0,                        // constant
 *    "seqId":80274874800,
 *    "prevSeqId":80274874795}]}           // -1 in a snapshot
 * ```
 *
 * 1. On open: subscribe everything, many instruments in a message. One acknowledgement or error
 *    comes for each.
 * 2. A snapshot replaces the book. The `prevSeqId` of an update must be the last `seqId`, else
 *    something was lost: checked before anything is applied. Steps are irregular, and after
 *    maintenance `seqId` may be lower than `prevSeqId`: only the link counts.
 * 3. Both equal the last one: a sign of life of a quiet book, usually empty. `seqId` is the last one
 *    and `prevSeqId` is lower, or what it was then: a repetition, ignored.
 * 4. `checksum` of today is 0 and means nothing. Frames of 2022 have a real one and no `seqId`: the
 *    CRC-32 of the best 25 levels a side, checked after the frame. A frame with neither is no proof.
 * 5. Resync: unsubscribe and subscribe; the next snapshot makes the book live again. Requests are
 *    counted by the exchange for an hour; a socket that has used nearly all of them is replaced.
 * 6. A socket is closed after 30 s without a frame: when nothing was asked for 10 s the text `ping` is
 *    sent, the text `pong` comes back. What is heard says nothing of that: it may come late.
 * 7. `notice` 64008: the exchange is about to close the socket. An instrument that is unsubscribed
 *    without having been asked for is stale.
 *
 * A frame that cannot be read makes its own book suspect where it says which one that is; the chain
 * of every other book goes on. One that does not, costs the connection.
 */
import type { Book } from '../core/book.ts'
import { ASK, BID, type BookCheck, LevelChanges } from '../core/changes.ts'
import { crc32 } from '../core/checksum.ts'
import { canonicalDecimal, scaledFromText, scaledToText } from '../core/decimal.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner } from '../core/scanner.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendSide, decodeText, exact, isRecord, unreadableText } from './decode.ts'
import { defer, indexesIn } from './deferral.ts'
import { codesWith, dayOf, decimalsOf, volumesOf } from './listing.ts'
import { saidBy, shown } from './said.ts'
import { mixed } from './warm-frames.ts'

const BOOKS = new Literal('{"arg":{"channel":"books","instId":"')
const UPDATE = new Literal('update","data":[{"asks":[')
const SNAPSHOT = new Literal('snapshot","data":[{"asks":[')
const BIDS = new Literal(',"bids":[')
const TIME = new Literal(',"ts":"')
const CHECKSUM = new Literal(',"checksum":')
const SEQUENCE = new Literal(',"seqId":')
const PREVIOUS = new Literal(',"prevSeqId":')
const END = new Literal('}]}')
const COMMA = 0x2c
const MINUS = 0x2d
const CLOSE = 0x5d
/** `byte ^ ZERO` is the digit, or above 9 when the byte is none. */
const ZERO = 0x30
/** What stands between the values of a level, the first byte lowest: `["`, `,"`, `,"0"`, `"]`. */
const LEVEL_OPEN = 0x225b
const NEXT_TEXT = 0x222c
const ZERO_TEXT = 0x2230222c
const LEVEL_CLOSE = 0x5d22

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const WAITING = 1
const LIVE = 2

/** Levels a side of the channel. */
const DEPTH = 400
/** Levels a side under the old checksum. */
const CHECKED_LEVELS = 25

/** In one message, of which 64 KB may be arguments; it counts once, however many there are. */
const INSTRUMENTS_PER_MESSAGE = 50

/** Silence is found within two of these. */
const HEARTBEAT_MS = 10_000
const HEARTBEATS_PER_HOUR = 360
/** Of 480: what is still queued may be sent later than it is counted. */
const REQUESTS_PER_HOUR = 440

/** `seqId` and `prevSeqId` of a frame that has none. */
const NO_SEQUENCE = -2

const TOO_FREQUENT = '60014'
const ILLEGAL_REQUEST = '60012'
const RATE_LIMITED = /too frequent|too many|rate.?limit|throttl|exceed/i
/** The exchange names no time; its budgets are per second, and per hour of one connection. */
const RATE_LIMIT_WAIT_MS = 5_000
const CLOSING_SOON = '64008'

/** Sequences that a double may not hold, which `JSON.parse` would round. */
const LONG_SEQUENCE = /"(seqId|prevSeqId)"(\s*:\s*)(\d{16,64})(?=\s*[,}])/g

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

/** The checksum of 2022: signed CRC-32 of `bid:size:ask:size:bid:size ...`, best levels first. */
class LegacyCheck implements BookCheck {
  expected = 0
  private readonly bidPrice = new Float64Array(CHECKED_LEVELS)
  private readonly bidSize = new Float64Array(CHECKED_LEVELS)
  private readonly askPrice = new Float64Array(CHECKED_LEVELS)
  private readonly askSize = new Float64Array(CHECKED_LEVELS)
  private readonly encoder = new TextEncoder()

  /** The exchange writes its decimals as we do: without trailing zeros. */
  holds(book: Book): boolean {
    const bids = book.bids.read(0, CHECKED_LEVELS, this.bidPrice, this.bidSize)
    const asks = book.asks.read(0, CHECKED_LEVELS, this.askPrice, this.askSize)
    let text = ''
    for (let i = 0; i < bids || i < asks; i++) {
      if (i < bids) text += `:${book.priceText(this.bidPrice[i])}:${book.sizeText(this.bidSize[i])}`
      if (i < asks) text += `:${book.priceText(this.askPrice[i])}:${book.sizeText(this.askSize[i])}`
    }
    return (crc32(this.encoder.encode(text.slice(1))) | 0) === this.expected
  }
}

class OkxSession implements Session {
  readonly heartbeatMs = HEARTBEAT_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  private readonly ids: ReadonlyMap<string, number>
  private readonly wireIds: WireIds
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly legacyCheck = new LegacyCheck()
  private readonly states: Uint8Array<ArrayBuffer>
  /** By instrument: the sequence of its book, the one before it, and its text when beyond 2^53. */
  private readonly lastSequence: Float64Array<ArrayBuffer>
  private readonly lastPrevious: Float64Array<ArrayBuffer>
  private readonly lastText: (string | undefined)[]
  /** By instrument: 1 when the exchange was asked for it and has not refused it. */
  private readonly subscribed: Uint8Array<ArrayBuffer>
  /** By instrument: requests that are not acknowledged yet. */
  private readonly subscribes: Uint16Array<ArrayBuffer>
  private readonly unsubscribes: Uint16Array<ArrayBuffer>
  /** By instrument: snapshots that requests have still to bring. */
  private readonly snapshots: Uint16Array<ArrayBuffer>
  /** Requests by heartbeat, one hour of them, and their sum. */
  private readonly requests = new Uint16Array(HEARTBEATS_PER_HOUR + 1)
  private beat = 0
  private requestsInHour = 0
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private isRetiring = false
  /** Something was sent since the last heartbeat. */
  private said = false
  /** Of the frame that was read last. */
  private isSnapshot = false
  private timestampMs = -1
  private checksum = 0
  private sequence = NO_SEQUENCE
  private previous = NO_SEQUENCE
  private sequenceText: string | undefined = undefined
  private previousText: string | undefined = undefined

  constructor(instruments: readonly Instrument[], output: SessionOutput) {
    const count = instruments.length
    this.instruments = instruments
    this.output = output
    this.ids = new Map(instruments.map(({ wireSymbol }, index) => [wireSymbol, index]))
    this.wireIds = new WireIds(this.ids, '"},"action":"')
    this.states = new Uint8Array(count).fill(WAITING)
    this.lastSequence = new Float64Array(count).fill(NO_SEQUENCE)
    this.lastPrevious = new Float64Array(count).fill(NO_SEQUENCE)
    this.lastText = instruments.map(() => undefined)
    this.subscribed = new Uint8Array(count)
    this.subscribes = new Uint16Array(count)
    this.unsubscribes = new Uint16Array(count)
    this.snapshots = new Uint16Array(count)
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.request('subscribe', this.instruments.map((_, index) => index))
  }

  resync(index: number): void {
    this.resyncAll([index])
  }

  resyncAll(indexes: readonly number[]): void {
    if (this.isDead) return
    for (const index of indexes) this.states[index] = WAITING
    // Before that, `opened` subscribes everything anyway.
    if (!this.isOpen) return
    const wanted = [...new Set(indexes)]
    // What was refused is not subscribed: unsubscribing it would be refused as well.
    const known = wanted.filter((index) => this.subscribed[index] === 1)
    const needed = messagesFor(known.length) + messagesFor(wanted.length)
    if (this.requestsInHour + needed > REQUESTS_PER_HOUR) {
      this.abandon(
        'E_RATE_LIMITED',
        `${this.requestsInHour} subscriptions were asked for on this connection within an hour, ` +
          `expected fewer, as OKX allows 480; the connection is replaced`,
      )
      return
    }
    this.request('unsubscribe', known)
    this.request('subscribe', wanted)
  }

  heartbeat(): void {
    this.beat = (this.beat + 1) % this.requests.length
    this.requestsInHour -= this.requests[this.beat]
    this.requests[this.beat] = 0
    if (!this.isOpen || this.isDead) return
    if (!this.said) this.output.send('ping')
    this.said = false
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index < 0) this.receivedJson(frame, receivedUs)
    else this.deliver(index, receivedUs)
  }

  /**
   * The fast path: one book in exactly the known spelling, decoded into `changes`. Returns the
   * instrument's index, or -1 for the JSON route to have the last word.
   */
  private scan(): number {
    if (!scanner.literal(BOOKS)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0) return -1
    const isUpdate = scanner.literal(UPDATE)
    if (!isUpdate && !scanner.literal(SNAPSHOT)) return -1
    this.changes.reset()
    const instrument = this.instruments[index]
    if (!this.scanSide(ASK, instrument)) return -1
    if (!scanner.literal(BIDS) || !this.scanSide(BID, instrument)) return -1
    if (!scanner.literal(TIME)) return -1
    const timestampMs = scanner.decimal(0)
    if (!(timestampMs >= 0)) return -1
    let checksum = 0
    if (scanner.literal(CHECKSUM)) {
      checksum = scanSigned()
      if (Number.isNaN(checksum)) return -1
    }
    let sequence = NO_SEQUENCE
    let previous = NO_SEQUENCE
    if (scanner.literal(SEQUENCE)) {
      sequence = scanner.unsigned()
      if (sequence < 0 || !scanner.literal(PREVIOUS)) return -1
      previous = scanPrevious()
      if (previous === NO_SEQUENCE) return -1
    } else if (scanner.literal(PREVIOUS)) {
      previous = scanPrevious()
      if (previous === NO_SEQUENCE || !scanner.literal(SEQUENCE)) return -1
      sequence = scanner.unsigned()
      if (sequence < 0) return -1
    } else if (checksum === 0) {
      return -1
    }
    if (!scanner.literal(END) || !scanner.isDone()) return -1
    this.isSnapshot = !isUpdate
    this.timestampMs = timestampMs
    this.checksum = checksum
    this.sequence = sequence
    this.previous = previous
    this.sequenceText = undefined
    this.previousText = undefined
    return index
  }

  /** Levels up to and with the bracket that closes them. */
  private scanSide(side: number, instrument: Instrument): boolean {
    if (scanner.byte(CLOSE)) return true
    const changes = this.changes
    const { priceDecimals, sizeDecimals } = instrument
    const { bytes, view } = scanner
    for (let i = changes.count;; i++) {
      if (i === changes.side.length) changes.grow()
      if (view.getInt16(scanner.at, true) !== LEVEL_OPEN) return false
      scanner.at += 2
      let price = scanner.decimal(priceDecimals)
      if (!(price >= 0)) {
        if (price < 0) return false
        price = exact(scanner.decimalText(), priceDecimals, changes.widePrice, i)
      }
      if (view.getInt16(scanner.at, true) !== NEXT_TEXT) return false
      scanner.at += 2
      let size = scanner.decimal(sizeDecimals)
      if (!(size >= 0)) {
        if (size < 0) return false
        size = exact(scanner.decimalText(), sizeDecimals, changes.wideSize, i)
      }
      // A field that is always 0, then the number of orders.
      let at = scanner.at
      if (view.getInt32(at, true) !== ZERO_TEXT || view.getInt16(at + 4, true) !== NEXT_TEXT) {
        return false
      }
      at += 6
      if ((bytes[at] ^ ZERO) > 9) return false
      while ((bytes[at] ^ ZERO) <= 9) at++
      if (view.getInt16(at, true) !== LEVEL_CLOSE) return false
      scanner.at = at + 2
      changes.side[i] = side
      changes.price[i] = price
      changes.size[i] = size
      changes.count = i + 1
      if (!scanner.byte(COMMA)) return scanner.byte(CLOSE)
    }
  }

  /** The frame is decoded: into `changes` its levels, into the fields beside it all the rest. */
  private deliver(index: number, receivedUs: number): void {
    const state = this.states[index]
    // Two requests were under way: the answer to the later one is believed like that to the first.
    const isAnswer = this.isSnapshot && this.isAsked(index)
    if (this.isSnapshot ? state === SUSPECT : state !== LIVE) return
    if (state === LIVE && !isAnswer && !this.follows(index)) return
    const changes = this.changes
    changes.timestampMs = this.timestampMs
    changes.receivedUs = receivedUs
    if (this.sequence === NO_SEQUENCE) {
      this.legacyCheck.expected = this.checksum
      changes.check = this.legacyCheck
      changes.nonce = -1
      changes.nonceText = undefined
    } else {
      changes.nonce = this.sequence
      changes.nonceText = this.sequenceText
    }
    // A sign of life does not hide what the frame before it was.
    if (this.isSnapshot || this.sequence !== this.previous) {
      this.lastPrevious[index] = this.previous
    }
    this.lastSequence[index] = this.sequence
    this.lastText[index] = this.sequenceText
    if (this.isSnapshot) {
      this.states[index] = LIVE
      this.output.snapshot(index, changes)
    } else {
      this.output.delta(index, changes)
    }
  }

  /** A snapshot came, whatever becomes of it. True: a request had still to bring one. */
  private isAsked(index: number): boolean {
    if (this.snapshots[index] === 0) return false
    this.snapshots[index]--
    return true
  }

  /** The book is live. True: the frame is the next one, else it must not be used. */
  private follows(index: number): boolean {
    const last = this.lastSequence[index]
    const { sequence, previous } = this
    if ((last === NO_SEQUENCE) !== (sequence === NO_SEQUENCE)) {
      this.lose(index, 'a frame with seqId and one without do not follow each other')
      return false
    }
    if (sequence === NO_SEQUENCE) return true
    const lastText = this.lastText[index]
    if (!this.isSnapshot && previous === last && this.previousText === lastText) return true
    const isSame = sequence === last && this.sequenceText === lastText
    if (isSame && (previous < last || previous === this.lastPrevious[index])) {
      this.stats.duplicates++
      return false
    }
    if (this.isSnapshot) {
      if (sequence > last) return true
      this.lose(
        index,
        `a snapshot that nobody asked for has seqId ${this.sequenceText ?? sequence}, ` +
          `the book is at ${lastText ?? last}`,
      )
      return false
    }
    this.lose(
      index,
      `prevSeqId ${this.previousText ?? previous} was received, ${lastText ?? last} was expected`,
    )
    return false
  }

  private lose(index: number, detail: string): void {
    this.states[index] = SUSPECT
    this.output.suspect(index, 'gap', detail)
  }

  /** Everything that is not a plain book, and books in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    let message: unknown
    try {
      const text = decodeText(frame)
      if (text.trim() === 'pong') return
      message = JSON.parse(text.replace(LONG_SEQUENCE, '"$1"$2"$3"'))
    } catch {
      return this.undecodable(frame, 'not JSON')
    }
    if (!isRecord(message)) return this.undecodable(frame, 'not a JSON object')
    const { event, arg, action, data } = message
    if (event !== undefined) return this.receivedEvent(event, message)
    if (!isRecord(arg) || arg.channel !== 'books') {
      this.stats.unknownFrames++
      return
    }
    this.stats.scannerFallbacks++
    const index = this.indexOf(arg.instId)
    if (index < 0 || Array.isArray(data) && data.length === 0) {
      this.stats.unknownFrames++
      return
    }
    const problem = this.decode(action, data, this.instruments[index])
    if (problem === undefined) return this.deliver(index, receivedUs)
    if (action === 'snapshot') this.isAsked(index)
    if (this.states[index] !== SUSPECT) this.lose(index, `unreadable frame: ${problem}`)
  }

  /** Fills `changes` and the fields beside it; returns what is wrong with the message. */
  private decode(action: unknown, data: unknown, instrument: Instrument): string | undefined {
    if (action !== 'snapshot' && action !== 'update') return 'action is not snapshot or update'
    if (!Array.isArray(data)) return 'data is not an array'
    this.changes.reset()
    this.isSnapshot = action === 'snapshot'
    // Several entries count as one that spans them all.
    let first = NO_SEQUENCE
    let firstText: string | undefined
    for (const [position, entry] of data.entries()) {
      if (!isRecord(entry)) return 'an entry of data is not an object'
      const { asks, bids, ts, checksum, seqId, prevSeqId } = entry
      const { sequence, sequenceText } = this
      const problem = this.append(ASK, asks, instrument) ?? this.append(BID, bids, instrument) ??
        this.decodeProof(checksum, seqId, prevSeqId)
      if (problem !== undefined) return problem
      if (position === 0) {
        first = this.previous
        firstText = this.previousText
      } else if (this.previous !== sequence || this.previousText !== sequenceText) {
        return 'entries of data do not follow each other'
      }
      const time = typeof ts === 'string' ? canonicalDecimal(ts) : undefined
      const timestampMs = time === undefined ? NaN : scaledFromText(time, 0)
      this.timestampMs = timestampMs >= 0 ? timestampMs : -1
    }
    this.previous = first
    this.previousText = firstText
    return undefined
  }

  private decodeProof(checksum: unknown, seqId: unknown, prevSeqId: unknown): string | undefined {
    this.checksum = typeof checksum === 'number' && Number.isSafeInteger(checksum) ? checksum : 0
    this.sequence = NO_SEQUENCE
    this.previous = NO_SEQUENCE
    this.sequenceText = undefined
    this.previousText = undefined
    if (seqId === undefined && prevSeqId === undefined) {
      return this.checksum === 0 ? 'it has neither seqId nor checksum' : undefined
    }
    const sequence = sequenceOf(seqId)
    if (!(sequence >= 0)) return 'seqId is not an integer from 0'
    const previous = sequenceOf(prevSeqId)
    if (!(previous >= -1)) return 'prevSeqId is not an integer from -1'
    this.sequence = sequence
    this.previous = previous
    if (!Number.isSafeInteger(sequence)) this.sequenceText = String(seqId)
    if (!Number.isSafeInteger(previous)) this.previousText = String(prevSeqId)
    return undefined
  }

  /** Adds the levels of a side to `changes`; returns what is wrong with them. */
  private append(side: number, levels: unknown, instrument: Instrument): string | undefined {
    if (!Array.isArray(levels)) return `${side === ASK ? 'asks' : 'bids'} is not an array`
    return appendSide(this.changes, side, levels, instrument)
  }

  private receivedEvent(event: unknown, message: Record<string, unknown>): void {
    const { arg, code } = message
    const index = isRecord(arg) && arg.channel === 'books' ? this.indexOf(arg.instId) : -1
    switch (event) {
      case 'subscribe':
        if (index >= 0 && this.subscribes[index] > 0) this.subscribes[index]--
        return
      case 'unsubscribe':
        if (index >= 0) this.unsubscribedBy(index)
        return
      case 'channel-conn-count':
        return
      case 'error':
      case 'channel-conn-count-error':
        return this.refused(message)
      case 'notice':
        if (shown(code) !== CLOSING_SOON) break
        if (!this.isRetiring) {
          this.isRetiring = true
          this.output.retire(`OKX says "${shown(message.msg)}" (${CLOSING_SOON})`)
        }
        return
    }
    this.stats.unknownFrames++
  }

  /**
   * Requests are served in order, so a subscription is still to be acknowledged, or it is over. One
   * that has brought its book and was not asked to end is over, acknowledged or not.
   */
  private unsubscribedBy(index: number): void {
    const isOwn = this.unsubscribes[index] > 0
    if (isOwn) this.unsubscribes[index]--
    if (this.subscribes[index] > 0 && (isOwn || this.states[index] !== LIVE)) return
    this.subscribed[index] = 0
    if (this.states[index] !== LIVE) return
    this.states[index] = SUSPECT
    const { wireSymbol } = this.instruments[index]
    this.output.suspect(index, 'stale', `${wireSymbol} is not subscribed any more`)
  }

  /** An error reply: about the instruments it names, or about the connection. */
  private refused(message: Record<string, unknown>): void {
    const { arg, msg, code } = message
    const said = saidBy(msg ?? message)
    const reply = code === undefined ? `"${said}"` : `"${said}" (${shown(code)})`
    const isRequest = shown(code) === ILLEGAL_REQUEST
    if (shown(code) === TOO_FREQUENT || !isRequest && said.matches(RATE_LIMITED)) {
      const own = isRecord(arg) ? this.indexOf(arg.instId) : -1
      const refused = own >= 0
        ? [own]
        : indexesIn(this.states, WAITING).filter((i) => this.subscribes[i] > 0)
      if (refused.length > 0) return this.postpone(refused, reply)
      this.abandon(
        'E_RATE_LIMITED',
        `OKX refused a message: ${reply}; expected to be within 3 connections a second per IP ` +
          'address and 480 subscriptions an hour per connection; look for other clients on this ' +
          'address',
        RATE_LIMIT_WAIT_MS,
      )
      return
    }
    const named = new Set<number>()
    // A request that was not understood is quoted whole: that it names an instrument means nothing.
    if (!isRequest) {
      const own = isRecord(arg) ? this.indexOf(arg.instId) : -1
      if (own >= 0) named.add(own)
      for (const index of said.named(this.ids)) named.add(index)
    }
    if (named.size === 0) {
      this.abandon(
        'E_SUBSCRIBE',
        `OKX answered with an error that names no instrument: ${reply}, expected a ` +
          'subscription; the connection is replaced',
      )
      return
    }
    this.forget(named)
    for (const index of named) {
      const { symbol, wireSymbol } = this.instruments[index]
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `OKX refused ${wireSymbol}: ${reply}, expected a subscription; ` +
            'check that the instrument is listed and traded',
          { scope: 'symbol', symbol },
        ),
      )
    }
  }

  private forget(indexes: Iterable<number>): void {
    for (const index of indexes) {
      this.states[index] = SUSPECT
      this.subscribed[index] = 0
      this.subscribes[index] = 0
      this.unsubscribes[index] = 0
      this.snapshots[index] = 0
    }
  }

  private postpone(indexes: readonly number[], reply: string): void {
    this.forget(indexes)
    defer(
      this.output,
      this.instruments,
      indexes,
      `OKX refused a message: ${reply}; expected to be within 480 subscriptions an hour per ` +
        'connection; look for other clients on this address',
      RATE_LIMIT_WAIT_MS,
    )
  }

  /** It may have been anything, so nothing on this socket is proven any more. */
  private undecodable(frame: Uint8Array, problem: string): void {
    this.abandon('E_DECODE', unreadableText(frame, problem, 'a message of OKX v5'))
  }

  private abandon(
    code: 'E_DECODE' | 'E_SUBSCRIBE' | 'E_RATE_LIMITED',
    message: string,
    retryAfterMs = 0,
  ): void {
    this.isDead = true
    this.states.fill(SUSPECT)
    this.output.fail(
      new ObfeedError(code, message, {
        scope: 'connection',
        ...(retryAfterMs > 0 ? { retryAfterMs } : {}),
      }),
    )
  }

  private indexOf(id: unknown): number {
    return typeof id === 'string' ? this.ids.get(id) ?? -1 : -1
  }

  private request(op: 'subscribe' | 'unsubscribe', indexes: readonly number[]): void {
    const isSubscribe = op === 'subscribe'
    const pending = isSubscribe ? this.subscribes : this.unsubscribes
    for (const index of indexes) {
      pending[index]++
      if (isSubscribe) this.snapshots[index]++
      this.subscribed[index] = isSubscribe ? 1 : 0
    }
    for (let i = 0; i < indexes.length; i += INSTRUMENTS_PER_MESSAGE) {
      const args = indexes.slice(i, i + INSTRUMENTS_PER_MESSAGE)
        .map((index) => ({ channel: 'books', instId: this.instruments[index].wireSymbol }))
      this.requests[this.beat]++
      this.requestsInHour++
      this.output.send(JSON.stringify({ op, args }))
      this.said = true
    }
  }
}

function messagesFor(instruments: number): number {
  return Math.ceil(instruments / INSTRUMENTS_PER_MESSAGE)
}

/** A JSON integer, or NaN. */
function scanSigned(): number {
  const isNegative = scanner.byte(MINUS)
  const value = scanner.unsigned()
  return value < 0 ? NaN : isNegative ? -value : value
}

/** `prevSeqId`: an integer from -1, else `NO_SEQUENCE`. */
function scanPrevious(): number {
  const value = scanSigned()
  return value >= -1 ? value : NO_SEQUENCE
}

/** A sequence as a number, rounded beyond 2^53 (its text is kept then); NaN when it is none. */
function sequenceOf(value: unknown): number {
  if (typeof value === 'string') return /^(?:0|[1-9]\d{0,30})$/.test(value) ? Number(value) : NaN
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : NaN
}

/** Canned life of one connection: a whole book, then updates that change it. */
function warmFrames(instrument: Instrument): Uint8Array[] {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const encoder = new TextEncoder()
  /** Even levels are asks, odd ones bids; the higher, the worse. */
  const level = (n: number, lots: number) => {
    const offset = (n >> 1) + 1
    const price = scaledToText(100_000 + (n & 1 ? -offset : offset), priceDecimals)
    return `["${price}","${scaledToText(lots, sizeDecimals)}","0","${lots === 0 ? 0 : 1 + n % 12}"]`
  }
  const frame = (action: string, sequence: number, previous: number, levels: [number, number][]) =>
    encoder.encode(
      `{"arg":{"channel":"books","instId":"${wireSymbol}"},"action":"${action}","data":[{` +
        `"asks":[${
          levels.filter(([n]) => !(n & 1)).map(([n, lots]) => level(n, lots)).join(',')
        }],` +
        `"bids":[${levels.filter(([n]) => n & 1).map(([n, lots]) => level(n, lots)).join(',')}],` +
        `"ts":"${1_767_225_600_000 + sequence}","checksum":0,"seqId":${sequence},` +
        `"prevSeqId":${previous}}]}`,
    )
  const frames = [
    frame('snapshot', 1000, -1, Array.from({ length: 2 * DEPTH }, (_, n) => [n, 1 + n])),
  ]
  for (let i = 1; i <= 300; i++) {
    const levels: [number, number][] = []
    for (let k = 0; k < 1 + i % 8; k++) {
      const random = mixed(i * 8 + k)
      levels.push([random % (2 * DEPTH), random % 3 === 0 ? 0 : random % 1_000_003])
    }
    frames.push(frame('update', 1000 + 7 * i, 1000 + 7 * (i - 1), levels))
  }
  return frames
}

const codeOf = codesWith({ AE: 'AET' })

/** In ccxt's order. */
const TYPES = ['SPOT', 'FUTURES', 'SWAP']
const INSTRUMENTS = 'https://www.okx.com/api/v5/public/instruments?instType='
const TICKERS = 'https://www.okx.com/api/v5/market/tickers?instType='

/** What is read of an instrument; an instrument before its listing has little of it. */
interface ListedInstrument {
  readonly instId?: unknown
  readonly instType?: unknown
  readonly baseCcy?: unknown
  readonly quoteCcy?: unknown
  readonly settleCcy?: unknown
  readonly uly?: unknown
  readonly expTime?: unknown
  readonly tickSz?: unknown
  readonly lotSz?: unknown
  readonly state?: unknown
}

/** What is read of a ticker. */
interface Ticker {
  readonly instId?: unknown
  readonly instType?: unknown
  readonly last?: unknown
  readonly volCcy24h?: unknown
}

/** What is not said is said with an empty text, or not at all. */
function stringOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** The entries of all answers; undefined when one of them is of another shape. */
function dataOf<T>(answers: readonly unknown[]): (T | null)[] | undefined {
  const entries: (T | null)[] = []
  for (const answer of answers) {
    const data = (answer as { readonly data?: unknown } | null)?.data
    if (!Array.isArray(data)) return undefined
    for (const entry of data) entries.push(entry)
  }
  return entries
}

/** `BTC/USDT`, `BTC/USDT:USDT`, `BTC/USD:BTC-261225`. */
function symbolOf(instrument: ListedInstrument, id: string): string {
  const isSpot = instrument.instType === 'SPOT'
  let base = stringOf(instrument.baseCcy)
  let quote = stringOf(instrument.quoteCcy)
  const underlying = stringOf(instrument.uly)
  if (isSpot ? base === '' || quote === '' : underlying !== '') {
    const parts = (isSpot ? id : underlying).split('-')
    base = parts[0] ?? ''
    quote = parts[1] ?? ''
  }
  let symbol = base === '' || quote === '' ? id : `${codeOf(base)}/${codeOf(quote)}`
  if (isSpot) return symbol
  const settle = stringOf(instrument.settleCcy)
  if (settle !== '') symbol += `:${codeOf(settle)}`
  const expiry = stringOf(instrument.expTime)
  const isDated = instrument.instType === 'FUTURES' && /^\d{1,15}$/.test(expiry)
  if (isDated) symbol += `-${dayOf(Number(expiry))}`
  return symbol
}

function parseMarkets(answers: readonly unknown[]): Market[] | undefined {
  const instruments = dataOf<ListedInstrument>(answers)
  if (instruments === undefined) return undefined
  const markets: Market[] = []
  for (const instrument of instruments) {
    // Before its listing an instrument may have no name yet.
    const id = stringOf(instrument?.instId)
    if (instrument === null || id === '') continue
    const type = instrument.instType
    if (typeof type !== 'string' || !TYPES.includes(type)) return undefined
    markets.push({
      symbol: symbolOf(instrument, id),
      wireSymbol: id,
      priceDecimals: decimalsOf(instrument.tickSz),
      sizeDecimals: decimalsOf(instrument.lotSz),
      active: instrument.state === 'live',
    })
  }
  return markets
}

/** `volCcy24h` is in the quote currency on the spot market, and in the base currency elsewhere. */
function parseVolumes(
  answers: readonly unknown[],
  markets: readonly Market[],
): ReadonlyMap<string, number> | undefined {
  const tickers = dataOf<Ticker>(answers)
  if (tickers === undefined) return undefined
  const byId = new Map<unknown, number>()
  for (const ticker of tickers) {
    const traded = Number(ticker?.volCcy24h) || 0
    const price = ticker?.instType === 'SPOT' ? 1 : Number(ticker?.last) || 0
    byId.set(ticker?.instId, traded * price)
  }
  return volumesOf(markets, byId)
}

export const okx: Adapter = {
  exchange: 'okx',
  protocol: { snapshot: 'inband', loss: 'sequence', lossScope: 'symbol', depth: DEPTH },
  limits: {
    symbolsPerConnection: INSTRUMENTS_PER_MESSAGE,
    framesPerSecond: 3,
    connectsPerSecond: 3,
    subscribeWithinMs: 20_000,
    // A whole book is about 40 KB.
    frameBytesMax: 4 * 1024 * 1024,
  },
  url: () => 'wss://ws.okx.com:8443/ws/v5/public',
  markets: { urls: TYPES.map((type) => INSTRUMENTS + type), parse: parseMarkets },
  volumes: { urls: TYPES.map((type) => TICKERS + type), parse: parseVolumes },
  depth: (wanted) => ({ view: wanted === 0 ? DEPTH : Math.min(wanted, DEPTH), kept: DEPTH }),
  warmFrames,
  open: (instruments, output) => new OkxSession(instruments, output),
}
