/** Bybit v5: its numbered steps, its edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session, SessionOutput } from '../../src/exchanges/adapter.ts'
import { bybit } from '../../src/exchanges/bybit.ts'
import { type BookFrame, bookText } from './bybit.fixture.ts'
import type { WireLevel } from './fixture.ts'
import { applyLevel, levelsOf, Listener, type NaiveBook, type Output } from './listener.ts'
import { describeRoutes } from './routes.ts'
import { anyLevels, plainLevels } from './wounds.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/bybit/v5-linear-ob500-XRPUSDT-20241201.jsonl',
)

const encoder = new TextEncoder()

function instrument(symbol: string, priceDecimals = 2, sizeDecimals = 8): Instrument {
  return {
    symbol,
    wireSymbol: symbol.split(':')[0].replace('/', ''),
    priceDecimals,
    sizeDecimals,
  }
}

const BTC = instrument('BTC/USDT')
const ETH = instrument('ETH/USDT')
const XRP = instrument('XRP/USDT')

interface Opened {
  readonly session: Session
  readonly listener: Listener
}

function open(...instruments: Instrument[]): Opened {
  const listener = new Listener(instruments)
  return { session: bybit.open(instruments, listener, 1000), listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

type More = Partial<BookFrame>

const snapshot = (u: number, symbol = 'BTCUSDT', more: More = {}) =>
  bookText({
    type: 'snapshot',
    symbol,
    u,
    levels: [['bid', '100.25', '1'], ['ask', '100.5', '2']],
    ...more,
  })
const delta = (u: number, symbol = 'BTCUSDT', more: More = {}) =>
  bookText({ type: 'delta', symbol, u, ...more })

interface Message {
  readonly op: string
  readonly req_id: string
  readonly args: string[]
}

/** What was sent since the last call, with the topics as symbols. */
function taken(listener: Listener): { op: string; id: string; symbols: string[] }[] {
  return listener.sent.splice(0).map((text) => {
    const { op, req_id: id, args } = JSON.parse(text) as Message
    return { op, id, symbols: args.map((topic) => topic.replace('orderbook.1000.', '')) }
  })
}

const requestsOf = (listener: Listener) => taken(listener).map(({ op, symbols }) => [op, symbols])

const ack = (op: string, id: string) =>
  JSON.stringify({ success: true, ret_msg: op, conn_id: 'c', req_id: id, op })
const refusal = (said: string, id = '', op = 'subscribe') =>
  JSON.stringify({ success: false, ret_msg: said, conn_id: 'c', req_id: id, op })
const notFound = (symbol: string) => `error:handler not found,topic:orderbook.1000.${symbol}`

/** Everything that is said, without a book: for tests that open very many sessions. */
class Record implements SessionOutput {
  readonly outputs: Output[] = []
  readonly others: unknown[] = []
  readonly sent: string[] = []
  readonly #instruments: readonly Instrument[]

  constructor(instruments: readonly Instrument[]) {
    this.#instruments = instruments
  }

  send(text: string): void {
    this.sent.push(text)
  }

  snapshot(index: number, changes: LevelChanges): void {
    this.#take('snapshot', index, changes)
  }

  delta(index: number, changes: LevelChanges): void {
    this.#take('delta', index, changes)
  }

  #take(kind: 'snapshot' | 'delta', index: number, changes: LevelChanges): void {
    const levels = levelsOf(changes, this.#instruments[index])
    const { nonce, timestampMs, receivedUs } = changes
    this.outputs.push({ kind, index, levels, nonce, timestampMs, receivedUs })
  }

  refreshed(): void {
    assert.fail('there is no REST here')
  }

  suspect(index: number, reason: string): void {
    this.others.push(['suspect', index, reason])
  }

  requestSnapshot(): void {
    assert.fail('there is no REST here')
  }

  retire(): void {
    assert.fail('the exchange does not say so')
  }

  fail(
    { code, scope, symbol }: { code: string; scope: string; symbol?: string | undefined },
  ): void {
    this.others.push(['fail', code, scope, symbol])
  }
}

describe('steps', () => {
  test('1: ten topics a message, each with a number of its own', () => {
    const many = Array.from({ length: 23 }, (_, i) => instrument(`A${i}/USDT`))
    const { session, listener } = open(...many)
    session.opened()
    assert.equal(
      listener.sent[2],
      '{"op":"subscribe","req_id":"3","args":["orderbook.1000.A20USDT",' +
        '"orderbook.1000.A21USDT","orderbook.1000.A22USDT"]}',
    )
    const requests = taken(listener)
    assert.deepEqual(requests.map(({ symbols }) => symbols.length), [10, 10, 3])
    assert.deepEqual(
      requests.flatMap(({ symbols }) => symbols),
      many.map(({ wireSymbol }) => wireSymbol),
    )
    assert.equal(new Set(requests.map(({ id }) => id)).size, 3)
    session.opened()
    assert.deepEqual(listener.sent, [], 'once')
  })

  test('1: the topic is of the smallest depth that covers the wish', () => {
    const table = [
      [0, 1000, 1000],
      [1, 1, 50],
      [50, 50, 50],
      [51, 51, 200],
      [200, 200, 200],
      [500, 500, 1000],
      [1000, 1000, 1000],
      [5000, 1000, 1000],
    ]
    for (const [wanted, view, kept] of table) {
      assert.deepEqual(bybit.depth!(wanted), { view, kept })
      const listener = new Listener([BTC])
      const session = bybit.open([BTC], listener, wanted)
      session.opened()
      assert.deepEqual(JSON.parse(listener.sent[0]).args, [`orderbook.${kept}.BTCUSDT`])
      give(session, snapshot(7, 'BTCUSDT', { depth: kept }))
      assert.equal(listener.outputs.length, 1)
      assert.equal(session.stats.scannerFallbacks, 0)
      give(session, delta(8, 'BTCUSDT', { depth: kept === 50 ? 200 : 50 }))
      assert.equal(listener.outputs.length, 1, 'another depth counts on its own')
      assert.equal(session.stats.unknownFrames, 1)
    }
  })

  test('1: acknowledgements before, between and behind the data', () => {
    const frames = [ack('subscribe', '1'), snapshot(5), snapshot(9, 'ETHUSDT'), delta(6)]
    for (let at = 0; at < frames.length; at++) {
      const { session, listener } = open(BTC, ETH)
      session.opened()
      const [first, ...others] = frames
      give(session, ...others.slice(0, at), first, ...others.slice(at))
      assert.deepEqual(listener.outputs.map(({ index, nonce }) => [index, nonce]), [
        [0, 5],
        [1, 9],
        [0, 6],
      ])
      assert.deepEqual(session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
    }
  })

  test('2: a snapshot replaces the book, asked for or not, also with u 1', () => {
    const { session, listener } = open(BTC)
    session.opened()
    const again = (u: number, seq: number, price: string) =>
      snapshot(u, 'BTCUSDT', { seq, levels: [['bid', price, '1']] })
    give(session, again(5, 10, '9'), delta(6, 'BTCUSDT', { seq: 11 }))
    for (const [u, seq, price] of [[900, 12, '8'], [1, 13, '7'], [1, 13, '6'], [1, 14, '5']]) {
      give(session, again(Number(u), Number(seq), String(price)))
      assert.deepEqual(listener.books[0], new Map([[`bid ${price}`, '1']]))
    }
    give(session, delta(2, 'BTCUSDT', { seq: 15 }))
    assert.deepEqual(
      listener.outputs.map(({ kind }) => kind).join(' '),
      [
        'snapshot delta snapshot snapshot snapshot snapshot delta',
      ].join(''),
    )
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.sent.length, 1, 'nothing to ask for')
  })

  test('2: one that repeats what is here already starts no new run', () => {
    const { session, listener } = open(BTC)
    give(session, snapshot(5, 'BTCUSDT', { seq: 10 }), snapshot(5, 'BTCUSDT', { seq: 10 }))
    assert.equal(listener.outputs.length, 1)
    assert.equal(session.stats.duplicates, 1)
    give(session, snapshot(5, 'BTCUSDT', { seq: 11 }))
    assert.equal(listener.outputs.length, 2, 'this one is as of something else')
    give(session, delta(6, 'BTCUSDT', { seq: 12 }), snapshot(6, 'BTCUSDT', { seq: 12 }))
    assert.equal(listener.outputs.length, 3, 'the book as of the delta is here already')
    assert.equal(session.stats.duplicates, 2)
  })

  test('3: a gap costs the one symbol, and the frame that shows it is dropped', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, snapshot(5), snapshot(9, 'ETHUSDT'), delta(6), delta(8), delta(9))
    assert.deepEqual(listener.suspects, [{
      index: 0,
      reason: 'gap',
      detail: 'orderbook.1000.BTCUSDT: u 8 was received, 7 was expected',
    }])
    give(session, delta(10, 'ETHUSDT'))
    assert.deepEqual(listener.outputs.map(({ index, nonce }) => [index, nonce]), [
      [0, 5],
      [1, 9],
      [0, 6],
      [1, 10],
    ])
    assert.equal(listener.suspects.length, 1, 'said once')
  })

  test('3: repetitions are ignored', () => {
    const { session, listener } = open(BTC)
    give(session, snapshot(100))
    for (let u = 101; u < 160; u++) {
      give(session, delta(u), delta(u), delta(Math.max(99, u - 20)))
    }
    assert.deepEqual(listener.suspects, [])
    assert.equal(session.stats.duplicates, 118)
    assert.equal(listener.outputs.length, 60)
  })

  test('3: a counter that begins anew is not taken for repetitions', () => {
    const anew: readonly [string, string[]][] = [
      ['a delta with u 1', [delta(1, 'BTCUSDT', { seq: 1 })]],
      ['a newer seq', [delta(3000, 'BTCUSDT', { seq: 9_000_000_000 })]],
      ['far back', [delta(1900, 'BTCUSDT', { seq: 1 })]],
      [
        'many in a row',
        Array.from({ length: 33 }, (_, i) => delta(2950 + i, 'BTCUSDT', { seq: i })),
      ],
    ]
    for (const [what, frames] of anew) {
      const { session, listener } = open(BTC)
      give(session, snapshot(3000), ...frames)
      assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['gap'], what)
      assert.match(listener.suspects[0].detail, /u fell from 3000 to \d+, 3001 was expected/)
      assert.equal(listener.outputs.length, 1)
      assert.deepEqual(listener.failures, [])
    }
    const { session, listener } = open(BTC)
    give(session, snapshot(20), delta(1, 'BTCUSDT', { seq: 1 }))
    assert.equal(listener.suspects.length, 1, 'also when it is not far')
  })

  test('4: deltas wait for a snapshot; an empty book is a book', () => {
    const { session, listener } = open(BTC)
    give(session, delta(4), snapshot(5, 'BTCUSDT', { levels: [] }), delta(6))
    assert.deepEqual(listener.outputs.map(({ kind, levels }) => [kind, levels]), [
      ['snapshot', []],
      ['delta', []],
    ])
  })

  test('4: a suspect book is whole again by any snapshot', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, snapshot(5), delta(7), delta(8), snapshot(9), delta(10), delta(12))
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [5, 9, 10])
    assert.equal(listener.suspects.length, 2, 'what follows must follow')
  })

  test('5: resync is unsubscribe, and subscribe when that is acknowledged', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, snapshot(5), ack('subscribe', '1'), snapshot(9, 'ETHUSDT'))
    assert.deepEqual(requestsOf(listener), [['subscribe', ['BTCUSDT', 'ETHUSDT']]])
    session.resync(0)
    const [{ op, id, symbols }] = taken(listener)
    assert.deepEqual([op, symbols], ['unsubscribe', ['BTCUSDT']])
    // Of the old subscription, or of nobody's.
    give(session, delta(6), snapshot(7), delta(8), ack('subscribe', '77'), delta(10, 'ETHUSDT'))
    assert.deepEqual(listener.outputs.map(({ index, nonce }) => [index, nonce]), [
      [0, 5],
      [1, 9],
      [1, 10],
    ])
    assert.deepEqual(listener.sent, [])
    give(session, ack('unsubscribe', id), ack('unsubscribe', id))
    assert.deepEqual(requestsOf(listener), [['subscribe', ['BTCUSDT']]])
    give(session, delta(11), snapshot(12), delta(13))
    assert.deepEqual(listener.outputs.slice(3).map(({ index, nonce }) => [index, nonce]), [
      [0, 12],
      [0, 13],
    ])
    assert.deepEqual(listener.suspects, [])
  })

  test('5: in a quiet market the new snapshot is the old one', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, snapshot(5))
    session.resync(0)
    give(session, ack('unsubscribe', '2'), snapshot(5), delta(6))
    assert.deepEqual(listener.outputs.map(({ kind }) => kind), ['snapshot', 'snapshot', 'delta'])
    assert.equal(session.stats.duplicates, 0)
  })

  test('5: an acknowledgement of what was asked before changes nothing', () => {
    const { session, listener } = open(BTC)
    session.opened()
    session.resync(0)
    give(session, ack('subscribe', '1'), snapshot(5))
    assert.deepEqual(listener.outputs, [], 'it is being unsubscribed')
    give(session, ack('unsubscribe', '2'), snapshot(5))
    assert.equal(listener.outputs.length, 1)
  })

  test('5: an acknowledgement without a number is the answer to the oldest of its kind', () => {
    for (const id of ['', undefined]) {
      const { session, listener } = open(BTC, ETH)
      session.opened()
      give(session, snapshot(5), snapshot(9, 'ETHUSDT'))
      session.resync(0)
      session.resync(1)
      taken(listener)
      for (const symbol of ['BTCUSDT', 'ETHUSDT']) {
        give(
          session,
          JSON.stringify({ success: true, ret_msg: '', req_id: id, op: 'unsubscribe' }),
        )
        assert.deepEqual(requestsOf(listener), [['subscribe', [symbol]]])
      }
    }
  })

  test('5: asked again, the acknowledgement is not waited for', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, snapshot(5))
    session.resync(0)
    session.resync(0)
    const requests = taken(listener)
    assert.deepEqual(requests.map(({ op }) => op), [
      'subscribe',
      'unsubscribe',
      'unsubscribe',
      'subscribe',
    ])
    for (const { op, id } of requests) give(session, ack(op, id))
    assert.deepEqual(listener.sent, [], 'asked for already')
    give(session, snapshot(7))
    assert.equal(listener.outputs.length, 2)
  })

  test('5: an acknowledgement that does not come between two pings is none', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, snapshot(5), snapshot(9, 'ETHUSDT'))
    const heartbeat = () => {
      listener.sent.length = 0
      session.heartbeat!()
      return listener.sent.map((text) => JSON.parse(text).args)
    }
    session.resync(0)
    assert.deepEqual(heartbeat(), [undefined])
    session.resync(1)
    assert.deepEqual(heartbeat(), [undefined, ['orderbook.1000.BTCUSDT']])
    assert.deepEqual(heartbeat(), [undefined, ['orderbook.1000.ETHUSDT']])
    assert.deepEqual(heartbeat(), [undefined])
    give(session, snapshot(12), snapshot(19, 'ETHUSDT'))
    assert.equal(listener.outputs.length, 4)
  })

  test('5: of many, ten a message', () => {
    const many = Array.from({ length: 15 }, (_, i) => instrument(`A${i}/USDT`))
    const { session, listener } = open(...many)
    session.opened()
    for (const { id } of taken(listener)) give(session, ack('subscribe', id))
    session.resyncAll!([...many.keys(), 3])
    const requests = taken(listener)
    assert.deepEqual(requests.map(({ op, symbols }) => [op, symbols.length]), [
      ['unsubscribe', 10],
      ['unsubscribe', 5],
    ])
    give(session, ack('unsubscribe', requests[1].id))
    assert.deepEqual(requestsOf(listener), [['subscribe', requests[1].symbols]])
    // What is not subscribed need not be unsubscribed.
    give(session, refusal('error:not subscribed', requests[0].id, 'unsubscribe'))
    assert.deepEqual(requestsOf(listener), [['subscribe', requests[0].symbols]])
    session.resyncAll!([])
    assert.deepEqual(listener.sent, [])
    assert.deepEqual(listener.failures, [])
  })

  test('5: before the socket is open, and on one that was given up, nothing is sent', () => {
    const { session, listener } = open(BTC)
    session.resync(0)
    assert.deepEqual(listener.sent, [])
    session.opened()
    give(session, 'nonsense')
    taken(listener)
    session.resync(0)
    session.resyncAll!([0])
    session.heartbeat!()
    assert.deepEqual(listener.sent, [])
  })

  test('6: a refused topic is the end of it, the rest is asked for again', () => {
    for (const said of [notFound('ETHUSDT'), 'Invalid symbol :[ETHUSDT]']) {
      for (const id of ['1', '']) {
        const { session, listener } = open(BTC, ETH, XRP)
        session.opened()
        taken(listener)
        give(session, refusal(said, id))
        assert.deepEqual(
          listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
          [['E_SUBSCRIBE', 'symbol', 'ETH/USDT']],
        )
        assert.ok(listener.failures[0].message.includes(said), 'the cause is quoted')
        assert.deepEqual(requestsOf(listener), [['subscribe', ['BTCUSDT', 'XRPUSDT']]])
        give(session, refusal('Invalid symbol :[BTCUSDT,XRPUSDT]', '2'))
        assert.equal(listener.failures.length, 3)
        assert.deepEqual(listener.sent, [], 'nothing is left to ask for')
        give(session, snapshot(5, 'ETHUSDT'), delta(6, 'ETHUSDT'))
        assert.deepEqual(listener.outputs, [], 'it is not served')
        session.resync(1)
        assert.deepEqual(requestsOf(listener), [['subscribe', ['ETHUSDT']]])
        give(session, snapshot(7, 'ETHUSDT'))
        assert.equal(listener.outputs.length, 1, 'it is again')
      }
    }
  })

  test('6: a live symbol that the exchange ends', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, ack('subscribe', '1'), snapshot(5), snapshot(9, 'ETHUSDT'))
    give(session, refusal('error:symbol delisted,topic:orderbook.1000.BTCUSDT'))
    give(session, delta(6), delta(10, 'ETHUSDT'))
    assert.deepEqual(listener.failures.map(({ symbol }) => symbol), ['BTC/USDT'])
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [5, 9, 10])
  })

  test('6: a refusal that names no topic of the message: one by one', () => {
    for (const said of ['error:args size', notFound('GONEUSDT'), notFound('BTCUSDTX')]) {
      const { session, listener } = open(BTC, ETH, XRP)
      session.opened()
      taken(listener)
      give(session, refusal(said, '1'))
      assert.equal(listener.failures.length, 0)
      const requests = taken(listener)
      assert.deepEqual(requests.map(({ symbols }) => symbols), [
        ['BTCUSDT'],
        ['ETHUSDT'],
        ['XRPUSDT'],
      ])
      give(session, ack('subscribe', requests[0].id), refusal(said, requests[1].id))
      give(session, ack('subscribe', requests[2].id))
      assert.deepEqual(listener.failures.map(({ symbol }) => symbol), ['ETH/USDT'])
      assert.deepEqual(listener.sent, [])
      give(session, refusal(said, requests[1].id))
      assert.equal(listener.failures.length, 2)
      assert.equal(listener.failures[1].scope, 'connection', 'nothing is open: what is it about?')
    }
  })

  test('6: without a number it is about the message that has the topic', () => {
    const many = Array.from({ length: 13 }, (_, i) => instrument(`A${i}/USDT`))
    const { session, listener } = open(...many)
    session.opened()
    taken(listener)
    give(session, refusal(notFound('A11USDT')))
    assert.deepEqual(requestsOf(listener), [['subscribe', ['A10USDT', 'A12USDT']]])
    assert.deepEqual(listener.failures.map(({ symbol }) => symbol), ['A11/USDT'])
  })

  test('6: what has data by now was not refused', () => {
    {
      const { session, listener } = open(BTC, ETH, XRP)
      session.opened()
      taken(listener)
      give(session, snapshot(5), refusal('error:no reason', '1'))
      assert.deepEqual(requestsOf(listener), [
        ['subscribe', ['ETHUSDT']],
        ['subscribe', ['XRPUSDT']],
      ])
    }
    const { session, listener } = open(BTC, ETH, XRP)
    session.opened()
    taken(listener)
    give(session, snapshot(5), refusal(notFound('ETHUSDT'), '1'))
    assert.deepEqual(requestsOf(listener), [['subscribe', ['XRPUSDT']]])
    give(session, delta(6))
    assert.equal(listener.outputs.length, 2)
  })

  test('6: a refusal of what was asked for again meanwhile says nothing', () => {
    const { session, listener } = open(BTC)
    session.opened()
    session.resync(0)
    taken(listener)
    give(session, refusal('error:no reason', '1'), refusal(notFound('BTCUSDT'), '1'))
    assert.deepEqual(listener.failures.map(({ scope }) => scope), ['symbol'], 'nothing open now')
    assert.deepEqual(listener.sent, [])
    const named = open(BTC)
    named.session.opened()
    named.session.resync(0)
    give(named.session, refusal(notFound('BTCUSDT'), '1'))
    assert.deepEqual(named.listener.failures, [])
  })

  test('6: of very many unanswered messages the oldest is forgotten', () => {
    const { session, listener } = open(BTC)
    session.opened()
    while (listener.sent.length < 1000) session.resync(0)
    give(session, refusal('error:no reason', '1'))
    assert.deepEqual(listener.failures, [], 'it was asked for again meanwhile')
    while (listener.sent.length < 1010) session.resync(0)
    give(session, refusal('error:no reason', '2'))
    assert.deepEqual(listener.failures.map(({ scope }) => scope), ['connection'])
  })

  test('6: a refused unsubscription is known by its number alone', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, snapshot(5))
    session.resync(0)
    taken(listener)
    give(session, '{"success":false,"ret_msg":"not subscribed BTCUSDT","req_id":"2"}')
    assert.deepEqual(requestsOf(listener), [['subscribe', ['BTCUSDT']]])
    assert.deepEqual(listener.failures, [])
  })

  test('6: a topic that is subscribed already is subscribed anew, once', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    taken(listener)
    const already = (symbol: string, id: string) =>
      refusal(`error:already subscribed,topic:orderbook.1000.${symbol}`, id)
    give(session, already('BTCUSDT', '1'))
    assert.deepEqual(requestsOf(listener), [
      ['unsubscribe', ['BTCUSDT']],
      ['subscribe', ['ETHUSDT']],
    ])
    give(session, ack('unsubscribe', '2'))
    assert.deepEqual(requestsOf(listener), [['subscribe', ['BTCUSDT']]])
    give(session, already('BTCUSDT', '4'))
    assert.deepEqual(listener.sent, [], 'twice is no accident')
    assert.deepEqual(listener.failures.map(({ symbol }) => symbol), ['BTC/USDT'])
    give(session, snapshot(9, 'ETHUSDT'), already('ETHUSDT', '3'), delta(10, 'ETHUSDT'))
    assert.deepEqual(listener.sent, [], 'it has data')
    assert.equal(listener.failures.length, 1)
    assert.equal(listener.outputs.length, 2)

    const later = open(BTC)
    later.session.opened()
    give(later.session, already('BTCUSDT', '1'), ack('unsubscribe', '2'), snapshot(5))
    later.session.resync(0)
    give(later.session, ack('unsubscribe', '4'), already('BTCUSDT', '5'))
    assert.deepEqual(later.listener.failures, [], 'the first time again')
  })

  test('6: too many messages: the connection is given up for a while', () => {
    const texts = [
      refusal('Too many visits!', ''),
      '{"ret_code":10006,"ret_msg":"slow down"}',
      '{"retCode":"10006","retMsg":"slow down"}',
    ]
    for (const text of texts) {
      const { session, listener } = open(BTC, ETH)
      session.opened()
      give(session, snapshot(5), text, delta(6), text)
      const [error, ...others] = listener.failures
      assert.deepEqual([error.code, error.scope, others], ['E_RATE_LIMITED', 'connection', []])
      assert.ok(error.retryAfterMs! >= 1000)
      assert.equal(listener.outputs.length, 1)
    }
  })

  test('7: a ping every 20 s, and a pong of any spelling', () => {
    const { session, listener } = open(BTC)
    session.heartbeat!()
    assert.deepEqual(listener.sent, [], 'not open yet')
    session.opened()
    listener.sent.length = 0
    assert.equal(session.heartbeatMs, 20_000)
    session.heartbeat!()
    assert.deepEqual(listener.sent, ['{"op":"ping"}'])
    give(
      session,
      '{"success":true,"ret_msg":"pong","conn_id":"0970","req_id":"","op":"ping"}',
      '{"req_id":"","op":"pong","args":["1675418560633"],"conn_id":"cfcb"}',
      '{"pong":1787612486096}',
    )
    assert.equal(session.stats.unknownFrames, 0)
    give(session, '{"op":"auth","success":true}', '{}', '{"topic":"tickers.BTCUSDT","data":{}}')
    assert.equal(session.stats.unknownFrames, 3)
    assert.equal(session.stats.scannerFallbacks, 0, 'only data is counted')
    assert.deepEqual(listener.failures, [])
  })

  test('6: whatever an exchange answers, the messages end', () => {
    const symbols = Array.from({ length: 12 }, (_, i) => `A${i}USDT`)
    const instruments = symbols.map((_, i) => instrument(`A${i}/USDT`))
    /** How each message of the client is answered. */
    const answer = fc.record({
      kind: fc.constantFrom('good', 'good', 'named', 'unnamed', 'already', 'silent', 'foreign'),
      pick: fc.nat(),
      id: fc.boolean(),
      data: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(answer, { minLength: 1, maxLength: 20 }), (answers) => {
        const record = new Record(instruments)
        const session = bybit.open(instruments, record, 1000)
        session.opened()
        let count = 0
        for (let resyncs = 0; resyncs < 2; resyncs++) {
          for (; count < record.sent.length; count++) {
            assert.ok(count < 200, 'a storm')
            const { op, req_id: number, args } = JSON.parse(record.sent[count]) as Message
            const { kind, pick, id, data } = answers[count % answers.length]
            const topic = args[pick % args.length]
            if (data && op === 'subscribe') {
              give(session, snapshot(5 + count, topic.replace('orderbook.1000.', '')))
            }
            const said = {
              named: `not found,topic:${topic}`,
              already: `already subscribed ${topic}`,
            }
            if (kind === 'silent') continue
            if (kind === 'good') give(session, ack(op, id ? number : ''))
            else {
              const text = kind === 'named' || kind === 'already' ? said[kind] : `no ${kind}`
              give(session, refusal(text, id ? number : '', op))
            }
          }
          session.resyncAll!(instruments.map((_, index) => index))
        }
      }),
      { numRuns: 400 },
    )
  })
})

describe('segments', () => {
  test('by the unified symbol, each with an address of its own', () => {
    const table = {
      'BTC/USDT': 'spot',
      'USDC/USDT': 'spot',
      'BTC/USDT:USDT': 'linear',
      'BTC/USDC:USDC': 'linear',
      'BTC/USDC:USDC-261225': 'linear',
      'BTC/USD:USDC': 'linear',
      'BTC/USD:BTC': 'inverse',
      'BTC/USD:BTC-261225': 'inverse',
    }
    for (const [symbol, segment] of Object.entries(table)) {
      assert.equal(bybit.segment!(instrument(symbol)), segment, symbol)
      assert.equal(
        bybit.url([instrument(symbol), BTC]),
        `wss://stream.bybit.com/v5/public/${segment}`,
      )
    }
    assert.match(bybit.url([]), /\/spot$/)
  })
})

describe('frames', () => {
  test('levels, nonce and the time of the matching engine', () => {
    const { session, listener } = open(BTC)
    const levels: WireLevel[] = [['bid', '78715', '1.271882'], ['ask', '78715.1', '0']]
    const frame = { type: 'snapshot', symbol: 'BTCUSDT', u: 217107084, levels } as const
    give(session, bookText({ ...frame, ts: 1787612486096, cts: 1787612486094 }))
    assert.deepEqual(listener.outputs, [{
      kind: 'snapshot',
      index: 0,
      levels: [['bid', '78715', '1.271882'], ['ask', '78715.1', '0']],
      nonce: 217107084,
      timestampMs: 1787612486094,
      receivedUs: 1_000_000,
    }])
    give(session, delta(217107085, 'BTCUSDT', { ts: 1787612486116, cts: undefined }))
    assert.equal(listener.outputs[1].timestampMs, 1787612486116, 'the time of the gateway')
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('every legal spelling gives the same', () => {
    const levels: WireLevel[] = [['bid', '100.25', '1'], ['bid', '100', '2'], ['ask', '107', '0']]
    const frame = { type: 'snapshot', symbol: 'BTCUSDT', u: 5, levels } as const
    const canned = bookText(frame)
    const reference = open(BTC)
    give(reference.session, canned)
    const value = JSON.parse(canned)
    const { topic, ts, type, data, cts } = value
    const fast = [
      bookText({ ...frame, typeFirst: true }),
      canned.replace('"100.25"', '"100.2500000000000000000"'),
      canned.replace('"0"', '"0.000"'),
    ]
    const slow = [
      JSON.stringify(value, null, 2),
      ` ${canned}\n`,
      JSON.stringify({ cts, data, type, ts, topic }),
      JSON.stringify({ topic, ts, type, cts, data }),
      JSON.stringify({ ...value, more: [1, { x: null }] }),
      JSON.stringify({ ...value, data: { ...data, more: 1 } }),
      canned.replace('orderbook', 'orderb\\u006fok'),
      canned.replace('"100.25"', '"1.0025e2"'),
      canned.replace('"100.25"', '"+0100.25"'),
      canned.replace('"0"', '"-0.0"'),
      canned.replace('["107","0"]', '["107","0","more"]'),
      canned.replace('"u":5', '"u":5.0'),
      canned.replace('"u":5', '"u":5e0'),
      canned.replace(/,"seq":\d+/, ''),
      canned.replace(/"ts":\d+/, '"ts":"soon"'),
    ]
    for (const text of [...fast, ...slow]) {
      const { session, listener } = open(BTC)
      give(session, text)
      assert.deepEqual(listener.outputs, reference.listener.outputs, text)
      assert.deepEqual(listener.failures, [])
      assert.equal(session.stats.scannerFallbacks, fast.includes(text) ? 0 : 1, text)
    }
  })

  test('a side that is not there is no change, but no book', () => {
    for (const [from, to] of [['"a":[],', ''], ['"a":[]', '"a":null'], ['"b":[],', '']]) {
      const { session, listener } = open(BTC)
      give(session, snapshot(5), delta(6).replace(from, to))
      assert.deepEqual(listener.outputs.map(({ levels }) => levels.length), [2, 0])
      const broken = open(BTC)
      give(broken.session, snapshot(5, 'BTCUSDT', { levels: [] }).replace(from, to))
      assert.deepEqual(broken.listener.outputs, [])
      assert.deepEqual(broken.listener.suspects.map(({ reason }) => reason), ['gap'])
    }
  })

  test('no sequence number: a repetition is known by u alone', () => {
    const { session, listener } = open(BTC)
    const bare = (text: string) => text.replace(/,"seq":\d+/, '')
    give(session, bare(snapshot(5)), bare(delta(6)), bare(delta(6)), bare(delta(5)))
    give(session, bare(delta(7)))
    assert.equal(session.stats.duplicates, 2)
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [5, 6, 7])
    give(session, bare(snapshot(7)))
    assert.equal(listener.outputs.length, 4, 'what cannot be compared replaces')
  })

  test('a frame of a known topic that cannot be read costs that symbol', () => {
    const whole = delta(6, 'BTCUSDT', { levels: [['bid', '99', '5'], ['ask', '101', '5']] })
    const broken = [
      ['"delta"', '"patch"'],
      ['"type":"delta",', ''],
      [',"u":6', ''],
      ['"u":6', '"u":-1'],
      ['"u":6', '"u":"6"'],
      ['"u":6', '"u":6.5'],
      ['"u":6', '"u":9007199254740993'],
      ['"s":"BTCUSDT"', '"s":"ETHUSDT"'],
      ['"s":"BTCUSDT",', ''],
      ['"b":[', '"b":7,"x":['],
      ['"b":[', '"b":[7,'],
      ['"5"', '"-5"'],
      ['"5"', '"NaN"'],
      ['"5"', '"Infinity"'],
      ['"5"', '""'],
      ['"5"', '5'],
      ['"5"', 'null'],
      ['"99"', '"-99"'],
      ['"99"', '"0x10"'],
      ['"99"', '99'],
      ['["99","5"]', '["99"]'],
      ['"data":', '"body":'],
      ['"data":{', '"data":[{'],
    ].map(([from, to]) => [from, whole.replace(from, to).replace(/\[\{(.*)\},"cts/, '[{$1}],"cts')])
    for (const [from, text] of broken) {
      assert.notEqual(text, whole, from)
      const { session, listener } = open(BTC, ETH)
      session.opened()
      give(session, snapshot(5), snapshot(9, 'ETHUSDT'), text, text, delta(6))
      give(session, delta(10, 'ETHUSDT'))
      assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [[0, 'gap']])
      assert.match(listener.suspects[0].detail, /could not be read \(.+\), expected/)
      assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [5, 9, 10], text)
      assert.deepEqual(listener.failures, [])
      session.resync(0)
      const before = listener.suspects.length
      give(session, text)
      assert.equal(listener.suspects.length, before, 'of the old subscription nothing counts')
    }
  })

  test('what cannot be read at all gives up the connection and every book', () => {
    const broken = ['', 'null', '[]', '7', '"x"', delta(6).slice(0, -1), `${delta(6)}}`, '\0']
    for (const text of broken) {
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(5), text, delta(6), snapshot(7), text)
      assert.deepEqual(
        listener.failures.map(({ code, scope }) => [code, scope]),
        [['E_DECODE', 'connection']],
        text,
      )
      assert.deepEqual(listener.suspects, [], 'said once for all')
      assert.equal(listener.outputs.length, 1, text)
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
      '5.000000000000000000000000000000',
      '99999999999999999999',
    ]
    const levels = (['bid', 'ask'] as const).flatMap((side) =>
      values.flatMap((value): WireLevel[] => [
        [side, value, value],
        [side, '100.5', value],
        [side, value, '1'],
      ])
    )
    give(session, snapshot(5, 'BTCUSDT', { levels }), delta(6))
    assert.deepEqual(
      listener.outputs[0].levels,
      levels.map(([side, price, size]) => [side, canonicalDecimal(price), canonicalDecimal(size)]),
    )
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('a snapshot of 1,000 levels a side', () => {
    const { session, listener } = open(BTC)
    const levels = Array.from({ length: 2000 }, (_, i): WireLevel => [
      i < 1000 ? 'bid' : 'ask',
      (50_000 + i / 100).toFixed(2),
      (1 + i / 1e8).toFixed(8),
    ])
    give(session, snapshot(5, 'BTCUSDT', { levels }), delta(6))
    assert.equal(listener.books[0]!.size, 2000)
    assert.equal(listener.books[0]!.get('ask 50019.99'), '1.00001999')
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('a name that is not ASCII is read by its bytes', () => {
    const odd = { ...BTC, wireSymbol: '币安USDT' }
    const { session, listener } = open(odd, ETH)
    give(session, snapshot(5, odd.wireSymbol), delta(6, odd.wireSymbol), snapshot(9, 'ETHUSDT'))
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0, 0, 1])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('the frames to warm with fit a session of any depth', () => {
    for (const depth of [10, 200, 0]) {
      const listener = new Listener([BTC])
      const session = bybit.open([BTC], listener, depth)
      const warmFrames = bybit.warmFrames as (one: Instrument, depth?: number) => Uint8Array[]
      const frames = warmFrames(BTC, depth)
      for (const frame of frames) session.received(frame, 1)
      assert.equal(listener.outputs.length, frames.length)
      assert.equal(session.stats.scannerFallbacks, 0)
    }
  })
})

/** What both routes have to agree on. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const record = new Record(instruments)
  const session = bybit.open(instruments, record, 1000)
  give(session, snapshot(5), snapshot(5, 'ETHUSDT'))
  session.received(bytes, 5)
  give(session, delta(6, 'ETHUSDT'), delta(7), delta(7, 'ETHUSDT'), snapshot(9))
  const { outputs, others, sent } = record
  const { unknownFrames, duplicates } = session.stats
  return { outputs, others, sent, unknownFrames, duplicates }
}

const frameText = fc.record({
  type: fc.constantFrom('snapshot' as const, 'delta' as const),
  symbol: fc.constantFrom('BTCUSDT', 'ETHUSDT', 'XRPUSDT'),
  u: fc.oneof(fc.constant(6), fc.nat(8), fc.maxSafeNat()),
  levels: anyLevels,
  depth: fc.constantFrom(1000, 1000, 1000, 50),
  seq: fc.oneof(fc.constant(7_961_638_729), fc.maxSafeNat()),
  ts: fc.oneof(fc.constant(1_787_612_486_096), fc.maxSafeNat()),
  cts: fc.constantFrom(1_787_612_486_094, undefined),
  typeFirst: fc.boolean(),
}).map(bookText)
const plainFrameText = fc.record({
  type: fc.constantFrom('snapshot' as const, 'delta' as const),
  levels: plainLevels,
  typeFirst: fc.boolean(),
}).map((frame) => bookText({ ...frame, symbol: 'BTCUSDT', u: 6 }))
describeRoutes({
  story,
  instruments: [BTC, ETH],
  frames: frameText,
  plain: plainFrameText,
  examples: [false, true].map((typeFirst) =>
    bookText({
      type: 'delta',
      symbol: 'BTCUSDT',
      u: 6,
      levels: [['bid', '78856.05', '0.0476177'], ['ask', '78856.06', '0']],
      typeFirst,
    })
  ),
  runs: { frames: 1000, wounded: 2000 },
  fallbacks: (text) => {
    const { session } = open(BTC)
    give(session, snapshot(5), text)
    return session.stats.scannerFallbacks
  },
})

describe('recorded frames', { skip: !existsSync(RECORDING) }, () => {
  const XRP_LINEAR = instrument('XRP/USDT:USDT', 4, 0)

  /** The depth they were recorded with exists no more. */
  function recorded(): string[] {
    return readFileSync(RECORDING, 'utf8').trim().split('\n')
      .map((line) => (JSON.parse(line).raw as string).replace('orderbook.500.', 'orderbook.1000.'))
  }

  test('make the book that a naive model makes, on the fast path', () => {
    const { session, listener } = open(XRP_LINEAR)
    const slow = open(XRP_LINEAR)
    const truth: NaiveBook = new Map()
    const frames = recorded()
    for (const text of frames) {
      const { type, data } = JSON.parse(text) as {
        type: string
        data: { b: [string, string][]; a: [string, string][] }
      }
      if (type === 'snapshot') truth.clear()
      for (const [price, size] of data.b) applyLevel(truth, 'bid', price, size)
      for (const [price, size] of data.a) applyLevel(truth, 'ask', price, size)
      give(session, text)
      give(slow.session, ` ${text}`)
      assert.deepEqual(listener.books[0], truth)
    }
    assert.equal(frames.length, 50)
    assert.deepEqual(listener.outputs, slow.listener.outputs)
    assert.equal(session.stats.scannerFallbacks, 0)
    assert.equal(slow.session.stats.scannerFallbacks, 50)
    assert.equal(listener.outputs[0].timestampMs, 1733011200589)
    assert.equal(truth.size, 1000)
  })

  test('any one lost is noticed at the next, any one twice changes nothing', () => {
    const frames = recorded().map((text) => encoder.encode(text))
    const run = (some: readonly Uint8Array[]) => {
      const record = new Record([XRP_LINEAR])
      const session = bybit.open([XRP_LINEAR], record, 1000)
      for (const frame of some) session.received(frame, 1)
      return { ...record, stats: session.stats }
    }
    const whole = run(frames)
    assert.equal(whole.outputs.length, frames.length)
    for (let at = 0; at < frames.length; at++) {
      const lost = run([...frames.slice(0, at), ...frames.slice(at + 1)])
      assert.equal(lost.outputs.length, at, 'nothing after it, without a snapshot not even before')
      // The loss of the very last one nothing can show yet.
      const isShown = at > 0 && at < frames.length - 1
      assert.deepEqual(lost.others, isShown ? [['suspect', 0, 'gap']] : [])
      const twice = run([...frames.slice(0, at + 1), ...frames.slice(at)])
      assert.equal(twice.stats.duplicates, 1)
      assert.deepEqual(twice.outputs, whole.outputs)
    }
  })
})
