/** Bitfinex: its numbered steps, its edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { bitfinex } from '../../src/exchanges/bitfinex.ts'
import { checksumText, levelText, token } from './bitfinex.fixture.ts'
import type { WireLevel } from './fixture.ts'
import { applyLevel, Listener, type NaiveBook } from './listener.ts'
import { describeRoutes } from './routes.ts'

const RECORDINGS = resolve(import.meta.dirname!, '../../../shared/recordings/bitfinex')

const FLAGS = 229_376
const TIME = 1_767_225_600_123

const encoder = new TextEncoder()

function instrument(wireSymbol: string, priceDecimals = 2, sizeDecimals = 8): Instrument {
  return { symbol: wireSymbol.slice(1), wireSymbol, priceDecimals, sizeDecimals }
}

const BTC = instrument('tBTCUSD')
const ETH = instrument('tETHF0:USTF0')

interface Opened {
  readonly session: Session
  readonly listener: Listener
}

function open(instruments: readonly Instrument[] = [BTC, ETH], depth = 100): Opened {
  const listener = new Listener(instruments, bitfinex.depth!(depth))
  return { session: bitfinex.open(instruments, listener, depth), listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

const INFO = '{"event":"info","version":2,"serverId":"x","platform":{"status":1}}'
const info = (code: number) => JSON.stringify({ event: 'info', code, msg: 'as planned' })
const subscribed = (chanId: number, wireSymbol: string, more: object = {}) =>
  JSON.stringify({ event: 'subscribed', channel: 'book', chanId, symbol: wireSymbol, ...more })
const unsubscribed = (chanId: number) => JSON.stringify({ event: 'unsubscribed', chanId })
const error = (more: object) => JSON.stringify({ event: 'error', msg: 'so it is', ...more })

const LEVELS: WireLevel[] = [['bid', '100.25', '1'], ['ask', '100.5', '2']]
const frame = (channel: number, payload: string, sequence: number) =>
  `[${channel},${payload},${sequence},${TIME}]`
const snapshot = (channel: number, sequence: number, levels: readonly WireLevel[] = LEVELS) =>
  frame(channel, `[${levels.map((level) => levelText(level)).join(',')}]`, sequence)
const update = (
  channel: number,
  sequence: number,
  level: WireLevel = ['bid', '100', '3'],
) => frame(channel, levelText(level), sequence)

/** Open, both subscribed as channels 7 and 8, both live; the last sequence is 2. */
function started(): Opened {
  const opened = open()
  opened.session.opened()
  give(
    opened.session,
    INFO,
    `{"event":"conf","status":"OK","flags":${FLAGS}}`,
    subscribed(7, 'tBTCUSD', { subId: '0', prec: 'P0', freq: 'F0', len: '100' }),
    snapshot(7, 1),
    subscribed(8, 'tETHF0:USTF0', { subId: '1' }),
    snapshot(8, 2),
  )
  assert.equal(opened.listener.outputs.length, 2)
  opened.listener.sent.length = 0
  opened.listener.outputs.length = 0
  return opened
}

const requests = (listener: Listener) =>
  listener.sent.map((text) => {
    const { event, symbol, chanId } = JSON.parse(text)
    return `${event} ${symbol ?? chanId ?? ''}`.trim()
  })

describe('steps', () => {
  test('1: settings, then one subscription a symbol', () => {
    const { session, listener } = open()
    assert.deepEqual(listener.sent, [])
    session.opened()
    const book = { event: 'subscribe', channel: 'book', prec: 'P0', freq: 'F0', len: '100' }
    assert.deepEqual(listener.sent.map((text) => JSON.parse(text)), [
      { event: 'conf', flags: FLAGS },
      { ...book, symbol: 'tBTCUSD', subId: '0' },
      { ...book, symbol: 'tETHF0:USTF0', subId: '1' },
    ])
    session.opened()
    give(session, INFO)
    assert.equal(listener.sent.length, 3, 'once')
  })

  test('1: the smallest depth that covers the wish', () => {
    const table = [[0, 250, 250], [1, 25, 1], [25, 25, 25], [26, 100, 26], [100, 100, 100]]
    table.push([101, 250, 101], [250, 250, 250], [251, 250, 250], [5000, 250, 250])
    for (const [wanted, length, view] of table) {
      const { session, listener } = open([BTC], wanted)
      session.opened()
      assert.equal(JSON.parse(listener.sent[1]).len, String(length), `${wanted}`)
      assert.deepEqual(bitfinex.depth!(wanted), { view, kept: Infinity })
    }
  })

  test('1: refused settings give up the connection', () => {
    const refusals = [
      '{"event":"conf","status":"FAILED"}',
      '{"event":"conf","status":"OK","flags":0}',
      '{"event":"conf","status":"OK","flags":98304}',
      '{"event":"conf","status":"OK","flags":163840}',
    ]
    for (const text of refusals) {
      const { session, listener } = started()
      give(session, text)
      assert.deepEqual(listener.failures.map(({ code, scope }) => [code, scope]), [
        ['E_SUBSCRIBE', 'connection'],
      ], text)
      assert.match(listener.failures[0].message, /settings/)
      give(session, update(7, 3))
      assert.deepEqual(listener.outputs, [])
    }
    const { session, listener } = started()
    give(session, '{"event":"conf","status":"OK"}', update(7, 3))
    assert.deepEqual(listener.failures, [])
    assert.equal(listener.outputs[0].timestampMs, TIME)
  })

  test('1: without times there is none', () => {
    const { session, listener } = started()
    give(session, '{"event":"conf","status":"OK","flags":196608}')
    give(session, update(7, 3).replace(`,${TIME}`, ''), update(7, 4))
    assert.deepEqual(listener.outputs.map(({ timestampMs }) => timestampMs), [-1, -1])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('2: the sequence counts all channels, begins at 1, and knows no events', () => {
    const { session, listener } = started()
    give(
      session,
      update(7, 3),
      frame(8, '"hb"', 4),
      '{"event":"pong","ts":1,"cid":1}',
      frame(99, '"te",[1,2,3]', 5),
      frame(0, '"hb"', 6),
      frame(99, '[1,2,3]', 7),
      `[99,"zz",8]`,
      frame(98, '"hb"', 9),
      update(8, 10),
    )
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.failures, [])
    assert.deepEqual(
      listener.outputs.map(({ index, nonce, levels }) => [index, nonce, levels.length]),
      [[0, 3, 1], [1, 4, 0], [1, 10, 1]],
    )
    assert.equal(session.stats.unknownFrames, 3)

    const late = open()
    late.session.opened()
    give(late.session, subscribed(7, 'tBTCUSD'), snapshot(7, 2))
    assert.deepEqual(late.listener.suspects.map(({ index }) => index), [0, 1])
    assert.deepEqual(late.listener.outputs, [])
  })

  test('2: sequence and time are told apart should they change places', () => {
    const { session, listener } = started()
    give(session, `[7,[100,1,3],${TIME},3]`, ` [7,[100,1,4],${TIME},4]`)
    assert.deepEqual(
      listener.outputs.map(({ nonce, timestampMs }) => [nonce, timestampMs]),
      [[3, TIME], [4, TIME]],
    )
  })

  test('3: a gap in any channel makes every book suspect, and counting goes on from there', () => {
    const kinds = [update(7, 4), frame(8, '"hb"', 4), frame(7, '"cs",1', 4), frame(99, '"x"', 4)]
    for (const next of [...kinds, snapshot(7, 4)]) {
      const { session, listener } = started()
      give(session, next)
      assert.deepEqual(
        listener.suspects.map(({ index, reason, detail }) => [index, reason, detail]),
        [0, 1].map((i) => [i, 'gap', 'sequence 4 was received, 3 was expected']),
      )
      give(session, update(7, 5), snapshot(8, 6), update(8, 7))
      assert.equal(listener.suspects.length, 2, 'said once')
      assert.deepEqual(listener.outputs, [])
    }
  })

  test('3: duplicates are ignored; a counter that begins anew is not taken for them', () => {
    const { session, listener } = started()
    for (let i = 3; i < 60; i++) {
      give(session, update(7, i), update(7, i), update(7, Math.max(1, i - 20)))
    }
    assert.deepEqual(listener.failures, [])
    assert.equal(session.stats.duplicates, 114)
    assert.equal(listener.outputs.length, 57)
    for (let i = 1; i < 40; i++) give(session, update(7, i))
    assert.deepEqual(
      listener.failures.map(({ code, scope }) => [code, scope]),
      [['E_SEQUENCE_GAP', 'connection']],
    )
    assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['gap', 'gap'])

    const far = started()
    for (let i = 3; i < 2000; i++) give(far.session, update(7, i))
    give(far.session, update(7, 3))
    assert.equal(far.listener.failures[0].code, 'E_SEQUENCE_GAP', 'so far back is no duplicate')
  })

  test('4: a channel is what its announcement says', () => {
    const by = (more: object) => {
      const opened = open()
      opened.session.opened()
      const text = JSON.stringify({ event: 'subscribed', channel: 'book', chanId: 9, ...more })
      give(opened.session, text, snapshot(9, 1))
      return opened.listener
    }
    for (
      const more of [
        { symbol: 'tETHF0:USTF0' },
        { subId: '1' },
        { subId: '1', symbol: 'tETHF0:USTF0', pair: 'ETHF0:USTF0' },
        { subId: 'mine', symbol: 'tETHF0:USTF0' },
        { pair: 'ETHF0:USTF0' },
      ]
    ) {
      assert.deepEqual(by(more).outputs.map(({ index }) => index), [1], JSON.stringify(more))
    }
    for (
      const more of [
        {},
        { symbol: 'tXRPUSD' },
        { subId: '2' },
        { subId: '0', symbol: 'tETHF0:USTF0' },
        { subId: '0', symbol: 'tXRPUSD' },
        { symbol: 'tBTCUSD', chanId: '9' },
        { symbol: 'tBTCUSD', chanId: 1.5 },
      ]
    ) {
      const { outputs, failures } = by(more)
      assert.deepEqual(outputs, [])
      assert.deepEqual(failures.map(({ code, scope }) => [code, scope]), [
        ['E_SUBSCRIBE', 'connection'],
      ], JSON.stringify(more))
    }
    for (const more of [{ prec: 'P1' }, { freq: 'F1' }, { len: '25' }, { len: 250 }]) {
      const { outputs, failures } = by({ symbol: 'tBTCUSD', ...more })
      assert.deepEqual(outputs, [])
      assert.deepEqual(failures.map(({ scope, symbol }) => [scope, symbol]), [
        ['symbol', 'BTCUSD'],
      ], JSON.stringify(more))
    }
    assert.equal(by({ symbol: 'tBTCUSD', len: 100 }).outputs.length, 1)
  })

  test('4: told twice is told once; a second channel of a symbol is left', () => {
    const { session, listener } = started()
    give(session, subscribed(7, 'tBTCUSD'))
    assert.deepEqual(listener.sent, [])
    give(session, subscribed(12, 'tBTCUSD'), snapshot(12, 3), update(7, 4))
    assert.deepEqual(requests(listener), ['unsubscribe 12'])
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [4])
    give(session, unsubscribed(12), update(7, 5))
    assert.equal(listener.sent.length, 1)
    assert.equal(session.stats.unknownFrames, 0)
  })

  test('4: other channels are none of ours', () => {
    const { session, listener } = started()
    give(session, '{"event":"subscribed","channel":"trades","chanId":7,"symbol":"tETHF0:USTF0"}')
    give(session, update(7, 3))
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0])
    assert.equal(session.stats.unknownFrames, 1)
  })

  test('4: data before its announcement is a missed snapshot', () => {
    const { session, listener } = open()
    session.opened()
    give(session, snapshot(9, 1), subscribed(9, 'tBTCUSD'), update(9, 2))
    assert.deepEqual(listener.outputs, [])
    assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [[0, 'stale']])
    listener.sent.length = 0
    session.resync(0)
    give(session, unsubscribed(9), subscribed(10, 'tBTCUSD'), snapshot(10, 3))
    assert.deepEqual(requests(listener), ['unsubscribe 9', 'subscribe tBTCUSD'])
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0])
  })

  test('4: a heartbeat may come before the announcement', () => {
    const { session, listener } = open([BTC])
    session.opened()
    give(session, frame(9, '"hb"', 1), subscribed(9, 'tBTCUSD'), snapshot(9, 2), update(9, 3))
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [2, 3])
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
  })

  test('4: a channel that is never announced is left', () => {
    const { session, listener } = open([BTC])
    session.opened()
    give(session, snapshot(9, 1), update(9, 2))
    listener.sent.length = 0
    session.resync(0)
    assert.deepEqual(requests(listener), ['unsubscribe 9', 'subscribe tBTCUSD'])
    give(session, unsubscribed(9), update(9, 3), subscribed(10, 'tBTCUSD'), snapshot(10, 4))
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [4])
    assert.deepEqual(listener.failures, [])
  })

  test('5: updates and checksums wait for a snapshot; a second snapshot replaces the book', () => {
    const { session, listener } = open([BTC])
    session.opened()
    give(
      session,
      subscribed(7, 'tBTCUSD'),
      update(7, 1),
      frame(7, '"cs",123', 2),
      frame(7, '"hb"', 3),
      snapshot(7, 4),
      update(7, 5, ['bid', '99', '5']),
      snapshot(7, 6),
    )
    assert.deepEqual(listener.outputs.map(({ kind }) => kind), ['snapshot', 'delta', 'snapshot'])
    assert.deepEqual(listener.books[0], new Map([['bid 100.25', '1'], ['ask 100.5', '2']]))
    assert.equal(listener.checks, 0)
    assert.deepEqual(listener.suspects, [])
  })

  test('5: an empty book is a book', () => {
    const { session, listener } = open([BTC])
    session.opened()
    give(session, subscribed(7, 'tBTCUSD'), snapshot(7, 1, []), frame(7, '"cs",0', 2), update(7, 3))
    assert.deepEqual(listener.outputs.map(({ kind, levels }) => [kind, levels.length]), [
      ['snapshot', 0],
      ['delta', 0],
      ['delta', 1],
    ])
    assert.equal(listener.checks, 1)
    assert.deepEqual(listener.suspects, [], 'nothing has the checksum 0')
  })

  test('6: a checksum is of the book before it, and of nothing else', () => {
    const { session, listener } = started()
    const book: NaiveBook = new Map()
    for (const level of LEVELS) applyLevel(book, ...level)
    give(session, frame(7, `"cs",${checksumText(book)}`, 3), frame(7, '"hb"', 4))
    assert.equal(listener.checks, 1)
    assert.deepEqual(listener.outputs.map(({ kind, levels }) => [kind, levels]), [
      ['delta', []],
      ['delta', []],
    ])
    give(session, frame(8, `"cs",${1 + Number(checksumText(book))}`, 5))
    assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [
      [1, 'checksum'],
    ])
  })

  test('7: resync is unsubscribe, then its confirmation, then subscribe', () => {
    const { session, listener } = started()
    session.resync(1)
    assert.deepEqual(requests(listener), ['unsubscribe 8'])
    // Late frames of the old channel, before and after the confirmation.
    give(session, update(8, 3), snapshot(8, 4), unsubscribed(8), update(8, 5), update(7, 6))
    assert.deepEqual(requests(listener), ['unsubscribe 8', 'subscribe tETHF0:USTF0'])
    give(session, unsubscribed(8), subscribed(8, 'tETHF0:USTF0'), update(8, 7), snapshot(8, 8))
    give(session, update(8, 9))
    assert.deepEqual(listener.outputs.map(({ index, nonce, kind }) => [index, nonce, kind]), [
      [0, 6, 'delta'],
      [1, 8, 'snapshot'],
      [1, 9, 'delta'],
    ])
    assert.deepEqual(listener.suspects, [])
    assert.equal(listener.sent.length, 2)
    assert.deepEqual(session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
  })

  test('7: the number of a channel may be used again', () => {
    const { session, listener } = started()
    session.resync(0)
    give(session, update(7, 3), unsubscribed(7), update(7, 4), frame(7, '"hb"', 5))
    give(session, subscribed(7, 'tBTCUSD'), update(7, 6), snapshot(7, 7), update(7, 8))
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [7, 8])
    session.resync(0)
    // By another symbol, too.
    give(session, unsubscribed(7), subscribed(17, 'tBTCUSD'), snapshot(17, 9))
    session.resync(1)
    give(session, unsubscribed(8), subscribed(7, 'tETHF0:USTF0'), snapshot(7, 10), update(7, 11))
    assert.deepEqual(listener.outputs.slice(2).map(({ index, nonce }) => [index, nonce]), [
      [0, 9],
      [1, 10],
      [1, 11],
    ])
    assert.deepEqual(listener.suspects, [])
  })

  test('7: what is not answered is asked for again', () => {
    const { session, listener } = started()
    session.resync(0)
    session.resync(0)
    assert.deepEqual(requests(listener), ['unsubscribe 7', 'unsubscribe 7'])
    // The first was not lost: the second is refused, before or after the subscription.
    const refused = error({ msg: 'unsubscribe: invalid', code: 10_400, chanId: 7 })
    give(session, unsubscribed(7), refused)
    assert.deepEqual(requests(listener).slice(2), ['subscribe tBTCUSD'])
    session.resync(0)
    assert.equal(listener.sent.length, 3, 'it may only be early')
    session.resync(0)
    assert.deepEqual(requests(listener).slice(3), ['subscribe tBTCUSD'])
    const twice = error({ msg: 'subscribe: dup', code: 10_301, symbol: 'tBTCUSD', pair: 'BTCUSD' })
    give(session, twice, subscribed(9, 'tBTCUSD'), twice, snapshot(9, 3), update(9, 4))
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [3, 4])
    assert.deepEqual(listener.failures, [])
    assert.equal(listener.sent.length, 4)

    // Lost: the refusal says that it is gone.
    session.resync(0)
    session.resync(0)
    give(session, error({ msg: 'unsubscribe: invalid', code: 10_400, chanId: 9 }))
    assert.equal(requests(listener).at(-1), 'subscribe tBTCUSD')
  })

  test('7: a gap while the answer is under way', () => {
    const { session, listener } = started()
    session.resync(0)
    give(session, update(8, 4))
    assert.deepEqual(listener.suspects.map(({ index }) => index), [0, 1])
    give(session, unsubscribed(7))
    assert.deepEqual(requests(listener), ['unsubscribe 7'], 'the feed has to ask')
    session.resync(0)
    session.resync(1)
    assert.deepEqual(requests(listener).slice(1), ['subscribe tBTCUSD', 'unsubscribe 8'])
    // Lost behind the announcement: that snapshot is not believed.
    give(session, subscribed(9, 'tBTCUSD'), update(9, 6), snapshot(9, 7))
    assert.deepEqual(listener.outputs, [])
  })

  test('7: nothing is sent on a socket that was given up', () => {
    const { session, listener } = started()
    give(session, 'nonsense')
    session.resync(0)
    session.heartbeat!()
    session.opened()
    give(session, INFO, info(20_061))
    assert.deepEqual(listener.sent, [])
    assert.equal(listener.failures.length, 1)
  })

  test('9: the announced end', () => {
    const { session, listener } = started()
    give(session, info(20_051), update(7, 3))
    assert.equal(listener.retirements.length, 1)
    assert.match(listener.retirements[0], /as planned/)
    assert.deepEqual(listener.suspects, [])
    assert.equal(listener.outputs.length, 1)
  })

  test('9: maintenance: all stale, nothing asked for, all asked for behind it', () => {
    for (const [begin, end] of [[info(20_060), info(20_061)], [info(20_060), INFO]]) {
      const { session, listener } = started()
      give(session, begin, begin, update(7, 3), snapshot(7, 4), frame(7, '"cs",1', 5))
      assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [
        [0, 'stale'],
        [1, 'stale'],
      ])
      session.resync(0)
      session.resync(1)
      session.resync(1)
      give(session, snapshot(7, 6), update(7, 7), unsubscribed(8))
      give(session, error({ symbol: 'tBTCUSD', code: 10_300 }), error({ code: 20_060 }))
      assert.deepEqual(listener.sent, [])
      assert.deepEqual(listener.outputs, [])
      assert.deepEqual(listener.failures, [])
      session.heartbeat!()
      assert.deepEqual(requests(listener), ['ping'], 'the socket stays alive')
      give(session, end, end)
      assert.deepEqual(requests(listener).slice(1), ['unsubscribe 7', 'subscribe tETHF0:USTF0'])
      give(session, snapshot(7, 8), unsubscribed(7), subscribed(17, 'tBTCUSD'), snapshot(17, 9))
      give(session, subscribed(18, 'tETHF0:USTF0'), snapshot(18, 10))
      assert.deepEqual(listener.outputs.map(({ index, nonce }) => [index, nonce]), [
        [0, 9],
        [1, 10],
      ])
    }
  })

  test('9: maintenance whose beginning was lost shows at its end', () => {
    const { session, listener } = started()
    give(session, info(20_061))
    assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['stale', 'stale'])
    assert.deepEqual(requests(listener), ['unsubscribe 7', 'unsubscribe 8'])
    give(session, info(20_061))
    assert.equal(listener.suspects.length, 2, 'once is enough')
  })

  test('9: a connection that begins in maintenance', () => {
    const { session, listener } = open()
    session.opened()
    give(session, '{"event":"info","version":2,"platform":{"status":0}}')
    assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['stale', 'stale'])
    listener.sent.length = 0
    session.resync(0)
    give(session, '{"event":"conf","status":"FAILED"}', error({ subId: '0', code: 10_300 }))
    assert.deepEqual(listener.failures, [])
    assert.deepEqual(listener.sent, [])
    give(session, info(20_061))
    assert.deepEqual(requests(listener), [
      'conf',
      'subscribe tBTCUSD',
      'subscribe tETHF0:USTF0',
    ])
    give(session, subscribed(7, 'tBTCUSD'), snapshot(7, 1), subscribed(8, 'tETHF0:USTF0'))
    give(session, error({ msg: 'subscribe: dup', code: 10_301, symbol: 'tETHF0:USTF0' }))
    give(session, snapshot(8, 2))
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0, 1])
    assert.deepEqual(listener.failures, [])
  })

  test('9: another version of the protocol is not guessed at', () => {
    const { session, listener } = open()
    session.opened()
    give(session, INFO.replace('2', '3'))
    assert.deepEqual(listener.failures.map(({ code, scope }) => [code, scope]), [
      ['E_SUBSCRIBE', 'connection'],
    ])
  })
})

describe('errors', () => {
  test('a refused subscription is the symbol alone, and can be asked for again', () => {
    const { session, listener } = open()
    session.opened()
    listener.sent.length = 0
    give(session, subscribed(8, 'tETHF0:USTF0'), snapshot(8, 1))
    give(session, error({ code: 10_300, symbol: 'tBTCUSD', subId: '0' }))
    assert.deepEqual(listener.failures.map(({ scope, symbol }) => [scope, symbol]), [
      ['symbol', 'BTCUSD'],
    ])
    assert.match(listener.failures[0].message, /"so it is", code 10300/)
    session.resync(0)
    give(session, subscribed(7, 'tBTCUSD'), snapshot(7, 2), update(8, 3))
    assert.deepEqual(requests(listener), ['subscribe tBTCUSD'])
    assert.deepEqual(listener.outputs.map(({ index }) => index), [1, 0, 1])
  })

  test('subscribed twice is an error only when it was asked for once', () => {
    const dup = error({ msg: 'subscribe: dup', code: 10_301, symbol: 'tBTCUSD' })
    const { session, listener } = started()
    give(session, dup)
    assert.deepEqual(listener.failures, [])
    const first = open()
    first.session.opened()
    give(first.session, dup)
    // A channel that nobody here knows can only be left with its socket.
    assert.deepEqual(first.listener.failures.map(({ scope }) => scope), ['connection'])
  })

  test('too many channels: says what to do', () => {
    const { session, listener } = started()
    give(session, error({ code: 10_305, symbol: 'tBTCUSD' }))
    assert.match(listener.failures[0].message, /fewer symbols per connection/)
    assert.equal(listener.failures[0].scope, 'symbol')
  })

  test('a subscription that the exchange ends', () => {
    const { session, listener } = started()
    give(session, unsubscribed(8), update(8, 3), update(7, 4), unsubscribed(99))
    assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [[1, 'stale']])
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0])
    assert.deepEqual(listener.sent, [], 'the feed paces it')
    session.resync(1)
    assert.deepEqual(requests(listener), ['subscribe tETHF0:USTF0'])
    give(session, error({ code: 10_300, symbol: 'tETHF0:USTF0' }))
    assert.equal(listener.failures[0].symbol, 'ETHF0:USTF0')
  })
})

describe('frames', () => {
  test('levels, nonce and times', () => {
    const { session, listener } = started()
    give(
      session,
      '[7,[[27752.05,2,0.00383141],[27753,1,-1.5],[27754,0,-1]],3,1767225600007]',
      '[7,[27752.05,0,1],4,1767225600008]',
    )
    assert.deepEqual(listener.outputs, [
      {
        kind: 'snapshot',
        index: 0,
        levels: [['bid', '27752.05', '0.00383141'], ['ask', '27753', '1.5'], ['ask', '27754', '0']],
        nonce: 3,
        timestampMs: 1_767_225_600_007,
        receivedUs: 1_000_000,
      },
      {
        kind: 'delta',
        index: 0,
        levels: [['bid', '27752.05', '0']],
        nonce: 4,
        timestampMs: 1_767_225_600_008,
        receivedUs: 1_000_000,
      },
    ])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('every legal spelling gives the same', () => {
    const canned = `[7,[[100.25,1,1],[7,12,-0.5]],3,${TIME}]`
    const reference = started()
    give(reference.session, canned)
    const spellings = [
      ` ${canned}\n`,
      canned.replaceAll(',', ' ,\t'),
      canned.replace('100.25', '100.25000000000000000000000'),
      canned.replace('100.25', '1.0025e2'),
      canned.replace('100.25', '0.10025E+003'),
      canned.replace('12', '12.0'),
      canned.replace('12', '1.2e1'),
      canned.replace('-0.5', '-5e-1'),
      canned.replace('[7,', '[7.0,'),
      canned.replace(',3,', ',3.0,'),
      canned.replace('12,-0.5', '12,-0.5,"more",null'),
      canned.replace(/]$/, ',{"more":[]}]'),
    ]
    for (const text of spellings) {
      const { session, listener } = started()
      give(session, text)
      assert.deepEqual(listener.outputs, reference.listener.outputs, text)
      assert.deepEqual(listener.failures, [])
    }
    for (const text of [canned, spellings[2], spellings[3]]) {
      const { session } = started()
      give(session, text)
      assert.equal(session.stats.scannerFallbacks, 0, `${text} is fast`)
    }
    const { session, listener } = started()
    give(session, ' [7,"\\u0068b",3]', ' [7, "cs", -1.5e1, 4]', '[7,"cs",-1.5e1,5]')
    assert.equal(listener.outputs.length, 2, 'the wrong checksum ended the book')
    assert.deepEqual(listener.outputs.map(({ timestampMs }) => timestampMs), [-1, -1])
    assert.equal(listener.checks, 1)
  })

  test('what cannot be read gives up the connection and every book', () => {
    const level = '[7,[100.25,1,0.5],3,1767225600007]'
    const broken = [
      '',
      'null',
      '7',
      '"hb"',
      '[]',
      '[7]',
      '[7,[100.25,1,0.5]',
      '[7,[100.25,1,0.5]]',
      '[7,3]',
      '[7,"hb"]',
      '[7,"hb","3"]',
      '[7,"hb",-3]',
      '[7,"hb",3.5]',
      '[7,"hb",9007199254740993]',
      '["7","hb",3]',
      '[-7,"hb",3]',
      '[7.5,"hb",3]',
      '[null,"hb",3]',
      '[7,"cs",3]',
      '[7,"cs","1",3]',
      '[7,"cs",1.5,3]',
      '[7,"cs",2147483648,3]',
      '[7,"cs",-2147483649,3]',
      '[7,"zz"]',
      '[7,[[100.25,1,0.5],7],3]',
      '[7,[[100.25,1,0.5],[]],3]',
      ...[
        ['100.25', '-100.25'],
        ['100.25', '"100.25"'],
        ['100.25', 'null'],
        ['100.25', '1e999'],
        ['100.25', '0100.25'],
        ['100.25', '100.'],
        ['100.25', '.25'],
        ['100.25', '+1'],
        ['100.25', 'NaN'],
        ['100.25', '1e'],
        ['100.25', '0x10'],
        [',1,', ',-1,'],
        [',1,', ',1.5,'],
        [',1,', ',"1",'],
        [',1,', ','],
        ['0.5', '0'],
        ['0.5', '-0'],
        ['0.5', '0.000'],
        ['0.5', '"0.5"'],
        ['0.5', '--0.5'],
        ['0.5', 'true'],
        [',1,0.5', ',0,0'],
      ].map(([from, to]) => level.replace(from, to)),
    ]
    for (const text of broken) {
      const { session, listener } = started()
      give(session, text)
      assert.deepEqual(
        listener.failures.map(({ code, scope }) => [code, scope]),
        [['E_DECODE', 'connection']],
        text,
      )
      assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [
        [0, 'gap'],
        [1, 'gap'],
      ])
      give(session, snapshot(7, 3), update(7, 4))
      assert.deepEqual(listener.outputs, [], text)
      assert.equal(listener.failures.length, 1, 'said once')
    }
    const { session, listener } = started()
    session.received(Uint8Array.from([0x5b, 0x22, 0xff, 0x22, 0x5d]), 1)
    assert.equal(listener.failures[0].code, 'E_DECODE', 'not UTF-8')
    const deep = started()
    give(deep.session, `[7,${'['.repeat(100_000)}${']'.repeat(100_000)},3]`)
    assert.equal(deep.listener.failures[0].code, 'E_DECODE', 'too deep')
  })

  test('numbers are exact to the last digit', () => {
    const numbers = [
      '7e-7',
      '6.6e-7',
      '1e-8',
      '1.2345e-7',
      '0.12345678901234567',
      '12345678901234567',
      '90071992.54740991',
      '90071992.54740992',
      '1e21',
      '123456789012345678901234567890.000000001',
      '0.00000000000000000000000000000000000000001',
      '5.000000000000000000000000000000',
    ]
    for (const text of ['', ' ']) {
      const { session, listener } = started()
      const levels = numbers.flatMap((number) => [`[${number},1,${number}]`, `[9,1,-${number}]`])
      give(session, `${text}[7,[${levels.join(',')},[${numbers[4]},0,1]],3,${TIME}]`)
      assert.deepEqual(listener.outputs[0].levels, [
        ...numbers.flatMap((number) => {
          const exact = canonicalDecimal(number)!
          return [['bid', exact, exact], ['ask', '9', exact]]
        }),
        ['bid', numbers[4], '0'],
      ])
      assert.equal(session.stats.scannerFallbacks, text.length)
    }
  })

  test('a whole book of 250 levels a side', () => {
    const { session, listener } = started()
    const levels = Array.from({ length: 500 }, (_, i): WireLevel => [
      i < 250 ? 'bid' : 'ask',
      (50_000 + i / 100).toFixed(2),
      (1 + i / 1e8).toFixed(8),
    ])
    give(session, snapshot(7, 3, levels))
    assert.equal(listener.books[0]!.size, 500)
    assert.equal(session.stats.scannerFallbacks, 0)
  })
})

describe('checksums', () => {
  /** Whether the session's own sum of this book is the documented one, to the bit. */
  function agrees(levels: readonly WireLevel[], scale: Instrument = BTC): boolean {
    const book: NaiveBook = new Map()
    for (const level of levels) applyLevel(book, ...level)
    const { session, listener } = open([scale])
    session.opened()
    give(session, subscribed(7, scale.wireSymbol), snapshot(7, 1, levels))
    give(session, frame(7, `"cs",${checksumText(book)}`, 2))
    assert.equal(listener.checks, 1)
    return listener.suspects.length === 0
  }

  test('of numbers as JavaScript prints them', () => {
    assert.ok(agrees([['bid', '0.0000007', '100'], ['ask', '0.000001', '0.00000099']]))
    assert.ok(agrees([['bid', '1', '0.00000001']]))
    assert.ok(agrees([['ask', '123456789012345680000', '1e21']]))
    assert.ok(agrees([['bid', '0.1', '9007.199254740993'], ['ask', '0.3', '1000000000000']]))
    assert.ok(agrees([]))
    const many = Array.from({ length: 60 }, (_, i): WireLevel => [
      i % 3 === 0 ? 'ask' : 'bid',
      i % 3 === 0 ? String(100 + i) : String(100 - i),
      `${i + 1}`,
    ])
    assert.ok(agrees(many))
    // By hand: text, separator and order.
    const text = '6000:1.5:6001:-2:5999:7e-7'
    const { session, listener } = open([BTC])
    session.opened()
    give(session, subscribed(7, 'tBTCUSD'))
    give(session, '[7,[[6000,1,1.5],[5999,1,7e-7],[6001,3,-2]],1]')
    give(session, frame(7, `"cs",${crc32(text) | 0}`, 2))
    assert.equal(listener.checks, 1)
    assert.deepEqual(listener.suspects, [])
  })

  test('of any book', () => {
    const number = fc.oneof(
      fc.tuple(fc.integer({ min: 1, max: 99_999 }), fc.integer({ min: -9, max: 6 }))
        .map(([digits, exponent]) => canonicalDecimal(`${digits}e${exponent}`)!),
      fc.integer({ min: 1, max: 2 ** 53 - 1 }).map((n) => canonicalDecimal(`${n}e-8`)!),
      fc.double({ min: 1e-8, max: 1e15, noNaN: true }).map((n) => canonicalDecimal(String(n))!),
    )
    const levels = fc.array(
      fc.tuple(fc.constantFrom('bid' as const, 'ask' as const), number, number),
      { maxLength: 70 },
    )
    fc.assert(
      fc.property(levels, fc.nat(16), fc.nat(10), (all, price, size) => {
        const scale = instrument('tBTCUSD', price, size)
        assert.ok(agrees(all, scale))
      }),
      { numRuns: 300 },
    )
  })

  test('the last of 25 levels counts, the next one does not', () => {
    const levels = Array.from({ length: 30 }, (_, i): WireLevel => ['bid', `${100 - i}`, '1'])
    for (const [changed, holds] of [[24, false], [25, true]] as const) {
      const book: NaiveBook = new Map()
      for (const level of levels) applyLevel(book, ...level)
      const { session, listener } = open([BTC])
      session.opened()
      give(session, subscribed(7, 'tBTCUSD'), snapshot(7, 1, levels))
      give(session, update(7, 2, ['bid', `${100 - changed}`, '2']))
      give(session, frame(7, `"cs",${checksumText(book)}`, 3))
      assert.equal(listener.suspects.length === 0, holds)
    }
  })
})

// -- the two routes

/** What both routes have to agree on. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const { session, listener } = open(instruments)
  session.opened()
  give(
    session,
    subscribed(7, instruments[0].wireSymbol),
    snapshot(7, 1),
    subscribed(8, instruments[1].wireSymbol),
    snapshot(8, 2),
  )
  session.received(bytes, 5)
  const live = listener.books.map((book) => book !== undefined)
  give(session, update(7, 4), update(8, 5), subscribed(9, 'tX'))
  return {
    outputs: listener.outputs,
    live,
    sent: listener.sent,
    checks: listener.checks,
    suspects: listener.suspects.map(({ index, reason }) => [index, reason]),
    failures: listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    retirements: listener.retirements.length,
    unknown: session.stats.unknownFrames,
    duplicates: session.stats.duplicates,
  }
}

const numberText = fc.oneof(
  fc.tuple(fc.nat(10_000_000), fc.nat(12)).map(([n, places]) => token(`${n}e-${places}`)),
  fc.bigInt({ min: 0n, max: 10n ** 24n }).map(String),
  fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 18n }), fc.bigInt({ min: 0n, max: 10n ** 18n }))
    .map(([a, b]) => `${a}.${b}`),
  fc.tuple(fc.nat(9), fc.nat(99_999), fc.integer({ min: -30, max: 30 }))
    .map(([a, b, c]) => `${a}.${b}e${c}`),
  fc.constantFrom(...['0', '-0', '0.000', '.5', '5.', '007', '1e-7', '1E+2', '1e999', '"1"', '1e']),
)
const levelOf = (number: fc.Arbitrary<string>) =>
  fc.tuple(number, fc.constantFrom('0', '1', '25', '1.0', '-1'), fc.boolean(), number)
    .map(([price, count, isAsk, size]) => `[${price},${count},${isAsk ? '-' : ''}${size}]`)
const payloadOf = (number: fc.Arbitrary<string>) =>
  fc.oneof(
    levelOf(number),
    fc.array(levelOf(number), { maxLength: 5 }).map((levels) => `[${levels.join(',')}]`),
    fc.constant('"hb"'),
    fc.integer({ min: -(2 ** 32), max: 2 ** 32 }).map((sum) => `"cs",${sum}`),
  )
const frameText = fc.record({
  channel: fc.constantFrom('7', '8', '9', '0', '7.0'),
  payload: payloadOf(numberText),
  sequence: fc.oneof(fc.constant('3'), fc.nat(6).map(String), fc.maxSafeNat().map(String)),
  end: fc.constantFrom(`,${TIME}]`, ']', `,${TIME},1]`, ',3]', ',-1]', ',"x"]', ''),
}).map(({ channel, payload, sequence, end }) => `[${channel},${payload},${sequence}${end}`)
const plainNumber = fc.tuple(fc.integer({ min: 1, max: 9_999_999 }), fc.nat(8))
  .map(([n, places]) => canonicalDecimal(`${n}e-${places}`)!)
const plainFrameText = fc.oneof(
  fc.tuple(plainNumber, fc.nat(9), fc.boolean(), plainNumber)
    .map(([price, count, isAsk, size]) => `[${price},${count},${isAsk ? '-' : ''}${size}]`),
  fc.constantFrom('"hb"', '"cs",-5', '[]', '[[100,1,1]]'),
).map((payload) => frame(7, payload, 3))
describeRoutes({
  story,
  instruments: [BTC, ETH],
  scaled: [BTC, instrument('tETHUSD')],
  frames: frameText,
  plain: plainFrameText,
  examples: [
    '[7,[78856.05,2,-0.0476177],3,1767225600007]',
    '[7,[[6e-7,0,1],[5,1,2]],3,1767225600007]',
    '[7,"cs",-1175357890,3,1767225600007]',
    '[7,"hb",3,1767225600007]',
  ],
  runs: { frames: 2000, wounded: 3000 },
  fallbacks: (text) => {
    const { session } = started()
    give(session, text)
    return session.stats.scannerFallbacks
  },
})

test('the JSON route sees every number as it is written', () => {
  const text = fc.oneof(
    numberText,
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  )
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (numbers) => {
      const legal = numbers.filter((number) => {
        const canonical = canonicalDecimal(number)
        return /^\d/.test(number) && isJson(number) && canonical !== undefined &&
          canonical !== '0'
      })
      const { session, listener } = started()
      const levels = legal.map((number) => `[${number},1,${number}]`)
      give(session, ` [7,[${levels.join(',')}],3]`)
      assert.deepEqual(listener.failures, [])
      assert.deepEqual(
        listener.outputs[0].levels,
        legal.map((number) => ['bid', canonicalDecimal(number), canonicalDecimal(number)]),
      )
    }),
    { numRuns: 300 },
  )
})

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

// -- recordings

interface Recorded {
  readonly raw: string
}

function recorded(name: string): string[] {
  return readFileSync(resolve(RECORDINGS, name), 'utf8').trim().split('\n')
    .map((line) => (JSON.parse(line) as Recorded).raw)
}

function symbolsOf(frames: readonly string[]): Instrument[] {
  return frames.filter((raw) => raw.includes('"subscribed"'))
    .map((raw) => instrument((JSON.parse(raw) as { symbol: string }).symbol, 8, 8))
}

/** The recordings were made with fewer settings. */
function withAllFlags(raw: string): string {
  return raw.startsWith('{"event":"conf"') ? raw.replace(/\d+(?=}$)/, String(FLAGS)) : raw
}

describe('recorded frames', { skip: !existsSync(RECORDINGS) }, () => {
  test("the sequence holds, every checksum holds, and the books are a naive model's", () => {
    for (
      const [name, checks] of [
        ['book-P0F0-len100-seq-20210417.book.jsonl', 0],
        ['derived-cs-20210417.jsonl', 322],
      ] as const
    ) {
      const frames = recorded(name).map(withAllFlags)
      const instruments = symbolsOf(frames)
      for (const prefix of ['', ' ']) {
        const { session, listener } = open(instruments, 100)
        session.opened()
        const truth = new Map<number, NaiveBook>()
        const channels: number[] = []
        let sequence = 0
        for (const raw of frames) {
          // Frames of channels that are none of ours were left out of the recording.
          const next = raw.startsWith('[') ? Number(/(\d+)\]$/.exec(raw)![1]) : 0
          while (++sequence < next) give(session, `[1,"hb",${sequence}]`)
          if (next === 0) sequence--
          give(session, prefix + raw)
          const message = JSON.parse(raw)
          if (message.event === 'subscribed') channels.push(message.chanId)
          if (!Array.isArray(message) || !Array.isArray(message[1])) continue
          const [channel, payload] = message as [number, number[] | number[][]]
          const isSnapshot = Array.isArray(payload[0])
          if (isSnapshot) truth.set(channel, new Map())
          for (const row of isSnapshot ? payload as number[][] : [payload as number[]]) {
            const [price, count, amount] = row
            const side = amount > 0 ? 'bid' : 'ask'
            const size = count === 0 ? '0' : String(Math.abs(amount))
            applyLevel(truth.get(channel)!, side, String(price), size)
          }
        }
        assert.deepEqual(listener.suspects, [])
        assert.deepEqual(listener.failures, [])
        assert.equal(listener.checks, checks)
        assert.deepEqual(listener.books, channels.map((channel) => truth.get(channel)))
        assert.equal(session.stats.duplicates, 0)
        assert.equal(session.stats.unknownFrames, 0)
        assert.equal(session.stats.scannerFallbacks > 0, prefix === ' ')
        for (const book of truth.values()) {
          // What leaves the window is deleted by the exchange: nothing is left beyond it.
          assert.ok([...book.keys()].filter((key) => key.startsWith('bid')).length <= 100)
          assert.ok([...book.keys()].filter((key) => key.startsWith('ask')).length <= 100)
        }
      }
    }
  })

  test('any one frame lost is noticed by all books', () => {
    const frames = recorded('derived-cs-20210417.jsonl').map(withAllFlags)
    const instruments = symbolsOf(frames)
    let lost = 0
    for (let drop = 0; drop < frames.length - 1; drop += drop < 60 ? 1 : 17) {
      if (frames[drop].startsWith('{')) continue
      lost++
      const suspects = new Set<number>()
      const ignore = () => {}
      const session = bitfinex.open(instruments, {
        send: ignore,
        snapshot: ignore,
        delta: ignore,
        refreshed: ignore,
        requestSnapshot: ignore,
        retire: ignore,
        suspect: (index) => suspects.add(index),
        fail: (error) => assert.fail(error.message),
      }, 100)
      session.opened()
      for (let i = 0; suspects.size === 0 && i < frames.length; i++) {
        if (i !== drop) give(session, frames[i])
        else assert.equal(suspects.size, 0)
      }
      assert.equal(suspects.size, instruments.length, `frame ${drop}`)
    }
    assert.ok(lost > 100)
  })

  test('a real checksum below one millionth', () => {
    // That connection had checksums alone: numbers are given to its frames.
    let sequence = 0
    const frames = recorded('checksum-vector-XRPBTC.jsonl').map(withAllFlags)
      .map((raw) => raw.replace('"subId":"1"', '"subId":"0"'))
      .map((raw) => raw.startsWith('[') ? `${raw.slice(0, -1)},${++sequence}]` : raw)
    for (const prefix of ['', ' ']) {
      const { session, listener } = open([instrument('tXRPBTC', 8, 8)], 25)
      session.opened()
      for (const raw of frames) give(session, prefix + raw)
      assert.equal(listener.checks, 1)
      assert.deepEqual(listener.suspects, [])
      assert.equal(listener.books[0]!.get('bid 0.0000007'), '10000')
    }
    const { session, listener } = open([instrument('tXRPBTC', 8, 8)], 25)
    session.opened()
    for (const raw of frames) give(session, raw.replace('-1175357890', '-1175357891'))
    assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['checksum'])
  })
})
