/** Writes frames as bytes, because a fast exchange must not make a string per level. */

const ZERO = 48

const encoder = new TextEncoder()

export function ascii(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(encoder.encode(text))
}

/** A growing buffer; one per exchange. */
export class Writer {
  bytes = new Uint8Array(1 << 16)
  end = 0
  readonly #digits = new Uint8Array(48)

  ensure(more: number): void {
    if (this.end + more <= this.bytes.length) return
    const bytes = new Uint8Array(Math.max(this.bytes.length * 2, this.end + more))
    bytes.set(this.bytes.subarray(0, this.end))
    this.bytes = bytes
  }

  raw(part: Uint8Array): void {
    const bytes = this.bytes
    let at = this.end
    for (let i = 0; i < part.length; i++) bytes[at++] = part[i]!
    this.end = at
  }

  /** `price "," size` and the like: short text that changes from frame to frame, as UTF-8. */
  text(part: string): void {
    // No character is more than three bytes for each of its units.
    this.ensure(3 * part.length)
    const bytes = this.bytes
    let at = this.end
    for (let i = 0; i < part.length; i++) {
      const code = part.charCodeAt(i)
      if (code > 0x7f) {
        this.end = at + encoder.encodeInto(part.slice(i), bytes.subarray(at)).written
        return
      }
      bytes[at++] = code
    }
    this.end = at
  }

  /** A copy of what was written since `clear`. */
  copy(): Uint8Array {
    return this.bytes.slice(0, this.end)
  }

  /**
   * Decimal text of `scaled * 10^-decimals`, for 0 <= scaled < 2^53: canonical, or with all its
   * decimals.
   */
  decimal(scaled: number, decimals: number, keepsZeros = false): void {
    const digits = this.#digits
    let high = Math.floor(scaled / 1e7)
    let low = (scaled - high * 1e7) | 0
    let count = 0
    while (count < 7 && (low > 0 || high > 0)) {
      const rest = (low / 10) | 0
      digits[count++] = low - rest * 10
      low = rest
    }
    while (high > 0) {
      const rest = Math.floor(high / 10)
      digits[count++] = high - rest * 10
      high = rest
    }
    while (count <= decimals) digits[count++] = 0
    let last = 0
    if (!keepsZeros) { while (last < decimals && digits[last] === 0) last++ }
    const bytes = this.bytes
    let at = this.end
    for (let i = count - 1; i >= decimals; i--) bytes[at++] = ZERO + digits[i]!
    if (last < decimals) {
      bytes[at++] = 46
      for (let i = decimals - 1; i >= last; i--) bytes[at++] = ZERO + digits[i]!
    }
    this.end = at
  }

  /** With all its decimals, and zeros behind them until there are `shown`. */
  fixed(scaled: number, decimals: number, shown: number = decimals): void {
    this.ensure(64)
    this.decimal(scaled, decimals, true)
    if (shown <= decimals) return
    if (decimals === 0) this.bytes[this.end++] = 46
    for (let i = decimals; i < shown; i++) this.bytes[this.end++] = ZERO
  }
}
