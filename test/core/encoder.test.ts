/** Event bytes equal the JSON of a naive writer, for every kind of event. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Book } from '../../src/core/book.ts'
import { ASK, BID, LevelChanges } from '../../src/core/changes.ts'
import { canonicalDecimal } from '../../src/core/decimal.ts'
import { EventEncoder, type Stamp } from '../../src/core/encoder.ts'
import { copyBytes, Slab } from '../../src/core/slab.ts'
import { pushText, seeded } from './model.ts'

const EXCHANGE = 'coinbase'
/** Every character that JSON escapes, and some that UTF-8 needs more bytes for. */
const SYMBOL = 'A"\\\n€/USD'

function written(slab: Slab): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(slab.bytes.subarray(slab.start, slab.end))
}

function levelsText(levels: readonly (readonly [string, string])[]): string {
  return `[${levels.map(([price, size]) => `[${price},${size}]`).join(',')}]`
}

function head(type: string, epoch: number, seq: number): string {
  return `{"v":1,"type":"${type}","exchange":"${EXCHANGE}","symbol":${
    JSON.stringify(SYMBOL)
  },"epoch":${epoch},"seq":${seq}`
}

function stampText(stamp: Stamp, publishedUs: number): string {
  const nonce = stamp.nonceText !== undefined
    ? `,"nonce":"${stamp.nonceText}"`
    : stamp.nonce < 0
    ? ''
    : `,"nonce":${stamp.nonce}`
  const timestamp = stamp.timestampMs < 0 ? 'null' : stamp.timestampMs
  return `${nonce},"timestamp":${timestamp},"receivedUs":${stamp.receivedUs},"publishedUs":${publishedUs}`
}

function differenceText(book: Book): string {
  const side = ({ count, price, size }: Book['difference']['bids']) =>
    levelsText(
      Array.from({ length: count }, (_, i) => [book.priceText(price[i]), book.sizeText(size[i])]),
    )
  return `,"bids":${side(book.difference.bids)},"asks":${side(book.difference.asks)}}`
}

function setup(depth: number, slab = new Slab(64)): [Book, LevelChanges, EventEncoder, Slab] {
  const book = new Book(2, 8, depth)
  return [
    book,
    new LevelChanges(1),
    new EventEncoder(EXCHANGE, SYMBOL, book, 'sequence', depth, slab),
    slab,
  ]
}

const stamp: Stamp = {
  nonce: 123456,
  nonceText: undefined,
  timestampMs: 1795362721700,
  receivedUs: 1795362721783123,
}

describe('event bytes', () => {
  test('a snapshot of the view', () => {
    const [book, changes, encoder, slab] = setup(2)
    for (const [price, size] of [['3021.55', '0.8'], ['3021.5', '2'], ['3000', '9']]) {
      pushText(changes, book, BID, price, size)
    }
    pushText(changes, book, ASK, '3021.56', '1.25')
    book.load(changes)
    encoder.snapshot(1795362721783, 0, stamp, 1795362721783201)
    assert.equal(
      written(slab),
      `${head('snapshot', 1795362721783, 0)},"nonce":123456,"timestamp":1795362721700,` +
        '"receivedUs":1795362721783123,"publishedUs":1795362721783201,"proof":"sequence",' +
        '"depth":2,"bids":[[3021.55,0.8],[3021.5,2]],"asks":[[3021.56,1.25]]}',
    )
    assert.equal(JSON.parse(written(slab)).symbol, SYMBOL)
  })

  test('an empty full book has no depth', () => {
    for (const depth of [Infinity, 0]) {
      const slab = new Slab(1)
      const encoder = new EventEncoder(
        EXCHANGE,
        SYMBOL,
        new Book(2, 8, Infinity),
        'none',
        depth,
        slab,
      )
      encoder.snapshot(1, 0, { ...stamp, nonce: -1, timestampMs: -1 }, 2)
      assert.equal(
        written(slab),
        `${head('snapshot', 1, 0)},"timestamp":null,"receivedUs":1795362721783123,` +
          '"publishedUs":2,"proof":"none","bids":[],"asks":[]}',
      )
    }
  })

  test('invalid and heartbeat', () => {
    const [, , encoder, slab] = setup(10)
    encoder.invalid(1795362721783, 2, 'gap', 1795362721783123, 1795362721783124)
    assert.equal(
      written(slab),
      `${head('invalid', 1795362721783, 2)},"reason":"gap","receivedUs":1795362721783123,` +
        '"publishedUs":1795362721783124}',
    )
    encoder.heartbeat(1795362721783, 3, 'live', 0, 5, 6)
    assert.equal(
      written(slab),
      `${head('heartbeat', 1795362721783, 3)},"state":"live","receivedUs":5,"publishedUs":6}`,
    )
    encoder.heartbeat(1795362721783, 3, 'live', 1795362721000001, 5, 6)
    assert.match(written(slab), /,"publishedUs":6,"lastUs":1795362721000001}$/)
  })

  test('deltas with all kinds of stamps, in any order, and other events between', () => {
    // Mostly neighbours, as in real life; sometimes across a boundary of digits; sometimes anything.
    const number = fc.oneof(
      { weight: 20, arbitrary: fc.integer({ min: 1795362799_000_010, max: 1795362799_000_030 }) },
      { weight: 2, arbitrary: fc.integer({ min: 95, max: 105 }) },
      { weight: 2, arbitrary: fc.integer({ min: 99_999_990, max: 100_000_010 }) },
      { weight: 1, arbitrary: fc.integer({ min: 1795362799_999_990, max: 1795362800_000_010 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }) },
    )
    const event = fc.record({
      epoch: fc.constantFrom(1795362721783, 1795362721783, 1795362721784, 7),
      seq: number,
      nonce: fc.oneof({ weight: 1, arbitrary: fc.constant(-1) }, { weight: 5, arbitrary: number }),
      nonceText: fc.oneof(
        { weight: 4, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.constant('18446744073709551615') },
      ),
      timestampMs: fc.oneof({ weight: 1, arbitrary: fc.constant(-1) }, {
        weight: 5,
        arbitrary: number,
      }),
      receivedUs: number,
      publishedUs: number,
      between: fc.constantFrom('', '', '', 'snapshot', 'invalid', 'heartbeat', 'other'),
    })
    fc.assert(
      fc.property(fc.array(event, { minLength: 1, maxLength: 30 }), (events) => {
        const slab = new Slab(16)
        const [book, changes, encoder] = setup(10, slab)
        const [, , other] = setup(10, slab)
        for (const { epoch, seq, publishedUs, between, ...of } of events) {
          if (between === 'snapshot') encoder.snapshot(epoch, seq, of, publishedUs)
          if (between === 'invalid') encoder.invalid(epoch, seq, 'stale', 1, 2)
          if (between === 'heartbeat') encoder.heartbeat(epoch, seq, 'live', 1, 1, 2)
          if (between === 'other') other.delta(epoch, seq, of, publishedUs)
          changes.reset()
          pushText(changes, book, BID, `${seq % 7 + 1}.5`, `${seq % 3}`)
          book.apply(changes)
          encoder.delta(epoch, seq, of, publishedUs)
          assert.equal(
            written(slab),
            `${head('delta', epoch, seq)}${stampText(of, publishedUs)}${differenceText(book)}`,
          )
        }
      }),
      { numRuns: 500 },
    )
  })

  test('deltas of random books, wide values among them, parse to what they say', () => {
    const random = seeded(5)
    const [book, changes, encoder, slab] = setup(20)
    let levels = 0
    for (let frame = 0; frame < 20_000; frame++) {
      changes.reset()
      for (let i = Math.floor(random() * 8); i >= 0; i--) {
        const side = random() < 0.5 ? BID : ASK
        const cents = 5000 + Math.floor(random() * 60) * (side === BID ? -1 : 1)
        const size = random() < 0.3 ? 0 : Math.floor(10 ** (random() * 15.9))
        const rest = random() < 0.02 ? '00000000000000000001' : ''
        pushText(
          changes,
          book,
          side,
          canonicalDecimal(`${cents / 100}`) as string,
          canonicalDecimal(`${size}e-8`) + (size % 1e8 !== 0 ? rest : ''),
        )
      }
      book.apply(changes)
      encoder.delta(1795362721783, frame, stamp, 1795362721783201)
      const text = written(slab)
      assert.equal(
        text,
        `${head('delta', 1795362721783, frame)}${stampText(stamp, 1795362721783201)}${
          differenceText(book)
        }`,
      )
      const parsed = JSON.parse(text)
      assert.equal(parsed.bids.length, book.difference.bids.count)
      levels += parsed.bids.length + parsed.asks.length
    }
    assert.ok(levels > 20_000)
  })

  test('a snapshot larger than any slab grows it', () => {
    const [book, changes, encoder, slab] = setup(Infinity)
    for (let i = 0; i < 30_000; i++) {
      pushText(changes, book, i % 2 === 0 ? BID : ASK, `${i % 2 === 0 ? 1 : 2}${i}.25`, `${i}.5`)
    }
    book.load(changes)
    encoder.snapshot(1, 0, stamp, 2)
    const expected = `${head('snapshot', 1, 0)}${stampText(stamp, 2)},"proof":"sequence","bids":${
      levelsText(book.levels(BID))
    },"asks":${levelsText(book.levels(ASK))}}`
    assert.equal(written(slab), expected)
  })
})

describe('a snapshot in parts', () => {
  for (const maxBytes of [3000, 8000, 3_000_000]) {
    test(`of at most ${maxBytes} bytes`, () => {
      const [book, changes, encoder, slab] = setup(Infinity)
      for (let i = 0; i < 700; i++) {
        const wide = i % 7 === 0 ? `${'0'.repeat(50)}1` : ''
        pushText(changes, book, BID, `${1000 + i}.5${wide}`, `${i + 1}.25`)
        pushText(changes, book, ASK, `${2000 + i}.5`, `${i + 1}.00000001${wide}`)
      }
      book.load(changes)
      const parts = encoder.partsNeeded(maxBytes)
      const bids: [string, string][] = []
      const asks: [string, string][] = []
      for (let part = 0; part < parts; part++) {
        encoder.snapshotPart(part, parts, 77, 0, stamp, 78)
        const text = written(slab)
        assert.ok(slab.end - slab.start <= maxBytes, `${slab.end - slab.start} bytes`)
        const where = parts > 1 ? `,"part":${part},"parts":${parts}` : ''
        const start = `${head('snapshot', 77, 0)}${stampText(stamp, 78)},"proof":"sequence"${where}`
        assert.ok(text.startsWith(`${start},"bids":[`), text.slice(0, 400))
        JSON.parse(text)
        const match = /"bids":\[(.*)\],"asks":\[(.*)\]\}$/.exec(text)
        assert.ok(match !== null)
        const read = (levels: string) =>
          [...levels.matchAll(/\[([^,\]]+),([^\]]+)\]/g)].map((m): [string, string] => [m[1], m[2]])
        bids.push(...read(match[1]))
        asks.push(...read(match[2]))
      }
      assert.deepEqual(bids, book.levels(BID))
      assert.deepEqual(asks, book.levels(ASK))
      assert.equal(parts > 1, maxBytes < 1_000_000)
    })
  }

  test('parts nobody asked for are a mistake', () => {
    const [, , encoder] = setup(Infinity)
    encoder.partsNeeded(1000)
    assert.throws(() => encoder.snapshotPart(0, 2, 1, 0, stamp, 1))
  })
})

test('copyBytes copies just the range', () => {
  const to = new Uint8Array(6).fill(9)
  copyBytes(to, 2, Uint8Array.from([1, 2, 3, 4]), 1, 3)
  assert.deepEqual([...to], [9, 9, 2, 3, 9, 9])
})
