/**
 * Exact decimals: canonical text, scaled integers (value x 10^decimals as a double that is an
 * integer up to 2^53), and the ASCII bytes of both. Nothing here ever rounds.
 */

/** Powers of ten that a double holds exactly. */
const POW10 = new Float64Array(23)
for (let i = 0; i < POW10.length; i++) POW10[i] = Number(`1e${i}`)

const INT32_MAX = 2147483647
const ZERO = 48

/** `00` to `99`, the first digit in the low byte. */
const PAIRS = new Uint16Array(100)
for (let i = 0; i < 100; i++) {
  PAIRS[i] = (ZERO + Math.floor(i / 10)) | ((ZERO + i % 10) << 8)
}

/**
 * Digits of a number at most, as it is written and without its exponent: no market has a longer
 * one, and it would be kept, copied and published for as long as its level stands.
 */
export const DIGITS_MAX = 64
/** With sign, point and exponent. */
const CHARACTERS_MAX = DIGITS_MAX + 16

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$/

/**
 * The one spelling of a decimal: no exponent, no plus, no leading or trailing zeros, `0` for every
 * zero. Undefined when the text is no decimal number, or has more than `DIGITS_MAX` digits.
 */
export function canonicalDecimal(text: string): string | undefined {
  if (text.length > CHARACTERS_MAX) return undefined
  const match = DECIMAL.exec(text)
  if (match === null) return undefined
  let whole = match[2] ?? ''
  let fraction = match[3] ?? ''
  if (whole.length === 0 && fraction.length === 0) return undefined
  if (whole.length + fraction.length > DIGITS_MAX) return undefined
  const exponent = match[4] === undefined ? 0 : Number(match[4])
  if (exponent !== 0) {
    if (!/[1-9]/.test(whole + fraction)) return '0'
    if (exponent > DIGITS_MAX || exponent < -DIGITS_MAX) return undefined
    if (exponent > 0) {
      fraction = fraction.padEnd(exponent, '0')
      whole += fraction.slice(0, exponent)
      fraction = fraction.slice(exponent)
    } else {
      whole = whole.padStart(-exponent, '0')
      fraction = whole.slice(whole.length + exponent) + fraction
      whole = whole.slice(0, whole.length + exponent)
    }
  }
  let start = 0
  while (start < whole.length && whole.charCodeAt(start) === ZERO) start++
  let end = fraction.length
  while (end > 0 && fraction.charCodeAt(end - 1) === ZERO) end--
  const integer = start === whole.length ? '0' : whole.slice(start)
  if (integer.length + end > DIGITS_MAX) return undefined
  if (end === 0) return match[1] === '-' && integer !== '0' ? `-${integer}` : integer
  return `${match[1] === '-' ? '-' : ''}${integer}.${fraction.slice(0, end)}`
}

/**
 * Plain decimal text (no exponent) as an integer scaled by 10^decimals. NaN when it has no exact
 * one up to 2^53, or when the text is no plain decimal of at most `DIGITS_MAX` digits.
 */
export function scaledFromText(text: string, decimals: number): number {
  // Two more for sign and point.
  if (text.length > DIGITS_MAX + 2) return NaN
  let i = 0
  const negative = text.charCodeAt(0) === 45
  if (negative) i = 1
  let value = 0
  let digits = 0
  /** Digits after the point so far; -1 before the point. */
  let fraction = -1
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 46) {
      if (fraction >= 0) return NaN
      fraction = 0
      continue
    }
    const digit = code - ZERO
    if (digit < 0 || digit > 9) return NaN
    digits++
    if (fraction >= 0) {
      if (fraction >= decimals) {
        if (digit !== 0) return NaN
        continue
      }
      fraction++
    }
    value = value * 10 + digit
    if (value > Number.MAX_SAFE_INTEGER) return NaN
  }
  if (digits === 0) return NaN
  let missing = decimals - (fraction < 0 ? 0 : fraction)
  if (value !== 0) {
    for (; missing > 0; missing--) {
      value *= 10
      if (value > Number.MAX_SAFE_INTEGER) return NaN
    }
  }
  return negative && value !== 0 ? -value : value
}

/** Canonical text of a scaled integer. */
export function scaledToText(value: number, decimals: number): string {
  const digits = String(Math.abs(value)).padStart(decimals + 1, '0')
  const point = digits.length - decimals
  let end = digits.length
  while (end > point && digits.charCodeAt(end - 1) === ZERO) end--
  const sign = value < 0 ? '-' : ''
  if (end === point) return sign + digits.slice(0, point)
  return `${sign}${digits.slice(0, point)}.${digits.slice(point, end)}`
}

/** Exact order of two canonical decimals: negative, zero or positive like `a - b`. */
export function compareDecimals(a: string, b: string): number {
  if (a === b) return 0
  const negative = a.charCodeAt(0) === 45
  if (negative !== (b.charCodeAt(0) === 45)) return negative ? -1 : 1
  return negative ? compareMagnitudes(b, a, 1) : compareMagnitudes(a, b, 0)
}

function compareMagnitudes(a: string, b: string, start: number): number {
  const pointA = a.indexOf('.')
  const pointB = b.indexOf('.')
  const wholeA = pointA < 0 ? a.length : pointA
  const wholeB = pointB < 0 ? b.length : pointB
  if (wholeA !== wholeB) return wholeA - wholeB
  for (let i = start;; i++) {
    // Past the end of one that is otherwise equal: the longer fraction is the greater number.
    if (i >= a.length || i >= b.length) return a.length - b.length
    const difference = a.charCodeAt(i) - b.charCodeAt(i)
    if (difference !== 0) return difference
  }
}

/** Upper bound of the bytes that `writeScaled` needs. */
export function scaledBytesMax(decimals: number): number {
  return Math.max(17, decimals + 1) + 2
}

/**
 * Writes the canonical text of a scaled integer at `at`; returns the position after it. The usual
 * number (up to eight digits on either side of the point) is written in this one function: it runs
 * for every level of every event.
 */
export function writeScaled(
  bytes: Uint8Array,
  at: number,
  value: number,
  decimals: number,
): number {
  if (decimals > 8 || !(value >= 0)) return writeUnusual(bytes, at, value, decimals)
  let whole = 0
  let fraction = 0
  const unit = POW10[decimals]
  if (value < unit) {
    fraction = value | 0
  } else {
    // Never one too many: below 2^53 the step 1 / unit is more than half of what tells two
    // doubles apart there, so no quotient is rounded up to an integer that it does not reach.
    const quotient = Math.floor(value / unit)
    if (quotient > 99_999_999) return writeUnusual(bytes, at, value, decimals)
    whole = quotient | 0
    fraction = (value - quotient * unit) | 0
  }
  if (whole < 10) {
    bytes[at++] = ZERO + whole
  } else {
    let digits = 2
    if (whole >= 10000) {
      if (whole >= 1000000) digits = whole >= 10000000 ? 8 : 7
      else digits = whole >= 100000 ? 6 : 5
    } else if (whole >= 100) digits = whole >= 1000 ? 4 : 3
    let i = at + digits
    at = i
    do {
      const rest = (whole / 100) | 0
      const pair = PAIRS[whole - rest * 100]
      bytes[i - 1] = pair >> 8
      bytes[i - 2] = pair
      i -= 2
      whole = rest
    } while (whole >= 10)
    if (whole > 0) bytes[i - 1] = ZERO + whole
  }
  if (fraction === 0) return at
  bytes[at++] = 46
  let end = at + decimals
  if (decimals === 8) {
    // x * 5243 >>> 19 is x / 100 for x below 10,000.
    const high = (fraction / 10000) | 0
    const low = fraction - high * 10000
    const first = (high * 5243) >>> 19
    let pair = PAIRS[first]
    bytes[at] = pair
    bytes[at + 1] = pair >> 8
    pair = PAIRS[high - first * 100]
    bytes[at + 2] = pair
    bytes[at + 3] = pair >> 8
    if (low === 0) {
      end = at + 4
    } else {
      const third = (low * 5243) >>> 19
      pair = PAIRS[third]
      bytes[at + 4] = pair
      bytes[at + 5] = pair >> 8
      pair = PAIRS[low - third * 100]
      bytes[at + 6] = pair
      bytes[at + 7] = pair >> 8
    }
  } else if (decimals === 2) {
    const pair = PAIRS[fraction]
    bytes[at] = pair
    bytes[at + 1] = pair >> 8
  } else {
    writeFixed(bytes, at, fraction, decimals)
  }
  return trim(bytes, end)
}

/** Negative, very large, or with many decimals. */
function writeUnusual(bytes: Uint8Array, at: number, value: number, decimals: number): number {
  if (value < 0) {
    bytes[at++] = 45
    value = -value
  }
  if (decimals === 0) return writeInteger(bytes, at, value)
  // Above 10^22 a power is not exact, but then every value is below it all the same.
  const unit = POW10[decimals > 22 ? 22 : decimals]
  const whole = Math.floor(value / unit)
  const fraction = value - whole * unit
  at = writeInteger(bytes, at, whole)
  if (fraction === 0) return at
  bytes[at] = 46
  return trim(bytes, writePadded(bytes, at + 1, fraction, decimals))
}

/** Writes a non-negative integer up to 2^53; returns the position after it. */
export function writeInteger(bytes: Uint8Array, at: number, value: number): number {
  if (value <= INT32_MAX) return writeSmall(bytes, at, value | 0)
  const high = Math.floor(value / 1e8)
  const low = (value - high * 1e8) | 0
  // 2^53 / 10^8 is below 2^31.
  return writeFixed(bytes, writeSmall(bytes, at, high | 0), low, 8)
}

/** An int32 without padding. */
function writeSmall(bytes: Uint8Array, at: number, value: number): number {
  if (value < 10) {
    bytes[at] = ZERO + value
    return at + 1
  }
  let digits = 2
  if (value >= 10000) {
    if (value >= 1000000) digits = value >= 100000000 ? (value >= 1000000000 ? 10 : 9) : 7
    else digits = value >= 100000 ? 6 : 5
    if (digits === 7 && value >= 10000000) digits = 8
  } else if (value >= 100) digits = value >= 1000 ? 4 : 3
  return writeFixed(bytes, at, value, digits)
}

/** Writes a non-negative int32 in exactly `digits` digits; returns the position after them. */
export function writeFixed(
  bytes: Uint8Array,
  at: number,
  value: number,
  digits: number,
): number {
  const end = at + digits
  let i = end
  while (i >= at + 2) {
    const rest = (value / 100) | 0
    const pair = PAIRS[value - rest * 100]
    bytes[i - 1] = pair >> 8
    bytes[i - 2] = pair
    i -= 2
    value = rest
  }
  if (i > at) bytes[at] = ZERO + value
  return end
}

/** A non-negative integer below 10^digits in exactly `digits` digits. */
function writePadded(bytes: Uint8Array, at: number, value: number, digits: number): number {
  if (digits <= 9) return writeFixed(bytes, at, value | 0, digits)
  const high = Math.floor(value / 1e8)
  const low = (value - high * 1e8) | 0
  let i = at
  for (let padding = digits - 18; padding > 0; padding--) bytes[i++] = ZERO
  const rest = digits - 8 - (i - at)
  if (rest > 9) bytes[i++] = ZERO
  i = writeFixed(bytes, i, high | 0, rest > 9 ? 9 : rest)
  return writeFixed(bytes, i, low, 8)
}

/** Steps back over the trailing zeros of a fraction that is not zero. */
function trim(bytes: Uint8Array, end: number): number {
  while (bytes[end - 1] === ZERO) end--
  return end
}

/** Writes ASCII text; returns the position after it. */
export function writeAscii(bytes: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i)
  return at
}
