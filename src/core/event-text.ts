/**
 * Reads one record value without losing a digit: numbers of levels stay the text they are. A small
 * strict JSON scanner, because `JSON.parse` rounds and its reviver is slow.
 */

/** An event as sent; levels are flat lists `price, size, price, size`. */
export interface EventText {
  readonly type: string
  readonly exchange: string
  readonly symbol: string
  readonly epoch: number
  readonly seq: number
  readonly nonce: number | string | undefined
  readonly timestamp: number | undefined
  readonly receivedUs: number
  readonly publishedUs: number
  readonly reason: string | undefined
  readonly state: string | undefined
  readonly proof: string | undefined
  readonly depth: number | undefined
  /** Of a heartbeat, microseconds since 1970. */
  readonly lastUs: number | undefined
  /** 0 of 1 when the snapshot is not split. */
  readonly part: number
  readonly parts: number
  readonly bids: readonly string[]
  readonly asks: readonly string[]
}

const decoder = new TextDecoder()
const NO_LEVELS: readonly string[] = []

/** Undefined: not JSON, not an event, or of another version. */
export function parseEvent(value: string | Uint8Array): EventText | undefined {
  const text = typeof value === 'string' ? value : decoder.decode(value)
  const scanner = new Scanner(text)
  const fields = scanner.object()
  if (fields === undefined || fields.get('v') !== 1) return undefined
  const type = fields.get('type')
  const exchange = fields.get('exchange')
  const symbol = fields.get('symbol')
  const epoch = fields.get('epoch')
  const seq = fields.get('seq')
  if (
    typeof type !== 'string' || typeof exchange !== 'string' || typeof symbol !== 'string' ||
    !Number.isSafeInteger(epoch) || !Number.isSafeInteger(seq)
  ) return undefined
  const holdsLevels = type === 'snapshot' || type === 'delta'
  if (holdsLevels && (scanner.bids === undefined || scanner.asks === undefined)) return undefined
  const nonce = fields.get('nonce')
  return {
    type,
    exchange,
    symbol,
    epoch: epoch as number,
    seq: seq as number,
    nonce: typeof nonce === 'number' || typeof nonce === 'string' ? nonce : undefined,
    timestamp: numberOf(fields.get('timestamp')),
    receivedUs: numberOf(fields.get('receivedUs')) ?? 0,
    publishedUs: numberOf(fields.get('publishedUs')) ?? 0,
    reason: textOf(fields.get('reason')),
    state: textOf(fields.get('state')),
    proof: textOf(fields.get('proof')),
    depth: numberOf(fields.get('depth')),
    lastUs: numberOf(fields.get('lastUs')),
    part: numberOf(fields.get('part')) ?? 0,
    parts: numberOf(fields.get('parts')) ?? 1,
    bids: scanner.bids ?? NO_LEVELS,
    asks: scanner.asks ?? NO_LEVELS,
  }
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

const QUOTE = 34
const COMMA = 44
const MINUS = 45
const DOT = 46
const COLON = 58
const OPEN_BRACKET = 91
const BACKSLASH = 92
const CLOSE_BRACKET = 93
const OPEN_BRACE = 123
const CLOSE_BRACE = 125

const EXPONENT = /[eE][+-]?[0-9]+/y

class NotJson extends Error {}

/** One pass over the text; white space is allowed where JSON allows it. */
class Scanner {
  bids: string[] | undefined = undefined
  asks: string[] | undefined = undefined
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** The top object's fields but `bids` and `asks`; what is nested deeper is `undefined`. */
  object(): Map<string, unknown> | undefined {
    try {
      const fields = new Map<string, unknown>()
      this.#expect(OPEN_BRACE)
      if (this.#peek() === CLOSE_BRACE) this.#at += 1
      else {
        do {
          const name = this.#string()
          this.#expect(COLON)
          if (name === 'bids') this.bids = this.#levels()
          else if (name === 'asks') this.asks = this.#levels()
          else fields.set(name, this.#value())
        } while (this.#more(CLOSE_BRACE))
      }
      this.#space()
      return this.#at === this.#text.length ? fields : undefined
    } catch (error) {
      if (error instanceof NotJson) return undefined
      throw error
    }
  }

  #levels(): string[] {
    const flat: string[] = []
    this.#expect(OPEN_BRACKET)
    if (this.#peek() === CLOSE_BRACKET) {
      this.#at += 1
      return flat
    }
    do {
      this.#expect(OPEN_BRACKET)
      flat.push(this.#number())
      this.#expect(COMMA)
      flat.push(this.#number())
      this.#expect(CLOSE_BRACKET)
    } while (this.#more(CLOSE_BRACKET))
    return flat
  }

  #value(): unknown {
    const code = this.#peek()
    if (code === QUOTE) return this.#string()
    if (code === MINUS || isDigit(code)) return Number(this.#number() + this.#exponent())
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      this.#skip()
      return undefined
    }
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue
      this.#at += word.length
      return value
    }
    throw new NotJson()
  }

  /** A nested value of a field this version does not know. */
  #skip(): void {
    const close = this.#peek() === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET
    this.#at += 1
    if (this.#peek() === close) {
      this.#at += 1
      return
    }
    do {
      if (close === CLOSE_BRACE) {
        this.#string()
        this.#expect(COLON)
      }
      this.#value()
    } while (this.#more(close))
  }

  #number(): string {
    this.#space()
    const text = this.#text
    const start = this.#at
    let at = start
    if (text.charCodeAt(at) === MINUS) at += 1
    const whole = at
    while (isDigit(text.charCodeAt(at))) at += 1
    if (at === whole || (at > whole + 1 && text.charCodeAt(whole) === 48)) throw new NotJson()
    if (text.charCodeAt(at) === DOT) {
      const fraction = at += 1
      while (isDigit(text.charCodeAt(at))) at += 1
      if (at === fraction) throw new NotJson()
    }
    this.#at = at
    return text.slice(start, at)
  }

  /** Levels have none, but a field of a later version may. */
  #exponent(): string {
    EXPONENT.lastIndex = this.#at
    const found = EXPONENT.exec(this.#text)
    if (found === null) return ''
    this.#at += found[0].length
    return found[0]
  }

  #string(): string {
    this.#expect(QUOTE)
    const start = this.#at
    let at = start
    let escaped = false
    for (;;) {
      const code = this.#text.charCodeAt(at)
      if (code === QUOTE) break
      if (!(code >= 32)) throw new NotJson() // a control character, or the end (NaN)
      if (code === BACKSLASH) {
        escaped = true
        at += 1
      }
      at += 1
    }
    this.#at = at + 1
    const raw = this.#text.slice(start, at)
    if (!escaped) return raw
    try {
      return JSON.parse(`"${raw}"`) as string
    } catch {
      throw new NotJson()
    }
  }

  /** After a member: true when another follows, false after the closing sign. */
  #more(close: number): boolean {
    const code = this.#peek()
    this.#at += 1
    if (code === COMMA) return true
    if (code === close) return false
    throw new NotJson()
  }

  #expect(code: number): void {
    if (this.#peek() !== code) throw new NotJson()
    this.#at += 1
  }

  #peek(): number {
    this.#space()
    return this.#text.charCodeAt(this.#at)
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return
      this.#at += 1
    }
  }
}

const WORDS: readonly (readonly [string, unknown])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
]

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}
