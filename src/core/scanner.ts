/**
 * Strict scanning of frame bytes: literals, decimals, integers and times are read where they stand,
 * without a string or an object. An exchange's scanner is a straight line of these calls.
 */
import { canonicalDecimal, DIGITS_MAX, scaledFromText } from './decimal.ts'

/** Frames up to this size are copied into memory that stays; larger ones into their own. */
const KEPT_BYTES = 262_144

/**
 * Room behind every frame that may be looked at. It begins with a zero byte: no literal and no digit
 * matches that, and no call goes past a byte that it does not match, so none checks the end.
 */
const PADDING = 64

const QUOTE = 0x22
const POINT = 0x2e
const COMMA = 0x2c
const BRACE = 0x7d
const BRACKET = 0x5d
/** `byte ^ ZERO` is the digit, or above 9 when the byte is none. */
const ZERO = 0x30

/** The digits that surely fit a double exactly, whatever they are. */
const EXACT_DIGITS = 15

/** Powers of ten that a double holds exactly. */
const POW10 = new Float64Array(23)
for (let i = 0; i < POW10.length; i++) POW10[i] = Number(`1e${i}`)

const MS_PER_DAY = 86_400_000

/** Days from 1970-01-01 to a day of the proleptic Gregorian calendar. */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) +
    dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

const TIME =
  /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/

/**
 * Any RFC 3339 time as ms since 1970, further digits cut off. -1 when the text is none or lies
 * before 1970 (exchanges write the year 1 for "unknown").
 */
export function timeFromText(text: string): number {
  const match = TIME.exec(text)
  if (match === null) return -1
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number)
  if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60) return -1
  const days = daysFromCivil(year, month, day)
  if (days >= daysFromCivil(year, month + 1, 1)) return -1
  let ms = days * MS_PER_DAY
  ms += hour * 3_600_000 + minute * 60_000 + second * 1000
  if (match[7] !== undefined) ms += Number(match[7].slice(0, 3).padEnd(3, '0'))
  if (match[8] !== undefined) {
    const offset = Number(match[9]) * 3_600_000 + Number(match[10]) * 60_000
    ms += match[8] === '+' ? -offset : offset
  }
  return ms < 0 ? -1 : ms
}

/** Lengths that are compared eight bytes at a time. */
const WORDWISE_MIN = 9
const WORDWISE_MAX = 48

const encoder = new TextEncoder()

/**
 * Fixed text, encoded once as UTF-8. Eight bytes are compared as one double: equal doubles are equal
 * bytes here, because no eight bytes of text are a NaN or a zero.
 */
export class Literal {
  /** In bytes. */
  readonly length: number
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Doubles before the last one; 0 for lengths that are compared byte by byte. */
  readonly count: number
  readonly word0: number
  readonly word1: number
  readonly word2: number
  readonly word3: number
  readonly word4: number
  /** The last eight bytes, overlapping the word before them. */
  readonly last: number

  /** `text`: well-formed, without control characters. */
  constructor(text: string) {
    this.bytes = encoder.encode(text)
    const { length } = this.bytes
    this.length = length
    const isWordwise = length >= WORDWISE_MIN && length <= WORDWISE_MAX
    const count = isWordwise ? (length - 1) >> 3 : 0
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset)
    const word = (i: number) => i < count ? view.getFloat64(8 * i, true) : 0
    this.count = count
    this.word0 = word(0)
    this.word1 = word(1)
    this.word2 = word(2)
    this.word3 = word(3)
    this.word4 = word(4)
    this.last = isWordwise ? view.getFloat64(length - 8, true) : 0
  }
}

/**
 * A cursor over one frame. The reading calls move `at` behind what they read when it is there, and
 * leave it anywhere when it is not: the caller gives the whole frame up then.
 */
export class Scanner {
  /** Position of the next byte. */
  at = 0
  /** Length of the frame. */
  end = 0
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(KEPT_BYTES)
  view: DataView<ArrayBuffer>
  /** Where the decimal began that was read last; it ends before the quote at `at - 1`. */
  decimalStart = 0
  /** Where the number began that was read last; it ends before the byte at `at`. */
  numberStart = 0
  /** Digits behind the point of the number read last; -1: it has an exponent. */
  places = 0
  /** The minute read last, as text in two words, and its ms: times of one minute share it. */
  private minute0 = 0
  private minute1 = 0
  private minuteMs = -1
  private readonly kept: Uint8Array<ArrayBuffer>
  private readonly keptView: DataView<ArrayBuffer>

  constructor() {
    this.view = new DataView(this.bytes.buffer)
    this.kept = this.bytes
    this.keptView = this.view
  }

  /** Copies the frame (one move of memory buys word-wise comparison and a padded end). */
  load(frame: Uint8Array): void {
    const length = frame.length
    if (length > KEPT_BYTES - PADDING) {
      this.bytes = new Uint8Array(length + PADDING)
      this.view = new DataView(this.bytes.buffer)
      this.bytes.set(frame)
    } else {
      this.bytes.set(frame)
      this.view.setFloat64(length, 0)
    }
    this.at = 0
    this.end = length
  }

  /** Forgets a large frame. Call it after each `load`, before the next one. */
  release(): void {
    if (this.bytes === this.kept) return
    this.bytes = this.kept
    this.view = this.keptView
  }

  /** True when everything was read and nothing beyond it. */
  isDone(): boolean {
    return this.at === this.end
  }

  /** Goes past `literal`; false when it does not stand here. */
  literal(literal: Literal): boolean {
    const count = literal.count
    if (count === 0) return this.literalBytes(literal)
    const view = this.view
    const at = this.at
    if (view.getFloat64(at, true) !== literal.word0) return false
    if (count > 1) {
      if (view.getFloat64(at + 8, true) !== literal.word1) return false
      if (count > 2) {
        if (view.getFloat64(at + 16, true) !== literal.word2) return false
        if (count > 3) {
          if (view.getFloat64(at + 24, true) !== literal.word3) return false
          if (count > 4 && view.getFloat64(at + 32, true) !== literal.word4) return false
        }
      }
    }
    const end = at + literal.length
    if (view.getFloat64(end - 8, true) !== literal.last) return false
    this.at = end
    return true
  }

  private literalBytes(literal: Literal): boolean {
    const bytes = this.bytes
    const expected = literal.bytes
    let at = this.at
    for (let i = 0; i < expected.length; i++) {
      if (bytes[at++] !== expected[i]) return false
    }
    this.at = at
    return true
  }

  /** Goes past one byte; false when another one stands here. */
  byte(code: number): boolean {
    if (this.bytes[this.at] !== code) return false
    this.at++
    return true
  }

  /**
   * Reads an unsigned decimal up to its closing quote, at the position behind the opening one, as
   * an integer scaled by 10^decimals. NaN: it is a decimal (its text is `decimalText()`), but its
   * scaled integer is not certain to be exact. -1: not a plain decimal (sign, exponent, leading
   * zeros, escapes ...) or one of more than `DIGITS_MAX` digits.
   */
  decimal(decimals: number): number {
    const bytes = this.bytes
    const start = this.at
    this.decimalStart = start
    let at = start
    let digit = bytes[at] ^ ZERO
    if (digit > 9) return -1
    // Nine digits at a time fit an int32.
    let value = digit
    at++
    if (digit === 0) {
      digit = bytes[at] ^ ZERO
      if (digit <= 9) return -1
    } else {
      for (const stop = at + 8; at < stop; at++) {
        digit = bytes[at] ^ ZERO
        if (digit > 9) break
        value = (Math.imul(value, 10) + digit) | 0
      }
    }
    let code = bytes[at]
    let digits = at - start
    if (code === QUOTE) {
      this.at = at + 1
      const scaled = value * POW10[decimals]
      return scaled <= Number.MAX_SAFE_INTEGER ? scaled : NaN
    }
    let whole: number = value
    if (code !== POINT) {
      // More than nine digits before the point.
      digit = code ^ ZERO
      for (; digit <= 9; digit = bytes[++at] ^ ZERO) whole = whole * 10 + digit
      digits = at - start
      code = bytes[at]
      if (code === QUOTE) {
        this.at = at + 1
        if (digits > EXACT_DIGITS) return digits > DIGITS_MAX ? -1 : NaN
        const scaled = whole * POW10[decimals]
        return scaled <= Number.MAX_SAFE_INTEGER ? scaled : NaN
      }
      if (code !== POINT) return -1
    }
    const point = at++
    value = 0
    for (const stop = at + 9; at < stop; at++) {
      digit = bytes[at] ^ ZERO
      if (digit > 9) break
      value = (Math.imul(value, 10) + digit) | 0
    }
    let fraction: number = value
    if (bytes[at] !== QUOTE) {
      for (digit = bytes[at] ^ ZERO; digit <= 9; digit = bytes[++at] ^ ZERO) {
        fraction = fraction * 10 + digit
      }
      if (bytes[at] !== QUOTE) return -1
    }
    const places = at - point - 1
    if (places === 0) return -1
    this.at = at + 1
    if (digits + places > EXACT_DIGITS) return digits + places > DIGITS_MAX ? -1 : NaN
    if (places <= decimals) {
      const scaled = (whole * POW10[places] + fraction) * POW10[decimals - places]
      return scaled <= Number.MAX_SAFE_INTEGER ? scaled : NaN
    }
    // More places than the scale has: exact only when the surplus is zeros. Up to 15 digits the
    // quotient is never rounded to an integer that it is not.
    const scaled = (whole * POW10[places] + fraction) / POW10[places - decimals]
    return Math.floor(scaled) === scaled ? scaled : NaN
  }

  /** Text of the decimal read last. Makes a string: only for values that have no scaled integer. */
  decimalText(): string {
    let text = ''
    for (let i = this.decimalStart; i < this.at - 1; i++) text += String.fromCharCode(this.bytes[i])
    return text
  }

  /**
   * Reads an unsigned JSON number, not quoted, up to the comma, brace or bracket behind it, which
   * stays the next byte; the value is scaled by 10^decimals, `places` the digits behind its point.
   * NaN: it is a number (its text is `numberText()`), but its scaled integer is not certain to be
   * exact. -1: none (sign, leading zeros, spaces ...) or one of more than `DIGITS_MAX` digits.
   */
  number(decimals: number): number {
    const bytes = this.bytes
    const start = this.at
    this.numberStart = start
    let at = start
    let digit = bytes[at] ^ ZERO
    if (digit > 9) return -1
    // Nine digits at a time fit an int32.
    let value = digit
    at++
    if (digit === 0) {
      if ((bytes[at] ^ ZERO) <= 9) return -1
    } else {
      for (const stop = at + 8; at < stop; at++) {
        digit = bytes[at] ^ ZERO
        if (digit > 9) break
        value = (Math.imul(value, 10) + digit) | 0
      }
    }
    let whole: number = value
    for (digit = bytes[at] ^ ZERO; digit <= 9; digit = bytes[++at] ^ ZERO) {
      whole = whole * 10 + digit
    }
    const digits = at - start
    let fraction = 0
    let places = 0
    if (bytes[at] === POINT) {
      const point = at++
      value = 0
      for (const stop = at + 9; at < stop; at++) {
        digit = bytes[at] ^ ZERO
        if (digit > 9) break
        value = (Math.imul(value, 10) + digit) | 0
      }
      fraction = value
      for (digit = bytes[at] ^ ZERO; digit <= 9; digit = bytes[++at] ^ ZERO) {
        fraction = fraction * 10 + digit
      }
      places = at - point - 1
      if (places === 0) return -1
    }
    this.at = at
    this.places = places
    const code = bytes[at]
    if (code !== COMMA && code !== BRACE && code !== BRACKET) {
      return (code | 0x20) === 0x65 ? this.numberExponent(decimals) : -1
    }
    if (digits > EXACT_DIGITS || places > EXACT_DIGITS) {
      return digits + places > DIGITS_MAX ? -1 : NaN
    }
    if (places <= decimals) {
      // Both parts are exact, and so is every step up to 2^53; beyond it, it shows.
      const scaled = (whole * POW10[places] + fraction) * POW10[decimals - places]
      return scaled <= Number.MAX_SAFE_INTEGER ? scaled : NaN
    }
    if (digits + places > EXACT_DIGITS) return NaN
    // Exact only when the surplus places are zeros, as in `decimal`.
    const scaled = (whole * POW10[places] + fraction) / POW10[places - decimals]
    return Math.floor(scaled) === scaled ? scaled : NaN
  }

  /** The rest of `number` at an exponent. Makes a string: exchanges write one only now and then. */
  private numberExponent(decimals: number): number {
    const bytes = this.bytes
    let at = this.at + 1
    if (bytes[at] === 0x2b || bytes[at] === 0x2d) at++
    const start = at
    while ((bytes[at] ^ ZERO) <= 9) at++
    const code = bytes[at]
    if (at === start || (code !== COMMA && code !== BRACE && code !== BRACKET)) return -1
    if (at - this.numberStart > DIGITS_MAX) return -1
    this.at = at
    this.places = -1
    const text = canonicalDecimal(this.numberText())
    return text === undefined ? -1 : scaledFromText(text, decimals)
  }

  /** Text of the number read last. Makes a string: only for values that have no scaled integer. */
  numberText(): string {
    let text = ''
    for (let i = this.numberStart; i < this.at; i++) text += String.fromCharCode(this.bytes[i])
    return text
  }

  /** Reads a JSON integer from 0 to 10^15 - 1; -1 when none stands here (or a longer one). */
  unsigned(): number {
    const bytes = this.bytes
    const start = this.at
    let at = start
    let digit = bytes[at] ^ ZERO
    if (digit > 9) return -1
    let value = digit
    at++
    if (digit === 0) {
      digit = bytes[at] ^ ZERO
      if (digit <= 9) return -1
    } else {
      for (const stop = at + 8; at < stop; at++) {
        digit = bytes[at] ^ ZERO
        if (digit > 9) break
        value = (Math.imul(value, 10) + digit) | 0
      }
      if (at - start === 9) return this.unsignedTail(value, at, start)
    }
    this.at = at
    return value
  }

  private unsignedTail(value: number, at: number, start: number): number {
    const bytes = this.bytes
    // Up to six more digits: these fit an int32, too.
    let tail = 0
    let digit = bytes[at] ^ ZERO
    for (const stop = start + EXACT_DIGITS; digit <= 9; digit = bytes[++at] ^ ZERO) {
      if (at === stop) return -1
      tail = (Math.imul(tail, 10) + digit) | 0
    }
    this.at = at
    return value * POW10[at - start - 9] + tail
  }

  /**
   * Reads `YYYY-MM-DDTHH:MM:SS[.digits]Z"` as ms since 1970, further digits cut off. -1 when
   * anything else stands here (`timeFromText` knows every form).
   */
  time(): number {
    const bytes = this.bytes
    const view = this.view
    let at = this.at
    if (
      view.getFloat64(at, true) !== this.minute0 ||
      view.getFloat64(at + 8, true) !== this.minute1 || this.minuteMs < 0
    ) {
      if (!this.minute(at)) return -1
    }
    if (bytes[at + 16] !== 0x3a) return -1
    const tens = bytes[at + 17] ^ ZERO
    const ones = bytes[at + 18] ^ ZERO
    if (tens > 5 || ones > 9) return -1
    let ms = (tens * 10 + ones) * 1000
    at += 19
    if (bytes[at] === POINT) {
      let digit = bytes[++at] ^ ZERO
      if (digit > 9) return -1
      ms += digit * 100
      digit = bytes[++at] ^ ZERO
      if (digit <= 9) {
        ms += digit * 10
        digit = bytes[++at] ^ ZERO
        if (digit <= 9) {
          ms += digit
          while ((bytes[++at] ^ ZERO) <= 9);
        }
      }
    }
    if (bytes[at] !== 0x5a || bytes[at + 1] !== QUOTE) return -1
    this.at = at + 2
    return this.minuteMs + ms
  }

  /** Reads and remembers `YYYY-MM-DDTHH:MM`. */
  private minute(at: number): boolean {
    if (at + 16 > this.end) return false
    let text = ''
    for (let i = at; i < at + 16; i++) text += String.fromCharCode(this.bytes[i])
    const ms = timeFromText(`${text}:00Z`)
    // A small `t` is legal, but kept off the fast path with all that is rare.
    if (ms < 0 || this.bytes[at + 10] !== 0x54) return false
    this.minute0 = this.view.getFloat64(at, true)
    this.minute1 = this.view.getFloat64(at + 8, true)
    this.minuteMs = ms
    return true
  }

  /**
   * Goes past text that carries no meaning here, up to and with its closing quote. False when it
   * holds an escape, a control character or anything outside ASCII.
   */
  skipText(): boolean {
    const view = this.view
    const at = this.at
    // Times in microseconds, the usual case: bytes 0x30 to 0x3f, `-`, `T` and `.` at their places.
    if (
      (view.getInt32(at + 24, true) & 0xfffff0f0) === 0x225a3030 &&
      (view.getInt32(at, true) & 0xf0f0f0f0) === 0x30303030 &&
      (view.getInt32(at + 4, true) & 0xfff0f0ff) === 0x2d30302d &&
      (view.getInt32(at + 8, true) & 0xf0fff0f0) === 0x30543030 &&
      (view.getInt32(at + 12, true) & 0xf0f0f0f0) === 0x30303030 &&
      (view.getInt32(at + 16, true) & 0xfff0f0f0) === 0x2e303030 &&
      (view.getInt32(at + 20, true) & 0xf0f0f0f0) === 0x30303030
    ) {
      this.at = at + 28
      return true
    }
    return this.skipAnyText()
  }

  private skipAnyText(): boolean {
    const bytes = this.bytes
    for (let at = this.at;; at++) {
      const code = bytes[at]
      if (code === QUOTE) {
        this.at = at + 1
        return true
      }
      if (code < 0x20 || code > 0x7e || code === 0x5c) return false
    }
  }
}
