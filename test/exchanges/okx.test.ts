/** OKX v5: its numbered steps, its edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, type LevelChanges } from '../../src/core/changes.ts'
import { crc32 } from '../../src/core/checksum.ts'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { okx } from '../../src/exchanges/okx.ts'
import type { WireLevel } from './fixture.ts'
import { levelsOf, Listener } from './listener.ts'
import { bookText } from './okx.fixture.ts'
import { describeRoutes } from './routes.ts'
import { anyLevels, plainLevels, wound, wounded } from './wounds.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/okx/books-20220513.book.jsonl',
)

const encoder = new TextEncoder()

function instrument(symbol: string, priceDecimals = 2, sizeDecimals = 8): Instrument {
  return { symbol, wireSymbol: symbol.replace('/', '-'), priceDecimals, sizeDecimals }
}

const BTC = instrument('BTC/USDT')
const ETH = instrument('ETH/USDT')
const SWAP = { ...instrument('BTC/USDT:USDT', 1, 2), wireSymbol: 'BTC-USDT-SWAP' }

function open(...instruments: Instrument[]): { session: Session; listener: Listener } {
  const listener = new Listener(instruments, okx.depth!(0))
  return { session: okx.open(instruments, listener, 0), listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

const LEVELS: WireLevel[] = [['bid', '100.25', '1'], ['ask', '100.5', '2']]
const snapshot = (seqId: number, id = 'BTC-USDT', levels: WireLevel[] = LEVELS) =>
  bookText('snapshot', id, seqId, -1, levels)
const update = (prevSeqId: number, seqId: number, id = 'BTC-USDT', levels: WireLevel[] = []) =>
  bookText('update', id, seqId, prevSeqId, levels)
const event = (name: string, id: string) =>
  JSON.stringify({ event: name, arg: { channel: 'books', instId: id }, connId: '32f4414f' })
const error = (code: string, msg: string, more: Record<string, unknown> = {}) =>
  JSON.stringify({ event: 'error', code, msg, connId: '32f4414f', ...more })
const args = (...ids: string[]) => ids.map((instId) => ({ channel: 'books', instId }))

const reasons = (listener: Listener) =>
  listener.suspects.map(({ index, reason }) => [index, reason])

describe('steps', () => {
  test('1: everything in one message, spot and contracts together', () => {
    const { session, listener } = open(BTC, SWAP)
    session.opened()
    assert.deepEqual(listener.sent.map((text) => JSON.parse(text)), [
      { op: 'subscribe', args: args('BTC-USDT', 'BTC-USDT-SWAP') },
    ])
    session.opened()
    assert.equal(listener.sent.length, 1, 'once')
    give(session, event('subscribe', 'BTC-USDT'), event('subscribe', 'BTC-USDT-SWAP'))
    assert.equal(session.stats.unknownFrames, 0)
    assert.equal(okx.segment, undefined)
    assert.equal(okx.url([BTC]), okx.url([SWAP]))
  })

  test('1: very many are split, below 64 KB a message', () => {
    const many = Array.from(
      { length: 120 },
      (_, i) => instrument(`ALONGNAME${i}/USDT`),
    )
    const { session, listener } = open(...many)
    session.opened()
    const asked = listener.sent.map((text) => JSON.parse(text).args as { instId: string }[])
    assert.deepEqual(asked.map(({ length }) => length), [50, 50, 20])
    assert.deepEqual(
      asked.flat().map(({ instId }) => instId),
      many.map(({ wireSymbol }) => wireSymbol),
    )
    assert.ok(listener.sent.every((text) => text.length < 65_536))
  })

  test('2: the link is what counts, steps are irregular, and numbers may fall', () => {
    const { session, listener } = open(BTC, ETH)
    give(
      session,
      snapshot(100),
      snapshot(5000, 'ETH-USDT'),
      update(100, 107),
      update(5000, 5001, 'ETH-USDT'),
      update(107, 3),
      update(3, 4),
    )
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [100, 5000, 107, 5001, 3, 4])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('2: a missing link is a gap of that book alone, before anything is applied', () => {
    for (
      const frame of [
        update(108, 109, 'BTC-USDT', [['bid', '99', '1']]),
        update(106, 109),
        update(-1, 109),
        update(106, 108),
        update(108, 108),
      ]
    ) {
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(100), snapshot(5000, 'ETH-USDT'), update(100, 107), frame)
      assert.deepEqual(reasons(listener), [[0, 'gap']], frame)
      assert.match(listener.suspects[0].detail, /^prevSeqId -?\d+ was received, 107 was expected$/)
      assert.equal(listener.outputs.length, 3)
      give(session, update(109, 110), snapshot(111), update(5000, 5001, 'ETH-USDT'))
      assert.equal(listener.suspects.length, 1, 'said once')
      assert.equal(listener.outputs.length, 4, 'the other book goes on')
    }
  })

  test('2: a resync from inside the call that says suspect', () => {
    const { session, listener } = open(BTC)
    const suspect = listener.suspect.bind(listener)
    listener.suspect = (index, reason, detail) => {
      suspect(index, reason, detail)
      session.resync(index)
    }
    session.opened()
    give(session, snapshot(100), update(101, 102), update(102, 103))
    assert.equal(listener.outputs.length, 1)
    give(session, snapshot(200), update(200, 201))
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [100, 200, 201])
  })

  test('2: a snapshot that nobody asked for is believed when it is ahead', () => {
    const { session, listener } = open(BTC)
    give(session, snapshot(100), update(100, 107), snapshot(120), update(120, 121))
    assert.deepEqual(listener.outputs.map(({ kind }) => kind), [
      'snapshot',
      'delta',
      'snapshot',
      'delta',
    ])
    give(session, snapshot(100))
    assert.deepEqual(reasons(listener), [[0, 'gap']])
    assert.match(listener.suspects[0].detail, /seqId 100, the book is at 121/)
  })

  test('3: signs of life and repetitions', () => {
    const { session, listener } = open(BTC)
    give(session, snapshot(100), snapshot(100))
    assert.equal(session.stats.duplicates, 1)
    give(session, update(100, 100), update(100, 100), update(100, 107))
    assert.equal(session.stats.duplicates, 1, 'a sign of life is none')
    assert.equal(listener.outputs.length, 4)
    give(session, update(100, 107), update(107, 107), update(100, 107), snapshot(107))
    assert.equal(session.stats.duplicates, 4, 'also behind a sign of life')
    give(session, update(107, 20), update(107, 20), update(20, 20), update(107, 20))
    assert.equal(session.stats.duplicates, 6, 'also of a number that fell')
    give(session, update(20, 21))
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(
      listener.outputs.map(({ nonce }) => nonce),
      [100, 100, 100, 107, 107, 20, 20, 21],
    )
  })

  test('3: a sign of life that carries levels is applied', () => {
    const { session, listener } = open(BTC)
    give(session, snapshot(100), update(100, 100, 'BTC-USDT', [['bid', '100.25', '7']]))
    assert.equal(listener.books[0]!.get('bid 100.25'), '7')
  })

  test('4: the checksum of today means nothing beside seqId', () => {
    for (const checksum of ['0', '-855196043', '12345678901234']) {
      const { session, listener } = open(BTC)
      const as = (text: string) => text.replace('"checksum":0', `"checksum":${checksum}`)
      give(session, as(snapshot(100)), as(update(100, 101)))
      assert.equal(listener.outputs.length, 2)
      assert.equal(listener.checks, 0)
      assert.deepEqual(listener.suspects, [])
      assert.equal(session.stats.scannerFallbacks, 0)
    }
    const { session, listener } = open(BTC)
    give(session, snapshot(100).replace('"checksum":0,', ''), update(100, 101))
    assert.equal(listener.outputs.length, 2, 'absent')
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('4: without seqId the checksum is the proof', () => {
    const sum = (text: string) => crc32(encoder.encode(text)) | 0
    const first = sum('100.25:1:100.5:2:100:3')
    const old = (text: string, checksum: unknown) =>
      text.replace(/"checksum":0,"seqId":-?\d+,"prevSeqId":-?\d+/, `"checksum":${checksum}`)
    const whole: WireLevel[] = [...LEVELS, ['bid', '100.0', '3.00']]
    const change: WireLevel[] = [['bid', '100.25', '0'], ['ask', '100.5', '4']]
    {
      const { session, listener } = open(BTC)
      give(
        session,
        old(snapshot(1, 'BTC-USDT', whole), first),
        old(update(1, 2, 'BTC-USDT', change), sum('100:3:100.5:4')),
      )
      assert.equal(listener.checks, 2)
      assert.deepEqual(listener.suspects, [])
      assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [-1, -1])
      assert.equal(session.stats.scannerFallbacks, 0)
      give(session, old(update(2, 3), sum('100:3:100.5:5')))
      assert.deepEqual(reasons(listener), [[0, 'checksum']])
    }
    for (const checksum of [0, '"1"', 'null', '1.5']) {
      const { session, listener } = open(BTC)
      give(session, old(snapshot(1, 'BTC-USDT', whole), checksum))
      assert.deepEqual(reasons(listener), [[0, 'gap']], 'no proof at all')
      assert.deepEqual(listener.outputs, [])
    }
    for (
      const [one, other] of [[snapshot(1), old(update(1, 2), 7)], [
        old(snapshot(1), sum('100.25:1:100.5:2')),
        update(1, 2),
      ]]
    ) {
      const { session, listener } = open(BTC)
      give(session, one, other)
      assert.deepEqual(reasons(listener), [[0, 'gap']], 'one proof does not go on as another')
      assert.equal(listener.outputs.length, 1)
    }
  })

  test('5: resync is unsubscribe and subscribe of the instrument alone', () => {
    const { session, listener } = open(BTC, ETH)
    session.resync(0)
    assert.deepEqual(listener.sent, [])
    session.opened()
    give(session, snapshot(100), snapshot(5000, 'ETH-USDT'))
    session.resync(1)
    assert.deepEqual(listener.sent.slice(1).map((text) => JSON.parse(text)), [
      { op: 'unsubscribe', args: args('ETH-USDT') },
      { op: 'subscribe', args: args('ETH-USDT') },
    ])
    give(session, update(5000, 5001, 'ETH-USDT'), update(100, 101))
    assert.equal(listener.outputs.length, 3, 'nothing of it before its snapshot')
    session.resyncAll!([1, 0, 1])
    assert.deepEqual(listener.sent.slice(3).map((text) => JSON.parse(text)), [
      { op: 'unsubscribe', args: args('ETH-USDT', 'BTC-USDT') },
      { op: 'subscribe', args: args('ETH-USDT', 'BTC-USDT') },
    ])
    session.resyncAll!([])
    assert.equal(listener.sent.length, 5)
    give(session, snapshot(90), snapshot(6000, 'ETH-USDT'), update(90, 91))
    assert.equal(listener.outputs.length, 6, 'any snapshot is the answer')
    give(session, 'nonsense')
    session.resync(1)
    session.resyncAll!([0, 1])
    session.heartbeat!()
    session.heartbeat!()
    assert.equal(listener.sent.length, 5, 'nothing is sent on a socket that was given up')
  })

  test('5: of two resyncs each answer is believed, whatever its number', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, snapshot(100))
    session.resync(0)
    session.resync(0)
    const [level]: WireLevel[] = [['bid', '100', '3']]
    give(session, snapshot(100), snapshot(100, 'BTC-USDT', [level]))
    assert.deepEqual(listener.books[0], new Map([['bid 100', '3']]))
    give(session, snapshot(100), update(100, 101))
    assert.equal(session.stats.duplicates, 1, 'nobody asked for a third one')
    assert.equal(listener.outputs.length, 4)
    assert.deepEqual(listener.suspects, [])
  })

  test('5: an answer that was of no use has been given all the same', () => {
    for (const isReadable of [true, false]) {
      const { session, listener } = open(BTC)
      session.opened()
      const good = snapshot(100)
      if (isReadable) {
        // Lost before its snapshot comes.
        give(session, update(-1, 1).replace('"bids":[]', '"bids":7'), good)
      } else {
        give(session, good.replace('"bids":[', '"bids":[7,'))
      }
      assert.deepEqual(reasons(listener), [[0, 'gap']])
      session.resync(0)
      give(session, snapshot(200), update(200, 201), snapshot(200))
      assert.deepEqual(listener.outputs.map(({ kind, nonce }) => [kind, nonce]), [
        ['snapshot', 200],
        ['delta', 201],
      ])
      assert.deepEqual(reasons(listener), [[0, 'gap'], [0, 'gap']], 'nobody asked for another one')
    }
  })

  test('5: what was refused is asked for without an unsubscribe', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, error('60018', "channel:books,instId:ETH-USDT doesn't exist"))
    session.resyncAll!([0, 1])
    assert.deepEqual(listener.sent.slice(1).map((text) => JSON.parse(text)), [
      { op: 'unsubscribe', args: args('BTC-USDT') },
      { op: 'subscribe', args: args('BTC-USDT', 'ETH-USDT') },
    ])
    give(session, snapshot(1, 'ETH-USDT'))
    assert.equal(listener.outputs.length, 1)
  })

  test('5: the requests of an hour are counted: a new socket before the exchange refuses', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    let rounds = 0
    while (listener.failures.length === 0 && rounds < 1000) {
      session.resyncAll!([0, 1])
      rounds++
    }
    assert.deepEqual(
      listener.failures.map(({ code, scope, retryAfterMs }) => [code, scope, retryAfterMs]),
      [['E_RATE_LIMITED', 'connection', undefined]],
    )
    assert.match(listener.failures[0].message, /within an hour.*480/)
    assert.ok(listener.sent.length > 400 && listener.sent.length < 480, `${listener.sent.length}`)
  })

  test('5: what is older than an hour does not count', () => {
    const { session, listener } = open(BTC)
    session.opened()
    const hour = 3_600_000 / session.heartbeatMs!
    const sent = () => listener.sent.filter((text) => text !== 'ping').length
    for (let beat = 0; beat < 5 * hour; beat++) {
      if (beat % 2 === 0) session.resync(0)
      session.heartbeat!()
    }
    assert.ok(sent() > 1500)
    assert.deepEqual(listener.failures, [])
    // Twice as fast is too fast, though not at once.
    let beats = 0
    for (; listener.failures.length === 0 && beats < 2 * hour; beats++) {
      session.resync(0)
      session.heartbeat!()
    }
    assert.ok(beats > 10 && beats < hour, `${beats}`)
  })

  test('6: the exchange hears of the client every 20 s, whatever the client hears', () => {
    const { session, listener } = open(BTC)
    session.heartbeat!()
    assert.deepEqual(listener.sent, [], 'not before the socket is open')
    session.opened()
    assert.ok(2 * session.heartbeatMs! <= 20_000)
    session.heartbeat!()
    assert.equal(listener.sent.length, 1, 'a subscription was sent')
    for (let i = 0; i < 3; i++) {
      // Frames that were sent long ago may still be coming in.
      give(session, update(i, i + 1), 'pong')
      session.heartbeat!()
    }
    assert.deepEqual(listener.sent.slice(1), ['ping', 'ping', 'ping'])
    assert.deepEqual(session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
    assert.deepEqual(listener.failures, [])
  })

  test('7: the exchange says that it will close the socket', () => {
    const { session, listener } = open(BTC)
    const notice = (code: string) =>
      JSON.stringify({
        event: 'notice',
        code,
        msg: 'The connection will soon be closed',
        connId: 'a',
      })
    give(session, snapshot(100), notice('64008'), notice('64008'), update(100, 101))
    assert.equal(listener.retirements.length, 1)
    assert.match(listener.retirements[0], /soon be closed.*64008/)
    assert.equal(listener.outputs.length, 2, 'the book goes on')
    give(session, notice('64999'))
    assert.equal(session.stats.unknownFrames, 1)
    assert.equal(listener.retirements.length, 1)
  })

  test('7: an instrument that the exchange unsubscribes is stale', () => {
    const { session, listener } = open(BTC, ETH)
    session.opened()
    give(session, event('subscribe', 'BTC-USDT'), event('subscribe', 'ETH-USDT'))
    give(session, snapshot(100), snapshot(5000, 'ETH-USDT'))
    give(session, event('unsubscribe', 'BTC-USDT'))
    assert.deepEqual(reasons(listener), [[0, 'stale']])
    give(session, event('unsubscribe', 'BTC-USDT'), update(100, 101))
    assert.equal(listener.suspects.length, 1, 'said once')
    session.resync(0)
    assert.deepEqual(listener.sent.slice(1).map((text) => JSON.parse(text).op), ['subscribe'])
    give(session, event('subscribe', 'BTC-USDT'), snapshot(100))
    assert.equal(listener.outputs.length, 3)
  })

  test('7: the same when its acknowledgement never came', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, snapshot(100), event('unsubscribe', 'BTC-USDT'))
    assert.deepEqual(reasons(listener), [[0, 'stale']])
  })

  test('7: an unsubscription that was asked for is not, unless it is the last word', () => {
    const { session, listener } = open(BTC)
    session.opened()
    give(session, event('subscribe', 'BTC-USDT'), snapshot(100))
    session.resync(0)
    give(session, snapshot(100), event('unsubscribe', 'BTC-USDT'), event('subscribe', 'BTC-USDT'))
    give(session, snapshot(100), update(100, 101))
    assert.deepEqual(listener.suspects, [])
    session.resync(0)
    // The wrong way round: what remains is an unsubscription.
    give(session, event('subscribe', 'BTC-USDT'), snapshot(103), event('unsubscribe', 'BTC-USDT'))
    assert.deepEqual(reasons(listener), [[0, 'stale']])
  })
})

describe('messages', () => {
  test('of any other kind are passed over', () => {
    const { session, listener } = open(BTC)
    give(
      session,
      '{"event":"channel-conn-count","channel":"books","connCount":"2","connId":"32f4414f"}',
      event('subscribe', 'ETH-USDT'),
      event('unsubscribe', 'ETH-USDT'),
      '{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"}}',
      ' pong\n',
    )
    assert.equal(session.stats.unknownFrames, 0)
    const unknown = [
      '{}',
      '{"event":"login","code":"0"}',
      '{"event":7}',
      '{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"last":"1"}]}',
      '{"arg":{"channel":"books5","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[]}]}',
      '{"arg":null,"action":"update","data":[]}',
      snapshot(1, 'XRP-USDT'),
      snapshot(1, 'BTC-USDT-SWAP'),
      '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[]}',
    ]
    give(session, ...unknown)
    assert.equal(session.stats.unknownFrames, unknown.length)
    assert.deepEqual(listener.outputs, [])
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.failures, [])
  })

  test('errors: symbols that they name, else the connection', () => {
    const table: [string, string, string, (string | undefined)[]][] = [
      [error('60018', "channel:books,instId:ETH-USDT doesn't exist"), 'E_SUBSCRIBE', 'symbol', [
        'ETH/USDT',
      ]],
      [error('60018', 'books:BTC-USDT,books:ETH-USDT'), 'E_SUBSCRIBE', 'symbol', [
        'BTC/USDT',
        'ETH/USDT',
      ]],
      [error('60018', 'no', { arg: args('ETH-USDT')[0] }), 'E_SUBSCRIBE', 'symbol', ['ETH/USDT']],
      [error('60018', "channel:books,instId:BTC-USD doesn't exist"), 'E_SUBSCRIBE', 'connection', [
        undefined,
      ]],
      [
        error('60012', 'Invalid request: {"args":[{"instId":"BTC-USDT"}]}'),
        'E_SUBSCRIBE',
        'connection',
        [undefined],
      ],
      [error('60012', 'Invalid request: too many, exceeded'), 'E_SUBSCRIBE', 'connection', [
        undefined,
      ]],
      [error('60014', 'BTC-USDT'), 'E_RATE_LIMITED', 'connection', [undefined]],
      [error('60099', 'The limit of 480 is exceeded'), 'E_RATE_LIMITED', 'connection', [undefined]],
      ['{"event":"error"}', 'E_SUBSCRIBE', 'connection', [undefined]],
      ['{"event":"error","code":60018,"msg":["ETH-USDT"]}', 'E_SUBSCRIBE', 'symbol', ['ETH/USDT']],
      [
        '{"event":"channel-conn-count-error","channel":"books","connCount":"30"}',
        'E_SUBSCRIBE',
        'connection',
        [undefined],
      ],
    ]
    for (const [text, code, scope, symbols] of table) {
      const { session, listener } = open(BTC, ETH)
      session.opened()
      give(session, snapshot(100), snapshot(5000, 'ETH-USDT'), text)
      assert.deepEqual(
        listener.failures.map((e) => [e.code, e.scope, e.symbol]),
        symbols.map((symbol) => [code, scope, symbol]),
        text,
      )
      assert.equal((listener.failures[0].retryAfterMs ?? 0) > 0, code === 'E_RATE_LIMITED', text)
      give(session, update(100, 101), update(5000, 5001, 'ETH-USDT'))
      const others = scope === 'symbol' ? 2 - symbols.length : 0
      assert.equal(listener.outputs.length, 2 + others, text)
      assert.equal(listener.failures.length, symbols.length, 'said once')
    }
  })
})

/** A frame of a book that no double can number. */
const LONG = '9007199254740993'
const LONGER = '9007199254740995'
const renumber = (text: string, seqId: string, prevSeqId: string) =>
  text.replace(/"seqId":-?\d+/, `"seqId":${seqId}`).replace(
    /"prevSeqId":-?\d+/,
    `"prevSeqId":${prevSeqId}`,
  )

describe('frames', () => {
  test('levels, nonce and times', () => {
    const { session, listener } = open(BTC)
    const levels: WireLevel[] = [['bid', '78722.2', '0.38699412'], ['ask', '78722.30', '0']]
    give(session, snapshot(80274874800, 'BTC-USDT', levels))
    assert.deepEqual(listener.outputs, [{
      kind: 'snapshot',
      index: 0,
      levels: [['ask', '78722.3', '0'], ['bid', '78722.2', '0.38699412']],
      nonce: 80274874800,
      timestampMs: 1787612486107,
      receivedUs: 1_000_000,
    }])
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('both known orders of the sequences are fast', () => {
    const { session, listener } = open(BTC)
    const swap = (text: string) => text.replace(/("seqId":-?\d+),("prevSeqId":-?\d+)/, '$2,$1')
    give(session, swap(snapshot(100)), swap(update(100, 101)), update(101, 102))
    assert.equal(listener.outputs.length, 3)
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('every legal spelling gives the same', () => {
    const canned = snapshot(100)
    const reference = open(BTC)
    give(reference.session, canned)
    const { arg, action, data: [entry] } = JSON.parse(canned)
    const { asks, bids, ...rest } = entry
    const spellings = [
      JSON.stringify(JSON.parse(canned), null, 2),
      ` ${canned}\n`,
      JSON.stringify({ data: [entry], action, arg }),
      JSON.stringify({ arg: { instId: 'BTC-USDT', channel: 'books' }, action, data: [entry] }),
      JSON.stringify({ arg: { ...arg, more: 1 }, action, data: [entry] }),
      JSON.stringify({ arg, action, data: [{ ...rest, asks, bids, more: { x: null } }] }),
      canned.replace('BTC-USDT', 'BTC\\u002dUSDT'),
      canned.replace('"100.25"', '"100.2500000000000000000"'),
      canned.replace('"100.25"', '"1.0025e2"'),
      canned.replace('"100.25"', '"+0100.25"'),
      canned.replace('"1","0","1"', '"1","0","1","more"'),
      canned.replace('"1","0","1"', '"1"'),
      canned.replace('"1","0","1"', '"1",null,[]'),
      canned.replace('"seqId":100', '"seqId":1e2'),
      canned.replace('"seqId":100', '"seqId":"100"'),
      canned.replace('"ts":"1787612486107"', '"ts":"1787612486107.0"'),
    ]
    for (const text of spellings) {
      const { session, listener } = open(BTC)
      give(session, text)
      const sorted = (from: Listener) =>
        from.outputs.map((output) => ({ ...output, levels: output.levels.toSorted() }))
      assert.deepEqual(sorted(listener), sorted(reference.listener), text)
      assert.deepEqual(listener.failures, [])
      const isFast = text.includes('100.250000') || text.includes('107.0')
      assert.equal(session.stats.scannerFallbacks, isFast ? 0 : 1, text)
    }
  })

  test('a time that is none is no time', () => {
    for (const ts of ['""', '"soon"', '"-1"', '"1.5"', 'null', '1787612486107']) {
      const { session, listener } = open(BTC)
      give(session, snapshot(100).replace('"1787612486107"', ts))
      assert.equal(listener.outputs[0].timestampMs, -1, ts)
    }
  })

  test('several entries in one frame are one change', () => {
    const join = (...texts: string[]) => {
      const messages = texts.map((text) => JSON.parse(text))
      return JSON.stringify({ ...messages[0], data: messages.flatMap(({ data }) => data) })
    }
    const { session, listener } = open(BTC)
    give(
      session,
      snapshot(100),
      join(
        update(100, 101, 'BTC-USDT', [['bid', '99', '1'], ['bid', '98', '1']]),
        update(101, 105, 'BTC-USDT', [['bid', '99', '0']]),
      ),
      update(105, 106),
    )
    assert.deepEqual(listener.outputs.map(({ nonce }) => nonce), [100, 105, 106])
    assert.equal(listener.books[0]!.has('bid 99'), false)
    assert.equal(listener.books[0]!.get('bid 98'), '1')
    give(session, join(update(106, 107), update(108, 109)))
    assert.deepEqual(reasons(listener), [[0, 'gap']])
    assert.match(listener.suspects[0].detail, /do not follow each other/)
  })

  test('what cannot be read gives up its own book, or the connection when it says not which', () => {
    const canned = update(100, 101, 'BTC-USDT', [['bid', '99', '5']])
    const broken = [
      ['"seqId":101,', ''],
      [',"prevSeqId":100', ''],
      ['"seqId":101', '"seqId":-1'],
      ['"seqId":101', '"seqId":101.5'],
      ['"seqId":101', '"seqId":null'],
      ['"seqId":101', '"seqId":"0101"'],
      ['"seqId":101', '"seqId":1e300'],
      ['"prevSeqId":100', '"prevSeqId":-2'],
      ['"prevSeqId":100', '"prevSeqId":[]'],
      ['"update"', '"patch"'],
      ['"action":"update",', ''],
      ['"data":[', '"data":[7,'],
      ['"data":[', '"datum":['],
      ['"asks":[]', '"asks":{}'],
      ['"asks":[]', '"ask":[]'],
      ['"bids":[', '"bids":[7,'],
      ['"bids":[', '"bids":[[],'],
      ['"5"', '"-5"'],
      ['"5"', '"NaN"'],
      ['"5"', '""'],
      ['"5"', '5'],
      ['"5"', 'null'],
      ['"99"', '"-99"'],
      ['"99"', '"0x10"'],
      ['"99"', '99'],
    ].map(([from, to]) => canned.replace(from, to))
    for (const text of broken) {
      assert.notEqual(text, canned)
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(100), snapshot(5000, 'ETH-USDT'), text, update(100, 101))
      assert.deepEqual(reasons(listener), [[0, 'gap']], text)
      give(session, text, update(5000, 5001, 'ETH-USDT'))
      assert.equal(listener.suspects.length, 1, 'said once')
      assert.deepEqual(listener.outputs.map(({ index }) => index), [0, 1, 1], text)
      assert.deepEqual(listener.failures, [])
    }
    for (const text of ['', 'null', '[]', 'pon', 'ping', canned.slice(0, -1), '7']) {
      const { session, listener } = open(BTC, ETH)
      give(session, snapshot(100), text, update(100, 101), 'nonsense')
      assert.deepEqual(
        listener.failures.map(({ code, scope }) => [code, scope]),
        [['E_DECODE', 'connection']],
        text,
      )
      assert.equal(listener.outputs.length, 1)
    }
    const { session, listener } = open(BTC)
    session.received(Uint8Array.from([0x22, 0xff, 0x22]), 1)
    assert.equal(listener.failures[0].code, 'E_DECODE', 'not UTF-8')
  })

  test('numbers beyond 2^53 are followed to the last digit', () => {
    const { session, listener } = open(BTC)
    const texts: (string | undefined)[] = []
    for (const kind of ['snapshot', 'delta'] as const) {
      const inner = listener[kind].bind(listener)
      listener[kind] = (index: number, changes: LevelChanges) => {
        texts.push(changes.nonceText)
        inner(index, changes)
      }
    }
    give(
      session,
      renumber(snapshot(1), LONG, '-1'),
      renumber(update(1, 1), LONG, LONG),
      renumber(update(1, 1), LONGER, LONG),
      renumber(update(1, 1), LONGER, LONG),
      renumber(update(1, 1), '7', LONGER),
      update(7, 8),
    )
    assert.equal(listener.suspects.length, 0)
    assert.deepEqual(texts, [LONG, LONG, LONGER, undefined, undefined])
    assert.equal(session.stats.duplicates, 1)
    // Equal as doubles, and yet not the same: no link, and no repetition either.
    const near = '9007199254740992'
    assert.equal(Number(near), Number(LONG))
    for (const [seqId, prevSeqId] of [[LONGER, near], [near, '8']]) {
      const other = open(BTC)
      give(other.session, snapshot(8), renumber(update(1, 1), LONG, '8'))
      give(other.session, renumber(update(1, 1), seqId, prevSeqId))
      assert.deepEqual(reasons(other.listener), [[0, 'gap']])
      assert.match(other.listener.suspects[0].detail, / was received, 9007199254740993 was/)
    }
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
    ]
    const levels = values.flatMap((value): WireLevel[] => [
      ['bid', value, value],
      ['bid', '100.5', value],
      ['bid', value, '1'],
    ])
    give(session, snapshot(1, 'BTC-USDT', levels), update(1, 2))
    assert.deepEqual(
      listener.outputs[0].levels,
      levels.map(([side, price, size]) => [side, canonicalDecimal(price), canonicalDecimal(size)]),
    )
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('depth: 400 levels a side at most', () => {
    assert.deepEqual(okx.depth!(0), { view: 400, kept: 400 })
    assert.deepEqual(okx.depth!(50), { view: 50, kept: 400 })
    assert.deepEqual(okx.depth!(400), { view: 400, kept: 400 })
    assert.deepEqual(okx.depth!(5000), { view: 400, kept: 400 })
  })
})

/** What both routes have to agree on. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const listener = new Listener(instruments)
  const session = okx.open(instruments, listener, 0)
  give(session, snapshot(100), snapshot(5000, 'ETH-USDT'))
  session.received(bytes, 5)
  const live = listener.books.map((book) => book !== undefined)
  give(session, update(103, 104), update(5003, 5004, 'ETH-USDT'))
  return {
    outputs: listener.outputs,
    live,
    checks: listener.checks,
    suspects: reasons(listener),
    failures: listener.failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    unknown: session.stats.unknownFrames,
    duplicates: session.stats.duplicates,
  }
}

const sequence = fc.oneof(
  fc.constantFrom('100', '103', '5000', '-1', LONG, '999999999999999', '1000000000000000'),
  fc.nat(5).map(String),
)
const proof = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('"checksum":0,"seqId":S,"prevSeqId":P') },
  fc.constantFrom(
    '"checksum":-7,"prevSeqId":P,"seqId":S',
    '"seqId":S,"prevSeqId":P',
    '"checksum":0',
    '"checksum":-914047754',
    '"checksum":-0,"seqId":S,"prevSeqId":P',
    '"checksum":0,"seqId":S',
    '"checksum":1.5,"prevSeqId":P,"seqId":S',
  ),
)
const frameText = fc.record({
  action: fc.constantFrom('snapshot' as const, 'update' as const),
  id: fc.constantFrom('BTC-USDT', 'ETH-USDT', 'ETH-USDT-SWAP', 'XRP-USDT'),
  seqId: sequence,
  prevSeqId: sequence,
  levels: anyLevels,
  ts: fc.constantFrom(
    '1787612486107',
    '0',
    '1787612486107.0',
    '0178',
    '1e3',
    '17876124861071787612',
  ),
  proof,
}).map(({ action, id, seqId, prevSeqId, levels, ts, proof }) =>
  bookText(action, id, 0, 0, levels).replace('1787612486107', ts)
    .replace(
      '"checksum":0,"seqId":0,"prevSeqId":0',
      proof.replace('S', seqId).replace('P', prevSeqId),
    )
)
const plainFrameText = fc.record({
  isSnapshot: fc.boolean(),
  levels: plainLevels,
}).map(({ isSnapshot, levels }) =>
  isSnapshot ? snapshot(103, 'BTC-USDT', levels) : update(100, 103, 'BTC-USDT', levels)
)
describeRoutes({
  story,
  instruments: [BTC, ETH],
  frames: frameText,
  plain: plainFrameText,
  examples: [
    update(100, 103, 'BTC-USDT', [['bid', '78856.05', '0.0476177'], ['ask', '9', '0']]),
  ],
  runs: { frames: 600, wounded: 1200 },
  fallbacks: (text) => {
    const { session } = open(BTC)
    give(session, text)
    return session.stats.scannerFallbacks
  },
})

/** The recording's frames of `books` by instrument, in their order. */
function recorded(): Map<Instrument, Uint8Array[]> {
  const instruments = [
    instrument('BTC/USDT', 1, 8),
    instrument('BTC/USD:BTC-220527', 1, 0),
    instrument('UNI/USD:UNI', 3, 0),
  ].map((one, i) => ({ ...one, wireSymbol: ['BTC-USDT', 'BTC-USD-220527', 'UNI-USD-SWAP'][i] }))
  const texts = readFileSync(RECORDING, 'utf8').trim().split('\n')
    .map((line) => JSON.parse(line).raw as string).filter((text) => text.includes('"action"'))
  return new Map(instruments.map((one) => [
    one,
    texts.filter((text) => text.includes(`"${one.wireSymbol}"`)).map((text) =>
      encoder.encode(text)
    ),
  ]))
}

interface Replay {
  /** Position of the first frame whose checksum did not hold; -1: all did. */
  readonly failed: number
  readonly checks: number
  readonly levels: [string, string][][]
}

/** One instrument's life with the project's own book, without the frame `lost`. */
function replay(one: Instrument, frames: readonly Uint8Array[], lost = -1, prefix = ''): Replay {
  const book = new Book(one.priceDecimals, one.sizeDecimals, 400, 400)
  let position = 0
  let failed = -1
  let checks = 0
  const check = (changes: LevelChanges) => {
    assert.ok(changes.check !== undefined)
    checks++
    if (!changes.check.holds(book) && failed < 0) failed = position
  }
  const session = okx.open([one], {
    send: () => assert.fail(),
    snapshot: (_, changes) => {
      book.load(changes)
      check(changes)
    },
    delta: (_, changes) => {
      book.apply(changes)
      assert.ok(!book.isCrossed() || lost >= 0)
      check(changes)
    },
    refreshed: () => assert.fail(),
    suspect: (_, __, detail) => assert.fail(detail),
    requestSnapshot: () => assert.fail(),
    retire: () => assert.fail(),
    fail: (e) => assert.fail(e.message),
  }, 0)
  const space = encoder.encode(prefix)
  for (; position < frames.length; position++) {
    if (position === lost) continue
    // Seen: what comes after does not matter.
    if (lost > 0 && failed > 0) break
    const frame = frames[position]
    session.received(prefix === '' ? frame : Uint8Array.from([...space, ...frame]), 1)
  }
  assert.equal(session.stats.scannerFallbacks, prefix === '' ? 0 : frames.length)
  return { failed, checks, levels: [book.levels(ASK), book.levels(BID)] }
}

describe('recorded frames', { skip: !existsSync(RECORDING) }, () => {
  test('every checksum holds, by either route', () => {
    let checks = 0
    for (const [one, frames] of recorded()) {
      const whole = replay(one, frames)
      assert.equal(whole.failed, -1)
      assert.ok(whole.levels.every((side) => side.length > 50 && side.length <= 400))
      checks += whole.checks
      assert.deepEqual(replay(one, frames, -1, ' '), whole)
    }
    assert.equal(checks, 290)
  })

  test('any one frame lost: the checksum shows it, or it was mended where none looks', () => {
    let shown = 0
    let mended = 0
    for (const [one, frames] of recorded()) {
      const whole = replay(one, frames)
      assert.equal(replay(one, frames, 0).checks, 0, 'no book without its snapshot')
      for (let lost = 1; lost < frames.length - 1; lost++) {
        const { failed, levels } = replay(one, frames, lost)
        if (failed > 0) {
          shown++
        } else {
          assert.deepEqual(levels, whole.levels, `frame ${lost}`)
          mended++
        }
      }
    }
    assert.ok(shown > 20 * mended, `${shown} shown, ${mended} mended`)
  })

  test('both routes agree on any of them, wounded or not', () => {
    for (const [one, frames] of recorded()) {
      const tell = (first: Uint8Array, bytes: Uint8Array): unknown[] => {
        const told: unknown[] = []
        const take = (kind: string) => (_: number, changes: LevelChanges) => {
          const { check, nonce, timestampMs } = changes
          told.push([kind, levelsOf(changes, one), nonce, timestampMs, check !== undefined])
        }
        const session = okx.open([one], {
          send: () => assert.fail(),
          snapshot: take('snapshot'),
          delta: take('delta'),
          refreshed: () => assert.fail(),
          suspect: (_, reason) => told.push(reason),
          requestSnapshot: () => assert.fail(),
          retire: (detail) => told.push(detail),
          fail: ({ code }) => told.push(code),
        }, 0)
        session.received(first, 1)
        told.length = 0
        session.received(bytes, 2)
        told.push(session.stats.unknownFrames)
        return told
      }
      const space = encoder.encode(' ')
      fc.assert(
        fc.property(
          fc.nat(frames.length - 1),
          fc.array(wound, { maxLength: 2 }),
          (position, all) => {
            const bytes = wounded(frames[position], all)
            const slow = Uint8Array.from([...space, ...bytes])
            assert.deepEqual(tell(frames[0], bytes), tell(frames[0], slow))
          },
        ),
        { numRuns: 150 },
      )
    }
  })

  test('with sequences instead, any one frame lost is a gap at the very next one', () => {
    for (const [one, frames] of recorded()) {
      const texts = frames.map((frame, i) =>
        new TextDecoder().decode(frame).replace(
          /"checksum":-?\d+/,
          `"checksum":0,"seqId":${1000 + 7 * i},"prevSeqId":${i === 0 ? -1 : 993 + 7 * i}`,
        )
      )
      for (let lost = 1; lost < frames.length - 1; lost += 10) {
        const listener = new Listener([one], okx.depth!(0))
        const session = okx.open([one], listener, 0)
        give(session, ...texts.slice(0, lost), texts[lost + 1])
        assert.deepEqual(reasons(listener), [[0, 'gap']])
        assert.equal(listener.outputs.length, lost)
        assert.equal(session.stats.scannerFallbacks, 0)
      }
    }
  })
})
