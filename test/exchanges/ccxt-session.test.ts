/** Our own frames into the ccxt session: exact numbers, generations, and no throw for anything. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { CcxtSession } from '../../src/exchanges/ccxt-session.ts'
import { Listener } from './listener.ts'

const encoder = new TextEncoder()

const instruments = [
  { symbol: 'BTC/USDT', wireSymbol: 'BTCUSDT', priceDecimals: 2, sizeDecimals: 4 },
  { symbol: 'PEPE/USDT', wireSymbol: 'PEPEUSDT', priceDecimals: 10, sizeDecimals: 0 },
]

function open(): { session: CcxtSession; listener: Listener; say(frame: unknown): void } {
  const listener = new Listener(instruments)
  const session = new CcxtSession('gate', instruments, listener, 50)
  session.opened()
  const say = (frame: unknown) => session.received(encoder.encode(JSON.stringify(frame)), 5)
  return { session, listener, say }
}

const book = { i: 0, g: 0, n: 7, ts: 1000, b: [['100', '1.5']], a: [['100.01', '1e-4']] }
const snapshot = { t: 'snapshot', h: 0, ...book }

describe('the session', () => {
  test('subscribes once, with the depth that is wanted', () => {
    const { session, listener } = open()
    session.opened()
    assert.deepEqual(listener.sent, ['{"op":"subscribe","depth":50}'])
  })

  test('hands on snapshots and changes with their numbers', () => {
    const { listener, say } = open()
    say(snapshot)
    say({ t: 'delta', i: 0, g: 0, n: -1, ts: -1, b: [], a: [['100.012345', '0']] })
    assert.deepEqual(
      listener.outputs,
      [
        {
          kind: 'snapshot',
          index: 0,
          levels: [['bid', '100', '1.5'], ['ask', '100.01', '0.0001']],
          nonce: 7,
          timestampMs: 1000,
          receivedUs: 5,
        },
        {
          kind: 'delta',
          index: 0,
          levels: [['ask', '100.012345', '0']],
          nonce: -1,
          timestampMs: -1,
          receivedUs: 5,
        },
      ].map((output) => ({ ...listener.outputs[0], ...output })),
    )
  })

  test('a change without a snapshot counts for nothing', () => {
    const { listener, say } = open()
    say({ ...book, t: 'delta' })
    assert.deepEqual(listener.outputs, [])
  })

  test('a snapshot that ends early has horizons where its sides end', () => {
    const { listener, say } = open()
    say({ ...snapshot, h: 1, b: [['100', '1'], ['98.5', '1']], a: [] })
    assert.deepEqual(listener.horizons[0], { bid: 9850, ask: NaN })
  })

  test('a refresh replaces the live book, once, and its generation speaks from then on', () => {
    const { session, listener, say } = open()
    session.refresh!(0)
    assert.equal(listener.sent.length, 1, 'there is nothing to refresh')
    say(snapshot)
    const refreshed = { ...snapshot, t: 'refreshed', h: 1, g: 1, n: 9 }
    say(refreshed)
    session.refresh!(0)
    session.refresh!(0)
    assert.deepEqual(listener.sent.slice(1), ['{"op":"refresh","i":0}'])
    say({ ...book, t: 'delta', b: [['99', '1']], a: [] })
    say({ ...book, t: 'delta', g: 1, b: [['98', '1']], a: [] })
    say(refreshed)
    say({ ...book, t: 'delta', b: [['97', '1']], a: [] })
    say({ ...book, t: 'delta', g: 1, b: [['100.005', '1']], a: [] })
    assert.deepEqual(
      listener.outputs.map(({ kind, levels }) => [kind, levels.length]),
      [['snapshot', 2], ['delta', 1], ['refreshed', 2], ['delta', 1]],
    )
    assert.deepEqual(listener.horizons[0], { bid: 10000, ask: 10001 })

    session.refresh!(0)
    say({ t: 'lost', i: 0, g: 2, r: 'disconnect', m: 'it never came' })
    assert.deepEqual(listener.suspects, [], 'the live one goes on')
    session.refresh!(0)
    say({ ...refreshed, g: 2 })
    session.resync(0)
    say({ ...refreshed, g: 3 })
    say({ ...snapshot, g: 4 })
    assert.deepEqual(
      listener.outputs.slice(4).map(({ kind }) => kind),
      ['snapshot'],
    )
  })

  test('a side of prices with more decimals than usual has a horizon, too', () => {
    const { listener, say } = open()
    say({ ...snapshot, h: 1, b: [['98.50123', '1'], ['99.001', '1']], a: [['100.012345', '1']] })
    assert.deepEqual(listener.horizons[0], { bid: 9850, ask: 10002 })
    assert.equal(listener.realBooks[0]!.bidCount, 2)
    assert.equal(listener.realBooks[0]!.askCount, 1)
    assert.equal(listener.realBooks[0]!.certainDepth, 1)
  })

  test('after a resync only the next generation counts', () => {
    const { session, listener, say } = open()
    say(snapshot)
    session.resync(0)
    listener.books[0] = undefined
    assert.equal(listener.sent.at(-1), '{"op":"resync","i":0}')
    say({ ...book, t: 'delta' })
    say(snapshot)
    say({ t: 'lost', i: 0, g: 0, r: 'gap', m: 'late' })
    assert.equal(listener.outputs.length, 1)
    assert.deepEqual(listener.suspects, [])
    say({ ...snapshot, g: 1 })
    assert.equal(listener.outputs.length, 2)
  })

  test('losses are those of one symbol, with the text of the exchange', () => {
    const { listener, say } = open()
    say(snapshot)
    say({ t: 'lost', i: 0, g: 0, r: 'checksum', m: 'it does not match' })
    assert.deepEqual(listener.suspects, [
      { index: 0, reason: 'checksum', detail: 'it does not match' },
    ])
    say({ ...book, t: 'delta' })
    assert.equal(listener.outputs.length, 1)
    say({ t: 'lost', i: 1, g: 0, r: 'refused', m: 'no such market' })
    const [failure] = listener.failures
    assert.deepEqual([failure!.code, failure!.scope, failure!.symbol], [
      'E_SUBSCRIBE',
      'symbol',
      'PEPE/USDT',
    ])
    assert.match(failure!.message, /no such market/)
  })

  test('what it does not know is counted, what it cannot read ends the connection', () => {
    const { session, listener, say } = open()
    say({ t: 'weather' })
    say(null)
    assert.equal(session.stats.unknownFrames, 2)
    say({ ...snapshot, b: [['100', '-1']] })
    assert.deepEqual(listener.failures.map(({ code, scope }) => [code, scope]), [
      ['E_DECODE', 'connection'],
    ])
    say(snapshot)
    assert.deepEqual(listener.outputs, [])
  })

  test('no frame makes it throw', () => {
    const text = JSON.stringify(snapshot)
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.record({
            t: fc.constantFrom('snapshot', 'delta', 'lost', 'limited'),
            i: fc.anything(),
            g: fc.constantFrom(0, 1),
            n: fc.constantFrom(1, '1', null),
            ts: fc.constantFrom(1, {}),
            b: fc.anything(),
            a: fc.constantFrom([], [1], [['1']], [['1', '1', '1']]),
            m: fc.anything(),
            r: fc.constantFrom('gap', 'refused'),
          }).map((frame) => {
            try {
              return JSON.stringify(frame)
            } catch {
              return '{}'
            }
          }),
          fc.tuple(fc.nat(text.length), fc.string({ maxLength: 2 }))
            .map(([at, part]) => text.slice(0, at) + part + text.slice(at + 1)),
        ),
        (frame) => {
          const { session } = open()
          session.received(encoder.encode(frame), 1)
        },
      ),
      { numRuns: 500 },
    )
  })
})
