/** ccxt's exchanges through our adapter: frames of the real formats in, right books out. */
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import { WebSocketServer } from 'ws'
import { OrderBook } from '../../node_modules/ccxt/js/src/base/ws/OrderBook.js'
import { scaledToText } from '../../src/core/decimal.ts'
import { loadCcxtClass } from '../../src/exchanges/ccxt.ts'
import type { CcxtBook, CcxtExchange, CcxtSnapshot } from '../../src/exchanges/ccxt-client.ts'
import { Lane } from '../../src/exchanges/ccxt-lane.ts'
import type { CcxtFrame } from '../../src/exchanges/ccxt-session.ts'
import { until } from '../support/until.ts'
import { bybitFixture } from './bybit.fixture.ts'
import { CcxtClient } from './ccxt-stubs/client.ts'
import { type Connection, type Family, StubExchange } from './ccxt-stubs/exchange.ts'
import { bitget, cryptocom, families } from './ccxt-stubs/families.ts'
import { coinbaseFixture } from './coinbase.fixture.ts'
import type { Model, WireLevel } from './fixture.ts'
import { krakenFixture } from './kraken.fixture.ts'
import { Listener, type NaiveBook, withinHorizon } from './listener.ts'
import { okxFixture } from './okx.fixture.ts'

/** Only a failure takes so long, or a machine with other things to do. */
const WITHIN_MS = 20_000
/** Of all stubs. */
const PRICE_DECIMALS = 2
const CHANGES = 12
const decoder = new TextDecoder()
const PATIENT = { timeout: 60_000 }

/** Deterministic, and of no particular pattern. */
class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor(this.#state / 2 ** 32 * limit)
  }
}

/** Three levels that are different from what `book` holds; bids below 1000, asks above. */
function someChange(dice: Dice, book: NaiveBook): WireLevel[] {
  const levels: WireLevel[] = []
  const prices = new Set<string>()
  while (levels.length < 3) {
    const name = dice.below(2) === 0 ? 'bid' : 'ask'
    const ticks = (1 + dice.below(6)) * 25
    const price = ((100_000 + (name === 'bid' ? -ticks : ticks)) / 100).toString()
    const now = book.get(`${name} ${price}`)
    const size = now !== undefined && dice.below(3) === 0
      ? '0'
      : `${1 + dice.below(9)}.${1 + dice.below(9)}`
    if (size === now || prices.has(price)) continue
    prices.add(price)
    levels.push([name, price, size])
  }
  return levels
}

function sorted(levels: readonly (readonly string[])[]): string[] {
  return levels.map((level) => level.join(' ')).sort()
}

interface World {
  readonly stub: StubExchange
  readonly dice: Dice
  connect(): CcxtClient
  /** Waits until all books are live; an exchange may need traffic for that. */
  live(client: CcxtClient): Promise<void>
}

async function withWorld(family: Family, run: (world: World) => Promise<void>): Promise<void> {
  const stub = new StubExchange(family)
  await stub.listen()
  const dice = new Dice(family.id.length)
  const clients: CcxtClient[] = []
  for (let n = 0; n < 12; n++) stub.change(n % 2, someChange(dice, stub.books[n % 2]!))
  try {
    await run({
      stub,
      dice,
      connect: () => {
        clients.push(new CcxtClient(family.id, family.instruments, stub.authority))
        return clients.at(-1)!
      },
      live: async (client) => {
        await until(() => `live; ${client.troubles}`, WITHIN_MS, () => {
          if (client.isLive) return true
          assert.equal(client.closed, undefined)
          for (let n = 0; n < 8; n++) stub.change(n % 2, someChange(dice, stub.books[n % 2]!))
          return false
        })
        await same(client, stub)
      },
    })
    for (const client of clients) client.socket.terminate()
    await until('no socket is left', WITHIN_MS, () => stub.open === 0)
  } finally {
    for (const client of clients) client.socket.terminate()
    stub.close()
  }
}

async function same(client: CcxtClient, stub: StubExchange): Promise<void> {
  const { books, horizons } = client.listener
  const known = () =>
    stub.books.map((book, index) => withinHorizon(book, horizons[index]!, PRICE_DECIMALS))
  const text = (all: readonly (NaiveBook | undefined)[]) =>
    JSON.stringify(all.map((book) => book === undefined ? 'none' : sorted([...book])))
  await until(
    () => `${text(books)} is ${text(known())}; ${client.troubles}`,
    WITHIN_MS,
    () => text(books) === text(known()),
  )
}

type Scenario = (world: World) => Promise<void>

const changesThenReconnect: Scenario = async ({ stub, dice, connect, live }) => {
  const first = connect()
  await live(first)
  assert.deepEqual(first.listener.suspects, [])
  assert.deepEqual(first.listener.failures, [])

  const { outputs } = first.listener
  const before = outputs.length
  const expected: { index: number; levels: string[] }[] = []
  for (let n = 0; n < CHANGES; n++) {
    const index = dice.below(2)
    const levels = someChange(dice, stub.books[index]!)
    expected.push({ index, levels: sorted(levels) })
    stub.change(index, levels)
  }
  await until(
    () => `${outputs.length - before} of ${CHANGES} deltas; ${first.troubles}`,
    WITHIN_MS,
    () => outputs.length - before >= CHANGES,
  )
  const got = outputs.slice(before)
  assert.ok(got.every(({ kind }) => kind === 'delta'))
  // Books with sockets of their own come in no common order.
  for (const own of [0, 1]) {
    assert.deepEqual(
      got.filter(({ index }) => index === own).map(({ levels }) => sorted(levels)),
      expected.filter(({ index }) => index === own).map(({ levels }) => levels),
    )
  }
  await same(first, stub)

  stub.cut()
  await until('the loss is told', WITHIN_MS, () => first.closed !== undefined)
  const ghosts = [...stub.books[0]!].slice(0, 2).map(([key]) => key.split(' '))
  stub.change(0, ghosts.map(([name, price]) => [name as 'bid' | 'ask', price!, '0']))
  const second = connect()
  await live(second)
  for (const [name, price] of ghosts) {
    const own = second.listener.outputs.find(({ kind, index }) =>
      kind === 'snapshot' && index === 0
    )!
    const isBack = stub.books[0]!.has(`${name} ${price}`)
    assert.ok(isBack || !second.listener.books[0]!.has(`${name} ${price}`))
    assert.ok(own.levels.length > 0)
  }
}

const resync: Scenario = async ({ stub, connect, live }) => {
  const client = connect()
  await live(client)
  const { listener } = client
  const snapshots = (own: number) =>
    listener.outputs.filter(({ kind, index }) => kind === 'snapshot' && index === own).length
  const others = snapshots(1)
  const opened = stub.opened
  client.session.resync(0)
  listener.books[0] = undefined
  await live(client)
  assert.ok(stub.opened > opened, 'it came over a socket of its own')
  assert.equal(snapshots(0), 2)
  assert.equal(snapshots(1), others)
  assert.deepEqual(listener.suspects, [])
}

/** All families at once when the first result is wanted: most of their time is waiting. */
function together(scenario: Scenario): (family: Family) => Promise<void> {
  let all: Map<Family, Promise<unknown>> | undefined
  return async (family) => {
    // Loading a class blocks everything else; it must not count as waiting.
    if (all === undefined) { for (const { id } of families) await loadCcxtClass(id) }
    all ??= new Map(families.map((each) => [
      each,
      withWorld(each, scenario).then(() => undefined, (error) => error),
    ]))
    const error = await all.get(family)
    if (error !== undefined) throw error
  }
}

describe('families', () => {
  const reconnected = together(changesThenReconnect)
  const resynced = together(resync)
  for (const family of families) {
    test(
      `${family.id}: each change is one delta, a reconnect replaces the book`,
      PATIENT,
      () => reconnected(family),
    )
  }
  for (const family of families) {
    test(
      `${family.id}: a resync replaces one book and leaves the other alone`,
      PATIENT,
      () => resynced(family),
    )
  }
})

describe('what ccxt finds wrong', () => {
  test(
    'a checksum that does not match: nothing of that frame is told',
    PATIENT,
    () =>
      withWorld(bitget, async ({ stub, dice, connect, live }) => {
        const client = connect()
        await live(client)
        const { listener } = client
        const before = listener.outputs.length
        bitget.brokenChecksums = 1
        stub.change(0, someChange(dice, stub.books[0]!))
        await until('suspect', WITHIN_MS, () => listener.suspects.length > 0)
        assert.equal(listener.outputs.length, before)
        assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [
          [0, 'checksum'],
        ])
        stub.change(1, someChange(dice, stub.books[1]!))
        await until('the other goes on', WITHIN_MS, () => listener.outputs.length === before + 1)
        client.session.resync(0)
        await live(client)
        assert.equal(client.closed, undefined)
      }),
  )

  test(
    'a gap in the sequence: the symbol is suspect, the other goes on',
    PATIENT,
    () =>
      withWorld(cryptocom, async ({ stub, dice, connect, live }) => {
        const client = connect()
        await live(client)
        const { listener } = client
        const before = listener.outputs.length
        cryptocom.gaps = 1
        stub.change(1, someChange(dice, stub.books[1]!))
        await until('suspect', WITHIN_MS, () => listener.suspects.length > 0)
        assert.equal(listener.suspects[0]!.index, 1)
        assert.equal(listener.suspects[0]!.reason, 'checksum')
        stub.change(1, someChange(dice, stub.books[1]!))
        stub.change(0, someChange(dice, stub.books[0]!))
        await until('the other goes on', WITHIN_MS, () => listener.outputs.length > before)
        assert.deepEqual(listener.outputs.slice(before).map(({ index }) => index), [0])
        client.session.resync(1)
        await live(client)
        assert.equal(client.closed, undefined)
      }),
  )
})

describe('errors', () => {
  test(
    'a refused batch is asked for one by one; only the one to blame is not served',
    PATIENT,
    () => {
      const deribit = families.find(({ id }) => id === 'deribit')!
      const sockets: Connection[] = []
      const picky: Family = {
        ...deribit,
        opened: (connection) => void sockets.push(connection),
        received(connection, text, market) {
          const { id, params } = JSON.parse(text)
          if (params.channels.length === 1 && params.channels[0].includes('BTC')) {
            return deribit.received(connection, text, market)
          }
          // Names no channel.
          const error = { code: -32602, message: 'Invalid params' }
          connection.send({ jsonrpc: '2.0', id, error })
        },
      }
      return withWorld(picky, async ({ connect, stub }) => {
        const client = connect()
        const { listener } = client
        await until(
          () => `one live, one refused; ${client.troubles}`,
          WITHIN_MS,
          () => listener.books[0] !== undefined && listener.failures.length > 0,
        )
        assert.deepEqual(
          listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
          [
            ['E_SUBSCRIBE', 'symbol', 'ETH/USD:ETH'],
          ],
        )
        assert.match(listener.failures[0]!.message, /Invalid params/)
        assert.deepEqual(listener.suspects, [])
        const before = listener.outputs.length
        stub.change(0, [['bid', '900', '3']])
        await until('BTC goes on', WITHIN_MS, () => listener.outputs.length > before)
        assert.equal(client.closed, undefined)
        // The socket of the batch serves nobody any more.
        sockets[0]!.send('{"jsonrpc":')
        await until('its end', WITHIN_MS, () => stub.open === 1)
        stub.change(0, [['bid', '900', '4']])
        await until('BTC goes on', WITHIN_MS, () => listener.outputs.length > before + 1)
        assert.equal(client.closed, undefined)
      })
    },
  )

  test('the loss of the socket of one symbol is a matter of that symbol', PATIENT, () => {
    const whitebit = families.find(({ id }) => id === 'whitebit')!
    const sockets: { subscribed: Set<number>; send(message: unknown): void }[] = []
    const watched: Family = {
      ...whitebit,
      opened: (connection) => void sockets.push(connection),
    }
    return withWorld(watched, async ({ connect, live, stub }) => {
      const client = connect()
      await live(client)
      client.session.resync(1)
      client.listener.books[1] = undefined
      await live(client)
      assert.equal(sockets.length, 2)
      // Cut in the middle of a frame.
      sockets[1]!.send('{"method":"depth_update","params":[fal')
      await until('suspect', WITHIN_MS, () => client.listener.suspects.length > 0)
      const { index, reason, detail } = client.listener.suspects[0]!
      assert.deepEqual([index, reason], [1, 'disconnect'])
      assert.match(detail, /not JSON/)
      assert.equal(client.closed, undefined)
      const before = client.listener.outputs.length
      stub.change(0, [['ask', '1100', '3']])
      await until('goes on', WITHIN_MS, () => client.listener.outputs.length > before)
    })
  })

  test(
    'a frame that cannot be read ends the connection',
    PATIENT,
    () =>
      withWorld(families[0]!, async ({ stub, connect, live }) => {
        const client = connect()
        await live(client)
        stub.say('{"channel":"spot.obu","result":')
        await until('closed', WITHIN_MS, () => client.closed !== undefined)
        assert.match(client.closed!, /not JSON/)
      }),
  )

  test('an exchange that refuses everything is left alone for a while', PATIENT, () => {
    const kucoin = families.find(({ id }) => id === 'kucoin')!
    const strict: Family = {
      ...kucoin,
      rest: () => ({ code: '429000', msg: 'Too Many Requests' }),
    }
    return withWorld(strict, async ({ connect }) => {
      const client = connect()
      const { failures } = client.listener
      await until('told', WITHIN_MS, () => failures.length > 0)
      assert.equal(failures[0]!.code, 'E_RATE_LIMITED', failures[0]!.message)
      assert.equal(failures[0]!.scope, 'connection')
      assert.ok(failures[0]!.retryAfterMs! >= 10_000)
      assert.match(failures[0]!.message, /Too Many Requests/)
    })
  })

  test('of a symbol that is lost no snapshot is asked for any more', PATIENT, () => {
    const kucoin = families.find(({ id }) => id === 'kucoin')!
    const isBook = (path: string) => path.includes('level2_100') && path.includes('BTC-USDT')
    const poor: Family = {
      ...kucoin,
      rest: (request, market) =>
        isBook(request.path)
          ? { code: '400100', msg: 'no such book' }
          : kucoin.rest!(request, market),
    }
    return withWorld(poor, async ({ stub, dice, connect }) => {
      const client = connect()
      const { listener } = client
      await until(() => `refused, live; ${client.troubles}`, WITHIN_MS, () => {
        for (const index of [0, 1]) stub.change(index, someChange(dice, stub.books[index]!))
        return listener.failures.length > 0 && listener.books[1] !== undefined
      })
      const asked = () => stub.requests.filter(isBook).length
      const before = asked()
      for (let n = 0; n < 8; n++) {
        const { length } = listener.outputs
        stub.change(0, someChange(dice, stub.books[0]!))
        stub.change(1, someChange(dice, stub.books[1]!))
        await until('the other goes on', WITHIN_MS, () => listener.outputs.length > length)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      assert.equal(asked(), before)
    })
  })

  test('nobody listens: closed, with the reason', PATIENT, async () => {
    const stub = new StubExchange(families[0]!)
    await stub.listen()
    const { authority } = stub
    stub.close()
    const client = new CcxtClient('gate', families[0]!.instruments, authority)
    await until('closed', WITHIN_MS, () => client.closed !== undefined)
    assert.notEqual(client.closed, '')
    client.socket.terminate()
  })

  test('terminated before it was open: closed once, and nothing after that', PATIENT, async () => {
    const client = new CcxtClient('gate', families[0]!.instruments, '127.0.0.1:1')
    client.socket.terminate()
    client.socket.terminate()
    await until('closed', WITHIN_MS, () => client.closed !== undefined)
    await loadCcxtClass('gate')
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(client.opened, false)
  })
})

test('a book that is known in part is asked for again, and goes on in its run', PATIENT, () => {
  const kucoin = families.find(({ id }) => id === 'kucoin')!
  const KNOWN = 3
  let isLimited = false
  const shallow: Family = {
    ...kucoin,
    rest: (request, market) => {
      // deno-lint-ignore no-explicit-any
      const answer = kucoin.rest!(request, market) as any
      if (answer?.data.bids === undefined) return answer
      if (isLimited) return { code: '429000', msg: 'Too Many Requests' }
      const { bids, asks } = answer.data
      const data = { ...answer.data, bids: bids.slice(0, KNOWN), asks: asks.slice(0, KNOWN) }
      return { ...answer, data }
    },
  }
  return withWorld(shallow, async ({ stub, dice, connect, live }) => {
    const client = connect()
    await live(client)
    const { listener, session } = client
    const known = () => listener.realBooks[0]!.bids.count
    const best = () => [...listener.realBooks[0]!.levels(0)][0]![0]
    const erode = async () => {
      while (known() > 1) {
        const before = listener.outputs.length
        stub.change(0, [['bid', best(), '0']])
        await until('told', WITHIN_MS, () => listener.outputs.length > before)
      }
    }
    const refreshes = () => listener.outputs.filter(({ kind }) => kind === 'refreshed').length
    // ccxt asks for its snapshot when something comes.
    const refreshed = (count: number) =>
      until(() => `refreshed; ${client.troubles}`, WITHIN_MS, () => {
        stub.change(1, someChange(dice, stub.books[1]!))
        stub.change(0, [['ask', '1900', `${1 + dice.below(900)}`]])
        return refreshes() === count
      })
    for (let price = 960; price < 980; price += 2) stub.change(0, [['bid', `${price}`, '1']])
    await erode()
    isLimited = true
    session.refresh!(0)
    await until('given up', WITHIN_MS, () => {
      stub.change(0, [['ask', '1900', `${1 + dice.below(900)}`]])
      return client.frames.some((frame) => frame.t === 'lost' && frame.g === 1)
    })
    isLimited = false
    session.refresh!(0)
    await refreshed(1)
    assert.ok(known() >= KNOWN, `${known()} levels`)
    await same(client, stub)
    await erode()
    session.refresh!(0)
    await refreshed(2)
    assert.ok(known() >= KNOWN, `${known()} levels`)
    await same(client, stub)
    assert.deepEqual([listener.suspects, listener.failures, client.closed], [[], [], undefined])
    assert.equal(listener.outputs.filter(({ kind }) => kind === 'snapshot').length, 2)
    assert.ok(stub.open <= 2, `${stub.open} sockets`)
  })
})

test(
  'a paused connection tells the difference when it goes on',
  PATIENT,
  () =>
    withWorld(families[0]!, async ({ stub, dice, connect, live }) => {
      const client = connect()
      await live(client)
      const before = client.listener.outputs.length
      client.socket.pause()
      for (let n = 0; n < 6; n++) stub.change(0, someChange(dice, stub.books[0]!))
      // The other symbol's frames come behind them on the same socket.
      stub.change(1, [['bid', '900', '1']])
      await new Promise((resolve) => setTimeout(resolve, 50))
      assert.equal(client.listener.outputs.length, before)
      client.socket.resume()
      await same(client, stub)
      assert.deepEqual(
        client.listener.outputs.slice(before).map(({ kind, index }) => [kind, index]),
        [['delta', 0], ['delta', 1]],
      )
    }),
)

/** A ccxt exchange that does what its messages say. */
class FakeExchange {
  readonly id = 'fake'
  readonly options = {}
  readonly orderbooks: Record<string, CcxtBook> = {}
  handleMessage(_socket: unknown, message: () => void): void {
    message()
  }
  orderBook(snapshot: CcxtSnapshot = {}, depth?: number): CcxtBook {
    return new OrderBook(snapshot, depth as undefined) as unknown as CcxtBook
  }
  indexedOrderBook(): void {}
  countedOrderBook(): void {}
  client(): void {}
  onError(): void {}
  onClose(): void {}
  log(): void {}
  spawn(): void {}
  fetch(): void {}
  watchOrderBook(): Promise<unknown> {
    return new Promise(() => {})
  }
  async close(): Promise<void> {}
}

describe('a lane', () => {
  const instruments = ['BTC/USDT', 'ETH/USDT', 'SOL/USDT'].map((symbol) => ({
    symbol,
    wireSymbol: symbol,
    priceDecimals: 2,
    sizeDecimals: 2,
  }))

  function start(succeeds?: () => { nonce: number; timestampMs: number } | undefined) {
    const fake = new FakeExchange()
    const joined: number[] = []
    const exchange = fake as unknown as CcxtExchange
    const frames: CcxtFrame[] = []
    const ends: string[] = []
    const lane = new Lane({
      isPaused: false,
      emit: (frame) => void frames.push(frame),
      alive: () => {},
      joins: (_lane, { index }) => void joined.push(index),
      ended: (_lane, kind) => void ends.push(kind),
      split: () => {},
    }, {
      row: { load: () => Promise.reject(new Error('not loaded here')) },
      exchange,
      places: instruments.map((instrument, index) => ({ index, instrument, generation: 0 })),
      limit: undefined,
      batches: false,
      ...(succeeds === undefined ? {} : { succeeds }),
      redirectSocket: (url) => url,
      redirectRest: (url) => url,
    })
    lane.start()
    const say = (message: () => void) => void exchange.handleMessage(undefined as never, message)
    const fill = (symbol: string) =>
      say(() => {
        fake.orderbooks[symbol] = exchange.orderBook({ bids: [[1, 1]], asks: [[2, 1]] })
      })
    return { fake, lane, frames, ends, joined, say, fill }
  }

  test('an error in a message that names nobody may have cost any live book a change', () => {
    const { lane, frames, ends, say, fill } = start()
    fill('BTC/USDT')
    // The next one is being subscribed by now.
    say(() => {
      throw new TypeError('undefined is not an object')
    })
    assert.deepEqual(ends, [])
    const lost = frames.flatMap((frame) => frame.t === 'lost' ? [[frame.i, frame.r]] : [])
    assert.deepEqual(lost.sort(), [[0, 'gap'], [1, 'gap']])
    lane.dispose()
  })

  test('an answer that refuses somebody says nothing of live books', () => {
    const { lane, frames, say, fill } = start()
    fill('BTC/USDT')
    say(() => {
      throw new Error('bad request')
    })
    const lost = frames.flatMap((frame) => frame.t === 'lost' ? [[frame.i, frame.r]] : [])
    assert.deepEqual(lost, [[1, 'refused']])
    lane.dispose()
  })

  test('an error text of 1 MB names its symbol, is short and printable, within 50 ms', () => {
    for (const filler of ['A/', ' ', '\n\u2028\x1b', 'USDT ', '"']) {
      const { lane, frames, say, fill } = start()
      fill('BTC/USDT')
      const text = `ETH/USDT is unknown ${filler.repeat(1e6 / filler.length)}`
      const begun = performance.now()
      say(() => {
        throw new Error(text)
      })
      const ms = performance.now() - begun
      const lost = frames.flatMap((frame) => frame.t === 'lost' ? [frame] : [])
      assert.deepEqual(lost.map(({ i, r }) => [i, r]), [[1, 'refused']])
      assert.ok(lost[0]!.m.length <= 501, `${lost[0]!.m.length} characters`)
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(lost[0]!.m, /[\x00-\x1f\u2028]/)
      assert.ok(ms < 50, `${ms} ms`)
      lane.dispose()
    }
  })

  test('a lane that is to take over waits until its book is as new as the live one', () => {
    let live = { nonce: 10, timestampMs: -1 }
    const { fake, lane, frames, joined, say } = start(() => live)
    say(() => {
      const { orderBook } = fake as unknown as CcxtExchange
      const book = orderBook({ bids: [[1, 1]], asks: [[2, 1]] })
      Object.assign(book, { nonce: 8 })
      fake.orderbooks['BTC/USDT'] = book
    })
    const book = fake.orderbooks['BTC/USDT']!
    const change = (nonce: number, size: number) =>
      say(() => {
        Object.assign(book, { nonce })
        book.bids.storeArray([1, size])
      })
    change(9, 2)
    live = { nonce: 11, timestampMs: -1 }
    change(10, 3)
    assert.deepEqual([frames, joined], [[], []])
    change(11, 4)
    assert.deepEqual(joined, [0])
    change(12, 5)
    const said = frames.map((frame) => frame.t === 'lost' ? 'lost' : JSON.stringify(frame))
    assert.deepEqual(said, [
      '{"t":"refreshed","h":0,"i":0,"g":0,"n":11,"ts":-1,"b":[["1","4"]],"a":[["2","1"]]}',
      '{"t":"delta","i":0,"g":0,"n":12,"ts":-1,"b":[["1","5"]],"a":[]}',
    ])
    lane.dispose()
  })

  test('of a lost book no prices are noted any more', () => {
    const { fake, lane, fill, say } = start()
    fill('BTC/USDT')
    const book = fake.orderbooks['BTC/USDT']!
    let noted = 0
    const { add } = Set.prototype
    Set.prototype.add = function (value) {
      if (typeof value === 'number') noted++
      return add.call(this, value)
    }
    try {
      say(() => book.bids.storeArray([0.5, 1]))
      assert.equal(noted, 1)
      lane.mute(0)
      for (let n = 0; n < 9; n++) say(() => book.bids.storeArray([0.1 + n / 100, 1]))
    } finally {
      Set.prototype.add = add
    }
    assert.equal(noted, 1)
    lane.dispose()
  })
})

describe('the same frames through both engines', () => {
  for (const fixture of [coinbaseFixture, krakenFixture, bybitFixture, okxFixture]) {
    const { adapter, depth } = fixture
    test(adapter.exchange, PATIENT, async () => {
      await loadCcxtClass(adapter.exchange)
      // Of one segment, and without other names of markets that are listed already.
      const segment = adapter.segment?.(fixture.instruments[0]!)
      const instruments = fixture.instruments.filter((instrument) =>
        adapter.segment?.(instrument) === segment &&
        (adapter.canonical?.(instrument.wireSymbol) ?? instrument.wireSymbol) ===
          instrument.wireSymbol
      )
      const recorded: Uint8Array[] = []
      const models: Model[] = []
      const flush = () => {
        for (const { bytes } of models[0]!.outgoing.splice(0)) {
          recorded.push(bytes)
          for (const socket of sockets.clients) socket.send(decoder.decode(bytes))
        }
      }
      const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
      sockets.on('connection', (socket) => {
        const model = fixture.connect()
        models.push(model)
        // A market without any order would not be told from one that has no snapshot yet.
        for (const [index, { priceDecimals }] of fixture.instruments.entries()) {
          model.change(index, [
            ['bid', scaledToText(4900, priceDecimals), '1'],
            ['ask', scaledToText(5100, priceDecimals), '2'],
          ])
        }
        model.outgoing.length = 0
        socket.on('message', (data) => {
          models[0]!.receive(String(data))
          flush()
        })
      })
      await new Promise((resolve) => sockets.once('listening', resolve))
      const { port } = sockets.address() as AddressInfo
      const client = new CcxtClient(adapter.exchange, instruments, `127.0.0.1:${port}`, depth)
      try {
        await until(() => `live; ${client.troubles}`, WITHIN_MS, () => client.isLive)
        const dice = new Dice(7)
        for (let n = 0; n < 60; n++) {
          const index = dice.below(instruments.length)
          const { priceDecimals, sizeDecimals } = instruments[index]!
          const levels = Array.from({ length: 1 + dice.below(4) }, (): WireLevel => {
            const name = dice.below(2) === 0 ? 'bid' : 'ask'
            const ticks = 5000 + (name === 'bid' ? -1 : 1) * (1 + dice.below(9))
            const size = dice.below(3) === 0 ? 0 : 1 + dice.below(1000)
            return [name, scaledToText(ticks, priceDecimals), scaledToText(size, sizeDecimals)]
          })
          models[0]!.change(fixture.instruments.indexOf(instruments[index]!), levels)
          flush()
        }
        assert.equal(models.length, 1)
        const native = new Listener(instruments)
        const session = adapter.open(instruments, native, depth)
        session.opened()
        for (const frame of recorded) session.received(frame, 1)
        assert.deepEqual(native.failures, [])
        assert.deepEqual(native.suspects, [])
        const books = (listener: Listener) =>
          listener.books.map((book) => sorted([...book!].map(([key, size]) => [key, size])))
        assert.ok(native.books.every((book) => book !== undefined && book.size > 2))
        await until(
          () => `${JSON.stringify(books(client.listener))} is ${JSON.stringify(books(native))}`,
          WITHIN_MS,
          () => JSON.stringify(books(client.listener)) === JSON.stringify(books(native)),
        )
        assert.deepEqual(client.listener.suspects, [])
      } finally {
        client.socket.terminate()
        sockets.close()
      }
    })
  }
})
