/** Exchanges of different families, each in the format of its own documentation. */
import { Buffer } from 'node:buffer'
import { gzipSync } from 'node:zlib'
import type { Instrument } from '../../../src/core/instrument.ts'
import protobuf from '../../../node_modules/ccxt/js/src/protobuf/mexc/compiled.cjs'
import {
  type Change,
  changed,
  type Connection,
  type Family,
  type Market,
  side,
} from './exchange.ts'

function instrument(symbol: string, wireSymbol: string): Instrument {
  return { symbol, wireSymbol, priceDecimals: 2, sizeDecimals: 4 }
}

/** The instruments whose exchange name stands in `text`. */
function named(instruments: readonly Instrument[], text: string): number[] {
  return instruments.flatMap(({ wireSymbol }, index) =>
    text.toUpperCase().includes(wireSymbol.toUpperCase()) ? [index] : []
  )
}

function numbers(levels: readonly (readonly [string, string])[]): number[][] {
  return levels.map(([price, size]) => [Number(price), Number(size)])
}

const gateInstruments = [instrument('BTC/USDT', 'BTC_USDT'), instrument('ETH/USDT', 'ETH_USDT')]

/** Spot channel `spot.obu`: whole book, then changes with `U` and `u`. */
const gate: Family = {
  id: 'gate',
  instruments: gateInstruments,
  received(connection, text, market) {
    const { id, channel, event, payload } = JSON.parse(text)
    if (event !== 'subscribe') return
    const result = { status: 'success' }
    connection.send({ time: 1, time_ms: 1, id, channel, event: 'subscribe', payload, result })
    for (const index of named(gateInstruments, payload[0])) {
      connection.subscribed.add(index)
      const book = market.books[index]!
      connection.send({
        channel,
        result: {
          t: market.timeMs,
          full: true,
          s: payload[0],
          u: market.sequences[index],
          b: side(book, 'bid'),
          a: side(book, 'ask'),
        },
        time_ms: market.timeMs,
        event: 'update',
      })
    }
  },
  changed(connection, { index, levels, sequence, timeMs }) {
    connection.send({
      channel: 'spot.obu',
      result: {
        t: timeMs,
        s: `ob.${gateInstruments[index]!.wireSymbol}.50`,
        U: sequence - levels.length + 1,
        u: sequence,
        b: changed(levels, 'bid'),
        a: changed(levels, 'ask'),
      },
      time_ms: timeMs,
      event: 'update',
    })
  },
}

const kucoinInstruments = [instrument('BTC/USDT', 'BTC-USDT'), instrument('ETH/USDT', 'ETH-USDT')]

/** Token by REST, changes by socket, snapshot of 100 levels by REST. */
const kucoin: Family = {
  id: 'kucoin',
  instruments: kucoinInstruments,
  opened: (connection) => connection.send({ id: 'hQvf8jkno', type: 'welcome' }),
  received(connection, text) {
    const { id, type, topic } = JSON.parse(text)
    if (type !== 'subscribe') return
    connection.send({ id, type: 'ack' })
    for (const index of named(kucoinInstruments, topic)) connection.subscribed.add(index)
  },
  changed(connection, { index, levels, sequence, timeMs }) {
    const symbol = kucoinInstruments[index]!.wireSymbol
    const rows = (name: 'bid' | 'ask') =>
      changed(levels, name).map((level) => [...level, String(sequence)])
    connection.send({
      type: 'message',
      topic: `/market/level2:${symbol}`,
      subject: 'trade.l2update',
      data: {
        changes: { asks: rows('ask'), bids: rows('bid') },
        sequenceStart: sequence - levels.length + 1,
        sequenceEnd: sequence,
        symbol,
        time: timeMs,
      },
    })
  },
  rest({ path }, market) {
    if (path.startsWith('/api/v1/bullet-public')) {
      return {
        code: '200000',
        data: {
          token: '2neAiuYvAU61ZDXANAGAsiL4',
          instanceServers: [{
            endpoint: 'wss://ws-api-spot.kucoin.com/',
            encrypt: true,
            protocol: 'websocket',
            pingInterval: 18000,
            pingTimeout: 10000,
          }],
        },
      }
    }
    if (!path.startsWith('/api/v1/market/orderbook/level2_100')) return undefined
    const index = named(kucoinInstruments, path)[0]!
    const book = market.books[index]!
    return {
      code: '200000',
      data: {
        time: market.timeMs,
        sequence: String(market.sequences[index]),
        bids: side(book, 'bid'),
        asks: side(book, 'ask'),
      },
    }
  },
}

const htxInstruments = [instrument('BTC/USDT', 'btcusdt'), instrument('ETH/USDT', 'ethusdt')]

/** Compressed frames; the snapshot is asked for on the socket. */
const htx: Family = {
  id: 'htx',
  instruments: htxInstruments,
  received(connection, text, market) {
    const { sub, req, id } = JSON.parse(text)
    const zipped = (message: unknown) => connection.sendBytes(gzipSync(JSON.stringify(message)))
    const index = named(htxInstruments, sub ?? req)[0]!
    const seqNum = market.sequences[index]!
    if (sub !== undefined) {
      connection.subscribed.add(index)
      zipped({ id, status: 'ok', subbed: sub, ts: market.timeMs })
      const tick = { seqNum, prevSeqNum: seqNum - 1, bids: [], asks: [] }
      zipped({ ch: sub, ts: market.timeMs, tick })
    } else {
      const book = market.books[index]!
      const data = { seqNum, bids: numbers(side(book, 'bid')), asks: numbers(side(book, 'ask')) }
      zipped({ id, rep: req, ts: market.timeMs, status: 'ok', data })
    }
  },
  changed(connection, { index, levels, sequence, timeMs }) {
    connection.sendBytes(gzipSync(JSON.stringify({
      ch: `market.${htxInstruments[index]!.wireSymbol}.mbp.150`,
      ts: timeMs,
      tick: {
        seqNum: sequence,
        prevSeqNum: sequence - levels.length,
        bids: numbers(changed(levels, 'bid')),
        asks: numbers(changed(levels, 'ask')),
      },
    })))
  },
}

const bitgetInstruments = [instrument('BTC/USDT', 'BTCUSDT'), instrument('ETH/USDT', 'ETHUSDT')]

/** CRC32 as a signed integer. */
function crc32(text: string): number {
  let crc = ~0
  for (let i = 0; i < text.length; i++) {
    crc ^= text.charCodeAt(i)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return ~crc
}

function bitgetChecksum(market: Market, index: number): number {
  const bids = side(market.books[index]!, 'bid')
  const asks = side(market.books[index]!, 'ask')
  const parts: string[] = []
  for (let i = 0; i < 25; i++) parts.push(...(bids[i] ?? []), ...(asks[i] ?? []))
  return crc32(parts.join(':'))
}

/** Whole book, then changes with a checksum over 25 levels. */
export const bitget: Family & { brokenChecksums: number } = {
  id: 'bitget',
  instruments: bitgetInstruments,
  brokenChecksums: 0,
  received(connection, text, market) {
    if (text === 'ping') return connection.send('pong')
    const { op, args } = JSON.parse(text)
    for (const arg of args) {
      connection.send({ event: op, arg })
      const index = named(bitgetInstruments, arg.instId)[0]!
      if (op !== 'subscribe') {
        connection.subscribed.delete(index)
        continue
      }
      connection.subscribed.add(index)
      const book = market.books[index]!
      connection.send({
        action: 'snapshot',
        arg,
        data: [{
          asks: side(book, 'ask'),
          bids: side(book, 'bid'),
          checksum: 0,
          seq: market.sequences[index],
          ts: String(market.timeMs),
        }],
        ts: market.timeMs,
      })
    }
  },
  changed(connection, { index, levels, sequence, timeMs }, market) {
    const isBroken = this.brokenChecksums > 0
    if (isBroken) this.brokenChecksums--
    connection.send({
      action: 'update',
      arg: { instType: 'SPOT', channel: 'books', instId: bitgetInstruments[index]!.wireSymbol },
      data: [{
        asks: changed(levels, 'ask'),
        bids: changed(levels, 'bid'),
        checksum: bitgetChecksum(market, index) + (isBroken ? 1 : 0),
        seq: sequence,
        ts: String(timeMs),
      }],
      ts: timeMs,
    })
  },
}

/** What is used of the exchange's published message types. */
interface Mexc {
  readonly PushDataV3ApiWrapper: {
    create(message: object): object
    encode(message: object): { finish(): Uint8Array }
  }
}

const mexcInstruments = [instrument('BTC/USDT', 'BTCUSDT'), instrument('ETH/USDT', 'ETHUSDT')]

/** Protocol buffers; the snapshot by REST may lie in the middle of a change. */
const mexc: Family = {
  id: 'mexc',
  instruments: mexcInstruments,
  received(connection, text) {
    const { method, params } = JSON.parse(text)
    if (method !== 'SUBSCRIPTION') return
    connection.send({ id: 0, code: 0, msg: params[0] })
    for (const index of named(mexcInstruments, params[0])) connection.subscribed.add(index)
  },
  changed(connection, { index, levels, sequence, timeMs }) {
    const symbol = mexcInstruments[index]!.wireSymbol
    const rows = (name: 'bid' | 'ask') =>
      changed(levels, name).map(([price, quantity]) => ({ price, quantity }))
    const wrapper = (protobuf as unknown as Mexc).PushDataV3ApiWrapper
    connection.sendBytes(
      wrapper.encode(wrapper.create({
        channel: `spot@public.aggre.depth.v3.api.pb@100ms@${symbol}`,
        symbol,
        sendTime: timeMs,
        publicAggreDepths: {
          asks: rows('ask'),
          bids: rows('bid'),
          eventType: 'spot@public.aggre.depth.v3.api.pb@100ms',
          fromVersion: String(sequence - levels.length + 1),
          toVersion: String(sequence),
        },
      })).finish(),
    )
  },
  rest({ path }, market) {
    if (!path.startsWith('/api/v3/depth')) return undefined
    const { book, sequence } = market.middles[named(mexcInstruments, path)[0]!]!
    return {
      lastUpdateId: sequence,
      bids: side(book, 'bid'),
      asks: side(book, 'ask'),
      timestamp: market.timeMs,
    }
  },
}

const deribitInstruments = [
  instrument('BTC/USD:BTC', 'BTC-PERPETUAL'),
  instrument('ETH/USD:ETH', 'ETH-PERPETUAL'),
]

/** JSON-RPC; levels say `new`, `change` or `delete`. */
const deribit: Family = {
  id: 'deribit',
  instruments: deribitInstruments,
  received(connection, text, market) {
    const { id, method, params } = JSON.parse(text)
    if (method !== 'public/subscribe') return
    connection.send({ jsonrpc: '2.0', id, result: params.channels })
    for (const channel of params.channels) {
      const index = named(deribitInstruments, channel)[0]!
      connection.subscribed.add(index)
      const rows = (name: 'bid' | 'ask') =>
        numbers(side(market.books[index]!, name)).map((level) => ['new', ...level])
      connection.send({
        jsonrpc: '2.0',
        method: 'subscription',
        params: {
          channel,
          data: {
            type: 'snapshot',
            timestamp: market.timeMs,
            instrument_name: deribitInstruments[index]!.wireSymbol,
            change_id: market.sequences[index],
            bids: rows('bid'),
            asks: rows('ask'),
          },
        },
      })
    }
  },
  changed(connection, { index, levels, sequence, timeMs }) {
    const name = deribitInstruments[index]!.wireSymbol
    const rows = (own: 'bid' | 'ask') =>
      numbers(changed(levels, own)).map(([price, size]) => [
        size === 0 ? 'delete' : 'change',
        price,
        size,
      ])
    connection.send({
      jsonrpc: '2.0',
      method: 'subscription',
      params: {
        channel: `book.${name}.100ms`,
        data: {
          type: 'change',
          timestamp: timeMs,
          instrument_name: name,
          prev_change_id: sequence - 1,
          change_id: sequence,
          bids: rows('bid'),
          asks: rows('ask'),
        },
      },
    })
  },
}

const cryptocomInstruments = [
  instrument('BTC/USDT', 'BTC_USDT'),
  instrument('ETH/USDT', 'ETH_USDT'),
]

/** Levels with an order count; `pu` names the frame before. */
export const cryptocom: Family & { gaps: number } = {
  id: 'cryptocom',
  instruments: cryptocomInstruments,
  gaps: 0,
  received(connection, text, market) {
    const { id, method, params } = JSON.parse(text)
    if (method !== 'subscribe') return
    for (const subscription of params.channels) {
      const index = named(cryptocomInstruments, subscription)[0]!
      connection.subscribed.add(index)
      const rows = (name: 'bid' | 'ask') =>
        side(market.books[index]!, name).map((level) => [...level, '1'])
      connection.send({
        id: id ?? -1,
        method: 'subscribe',
        code: 0,
        result: {
          instrument_name: cryptocomInstruments[index]!.wireSymbol,
          subscription,
          channel: 'book',
          depth: 50,
          data: [{
            asks: rows('ask'),
            bids: rows('bid'),
            t: market.timeMs,
            tt: market.timeMs,
            u: market.sequences[index],
          }],
        },
      })
    }
  },
  changed(connection, { index, levels, sequence, timeMs }) {
    const name = cryptocomInstruments[index]!.wireSymbol
    const rows = (own: 'bid' | 'ask') =>
      changed(levels, own).map((level) => [...level, level[1] === '0' ? '0' : '1'])
    const isGap = this.gaps > 0
    if (isGap) this.gaps--
    connection.send({
      id: -1,
      method: 'subscribe',
      code: 0,
      result: {
        instrument_name: name,
        subscription: `book.${name}.50`,
        channel: 'book.update',
        depth: 50,
        data: [{
          update: { asks: rows('ask'), bids: rows('bid') },
          t: timeMs,
          tt: timeMs,
          u: sequence,
          pu: sequence - levels.length + (isGap ? 1000 : 0),
        }],
      },
    })
  },
}

const bitstampInstruments = [instrument('BTC/USD', 'btcusd'), instrument('ETH/USD', 'ethusd')]

/** Changes by socket, numbered by their microsecond; the snapshot by REST has a time of its own. */
const bitstamp: Family = {
  id: 'bitstamp',
  instruments: bitstampInstruments,
  received(connection, text) {
    const { event, data } = JSON.parse(text)
    if (event !== 'bts:subscribe') return
    connection.send({ event: 'bts:subscription_succeeded', channel: data.channel, data: {} })
    for (const index of named(bitstampInstruments, data.channel)) connection.subscribed.add(index)
  },
  changed(connection, { index, levels, timeMs }) {
    connection.send({
      data: {
        timestamp: String(Math.floor(timeMs / 1000)),
        microtimestamp: String(timeMs * 1000),
        bids: changed(levels, 'bid'),
        asks: changed(levels, 'ask'),
      },
      channel: `diff_order_book_${bitstampInstruments[index]!.wireSymbol}`,
      event: 'data',
    })
  },
  rest({ path }, market) {
    const index = named(bitstampInstruments, path)[0]
    if (!path.startsWith('/api/v2/order_book/') || index === undefined) return undefined
    // Of a moment that no change has.
    const { book, timeMs } = market.middles[index]!
    return {
      timestamp: String(Math.floor(timeMs / 1000)),
      microtimestamp: String(timeMs * 1000 - 3),
      bids: side(book, 'bid'),
      asks: side(book, 'ask'),
    }
  },
}

const geminiInstruments = [instrument('BTC/USD', 'btcusd'), instrument('ETH/USD', 'ethusd')]

/** The first frame has trades and auctions beside all levels. */
const gemini: Family = {
  id: 'gemini',
  instruments: geminiInstruments,
  received(connection, text, market) {
    const { type, subscriptions } = JSON.parse(text)
    if (type !== 'subscribe') return
    for (const symbol of subscriptions[0].symbols) {
      const index = named(geminiInstruments, symbol)[0]!
      connection.subscribed.add(index)
      const book = market.books[index]!
      connection.send({
        type: 'l2_updates',
        symbol,
        changes: [
          ...side(book, 'bid').map((level) => ['buy', ...level]),
          ...side(book, 'ask').map((level) => ['sell', ...level]),
        ],
        trades: [],
        auction_events: [],
      })
    }
  },
  changed(connection, { index, levels }) {
    connection.send({
      type: 'l2_updates',
      symbol: geminiInstruments[index]!.wireSymbol.toUpperCase(),
      changes: levels.map(([name, price, size]) => [name === 'bid' ? 'buy' : 'sell', price, size]),
    })
  },
}

const hyperliquidInstruments = [
  instrument('BTC/USDC:USDC', '0'),
  instrument('ETH/USDC:USDC', '1'),
]
const COINS = ['BTC', 'ETH']

function sendHyperliquid(connection: Connection, market: Market, index: number): void {
  const rows = (name: 'bid' | 'ask') =>
    side(market.books[index]!, name).map(([px, sz]) => ({ px, sz, n: 1 }))
  connection.send({
    channel: 'l2Book',
    data: { coin: COINS[index], time: market.timeMs, levels: [rows('bid'), rows('ask')] },
  })
}

/** Each frame is the whole book; the names of its markets come by REST. */
const hyperliquid: Family = {
  id: 'hyperliquid',
  instruments: hyperliquidInstruments,
  received(connection, text, market) {
    const { method, subscription } = JSON.parse(text)
    if (method !== 'subscribe') return
    connection.send({ channel: 'subscriptionResponse', data: { method, subscription } })
    const index = COINS.indexOf(subscription.coin)
    connection.subscribed.add(index)
    sendHyperliquid(connection, market, index)
  },
  changed: (connection, { index }, market) => sendHyperliquid(connection, market, index),
  rest({ path, body }) {
    if (path !== '/info') return undefined
    const { type, dex } = JSON.parse(body)
    const universe = COINS.map((name) => ({ name, szDecimals: 4, maxLeverage: 50 }))
    if (type === 'perpDexs') return [null]
    if (type === 'spotMeta') return { tokens: [], universe: [] }
    if (type === 'spotMetaAndAssetCtxs') return [{ tokens: [], universe: [] }, []]
    if (type === 'metaAndAssetCtxs' && dex === undefined) {
      return [{ universe }, COINS.map(() => ({ markPx: '1000', midPx: '1000' }))]
    }
    return [{ universe: [] }, []]
  },
}

const upbitInstruments = [instrument('BTC/KRW', 'KRW-BTC'), instrument('ETH/KRW', 'KRW-ETH')]

function sendUpbit(
  connection: Connection,
  market: Market,
  index: number,
  stream: 'SNAPSHOT' | 'REALTIME',
): void {
  const bids = numbers(side(market.books[index]!, 'bid'))
  const asks = numbers(side(market.books[index]!, 'ask'))
  const units = Array.from({ length: Math.max(bids.length, asks.length) }, (_, i) => ({
    ask_price: asks[i]?.[0] ?? 0,
    bid_price: bids[i]?.[0] ?? 0,
    ask_size: asks[i]?.[1] ?? 0,
    bid_size: bids[i]?.[1] ?? 0,
  }))
  connection.sendBytes(Buffer.from(JSON.stringify({
    type: 'orderbook',
    code: upbitInstruments[index]!.wireSymbol,
    timestamp: market.timeMs,
    total_ask_size: 1,
    total_bid_size: 1,
    orderbook_units: units,
    stream_type: stream,
  })))
}

/** Binary frames, each the whole book; a second subscription names the first ones again. */
const upbit: Family = {
  id: 'upbit',
  instruments: upbitInstruments,
  received(connection, text, market) {
    for (const { codes } of JSON.parse(text)) {
      for (const index of named(upbitInstruments, String(codes ?? ''))) {
        connection.subscribed.add(index)
        sendUpbit(connection, market, index, 'SNAPSHOT')
      }
    }
  },
  changed: (connection, { index }, market) => sendUpbit(connection, market, index, 'REALTIME'),
}

const whitebitInstruments = [
  instrument('BTC/USDT', 'BTC_USDT'),
  instrument('ETH/USDT', 'ETH_USDT'),
]

/** The first parameter says whether it is the whole book. */
const whitebit: Family = {
  id: 'whitebit',
  instruments: whitebitInstruments,
  received(connection, text, market) {
    const { id, method, params } = JSON.parse(text)
    if (method !== 'depth_subscribe') return
    connection.send({ id, result: { status: 'success' }, error: null })
    const index = named(whitebitInstruments, params[0])[0]!
    connection.subscribed.add(index)
    const book = market.books[index]!
    const data = {
      timestamp: market.timeMs / 1000,
      asks: side(book, 'ask'),
      bids: side(book, 'bid'),
    }
    connection.send({ id: null, method: 'depth_update', params: [true, data, params[0]] })
  },
  changed(connection, { index, levels, timeMs }) {
    const data: Record<string, unknown> = { timestamp: timeMs / 1000 }
    for (const name of ['ask', 'bid'] as const) {
      const rows = changed(levels, name)
      // A side without changes is left out.
      if (rows.length > 0) data[`${name}s`] = rows
    }
    const params = [false, data, whitebitInstruments[index]!.wireSymbol]
    connection.send({ id: null, method: 'depth_update', params })
  },
}

const bitvavoInstruments = [instrument('BTC/EUR', 'BTC-EUR'), instrument('ETH/EUR', 'ETH-EUR')]

/** The snapshot is asked for on the socket when the first change has come. */
const bitvavo: Family = {
  id: 'bitvavo',
  instruments: bitvavoInstruments,
  received(connection, text, market) {
    const { action, channels, market: name } = JSON.parse(text)
    if (action === 'subscribe') {
      const { markets } = channels[0]
      connection.send({ event: 'subscribed', subscriptions: { book: markets } })
      for (const index of named(bitvavoInstruments, String(markets))) {
        connection.subscribed.add(index)
      }
    } else if (action === 'getBook') {
      const index = named(bitvavoInstruments, name)[0]!
      const book = market.books[index]!
      const bids = side(book, 'bid')
      const asks = side(book, 'ask')
      const response = { market: name, nonce: market.sequences[index], bids, asks }
      connection.send({ action, response })
    }
  },
  changed(connection, { index, levels, sequence }) {
    connection.send({
      event: 'book',
      market: bitvavoInstruments[index]!.wireSymbol,
      nonce: sequence,
      bids: changed(levels, 'bid'),
      asks: changed(levels, 'ask'),
    })
  },
}

const bitoproInstruments = [instrument('BTC/TWD', 'btc_twd'), instrument('ETH/TWD', 'eth_twd')]

function sendBitopro(connection: Connection, market: Market, index: number): void {
  const rows = (name: 'bid' | 'ask') =>
    side(market.books[index]!, name)
      .map(([price, amount]) => ({ price, amount, count: 1, total: amount }))
  connection.send({
    event: 'ORDER_BOOK',
    timestamp: market.timeMs,
    pair: bitoproInstruments[index]!.wireSymbol.toUpperCase(),
    limit: 20,
    scale: 0,
    bids: rows('bid'),
    asks: rows('ask'),
  })
}

/** One socket a market, named by its path; each frame is the whole book. */
const bitopro: Family = {
  id: 'bitopro',
  instruments: bitoproInstruments,
  opened(connection, market) {
    for (const index of named(bitoproInstruments, connection.path)) {
      connection.subscribed.add(index)
      sendBitopro(connection, market, index)
    }
  },
  received: () => {},
  changed: (connection, { index }, market) => sendBitopro(connection, market, index),
}

const hitbtcInstruments = [instrument('BTC/USDT', 'BTCUSDT'), instrument('ETH/USDT', 'ETHUSDT')]

function hitbtcEntry(timeMs: number, sequence: number, book: { a: unknown; b: unknown }) {
  return { t: timeMs, s: sequence, ...book }
}

/** Frames list markets by name; `snapshot` or `update` is the name of the list. */
const hitbtc: Family = {
  id: 'hitbtc',
  instruments: hitbtcInstruments,
  received(connection, text, market) {
    const { id, method, ch, params } = JSON.parse(text)
    if (method !== 'subscribe') return
    connection.send({ result: { ch, subscriptions: params.symbols }, id })
    const snapshot: Record<string, unknown> = {}
    for (const index of named(hitbtcInstruments, String(params.symbols))) {
      connection.subscribed.add(index)
      const book = market.books[index]!
      const sides = { a: side(book, 'ask'), b: side(book, 'bid') }
      const { wireSymbol } = hitbtcInstruments[index]!
      snapshot[wireSymbol] = hitbtcEntry(market.timeMs, market.sequences[index]!, sides)
    }
    connection.send({ ch, timestamp: market.timeMs, snapshot })
  },
  changed(connection, { index, levels, sequence, timeMs }: Change) {
    const sides = { a: changed(levels, 'ask'), b: changed(levels, 'bid') }
    const { wireSymbol } = hitbtcInstruments[index]!
    const update = { [wireSymbol]: hitbtcEntry(timeMs, sequence, sides) }
    connection.send({ ch: 'orderbook/full', timestamp: timeMs, update })
  },
}

export const families: readonly Family[] = [
  gate,
  kucoin,
  htx,
  bitget,
  mexc,
  deribit,
  cryptocom,
  bitstamp,
  gemini,
  hyperliquid,
  upbit,
  whitebit,
  bitvavo,
  bitopro,
  hitbtc,
]
