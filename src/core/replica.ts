/**
 * A consumer's copy of one book, rebuilt from record values by the consumer rule of the wire format
 * in README.md. Levels are kept as the exchange's decimal text: no double ever touches them.
 */
import { parseEvent } from './event-text.ts'
import type { EventText } from './event-text.ts'

export type Outcome =
  /** The book was loaded, or replaced as a whole. */
  | 'snapshot'
  | 'delta'
  /** A snapshot that repeats the running state, found equal to it level by level. */
  | 'checkpoint'
  /** Already seen: no change. */
  | 'duplicate'
  /** Of an older epoch: dropped. */
  | 'zombie'
  /** Something before it is missing: not usable until the next snapshot. */
  | 'gap'
  /** Not usable until a higher epoch. */
  | 'invalid'
  | 'heartbeat'
  /** Not usable yet: no complete snapshot so far. */
  | 'waiting'
  /** A checkpoint that differs from the own book, or a snapshot that is none. */
  | 'mismatch'
  /** Not an event of this symbol in a version this code reads. */
  | 'unknown'

/** Deltas held while a snapshot in several parts arrives. */
const HELD_MAX = 10_000

/** Pure; all calls are synchronous. `valid` false means: do not use the levels. */
export class Replica {
  readonly symbol: string | undefined
  valid = false
  /** -1: none seen. */
  epoch = -1
  /** Of the last event that counts; -1: none in this epoch. */
  seq = -1
  /** The exchange's sequence, as text when beyond 2^53. */
  nonce: number | string | undefined = undefined
  /**
   * When the exchange spoke of the symbol last, or proved its stream, as far as this epoch has told,
   * microseconds since 1970: how old the book's news are. 0: never.
   */
  lastUs = 0
  /** The last event that `receive` could read, whatever became of it. */
  event: EventText | undefined = undefined
  /** Events that a snapshot jumped over while the book was valid: lost, though the book is whole. */
  missed = 0
  /** Removals of levels that were not there. */
  orphans = 0

  /** The epoch was declared invalid: only a higher one helps. */
  #over = false
  readonly #bids = new Side(-1)
  readonly #asks = new Side(1)
  #parts: (EventText | undefined)[] = []
  #partsSeq = -1
  #held: EventText[] = []

  constructor(symbol?: string) {
    this.symbol = symbol
  }

  receive(value: string | Uint8Array): Outcome {
    const event = parseEvent(value)
    if (event === undefined) return 'unknown'
    if (this.symbol !== undefined && event.symbol !== this.symbol) return 'unknown'
    this.event = event
    if (event.epoch < this.epoch) return 'zombie'
    if (event.epoch > this.epoch) this.#begin(event.epoch)
    const isBook = event.type === 'delta' || event.type === 'snapshot'
    this.lastUs = Math.max(this.lastUs, isBook ? event.receivedUs : event.lastUs ?? 0)
    switch (event.type) {
      case 'snapshot':
        return event.parts > 1 ? this.#part(event) : this.#snapshot(event, [event])
      case 'delta':
        return this.#delta(event)
      case 'invalid':
        this.seq = Math.max(this.seq, event.seq)
        return this.#end()
      case 'heartbeat':
        return this.#heartbeat(event)
      default:
        return 'unknown'
    }
  }

  /** `[price, size]` texts, best first, the first `depth` of them. */
  bids(depth = Infinity): [string, string][] {
    return this.#bids.levels(depth)
  }

  asks(depth = Infinity): [string, string][] {
    return this.#asks.levels(depth)
  }

  get bidCount(): number {
    return this.#bids.count
  }

  get askCount(): number {
    return this.#asks.count
  }

  /** Best bid at or above best ask. */
  get isCrossed(): boolean {
    if (this.#bids.count === 0 || this.#asks.count === 0) return false
    return compareDecimals(this.#bids.best, this.#asks.best) >= 0
  }

  #begin(epoch: number): void {
    this.epoch = epoch
    this.seq = -1
    this.lastUs = 0
    this.valid = false
    this.#over = false
    this.#forgetParts()
  }

  #end(): Outcome {
    this.#over = true
    this.valid = false
    this.#forgetParts()
    return 'invalid'
  }

  #forgetParts(): void {
    this.#parts = []
    this.#partsSeq = -1
    this.#held = []
  }

  #snapshot(event: EventText, parts: readonly EventText[]): Outcome {
    if (this.#over) return 'waiting'
    if (event.seq < this.seq) return 'duplicate'
    if (this.valid && event.seq === this.seq) {
      if (this.#bids.equals(parts, 'bids') && this.#asks.equals(parts, 'asks')) return 'checkpoint'
      this.#load(event, parts)
      return 'mismatch'
    }
    if (this.valid && event.seq > this.seq + 1) this.missed += event.seq - this.seq - 1
    return this.#load(event, parts) ? 'snapshot' : 'mismatch'
  }

  #load(event: EventText, parts: readonly EventText[]): boolean {
    const ordered = this.#bids.load(parts, 'bids') && this.#asks.load(parts, 'asks')
    this.seq = event.seq
    this.nonce = event.nonce
    this.valid = ordered
    return ordered
  }

  /** Collects the parts of one snapshot; deltas between them wait until it is whole. */
  #part(event: EventText): Outcome {
    if (this.#over) return 'waiting'
    if (event.seq < this.seq && this.valid) return 'duplicate'
    if (this.#partsSeq !== event.seq || this.#parts.length !== event.parts) {
      this.#forgetParts()
      this.#partsSeq = event.seq
      this.#parts = new Array(event.parts).fill(undefined)
    }
    if (event.part < 0 || event.part >= event.parts) return 'unknown'
    this.#parts[event.part] = event
    if (this.#parts.includes(undefined)) return 'waiting'
    const parts = this.#parts as EventText[]
    const held = this.#held
    this.#forgetParts()
    if (this.valid && event.seq < this.seq) return 'duplicate'
    const wasValid = this.valid
    const seen = this.seq
    if (!wasValid) this.seq = Math.min(seen, event.seq)
    const outcome = this.#snapshot(event, parts)
    for (const delta of held) if (delta.seq > this.seq) this.#delta(delta)
    if (wasValid || (this.valid && this.seq >= seen)) return outcome
    // It does not reach what was already seen: something is missing, or it is an old one again.
    this.valid = false
    this.seq = Math.max(this.seq, seen)
    return outcome === 'mismatch' ? outcome : 'waiting'
  }

  #delta(event: EventText): Outcome {
    if (this.#over) return 'waiting'
    if (!this.valid) {
      this.seq = Math.max(this.seq, event.seq)
      if (this.#partsSeq >= 0) {
        if (this.#held.length < HELD_MAX) this.#held.push(event)
        else this.#forgetParts()
      }
      return 'waiting'
    }
    if (event.seq <= this.seq) return 'duplicate'
    if (event.seq !== this.seq + 1) {
      this.valid = false
      this.seq = event.seq
      return 'gap'
    }
    this.orphans += this.#bids.apply(event.bids) + this.#asks.apply(event.asks)
    this.seq = event.seq
    this.nonce = event.nonce
    return 'delta'
  }

  #heartbeat(event: EventText): Outcome {
    if (event.seq < this.seq || this.#over) return 'heartbeat'
    if (event.state === 'invalid') {
      this.seq = event.seq
      return this.#end()
    }
    if (!this.valid) return 'heartbeat'
    if (event.seq === this.seq) return 'heartbeat'
    this.valid = false
    this.seq = event.seq
    return 'gap'
  }
}

/** One side, best first. Prices are compared as doubles and, where those are equal, as text. */
class Side {
  readonly #sign: number
  #value: number[] = []
  #price: string[] = []
  #size: string[] = []

  /** `sign` 1: ascending (asks), -1: descending (bids). */
  constructor(sign: number) {
    this.#sign = sign
  }

  get count(): number {
    return this.#price.length
  }

  get best(): string {
    return this.#price[0]
  }

  levels(depth: number): [string, string][] {
    const count = Math.min(depth, this.#price.length)
    const levels: [string, string][] = new Array(count)
    for (let i = 0; i < count; i++) levels[i] = [this.#price[i], this.#size[i]]
    return levels
  }

  /** False: the levels were not strictly best first, or a size was 0. They are not loaded then. */
  load(parts: readonly EventText[], name: 'bids' | 'asks'): boolean {
    this.#value = []
    this.#price = []
    this.#size = []
    for (const part of parts) {
      const flat = part[name]
      for (let i = 0; i < flat.length; i += 2) {
        const value = Number(flat[i])
        const at = this.#price.length
        if (at > 0 && this.#order(value, flat[i], at - 1) <= 0) return false
        if (flat[i + 1] === '0') return false
        this.#value.push(value)
        this.#price.push(flat[i])
        this.#size.push(flat[i + 1])
      }
    }
    return true
  }

  equals(parts: readonly EventText[], name: 'bids' | 'asks'): boolean {
    let at = 0
    for (const part of parts) {
      const flat = part[name]
      for (let i = 0; i < flat.length; i += 2, at++) {
        if (this.#price[at] !== flat[i] || this.#size[at] !== flat[i + 1]) return false
      }
    }
    return at === this.#price.length
  }

  /** Sets the sizes of flat `price, size` texts; returns how many removed nothing. */
  apply(flat: readonly string[]): number {
    let orphans = 0
    for (let i = 0; i < flat.length; i += 2) {
      const price = flat[i]
      const size = flat[i + 1]
      const value = Number(price)
      const at = this.#find(value, price)
      const found = at < this.#price.length && this.#price[at] === price
      if (size === '0') {
        if (!found) {
          orphans += 1
          continue
        }
        this.#value.splice(at, 1)
        this.#price.splice(at, 1)
        this.#size.splice(at, 1)
      } else if (found) {
        this.#size[at] = size
      } else {
        this.#value.splice(at, 0, value)
        this.#price.splice(at, 0, price)
        this.#size.splice(at, 0, size)
      }
    }
    return orphans
  }

  /** Where `price` is or belongs. */
  #find(value: number, price: string): number {
    let low = 0
    let high = this.#price.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#order(value, price, middle) > 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** > 0: the price comes behind the one at `at`. */
  #order(value: number, price: string, at: number): number {
    const other = this.#value[at]
    if (value !== other) return value > other ? this.#sign : -this.#sign
    if (price === this.#price[at]) return 0
    return compareDecimals(price, this.#price[at]) * this.#sign
  }
}

/** < 0, 0 or > 0, exactly, for canonical decimals (no exponent, no needless zeros). */
export function compareDecimals(a: string, b: string): number {
  const negative = a.startsWith('-')
  if (negative !== b.startsWith('-')) return negative ? -1 : 1
  return negative ? compareMagnitudes(b.slice(1), a.slice(1)) : compareMagnitudes(a, b)
}

function compareMagnitudes(a: string, b: string): number {
  const [aWhole, aFraction = ''] = a.split('.')
  const [bWhole, bFraction = ''] = b.split('.')
  if (aWhole.length !== bWhole.length) return aWhole.length - bWhole.length
  if (aWhole !== bWhole) return aWhole < bWhole ? -1 : 1
  const digits = Math.max(aFraction.length, bFraction.length)
  const aPadded = aFraction.padEnd(digits, '0')
  const bPadded = bFraction.padEnd(digits, '0')
  return aPadded === bPadded ? 0 : aPadded < bPadded ? -1 : 1
}
