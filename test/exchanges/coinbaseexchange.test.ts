/** Coinbase Exchange: its numbered steps, its edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { coinbaseexchange } from '../../src/exchanges/coinbaseexchange.ts'
import { snapshotText, updateText } from './coinbaseexchange.fixture.ts'
import type { WireLevel } from './fixture.ts'
import { applyLevel, Listener, type NaiveBook } from './listener.ts'
import { describeRoutes } from './routes.ts'
import { anyLevels, decimalText, plainLevels, slowed } from './wounds.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/coinbase/exchange-level2-20210417.book.jsonl',
)

const encoder = new TextEncoder()

function instrument(wireSymbol: string, priceDecimals = 2, sizeDecimals = 8): Instrument {
  return { symbol: wireSymbol.replace('-', '/'), wireSymbol, priceDecimals, sizeDecimals }
}

const BTC = instrument('BTC-USD')
const ETH = instrument('ETH-USD')

function open(...instruments: Instrument[]): { session: Session; listener: Listener } {
  const listener = new Listener(instruments)
  return { session: coinbaseexchange.open(instruments, listener, 0), listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

const snapshot = (product = 'BTC-USD') => snapshotText(product, [['100.5', '2']], [['100.25', '1']])
const update = (product = 'BTC-USD', levels: WireLevel[] = []) => updateText(product, levels)

describe('steps', () => {
  test('1: the book channel and heartbeats of every product in one message, once', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    session.opened()
    assert.deepEqual(listener.sent.map((text) => JSON.parse(text)), [{
      type: 'subscribe',
      product_ids: ['BTC-USD', 'ETH-USD'],
      channels: ['level2_batch', 'heartbeat'],
    }])
  })

  test('1: very many products are split', () => {
    const many = Array.from({ length: 250 }, (_, i) => instrument(`A${i}-USD`))
    const { session, listener } = open(...many)
    session.opened()
    const asked = listener.sent.flatMap((text) => JSON.parse(text).product_ids)
    assert.equal(listener.sent.length, 3)
    assert.deepEqual(asked, many.map(({ wireSymbol }) => wireSymbol))
  })

  test('2: no update counts before its snapshot; a snapshot replaces everything', () => {
    const { session, listener } = open(BTC, ETH)
    give(session, update(), snapshot('ETH-USD'), update('BTC-USD', [['bid', '1', '1']]))
    assert.deepEqual(listener.outputs.map(({ kind, index }) => [kind, index]), [['snapshot', 1]])
    give(session, snapshot(), update('BTC-USD', [['bid', '1', '1']]), snapshot())
    assert.deepEqual(listener.books[0], new Map([['bid 100.25', '1'], ['ask 100.5', '2']]))
    assert.ok(listener.outputs.every(({ nonce }) => nonce === -1), 'there is no sequence')
  })

  test('3: what cannot be read makes every book suspect, and a resync is an answer', () => {
    const levels: WireLevel[] = [['bid', '99', '5']]
    const broken = [
      '',
      'null',
      '[]',
      '{}',
      '{"type":"l2update"',
      update().replace('"BTC-USD"', '7'),
      update().replace('"changes":[]', '"changes":{}'),
      update().replace('"changes"', '"updates"'),
      snapshot().replace('"asks"', '"offers"'),
      snapshot().replace('"100.5"', '"-100.5"'),
      ...[
        ['"buy"', '"bid"'],
        ['"99"', '"-99"'],
        ['"99"', '99'],
        ['"99"', '""'],
        ['"99"', 'null'],
        ['"5"', '5'],
        ['"5"', '"five"'],
        ['["buy"', '7,["buy"'],
        [',"5"', ''],
      ].map(([from, to]) => update('BTC-USD', levels).replace(from, to)),
    ]
    for (const text of broken) {
      const { session, listener } = open(BTC, ETH)
      session.opened()
      give(session, snapshot(), snapshot('ETH-USD'), text)
      assert.deepEqual(
        listener.suspects.map(({ index, reason }) => [index, reason]),
        [[0, 'gap'], [1, 'gap']],
        text,
      )
      assert.deepEqual(listener.failures, [])
      give(session, update('ETH-USD'), snapshot())
      assert.equal(listener.outputs.length, 2, `${text}: nothing before the resync`)
      session.resyncAll!([0, 1])
      give(session, snapshot('ETH-USD'), snapshot(), update())
      assert.equal(listener.outputs.length, 5)
    }
    const { session, listener } = open(BTC)
    session.received(Uint8Array.from([0x22, 0xff, 0x22]), 1)
    assert.equal(listener.suspects.length, 1, 'not UTF-8')
  })

  test('4: sizes below zero and NaN are passed over, the rest of the frame counts', () => {
    const { session, listener } = open(BTC)
    give(
      session,
      snapshot(),
      update('BTC-USD', [
        ['bid', '100.25', '-1'],
        ['bid', '99', '7'],
        ['ask', '100.5', 'NaN'],
        ['ask', '101', '0.00000000'],
      ]),
    )
    assert.deepEqual(listener.outputs[1].levels, [['bid', '99', '7'], ['ask', '101', '0']])
    assert.deepEqual(listener.suspects, [])
    assert.equal(session.stats.scannerFallbacks, 1)
  })

  test('5: a time in the year 1 stands for the one before it, by product', () => {
    const { session, listener } = open(BTC, ETH)
    const unknown = '0001-01-01T00:00:00Z'
    const known = Date.parse('2026-08-24T22:34:13.790Z')
    give(
      session,
      snapshot(),
      snapshot('ETH-USD').replace(/,"time":"[^"]*"/, ''),
      updateText('ETH-USD', [], unknown),
      updateText('BTC-USD', [], unknown),
      updateText('BTC-USD', [], '2026-08-24T22:34:14.790123Z'),
      updateText('BTC-USD', [], unknown),
      updateText('BTC-USD', [], 'soon'),
    )
    assert.deepEqual(
      listener.outputs.map(({ timestampMs }) => timestampMs),
      [known, -1, -1, known, known + 1000, known + 1000, known + 1000],
    )
  })

  test('6: what waits with a refused product is asked for again, once', () => {
    const { session, listener } = open(BTC, ETH, instrument('SOL-USD'))
    session.opened()
    const refusal = (product: string) =>
      JSON.stringify({ type: 'error', message: 'no', reason: `${product} is not a valid product` })
    give(session, snapshot('SOL-USD'), refusal('ETH-USD'), refusal('ETH-USD'))
    assert.deepEqual(listener.sent.slice(1).map((text) => JSON.parse(text)), [{
      type: 'subscribe',
      product_ids: ['BTC-USD'],
      channels: ['level2_batch', 'heartbeat'],
    }])
    // One that was served until now was in no request.
    give(session, refusal('SOL-USD'))
    assert.equal(listener.sent.length, 2)
  })

  test('7: a resync unsubscribes the book channel alone', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    session.resyncAll!([1, 0])
    assert.deepEqual(
      listener.sent.slice(1).map((text) => JSON.parse(text)),
      ['unsubscribe', 'subscribe'].map((type) => ({
        type,
        product_ids: ['ETH-USD', 'BTC-USD'],
        channels: ['level2_batch'],
      })),
    )
  })

  test('8: a live product that is not listed any more, and silent, is stale', () => {
    const ack = (name: string, ...products: string[]) =>
      JSON.stringify({ type: 'subscriptions', channels: [{ name, product_ids: products }] })
    for (const name of ['level2', 'level2_batch']) {
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(), snapshot('ETH-USD'), ack(name, 'BTC-USD', 'ETH-USD'))
      session.heartbeat!()
      give(session, ack(name, 'ETH-USD'))
      session.heartbeat!()
      session.heartbeat!()
      assert.deepEqual(listener.suspects, [], 'nothing came through since')
      give(session, update('ETH-USD'))
      session.heartbeat!()
      assert.deepEqual(
        listener.suspects.map(({ index, reason }) => [index, reason]),
        [[0, 'stale']],
      )
    }
  })

  test('heartbeats and acknowledgements are known, other messages and products are counted', () => {
    const { session, listener } = open(BTC)
    give(
      session,
      '{"type":"heartbeat","sequence":1,"last_trade_id":2,"product_id":"BTC-USD","time":""}',
      '{"type":"subscriptions","channels":[{"name":"level2","product_ids":["BTC-USD"]}]}',
      '{"type":"subscriptions","channels":"none"}',
    )
    assert.equal(session.stats.unknownFrames, 0)
    give(session, snapshot('XRP-USD'), update('XRP-USD'), '{"type":"status","products":[]}')
    assert.equal(session.stats.unknownFrames, 3)
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.outputs, [])
  })

  test('wide values stay exact on the fast path', () => {
    const { session, listener } = open(BTC)
    const values = ['0.12345678901234567', '12345678901234567', '90071992.54740992', '0.000000001']
    const levels = values.flatMap((value): WireLevel[] => [
      ['bid', value, value],
      ['ask', '1000000000000000000', value],
    ])
    give(session, snapshot(), update('BTC-USD', levels))
    assert.deepEqual(
      listener.outputs[1].levels,
      levels.map(([side, price, size]) => [side, canonicalDecimal(price), canonicalDecimal(size)]),
    )
    assert.equal(session.stats.scannerFallbacks, 0)
  })
})

/** What both routes have to agree on. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const { session, listener } = open(...instruments)
  give(session, snapshot(), snapshot('ETH-USD'))
  session.received(bytes, 5)
  give(session, update('BTC-USD', [['bid', '1', '1']]), update('ETH-USD'))
  return {
    outputs: listener.outputs,
    suspects: listener.suspects.map(({ index, reason }) => [index, reason]),
    failures: listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    unknown: session.stats.unknownFrames,
  }
}

const product = fc.constantFrom('BTC-USD', 'ETH-USD', 'XRP-USD')
const time = fc.constantFrom(
  '2026-08-24T22:34:13.793075Z',
  '2026-08-24T22:34:13Z',
  '2026-08-24T22:34:13.5+01:00',
  '0001-01-01T00:00:00Z',
  'soon',
)
const frameText = fc.oneof(
  fc.tuple(product, anyLevels, time)
    .map(([id, levels, at]) => updateText(id, levels, at)),
  fc.tuple(
    product,
    fc.array(fc.tuple(decimalText, decimalText), { maxLength: 4 }),
    fc.array(fc.tuple(decimalText, decimalText), { maxLength: 4 }),
  ).map(([id, asks, bids]) => snapshotText(id, asks, bids)),
)
describeRoutes({
  story,
  instruments: [BTC, ETH],
  frames: frameText,
  plain: plainLevels.map((levels) => update('BTC-USD', levels)),
  examples: [update('BTC-USD', [['bid', '99.05', '0.04']]), snapshot()],
  runs: { frames: 1000, wounded: 2000 },
  fallbacks: (text) => {
    const { session, listener } = open(BTC)
    give(session, text)
    assert.deepEqual(listener.suspects, [])
    return session.stats.scannerFallbacks
  },
})

test('recorded frames against a naive model, on both routes', {
  skip: !existsSync(RECORDING),
}, () => {
  const texts = readFileSync(RECORDING, 'utf8').trim().split('\n')
    .map((line) => JSON.parse(line).raw as string)
  const markets = JSON.parse(
    readFileSync(join(RECORDING, '../exchange-level2-20210417.markets.json'), 'utf8'),
  )[0].body as unknown
  const instruments = coinbaseexchange.markets!.parse([markets])!
  assert.equal(instruments.length, 10)
  const truth: NaiveBook[] = instruments.map(() => new Map())
  const fast = open(...instruments)
  const slow = open(...instruments)
  let books = 0
  for (const [position, text] of texts.entries()) {
    const message = JSON.parse(text)
    const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === message.product_id)
    if (message.type === 'snapshot') {
      truth[index].clear()
      for (const [price, size] of message.bids) applyLevel(truth[index], 'bid', price, size)
      for (const [price, size] of message.asks) applyLevel(truth[index], 'ask', price, size)
    } else if (message.type === 'l2update') {
      for (const [side, price, size] of message.changes) {
        applyLevel(truth[index], side === 'buy' ? 'bid' : 'ask', price, size)
      }
    }
    if (index >= 0) books++
    give(fast.session, text)
    slow.session.received(slowed(encoder.encode(text)), 1_000_000)
    if (index >= 0) {
      assert.equal(fast.listener.realBooks[index]!.isCrossed(), false)
      if (position % 500 === 0) assert.deepEqual(fast.listener.books[index], truth[index])
    }
  }
  assert.ok(books > 9000)
  assert.deepEqual(fast.listener.books, truth)
  assert.deepEqual(fast.listener.outputs, slow.listener.outputs)
  assert.equal(fast.listener.outputs.length, books)
  assert.deepEqual(fast.listener.suspects, [])
  assert.deepEqual(fast.session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
  assert.deepEqual(slow.session.stats, {
    scannerFallbacks: books,
    unknownFrames: 0,
    duplicates: 0,
  })
})
