/**
 * The contract of every adapter, driven by frames: whatever a network does to them, a book that the
 * session feeds is the exchange's book as of that frame, or the session says that it is not proven.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Instrument } from '../../src/core/instrument.ts'
import type { Fixture, ModelFrame, WireLevel } from './fixture.ts'
import { Listener } from './listener.ts'
import { nameContract } from './names.ts'
import {
  type Answer,
  farLevel,
  live,
  type Network,
  probeKey,
  randomLevel,
  randomOf,
  repair,
  Run,
  started,
} from './run.ts'
import { textContract } from './texts.ts'

/** Some hundred lives of a session each: a second where nothing else runs. */
const PATIENT = { timeout: 60_000 }

/** Frames of a whole day, by position. */
function framesOf(fixture: Fixture): ModelFrame[] {
  const frames: ModelFrame[] = []
  const network: Network = (frame) => {
    frames.push(frame)
    return [frame]
  }
  live(new Run(fixture, { network }))
  return frames
}

/** Frames of a day with little in it. */
function quietFramesOf(fixture: Fixture): ModelFrame[] {
  const frames: ModelFrame[] = []
  const random = randomOf(17)
  const run = new Run(fixture, {
    network(frame) {
      frames.push(frame)
      return [frame]
    },
  })
  const all = fixture.instruments.map((_, index) => index)
  for (const index of all) run.probe(index, '5')
  run.open()
  for (const index of all) {
    run.change(index, Array.from({ length: 3 }, () => randomLevel(fixture, index, random)))
    run.settle()
  }
  run.model.idle()
  run.settle()
  return frames
}

function assertEveryoneLive(run: Run): void {
  assert.deepEqual(run.live, run.fixture.instruments.map((_, index) => index))
}

/** Until everything is live again; gives up when a second resync is no help either. */
function heal(run: Run): void {
  repair(run)
  if (run.live.length < run.fixture.instruments.length) repair(run)
  run.assertTrue()
}

/** Everything moves and is the true book, to the last level. */
function assertGoesOn(run: Run): void {
  for (let index = 0; index < run.fixture.instruments.length; index++) {
    run.probe(index, '9')
    run.settle()
    assert.equal(run.listener.books[index]?.get(probeKey(run.fixture, index)), '9')
  }
  run.assertTrue()
}

/** Less than one. */
function digitsOf(count: number): string {
  return `0.${'7'.repeat(count - 1)}`
}

/**
 * What a session makes of one frame of the first instrument in which another text stands for a
 * number; afterwards it is healed.
 */
function spoilt(
  fixture: Fixture,
  kind: 'snapshot' | 'delta',
  numeral: RegExp,
  replacement: string,
): { readonly isQuoted: boolean; readonly suspects: unknown; readonly failures: unknown } {
  let isDue = false
  let isQuoted = false
  const run: Run = new Run(fixture, {
    network(frame) {
      const text = new TextDecoder().decode(frame.bytes)
      if (!isDue || frame.kind !== kind || frame.index !== 0 || !numeral.test(text)) return [frame]
      isDue = false
      run.disturb(0)
      isQuoted = new RegExp(`"${numeral.source}`).test(text)
      const bytes = new TextEncoder().encode(text.replace(numeral, replacement))
      return [{ ...frame, kind: 'control', bytes }]
    },
  })
  live(run, 6)
  // So that it comes anew, with its price.
  run.probe(0, '0')
  run.settle()
  isDue = true
  const outputs = run.listener.outputs.length
  if (kind === 'snapshot') run.resync(0)
  run.probe(0, '1')
  run.settle()
  run.probe(0, '2')
  run.settle()
  assert.ok(!isDue, `no ${kind} with ${numeral}`)
  for (const { levels } of run.listener.outputs.slice(outputs)) {
    for (const text of levels.flat()) assert.ok(text.length < 66, `${text.slice(0, 20)} is kept`)
  }
  const { suspects, failures, books } = run.listener
  const result = {
    isQuoted,
    suspects: suspects.map(({ index, reason }) => [index, reason]),
    failures: failures.map(({ code, scope, symbol }) => [code, scope, symbol]),
    live: [...books.keys()].filter((index) => books[index] !== undefined),
  }
  if (!run.isGivenUp) {
    heal(run)
    assertGoesOn(run)
  }
  return result
}

/** How the body of a REST snapshot can be broken; all of it is answered with status 200. */
function brokenBodies(body: string): string[] {
  const cuts = Array.from({ length: body.length }, (_, length) => body.slice(0, length))
  const step = Math.ceil(cuts.length / 200)
  return [
    ...cuts.filter((_, i) => i % step === 0),
    'null',
    '[]',
    '{}',
    '"x"',
    '<html>busy</html>',
    '{"code":-1121,"msg":"Invalid symbol."}',
    body.replaceAll(/\d/g, 'x'),
    body.replaceAll('"', ''),
    body.replace(/\d+/, '-1'),
    body.replace(/"(\d)/, `"${'7'.repeat(65)}$1`),
    body.replace(/"(\d)/, `"${'7'.repeat(100_000)}$1`),
    body.replaceAll('[', '{').replaceAll(']', '}'),
  ]
}

export function contract(fixture: Fixture): void {
  const { adapter, instruments, depth } = fixture
  const { protocol, limits } = adapter
  const isRest = protocol.snapshot === 'rest'
  const sequenced = protocol.loss === 'sequence' || protocol.loss === 'both'
  const checked = protocol.loss === 'checksum' || protocol.loss === 'both'
  /** One count over everything on the socket. */
  const countsAll = sequenced && protocol.lossScope === 'connection'
  const everyone = instruments.map((_, index) => index)

  describe(`contract of ${adapter.exchange}`, () => {
    test('the fixture is as the suite needs it', () => {
      assert.ok(instruments.length >= 3)
      const [big, small] = instruments
      assert.ok(big.priceDecimals >= 1 && big.priceDecimals <= 4, 'the first trades at 98,765.4')
      assert.ok(small.priceDecimals >= 8 && small.priceDecimals <= 10, 'the second at 0.00000051')
      assert.ok(small.sizeDecimals <= 3, 'and in sizes to 10^12')
      const segments = new Set(instruments.map((instrument) => adapter.segment?.(instrument)))
      assert.equal(segments.size, 1, 'all fit on one socket')
    })

    test('a healthy connection: every book is the true one after every frame', () => {
      const run = new Run(fixture)
      live(run)
      run.assertTrue()
      assert.deepEqual(run.listener.suspects, [])
      assert.deepEqual(run.listener.failures, [])
      assert.deepEqual(run.listener.retirements, [])
      assert.deepEqual(run.session.stats, { scannerFallbacks: 0, unknownFrames: 0, duplicates: 0 })
      const { outputs } = run.listener
      const kinds = new Set(outputs.map(({ kind }) => kind))
      assert.deepEqual([...kinds].sort(), ['delta', 'snapshot'])
      for (const index of everyone) {
        const nonces = outputs.filter((o) => countsAll || o.index === index).map((o) => o.nonce)
        assert.deepEqual(nonces, nonces.toSorted((a, b) => a - b), 'nonces rise')
        if (sequenced) assert.ok(nonces[0] >= 0, 'a sequence is handed on')
      }
      assert.equal(run.listener.checks > 0, checked, 'checks are made where they are claimed')
      const sizes = new Set(outputs.flatMap(({ levels }) => levels.map(([, , size]) => size)))
      if (fixture.offGrid) assert.ok(sizes.has('90071992547409930001'), 'wide values')
      assert.ok(sizes.has('1000000000000'), 'the day has sizes of 10^12 in it')
    })

    test('a frame with nothing in it changes nothing and is counted', () => {
      const run = started(fixture)
      const before = new Map(run.listener.books[0])
      run.change(0, [])
      run.settle()
      assert.deepEqual(run.listener.books[0], before)
      assertGoesOn(run)
    })

    test('the age of the news: what tells of a symbol is handed on, what proves all is noted', () => {
      const frames: ModelFrame[] = []
      const run = started(fixture, {
        network(frame) {
          frames.push(frame)
          return [frame]
        },
      })
      const outputs = run.listener.outputs.length
      frames.length = 0
      run.change(0, [])
      run.settle()
      // Also when it changes nothing: the exchange has spoken of the symbol.
      assert.equal(run.listener.outputs.length - outputs, frames.length)
      if (!countsAll) {
        assert.equal(run.session.provenUs, undefined)
        return
      }
      const proven = (): number => run.session.provenUs ?? 0
      let before = proven()
      assert.ok(before > 0)
      run.model.idle()
      run.settle()
      assert.ok(proven() > before, 'whatever is counted proves all')
      before = proven()
      run.give(frames.findLast(({ uncounted }) => uncounted !== true)!)
      assert.equal(proven(), before, 'a repetition does not')
      for (const { text } of fixture.errors) {
        const other = started(fixture)
        before = other.session.provenUs ?? 0
        other.session.received(new TextEncoder().encode(text), Number.MAX_SAFE_INTEGER)
        assert.equal(other.session.provenUs, before, `not counted: ${text}`)
      }
      let isLost = false
      const lossy = started(fixture, {
        network: (frame) => isLost && frame.uncounted !== true ? [] : [frame],
      })
      before = lossy.session.provenUs ?? 0
      isLost = true
      lossy.probe(0, '1')
      lossy.settle()
      isLost = false
      lossy.probe(0, '2')
      lossy.settle()
      assert.equal(lossy.session.provenUs, before, 'nor what comes behind a loss')
    })

    test('deletes of prices that are not there change nothing', () => {
      const run = started(fixture)
      const before = new Map(run.listener.books[0])
      run.change(0, [farLevel(fixture, 'bid', '0'), farLevel(fixture, 'ask', '0')])
      run.settle()
      assert.deepEqual(run.listener.books[0], before)
      assertGoesOn(run)
    })

    test('any one frame lost: noticed, and healed by a resync', PATIENT, () => {
      const frames = framesOf(fixture)
      let noticed = 0
      for (let lost = 0; lost < frames.length - 1; lost++) {
        // What nothing follows cannot show.
        const isFollowed = frames.slice(lost + 1).some(({ index }) => index === frames[lost].index)
        if (!countsAll && !isFollowed) continue
        let dropped: ModelFrame | undefined
        let wasLive = false
        const run: Run = new Run(fixture, {
          network(frame, position) {
            // Until the loss both days are the same.
            if (position !== lost) return [frame]
            dropped = frame
            wasLive = run.listener.books[frame.index] !== undefined
            if (frame.index >= 0) run.disturb(frame.index)
            return []
          },
        })
        live(run)
        assert.ok(dropped !== undefined)
        const { kind, index, uncounted } = dropped
        const said = [...new Set(run.listener.suspects.map((suspect) => suspect.index))].sort()
        const what = `frame ${lost} (${new TextDecoder().decode(dropped.bytes).slice(0, 80)})`
        if (said.length > 0) noticed++
        if (uncounted === true) {
          // What follows cannot be understood without it, or nothing has happened.
          if (run.isGivenUp) continue
        } else if (countsAll) {
          assert.deepEqual(said, everyone, `${what}: all are suspect`)
          assert.deepEqual(run.live, [], `${what}: nothing is believed before a resync`)
        } else if (kind === 'control') {
          assert.deepEqual(said, [], what)
        } else {
          assert.ok(said.every((one) => one === index), `${what}: only its own book is suspect`)
          if (kind === 'snapshot') {
            assert.equal(run.listener.books[index], undefined, `${what}: no book without it`)
          } else if (sequenced && (!isRest || wasLive)) {
            // What is lost before a REST snapshot is in the snapshot.
            assert.deepEqual(said, [index], `${what}: its book is suspect`)
          }
        }
        heal(run)
        assertGoesOn(run)
      }
      if (protocol.loss !== 'none') assert.ok(noticed > frames.length / 4, `${noticed} noticed`)
    })

    test('any one frame twice: no change, counted', PATIENT, () => {
      const healthy = new Run(fixture)
      live(healthy)
      const frames = framesOf(fixture)
      for (let twice = 0; twice < frames.length; twice++) {
        const frame = frames[twice]
        let wasLive = false
        const run: Run = new Run(fixture, {
          network(next, position) {
            if (position !== twice) return [next]
            wasLive = run.listener.books[next.index] !== undefined
            return [next, next]
          },
        })
        live(run)
        const { suspects, outputs } = run.listener
        if (protocol.loss === 'none') {
          // It may be taken for a loss, where a change of what is not there must be one.
          assert.ok(suspects.every(({ index }) => index === frame.index))
          repair(run)
        } else {
          assert.deepEqual(suspects, [])
        }
        run.assertTrue()
        const more = outputs.length - healthy.listener.outputs.length
        if (countsAll && frame.uncounted !== true) {
          assert.equal(more, 0)
          assert.equal(run.session.stats.duplicates, 1)
        } else if (sequenced && frame.kind === 'delta') {
          assert.equal(more, 0)
          if (!isRest || wasLive) assert.equal(run.session.stats.duplicates, 1)
        } else if (suspects.length === 0) {
          // Without a number it is applied again.
          assert.ok(more === 0 || (more === 1 && frame.kind !== 'control'), `${more} more`)
        }
      }
    })

    test('two neighbours exchanged: noticed or harmless', PATIENT, () => {
      const frames = framesOf(fixture)
      for (let first = 0; first < frames.length - 1; first++) {
        let held: ModelFrame | undefined
        const run: Run = new Run(fixture, {
          network(frame, position) {
            if (position === first) {
              held = frame
              return []
            }
            if (position !== first + 1) return [frame]
            if (held!.index >= 0 && held!.index === frame.index) run.disturb(frame.index)
            return [frame, held!]
          },
        })
        // Every book that is touched is compared with the truth.
        live(run)
        const uncounted = held!.uncounted === true || frames[first + 1].uncounted === true
        if (uncounted && run.isGivenUp) continue
        heal(run)
        assertGoesOn(run)
      }
    })

    test('acknowledgements and whatever else is no data come late: harmless', () => {
      // Where they are counted, or name the channel, that is the case before.
      if (protocol.lossScope === 'connection') {
        assert.ok(framesOf(fixture).some(({ kind }) => kind === 'control'))
        return
      }
      const held: ModelFrame[] = []
      const run = new Run(fixture, {
        network(frame) {
          if (frame.kind !== 'control') return [frame, ...held.splice(0)]
          held.push(frame)
          return []
        },
      })
      live(run)
      run.assertTrue()
      assert.deepEqual(run.listener.suspects, [])
      for (const index of everyone) run.resync(index)
      run.settle()
      // Late is not never.
      for (let round = 0; round < 4; round++) {
        for (const frame of held.splice(0)) run.give(frame)
        run.session.heartbeat?.()
        run.settle()
      }
      heal(run)
      assertGoesOn(run)
    })

    test(
      'a frame cut at any byte: never a throw, nothing half applied, never unnoticed',
      PATIENT,
      () => {
        // One of each kind with something in it, but no more than that.
        const chosen = new Map<string, ModelFrame>()
        const worth = ({ bytes }: ModelFrame) =>
          bytes.length < 150 ? bytes.length : 1e6 - bytes.length
        for (const frame of quietFramesOf(fixture)) {
          const best = chosen.get(frame.kind)
          if (best === undefined || worth(frame) > worth(best)) chosen.set(frame.kind, frame)
        }
        const kinds = isRest ? ['control', 'delta'] : ['control', 'delta', 'snapshot']
        assert.deepEqual([...chosen.keys()].sort(), kinds, 'one of each kind')
        for (const frame of chosen.values()) {
          let run = started(fixture)
          for (let length = 0; length < frame.bytes.length; length++) {
            if (run.isGivenUp) run = started(fixture)
            const { listener, session } = run
            const outputs = listener.outputs.length
            listener.suspects.length = 0
            session.received(frame.bytes.slice(0, length), 1)
            assert.equal(listener.outputs.length, outputs, `cut at ${length}: nothing is handed on`)
            if (run.isGivenUp) {
              assert.ok(listener.failures.every(({ code }) => code === 'E_DECODE'))
              assert.deepEqual(run.live, [])
              for (const index of everyone) run.probe(index, '1')
              run.settle()
              assert.equal(listener.outputs.length, outputs, 'a given-up socket is not listened to')
              continue
            }
            assert.deepEqual(listener.failures, [])
            const said = new Set(listener.suspects.map(({ index }) => index))
            if (protocol.loss === 'none') {
              assert.deepEqual([...said].sort(), everyone, 'where nothing proves, a cut is a loss')
            }
            assert.deepEqual(run.live, everyone.filter((index) => !said.has(index)))
            heal(run)
            assertGoesOn(run)
          }
        }
      },
    )

    test('any frame arrives cut: noticed like a loss, and healed', PATIENT, () => {
      const frames = framesOf(fixture)
      for (let cut = 0; cut < frames.length - 1; cut++) {
        // Nothing, half, all but the last byte.
        const part = (cut % 3) / 2
        const run: Run = new Run(fixture, {
          network(frame, position) {
            if (position !== cut) return [frame]
            if (frame.index >= 0) run.disturb(frame.index)
            const length = Math.min(frame.bytes.length - 1, Math.floor(frame.bytes.length * part))
            return [{ ...frame, kind: 'control', bytes: frame.bytes.slice(0, length) }]
          },
        })
        live(run)
        if (run.isGivenUp) {
          assert.deepEqual(run.live, [])
          continue
        }
        heal(run)
        assertGoesOn(run)
      }
    })

    test('a number beyond 64 digits costs what a broken one costs, and is never kept', () => {
      const price = probeKey(fixture, 0).slice('bid '.length)
      const numeral = new RegExp(`${price.replace('.', '\\.')}0*(?=[^\\d])`)
      // Before the point, behind it, and behind an exponent, where the exchange may write those.
      const long = [65, 2_000_000].flatMap((digits) => ['7'.repeat(digits), digitsOf(digits)])
      const broken = spoilt(fixture, 'delta', numeral, `-${price}`)
      for (const text of [...long, ...(broken.isQuoted ? [] : ['7e64', '7e-64'])]) {
        assert.deepEqual(spoilt(fixture, 'delta', numeral, text), broken, text.slice(0, 20))
      }
      if (isRest) return
      const lost = spoilt(fixture, 'snapshot', numeral, `-${price}`)
      for (const text of long) {
        assert.deepEqual(spoilt(fixture, 'snapshot', numeral, text), lost, text.slice(0, 20))
      }
    })

    test('unknown kinds of messages are passed over and counted', () => {
      const run = started(fixture)
      const outputs = run.listener.outputs.length
      run.model.unknown()
      run.settle()
      assert.equal(run.session.stats.unknownFrames, 1)
      assert.equal(run.listener.outputs.length, outputs)
      assert.deepEqual(run.listener.suspects, [])
      assert.deepEqual(run.listener.failures, [])
      assertGoesOn(run)
    })

    test('error replies name the symbol, or give up the connection', () => {
      for (const { text, code, scope, index, quote } of fixture.errors) {
        const run = started(fixture)
        const bytes = new TextEncoder().encode(text)
        run.session.received(bytes, 1)
        const errors = run.listener.failures
        assert.deepEqual(errors.map((e) => [e.code, e.scope]), [[code, scope]], text)
        assert.ok(errors[0].message.includes(quote), 'the cause is quoted')
        assert.ok(text.includes(quote), 'by its own words')
        if (code === 'E_RATE_LIMITED') assert.ok(errors[0].retryAfterMs! > 0)
        if (scope === 'connection') {
          assert.deepEqual(run.live, [])
          const outputs = run.listener.outputs.length
          for (const one of everyone) run.probe(one, '1')
          run.settle()
          assert.equal(run.listener.outputs.length, outputs, 'a given-up socket is not listened to')
          continue
        }
        assert.equal(errors[0].symbol, instruments[index!].symbol)
        for (const one of everyone) run.probe(one, '1')
        run.settle()
        assert.deepEqual(run.live, everyone.filter((one) => one !== index))
        // The feed asks again from time to time, and one day it is served.
        run.isMute = true
        const sent = run.listener.sent.length
        for (let again = 1; again <= 5; again++) {
          run.resync(index!)
          run.session.received(bytes, 1)
          run.settle()
          assert.equal(run.listener.books[index!], undefined)
        }
        assert.ok(run.listener.sent.length - sent <= 15, 'no more than is asked for')
        run.isMute = false
        run.settle()
        heal(run)
        assertGoesOn(run)
      }
    })

    test('too many messages: only what was refused waits, and is asked for again', () => {
      const bytesOf = (sent: readonly string[]): Uint8Array => {
        const subscription = sent.findLast((text) => /"subscribe"/i.test(text))
        assert.ok(subscription !== undefined, 'something was asked for')
        return new TextEncoder().encode(fixture.limited(subscription))
      }
      const assertDeferred = (run: Run, ...expected: readonly number[]): void => {
        const { failures } = run.listener
        assert.ok(failures.length > 0, 'it is said')
        for (const { code, scope, symbol, retryAfterMs, message } of failures) {
          assert.deepEqual([code, scope], ['E_RATE_LIMITED', 'symbol'], message)
          assert.ok(retryAfterMs! > 0)
          assert.ok(expected.some((index) => instruments[index].symbol === symbol), message)
        }
      }
      // All of them, on a fresh socket.
      const early = new Run(fixture)
      early.isMute = true
      early.open()
      const waits = everyone.filter((index) => early.listener.books[index] === undefined)
      if (waits.length > 0 && early.listener.sent.some((text) => /"subscribe"/i.test(text))) {
        early.session.received(bytesOf(early.listener.sent), 1)
        assertDeferred(early, ...everyone)
        early.isMute = false
        early.settle()
        heal(early)
        assertGoesOn(early)
      }
      if (isRest) return
      // One of them, in mid-stream.
      const run = started(fixture)
      run.isMute = true
      const before = run.listener.sent.length
      run.resync(1)
      if (!run.listener.sent.slice(before).some((text) => /"subscribe"/i.test(text))) {
        // It is left first, and joined behind the answer.
        run.isMute = false
        run.settle()
        return
      }
      run.session.received(bytesOf(run.listener.sent.slice(before)), 1)
      assertDeferred(run, 1)
      const others = everyone.filter((index) => index !== 1)
      assert.deepEqual(run.live, others)
      for (const index of others) run.probe(index, '2')
      run.isMute = false
      run.settle()
      assert.ok(others.every((index) => run.listener.books[index] !== undefined))
      heal(run)
      assertGoesOn(run)
    })

    test('a symbol that ends in mid-stream: the others go on', () => {
      if (fixture.connect().delist === undefined) {
        // Nothing is said: then nothing may be made of it either.
        const run = started(fixture)
        for (let i = 0; i < 10; i++) {
          run.model.idle()
          run.settle()
          run.session.heartbeat?.()
        }
        run.settle()
        run.assertTrue()
        return
      }
      for (const ended of everyone) {
        const run = started(fixture)
        const { failures } = run.listener
        run.model.delist!(ended)
        const others = everyone.filter((index) => index !== ended)
        for (let i = 0; i < 4; i++) {
          run.settle()
          run.model.idle()
          for (const index of others) run.probe(index, `${i + 1}`)
          run.settle()
          run.session.heartbeat?.()
        }
        run.settle()
        assert.deepEqual(run.live, others)
        assert.deepEqual(failures.filter(({ scope }) => scope !== 'symbol'), [])
        for (const { symbol } of failures) assert.equal(symbol, instruments[ended].symbol)
        assert.ok(run.listener.suspects.every(({ index }) => index === ended))
        for (const index of others) {
          assert.equal(run.listener.books[index]!.get(probeKey(fixture, index)), '4')
        }
      }
    })

    test('the exchange says that it will end the connection: said, and nothing else', () => {
      const run = started(fixture)
      if (run.model.retire === undefined) assert.deepEqual(run.listener.retirements, [])
      run.model.retire?.()
      run.settle()
      if (run.model.retire !== undefined) {
        assert.ok(run.listener.retirements.length >= 1)
        assert.ok(run.listener.retirements.every((detail) => detail.length > 0))
      }
      assert.deepEqual(run.listener.suspects, [])
      assert.deepEqual(run.listener.failures, [])
      assertGoesOn(run)
    })

    test('after a resync nothing of the old subscription counts', () => {
      for (const index of everyone) {
        const run = started(fixture)
        // Already on its way when the client asks.
        run.probe(index, '7')
        const late = run.model.outgoing.shift()!
        const outputs = run.listener.outputs.length
        run.resync(index)
        run.give(late)
        assert.equal(run.listener.outputs.length, outputs, 'no change before the new snapshot')
        run.settle()
        assert.equal(run.listener.outputs[outputs].kind, 'snapshot')
        if (!isRest) assert.equal(run.listener.outputs.length, outputs + 1)
        run.probe(index, '0')
        run.settle()
        run.assertTrue()
        assert.deepEqual(run.listener.suspects, [])
      }
    })

    test('a resync before the socket is open, twice, and of all at once', () => {
      const run = new Run(fixture)
      run.resync(0)
      assert.deepEqual(run.listener.sent, [], 'nothing can be sent yet')
      live(run)
      const opening = run.listener.sent.length
      run.assertTrue()
      run.resync(1)
      run.resync(1)
      for (const index of everyone) run.resync(index)
      run.settle()
      heal(run)
      const single = run.listener.sent.length
      run.resync(0)
      run.settle()
      const perResync = run.listener.sent.length - single
      const outputs = run.listener.outputs.length
      const sent = run.listener.sent.length
      if (run.session.resyncAll !== undefined) {
        run.session.resyncAll(everyone)
        run.settle()
        const snapshots = run.listener.outputs.slice(outputs)
          .filter(({ kind }) => kind === 'snapshot')
        assert.deepEqual(snapshots.map(({ index }) => index).sort(), everyone)
        const messages = run.listener.sent.length - sent
        // Where one message can ask for many, it does.
        const batches = opening < instruments.length
        assert.ok(messages <= perResync * instruments.length - (batches ? 1 : 0), 'few messages')
      }
      assertGoesOn(run)
    })

    test('an exchange that does not answer is not asked more than the feed wants', () => {
      const run = started(fixture)
      const { sent, requests, outputs } = run.listener
      const before = [sent.length, requests.length, outputs.length]
      run.isMute = true
      const rounds = 20
      for (let round = 0; round < rounds; round++) {
        for (const index of everyone) {
          run.resync(index)
          run.probe(index, `${round + 1}`)
          run.settle()
        }
        run.session.heartbeat?.()
      }
      const asked = rounds * instruments.length
      // Unsubscribe, subscribe, and a sign of life.
      assert.ok(sent.length - before[0] <= asked * 2 + rounds, `${sent.length} messages`)
      assert.ok(requests.length - before[1] <= asked, `${requests.length} requests`)
      assert.ok(outputs.slice(before[2]).every(({ kind }) => kind !== 'snapshot'))
      // Then it answers everything at once.
      run.isMute = false
      run.settle()
      heal(run)
      assertGoesOn(run)
    })

    test('the answer to a resync is lost: the next one mends it', () => {
      let isCut = false
      const run = started(fixture, { network: (frame) => isCut ? [] : [frame] })
      for (const index of everyone) {
        isCut = true
        run.resync(index)
        run.settle()
        isCut = false
        run.probe(index, '2')
        run.settle()
        if (run.isGivenUp) {
          assert.equal(protocol.lossScope, 'connection')
          return
        }
        run.resync(index)
        run.settle()
      }
      heal(run)
      assertGoesOn(run)
    })

    test('heartbeats at any time: few messages, no output, understood', () => {
      const run = new Run(fixture)
      for (let i = 0; i < 10; i++) run.session.heartbeat?.()
      assert.deepEqual(run.listener.sent, [], 'nothing can be sent yet')
      live(run, 6)
      const { outputs, sent } = run.listener
      const before = [outputs.length, sent.length]
      for (let i = 0; i < 10; i++) {
        run.session.heartbeat?.()
        run.settle()
      }
      assert.equal(outputs.length, before[0])
      assert.ok(sent.length - before[1] <= 10, 'at most one each')
      assertGoesOn(run)
      assert.deepEqual(run.listener.suspects, [])
      assert.deepEqual(run.listener.failures, [])
      assert.equal(run.session.stats.unknownFrames, 0, 'its answers are known')
      assert.equal(run.session.heartbeat === undefined, run.session.heartbeatMs === undefined)
    })

    test(
      'a connection lost in any state: the next one begins anew, beside the old one',
      PATIENT,
      () => {
        const frames = framesOf(fixture)
        for (let lost = 0; lost <= frames.length; lost += 1 + Math.floor(frames.length / 40)) {
          const old: Run = new Run(fixture, {
            network(frame, position) {
              if (position === lost) {
                const next = new Run(fixture)
                live(next, 6)
                next.assertTrue()
                assert.deepEqual(next.listener.suspects, [])
              }
              return [frame]
            },
          })
          live(old)
          // Two sessions at once do not mix.
          old.assertTrue()
          assert.deepEqual(old.listener.suspects, [])
        }
      },
    )

    test('the protocol table is honest', () => {
      const run = new Run(fixture)
      const deep = Array.from({ length: 6000 }, (_, i): WireLevel => ['bid', `${i + 1}`, '1'])
      run.change(0, deep)
      run.open()
      assertEveryoneLive(run)
      run.assertTrue()
      const { size } = run.listener.books[0]!
      if (protocol.depth !== 'full') assert.ok(size <= protocol.depth, `${size} levels`)
      else if (depth === 0 && !isRest) assert.equal(size, 6000)
      assertGoesOn(run)
      assert.equal(run.listener.requests.length > 0, isRest)
      assert.equal(run.session.snapshotReceived !== undefined, isRest)
      assert.equal(run.model.rest !== undefined, isRest)
      assert.ok(['sequence', 'checksum', 'both', 'none'].includes(protocol.loss))
      if (protocol.loss === 'none' || sequenced) assert.equal(fixture.blind?.below, undefined)
    })

    test('a wish for depth is granted or cut down', () => {
      for (const wanted of [0, 1, 5, 10, 11, 25, 50, 100, 200, 400, 500, 1000, 5000, 10_000]) {
        const { view, kept } = adapter.depth?.(wanted) ?? { view: wanted, kept: Infinity }
        const granted = view === 0 ? Infinity : view
        assert.ok(Number.isInteger(view) && view >= 0, `${wanted} -> ${view}`)
        assert.ok(granted <= (wanted === 0 ? Infinity : wanted), `${wanted} -> ${view}`)
        assert.ok(kept >= granted, `${wanted} -> ${view}, ${kept} kept`)
        if (protocol.depth !== 'full') assert.ok(granted <= protocol.depth, `${wanted} -> ${view}`)
      }
    })

    test('the limits can be kept', () => {
      for (const [name, value] of Object.entries(limits)) {
        assert.ok(Number.isFinite(value) && value > 0, `${name} is ${value}`)
      }
      assert.match(adapter.url(instruments), /^wss:\/\//)
      const made = fixture.instrument?.bind(fixture) ?? ((i: number): Instrument => ({
        symbol: `A${i}/USD`,
        wireSymbol: `A${i}-USD`,
        priceDecimals: 2,
        sizeDecimals: 8,
      }))
      const many = Array.from({ length: limits.symbolsPerConnection }, (_, i) => made(i))
      assert.equal(adapter.segment?.(many[0]), adapter.segment?.(instruments[0]))
      const listener = new Listener(many, adapter.depth?.(depth))
      adapter.open(many, listener, depth).opened()
      const seconds = listener.sent.length / limits.framesPerSecond
      assert.ok(seconds * 1000 < limits.subscribeWithinMs, 'subscribed in time')
      const words = new Set(listener.sent.join(' ').toLowerCase().split(/[^a-z0-9:/_-]+/))
      const ends = new Set([...words].flatMap((word) => [word, word.slice(word.indexOf(':') + 1)]))
      for (const { wireSymbol } of many) {
        assert.ok(ends.has(wireSymbol.toLowerCase()), `${wireSymbol} is subscribed`)
      }
      if (adapter.canonical !== undefined) {
        for (const { wireSymbol } of instruments) {
          const once = adapter.canonical(wireSymbol)
          assert.equal(adapter.canonical(once), once, 'canonical is final')
        }
      }
    })

    test('the frames to warm with take the fast path and make a book that never crosses', () => {
      for (const instrument of instruments) {
        const listener = new Listener([instrument], adapter.depth?.(depth))
        const session = adapter.open([instrument], listener, depth)
        const frames = adapter.warmFrames?.(instrument) ?? []
        session.opened()
        for (const frame of frames) {
          session.received(frame, 1)
          const book = listener.realBooks[0]
          if (book !== undefined) assert.equal(book.isCrossed(), false)
        }
        assert.equal(session.stats.scannerFallbacks, 0)
        assert.equal(session.stats.unknownFrames, 0)
        assert.deepEqual(listener.suspects, [])
        assert.deepEqual(listener.failures, [])
        // Some begin with a frame that only says who is who.
        if (!isRest) assert.ok(listener.outputs.length >= frames.length - 2)
      }
    })

    test('random bytes: never a throw, never an output', () => {
      const random = randomOf(11)
      for (let round = 0; round < 500; round++) {
        const run = new Run(fixture)
        run.session.opened()
        const bytes = new Uint8Array(Math.floor(random() * 200))
        for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256)
        run.session.received(bytes, 1)
        assert.deepEqual(run.listener.outputs, [])
      }
    })

    textContract(fixture)
    nameContract(fixture)
    if (isRest) restContract(fixture)
  })
}

/** What is asked in addition of exchanges whose snapshots come by REST. */
function restContract(fixture: Fixture): void {
  const { instruments } = fixture
  const everyone = instruments.map((_, index) => index)

  /** The URL of each instrument's snapshot, as a session asks for it. */
  function urls(): string[] {
    const run = new Run(fixture)
    live(run, 6)
    return everyone.map((index) => run.listener.requests.find((r) => r.index === index)!.url)
  }

  test('snapshots that come late, early, or are old: all true', () => {
    const answers: Answer[] = []
    for (const takenAfter of [0, 1, 3, 10]) {
      for (const late of [0, 1, 2, 5]) answers.push({ takenAfter, givenAfter: takenAfter + late })
    }
    for (const answer of answers) {
      const run = new Run(fixture, { server: () => answer })
      live(run)
      assert.deepEqual(run.listener.suspects, [], JSON.stringify(answer))
      run.assertTrue()
      const { length } = run.listener.requests
      assert.ok(length <= 3 * instruments.length, `${length} requests`)
      assertGoesOn(run)
    }
  })

  test('a snapshot from before the stream is asked for again', () => {
    const addresses = urls()
    for (const tooOld of everyone) {
      let body = ''
      const run = new Run(fixture, {
        server: ({ index }, nth) =>
          index === tooOld && nth < 2 * instruments.length ? { body, givenAfter: 4 } : {},
      })
      const random = randomOf(3)
      for (const index of everyone) {
        run.change(index, Array.from({ length: 8 }, () => randomLevel(fixture, index, random)))
      }
      body = run.model.rest!(addresses[tooOld])
      for (let i = 0; i < 3; i++) run.probe(tooOld, `${i + 5}`)
      run.open()
      let said = 0
      for (let i = 0; i < 60; i++) {
        run.probe(tooOld, `${i + 1}`)
        run.settle()
        // The feed does something only when it is told.
        const { length } = run.listener.suspects
        if (length > said) repair(run)
        said = length
      }
      assertEveryoneLive(run)
      assertGoesOn(run)
      const count = run.listener.requests.filter(({ index }) => index === tooOld).length
      assert.ok(count > 1, 'again')
    }
  })

  test('a snapshot of another symbol is not believed', () => {
    const addresses = urls()
    for (const victim of everyone) {
      const other = (victim + 1) % instruments.length
      let isForeign = true
      const run: Run = new Run(fixture, {
        server: ({ index }) =>
          index === victim && isForeign ? { body: run.model.rest!(addresses[other]) } : {},
      })
      // Every book that comes out of it is compared with the truth.
      if (fixture.blind?.foreignSnapshot !== undefined) run.disturb(victim)
      const random = randomOf(5)
      for (const index of everyone) {
        run.change(index, Array.from({ length: 9 }, () => randomLevel(fixture, index, random)))
      }
      try {
        run.open()
        for (let i = 0; i < 5; i++) {
          for (const index of everyone) run.probe(index, `${i + 1}`)
          run.settle()
        }
      } catch (error) {
        if (fixture.blind?.foreignSnapshot === undefined) throw error
      }
      const count = run.listener.requests.filter(({ index }) => index === victim).length
      assert.ok(count <= 12, `${count} requests`)
      isForeign = false
      run.resync(victim)
      for (let i = 0; i < 5; i++) {
        run.probe(victim, `${i + 1}`)
        run.settle()
      }
      heal(run)
      assertGoesOn(run)
    }
  })

  test(
    'a body that is no snapshot: never a throw, nothing handed on, said, and healed',
    PATIENT,
    () => {
      const [address] = urls()
      const whole = started(fixture).model.rest!(address)
      for (const body of brokenBodies(whole)) {
        let isBroken = true
        const run = new Run(fixture, {
          server: ({ index }, nth) => index === 0 && isBroken && nth < 20 ? { body } : {},
        })
        run.probe(0, '1')
        run.open()
        run.probe(0, '2')
        run.settle()
        const { listener } = run
        const what = JSON.stringify(body.slice(0, 60))
        const asked = listener.requests.filter(({ index }) => index === 0).length
        const said = listener.suspects.length + listener.failures.length
        if (listener.books[0] === undefined) assert.ok(asked > 1 || said > 0, `${what}: stuck`)
        assert.ok(asked <= 4, `${what}: asked ${asked} times`)
        isBroken = false
        for (let i = 0; i < 3; i++) {
          repair(run)
          run.probe(0, `${i + 3}`)
          run.settle()
        }
        heal(run)
        assertGoesOn(run)
      }
    },
  )

  test('an answer that never comes, then a resync: one request each', () => {
    let isSilent = true
    const run = new Run(fixture, { server: () => isSilent ? { givenAfter: Infinity } : {} })
    live(run)
    assert.deepEqual(run.live, [])
    assert.equal(run.listener.requests.length, instruments.length)
    for (const index of everyone) run.resync(index)
    run.settle()
    assert.ok(run.listener.requests.length <= 2 * instruments.length)
    isSilent = false
    for (const index of everyone) run.resync(index)
    run.settle()
    for (const index of everyone) run.probe(index, '4')
    run.settle()
    heal(run)
    assertGoesOn(run)
  })

  test(
    'more changes than a session holds back while it waits: no book, or the true one',
    PATIENT,
    () => {
      const run = new Run(fixture, {
        server: (_, nth) => nth < instruments.length ? { takenAfter: 0, givenAfter: 12_000 } : {},
      })
      run.open()
      for (let i = 0; i < 12_500; i++) {
        run.probe(0, `${i + 1}`)
        run.settle()
      }
      assert.ok(run.listener.requests.filter(({ index }) => index === 0).length <= 5)
      for (let i = 0; i < 3; i++) {
        repair(run)
        for (const index of everyone) run.probe(index, `${i + 3}`)
        run.settle()
      }
      heal(run)
      assertGoesOn(run)
    },
  )

  test('a refresh replaces the book and nothing else; a second one changes nothing', () => {
    const first = started(fixture)
    if (first.session.refresh === undefined) return
    for (const answer of [{}, { givenAfter: 3 }, { takenAfter: 2, givenAfter: 4 }]) {
      const run = started(fixture, {
        server: (_, nth) => nth < instruments.length ? {} : answer,
      })
      const { requests, outputs } = run.listener
      const before = [requests.length, outputs.length]
      run.refresh(0)
      run.refresh(0)
      assert.equal(requests.length, before[0] + 1, 'one request')
      for (let i = 0; i < 8; i++) {
        run.probe(0, `${i + 1}`)
        run.settle()
        assert.equal(run.listener.books[0]!.get(probeKey(fixture, 0)), `${i + 1}`, 'goes on')
      }
      const kinds = outputs.slice(before[1]).map(({ kind }) => kind)
      assert.equal(kinds.filter((kind) => kind === 'refreshed').length, 1)
      assert.equal(kinds.includes('snapshot'), false)
      assert.deepEqual(run.listener.suspects, [])
      assert.equal(requests.length, before[0] + 1, 'still one')
      run.refresh(0)
      assert.equal(requests.length, before[0] + 2, 'and another one later')
      assertGoesOn(run)
    }
  })

  test('another socket goes on from exactly where the first one was', () => {
    if (started(fixture).session.splice === undefined) return
    // Two connections with the same changes; the second subscribes while the first one serves.
    const random = randomOf(13)
    const first = new Run(fixture)
    const second = new Run(fixture, { server: () => ({ givenAfter: Infinity }) })
    const both = [first, second]
    const change = (index: number, levels: readonly WireLevel[]): void => {
      for (const run of both) run.change(index, levels)
    }
    for (const index of everyone) {
      change(index, Array.from({ length: 8 }, () => randomLevel(fixture, index, random)))
    }
    first.open()
    const step = (index: number): void => {
      change(index, Array.from({ length: 3 }, () => randomLevel(fixture, index, random)))
      first.settle()
    }
    for (const index of everyone) for (let i = 0; i < 3; i++) step(index)
    first.assertTrue()
    second.settle()
    assert.equal(second.session.splice!(0, nonceOf(first, 0)), false, 'not subscribed')
    second.open()
    for (const index of everyone) {
      for (let i = 0; i < 3; i++) step(index)
      // The first one is ahead of the second by one frame, or behind it.
      if (index % 2 === 0) second.settle()
      const nonce = nonceOf(first, index)
      for (let i = 0; i < 2; i++) change(index, [randomLevel(fixture, index, random)])
      second.settle()
      second.listener.adopt(index, first.listener)
      const isTaken = second.session.splice!(index, nonce)
      assert.equal(isTaken, true)
      first.settle()
      assert.deepEqual(second.listener.books[index], first.listener.books[index])
      step(index)
      second.settle()
      assert.deepEqual(second.listener.books[index], first.listener.books[index])
    }
    assert.deepEqual(second.listener.suspects, [])
    assertGoesOn(second)
  })
}

function nonceOf(run: Run, index: number): number {
  return run.listener.outputs.findLast((output) => output.index === index)!.nonce
}
