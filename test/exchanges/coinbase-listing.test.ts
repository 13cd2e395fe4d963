/** Coinbase: a live book whose subscription the exchange does not list any more is suspected. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Session } from '../../src/exchanges/adapter.ts'
import { coinbase } from '../../src/exchanges/coinbase.ts'
import { dataText } from './coinbase.fixture.ts'
import { Listener } from './listener.ts'

const encoder = new TextEncoder()

/**
 * One step of a connection with the instruments 0 and 1, as text: `snapshot i`, `update i`, `ack
 * NAMES`, `beat` (the feed's call, behind a frame of the exchange), `call` (without one), `gap`,
 * `resync i`, or else an acknowledgement's `events` as JSON.
 */
type Step = string

class Script {
  readonly listener: Listener
  readonly session: Session
  readonly #names: readonly string[]
  #sequence = 0

  constructor(instruments: readonly Instrument[]) {
    this.listener = new Listener(instruments)
    this.session = coinbase.open(instruments, this.listener, 0)
    this.#names = instruments.map(({ wireSymbol }) => coinbase.canonical!(wireSymbol))
    this.session.opened()
  }

  run(step: Step): void {
    const [verb, ...names] = step.split(' ')
    switch (verb) {
      case 'snapshot':
        return this.#give(
          dataText('snapshot', this.#names[Number(names[0])], this.#sequence++, [
            ['bid', '100.25', '1'],
          ]),
        )
      case 'update':
        return this.#give(dataText('update', this.#names[Number(names[0])], this.#sequence++, []))
      case 'ack':
        return this.#acknowledge([{
          subscriptions: {
            heartbeats: ['heartbeats'],
            ...(names.length === 0 ? {} : { level2: names }),
          },
        }])
      case 'beat':
        this.#control('heartbeats', [])
        return this.session.heartbeat!()
      case 'call':
        return this.session.heartbeat!()
      case 'gap':
        this.#sequence++
        return this.#control('heartbeats', [])
      case 'resync':
        return this.session.resync(Number(names[0]))
      default:
        return this.#acknowledge(JSON.parse(step))
    }
  }

  /** Instruments called stale so far. */
  get stale(): number[] {
    return this.listener.suspects.filter(({ reason }) => reason === 'stale')
      .map(({ index }) => index)
  }

  #acknowledge(events: unknown): void {
    this.#control('subscriptions', events)
  }

  #control(channel: string, events: unknown): void {
    this.#give(
      JSON.stringify({ channel, timestamp: '', sequence_num: this.#sequence++, events }),
    )
  }

  #give(text: string): void {
    this.session.received(encoder.encode(text), 1)
  }
}

function instrument(wireSymbol: string): Instrument {
  return { symbol: wireSymbol.replace('-', '/'), wireSymbol, priceDecimals: 2, sizeDecimals: 8 }
}

const PLAIN = [instrument('BTC-USD'), instrument('ETH-USD')]
const ALIAS = [instrument('BTC-USDC'), instrument('ETH-USD')]
const LIVE: Step[] = ['snapshot 0', 'snapshot 1', 'ack BTC-USD ETH-USD']

const levels2 = (...names: string[]): Step => JSON.stringify([{ subscriptions: { level2: names } }])

const SUSPECTED: Record<string, readonly Step[]> = {
  'it was listed, and is not in the newest acknowledgement': [
    ...LIVE,
    'ack ETH-USD',
    'beat',
    'beat',
  ],
  'a snapshot that was under way makes it live on a dead subscription': [
    ...LIVE,
    'resync 0',
    'ack ETH-USD',
    'snapshot 0',
    'update 1',
    'beat',
    'update 1',
    'beat',
  ],
  'acknowledgements that list all channels: without level2 nothing is subscribed': [
    ...LIVE,
    'update 1',
    'ack',
    'update 1',
    'beat',
    'update 1',
    'beat',
  ],
  'in several events': [
    ...LIVE,
    '[{"subscriptions":{"heartbeats":["heartbeats"]}},{"subscriptions":{"level2":["ETH-USD"]}}]',
    'beat',
    'beat',
  ],
  'an acknowledgement that cannot be read changes nothing': [
    ...LIVE,
    'ack ETH-USD',
    'beat',
    '[{"subscriptions":{"level2":"BTC-USD"}}]',
    '[{"subscriptions":7},null]',
    '{}',
    'beat',
  ],
}

const TRUSTED: Record<string, readonly Step[]> = {
  'the second call decides': [...LIVE, 'ack ETH-USD', 'beat'],
  'listed again between the calls': [
    ...LIVE,
    'ack ETH-USD',
    'beat',
    'ack BTC-USD ETH-USD',
    'beat',
    'beat',
  ],
  'listed for a moment between the calls': [
    ...LIVE,
    'ack ETH-USD',
    'beat',
    'ack BTC-USD ETH-USD',
    'ack ETH-USD',
    'beat',
  ],
  'never listed': ['snapshot 0', 'snapshot 1', 'ack ETH-USD', 'beat', 'beat', 'ack', 'beat'],
  'listed under names that say nothing': [
    'snapshot 0',
    'snapshot 1',
    'ack btc/usd 2',
    'ack',
    'ack btc/usd 1',
    'beat',
    'beat',
    'beat',
  ],
  'not live': [...LIVE, 'resync 0', 'ack ETH-USD', 'beat', 'beat', 'beat'],
  'changes still come': [...LIVE, 'ack ETH-USD', 'beat', 'update 0', 'beat', 'update 0', 'beat'],
  'a fresh snapshot starts the time anew': [...LIVE, 'ack ETH-USD', 'beat', 'snapshot 0', 'beat'],
  'a resync starts the time anew': [
    ...LIVE,
    'ack ETH-USD',
    'beat',
    'resync 0',
    'snapshot 0',
    'beat',
  ],
  'nothing was received between the calls': [
    ...LIVE,
    'ack ETH-USD',
    'beat',
    'call',
    'call',
    'call',
  ],
  'the acknowledgement was in a gap': [...LIVE, 'gap', 'ack ETH-USD', 'beat', 'beat', 'beat'],
  'acknowledgements that cannot be read': [
    ...LIVE,
    '[{"subscriptions":{"level2":"ETH-USD"}}]',
    'beat',
    '[{"subscriptions":{"level2":null}}]',
    '[{"level2":["ETH-USD"]}]',
    '[]',
    '{}',
    'beat',
    'beat',
  ],
  'acknowledgements that list one channel alone': [
    'snapshot 0',
    'snapshot 1',
    levels2('BTC-USD', 'ETH-USD'),
    '[{"subscriptions":{"heartbeats":["heartbeats"]}}]',
    'beat',
    'beat',
    'beat',
  ],
}

describe('a live book that the exchange does not list any more', () => {
  for (const [name, steps] of Object.entries(SUSPECTED)) {
    test(`is stale: ${name}`, () => {
      for (const instruments of [PLAIN, ALIAS]) {
        const script = new Script(instruments)
        for (const [at, step] of steps.entries()) {
          assert.deepEqual(script.stale, [], `before step ${at}, ${step}`)
          script.run(step)
        }
        assert.deepEqual(script.stale, [0])
        const { sent, outputs } = script.listener
        outputs.length = 0
        script.run('update 0')
        assert.deepEqual(outputs, [], 'not live any more')
        for (let n = 0; n < 3; n++) {
          script.run('update 1')
          script.run('beat')
        }
        assert.deepEqual(script.stale, [0], 'said once')
        sent.length = 0
        script.run('resync 0')
        assert.deepEqual(sent.map((text) => JSON.parse(text).type), ['unsubscribe', 'subscribe'])
        for (const step of ['snapshot 0', 'ack BTC-USD ETH-USD', 'beat', 'beat', 'beat']) {
          script.run(step)
        }
        assert.deepEqual(script.stale, [0], 'mended')
        assert.equal(outputs.filter(({ index }) => index === 0).length, 1)
      }
    })
  }

  for (const [name, steps] of Object.entries(TRUSTED)) {
    test(`is left alone: ${name}`, () => {
      for (const instruments of [PLAIN, ALIAS]) {
        const script = new Script(instruments)
        // The other one is busy, so that only the one looked at can be suspected.
        for (const step of steps) {
          if (step === 'beat' && script.listener.books[1] !== undefined) script.run('update 1')
          script.run(step)
        }
        assert.deepEqual(script.stale, [])
      }
    })
  }

  test('either name of an alias lists it', () => {
    for (const name of ['BTC-USD', 'BTC-USDC']) {
      for (const other of ['BTC-USD', 'BTC-USDC']) {
        const script = new Script(ALIAS)
        const ack = (listed: string): Step => `ack ${listed} ETH-USD`
        for (const step of ['snapshot 0', 'snapshot 1', ack(name), ack(other), 'beat', 'beat']) {
          script.run(step)
        }
        assert.deepEqual(script.stale, [])
        for (const step of ['ack ETH-USD', 'beat', 'beat']) script.run(step)
        assert.deepEqual(script.stale, [0])
      }
    }
  })

  test('the feed is asked to call', () => {
    const { session } = new Script(PLAIN)
    assert.ok(session.heartbeatMs! >= 2000 && session.heartbeatMs! <= 10_000)
  })

  test('all that are, and only they, whatever happens: against the history', () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.constant('beat') },
      fc.constantFrom(...['snapshot 0', 'snapshot 1', 'update 0', 'update 1']),
      fc.constantFrom(...['ack', 'ack BTC-USD', 'ack ETH-USD', 'ack BTC-USD ETH-USD']),
      fc.constantFrom('resync 0', 'resync 1', 'gap', 'call'),
    )
    let found = 0
    fc.assert(
      fc.property(fc.constantFrom([], LIVE), fc.array(step, { maxLength: 30 }), (first, more) => {
        const script = new Script(PLAIN)
        const history: Step[] = []
        let frames = 0
        for (const one of [...first, ...more]) {
          const isCall = one === 'beat' || one === 'call' && frames > 0
          if (one !== 'resync 0' && one !== 'resync 1') frames++
          if (one === 'call' || isCall) frames = 0
          const live = script.listener.books.map((book, i) =>
            book !== undefined &&
            history.lastIndexOf(`snapshot ${i}`) > history.lastIndexOf(`resync ${i}`)
          )
          const before = script.stale.length
          script.run(one)
          const stale = script.stale.slice(before)
          const expected = isCall
            ? [0, 1].filter((i) => live[i] && isDead(history, PLAIN[i].wireSymbol, i))
            : []
          assert.deepEqual(stale, expected, [...history, one].join(', '))
          found += stale.length
          if (one !== 'call') history.push(one)
          else if (isCall) history.push('beat')
          for (const i of stale) history.push(`stale ${i}`)
        }
      }),
      { numRuns: 5000 },
    )
    assert.ok(found > 300, `only ${found} were found`)
  })
})

/** What the history up to a call says of a live book, read backwards. */
function isDead(history: readonly Step[], name: string, i: number): boolean {
  const isAck = (one: Step): boolean => one.startsWith('ack')
  const lists = (one: Step): boolean => isAck(one) && one.split(' ').includes(name)
  const vouched = history.findLastIndex((one) =>
    lists(one) || [`snapshot ${i}`, `update ${i}`, `resync ${i}`, `stale ${i}`].includes(one) ||
    one === 'gap'
  )
  const called = history.lastIndexOf('beat')
  if (called < vouched) return false
  // It was missing already at the call before, by what was the newest acknowledgement then.
  const then = history.slice(0, called)
  const newest = then.findLast(isAck)
  return newest !== undefined && !lists(newest) && then.some(lists)
}
