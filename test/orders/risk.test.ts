/** Every limit, just kept and just not; and a risk file that says all of them or nothing starts. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { parseRiskFile } from '../../src/config/risk-file.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import { amountOf } from '../../src/core/exact.ts'
import type { Intent } from '../../src/orders/broker.ts'
import { Grid } from '../../src/orders/grid.ts'
import type { Limits } from '../../src/orders/limits.ts'
import { RiskEngine } from '../../src/orders/risk-engine.ts'
import type { BookState, OpenOrder, RiskState } from '../../src/orders/risk.ts'
import { market, REF } from './paper-world.ts'

const grid = new Grid(market({ tick: '0.01', step: '0.01', minSize: '0.05', minCost: '10' }), 4)
const perpetual = new Grid(market({ tick: '0.01', step: '0.01', contract: true }), 4)

/** So wide that nothing is refused. */
const WIDE: Limits = {
  maxBookAgeMs: 1000,
  allowUnproven: false,
  maxOrderSize: '1000000',
  maxOrderNotional: '1000000000',
  maxPosition: '1000000',
  collarBps: 5000,
  maxDepthShare: 1000,
  maxExposure: '1000000000',
  ordersPerSecond: 1000,
  maxOpenOrders: 1000,
  duplicateMs: 0,
  maxDailyLoss: '1000000',
  maxDrawdown: '1000000',
  maxRejects: 1000,
  maxUnknown: 1000,
  books: {},
}

interface Asked extends Partial<Pick<Intent, 'side' | 'tif' | 'reduceOnly'>> {
  readonly price?: string
  readonly size?: string
  readonly on?: Grid
}

function intent(
  { side = 'buy', price = '100', size = '1', on = grid, ...rest }: Asked = {},
): Intent {
  const placed = on.place(side, price, size)
  assert.ok(placed !== undefined, `${size}@${price} is not on the grid`)
  return {
    id: 'o1',
    book: REF,
    side,
    ...placed,
    tif: 'GTC',
    postOnly: false,
    reduceOnly: false,
    tag: undefined,
    epoch: 1,
    seq: 1,
    bookUs: 0,
    decidedUs: 0,
    ...rest,
  }
}

const BOOK: BookState = { valid: true, proof: 'sequence', ageUs: 0, bid: '99', ask: '101' }

function state(over: Partial<RiskState> = {}): Omit<RiskState, 'mode' | 'why'> {
  return {
    decided: BOOK,
    newest: BOOK,
    displayedUnits: 1000,
    grid,
    position: 0n,
    holdings: [],
    open: [],
    ...over,
  }
}

function resting(over: Partial<OpenOrder> & { readonly price?: string; readonly size?: string }) {
  const { price = '98', size = '1', ...rest } = over
  const side = rest.side ?? 'buy'
  const placed = grid.place(side, price, size)!
  const order: OpenOrder = {
    book: REF,
    side,
    unknown: false,
    rests: true,
    priceUnits: placed.priceUnits,
    sizeUnits: placed.sizeUnits,
    grid,
    ...rest,
  }
  return order
}

/** The code of the refusal; undefined: it passes. */
function code(
  asked: Asked,
  limits: Partial<Limits> | undefined,
  over: Partial<RiskState> = {},
): string | undefined {
  const engine = new RiskEngine(limits === undefined ? undefined : { ...WIDE, ...limits })
  return engine.check(intent(asked), state(over), 0)?.code
}

/** The first passes, the second does not. */
function edge(
  expected: string,
  below: readonly [Asked, Partial<Limits> | undefined, Partial<RiskState>?],
  above: readonly [Asked, Partial<Limits> | undefined, Partial<RiskState>?],
): void {
  assert.equal(code(...below), undefined)
  assert.equal(code(...above), expected)
}

describe('limits', () => {
  test('E_BOOK: age, of the decided and of the newest book', () => {
    const aged = (ageUs: number) => ({ ...BOOK, ageUs })
    edge('E_BOOK', [{}, {}, { decided: aged(1_000_000) }], [{}, {}, { decided: aged(1_000_001) }])
    edge('E_BOOK', [{}, {}, { newest: aged(1_000_000) }], [{}, {}, { newest: aged(1_000_001) }])
  })

  test('E_BOOK: not proven, crossed, unproven unless allowed; also without limits', () => {
    for (const bad of [{ valid: false }, { bid: '101' }, { bid: '101.01' }]) {
      assert.equal(code({}, undefined, { decided: { ...BOOK, ...bad } }), 'E_BOOK')
      assert.equal(code({}, undefined, { newest: { ...BOOK, ...bad } }), 'E_BOOK')
    }
    assert.equal(code({}, undefined, { newest: { ...BOOK, bid: '100.99' } }), undefined)
    const unproven = { newest: { ...BOOK, proof: 'none' } }
    edge('E_BOOK', [{}, { allowUnproven: true }, unproven], [{}, {}, unproven])
  })

  test('E_MIN: size and cost', () => {
    edge('E_MIN', [{ size: '0.1' }, undefined], [{ size: '0.04', price: '1000' }, undefined])
    edge('E_MIN', [{ size: '0.1' }, undefined], [{ size: '0.1', price: '99.99' }, undefined])
  })

  test('E_SIZE and E_NOTIONAL', () => {
    edge('E_SIZE', [{ size: '2' }, { maxOrderSize: '2' }], [{ size: '2.01' }, {
      maxOrderSize: '2',
    }])
    const limit = { maxOrderNotional: '200.5' }
    edge('E_NOTIONAL', [{ size: '2', price: '100.25' }, limit], [
      { size: '2', price: '100.26' },
      limit,
    ])
  })

  test('E_POSITION: held, open and unknown on the worse side', () => {
    const limit = { maxPosition: '5' }
    const over = {
      position: 200n,
      open: [resting({ size: '1.5' }), resting({ side: 'sell', price: '103', size: '9' })],
    }
    edge('E_POSITION', [{ size: '1.5' }, limit, over], [{ size: '1.51' }, limit, over])
    const short = { position: -300n, open: [resting({ side: 'sell', price: '103' })] }
    edge('E_POSITION', [{ side: 'sell' }, limit, short], [
      { side: 'sell', size: '1.01' },
      limit,
      short,
    ])
    // Too large already: what makes it smaller passes.
    assert.equal(code({ side: 'sell', size: '3' }, limit, { position: 900n }), undefined)
    assert.equal(code({ side: 'buy', size: '3' }, limit, { position: 900n }), 'E_POSITION')
  })

  test('E_POSITION: reduceOnly reduces, and only where there are contracts', () => {
    const reduce = { side: 'sell', reduceOnly: true, on: perpetual } as const
    const held = { grid: perpetual, position: 100n }
    edge('E_POSITION', [{ ...reduce, size: '1' }, undefined, held], [
      { ...reduce, size: '1.01' },
      undefined,
      held,
    ])
    assert.equal(code({ ...reduce, side: 'buy' }, undefined, held), 'E_POSITION')
    assert.equal(code({ ...reduce, on: grid }, undefined, { position: 100n }), 'E_POSITION')
  })

  test('E_EXPOSURE: all books together; what reduces passes', () => {
    const over = {
      holdings: [{ units: 100n, worth: amountOf('300') }, { units: -5n, worth: amountOf('50') }],
      open: [resting({ price: '98', size: '1', book: 'y:C/D' })],
    }
    const limit = { maxExposure: '548' }
    edge('E_EXPOSURE', [{}, limit, over], [{ price: '100.01' }, limit, over])
    const less = { maxExposure: '1' }
    assert.equal(code({ side: 'sell' }, less, { ...over, position: 100n }), undefined)
    assert.equal(code({ side: 'sell' }, less, { ...over, position: 99n }), 'E_EXPOSURE')
  })

  test('E_COLLAR: exactly, on both sides', () => {
    const limit = { collarBps: 12.5 }
    const at = { newest: { ...BOOK, bid: '80', ask: '160' } }
    edge('E_COLLAR', [{ price: '160.2' }, limit, at], [{ price: '160.21' }, limit, at])
    edge('E_COLLAR', [{ side: 'sell', price: '79.9' }, limit, at], [
      { side: 'sell', price: '79.89' },
      limit,
      at,
    ])
    assert.equal(code({}, {}, { newest: { ...BOOK, ask: '' } }), 'E_COLLAR')
  })

  test('E_DEPTH: what takes, against what is displayed within its limit', () => {
    const limit = { maxDepthShare: 0.1 }
    const over = { displayedUnits: 2000 }
    edge('E_DEPTH', [{ size: '2', tif: 'IOC' }, limit, over], [
      { size: '2.01', tif: 'IOC' },
      limit,
      over,
    ])
    assert.equal(code({ size: '2.01' }, limit, over), undefined)
    assert.equal(code({ tif: 'FOK' }, limit, { displayedUnits: 0 }), 'E_DEPTH')
  })

  test('E_OPEN', () => {
    const open = [resting({}), resting({})]
    edge('E_OPEN', [{}, { maxOpenOrders: 3 }, { open }], [{}, { maxOpenOrders: 2 }, { open }])
  })

  test('E_SELF: also without limits', () => {
    const over = { open: [resting({ side: 'sell', price: '100.5' })] }
    edge('E_SELF', [{ price: '100.49' }, undefined, over], [{ price: '100.5' }, undefined, over])
    const buys = { open: [resting({ price: '99.5' })] }
    edge('E_SELF', [{ side: 'sell', price: '99.51' }, undefined, buys], [
      { side: 'sell', price: '99.5' },
      undefined,
      buys,
    ])
    const gone = { open: [resting({ side: 'sell', price: '100', rests: false })] }
    assert.equal(code({}, undefined, gone), undefined)
  })

  test('E_UNKNOWN: nothing new on the side of an unknown order', () => {
    const over = { open: [resting({ side: 'sell', price: '150', unknown: true })] }
    edge('E_UNKNOWN', [{}, undefined, over], [{ side: 'sell', price: '160' }, undefined, over])
  })

  test('limits of one book win over those of all', () => {
    const limits = { maxOrderSize: '1', books: { [REF]: { maxOrderSize: '3' } } }
    edge('E_SIZE', [{ size: '3' }, limits], [{ size: '3.01' }, limits])
  })
})

describe('risk with a memory', () => {
  const engine = (over: Partial<Limits>) => new RiskEngine({ ...WIDE, ...over })
  const ask = (risk: RiskEngine, us: number, asked: Asked = {}, over: Partial<RiskState> = {}) =>
    risk.check(intent(asked), state(over), us)?.code

  test('E_RATE: a burst, then as many as flow in', () => {
    const risk = engine({ ordersPerSecond: 2 })
    assert.deepEqual([0, 0, 0].map((us) => ask(risk, us)), [undefined, undefined, 'E_RATE'])
    assert.equal(ask(risk, 499_999), 'E_RATE')
    assert.equal(ask(risk, 500_000), undefined)
    assert.equal(ask(risk, 500_001), 'E_RATE')
    const slow = engine({ ordersPerSecond: 0.1 })
    assert.deepEqual([0, 9_999_999, 10_000_000].map((us) => ask(slow, us)), [
      undefined,
      'E_RATE',
      undefined,
    ])
    assert.equal(slow.refused.get('E_RATE'), 1)
  })

  test('E_DUPLICATE: the same order again', () => {
    const risk = engine({ duplicateMs: 100 })
    assert.equal(ask(risk, 0), undefined)
    assert.equal(ask(risk, 99_999), 'E_DUPLICATE')
    assert.equal(ask(risk, 99_999, { size: '1.01' }), undefined)
    assert.equal(ask(risk, 99_999, { side: 'sell', price: '100.01' }), undefined)
    assert.equal(ask(risk, 100_000), undefined)
  })

  for (
    const [limit, results] of [
      ['maxDailyLoss', ['0', '-10', '-10.01']],
      ['maxDrawdown', ['0', '50', '40', '39.99']],
    ] as const
  ) {
    test(`E_LOSS: ${limit} leaves only what reduces, then nothing`, () => {
      const risk = engine({ [limit]: '10' })
      for (const result of results.slice(0, -1)) {
        risk.marked(amountOf(result), false, 1)
        assert.equal(risk.mode, 'active', result)
      }
      risk.marked(amountOf(results.at(-1)!), false, 1)
      assert.equal(risk.mode, 'reducing')
      assert.equal(ask(risk, 1, {}, { position: 100n }), 'E_LOSS')
      assert.equal(ask(risk, 1, { side: 'sell' }, { position: 100n }), undefined)
      // A better result does not open it again, and once flat it halts.
      assert.equal(risk.marked(amountOf('60'), false, 2), false)
      assert.equal(risk.mode, 'reducing')
      assert.equal(risk.marked(amountOf('60'), true, 3), true)
      assert.equal(ask(risk, 4, { side: 'sell' }, { position: 100n }), 'E_HALTED')
    })
  }

  test('a new day (UTC) begins at nothing', () => {
    const risk = engine({ maxDailyLoss: '10', maxDrawdown: '10' })
    const midnight = 20_000 * 86_400e6
    risk.marked(amountOf('-9'), false, midnight - 1)
    risk.marked(amountOf('-18'), false, midnight)
    risk.marked(amountOf('-28'), false, midnight + 1)
    assert.equal(risk.mode, 'active')
    risk.marked(amountOf('-28.01'), false, midnight + 2)
    assert.equal(risk.mode, 'reducing')
  })

  test('E_HALTED: rejects in a row, unknown orders, an operator', () => {
    const rejects = engine({ maxRejects: 2 })
    for (const type of ['rejected', 'rejected', 'open', 'rejected', 'rejected']) {
      assert.equal(rejects.answered(type), false)
    }
    assert.equal(rejects.answered('rejected'), true)
    assert.equal(ask(rejects, 0), 'E_HALTED')
    const unknown = engine({ maxUnknown: 1 })
    assert.equal(unknown.unknown(1), false)
    assert.equal(unknown.unknown(2), true)
    assert.equal(ask(unknown, 0), 'E_HALTED')
    const free = new RiskEngine(undefined)
    assert.equal(free.halt('told to'), true)
    assert.equal(free.halt('again'), false)
    assert.equal(free.check(intent(), state(), 0)?.text, 'told to')
  })
})

describe('the risk file', () => {
  const { books: _, ...all } = WIDE
  const text = (over: Record<string, unknown> = {}) => JSON.stringify({ ...all, ...over }, null, 1)
  const problems = (content: string): string[] => {
    try {
      parseRiskFile('risk.json', content, [REF])
    } catch (error) {
      assert.ok(error instanceof ObfeedError && error.exitCode === 78, String(error))
      return error.message.split('\n')
    }
    return []
  }

  test('a whole one, decimals to the last digit', () => {
    const limits = parseRiskFile(
      'risk.json',
      text({ maxOrderSize: '0.10000000000000000001', books: { [REF]: { maxPosition: 2 } } }),
      [REF],
    )
    assert.equal(limits.maxOrderSize, '0.10000000000000000001')
    assert.deepEqual(limits.books, { [REF]: { maxPosition: '2' } })
    assert.equal(limits.duplicateMs, 0)
    const digits = text().replace('"1000000000"', '123456789.12345678901234567890')
    assert.equal(
      parseRiskFile('r', digits, [REF]).maxOrderNotional,
      '123456789.1234567890123456789',
    )
  })

  for (const key of Object.keys(all)) {
    test(`without ${key} nothing starts`, () => {
      const { [key]: _gone, ...rest } = all as Record<string, unknown>
      const found = problems(JSON.stringify(rest))
      assert.equal(found.length, 1)
      assert.match(
        found[0]!,
        new RegExp(`^risk.json: "${key}" is missing, expected .* never means`),
      )
    })
  }

  test('all that is wrong, with its place', () => {
    assert.match(problems('[]')[0]!, /^risk.json:1:1: was a list, expected an object of limits/)
    assert.match(
      problems(text({ maxOrderSise: 1 }))[0]!,
      /^risk.json:\d+:\d+: "maxOrderSise" is no limit here.*maxOrderSize/,
    )
    const wrong = problems(text({
      maxOrderSize: -1,
      maxOpenOrders: 1.5,
      allowUnproven: 'no',
      collarBps: '5',
      books: { 'x:A/C': {}, [REF]: { maxOpenOrders: 1, maxPosition: 'x' } },
    }))
    assert.equal(wrong.length, 7)
    assert.match(wrong.join('\n'), /"maxOrderSize" was -1, expected a decimal of at least 0/)
    assert.match(wrong.join('\n'), /"x:A\/C" is no book of the strategy/)
    const again = text().replace('{', '{\n "maxPosition": 1,')
    assert.match(problems(again).join('\n'), /"maxPosition" stands a second time, first in line 2/)
    assert.match(problems(text({ books: 1 }))[0]!, /"books" was 1, expected an object/)
  })
})
