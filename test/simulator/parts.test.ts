import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ASK, BID } from '../../src/core/changes.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import { BookUpdate } from '../../src/simulator/book-update.ts'
import { Stream } from '../../src/simulator/connection.ts'
import { parseFault } from '../../src/simulator/faults.ts'
import type { FaultSpec } from '../../src/simulator/faults.ts'
import { Market } from '../../src/simulator/market.ts'
import { fixedText, listProducts, parseSymbol } from '../../src/simulator/products.ts'
import type { Listing } from '../../src/simulator/products.ts'
import { Random } from '../../src/simulator/random.ts'
import { twinOf, twins } from '../../src/simulator/registry.ts'
import { RateLimit } from '../../src/simulator/rate-limit.ts'
import { RestBudget } from '../../src/simulator/rest.ts'
import { UpdateIds } from '../../src/simulator/update-ids.ts'
import { Writer } from '../../src/simulator/writer.ts'
import { Floor } from './floor.ts'

const [BITCOIN] = listProducts(['BTC/USD'])

describe('a window of the best levels', () => {
  for (const deletesPushed of [true, false]) {
    test(`its changes give exactly the top of the book, deletes ${deletesPushed ? '' : 'not '}sent`, () => {
      for (let seed = 1; seed <= 6; seed++) {
        const depth = [1, 2, 5, 10, 25, 100][seed - 1]!
        const market = new Market(BITCOIN!, new Random(seed), { levels: 20, history: 64 })
        const stream = new Stream(0, market, { key: 'x', depth, deletesPushed })
        const update = new BookUpdate()
        const sides = [new Map<number, number>(), new Map<number, number>()]
        update.begin(stream, true, 0)
        stream.view!.addAll(update)
        for (let i = 0; i < update.count; i++) {
          sides[update.side[i]!]!.set(update.ticks[i]!, update.lots[i]!)
        }
        let pushed = 0
        for (let step = 0; step < 400; step++) {
          for (let i = step % 3; i >= 0; i--) market.step(3)
          update.begin(stream, false, 0)
          stream.view!.advance(update)
          const seen = new Set<string>()
          for (let i = 0; i < update.count; i++) {
            const side = sides[update.side[i]!]!
            const ticks = update.ticks[i]!
            const name = `${update.side[i]} ${ticks}`
            assert.ok(!seen.has(name), 'each price once')
            seen.add(name)
            if (update.lots[i] !== 0) {
              assert.notEqual(side.get(ticks), update.lots[i], 'only what changed')
              side.set(ticks, update.lots[i]!)
            } else assert.ok(side.delete(ticks), 'no delete for what was never sent')
          }
          const truth = market.rowsAt(market.version, depth)!
          for (const which of [BID, ASK]) {
            const rows = [...sides[which]!].sort((a, b) =>
              which === BID ? b[0] - a[0] : a[0] - b[0]
            )
            // What is below the window now was pushed out.
            for (const [ticks] of rows.slice(depth)) {
              pushed++
              sides[which]!.delete(ticks)
            }
            assert.deepEqual(rows.slice(0, depth), which === BID ? truth.bids : truth.asks)
          }
        }
        if (deletesPushed) assert.equal(pushed, 0)
        else if (depth < 15) assert.ok(pushed > 0, `depth ${depth}`)
      }
    })
  }
})

describe('what one frame says', () => {
  test('several versions merged: each price once, with its last size', () => {
    const market = new Market(BITCOIN!, new Random(4), { levels: 5, history: 64 })
    const stream = new Stream(0, market, { key: 'x', depth: Infinity })
    const before = market.rowsAt(0)!
    for (let i = 0; i < 40; i++) market.step(3)
    const update = new BookUpdate()
    update.begin(stream, false, 0)
    update.addMerged()
    const sides = [new Map(before.bids), new Map(before.asks)]
    const seen = new Set<string>()
    for (let i = 0; i < update.count; i++) {
      seen.add(`${update.side[i]} ${update.ticks[i]}`)
      if (update.lots[i] === 0) sides[update.side[i]!]!.delete(update.ticks[i]!)
      else sides[update.side[i]!]!.set(update.ticks[i]!, update.lots[i]!)
    }
    assert.equal(seen.size, update.count)
    const after = market.rowsAt(40)!
    assert.deepEqual([...sides[BID]!].sort((a, b) => b[0] - a[0]), after.bids)
    assert.deepEqual([...sides[ASK]!].sort((a, b) => a[0] - b[0]), after.asks)
    const merged = update.count
    update.begin(stream, false, 0)
    update.addLog()
    assert.ok(update.count > merged, `${update.count} changes, ${merged} prices`)
  })

  test('wrong on purpose: a level less, a level that crosses', () => {
    const market = new Market(BITCOIN!, new Random(4), { levels: 5, history: 64 })
    const stream = new Stream(0, market, { key: 'x', depth: Infinity })
    const update = new BookUpdate()
    update.begin(stream, true, 0)
    update.addBook()
    const { count } = update
    const third = update.ticks[2]
    assert.ok(update.omit())
    assert.equal(update.count, count - 1)
    assert.ok(![...update.ticks.subarray(0, 5)].includes(third!))
    assert.ok(update.cross())
    assert.equal(update.side[0], BID)
    assert.equal(update.ticks[0], market.best(ASK))
  })
})

describe('update ids', () => {
  test('ascend irregularly, and lead back to their version', () => {
    const ids = new UpdateIds(1000, 8, 8)
    const steps = new Set<number>()
    for (let version = 0; version < 500; version++) {
      assert.equal(ids.versionAt(ids.last(version)), version)
      assert.equal(ids.versionAt(ids.last(version + 1) - 1), version)
      steps.add(ids.last(version + 1) - ids.last(version))
    }
    assert.ok(steps.size > 5 && Math.min(...steps) >= 1)
    assert.equal(ids.versionAt(900), -1)
    assert.equal(new UpdateIds(7).last(3), 10)
  })
})

describe('products', () => {
  test('unified symbols of spot, swaps and futures', () => {
    const parts = { settle: undefined, expiry: undefined }
    assert.deepEqual(parseSymbol('BTC/USD'), { ...parts, base: 'BTC', quote: 'USD' })
    assert.deepEqual(parseSymbol('BTC-EUR'), { ...parts, base: 'BTC', quote: 'EUR' })
    assert.deepEqual(parseSymbol('BTC/USDT:USDT'), {
      base: 'BTC',
      quote: 'USDT',
      settle: 'USDT',
      expiry: undefined,
    })
    assert.deepEqual(parseSymbol('1000SHIB/USD:BTC-261225'), {
      base: '1000SHIB',
      quote: 'USD',
      settle: 'BTC',
      expiry: '261225',
    })
    for (const bad of ['BTC', 'btc/usd', 'BTC/USD:', 'BTC/USDT:USDT-2612', '']) {
      assert.equal(parseSymbol(bad), undefined, bad)
    }
  })

  const listing: Listing = {
    quotes: ['USDT', 'USDT:USDT'],
    wireSymbol: ({ base, quote, expiry }) => expiry === undefined ? base + quote : undefined,
    segment: ({ settle }) => settle === undefined ? 'spot' : 'linear',
    increments: ({ settle }, usual) => settle === undefined ? usual : { price: '0.5', size: '1' },
  }

  test('an exchange names them, segments them and sets their steps', () => {
    const products = listProducts(['BTC/USDT', 'BTC/USDT:USDT'], listing)
    assert.deepEqual(products.map((one) => [one.symbol, one.wireSymbol, one.segment]), [
      ['BTC/USDT', 'BTCUSDT', 'spot'],
      ['BTC/USDT:USDT', 'BTCUSDT', 'linear'],
    ])
    assert.deepEqual(products.map((one) => one.quoteIncrement), ['0.01', '0.5'])
    assert.equal(products[1]!.startTicks, 157712)
    assert.throws(() => listProducts(['BTC/USDT:USDT-261225'], listing), ObfeedError)
  })

  test('a number of them, the main quote first, names without end', () => {
    const products = listProducts(150, listing)
    assert.equal(new Set(products.map((one) => one.symbol)).size, 150)
    assert.equal(products[0]!.symbol, 'BTC/USDT')
    assert.ok(products.some((one) => one.symbol === 'BTC/USDT:USDT'))
    assert.equal(products.at(-1)!.symbol, 'COIN0030/USDT')
  })

  test('fixed decimals', () => {
    const cases: [string, number, number, number?][] = [
      ['1.2300', 12300, 4],
      ['1.230000', 12300, 4, 6],
      ['0.00000051', 51, 8],
      ['7', 7, 0],
      ['7.00', 7, 0, 2],
      ['0', 0, 0],
      ['0.000', 0, 3],
    ]
    const writer = new Writer()
    for (const [text, ...given] of cases) {
      assert.equal(fixedText(...given), text)
      writer.end = 0
      writer.fixed(...given)
      assert.equal(new TextDecoder().decode(writer.copy()), text)
    }
  })
})

describe('limits', () => {
  test('a window of time', () => {
    const limit = new RateLimit({ count: 3, perMs: 100 })
    assert.deepEqual([0, 10, 20, 30].map((at) => limit.take(at)), [true, true, true, false])
    assert.equal(limit.freeInMs(30), 70)
    assert.equal(limit.take(99), false)
    assert.equal(limit.take(100), true)
    assert.equal(limit.used(100), 3)
    assert.equal(limit.take(111, 2), false)
    assert.equal(limit.take(120, 2), true)
  })

  test('REST weight: 429 with a time, 418 for insistence', () => {
    const budget = new RestBudget({ count: 10, perMs: 60_000 })
    assert.equal(budget.refusal(10, 0), undefined)
    const over = { status: 429, isViolation: true }
    assert.deepEqual(budget.refusal(1, 20_000), { ...over, retryAfterS: 40 })
    // Sent before the answer could have arrived.
    assert.deepEqual(budget.refusal(1, 20_100), { ...over, retryAfterS: 40, isViolation: false })
    assert.deepEqual(budget.refusal(1, 21_000), { ...over, retryAfterS: 39 })
    assert.equal(budget.refusal(1, 60_000), undefined)
    budget.tell(429, 70_000, 5000)
    const statuses = [71_000, 72_000, 73_000].map((at) => budget.refusal(1, at)?.status)
    assert.deepEqual(statuses, [429, 429, 418])
    assert.deepEqual(budget.refusal(1, 190_000), { ...over, status: 418, retryAfterS: 120 })
    assert.equal(budget.refusal(1, 310_000), undefined)
  })
})

describe('faults of exchanges', () => {
  const cases: [string, FaultSpec][] = [
    ['delist:BTC/USDT:USDT', { kind: 'delist', symbol: 'BTC/USDT:USDT' }],
    ['stall:BTC/USDT:USDT:100', { kind: 'stall', symbol: 'BTC/USDT:USDT', after: 99 }],
    ['stall:tBTCUSD', { kind: 'stall', symbol: 'tBTCUSD' }],
    ['stall:BTC-USDT-SWAP:0.5', { kind: 'stall', symbol: 'BTC-USDT-SWAP', probability: 0.5 }],
    ['rest-error', { kind: 'rest-error' }],
    ['rest-error:0.1:503', { kind: 'rest-error', probability: 0.1, variant: '503' }],
    ['rest-error:30s:timeout', { kind: 'rest-error', everyMs: 30_000, variant: 'timeout' }],
    ['slow:0.5:2s', { kind: 'slow', probability: 0.5, delayMs: 2000 }],
    ['notice:30s', { kind: 'notice', everyMs: 30_000 }],
  ]
  for (const [text, spec] of cases) {
    test(text, () => assert.deepEqual(parseFault(text, ['notice']), spec))
  }
  test('the name of another exchange is refused, with those there are', () => {
    assert.throws(() => parseFault('notice'), /expected one of drop, .*rest-lag$/)
    assert.throws(() => parseFault('x', ['notice']), /rest-lag, notice$/)
  })
})

describe('every exchange', () => {
  for (const exchange of Object.keys(twins)) {
    const { rules, target, subscribeText } = twinOf(exchange)

    test(`${exchange} lists its usual products and serves each of them`, () => {
      const floor = new Floor(exchange, { symbols: rules.defaultSymbols, rate: 0, levels: 30 })
      for (const { symbol, wireSymbol } of floor.exchange.products) {
        assert.ok(rules.defaultSymbols.includes(symbol), symbol)
        const id = floor.connect(target?.(symbol))
        assert.ok(id > 0)
        floor.run(20)
        const mark = floor.of(id).length
        floor.say(id, subscribeText(wireSymbol))
        floor.run(2000)
        assert.equal(floor.exchange.connectionStats().find((one) => one.id === id)!.products, 1)
        floor.exchange.advanceOf(symbol, 50, floor.nowMs)
        assert.ok(floor.of(id).length > mark + 10, `${symbol}: ${floor.of(id).length} frames`)
        assert.equal(floor.exchange.stats.errors, 0)
        assert.ok(floor.exchange.versionsSent(symbol, id).length > 10)
      }
      assert.equal(floor.exchange.stats.violations, 0)
    })

    test(`${exchange}: the same seed and calls, the same frames`, () => {
      const run = (seed: number) => {
        const floor = new Floor(exchange, {
          symbols: rules.defaultSymbols,
          seed,
          rate: 300,
          levels: 20,
          updates: 3,
        })
        const [first] = floor.exchange.products
        const id = floor.connect(target?.(first!.symbol))
        floor.say(id, subscribeText(first!.wireSymbol))
        floor.run(1500)
        return floor.of(id)
      }
      const once = run(3)
      assert.ok(once.length > 20)
      assert.deepEqual(run(3), once)
      assert.notDeepEqual(run(4), once)
    })

    test(`${exchange}: ticking only when something is due loses nothing, and time goes on`, () => {
      const floor = new Floor(exchange, {
        symbols: rules.defaultSymbols,
        rate: 40,
        levels: 10,
        pushMs: 50,
      })
      const [first] = floor.exchange.products
      const id = floor.connect(target?.(first!.symbol))
      floor.say(id, subscribeText(first!.wireSymbol))
      const end = floor.nowMs + 3000
      let ticks = 0
      while (floor.exchange.nextDueMs() <= end) {
        floor.nowMs = Math.max(floor.nowMs + 0.01, floor.exchange.nextDueMs())
        floor.exchange.tick(floor.nowMs)
        assert.ok(++ticks < 2000, 'it advances')
      }
      assert.ok(Math.abs(floor.exchange.stats.versions - 120) <= 2)
      assert.ok(floor.of(id).length > 10)
    })
  }
})
