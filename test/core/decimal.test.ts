/** Exact decimals: tables, and properties against BigInt. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  canonicalDecimal,
  compareDecimals,
  scaledBytesMax,
  scaledFromText,
  scaledToText,
  writeInteger,
  writeScaled,
} from '../../src/core/decimal.ts'

const MAX = Number.MAX_SAFE_INTEGER

function written(write: (bytes: Uint8Array) => number, capacity: number): string {
  // What must not be touched, on either side of what is written.
  const bytes = new Uint8Array(capacity + 2).fill(1)
  const end = write(bytes)
  assert.ok(end - 1 <= capacity, `wrote ${end - 1} bytes, room for ${capacity}`)
  assert.equal(bytes[0], 1)
  assert.equal(bytes[capacity + 1], 1)
  return new TextDecoder().decode(bytes.subarray(1, end))
}

/** An exact fraction of a decimal text, for comparison. */
function fraction(text: string): [bigint, number] {
  const [whole, decimals = ''] = text.split('.')
  return [BigInt(whole + decimals), decimals.length]
}

const canonical = fc.tuple(
  fc.boolean(),
  fc.bigInt({ min: 0n, max: 10n ** 25n }),
  fc.integer({ min: 0, max: 25 }),
).map(([negative, digits, decimals]) => {
  const text = String(digits).padStart(decimals + 1, '0')
  const point = text.length - decimals
  return canonicalDecimal(
    `${negative ? '-' : ''}${text.slice(0, point)}.${text.slice(point)}`,
  ) as string
})

describe('canonicalDecimal', () => {
  const table: [string, string | undefined][] = [
    ['0', '0'],
    ['-0', '0'],
    ['0.000', '0'],
    ['.5', '0.5'],
    ['5.', '5'],
    ['+5', '5'],
    ['007.700', '7.7'],
    ['-007.700', '-7.7'],
    ['100', '100'],
    ['1e3', '1000'],
    ['1.25E+1', '12.5'],
    ['1.25e-3', '0.00125'],
    ['120e-1', '12'],
    ['1e-10', '0.0000000001'],
    ['0e99999', '0'],
    ['9007199254740993', '9007199254740993'],
    ['0.1234567890123456789012345', '0.1234567890123456789012345'],
    ['', undefined],
    ['.', undefined],
    ['-', undefined],
    ['e5', undefined],
    ['1e', undefined],
    ['1e99999', undefined],
    ['0x10', undefined],
    ['1,5', undefined],
    [' 1', undefined],
    ['1.2.3', undefined],
    ['NaN', undefined],
    ['Infinity', undefined],
  ]
  for (const [text, expected] of table) {
    test(`"${text}" -> ${expected}`, () => assert.equal(canonicalDecimal(text), expected))
  }

  test('has up to 64 digits, as it is written and as it is meant', () => {
    const digits = (count: number): string => '7'.repeat(count)
    for (const text of [digits(64), `-${digits(30)}.${digits(34)}`, `0.${digits(63)}`]) {
      assert.equal(canonicalDecimal(text), text)
      assert.ok(Number.isNaN(scaledFromText(text, 8)))
    }
    assert.equal(canonicalDecimal('1e63'), `1${'0'.repeat(63)}`)
    for (
      const text of [digits(65), `${digits(30)}.${digits(35)}`, '0'.repeat(65), '7e64', '7e-64']
    ) {
      assert.equal(canonicalDecimal(text), undefined, text)
    }
    assert.ok(Number.isNaN(scaledFromText('0'.repeat(67), 8)))
  })

  test('is the same number with an exponent, and of itself', () => {
    fc.assert(fc.property(canonical, fc.integer({ min: -30, max: 30 }), (text, exponent) => {
      assert.equal(canonicalDecimal(text), text)
      const shifted = canonicalDecimal(`${text}e${exponent}`) as string
      assert.equal(canonicalDecimal(`${shifted}e${-exponent}`), text)
    }))
  })
})

describe('scaledFromText', () => {
  const table: [string, number, number][] = [
    ['78856.05', 2, 7885605],
    ['78856.05', 1, NaN],
    ['78856.050', 2, 7885605],
    ['0.0476177', 8, 4761770],
    ['0', 8, 0],
    ['-0', 8, 0],
    ['-1.5', 1, -15],
    ['5', 0, 5],
    ['90071992.54740991', 8, MAX],
    ['90071992.54740992', 8, NaN],
    ['9007199254740991', 0, MAX],
    ['9007199254740993', 0, NaN],
    ['0.000000000000000001', 18, 1],
    ['1', 18, NaN],
    ['0', 400, 0],
    ['', 2, NaN],
    ['.', 2, NaN],
    ['1e5', 2, NaN],
    ['1.2.3', 2, NaN],
  ]
  for (const [text, decimals, expected] of table) {
    test(`"${text}" at ${decimals} -> ${expected}`, () =>
      assert.equal(scaledFromText(text, decimals), expected))
  }

  test('is exact or says that it does not fit', () => {
    fc.assert(
      fc.property(canonical, fc.integer({ min: 0, max: 20 }), (text, decimals) => {
        const [digits, places] = fraction(text)
        const value = scaledFromText(text, decimals)
        const exact = places <= decimals ? digits * 10n ** BigInt(decimals - places) : undefined
        const fits = exact !== undefined && exact <= BigInt(MAX) && exact >= -BigInt(MAX)
        if (fits) assert.equal(value, Number(exact))
        else assert.ok(Number.isNaN(value), `${text} at ${decimals} became ${value}`)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('text of a scaled integer', () => {
  const digits = fc.integer({ min: 0, max: 16 }).chain((n) =>
    fc.integer({ min: 0, max: Math.min(MAX, 10 ** n) })
  )
  const scaled = fc.tuple(digits, fc.integer({ min: 0, max: 6 })).map(([value, zeros]) =>
    // Trailing zeros are where canonical text is easily wrong.
    value * 10 ** zeros <= MAX ? value * 10 ** zeros : value
  )

  test('bytes and text are the canonical text, and lead back', () => {
    fc.assert(
      fc.property(
        scaled,
        fc.boolean(),
        fc.integer({ min: 0, max: 40 }),
        (magnitude, negative, decimals) => {
          const value = negative && magnitude > 0 ? -magnitude : magnitude
          const expected = canonicalDecimal(`${value}e-${decimals}`)
          assert.equal(scaledToText(value, decimals), expected)
          assert.equal(
            written((bytes) => writeScaled(bytes, 1, value, decimals), scaledBytesMax(decimals)),
            expected,
          )
          assert.equal(scaledFromText(expected as string, decimals), value)
        },
      ),
      { numRuns: 20_000 },
    )
  })

  test('around every power of ten and two', () => {
    for (let decimals = 0; decimals <= 18; decimals++) {
      for (const base of [2, 10]) {
        for (let power = 1; power <= MAX; power *= base) {
          for (const value of [power - 1, power, power + 1]) {
            assert.equal(
              written((bytes) => writeScaled(bytes, 1, value, decimals), scaledBytesMax(decimals)),
              canonicalDecimal(`${value}e-${decimals}`),
            )
          }
        }
      }
    }
  })

  test('integers', () => {
    fc.assert(
      fc.property(digits, (value) => {
        assert.equal(written((bytes) => writeInteger(bytes, 1, value), 16), String(value))
      }),
      { numRuns: 5000 },
    )
    assert.equal(written((bytes) => writeInteger(bytes, 1, MAX), 16), String(MAX))
  })
})

test('compareDecimals is the order of the numbers', () => {
  fc.assert(
    fc.property(canonical, canonical, fc.boolean(), (a, other, near) => {
      // Near ones differ in the last place only.
      const b = near ? canonicalDecimal(`${a}${a.includes('.') ? '' : '.'}1`) as string : other
      const [digitsA, placesA] = fraction(a)
      const [digitsB, placesB] = fraction(b)
      const places = Math.max(placesA, placesB)
      const left = digitsA * 10n ** BigInt(places - placesA)
      const right = digitsB * 10n ** BigInt(places - placesB)
      assert.equal(Math.sign(compareDecimals(a, b)), left < right ? -1 : left > right ? 1 : 0)
      assert.equal(Math.sign(compareDecimals(b, a)), left < right ? 1 : left > right ? -1 : 0)
      assert.equal(compareDecimals(a, a), 0)
    }),
    { numRuns: 5000 },
  )
})
