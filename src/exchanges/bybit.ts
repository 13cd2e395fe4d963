/**
 * Bybit v5 (spot, linear, inverse): topic `orderbook.DEPTH.SYMBOL`, whole books in band, one update
 * id per topic.
 *
 * ```
 * {"topic":"orderbook.50.BTCUSDT","ts":1787612486096,   // the gateway's time, ms
 *  "type":"delta",                                      // or "snapshot": the whole book
 *  "data":{"s":"BTCUSDT",
 *    "b":[["78715","1.271882"]],"a":[["78715.1","0"]],  // price, absolute size; "0" deletes
 *    "u":217107084,                                     // the update id of this topic
 *    "seq":113099229623},                               // orders the exchange's topics, has holes
 *  "cts":1787612486094}                                 // the matching engine's time, ms
 * ```
 *
 * `type` and `ts` stand in either order. `cts` is the event's time: what the gateway adds to it is
 * delay. It is younger than the rest; without it, `ts` has to do. The same symbol may exist in several
 * segments; the address decides which of them is served.
 *
 * 1. On open: subscribe, a few topics a message, because one bad topic has its whole message refused.
 *    The acknowledgement and the first data come in any order.
 * 2. A snapshot replaces the book, also one that nobody asked for: the exchange sends one when its
 *    service restarts, with `u` 1. One with the `u` and `seq` that are here already is a repetition.
 * 3. A delta has `u` one above the last. At or below: a repetition, ignored, unless something shows
 *    that the exchange has begun to count anew. More than one above: a loss; the book is suspect, and
 *    what the frame itself carries is dropped.
 * 4. Without a snapshot, deltas are ignored. Also a suspect book is whole again by any snapshot: it
 *    is the exchange's book as of its own `u`, and the deltas after it must follow on that.
 * 5. Resync: unsubscribe, and subscribe when that is acknowledged: asked for in one go, the second
 *    may find the topic still subscribed and is refused. When asked again meanwhile, or when it has
 *    not come between two pings, the acknowledgement is not waited for any more. Until the new
 *    subscription nothing counts.
 * 6. A refusal that names topics is the end of those; the rest of the message is asked for again.
 *    One that names none has its topics asked for one by one. Each message after a refusal has fewer
 *    topics than the refused one, so this ends.
 * 7. Ping every 20 s, or the exchange closes the socket. The pong keeps a quiet one from looking dead.
 */
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner } from '../core/scanner.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, BookDepth, Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendSide, exact, isRecord, isUnsigned, parseMessage, unreadableText } from './decode.ts'
import { defer } from './deferral.ts'
import { codesWith, dayOf, decimalsOf } from './listing.ts'
import { type Said, saidBy } from './said.ts'
import { fixedText, mixed } from './warm-frames.ts'

/** Levels a side of the topics that send changes; `orderbook.1` sends whole books only. */
const DEPTHS = [50, 200, 1000] as const
const DEPTH_MAX = 1000

const TYPE_DELTA_TS = new Literal('ype":"delta","ts":')
const TYPE_SNAPSHOT_TS = new Literal('ype":"snapshot","ts":')
const TS = new Literal('s":')
const TYPE_DELTA_DATA = new Literal(',"type":"delta","data":{"s":"')
const TYPE_SNAPSHOT_DATA = new Literal(',"type":"snapshot","data":{"s":"')
const DATA = new Literal(',"data":{"s":"')
const ASKS = new Literal(',"a":[')
const UPDATE_ID = new Literal(',"u":')
const SEQUENCE = new Literal(',"seq":')
const ENGINE_TIME = new Literal('},"cts":')
const LEVEL = new Literal('["')
const SIZE = new Literal(',"')
const BRACE = 0x7d
const BRACKET = 0x5d
const COMMA = 0x2c

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const WAITING = 1
const LIVE = 2
/** The exchange does not serve it: nothing counts before a resync. */
const REFUSED = 3

/** Its topic. */
const UNSUBSCRIBED = 0
const SUBSCRIBING = 1
const SUBSCRIBED = 2
const UNSUBSCRIBING = 3

/** What spot takes in one message; the other segments take more. */
const TOPICS_PER_MESSAGE = 10
/** Of these the oldest is forgotten: one unanswered for so long is not answered any more. */
const REQUESTS_MAX = 1000

/**
 * So many repetitions in a row, or one so far back, are none: the exchange has begun to count anew,
 * and every further change would be taken for a repetition.
 */
const DUPLICATES_MAX = 32
const DUPLICATE_DISTANCE_MAX = 1024

const PING_MS = 20_000

const RATE_LIMITED = /rate.?limit|too (?:many|frequent)|throttl|\b10006\b/i
const RATE_LIMIT_WAIT_MS = 10_000
const ALREADY_SUBSCRIBED = /already subscribed/i

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

type Op = 'subscribe' | 'unsubscribe'

interface Request {
  readonly op: Op
  readonly indexes: readonly number[]
}

/** The smallest topic that covers the wish. */
function depthOf(wanted: number): BookDepth {
  const kept = wanted === 0 ? DEPTH_MAX : DEPTHS.find((depth) => depth >= wanted) ?? DEPTH_MAX
  return { view: wanted === 0 ? kept : Math.min(wanted, kept), kept }
}

/** By the unified symbol: `BASE/QUOTE`, or `BASE/QUOTE:SETTLE` with an expiry behind it or none. */
function segmentOf(instrument: Instrument): 'spot' | 'linear' | 'inverse' {
  const [pair, contract] = instrument.symbol.split(':') as [string, string | undefined]
  if (contract === undefined) return 'spot'
  const [base, quote] = pair.split('/')
  const [settle] = contract.split('-')
  return settle === base && settle !== quote ? 'inverse' : 'linear'
}

class BybitSession implements Session {
  readonly heartbeatMs = PING_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  private readonly topics: readonly string[]
  private readonly byTopic: ReadonlyMap<string, number>
  private readonly byWireSymbol: ReadonlyMap<string, number>
  private readonly prefix: Literal
  private readonly wireIds: WireIds
  /** By instrument: what stands between `"s":"` and the first bid. */
  private readonly symbols: readonly Literal[]
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly states: Uint8Array<ArrayBuffer>
  private readonly phases: Uint8Array<ArrayBuffer>
  /** Number of the last message about the topic. */
  private readonly asked: Float64Array<ArrayBuffer>
  /** 1: it was found subscribed already when it should not be, and was unsubscribed for that. */
  private readonly repeated: Uint8Array<ArrayBuffer>
  private readonly lastUpdates: Float64Array<ArrayBuffer>
  private readonly lastSequences: Float64Array<ArrayBuffer>
  private readonly duplicatesInRow: Uint8Array<ArrayBuffer>
  /** Unanswered, oldest first. */
  private readonly requests: Map<number, Request> = new Map()
  private requestNumber = 0
  /** Number of the last message when `heartbeat` was called last. */
  private reviewed = 0
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  /** Of the frame that was decoded last. */
  private updateId = 0
  private sequence = NaN
  private timestampMs = -1
  private isSnapshot = false

  constructor(instruments: readonly Instrument[], output: SessionOutput, depth: number) {
    const prefix = `orderbook.${depthOf(depth).kept}.`
    this.instruments = instruments
    this.output = output
    this.topics = instruments.map(({ wireSymbol }) => prefix + wireSymbol)
    this.byTopic = new Map(this.topics.map((topic, index) => [topic, index]))
    const byWireSymbol = new Map(instruments.map(({ wireSymbol }, index) => [wireSymbol, index]))
    this.byWireSymbol = byWireSymbol
    this.prefix = new Literal(`{"topic":"${prefix}`)
    this.wireIds = new WireIds(byWireSymbol, '","t')
    this.symbols = instruments.map(({ wireSymbol }) => new Literal(`${wireSymbol}","b":[`))
    const { length } = instruments
    this.states = new Uint8Array(length).fill(WAITING)
    this.phases = new Uint8Array(length)
    this.asked = new Float64Array(length)
    this.repeated = new Uint8Array(length)
    this.lastUpdates = new Float64Array(length)
    this.lastSequences = new Float64Array(length)
    this.duplicatesInRow = new Uint8Array(length)
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
    const phases = this.phases
    const some = [...new Set(indexes)]
    const impatient = some.filter((index) => phases[index] === UNSUBSCRIBING)
    const fresh = some.filter((index) => phases[index] === UNSUBSCRIBED)
    this.request('unsubscribe', some.filter((index) => phases[index] !== UNSUBSCRIBED))
    this.request('subscribe', [...fresh, ...impatient])
  }

  heartbeat(): void {
    if (!this.isOpen || this.isDead) return
    this.output.send('{"op":"ping"}')
    const before = this.reviewed
    this.reviewed = this.requestNumber
    const unanswered: number[] = []
    for (let i = 0; i < this.phases.length; i++) {
      if (this.phases[i] === UNSUBSCRIBING && this.asked[i] <= before) unanswered.push(i)
    }
    this.request('subscribe', unanswered)
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index < 0) this.receivedJson(frame, receivedUs)
    else if (this.isSnapshot) this.replace(index, receivedUs)
    else this.advance(index, receivedUs)
  }

  /**
   * The fast path: one frame of one known topic in exactly one of the known spellings, decoded into
   * `changes`. Returns the instrument's index, or -1 for the JSON route to have the last word.
   */
  private scan(): number {
    if (!scanner.literal(this.prefix)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0) return -1
    let timestampMs = -1
    let isSnapshot = false
    if (scanner.literal(TS)) {
      timestampMs = scanner.unsigned()
      if (timestampMs < 0) return -1
      if (!scanner.literal(TYPE_DELTA_DATA)) {
        if (!scanner.literal(TYPE_SNAPSHOT_DATA)) return -1
        isSnapshot = true
      }
    } else {
      if (!scanner.literal(TYPE_DELTA_TS)) {
        if (!scanner.literal(TYPE_SNAPSHOT_TS)) return -1
        isSnapshot = true
      }
      timestampMs = scanner.unsigned()
      if (timestampMs < 0 || !scanner.literal(DATA)) return -1
    }
    if (!scanner.literal(this.symbols[index])) return -1
    const changes = this.changes
    changes.reset()
    const instrument = this.instruments[index]
    if (!this.scanLevels(BID, instrument) || !scanner.literal(ASKS)) return -1
    if (!this.scanLevels(ASK, instrument) || !scanner.literal(UPDATE_ID)) return -1
    const updateId = scanner.unsigned()
    if (updateId < 0 || !scanner.literal(SEQUENCE)) return -1
    const sequence = scanner.unsigned()
    if (sequence < 0) return -1
    if (scanner.literal(ENGINE_TIME)) {
      timestampMs = scanner.unsigned()
      if (timestampMs < 0) return -1
    } else if (!scanner.byte(BRACE)) {
      return -1
    }
    if (!scanner.byte(BRACE) || !scanner.isDone()) return -1
    this.updateId = updateId
    this.sequence = sequence
    this.timestampMs = timestampMs
    this.isSnapshot = isSnapshot
    return index
  }

  /** The levels of one side, up to and with the bracket that closes it. */
  private scanLevels(side: typeof BID | typeof ASK, instrument: Instrument): boolean {
    if (scanner.byte(BRACKET)) return true
    const changes = this.changes
    const { priceDecimals, sizeDecimals } = instrument
    for (let i = changes.count;; i++) {
      if (i === changes.side.length) changes.grow()
      if (!scanner.literal(LEVEL)) return false
      let price = scanner.decimal(priceDecimals)
      if (!(price >= 0)) {
        if (price < 0) return false
        price = exact(scanner.decimalText(), priceDecimals, changes.widePrice, i)
      }
      if (!scanner.literal(SIZE)) return false
      let size = scanner.decimal(sizeDecimals)
      if (!(size >= 0)) {
        if (size < 0) return false
        size = exact(scanner.decimalText(), sizeDecimals, changes.wideSize, i)
      }
      changes.side[i] = side
      changes.price[i] = price
      changes.size[i] = size
      changes.count = i + 1
      if (!scanner.byte(BRACKET)) return false
      if (!scanner.byte(COMMA)) return scanner.byte(BRACKET)
    }
  }

  /** The decoded snapshot. */
  private replace(index: number, receivedUs: number): void {
    const state = this.states[index]
    // A subscription that is being given up, or that the exchange says is none.
    if (state === REFUSED || this.phases[index] === UNSUBSCRIBING) return
    const { updateId, sequence } = this
    const isKnown = updateId === this.lastUpdates[index] && sequence === this.lastSequences[index]
    if (state === LIVE && isKnown && updateId !== 1) {
      this.stats.duplicates++
      return
    }
    this.states[index] = LIVE
    this.repeated[index] = 0
    this.keepPlace(index)
    this.stamp(receivedUs)
    this.output.snapshot(index, this.changes)
  }

  /** The decoded delta: applied when it is the next one. */
  private advance(index: number, receivedUs: number): void {
    if (this.states[index] !== LIVE) return
    const { updateId } = this
    const expected = this.lastUpdates[index] + 1
    if (updateId === expected) {
      this.keepPlace(index)
      this.stamp(receivedUs)
      this.output.delta(index, this.changes)
    } else if (updateId > expected) {
      this.lose(index, `u ${updateId} was received, ${expected} was expected`)
    } else {
      this.repetition(index, expected)
    }
  }

  private keepPlace(index: number): void {
    this.lastUpdates[index] = this.updateId
    this.lastSequences[index] = this.sequence
    this.duplicatesInRow[index] = 0
  }

  private repetition(index: number, expected: number): void {
    const { updateId } = this
    this.stats.duplicates++
    const isAnew = updateId === 1 || this.sequence > this.lastSequences[index] ||
      updateId < expected - DUPLICATE_DISTANCE_MAX ||
      ++this.duplicatesInRow[index] > DUPLICATES_MAX
    if (!isAnew) return
    this.lose(
      index,
      `u fell from ${expected - 1} to ${updateId}, ${expected} was expected; ` +
        'the exchange counts anew',
    )
  }

  private stamp(receivedUs: number): void {
    const changes = this.changes
    changes.nonce = this.updateId
    changes.timestampMs = this.timestampMs
    changes.receivedUs = receivedUs
  }

  private lose(index: number, detail: string): void {
    this.states[index] = SUSPECT
    this.output.suspect(index, 'gap', `${this.topics[index]}: ${detail}`)
  }

  /** Everything that is not data of a topic, and data in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    const message = parseMessage(frame)
    if (typeof message === 'string') return this.undecodable(frame, message)
    const { topic } = message
    if (topic === undefined) return this.answered(message)
    const index = typeof topic === 'string' ? this.byTopic.get(topic) : undefined
    if (index === undefined) {
      this.stats.unknownFrames++
      return
    }
    this.stats.scannerFallbacks++
    const problem = this.decode(message, index)
    if (problem !== undefined) {
      // A change of this topic, and only of this one, that nobody will see again.
      const state = this.states[index]
      const counts = state === LIVE || state === WAITING
      if (counts && this.phases[index] !== UNSUBSCRIBING) {
        this.lose(index, `a frame could not be read (${problem}), expected a change of the book`)
      }
    } else if (this.isSnapshot) {
      this.replace(index, receivedUs)
    } else {
      this.advance(index, receivedUs)
    }
  }

  /** The JSON route's `scan`: a text says what is wrong. */
  private decode(message: Record<string, unknown>, index: number): string | undefined {
    const { type, data } = message
    if (type !== 'snapshot' && type !== 'delta') return 'type is not snapshot or delta'
    if (!isRecord(data)) return 'data is not an object'
    const { s, u, seq } = data
    const instrument = this.instruments[index]
    if (s !== instrument.wireSymbol) return 's is not the symbol of the topic'
    if (!isUnsigned(u)) return 'u is not an integer from 0'
    this.changes.reset()
    const problem = this.append(BID, data.b, type === 'delta', instrument) ??
      this.append(ASK, data.a, type === 'delta', instrument)
    if (problem !== undefined) return problem
    this.updateId = u
    this.sequence = isUnsigned(seq) ? seq : NaN
    this.timestampMs = isUnsigned(message.cts)
      ? message.cts
      : isUnsigned(message.ts)
      ? message.ts
      : -1
    this.isSnapshot = type === 'snapshot'
    return undefined
  }

  /** Adds levels to `changes`; returns what is wrong with them. */
  private append(
    side: typeof BID | typeof ASK,
    levels: unknown,
    mayLack: boolean,
    instrument: Instrument,
  ): string | undefined {
    // No change of this side. A book without one would be another matter.
    if (mayLack && (levels === undefined || levels === null)) return undefined
    if (!Array.isArray(levels)) return `${side === BID ? 'b' : 'a'} is not an array`
    return appendSide(this.changes, side, levels, instrument)
  }

  // -- requests and their answers

  /** A message without a topic. */
  private answered(message: Record<string, unknown>): void {
    const { op, success } = message
    const code = message.ret_code ?? message.retCode ?? 0
    const text = message.ret_msg ?? message.retMsg
    const isFailure = code !== 0 && code !== '0' && code !== ''
    if (isFailure || success === false) {
      return this.refused(message, isFailure ? saidBy(code, text) : saidBy(text))
    }
    if (op === 'pong' || op === 'ping' || text === 'pong' || 'pong' in message) return
    if (op !== 'subscribe' && op !== 'unsubscribe') {
      this.stats.unknownFrames++
      return
    }
    const number = this.numberOf(message, op, [])
    const request = this.requests.get(number)
    if (request === undefined) return
    this.requests.delete(number)
    if (request.op === 'unsubscribe') return this.unsubscribed(request, number)
    for (const index of request.indexes) {
      if (this.asked[index] === number) this.phases[index] = SUBSCRIBED
    }
  }

  /** Also after a refusal: what is not subscribed need not be unsubscribed. */
  private unsubscribed(request: Request, number: number): void {
    this.request('subscribe', request.indexes.filter((index) => this.asked[index] === number))
  }

  /**
   * Number of the request that is answered: the one named, else the oldest unanswered with one of the
   * topics named, else the oldest. 0: none.
   */
  private numberOf(
    message: Record<string, unknown>,
    op: unknown,
    named: readonly number[],
  ): number {
    const { req_id: id } = message
    if (typeof id === 'string' && id !== '') return Number(id)
    for (const [number, request] of this.requests) {
      if (op !== undefined && request.op !== op) continue
      if (named.length === 0 || request.indexes.some((index) => named.includes(index))) {
        return number
      }
    }
    return 0
  }

  /** An error reply: about the topics it names, those of its request, or the connection. */
  private refused(message: Record<string, unknown>, said: Said): void {
    if (said.matches(RATE_LIMITED)) {
      // One that names no request may be about the whole address.
      const { req_id: id } = message
      const number = typeof id === 'string' && id !== '' ? Number(id) : NaN
      const asked = this.requests.get(number)?.indexes.filter((i) => this.asked[i] === number) ?? []
      this.requests.delete(number)
      const refused = asked.filter((index) => this.states[index] !== LIVE)
      for (const index of refused) {
        this.states[index] = REFUSED
        this.phases[index] = UNSUBSCRIBED
        this.repeated[index] = 0
      }
      if (refused.length > 0) {
        return defer(
          this.output,
          this.instruments,
          refused,
          `Bybit refused a message ("${said}"); look for other clients on this address`,
          RATE_LIMIT_WAIT_MS,
        )
      }
      return this.giveUp(
        'E_RATE_LIMITED',
        `Bybit refused a message ("${said}"), expected to be within 500 connections in 5 minutes ` +
          'per IP address; look for other clients on this address',
        RATE_LIMIT_WAIT_MS,
      )
    }
    const named = [...said.named(this.byWireSymbol)]
    const number = this.numberOf(message, message.op, named)
    const request = this.requests.get(number)
    this.requests.delete(number)
    if (message.op === 'unsubscribe' || request?.op === 'unsubscribe') {
      if (request !== undefined) this.unsubscribed(request, number)
      return
    }
    // What has data by now was not refused, whatever became of the rest.
    const open = request?.indexes.filter((index) => this.asked[index] === number) ?? []
    const blamed = request === undefined ? named : named.filter((index) => open.includes(index))
    if (blamed.length === 0 && open.length > 1) {
      const rest = open.filter((index) => this.states[index] !== LIVE)
      for (const index of rest) this.request('subscribe', [index])
      return
    }
    const guilty = blamed.length > 0 ? blamed : open
    if (guilty.length === 0) {
      // An answer to what was asked for again meanwhile says nothing of now.
      if (request !== undefined) return
      return this.giveUp(
        'E_SUBSCRIBE',
        `Bybit answered with an error that names no topic ("${said}"), expected a subscription; ` +
          'the connection is replaced',
      )
    }
    const rest = open.filter((index) => !guilty.includes(index) && this.states[index] !== LIVE)
    if (said.matches(ALREADY_SUBSCRIBED)) this.subscribedAlready(guilty, said)
    else for (const index of guilty) this.reject(index, said)
    this.request('subscribe', rest)
  }

  /** With data that is as good as subscribed; without, only a new subscription brings some. */
  private subscribedAlready(indexes: readonly number[], said: Said): void {
    const silent: number[] = []
    for (const index of indexes) {
      this.phases[index] = SUBSCRIBED
      if (this.states[index] === LIVE) continue
      if (this.repeated[index] === 1) {
        this.reject(index, said)
      } else {
        this.repeated[index] = 1
        silent.push(index)
      }
    }
    this.request('unsubscribe', silent)
  }

  private reject(index: number, said: Said): void {
    this.states[index] = REFUSED
    this.phases[index] = UNSUBSCRIBED
    this.repeated[index] = 0
    const { symbol, wireSymbol } = this.instruments[index]
    this.output.fail(
      new ObfeedError(
        'E_SUBSCRIBE',
        `Bybit refused ${wireSymbol} ("${said}"), expected a subscription to ` +
          `${this.topics[index]}; check that the market is listed and tradable`,
        { scope: 'symbol', symbol },
      ),
    )
  }

  private request(op: Op, indexes: readonly number[]): void {
    const phase = op === 'subscribe' ? SUBSCRIBING : UNSUBSCRIBING
    for (let i = 0; i < indexes.length; i += TOPICS_PER_MESSAGE) {
      const some = indexes.slice(i, i + TOPICS_PER_MESSAGE)
      const number = ++this.requestNumber
      for (const index of some) {
        this.phases[index] = phase
        this.asked[index] = number
      }
      this.requests.set(number, { op, indexes: some })
      const args = some.map((index) => this.topics[index])
      this.output.send(JSON.stringify({ op, req_id: String(number), args }))
    }
    while (this.requests.size > REQUESTS_MAX) {
      this.requests.delete(this.requests.keys().next().value!)
    }
  }

  // -- the connection

  /** It may have been a change of any topic, so nothing on this socket is proven any more. */
  private undecodable(frame: Uint8Array, problem: string): void {
    this.giveUp('E_DECODE', unreadableText(frame, problem, 'a Bybit v5 message'))
  }

  private giveUp(
    code: 'E_DECODE' | 'E_SUBSCRIBE' | 'E_RATE_LIMITED',
    message: string,
    retryAfterMs?: number,
  ): void {
    this.isDead = true
    // That is the end of every book of this socket: none of them needs a word of its own.
    this.output.fail(
      new ObfeedError(code, message, {
        scope: 'connection',
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      }),
    )
  }
}

/**
 * Canned life of one connection: a book of 500 levels a side, then changes of it, in both known
 * spellings. `depth`: as given to `open`.
 */
function warmFrames(instrument: Instrument, depth = DEPTH_MAX): Uint8Array[] {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const topic = `orderbook.${depthOf(depth).kept}.${wireSymbol}`
  const encoder = new TextEncoder()
  const price = (ticks: number) => fixedText(ticks, priceDecimals)
  const size = (lots: number) => fixedText(lots, sizeDecimals)
  const frame = (u: number, type: string, levels: readonly (readonly [number, number])[]) => {
    const side = (isBid: boolean) =>
      levels.filter(([n]) => (n & 1) === (isBid ? 1 : 0)).map(([n, lots]) => {
        const offset = (n >> 1) + 1
        const at = price(100_000 + (isBid ? -offset : offset))
        return `["${at}","${lots === 0 ? '0' : size(lots)}"]`
      }).join(',')
    const ts = 1787612486096 + u
    const head = u % 16 === 15 ? `"type":"${type}","ts":${ts}` : `"ts":${ts},"type":"${type}"`
    return encoder.encode(
      `{"topic":"${topic}",${head},"data":{"s":"${wireSymbol}","b":[${side(true)}],` +
        `"a":[${side(false)}],"u":${u},"seq":${113099229623 + 7 * u}},"cts":${ts - 2}}`,
    )
  }
  const frames = [frame(1, 'snapshot', Array.from({ length: 1000 }, (_, n) => [n, 1 + n] as const))]
  for (let i = 1; i <= 300; i++) {
    const levels: (readonly [number, number])[] = []
    for (let k = 0; k < 1 + i % 8; k++) {
      const random = mixed(i * 8 + k)
      levels.push([random % 1100, random % 3 === 0 ? 0 : random % 1_000_003])
    }
    frames.push(frame(1 + i, 'delta', levels))
  }
  return frames
}

// -- markets

const SEGMENTS = ['spot', 'linear', 'inverse'] as const
const INSTRUMENTS = 'https://api.bybit.com/v5/market/instruments-info?category='
const TICKERS = 'https://api.bybit.com/v5/market/tickers?category='

/** What is not traded yet is listed on request only. */
const LISTS = [
  { segment: 'spot', query: '' },
  { segment: 'linear', query: '&limit=1000' },
  { segment: 'linear', query: '&limit=1000&status=PreLaunch' },
  { segment: 'inverse', query: '&limit=1000' },
  { segment: 'inverse', query: '&limit=1000&status=PreLaunch' },
] as const

const codeOf = codesWith({})

/** The list in an answer; undefined when the answer is another one. */
function listOf(answer: unknown): readonly Record<string, unknown>[] | undefined {
  if (!isRecord(answer) || !isRecord(answer.result)) return undefined
  const { list } = answer.result
  return Array.isArray(list) && list.every(isRecord) ? list : undefined
}

/** The same of several pages. */
function listOfPages(pages: unknown): readonly Record<string, unknown>[] | undefined {
  if (!Array.isArray(pages)) return undefined
  const lists = pages.map(listOf)
  return lists.includes(undefined) ? undefined : lists.flatMap((list) => list ?? [])
}

function nextPage(answer: unknown): string | undefined {
  const result = isRecord(answer) ? answer.result : undefined
  const cursor = isRecord(result) ? result.nextPageCursor : undefined
  if (typeof cursor !== 'string' || cursor === '') return undefined
  // It comes ready for an address.
  return `&cursor=${/^[\w%.~:*-]+$/.test(cursor) ? cursor : encodeURIComponent(cursor)}`
}

/** What follows the pair in the unified symbol of a contract; undefined when it cannot be told. */
function contractOf(
  row: Record<string, unknown>,
  segment: string,
  base: string,
  quote: string,
): string | undefined {
  const { contractType, settleCoin, deliveryTime } = row
  const isPerpetual = contractType === 'LinearPerpetual' || contractType === 'InversePerpetual'
  const settleId = typeof settleCoin === 'string' && settleCoin !== ''
    ? settleCoin
    : segment === 'linear'
    ? quote
    : base
  const settle = contractType === 'LinearPerpetual' && settleId === 'USD'
    ? 'USDC'
    : codeOf(settleId)
  // Of a perpetual it is the time of its delisting.
  if (isPerpetual) return `:${settle}`
  const expiryMs = deliveryTime === undefined ? 0 : Number(deliveryTime)
  if (!Number.isSafeInteger(expiryMs) || expiryMs < 0 || expiryMs > 8.64e15) return undefined
  return expiryMs === 0 ? `:${settle}` : `:${settle}-${dayOf(expiryMs)}`
}

function parseMarkets(answers: readonly unknown[]): Market[] | undefined {
  const markets: Market[] = []
  for (const [at, { segment }] of LISTS.entries()) {
    const list = listOfPages(answers[at])
    if (list === undefined) return undefined
    for (const row of list) {
      const { symbol: wireSymbol, baseCoin: base, quoteCoin: quote, status } = row
      if (typeof wireSymbol !== 'string' || typeof base !== 'string' || typeof quote !== 'string') {
        return undefined
      }
      const price = isRecord(row.priceFilter) ? row.priceFilter : {}
      const lot = isRecord(row.lotSizeFilter) ? row.lotSizeFilter : {}
      const contract = segment === 'spot' ? '' : contractOf(row, segment, base, quote)
      if (contract === undefined) return undefined
      const isSpot = segment === 'spot'
      markets.push({
        symbol: `${codeOf(base)}/${codeOf(quote)}${contract}`,
        wireSymbol,
        priceDecimals: decimalsOf(price.tickSize || (isSpot ? lot.quotePrecision : undefined)),
        sizeDecimals: decimalsOf(isSpot ? lot.basePrecision : lot.qtyStep),
        active: status === 'Trading',
      })
    }
  }
  return markets
}

/** The turnover is in the quote currency, but in the base currency of inverse contracts. */
function parseVolumes(
  answers: readonly unknown[],
  markets: readonly Market[],
): Map<string, number> | undefined {
  const bySegment = new Map<string, Map<unknown, number>>()
  for (const [at, segment] of SEGMENTS.entries()) {
    const list = listOf(answers[at])
    if (list === undefined) return undefined
    const volumes = new Map<unknown, number>()
    for (const { symbol, turnover24h, volume24h } of list) {
      // A contract of an inverse market is one unit of the quote currency.
      volumes.set(symbol, Number(segment === 'inverse' ? volume24h : turnover24h) || 0)
    }
    bySegment.set(segment, volumes)
  }
  return new Map(
    markets.map((market) => [
      market.symbol,
      bySegment.get(segmentOf(market))?.get(market.wireSymbol) ?? 0,
    ]),
  )
}

export const bybit: Adapter = {
  exchange: 'bybit',
  protocol: { snapshot: 'inband', loss: 'sequence', lossScope: 'symbol', depth: DEPTH_MAX },
  limits: {
    // All topics of a connection together may be 21,000 characters long; a loss costs one symbol.
    symbolsPerConnection: 100,
    // The exchange names none; it disconnects clients that flood it.
    framesPerSecond: 10,
    // 500 in five minutes.
    connectsPerSecond: 500 / 300,
    connectsWindowMs: 300_000,
    // The exchange names none.
    subscribeWithinMs: 10_000,
    // 1000 levels a side are about 60 kB.
    frameBytesMax: 4 * 1024 * 1024,
  },
  url: ([first]) =>
    `wss://stream.bybit.com/v5/public/${first === undefined ? 'spot' : segmentOf(first)}`,
  markets: {
    urls: LISTS.map(({ segment, query }) => `${INSTRUMENTS}${segment}${query}`),
    next: nextPage,
    parse: parseMarkets,
  },
  volumes: {
    urls: SEGMENTS.map((segment) => `${TICKERS}${segment}`),
    parse: parseVolumes,
  },
  depth: depthOf,
  segment: segmentOf,
  warmFrames,
  open: (instruments, output, depth) => new BybitSession(instruments, output, depth),
}
