/** Coinbase Advanced Trade: its numbered steps, its edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { coinbase } from '../../src/exchanges/coinbase.ts'
import { dataText } from './coinbase.fixture.ts'
import type { WireLevel } from './fixture.ts'
import { applyLevel, Listener, type NaiveBook } from './listener.ts'
import { describeRoutes } from './routes.ts'
import { anyLevels, plainLevels } from './wounds.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/coinbase/exchange-level2-20210417.book.jsonl',
)

const encoder = new TextEncoder()

function instrument(symbol: string, priceDecimals = 2, sizeDecimals = 8): Instrument {
  return { symbol, wireSymbol: symbol.replace('/', '-'), priceDecimals, sizeDecimals }
}

const BTC = instrument('BTC/USD')
const ETH = instrument('ETH/USD')

function open(...instruments: Instrument[]): { session: Session; listener: Listener } {
  const listener = new Listener(instruments)
  return { session: coinbase.open(instruments, listener, 0), listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

const snapshot = (sequence: number, product = 'BTC-USD') =>
  dataText('snapshot', product, sequence, [['bid', '100.25', '1'], ['ask', '100.5', '2']])
const update = (sequence: number, product = 'BTC-USD', levels: WireLevel[] = []) =>
  dataText('update', product, sequence, levels)
const control = (channel: string, sequence: number) =>
  JSON.stringify({ channel, timestamp: '', sequence_num: sequence, events: [] })

describe('steps', () => {
  test('1: level2 of all products, then heartbeats, one channel a message', () => {
    const { session, listener } = open(BTC, instrument('BTC/USDC'), ETH)
    session.opened()
    assert.deepEqual(listener.sent.map((text) => JSON.parse(text)), [
      {
        type: 'subscribe',
        product_ids: ['BTC-USD', 'BTC-USDC', 'ETH-USD'],
        channel: 'level2',
      },
      { type: 'subscribe', channel: 'heartbeats' },
    ])
    session.opened()
    assert.equal(listener.sent.length, 2, 'once')
  })

  test('1: very many products are split', () => {
    const many = Array.from({ length: 250 }, (_, i) => instrument(`A${i}/USD`))
    const { session, listener } = open(...many)
    session.opened()
    const asked = listener.sent.flatMap((text) => JSON.parse(text).product_ids ?? [])
    assert.equal(listener.sent.length, 4)
    assert.deepEqual(asked, many.map(({ wireSymbol }) => wireSymbol))
  })

  test('2: every channel is counted, the acknowledgement comes after the data', () => {
    const { session, listener } = open(BTC, ETH)
    give(
      session,
      snapshot(0),
      control('subscriptions', 1),
      control('heartbeats', 2),
      update(3),
      snapshot(4, 'ETH-USD'),
      control('brand_new', 5),
      control('brand_new', 5),
      update(6, 'ETH-USD'),
    )
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [0, 3, 4, 6])
    assert.equal(session.stats.unknownFrames, 1)
    assert.equal(session.stats.duplicates, 1)
    assert.equal(session.stats.scannerFallbacks, 0, 'only data is counted')
  })

  test('2: a connection that does not begin at 0 has lost something', () => {
    const { session, listener } = open(BTC, ETH)
    give(session, snapshot(1))
    assert.deepEqual(listener.suspects.map(({ index }) => index), [0, 1])
    assert.deepEqual(listener.outputs, [])
  })

  test('3: a gap in any channel makes every product suspect, and counting goes on from there', () => {
    for (const next of [update(4), control('heartbeats', 4), control('brand_new', 4)]) {
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(0), snapshot(1, 'ETH-USD'), update(2), next)
      assert.deepEqual(
        listener.suspects.map(({ index, reason, detail }) => [index, reason, detail]),
        [0, 1].map((i) => [i, 'gap', 'sequence_num 4 was received, 3 was expected']),
      )
      give(session, update(5), update(6, 'ETH-USD'))
      assert.equal(listener.suspects.length, 2, 'said once')
      assert.equal(listener.outputs.length, 3)
    }
  })

  test('3: a snapshot that shows the gap, or comes before the resync, is not believed', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, snapshot(0), snapshot(2, 'ETH-USD'), snapshot(3), update(4))
    assert.equal(listener.outputs.length, 1)
    session.resync(1)
    give(session, update(5, 'ETH-USD'), snapshot(6, 'ETH-USD'), snapshot(7))
    assert.deepEqual(listener.outputs.slice(1).map(({ index, nonce }) => [index, nonce]), [[1, 6]])
  })

  test('3: a resync from inside the call that says suspect', () => {
    const listener = new Listener([BTC, ETH])
    const session = coinbase.open([BTC, ETH], listener, 0)
    const suspect = listener.suspect.bind(listener)
    listener.suspect = (index, reason, detail) => {
      suspect(index, reason, detail)
      session.resync(index)
    }
    session.opened()
    give(session, snapshot(0), snapshot(1, 'ETH-USD'), snapshot(3), update(4))
    assert.equal(listener.outputs.length, 2, 'the frame of the gap is not the answer')
    give(session, snapshot(5), snapshot(6, 'ETH-USD'))
    assert.deepEqual(listener.outputs.slice(2).map(({ index }) => index), [0, 1])
  })

  test('3: duplicates are ignored; a counter that begins anew is not taken for them', () => {
    const { session, listener } = open(BTC)
    give(session, snapshot(0))
    for (let i = 1; i < 60; i++) give(session, update(i), update(i), update(Math.max(0, i - 20)))
    assert.deepEqual(listener.failures, [])
    assert.equal(session.stats.duplicates, 118)
    assert.equal(listener.outputs.length, 60)
    for (let i = 0; i < 40; i++) give(session, update(i))
    assert.deepEqual(
      listener.failures.map(({ code, scope }) => [code, scope]),
      [['E_SEQUENCE_GAP', 'connection']],
    )
    assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['gap'])

    const far = open(BTC)
    give(far.session, snapshot(0))
    for (let i = 1; i < 2000; i++) give(far.session, update(i))
    give(far.session, update(0))
    assert.equal(far.listener.failures[0].code, 'E_SEQUENCE_GAP', 'so far back is no duplicate')
  })

  test('4: updates wait for a snapshot; a second snapshot replaces the book', () => {
    const { session, listener } = open(BTC)
    give(session, update(0), snapshot(1), update(2, 'BTC-USD', [['bid', '99', '5']]), snapshot(3))
    assert.deepEqual(listener.outputs.map(({ kind }) => kind), ['snapshot', 'delta', 'snapshot'])
    assert.deepEqual(listener.books[0], new Map([['bid 100.25', '1'], ['ask 100.5', '2']]))
  })

  test('4: an empty book is a book', () => {
    const { session, listener } = open(BTC)
    give(session, dataText('snapshot', 'BTC-USD', 0, []), update(1))
    assert.deepEqual(listener.outputs.map(({ kind, levels }) => [kind, levels]), [
      ['snapshot', []],
      ['delta', []],
    ])
    give(session, update(2).replace('"updates":[]', '"updates":null'))
    assert.equal(listener.outputs.length, 3)
  })

  test('5: resync is unsubscribe and subscribe of the product alone', () => {
    const { session, listener } = open(BTC, instrument('ETH/USDC'))
    session.opened()
    session.resync(1)
    assert.deepEqual(listener.sent.slice(2).map((text) => JSON.parse(text)), [
      { type: 'unsubscribe', product_ids: ['ETH-USDC'], channel: 'level2' },
      { type: 'subscribe', product_ids: ['ETH-USDC'], channel: 'level2' },
    ])
    session.resyncAll!([1, 0])
    assert.deepEqual(listener.sent.slice(4).map((text) => JSON.parse(text)), [
      { type: 'unsubscribe', product_ids: ['ETH-USDC', 'BTC-USD'], channel: 'level2' },
      { type: 'subscribe', product_ids: ['ETH-USDC', 'BTC-USD'], channel: 'level2' },
    ])
    session.resyncAll!([])
    give(session, 'nonsense')
    session.resync(1)
    session.resyncAll!([0, 1])
    assert.equal(listener.sent.length, 6, 'nothing is sent on a socket that was given up')
  })
})

describe('names', () => {
  test('canonical', () => {
    const table = {
      'BTC-USDC': 'BTC-USD',
      'BTC-USD': 'BTC-USD',
      'USDT-USDC': 'USDT-USDC',
      'EURC-USDC': 'EURC-USDC',
      'USDC-EUR': 'USDC-EUR',
      'ETH-EUR': 'ETH-EUR',
    }
    for (const [name, expected] of Object.entries(table)) {
      assert.equal(coinbase.canonical!(name), expected)
    }
  })

  test('data of an alias arrives under either name', () => {
    const { session, listener } = open(instrument('BTC/USDC'), instrument('USDT/USDC'))
    give(session, snapshot(0), update(1, 'BTC-USDC'), snapshot(2, 'USDT-USDC'))
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0, 0, 1])
    give(session, update(3, 'USDT-USD'))
    assert.equal(listener.outputs.length, 3, 'another market')
    assert.equal(session.stats.unknownFrames, 1)
    assert.deepEqual(listener.suspects, [])
  })

  test('a product keeps its own name beside its alias', () => {
    const alias = instrument('BTC/USDC')
    for (
      const [instruments, expected] of [[[alias, BTC], [1, 0]], [[BTC, alias], [0, 1]]] as const
    ) {
      const { session, listener } = open(...instruments)
      give(session, snapshot(0), snapshot(1, 'BTC-USDC'))
      assert.deepEqual(listener.outputs.map(({ index }) => index), expected)
    }
  })
})

describe('frames', () => {
  test('levels, nonce and times', () => {
    const { session, listener } = open(BTC)
    const levels: WireLevel[] = [['bid', '78856.05', '0.0476177'], ['ask', '78856.06', '0']]
    give(session, dataText('snapshot', 'BTC-USD', 0, levels))
    assert.deepEqual(listener.outputs, [{
      kind: 'snapshot',
      index: 0,
      levels: [['bid', '78856.05', '0.0476177'], ['ask', '78856.06', '0']],
      nonce: 0,
      timestampMs: Date.parse('2026-08-24T22:34:13.793Z'),
      receivedUs: 1_000_000,
    }])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('the older spelling with client_id is fast too', () => {
    const { session, listener } = open(BTC)
    const old = snapshot(0).replace('"timestamp"', '"client_id":"","timestamp"')
      .replace(/"event_time":"[^"]*"/g, '"event_time":"1970-01-01T00:00:00Z"')
    give(session, old)
    assert.equal(listener.outputs.length, 1)
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('every legal spelling gives the same', () => {
    const canned = dataText('snapshot', 'BTC-USD', 0, [['bid', '100.25', '1'], ['ask', '7', '0']])
    const reference = open(BTC)
    give(reference.session, canned)
    const value = JSON.parse(canned)
    const [event] = value.events
    const { channel, timestamp, sequence_num, events } = value
    const spellings = [
      JSON.stringify(value, null, 2),
      ` ${canned}\n`,
      JSON.stringify({ events, sequence_num, timestamp, channel }),
      JSON.stringify({ ...value, more: [1, { x: null }] }),
      JSON.stringify({ ...value, client_id: 'abc' }),
      canned.replace('"side":"bid"', '"side":"b\\u0069d"'),
      canned.replace('BTC-USD', 'BTC\\u002dUSD'),
      canned.replace('"100.25"', '"100.2500000000000000000"'),
      canned.replace('"100.25"', '"1.0025e2"'),
      canned.replace('"100.25"', '"+0100.25"'),
      canned.replace('"0"', '"-0.0"'),
      canned.replace(/"event_time":"[^"]*",/g, ''),
      canned.replace(/"event_time":"[^"]*"/, '"event_time":"Zürich \\" noon"'),
      canned.replace('13.793075885Z', '13.793075885+00:00'),
      canned.replace('"sequence_num":0', '"sequence_num":0.0'),
      JSON.stringify({
        ...value,
        events: [
          { ...event, updates: event.updates.slice(0, 1) },
          { ...event, type: 'update', updates: event.updates.slice(1) },
        ],
      }),
      JSON.stringify({ ...value, events: [{ ...event, product_id: 'XXX-USD' }, event] }),
    ]
    for (const text of spellings) {
      const { session, listener } = open(BTC)
      give(session, text)
      assert.deepEqual(listener.outputs, reference.listener.outputs, text)
      assert.deepEqual(listener.failures, [])
      const isFast = text.includes('100.250000')
      assert.equal(session.stats.scannerFallbacks, isFast ? 0 : 1, text)
    }
  })

  test('several products in one frame, one call each', () => {
    const { session, listener } = open(BTC, ETH)
    const event = (type: string, product_id: string, price_level: string, new_quantity = '1') => ({
      type,
      product_id,
      updates: [{ side: 'bid', event_time: '', price_level, new_quantity }],
    })
    const frame = (sequence_num: number, events: unknown[]) =>
      JSON.stringify({ channel: 'l2_data', timestamp: '', sequence_num, events })
    give(
      session,
      frame(0, [
        event('update', 'BTC-USD', '9'),
        event('snapshot', 'ETH-USD', '5'),
        event('snapshot', 'BTC-USD', '7'),
        event('update', 'BTC-USD', '8'),
      ]),
      frame(1, [event('update', 'ETH-USD', '4'), event('update', 'BTC-USD', '7', '0')]),
      frame(2, []),
      frame(3, [event('update', 'ETH-USD', '3')]),
    )
    assert.deepEqual(listener.outputs.map(({ index, kind, nonce }) => [index, kind, nonce]), [
      [0, 'snapshot', 0],
      [1, 'snapshot', 0],
      [1, 'delta', 1],
      [0, 'delta', 1],
      [1, 'delta', 3],
    ])
    assert.deepEqual(listener.books[0], new Map([['bid 8', '1']]))
    assert.equal(listener.outputs[0].timestampMs, -1, 'no time is no time')
    // One broken event spoils all of its frame.
    give(session, frame(4, [event('update', 'ETH-USD', '2'), event('update', 'BTC-USD', 'x')]))
    assert.equal(listener.outputs.length, 5)
    assert.equal(listener.failures[0].code, 'E_DECODE')
  })

  test('what cannot be read gives up the connection and every book', () => {
    const broken = [
      '',
      'null',
      '[]',
      '{"channel":"l2_data"',
      update(1).replace('"sequence_num":1,', ''),
      update(1).replace('"sequence_num":1', '"sequence_num":-1'),
      update(1).replace('"sequence_num":1', '"sequence_num":"1"'),
      update(1).replace('"sequence_num":1', '"sequence_num":1.5'),
      update(1).replace('"sequence_num":1', '"sequence_num":9007199254740993'),
      control('heartbeats', 1).replace('1', 'null'),
      update(1).replace('"events":[', '"events":[7,'),
      update(1).replace('"update"', '"patch"'),
      update(1).replace('"updates":[]', '"updates":{}'),
      update(1).replace('"updates":[]', '"changes":[]'),
      update(1).replace('"product_id":"BTC-USD"', '"product_id":1'),
      ...[
        ['side":"bid', 'side":"buy'],
        ['"5"', '"-5"'],
        ['"5"', '"NaN"'],
        ['"5"', '"Infinity"'],
        ['"5"', '""'],
        ['"5"', '5'],
        ['"5"', 'null'],
        ['"99"', '"-99"'],
        ['"99"', '"0x10"'],
        ['"99"', '99'],
        ['{"side"', '7,{"side"'],
      ].map(([from, to]) => update(1, 'BTC-USD', [['bid', '99', '5']]).replace(from, to)),
    ]
    for (const text of broken) {
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(0), text)
      assert.deepEqual(
        listener.failures.map(({ code, scope }) => [code, scope]),
        [['E_DECODE', 'connection']],
        text,
      )
      assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [
        [0, 'gap'],
        [1, 'gap'],
      ])
      give(session, snapshot(1), update(2))
      assert.equal(listener.outputs.length, 1, text)
      assert.equal(listener.failures.length, 1, 'said once')
    }
    const { session, listener } = open(BTC)
    session.received(Uint8Array.from([0x22, 0xff, 0x22]), 1)
    assert.equal(listener.failures[0].code, 'E_DECODE', 'not UTF-8')
  })

  test('wide values stay exact and cost only themselves', () => {
    const { session, listener } = open(BTC)
    const values = [
      '0.12345678901234567',
      '12345678901234567',
      '123456789012345678901234567890.000000001',
      '90071992.54740991',
      '90071992.54740992',
      '0.000000001',
      '0.00000000000000000000000000000000000000001',
      '5.000000000000000000000000000000',
      '99999999999999999999',
    ]
    const levels = values.flatMap((value): WireLevel[] => [
      ['bid', value, value],
      ['ask', '100.5', value],
      ['bid', value, '1'],
    ])
    give(session, dataText('snapshot', 'BTC-USD', 0, levels), update(1))
    assert.deepEqual(
      listener.outputs[0].levels,
      levels.map(([side, price, size]) => [
        side,
        canonicalDecimal(price),
        canonicalDecimal(size),
      ]),
    )
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('a snapshot of 44,000 levels', () => {
    const { session, listener } = open(BTC)
    const levels = Array.from({ length: 44_000 }, (_, i): WireLevel => [
      i < 22_000 ? 'bid' : 'ask',
      (50_000 + i / 100).toFixed(2),
      (1 + i / 1e8).toFixed(8),
    ])
    give(session, dataText('snapshot', 'BTC-USD', 0, levels), update(1))
    assert.equal(listener.books[0]!.size, 44_000)
    assert.equal(listener.books[0]!.get('ask 50439.99'), '1.00043999')
    assert.equal(session.stats.scannerFallbacks, 0)
  })
})

/** What both routes have to agree on. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const listener = new Listener(instruments)
  const session = coinbase.open(instruments, listener, 0)
  give(session, snapshot(0), snapshot(1, 'ETH-USD'))
  session.received(bytes, 5)
  const live = listener.books.map((book) => book !== undefined)
  give(session, update(3), update(4, 'ETH-USD'))
  return {
    outputs: listener.outputs,
    live,
    suspects: listener.suspects.map(({ index, reason }) => [index, reason]),
    failures: listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    unknown: session.stats.unknownFrames,
    duplicates: session.stats.duplicates,
  }
}

const frameText = fc.record({
  type: fc.constantFrom('snapshot' as const, 'update' as const),
  product: fc.constantFrom('BTC-USD', 'ETH-USD', 'ETH-USDC', 'XRP-USD'),
  sequence: fc.oneof(fc.constant(2), fc.nat(5), fc.maxSafeNat()),
  levels: anyLevels,
  timestamp: fc.constantFrom(
    '2026-08-24T22:34:13.793075885Z',
    '2026-08-24T22:34:13Z',
    '2026-08-24T22:34:13.5+01:00',
    '0001-01-01T00:00:00Z',
    'soon',
  ),
}).map(({ type, product, sequence, levels, timestamp }) =>
  dataText(type, product, sequence, levels, timestamp)
)
const plainFrameText = fc.record({
  type: fc.constantFrom('snapshot' as const, 'update' as const),
  levels: plainLevels,
}).map(({ type, levels }) => dataText(type, 'BTC-USD', 2, levels))
describeRoutes({
  story,
  instruments: [BTC, ETH],
  scaled: [BTC, instrument('ETH/USDC')],
  frames: frameText,
  plain: plainFrameText,
  examples: [dataText('update', 'BTC-USD', 2, [['bid', '78856.05', '0.0476177']])],
  runs: { frames: 1500, wounded: 2500 },
  fallbacks: (text) => {
    const { session } = open(BTC)
    give(session, control('heartbeats', 0), control('heartbeats', 1), text)
    return session.stats.scannerFallbacks
  },
})

test('recorded frames in Advanced Trade spelling against a naive model', {
  skip: !existsSync(RECORDING),
}, () => {
  interface Recorded {
    type: string
    product_id: string
    time?: string
    asks: [string, string][]
    bids: [string, string][]
    changes: ['buy' | 'sell', string, string][]
  }
  const messages = readFileSync(RECORDING, 'utf8').trim().split('\n')
    .map((line) => JSON.parse(JSON.parse(line).raw) as Recorded)
    .filter(({ type }) => type === 'snapshot' || type === 'l2update')
  const markets = JSON.parse(
    readFileSync(join(RECORDING, '../exchange-level2-20210417.markets.json'), 'utf8'),
  )[0].body as { id: string; quote_increment: string; base_increment: string }[]
  const places = (increment: string) => canonicalDecimal(increment)!.split('.')[1]?.length ?? 0
  const instruments = markets.map(({ id, quote_increment, base_increment }) =>
    instrument(id.replace('-', '/'), places(quote_increment), places(base_increment))
  )
  const { session, listener } = open(...instruments)
  const truth: NaiveBook[] = instruments.map(() => new Map())
  for (const [sequence, message] of messages.entries()) {
    const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === message.product_id)
    const isSnapshot = message.type === 'snapshot'
    const levels: WireLevel[] = isSnapshot
      ? [
        ...message.bids.map(([price, size]): WireLevel => ['bid', price, size]),
        ...message.asks.map(([price, size]): WireLevel => ['ask', price, size]),
      ]
      : message.changes.map(([side, price, size]) => [side === 'buy' ? 'bid' : 'ask', price, size])
    if (isSnapshot) truth[index].clear()
    for (const [side, price, size] of levels) applyLevel(truth[index], side, price, size)
    give(
      session,
      dataText(isSnapshot ? 'snapshot' : 'update', message.product_id, sequence, levels),
    )
    if (sequence % 500 === 0) assert.deepEqual(listener.books[index], truth[index])
  }
  assert.deepEqual(listener.books, truth)
  assert.equal(listener.outputs.length, messages.length)
  assert.equal(session.stats.scannerFallbacks, 0)
  assert.ok(messages.length > 9000)
})
