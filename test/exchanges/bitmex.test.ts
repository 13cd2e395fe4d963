/** BitMEX: its numbered steps, its edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { bitmex } from '../../src/exchanges/bitmex.ts'
import { changeText, numberToken, partialText, type Row } from './bitmex.fixture.ts'
import { applyLevel, Listener, type NaiveBook } from './listener.ts'
import { describeRoutes } from './routes.ts'
import { slowed } from './wounds.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/bitmex/orderBookL2-20210722.book.jsonl',
)

const encoder = new TextEncoder()

function instrument(wireSymbol: string, priceDecimals = 1, sizeDecimals = 0): Instrument {
  return { symbol: `${wireSymbol}/USD`, wireSymbol, priceDecimals, sizeDecimals }
}

const XBT = instrument('XBTUSD')
const ETH = instrument('ETHUSD', 2)

function open(...instruments: Instrument[]): { session: Session; listener: Listener } {
  const listener = new Listener(instruments)
  return { session: bitmex.open(instruments, listener, 0), listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

const row = (id: number, side: 'Buy' | 'Sell', more: Partial<Row> = {}): Row => ({
  symbol: 'XBTUSD',
  id,
  side,
  ...more,
})

const LEVELS = [
  row(10, 'Sell', { size: '200', price: '32192.5' }),
  row(11, 'Buy', { size: '100', price: '32192' }),
  row(12, 'Buy', { size: '7', price: '32191.5' }),
]
const partial = () => partialText('XBTUSD', LEVELS)
const partialEth = () => {
  const levels = [row(30, 'Sell', { size: '5', price: '1999.95' })]
  return partialText('ETHUSD', levels.map((level) => ({ ...level, symbol: 'ETHUSD' })))
}
const START: NaiveBook = new Map([
  ['ask 32192.5', '200'],
  ['bid 32192', '100'],
  ['bid 32191.5', '7'],
])

/** The book that `texts` leave behind after the first partial. */
function bookAfter(...texts: string[]): NaiveBook | undefined {
  const { session, listener } = open(XBT)
  give(session, partial(), ...texts)
  return listener.books[0]
}

describe('steps', () => {
  test('1: the table of every symbol, ten topics a message, once', () => {
    const many = Array.from({ length: 12 }, (_, i) => instrument(`A${i}`))
    const { session, listener } = open(...many)
    session.opened()
    session.opened()
    const sent = listener.sent.map((text) => JSON.parse(text))
    assert.deepEqual(sent.map(({ op, args }) => [op, args.length]), [
      ['subscribe', 10],
      ['subscribe', 2],
    ])
    assert.equal(sent[1].args[1], 'orderBookL2:A11')
  })

  test('2: nothing counts before the partial, which replaces everything; it may be empty', () => {
    const { session, listener } = open(XBT, ETH)
    give(
      session,
      '{"info":"Welcome to the BitMEX Realtime API."}',
      changeText('insert', LEVELS),
      changeText('update', [row(99, 'Buy', { size: '1' })]),
      changeText('delete', [row(99, 'Buy')]),
    )
    assert.deepEqual(listener.outputs, [])
    assert.deepEqual(listener.suspects, [])
    give(session, partial(), changeText('delete', [row(10, 'Sell')]), partial())
    assert.deepEqual(listener.books[0], START)
    give(session, partialText('XBTUSD', []))
    assert.deepEqual(listener.books[0], new Map())
    give(session, changeText('insert', [LEVELS[0]]))
    assert.deepEqual(listener.books[0], new Map([['ask 32192.5', '200']]))
    assert.equal(session.stats.scannerFallbacks, 0)
    give(session, changeText('delete', [row(11, 'Buy')]))
    assert.equal(listener.suspects.length, 1, 'ids of the table before are forgotten')
  })

  test('3: inserts name the price, updates and deletes the id', () => {
    const { session, listener } = open(XBT)
    give(
      session,
      partial(),
      changeText('insert', [row(13, 'Sell', { size: '50', price: '32193' })]),
      changeText('update', [row(10, 'Sell', { size: '1' }), row(12, 'Buy', { size: '2' })]),
      changeText('delete', [row(11, 'Buy')]),
    )
    assert.deepEqual(
      listener.books[0],
      new Map([['ask 32192.5', '1'], ['bid 32191.5', '2'], ['ask 32193', '50']]),
    )
    assert.deepEqual(listener.outputs.slice(1).map(({ levels }) => levels), [
      [['ask', '32193', '50']],
      [['ask', '32192.5', '1'], ['bid', '32191.5', '2']],
      [['bid', '32192', '0']],
    ])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('3: a level that moves or changes sides leaves nothing behind', () => {
    const moved = new Map(START)
    moved.delete('ask 32192.5')
    for (const action of ['insert', 'update'] as const) {
      assert.deepEqual(
        bookAfter(changeText(action, [row(10, 'Sell', { size: '3', price: '32194.5' })])),
        new Map([...moved, ['ask 32194.5', '3']]),
        action,
      )
    }
    const flipped = new Map([...moved, ['bid 32192.5', '3']])
    const flip = changeText('update', [row(10, 'Buy', { size: '3' })])
    assert.deepEqual(bookAfter(flip), flipped)
    // From now on it is a bid, by whichever side it is named.
    flipped.delete('bid 32192.5')
    for (const side of ['Buy', 'Sell'] as const) {
      assert.deepEqual(bookAfter(flip, changeText('delete', [row(10, side)])), flipped)
    }
    assert.deepEqual(
      bookAfter(changeText('update', [row(10, 'Sell', { price: '32192.50' })])),
      START,
      'neither size nor another price: nothing has changed',
    )
    assert.equal(
      bookAfter(changeText('update', [row(10, 'Sell', { price: '32194' })])),
      undefined,
      'no size to move',
    )
  })

  test('3: an id that is inserted while the other side has it: a delete was lost', () => {
    for (const prefix of ['', ' ']) {
      const again = changeText('insert', [row(11, 'Sell', { size: '3', price: '32193' })])
      assert.equal(bookAfter(prefix + again), undefined)
    }
  })

  test('3: later rows with price and times', () => {
    const { session, listener } = open(XBT)
    const stamp = (ms: number) => new Date(1_700_000_000_000 + ms).toISOString()
    give(
      session,
      partialText('XBTUSD', LEVELS.map((level, i) => ({ ...level, timestamp: stamp(i) }))),
      changeText('update', [
        row(10, 'Sell', { size: '1', price: '32192.5', timestamp: stamp(50) }),
        row(11, 'Buy', { size: '1', price: '32192', timestamp: stamp(40) }),
      ]),
      changeText('delete', [row(10, 'Sell', { price: '32192.5', timestamp: stamp(60) })]),
      changeText('update', [row(11, 'Buy', { size: '4', timestamp: stamp(70) })])
        .replace('"}]', `","transactTime":"${stamp(71)}"}]`),
    )
    assert.deepEqual(
      listener.outputs.map(({ timestampMs }) => timestampMs - 1_700_000_000_000),
      [2, 50, 60, 70],
    )
    assert.deepEqual(listener.books[0], new Map([['bid 32192', '4'], ['bid 32191.5', '7']]))
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('4: an id that is not in the table is a loss of this book alone', () => {
    for (const action of ['update', 'delete'] as const) {
      const { session, listener } = open(XBT, ETH)
      session.opened()
      give(
        session,
        partial(),
        partialEth(),
        changeText(action, [row(10, 'Sell', { size: '1' }), row(77, 'Sell', { size: '1' })]),
      )
      assert.deepEqual(
        listener.suspects.map(({ index, reason, detail }) => [index, reason, detail]),
        [[0, 'gap', `${action} of id 77, which is not in the table of XBTUSD`]],
      )
      assert.equal(listener.outputs.length, 2, 'nothing of the frame is handed on')
      give(session, changeText('update', [row(10, 'Sell', { size: '1' })]), partial())
      assert.equal(listener.outputs.length, 2, 'nothing before the resync')
      session.resync(0)
      give(session, changeText('update', [row(10, 'Sell', { size: '1' })]), partial())
      assert.deepEqual(listener.books[0], START)
      assert.ok(listener.books[1] !== undefined)
    }
  })

  test('5: numbers are exact to the last digit of their token', () => {
    const small = instrument('XRPU21', 8)
    const { session, listener } = open(small)
    const values = [
      ['3.5e-7', '0.00000035'],
      ['1e-8', '0.00000001'],
      ['1.25E-9', '0.00000000125'],
      ['0.00010699', '0.00010699'],
      ['5e0', '5'],
      ['0.1234567890123456789', '0.1234567890123456789'],
      ['12345678901234567890', '12345678901234567890'],
    ]
    for (const padding of ['', ' ']) {
      const rows = values.map(([price], i) => ({
        ...row(i, 'Sell', { size: '90071992547409930001', price }),
        symbol: 'XRPU21',
      }))
      give(session, partialText('XRPU21', rows) + padding)
      assert.deepEqual(
        listener.outputs.at(-1)!.levels,
        values.map(([, price]) => ['ask', price, '90071992547409930001']),
      )
      const updates = rows.map((each) => ({ ...each, price: undefined, size: '1e3' }))
      give(session, changeText('update', updates as unknown as Row[]) + padding)
      assert.deepEqual(
        listener.outputs.at(-1)!.levels,
        values.map(([, price]) => ['ask', price, '1000']),
      )
      give(
        session,
        changeText('delete', rows.map(({ symbol, id, side }) => ({ symbol, id, side }))),
      )
      assert.deepEqual(listener.books[0], new Map())
    }
    assert.equal(session.stats.scannerFallbacks, 2)
  })

  test('6: what cannot be read makes every book suspect', () => {
    const insert = () => changeText('insert', [row(13, 'Sell', { size: '50', price: '32193' })])
    const broken = [
      '',
      'null',
      '[]',
      'pong2',
      '{"table":"orderBookL2"',
      '{"table":"orderBookL2","action":"insert"}',
      insert().replace('"insert"', '"upsert"'),
      insert().replace('[{', '[7,{'),
      insert().replace('"XBTUSD"', '7'),
      insert().replace('"id":13', '"id":"13"'),
      insert().replace('"id":13', '"id":-13'),
      insert().replace('"id":13', '"id":1.3'),
      insert().replace('"id":13', '"id":9007199254740993'),
      insert().replace('Sell', 'Sold'),
      insert().replace('50', '"50"'),
      insert().replace('50', '-50'),
      insert().replace('50', 'null'),
      insert().replace(',"size":50', ''),
      insert().replace(',"price":32193', ''),
      insert().replace('32193', '"32193"'),
      insert().replace('32193', '-1'),
      insert().replace('32193', '1e999'),
    ]
    for (const text of broken) {
      const { session, listener } = open(XBT, ETH)
      give(session, partial(), partialEth(), text)
      assert.deepEqual(
        listener.suspects.map(({ index, reason }) => [index, reason]),
        [[0, 'gap'], [1, 'gap']],
        text,
      )
      assert.equal(listener.outputs.length, 2)
      assert.deepEqual(listener.failures, [])
      session.resyncAll!([0, 1])
      give(session, partial(), partialEth())
      assert.deepEqual(listener.books[0], START)
    }
  })

  test('7: a resync asks for the symbols anew, in as few messages as there are tens', () => {
    const { session, listener } = open(XBT, ETH)
    session.opened()
    session.resyncAll!([1, 0])
    assert.deepEqual(
      listener.sent.slice(1).map((text) => JSON.parse(text)),
      ['unsubscribe', 'subscribe'].map((op) => ({
        op,
        args: ['orderBookL2:ETHUSD', 'orderBookL2:XBTUSD'],
      })),
    )
    const ignored = ['already', 'not'].map((state) =>
      JSON.stringify({
        status: 400,
        error: `You are ${state} subscribed to this topic: orderBookL2:ETHUSD`,
        request: { op: 'subscribe', args: ['orderBookL2:ETHUSD'] },
      })
    )
    give(session, ...ignored, partialEth())
    assert.deepEqual(listener.failures, [])
    assert.equal(listener.outputs.length, 1)
  })

  test('8: silence is asked, and the answer is known', () => {
    const { session, listener } = open(XBT)
    session.heartbeat!()
    session.opened()
    session.heartbeat!()
    assert.deepEqual(listener.sent.slice(1), ['ping'])
    give(session, 'pong')
    session.heartbeat!()
    assert.equal(listener.sent.length, 2, 'something came')
    session.heartbeat!()
    assert.deepEqual(listener.sent.slice(2), ['ping'])
    assert.equal(session.stats.unknownFrames, 0)
    assert.deepEqual(listener.suspects, [])
  })

  test('frames about several symbols are one change of each, or none at all', () => {
    const { session, listener } = open(XBT, ETH)
    give(session, partial(), partialEth())
    const eth = (id: number): Row => ({ symbol: 'ETHUSD', id, side: 'Sell', size: '6' })
    const other: Row = { symbol: 'XRPUSD', id: 1, side: 'Sell', size: '6' }
    give(
      session,
      changeText('update', [
        row(10, 'Sell', { size: '1' }),
        eth(30),
        other,
        row(11, 'Buy', { size: '2' }),
      ]),
    )
    assert.deepEqual(listener.outputs.slice(2).map(({ index, levels }) => [index, levels]), [
      [0, [['ask', '32192.5', '1'], ['bid', '32192', '2']]],
      [1, [['ask', '1999.95', '6']]],
    ])
    give(session, changeText('update', [row(10, 'Sell', { size: '5' }), eth(31)]))
    assert.deepEqual(listener.suspects.map(({ index }) => index), [1])
    assert.equal(listener.books[0]!.get('ask 32192.5'), '5')
    give(session, changeText('update', [other]), changeText('update', []))
    assert.equal(session.stats.unknownFrames, 1, 'an empty one is none')
  })
})

/** What both routes have to agree on. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const { session, listener } = open(...instruments)
  give(session, partial(), partialEth())
  session.received(bytes, 5)
  give(
    session,
    changeText('update', [row(10, 'Sell', { size: '77' })]),
    changeText('update', [row(13, 'Sell', { size: '78' })]),
  )
  return {
    outputs: listener.outputs,
    suspects: listener.suspects.map(({ index, reason }) => [index, reason]),
    failures: listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    unknown: session.stats.unknownFrames,
  }
}

const token = fc.oneof(
  fc.tuple(fc.nat(10_000_000), fc.nat(12)).map(([n, places]) => (n / 10 ** places).toFixed(places)),
  fc.bigInt({ min: 0n, max: 10n ** 24n }).map(String),
  fc.tuple(fc.nat(999), fc.integer({ min: -12, max: 12 })).map(([n, e]) => `${n}e${e}`),
  fc.nat(1000).map((n) => numberToken((n / 1e9).toFixed(9))),
  fc.constantFrom('0', '0.0', '-1', '007', '1.', '"1"', 'null', '1e999', '1E+2', '1e-2'),
)
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const anyRow = fc.record({
  symbol: fc.constantFrom('XBTUSD', 'XBTUSD', 'XBTUSD', 'ETHUSD', 'XRPUSD'),
  id: fc.constantFrom(10, 11, 12, 13, 30),
  side: fc.constantFrom('Buy' as const, 'Sell' as const),
  size: maybe(token),
  price: maybe(token),
  timestamp: maybe(fc.constantFrom('2026-08-24T22:34:13.793Z', '0001-01-01T00:00:00Z', 'soon')),
}) as fc.Arbitrary<Row>
const plainRow = fc.record({
  symbol: fc.constant('XBTUSD'),
  id: fc.constantFrom(10, 11, 12, 13),
  side: fc.constantFrom('Buy' as const, 'Sell' as const),
  size: fc.nat(100_000).map(String),
  price: fc.nat(100_000).map((n) => String(n / 2)),
}) as fc.Arbitrary<Row>
const frameOf = (one: fc.Arbitrary<Row>) =>
  fc.tuple(
    fc.constantFrom('partial' as const, 'insert' as const, 'update' as const, 'delete' as const),
    fc.array(one, { maxLength: 4 }),
  ).map(([action, rows]) =>
    action === 'partial' ? partialText('XBTUSD', rows) : changeText(action, rows)
  )
describeRoutes({
  story,
  instruments: [XBT, ETH],
  frames: frameOf(fc.oneof(plainRow, anyRow)),
  plain: fc.constantFrom(
    partial(),
    changeText('insert', [row(13, 'Sell', { size: '50', price: '32193' })]),
    changeText('update', [row(13, 'Sell', { size: '51' })]),
    changeText('delete', [row(13, 'Sell')]),
  ),
  examples: [
    partialText('XBTUSD', []),
    changeText('insert', [row(13, 'Sell', { size: '50', price: '3.5e-7' })]),
    changeText('update', [
      row(10, 'Sell', { size: '50', timestamp: '2026-08-24T22:34:13.793Z' }),
    ]),
  ],
  runs: { frames: 1000, wounded: 2000 },
  fallbacks: (text) => {
    const { session, listener } = open(XBT)
    give(session, partial(), changeText('insert', [row(13, 'Sell', { size: '9', price: '9' })]))
    give(session, text)
    assert.equal(listener.outputs.length, 3)
    return session.stats.scannerFallbacks
  },
})

test('recorded frames against a naive model, on both routes', {
  skip: !existsSync(RECORDING),
}, () => {
  const texts = readFileSync(RECORDING, 'utf8').trim().split('\n')
    .map((line) => JSON.parse(line).raw as string)
  const listed = JSON.parse(
    readFileSync(join(RECORDING, '../orderBookL2-20210722.markets.json'), 'utf8'),
  )[0].body as unknown
  const instruments = bitmex.markets!.parse([listed])!
  assert.equal(instruments.length, 10)
  const truth: NaiveBook[] = instruments.map(() => new Map())
  const prices = instruments.map(() => new Map<number, string>())
  const fast = open(...instruments)
  const slow = open(...instruments)
  let books = 0
  for (const text of texts) {
    const { action, data, table } = JSON.parse(text)
    const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === data?.[0].symbol)
    for (const { id, side, size, price } of data ?? []) {
      // Up to 2^53 and 17 digits the double still is the number that was sent.
      if (price !== undefined) prices[index].set(id, String(price))
      const known = prices[index].get(id)!
      const which = side === 'Buy' ? 'bid' : 'ask'
      applyLevel(truth[index], which, known, action === 'delete' ? '0' : String(size))
    }
    if (table !== undefined) books++
    give(fast.session, text)
    slow.session.received(slowed(encoder.encode(text)), 1_000_000)
    if (index >= 0) {
      assert.equal(fast.listener.realBooks[index]!.isCrossed(), false)
      if (books % 200 === 0) assert.deepEqual(fast.listener.books[index], truth[index])
    }
  }
  assert.equal(books, 1979)
  assert.deepEqual(fast.listener.books, truth)
  assert.deepEqual(fast.listener.outputs, slow.listener.outputs)
  assert.equal(fast.listener.outputs.length, books)
  assert.deepEqual(fast.listener.suspects, [], 'no unknown id')
  assert.deepEqual(fast.session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
  assert.equal(slow.session.stats.scannerFallbacks, books)
})
