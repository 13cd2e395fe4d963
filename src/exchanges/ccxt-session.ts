/**
 * The protocol between the ccxt sockets and the feed: frames of our own, as JSON.
 *
 * ```
 * {"t":"snapshot","h":0,"i":0,"g":0,"n":7,"ts":1782340000000,"b":[["100.1","2"]],"a":[]}
 * {"t":"delta","i":0,"g":0,"n":8,"ts":-1,"b":[["100.1","0"]],"a":[["100.3","1.5"]]}
 * {"t":"refreshed","h":1,"i":0,"g":1,"n":9,"ts":-1,"b":[["100.1","2"]],"a":[]}
 * {"t":"lost","i":0,"g":0,"r":"gap","m":"..."}     the book of one symbol
 * {"t":"limited","m":"..."}                        the exchange refuses everything for a while
 * ```
 *
 * 1. `i` is the instrument; `g` counts how often its book was asked for. What another generation
 *    says is late and ignored, so a resync needs no acknowledgement.
 * 2. `n` is the exchange's number as ccxt keeps it, -1 for none. ccxt does not check it everywhere,
 *    so nothing is proven by it.
 * 3. `h` 1: the snapshot ends before the book does.
 * 4. Messages: `{"op":"subscribe","depth":N}` once, then `{"op":"resync","i":N}` and
 *    `{"op":"refresh","i":N}`.
 * 5. `refreshed` is the whole book of the generation that a `refresh` began, no older than what the
 *    one before it said last; from here on that generation speaks. `lost` of it: there was none.
 */
import { ASK, BID, LevelChanges } from '../core/changes.ts'
import { canonicalDecimal, compareDecimals, scaledFromText } from '../core/decimal.ts'
import { ObfeedError } from '../core/errors.ts'
import { foreignText } from '../core/foreign-text.ts'
import type { Instrument } from '../core/instrument.ts'
import type { Session, SessionOutput, SessionStats } from './adapter.ts'
import { appendSide, decodeText } from './decode.ts'
import type { LevelText } from './ccxt-book.ts'

export type LossKind = 'gap' | 'checksum' | 'disconnect' | 'refused'

interface BookFrame {
  readonly i: number
  readonly g: number
  readonly n: number
  readonly ts: number
  readonly b: readonly LevelText[]
  readonly a: readonly LevelText[]
}

export type CcxtFrame =
  | { readonly t: 'snapshot'; readonly h: 0 | 1 } & BookFrame
  | { readonly t: 'delta' } & BookFrame
  | { readonly t: 'refreshed'; readonly h: 0 | 1 } & BookFrame
  | {
    readonly t: 'lost'
    readonly i: number
    readonly g: number
    readonly r: LossKind
    readonly m: string
  }
  | { readonly t: 'limited'; readonly m: string }

type BookMessage = Extract<CcxtFrame, BookFrame>

export type CcxtMessage =
  | { readonly op: 'subscribe'; readonly depth: number }
  | { readonly op: 'resync'; readonly i: number }
  | { readonly op: 'refresh'; readonly i: number }

/** ccxt names no time. */
const LIMITED_WAIT_MS = 30_000

export class CcxtSession implements Session {
  readonly stats: SessionStats = { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 }
  readonly #exchange: string
  readonly #instruments: readonly Instrument[]
  readonly #output: SessionOutput
  readonly #depth: number
  readonly #changes: LevelChanges = new LevelChanges()
  readonly #live: boolean[]
  /** Whose word counts. */
  readonly #generations: number[]
  /** The last one that was asked for. */
  readonly #asked: number[]
  /** That one is to take over from a live one. */
  readonly #refreshing: boolean[]
  #isOpen = false
  #isDead = false

  constructor(
    exchange: string,
    instruments: readonly Instrument[],
    output: SessionOutput,
    depth: number,
  ) {
    this.#exchange = exchange
    this.#instruments = instruments
    this.#output = output
    this.#depth = depth
    this.#live = instruments.map(() => false)
    this.#generations = instruments.map(() => 0)
    this.#asked = instruments.map(() => 0)
    this.#refreshing = instruments.map(() => false)
  }

  opened(): void {
    if (this.#isOpen || this.#isDead) return
    this.#isOpen = true
    this.#send({ op: 'subscribe', depth: this.#depth })
  }

  resync(index: number): void {
    if (this.#isDead) return
    this.#live[index] = false
    this.#refreshing[index] = false
    // Before that, `opened` subscribes everything anyway.
    if (!this.#isOpen) return
    this.#generations[index] = ++this.#asked[index]!
    this.#send({ op: 'resync', i: index })
  }

  refresh(index: number): void {
    if (this.#isDead || !this.#live[index]! || this.#refreshing[index]!) return
    this.#asked[index]!++
    this.#refreshing[index] = true
    this.#send({ op: 'refresh', i: index })
  }

  received(frame: Uint8Array, receivedUs: number): void {
    if (this.#isDead) return
    let message: CcxtFrame
    try {
      message = JSON.parse(decodeText(frame))
    } catch {
      return this.#undecodable('not JSON')
    }
    switch (message?.t) {
      case 'snapshot':
      case 'delta':
      case 'refreshed':
        return this.#book(message, receivedUs)
      case 'lost':
        return this.#lost(message.i, message.g, message.r, textOf(message.m))
      case 'limited':
        return this.#end(
          'E_RATE_LIMITED',
          `${this.#exchange} refuses requests ("${
            textOf(message.m)
          }"), expected to be within its limits; ` +
            'look for other clients on this address',
          LIMITED_WAIT_MS,
        )
      default:
        this.stats.unknownFrames++
    }
  }

  #book(message: BookMessage, receivedUs: number): void {
    const { i, g, n, ts } = message
    const instrument = this.#instrument(i)
    if (instrument === undefined || !Number.isSafeInteger(n) || !Number.isSafeInteger(ts)) {
      return this.#undecodable('its numbers are wrong')
    }
    const isSnapshot = message.t === 'snapshot'
    const isRefresh = message.t === 'refreshed'
    if (g !== (isRefresh ? this.#asked[i] : this.#generations[i])) return
    if ((!isSnapshot && !this.#live[i]) || (isRefresh && !this.#refreshing[i])) return
    const changes = this.#changes
    changes.reset()
    const { b, a } = message
    const problem = Array.isArray(b) && Array.isArray(a)
      ? appendSide(changes, BID, b, instrument) ?? appendSide(changes, ASK, a, instrument)
      : 'no levels'
    if (problem !== undefined) return this.#undecodable('a level is not a price and a size')
    changes.nonce = n
    changes.timestampMs = ts
    changes.receivedUs = receivedUs
    if (message.t === 'delta') return this.#output.delta(i, changes)
    if (message.h === 1) {
      changes.bidHorizon = worst(message.b, -1, instrument.priceDecimals)
      changes.askHorizon = worst(message.a, 1, instrument.priceDecimals)
    }
    if (isRefresh) {
      this.#generations[i] = g
      this.#refreshing[i] = false
      return this.#output.refreshed(i, changes)
    }
    this.#live[i] = true
    this.#output.snapshot(i, changes)
  }

  #lost(index: number, generation: number, kind: LossKind, text: string): void {
    const instrument = this.#instrument(index)
    if (instrument === undefined) return this.#undecodable('it names no instrument')
    if (generation !== this.#generations[index]) {
      // The book goes on as it is, and may be asked for again.
      if (generation === this.#asked[index]) this.#refreshing[index] = false
      return
    }
    this.#live[index] = false
    if (kind !== 'refused') {
      this.#output.suspect(index, kind, text)
      return
    }
    this.#output.fail(
      new ObfeedError(
        'E_SUBSCRIBE',
        `${this.#exchange} does not serve ${instrument.wireSymbol} ("${text}"), expected its order ` +
          'book; check that the market is listed and traded',
        { scope: 'symbol', symbol: instrument.symbol },
      ),
    )
  }

  #instrument(index: unknown): Instrument | undefined {
    return typeof index === 'number' ? this.#instruments[index] : undefined
  }

  #undecodable(problem: string): void {
    this.#end(
      'E_DECODE',
      `a frame of the ccxt connection to ${this.#exchange} could not be read (${problem}), ` +
        'expected levels; the connection is replaced',
    )
  }

  #end(code: 'E_DECODE' | 'E_RATE_LIMITED', message: string, retryAfterMs = 0): void {
    this.#isDead = true
    this.#output.fail(new ObfeedError(code, message, { scope: 'connection', retryAfterMs }))
  }

  #send(message: CcxtMessage): void {
    this.#output.send(JSON.stringify(message))
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? foreignText(value) : 'no reason given'
}

/** The scaled price farthest from the other side; NaN for a side without levels. */
function worst(levels: readonly LevelText[], sign: 1 | -1, decimals: number): number {
  let found: string | undefined
  let beyond = NaN
  for (const [text] of levels) {
    const price = canonicalDecimal(text)!
    if (Number.isNaN(scaledFromText(price, decimals))) {
      // The next one that is exact, outwards: a horizon of none would claim the whole side.
      const next = sign * Math.ceil(sign * Number(price) * 10 ** decimals)
      if (!(sign * next <= sign * beyond)) beyond = next
    } else if (found === undefined || sign * compareDecimals(price, found) > 0) {
      found = price
    }
  }
  return found === undefined ? beyond : scaledFromText(found, decimals)
}
