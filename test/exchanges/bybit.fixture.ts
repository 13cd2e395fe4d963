/** Bybit v5 as far as the contract suite needs it, by the exchange's documentation. */
import assert from 'node:assert/strict'
import { bybit } from '../../src/exchanges/bybit.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, type NaiveBook } from './listener.ts'

const encoder = new TextEncoder()

/** Levels a side of the topics that are subscribed. */
const DEPTH = 1000

/** Decimals of very different sizes, all of one segment. */
const instruments = [
  { symbol: 'BTC/USDT:USDT', wireSymbol: 'BTCUSDT', priceDecimals: 2, sizeDecimals: 3 },
  { symbol: 'PEPE/USDT:USDT', wireSymbol: '1000PEPEUSDT', priceDecimals: 8, sizeDecimals: 0 },
  { symbol: 'MOG/USDT:USDT', wireSymbol: '1000000MOGUSDT', priceDecimals: 16, sizeDecimals: 1 },
  { symbol: 'ETH/USDC:USDC-261225', wireSymbol: 'ETH-25DEC26', priceDecimals: 2, sizeDecimals: 2 },
]

export interface BookFrame {
  readonly type: 'snapshot' | 'delta'
  readonly symbol: string
  readonly u: number
  readonly levels?: readonly WireLevel[]
  readonly depth?: number
  readonly seq?: number
  readonly ts?: number
  /** Undefined: a frame from before the field existed. */
  readonly cts?: number | undefined
  /** `type` before `ts`, as in the exchange's historical dumps. */
  readonly typeFirst?: boolean
}

/** A frame of an order book in the exchange's own spelling. */
export function bookText(frame: BookFrame): string {
  const { type, symbol, u, levels = [], depth = DEPTH, seq = 7_961_638_724 + u } = frame
  const ts = frame.ts ?? 1_787_612_486_096
  const side = (which: string) =>
    levels.filter(([side]) => side === which).map(([, price, size]) => [price, size])
  const topic = `orderbook.${depth}.${symbol}`
  const data = { s: symbol, b: side('bid'), a: side('ask'), u, seq }
  const tail = 'cts' in frame && frame.cts === undefined ? {} : { cts: frame.cts ?? ts - 2 }
  return JSON.stringify(
    frame.typeFirst === true
      ? { topic, type, ts, data, ...tail }
      : { topic, ts, type, data, ...tail },
  )
}

/** The best levels of a side, which are all that the exchange tells of. */
function windowOf(book: NaiveBook): NaiveBook {
  if (book.size <= DEPTH) return new Map(book)
  const kept = (which: string, sign: number) =>
    [...book].filter(([key]) => key.startsWith(which))
      .sort(([a], [b]) => sign * (Number(a.slice(4)) - Number(b.slice(4))))
      .slice(0, DEPTH)
  return new Map([...kept('bid', -1), ...kept('ask', 1)])
}

function levelOf(key: string, size: string): WireLevel {
  const [side, price] = key.split(' ')
  return [side as 'bid' | 'ask', price, size]
}

class BybitModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  /** Counted whether anyone listens or not. */
  readonly #updateIds = instruments.map((_, index) => 18_521_288 + 5000 * index)
  readonly #subscribed = new Set<number>()
  #sequence = 7_961_638_724
  #clock = 1_787_612_486_096
  #pongs = 0
  #requests = 0

  receive(text: string): void {
    const { op, args = [], req_id: id = '' } = JSON.parse(text) as {
      op: string
      args?: string[]
      req_id?: string
    }
    if (op === 'ping') return this.idle()
    assert.ok(op === 'subscribe' || op === 'unsubscribe', `unknown op ${op}`)
    assert.ok(args.length >= 1 && args.length <= 10, `${args.length} topics in one message`)
    const indexes = args.map((topic) => {
      const [, depth, symbol] = /^orderbook\.(\d+)\.(.+)$/.exec(topic) ?? []
      assert.equal(depth, String(DEPTH), topic)
      const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === symbol)
      assert.ok(index >= 0, `unknown topic ${topic}`)
      return index
    })
    const refused = indexes.find((index) => this.#subscribed.has(index) === (op === 'subscribe'))
    if (refused !== undefined) {
      const topic = args[indexes.indexOf(refused)]
      const reason = op === 'subscribe' ? 'already subscribed' : 'not subscribed'
      return this.#control({
        success: false,
        ret_msg: `error:${reason},topic:${topic}`,
        conn_id: CONNECTION,
        req_id: id,
        op,
      })
    }
    // The acknowledgement comes before the first data, or behind it.
    const isFirst = this.#requests++ % 2 === 1
    const ack = { success: true, ret_msg: op, conn_id: CONNECTION, req_id: id, op }
    if (isFirst) this.#control(ack)
    for (const index of indexes) {
      if (op === 'unsubscribe') {
        this.#subscribed.delete(index)
      } else {
        this.#subscribed.add(index)
        const levels = [...windowOf(this.#books[index])].map(([key, size]) => levelOf(key, size))
        this.#push('snapshot', index, levels)
      }
    }
    if (!isFirst) this.#control(ack)
  }

  change(index: number, levels: readonly WireLevel[]): void {
    const book = this.#books[index]
    const before = windowOf(book)
    for (const [side, price, size] of levels) applyLevel(book, side, price, size)
    const after = windowOf(book)
    const sent = levels.filter(([side, price, size]) => {
      const one: NaiveBook = new Map()
      applyLevel(one, side, price, size)
      return one.size === 0 || after.has([...one.keys()][0])
    })
    // What slides out of the window and into it.
    for (const key of before.keys()) {
      if (!after.has(key) && book.has(key)) sent.push(levelOf(key, '0'))
    }
    const told: NaiveBook = new Map()
    for (const [side, price] of sent) applyLevel(told, side, price, '1')
    for (const [key, size] of after) {
      if (!before.has(key) && !told.has(key)) sent.push(levelOf(key, size))
    }
    this.#updateIds[index]++
    if (this.#subscribed.has(index)) this.#push('delta', index, sent)
  }

  /** Nothing comes unasked: the answer to a ping, in either spelling. */
  idle(): void {
    this.#control(
      this.#pongs++ % 2 === 0
        ? { success: true, ret_msg: 'pong', conn_id: CONNECTION, req_id: '', op: 'ping' }
        : { req_id: '', op: 'pong', args: [String(this.#clock)], conn_id: CONNECTION },
    )
  }

  unknown(): void {
    this.#control({ topic: 'weather.BTCUSDT', ts: this.#clock, type: 'snapshot', data: {} })
  }

  #control(message: unknown): void {
    this.#send('control', -1, JSON.stringify(message))
  }

  #push(type: 'snapshot' | 'delta', index: number, levels: readonly WireLevel[]): void {
    this.#clock += 20
    this.#sequence += 1 + this.#clock % 7
    const symbol = instruments[index].wireSymbol
    const u = this.#updateIds[index]
    this.#send(
      type,
      index,
      bookText({ type, symbol, u, levels, seq: this.#sequence, ts: this.#clock }),
    )
  }

  #send(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map(windowOf)
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

const CONNECTION = '2324d924-aa4d-45b0-a858-7b8be29ab52b'

const refusal = (said: string, more: Record<string, unknown> = {}) =>
  JSON.stringify({
    success: false,
    ret_msg: said,
    conn_id: CONNECTION,
    req_id: '',
    op: 'subscribe',
    ...more,
  })

export const bybitFixture: Fixture = {
  adapter: bybit,
  instruments,
  depth: DEPTH,
  offGrid: true,
  instrument: (i) => ({
    symbol: `A${i}/USDT:USDT`,
    wireSymbol: `A${i}USDT`,
    priceDecimals: 2,
    sizeDecimals: 8,
  }),
  connect: () => new BybitModel(),
  limited(refused) {
    const { req_id } = JSON.parse(refused)
    return JSON.stringify({ success: false, ret_msg: 'Too many visits!', req_id, op: 'subscribe' })
  },
  errors: [
    {
      text: refusal('error:handler not found,topic:orderbook.1000.1000PEPEUSDT'),
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: 'handler not found,topic:orderbook.1000.1000PEPEUSDT',
    },
    {
      text: refusal('Invalid symbol :[ETH-25DEC26]'),
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 3,
      quote: 'Invalid symbol :[ETH-25DEC26]',
    },
    {
      text: refusal('Too many visits!'),
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'Too many visits!',
    },
    {
      text: '{"ret_code":10006,"ret_msg":"Exceeded","conn_id":""}',
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'Exceeded',
    },
    {
      text: refusal('service is being restarted'),
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'service is being restarted',
    },
    {
      // Not ours, though it begins like one of ours.
      text: refusal('error:handler not found,topic:orderbook.1000.BTCUSDTX'),
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'orderbook.1000.BTCUSDTX',
    },
  ],
}
