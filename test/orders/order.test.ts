/** The states of an order, its versions and fills; positions and money, to the last digit. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { addDecimals, amountOf, amountText, multiplyDecimals } from '../../src/core/exact.ts'
import type { BrokerEvent, Intent } from '../../src/orders/broker.ts'
import { Grid } from '../../src/orders/grid.ts'
import { OrderIds, runTag, strategyTag } from '../../src/orders/order-id.ts'
import { OrderTable } from '../../src/orders/order-table.ts'
import { TrackedOrder } from '../../src/orders/order.ts'
import { Position } from '../../src/orders/position.ts'
import { RANK, Schedule } from '../../src/orders/schedule.ts'
import { market, PaperWorld, REF } from './paper-world.ts'

const DECIMALS = 4

function intent(size = '1'): Intent {
  const grid = new Grid(market(), DECIMALS)
  return {
    id: 'o1',
    book: REF,
    side: 'buy',
    ...grid.place('buy', '100', size)!,
    tif: 'GTC',
    postOnly: false,
    reduceOnly: false,
    tag: 'a',
    epoch: 5,
    seq: 7,
    bookUs: 1,
    decidedUs: 2,
  }
}

type Brief = BrokerEvent['type'] | `fill ${string}`

/** `fill t1 0.4` and the names of the other events. */
function event(brief: Brief, atUs = 10): BrokerEvent {
  const [type, trade, size] = brief.split(' ')
  const common = { id: 'o1', atUs }
  switch (type) {
    case 'fill':
      return {
        ...common,
        type,
        trade: trade!,
        size: size!,
        price: '100',
        fee: '0',
        feeCurrency: 'B',
        liquidity: 'maker',
        timestampUs: 9,
      }
    case 'open':
      return { ...common, type, exchangeId: 'e1' }
    case 'rejected':
    case 'unknown':
    case 'cancelRejected':
      return { ...common, type, reason: 'because' }
    default:
      return { ...common, type: type as 'sent' | 'canceled' | 'expired' | 'absent' }
  }
}

/** The states after each of the events; `cancel` is our own wish. */
function states(...briefs: readonly (Brief | 'cancel')[]): string[] {
  const order = new TrackedOrder(intent(), DECIMALS)
  return briefs.map((brief) => {
    const before = order.n
    const changed = brief === 'cancel' ? order.cancel() : order.apply(event(brief))
    assert.equal(order.n > before, changed && !(brief === 'cancel' && order.state === 'unknown'))
    return order.state
  })
}

describe('states of an order', () => {
  test('the way of most', () => {
    assert.deepEqual(states('sent', 'open', 'fill t1 0.4', 'fill t2 0.6'), [
      'sent',
      'open',
      'partial',
      'filled',
    ])
    assert.deepEqual(states('sent', 'open', 'cancel', 'fill t1 0.4', 'canceled'), [
      'sent',
      'open',
      'canceling',
      'canceling',
      'canceled',
    ])
    assert.deepEqual(states('sent', 'rejected', 'open'), ['sent', 'rejected', 'rejected'])
    assert.deepEqual(states('sent', 'open', 'expired'), ['sent', 'open', 'expired'])
    assert.deepEqual(states('open', 'cancel', 'cancelRejected'), ['open', 'canceling', 'open'])
  })

  test('a fill may come before open, and loses to nothing', () => {
    assert.deepEqual(states('fill t1 0.4', 'sent', 'open', 'fill t2 0.6'), [
      'partial',
      'partial',
      'partial',
      'filled',
    ])
    assert.deepEqual(states('cancel', 'fill t1 1', 'canceled'), ['canceling', 'filled', 'filled'])
  })

  test('unknown ends in anything, absent only from it', () => {
    assert.deepEqual(states('sent', 'unknown', 'open'), ['sent', 'unknown', 'open'])
    assert.deepEqual(states('open', 'unknown', 'fill t1 0.5'), ['open', 'unknown', 'partial'])
    assert.deepEqual(states('sent', 'unknown', 'cancel', 'absent'), [
      'sent',
      'unknown',
      'unknown',
      'absent',
    ])
    assert.deepEqual(states('unknown', 'canceled'), ['unknown', 'canceled'])
    assert.throws(() => states('open', 'absent'), /called absent while open/)
    assert.throws(() => states('unknown', 'fill t1 0.1', 'unknown', 'absent'), /called absent/)
  })

  test('a trade counts once; an end takes late fills and nothing else', () => {
    const order = new TrackedOrder(intent(), DECIMALS)
    for (const brief of ['open', 'fill t1 0.4', 'fill t1 0.4', 'canceled'] as const) {
      order.apply(event(brief))
    }
    assert.deepEqual([order.state, order.n, order.version(undefined).filled], [
      'canceled',
      4,
      '0.4',
    ])
    for (const brief of ['open', 'rejected', 'unknown', 'expired', 'fill t1 0.4'] as const) {
      assert.equal(order.apply(event(brief)), false)
    }
    assert.equal(order.apply(event('fill t2 0.6')), true)
    const version = order.version(undefined)
    assert.deepEqual([version.state, version.n, version.filled], ['canceled', 5, '1'])
    assert.equal(order.lateFills, 1)
    assert.equal(order.cancel(), false)
  })

  test('any order of events: versions only rise, trades add up, ends are final', () => {
    const briefs: Brief[] = [
      'sent',
      'open',
      'rejected',
      'canceled',
      'expired',
      'cancelRejected',
      'unknown',
      'fill t1 0.25',
      'fill t2 0.25',
      'fill t3 0.5',
    ]
    const some = fc.array(fc.oneof(fc.constantFrom(...briefs), fc.constant('cancel' as const)))
    fc.assert(fc.property(some, (given) => {
      const order = new TrackedOrder(intent(), DECIMALS)
      const trades = new Set<string>()
      let ended: string | undefined
      for (const brief of given) {
        const before = order.n
        if (brief === 'cancel') order.cancel()
        else order.apply(event(brief))
        if (brief.startsWith('fill')) trades.add(brief)
        assert.ok(order.n === before || order.n === before + 1)
        if (ended !== undefined) assert.equal(order.state, ended)
        if (!order.isOpen) ended = order.state
      }
      const sum = [...trades].reduce(
        (total, brief) => addDecimals(total, brief.split(' ')[2]!),
        '0',
      )
      assert.equal(order.version(undefined).filled, sum)
    }))
  })

  test('what a version says', () => {
    const order = new TrackedOrder(intent(), DECIMALS, 'E_SIZE: too large')
    assert.deepEqual(order.version(undefined), {
      id: 'o1',
      n: 1,
      state: 'refused',
      reason: 'E_SIZE: too large',
      exchangeId: undefined,
      book: REF,
      side: 'buy',
      price: '100',
      size: '1',
      filled: '0',
      tif: 'GTC',
      postOnly: false,
      reduceOnly: false,
      tag: 'a',
      ahead: undefined,
      epoch: 5,
      seq: 7,
      bookUs: 1,
      decidedUs: 2,
      sentUs: undefined,
      answeredUs: undefined,
    })
  })

  test('the table keeps what is open, and enough of what ended for late fills', () => {
    const table = new OrderTable()
    const orders = Array.from(
      { length: 3 },
      (_, i) => new TrackedOrder({ ...intent(), id: `o${i}` }, 4),
    )
    for (const order of orders) table.add(order)
    orders[1]!.apply(event('canceled'))
    table.settle(orders[1]!)
    orders[2]!.apply(event('unknown'))
    assert.deepEqual([...table.open()].map(({ intent: { id } }) => id), ['o0', 'o2'])
    assert.equal(table.unknownCount, 1)
    assert.equal(table.get('o1'), orders[1])
    for (let i = 0; i < 10_001; i++) {
      table.add(new TrackedOrder({ ...intent(), id: `r${i}` }, 4, 'E_SIZE'))
    }
    assert.equal(table.get('o1'), undefined)
    assert.ok(table.get('r10000') !== undefined)
  })

  test('ids are 18 characters, unique in a run, and go on after a restart', () => {
    const ids = new OrderIds(runTag(1_795_362_721_783_000), strategyTag('maker'))
    const [first, second] = [ids.next(), ids.next()]
    assert.match(first, /^o[0-9a-z]{17}$/)
    assert.notEqual(first, second)
    const again = new OrderIds(runTag(1_795_362_721_783_000), strategyTag('maker'), 1)
    assert.equal(again.next(), second)
    assert.notEqual(strategyTag('maker'), strategyTag('taker'))
  })
})

describe('the grid', () => {
  const grid = new Grid(market({ tick: '0.05', step: '0.01' }), DECIMALS)
  const place = (side: 'buy' | 'sell', price: string | number, size: string | number) => {
    const placed = grid.place(side, price, size)
    return placed === undefined ? undefined : `${placed.size}@${placed.price}`
  }

  test('numbers are rounded away from the market and down in size, text must fit', () => {
    assert.equal(place('buy', 100.0749, 0.0199), '0.01@100.05')
    assert.equal(place('sell', 100.0501, 0.0199), '0.01@100.1')
    assert.equal(place('sell', 100.05, 0.01), '0.01@100.05')
    assert.equal(place('buy', '100.0500', '0.010'), '0.01@100.05')
    assert.equal(place('buy', '100.06', '0.01'), undefined)
    assert.equal(place('buy', '100.05', '0.015'), undefined)
  })

  test('what is no price or size is none', () => {
    for (const bad of [NaN, Infinity, -1, 0, '', 'x', '1e2', '-1', '0', ' 1']) {
      assert.equal(place('buy', bad, 1), undefined, `price ${bad}`)
      assert.equal(place('buy', 100, bad), undefined, `size ${bad}`)
    }
    assert.equal(place('buy', '100', '999999999999999999'), undefined)
    assert.equal(place('buy', 100, 0.009), undefined)
  })

  test('metadata that cannot be traded on exactly is refused by name', () => {
    const of = (over: Parameters<typeof market>[0]) => () => new Grid(market(over), DECIMALS)
    assert.throws(of({ tick: '0' }), /market x:A\/B: tick was "0"/)
    assert.throws(of({ step: 'x' }), /step was "x"/)
    assert.throws(of({ minSize: '-1' }), /minSize was "-1"/)
    assert.throws(of({ fees: { maker: '1%', taker: '0' } }), /fees.maker was "1%"/)
    assert.throws(of({ inverse: true, contract: true }), /inverse contract/)
    assert.throws(
      of({ tick: '0.00001' }),
      /more decimals than the book \(4\); build the book with 5/,
    )
    assert.throws(of({ step: `0.${'0'.repeat(45)}1` }), /decimals together/)
  })
})

describe('positions', () => {
  test('average cost', () => {
    const position = new Position(new Grid(market({ step: '1' }), DECIMALS))
    position.apply('buy', '100', '2', '0')
    position.apply('buy', '103', '1', '0')
    assert.equal(position.averagePrice, 101)
    position.apply('sell', '105', '2', '0')
    assert.equal(amountText(position.realised), '8')
    assert.equal(position.averagePrice, 101)
    assert.equal(position.text, '1')
    assert.equal(amountText(position.unrealised('104')), '3')
    // Through zero: what is left is sold short at the price of the trade.
    position.apply('sell', '90', '3', '0')
    assert.equal(position.text, '-2')
    assert.equal(amountText(position.realised), '-3')
    assert.equal(position.averagePrice, 90)
    assert.equal(amountText(position.unrealised('80')), '20')
  })

  test('contracts count by their size', () => {
    const position = new Position(
      new Grid(market({ step: '1', contractSize: '0.01', contract: true }), DECIMALS),
    )
    position.apply('buy', '2000', '3', '0')
    assert.equal(amountText(position.cash), '-60')
    assert.equal(amountText(position.value('2100')), '63')
  })

  test('cash = start - sum of signed size x price - fees, position = sum, after every fill', () => {
    const fill = fc.record({
      side: fc.constantFrom('buy' as const, 'sell' as const),
      price: fc.integer({ min: 1, max: 10_000_000 }).map((n) => `${n / 10000}`),
      size: fc.integer({ min: 1, max: 5_000_000 }).map((n) => `${n / 10000}`),
      fee: fc.integer({ min: -1000, max: 1000 }).map((n) => `${n / 1000}`),
    })
    fc.assert(fc.property(fc.array(fill, { maxLength: 40 }), (fills) => {
      const position = new Position(new Grid(market(), DECIMALS))
      let cash = '0'
      let held = '0'
      for (const { side, price, size, fee } of fills) {
        position.apply(side, price, size, fee)
        const signed = side === 'buy' ? size : `-${size}`
        cash = addDecimals(cash, multiplyDecimals(multiplyDecimals(signed, price), '-1'))
        cash = addDecimals(cash, multiplyDecimals(fee, '-1'))
        held = addDecimals(held, signed)
        assert.equal(amountText(position.cash), cash)
        assert.equal(position.text, held)
        // Nothing is lost between realised and unrealised.
        assert.equal(
          position.realised + position.unrealised('77.7') - position.fees,
          position.cash + position.value('77.7'),
        )
      }
      if (held === '0') assert.equal(position.realised, position.cash + position.fees)
    }))
  })

  test('the same for every fill of the paper exchange, of any model', () => {
    for (const model of ['worst', 'best', 'power:2', 'log']) {
      const fees = { maker: '-0.0001', taker: '0.00055' }
      const world = new PaperWorld(model, { of: market({ fees, tick: '0.01', step: '0.001' }) })
      let seed = 3
      const below = (n: number) => (seed = seed * 48271 % 2147483647) % n
      let cash = 0n
      let held = 0n
      let seen = 0
      const sides = new Map<string, 1n | -1n>()
      for (let i = 0; i < 500; i++) {
        const middle = 100 + below(40) / 100
        const at = (n: number) => n.toFixed(2)
        world.becomes(
          `${at(middle)}x${1 + below(9)} ${at(middle - 0.05)}x3`,
          `${at(middle + 0.02)}x${1 + below(9)} ${at(middle + 0.1)}x3`,
          i,
        )
        const side = below(2) === 0 ? 'buy' : 'sell'
        const price = at(middle + (below(11) - 5) / 50)
        const id = world.order({ side, price, size: `${(1 + below(4000)) / 1000}` })
        sides.set(id, side === 'buy' ? 1n : -1n)
        const fills = world.fills()
        for (const { id: of, price: paid, size, fee } of fills.slice(seen)) {
          const sign = sides.get(of)!
          cash -= sign * amountOf(multiplyDecimals(paid, size)) + amountOf(fee)
          held += sign * amountOf(size)
        }
        seen = fills.length
        assert.equal(world.position.cash, cash)
        assert.equal(amountOf(world.position.text), held)
      }
      assert.ok(seen > 100, `${model}: ${seen} fills`)
    }
  })
})

describe('the schedule', () => {
  test('time, then rank, then order of creation; the past is now', () => {
    const schedule = new Schedule()
    const ran: string[] = []
    const at = (us: number, rank: 0 | 1 | 2, name: string) =>
      schedule.at(us, rank, { run: () => ran.push(`${name}@${schedule.nowUs}`) })
    at(5, RANK.timer, 'timer')
    at(5, RANK.arrival, 'arrival')
    at(5, RANK.answer, 'answer1')
    at(5, RANK.answer, 'answer2')
    at(4, RANK.timer, 'early')
    at(6, RANK.arrival, 'late')
    schedule.runBefore(5)
    assert.deepEqual(ran.splice(0), ['early@4'])
    assert.equal(schedule.nowUs, 5)
    schedule.runUpTo(5)
    assert.deepEqual(ran.splice(0), ['arrival@5', 'answer1@5', 'answer2@5', 'timer@5'])
    schedule.runBefore(3)
    assert.equal(schedule.nowUs, 5)
    at(1, RANK.arrival, 'past')
    schedule.runUpTo(10)
    assert.deepEqual(ran, ['past@5', 'late@6'])
  })

  test('any number of actions leaves in order', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(50), fc.nat(2))), (given) => {
      const schedule = new Schedule()
      const ran: [number, number, number][] = []
      given.forEach(([us, rank], i) => {
        schedule.at(us, rank as 0 | 1 | 2, { run: () => ran.push([us, rank, i]) })
      })
      schedule.runUpTo(100)
      const sorted = [...ran].sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
      assert.deepEqual(ran, sorted)
      assert.equal(ran.length, given.length)
    }))
  })
})
