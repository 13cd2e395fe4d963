/** BitMEX as far as the contract suite needs it, by the exchange's documentation. */
import assert from 'node:assert/strict'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import { bitmex } from '../../src/exchanges/bitmex.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, type NaiveBook } from './listener.ts'

const encoder = new TextEncoder()

const instruments = [
  { symbol: 'BTC/USD:BTC', wireSymbol: 'XBTUSD', priceDecimals: 1, sizeDecimals: 0 },
  { symbol: 'XRP/BTC:BTC-261225', wireSymbol: 'XRPZ26', priceDecimals: 8, sizeDecimals: 0 },
  { symbol: 'BTC/USDT', wireSymbol: 'XBT_USDT', priceDecimals: 2, sizeDecimals: 0 },
  { symbol: 'TRX/BTC:BTC-261225', wireSymbol: 'TRXZ26', priceDecimals: 10, sizeDecimals: 2 },
]

/** A row of the table; what is absent is not sent. */
export interface Row {
  readonly symbol: string
  readonly id: number
  readonly side: 'Buy' | 'Sell'
  /** The token on the wire. */
  readonly size?: string
  readonly price?: string
  readonly timestamp?: string
}

export function rowText({ symbol, id, side, size, price, timestamp }: Row): string {
  return `{"symbol":"${symbol}","id":${id},"side":"${side}"` +
    (size === undefined ? '' : `,"size":${size}`) +
    (price === undefined ? '' : `,"price":${price}`) +
    (timestamp === undefined ? '' : `,"timestamp":"${timestamp}"`) + '}'
}

export function changeText(action: 'insert' | 'update' | 'delete', rows: readonly Row[]): string {
  return `{"table":"orderBookL2","action":"${action}","data":[${rows.map(rowText).join(',')}]}`
}

export function partialText(symbol: string, rows: readonly Row[]): string {
  return '{"table":"orderBookL2","action":"partial","keys":["symbol","id","side"],' +
    '"types":{"symbol":"symbol","id":"long","side":"symbol","size":"long","price":"float"},' +
    '"foreignKeys":{"symbol":"instrument","side":"side"},' +
    `"attributes":{"symbol":"parted","id":"sorted"},"filter":{"symbol":"${symbol}"},` +
    `"data":[${rows.map(rowText).join(',')}]}`
}

/** A number as the exchange writes it: small ones with an exponent. */
export function numberToken(text: string): string {
  const canonical = canonicalDecimal(text)!
  const small = /^0\.(0{5,})(\d)(\d*)$/.exec(canonical)
  if (small === null) return canonical
  return `${small[2]}${small[3] === '' ? '' : `.${small[3]}`}e-${small[1].length + 1}`
}

class BitmexModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  /** By price: no two levels share one, whatever side they are on. */
  readonly #ids = instruments.map(() => new Map<string, number>())
  readonly #subscribed = new Set<number>()
  #nextId = 8_796_780_750

  constructor() {
    this.#control({ info: 'Welcome to the BitMEX Realtime API.', limit: { remaining: 39 } })
  }

  receive(text: string): void {
    if (text === 'ping') {
      this.#push('control', -1, 'pong')
      return
    }
    const request = JSON.parse(text) as { op: string; args: string[] }
    const { op, args } = request
    assert.ok(op === 'subscribe' || op === 'unsubscribe', `unknown request ${op}`)
    for (const topic of args) {
      const [table, symbol] = topic.split(':')
      assert.equal(table, 'orderBookL2')
      const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === symbol)
      assert.ok(index >= 0, `unknown symbol ${symbol}`)
      if (op === 'subscribe' ? this.#subscribed.has(index) : !this.#subscribed.has(index)) {
        const state = op === 'subscribe' ? 'already' : 'not'
        const error = `You are ${state} subscribed to this topic: ${topic}`
        this.#control({ status: 400, error, meta: {}, request })
        continue
      }
      this.#control({ success: true, [op]: topic, request })
      if (op === 'unsubscribe') {
        this.#subscribed.delete(index)
        continue
      }
      this.#subscribed.add(index)
      const rows = [...this.#books[index]].map(([key, size]) => {
        const [side, price] = key.split(' ')
        return { ...this.#row(index, side, price, size), price: numberToken(price) }
      })
      this.#push('snapshot', index, partialText(symbol, rows))
    }
  }

  change(index: number, levels: readonly WireLevel[]): void {
    const book = this.#books[index]
    for (const [side, price, size] of levels) {
      const key = `${side} ${canonicalDecimal(price)}`
      const isPresent = book.has(key)
      const isDelete = canonicalDecimal(size) === '0'
      if (isDelete && !isPresent) continue
      const row = this.#row(index, side, price, size)
      applyLevel(book, side, price, size)
      if (!this.#subscribed.has(index)) continue
      const text = isDelete
        ? changeText('delete', [{ symbol: row.symbol, id: row.id, side: row.side }])
        : isPresent
        ? changeText('update', [row])
        : changeText('insert', [{ ...row, price: numberToken(price) }])
      this.#push('delta', index, text)
    }
  }

  idle(): void {}

  unknown(): void {
    this.#control({ table: 'weather', action: 'insert', data: [{ symbol: 'XBTUSD', sun: true }] })
  }

  #row(index: number, side: string, price: string, size: string): Row {
    const ids = this.#ids[index]
    const name = `${side} ${canonicalDecimal(price)}`
    const id = ids.get(name) ?? this.#nextId++
    ids.set(name, id)
    return {
      symbol: instruments[index].wireSymbol,
      id,
      side: side === 'bid' ? 'Buy' : 'Sell',
      size: numberToken(size),
    }
  }

  #control(message: unknown): void {
    this.#push('control', -1, JSON.stringify(message))
  }

  #push(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map((book) => new Map(book))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

const request = (...topics: string[]) => ({ op: 'subscribe', args: topics })

export const bitmexFixture: Fixture = {
  adapter: bitmex,
  instruments,
  depth: 0,
  offGrid: true,
  connect: () => new BitmexModel(),
  limited: (refused) =>
    `{"status":429,"error":"Rate limit exceeded, retry in 3 seconds.","meta":{"retryAfter":3},"request":${refused}}`,
  errors: [
    {
      text: JSON.stringify({
        status: 400,
        error: 'Unknown or expired symbol: XRPZ26',
        meta: {},
        request: request('orderBookL2:XBTUSD', 'orderBookL2:XRPZ26'),
      }),
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: 'Unknown or expired symbol: XRPZ26',
    },
    {
      text: JSON.stringify({
        status: 400,
        error: 'Symbol is not open.',
        meta: {},
        request: request('orderBookL2:XBT_USDT'),
      }),
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 2,
      quote: 'Symbol is not open.',
    },
    {
      text: '{"status":429,"error":"Rate limit exceeded, retry in 3 seconds.",' +
        '"meta":{"retryAfter":3},"request":{}}',
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'Rate limit exceeded, retry in 3 seconds.',
    },
    {
      text: '{"status":503,"error":"The system is currently overloaded.","meta":{}}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'The system is currently overloaded.',
    },
    {
      // Not ours, though it begins like one of ours.
      text: JSON.stringify({
        status: 400,
        error: 'Unknown or expired symbol: XBTUSDX',
        request: request('orderBookL2:XBTUSDX'),
      }),
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'XBTUSDX',
    },
  ],
}
