/** Parts of frames as exchanges write them, and frames that were damaged on their way. */
import fc from 'fast-check'
import type { WireLevel } from './fixture.ts'

const encoder = new TextEncoder()

/** One wound: bytes taken out at a place and others put in. */
export interface Wound {
  readonly at: number
  readonly removed: number
  readonly inserted: Uint8Array
}

// deno-fmt-ignore
const TELLING = [
  '', '0', '9', '"', '\\', '-', 'e', 'E5', 'E-', '.', ' ', ',', '{', '}', '[', ']', '\0', '"}', '["',
]

export const wound: fc.Arbitrary<Wound> = fc.record({
  at: fc.nat(),
  removed: fc.nat(3),
  inserted: fc.oneof(
    fc.constantFrom(...TELLING).map((text): Uint8Array => encoder.encode(text)),
    fc.uint8Array({ maxLength: 3 }),
  ),
})

export const wounds: fc.Arbitrary<Wound[]> = fc.array(wound, { minLength: 1, maxLength: 3 })

export function wounded(bytes: Uint8Array, all: readonly Wound[]): Uint8Array {
  let result = bytes
  for (const { at, removed, inserted } of all) {
    const position = at % (result.length + 1)
    result = Uint8Array.from([
      ...result.subarray(0, position),
      ...inserted,
      ...result.subarray(Math.min(result.length, position + removed)),
    ])
  }
  return result
}

/** Every frame that differs in one byte, by another of the bytes that matter. */
export function* changedBytes(bytes: Uint8Array): Generator<Uint8Array> {
  const others = encoder.encode('0 9"\\.-eEZ,[]}\0')
  for (let at = 0; at < bytes.length; at++) {
    for (const other of others) {
      const copy = Uint8Array.from(bytes)
      copy[at] = other
      yield copy
    }
  }
}

/** The frame cut anywhere, and with more behind it. */
export function* otherLengths(bytes: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield bytes.slice(0, length)
  for (const more of ['}', ']', ' ', ',', '\0']) yield joined(bytes, encoder.encode(more))
  yield joined(bytes, bytes)
}

/** White space behind a frame changes nothing in JSON and sends it down the JSON route. */
export function slowed(bytes: Uint8Array): Uint8Array {
  return joined(bytes, Uint8Array.of(0x20))
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.length + other.length)
  both.set(one)
  both.set(other, one.length)
  return both
}

/** Decimals as exchanges write them, and as they should not. */
export const decimalText: fc.Arbitrary<string> = fc.oneof(
  fc.tuple(fc.nat(10_000_000), fc.nat(12)).map(([n, places]) => (n / 10 ** places).toFixed(places)),
  fc.bigInt({ min: 0n, max: 10n ** 24n }).map(String),
  fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 18n }), fc.bigInt({ min: 0n, max: 10n ** 18n }))
    .map(([a, b]) => `${a}.${b}`),
  // deno-fmt-ignore
  fc.constantFrom(
    '0', '0.00000000', '.5', '5.', '007', '1e-7', '-1', '-0', '+1', 'NaN', '', '1.2.3',
  ),
)

const side = fc.constantFrom('bid' as const, 'ask' as const)

/** Levels of `decimalText`. */
export const anyLevels: fc.Arbitrary<WireLevel[]> = fc.array(
  fc.tuple(side, decimalText, decimalText),
  { maxLength: 6 },
)

/** Levels with two decimals in a price and eight in a size. */
export const plainLevels: fc.Arbitrary<WireLevel[]> = fc.array(
  fc.tuple(
    side,
    fc.nat(9_999_999).map((n) => (n / 100).toFixed(2)),
    fc.nat(999_999_999).map((n) => (n / 1e8).toFixed(8)),
  ),
  { maxLength: 4 },
)
