/** OKX v5 as far as the contract suite needs it, by the exchange's documentation. */
import assert from 'node:assert/strict'
import { okx } from '../../src/exchanges/okx.ts'
import type { Fixture, Model, ModelFrame, WireLevel } from './fixture.ts'
import { applyLevel, bestOf, type NaiveBook, pricesOf } from './listener.ts'

const encoder = new TextEncoder()

/** Levels a side that the channel tells of. */
const DEPTH = 400

/** Spot, swap and dated future on one socket, with decimals of very different sizes. */
const instruments = [
  { symbol: 'BTC/USDT', wireSymbol: 'BTC-USDT', priceDecimals: 1, sizeDecimals: 8 },
  { symbol: 'SATS/USDT:USDT', wireSymbol: 'SATS-USDT-SWAP', priceDecimals: 10, sizeDecimals: 0 },
  { symbol: 'BTC/USD:BTC-261225', wireSymbol: 'BTC-USD-261225', priceDecimals: 2, sizeDecimals: 1 },
]

/** A frame of `books` in the exchange's own spelling. */
export function bookText(
  action: 'snapshot' | 'update',
  instId: string,
  seqId: number,
  prevSeqId: number,
  levels: readonly WireLevel[],
): string {
  const side = (which: 'bid' | 'ask') =>
    levels.filter(([one]) => one === which)
      .map((
        [, price, size],
        i,
      ) => [price, size, '0', Number(size) === 0 ? '0' : String(1 + i % 17)])
  return JSON.stringify({
    arg: { channel: 'books', instId },
    action,
    data: [{
      asks: side('ask'),
      bids: side('bid'),
      ts: '1787612486107',
      checksum: 0,
      seqId,
      prevSeqId,
    }],
  })
}

/** What leads from one window to the other: what left it is deleted. */
function difference(from: NaiveBook, to: NaiveBook): WireLevel[] {
  const level = (key: string, size: string): WireLevel => {
    const [side, price] = key.split(' ')
    return [side as 'bid' | 'ask', price, size]
  }
  const gone = [...from.keys()].filter((key) => !to.has(key)).map((key) => level(key, '0'))
  const set = [...to].filter(([key, size]) => from.get(key) !== size)
  return [...gone, ...set.map(([key, size]) => level(key, size))]
}

class OkxModel implements Model {
  readonly outgoing: ModelFrame[] = []
  readonly #books: NaiveBook[] = instruments.map(() => new Map())
  readonly #subscribed = new Set<number>()
  readonly #sequences = instruments.map((_, index) => (1 + index) * 80_274_874_800)
  readonly #changes = instruments.map(() => 0)

  receive(text: string): void {
    if (text === 'ping') return this.#push('control', -1, 'pong')
    const { op, args } = JSON.parse(text) as {
      op: string
      args: { channel: string; instId: string }[]
    }
    assert.ok(op === 'subscribe' || op === 'unsubscribe', `unknown request ${op}`)
    assert.ok(args.length > 0 && text.length < 65_536, 'a request has arguments, up to 64 KB')
    for (const { channel, instId } of args) {
      assert.equal(channel, 'books')
      const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === instId)
      assert.ok(index >= 0, `unknown instrument ${instId}`)
      const isNew = !this.#subscribed.has(index)
      if (op === 'unsubscribe') this.#subscribed.delete(index)
      else this.#subscribed.add(index)
      this.#event({ event: op, arg: { channel, instId }, connId: '32f4414f' })
      if (op === 'subscribe' && isNew) this.#snapshot(index)
    }
  }

  change(index: number, levels: readonly WireLevel[]): void {
    const book = this.#books[index]
    const before = bestOf(book, DEPTH)
    const hidden = book.size > before.size
    for (const [side, price, size] of levels) applyLevel(book, side, price, size)
    const after = bestOf(book, DEPTH)
    const prevSeqId = this.#sequences[index]
    const count = ++this.#changes[index]
    // Irregular steps.
    this.#sequences[index] += 1 + count * 7 % 13
    if (!this.#subscribed.has(index)) return
    const told = hidden || book.size > after.size ? difference(before, after) : levels
    const text = bookText(
      'update',
      instruments[index].wireSymbol,
      this.#sequences[index],
      prevSeqId,
      told,
    )
    this.#push('delta', index, text)
  }

  idle(): void {
    this.#event({
      event: 'channel-conn-count',
      channel: 'books',
      connCount: '2',
      connId: '32f4414f',
    })
  }

  unknown(): void {
    this.#event({ event: 'weather', sun: true })
  }

  retire(): void {
    this.#event({
      event: 'notice',
      code: '64008',
      msg: 'The connection will soon be closed for a service upgrade. Please reconnect.',
      connId: '32f4414f',
    })
  }

  #snapshot(index: number): void {
    const book = bestOf(this.#books[index], DEPTH)
    const levels = (['ask', 'bid'] as const).flatMap((side) =>
      pricesOf(book, side).map((price): WireLevel => [side, price, book.get(`${side} ${price}`)!])
    )
    const { wireSymbol } = instruments[index]
    this.#push(
      'snapshot',
      index,
      bookText('snapshot', wireSymbol, this.#sequences[index], -1, levels),
    )
  }

  #event(message: Record<string, unknown>): void {
    this.#push('control', -1, JSON.stringify(message))
  }

  #push(kind: ModelFrame['kind'], index: number, text: string): void {
    const truth = this.#books.map((book) => bestOf(book, DEPTH))
    this.outgoing.push({ bytes: encoder.encode(text), kind, index, truth })
  }
}

export const okxFixture: Fixture = {
  adapter: okx,
  instruments,
  depth: DEPTH,
  offGrid: true,
  connect: () => new OkxModel(),
  limited: () =>
    '{"event":"error","code":"60014","msg":"Requests too frequent","connId":"32f4414f"}',
  errors: [
    {
      text: '{"event":"error","code":"60018","msg":"Wrong URL or channel:books,instId:' +
        "SATS-USDT-SWAP doesn't exist. Please use the correct URL, channel and parameters " +
        'referring to API document.","connId":"32f4414f"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 1,
      quote: "SATS-USDT-SWAP doesn't exist",
    },
    {
      // Named beside the message.
      text: '{"event":"error","arg":{"channel":"books","instId":"BTC-USD-261225"},' +
        '"code":"51001","msg":"Instrument ID does not exist","connId":"32f4414f"}',
      code: 'E_SUBSCRIBE',
      scope: 'symbol',
      index: 2,
      quote: 'Instrument ID does not exist',
    },
    {
      text: '{"event":"error","code":"60014","msg":"Requests too frequent","connId":"32f4414f"}',
      code: 'E_RATE_LIMITED',
      scope: 'connection',
      quote: 'Requests too frequent',
    },
    {
      // The request is quoted: it is at fault, not the instrument.
      text: '{"event":"error","code":"60012","msg":"Invalid request: {\\"op\\": \\"subscribe\\", ' +
        '\\"argss\\":[{ \\"channel\\" : \\"books\\", \\"instId\\" : \\"BTC-USDT\\"}]}",' +
        '"connId":"32f4414f"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: 'Invalid request',
    },
    {
      // Not ours, though it begins like one of ours.
      text: '{"event":"error","code":"60018","msg":"Wrong URL or channel:books,instId:' +
        'BTC-USDT-SWAP doesn\'t exist.","connId":"32f4414f"}',
      code: 'E_SUBSCRIBE',
      scope: 'connection',
      quote: "BTC-USDT-SWAP doesn't exist",
    },
  ],
}
