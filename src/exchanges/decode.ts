/**
 * What all adapters read of a frame in the same way once it is no plain data for the byte scanner:
 * JSON messages, exact decimals into level changes, and what is said of frames.
 */
import type { LevelChanges } from '../core/changes.ts'
import { canonicalDecimal, scaledFromText } from '../core/decimal.ts'
import type { Instrument } from '../core/instrument.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

const MINUS = 0x2d
/** Bytes of a frame that a message about it quotes. */
const EXCERPT_BYTES = 80

/** As `JSON.parse` takes it; `context.source` is the text of a number's token. */
type Reviver = (key: string, value: unknown, context?: { readonly source?: string }) => unknown

// -- messages

/** @throws TypeError when the frame is not UTF-8. */
export function decodeText(frame: Uint8Array): string {
  return decoder.decode(frame)
}

/** The JSON object of a frame; a text says what it is instead. */
export function parseMessage(
  frame: Uint8Array,
  reviver?: Reviver,
): Record<string, unknown> | string {
  let message: unknown
  try {
    message = JSON.parse(decoder.decode(frame), reviver)
  } catch {
    return 'not JSON'
  }
  return isRecord(message) ? message : 'not a JSON object'
}

/** A JSON object, neither `null` nor an array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** An integer from 0 to 2^53 - 1: a sequence, an id, a time. */
export function isUnsigned(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

// -- levels

/** Canonical text of a JSON string that holds a decimal from 0. */
export function decimalOf(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  const text = canonicalDecimal(value)
  return text === undefined || text.charCodeAt(0) === MINUS ? undefined : text
}

/** The scaled integer of a decimal; NaN, and its canonical text in `wide`, when it has no exact one. */
export function exact(
  text: string,
  decimals: number,
  wide: Map<number, string>,
  i: number,
): number {
  const usual = scaledFromText(text, decimals)
  if (!Number.isNaN(usual)) return usual
  const canonical = canonicalDecimal(text) ?? text
  // Only behind an exponent is there an integer still to be found.
  const scaled = canonical === text ? NaN : scaledFromText(canonical, decimals)
  if (Number.isNaN(scaled)) wide.set(i, canonical)
  return scaled
}

/** Adds one level; price and size are texts of decimals from 0. */
export function appendLevel(
  changes: LevelChanges,
  side: number,
  price: string,
  size: string,
  instrument: Instrument,
): void {
  const i = changes.count
  if (i === changes.side.length) changes.grow()
  changes.side[i] = side
  changes.price[i] = exact(price, instrument.priceDecimals, changes.widePrice, i)
  changes.size[i] = exact(size, instrument.sizeDecimals, changes.wideSize, i)
  changes.count = i + 1
}

/** Adds the levels of one side, `["price","size", ...]`; returns what is wrong with them. */
export function appendSide(
  changes: LevelChanges,
  side: number,
  levels: readonly unknown[],
  instrument: Instrument,
): string | undefined {
  const { priceDecimals, sizeDecimals } = instrument
  for (const level of levels) {
    if (!Array.isArray(level)) return 'a level is not an array'
    const i = changes.count
    if (i === changes.side.length) changes.grow()
    const price = scaled(level[0], priceDecimals, changes.widePrice, i)
    if (price < 0) return 'a price is not a decimal from 0'
    const size = scaled(level[1], sizeDecimals, changes.wideSize, i)
    if (size < 0) return 'a size is not a decimal from 0'
    changes.side[i] = side
    changes.price[i] = price
    changes.size[i] = size
    changes.count = i + 1
  }
  return undefined
}

/**
 * As `exact`, of anything; -1: no text of a decimal from 0. Snapshots have thousands of these, so
 * the usual text is read once.
 */
function scaled(value: unknown, decimals: number, wide: Map<number, string>, i: number): number {
  if (typeof value !== 'string') return -1
  const usual = scaledFromText(value, decimals)
  if (!Number.isNaN(usual)) return usual
  const text = decimalOf(value)
  return text === undefined ? -1 : exact(text, decimals, wide, i)
}

// -- words

/**
 * What is said of a frame that could not be read. `expected`: what it should have been, on a
 * connection that is replaced for it.
 */
export function unreadableText(frame: Uint8Array, problem: string, expected?: string): string {
  const excerpt = String.fromCharCode(...frame.subarray(0, EXCERPT_BYTES)).replace(/[^ -~]/g, '?')
  const consequence = expected === undefined
    ? ''
    : `, expected ${expected}; the connection is replaced`
  return `a frame of ${frame.length} bytes could not be read (${problem})${consequence}; ` +
    `it begins with ${excerpt}`
}
