/** Coinbase Exchange as far as the contract suite needs it, by the exchange's documentation. */
import assert from 'node:assert/strict'
import { coinbaseexchange } from '../../src/exchanges/coinbaseexchange.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, type NaiveBook, pricesOf } from './listener.ts'

const encoder = new TextEncoder()

const instruments = [
  { symbol: 'BTC/USD', wireSymbol: 'BTC-USD', priceDecimals: 2, sizeDecimals: 8 },
  { symbol: 'SHIB/USD', wireSymbol: 'SHIB-USD', priceDecimals: 8, sizeDecimals: 0 },
  { symbol: 'PEPE/BTC', wireSymbol: 'PEPE-BTC', priceDecimals: 16, sizeDecimals: 1 },
  { symbol: 'ETH/USDC', wireSymbol: 'ETH-USDC', priceDecimals: 2, sizeDecimals: 8 },
]

/** A whole book in the exchange's own spelling. */
export function snapshotText(
  product: string,
  asks: readonly (readonly [string, string])[],
  bids: readonly (readonly [string, string])[],
): string {
  return JSON.stringify({
    type: 'snapshot',
    product_id: product,
    asks,
    bids,
    time: '2026-08-24T22:34:13.790123Z',
  })
}

/** Changes in the exchange's own spelling. */
export function updateText(
  product: string,
  levels: readonly WireLevel[],
  time = '2026-08-24T22:34:13.790123Z',
): string {
  const changes = levels.map(([side, price, size]) => [
    side === 'bid' ? 'buy' : 'sell',
    price,
    size,
  ])
  return JSON.stringify({ type: 'l2update', product_id: product, changes, time })
}

class CoinbaseExchangeModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  readonly #subscribed = new Map<string, Set<number>>()
  #beats = 0

  receive(text: string): void {
    const { type, channels, product_ids: ids } = JSON.parse(text) as {
      type: string
      channels: string[]
      product_ids: string[]
    }
    assert.ok(type === 'subscribe' || type === 'unsubscribe', `unknown request ${type}`)
    assert.ok(ids.length > 0 && channels.length > 0)
    for (const channel of channels) {
      assert.ok(channel === 'level2_batch' || channel === 'heartbeat', `channel ${channel}`)
      const subscribed = this.#subscribed.get(channel) ?? new Set()
      this.#subscribed.set(channel, subscribed)
      for (const id of ids) {
        const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === id)
        assert.ok(index >= 0, `unknown product ${id}`)
        if (type === 'unsubscribe') {
          subscribed.delete(index)
        } else if (!subscribed.has(index)) {
          subscribed.add(index)
          if (channel === 'level2_batch') this.#snapshot(index)
        }
      }
    }
    // The acknowledgement comes behind the first data.
    this.#acknowledge()
  }

  change(index: number, levels: readonly WireLevel[]): void {
    for (const [side, price, size] of levels) applyLevel(this.#books[index], side, price, size)
    if (this.#subscribed.get('level2_batch')?.has(index) !== true) return
    this.#push('delta', index, updateText(instruments[index].wireSymbol, levels))
  }

  idle(): void {
    for (const index of this.#subscribed.get('heartbeat') ?? []) {
      this.#control({
        type: 'heartbeat',
        sequence: 90 + this.#beats++,
        last_trade_id: 20,
        product_id: instruments[index].wireSymbol,
        time: '2026-08-24T22:34:14.000000Z',
      })
    }
  }

  unknown(): void {
    this.#control({ type: 'weather', product_id: 'BTC-USD', sun: true })
  }

  delist(index: number): void {
    for (const subscribed of this.#subscribed.values()) subscribed.delete(index)
    this.#acknowledge()
  }

  #snapshot(index: number): void {
    const book = this.#books[index]
    const side = (name: 'bid' | 'ask') =>
      pricesOf(book, name).map((price) => [price, book.get(`${name} ${price}`)!] as const)
    const text = snapshotText(instruments[index].wireSymbol, side('ask'), side('bid'))
    this.#push('snapshot', index, text)
  }

  #acknowledge(): void {
    const channels = [...this.#subscribed].filter(([, products]) => products.size > 0)
      .map(([name, products]) => ({
        name,
        product_ids: [...products].map((index) => instruments[index].wireSymbol),
      }))
    this.#control({ type: 'subscriptions', channels })
  }

  #control(message: unknown): void {
    this.#push('control', -1, JSON.stringify(message))
  }

  #push(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map((book) => new Map(book))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

export const coinbaseexchangeFixture: Fixture = {
  adapter: coinbaseexchange,
  instruments,
  depth: 0,
  offGrid: true,
  connect: () => new CoinbaseExchangeModel(),
  limited: () => '{"type":"error","message":"rate limit exceeded"}',
  errors: [
    {
      text: '{"type":"error","message":"Failed to subscribe",' +
        '"reason":"SHIB-USD is not a valid product"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: 'SHIB-USD is not a valid product',
    },
    {
      text: '{"type":"error","message":"ETH-USDC is delisted"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 3,
      quote: 'ETH-USDC is delisted',
    },
    {
      text: '{"type":"error","message":"Failed to subscribe",' +
        '"reason":"level2, level3, and full channels now require authentication."}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'level2, level3, and full channels now require authentication.',
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
