/** The other side of a session in tests: a naive book per instrument, and all that was said. */
import assert from 'node:assert/strict'
import { BID, type LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal, scaledFromText, scaledToText } from '../../src/core/decimal.ts'
import type { ObfeedError } from '../../src/core/errors.ts'
import type { InvalidReason } from '../../src/core/event.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { SessionOutput } from '../../src/exchanges/adapter.ts'

/** `bid 78856.05` -> `0.0476177`, both canonical. */
export type NaiveBook = Map<string, string>

export function applyLevel(book: NaiveBook, side: string, price: string, size: string): void {
  const key = `${side} ${canonicalDecimal(price)}`
  const text = canonicalDecimal(size)!
  if (text === '0') book.delete(key)
  else book.set(key, text)
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
  readonly kind: 'snapshot' | 'delta'
  readonly index: number
  readonly levels: string[][]
  readonly nonce: number
  readonly timestampMs: number
  readonly receivedUs: number
}

export class Listener implements SessionOutput {
  readonly books: (NaiveBook | undefined)[]
  readonly sent: string[] = []
  readonly outputs: Output[] = []
  readonly suspects: { index: number; reason: InvalidReason; detail: string }[] = []
  readonly failures: ObfeedError[] = []
  readonly requests: { index: number; url: string }[] = []
  readonly #instruments: readonly Instrument[]

  constructor(instruments: readonly Instrument[]) {
    this.#instruments = instruments
    this.books = instruments.map(() => undefined)
  }

  send(text: string): void {
    this.sent.push(text)
  }

  snapshot(index: number, changes: LevelChanges): void {
    this.books[index] = new Map()
    this.#take('snapshot', index, changes)
  }

  delta(index: number, changes: LevelChanges): void {
    assert.ok(this.books[index] !== undefined, 'a delta needs a live book')
    this.#take('delta', index, changes)
  }

  #take(kind: 'snapshot' | 'delta', index: number, changes: LevelChanges): void {
    const levels = levelsOf(changes, this.#instruments[index])
    for (const [side, price, size] of levels) applyLevel(this.books[index]!, side, price, size)
    const { nonce, timestampMs, receivedUs } = changes
    assert.equal(changes.nonceText === undefined, Number.isSafeInteger(nonce))
    this.outputs.push({ kind, index, levels, nonce, timestampMs, receivedUs })
  }

  suspect(index: number, reason: InvalidReason, detail: string): void {
    this.suspects.push({ index, reason, detail })
    this.books[index] = undefined
  }

  requestSnapshot(index: number, url: string): void {
    this.requests.push({ index, url })
  }

  fail(error: ObfeedError): void {
    this.failures.push(error)
    if (error.scope === 'symbol') {
      const index = this.#instruments.findIndex(({ symbol }) => symbol === error.symbol)
      assert.ok(index >= 0, 'an error of scope symbol names one of the instruments')
      this.books[index] = undefined
    } else {
      this.books.fill(undefined)
    }
  }
}
