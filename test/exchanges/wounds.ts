/** Frames that were damaged on their way, for property tests. */
import fc from 'fast-check'

const encoder = new TextEncoder()

/** One wound: bytes taken out at a place and others put in. */
export interface Wound {
  readonly at: number
  readonly removed: number
  readonly inserted: Uint8Array
}

const TELLING = ['', '0', '9', '"', '\\', '-', 'e', '.', ' ', ',', '{', '}', '[', ']', '\0', '"}']

export const wounds: fc.Arbitrary<Wound[]> = fc.array(
  fc.record({
    at: fc.nat(),
    removed: fc.nat(3),
    inserted: fc.oneof(
      fc.constantFrom(...TELLING).map((text): Uint8Array => encoder.encode(text)),
      fc.uint8Array({ maxLength: 3 }),
    ),
  }),
  { minLength: 1, maxLength: 3 },
)

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
  const others = encoder.encode('0 9"\\.-eZ,}]\0')
  for (let at = 0; at < bytes.length; at++) {
    for (const other of others) {
      const copy = Uint8Array.from(bytes)
      copy[at] = other
      yield copy
    }
  }
}

/** White space behind a frame changes nothing in JSON and sends it down the JSON route. */
export function slowed(bytes: Uint8Array): Uint8Array {
  const slow = new Uint8Array(bytes.length + 1)
  slow.set(bytes)
  slow[bytes.length] = 0x20
  return slow
}

/** Decimals as exchanges write them, and as they should not. */
export const decimalText: fc.Arbitrary<string> = fc.oneof(
  fc.tuple(fc.nat(10_000_000), fc.nat(12)).map(([n, places]) => (n / 10 ** places).toFixed(places)),
  fc.bigInt({ min: 0n, max: 10n ** 24n }).map(String),
  fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 18n }), fc.bigInt({ min: 0n, max: 10n ** 18n }))
    .map(([a, b]) => `${a}.${b}`),
  fc.constantFrom(...['0', '0.00000000', '.5', '5.', '007', '1e-7', '-1', 'NaN', '', '1.2.3']),
)
