/**
 * The other side of a session in tests: per instrument a naive book, the real one beside it, and all
 * that was said.
 */
import assert from 'node:assert/strict'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import {
  canonicalDecimal,
  compareDecimals,
  scaledFromText,
  scaledToText,
} from '../../src/core/decimal.ts'
import type { ObfeedError } from '../../src/core/errors.ts'
import type { InvalidReason } from '../../src/core/event.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { BookDepth, SessionOutput } from '../../src/exchanges/adapter.ts'

/** `bid 78856.05` -> `0.0476177`, both canonical. */
export type NaiveBook = Map<string, string>

export function applyLevel(book: NaiveBook, side: string, price: string, size: string): void {
  const key = `${side} ${canonicalDecimal(price)}`
  const text = canonicalDecimal(size)!
  if (text === '0') book.delete(key)
  else book.set(key, text)
}

/** The prices of one side, best first. */
export function pricesOf(book: NaiveBook, side: 'bid' | 'ask'): string[] {
  const prices: string[] = []
  for (const key of book.keys()) if (key.startsWith(side)) prices.push(key.slice(4))
  return prices.sort((a, b) => side === 'bid' ? compareDecimals(b, a) : compareDecimals(a, b))
}

/** The best `depth` levels a side. */
export function bestOf(book: NaiveBook, depth: number): NaiveBook {
  const best: NaiveBook = new Map()
  for (const side of ['bid', 'ask'] as const) {
    for (const price of pricesOf(book, side).slice(0, depth)) {
      best.set(`${side} ${price}`, book.get(`${side} ${price}`)!)
    }
  }
  return best
}

/** Where a snapshot ended, a side, in scaled prices; NaN: it had the whole side. */
export interface Horizon {
  readonly bid: number
  readonly ask: number
}

function isBeyond(side: string, price: number, horizon: Horizon): boolean {
  return side === 'bid' ? price < horizon.bid : price > horizon.ask
}

/** What of a book lies within a horizon. */
export function withinHorizon(book: NaiveBook, horizon: Horizon, decimals: number): NaiveBook {
  if (Number.isNaN(horizon.bid) && Number.isNaN(horizon.ask)) return book
  const scale = 10 ** decimals
  return new Map([...book].filter(([key]) => {
    const [side, price] = key.split(' ')
    return !isBeyond(side, Number(price) * scale, horizon)
  }))
}

/** One value as text; asserts that it is held as the contract of `LevelChanges` says. */
function textOf(
  column: Float64Array,
  wide: ReadonlyMap<number, string>,
  i: number,
  decimals: number,
): string {
  const value = column[i]
  const text = wide.get(i)
  if (Number.isNaN(value)) {
    assert.ok(text !== undefined, `level ${i} is NaN without its text`)
    assert.equal(canonicalDecimal(text), text, 'wide text is canonical')
    assert.ok(!text.startsWith('-'), 'never negative')
    assert.ok(Number.isNaN(scaledFromText(text, decimals)), `${text} fits ${decimals} decimals`)
    return text
  }
  assert.equal(text, undefined, 'a value that fits has no text beside it')
  assert.ok(Number.isSafeInteger(value) && value >= 0, `${value} is a scaled integer from 0`)
  return scaledToText(value, decimals)
}

/** Levels as `[side, price, size]` text, in the order of the frame. */
export function levelsOf(changes: LevelChanges, instrument: Instrument): string[][] {
  for (const i of [...changes.widePrice.keys(), ...changes.wideSize.keys()]) {
    assert.ok(i < changes.count, 'no text of an earlier frame is left')
  }
  return Array.from({ length: changes.count }, (_, i) => [
    changes.side[i] === BID ? 'bid' : 'ask',
    textOf(changes.price, changes.widePrice, i, instrument.priceDecimals),
    textOf(changes.size, changes.wideSize, i, instrument.sizeDecimals),
  ])
}

export interface Output {
  readonly kind: 'snapshot' | 'delta' | 'refreshed'
  readonly index: number
  readonly levels: string[][]
  readonly nonce: number
  readonly timestampMs: number
  readonly receivedUs: number
}

export interface SnapshotRequest {
  readonly index: number
  readonly url: string
  readonly weight: number
  /** Not sooner than this. */
  readonly delayMs: number
}

export class Listener implements SessionOutput {
  /** Undefined: not proven. */
  readonly books: (NaiveBook | undefined)[]
  /** The same as the project's own book holds them. */
  readonly realBooks: (Book | undefined)[]
  readonly horizons: Horizon[]
  readonly sent: string[] = []
  readonly outputs: Output[] = []
  readonly suspects: { index: number; reason: InvalidReason; detail: string }[] = []
  readonly failures: ObfeedError[] = []
  readonly requests: SnapshotRequest[] = []
  readonly retirements: string[] = []
  /** Checks of the exchange that were made. */
  checks = 0
  readonly #instruments: readonly Instrument[]
  readonly #kept: number
  /** A check failed, which the session is not told: it goes on, and nobody listens. */
  readonly #deaf = new Set<number>()

  /** `depth`: what the adapter made of the wish. */
  constructor(instruments: readonly Instrument[], depth?: BookDepth) {
    this.#instruments = instruments
    this.#kept = depth?.kept ?? Infinity
    this.books = instruments.map(() => undefined)
    this.realBooks = instruments.map(() => undefined)
    this.horizons = instruments.map(() => ({ bid: NaN, ask: NaN }))
  }

  send(text: string): void {
    this.sent.push(text)
  }

  snapshot(index: number, changes: LevelChanges): void {
    this.#deaf.delete(index)
    this.#replace(index, changes)
    const { priceDecimals, sizeDecimals } = this.#instruments[index]
    this.realBooks[index] = new Book(priceDecimals, sizeDecimals, Infinity, this.#kept)
    this.#record('snapshot', index, changes)
    this.realBooks[index].load(changes)
    this.#check(index, changes)
  }

  delta(index: number, changes: LevelChanges): void {
    if (this.#deaf.has(index)) return
    assert.ok(this.books[index] !== undefined, 'a delta needs a live book')
    const levels = this.#record('delta', index, changes)
    this.#apply(index, changes, levels)
    this.realBooks[index]!.apply(changes)
    this.#check(index, changes)
  }

  refreshed(index: number, changes: LevelChanges): void {
    if (this.#deaf.has(index)) return
    assert.ok(this.books[index] !== undefined, 'only a live book is refreshed')
    this.#replace(index, changes)
    this.#record('refreshed', index, changes)
    this.realBooks[index]!.replace(changes)
  }

  /** Takes over a book that another socket served until now. */
  adopt(index: number, from: Listener): void {
    this.books[index] = new Map(from.books[index])
    this.horizons[index] = from.horizons[index]
    const { priceDecimals, sizeDecimals } = this.#instruments[index]
    const book = new Book(priceDecimals, sizeDecimals, Infinity, this.#kept)
    book.load(changesOf(this.books[index], this.#instruments[index], this.horizons[index]))
    this.realBooks[index] = book
  }

  #replace(index: number, changes: LevelChanges): void {
    this.books[index] = new Map()
    this.horizons[index] = { bid: changes.bidHorizon, ask: changes.askHorizon }
    this.#apply(index, changes, levelsOf(changes, this.#instruments[index]))
  }

  #apply(index: number, changes: LevelChanges, levels: readonly string[][]): void {
    const book = this.books[index]!
    const horizon = this.horizons[index]
    const scale = 10 ** this.#instruments[index].priceDecimals
    levels.forEach(([side, price, size], i) => {
      const scaled = Number.isNaN(changes.price[i]) ? Number(price) * scale : changes.price[i]
      if (!isBeyond(side, scaled, horizon)) applyLevel(book, side, price, size)
    })
    if (this.#kept === Infinity) return
    for (const side of ['bid', 'ask'] as const) {
      for (const price of pricesOf(book, side).slice(this.#kept)) book.delete(`${side} ${price}`)
    }
  }

  #record(kind: Output['kind'], index: number, changes: LevelChanges): string[][] {
    const levels = levelsOf(changes, this.#instruments[index])
    const { nonce, timestampMs, receivedUs } = changes
    assert.equal(changes.nonceText === undefined, Number.isSafeInteger(nonce))
    this.outputs.push({ kind, index, levels, nonce, timestampMs, receivedUs })
    return levels
  }

  #check(index: number, changes: LevelChanges): void {
    if (changes.check === undefined) return
    this.checks++
    if (changes.check.holds(this.realBooks[index]!)) return
    this.#deaf.add(index)
    this.suspect(index, 'checksum', 'the book does not hold against the check of the exchange')
  }

  suspect(index: number, reason: InvalidReason, detail: string): void {
    this.suspects.push({ index, reason, detail })
    this.#lose(index)
  }

  requestSnapshot(index: number, url: string, weight: number, delayMs = 0): void {
    assert.ok(Number.isFinite(weight) && weight > 0, `a request weighs ${weight}`)
    assert.ok(delayMs >= 0 && delayMs <= 60_000, `a request waits ${delayMs} ms`)
    this.requests.push({ index, url, weight, delayMs })
  }

  retire(detail: string): void {
    this.retirements.push(detail)
  }

  fail(error: ObfeedError): void {
    this.failures.push(error)
    if (error.scope === 'symbol') {
      const index = this.#instruments.findIndex(({ symbol }) => symbol === error.symbol)
      assert.ok(index >= 0, 'an error of scope symbol names one of the instruments')
      this.#lose(index)
    } else {
      for (let index = 0; index < this.books.length; index++) this.#lose(index)
    }
  }

  #lose(index: number): void {
    this.books[index] = undefined
    this.realBooks[index] = undefined
  }
}

/** A naive book as the levels of a snapshot. */
function changesOf(book: NaiveBook, instrument: Instrument, horizon: Horizon): LevelChanges {
  const changes = new LevelChanges()
  const exact = (text: string, decimals: number, wide: Map<number, string>, i: number): number => {
    const scaled = scaledFromText(text, decimals)
    if (Number.isNaN(scaled)) wide.set(i, text)
    return scaled
  }
  for (const [key, size] of book) {
    const i = changes.count++
    if (i === changes.side.length) changes.grow()
    const [side, price] = key.split(' ')
    changes.side[i] = side === 'bid' ? BID : ASK
    changes.price[i] = exact(price, instrument.priceDecimals, changes.widePrice, i)
    changes.size[i] = exact(size, instrument.sizeDecimals, changes.wideSize, i)
  }
  changes.bidHorizon = horizon.bid
  changes.askHorizon = horizon.ask
  return changes
}
