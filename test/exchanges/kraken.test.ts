/** Kraken: subscriptions, the checksum, edge frames, and the two routes that must agree. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, type LevelChanges } from '../../src/core/changes.ts'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session, SessionOutput } from '../../src/exchanges/adapter.ts'
import { kraken } from '../../src/exchanges/kraken.ts'
import type { WireLevel } from './fixture.ts'
import { bookText, checksumOf, levelsIn } from './kraken.fixture.ts'
import { applyLevel, bestOf, Listener, type NaiveBook } from './listener.ts'
import { describeRoutes } from './routes.ts'

const RECORDING = resolve(
  import.meta.dirname!,
  '../../../shared/recordings/kraken/derived-v2-book1000-20210417.jsonl',
)

const encoder = new TextEncoder()

function instrument(symbol: string, priceDecimals = 1, sizeDecimals = 8): Instrument {
  return { symbol, wireSymbol: symbol, priceDecimals, sizeDecimals }
}

const BTC = instrument('BTC/USD')
const PEPE = instrument('PEPE/EUR', 9, 2)

interface Opened {
  readonly session: Session
  readonly listener: Listener
}

/** A socket that subscribed. */
function open(instruments: readonly Instrument[], wanted = 1000): Opened {
  const listener = new Listener(instruments, kraken.depth!(wanted))
  const session = kraken.open(instruments, listener, wanted)
  session.opened()
  return { session, listener }
}

function give(session: Session, ...texts: string[]): void {
  for (const text of texts) session.received(encoder.encode(text), 1_000_000)
}

function firstSuspect(listener: Listener): Listener['suspects'][number] {
  return listener.suspects[0]
}

/** A market that tells of itself in right frames. */
class Market {
  readonly instrument: Instrument
  readonly book: NaiveBook = new Map()
  #time = 0

  constructor(instrument: Instrument, levels: readonly WireLevel[] = []) {
    this.instrument = instrument
    for (const level of levels) applyLevel(this.book, ...level)
  }

  get #timestamp(): string {
    return `2026-08-24T22:21:57.${String(this.#time++).padStart(6, '0')}Z`
  }

  snapshot(): string {
    const checksum = checksumOf(this.book, this.instrument)
    return bookText('snapshot', this.instrument, levelsIn(this.book), checksum, this.#timestamp)
  }

  update(...levels: WireLevel[]): string {
    for (const level of levels) applyLevel(this.book, ...level)
    const checksum = checksumOf(this.book, this.instrument)
    return bookText('update', this.instrument, levels, checksum, this.#timestamp)
  }
}

const LEVELS: readonly WireLevel[] = [
  ['bid', '100.5', '1'],
  ['bid', '100.4', '0.5'],
  ['ask', '101', '2'],
]
const btc = (levels = LEVELS) => new Market(BTC, levels)
const pepe = () => new Market(PEPE, [['bid', '0.00000051', '7000000'], ['ask', '0.000000511', '1']])

const requests = (listener: Listener) => listener.sent.map((text) => JSON.parse(text))
const ack = (method: string, symbol: string, depth = 1000) =>
  `{"method":"${method}","result":{"channel":"book","depth":${depth},"symbol":"${symbol}"},` +
  '"success":true,"time_in":"2026-08-24T22:21:56Z","time_out":"2026-08-24T22:21:56Z"}'
const error = (text: string, method = 'subscribe', symbol?: string) =>
  JSON.stringify({ error: text, method, success: false, symbol })
const status = (system: string) =>
  `{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"${system}",` +
  '"api_version":"v2","connection_id":17843232920108168701}]}'

describe('subscriptions', () => {
  test('all symbols in lists, with the smallest depth that will do', () => {
    for (
      const [wanted, kept, view] of [
        [1, 10, 1],
        [10, 10, 10],
        [11, 25, 11],
        [100, 100, 100],
        [101, 500, 101],
        [501, 1000, 501],
        [1000, 1000, 1000],
        [1001, 1000, 1000],
        [5000, 1000, 1000],
        [0, 1000, 1000],
      ]
    ) {
      assert.deepEqual(kraken.depth!(wanted), { view, kept })
      const { session, listener } = open([BTC, PEPE], wanted)
      session.opened()
      assert.deepEqual(requests(listener), [{
        method: 'subscribe',
        params: {
          channel: 'book',
          symbol: ['BTC/USD', 'PEPE/EUR'],
          depth: kept,
          snapshot: true,
        },
      }])
    }
  })

  test('very many are split', () => {
    const many = Array.from({ length: 250 }, (_, i) => instrument(`A${i}/USD`))
    const lists = requests(open(many).listener).map(({ params }) => params.symbol)
    assert.deepEqual(lists.map(({ length }) => length), [100, 100, 50])
    assert.deepEqual(lists.flat(), many.map(({ wireSymbol }) => wireSymbol))
  })

  test('a resync unsubscribes with the same depth, and subscribes when that is answered', () => {
    const { session, listener } = open([BTC, PEPE], 25)
    const market = btc()
    give(session, ack('subscribe', 'BTC/USD', 25), market.snapshot())
    session.resync(0)
    assert.deepEqual(requests(listener).slice(1), [
      { method: 'unsubscribe', params: { channel: 'book', symbol: ['BTC/USD'], depth: 25 } },
    ])
    // All of the old subscription: updates, and even a whole book.
    give(session, market.update(['bid', '100.4', '2']), market.snapshot())
    give(session, ack('unsubscribe', 'PEPE/EUR', 25))
    assert.equal(listener.sent.length, 2)
    give(session, ack('unsubscribe', 'BTC/USD', 25))
    assert.deepEqual(requests(listener).slice(2), [{
      method: 'subscribe',
      params: { channel: 'book', symbol: ['BTC/USD'], depth: 25, snapshot: true },
    }])
    give(session, market.update(['bid', '100.3', '2']), ack('subscribe', 'BTC/USD', 25))
    assert.equal(listener.outputs.length, 1, 'updates wait for the snapshot')
    give(session, market.snapshot(), market.update(['bid', '100.3', '1']))
    assert.deepEqual(listener.outputs.map(({ kind }) => kind), ['snapshot', 'snapshot', 'delta'])
    assert.deepEqual(listener.books[0], market.book)
    assert.deepEqual(listener.suspects, [])
  })

  test('several are resynchronised in one message each way', () => {
    const many = Array.from({ length: 5 }, (_, i) => instrument(`A${i}/USD`))
    const { session, listener } = open(many)
    session.resyncAll!([0, 1, 3])
    assert.deepEqual(requests(listener)[1].params.symbol, ['A0/USD', 'A1/USD', 'A3/USD'])
    give(session, ack('unsubscribe', 'A3/USD'), ack('unsubscribe', 'A0/USD'))
    assert.equal(listener.sent.length, 2, 'together')
    give(session, error('Subscription Not Found', 'unsubscribe', 'A1/USD'))
    assert.deepEqual(requests(listener)[2].params.symbol, ['A0/USD', 'A1/USD', 'A3/USD'])
    assert.equal(requests(listener)[2].method, 'subscribe')
    assert.deepEqual(listener.failures, [])
    session.resyncAll!([])
    assert.equal(listener.sent.length, 3)
  })

  test('an unsubscription that is never answered does not hold up for long', () => {
    const { session, listener } = open([BTC, PEPE])
    const other = pepe()
    give(session, other.snapshot())
    session.resync(0)
    session.heartbeat!()
    assert.equal(listener.sent.length, 2)
    session.heartbeat!()
    assert.deepEqual(requests(listener)[2].params.symbol, ['BTC/USD'])
    assert.equal(requests(listener)[2].method, 'subscribe')
    const market = btc()
    give(session, ack('unsubscribe', 'BTC/USD'), market.snapshot(), ack('subscribe', 'BTC/USD'))
    session.heartbeat!()
    assert.equal(listener.sent.length, 3)
    assert.deepEqual(listener.books, [market.book, other.book])
  })

  test('asked for again while it is leaving: nothing more is waited for', () => {
    const { session, listener } = open([BTC])
    session.resync(0)
    session.resync(0)
    assert.deepEqual(requests(listener).map(({ method }) => method), [
      'subscribe',
      'unsubscribe',
      'subscribe',
    ])
  })

  test('a broken frame of the old subscription does not disturb', () => {
    const { session, listener } = open([BTC])
    give(session, btc().snapshot())
    session.resync(0)
    give(session, btc().update(['bid', '100.5', '3']).replace('3.0', '-3.0'))
    assert.deepEqual(listener.suspects, [])
    give(session, ack('unsubscribe', 'BTC/USD'), btc().snapshot())
    assert.equal(listener.sent.length, 3)
    assert.equal(listener.outputs.length, 2)
  })

  test('an error for an unsubscription that names no symbol', () => {
    const { session, listener } = open([BTC])
    session.resync(0)
    give(session, error('Subscription Not Found', 'unsubscribe'))
    assert.equal(requests(listener)[2].method, 'subscribe')
    assert.deepEqual(listener.failures, [])
  })

  test('already subscribed: no snapshot comes, so it is asked for in turn', () => {
    const { session, listener } = open([BTC, PEPE])
    const market = btc()
    give(session, market.snapshot(), error('Already subscribed', 'subscribe', 'BTC/USD'))
    assert.deepEqual(listener.suspects, [], 'of a live book it says nothing')
    give(session, error('Already subscribed', 'subscribe', 'PEPE/EUR'))
    assert.deepEqual(listener.suspects.map(({ index }) => index), [1])
    assert.match(firstSuspect(listener).detail, /Already subscribed/)
    give(session, pepe().snapshot())
    assert.equal(listener.outputs.length, 1, 'suspect until a resync')
    session.resync(1)
    assert.equal(requests(listener)[1].method, 'unsubscribe')
  })

  test('a refused symbol is asked for again without an unsubscription', () => {
    const { session, listener } = open([BTC, PEPE])
    give(session, error('Currency pair not supported BTC/USD', 'subscribe', 'BTC/USD'))
    assert.deepEqual(listener.failures.map(({ code, symbol }) => [code, symbol]), [
      ['E_SUBSCRIBE', 'BTC/USD'],
    ])
    give(session, btc().snapshot())
    assert.deepEqual(listener.outputs, [])
    session.resync(0)
    assert.deepEqual(requests(listener)[1].params.symbol, ['BTC/USD'])
    assert.equal(requests(listener)[1].method, 'subscribe')
    give(session, btc().snapshot())
    assert.equal(listener.outputs.length, 1)
  })

  test('another depth than asked for is refused', () => {
    const { session, listener } = open([BTC, PEPE], 100)
    give(session, ack('subscribe', 'PEPE/EUR', 100), ack('subscribe', 'BTC/USD', 10))
    assert.deepEqual(listener.failures.map(({ symbol }) => symbol), ['BTC/USD'])
    assert.match(listener.failures[0].message, /depth 10, expected 100/)
  })

  test('a subscription that the exchange ends on its own', () => {
    const { session, listener } = open([BTC])
    give(session, btc().snapshot(), ack('unsubscribe', 'BTC/USD'))
    assert.deepEqual(listener.suspects.map(({ reason }) => reason), ['stale'])
    assert.equal(listener.sent.length, 1)
  })

  test('while nothing is served a ping keeps the socket talking', () => {
    const { session, listener } = open([BTC])
    session.heartbeat!()
    assert.deepEqual(requests(listener)[1], { method: 'ping' })
    give(session, '{"method":"pong","time_in":"","time_out":""}', btc().snapshot())
    session.heartbeat!()
    assert.equal(listener.sent.length, 2)
    assert.equal(session.stats.unknownFrames, 0)
  })

  test('on a socket that was given up nothing happens', () => {
    const { session, listener } = open([BTC])
    give(session, btc().snapshot(), error('Exceeded msg rate'), btc().snapshot())
    assert.deepEqual(listener.failures.map(({ code, scope }) => [code, scope]), [
      ['E_RATE_LIMITED', 'connection'],
    ])
    assert.ok(listener.failures[0].retryAfterMs! >= 1000)
    session.resync(0)
    session.resyncAll!([0])
    session.heartbeat!()
    assert.equal(listener.sent.length, 1)
    assert.equal(listener.outputs.length, 1)
  })
})

describe('status', () => {
  test('maintenance makes the books suspect when it begins and when it ends', () => {
    const { session, listener } = open([BTC, PEPE])
    give(session, status('online'), status('online'), btc().snapshot(), status('cancel_only'))
    assert.deepEqual(listener.suspects, [])
    give(session, status('maintenance'), status('maintenance'))
    assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [[0, 'stale']])
    assert.match(firstSuspect(listener).detail, /maintenance/)
    session.resync(0)
    give(session, ack('unsubscribe', 'BTC/USD'), btc().snapshot())
    assert.equal(listener.outputs.length, 2, 'a book that stands still is a book')
    give(session, status('post_only'), status('online'))
    const doubted = listener.suspects.slice(1).map(({ index }) => index)
    assert.deepEqual(doubted, [0, 1], 'also what was waited for meanwhile')
    assert.equal(session.stats.unknownFrames, 0)
  })

  test('a status that is said again: the one between was not heard', () => {
    const { session, listener } = open([BTC, PEPE])
    give(session, status('online'), btc().snapshot(), status('online'))
    assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [[0, 'stale']])
    assert.match(firstSuspect(listener).detail, /"online" again/)
  })

  test('without a system it says nothing', () => {
    const { session, listener } = open([BTC])
    give(session, btc().snapshot())
    for (const data of ['null', '{}', '[]', '[7]', '[{"system":7}]']) {
      give(session, `{"channel":"status","type":"update","data":${data}}`)
    }
    assert.equal(session.stats.unknownFrames, 5)
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.failures, [])
  })
})

describe('checksum', () => {
  // Ten levels a side: trailing zeros that count, leading zeros that do not.
  const price = (i: number) => (0.00005 + i * 1e-8).toFixed(8)
  const levels: WireLevel[] = Array.from({ length: 10 }, (_, i): WireLevel[] => [
    ['ask', price(100 + i), '0.05000000'],
    ['bid', price(99 - i), `${i + 1}00.10000000`],
  ]).flat()
  const XMR = instrument('XMR/BTC', 8, 8)
  const text = Array.from({ length: 10 }, (_, i) => `${5100 + i}5000000`).join('') +
    Array.from({ length: 10 }, (_, i) => `${5099 - i}${i + 1}0010000000`).join('')

  test('trailing zeros count, leading zeros and points do not', () => {
    const { session, listener } = open([XMR])
    const checksum = crc32(text)
    assert.equal(price(100), '0.00005100')
    give(session, bookText('snapshot', XMR, levels, checksum))
    assert.deepEqual(listener.suspects, [])
    assert.equal(listener.checks, 1)
    assert.equal(listener.outputs[0].levels.length, 20)
    assert.equal(listener.outputs[0].nonce, -1)
    assert.equal(listener.outputs[0].timestampMs, Date.parse('2026-08-24T22:21:57.110Z'))
    assert.equal(session.stats.scannerFallbacks, 0)
  })

  test('any other is a loss of this symbol alone, until a resync', () => {
    for (const wrong of [crc32(text) ^ 1, 0, 0xffffffff]) {
      const { session, listener } = open([XMR, BTC])
      give(session, btc().snapshot(), bookText('snapshot', XMR, levels, wrong >>> 0))
      assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [
        [0, 'checksum'],
      ])
      const outputs = listener.outputs.length
      give(session, bookText('snapshot', XMR, levels, crc32(text)), bookText('update', XMR, [], 0))
      assert.equal(listener.outputs.length, outputs)
      session.resync(0)
      give(session, ack('unsubscribe', 'XMR/BTC'))
      give(session, bookText('snapshot', XMR, levels, crc32(text)))
      assert.equal(listener.outputs.length, outputs + 1)
      assert.equal(listener.suspects.length, 1)
    }
  })

  test('the eleventh level is not in it', () => {
    const { session, listener } = open([XMR])
    const more: WireLevel[] = [...levels, ['ask', price(110), '1'], ['bid', price(80), '1']]
    give(session, bookText('snapshot', XMR, more, crc32(text)))
    assert.deepEqual(listener.suspects, [])
  })

  test('an empty book and an empty side', () => {
    const { session, listener } = open([BTC])
    const market = btc([])
    give(session, market.snapshot(), market.update(['ask', '5', '1']), market.update())
    give(session, market.update(['bid', '4', '1'], ['ask', '5', '0']))
    assert.deepEqual(listener.suspects, [])
    assert.equal(listener.checks, 4)
    assert.deepEqual(listener.books[0], new Map([['bid 4', '1']]))
  })

  test('any change of the ten best shows, and so does none', () => {
    const { session, listener } = open([BTC])
    const market = btc()
    give(session, market.snapshot())
    give(session, market.update(['bid', '100.5', '0'], ['bid', '100.6', '1']))
    give(session, market.update(['ask', '101', '0'], ['ask', '100.9', '2']), market.update())
    give(session, market.update(['bid', '100.4', '0.75']), market.update(['ask', '100.9', '2.5']))
    assert.deepEqual(listener.suspects, [])
    const { book } = market
    const wrong = bookText('update', BTC, [], checksumOf(new Map(book).set('bid 100.6', '2'), BTC))
    give(session, wrong)
    assert.equal(firstSuspect(listener).reason, 'checksum')
  })

  test('the decimals on the wire count, not those of the metadata', () => {
    const wire = new Market(XMR, levels)
    const frames = [
      wire.snapshot(),
      wire.update(['bid', price(99), '3.5']),
      wire.update(['ask', price(100), '0.00000001']),
      wire.update(['bid', price(99), '0']),
    ]
    for (let priceDecimals = 0; priceDecimals <= 12; priceDecimals++) {
      for (const sizeDecimals of [0, 1, 7, 8, 9, 15, 20]) {
        const { session, listener } = open([instrument('XMR/BTC', priceDecimals, sizeDecimals)])
        give(session, ...frames)
        assert.deepEqual(listener.suspects, [], `${priceDecimals} and ${sizeDecimals}`)
        assert.deepEqual(listener.books[0], wire.book)
        assert.equal(session.stats.scannerFallbacks, 0)
      }
    }
  })

  test('the decimals on the wire may change in mid-stream, either way', () => {
    const { session, listener } = open([BTC])
    const finer = new Market(instrument('BTC/USD', 3, 6), LEVELS)
    const coarse = new Market(instrument('BTC/USD', 1, 3), LEVELS)
    const market = btc()
    give(session, market.snapshot(), finer.update(['bid', '100.5', '3']))
    give(session, finer.update(['bid', '100.444', '3.25']), finer.update(['bid', '100.444', '0']))
    give(session, finer.update())
    applyLevel(coarse.book, 'bid', '100.5', '3')
    give(session, coarse.update(['ask', '101', '2.125']), coarse.update())
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.books[0], coarse.book)
    assert.equal(listener.checks, 7)
  })

  test('sizes beyond 2^53 on the grid', () => {
    const market = new Market(PEPE, [['bid', '0.00000051', '900719925474099300001.25']])
    const { session, listener } = open([PEPE])
    give(session, market.snapshot(), market.update(), market.update(['ask', '0.00000052', '3']))
    give(session, market.update(['bid', '0.00000051', '7']))
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.books[0], market.book)
  })

  test('sizes beyond 2^53 and prices off the grid are exact', () => {
    const market = new Market(instrument('PEPE/EUR', 12, 4), [
      ['bid', '0.000000510001', '900719925474099300001'],
      ['ask', '0.00000052', '1'],
    ])
    const { session, listener } = open([PEPE])
    give(session, market.snapshot(), market.update(['bid', '0.000000500001', '12345678901234.25']))
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.books[0], market.book)
    assert.equal(session.stats.scannerFallbacks, 0)
  })
})

describe('frames', () => {
  test('a snapshot without a time; a second one; the same one again', () => {
    const { session, listener } = open([BTC])
    const old = bookText('snapshot', BTC, LEVELS, checksumOf(btc().book, BTC), null)
    give(session, old)
    assert.equal(listener.outputs[0].timestampMs, -1)
    const market = btc()
    give(session, market.update(['bid', '100.6', '1']), old)
    assert.equal(listener.outputs.length, 2, 'it would bring back the past')
    assert.equal(session.stats.duplicates, 1)
    give(session, market.snapshot())
    assert.deepEqual(listener.outputs.map(({ kind }) => kind), ['snapshot', 'delta', 'snapshot'])
    assert.equal(session.stats.scannerFallbacks, 0)
    assert.deepEqual(listener.books[0], market.book)
  })

  test('an update twice changes nothing; several changes of one price count in order', () => {
    const { session, listener } = open([BTC])
    const market = btc()
    give(session, market.snapshot())
    const update = market.update(['bid', '100.5', '0'], ['bid', '100.5', '3'], ['ask', '7000', '0'])
    give(session, update, update)
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.books[0], market.book)
    assert.equal(listener.books[0]!.get('bid 100.5'), '3')
  })

  test('what is pushed below the depth is forgotten, and told of again when it is back', () => {
    const { session, listener } = open([BTC], 10)
    const bids = Array.from({ length: 10 }, (_, i): WireLevel => ['bid', `${100 - i}`, '1'])
    const market = btc(bids)
    give(session, market.snapshot(), market.update(['bid', '101', '1']))
    assert.equal(listener.realBooks[0]!.bidCount, 10)
    give(session, market.update(['bid', '101', '0'], ['bid', '91', '2']))
    assert.deepEqual(listener.suspects, [])
    assert.deepEqual(listener.books[0], market.book)
  })

  test('every legal spelling gives the same', () => {
    const market = btc()
    const canned = market.snapshot()
    const reference = open([BTC])
    give(reference.session, canned)
    const bids = '{"price":100.5,"qty":1.00000000},{"price":100.4,"qty":0.50000000}'
    assert.ok(canned.includes(bids))
    const spellings = [
      ` ${canned}\n`,
      canned.replaceAll(',', ' , '),
      canned.replaceAll(':{', ': {').replaceAll('":', '" :'),
      canned.replace('BTC/USD', 'BTC\\/USD'),
      canned.replace('"bids"', '"b\\u0069ds"'),
      canned.replace('"price":100.5,"qty":1.00000000', '"qty":1.00000000,"price":100.5'),
      canned.replace('1.00000000', '1e0'),
      canned.replace('1.00000000', '10E-1'),
      canned.replace('1.00000000', '1'),
      canned.replace('1.00000000', '1.0000000000'),
      canned.replace('1.00000000', '"1.00000000"'),
      canned.replace('100.5', '100.50000'),
      canned.replace('100.5', '0.1005e+3'),
      canned.replace('"channel":"book",', '').replace(/}$/, ',"channel":"book"}'),
      canned.replace('"data":[', '"more":[1,{"x":null}],"data":['),
      canned.replace('"timestamp"', '"nonce":7,"timestamp"'),
      canned.replace(/("checksum":\d+)/, '$1.0'),
      canned.replace(/(,"checksum":\d+)(.*)(}]})/, '$2$1$3'),
      canned.replace(bids, `${bids},{"price":3.0,"qty":0.00000000}`),
    ]
    for (const text of spellings) {
      const { session, listener } = open([BTC])
      give(session, text)
      assert.deepEqual(listener.suspects, [], text)
      assert.deepEqual(listener.failures, [], text)
      assert.deepEqual(listener.books, reference.listener.books, text)
      assert.equal(listener.outputs[0].timestampMs, reference.listener.outputs[0].timestampMs)
      // And the count of decimals is still known.
      const after = btc()
      after.snapshot()
      give(session, after.update(['ask', '101.1', '3.5']), after.update(['bid', '100.4', '0']))
      assert.deepEqual(listener.suspects, [], text)
      assert.deepEqual(listener.books[0], after.book)
    }
    const isFast = spellings.map((text) => {
      const { session } = open([BTC])
      give(session, text)
      return session.stats.scannerFallbacks === 0
    })
    assert.equal(isFast.filter(Boolean).length, 7, 'spellings of numbers are nothing special')
  })

  test('times of any kind', () => {
    const checksum = checksumOf(btc().book, BTC)
    for (
      const [text, ms] of [
        ['2026-08-24T22:21:57Z', Date.parse('2026-08-24T22:21:57Z')],
        ['2026-08-24T22:21:57.1101839Z', Date.parse('2026-08-24T22:21:57.110Z')],
        ['2026-08-25T00:21:57.110183+02:00', Date.parse('2026-08-24T22:21:57.110Z')],
        ['0001-01-01T00:00:00Z', -1],
        ['soon', -1],
      ] as const
    ) {
      const { session, listener } = open([BTC])
      give(session, bookText('snapshot', BTC, LEVELS, checksum, text))
      assert.equal(listener.outputs[0].timestampMs, ms, text)
    }
  })

  test('several entries in one frame are taken whole, one call per symbol', () => {
    const { session, listener } = open([BTC, PEPE])
    const [a, b] = [btc(), pepe()]
    const joined = (...frames: string[]) => {
      const [start] = frames[0].split('"data":[')
      const entries = frames.map((frame) => frame.slice(frame.indexOf('"data":[') + 8, -2))
      return `${start}"data":[${entries.join(',')}]}`
    }
    const foreign = new Market(instrument('ETH/USD', 2), [['bid', '5', '1']])
    give(session, joined(a.snapshot(), foreign.snapshot(), b.snapshot()))
    assert.deepEqual(listener.outputs.map(({ index }) => index), [0, 1])
    give(
      session,
      joined(
        a.update(['bid', '100.5', '9']),
        b.update(['ask', '0.00000052', '3']),
        a.update(['bid', '100.5', '8']),
      ),
    )
    assert.deepEqual(
      listener.outputs.slice(2).map(({ index, levels }) => [index, levels.length]),
      [[0, 2], [1, 1]],
    )
    assert.deepEqual(listener.books, [a.book, b.book])
    assert.equal(listener.checks, 4)
    assert.deepEqual(listener.suspects, [])
    assert.equal(session.stats.unknownFrames, 0)
    const older = new Market(BTC, [['bid', '90', '1']])
    give(session, joined(older.snapshot(), b.snapshot(), a.snapshot()))
    assert.deepEqual(listener.books, [a.book, b.book], 'the last whole book counts')
    // A broken entry costs its symbol alone.
    const broken = a.update(['bid', '100.5', '7']).replace('7.00000000', '-7')
    give(session, joined(broken, b.update(['ask', '0.00000052', '4'])))
    assert.deepEqual(listener.suspects.map(({ index, reason }) => [index, reason]), [[0, 'gap']])
    assert.match(firstSuspect(listener).detail, /qty/)
    assert.deepEqual(listener.books[1], b.book)
    give(session, joined(foreign.snapshot()), '{"channel":"book","type":"update","data":[]}')
    assert.equal(session.stats.unknownFrames, 1)
  })

  test('what cannot be read of a known symbol makes it suspect', () => {
    const good = btc().update(['bid', '100.5', '3'])
    for (
      const [what, by] of [
        ['100.5', '-100.5'],
        ['100.5', 'null'],
        ['100.5', '[100.5]'],
        ['3.00000000', '"many"'],
        ['"qty"', '"size"'],
        ['{"price":100.5,"qty":3.00000000}', '7'],
        ['"asks":[]', '"asks":{}'],
        [/"checksum":\d+/, '"checksum":-1'],
        [/"checksum":\d+/, '"checksum":4294967296'],
        [/"checksum":\d+/, '"checksum":1.5'],
        [/"checksum":\d+/, '"checksum":null'],
        [/"checksum":(\d+)/, '"checksum":"$1"'],
        [/"checksum":\d+/, '"crc":1'],
      ] as const
    ) {
      const { session, listener } = open([BTC, PEPE])
      const text = good.replace(what, by)
      assert.notEqual(text, good)
      give(session, btc().snapshot(), pepe().snapshot(), text)
      assert.deepEqual(listener.suspects.map(({ index }) => index), [0], text)
      assert.deepEqual(listener.failures, [])
      assert.equal(listener.outputs.length, 2)
    }
  })

  test('what cannot be read at all gives up the connection', () => {
    const good = btc().update(['bid', '100.5', '3'])
    const broken = [
      '',
      'null',
      '[]',
      '7',
      good.slice(0, -1),
      `${good}}`,
      good.replace('100.5', '0100.5'),
      good.replace('100.5', '100.'),
      good.replace('100.5', '.5'),
      good.replace('100.5', '+100.5'),
      good.replace('100.5', 'NaN'),
      good.replace('"update"', '"patch"'),
      good.replace(',"type":"update"', ''),
      good.replace(/"data":.*/, '"data":{}}'),
      good.replace(/"data":.*/, '"data":[7]}'),
      good.replace('"symbol":"BTC/USD"', '"symbol":7'),
    ]
    for (const text of broken) {
      const { session, listener } = open([BTC])
      give(session, btc().snapshot(), text, btc().snapshot())
      assert.deepEqual(
        listener.failures.map(({ code, scope }) => [code, scope]),
        [['E_DECODE', 'connection']],
        text,
      )
      assert.equal(listener.outputs.length, 1)
    }
    const { session, listener } = open([BTC])
    session.received(Uint8Array.of(0x7b, 0xff, 0x7d), 1)
    assert.equal(listener.failures[0].code, 'E_DECODE')
  })
})

// -- the two routes

/** All that can be seen of a session that lived through some good frames and then `bytes`. */
function story(bytes: Uint8Array, instruments: readonly Instrument[]): unknown {
  const { session, listener } = open(instruments, 100)
  give(session, new Market(instruments[0], [['bid', '3', '1'], ['ask', '4', '1']]).snapshot())
  session.received(bytes, 5)
  const { outputs, suspects, failures, sent, books, checks } = listener
  const { unknownFrames, duplicates } = session.stats
  return {
    outputs: [...outputs],
    suspects: [...suspects],
    failures: failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    sent,
    books: books.map((book) => book && [...book]),
    checks,
    unknownFrames,
    duplicates,
  }
}

const digits = (min: number, max: number) =>
  fc.array(fc.constantFrom(...'0123456789'), { minLength: min, maxLength: max })
    .map((parts) => parts.join(''))
const number = fc.oneof(
  { weight: 4, arbitrary: fc.nat(99_999_999).map((n) => (n / 100).toFixed(2)) },
  fc.tuple(digits(1, 18), digits(0, 18)).map(([a, b]) => {
    const whole = a.replace(/^0+(?=\d)/, '')
    return b === '' ? whole : `${whole}.${b}`
  }),
  fc.constantFrom(
    '0',
    '0.00000000',
    '5.1e-5',
    '1E3',
    '2e400',
    '-1',
    '-0',
    '01',
    '"7"',
    'null',
    '1.',
  ),
)
const side = fc.array(
  fc.tuple(number, number).map(([price, qty]) => `{"price":${price},"qty":${qty}}`),
  { maxLength: 5 },
).map((levels) => levels.join(','))
const frameText = fc.record({
  type: fc.constantFrom('snapshot', 'update'),
  symbol: fc.constantFrom('BTC/USD', 'BTC/USD', 'PEPE/EUR', 'ETH/USD', 'BTC/US', ''),
  bids: side,
  asks: side,
  checksum: fc.oneof(fc.nat(0xffffffff), fc.constantFrom(0, -1, 4294967296, 1.5, 1e20)),
  time: fc.constantFrom(
    ',"timestamp":"2026-08-24T22:21:57.110183Z"',
    ',"timestamp":"2026-08-24T22:21:57Z"',
    ',"timestamp":"2026-08-24T22:21:57.1+01:00"',
    ',"timestamp":"soon"',
    ',"timestamp":7',
    '',
  ),
}).map(({ type, symbol, bids, asks, checksum, time }) =>
  `{"channel":"book","type":"${type}","data":[{"symbol":"${symbol}","bids":[${bids}],` +
  `"asks":[${asks}],"checksum":${checksum}${time}}]}`
)
/** A frame whose checksum is right, on top of what `seen` gives first. */
const trueFrameText = fc.record({
  isSnapshot: fc.boolean(),
  levels: fc.array(
    fc.tuple(
      fc.constantFrom('bid' as const, 'ask' as const),
      fc.nat(20),
      fc.nat(999_999_999).map((n) => (n / 1e8).toFixed(8)),
    ).map(([s, tick, size]): WireLevel => [s, `${s === 'bid' ? tick / 10 : 4 + tick / 10}`, size]),
    { maxLength: 6 },
  ),
}).map(({ isSnapshot, levels }) => {
  const market = new Market(BTC, isSnapshot ? [] : [['bid', '3', '1'], ['ask', '4', '1']])
  const update = market.update(...levels)
  return isSnapshot ? market.snapshot() : update
})
describeRoutes({
  story,
  instruments: [BTC, PEPE],
  frames: frameText,
  plain: trueFrameText,
  examples: [
    new Market(BTC, [['bid', '3', '1'], ['ask', '4', '1']]).update(['bid', '3', '0.25']),
  ],
  runs: { frames: 1000, wounded: 1500 },
  fallbacks: (text) => {
    const { session, listener } = open([BTC])
    give(session, new Market(BTC, [['bid', '3', '1'], ['ask', '4', '1']]).snapshot(), text)
    assert.equal(listener.checks, 2)
    assert.deepEqual(listener.suspects, [])
    return session.stats.scannerFallbacks
  },
})

// -- recorded frames

interface Recorded {
  readonly raw: string
  readonly index: number
  readonly isSnapshot: boolean
  readonly levels: readonly WireLevel[]
  readonly checksum: number
}

interface Recording {
  readonly instruments: readonly Instrument[]
  readonly raws: readonly string[]
  readonly frames: readonly Recorded[]
}

function readRecording(): Recording {
  const answers = JSON.parse(
    readFileSync(join(RECORDING, '../v1-book1000-20210417.markets.json'), 'utf8'),
  )
  const instruments = kraken.markets!.parse([answers[0].body, { error: [], result: {} }])!
  const raws = readFileSync(RECORDING, 'utf8').trim().split('\n')
    .map((line) => (JSON.parse(line) as { raw: string }).raw)
  const frames = raws.flatMap((raw): Recorded[] => {
    const { channel, type, data } = JSON.parse(raw)
    if (channel !== 'book') return []
    const index = instruments.findIndex(({ wireSymbol }) => wireSymbol === data[0].symbol)
    assert.ok(index >= 0, data[0].symbol)
    const { priceDecimals, sizeDecimals } = instruments[index]
    const levels = (['bid', 'ask'] as const).flatMap((s) =>
      (data[0][`${s}s`] as { price: number; qty: number }[]).map(({ price, qty }): WireLevel => [
        s,
        price.toFixed(priceDecimals),
        qty.toFixed(sizeDecimals),
      ])
    )
    return [{ raw, index, isSnapshot: type === 'snapshot', levels, checksum: data[0].checksum }]
  })
  return { instruments, raws, frames }
}

/** The project's own books, without the comfort of the listener, which is slow on deep ones. */
class Books implements SessionOutput {
  readonly books: Book[]
  checks = 0
  last: unknown

  constructor(instruments: readonly Instrument[]) {
    this.books = instruments.map(({ priceDecimals, sizeDecimals }) =>
      new Book(priceDecimals, sizeDecimals, 1000, 1000)
    )
  }

  snapshot(index: number, changes: LevelChanges): void {
    this.books[index].load(changes)
    this.#check(index, changes)
  }

  delta(index: number, changes: LevelChanges): void {
    this.books[index].apply(changes)
    this.#check(index, changes)
  }

  #check(index: number, changes: LevelChanges): void {
    assert.ok(changes.check!.holds(this.books[index]), 'the checksum holds')
    assert.ok(!this.books[index].isCrossed())
    this.checks++
    const { count, side, price, size, timestampMs } = changes
    this.last = [index, timestampMs, ...[side, price, size].map((all) => [...all.slice(0, count)])]
  }

  send(): void {}

  refreshed(): never {
    throw new Error('not asked for')
  }

  suspect(index: number, reason: string, detail: string): never {
    throw new Error(`${index} is suspect: ${reason}, ${detail}`)
  }

  requestSnapshot(): never {
    throw new Error('there is no REST')
  }

  retire(): never {
    throw new Error('nothing ends')
  }

  fail(error: Error): never {
    throw error
  }
}

describe('recorded frames', { skip: !existsSync(RECORDING) }, () => {
  test('every checksum holds on both routes, and every book is that of a naive model', () => {
    const { instruments, raws, frames } = readRecording()
    const [fast, slow] = [new Books(instruments), new Books(instruments)]
    const [first, second] = [fast, slow].map((output) => kraken.open(instruments, output, 1000))
    for (const raw of raws) {
      give(first, raw)
      give(second, ` ${raw}`)
      assert.deepEqual(fast.last, slow.last)
    }
    assert.equal(frames.length, 4279)
    assert.equal(fast.checks, 4279)
    assert.equal(slow.checks, 4279)
    assert.deepEqual(first.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
    assert.equal(second.stats.scannerFallbacks, 4279)
    instruments.forEach((_, index) => {
      const truth: NaiveBook = new Map()
      for (const { index: own, levels } of frames) {
        if (own === index) { for (const level of levels) applyLevel(truth, ...level) }
      }
      const expected = levelsIn(bestOf(truth, 1000))
      const found = ([['bid', BID], ['ask', ASK]] as const).flatMap(([name, side]) =>
        fast.books[index].levels(side).map(([price, size]): WireLevel => [name, price, size])
      )
      assert.deepEqual(found, expected)
    })
  })

  test('any one frame lost that touches the ten best is noticed with the next one', () => {
    const { instruments, frames } = readRecording()
    let noticed = 0
    let mended = 0
    for (const [index, one] of instruments.entries()) {
      const own = frames.filter((frame) => frame.index === index)
      const book: NaiveBook = new Map()
      for (const [position, { levels, isSnapshot }] of own.entries()) {
        const next = own[position + 1]
        const isLost = !isSnapshot && next !== undefined && position % 5 === 0
        // All that the next frame could bring to the top.
        const near = isLost ? bestOf(book, 25) : book
        for (const level of levels) applyLevel(book, ...level)
        if (!isLost || best(near) === best(book)) continue
        const { session, listener } = open([one], 1000)
        give(session, bookText('snapshot', one, levelsIn(near), own[position - 1].checksum))
        assert.deepEqual(listener.suspects, [])
        give(session, next.raw)
        if (listener.suspects.length > 0) {
          assert.equal(firstSuspect(listener).reason, 'checksum')
          noticed++
          continue
        }
        // Only where the next frame made up for it.
        const after = new Map(book)
        for (const level of next.levels) applyLevel(after, ...level)
        assert.equal(best(listener.books[0]!), best(after))
        mended++
      }
    }
    assert.ok(noticed > 100 && mended < noticed / 4, `${noticed} noticed, ${mended} mended`)
  })
})

/** The ten best levels a side, to compare. */
function best(book: NaiveBook): string {
  return levelsIn(bestOf(book, 10)).join('\n')
}
