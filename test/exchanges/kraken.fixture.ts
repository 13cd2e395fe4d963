/** Kraken's WebSocket API v2 as far as the contract suite needs it, by its documentation. */
import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import { kraken } from '../../src/exchanges/kraken.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, bestOf, type NaiveBook, pricesOf } from './listener.ts'

const encoder = new TextEncoder()

const instruments: readonly Instrument[] = [
  { symbol: 'ETH/USD', wireSymbol: 'ETH/USD', priceDecimals: 2, sizeDecimals: 8 },
  { symbol: 'PEPE/USD', wireSymbol: 'PEPE/USD', priceDecimals: 9, sizeDecimals: 1 },
  { symbol: 'BTC/EUR', wireSymbol: 'BTC/EUR', priceDecimals: 1, sizeDecimals: 8 },
]

/** A decimal with exactly so many places, as the exchange writes it. */
export function fixed(text: string, decimals: number): string {
  const [whole, fraction = ''] = canonicalDecimal(text)!.split('.')
  assert.ok(fraction.length <= decimals, `${text} has more than ${decimals} decimals`)
  return decimals === 0 ? whole : `${whole}.${fraction.padEnd(decimals, '0')}`
}

/** The exchange's checksum of a book: asks, then bids, ten each, from the texts on the wire. */
export function checksumOf(book: NaiveBook, instrument: Instrument): number {
  const digits = (text: string, decimals: number) =>
    fixed(text, decimals).replace('.', '').replace(/^0+/, '')
  let text = ''
  for (const side of ['ask', 'bid'] as const) {
    for (const price of pricesOf(book, side).slice(0, 10)) {
      text += digits(price, instrument.priceDecimals)
      text += digits(book.get(`${side} ${price}`)!, instrument.sizeDecimals)
    }
  }
  return crc32(text)
}

/** A frame of `book` in the exchange's own spelling. */
export function bookText(
  type: 'snapshot' | 'update',
  instrument: Instrument,
  levels: readonly WireLevel[],
  checksum: number,
  timestamp: string | null = '2026-08-24T22:21:57.110183Z',
): string {
  const { wireSymbol, priceDecimals, sizeDecimals } = instrument
  const list = (wanted: string) =>
    levels.filter(([side]) => side === wanted).map(([, price, size]) =>
      `{"price":${fixed(price, priceDecimals)},"qty":${fixed(size, sizeDecimals)}}`
    ).join(',')
  return `{"channel":"book","type":"${type}","data":[{"symbol":"${wireSymbol}",` +
    `"bids":[${list('bid')}],"asks":[${list('ask')}],"checksum":${checksum}` +
    `${timestamp === null ? '' : `,"timestamp":"${timestamp}"`}}]}`
}

export function levelsIn(book: NaiveBook): WireLevel[] {
  return (['bid', 'ask'] as const).flatMap((side) =>
    pricesOf(book, side).map((price): WireLevel => [side, price, book.get(`${side} ${price}`)!])
  )
}

interface Request {
  readonly method: string
  readonly params?: {
    readonly channel: string
    readonly symbol: readonly string[]
    readonly depth: number
    readonly snapshot?: boolean
  }
}

const TIMES = '"time_in":"2026-08-24T22:21:56.000001Z","time_out":"2026-08-24T22:21:56.000002Z"'

class KrakenModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  /** By instrument: the subscribed depth. */
  readonly #depths = new Map<number, number>()
  #microseconds = 0

  constructor() {
    // A number that no double holds.
    this.#control(
      '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online",' +
        '"api_version":"v2","connection_id":17843232920108168701}]}',
    )
  }

  receive(text: string): void {
    const { method, params } = JSON.parse(text) as Request
    if (method === 'ping') return this.#control(`{"method":"pong",${TIMES}}`)
    assert.ok(method === 'subscribe' || method === 'unsubscribe', `unknown method ${method}`)
    assert.ok(params !== undefined)
    assert.equal(params.channel, 'book')
    assert.ok([10, 25, 100, 500, 1000].includes(params.depth), `depth ${params.depth}`)
    assert.ok(params.symbol.length > 0 && params.symbol.length <= 100)
    for (const symbol of params.symbol) {
      const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === symbol)
      if (index < 0) this.#refuse(method, symbol, `Currency pair not supported ${symbol}`)
      else if (method === 'subscribe') this.#subscribe(index, params.depth)
      else this.#unsubscribe(index, params.depth)
    }
  }

  #subscribe(index: number, depth: number): void {
    const { wireSymbol } = instruments[index]
    if (this.#depths.has(index)) return this.#refuse('subscribe', wireSymbol, 'Already subscribed')
    this.#depths.set(index, depth)
    this.#control(
      `{"method":"subscribe","result":{"channel":"book","depth":${depth},"snapshot":true,` +
        `"symbol":"${wireSymbol}"},"success":true,${TIMES}}`,
    )
    this.#data('snapshot', index, levelsIn(this.#window(index)))
  }

  #unsubscribe(index: number, depth: number): void {
    const { wireSymbol } = instruments[index]
    if (this.#depths.get(index) !== depth) {
      return this.#refuse('unsubscribe', wireSymbol, 'Subscription Not Found')
    }
    this.#depths.delete(index)
    this.#control(
      `{"method":"unsubscribe","result":{"channel":"book","depth":${depth},` +
        `"symbol":"${wireSymbol}"},"success":true,${TIMES}}`,
    )
  }

  #refuse(method: string, symbol: string, error: string): void {
    this.#control(
      `{"error":"${error}","method":"${method}","success":false,"symbol":"${symbol}",${TIMES}}`,
    )
  }

  change(index: number, levels: readonly WireLevel[]): void {
    const before = this.#window(index)
    for (const [side, price, size] of levels) applyLevel(this.#books[index], side, price, size)
    if (!this.#depths.has(index)) return
    const after = this.#window(index)
    // Nothing is told of levels beyond the depth; what comes into sight is told as if it were new.
    const told = levels.filter(([side, price, size]) =>
      canonicalDecimal(size) === '0' || after.has(`${side} ${canonicalDecimal(price)}`)
    )
    for (const level of levelsIn(after)) {
      const [side, price] = level
      const isTold = told.some(([s, p]) => s === side && canonicalDecimal(p) === price)
      if (!before.has(`${side} ${price}`) && !isTold) told.push(level)
    }
    if (told.length > 0) this.#data('update', index, told)
  }

  idle(): void {
    this.#control('{"channel":"heartbeat"}')
  }

  unknown(): void {
    this.#control('{"channel":"weather","type":"update","data":[{"symbol":"ETH/USD","sun":1}]}')
  }

  #window(index: number): NaiveBook {
    return bestOf(this.#books[index], this.#depths.get(index) ?? Infinity)
  }

  #data(type: 'snapshot' | 'update', index: number, levels: readonly WireLevel[]): void {
    const instrument = instruments[index]
    const checksum = checksumOf(this.#books[index], instrument)
    const fraction = String(this.#microseconds++).padStart(6, '0')
    const time = `2026-08-24T22:21:57.${fraction}Z`
    const text = bookText(type, instrument, levels, checksum, time)
    this.#push(type === 'snapshot' ? 'snapshot' : 'delta', index, text)
  }

  #control(text: string): void {
    this.#push('control', -1, text)
  }

  #push(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map((_, each) => this.#window(each))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

export const krakenFixture: Fixture = {
  adapter: kraken,
  instruments,
  depth: 10,
  // The counts of decimals on the wire are fixed, and part of the checksum.
  offGrid: false,
  blind: { below: 10 },
  instrument: (i) => ({
    symbol: `A${i}/USD`,
    wireSymbol: `A${i}/USD`,
    priceDecimals: 2,
    sizeDecimals: 8,
  }),
  connect: () => new KrakenModel(),
  limited: () => `{"error":"Exceeded msg rate","method":"subscribe","success":false,${TIMES}}`,
  errors: [
    {
      text: '{"error":"Currency pair not supported PEPE/USD","method":"subscribe",' +
        `"success":false,"symbol":"PEPE/USD",${TIMES}}`,
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: 'Currency pair not supported PEPE/USD',
    },
    {
      text: `{"error":"Market in cancel_only mode: BTC/EUR","method":"subscribe","success":false}`,
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 2,
      quote: 'Market in cancel_only mode: BTC/EUR',
    },
    {
      text: `{"error":"Exceeded msg rate","method":"subscribe","success":false,${TIMES}}`,
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'Exceeded msg rate',
    },
    {
      text: `{"error":"Malformed request","success":false,${TIMES}}`,
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'Malformed request',
    },
    {
      // Not ours, though it begins like one of ours.
      text: '{"error":"Currency pair not supported ETH/USDT","method":"subscribe",' +
        '"success":false,"symbol":"ETH/USDT"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'Currency pair not supported ETH/USDT',
    },
  ],
}
