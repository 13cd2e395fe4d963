/** How Bybit spells the frames of a book, byte by byte. */
import { ASK, BID } from '../core/changes.ts'
import type { BookUpdate } from './book-update.ts'
import { ascii, Writer } from './writer.ts'

const TOPIC_HEAD = ascii('{"topic":"')
const TS = ascii('","ts":')
const DELTA = ascii(',"type":"delta","data":{"s":"')
const SNAPSHOT = ascii(',"type":"snapshot","data":{"s":"')
const BIDS = ascii('","b":[')
const ASKS = ascii('],"a":[')
const UPDATE_ID = ascii('],"u":')
const LEVEL = ascii('["')
const SIZE = ascii('","')
const LEVEL_END = ascii('"]')
const COMMA = 0x2c

export class FrameEncoder {
  readonly #writer = new Writer()

  /** A view of a buffer that the next call overwrites. */
  encode(update: BookUpdate, u: number, seq: number): Uint8Array {
    const { stream, market, isSnapshot, nowMs } = update
    const { wireSymbol } = market.product
    const writer = this.#writer
    const ts = Math.floor(nowMs)
    writer.end = 0
    writer.ensure(512)
    writer.raw(TOPIC_HEAD)
    writer.text(`${stream.channel.key}.${wireSymbol}`)
    writer.raw(TS)
    writer.text(String(ts))
    writer.raw(isSnapshot ? SNAPSHOT : DELTA)
    writer.text(wireSymbol)
    writer.raw(BIDS)
    this.#levels(update, BID)
    writer.raw(ASKS)
    this.#levels(update, ASK)
    writer.raw(UPDATE_ID)
    writer.text(`${u},"seq":${seq}},"cts":${ts - 1}}`)
    return writer.bytes.subarray(0, writer.end)
  }

  #levels(update: BookUpdate, which: typeof BID | typeof ASK): void {
    const writer = this.#writer
    const { count, side, ticks, lots, market } = update
    const { priceStep, priceDecimals, sizeStep, sizeDecimals, segment } = market.product
    let isFirst = true
    for (let i = 0; i < count; i++) {
      if (side[i] !== which) continue
      writer.ensure(256)
      if (isFirst) isFirst = false
      else writer.bytes[writer.end++] = COMMA
      writer.raw(LEVEL)
      // Contracts are quoted with all decimals of their tick.
      if (segment === 'spot') writer.decimal(ticks[i]! * priceStep, priceDecimals)
      else writer.text(update.fixedPrice(i))
      writer.raw(SIZE)
      writer.decimal(lots[i]! * sizeStep, sizeDecimals)
      writer.raw(LEVEL_END)
    }
    writer.ensure(256)
  }
}
