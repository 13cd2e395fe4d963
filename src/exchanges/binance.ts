/**
 * Binance spot (`binance`) and USD-M futures (`binanceusdm`): streams `<symbol>@depth@100ms`, books
 * from REST snapshots that are spliced into the stream; every symbol has a sequence of its own.
 *
 * ```
 * -> {"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":1}      // names in lower case
 * <- {"result":null,"id":1}                            // also for a stream that does not exist
 * <- {"code":2,"msg":"Invalid request: ...","id":1}    // or {"error":{"code":2,"msg":".."},"id":1}
 *
 * <- {"e":"depthUpdate","E":1633998512068,"s":"BTCUSDT",                 // spot
 *     "U":499869750,"u":499869752,                     // first and last update id in it
 *     "b":[["0.35130000","6195.00000000"]],"a":[]}     // absolute sizes; zero deletes
 * <- {"e":"depthUpdate","E":1626992741037,"T":1626992741024,"s":"BTCUSDT",   // USD-M
 *     "U":600859599090,"u":600859600917,"pu":600859598061,   // pu: u of the event before
 *     "b":[["7.5040","813"]],"a":[]}
 * <- {"e":"serverShutdown","E":1633998512068}          // this socket will be closed soon
 *
 * GET /api/v3/depth?symbol=BTCUSDT&limit=5000
 *   {"lastUpdateId":N,"bids":[["p","q"]],"asks":[]}
 * GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000
 *   {"lastUpdateId":N,"E":ms,"T":ms,"bids":[["p","q"]],"asks":[]}
 * ```
 *
 * Sockets are raw ones (`/ws`); the combined spelling `{"stream":"..","data":{..}}` is read too.
 *
 * 1. On open: subscribe, at most 50 streams a message, ids 1, 2, 3 ...
 * 2. A subscription is confirmed by its acknowledgement or its first event. Then, and not before, a
 *    snapshot is asked for; events are kept until it comes. Kept is only what follows without a
 *    gap.
 * 3. The snapshot (id `L`) joins the kept events at the first that is not wholly before it: spot
 *    `u > L`, it must have `U <= L + 1`; USD-M `u >= L`, it must have `U <= L` or `pu == L`. When
 *    it has not, or events were seen beyond `L` that are not kept, the snapshot is too old and
 *    another one is asked for, one at a time, later and later, while the events are kept on. One that
 *    cannot be read makes the symbol suspect.
 *    A snapshot ahead of all that is known of the symbol, when no event came since the resync, shows that
 *    some were lost or that the stream is dead. It counts only when those of the next ten seconds have
 *    the same id; the third time without any event between, the socket is replaced. After five that
 *    differ none is asked for until an event or a resync comes. Of a symbol in doubt the next socket
 *    knows where its book had come.
 * 4. The book is the snapshot with the kept changes from there on, its nonce the last `u` (or `L`
 *    when there are none). A side with as many levels as the smallest snapshot offers may have been
 *    cut, whatever was asked for: the worst of them is the horizon.
 * 5. While `L` is ahead of the stream, rule 3 holds for the first event to come; what is wholly
 *    before `L` is passed over (at most 600 events).
 * 6. From then on, spot: `u <= last` is a duplicate, ignored; `U > last + 1` is a gap. USD-M:
 *    `pu == last` is the next one; else `u <= last` is a duplicate, anything beyond is a gap. A gap
 *    makes this one symbol suspect; its events are ignored until the resync. More than 32
 *    duplicates in a row are none: the exchange counts anew, which is a gap. An event that cannot
 *    be read is one as well; a frame that does not even show its symbol costs the connection.
 * 7. Resync: back to 2 with nothing kept. A symbol that was not confirmed, or has sent nothing
 *    since its last resync, is subscribed anew (which the exchange acknowledges again); nothing is
 *    ever unsubscribed.
 * 8. Refresh: a snapshot larger than what is published is asked for, events go on and are kept besides. The snapshot, brought to
 *    the last delivered event by rule 3, is handed over; ahead of it, it waits for the stream. One
 *    that is too old is asked for again as in 3; after the fifth, or one that cannot be read, the
 *    refresh ends without a word and the book goes on as it is.
 * 9. Splice: a symbol that waits for its snapshot goes on from another socket's book instead, when
 *    its kept events join that book by rule 3 (`L` is the book's nonce), or when nothing came yet.
 *    What comes after it is delivered event by event. A snapshot still under way is passed over.
 * 10. An error reply is about the streams its text names, or the only one of its request; a refused
 *    request for several is made again in two halves.
 */
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner } from '../core/scanner.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, BookDepth, Limits, Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendSide, exact, isRecord, isUnsigned, parseMessage, unreadableText } from './decode.ts'
import { defer } from './deferral.ts'
import { codesWith, dayOf, DECIMALS_DEFAULT, decimalsOf, volumesOf } from './listing.ts'
import { saidBy } from './said.ts'
import { fixedText, mixed } from './warm-frames.ts'

/** A size the exchange offers snapshots in, and what it counts for one. */
interface SnapshotSize {
  readonly levels: number
  readonly weight: number
}

/** In what the two differ. */
interface Rules {
  readonly exchange: string
  /** For messages. */
  readonly name: string
  /** `pu` names the event before; without it `U` and `u` leave no room between events. */
  readonly chained: boolean
  readonly socketUrl: string
  readonly depthUrl: string
  /** Smallest first. */
  readonly sizes: readonly SnapshotSize[]
  readonly limits: Limits
}

const STREAM = new Literal('{"stream":"')
const STREAM_DATA = new Literal(',"data":')
const EVENT = new Literal('{"e":"depthUpdate","E":')
const ENGINE_TIME = new Literal(',"T":')
const SYMBOL = new Literal(',"s":"')
const FIRST = new Literal('"U":')
const LAST = new Literal(',"u":')
const PREVIOUS = new Literal(',"pu":')
const BIDS = new Literal(',"b":[')
const ASKS = new Literal(',"a":[')
const LEVEL = new Literal('["')
const SIZE = new Literal(',"')
const NEXT_LEVEL = new Literal('],["')
const LEVELS_END = new Literal(']]')
/** Announced for USD-M frames. */
const PAIR = new Literal('"ps":"')
const MARKET_KIND = new Literal('"st":')
const COMMA = 0x2c
const BRACKET = 0x5d
const BRACE = 0x7d

const STREAM_SUFFIX = '@depth@100ms'
/** More is legal, but makes messages of more than 2 KB, and one refusal cost more. */
const STREAMS_PER_MESSAGE = 50

/** Kept for a snapshot that does not come: at ten events a second more than three minutes. */
const EVENTS_KEPT_MAX = 2000
const LEVELS_KEPT_MAX = 500_000

/**
 * A snapshot that is too old is asked for again after this long, then three times as long, and so
 * on: servers may lag for seconds, and each answer costs weight.
 */
const AGAIN_MS = 1200
const AGAIN_MAX_MS = 10_000
/** A refresh is given up after so many that were too old. */
const REFRESHES_MAX = 5
/** A snapshot that is ahead of a silent stream is compared with another one after this long. */
const COMPARE_MS = 1000
/** And for as long as they are the same, until the book has stood still for this long: also a lively one pauses. */
const COMPARE_AGAIN_MS = 3000
const STANDSTILL_US = 10e6
/** So many in a row, each further on, without an event: the stream is dead, none is asked for. */
const MOVES_MAX = 5
/** So often a book was believed that had moved while its stream was silent. */
const UNHEARD_MAX = 3

/**
 * So many in a row that are nothing new are no repetitions: the exchange has begun to count anew.
 * While the stream has yet to reach the snapshot there may be more of them: a minute's.
 */
const REPEATS_MAX = 32
const COVERED_MAX = 600

const RATE_LIMITED = /too many|rate.?limit|too much|-1003/i
/** The exchange names no time; its budget is per second. */
const RATE_LIMIT_WAIT_MS = 10_000

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const SYNCING = 1
const LIVE = 2

/** An event's place beside the book it might follow. */
const OLD = 0
const NEXT = 1
const GAP = 2

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

/**
 * Whether an event follows the book as of `at`. `joined` false: `at` is a snapshot's id, and no
 * event has followed it yet.
 */
function judge(
  chained: boolean,
  joined: boolean,
  at: number,
  first: number,
  last: number,
  previous: number,
): number {
  if (!chained) return last <= at ? OLD : first <= at + 1 ? NEXT : GAP
  if (!joined) return last < at ? OLD : first <= at || previous === at ? NEXT : GAP
  if (previous === at) return last >= at ? NEXT : GAP
  return last <= at ? OLD : GAP
}

/** Adds the levels from `start` to `end` of `source`. */
function appendLevels(
  into: LevelChanges,
  source: LevelChanges,
  start: number,
  end: number,
): void {
  const at = into.count
  const offset = at - start
  while (end + offset > into.side.length) into.grow()
  into.side.set(source.side.subarray(start, end), at)
  into.price.set(source.price.subarray(start, end), at)
  into.size.set(source.size.subarray(start, end), at)
  for (const [i, text] of source.widePrice) {
    if (i >= start && i < end) into.widePrice.set(i + offset, text)
  }
  for (const [i, text] of source.wideSize) {
    if (i >= start && i < end) into.wideSize.set(i + offset, text)
  }
  into.count = end + offset
}

/** Events of one symbol in sequence, each following the one before. */
class EventLog {
  count = 0
  readonly first: number[] = []
  readonly last: number[] = []
  readonly previous: number[] = []
  readonly timestampMs: number[] = []
  readonly receivedUs: number[] = []
  readonly levels: LevelChanges = new LevelChanges(256)
  /** Where each event's levels end. */
  private readonly ends: number[] = []

  get isFull(): boolean {
    return this.count >= EVENTS_KEPT_MAX || this.levels.count >= LEVELS_KEPT_MAX
  }

  push(first: number, last: number, previous: number, changes: LevelChanges): void {
    const i = this.count++
    this.first[i] = first
    this.last[i] = last
    this.previous[i] = previous
    this.timestampMs[i] = changes.timestampMs
    this.receivedUs[i] = changes.receivedUs
    appendLevels(this.levels, changes, 0, changes.count)
    this.ends[i] = this.levels.count
  }

  clear(): void {
    this.count = 0
    this.levels.reset()
  }

  /** Adds the levels of the events `from` up to `to`. */
  read(from: number, to: number, into: LevelChanges): void {
    if (from >= to) return
    appendLevels(into, this.levels, from === 0 ? 0 : this.ends[from - 1], this.ends[to - 1])
  }

  /**
   * The first event that follows the book as of `id`, `count` when all are before it. -1: some that
   * is needed is not here. `before`: what was last before the first event.
   */
  join(chained: boolean, id: number, before: number): number {
    for (let i = 0; i < this.count; i++) {
      const place = judge(chained, false, id, this.first[i], this.last[i], this.previous[i])
      if (place !== OLD) return place === NEXT ? i : -1
    }
    return this.count > 0 || id >= before ? this.count : -1
  }
}

/** A REST answer, of which so far only the frame was looked at. */
interface Snapshot {
  readonly id: number
  readonly timestampMs: number
  readonly bids: readonly unknown[]
  readonly asks: readonly unknown[]
}

/** One symbol on this socket. */
class Line {
  state = SYNCING
  /** The exchange has shown that it sends this symbol. */
  confirmed = false
  /** Something came since the last resync. */
  heard = false
  /** Highest update id that the stream has shown, used or not; -1: none. */
  seen = -1
  /** The book is as of this update id. Only while live. */
  at = -1
  timestampMs = -1
  /** `at` is an event's, not a snapshot's. */
  joined = false
  /** Events in a row that were nothing new. */
  repeats = 0
  /** Snapshots in a row that did not fit. */
  misfits = 0
  /** Highest update id of a book that was live, by whatever it was known. */
  known = -1
  /** The id of a snapshot that was ahead of a silent stream; -1: none was. */
  told = -1
  /** When it first was, microseconds since 1970. */
  toldUs = 0
  /** Such snapshots in a row, each other than the one before. */
  moves = 0
  /** Books that were believed although their stream had said nothing of what moved them. */
  unheard = 0
  /** While syncing or refreshing: what came. */
  log: EventLog | undefined = undefined
  refreshing = false
  /** While refreshing: what the book was as of when that began. */
  base = -1
  /** While refreshing: a snapshot that the stream has not reached. */
  ahead: Snapshot | undefined = undefined

  /** Forgets what was kept. */
  drop(): void {
    this.log = undefined
    this.refreshing = false
    this.ahead = undefined
    this.misfits = 0
    this.told = -1
    this.moves = 0
  }

  /** What repeats while there is no book counts on, however often one is asked for. */
  unlive(state: typeof SUSPECT | typeof SYNCING): void {
    this.drop()
    if (this.state === LIVE) this.repeats = 0
    this.state = state
  }

  live(at: number, joined: boolean, timestampMs: number): void {
    this.drop()
    this.repeats = 0
    this.state = LIVE
    this.at = at
    if (at > this.known) this.known = at
    this.joined = joined
    this.timestampMs = timestampMs
  }
}

class BinanceSession implements Session {
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  private readonly rules: Rules
  private readonly chained: boolean
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  /** Of the first snapshot, after which the book is live, and of those that refresh it. */
  private readonly firstSize: SnapshotSize
  private readonly size: SnapshotSize
  private readonly lines: readonly Line[]
  /** By the exchange's name. */
  private readonly symbols: ReadonlyMap<string, number>
  private readonly streams: ReadonlyMap<string, number>
  private readonly wireIds: WireIds
  private readonly changes: LevelChanges = new LevelChanges()
  /** Requests that were not answered yet, and the instruments they are for. */
  private readonly requests = new Map<unknown, readonly number[]>()
  private requestId = 0
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private isRetired = false
  /** Of the event that was read last. */
  private first = 0
  private last = 0
  private previous = -1

  constructor(
    rules: Rules,
    instruments: readonly Instrument[],
    output: SessionOutput,
    depth: number,
  ) {
    this.rules = rules
    this.chained = rules.chained
    this.instruments = instruments
    this.output = output
    this.firstSize = firstSize(rules, depth)
    this.size = snapshotSize(rules, depth)
    this.lines = instruments.map(() => new Line())
    this.symbols = new Map(instruments.map(({ wireSymbol }, index) => [wireSymbol, index]))
    this.streams = new Map(instruments.map((instrument, index) => [streamOf(instrument), index]))
    this.wireIds = new WireIds(this.symbols, '",')
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.subscribe(this.instruments.map((_, index) => index))
  }

  resync(index: number): void {
    this.resyncAll([index])
  }

  resyncAll(indexes: readonly number[]): void {
    if (this.isDead) return
    const silent: number[] = []
    const sending: number[] = []
    for (const index of indexes) {
      const line = this.lines[index]
      line.unlive(SYNCING)
      // A subscription may have ended in silence; only an answer shows that it has not.
      if (!line.heard) line.confirmed = false
      line.heard = false
      if (line.confirmed) sending.push(index)
      else silent.push(index)
    }
    // Before that, `opened` subscribes everything anyway.
    if (!this.isOpen) return
    if (silent.length > 0) this.subscribe(silent)
    for (const index of sending) this.ask(index)
  }

  refresh(index: number): void {
    const line = this.lines[index]
    if (this.isDead || line.state !== LIVE || line.refreshing) return
    line.refreshing = true
    line.base = line.at
    line.log = new EventLog()
    this.ask(index)
  }

  fellSilent(index: number, nonce: number): void {
    const line = this.lines[index]
    if (nonce > line.known) line.known = nonce
  }

  splice(index: number, nonce: number): boolean {
    const line = this.lines[index]
    if (this.isDead || line.state !== SYNCING || !line.confirmed) return false
    const { log, seen } = line
    const from = log === undefined ? (nonce >= seen ? 0 : -1) : log.join(this.chained, nonce, seen)
    if (from < 0) return false
    line.live(nonce, false, -1)
    if (log === undefined) return true
    const changes = this.changes
    for (let i = from; i < log.count; i++) {
      // What is delivered may have made the feed ask for a resync.
      if (this.lines[index].state !== LIVE) break
      line.at = log.last[i]
      line.joined = true
      line.timestampMs = log.timestampMs[i]
      changes.reset()
      log.read(i, i + 1, changes)
      this.stamp(line, log.receivedUs[i])
      this.output.delta(index, changes)
    }
    return true
  }

  snapshotReceived(index: number, body: string, receivedUs: number): void {
    const line = this.lines[index]
    if (this.isDead || line === undefined) return
    if (line.state === SYNCING && line.confirmed) this.join(index, line, body, receivedUs)
    else if (line.state === LIVE && line.refreshing) this.renew(index, line, body, receivedUs)
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index < 0) this.receivedJson(frame, receivedUs)
    else this.take(index, receivedUs)
  }

  // ---- frames ----

  /**
   * The fast path: one event of a known symbol in exactly the known spelling, decoded into
   * `changes` and fields. Returns the instrument's index, or -1 for the JSON route to decide.
   */
  private scan(): number {
    const isWrapped = scanner.literal(STREAM)
    if (isWrapped && !(scanner.skipText() && scanner.literal(STREAM_DATA))) return -1
    if (!scanner.literal(EVENT)) return -1
    let timestampMs = scanner.unsigned()
    if (timestampMs < 0) return -1
    if (this.chained) {
      if (!scanner.literal(ENGINE_TIME)) return -1
      timestampMs = scanner.unsigned()
      if (timestampMs < 0) return -1
    }
    if (!scanner.literal(SYMBOL)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0) return -1
    if (!scanner.literal(FIRST) && !this.scanMore()) return -1
    const first = scanner.unsigned()
    if (first < 0 || !scanner.literal(LAST)) return -1
    const last = scanner.unsigned()
    if (last < first) return -1
    let previous = -1
    if (this.chained) {
      if (!scanner.literal(PREVIOUS)) return -1
      previous = scanner.unsigned()
      if (previous < 0) return -1
    }
    const changes = this.changes
    changes.reset()
    const instrument = this.instruments[index]
    if (!scanner.literal(BIDS) || !this.scanLevels(BID, instrument)) return -1
    if (!scanner.literal(ASKS) || !this.scanLevels(ASK, instrument)) return -1
    if (!scanner.byte(BRACE) && !this.scanTail()) return -1
    if (isWrapped && !scanner.byte(BRACE)) return -1
    if (!scanner.isDone()) return -1
    this.first = first
    this.last = last
    this.previous = previous
    changes.timestampMs = timestampMs
    return index
  }

  /** Fields without a meaning here between the symbol and `U`; goes past `"U":` too. */
  private scanMore(): boolean {
    do {
      if (!scanExtra() || !scanner.byte(COMMA)) return false
    } while (!scanner.literal(FIRST))
    return true
  }

  /** The same behind the levels, with the closing brace. */
  private scanTail(): boolean {
    do {
      if (!scanner.byte(COMMA) || !scanExtra()) return false
    } while (!scanner.byte(BRACE))
    return true
  }

  /** Levels up to and with the closing bracket, from behind the opening one. */
  private scanLevels(side: number, instrument: Instrument): boolean {
    if (scanner.byte(BRACKET)) return true
    if (!scanner.literal(LEVEL)) return false
    const changes = this.changes
    const { priceDecimals, sizeDecimals } = instrument
    for (let i = changes.count;; i++) {
      if (i === changes.side.length) changes.grow()
      changes.side[i] = side
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
      if (!scanner.literal(NEXT_LEVEL)) return scanner.literal(LEVELS_END)
    }
  }

  /** Everything that is not a plain event, and events in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    const message = parseMessage(frame)
    if (typeof message === 'string') return this.undecodable(frame, message)
    let data = message
    if (message.e === undefined && message.stream !== undefined && isRecord(message.data)) {
      data = message.data
    }
    const kind = data.e
    if (kind === 'depthUpdate') {
      this.stats.scannerFallbacks++
      const { s: symbol } = data
      if (typeof symbol !== 'string') return this.undecodable(frame, 's is not text')
      const index = this.symbols.get(symbol)
      if (index === undefined) {
        this.stats.unknownFrames++
        return
      }
      const problem = this.decode(data, this.instruments[index])
      if (problem === undefined) this.take(index, receivedUs)
      else this.unreadable(index, problem)
      return
    }
    const { stream } = message
    if (
      kind === 'serverShutdown' || kind === '!serverShutdown' || stream === '!serverShutdown' ||
      stream === 'serverShutdown'
    ) {
      if (this.isRetired) return
      this.isRetired = true
      this.output.retire(`${this.rules.name} will close this connection soon (serverShutdown)`)
      return
    }
    const error = isRecord(message.error) ? message.error : message
    if (error.msg !== undefined || message.error !== undefined) {
      return this.refused(message.id, error)
    }
    const request = message.result === null ? this.requests.get(message.id) : undefined
    if (request === undefined) {
      this.stats.unknownFrames++
      return
    }
    this.requests.delete(message.id)
    for (const index of request) this.confirm(index, this.lines[index])
  }

  /** An event into `changes` and fields; returns what is wrong with it. */
  private decode(data: Record<string, unknown>, instrument: Instrument): string | undefined {
    const { E, T, U, u, pu, b, a } = data
    if (!isUnsigned(U) || !isUnsigned(u) || U > u) return 'U and u are not a range of update ids'
    if (this.chained && !isUnsigned(pu)) return 'pu is not an update id'
    if (!Array.isArray(b) || !Array.isArray(a)) return 'b and a are not two lists of levels'
    const changes = this.changes
    changes.reset()
    const problem = appendSide(changes, BID, b, instrument) ??
      appendSide(changes, ASK, a, instrument)
    if (problem !== undefined) return problem
    this.first = U
    this.last = u
    this.previous = this.chained ? pu as number : -1
    changes.timestampMs = this.chained && isUnsigned(T) ? T : isUnsigned(E) ? E : -1
    return undefined
  }

  // ---- the sequence of one symbol ----

  /** The event in `changes` and fields, decoded whole. */
  private take(index: number, receivedUs: number): void {
    const line = this.lines[index]
    const { first, last, changes } = this
    const { seen } = line
    line.heard = true
    line.unheard = 0
    if (last > seen) line.seen = last
    if (line.state === LIVE) {
      const place = judge(this.chained, line.joined, line.at, first, last, this.previous)
      if (place === NEXT) {
        line.at = last
        line.joined = true
        line.repeats = 0
        line.timestampMs = changes.timestampMs
        this.stamp(line, receivedUs)
        if (line.refreshing) this.keep(line)
        this.output.delta(index, changes)
        if (line.ahead !== undefined) this.renewFrom(index, line, line.ahead, receivedUs)
        return
      }
      if (place === GAP) return this.lose(index, line, this.gapText(line))
      if (line.joined || last <= seen) this.stats.duplicates++
      if (++line.repeats > (line.joined ? REPEATS_MAX : COVERED_MAX)) {
        line.seen = last
        const detail =
          `${line.repeats} events in a row end at or before ${line.at}, the last one ` +
          `at ${last}; the exchange counts anew`
        this.lose(index, line, detail)
      }
      return
    }
    if (last <= seen) {
      this.stats.duplicates++
      if (++line.repeats <= REPEATS_MAX) return
      line.seen = last
    }
    line.repeats = 0
    if (line.state !== SYNCING) return
    changes.receivedUs = receivedUs
    this.keep(line)
    this.confirm(index, line)
    if (line.moves >= MOVES_MAX) {
      line.moves = 0
      this.ask(index)
    }
  }

  /** Into the log; what it does not follow is of no use any more. */
  private keep(line: Line): void {
    const { first, last, previous } = this
    const log = line.log ??= new EventLog()
    if (log.count > 0) {
      const end = log.last[log.count - 1]
      const follows = judge(this.chained, true, end, first, last, previous) === NEXT
      // A snapshot that is too old then does not meet what follows.
      if (!follows || log.isFull) log.clear()
    }
    log.push(first, last, previous, this.changes)
  }

  /** `changes` is what brings the book to where `line` says it is. */
  private stamp(line: Line, receivedUs: number): void {
    const changes = this.changes
    changes.nonce = line.at
    changes.timestampMs = line.timestampMs
    changes.receivedUs = receivedUs
  }

  private gapText(line: Line): string {
    const { first, last, previous } = this
    if (!this.chained) {
      return `an event from U ${first} was received, one from ${line.at + 1} or before was expected`
    }
    return line.joined
      ? `an event with pu ${previous} was received, ${line.at} was expected`
      : `an event from U ${first} to u ${last} with pu ${previous} was received, one that holds ` +
        `or follows ${line.at} was expected`
  }

  private confirm(index: number, line: Line): void {
    if (line.confirmed) return
    line.confirmed = true
    if (line.state === SYNCING) this.ask(index)
  }

  private lose(index: number, line: Line, detail: string): void {
    line.unlive(SUSPECT)
    this.output.suspect(index, 'gap', detail)
  }

  /** An event of this symbol was among it, and no one knows what it said. */
  private unreadable(index: number, problem: string): void {
    const line = this.lines[index]
    if (line.state === SUSPECT) return
    this.lose(index, line, `an event of ${this.instruments[index].wireSymbol}: ${problem}`)
  }

  // ---- snapshots ----

  /** One was too old: another one at once would be as old. */
  private askAgain(index: number, line: Line): void {
    this.ask(index, Math.min(AGAIN_MAX_MS, AGAIN_MS * 3 ** Math.min(line.misfits++, 10)))
  }

  private ask(index: number, delayMs = 0): void {
    const symbol = encodeURIComponent(this.instruments[index].wireSymbol)
    const line = this.lines[index]
    const { levels, weight } = line.refreshing ? this.size : this.firstSize
    const url = `${this.rules.depthUrl}?symbol=${symbol}&limit=${levels}`
    this.output.requestSnapshot(index, url, weight, delayMs)
  }

  /** The exchange says that it sends this symbol, and does not. */
  private deaf(index: number, id: number): void {
    const { wireSymbol } = this.instruments[index]
    this.giveUp(
      new ObfeedError(
        'E_SUBSCRIBE',
        `${this.rules.name} sent no event of ${wireSymbol} while its book moved to ${id}, though ` +
          'it was subscribed anew; the connection is replaced',
        { scope: 'connection' },
      ),
    )
  }

  /** The snapshot that a symbol waits for. */
  private join(index: number, line: Line, body: string, receivedUs: number): void {
    const snapshot = parseSnapshot(body)
    if (typeof snapshot === 'string') {
      return this.lose(index, line, `a REST snapshot could not be read (${snapshot})`)
    }
    const { id } = snapshot
    const log = line.log ?? new EventLog()
    const from = log.join(this.chained, id, line.seen)
    if (from < 0) return this.askAgain(index, line)
    const known = Math.max(line.seen, line.known)
    if (log.count === 0 && known >= 0 && id > known) {
      if (id !== line.told) {
        line.told = id
        line.toldUs = receivedUs
        // Else the feed finds that no book came: it resyncs, and at last replaces the socket.
        if (++line.moves < MOVES_MAX) this.ask(index, COMPARE_MS)
        return
      }
      if (receivedUs - line.toldUs < STANDSTILL_US) return this.ask(index, COMPARE_AGAIN_MS)
      if (!line.heard && ++line.unheard >= UNHEARD_MAX) return this.deaf(index, id)
    }
    const problem = this.fill(snapshot, log, from, index)
    if (problem !== undefined) {
      return this.lose(index, line, `a REST snapshot could not be read (${problem})`)
    }
    const isBehind = from === log.count
    const last = log.count - 1
    line.live(
      isBehind ? id : log.last[last],
      !isBehind,
      isBehind ? snapshot.timestampMs : log.timestampMs[last],
    )
    this.stamp(line, receivedUs)
    this.output.snapshot(index, this.changes)
  }

  /** The snapshot that was asked for while the book goes on. */
  private renew(index: number, line: Line, body: string, receivedUs: number): void {
    const snapshot = parseSnapshot(body)
    // Nothing is lost; the feed asks again.
    if (typeof snapshot === 'string') line.drop()
    else this.renewFrom(index, line, snapshot, receivedUs)
  }

  private renewFrom(index: number, line: Line, snapshot: Snapshot, receivedUs: number): void {
    const { id } = snapshot
    if (id > line.at) {
      line.ahead = snapshot
      return
    }
    line.ahead = undefined
    const log = line.log ?? new EventLog()
    const from = log.join(this.chained, id, line.base)
    if (from < 0) {
      if (line.misfits + 1 < REFRESHES_MAX) this.askAgain(index, line)
      else line.drop()
      return
    }
    const problem = this.fill(snapshot, log, from, index)
    line.drop()
    if (problem !== undefined) return
    this.stamp(line, receivedUs)
    this.output.refreshed(index, this.changes)
  }

  /** The snapshot and the events from `from` on into `changes`; returns what is wrong with it. */
  private fill(
    snapshot: Snapshot,
    log: EventLog,
    from: number,
    index: number,
  ): string | undefined {
    const { bids, asks } = snapshot
    const instrument = this.instruments[index]
    const changes = this.changes
    changes.reset()
    const problem = appendSide(changes, BID, bids, instrument) ??
      appendSide(changes, ASK, asks, instrument)
    if (problem !== undefined) return problem
    const [{ levels: least }] = this.rules.sizes
    if (bids.length >= least) {
      changes.bidHorizon = worst(changes, 0, bids.length, Math.min)
      if (Number.isNaN(changes.bidHorizon)) return 'no bid price is on the grid'
    }
    if (asks.length >= least) {
      changes.askHorizon = worst(changes, bids.length, changes.count, Math.max)
      if (Number.isNaN(changes.askHorizon)) return 'no ask price is on the grid'
    }
    log.read(from, log.count, changes)
    return undefined
  }

  // ---- requests, and what is said of them ----

  private subscribe(indexes: readonly number[]): void {
    for (let i = 0; i < indexes.length; i += STREAMS_PER_MESSAGE) {
      const some = indexes.slice(i, i + STREAMS_PER_MESSAGE)
      const id = ++this.requestId
      this.requests.set(id, some)
      const params = some.map((index) => streamOf(this.instruments[index]))
      this.output.send(JSON.stringify({ method: 'SUBSCRIBE', params, id }))
    }
  }

  /** An error reply: about streams, or about the connection. */
  private refused(id: unknown, error: Record<string, unknown>): void {
    const said = saidBy(error.code, error.msg ?? error.error)
    const request = this.requests.get(id)
    if (said.matches(RATE_LIMITED)) {
      const { framesPerSecond } = this.rules.limits
      if (request !== undefined) {
        this.requests.delete(id)
        for (const index of request) {
          this.lines[index].unlive(SUSPECT)
          this.lines[index].confirmed = false
        }
        return defer(
          this.output,
          this.instruments,
          request,
          `${this.rules.name} refused a message ("${said}"); expected to be within ` +
            `${framesPerSecond} messages a second; look for other clients on this address`,
          RATE_LIMIT_WAIT_MS,
        )
      }
      return this.giveUp(
        new ObfeedError(
          'E_RATE_LIMITED',
          `${this.rules.name} refused a message ("${said}"); expected to be within ` +
            `${framesPerSecond} messages a second; look for other clients on this address`,
          { scope: 'connection', retryAfterMs: RATE_LIMIT_WAIT_MS },
        ),
      )
    }
    const named = [...said.named(this.streams, (word) => word.toLowerCase())]
    const refused = named.length > 0 || request?.length !== 1 ? named : request
    // The others of the request were not subscribed either.
    const rest = request?.filter((index) => !refused.includes(index)) ?? []
    if (refused.length === 0 && rest.length === 0) {
      return this.giveUp(
        new ObfeedError(
          'E_SUBSCRIBE',
          `${this.rules.name} answered with an error that names no stream ("${said}"), expected ` +
            'a subscription; the connection is replaced',
          { scope: 'connection' },
        ),
      )
    }
    this.requests.delete(id)
    if (refused.length > 0) {
      if (rest.length > 0) this.subscribe(rest)
    } else {
      const half = rest.length >> 1
      this.subscribe(rest.slice(0, half))
      this.subscribe(rest.slice(half))
    }
    for (const index of refused) {
      const line = this.lines[index]
      line.unlive(SUSPECT)
      line.confirmed = false
      const { symbol, wireSymbol } = this.instruments[index]
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `${this.rules.name} refused ${wireSymbol} ("${said}"), expected a subscription; ` +
            'check that the market is listed and trading',
          { scope: 'symbol', symbol },
        ),
      )
    }
  }

  private giveUp(error: ObfeedError): void {
    this.isDead = true
    this.output.fail(error)
  }

  /** It may have been an event of any symbol, so nothing on this socket is proven any more. */
  private undecodable(frame: Uint8Array, problem: string): void {
    const message = unreadableText(frame, problem, `a ${this.rules.name} message`)
    this.isDead = true
    for (let i = 0; i < this.lines.length; i++) this.lose(i, this.lines[i], message)
    this.output.fail(new ObfeedError('E_DECODE', message, { scope: 'connection' }))
  }
}

/** Goes past one field that has no meaning here. */
function scanExtra(): boolean {
  if (scanner.literal(PAIR)) return scanner.skipText()
  return scanner.literal(MARKET_KIND) && scanner.unsigned() >= 0
}

function streamOf(instrument: Instrument): string {
  return instrument.wireSymbol.toLowerCase() + STREAM_SUFFIX
}

/** The smallest size that can prove `wanted` levels after a fifth of them has gone. */
function snapshotSize(rules: Rules, wanted: number): SnapshotSize {
  const { sizes } = rules
  const enough = sizes.find(({ levels }) => wanted > 0 && levels * 4 >= wanted * 5)
  return enough ?? sizes[sizes.length - 1]
}

/**
 * A first snapshot only holds what is published: it weighs a fifth of the next size, so that books
 * are live five times sooner. As soon as something of it is gone, the feed refreshes it.
 */
function firstSize(rules: Rules, wanted: number): SnapshotSize {
  const { view } = bookDepth(rules, wanted)
  return rules.sizes.find(({ levels }) => levels >= view) ?? snapshotSize(rules, wanted)
}

/** Levels a side that stay known for some time after the largest snapshot. */
function provable(rules: Rules): number {
  return Math.floor(rules.sizes[rules.sizes.length - 1].levels * 4 / 5)
}

function bookDepth(rules: Rules, wanted: number): BookDepth {
  const most = provable(rules)
  return { view: wanted === 0 || wanted > most ? most : wanted, kept: Infinity }
}

/** The outermost price that is an integer; NaN: there is none. */
function worst(
  changes: LevelChanges,
  start: number,
  end: number,
  outer: (a: number, b: number) => number,
): number {
  let price = NaN
  for (let i = start; i < end; i++) {
    const each = changes.price[i]
    if (Number.isNaN(each)) continue
    price = Number.isNaN(price) ? each : outer(price, each)
  }
  return price
}

/** A text says what is wrong. */
function parseSnapshot(body: string): Snapshot | string {
  let answer: unknown
  try {
    answer = JSON.parse(body)
  } catch {
    return `not JSON: ${body.slice(0, 80)}`
  }
  if (!isRecord(answer)) return 'not a JSON object'
  const { lastUpdateId: id, T, E, bids, asks } = answer
  if (!isUnsigned(id)) return 'lastUpdateId is not an update id'
  if (!Array.isArray(bids) || !Array.isArray(asks)) return 'bids and asks are not two lists'
  return { id, timestampMs: isUnsigned(T) ? T : isUnsigned(E) ? E : -1, bids, asks }
}

/** Of the canned snapshot; the canned events begin with one that holds it. */
const WARM_ID = 1_000_000
const WARM_LEVELS = 500
const WARM_EVENTS = 300
/** Ticks where the canned book has its middle. */
const WARM_MIDDLE = 100_000

/** A canned level so many ticks from the middle. */
function warmLevel(side: number, offset: number, lots: number, instrument: Instrument): string {
  const { priceDecimals, sizeDecimals } = instrument
  const ticks = side === BID ? WARM_MIDDLE - offset : WARM_MIDDLE + offset
  return `["${fixedText(ticks, priceDecimals)}","${fixedText(lots, sizeDecimals)}"]`
}

function warmSnapshot(instrument: Instrument): string {
  const side = (side: number) =>
    Array.from({ length: WARM_LEVELS }, (_, n) => warmLevel(side, 1 + n, 1 + n, instrument)).join()
  return `{"lastUpdateId":${WARM_ID},"bids":[${side(BID)}],"asks":[${side(ASK)}]}`
}

/** Canned life of one connection: events that change the book of `warmSnapshot`. */
function warmFrames(chained: boolean, instrument: Instrument): Uint8Array[] {
  const encoder = new TextEncoder()
  const frames = [encoder.encode('{"result":null,"id":1}')]
  const time = 1_767_225_600_000
  let last = WARM_ID - 2
  for (let i = 1; i <= WARM_EVENTS; i++) {
    const levels: string[][] = [[], []]
    for (let k = 0; k < i % 8; k++) {
      const random = mixed(i * 8 + k)
      const side = random & 1
      const lots = random % 3 === 0 ? 0 : 1 + random % 1_000_003
      levels[side].push(warmLevel(side, 1 + (random >>> 1) % 550, lots, instrument))
    }
    const first = last + 1
    const previous = last
    last += 3
    frames.push(encoder.encode(
      `{"e":"depthUpdate","E":${time + i}${chained ? `,"T":${time + i}` : ''},` +
        `"s":"${instrument.wireSymbol}","U":${first},"u":${last}` +
        `${chained ? `,"pu":${previous}` : ''},"b":[${levels[BID]}],"a":[${levels[ASK]}]}`,
    ))
  }
  return frames
}

const codeOf = codesWith({ YOYO: 'YOYOW' })
/** The delivery date of what is never delivered. */
const PERPETUAL_DATE = 4_133_404_800_000
/** Markets of this group are listed for others than the public. */
const CLOSED_GROUP = 'TRD_GRP_003'

/** What is read of a symbol in either `exchangeInfo`. */
interface Listed {
  readonly symbol?: unknown
  readonly status?: unknown
  readonly contractStatus?: unknown
  readonly baseAsset?: unknown
  readonly quoteAsset?: unknown
  readonly marginAsset?: unknown
  readonly contractType?: unknown
  readonly deliveryDate?: unknown
  readonly permissions?: unknown
  readonly pricePrecision?: unknown
  readonly quantityPrecision?: unknown
  readonly filters?: unknown
}

/** By the filter's step; a market without that filter has a number of digits. */
function marketDecimals(market: Listed, type: string, step: string, digits: unknown): number {
  const filters: unknown[] = Array.isArray(market.filters) ? market.filters : []
  const filter = filters.findLast((each) => isRecord(each) && each.filterType === type)
  if (isRecord(filter)) return decimalsOf(filter[step])
  return isUnsigned(digits) ? digits : DECIMALS_DEFAULT
}

/** What follows `BASE/QUOTE` in a contract's symbol; undefined: neither perpetual nor dated. */
function contractSuffix(market: Listed): string | undefined {
  const { contractType, deliveryDate, marginAsset } = market
  if (typeof marginAsset !== 'string') return undefined
  const settle = codeOf(marginAsset)
  if (contractType === 'PERPETUAL' || deliveryDate === PERPETUAL_DATE) return `:${settle}`
  if (!isUnsigned(deliveryDate) || deliveryDate > PERPETUAL_DATE) return undefined
  return `:${settle}-${dayOf(deliveryDate)}`
}

function parseMarkets(answer: unknown, isSpot: boolean): Market[] | undefined {
  const symbols = isRecord(answer) ? answer.symbols : undefined
  if (!Array.isArray(symbols)) return undefined
  const markets: Market[] = []
  for (const market of symbols as readonly (Listed | null)[]) {
    if (!isRecord(market)) return undefined
    if (('contractType' in market) === isSpot) continue
    const { symbol: id, baseAsset: base, quoteAsset: quote } = market as Listed
    if (typeof id !== 'string' || typeof base !== 'string' || typeof quote !== 'string') {
      return undefined
    }
    const suffix = isSpot ? '' : contractSuffix(market)
    if (suffix === undefined) continue
    const { status, contractStatus, permissions } = market as Listed
    const isClosed = isSpot && Array.isArray(permissions) && permissions.includes(CLOSED_GROUP)
    markets.push({
      symbol: `${codeOf(base)}/${codeOf(quote)}${suffix}`,
      wireSymbol: id,
      priceDecimals: marketDecimals(market, 'PRICE_FILTER', 'tickSize', market.pricePrecision),
      sizeDecimals: marketDecimals(market, 'LOT_SIZE', 'stepSize', market.quantityPrecision),
      active: (status ?? contractStatus) === 'TRADING' && !isClosed,
    })
  }
  return markets
}

function parseVolumes(
  answer: unknown,
  markets: readonly Market[],
): Map<string, number> | undefined {
  if (!Array.isArray(answer)) return undefined
  const traded = new Map<string, number>()
  for (const ticker of answer as readonly unknown[]) {
    if (!isRecord(ticker) || typeof ticker.symbol !== 'string') return undefined
    traded.set(ticker.symbol, Number(ticker.quoteVolume) || 0)
  }
  return volumesOf(markets, traded)
}

const DAY_MINUS_AN_HOUR_MS = 23 * 3_600_000
/** Events of a whole 100 ms are far smaller. */
const FRAME_BYTES_MAX = 4 * 1024 * 1024

const SPOT: Rules = {
  exchange: 'binance',
  name: 'Binance',
  chained: false,
  socketUrl: 'wss://stream.binance.com:9443/ws',
  depthUrl: 'https://api.binance.com/api/v3/depth',
  sizes: [
    { levels: 100, weight: 5 },
    { levels: 500, weight: 25 },
    { levels: 1000, weight: 50 },
    { levels: 5000, weight: 250 },
  ],
  limits: {
    // A lost socket costs a snapshot of each: at the largest size 24 of them fit into a minute.
    symbolsPerConnection: 50,
    // Five are allowed, and the answers to pings are counted.
    framesPerSecond: 4,
    connectsPerSecond: 1,
    connectsWindowMs: 300_000,
    subscribeWithinMs: 60_000,
    lifetimeMs: DAY_MINUS_AN_HOUR_MS,
    frameBytesMax: FRAME_BYTES_MAX,
    snapshotWeightPerMinute: 6000,
  },
}

const USDM: Rules = {
  exchange: 'binanceusdm',
  name: 'Binance USD-M',
  chained: true,
  socketUrl: 'wss://fstream.binance.com/public/ws',
  depthUrl: 'https://fapi.binance.com/fapi/v1/depth',
  sizes: [
    { levels: 50, weight: 2 },
    { levels: 100, weight: 5 },
    { levels: 500, weight: 10 },
    { levels: 1000, weight: 20 },
  ],
  limits: {
    // The largest snapshots of all of them fit into a minute.
    symbolsPerConnection: 100,
    framesPerSecond: 10,
    connectsPerSecond: 1,
    connectsWindowMs: 300_000,
    subscribeWithinMs: 60_000,
    lifetimeMs: DAY_MINUS_AN_HOUR_MS,
    frameBytesMax: FRAME_BYTES_MAX,
    snapshotWeightPerMinute: 2400,
  },
}

function adapterOf(rules: Rules, marketsUrl: string, volumesUrl: string): Adapter {
  return {
    exchange: rules.exchange,
    protocol: {
      snapshot: 'rest',
      loss: 'sequence',
      lossScope: 'symbol',
      depth: provable(rules),
    },
    limits: rules.limits,
    url: () => rules.socketUrl,
    markets: {
      urls: [marketsUrl],
      parse: ([answer]) => parseMarkets(answer, rules === SPOT),
    },
    volumes: {
      urls: [volumesUrl],
      parse: ([answer], markets) => parseVolumes(answer, markets),
    },
    depth: (wanted) => bookDepth(rules, wanted),
    isOwnError,
    warmFrames: (instrument) => warmFrames(rules.chained, instrument),
    warmSnapshot,
    open: (instruments, output, depth) => new BinanceSession(rules, instruments, output, depth),
  }
}

export const binance: Adapter = adapterOf(
  SPOT,
  'https://api.binance.com/api/v3/exchangeInfo',
  'https://api.binance.com/api/v3/ticker/24hr?type=MINI',
)

export const binanceusdm: Adapter = adapterOf(
  USDM,
  'https://fapi.binance.com/fapi/v1/exchangeInfo',
  'https://fapi.binance.com/fapi/v1/ticker/24hr',
)

/** `{"code":-1121,"msg":"Invalid symbol."}`; what bars a region or a client has 0, or another shape. */
function isOwnError(body: string): boolean {
  try {
    const answer: unknown = JSON.parse(body)
    return isRecord(answer) && typeof answer.msg === 'string' && Number(answer.code) < 0
  } catch {
    return false
  }
}
