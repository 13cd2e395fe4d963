/** Coinbase Advanced Trade as far as the contract suite needs it, by the exchange's documentation. */
import assert from 'node:assert/strict'
import { coinbase } from '../../src/exchanges/coinbase.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, type NaiveBook } from './listener.ts'

const encoder = new TextEncoder()

/** Decimals of very different sizes; the last one is wanted by the name of its alias. */
const instruments = [
  { symbol: 'BTC/USD', wireSymbol: 'BTC-USD', priceDecimals: 2, sizeDecimals: 8 },
  { symbol: 'SHIB/USD', wireSymbol: 'SHIB-USD', priceDecimals: 8, sizeDecimals: 0 },
  { symbol: 'PEPE/BTC', wireSymbol: 'PEPE-BTC', priceDecimals: 16, sizeDecimals: 1 },
  { symbol: 'ETH/USDC', wireSymbol: 'ETH-USDC', priceDecimals: 2, sizeDecimals: 8 },
]

/** What the exchange calls the products in its data. */
const DATA_IDS = ['BTC-USD', 'SHIB-USD', 'PEPE-BTC', 'ETH-USD']

/** A frame of `l2_data` in the exchange's own spelling. */
export function dataText(
  type: 'snapshot' | 'update',
  product: string,
  sequence: number,
  levels: readonly WireLevel[],
  timestamp = '2026-08-24T22:34:13.793075885Z',
): string {
  const updates = levels.map(([side, price, size]) => ({
    side: side === 'bid' ? 'bid' : 'offer',
    event_time: '2026-08-24T22:34:13.790123Z',
    price_level: price,
    new_quantity: size,
  }))
  return JSON.stringify({
    channel: 'l2_data',
    timestamp,
    sequence_num: sequence,
    events: [{ type, product_id: product, updates }],
  })
}

class CoinbaseModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  readonly #subscribed = new Set<number>()
  #sequence = 0
  #beats = 0

  receive(text: string): void {
    const { type, channel, product_ids: ids = [] } = JSON.parse(text) as {
      type: string
      channel: string
      product_ids?: string[]
    }
    assert.ok(type === 'subscribe' || type === 'unsubscribe', `unknown request ${type}`)
    assert.ok(channel === 'level2' || channel === 'heartbeats', `unknown channel ${channel}`)
    assert.equal(ids.length > 0, channel === 'level2', 'level2 has products, heartbeats none')
    for (const id of ids) {
      const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === id)
      assert.ok(index >= 0, `unknown product ${id}`)
      if (type === 'unsubscribe') {
        this.#subscribed.delete(index)
      } else if (!this.#subscribed.has(index)) {
        this.#subscribed.add(index)
        const levels = [...this.#books[index]].map(([key, size]) => {
          const [side, price] = key.split(' ')
          return [side as 'bid' | 'ask', price, size] as const
        })
        this.#push('snapshot', index, dataText('snapshot', DATA_IDS[index], this.#next(), levels))
      }
    }
    // The acknowledgement comes behind the first data.
    this.#acknowledge()
  }

  #acknowledge(): void {
    const active = { level2: [...this.#subscribed].map((index) => instruments[index].wireSymbol) }
    this.#control('subscriptions', [{ subscriptions: active }])
  }

  change(index: number, levels: readonly WireLevel[]): void {
    for (const [side, price, size] of levels) applyLevel(this.#books[index], side, price, size)
    if (!this.#subscribed.has(index)) return
    this.#push('delta', index, dataText('update', DATA_IDS[index], this.#next(), levels))
  }

  delist(index: number): void {
    this.#subscribed.delete(index)
    this.#acknowledge()
  }

  idle(): void {
    const counter = String(this.#beats++)
    this.#control('heartbeats', [{
      current_time: '2026-08-24 22:34:13.793075885 +0000 UTC m=+1.5',
      heartbeat_counter: counter,
    }])
  }

  unknown(): void {
    this.#control('weather', [{ type: 'update', sun: true }])
  }

  #next(): number {
    return this.#sequence++
  }

  #control(channel: string, events: readonly unknown[]): void {
    const timestamp = '2026-08-24T22:34:13.8Z'
    const text = JSON.stringify({ channel, timestamp, sequence_num: this.#next(), events })
    this.#push('control', -1, text)
  }

  #push(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map((book) => new Map(book))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

export const coinbaseFixture: Fixture = {
  adapter: coinbase,
  instruments,
  depth: 0,
  offGrid: true,
  connect: () => new CoinbaseModel(),
  limited: () => '{"type":"error","message":"rate limit exceeded"}',
  errors: [
    {
      text: '{"type":"error","message":"SHIB-USD is not a valid product"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: 'SHIB-USD is not a valid product',
    },
    {
      // Either name of the book.
      text: '{"type":"error","message":"failed to subscribe","reason":"ETH-USD is delisted"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 3,
      quote: 'ETH-USD is delisted',
    },
    {
      text: '{"type":"error","message":"authentication failure"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'authentication failure',
    },
    {
      // Not ours, though it begins like one of ours.
      text: '{"type":"error","message":"BTC-USDT is not a valid product"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'BTC-USDT is not a valid product',
    },
  ],
}
