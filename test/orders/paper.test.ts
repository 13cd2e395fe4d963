/** The paper exchange against cases with a known answer. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { amountText } from '../../src/core/exact.ts'
import { aheadAfter, parseQueueModel } from '../../src/orders/queue.ts'
import { market, PaperWorld, REF } from './paper-world.ts'

function near(found: number | undefined, expected: number): void {
  assert.ok(Math.abs(found! - expected) < 1e-9, `was ${found}, expected ${expected}`)
}

describe('resting orders', () => {
  test('worst: the queue only shrinks by what the level shows, fills only by displayed asks', () => {
    const world = new PaperWorld('worst')
    world.becomes('100x10 99x5', '105x5')
    const id = world.order({ price: '100', size: '2' })
    assert.deepEqual(world.told(), ['open'])
    const ahead = [world.paper.ahead(id)]
    for (const level of ['bid 100x6', 'bid 100x9', 'bid 100x0']) {
      world.level(level)
      ahead.push(world.paper.ahead(id))
    }
    assert.deepEqual(ahead, [10, 6, 6, 0])
    assert.deepEqual(world.told(), [])
    world.level('ask 100x1')
    assert.deepEqual(world.told(), ['1@100'])
    world.level('ask 100x1')
    assert.deepEqual(world.told(), [])
    world.level('ask 100x3')
    assert.deepEqual(world.told(), ['1@100'])
    assert.equal(world.paper.ahead(id), undefined)
  })

  test('best: every decrease was ahead, what goes beyond is ours', () => {
    const world = new PaperWorld('best')
    world.becomes('100x10 99x5', '105x5')
    world.order({ price: '100', size: '2' })
    world.level('bid 100x25')
    world.told()
    const filledAt: number[] = []
    for (let decrease = 1; decrease <= 15; decrease++) {
      world.level(`bid 100x${25 - decrease}`)
      for (const told of world.told()) {
        assert.equal(told, '1@100')
        filledAt.push(decrease)
      }
    }
    assert.deepEqual(filledAt, [11, 12])
  })

  test('best: a trade that vanished better levels and ours goes on below', () => {
    const world = new PaperWorld('best')
    world.becomes('101x1 100x3 99x5', '105x5')
    world.order({ price: '100', size: '9' })
    world.told()
    // The better level stays: nothing reached us.
    world.becomes('101x0.5 100x1 99x5', '105x5')
    assert.deepEqual(world.told(), [])
    // Both vanish and the next shrinks by 2: 1 ahead of us, the rest may have been ours.
    world.becomes('99x3', '105x5')
    assert.deepEqual(world.told(), ['2@100'])
    // A side that vanished whole says nothing of how much traded.
    world.becomes('', '105x5')
    assert.deepEqual(world.told(), ['7@100'])
  })

  test('estimates of the queue', () => {
    const after = (model: string, ahead: number, before: number, now: number) =>
      aheadAfter(parseQueueModel(model)!, ahead, before, now)
    near(after('power:1', 6, 10, 5), 3)
    near(after('power:2', 6, 10, 5), 2.5384615384615383)
    near(after('log', 6, 10, 5), 3.2634041514)
    for (const model of ['power:1', 'power:2', 'log']) {
      assert.equal(after(model, 0, 10, 5), 0)
      assert.equal(after(model, 10, 10, 6), 6)
      assert.equal(after(model, 6, 10, 12), 6)
    }
    assert.deepEqual(
      ['power:0', 'power:11', 'power:x', 'fast'].map(parseQueueModel),
      [undefined, undefined, undefined, undefined],
    )
  })

  test('two own orders at one price stand in one queue', () => {
    const world = new PaperWorld('worst')
    world.becomes('100x10', '105x5')
    const first = world.order({ price: '100', size: '2' })
    const second = world.order({ price: '100', size: '2' })
    assert.deepEqual([first, second].map((id) => world.paper.ahead(id)), [10, 12])
    world.told()
    world.level('bid 100x0')
    world.level('ask 100x3')
    assert.deepEqual(world.fills().map(({ id, size }) => [id, size]), [[first, '2'], [second, '1']])
  })

  test('sells are mirrored', () => {
    for (const model of ['worst', 'best']) {
      const world = new PaperWorld(model)
      world.becomes('95x5', '100x10 101x5')
      world.order({ side: 'sell', price: '100', size: '2' })
      world.told()
      world.level('ask 100x0')
      world.level('bid 100x3')
      assert.deepEqual(world.told(), ['2@100'], model)
    }
  })

  test('worst: what traded with us does not trade again where another order put it', () => {
    // Shown once, taken; bought by another and shown again: it may be the very same unit.
    const world = new PaperWorld('worst')
    world.becomes('99x5', '105x5')
    world.order({ price: '100', size: '3' })
    world.told()
    world.level('ask 100x1')
    assert.deepEqual(world.told(), ['1@100'])
    world.level('ask 100x0')
    world.level('ask 100x1')
    assert.deepEqual(world.told(), [])
    world.level('ask 100x2')
    assert.deepEqual(world.told(), ['1@100'])
  })
})

describe('taking', () => {
  test('displayed levels up to the limit, once; fees; what was taken stays taken', () => {
    const world = new PaperWorld('worst', { of: market({ fees: { maker: '0', taker: '0.001' } }) })
    world.becomes('199x5', '201x1 202x3 204x5')
    world.order({ price: '204', size: '3', tif: 'IOC' })
    assert.equal(amountText(-world.position.cash), '605.605')
    assert.equal(amountText(world.position.fees), '0.605')
    assert.deepEqual(world.told(), ['1@201', '2@202'])
    world.order({ price: '204', size: '3', tif: 'IOC' })
    assert.deepEqual(world.told(), ['1@202', '2@204'])
    world.order({ price: '204', size: '10', tif: 'FOK' })
    assert.deepEqual(world.told(), ['expired'])
    world.level('ask 202x0')
    world.level('ask 202x3')
    world.order({ price: '202', size: '3', tif: 'FOK' })
    assert.deepEqual(world.told(), ['3@202'])
  })

  test('a round trip costs the spread and both fees', () => {
    const world = new PaperWorld('worst', { of: market({ fees: { maker: '0', taker: '0.001' } }) })
    world.becomes('2000x5', '2010x5')
    world.order({ price: '2010', size: '1', tif: 'IOC' })
    world.order({ side: 'sell', price: '2000', size: '1', tif: 'IOC' })
    assert.equal(amountText(world.position.cash), '-14.01')
    assert.equal(amountText(world.position.realised), '-10')
    assert.equal(world.position.text, '0')
  })

  test('a limit order takes, then rests; post-only that would take is rejected', () => {
    const world = new PaperWorld('worst')
    world.becomes('99x5', '100x1 101x1')
    const id = world.order({ price: '100.5', size: '3' })
    assert.deepEqual(world.told(), ['open', '1@100'])
    assert.equal(world.paper.ahead(id), 0)
    world.order({ price: '101', size: '1', postOnly: true })
    assert.deepEqual(world.told(), ['rejected'])
    world.order({ price: '99.5', size: '1', postOnly: true })
    assert.deepEqual(world.told(), ['open'])
    world.order({ price: '99', size: '1', tif: 'IOC' })
    assert.deepEqual(world.told(), ['expired'])
  })

  test('sizes finer than the step, and wide ones, are rounded down', () => {
    const world = new PaperWorld('worst', { of: market({ step: '0.1' }) })
    world.becomes('99x5', '100x1.2599 101x0.12345678901234567')
    world.order({ price: '101', size: '5', tif: 'IOC' })
    assert.deepEqual(world.told(), ['1.2@100', '0.1@101', 'expired'])
  })
})

describe('time', () => {
  const ms = (n: number) => n * 1000
  for (const [entry, answer] of [[20, '1@100.5'], [50, 'expired']] as const) {
    test(`an order meets the book of when it arrives (${entry} ms)`, () => {
      const world = new PaperWorld('worst', {
        latency: { entryUs: ms(entry), responseUs: ms(1), feedUs: 0 },
      })
      world.becomes('100x5', '100.5x5 101x5', 0)
      world.order({ price: '100.5', size: '1', tif: 'IOC' })
      world.becomes('100x5', '101x5', ms(30))
      world.schedule.runUpTo(ms(100))
      assert.deepEqual(world.told(), [answer])
    })
  }

  test('what is due before an event never sees it: the reverse would know the future', () => {
    // The ask goes just after our order arrived, and a cheaper one comes just after another did.
    const world = new PaperWorld('worst', {
      latency: { entryUs: ms(5), responseUs: ms(5), feedUs: ms(5) },
    })
    world.becomes('100x5', '101x5', 0)
    const first = world.order({ price: '101', size: '1', tif: 'IOC' })
    world.becomes('90x5', '95x5', ms(10) + 1)
    world.schedule.runUpTo(ms(20))
    const [fill] = world.fills()
    assert.deepEqual([fill!.id, fill!.price, fill!.atUs], [first, '101', ms(15)])
    assert.equal(fill!.timestampUs, ms(5))
    // At the same instant the event comes first.
    world.told()
    world.order({ price: '95', size: '1', tif: 'IOC' })
    world.becomes('90x5', '94x5', ms(30))
    world.schedule.runUpTo(ms(40))
    assert.deepEqual(world.told(), ['1@94'])
  })

  test('a cancel travels too, and can lose to a fill', () => {
    const latency = { entryUs: ms(5), responseUs: ms(5), feedUs: 0 }
    const world = new PaperWorld('worst', { latency })
    world.becomes('100x5', '101x5', 0)
    const id = world.order({ price: '100', size: '1' })
    world.becomes('100x5', '101x5', ms(20))
    world.told()
    world.cancel(id)
    world.becomes('99x5', '100x5', ms(24))
    world.schedule.runUpTo(ms(60))
    assert.deepEqual(world.told(), ['1@100'])
    const other = world.order({ price: '99', size: '1' })
    world.schedule.runUpTo(ms(80))
    world.cancel(other)
    world.schedule.runUpTo(ms(100))
    assert.deepEqual(world.told(), ['open', 'canceled'])
    world.cancel(other)
    world.schedule.runUpTo(ms(120))
    assert.deepEqual(world.told(), [])
  })

  test('cancelling all also reaches what is under way', () => {
    const latency = { entryUs: ms(5), responseUs: ms(5), feedUs: 0 }
    const world = new PaperWorld('worst', { latency })
    world.becomes('100x5', '101x5', 0)
    world.order({ price: '100', size: '1' })
    world.paper.cancelAll(REF)
    world.schedule.runUpTo(ms(50))
    assert.deepEqual(world.told(), ['open', 'canceled'])
  })
})

describe('an invalid book', () => {
  test('rejects arrivals, keeps what rests, and begins anew with the next snapshot', () => {
    const world = new PaperWorld('worst')
    world.becomes('100x10', '105x5')
    const id = world.order({ price: '100', size: '2' })
    world.level('bid 100x4')
    assert.equal(world.paper.ahead(id), 4)
    world.told()
    world.paper.invalid(REF)
    world.order({ price: '101', size: '1' })
    assert.deepEqual(world.told(), ['rejected'])
    world.becomes('100x7', '105x5', 5, true)
    assert.equal(world.paper.ahead(id), 7)
    assert.deepEqual(world.told(), [])
    world.paper.invalid(REF)
    world.becomes('98x7', '99x5', 6, true)
    assert.deepEqual(world.told(), ['2@100'])
  })

  test('best: all that was ahead may have left meanwhile', () => {
    const world = new PaperWorld('best')
    world.becomes('100x10', '105x5')
    const id = world.order({ price: '100', size: '2' })
    world.paper.invalid(REF)
    world.becomes('100x7', '105x5', 5, true)
    assert.equal(world.paper.ahead(id), 0)
    assert.deepEqual(world.told(), ['open'])
  })
})

describe('what is told', () => {
  test('orders that are large beside the touch are counted: impact is not modelled', () => {
    const world = new PaperWorld('worst')
    world.becomes('100x10', '101x10')
    world.order({ price: '100', size: '1' })
    assert.equal(world.paper.largeOrders, 0)
    world.order({ price: '100', size: '2' })
    assert.equal(world.paper.largeOrders, 1)
    assert.equal(world.paper.largestShare, 0.2)
    assert.equal(world.paper.orders, 2)
  })

  test('open orders are listed', () => {
    const world = new PaperWorld('worst')
    world.becomes('100x10', '101x10')
    const id = world.order({ price: '100', size: '1' })
    world.paper.listOpen(REF)
    world.schedule.runUpTo(world.schedule.nowUs)
    assert.deepEqual(world.listed, [
      { id, exchangeId: `p${id}`, side: 'buy', price: '100', size: '1', filled: '0' },
    ])
  })
})
