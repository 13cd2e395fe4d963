/** Bitfinex v2 as far as the contract suite needs it, by the exchange's documentation. */
import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import { bitfinex } from '../../src/exchanges/bitfinex.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, bestOf, type NaiveBook, pricesOf } from './listener.ts'

const encoder = new TextEncoder()

const instruments = [
  { symbol: 'BTC/USD', wireSymbol: 'tBTCUSD', priceDecimals: 1, sizeDecimals: 8 },
  { symbol: 'SHIB/USD', wireSymbol: 'tSHIB:USD', priceDecimals: 8, sizeDecimals: 2 },
  { symbol: 'XRP/BTC', wireSymbol: 'tXRPBTC', priceDecimals: 9, sizeDecimals: 3 },
  { symbol: 'ETH/USDT:USDT', wireSymbol: 'tETHF0:USTF0', priceDecimals: 2, sizeDecimals: 8 },
]

/** Levels a side of every subscription. */
const LENGTH = 25
const SETTINGS = 32_768 | 65_536 | 131_072

/** A number as the exchange writes it: as JavaScript prints it, as long as that is the same. */
export function token(text: string): string {
  const canonical = canonicalDecimal(text)!
  const printed = String(Number(canonical))
  return canonicalDecimal(printed) === canonical ? printed : canonical
}

/** A level as it stands in a frame. */
export function levelText([side, price, size]: WireLevel, orders = 1): string {
  const sign = side === 'bid' ? '' : '-'
  return canonicalDecimal(size) === '0'
    ? `[${token(price)},0,${sign}1]`
    : `[${token(price)},${orders},${sign}${token(size)}]`
}

/** The checksum of a book as the documentation has it. */
export function checksumText(book: NaiveBook): string {
  const bids = pricesOf(book, 'bid')
  const asks = pricesOf(book, 'ask')
  const parts: string[] = []
  for (let i = 0; i < 25; i++) {
    if (i < bids.length) parts.push(bids[i], book.get(`bid ${bids[i]}`)!)
    if (i < asks.length) parts.push(asks[i], `-${book.get(`ask ${asks[i]}`)!}`)
  }
  return String(crc32(parts.map((part) => String(Number(part))).join(':')) | 0)
}

class BitfinexModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  /** What the subscriptions have told so far. */
  readonly #shown: NaiveBook[] = instruments.map(() => new Map())
  readonly #channels: (number | undefined)[] = instruments.map(() => undefined)
  #isSet = false
  #nextChannel = 10_092
  #sequence = 0
  #changes = 0

  constructor() {
    this.#event({
      event: 'info',
      version: 2,
      serverId: 'e293377e-7bb7-427e-b28c-5db045b2c1d1',
      platform: { status: 1 },
    })
  }

  receive(text: string): void {
    const message = JSON.parse(text) as Record<string, unknown>
    switch (message.event) {
      case 'conf':
        assert.equal(message.flags, SETTINGS)
        this.#isSet = true
        return this.#event({ event: 'conf', status: 'OK', flags: message.flags })
      case 'ping':
        return this.#event({ event: 'pong', ts: 1_767_225_600_000, cid: message.cid })
      case 'subscribe':
        return this.#subscribe(message)
      case 'unsubscribe':
        return this.#unsubscribe(message.chanId)
      default:
        assert.fail(`unknown event ${text}`)
    }
  }

  #subscribe(message: Record<string, unknown>): void {
    assert.ok(this.#isSet, 'settings come first')
    const { event: _, ...asked } = message
    const { symbol, subId, ...rest } = asked
    assert.deepEqual(rest, { channel: 'book', prec: 'P0', freq: 'F0', len: String(LENGTH) })
    assert.equal(typeof subId, 'string')
    const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === symbol)
    assert.ok(index >= 0, `unknown symbol ${symbol}`)
    const pair = String(symbol).slice(1)
    if (this.#channels[index] !== undefined) {
      return this.#event({ ...asked, event: 'error', msg: 'subscribe: dup', code: 10_301, pair })
    }
    // Numbers are used again, and now and then they are not.
    const chanId = index % 2 === 0 ? 232_954 + index : this.#nextChannel++
    this.#channels[index] = chanId
    // Its heart may beat first.
    if (index % 2 === 0) this.#push('control', -1, '"hb"', chanId)
    this.#event({ event: 'subscribed', ...asked, chanId, pair })
    const shown = bestOf(this.#books[index], LENGTH)
    this.#shown[index] = shown
    const levels = [...shown].map(([key, size]) => {
      const [side, price] = key.split(' ')
      return levelText([side as 'bid' | 'ask', price, size], 2)
    })
    this.#push('snapshot', index, `[${levels.join(',')}]`)
  }

  #unsubscribe(chanId: unknown): void {
    const index = this.#channels.indexOf(chanId as number)
    if (index < 0) {
      return this.#event({ event: 'error', msg: 'unsubscribe: invalid', code: 10_400, chanId })
    }
    this.#channels[index] = undefined
    this.#event({ event: 'unsubscribed', status: 'OK', chanId })
  }

  change(index: number, levels: readonly WireLevel[]): void {
    for (const [side, price, size] of levels) {
      applyLevel(this.#books[index], side, price, size)
      this.#tell(index, side)
    }
    if (this.#channels[index] === undefined) return
    if (levels.length === 0) this.#push('delta', index, '"hb"')
    else if (this.#changes++ % 2 === 0) this.#check(index)
  }

  /** What the window lost, then what it gained. */
  #tell(index: number, side: 'bid' | 'ask'): void {
    if (this.#channels[index] === undefined) return
    const shown = this.#shown[index]
    const window: NaiveBook = bestOf(this.#books[index], LENGTH)
    const levels: WireLevel[] = []
    for (const key of shown.keys()) {
      if (key.startsWith(side) && !window.has(key)) levels.push([side, key.slice(4), '0'])
    }
    for (const [key, size] of window) {
      if (key.startsWith(side) && shown.get(key) !== size) levels.push([side, key.slice(4), size])
    }
    for (const level of levels) {
      applyLevel(shown, ...level)
      this.#push('delta', index, levelText(level))
    }
  }

  #check(index: number): void {
    this.#push('delta', index, `"cs",${checksumText(this.#shown[index])}`)
  }

  delist(index: number): void {
    const chanId = this.#channels[index]
    this.#channels[index] = undefined
    this.#event({ event: 'unsubscribed', status: 'OK', chanId })
  }

  retire(): void {
    this.#event({ event: 'info', code: 20_051, msg: 'Stopping. Please try to reconnect' })
  }

  idle(): void {
    for (const [index, channel] of this.#channels.entries()) {
      if (channel === undefined) continue
      if (index % 2 === 0) this.#check(index)
      else this.#push('delta', index, '"hb"')
    }
  }

  unknown(): void {
    this.#push('control', -1, '"te",[401597395,1574694478808,0.005,7245.3]')
  }

  #event(event: Record<string, unknown>): void {
    this.#frame('control', -1, JSON.stringify(event), true)
  }

  #push(
    kind: ModelFrame['kind'],
    index: number,
    payload: string,
    channel: number = this.#channels[Math.max(0, index)] ?? 17_470,
  ): void {
    const sequence = ++this.#sequence
    this.#frame(
      kind,
      index,
      `[${channel},${payload},${sequence},${1_767_225_600_000 + sequence}]`,
      false,
    )
  }

  #frame(kind: ModelFrame['kind'], index: number, text: string, uncounted: boolean): void {
    const truth = this.#shown.map((book) => new Map(book))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth, uncounted })
  }
}

export const bitfinexFixture: Fixture = {
  adapter: bitfinex,
  instruments,
  depth: LENGTH,
  offGrid: true,
  instrument: (i) => ({
    symbol: `A${i}/USD`,
    wireSymbol: `tA${i}:USD`,
    priceDecimals: 2,
    sizeDecimals: 8,
  }),
  connect: () => new BitfinexModel(),
  limited(refused) {
    const { symbol, subId } = JSON.parse(refused)
    const request = { channel: 'book', symbol, subId, pair: symbol.slice(1) }
    return JSON.stringify({ event: 'error', msg: 'ERR_RATE_LIMIT', code: 11010, ...request })
  },
  errors: [
    {
      text: '{"event":"error","msg":"symbol: invalid","code":10300,"channel":"book",' +
        '"symbol":"tSHIB:USD","prec":"P0","freq":"F0","len":"25","subId":"1","pair":"SHIB:USD"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: 'symbol: invalid',
    },
    {
      text: '{"event":"error","msg":"subscribe: limit","code":10305,"channel":"book","subId":"2"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 2,
      quote: 'subscribe: limit',
    },
    {
      text: '{"event":"error","msg":"pair: unknown","code":10001,"pair":"ETHF0:USTF0"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 3,
      quote: 'pair: unknown',
    },
    {
      text: '{"event":"error","msg":"channel: unknown","code":10302,"channel":"books"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'channel: unknown',
    },
    {
      // Not ours, though it begins like one of ours.
      text: '{"event":"error","msg":"symbol: invalid","code":10300,"symbol":"tBTCUST"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'symbol: invalid',
    },
    {
      text: '{"event":"error","msg":"ERR_RATE_LIMIT","code":11010}',
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'ERR_RATE_LIMIT',
    },
    {
      text: '{"event":"conf","status":"FAILED","flags":0}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'FAILED',
    },
  ],
}
