/** Writes Coinbase frames as bytes, because a fast exchange must not make a string per frame. */
import { BID } from '../core/changes.ts'
import { timestampText } from './clock-text.ts'
import type { Market } from './market.ts'
import { ascii, Writer } from './writer.ts'

const ZERO = 48

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

  /** Gives the part that all connections share, valid until the next `begin`. */
  finish(): Uint8Array {
    const writer = this.#writer
    writer.ensure(16)
    writer.raw(FRAME_END)
    return writer.bytes.subarray(0, writer.end)
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
