/** Signals against values worked out by fractions in another language, to 1e-12 of the value. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import type { Book, Signal } from '../../src/index.ts'
import {
  arbitrage,
  avellanedaStoikov,
  depthWithin,
  ewmaVol,
  imbalance,
  microPrice,
  mid,
  mlofi,
  ofi,
  pressure,
  slippageBps,
  slope,
  spreadBps,
  vwap,
  weightedMid,
} from '../../src/index.ts'
import { microPriceAdjustments, MicroPriceFit } from '../../src/strategy/signals/micro-price.ts'
import { bookOf, reload } from './books.ts'

function near(found: number, expected: number, tolerance = 1e-12): void {
  const error = Math.abs(found - expected)
  assert.ok(error <= tolerance * Math.abs(expected), `was ${found}, expected ${expected}`)
}

const B = bookOf('100x2 99.5x1 99x4', '100.5x1 101x3 102x5')

/** Runs a signal over books given as `bids`, `asks`, seconds. */
function run<S>(
  signal: Signal<S>,
  states: readonly (readonly [bids: string, asks: string, seconds?: number])[],
  seen: (value: S, i: number) => void,
): S {
  const live = bookOf('1x1', '2x1')
  const { value, restart, update } = signal.run()
  states.forEach(([bids, asks, seconds = 0], i) => {
    reload(live, bids, asks, seconds * 1e6)
    if (i === 0) restart(live)
    else update(live)
    seen(value, i)
  })
  return value
}

describe('signals of a book', () => {
  test('mid, spread, weighted mid', () => {
    near(mid(B), 100.25)
    near(spreadBps(B), 49.875311720698254)
    near(weightedMid(B), 301 / 3)
  })

  test('imbalance of one, two and three levels; NaN when there are fewer', () => {
    near(imbalance(B), 1 / 3)
    near(imbalance(B, 2), -1 / 7)
    near(imbalance(B, 3), -1 / 8)
    assert.ok(Number.isNaN(imbalance(B, 4)))
  })

  test('walking the book: price, rest, slippage', () => {
    near(vwap(B, 'buy', 3).price, 605 / 6)
    near(vwap(B, 'sell', 3).price, 599 / 6)
    near(vwap(B, 'buy', 10).price, 101.5)
    assert.equal(vwap(B, 'buy', 10).rest, 1)
    assert.equal(vwap(B, 'buy', 3).rest, 0)
    near(slippageBps(B, 'buy', 3), 58.187863674147964)
    near(slippageBps(B, 'sell', 3), 41.56275976724855)
    assert.ok(Number.isNaN(slippageBps(B, 'buy', 10)))
  })

  test('depth, pressure, slope', () => {
    assert.deepEqual(depthWithin(B, 50), { bids: 2, asks: 1 })
    assert.deepEqual(depthWithin(B, 100), { bids: 3, asks: 4 })
    assert.deepEqual(depthWithin(B, 150), { bids: 7, asks: 4 })
    near(pressure(B), 22 / 307)
    near(slope(B).bids, 0.052702857143, 1e-11)
    near(slope(B).asks, 0.051654237288, 1e-11)
    // The same by hand: distances 25, 75, 125 and 25, 75, 175 of 100.25 bps units.
    near(slope(B).bids, (25 * 2 + 75 * 3 + 125 * 7) / (625 + 5625 + 15625) * 1.0025)
    near(slope(B).asks, (25 * 1 + 75 * 4 + 175 * 9) / (625 + 5625 + 30625) * 1.0025)
  })

  test('a missing side gives NaN and throws nothing', () => {
    const table = { v: 1, tick: 0.5, buckets: 2, spreads: 1, adjustment: [[0], [0]] } as const
    for (const book of [bookOf('', ''), bookOf('100x1', ''), bookOf('', '100x1')]) {
      const values = [
        mid(book),
        spreadBps(book),
        weightedMid(book),
        imbalance(book),
        slippageBps(book, 'buy', 1),
        slippageBps(book, 'sell', 1),
        depthWithin(book, 10).bids,
        depthWithin(book, 10).asks,
        pressure(book),
        slope(book).bids,
        slope(book).asks,
        microPrice(book, table),
      ]
      assert.deepEqual(values, values.map(() => NaN))
    }
    const walk = vwap(bookOf('', ''), 'buy', 2)
    assert.deepEqual(walk, { price: NaN, rest: 2 })
    assert.ok(Number.isNaN(arbitrage(bookOf('', ''), B).edge))
  })

  test('our own resting orders are left out, and a level that is ours alone is none', () => {
    const book = bookOf('100.1x2 100x3 99.5x1', '100.5x2')
    book.bids.resting = new Map([[1_001_000, 20_000], [1_000_000, 10_000]])
    book.asks.resting = new Map([[1_005_000, 10_000]])
    near(mid(book), 100.25)
    near(weightedMid(book), 301 / 3)
    near(vwap(book, 'sell', 3).price, 299.5 / 3)
    near(imbalance(book), 1 / 3)
  })

  test('levels beyond what a double holds stay exact as text', () => {
    const book = bookOf('100.000000000000000001x0.12345678901234567891', '101x1')
    assert.deepEqual(book.bids.text(0), ['100.000000000000000001', '0.12345678901234567891'])
    near(mid(book), 100.5)
    assert.deepEqual(book.bids.text(1), ['', ''])
    assert.ok(Number.isNaN(book.bids.price(1)) && Number.isNaN(book.bids.size(-1)))
  })

  test('deep looks, then changes: a view never shows what was', () => {
    const many = (from: number, step: number) =>
      Array.from({ length: 100 }, (_, i) => `${from + i * step}x${i + 1}`).join(' ')
    const book = bookOf(many(1000, -1), many(1001, 1))
    assert.equal(book.bids.price(99), 901)
    assert.equal(book.asks.size(63), 64)
    reload(book, '500x7', '501x8', 2)
    assert.equal(book.bids.price(0), 500)
    assert.equal(book.bids.count, 1)
    assert.ok(Number.isNaN(book.bids.price(1)))
  })
})

describe('signals of a stream', () => {
  test('order flow imbalance', () => {
    const found: number[] = []
    const value = run(ofi(), [
      ['100x2', '100.5x1'],
      ['100x5', '100.5x1'],
      ['100.25x1', '100.5x4'],
      ['100.25x1', '101x3'],
      ['100x5', '100.75x2'],
    ], ({ last }) => found.push(last))
    assert.deepEqual(found, [NaN, 3, -2, 4, -3])
    assert.equal(value.sum, 2)
    assert.equal(value.take(), 2)
    assert.equal(value.sum, 0)
  })

  test('order flow imbalance of several levels', () => {
    run(mlofi(2), [['100x2 99.5x1', '100.5x1 101x3'], ['100.25x1 100x2', '100.5x4 101x3']], (
      value,
      i,
    ) => {
      if (i === 1) assert.deepEqual(value.map(({ last }) => last), [-2, 2])
    })
  })

  test('it begins anew after a gap, without an increment, and a missing side connects to nothing', () => {
    const live = bookOf('100x2', '100.5x1')
    const { value, restart, update } = ofi().run()
    restart(live)
    reload(live, '100x5', '100.5x1', 2)
    update(live)
    assert.equal(value.sum, 3)
    reload(live, '90x50', '91x1', 3)
    restart(live)
    assert.equal(value.sum, 0)
    reload(live, '90x51', '91x1', 4)
    update(live)
    assert.equal(value.sum, 1)
    reload(live, '', '91x1', 5)
    update(live)
    assert.ok(Number.isNaN(value.last))
    reload(live, '90x9', '91x1', 6)
    update(live)
    assert.equal(value.sum, 1)
  })

  test('volatility in the time of the events', () => {
    const found: number[] = []
    run(ewmaVol(2), [
      ['100x1', '100.5x1', 0],
      ['100.25x1', '100.75x1', 1],
      ['99.75x1', '100.25x1', 3],
      ['99.75x1', '100.25x1', 4],
    ], ({ variance }) => found.push(variance))
    assert.ok(Number.isNaN(found[0]!))
    near(found[1]!, 6.203393773e-6, 1e-9)
    near(found[2]!, 1.014428074e-5, 1e-9)
    near(found[3]!, 6.152817291e-6, 1e-9)
    const [r1, r2] = [Math.log(100.5 / 100.25), Math.log(100 / 100.5)]
    const second = Math.exp(-1) * r1 * r1 + (1 - Math.exp(-1)) * r2 * r2 / 2
    near(found[1]!, r1 * r1)
    near(found[2]!, second)
    near(found[3]!, Math.exp(-0.5) * second)
  })

  test('events of the same moment add nothing, and their move is not lost', () => {
    const [once, twice] = [
      [['100x1', '100.5x1', 0], ['101x1', '101.5x1', 2]],
      [['100x1', '100.5x1', 0], ['100.5x1', '101x1', 0], ['101x1', '101.5x1', 2]],
    ] as const
    const last = (states: typeof once | typeof twice) => run(ewmaVol(2), states, () => {}).variance
    assert.equal(last(once), last(twice))
  })
})

describe('prices to trade at', () => {
  test('Avellaneda-Stoikov', () => {
    const quotes = avellanedaStoikov({
      mid: 100,
      position: 2,
      gamma: 0.1,
      sigma: 2,
      horizon: 0.5,
      k: 1.5,
    })
    near(quotes.price, 99.6)
    near(quotes.spread, 1.4907704227514279)
    near(quotes.ask - quotes.bid, quotes.spread)
  })

  test('arbitrage: the edge a unit, and both books walked while it gains', () => {
    const one = arbitrage(bookOf('99x1', '100x1'), bookOf('100.5x1', '101x1'), {
      buyFeeBps: 10,
      sellFeeBps: 20,
    })
    near(one.edge, 0.199)
    const both = arbitrage(bookOf('99x1', '100x1 100.2x2'), bookOf('100.5x2 100.35x5', '101x1'), {
      buyFeeBps: 5,
      sellFeeBps: 5,
    })
    near(both.size, 3)
    near(both.profit, 0.649125)
    const none = arbitrage(B, B)
    assert.ok(none.edge < 0 && none.size === 0 && none.profit === 0)
  })

  test('arbitrage says nothing of books too far apart in time', () => {
    const early = bookOf('99x1', '100x1', { receivedUs: 1_000_000 })
    const late = bookOf('101x1', '102x1', { receivedUs: 1_050_001 })
    assert.ok(Number.isNaN(arbitrage(early, late, { maxSkewMs: 50 }).edge))
    near(arbitrage(early, late, { maxSkewMs: 51 }).edge, 1)
    assert.equal(arbitrage(early, late).skewUs, 50_001)
  })
})

describe('micro-price', () => {
  test('adjustments from transitions', () => {
    const [down, up] = microPriceAdjustments(
      [[0.4, 0.2], [0.2, 0.4]],
      [[0.3, 0.1], [0.1, 0.3]],
      [-0.1, 0.1],
    )
    near(down!, -1 / 6)
    near(up!, 1 / 6)
    // Without going on after the first move it is the first adjustment alone.
    const [first] = microPriceAdjustments(
      [[0.4, 0.2], [0.2, 0.4]],
      [[0, 0], [0, 0]],
      [-0.1, 0.1],
    )
    near(first!, -1 / 8)
  })

  test('fitted from a stream: antisymmetric, in the direction of the pressure', () => {
    // A market where the heavier side wins: bids heavy, then up a tick; asks heavy, then down.
    const fit = new MicroPriceFit({ tick: 1, buckets: 2, spreads: 1 })
    let price = 100
    let seed = 7
    const random = () => (seed = seed * 16807 % 2147483647) / 2147483647
    for (let i = 0; i < 20_000; i++) {
      const up = random() < 0.5
      fit.add(bookOf(`${price}x${up ? 9 : 1}`, `${price + 1}x${up ? 1 : 9}`))
      if (random() < 0.8) price += up ? 1 : -1
    }
    assert.equal(fit.steps, 19_999)
    const table = fit.table()
    const [[down], [up]] = table.adjustment as [[number], [number]]
    near(up, -down, 1e-9)
    assert.ok(up > 0.7 && up < 1.1, `was ${up}`)
    const heavy = bookOf('100x9', '101x1') as Book
    near(microPrice(heavy, table), 100.5 + up)
    assert.ok(Number.isNaN(microPrice(bookOf('100x9', '102x1'), table)))
  })

  test('a market that never moves cannot be fitted', () => {
    const fit = new MicroPriceFit({ tick: 1, buckets: 2, spreads: 1 })
    for (let i = 0; i < 10; i++) fit.add(B)
    assert.throws(() => fit.table(), RangeError)
  })
})
