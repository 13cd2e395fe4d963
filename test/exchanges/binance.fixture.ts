/** Binance spot and USD-M as far as the contract suite needs them, by their documentation. */
import assert from 'node:assert/strict'
import { compareDecimals } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Adapter } from '../../src/exchanges/adapter.ts'
import { binance, binanceusdm } from '../../src/exchanges/binance.ts'
import type { ErrorReply, Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, type NaiveBook } from './listener.ts'

const encoder = new TextEncoder()

/** Decimals of very different sizes. */
const spotInstruments = [
  { symbol: 'BTC/USDT', wireSymbol: 'BTCUSDT', priceDecimals: 2, sizeDecimals: 5 },
  { symbol: 'SHIB/USDT', wireSymbol: 'SHIBUSDT', priceDecimals: 8, sizeDecimals: 0 },
  { symbol: 'ETH/BTC', wireSymbol: 'ETHBTC', priceDecimals: 5, sizeDecimals: 4 },
  { symbol: 'W/ETHBTC', wireSymbol: 'WETHBTC', priceDecimals: 12, sizeDecimals: 1 },
]
const usdmInstruments = [
  { symbol: 'BTC/USDT:USDT', wireSymbol: 'BTCUSDT', priceDecimals: 1, sizeDecimals: 3 },
  { symbol: '1000SATS/USDT:USDT', wireSymbol: '1000SATSUSDT', priceDecimals: 8, sizeDecimals: 0 },
  {
    symbol: 'BTC/USDT:USDT-261225',
    wireSymbol: 'BTCUSDT_261225',
    priceDecimals: 0,
    sizeDecimals: 3,
  },
  { symbol: 'ETH/USDC:USDC', wireSymbol: 'ETHUSDC', priceDecimals: 10, sizeDecimals: 8 },
]

/** An event's place in the sequence. */
export interface Ids {
  readonly U: number
  readonly u: number
  /** USD-M alone. */
  readonly pu?: number
}

function side(levels: readonly WireLevel[], wanted: string): string[][] {
  return levels.filter(([each]) => each === wanted).map(([, price, size]) => [price, size])
}

/** A `depthUpdate` in the exchange's own spelling. */
export function eventText(wireSymbol: string, ids: Ids, levels: readonly WireLevel[]): string {
  const { U, u, pu } = ids
  return JSON.stringify({
    e: 'depthUpdate',
    E: 1_795_312_800_123,
    ...(pu === undefined ? {} : { T: 1_795_312_800_120 }),
    s: wireSymbol,
    U,
    u,
    ...(pu === undefined ? {} : { pu }),
    b: side(levels, 'bid'),
    a: side(levels, 'ask'),
  })
}

/** The answer to a depth request, best levels first. `times`: as USD-M has it. */
export function depthText(
  lastUpdateId: number,
  levels: readonly WireLevel[],
  limit = 5000,
  times = false,
): string {
  const sorted = [...levels].sort(([, a], [, b]) => compareDecimals(a, b))
  return JSON.stringify({
    lastUpdateId,
    ...(times ? { E: 1_795_312_800_100, T: 1_795_312_800_090 } : {}),
    bids: side(sorted.toReversed(), 'bid').slice(0, limit),
    asks: side(sorted, 'ask').slice(0, limit),
  })
}

class BinanceModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #instruments: readonly Instrument[]
  readonly #chained: boolean
  readonly #books: NaiveBook[]
  readonly #last: number[]
  readonly #subscribed = new Set<number>()
  /** USD-M counts the changes of all its symbols in one row. */
  #shared = 1_000

  constructor(instruments: readonly Instrument[], chained: boolean) {
    this.#instruments = instruments
    this.#chained = chained
    this.#books = instruments.map(() => new Map())
    this.#last = instruments.map((_, index) => chained ? ++this.#shared : 500 * index)
  }

  receive(text: string): void {
    const { method, params, id } = JSON.parse(text) as {
      method: string
      params: string[]
      id: number
    }
    assert.equal(method, 'SUBSCRIBE')
    assert.ok(Number.isSafeInteger(id) && params.length > 0)
    for (const stream of params) {
      const match = /^([a-z0-9_]+)@depth@100ms$/.exec(stream)
      assert.ok(match !== null, `unknown stream ${stream}`)
      const index = this.#instruments.findIndex(({ wireSymbol }) =>
        wireSymbol.toLowerCase() === match[1]
      )
      // A stream that does not exist is acknowledged as well.
      if (index >= 0) this.#subscribed.add(index)
    }
    this.#push('control', -1, JSON.stringify({ result: null, id }))
  }

  change(index: number, levels: readonly WireLevel[]): void {
    const book = this.#books[index]
    for (const [side, price, size] of levels) applyLevel(book, side, price, size)
    const last = this.#last[index]
    // Every event has at least one id, and some ids are of changes that undid each other.
    const span = levels.length
    const U = this.#chained ? (this.#shared += 3) : last + 1
    const u = U + span
    this.#shared = Math.max(this.#shared, u)
    this.#last[index] = u
    if (!this.#subscribed.has(index)) return
    const ids = this.#chained ? { U, u, pu: last } : { U, u }
    this.#push('delta', index, eventText(this.#instruments[index].wireSymbol, ids, levels))
  }

  /** What keeps a connection alive are pings of the protocol below: no frames. */
  idle(): void {}

  unknown(): void {
    this.#push('control', -1, '{"e":"weather","E":1795312800123,"sun":true}')
  }

  retire(): void {
    this.#push('control', -1, '{"e":"serverShutdown","E":1795312800123}')
  }

  rest(url: string): string {
    const { origin, pathname, searchParams } = new URL(url)
    assert.equal(
      origin + pathname,
      this.#chained
        ? 'https://fapi.binance.com/fapi/v1/depth'
        : 'https://api.binance.com/api/v3/depth',
    )
    const limit = Number(searchParams.get('limit'))
    const limits = this.#chained ? [5, 10, 20, 50, 100, 500, 1000] : [100, 500, 1000, 5000]
    assert.ok(limits.includes(limit), `limit ${limit}`)
    const symbol = searchParams.get('symbol')
    const index = this.#instruments.findIndex(({ wireSymbol }) => wireSymbol === symbol)
    assert.ok(index >= 0, `unknown symbol ${symbol}`)
    const levels = [...this.#books[index]].map(([key, size]): WireLevel => {
      const [side, price] = key.split(' ')
      return [side as 'bid' | 'ask', price, size]
    })
    return depthText(this.#last[index], levels, limit, this.#chained)
  }

  #push(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map((book) => new Map(book))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

/** The exchange has two spellings of an error. */
function errors(second: string, fourth: string): ErrorReply[] {
  return [
    {
      text: `{"code":2,"msg":"Invalid request: no stream ${second}@depth@100ms","id":7}`,
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: `Invalid request: no stream ${second}@depth@100ms`,
    },
    {
      // The third instrument's name may end like this one.
      text: `{"error":{"code":-1121,"msg":"Invalid symbol: ${fourth}@depth@100ms"},"id":null}`,
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 3,
      quote: `Invalid symbol: ${fourth}@depth@100ms`,
    },
    {
      text: '{"error":{"code":3,"msg":"Too many requests"},"id":1}',
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'Too many requests',
    },
    {
      text: '{"code":1,"msg":"Invalid value type: expected Boolean"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'Invalid value type: expected Boolean',
    },
    {
      // Not ours, though it ends like one of ours.
      text: `{"code":2,"msg":"Invalid request: no stream x${second}@depth@100ms","id":8}`,
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: `no stream x${second}@depth@100ms`,
    },
  ]
}

function fixtureOf(adapter: Adapter, instruments: readonly Instrument[]): Fixture {
  return {
    adapter,
    instruments,
    depth: 400,
    offGrid: true,
    blind: { foreignSnapshot: 'no symbol in it, and a quiet market sends nothing to bridge it' },
    connect: () => new BinanceModel(instruments, adapter === binanceusdm),
    limited: (refused) =>
      `{"error":{"code":3,"msg":"Too many requests"},"id":${JSON.parse(refused).id}}`,
    errors: errors(
      instruments[1].wireSymbol.toLowerCase(),
      instruments[3].wireSymbol.toLowerCase(),
    ),
  }
}

export const binanceFixture: Fixture = fixtureOf(binance, spotInstruments)
export const binanceusdmFixture: Fixture = fixtureOf(binanceusdm, usdmInstruments)
