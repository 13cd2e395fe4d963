import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ASK, BID } from '../../src/core/changes.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import { bookDigest, Market } from '../../src/simulator/market.ts'
import { SideLevels } from '../../src/simulator/market-side.ts'
import { decimalText, listProducts } from '../../src/simulator/products.ts'
import { Random } from '../../src/simulator/random.ts'
import { twins } from '../../src/simulator/registry.ts'

function market(symbol: string, levels: number, seed: number, history = 2000): Market {
  return new Market(listProducts([symbol])[0]!, new Random(seed), { levels, history })
}

describe('random', () => {
  test('repeats by seed, differs between seeds, stays in range', () => {
    const draws = (seed: number) => {
      const random = new Random(seed)
      return Array.from({ length: 500 }, () => random.next())
    }
    assert.deepEqual(draws(7), draws(7))
    assert.notDeepEqual(draws(7), draws(8))
    assert.notDeepEqual(draws(1), draws(1 + 0x100000000), 'the high bits of a seed count')
    assert.ok(draws(3).every((draw) => draw >= 0 && draw < 1))
    const mean = draws(5).reduce((sum, draw) => sum + draw) / 500
    assert.ok(Math.abs(mean - 0.5) < 0.06, `mean ${mean}`)
  })
})

describe('decimal text', () => {
  const cases: [number, number, string][] = [
    [7885605, 2, '78856.05'],
    [7885600, 2, '78856'],
    [51, 8, '0.00000051'],
    [0, 8, '0'],
    [120, 0, '120'],
    [1, 1, '0.1'],
    [9007199254740991, 8, '90071992.54740991'],
  ]
  for (const [scaled, decimals, text] of cases) {
    test(`${scaled} with ${decimals} decimals`, () => {
      assert.equal(decimalText(scaled, decimals), text)
    })
  }
})

describe('one side', () => {
  test('equals a sorted map under random sets and deletes', () => {
    const random = new Random(11)
    const side = new SideLevels(0)
    const model = new Map<number, number>()
    for (let i = 0; i < 20_000; i++) {
      const key = random.below(300) - 150
      const lots = random.next() < 0.45 ? 0 : 1 + random.below(9)
      assert.equal(side.set(key, lots), model.get(key) ?? 0)
      if (lots === 0) model.delete(key)
      else model.set(key, lots)
      assert.equal(side.count, model.size)
      if (i % 500 !== 0) continue
      const sorted = [...model].sort((a, b) => a[0] - b[0])
      assert.deepEqual([...side.keys.subarray(0, side.count)], sorted.map((entry) => entry[0]))
      assert.deepEqual([...side.lots.subarray(0, side.count)], sorted.map((entry) => entry[1]))
    }
  })
})

describe('products', () => {
  test('a number gives that many distinct ones, beyond the list as well', () => {
    const products = listProducts(500)
    assert.equal(new Set(products.map((product) => product.wireSymbol)).size, 500)
    assert.equal(products[0]!.symbol, 'BTC/USD')
    assert.deepEqual(products.map((product) => product.index), products.map((_, i) => i))
  })
  test('scales are very different', () => {
    const [bitcoin, mog] = listProducts(['BTC-USD', 'MOG/USD'])
    assert.equal(bitcoin!.priceDecimals, 2)
    assert.equal(mog!.priceDecimals, 11)
    assert.equal(mog!.startTicks, 51_000)
  })
  test('an increment need not be a power of ten', () => {
    const [product] = listProducts([{ symbol: 'X/USD', price: 10, quoteIncrement: '0.05' }])
    assert.equal(product!.priceStep, 5)
    assert.equal(product!.startTicks, 200)
  })
  test('a bad name is refused and said', () => {
    assert.throws(() => listProducts(['btc']), (error: unknown) => {
      assert.ok(error instanceof ObfeedError)
      assert.match(error.message, /"btc", expected BASE\/QUOTE/)
      return true
    })
  })
})

describe('a market', () => {
  for (
    const [symbol, levels] of [
      ['BTC/USD', 1],
      ['BTC/USD', 2],
      ['ETH/USD', 20],
      ['MOG/USD', 300],
      ['SHIB/USD', 2000],
    ] as const
  ) {
    test(`${symbol} of ${levels} levels: never crossed, all kinds of change, bounded`, () => {
      const subject = market(symbol, levels, 3)
      const log = subject.log
      let inserts = 0
      let modifies = 0
      let deletes = 0
      let orphans = 0
      let empty = 0
      let lowest = Infinity
      let highest = 0
      for (let i = 0; i < 30_000; i++) {
        subject.step(2)
        const from = subject.changed
        if (from === log.changes) empty++
        for (let at = from; at < log.changes; at++) {
          if (log.old[at] === 0 && log.now[at] === 0) orphans++
          else if (log.old[at] === 0) inserts++
          else if (log.now[at] === 0) deletes++
          else modifies++
          assert.ok(Number.isSafeInteger(log.now[at]! * subject.product.sizeStep))
        }
        const bid = subject.best(BID)
        const ask = subject.best(ASK)
        assert.ok(!(bid >= ask), `crossed at version ${i}: ${bid} >= ${ask}`)
        assert.ok(!(bid < 1))
        if (bid < lowest) lowest = bid
        if (bid > highest) highest = bid
      }
      assert.equal(subject.version, 30_000)
      for (const count of [inserts, modifies, deletes, orphans, empty]) assert.ok(count > 20)
      assert.ok(highest > lowest, 'the middle drifts')
      assert.ok(subject.sides[BID].count <= levels * 1.6 + 8, `${subject.sides[BID].count}`)
      assert.ok(subject.sides[ASK].count <= levels * 1.6 + 8, `${subject.sides[ASK].count}`)
      if (levels >= 20) assert.ok(subject.sides[ASK].count >= levels * 0.5)
    })
  }

  test('the initial book is deep, thins out and lies on the increments', () => {
    const subject = market('BTC/USD', 20_000, 1)
    const bids = subject.sides[BID]
    assert.equal(bids.count, 20_000)
    const top = bids.keys[bids.count - 1]! - bids.keys[bids.count - 101]!
    const bottom = bids.keys[100]! - bids.keys[0]!
    assert.ok(bottom > top * 5, `${top} ticks for the top 100, ${bottom} for the last`)
    const book = subject.bookAt(0, 5)!
    assert.equal(book.bids.length, 5)
    for (const [price, size] of book.bids) {
      assert.match(price, /^\d+(\.\d{1,2})?$/)
      assert.match(size, /^\d+(\.\d{1,8})?$/)
    }
  })

  test('any version within the history is rebuilt exactly, in any order', () => {
    const subject = market('ETH/USD', 15, 9, 100)
    const books = [JSON.stringify(subject.bookAt(0))]
    for (let i = 1; i <= 3000; i++) {
      subject.step(4)
      books.push(JSON.stringify(subject.bookAt(i)))
    }
    assert.ok(subject.oldestVersion > 0)
    assert.ok(3000 - subject.oldestVersion >= 99)
    assert.equal(subject.bookAt(subject.oldestVersion - 1), undefined)
    assert.equal(subject.bookAt(3001), undefined)
    const random = new Random(4)
    for (let i = 0; i < 500; i++) {
      const version = subject.oldestVersion + random.below(3001 - subject.oldestVersion)
      assert.equal(JSON.stringify(subject.bookAt(version)), books[version])
    }
    // The cursor also survives the market moving on.
    for (let i = 3001; i < 3400; i++) {
      const old = subject.bookAt(i - 30)!
      if (i - 30 <= 3000) assert.equal(JSON.stringify(old), books[i - 30])
      subject.step(4)
    }
  })

  test('digests tell books apart', () => {
    const subject = market('BTC/USD', 10, 2)
    const digests = new Set<number>()
    const books = new Set<string>()
    for (let i = 0; i < 2000; i++) {
      const book = subject.bookAt(subject.version)!
      const digest = bookDigest(book.bids, book.asks)
      assert.ok(Number.isSafeInteger(digest) && digest >= 0)
      digests.add(digest)
      books.add(JSON.stringify([book.bids, book.asks]))
      subject.step(1)
    }
    assert.equal(digests.size, books.size)
    assert.notEqual(bookDigest([['1', '2']], []), bookDigest([], [['1', '2']]))
    assert.notEqual(bookDigest([['1', '23']], []), bookDigest([['12', '3']], []))
  })
})

describe('a market keeps its shape', () => {
  const FRAMES = 1_000_000
  /** Of one product, at 100 frames a second. */
  const MINUTE = 6000
  const SAMPLE_EVERY = 50

  /** In parts of the middle price: spread, and how far the levels of a side reach. */
  function shapeOf({ sides }: Market): Record<string, number> {
    const tops = sides.map(({ count, keys }) => keys[count - 1]!)
    const middle = (tops[BID]! - tops[ASK]!) / 2
    const reach = (side: number, rank: number) => {
      const { count, keys } = sides[side]!
      return (keys[count - 1]! - keys[Math.max(0, count - 1 - rank)]!) / middle
    }
    return {
      spread: (-tops[ASK]! - tops[BID]!) / middle,
      'bids, 20 levels': reach(BID, 20),
      'asks, 20 levels': reach(ASK, 20),
      'bids, three quarters': reach(BID, sides[BID].count * 3 >> 2),
      'asks, three quarters': reach(ASK, sides[ASK].count * 3 >> 2),
      bids: sides[BID].count,
      asks: sides[ASK].count,
      middle,
    }
  }

  for (const [name, twin] of Object.entries(twins)) {
    test(`${name}: a million frames stay within the range of the first minute`, () => {
      const { products } = twin.create({ symbols: 4, rate: 0 }, { frame() {}, close() {} })
      for (const product of products) {
        const subject = new Market(product, new Random(7 + product.index), {
          levels: 100,
          history: 1,
        })
        const least: Record<string, number> = {}
        const most: Record<string, number> = {}
        const beyond: Record<string, number> = {}
        let samples = 0
        for (let frame = 1; frame <= FRAMES / products.length; frame++) {
          subject.step(2)
          if (frame % SAMPLE_EVERY !== 0) continue
          const isLater = frame > MINUTE
          if (isLater) samples++
          for (const [what, value] of Object.entries(shapeOf(subject))) {
            if (!isLater) {
              least[what] = Math.min(least[what] ?? Infinity, value)
              most[what] = Math.max(most[what] ?? 0, value)
            } else if (value > 2 * most[what]! || (what !== 'spread' && value < least[what]! / 2)) {
              beyond[what] = (beyond[what] ?? 0) + 1
            }
            assert.ok(
              !(value > 5 * most[what]!),
              `${product.symbol} ${what} ${value} in frame ${frame}, at most ${
                most[what]
              } in the first minute`,
            )
          }
        }
        for (const [what, count] of Object.entries(beyond)) {
          const part = count / samples
          assert.ok(part < 0.05, `${product.symbol}: ${what} off in ${(part * 100).toFixed(1)} %`)
        }
      }
    })
  }
})
