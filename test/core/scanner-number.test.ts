/** Numbers without quotes, against what JSON and BigInt say of the same text. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { canonicalDecimal, scaledFromText } from '../../src/core/decimal.ts'
import { Scanner } from '../../src/core/scanner.ts'

const encoder = new TextEncoder()
const scanner = new Scanner()

function loaded(text: string): Scanner {
  scanner.load(encoder.encode(text))
  scanner.release()
  return scanner
}

/** What `number` may answer for a text, decided with BigInt. */
function expectedNumber(text: string, decimals: number): number {
  if (!/^(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) return -1
  const canonical = canonicalDecimal(text)
  if (canonical === undefined) return -1
  const [whole, fraction = ''] = canonical.split('.')
  const value = BigInt(whole + fraction.padEnd(decimals, '0').slice(0, decimals))
  return fraction.length > decimals || value > BigInt(Number.MAX_SAFE_INTEGER) ? NaN : Number(value)
}

const digits = (min: number, max: number) =>
  fc.array(fc.constantFrom(...'0123456789'), { minLength: min, maxLength: max })
    .map((parts) => parts.join(''))
const exponent = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  fc.tuple(fc.constantFrom('e', 'E', 'e-', 'E+', 'e'), digits(0, 3)).map((parts) => parts.join('')),
)
const numberLike = fc.oneof(
  fc.tuple(digits(1, 20), digits(0, 20), exponent).map(([a, b, e]) => {
    const whole = a.replace(/^0+(?=\d)/, '')
    return (b === '' ? whole : `${whole}.${b}`) + e
  }),
  fc.tuple(digits(1, 9), digits(0, 9), exponent).map(([a, b, e]) =>
    (b === '' ? a : `${a}.${b}`) + e
  ),
  fc.constantFrom(
    ...['', '-1', '.5', '5.', '0.', '+1', '1..2', '1.2.3', ' 1', '1 ', 'NaN', '1e', '1e+', '"1"'],
  ),
)

describe('number', () => {
  test('is exact or says that it is not sure; stops before what is behind it', () => {
    fc.assert(
      fc.property(
        numberLike,
        fc.integer({ min: 0, max: 20 }),
        fc.constantFrom(',', '}', ']'),
        (text, decimals, end) => {
          const s = loaded(`[${text}${end}`)
          s.at = 1
          const value = s.number(decimals)
          const expected = expectedNumber(text, decimals)
          if (expected === -1) return assert.equal(value, -1, text)
          assert.equal(JSON.parse(text), Number(text), 'only what JSON allows')
          assert.equal(s.numberText(), text)
          assert.equal(s.at, text.length + 1)
          assert.ok(s.byte(end.charCodeAt(0)))
          const places = /e/i.test(text) ? -1 : text.split('.')[1]?.length ?? 0
          assert.equal(s.places, places)
          // NaN may also mean "too long to be sure": then the slow way decides.
          if (Number.isNaN(value)) {
            assert.ok(Number.isNaN(expected) || text.length > 16, `${text} at ${decimals}`)
            assert.deepEqual(scaledFromText(canonicalDecimal(text)!, decimals), expected)
          } else {
            assert.ok(Object.is(value, expected), `${text} at ${decimals}: ${value}`)
          }
        },
      ),
      { numRuns: 5000 },
    )
  })

  test('what exchanges send never takes the slow way', () => {
    const table: [string, number, number, number][] = [
      ['78871.5', 1, 788715, 1],
      ['0.01266503', 8, 1266503, 8],
      ['0.00000000', 8, 0, 8],
      ['0.00005100', 8, 5100, 8],
      ['20270.49268141', 8, 2027049268141, 8],
      ['12345678.12345678', 8, 1234567812345678, 8],
      ['90071992.54740991', 8, Number.MAX_SAFE_INTEGER, 8],
      ['90071992.54740992', 8, NaN, 8],
      ['7e-7', 8, 70, -1],
      ['1.5E+3', 2, 150000, -1],
      ['7e-9', 8, NaN, -1],
      ['12.3400', 2, 1234, 4],
      ['12.345', 2, NaN, 3],
      ['5', 0, 5, 0],
      ['1000000000', 0, 1000000000, 0],
    ]
    for (const [text, decimals, expected, places] of table) {
      const s = loaded(`${text},`)
      assert.ok(Object.is(s.number(decimals), expected), `${text} at ${decimals}`)
      assert.equal(s.places, places)
    }
  })

  test('stops at the end of the frame', () => {
    loaded('99999999999,')
    for (
      const text of ['', '1', '123456789', '1234567890', '1.', '1.5', '1.1234567891', '1e', '1e5']
    ) {
      assert.equal(loaded(text).number(2), -1, text)
    }
  })

  test('nothing but a comma, a brace or a bracket may follow', () => {
    for (let code = 0; code < 256; code++) {
      for (const text of ['12', '1.5', '0', '3e1']) {
        scanner.load(Uint8Array.from([...encoder.encode(text), code, 0x2c]))
        const isEnd = code === 0x2c || code === 0x7d || code === 0x5d
        const value = scanner.number(1)
        if (isEnd) assert.ok(value >= 0, `${text} and ${code}`)
        else if (!/[\d.eE]/.test(String.fromCharCode(code))) {
          assert.equal(value, -1, `${text} ${code}`)
        }
      }
    }
  })
})
