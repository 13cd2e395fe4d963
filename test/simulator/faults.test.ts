import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ObfeedError } from '../../src/core/errors.ts'
import { faultFrom, FaultLine, parseFault, Trigger } from '../../src/simulator/faults.ts'
import type { FaultSpec } from '../../src/simulator/faults.ts'
import { Random } from '../../src/simulator/random.ts'
import { Floor } from './naive-client.ts'

/** A line that carries the frames `0`, `1`, ... as one byte each (`cut` needs more: see there). */
function line(...faults: (FaultSpec | string)[]): {
  line: FaultLine
  sent: number[]
  cuts: () => number
  carry: (count: number) => void
  nowMs: number
} {
  let cuts = 0
  let next = 0
  const sent: number[] = []
  const subject = new FaultLine(1, new Random(1), {
    frame: (bytes) => sent.push(bytes[0]!),
    cut: () => cuts++,
  })
  for (const fault of faults) subject.add(typeof fault === 'string' ? parseFault(fault) : fault)
  const carrier = {
    line: subject,
    sent,
    cuts: () => cuts,
    nowMs: 1000,
    carry(count: number): void {
      for (let i = 0; i < count; i++) subject.frame(Uint8Array.of(next++), carrier.nowMs)
    },
  }
  return carrier
}

describe('fault text', () => {
  const cases: [string, FaultSpec][] = [
    ['drop', { kind: 'drop' }],
    ['drop:0.001', { kind: 'drop', probability: 0.001 }],
    ['cut:500', { kind: 'cut', after: 499 }],
    ['disconnect:30s', { kind: 'disconnect', everyMs: 30_000 }],
    ['delay:0.01:200ms', { kind: 'delay', probability: 0.01, delayMs: 200 }],
    ['delay:1.5s', { kind: 'delay', delayMs: 1500 }],
    ['stall:BTC-USD', { kind: 'stall', symbol: 'BTC-USD' }],
    ['stall:BTC/USD:100', { kind: 'stall', symbol: 'BTC/USD', after: 99 }],
    ['wrong-snapshot:.5:missing', { kind: 'wrong-snapshot', probability: 0.5, variant: 'missing' }],
  ]
  for (const [text, spec] of cases) {
    test(text, () => assert.deepEqual(parseFault(text), spec))
  }
  for (const text of ['', 'explode', 'drop:often', 'drop:-1', 'disconnect:0s', 'drop:1.5x']) {
    test(`"${text}" is refused`, () => {
      assert.throws(() => parseFault(text), (error: unknown) => {
        assert.ok(error instanceof ObfeedError)
        assert.equal(error.exitCode, 64)
        return true
      })
    })
  }
  test('as JSON it is checked too', () => {
    assert.deepEqual(faultFrom({ kind: 'drop', count: 2 }), { kind: 'drop', count: 2 })
    assert.deepEqual(faultFrom('drop:7'), { kind: 'drop', after: 6 })
    for (const bad of [null, 7, {}, { kind: 'no' }, { kind: 'drop', count: 'x' }]) {
      assert.throws(() => faultFrom(bad), ObfeedError)
    }
  })
})

describe('triggers', () => {
  const hits = (spec: Omit<FaultSpec, 'kind'>, opportunities: number, stepMs = 10) => {
    const trigger = new Trigger({ kind: 'drop', ...spec }, new Random(2))
    const at: number[] = []
    for (let i = 0; i < opportunities; i++) if (trigger.hit(i * stepMs)) at.push(i)
    return at
  }
  test('the next one', () => assert.deepEqual(hits({}, 5), [0]))
  test('the next three', () => assert.deepEqual(hits({ count: 3 }, 9), [0, 1, 2]))
  test('one later', () => assert.deepEqual(hits({ after: 4 }, 9), [4]))
  test('each period', () => assert.deepEqual(hits({ everyMs: 30 }, 10), [3, 6, 9]))
  test('a share of all', () => {
    const found = hits({ probability: 0.2 }, 5000).length
    assert.ok(found > 800 && found < 1200, `${found}`)
    assert.equal(hits({ probability: 0.2, count: 2 }, 5000).length, 2)
    assert.equal(hits({ probability: 0 }, 1000).length, 0)
  })
})

describe('a line', () => {
  test('without faults passes everything', () => {
    const subject = line()
    subject.carry(3)
    assert.deepEqual(subject.sent, [0, 1, 2])
  })
  test('drops', () => {
    const subject = line('drop:2')
    subject.carry(4)
    assert.deepEqual(subject.sent, [0, 2, 3])
    assert.deepEqual(subject.line.hits, { drop: 1 })
  })
  test('duplicates', () => {
    const subject = line('duplicate:2')
    subject.carry(3)
    assert.deepEqual(subject.sent, [0, 1, 1, 2])
  })
  test('turns two around', () => {
    const subject = line('reorder:2')
    subject.carry(4)
    assert.deepEqual(subject.sent, [0, 2, 1, 3])
  })
  test('cuts one short', () => {
    const whole = new TextEncoder().encode('{"channel":"l2_data"}')
    const sent: Uint8Array[] = []
    const subject = new FaultLine(1, new Random(3), { frame: (b) => sent.push(b), cut: () => {} })
    subject.add({ kind: 'cut', count: 50 })
    for (let i = 0; i < 50; i++) subject.frame(whole, 0)
    subject.frame(whole, 0)
    assert.equal(sent.length, 51)
    for (const part of sent.slice(0, 50)) {
      assert.ok(part.length < whole.length)
      assert.deepEqual(part, whole.slice(0, part.length))
    }
    assert.ok(new Set(sent.map((part) => part.length)).size > 10, 'at any byte')
    assert.deepEqual(sent[50], whole)
  })
  test('disconnects once and then is quiet', () => {
    const subject = line('disconnect:3')
    subject.carry(6)
    assert.deepEqual(subject.sent, [0, 1])
    assert.equal(subject.cuts(), 1)
  })
  test('half-open: nothing more, and no end', () => {
    const subject = line('half-open:3')
    subject.carry(6)
    assert.deepEqual(subject.sent, [0, 1])
    assert.equal(subject.cuts(), 0)
    assert.equal(subject.line.silent, true)
  })
  test('a delay holds the line in order', () => {
    const subject = line('delay:2:50ms')
    subject.carry(4)
    assert.deepEqual(subject.sent, [0])
    assert.equal(subject.line.nextDueMs, 1050)
    subject.line.tick(1049)
    assert.deepEqual(subject.sent, [0])
    subject.line.tick(1050)
    assert.deepEqual(subject.sent, [0, 1, 2, 3])
    subject.carry(1)
    assert.deepEqual(subject.sent, [0, 1, 2, 3, 4])
    assert.equal(subject.line.nextDueMs, Infinity)
  })
  test('faults of other connections and of the exchange are not its own', () => {
    const subject = line({ kind: 'drop', connection: 2 }, 'stall', 'crossed')
    subject.carry(2)
    assert.deepEqual(subject.sent, [0, 1])
  })
  test('cleared faults do not strike', () => {
    const subject = line('drop:2')
    subject.line.clear()
    subject.carry(3)
    assert.deepEqual(subject.sent, [0, 1, 2])
  })
})

describe('faults inside the exchange', () => {
  function floor(faults: readonly FaultSpec[]): { floor: Floor; id: number } {
    const subject = new Floor({ symbols: ['BTC-USD', 'ETH-USD'], rate: 200, levels: 20, faults })
    const id = subject.connect()
    subject.subscribe(id, ['BTC-USD', 'ETH-USD'])
    subject.subscribe(id, [], 'heartbeats')
    return { floor: subject, id }
  }
  const same = (subject: Floor, id: number, symbol: string): boolean => {
    const { bids, asks } = subject.exchange.truth(symbol)!
    return JSON.stringify(subject.clients.get(id)!.book(symbol)) === JSON.stringify({ bids, asks })
  }

  test('a stalled symbol is silent without a gap, the others live; subscribing anew mends it', () => {
    const { floor: subject, id } = floor([{ kind: 'stall', symbol: 'BTC-USD', after: 20 }])
    subject.run(2000)
    const client = subject.clients.get(id)!
    assert.equal(client.gaps, 0)
    assert.equal(same(subject, id, 'BTC-USD'), false)
    assert.equal(same(subject, id, 'ETH-USD'), true)
    const [stall] = subject.exchange.declared
    assert.equal(stall!.kind, 'stall')
    const later = client.of('l2_data').filter((frame) =>
      frame.sequence_num! >= stall!.sequence && frame.events![0]!.product_id === 'BTC-USD'
    )
    assert.equal(later.length, 0)
    // As of its last nonce the silent book is still the true one.
    const version = subject.exchange.versionAtNonce('BTC-USD', id, client.lastSequence)
    assert.equal(version, stall!.version - 1)
    subject.unsubscribe(id, ['BTC-USD'])
    subject.subscribe(id, ['BTC-USD'])
    subject.run(500)
    assert.equal(same(subject, id, 'BTC-USD'), true)
    assert.equal(client.gaps, 0)
  })

  test('a crossed frame shows, and the truth is not touched', () => {
    const { floor: subject, id } = floor([{ kind: 'crossed', symbol: 'ETH-USD', after: 10 }])
    const other = subject.connect()
    subject.subscribe(other, ['ETH-USD'])
    const client = subject.clients.get(id)!
    let seen = 0
    for (let i = 0; i < 200 && seen === 0; i++) {
      subject.run(5, 5)
      if (client.isCrossed('ETH-USD')) seen++
    }
    assert.equal(seen, 1)
    const [crossed] = subject.exchange.declared
    const struck = subject.clients.get(crossed!.connection)!
    const spared = subject.clients.get(crossed!.connection === id ? other : id)!
    assert.ok(struck.isCrossed('ETH-USD'))
    assert.ok(!spared.isCrossed('ETH-USD'))
    const { bids, asks } = subject.exchange.truth('ETH-USD')!
    assert.deepEqual(spared.book('ETH-USD'), { bids, asks })
    assert.ok(Number(bids[0]![0]) < Number(asks[0]![0]))
    assert.equal(client.gaps, 0)
  })

  test('a stale snapshot is crossed and declared, the next one is right', () => {
    const { floor: subject, id } = floor([{ kind: 'wrong-snapshot', symbol: 'BTC-USD' }])
    subject.run(10)
    const client = subject.clients.get(id)!
    assert.ok(client.isCrossed('BTC-USD'))
    assert.ok(!client.isCrossed('ETH-USD'))
    assert.equal(subject.exchange.declared[0]!.kind, 'wrong-snapshot')
    assert.equal(subject.exchange.isTainted('BTC-USD', id, client.lastSequence), false)
    subject.unsubscribe(id, ['BTC-USD'])
    subject.subscribe(id, ['BTC-USD'])
    subject.run(100)
    assert.ok(same(subject, id, 'BTC-USD'))
  })

  test('a missing level cannot be noticed: it taints until the next snapshot', () => {
    const { floor: subject, id } = floor([
      { kind: 'wrong-snapshot', symbol: 'BTC-USD', variant: 'missing' },
    ])
    subject.run(10)
    const client = subject.clients.get(id)!
    assert.ok(!client.isCrossed('BTC-USD'))
    assert.ok(!same(subject, id, 'BTC-USD'))
    const [declared] = subject.exchange.declared
    assert.equal(declared!.variant, 'missing')
    const from = declared!.sequence
    assert.equal(subject.exchange.isTainted('BTC-USD', id, from), true)
    assert.equal(subject.exchange.isTainted('BTC-USD', id, from + 1000), true)
    assert.equal(subject.exchange.isTainted('ETH-USD', id, from + 1), false)
    subject.unsubscribe(id, ['BTC-USD'])
    subject.subscribe(id, ['BTC-USD'])
    subject.run(100)
    const fresh = client.of('l2_data').filter((frame) =>
      frame.events![0]!.type === 'snapshot' && frame.events![0]!.product_id === 'BTC-USD'
    )
    assert.equal(fresh.length, 2)
    assert.equal(subject.exchange.isTainted('BTC-USD', id, fresh[1]!.sequence_num! - 1), true)
    assert.equal(subject.exchange.isTainted('BTC-USD', id, fresh[1]!.sequence_num!), false)
    assert.ok(same(subject, id, 'BTC-USD'))
  })
})
