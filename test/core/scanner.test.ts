/** Scanning primitives against what JSON, BigInt and Date say of the same text. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { canonicalDecimal, scaledFromText } from '../../src/core/decimal.ts'
import { Literal, Scanner, timeFromText } from '../../src/core/scanner.ts'

const encoder = new TextEncoder()
const scanner = new Scanner()

function loaded(text: string): Scanner {
  scanner.load(encoder.encode(text))
  scanner.release()
  return scanner
}

/** What `decimal` may answer for a text, decided with BigInt. */
function expectedDecimal(text: string, decimals: number): number {
  if (!/^(0|[1-9]\d*)(\.\d+)?$/.test(text)) return -1
  const [whole, fraction = ''] = text.split('.')
  const kept = fraction.padEnd(decimals, '0').slice(0, decimals)
  const rest = fraction.slice(decimals)
  const value = BigInt(whole + kept)
  return /[1-9]/.test(rest) || value > BigInt(Number.MAX_SAFE_INTEGER) ? NaN : Number(value)
}

const digits = (min: number, max: number) =>
  fc.array(fc.constantFrom(...'0123456789'), { minLength: min, maxLength: max })
    .map((parts) => parts.join(''))
const decimalLike = fc.oneof(
  fc.tuple(digits(1, 20), digits(0, 20)).map(([a, b]) => {
    const whole = a.replace(/^0+(?=\d)/, '')
    return b === '' ? whole : `${whole}.${b}`
  }),
  fc.tuple(digits(1, 9), digits(0, 9)).map(([a, b]) => b === '' ? a : `${a}.${b}`),
  fc.constantFrom(...['', '-1', '1e5', '.5', '5.', '0.', '+1', '1..2', '1.2.3', ' 1', '1 ', 'NaN']),
)

describe('decimal', () => {
  test('is exact or says that it is not sure', () => {
    fc.assert(
      fc.property(decimalLike, fc.integer({ min: 0, max: 20 }), (text, decimals) => {
        const s = loaded(`"${text}",`)
        s.at = 1
        const value = s.decimal(decimals)
        const expected = expectedDecimal(text, decimals)
        if (expected === -1) return assert.equal(value, -1, text)
        assert.equal(s.decimalText(), text)
        assert.equal(s.at, text.length + 2)
        // NaN may also mean "too long to be sure": then the slow way decides.
        if (Number.isNaN(value)) {
          assert.ok(Number.isNaN(expected) || text.length > 15)
          assert.deepEqual(scaledFromText(canonicalDecimal(text)!, decimals), expected)
        } else {
          assert.ok(Object.is(value, expected), `${text} at ${decimals}: ${value}`)
        }
      }),
      { numRuns: 5000 },
    )
  })

  test('what exchanges send never takes the slow way', () => {
    const table: [string, number, number][] = [
      ['78856.05', 2, 7885605],
      ['0.0476177', 8, 4761770],
      ['0', 8, 0],
      ['0.00000000', 8, 0],
      ['0.00000000', 2, 0],
      ['0.00000000', 0, 0],
      ['1234567890', 2, 123456789000],
      ['1234567890.12', 2, 123456789012],
      ['999999999', 0, 999999999],
      ['1000000000', 0, 1000000000],
      ['90071992547409', 2, 9007199254740900],
      ['0.00000121', 8, 121],
      ['0.0000000000012345', 16, NaN],
      ['12.3400000', 2, 1234],
      ['12.345', 2, NaN],
      ['90071992547410', 2, NaN],
      ['1', 16, NaN],
    ]
    for (const [text, decimals, expected] of table) {
      const s = loaded(`${text}"`)
      assert.ok(Object.is(s.decimal(decimals), expected), `${text} at ${decimals}`)
    }
  })

  test('stops at the end of the frame', () => {
    for (const text of ['', '1', '123456789', '1234567890', '1.', '1.5', '1.1234567891']) {
      assert.equal(loaded(text).decimal(2), -1, text)
    }
    // What an earlier, longer frame left behind is not read.
    loaded('99999999999"')
    assert.equal(loaded('9').decimal(2), -1)
  })
})

describe('literal', () => {
  test('matches itself and nothing else, at every length', () => {
    const letters = Array.from({ length: 70 }, (_, i) => String.fromCharCode(0x21 + i)).join('')
    for (let length = 1; length <= letters.length; length++) {
      const text = letters.slice(0, length)
      const literal = new Literal(text)
      const offset = length % 11
      const s = loaded('x'.repeat(offset) + text)
      s.at = offset
      assert.ok(s.literal(literal))
      assert.ok(s.isDone())
      for (let spot = 0; spot < length; spot++) {
        const bytes = encoder.encode('x'.repeat(offset) + text)
        for (const flip of [1, 0x80, bytes[offset + spot]]) {
          const spoilt = Uint8Array.from(bytes)
          spoilt[offset + spot] ^= flip
          s.load(spoilt)
          s.at = offset
          assert.equal(s.literal(literal), false, `byte ${spot} of ${length}`)
        }
        s.load(bytes.subarray(0, offset + spot))
        s.at = offset
        assert.equal(s.literal(literal), false, `cut at ${spot} of ${length}`)
      }
    }
  })
})

describe('unsigned', () => {
  test('is what JSON says, up to 15 digits', () => {
    fc.assert(
      fc.property(digits(0, 18), (text) => {
        const s = loaded(`${text},`)
        const isJson = /^(0|[1-9]\d*)$/.test(text)
        assert.equal(s.unsigned(), isJson && text.length <= 15 ? Number(text) : -1, text)
      }),
      { numRuns: 2000 },
    )
    assert.equal(loaded('').unsigned(), -1)
    assert.equal(loaded('123456789').unsigned(), 123456789)
  })
})

describe('time', () => {
  const ms = fc.integer({ min: 0, max: Date.parse('2999-12-31T23:59:59.999Z') })

  test('agrees with Date for every fraction length', () => {
    fc.assert(
      fc.property(ms, digits(0, 12), (at, fraction) => {
        const second = new Date(at).toISOString().slice(0, 19)
        const text = `${second}${fraction === '' ? '' : `.${fraction}`}Z`
        const expected = Date.parse(`${second}.${fraction.padEnd(3, '0').slice(0, 3)}Z`)
        const s = loaded(`${text}",`)
        assert.equal(s.time(), expected, text)
        assert.equal(s.at, text.length + 1)
        assert.equal(timeFromText(text), expected)
      }),
      { numRuns: 2000 },
    )
  })

  test('other forms of RFC 3339 are left to the text way', () => {
    const table: [string, string | undefined][] = [
      ['2026-08-24T22:34:13.793075885+00:00', '2026-08-24T22:34:13.793Z'],
      ['2026-08-24T22:34:13.793+02:00', '2026-08-24T20:34:13.793Z'],
      ['2026-08-24t22:34:13.7-05:30', '2026-08-25T04:04:13.700Z'],
      ['2026-08-24T22:34:13z', '2026-08-24T22:34:13.000Z'],
      ['2016-12-31T23:59:60Z', '2017-01-01T00:00:00.000Z'],
      ['0001-01-01T00:00:00Z', undefined],
      ['1969-12-31T23:59:59Z', undefined],
      ['2026-13-01T00:00:00Z', undefined],
      ['2026-02-29T00:00:00Z', undefined],
      ['2026-01-01T24:00:00Z', undefined],
      ['2026-01-01T00:60:00Z', undefined],
      ['2026-01-01T00:00:00', undefined],
      ['2026-01-01T00:00:00.Z', undefined],
      ['2026-01-01 00:00:00Z', undefined],
      ['yesterday', undefined],
      ['', undefined],
    ]
    for (const [text, expected] of table) {
      assert.equal(loaded(`${text}"`).time(), -1, text)
      assert.equal(timeFromText(text), expected === undefined ? -1 : Date.parse(expected), text)
    }
    assert.equal(timeFromText('2024-02-29T12:00:00Z'), Date.parse('2024-02-29T12:00:00Z'))
  })

  test('a cut or spoilt time is none, also in the minute that is known', () => {
    const text = '2026-08-24T22:34:13.793Z"'
    assert.ok(loaded(text).time() > 0)
    for (let length = 0; length < text.length; length++) {
      assert.equal(loaded(text.slice(0, length)).time(), -1, `cut at ${length}`)
    }
    assert.equal(loaded('2026-08-24T22:34:61Z"').time(), -1)
    assert.equal(loaded('2026-08-24T22:34:1xZ"').time(), -1)
  })
})

describe('skipText', () => {
  test('goes past plain text of any kind and refuses escapes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary-ascii', maxLength: 40 }),
          fc.constantFrom(
            '2026-08-24T22:34:13.793075Z',
            '2026-08-24T22:34:13.79307Z',
            '1970-01-01T00:00:00Z',
            '2026-08-24T22:34:13.79"075Z',
            '2026-08\\24T22:34:13.793075Z',
          ),
        ),
        (text) => {
          const end = text.indexOf('"')
          const plain = end < 0 ? text : text.slice(0, end)
          const s = loaded(`${text}"tail`)
          // Behind the first quote nothing may be looked at.
          // deno-lint-ignore no-control-regex
          if (/[\x00-\x1f\\\x7f]/.test(plain)) return assert.equal(s.skipText(), false)
          assert.ok(s.skipText(), JSON.stringify(text))
          assert.equal(s.at, plain.length + 1)
        },
      ),
      { numRuns: 2000 },
    )
    assert.equal(loaded('no end').skipText(), false)
  })
})

test('a large frame takes its own memory and gives it back', () => {
  const own = new Scanner()
  const kept = own.bytes
  const text = `${'x'.repeat(1_000_000)}end`
  own.load(encoder.encode(text))
  assert.notEqual(own.bytes, kept)
  own.at = 1_000_000
  assert.ok(own.literal(new Literal('end')))
  assert.ok(own.isDone())
  own.release()
  assert.equal(own.bytes, kept)
  own.load(encoder.encode('end'))
  assert.ok(own.literal(new Literal('end')))
})
