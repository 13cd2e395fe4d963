/**
 * What a program without a scanner does with a frame: JSON.parse, then straight through the shape
 * of its exchange. Sequence, time and symbol are read, price and size of every level become numbers.
 * Nothing is checked, copied or kept.
 */

/** Where all that was read goes, so that none of it can be left out. */
export class Walked {
  frames = 0
  levels = 0
  prices = 0
  sizes = 0
  sequence = 0
  timeMs = 0
  symbol = ''
  /** Symbols by channel number, where frames name no symbol. */
  readonly channels = new Map<number, string>()
}

/** Reads one message. */
export type Walk = (message: never, walked: Walked) => void

/** Price and size first, whatever follows. */
type Row = readonly [price: string, size: string]

function walkRows(rows: readonly Row[], walked: Walked): void {
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]
    walked.prices += Number(row[0])
    walked.sizes += Number(row[1])
  }
  walked.levels += rows.length
}

interface BinanceEvent {
  readonly e?: string
  readonly E: number
  readonly s: string
  readonly U: number
  readonly u: number
  readonly pu?: number
  readonly b: readonly Row[]
  readonly a: readonly Row[]
}

interface BinanceBook {
  readonly lastUpdateId: number
  readonly bids: readonly Row[]
  readonly asks: readonly Row[]
}

function binance(message: BinanceEvent | BinanceBook, walked: Walked): void {
  if ('lastUpdateId' in message) {
    walked.sequence = message.lastUpdateId
    walkRows(message.bids, walked)
    walkRows(message.asks, walked)
    return
  }
  if (message.e !== 'depthUpdate') return
  walked.symbol = message.s
  walked.sequence = message.U + message.u + message.E
  walkRows(message.b, walked)
  walkRows(message.a, walked)
}

function binanceusdm(message: BinanceEvent | BinanceBook, walked: Walked): void {
  if ('lastUpdateId' in message) return binance(message, walked)
  if (message.e !== 'depthUpdate') return
  walked.symbol = message.s
  walked.sequence = message.U + message.u + (message.pu ?? 0) + message.E
  walkRows(message.b, walked)
  walkRows(message.a, walked)
}

interface BybitMessage {
  readonly topic?: string
  readonly type: string
  readonly ts: number
  readonly data: {
    readonly s: string
    readonly b: readonly Row[]
    readonly a: readonly Row[]
    readonly u: number
    readonly seq: number
  }
}

function bybit(message: BybitMessage, walked: Walked): void {
  if (message.topic === undefined) return
  const { data } = message
  walked.symbol = data.s
  walked.sequence = data.u + data.seq + message.ts
  walkRows(data.b, walked)
  walkRows(data.a, walked)
}

interface OkxMessage {
  readonly arg: { readonly channel: string; readonly instId: string }
  readonly action?: string
  readonly data: readonly {
    readonly asks: readonly Row[]
    readonly bids: readonly Row[]
    readonly ts: string
    readonly seqId: number
    readonly prevSeqId: number
  }[]
}

function okx(message: OkxMessage, walked: Walked): void {
  if (message.action === undefined) return
  walked.symbol = message.arg.instId
  const data = message.data[0]
  walked.sequence = data.seqId + data.prevSeqId + Number(data.ts)
  walkRows(data.asks, walked)
  walkRows(data.bids, walked)
}

interface KrakenLevel {
  readonly price: number
  readonly qty: number
}

interface KrakenMessage {
  readonly channel?: string
  readonly type: string
  readonly data: readonly {
    readonly symbol: string
    readonly bids: readonly KrakenLevel[]
    readonly asks: readonly KrakenLevel[]
    readonly checksum: number
    readonly timestamp: string
  }[]
}

function walkKraken(levels: readonly KrakenLevel[], walked: Walked): void {
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]
    walked.prices += Number(level.price)
    walked.sizes += Number(level.qty)
  }
  walked.levels += levels.length
}

function kraken(message: KrakenMessage, walked: Walked): void {
  if (message.channel !== 'book') return
  const data = message.data[0]
  walked.symbol = data.symbol
  walked.sequence = data.checksum
  walked.timeMs = Date.parse(data.timestamp)
  walkKraken(data.bids, walked)
  walkKraken(data.asks, walked)
}

interface CoinbaseMessage {
  readonly type: string
  readonly product_id: string
  readonly changes: readonly (readonly [side: string, price: string, size: string])[]
  readonly bids: readonly Row[]
  readonly asks: readonly Row[]
  readonly time: string
}

function coinbaseexchange(message: CoinbaseMessage, walked: Walked): void {
  if (message.type === 'l2update') {
    walked.symbol = message.product_id
    walked.timeMs = Date.parse(message.time)
    const { changes } = message
    for (let i = 0; i < changes.length; i++) {
      const change = changes[i]
      walked.prices += change[0] === 'buy' ? Number(change[1]) : -Number(change[1])
      walked.sizes += Number(change[2])
    }
    walked.levels += changes.length
  } else if (message.type === 'snapshot') {
    walked.symbol = message.product_id
    walkRows(message.asks, walked)
    walkRows(message.bids, walked)
  }
}

type BitfinexLevel = readonly [price: number, count: number, amount: number]
type BitfinexFrame = readonly [
  channel: number,
  payload: BitfinexLevel | readonly BitfinexLevel[] | string,
  sequence: number,
]

interface BitfinexEvent {
  readonly event: string
  readonly chanId: number
  readonly symbol: string
}

function bitfinex(message: BitfinexFrame | BitfinexEvent, walked: Walked): void {
  if ('event' in message) {
    if (message.event === 'subscribed') walked.channels.set(message.chanId, message.symbol)
    return
  }
  const payload = message[1]
  walked.symbol = walked.channels.get(message[0]) ?? ''
  walked.sequence = message[0] + message[2]
  if (typeof payload === 'string') return
  if (typeof payload[0] === 'number') {
    const level = payload as BitfinexLevel
    walked.prices += Number(level[0])
    walked.sizes += level[1] === 0 ? 0 : Number(level[2])
    walked.levels++
    return
  }
  const levels = payload as readonly BitfinexLevel[]
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]
    walked.prices += Number(level[0])
    walked.sizes += level[1] === 0 ? 0 : Number(level[2])
  }
  walked.levels += levels.length
}

export const walks: Readonly<Record<string, Walk>> = {
  binance,
  binanceusdm,
  bitfinex,
  bybit,
  coinbaseexchange,
  kraken,
  okx,
}
