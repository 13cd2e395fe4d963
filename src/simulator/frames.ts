/** Writes Coinbase frames as bytes, because a fast exchange must not make a string per frame. */
import { BID } from '../core/changes.ts'
import type { Market } from './market.ts'

const ZERO = 48

function ascii(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new TextEncoder().encode(text))
}

const FRAME_HEAD = ascii('{"channel":"l2_data","timestamp":"')
const SEQUENCE = ascii('","sequence_num":')
const EVENTS_UPDATE = ascii(',"events":[{"type":"update","product_id":"')
const EVENTS_SNAPSHOT = ascii(',"events":[{"type":"snapshot","product_id":"')
const UPDATES = ascii('","updates":[')
const BID_ITEM = ascii('{"side":"bid","event_time":"')
const OFFER_ITEM = ascii('{"side":"offer","event_time":"')
const PRICE = ascii('","price_level":"')
const QUANTITY = ascii('","new_quantity":"')
const ITEM_END = ascii('"}')
const FRAME_END = ascii(']}]}')

/** `2026-08-24T22:34:13` */
function secondText(second: number): string {
  return new Date(second * 1000).toISOString().slice(0, 19)
}

/** RFC 3339 with nanoseconds, as the gateway stamps its frames. */
export function timestampText(nowMs: number, decimals = 9): string {
  const ms = Math.floor(nowMs)
  const second = Math.floor(ms / 1000)
  const nanos = (ms - second * 1000) * 1e6 + Math.floor((nowMs - ms) * 1e6)
  return `${secondText(second)}.${String(nanos).padStart(9, '0').slice(0, decimals)}Z`
}

/** A growing buffer; one per exchange. */
class Writer {
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

  /** Canonical decimal text of `scaled * 10^-decimals`, for 0 <= scaled < 2^53. */
  decimal(scaled: number, decimals: number): void {
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
    while (last < decimals && digits[last] === 0) last++
    const bytes = this.bytes
    let at = this.end
    for (let i = count - 1; i >= decimals; i--) bytes[at++] = ZERO + digits[i]!
    if (last < decimals) {
      bytes[at++] = 46
      for (let i = decimals - 1; i >= last; i--) bytes[at++] = ZERO + digits[i]!
    }
    this.end = at
  }
}

/**
 * Encodes a frame of one product once and stamps it for each connection: `begin…`, any `level`s,
 * `finish`, then `stamped` per connection.
 */
export class FrameEncoder {
  readonly #writer = new Writer()
  #timestamp = new Uint8Array(0)
  #event = new Uint8Array(0)
  #stampedMs = NaN
  #first = true
  #priceDecimals = 0
  #sizeDecimals = 0
  #priceStep = 1
  #sizeStep = 1

  begin(market: Market, wireSymbol: Uint8Array, snapshot: boolean, nowMs: number): void {
    if (nowMs !== this.#stampedMs) {
      this.#stampedMs = nowMs
      this.#timestamp = ascii(timestampText(nowMs))
      this.#event = ascii(timestampText(Math.max(0, nowMs - 3.1), 6))
    }
    const product = market.product
    this.#priceDecimals = product.priceDecimals
    this.#sizeDecimals = product.sizeDecimals
    this.#priceStep = product.priceStep
    this.#sizeStep = product.sizeStep
    this.#first = true
    const writer = this.#writer
    writer.end = 0
    writer.raw(snapshot ? EVENTS_SNAPSHOT : EVENTS_UPDATE)
    writer.raw(wireSymbol)
    writer.raw(UPDATES)
  }

  level(side: number, ticks: number, lots: number): void {
    const writer = this.#writer
    writer.ensure(256)
    if (this.#first) this.#first = false
    else writer.bytes[writer.end++] = 44
    writer.raw(side === BID ? BID_ITEM : OFFER_ITEM)
    writer.raw(this.#event)
    writer.raw(PRICE)
    writer.decimal(ticks * this.#priceStep, this.#priceDecimals)
    writer.raw(QUANTITY)
    writer.decimal(lots * this.#sizeStep, this.#sizeDecimals)
    writer.raw(ITEM_END)
  }

  finish(): void {
    this.#writer.ensure(16)
    this.#writer.raw(FRAME_END)
  }

  /** The finished frame under a sequence; the caller owns the bytes. */
  stamped(sequence: number): Uint8Array {
    const writer = this.#writer
    const body = writer.end
    const timestamp = this.#timestamp
    let digits = 1
    for (let limit = 10; sequence >= limit; limit *= 10) digits++
    const head = FRAME_HEAD.length + timestamp.length + SEQUENCE.length
    const frame = new Uint8Array(head + digits + body)
    frame.set(FRAME_HEAD, 0)
    frame.set(timestamp, FRAME_HEAD.length)
    frame.set(SEQUENCE, FRAME_HEAD.length + timestamp.length)
    let rest = sequence
    for (let i = head + digits - 1; i >= head; i--) {
      const tenth = Math.floor(rest / 10)
      frame[i] = ZERO + rest - tenth * 10
      rest = tenth
    }
    frame.set(writer.bytes.subarray(0, body), head + digits)
    return frame
  }
}
