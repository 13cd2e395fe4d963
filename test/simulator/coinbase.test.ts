import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bookDigest } from '../../src/simulator/market.ts'
import { Floor } from './naive-client.ts'

const THREE = ['BTC-USD', 'ETH-EUR', 'MOG-USD']

function subscribed(floor: Floor, ids: readonly string[] = THREE): number {
  const id = floor.connect()
  floor.subscribe(id, ids)
  floor.subscribe(id, [], 'heartbeats')
  return id
}

describe('the stream', () => {
  test('same seed and same calls, same frames; another seed, others', () => {
    const run = (seed: number) => {
      const floor = new Floor({ symbols: THREE, seed, levels: 30, rate: 200 })
      subscribed(floor)
      floor.run(1000)
      subscribed(floor, ['BTC-USD'])
      floor.run(1000)
      return floor.sent.map((one) => `${one.connection} ${one.text}`)
    }
    const first = run(5)
    assert.ok(first.length > 400)
    assert.deepEqual(run(5), first)
    assert.notDeepEqual(run(6), first)
  })

  test('one product moves the same whatever else is listed', () => {
    const books = [['BTC-USD'], ['BTC-USD', 'ETH-USD']].map((symbols) => {
      const floor = new Floor({ symbols, seed: 3, levels: 10, rate: 0 })
      while (floor.exchange.version('BTC-USD') < 50) floor.exchange.advance(1, floor.nowMs)
      return floor.exchange.bookAt('BTC-USD', 50)
    })
    assert.deepEqual(books[0], books[1])
  })

  test('a client that applies every frame has the true book after each', () => {
    const floor = new Floor({ symbols: THREE, seed: 8, levels: 25, rate: 500, updates: 3 })
    const id = subscribed(floor)
    const client = floor.clients.get(id)!
    let compared = 0
    for (let i = 0; i < 300; i++) {
      floor.run(10)
      for (const symbol of THREE) {
        const truth = floor.exchange.truth(symbol)!
        assert.deepEqual(client.book(symbol), { bids: truth.bids, asks: truth.asks })
        compared++
      }
    }
    assert.equal(compared, 900)
    assert.equal(client.gaps, 0)
    assert.ok(client.orphans > 5, `${client.orphans} orphan deletes`)
    assert.ok(client.of('l2_data').some((frame) => frame.events![0]!.updates!.length === 0))
  })

  test('the truth as of a nonce is what the client had then, per connection', () => {
    const floor = new Floor({ symbols: THREE, seed: 8, levels: 12, rate: 300, history: 400 })
    const ids = [subscribed(floor), subscribed(floor, ['BTC-USD'])]
    const seen: { id: number; nonce: number; symbol: string; book: string; digest: number }[] = []
    for (let i = 0; i < 40; i++) {
      if (i === 20) ids.push(subscribed(floor, ['BTC-USD', 'MOG-USD']))
      floor.run(10)
      for (const id of ids) {
        const client = floor.clients.get(id)!
        for (const symbol of client.bids.keys()) {
          const { bids, asks } = client.book(symbol)
          seen.push({
            id,
            nonce: client.lastSequence,
            symbol,
            book: JSON.stringify([bids.slice(0, 5), asks.slice(0, 5)]),
            digest: bookDigest(bids, asks),
          })
        }
      }
    }
    assert.ok(seen.length > 100)
    for (const { id, nonce, symbol, book, digest } of seen.reverse()) {
      const [truth] = floor.exchange.truthAtNonce(symbol, id, nonce, 5)
      assert.equal(JSON.stringify([truth!.bids, truth!.asks]), book)
      const version = floor.exchange.versionAtNonce(symbol, id, nonce)
      assert.equal(floor.exchange.digestAt(symbol, version), digest)
    }
    assert.equal(floor.exchange.versionAtNonce('ETH-EUR', ids[1]!, 50), -1, 'never subscribed')
    const frame = floor.clients.get(ids[0]!)!.of('l2_data').at(-1)!
    const symbol = frame.events![0]!.product_id!
    const any = floor.exchange.truthAtNonce(symbol, 'any', frame.sequence_num!)
    const own = floor.exchange.truthAtNonce(symbol, ids[0]!, frame.sequence_num!)
    assert.ok(any.some((book) => book.version === own[0]!.version))
  })

  test('frames have the shape of the exchange', () => {
    const floor = new Floor({ symbols: ['BTC-USD'], levels: 2, rate: 0 })
    const id = subscribed(floor, ['BTC-USD'])
    floor.run(10)
    floor.exchange.advance(20, floor.nowMs)
    floor.run(1000)
    const texts = floor.sent.map((one) => one.text)
    const level = '\\{"side":"(bid|offer)","event_time":"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:' +
      '\\d\\d\\.\\d{6}Z","price_level":"\\d+(\\.\\d+)?","new_quantity":"\\d+(\\.\\d+)?"\\}'
    const time = '"timestamp":"\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{9}Z"'
    const data = new RegExp(
      `^\\{"channel":"l2_data",${time},"sequence_num":\\d+,"events":\\[\\{"type":` +
        `"(snapshot|update)","product_id":"BTC-USD","updates":\\[(${level}(,${level})*)?\\]\\}\\]\\}$`,
    )
    assert.equal(texts.filter((text) => data.test(text)).length, 21)
    const ack = texts.find((text) => text.includes('"subscriptions"'))!
    assert.match(
      ack,
      /"sequence_num":\d+,"events":\[\{"subscriptions":\{"heartbeats":\["heartbeats"\],"level2":\["BTC-USD"\]\}\}\]\}$/,
    )
    const beat = floor.clients.get(id)!.of('heartbeats')[0]!.events![0]!
    assert.equal(beat.heartbeat_counter, 0)
    assert.match(beat.current_time!, /^2026-11-22 \d\d:\d\d:\d\d\.\d{9} \+0000 UTC m=\+\d+\.\d{9}$/)
  })
})

describe('the protocol', () => {
  test('one sequence from 0 over all channels, the ack after the first data', () => {
    const floor = new Floor({ symbols: THREE, rate: 2000, levels: 10, ackDelayMs: 20 })
    const id = subscribed(floor)
    floor.run(3000)
    const client = floor.clients.get(id)!
    assert.deepEqual(
      client.frames.map((frame) => frame.sequence_num),
      client.frames.map((_, i) => i),
    )
    const channels = new Set(client.frames.map((frame) => frame.channel))
    assert.deepEqual([...channels].sort(), ['heartbeats', 'l2_data', 'subscriptions'])
    const firstAck = client.frames.findIndex((frame) => frame.channel === 'subscriptions')
    const before = client.frames.slice(0, firstAck)
    assert.equal(before[0]!.events![0]!.type, 'snapshot')
    assert.ok(before.some((frame) => frame.events![0]!.type === 'update'))
    const counters = client.of('heartbeats').map((frame) => frame.events![0]!.heartbeat_counter)
    assert.deepEqual(counters, [0, 1, 2].slice(0, counters.length))
    assert.ok(counters.length >= 2)
  })

  test('two connections have sequences of their own', () => {
    const floor = new Floor({ symbols: THREE, rate: 100, levels: 10 })
    const first = subscribed(floor)
    floor.run(500)
    const second = subscribed(floor)
    floor.run(500)
    assert.equal(floor.clients.get(second)!.frames[0]!.sequence_num, 0)
    assert.equal(floor.clients.get(first)!.gaps + floor.clients.get(second)!.gaps, 0)
  })

  test('no subscription within 5 seconds ends the connection and counts', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    const silent = floor.connect()
    const good = subscribed(floor)
    const late = floor.connect()
    floor.run(4900)
    floor.subscribe(late, ['BTC-USD'])
    floor.run(200)
    assert.deepEqual(floor.closed.map((one) => one.connection), [silent])
    assert.match(floor.closed[0]!.reason, /5 seconds/)
    assert.equal(floor.exchange.stats.violations, 1)
    assert.equal(floor.exchange.stats.connectionsOpen, 2)
    floor.run(100)
    assert.ok(floor.clients.get(good)!.frames.length > 0)
  })

  test('an idle connection is closed, one with heartbeats is not', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    const idle = floor.connect()
    floor.subscribe(idle, ['BTC-USD'])
    subscribed(floor)
    floor.run(89_000, 500)
    assert.equal(floor.closed.length, 0)
    floor.run(2_000, 500)
    assert.deepEqual(floor.closed.map((one) => one.connection), [idle])
  })

  test('unsubscribe stops the data and says what is left; a new subscription snapshots anew', () => {
    const floor = new Floor({ symbols: THREE, rate: 1000, levels: 10 })
    const id = subscribed(floor)
    floor.run(1500)
    const client = floor.clients.get(id)!
    floor.unsubscribe(id, ['BTC-USD'])
    const mark = client.frames.length
    floor.run(200)
    const after = client.frames.slice(mark)
    assert.ok(after.length > 50)
    assert.ok(!after.some((frame) => frame.events![0]!.product_id === 'BTC-USD'))
    const ack = after.find((frame) => frame.channel === 'subscriptions')!
    assert.deepEqual(ack.events![0]!.subscriptions, {
      heartbeats: ['heartbeats'],
      level2: ['ETH-EUR', 'MOG-USD'],
    })
    floor.subscribe(id, ['BTC-USD'])
    floor.run(200)
    const truth = floor.exchange.truth('BTC-USD')!
    assert.deepEqual(client.book('BTC-USD'), { bids: truth.bids, asks: truth.asks })
    assert.equal(client.gaps, 0, 'a snapshot does not restart the sequence')
    floor.unsubscribe(id, [], 'heartbeats')
    floor.unsubscribe(id, THREE)
    floor.run(100)
    assert.deepEqual(client.frames.at(-1)!.events![0]!.subscriptions, {})
  })

  test('unsubscribing before the snapshot left is acknowledged all the same', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    const id = floor.connect()
    floor.subscribe(id, ['BTC-USD'])
    floor.unsubscribe(id, ['BTC-USD'])
    floor.run(50)
    const client = floor.clients.get(id)!
    assert.deepEqual(client.frames.map((frame) => frame.channel), [
      'subscriptions',
      'subscriptions',
    ])
  })

  test('subscribing what is subscribed gives an ack and no second snapshot', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    const id = subscribed(floor, ['BTC-USD'])
    floor.run(50)
    floor.subscribe(id, ['BTC-USD', 'ETH-EUR'])
    floor.run(50)
    const snapshots = floor.clients.get(id)!.of('l2_data')
    assert.deepEqual(snapshots.map((frame) => frame.events![0]!.product_id), ['BTC-USD', 'ETH-EUR'])
  })

  test('BTC-USDC is another name of BTC-USD, but not of a product of its own', () => {
    const floor = new Floor({ symbols: ['BTC-USD', 'USDT-USDC', 'USDT-USD'], rate: 0 })
    const id = subscribed(floor, ['BTC-USDC', 'BTC-USD', 'USDT-USDC'])
    floor.run(50)
    const data = floor.clients.get(id)!.of('l2_data')
    assert.deepEqual(data.map((frame) => frame.events![0]!.product_id), ['BTC-USD', 'USDT-USDC'])
  })

  const refused: [string, unknown, RegExp][] = [
    ['not JSON', '{"type":', /not JSON/],
    ['not an object', 'null', /not an object/],
    ['an unknown type', { type: 'hello', channel: 'level2' }, /invalid type "hello"/],
    ['several channels', { type: 'subscribe', channels: ['level2'] }, /channel is required/],
    ['a private channel', { type: 'subscribe', channel: 'user' }, /^authentication failure$/],
    ['an unknown channel', { type: 'subscribe', channel: 'l2' }, /^authentication failure$/],
    ['no products', { type: 'subscribe', channel: 'level2' }, /product_ids is required/],
    [
      'an unknown product',
      { type: 'subscribe', channel: 'level2', product_ids: ['BTC-USD', 'NOPE-USD'] },
      /^NOPE-USD is not a valid product$/,
    ],
    [
      'a unified symbol',
      { type: 'subscribe', channel: 'level2', product_ids: ['BTC/USD'] },
      /^BTC\/USD is not a valid product$/,
    ],
  ]
  for (const [what, message, reply] of refused) {
    test(`${what} is refused with an error outside of the sequence`, () => {
      const floor = new Floor({ symbols: THREE, rate: 100 })
      const id = floor.connect()
      floor.say(id, message)
      floor.run(100)
      const client = floor.clients.get(id)!
      assert.equal(client.errors.length, 1)
      assert.match(client.errors[0]!, reply)
      assert.equal(client.frames.length, 1, 'nothing was subscribed')
      floor.subscribe(id, ['ETH-EUR'])
      floor.run(100)
      assert.equal(client.lastSequence, client.frames.length - 2)
      assert.equal(client.gaps, 0)
    })
  }

  test('with unknownProduct skip the others of the message are served', () => {
    const floor = new Floor({ symbols: THREE, rate: 0, unknownProduct: 'skip' })
    const id = floor.connect()
    floor.subscribe(id, ['NOPE-USD', 'BTC-USD'])
    floor.run(50)
    const client = floor.clients.get(id)!
    assert.deepEqual(client.errors, ['NOPE-USD is not a valid product'])
    assert.equal(client.of('l2_data').length, 1)
  })

  test('public channels without data are acknowledged', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    const id = floor.connect()
    floor.subscribe(id, ['BTC-USD'], 'ticker')
    floor.run(50)
    const [ack] = floor.clients.get(id)!.of('subscriptions')
    assert.deepEqual(ack!.events![0]!.subscriptions, { ticker: ['BTC-USD'] })
  })
})

describe('limits', () => {
  test('8 connects in any second, the ninth is refused and counted', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    for (let i = 0; i < 8; i++) assert.ok(floor.connect() > 0)
    assert.equal(floor.connect(), -1)
    floor.run(990)
    assert.equal(floor.connect(), -1)
    floor.run(10)
    assert.ok(floor.connect() > 0)
    assert.equal(floor.exchange.stats.violations, 2)
    assert.equal(floor.exchange.stats.connectionsRefused, 2)
  })

  test('8 client messages in any second over all connections', () => {
    const floor = new Floor({ symbols: THREE, rate: 0 })
    const ids = [floor.connect(), floor.connect()]
    for (let i = 0; i < 8; i++) floor.subscribe(ids[i % 2]!, [THREE[i % 3]!])
    assert.equal(floor.exchange.stats.violations, 0)
    floor.subscribe(ids[0]!, [], 'heartbeats')
    assert.equal(floor.exchange.stats.violations, 1)
    assert.deepEqual(floor.clients.get(ids[0]!)!.errors, ['rate limit exceeded'])
    floor.run(2500)
    assert.equal(floor.clients.get(ids[0]!)!.of('heartbeats').length, 0, 'it had no effect')
    floor.subscribe(ids[0]!, [], 'heartbeats')
    floor.run(2500)
    assert.ok(floor.clients.get(ids[0]!)!.of('heartbeats').length > 0)
  })

  test('or the connection ends, when so configured', () => {
    const options = {
      symbols: THREE,
      rate: 0,
      messagesPerSecond: 1,
      overLimit: 'disconnect',
    } as const
    const floor = new Floor(options)
    const id = floor.connect()
    floor.subscribe(id, ['BTC-USD'])
    floor.subscribe(id, ['ETH-EUR'])
    assert.deepEqual(floor.closed, [{ connection: id, code: 1008, reason: 'rate limit exceeded' }])
    assert.equal(floor.exchange.stats.connectionsOpen, 0)
  })
})

describe('time', () => {
  test('the rate is kept, evenly and independent of the step', () => {
    for (const step of [1, 7, 50]) {
      const floor = new Floor({ symbols: ['BTC-USD'], rate: 250 })
      floor.run(2100, step)
      const elapsed = floor.nowMs - 1_795_362_721_000
      assert.ok(Math.abs(floor.exchange.stats.versions - elapsed / 4) <= 1, `step ${step}`)
    }
  })

  test('a leap of the clock does not flood', () => {
    const floor = new Floor({ symbols: ['BTC-USD'], rate: 100 })
    const id = subscribed(floor, ['BTC-USD'])
    floor.run(100)
    const before = floor.clients.get(id)!.frames.length
    floor.nowMs += 60_000
    floor.exchange.tick(floor.nowMs)
    floor.run(20)
    const after = floor.clients.get(id)!
    assert.ok(after.frames.length - before <= 106, `${after.frames.length - before} frames`)
    assert.equal(after.of('heartbeats').length, 1)
  })

  test('ticking only when something is due loses nothing', () => {
    const floor = new Floor({ symbols: ['BTC-USD'], rate: 40, levels: 5 })
    const id = subscribed(floor, ['BTC-USD'])
    const end = floor.nowMs + 3000
    let ticks = 0
    while (floor.exchange.nextDueMs() <= end) {
      floor.nowMs = Math.max(floor.nowMs, floor.exchange.nextDueMs())
      floor.exchange.tick(floor.nowMs)
      assert.ok(++ticks < 1000, 'it advances')
    }
    const client = floor.clients.get(id)!
    assert.equal(client.of('heartbeats').length, 3)
    assert.equal(client.of('subscriptions').length, 2)
    assert.ok(Math.abs(client.of('l2_data').length - 121) <= 1)
  })

  test('paused, the market rests and the heartbeats go on', () => {
    const floor = new Floor({ symbols: ['BTC-USD'], rate: 1000, levels: 5 })
    const id = subscribed(floor, ['BTC-USD'])
    floor.run(100)
    floor.exchange.paused = true
    const version = floor.exchange.version('BTC-USD')
    floor.run(3000)
    assert.equal(floor.exchange.version('BTC-USD'), version)
    assert.ok(floor.clients.get(id)!.of('heartbeats').length >= 2)
    floor.exchange.paused = false
    floor.run(100)
    assert.ok(floor.exchange.version('BTC-USD') > version)
    assert.ok(floor.exchange.version('BTC-USD') <= version + 101, 'the pause is not caught up with')
  })

  test('snapshots of many products are spread over ticks', () => {
    const floor = new Floor({ symbols: 20, levels: 100, rate: 0, snapshotLevelsPerTick: 500 })
    const id = floor.connect()
    floor.subscribe(id, floor.exchange.products.map((product) => product.wireSymbol))
    floor.run(10)
    assert.ok(floor.clients.get(id)!.of('l2_data').length <= 4)
    floor.run(200)
    assert.equal(floor.clients.get(id)!.of('l2_data').length, 20)
  })

  test('skew makes the first product the busiest', () => {
    const floor = new Floor({ symbols: 10, levels: 5, rate: 0, skew: 1 })
    floor.exchange.advance(5000, floor.nowMs)
    const versions = floor.exchange.products.map((one) => floor.exchange.version(one.symbol))
    assert.equal(versions.reduce((sum, one) => sum + one), 5000)
    assert.ok(versions[0]! > versions[1]! && versions[1]! > versions[9]! * 2)
  })
})
