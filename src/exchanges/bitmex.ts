/**
 * BitMEX: table `orderBookL2`, whole books in band, levels by id, nothing to prove them by. The
 * exchange is closed; recordings and the simulator still speak its protocol.
 *
 * ```
 * {"table":"orderBookL2","action":"partial",      // the whole table of one symbol
 *  "keys":["symbol","id","side"],"types":{...},"filter":{"symbol":"XBTUSD"},
 *  "data":[{"symbol":"XBTUSD","id":8796780750,"side":"Sell","size":200,"price":32192.5}]}
 * {"table":"orderBookL2","action":"insert","data":[...]}            // rows as above
 * {"table":"orderBookL2","action":"update",       // later: also price, timestamp, transactTime
 *  "data":[{"symbol":"XBTUSD","id":8796780750,"side":"Sell","size":300}]}
 * {"table":"orderBookL2","action":"delete",
 *  "data":[{"symbol":"XBTUSD","id":8796780750,"side":"Sell"}]}
 * ```
 *
 * 1. On open: subscribe the table of every symbol; each is acknowledged on its own.
 * 2. A `partial` replaces the book. Without one, everything else of the symbol is ignored.
 * 3. An `insert` says which price an id has. `update` and `delete` name the id; when they have a price
 *    of their own, it counts. Ids are never computed with. The same id on the other side is the same
 *    level, which has changed sides.
 * 4. Neither a sequence nor a checksum: most losses do not show. An id that is not in the table does:
 *    something was lost, the book is suspect, and what the frame carries is dropped.
 * 5. Prices and sizes are JSON numbers, also `3.5e-7`: read digit by digit, never through a double.
 *    Sizes are contracts.
 * 6. A frame that cannot be read may have been a change of any book, so all of the socket are suspect.
 * 7. Resync: unsubscribe and subscribe the symbols; the next `partial` makes one live again.
 * 8. Silence of five seconds is answered with the text `ping`, which the exchange answers with `pong`.
 */
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import { canonicalDecimal } from '../core/decimal.ts'
import { ObfeedError } from '../core/errors.ts'
import type { Instrument, Market } from '../core/instrument.ts'
import { Literal, Scanner, timeFromText } from '../core/scanner.ts'
import { WireIds } from '../core/wire-ids.ts'
import type { Adapter, Session, SessionOutput, SessionStats } from './adapter.ts'
import { decodeText, exact, isRecord, unreadableText } from './decode.ts'
import { defer } from './deferral.ts'
import { placesOf, volumesOf } from './listing.ts'
import { saidBy, shown } from './said.ts'
import { mixed } from './warm-frames.ts'

const TABLE = 'orderBookL2'
/** All of a partial that stands before its symbol. */
const PARTIAL_HEAD = `{"table":"${TABLE}","action":"partial","keys":["symbol","id","side"],` +
  '"types":{"symbol":"symbol","id":"long","side":"symbol","size":"long","price":"float"},' +
  '"foreignKeys":{"symbol":"instrument","side":"side"},' +
  '"attributes":{"symbol":"parted","id":"sorted"},"filter":{"symbol":"'

const HEAD = new Literal(`{"table":"${TABLE}","action":"`)
const UPDATE_DATA = new Literal('update","data":[')
const INSERT_DATA = new Literal('insert","data":[')
const DELETE_DATA = new Literal('delete","data":[')
const PARTIAL_REST = new Literal(PARTIAL_HEAD.slice(HEAD.length))
const PARTIAL_DATA = new Literal('},"data":[')
const SYMBOL = new Literal('{"symbol":"')
const ID = new Literal(',"id":')
const BUY = new Literal(',"side":"Buy"')
const SELL = new Literal(',"side":"Sell"')
const SIZE = new Literal(',"size":')
const PRICE = new Literal(',"price":')
const TIMESTAMP = new Literal(',"timestamp":"')
const TRANSACT_TIME = new Literal(',"transactTime":"')
const END = new Literal(']}')
const BRACE = 0x7d
const COMMA = 0x2c

type Action = 'partial' | 'insert' | 'update' | 'delete'

/** The book of an instrument, as far as this socket is concerned. */
const SUSPECT = 0
const WAITING = 1
const LIVE = 2

/** Topics in one message; more is legal, but makes one error reply cost more. */
const TOPICS_PER_MESSAGE = 10
const PING_MS = 5_000
const RATE_LIMITED = /rate.?limit|too many|retry in/i
const RATE_LIMIT_WAIT_MS = 5_000
/** Answers to a resync that changes nothing: the snapshot comes, or the feed asks again. */
const HARMLESS = /(already|not) subscribed to this topic/i

/** One for all sessions: a frame is read from beginning to end within one call. */
const scanner = new Scanner()

/** The prices of one side by id: scaled, or NaN with its text beside it. */
class IdTable {
  readonly prices = new Map<number, number>()
  readonly texts = new Map<number, string>()

  set(id: number, price: number, text: string | undefined): void {
    this.prices.set(id, price)
    if (text !== undefined) this.texts.set(id, text)
    else if (this.texts.size > 0) this.texts.delete(id)
  }

  delete(id: number): void {
    this.prices.delete(id)
    if (this.texts.size > 0) this.texts.delete(id)
  }

  clear(): void {
    this.prices.clear()
    this.texts.clear()
  }
}

/** Rows of one message, as they came: prices and sizes where the row has them. */
class Rows extends LevelChanges {
  ids: Float64Array<ArrayBuffer> = new Float64Array(this.side.length)
  hasPrice: Uint8Array<ArrayBuffer> = new Uint8Array(this.side.length)
  hasSize: Uint8Array<ArrayBuffer> = new Uint8Array(this.side.length)

  override grow(): void {
    super.grow()
    const ids = new Float64Array(this.side.length)
    ids.set(this.ids)
    this.ids = ids
    const hasPrice = new Uint8Array(this.side.length)
    hasPrice.set(this.hasPrice)
    this.hasPrice = hasPrice
    const hasSize = new Uint8Array(this.side.length)
    hasSize.set(this.hasSize)
    this.hasSize = hasSize
  }
}

/** A message of the JSON route: which rows belong to which known instrument. */
interface Group {
  readonly index: number
  readonly rows: readonly Record<string, unknown>[]
}

class BitmexSession implements Session {
  readonly heartbeatMs = PING_MS
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  private readonly instruments: readonly Instrument[]
  private readonly output: SessionOutput
  private readonly symbols = new Map<string, number>()
  private readonly wireIds: WireIds
  private readonly rows: Rows = new Rows()
  private readonly changes: LevelChanges = new LevelChanges()
  private readonly states: Uint8Array<ArrayBuffer>
  /** By instrument: bids, asks. */
  private readonly tables: IdTable[] = []
  private isOpen = false
  /** The socket is given up: nothing that still comes on it counts. */
  private isDead = false
  private frames = 0
  private framesAtBeat = 0
  /** Of the frame that was scanned last. */
  private action: Action = 'update'
  private timestampMs = -1

  constructor(instruments: readonly Instrument[], output: SessionOutput) {
    this.instruments = instruments
    this.output = output
    instruments.forEach(({ wireSymbol }, index) => {
      if (!this.symbols.has(wireSymbol)) this.symbols.set(wireSymbol, index)
      this.tables.push(new IdTable(), new IdTable())
    })
    this.wireIds = new WireIds(this.symbols, '"')
    this.states = new Uint8Array(instruments.length).fill(WAITING)
  }

  opened(): void {
    if (this.isOpen || this.isDead) return
    this.isOpen = true
    this.request('subscribe', [...this.symbols.keys()])
  }

  resync(index: number): void {
    this.resyncAll([index])
  }

  resyncAll(indexes: readonly number[]): void {
    if (this.isDead) return
    for (const index of indexes) this.states[index] = WAITING
    // Before that, `opened` subscribes everything anyway.
    if (!this.isOpen) return
    const symbols = [...new Set(indexes.map((index) => this.instruments[index].wireSymbol))]
    this.request('unsubscribe', symbols)
    this.request('subscribe', symbols)
  }

  heartbeat(): void {
    if (!this.isOpen || this.isDead) return
    if (this.frames === this.framesAtBeat) this.output.send('ping')
    this.framesAtBeat = this.frames
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.isDead) return
    this.frames++
    scanner.load(frame)
    const index = this.scan()
    scanner.release()
    if (index >= 0) this.deliver(index, this.action, receivedUs)
    else this.receivedJson(frame, receivedUs)
  }

  /**
   * The fast path: rows of one known symbol in exactly the known spelling, decoded into `rows`.
   * Returns the instrument's index, or -1 for the JSON route to have the last word.
   */
  private scan(): number {
    if (!scanner.literal(HEAD)) return -1
    let index = -1
    if (scanner.literal(UPDATE_DATA)) {
      this.action = 'update'
    } else if (scanner.literal(INSERT_DATA)) {
      this.action = 'insert'
    } else if (scanner.literal(DELETE_DATA)) {
      this.action = 'delete'
    } else {
      if (!scanner.literal(PARTIAL_REST)) return -1
      index = this.wireIds.read(scanner)
      if (index < 0 || !scanner.literal(PARTIAL_DATA)) return -1
      this.action = 'partial'
    }
    this.rows.reset()
    this.timestampMs = -1
    if (index >= 0 && scanner.literal(END)) return scanner.isDone() ? index : -1
    for (;;) {
      const one = this.scanRow()
      if (one < 0 || (index >= 0 && one !== index)) return -1
      index = one
      if (!scanner.byte(COMMA)) break
    }
    return scanner.literal(END) && scanner.isDone() ? index : -1
  }

  /** Adds one row to `rows`; its instrument's index, or -1. */
  private scanRow(): number {
    if (!scanner.literal(SYMBOL)) return -1
    const index = this.wireIds.read(scanner)
    if (index < 0 || !scanner.literal(ID)) return -1
    const rows = this.rows
    const { priceDecimals, sizeDecimals } = this.instruments[index]
    const i = rows.count
    if (i === rows.side.length) rows.grow()
    const id = scanner.unsigned()
    if (id < 0) return -1
    rows.ids[i] = id
    if (scanner.literal(BUY)) rows.side[i] = BID
    else if (scanner.literal(SELL)) rows.side[i] = ASK
    else return -1
    rows.hasSize[i] = 0
    rows.hasPrice[i] = 0
    if (this.action !== 'delete') {
      if (!scanner.literal(SIZE)) return -1
      let size = scanner.number(sizeDecimals)
      if (!(size >= 0)) {
        if (size < 0) return -1
        size = exact(scanner.numberText(), sizeDecimals, rows.wideSize, i)
      }
      rows.size[i] = size
      rows.hasSize[i] = 1
    }
    if (!scanner.byte(BRACE)) {
      if (scanner.literal(PRICE)) {
        let price = scanner.number(priceDecimals)
        if (!(price >= 0)) {
          if (price < 0) return -1
          price = exact(scanner.numberText(), priceDecimals, rows.widePrice, i)
        }
        rows.price[i] = price
        rows.hasPrice[i] = 1
      }
      if (scanner.literal(TIMESTAMP)) {
        const ms = scanner.time()
        if (ms < 0) return -1
        if (ms > this.timestampMs) this.timestampMs = ms
        if (scanner.literal(TRANSACT_TIME) && !scanner.skipText()) return -1
      }
      if (!scanner.byte(BRACE)) return -1
    }
    if (rows.hasPrice[i] === 0 && (this.action === 'insert' || this.action === 'partial')) return -1
    rows.count = i + 1
    return index
  }

  /** What `rows` do to the book of `index`. */
  private deliver(index: number, action: Action, receivedUs: number): void {
    const isPartial = action === 'partial'
    const state = this.states[index]
    if (isPartial ? state === SUSPECT : state !== LIVE) return
    if (isPartial) this.forget(index)
    const problem = this.resolve(index, action)
    if (problem !== undefined) {
      this.states[index] = SUSPECT
      this.forget(index)
      this.output.suspect(index, 'gap', problem)
      return
    }
    const changes = this.changes
    changes.timestampMs = this.timestampMs
    changes.receivedUs = receivedUs
    if (isPartial) {
      this.states[index] = LIVE
      this.output.snapshot(index, changes)
    } else {
      this.output.delta(index, changes)
    }
  }

  private forget(index: number): void {
    this.tables[2 * index].clear()
    this.tables[2 * index + 1].clear()
  }

  /** From ids to prices: fills `changes` and brings the tables up to date; or says what is lost. */
  private resolve(index: number, action: Action): string | undefined {
    const { rows, changes, tables } = this
    changes.reset()
    for (let i = 0; i < rows.count; i++) {
      const id = rows.ids[i]
      const side = rows.side[i]
      const own = tables[2 * index + side]
      let heldSide = side
      let held = own
      // The delete that must have been between them did not come.
      if (action === 'insert' && tables[2 * index + (side === BID ? ASK : BID)].prices.has(id)) {
        return `insert of id ${id}, which ${
          this.instruments[index].wireSymbol
        } has on the other side`
      }
      if (!own.prices.has(id) && action !== 'insert' && action !== 'partial') {
        heldSide = side === BID ? ASK : BID
        held = tables[2 * index + heldSide]
        if (!held.prices.has(id)) {
          const { wireSymbol } = this.instruments[index]
          return `${action} of id ${id}, which is not in the table of ${wireSymbol}`
        }
      }
      if (action === 'delete') {
        this.emit(heldSide, held.prices.get(id)!, held.texts.get(id), 0, undefined)
        held.delete(id)
        continue
      }
      const before = held.prices.get(id)
      let price = before ?? NaN
      let text = held.texts.get(id)
      if (rows.hasPrice[i] === 1) {
        price = rows.price[i]
        text = rows.widePrice.get(i)
      }
      const hasMoved = before !== undefined &&
        (heldSide !== side || text !== held.texts.get(id) ||
          (text === undefined && price !== before))
      if (rows.hasSize[i] === 0) {
        if (!hasMoved) continue
        return `id ${id} of ${this.instruments[index].wireSymbol} has moved without a size`
      }
      if (hasMoved) {
        this.emit(heldSide, before, held.texts.get(id), 0, undefined)
        held.delete(id)
      }
      if (hasMoved || before === undefined) own.set(id, price, text)
      this.emit(side, price, text, rows.size[i], rows.wideSize.get(i))
    }
    return undefined
  }

  private emit(
    side: number,
    price: number,
    priceText: string | undefined,
    size: number,
    sizeText: string | undefined,
  ): void {
    const changes = this.changes
    const i = changes.count
    if (i === changes.side.length) changes.grow()
    changes.side[i] = side
    changes.price[i] = price
    changes.size[i] = size
    if (priceText !== undefined) changes.widePrice.set(i, priceText)
    if (sizeText !== undefined) changes.wideSize.set(i, sizeText)
    changes.count = i + 1
  }

  /** Everything that is not a plain table frame, and table frames in any legal spelling. */
  private receivedJson(frame: Uint8Array, receivedUs: number): void {
    let text: string
    let message: unknown
    try {
      text = decodeText(frame)
      if (text === 'pong') return
      message = JSON.parse(text)
    } catch {
      return this.undecodable(frame, 'not JSON')
    }
    if (!isRecord(message)) return this.undecodable(frame, 'not a JSON object')
    if (message.table === TABLE) {
      this.stats.scannerFallbacks++
      return this.receivedTable(frame, parseExactly(text), receivedUs)
    }
    if (message.table !== undefined) this.stats.unknownFrames++
    else if (message.error !== undefined) this.refused(message)
    else if (message.info === undefined && message.success !== true) this.stats.unknownFrames++
  }

  private receivedTable(
    frame: Uint8Array,
    message: Record<string, unknown>,
    receivedUs: number,
  ): void {
    const { action } = message
    if (
      action !== 'partial' && action !== 'insert' && action !== 'update' && action !== 'delete'
    ) {
      return this.undecodable(frame, 'action is not partial, insert, update or delete')
    }
    this.action = action
    const groups = this.group(message)
    if (typeof groups === 'string') return this.undecodable(frame, groups)
    if (groups.length === 0) {
      if (!Array.isArray(message.data) || message.data.length > 0) this.stats.unknownFrames++
      return
    }
    // Decoded whole before anything may count.
    for (const group of groups) {
      const problem = this.append(group)
      if (problem !== undefined) return this.undecodable(frame, problem)
    }
    for (const group of groups) {
      if (groups.length > 1) this.append(group)
      this.deliver(group.index, action, receivedUs)
    }
  }

  /** The rows by known instrument; a text says what is wrong. */
  private group(message: Record<string, unknown>): Group[] | string {
    const { data, filter } = message
    if (!Array.isArray(data)) return 'data is not an array'
    const groups = new Map<number, Record<string, unknown>[]>()
    if (this.action === 'partial' && isRecord(filter) && typeof filter.symbol === 'string') {
      // The table of one symbol, which may be empty.
      const index = this.symbols.get(filter.symbol)
      if (index !== undefined) groups.set(index, [])
    }
    for (const row of data as readonly unknown[]) {
      if (!isRecord(row)) return 'a row is not an object'
      if (typeof row.symbol !== 'string' || row.symbol[0] === '#') return 'symbol is not text'
      const index = this.symbols.get(row.symbol)
      if (index === undefined) continue
      const rows = groups.get(index)
      if (rows === undefined) groups.set(index, [row])
      else rows.push(row)
    }
    return [...groups].map(([index, rows]) => ({ index, rows }))
  }

  /** Decodes a group into `rows`; returns what is wrong with it. */
  private append({ index, rows: given }: Group): string | undefined {
    const { rows, action } = this
    const { priceDecimals, sizeDecimals } = this.instruments[index]
    rows.reset()
    this.timestampMs = -1
    for (const row of given) {
      const i = rows.count
      if (i === rows.side.length) rows.grow()
      const id = typeof row.id === 'string' && /^#\d{1,15}$/.test(row.id) ? row.id.slice(1) : ''
      if (id === '') return 'id is not an integer from 0'
      if (row.side !== 'Buy' && row.side !== 'Sell') return 'side is not Buy or Sell'
      rows.ids[i] = Number(id)
      rows.side[i] = row.side === 'Buy' ? BID : ASK
      const needsAll = action === 'insert' || action === 'partial'
      rows.hasSize[i] = 0
      if (action !== 'delete' && (needsAll || row.size !== undefined)) {
        const size = numberOf(row.size)
        if (size === undefined) return 'size is not a number from 0'
        rows.size[i] = exact(size, sizeDecimals, rows.wideSize, i)
        rows.hasSize[i] = 1
      }
      rows.hasPrice[i] = 0
      if (needsAll || row.price !== undefined) {
        const price = numberOf(row.price)
        if (price === undefined) return 'price is not a number from 0'
        rows.price[i] = exact(price, priceDecimals, rows.widePrice, i)
        rows.hasPrice[i] = 1
      }
      const ms = typeof row.timestamp === 'string' ? timeFromText(row.timestamp) : -1
      if (ms > this.timestampMs) this.timestampMs = ms
      rows.count = i + 1
    }
    return undefined
  }

  /** An error reply: about the symbols it names, or about the connection. */
  private refused(message: Record<string, unknown>): void {
    const { error, status, meta, request } = message
    const said = saidBy(status, error)
    if (said.matches(HARMLESS)) return
    if (status === 429 || said.matches(RATE_LIMITED)) {
      const seconds = isRecord(meta) ? Number(shown(meta.retryAfter)) : NaN
      const waitMs = seconds > 0 ? seconds * 1000 : RATE_LIMIT_WAIT_MS
      const asked = isRecord(request) ? saidBy(request.args).named(this.symbols) : new Set<number>()
      for (const index of asked) this.states[index] = SUSPECT
      const text =
        `BitMEX refused a message ("${said}"), expected to be within 40 requests at once ` +
        'per IP address; look for other clients on this address'
      if (asked.size > 0) return defer(this.output, this.instruments, asked, text, waitMs)
      this.abandon(
        new ObfeedError(
          'E_RATE_LIMITED',
          `BitMEX refused a message ("${said}"), expected to be within 720 connections an hour and ` +
            '40 requests at once per IP address; look for other clients on this address',
          {
            scope: 'connection',
            retryAfterMs: waitMs,
          },
        ),
      )
      return
    }
    const named = said.named(this.symbols)
    // An error that names nothing is about a request for one symbol, when it is that.
    if (named.size === 0 && isRecord(request)) {
      const asked = saidBy(request.args).named(this.symbols)
      if (asked.size === 1) { for (const index of asked) named.add(index) }
    }
    if (named.size === 0) {
      this.abandon(
        new ObfeedError(
          'E_SUBSCRIBE',
          `BitMEX answered with an error that names no symbol ("${said}"), expected a ` +
            'subscription; the connection is replaced',
          { scope: 'connection' },
        ),
      )
      return
    }
    for (const index of named) this.states[index] = SUSPECT
    for (const index of named) {
      const { symbol, wireSymbol } = this.instruments[index]
      this.output.fail(
        new ObfeedError(
          'E_SUBSCRIBE',
          `BitMEX refused ${wireSymbol} ("${said}"), expected a subscription; ` +
            'check that the instrument is listed and open',
          { scope: 'symbol', symbol },
        ),
      )
    }
  }

  private abandon(error: ObfeedError): void {
    this.isDead = true
    this.states.fill(SUSPECT)
    this.output.fail(error)
  }

  /** It may have been a change of any book, and nothing else would surely tell. */
  private undecodable(frame: Uint8Array, problem: string): void {
    const detail = unreadableText(frame, problem)
    // First all, then the calls: the feed may ask for a resync from inside one.
    this.states.fill(SUSPECT)
    for (let i = 0; i < this.states.length; i++) this.output.suspect(i, 'gap', detail)
  }

  private request(op: 'subscribe' | 'unsubscribe', symbols: readonly string[]): void {
    for (let i = 0; i < symbols.length; i += TOPICS_PER_MESSAGE) {
      const args = symbols.slice(i, i + TOPICS_PER_MESSAGE).map((symbol) => `${TABLE}:${symbol}`)
      this.output.send(JSON.stringify({ op, args }))
    }
  }
}

/** Strings, which stay as they are, and numbers of legal JSON. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** Legal JSON of an object, with each number as the text of its token behind a `#`. */
function parseExactly(text: string): Record<string, unknown> {
  return JSON.parse(text.replace(TOKENS, (token) => token[0] === '"' ? token : `"#${token}"`))
}

/** Canonical text of a number of `parseExactly`, from 0. */
function numberOf(value: unknown): string | undefined {
  if (typeof value !== 'string' || value[0] !== '#' || value[1] === '-') return undefined
  return canonicalDecimal(value.slice(1))
}

/** Canned life of one connection: a table of 500 levels a side, then changes of it. */
function warmFrames(instrument: Instrument): Uint8Array[] {
  const { wireSymbol, priceDecimals } = instrument
  const encoder = new TextEncoder()
  const price = (ticks: number) => Number((ticks / 10 ** priceDecimals).toPrecision(12))
  /** Even numbers are asks, odd ones are bids, the better the smaller. */
  const row = (n: number, size: number | undefined, hasPrice: boolean) => {
    const offset = (n >> 1) + 1
    return `{"symbol":"${wireSymbol}","id":${8_800_000_000 + n},"side":"${
      n & 1 ? 'Buy' : 'Sell'
    }"` +
      (size === undefined ? '' : `,"size":${size}`) +
      (hasPrice ? `,"price":${price(100_000 + (n & 1 ? -offset : offset))}` : '') + '}'
  }
  const all = Array.from({ length: 1000 }, (_, n) => row(n, 1 + n, true))
  const frames = [`${PARTIAL_HEAD}${wireSymbol}"},"data":[${all.join(',')}]}`]
  const present = new Uint8Array(1100).fill(1, 0, 1000)
  for (let i = 1; i <= 300; i++) {
    const rows: string[] = []
    const n = mixed(i) % 1100
    const action = present[n] === 0 ? 'insert' : i % 3 === 0 ? 'delete' : 'update'
    for (let k = n; k < Math.min(1100, n + 1 + i % 4) && present[k] === present[n]; k++) {
      rows.push(
        row(k, action === 'delete' ? undefined : 1 + (i * 7919 + k) % 100_003, action === 'insert'),
      )
    }
    present.fill(action === 'delete' ? 0 : 1, n, n + rows.length)
    frames.push(`{"table":"${TABLE}","action":"${action}","data":[${rows.join(',')}]}`)
  }
  return frames.map((text) => encoder.encode(text))
}

/** Currencies whose unified code is another one. */
const CODES: ReadonlyMap<string, string> = new Map([
  ['XBT', 'BTC'],
  ['XBt', 'BTC'],
  ['USDt', 'USDT'],
  ['Gwei', 'ETH'],
])

/** What is read of an instrument in the answer of `/api/v1/instrument/active`. */
interface BitmexInstrument {
  readonly symbol?: unknown
  readonly typ?: unknown
  readonly state?: unknown
  readonly underlying?: unknown
  readonly quoteCurrency?: unknown
  readonly settlCurrency?: unknown
  readonly tickSize?: unknown
  readonly expiry?: unknown
  readonly foreignNotional24h?: unknown
}

const PERPETUAL: ReadonlySet<unknown> = new Set(['FFWCSX', 'FFWCSF'])
const FUTURE = 'FFCCSX'
const SPOT = 'IFXXXP'

function codeOf(currency: string): string {
  return CODES.get(currency) ?? currency.toUpperCase()
}

/** `0.5` -> 1, `1e-8` -> 8, `5` -> 0; undefined when it is no step. */
function decimalsOf(tickSize: unknown): number | undefined {
  if (typeof tickSize !== 'number' || !(tickSize > 0)) return undefined
  const text = canonicalDecimal(String(tickSize))
  return text === undefined ? undefined : placesOf(text)
}

/** The unified symbol; undefined for what has no book here (indices, predictions). */
function symbolOf(instrument: BitmexInstrument): string | undefined {
  const { typ, underlying, quoteCurrency, settlCurrency, expiry } = instrument
  if (typeof underlying !== 'string' || typeof quoteCurrency !== 'string') return undefined
  const pair = `${codeOf(underlying)}/${codeOf(quoteCurrency)}`
  if (typ === SPOT) return pair
  if (typeof settlCurrency !== 'string') return undefined
  const contract = `${pair}:${codeOf(settlCurrency)}`
  if (PERPETUAL.has(typ)) return contract
  if (typ !== FUTURE || typeof expiry !== 'string' || timeFromText(expiry) < 0) return undefined
  return `${contract}-${expiry.slice(2, 10).replaceAll('-', '')}`
}

function parseMarkets(instruments: unknown): Market[] | undefined {
  if (!Array.isArray(instruments)) return undefined
  const markets: Market[] = []
  for (const instrument of instruments as readonly unknown[]) {
    if (!isRecord(instrument) || typeof instrument.symbol !== 'string') return undefined
    const symbol = symbolOf(instrument)
    const priceDecimals = decimalsOf(instrument.tickSize)
    if (symbol === undefined || priceDecimals === undefined) continue
    markets.push({
      symbol,
      wireSymbol: instrument.symbol,
      priceDecimals,
      // Contracts.
      sizeDecimals: 0,
      active: instrument.state === 'Open',
    })
  }
  return markets
}

function parseVolumes(
  instruments: unknown,
  markets: readonly Market[],
): Map<string, number> | undefined {
  if (!Array.isArray(instruments)) return undefined
  const traded = new Map<unknown, number>()
  for (const instrument of instruments as readonly (BitmexInstrument | null)[]) {
    traded.set(instrument?.symbol, Number(instrument?.foreignNotional24h) || 0)
  }
  return volumesOf(markets, traded)
}

const INSTRUMENTS = 'https://www.bitmex.com/api/v1/instrument/active'

export const bitmex: Adapter = {
  exchange: 'bitmex',
  closed: 'BitMEX closed on 2026-09-23',
  protocol: { snapshot: 'inband', loss: 'none', lossScope: 'symbol', depth: 'full' },
  limits: {
    // One frame that cannot be read costs the snapshots of all symbols of its socket.
    symbolsPerConnection: 20,
    framesPerSecond: 5,
    // 720 an hour.
    connectsPerSecond: 720 / 3600,
    connectsWindowMs: 3_600_000,
    // No rule of the exchange.
    subscribeWithinMs: 30_000,
    // Nothing tells of a lost insert: a fresh snapshot on the next socket mends what it left wrong.
    lifetimeMs: 15 * 60_000,
    frameBytesMax: 16 * 1024 * 1024,
  },
  url: () => 'wss://ws.bitmex.com/realtime',
  markets: {
    urls: [INSTRUMENTS],
    parse: ([instruments]) => parseMarkets(instruments),
  },
  volumes: {
    urls: [INSTRUMENTS],
    parse: ([instruments], markets) => parseVolumes(instruments, markets),
  },
  warmFrames,
  open: (instruments, output) => new BitmexSession(instruments, output),
}
