/** What a strategy may rely on: order of calls, proven books, dropped intents, equal repetition. */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { defineStrategy, mid, ofi } from '../../src/index.ts'
import { ObfeedError } from '../../src/core/errors.ts'
import type { Broker, BrokerEvent, Intent } from '../../src/orders/broker.ts'
import type { Limits } from '../../src/orders/limits.ts'
import type { Context, Handlers, Order, Strategy } from '../../src/strategy/contract.ts'
import { World, type WorldOptions } from './world.ts'

const X = 'x:A/B' as const
const Y = 'y:C/D' as const

/** A strategy of one or more books with these handlers. */
function strategy(
  setup: (ctx: Context) => Handlers,
  ...refs: (typeof X | typeof Y)[]
): Strategy<Record<string, never>> {
  return defineStrategy({
    name: 'test',
    params: {} as Record<string, never>,
    books: () => refs.length === 0 ? [X] : refs,
    setup,
  })
}

function world(
  setup: (ctx: Context) => Handlers,
  options: WorldOptions = {},
  ...refs: (typeof X | typeof Y)[]
): World<Record<string, never>> {
  return new World(strategy(setup, ...refs), options)
}

/** Runs it and returns the operating error that it ends with. */
function failureOf(run: () => unknown, exitCode = 70): ObfeedError {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof ObfeedError, String(error))
    assert.equal(error.exitCode, exitCode)
    return error
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' })
}

const ms = (n: number) => n * 1000

describe('books', () => {
  test('only proven ones are shown, and what is lost is said once', () => {
    const seen: string[] = []
    const w = world((ctx) => ({
      onBook(book, skipped) {
        assert.equal(ctx.books.get(X), book)
        seen.push(`${mid(book)} skipped ${skipped}`)
      },
      onInvalid(ref, reason) {
        assert.equal(ctx.books.get(ref), undefined)
        seen.push(reason)
      },
    })).begin()
    // Nothing was heard of it before the handlers began: that is said, too.
    assert.deepEqual(seen.splice(0), ['gap'])
    w.becomes(1, '99x1', '101x1')
    w.says(2, 'invalid', 'checksum')
    w.says(3, 'invalid', 'checksum')
    w.says(4, 'nothing')
    w.becomes(5, '100x1', '102x1', X, 'restart')
    assert.deepEqual(seen, ['100 skipped 0', 'checksum', '101 skipped 0'])
  })

  test('decisions are conflated, signals are not', () => {
    const values: [number, number][] = []
    const w = world((ctx) => {
      const flow = ctx.use(X, ofi())
      return {
        onBook(_book, skipped) {
          values.push([flow.take(), skipped])
        },
      }
    }, { everyEvent: false }).begin()
    w.becomes(1, '100x2', '100.5x1')
    w.drive.decide()
    w.becomes(2, '100x5', '100.5x1')
    w.becomes(3, '100x2', '100.5x1')
    w.becomes(4, '100x9', '100.5x1')
    w.drive.decide()
    w.drive.decide()
    assert.deepEqual(values, [[0, 0], [7, 2]])
  })

  test('history feeds signals, handlers run from the beginning on', () => {
    const seen: string[] = []
    const w = world((ctx) => {
      const flow = ctx.use(X, ofi())
      ctx.clock.every(1, 'tick')
      return {
        onBook: () => void seen.push(`book ${flow.sum}`) as undefined,
        onTimer: () => void seen.push(`timer ${ctx.clock.nowUs()}`) as undefined,
      }
    }, { everyEvent: false })
    w.runner.setup(0)
    w.becomes(ms(1), '100x2', '100.5x1')
    w.becomes(ms(5), '100x5', '100.5x1')
    w.drive.decide()
    assert.deepEqual(seen, [])
    w.drive.begin(ms(10))
    w.drive.decide()
    w.drive.advance(ms(12))
    assert.deepEqual(seen, ['book 3', 'timer 11000', 'timer 12000'])
    assert.match(w.lines[0]!, /^started @10000/)
  })

  test('a restart feeds signals anew', () => {
    const sums: number[] = []
    const w = world((ctx) => {
      const flow = ctx.use(X, ofi())
      return { onBook: () => void sums.push(flow.sum) as undefined }
    }).begin()
    w.becomes(1, '100x2', '100.5x1')
    w.becomes(2, '100x5', '100.5x1')
    w.becomes(3, '100x50', '100.5x1', X, 'restart')
    w.becomes(4, '100x51', '100.5x1')
    assert.deepEqual(sums, [0, 3, 0, 1])
  })

  test('without any event for 15 s a book is stale, until it is heard of again', () => {
    const w = world(() => ({ onBook() {}, onInvalid() {} })).begin()
    w.becomes(ms(1), '99x1', '101x1')
    w.says(ms(10_000), 'alive')
    w.drive.advance(ms(24_999))
    assert.deepEqual(w.told('book', 'invalid'), [
      'invalid x:A/B gap @0',
      'book x:A/B 0 skipped 0 @1000',
    ])
    w.drive.advance(ms(25_000))
    assert.deepEqual(w.told('book', 'invalid'), ['invalid x:A/B stale @25000000'])
    assert.equal(w.books.get(X)!.valid, false)
    w.says(ms(26_000), 'alive')
    assert.deepEqual(w.told('book', 'invalid'), ['book x:A/B 0 skipped 0 @26000000'])
    // And watched again.
    w.drive.advance(ms(41_000))
    assert.deepEqual(w.told('invalid'), ['invalid x:A/B stale @41000000'])
  })

  test('a clock that steps back takes nothing back', () => {
    const times: number[] = []
    const w = world((ctx) => ({
      onBook: () => void times.push(ctx.clock.nowUs()) as undefined,
    })).begin()
    for (const us of [100, 50, 120]) w.becomes(us, `99x${us}`, '101x1')
    assert.deepEqual(times, [100, 100, 120])
  })
})

describe('the order of one instant', () => {
  test('event, arrival at the exchange, answer, timer; and what is due runs before an event', () => {
    const seen: string[] = []
    const latency = { entryUs: 10, responseUs: 0, feedUs: 0 }
    const w = world((ctx) => {
      ctx.clock.after(0.02, 'twenty')
      let asked = false
      return {
        onBook(book) {
          seen.push(`book ${mid(book)} @${ctx.clock.nowUs()}`)
          if (asked) return
          asked = true
          ctx.orders.submit({ book: X, side: 'buy', price: '101', size: '1', tif: 'IOC' })
        },
        onOrder: ({ state }) => void seen.push(`${state} @${ctx.clock.nowUs()}`) as undefined,
        onFill: ({ price }) => void seen.push(`fill ${price} @${ctx.clock.nowUs()}`) as undefined,
        onTimer: (name) => void seen.push(`${name} @${ctx.clock.nowUs()}`) as undefined,
      }
    }, { latency }).begin()
    w.becomes(10, '99x1', '101x1')
    // At 20 the order arrives: the event of 20 comes before it, that of 21 after it.
    w.becomes(20, '99x1', '100.5x1')
    w.becomes(21, '80x1', '81x1')
    assert.deepEqual(seen, [
      'book 100 @10',
      'sent @10',
      'book 99.75 @20',
      'fill 100.5 @20',
      'filled @20',
      'twenty @20',
      'book 80.5 @21',
    ])
  })

  test('when an event is applied, all that was due before it has happened', () => {
    const w = world((ctx) => ({
      onBook() {
        ctx.orders.submit({ book: X, side: 'buy', price: '101', size: '1', tif: 'IOC' })
      },
    }), { latency: { entryUs: 5, responseUs: 1, feedUs: 0 } }).begin()
    let filledBefore: number | undefined
    w.becomes(10, '99x1', '101x1')
    w.applying = () => {
      filledBefore = w.lines.filter((line) => line.startsWith('fill')).length
    }
    w.becomes(17, '99x1', '101.5x1')
    assert.equal(filledBefore, 1)
  })

  test('timers: replaced by name, cancelled, without drift, as many as time has passed', () => {
    const seen: string[] = []
    const w = world((ctx) => {
      ctx.clock.every(10, 'a')
      ctx.clock.every(10, 'b')
      ctx.clock.after(5, 'b')
      ctx.clock.every(1, 'c')
      ctx.clock.cancel('c')
      return {
        onTimer(name) {
          seen.push(`${name} ${ctx.clock.nowUs() / 1000}`)
          if (seen.length === 4) ctx.clock.cancel('a')
        },
      }
    }).begin()
    w.drive.advance(ms(100))
    assert.deepEqual(seen, ['b 5', 'a 10', 'a 20', 'a 30'])
    for (const bad of [0, -1, NaN, Infinity]) {
      const error = failureOf(() =>
        world((ctx) => {
          ctx.clock.every(bad, 'x')
          return {}
        }).begin()
      )
      assert.match(error.message, /setup: RangeError: a timer was given/)
    }
  })
})

describe('orders', () => {
  test('each version once, in order, fills before the order they make', () => {
    const seen: string[] = []
    const w = world((ctx) => {
      let order: Order | undefined
      return {
        onBook(book) {
          if (order === undefined) {
            order = ctx.orders.submit({ book: X, side: 'buy', price: '99', size: '2' })
            seen.push(`submit ${order.state} v${order.n} ${book.seq}`)
            assert.deepEqual(ctx.orders.open().map(({ id }) => id), [order.id])
          } else if (book.seq === 3) ctx.orders.cancel(order.id)
        },
        onOrder: ({ state, n, filled }) => void seen.push(`${state} v${n} ${filled}`) as undefined,
        onFill: ({ n, size, position }) => {
          seen.push(`fill ${n} ${size} ${position}`)
          assert.equal(ctx.position(X), position)
        },
      }
    }).begin()
    w.becomes(1, '99x1', '101x1')
    w.becomes(2, '98x1', '99x0.5')
    w.becomes(3, '98x1', '99x1.25')
    w.becomes(4, '97x1', '101x1')
    w.drive.advance(5)
    assert.deepEqual(seen, [
      'submit intent v1 0',
      'sent v2 0',
      'open v3 0',
      'fill 1 0.5 0.5',
      'partial v4 0.5',
      'fill 2 0.75 1.25',
      'partial v5 1.25',
      'canceling v6 1.25',
      'canceled v7 1.25',
    ])
    assert.equal(w.runner.trading.table.openCount, 0)
  })

  test('numbers are rounded, text off the grid is refused, and refusals are orders too', () => {
    const w = world((ctx) => ({
      onBook() {
        const order = ctx.orders.submit({ book: X, side: 'buy', price: 99.7, size: 1.23456 })
        assert.deepEqual([order.price, order.size, order.state], ['99.5', '1.2345', 'intent'])
        const sell = ctx.orders.submit({ book: X, side: 'sell', price: 101.2, size: 1 })
        assert.equal(sell.price, '101.5')
        const off = ctx.orders.submit({ book: X, side: 'buy', price: '99.7', size: '1' })
        assert.equal(off.state, 'refused')
        assert.match(off.reason!, /^E_GRID: 1 at 99.7 is not on the grid of 0.0001 at 0.5/)
        const self = ctx.orders.submit({ book: X, side: 'sell', price: '99.5', size: '1' })
        assert.match(self.reason!, /^E_SELF/)
      },
    })).begin()
    w.becomes(1, '99x1', '101x1')
    assert.deepEqual(w.told('order', 'intent').slice(0, 6), [
      'order 0 v1 intent',
      'intent buy 1.2345@99.5',
      'order 1 v1 intent',
      'intent sell 1@101.5',
      'order 2 v1 refused E_GRID: 1 at 99.7 is not on the grid of 0.0001 at 0.5',
      'order 3 v1 refused E_SELF: it would meet our own order at 99.5',
    ])
  })

  test('orders carry the book they were decided on', () => {
    const w = world((ctx) => ({
      onBook(book) {
        const order = ctx.orders.submit({ book: X, side: 'buy', price: 90, size: 1, tag: 't' })
        assert.deepEqual(
          [order.epoch, order.seq, order.bookUs, order.decidedUs, order.tag],
          [book.epoch, book.seq, book.receivedUs, ctx.clock.nowUs(), 't'],
        )
      },
    })).begin()
    w.becomes(7, '99x1', '101x1')
    w.becomes(8, '99x2', '101x1')
    assert.equal(w.told('intent').length, 2)
  })

  test('a book that is not proven takes none', () => {
    const reasons: (string | undefined)[] = []
    const w = world((ctx) => ({
      onInvalid() {
        reasons.push(ctx.orders.submit({ book: X, side: 'buy', price: 90, size: 1 }).reason)
      },
    })).begin()
    w.becomes(1, '99x1', '101x1')
    w.says(2, 'invalid')
    assert.equal(reasons.length, 2)
    for (const reason of reasons) assert.match(reason!, /^E_BOOK: the decided book is not proven/)
  })

  test('positions and money are exact', () => {
    const w = world((ctx) => ({
      onBook() {
        ctx.orders.submit({ book: X, side: 'buy', price: '0.5', size: '0.1', tif: 'IOC' })
        ctx.orders.submit({ book: X, side: 'buy', price: '0.5', size: '0.2', tif: 'IOC' })
      },
    })).begin()
    w.becomes(1, '', '0.5x9')
    w.drive.advance(2)
    const { position } = w.runner.trading.desk(X)
    assert.equal(position.text, '0.3')
    assert.equal(w.runner.trading.result, '-0.15')
  })

  test('a broker that shows our orders in the book: signals do not see them', () => {
    class Live implements Broker {
      readonly showsInBook = true
      readonly intents: Intent[] = []
      submit(intent: Intent): void {
        this.intents.push(intent)
      }
      cancel(): void {}
      query(): void {}
      listOpen(): void {}
      cancelAll(): void {}
      arm(): void {}
      close(): Promise<void> {
        return Promise.resolve()
      }
      ahead(): undefined {}
    }
    const broker = new Live()
    const seen: number[] = []
    const w = world((ctx) => ({
      onBook(book) {
        seen.push(mid(book))
        if (seen.length === 1) ctx.orders.submit({ book: X, side: 'buy', price: '100', size: '1' })
      },
    }), { broker: () => broker }).begin()
    w.becomes(1, '99x1', '101x1')
    const { id } = broker.intents[0]!
    w.events.answered({ type: 'open', id, atUs: 2, exchangeId: 'e' })
    w.becomes(3, '100x1 99x1', '101x1')
    const fill: BrokerEvent = {
      type: 'fill',
      id,
      atUs: 4,
      trade: 't',
      price: '100',
      size: '1',
      fee: '0.5',
      feeCurrency: 'A',
      liquidity: 'maker',
      timestampUs: 4,
    }
    w.events.answered(fill)
    w.events.answered(fill)
    w.becomes(5, '100x3 99x1', '101x1')
    assert.deepEqual(seen, [100, 100, 100.5])
    assert.equal(w.runner.trading.desk(X).position.text, '1')
    assert.equal(w.runner.trading.desk(X).position.fees, 0n)
  })
})

const LIMITS: Limits = {
  maxBookAgeMs: 1000,
  allowUnproven: true,
  maxOrderSize: '10',
  maxOrderNotional: '100000',
  maxPosition: '10',
  collarBps: 5000,
  maxDepthShare: 1,
  maxExposure: '100000',
  ordersPerSecond: 100,
  maxOpenOrders: 10,
  duplicateMs: 0,
  maxDailyLoss: '5',
  maxDrawdown: '5',
  maxRejects: 1,
  maxUnknown: 0,
  books: {},
}

describe('risk while it runs', () => {
  test('a loss beyond the limit: nothing but reducing, then halted and all cancelled', () => {
    const states: string[] = []
    const w = world((ctx) => ({
      onBook(book) {
        if (book.seq === 0) {
          ctx.orders.submit({ book: X, side: 'buy', price: '101', size: '1', tif: 'IOC' })
          ctx.orders.submit({ book: X, side: 'buy', price: '60', size: '1' })
        }
        if (book.seq === 1) {
          const more = ctx.orders.submit({ book: X, side: 'buy', price: '70', size: '1' })
          states.push(more.reason ?? 'passed')
          ctx.orders.submit({ book: X, side: 'sell', price: '95', size: '1', tif: 'IOC' })
        }
        if (book.seq === 2) {
          const more = ctx.orders.submit({ book: X, side: 'buy', price: '70', size: '1' })
          states.push(more.reason ?? 'passed')
        }
      },
    }), { limits: LIMITS }).begin()
    w.becomes(ms(1), '100x1', '101x1')
    w.becomes(ms(200), '95x1', '96x1')
    w.drive.advance(ms(201))
    assert.equal(w.runner.trading.risk.mode, 'halted')
    w.becomes(ms(400), '95x2', '96x1')
    w.drive.advance(ms(500))
    assert.match(states[0]!, /^E_LOSS: the day's loss of 6 is above 5: only orders that reduce/)
    assert.match(states[1]!, /^E_HALTED/)
    const lines = w.told('halted', 'order 1')
    assert.match(lines.find((line) => line.startsWith('halted'))!, /the day's loss of 6/)
    assert.equal(lines.at(-1), 'order 1 v5 canceled')
  })

  test('rejects in a row, and unknown orders, halt', () => {
    const w = world((ctx) => ({
      onBook() {
        ctx.orders.submit({ book: X, side: 'buy', price: '102', size: '1', postOnly: true })
      },
    }), { limits: LIMITS }).begin()
    w.becomes(1, '99x1', '101x1')
    w.becomes(2, '99x1', '101x2')
    w.drive.advance(3)
    assert.match(w.told('halted')[0]!, /2 orders in a row were rejected/)
  })

  test('older news than allowed are not shown', () => {
    const w = world(() => ({ onBook() {}, onInvalid() {} }), { limits: LIMITS }).begin()
    w.told()
    w.becomes(1, '99x1', '101x1')
    const book = w.books.get(X)!
    w.says(ms(900), 'alive')
    assert.deepEqual(w.told('book', 'invalid'), ['book x:A/B 0 skipped 0 @1'])
    book.lastUs = 0
    w.drive.take({
      book,
      atUs: ms(3000),
      reason: '',
      apply() {
        book.receivedUs = ms(1999) - 1
        return 'change'
      },
    })
    assert.deepEqual(w.told('book', 'invalid'), ['invalid x:A/B stale @3000000'])
  })
})

describe('a strategy that does wrong', () => {
  test('a throw drops what that call asked for and cancels all; its place is told', () => {
    const w = world((ctx) => ({
      onBook(book) {
        ctx.orders.submit({ book: X, side: 'buy', price: 90, size: 1 })
        ctx.signal('before', 1)
        if (book.seq === 1) throw new Error('oh no')
      },
    }), { folder: import.meta.dirname! }).begin()
    w.becomes(1, '99x1', '101x1')
    w.drive.advance(1)
    w.told()
    const error = failureOf(() => w.becomes(2, '99x2', '101x1'))
    assert.match(error.message, /\/test\/strategy\/runner\.test\.ts:\d+:\d+: onBook: oh no$/)
    assert.equal(error.code, 'E_STRATEGY')
    assert.deepEqual(w.told('order', 'intent', 'signal', 'cancel'), [
      'cancel 0',
      'order 0 v4 canceling',
    ])
    // What comes of the cancel is still taken, and no handler is called any more.
    w.drive.advance(3)
    assert.deepEqual(w.told('order'), ['order 0 v5 canceled'])
    w.becomes(4, '99x3', '101x1')
    assert.deepEqual(w.told('intent'), [])
  })

  test('a promise counts as a throw', () => {
    const async = (() => Promise.resolve()) as unknown as () => undefined
    for (const handler of ['onBook', 'onInvalid', 'onTimer', 'onStop'] as const) {
      const w = world((ctx) => {
        if (handler === 'onTimer') ctx.clock.after(1, 't')
        return { [handler]: async }
      })
      const error = failureOf(() => {
        w.begin()
        w.becomes(1, '99x1', '101x1')
        w.drive.stop(ms(5))
      })
      assert.match(error.message, new RegExp(`${handler}: TypeError: it returned a promise`))
    }
  })

  const hidden: readonly (readonly [string, () => unknown, RegExp])[] = [
    ['Date.now', () => Date.now(), /Date\.now\(\).*ctx\.clock\.nowUs\(\)/],
    ['new Date()', () => new Date(), /new Date\(\).*ctx\.clock\.nowUs\(\)/],
    ['Date()', () => Date(), /Date\(\).*ctx\.clock\.nowUs\(\)/],
    ['Math.random', () => Math.random(), /Math\.random\(\).*ctx\.random\(\)/],
    ['performance.now', () => performance.now(), /performance\.now\(\).*ctx\.clock\.nowUs\(\)/],
    ['setTimeout', () => setTimeout(() => {}, 0), /setTimeout\(\).*ctx\.clock\.after\(\)/],
    ['setInterval', () => setInterval(() => {}, 9), /setInterval\(\).*ctx\.clock\.every\(\)/],
    ['setImmediate', () => setImmediate(() => {}), /setImmediate\(\)/],
    ['fetch', () => fetch('http://127.0.0.1:1'), /fetch\(\)/],
    ['randomUUID', () => crypto.randomUUID(), /crypto\.randomUUID\(\).*ctx\.random\(\)/],
    ['hrtime', () => process.hrtime(), /process\.hrtime\(\)/],
    ['hrtime.bigint', () => process.hrtime.bigint(), /process\.hrtime\.bigint\(\)/],
  ]
  for (const [name, use, expected] of hidden) {
    test(`${name} in a handler names what to use instead, also when it is swallowed`, () => {
      for (const swallow of [false, true]) {
        const w = world(() => ({
          onBook() {
            try {
              use()
            } catch (error) {
              if (!swallow) throw error
            }
          },
        })).begin()
        const error = failureOf(() => w.becomes(1, '99x1', '101x1'))
        assert.match(error.message, /onBook: /)
        assert.match(error.message, expected)
      }
    })
  }

  test('a date of given arguments is no clock, and outside handlers all is as ever', () => {
    const w = world(() => ({
      onBook() {
        assert.equal(new Date(0).toISOString(), '1970-01-01T00:00:00.000Z')
        assert.equal(Date.UTC(1970, 0, 2), 86_400_000)
        assert.ok(new Date(5) instanceof Date)
      },
    })).begin()
    w.becomes(1, '99x1', '101x1')
    assert.ok(Math.abs(Date.now() - new Date().getTime()) < 1000)
    assert.ok(Math.random() < 1 && performance.now() > 0 && typeof Date() === 'string')
    assert.ok(process.hrtime.bigint() > 0n && process.hrtime()[0] >= 0)
    assert.equal(crypto.randomUUID().length, 36)
    assert.ok(performance.timeOrigin > 0)
    class Special extends Date {}
    assert.ok(new Special() instanceof Special)
  })

  test('a book that books() did not name, handlers of another name, no handlers', () => {
    const other = world((ctx) => ({
      onBook() {
        ctx.position(Y)
      },
    })).begin()
    const error = failureOf(() => other.becomes(1, '99x1', '101x1'))
    assert.match(error.message, /"y:C\/D" is no book of this strategy, expected one of x:A\/B/)
    const shape = (handlers: unknown) =>
      failureOf(() => world(() => handlers as Handlers).begin(), 78).message
    assert.match(shape({ onbook() {} }), /setup returned "onbook", expected only onBook/)
    assert.match(shape({ onBook: 1 }), /onBook was number, expected a function/)
    assert.match(shape(undefined), /setup returned undefined, expected an object/)
    assert.match(shape(Promise.resolve({})), /setup returned a promise/)
    const late = world((ctx) => ({
      onBook() {
        ctx.use(X, ofi())
      },
    })).begin()
    assert.match(failureOf(() => late.becomes(1, '99x1', '101x1')).message, /expected it in setup/)
  })
})

describe('state and randomness', () => {
  test('state is JSON, copied, told when it changes, and comes back', () => {
    const w = world((ctx) => ({
      onBook() {
        const list = ctx.state.get<number[]>('list') ?? []
        ctx.state.set('list', [...list, 1])
        list.push(9)
        ctx.state.set('same', 'x')
      },
    }), { state: { list: [0] } }).begin()
    w.becomes(1, '99x1', '101x1')
    w.becomes(2, '99x2', '101x1')
    assert.deepEqual(w.told('state'), ['state list [0,1]', 'state same "x"', 'state list [0,1,1]'])
    assert.deepEqual(w.runner.state.toJSON(), { list: [0, 1, 1], same: 'x' })
    for (const bad of [NaN, undefined, () => {}, 1n, new Map()]) {
      const broken = world((ctx) => ({
        onBook() {
          ctx.state.set('x', [bad] as never)
        },
      })).begin()
      const error = failureOf(() => broken.becomes(1, '99x1', '101x1'))
      assert.match(error.message, /state "x" was given .*expected what JSON can say/)
    }
  })

  test('the same inputs give the same outputs, another seed others', () => {
    const run = (seed: string) => {
      const w = world((ctx) => {
        const flow = ctx.use(X, ofi())
        ctx.clock.every(3, 'quote')
        return {
          onTimer() {
            ctx.orders.cancelAll(X)
            const book = ctx.books.get(X)
            if (book === undefined) return
            const price = mid(book) - ctx.random() * 3
            ctx.orders.submit({ book: X, side: 'buy', price, size: 0.1 + ctx.random() })
            ctx.signal('flow', flow.take(), X)
          },
        }
      }, { seed, latency: { entryUs: 500, responseUs: 700, feedUs: 100 } }).begin()
      let state = 1
      for (let i = 1; i <= 2000; i++) {
        state = state * 48271 % 2147483647
        const at = 100 + state % 7
        w.becomes(i * 777, `${at}x${1 + state % 5} ${at - 1}x2`, `${at + 1}x1 ${at + 2}x3`)
      }
      w.drive.stop(ms(3000))
      return w.told()
    }
    const first = run('a')
    assert.ok(first.filter((line) => line.startsWith('fill')).length > 20)
    assert.deepEqual(run('a'), first)
    assert.notDeepEqual(run('b'), first)
  })

  test('two books: decisions in the order of their changes, each with its own', () => {
    const w = world(() => ({ onBook() {} }), { everyEvent: false }, X, Y).begin()
    w.told()
    w.becomes(1, '99x1', '101x1', Y)
    w.becomes(2, '99x1', '101x1', X)
    w.becomes(3, '99x2', '101x1', Y)
    w.drive.decide()
    assert.deepEqual(w.told(), ['book y:C/D 1 skipped 1 @3', 'book x:A/B 0 skipped 0 @3'])
  })
})
