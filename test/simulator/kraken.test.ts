import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import ccxt from 'ccxt'
import type { ExchangeOptions } from '../../src/simulator/exchange.ts'
import { Floor } from './floor.ts'

const SYMBOLS = ['BTC/USD', 'ETH/EUR', 'SHIB/USD']

/** CRC-32, bit by bit. */
function crc(text: string): number {
  let register = 0xffffffff
  for (const one of text) {
    register ^= one.charCodeAt(0)
    for (let bit = 0; bit < 8; bit++) {
      register = (register & 1) === 1 ? (register >>> 1) ^ 0xedb88320 : register >>> 1
    }
  }
  return (register ^ 0xffffffff) >>> 0
}

const digits = (token: string): string => token.replace('.', '').replace(/^0+/, '')

/** Believes every frame; keeps the tokens of the wire, cut out of the raw text. */
class Client {
  readonly #depth: number
  readonly bids = new Map<string, Map<string, string>>()
  readonly asks = new Map<string, Map<string, string>>()
  checked = 0
  wrong = 0
  orphans = 0
  repeated = 0

  constructor(depth: number) {
    this.#depth = depth
  }

  receive(text: string): void {
    if (!text.startsWith('{"channel":"book"')) return
    const symbol = /"symbol":"([^"]+)"/.exec(text)![1]!
    const isSnapshot = text.includes('"type":"snapshot"')
    if (isSnapshot) {
      this.bids.set(symbol, new Map())
      this.asks.set(symbol, new Map())
    }
    for (const name of ['bids', 'asks'] as const) {
      const side = this[name].get(symbol)!
      const list = new RegExp(`"${name}":\\[(.*?)\\]`).exec(text)![1]!
      const seen = new Set<string>()
      for (const [, price, size] of list.matchAll(/\{"price":([\d.]+),"qty":([\d.]+)\}/g)) {
        if (seen.has(price!)) this.repeated++
        seen.add(price!)
        if (Number(size) !== 0) side.set(price!, size!)
        else if (!side.delete(price!)) this.orphans++
      }
    }
    const { bids, asks } = this.#rows(symbol)
    const sorted = { bids: bids.slice(0, this.#depth), asks: asks.slice(0, this.#depth) }
    this.bids.set(symbol, new Map(sorted.bids))
    this.asks.set(symbol, new Map(sorted.asks))
    const top = [...sorted.asks.slice(0, 10), ...sorted.bids.slice(0, 10)]
    const expected = crc(top.map(([price, size]) => digits(price) + digits(size)).join(''))
    this.checked++
    if (expected !== Number(/"checksum":(\d+)/.exec(text)![1])) this.wrong++
  }

  #rows(symbol: string): { bids: [string, string][]; asks: [string, string][] } {
    return {
      bids: [...this.bids.get(symbol)!].sort((a, b) => Number(b[0]) - Number(a[0])),
      asks: [...this.asks.get(symbol)!].sort((a, b) => Number(a[0]) - Number(b[0])),
    }
  }

  /** Canonical. */
  book(symbol: string): { bids: [string, string][]; asks: [string, string][] } {
    const plain = (token: string) =>
      token.includes('.') ? token.replace(/0+$/, '').replace(/\.$/, '') : token
    const rows = this.#rows(symbol)
    const side = (list: [string, string][]) =>
      list.map(([price, size]): [string, string] => [plain(price), plain(size)])
    return { bids: side(rows.bids), asks: side(rows.asks) }
  }
}

function floorWith(
  depth: number,
  options: Partial<ExchangeOptions> = {},
): { floor: Floor; client: Client; id: number } {
  const client = new Client(depth)
  const floor = new Floor(
    'kraken',
    { symbols: SYMBOLS, levels: 60, rate: 300, updates: 4, ...options },
    (connection, text) => connection === 1 && client.receive(text),
  )
  const id = floor.connect('/v2')
  floor.say(id, {
    method: 'subscribe',
    params: { channel: 'book', symbol: SYMBOLS, depth },
    req_id: 7,
  })
  return { floor, client, id }
}

const books = (floor: Floor, id: number) =>
  floor.of(id).filter((text) => text.startsWith('{"channel":"book"'))

describe('kraken books', () => {
  for (const depth of [10, 25, 100]) {
    for (const pushMs of [0, 100]) {
      test(`depth ${depth}, merged over ${pushMs} ms: checksums hold, books are true`, () => {
        const { floor, client } = floorWith(depth, { pushMs })
        let compared = 0
        for (let i = 0; i < 200; i++) {
          floor.run(10)
          if (pushMs > 0) floor.exchange.flush(floor.nowMs)
          for (const symbol of client.bids.keys()) {
            const { bids, asks } = floor.exchange.truth(symbol, depth)!
            assert.deepEqual(client.book(symbol), { bids, asks })
            compared++
          }
        }
        assert.ok(compared > 500)
        assert.equal(client.wrong, 0)
        assert.equal(client.orphans, 0, 'no delete for what a client does not have')
        assert.ok(client.checked > 100)
        if (depth === 10 && pushMs === 0) assert.ok(client.repeated > 3)
      })
    }
  }

  test("tokens have fixed decimals, and the shape is the exchange's", () => {
    const { floor, id } = floorWith(10)
    floor.run(3000)
    const level = '\\{"price":\\d+\\.\\d,"qty":\\d+\\.\\d{8}\\}'
    const frame = new RegExp(
      `^\\{"channel":"book","type":"(snapshot|update)","data":\\[\\{"symbol":"BTC/USD","bids":\\[` +
        `(${level}(,${level})*)?\\],"asks":\\[(${level}(,${level})*)?\\],"checksum":\\d+,` +
        '"timestamp":"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z"\\}\\]\\}$',
    )
    const mine = books(floor, id).filter((text) => text.includes('"BTC/USD"'))
    assert.ok(mine.length > 50)
    for (const text of mine) assert.match(text, frame)
    assert.ok(mine.some((text) => text.includes('"qty":0.00000000}')))
    // A window that does not change is not told of: fewer frames than versions.
    assert.ok(mine.length < floor.exchange.version('BTC/USD'))
  })

  test('a lost frame shows in a checksum, in the end', () => {
    const { floor, id } = floorWith(10)
    floor.run(1000)
    const naive = new Client(10)
    let isLost = false
    for (const text of books(floor, id)) {
      if (!isLost && text.includes('"type":"update"') && text.includes('"BTC/USD"')) isLost = true
      else naive.receive(text)
    }
    assert.ok(naive.wrong > 0)
  })

  test('versions are known by connection, and books by version', () => {
    const { floor, client, id } = floorWith(10)
    floor.run(1000)
    const versions = floor.exchange.versionsSent('BTC/USD', id)
    assert.ok(versions.length > 20)
    assert.deepEqual([...versions].sort((a, b) => a - b), versions)
    const { bids, asks } = floor.exchange.bookAt('BTC/USD', versions.at(-1)!, 10)!
    assert.deepEqual(client.book('BTC/USD'), { bids, asks })
  })

  test('a wrong snapshot and a crossed update show in the checksum; nothing is tainted', () => {
    for (const variant of ['stale', 'missing']) {
      const { client, floor } = floorWith(10, {
        faults: [{ kind: 'wrong-snapshot', symbol: 'ETH/EUR', variant }],
      })
      floor.run(20)
      assert.ok(client.wrong > 0, variant)
      assert.equal(floor.exchange.isTainted('ETH/EUR', 1, 1e9), false)
    }
    const { client, floor } = floorWith(10, { faults: [{ kind: 'crossed', symbol: 'BTC/USD' }] })
    floor.run(500)
    assert.ok(client.wrong > 0)
  })
})

describe('the kraken protocol', () => {
  test('status on connect, one ack a symbol, each before its snapshot', () => {
    const { floor, id } = floorWith(10, { rate: 0 })
    floor.run(100)
    const texts = floor.of(id)
    assert.match(
      texts[0]!,
      /^\{"channel":"status","type":"update","data":\[\{"version":"[\d.]+","system":"online","api_version":"v2","connection_id":\d{20}\}\]\}$/,
    )
    for (const symbol of SYMBOLS) {
      const ack = texts.findIndex((text) =>
        text.includes('"success":true') && text.includes(`"${symbol}"`)
      )
      const snapshot = texts.findIndex((text) =>
        text.includes('"snapshot","data"') && text.includes(`"${symbol}"`)
      )
      assert.ok(ack > 0 && snapshot > ack, symbol)
      const { time_in: from, time_out: to, ...rest } = JSON.parse(texts[ack]!)
      assert.deepEqual(rest, {
        method: 'subscribe',
        req_id: 7,
        result: { channel: 'book', depth: 10, snapshot: true, symbol },
        success: true,
      })
      assert.ok(from <= to)
    }
  })

  test('data may come before the ack, when so configured', () => {
    const { floor, id } = floorWith(10, { rate: 0, first: 'data' })
    floor.run(100)
    const kinds = floor.of(id).slice(1).map((text) => text.includes('"success"'))
    assert.deepEqual(kinds.slice(0, 2), [false, false])
    assert.equal(kinds.filter((isAck) => isAck).length, 3)
  })

  test('resync: unsubscribe with the same depth, then subscribe, gives a new snapshot', () => {
    const { floor, id, client } = floorWith(25)
    floor.run(200)
    const params = { channel: 'book', symbol: ['BTC/USD'] }
    floor.say(id, { method: 'unsubscribe', params: { ...params, depth: 10 } })
    assert.match(floor.of(id).at(-1)!, /"error":"Subscription Not Found".*"symbol":"BTC\/USD"/)
    floor.say(id, { method: 'unsubscribe', params: { ...params, depth: 25 }, req_id: 8 })
    const mark = floor.of(id).length
    floor.run(300)
    const later = floor.of(id).slice(mark)
    assert.ok(!later.some((text) => text.startsWith('{"channel":"book"') && text.includes('BTC')))
    assert.ok(later.some((text) => text.includes('"req_id":8') && text.includes('"success":true')))
    floor.say(id, { method: 'subscribe', params: { ...params, depth: 25 } })
    floor.run(300)
    const { bids, asks } = floor.exchange.truth('BTC/USD', 25)!
    assert.deepEqual(client.book('BTC/USD'), { bids, asks })
    assert.equal(client.wrong, 0)
  })

  test('refusals: unknown pair, wrong depth, twice, no JSON', () => {
    const { floor, id } = floorWith(10, { rate: 0 })
    const ask = (params: unknown) => {
      floor.say(id, { method: 'subscribe', params })
      return JSON.parse(floor.of(id).at(-1)!)
    }
    floor.run(100)
    const unknown = ask({ channel: 'book', symbol: ['XX/YY'] })
    assert.equal(unknown.error, 'Currency pair not supported XX/YY')
    assert.equal(unknown.success, false)
    assert.equal(unknown.symbol, 'XX/YY')
    assert.match(ask({ channel: 'book', symbol: ['XBT/USD'] }).error, /not supported XBT\/USD/)
    assert.match(ask({ channel: 'book', symbol: ['BTC/USD'], depth: 50 }).error, /depth/)
    assert.equal(ask({ channel: 'book', symbol: ['BTC/USD'] }).error, 'Already subscribed')
    floor.say(id, '{"method"')
    assert.match(floor.of(id).at(-1)!, /Invalid JSON/)
    floor.say(id, { method: 'ping', req_id: 3 })
    floor.run(10)
    assert.match(floor.of(id).at(-1)!, /^\{"method":"pong","req_id":3,"time_in"/)
    assert.equal(floor.exchange.stats.errors, 5)
  })

  test('a heartbeat each second of silence, none while data flow', () => {
    const { floor, id } = floorWith(10, { rate: 0 })
    floor.run(5100)
    const beats = floor.of(id).filter((text) => text === '{"channel":"heartbeat"}')
    assert.ok(beats.length >= 4 && beats.length <= 5, `${beats.length}`)
    floor.exchange.setRate(300)
    floor.run(100)
    const mark = floor.of(id).length
    floor.run(3000)
    assert.ok(!floor.of(id).slice(mark).includes('{"channel":"heartbeat"}'))
  })

  test('more than 20 messages a second break the rule, which is said', () => {
    const { floor, id } = floorWith(10, { rate: 0 })
    for (let i = 0; i < 20; i++) floor.say(id, { method: 'ping' })
    assert.equal(floor.exchange.stats.violations, 1)
    const [violation] = floor.exchange.violations
    assert.equal(violation!.rule, 'messages')
    assert.equal(violation!.connection, id)
    assert.match(floor.of(id).at(-1)!, /Exceeded msg rate/)
  })

  test('maintenance: status, silence, status; a new subscription goes on', () => {
    const { floor, id, client } = floorWith(10, { faults: [{ kind: 'maintenance', after: 100 }] })
    floor.run(5000)
    const status = floor.of(id).filter((text) => text.includes('"channel":"status"'))
    assert.deepEqual(
      status.map((text) => /"system":"(\w+)"/.exec(text)![1]),
      ['online', 'maintenance', 'online'],
    )
    const at = floor.of(id).indexOf(status[1]!)
    assert.ok(!floor.of(id).slice(at).some((text) => text.startsWith('{"channel":"book"')))
    assert.equal(floor.exchange.declared[0]!.kind, 'maintenance')
    const params = { channel: 'book', symbol: ['BTC/USD'], depth: 10 }
    floor.say(id, { method: 'unsubscribe', params })
    floor.say(id, { method: 'subscribe', params })
    floor.run(100)
    const { bids, asks } = floor.exchange.truth('BTC/USD', 10)!
    assert.deepEqual(client.book('BTC/USD'), { bids, asks })
  })

  test('a delisted pair is told of, and cannot be subscribed again', () => {
    const { floor, id } = floorWith(10, { faults: [{ kind: 'delist', symbol: 'ETH/EUR' }] })
    floor.run(1000)
    assert.equal(floor.exchange.isDelisted('ETH/EUR'), true)
    const tells = floor.of(id).filter((text) => text.includes('Currency pair not supported'))
    assert.equal(tells.length, 1)
    const version = floor.exchange.version('ETH/EUR')
    floor.run(1000)
    assert.equal(floor.exchange.version('ETH/EUR'), version)
    assert.equal(floor.exchange.declared.length, 1)
    const pairs = floor.get('/0/public/AssetPairs').body as { result: Record<string, unknown> }
    assert.deepEqual(Object.keys(pairs.result), ['XXBTZUSD', 'SHIBUSD'])
  })

  test('refused, ignored and slow subscriptions', () => {
    const { floor, id } = floorWith(10, {
      rate: 0,
      faults: [
        { kind: 'refuse', symbol: 'BTC/USD' },
        { kind: 'ignore', symbol: 'ETH/EUR' },
        { kind: 'slow', symbol: 'SHIB/USD', delayMs: 500 },
      ],
    })
    floor.run(490)
    assert.equal(books(floor, id).length, 0)
    assert.ok(!floor.of(id).some((text) => text.includes('ETH/EUR')))
    assert.ok(floor.of(id).some((text) => /not supported BTC\/USD/.test(text)))
    floor.run(50)
    assert.equal(books(floor, id).length, 1)
    assert.deepEqual(floor.exchange.declared.map((one) => one.kind), ['refuse', 'ignore', 'slow'])
  })

  test('other paths are not served', () => {
    const floor = new Floor('kraken', { symbols: SYMBOLS })
    assert.equal(floor.connect('/v1'), -2)
  })
})

describe('kraken REST', () => {
  test('ccxt reads the markets', async () => {
    const floor = new Floor('kraken', { symbols: [...SYMBOLS, 'DOGE/EUR', 'SOL/BTC'] })
    const client = new ccxt.kraken({ enableRateLimit: false })
    client.fetch = (url: string) => {
      const { pathname, search } = new URL(url)
      const { body } = floor.get(pathname + search)
      return Promise.resolve(JSON.parse(JSON.stringify(body)))
    }
    const markets = await client.loadMarkets()
    const expected = floor.exchange.products.map((product) => product.symbol)
    assert.deepEqual(Object.keys(markets).sort(), [...expected].sort())
    const bitcoin = markets['BTC/USD']!
    assert.equal(bitcoin.id, 'XXBTZUSD')
    assert.equal(bitcoin.precision.price, 0.1)
    assert.equal(bitcoin.precision.amount, 1e-8)
    assert.equal(bitcoin.active, true)
    assert.equal(bitcoin.info.wsname, 'XBT/USD')
    const tickers = await client.fetchTickers()
    assert.deepEqual(Object.keys(tickers).sort(), [...expected].sort())
    assert.ok(tickers['BTC/USD']!.quoteVolume! > tickers['ETH/EUR']!.quoteVolume!)
  })

  test('too many requests are refused', () => {
    const floor = new Floor('kraken', { symbols: SYMBOLS })
    const statuses = Array.from({ length: 24 }, (_, i) => {
      if (i > 20) floor.run(600, 600)
      return floor.get('/0/public/Time').status
    })
    assert.deepEqual(statuses.slice(19, 22), [200, 429, 429])
    assert.equal(statuses.at(-1), 418)
    assert.equal(floor.exchange.violations[0]!.rule, 'weight')
  })
})
